"""Keeps what was asked for until it is done, so that nothing that was accepted is lost by a restart."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update

from bot.store.tables import jobs
from runbooks.database import Database, from_stored, stored

_log = logging.getLogger("unstick.work")


class _Unwanted(Exception):
    """Nobody waits for the job any more: its transaction is undone."""


@dataclass(frozen=True)
class Left:
    """A job that is not done, and when it was asked for."""

    number: int
    job: Any
    asked: datetime


class Jobs(Database):
    """All jobs that are not done. Methods block: call them in threads."""

    def add(self, job: Any, *, wanted: Callable[[], bool] = lambda: True) -> int | None:
        """Keep a job (any msgspec structure). The answer is its number.

        `wanted` is asked last, inside the transaction: where nobody waits for it any more, nothing is kept (None).
        """
        with suppress(_Unwanted), self.write() as connection:
            values = {"job": msgspec.to_builtins(job), "asked": stored(self.now())}
            made: int = connection.execute(insert(jobs).values(**values).returning(jobs.c.id)).scalar_one()
            if not wanted():
                raise _Unwanted
            return made
        return None

    def replace(self, number: int, job: Any) -> None:
        """What is left of a job is another one."""
        with self.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == number).values(job=msgspec.to_builtins(job)))

    def done(self, number: int) -> None:
        """A job is done, or failed and said so."""
        with self.write() as connection:
            connection.execute(delete(jobs).where(jobs.c.id == number))

    def left(self, kind: Any) -> tuple[Left, ...]:
        """The jobs that are not done, the oldest first, as structures of this kind.

        One that cannot be read, because another version of Unstick wrote it, stays where it is, and that is logged.
        """
        with self.read() as connection:
            rows = connection.execute(select(jobs).order_by(jobs.c.id)).all()
        found = []
        for row in rows:
            try:
                found.append(Left(row.id, msgspec.convert(row.job, kind), from_stored(row.asked)))
            except (msgspec.ValidationError, ValueError) as error:
                _log.error("job %d cannot be read and is not done: %s", row.id, error)
        return tuple(found)
