"""One database as everything that is kept in it sees it: a transaction at a time, and errors as sentences."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import SQLAlchemyError

# The option of a connection that says that its transaction only reads.
READS = "unstick_reads"


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
        with self._translated("written"), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One look, which keeps nobody from writing meanwhile.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._translated("read"), self.engine.connect() as connection:
            yield connection.execution_options(**{READS: True})

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
            raise StoreError(f"The state database cannot be {what}: {cause}; check its disk and rights.") from None


def stored(when: datetime) -> str:
    """A point in time as it is kept: UTC, to the microsecond, in the order of its text."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def from_stored(text: str) -> datetime:
    """The point in time that a column keeps."""
    return datetime.fromisoformat(text)


def columns(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    """A row by the names of its columns; SQLAlchemy's own are of a kind of text that msgspec does not take."""
    return {str(name): value for name, value in row._mapping.items()}
