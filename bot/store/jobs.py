"""Keeps what was asked for until it is done, so that nothing that was accepted is lost by a restart or a dead replica."""

import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, delete, insert, or_, select, update

from bot.store.replicas import bury, living, moment
from bot.store.tables import jobs, replicas
from runbooks.database import Database, from_stored, stored

_log = logging.getLogger("unstick.work")
_IDS = 500  # in one statement: SQLite takes no more than some thousand values


class _Unwanted(Exception):
    """Nobody waits for the job any more: its transaction is undone."""


@dataclass(frozen=True)
class Left:
    """A job that is not done, and when it was asked for. `name` is its own for ever, which its number may not be."""

    number: int
    job: Any
    asked: datetime
    name: str = ""


class Jobs(Database):
    """All jobs that are not done. Methods block: call them in threads."""

    _unreadable: frozenset[int] = frozenset()

    def add(
        self, job: Any, owner: str | None = None, key: str | None = None, *, wanted: Callable[[], bool] = lambda: True
    ) -> int | None:
        """Keep a job (any msgspec structure), to be done by a replica (None: by whichever comes first).

        The answer is its number; where there is one of this `key` already, that one's. `wanted` is asked last, inside
        the transaction: where nobody waits for it any more, nothing is kept (None).
        """
        with suppress(_Unwanted), self.write() as connection:
            made = self.add_within(connection, job, owner, key)
            if not wanted():
                raise _Unwanted
            return made
        return None

    def add_within(self, connection: Connection, job: Any, owner: str | None = None, key: str | None = None) -> int:
        """The same within somebody else's transaction: it is to be done if that stands, and only then."""
        there = None if key is None else self.number_of(connection, key)
        return there or self.add_all(connection, [job], owner, [key])[0].number

    def number_of(self, connection: Connection, key: str) -> int | None:
        """The job of a key that is not done."""
        return connection.execute(select(jobs.c.id).where(jobs.c.key == key)).scalar()

    def add_all(
        self, connection: Connection, asked: Sequence[Any], owner: str | None, keys: Sequence[str | None]
    ) -> list[Left]:
        """Keep several at once, within somebody else's transaction: a statement each would be slow."""
        if not asked:
            return []
        now = self.now()
        rows = [
            {"job": msgspec.to_builtins(job), "asked": stored(now), "owner": owner, "key": key or secrets.token_hex(8)}
            for job, key in zip(asked, keys, strict=True)
        ]
        made = connection.execute(insert(jobs).returning(jobs.c.id, sort_by_parameter_order=True), rows).scalars()
        return [
            Left(number, job, now, _name(row["key"], row["asked"]))
            for number, job, row in zip(made, asked, rows, strict=True)
        ]

    def drop_within(self, connection: Connection, number: int) -> None:
        """Within the transaction that wrote a job: nobody waits for it any more."""
        connection.execute(delete(jobs).where(jobs.c.id == number))

    def replace(self, number: int, job: Any, owner: str | None = None) -> bool:
        """What is left of a job is another one. False: another replica has it by now, so that nothing is changed."""
        changed = update(jobs).where(*_its(number, owner)).values(job=msgspec.to_builtins(job))
        with self.write() as connection:
            return connection.execute(changed.returning(jobs.c.id)).first() is not None

    def done(self, number: int, owner: str | None = None) -> None:
        """A job is done, or failed and said so. Where an `owner` is named, and another replica has it, it stays."""
        with self.write() as connection:
            connection.execute(delete(jobs).where(*_its(number, owner)))

    def owned(self, number: int, owner: str) -> bool:
        """Whether a job is still to be done, by this replica."""
        with self.read() as connection:
            return connection.execute(select(jobs.c.id).where(*_its(number, owner))).first() is not None

    def take_over(self, kind: Any, owner: str, *, of_the_dead: bool = True) -> tuple[Left, ...]:
        """Take whatever is nobody's, or (`of_the_dead`) a dead replica's: the oldest first, as structures of this kind.

        It is one transaction, so that each job is taken by one replica alone. One that cannot be read stays as it is.
        """
        with self.read() as connection:
            # Mostly there is nothing, and to see that keeps nobody from writing.
            late = replicas.c.alive_until < stored(moment(self, connection))
            free = self._free(owner, select(replicas.c.id).where(~late) if of_the_dead else None)
            if connection.execute(select(jobs.c.id).where(free).limit(1)).first() is None:
                return ()
        with self.write() as connection:
            if of_the_dead:
                bury(self, connection, owner)
            if not living(connection, owner):
                return ()  # the others would take it back at once
            free = self._free(owner, select(replicas.c.id) if of_the_dead else None)
            found = self._read(connection.execute(select(jobs).where(free).order_by(jobs.c.id)).all(), kind)
            numbers = [left.number for left in found]
            for at in range(0, len(numbers), _IDS):
                these = jobs.c.id.in_(numbers[at : at + _IDS])
                connection.execute(update(jobs).where(these).values(owner=owner))
        return found

    def _free(self, owner: str, alive: Select[tuple[str]] | None) -> ColumnElement[bool]:
        """Which jobs a replica may take: nobody's, and those of whoever is not `alive`."""
        free: ColumnElement[bool] = jobs.c.owner.is_(None)
        if alive is not None:
            free = or_(free, (jobs.c.owner != owner) & jobs.c.owner.not_in(alive))
        return free & jobs.c.id.not_in(self._unreadable)

    def numbers(self, owner: str) -> frozenset[int]:
        """The jobs that are a replica's, and can be read."""
        with self.read() as connection:
            own = select(jobs.c.id).where(jobs.c.owner == owner, jobs.c.id.not_in(self._unreadable))
            return frozenset(connection.execute(own).scalars())

    def some(self, numbers: Iterable[int], kind: Any) -> tuple[Left, ...]:
        """These jobs, as far as they are still to be done and can be read: the oldest first."""
        with self.read() as connection:
            these = select(jobs).where(jobs.c.id.in_(sorted(numbers)[:_IDS])).order_by(jobs.c.id)
            rows = connection.execute(these).all()
        return self._read(rows, kind)

    def left(self, kind: Any) -> tuple[Left, ...]:
        """The jobs that are not done, the oldest first, as structures of this kind.

        One that cannot be read, because another version of Unstick wrote it, stays where it is, and that is logged.
        """
        with self.read() as connection:
            rows = connection.execute(select(jobs).order_by(jobs.c.id)).all()
        return self._read(rows, kind)

    def _read(self, rows: Iterable[Row[*tuple[Any, ...]]], kind: Any) -> tuple[Left, ...]:
        found = []
        for row in rows:
            try:
                job = msgspec.convert(row.job, kind)
                found.append(Left(row.id, job, from_stored(row.asked), _name(row.key or str(row.id), row.asked)))
            except (msgspec.ValidationError, ValueError) as error:
                if row.id not in self._unreadable:
                    self._unreadable |= {row.id}
                    _log.error("job %d cannot be read and is not done: %s", row.id, error)
        return tuple(found)


def _its(number: int, owner: str | None) -> list[Any]:
    return [jobs.c.id == number, *([] if owner is None else [jobs.c.owner == owner])]


def _name(key: str, asked: str) -> str:
    """Of one key there may be a job again, later; SQLite gives a number that is free again to the next."""
    return f"job/{key}/{asked}"
