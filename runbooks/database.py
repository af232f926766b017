"""One database as everything that is kept in it sees it: a transaction at a time, and errors as sentences."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import SQLAlchemyError

# Options of a connection: that its transaction only reads, or that it migrates.
READS = "unstick_reads"
MIGRATES = "unstick_migrates"
# One look is of one moment, however many statements it takes: else the audit log could end in the middle of a write.
_ONE_MOMENT: dict[str, dict[str, Any]] = {
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
}


# Of one process one write at a time asks the server for its turn: several that queue there would take the writers' lock one
# after the other even while the process stands still, and each of them would hold it until its time is up.
_TURNS: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_PATIENCE = 20.0  # seconds for the writes before this one


class StoreError(Exception):
    """The state database cannot be used: one sentence."""


class Database:
    """An engine whose tables are up to date. What is done with it blocks: call it in threads."""

    def __init__(self, engine: Engine, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.engine = engine
        self.now = now

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction.

        Raises:
            StoreError: the database cannot be written.
        """
        with self._translated("written"), _turn(self.engine), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One look, which keeps nobody from writing meanwhile.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._translated("read"), self.engine.connect() as connection:
            yield connection.execution_options(**{READS: True}, **_ONE_MOMENT.get(self.engine.dialect.name, {}))

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            place = "disk" if self.engine.dialect.name == "sqlite" else "server"
            raise StoreError(
                f"The state database cannot be {what}: {cause(error)}; check its {place} and rights."
            ) from None
        except UnicodeEncodeError:  # what a command line holds may be no text
            raise StoreError(f"The state database cannot be {what}: this is no text in UTF-8; write it anew.") from None


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """Wait for the writes of this process that came before."""
    if engine.dialect.name != "postgresql":
        yield
        return
    turn = _TURNS.setdefault(engine, threading.Lock())
    if not turn.acquire(timeout=_PATIENCE):
        raise StoreError(
            "The state database cannot be written: writes before this one take too long; check its server."
        )
    try:
        yield
    finally:
        turn.release()


def cause(error: Exception) -> str:
    """What a database says of an error, in a line: the rest of it may hold what was to be written."""
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0].rstrip(" .")


def stored(when: datetime) -> str:
    """A point in time as it is kept: UTC, to the microsecond, in the order of its text."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def from_stored(text: str) -> datetime:
    """The point in time that a column keeps."""
    return datetime.fromisoformat(text)


def columns(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    """A row by the names of its columns; SQLAlchemy's own are of a kind of text that msgspec does not take."""
    return {str(name): value for name, value in row._mapping.items()}
