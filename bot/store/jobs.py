"""Keeps what was asked for until it is done, so that nothing that was accepted is lost by a restart."""

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update

from bot.store.tables import jobs
from runbooks.database import Database, stored


class Jobs(Database):
    """All jobs that are not done. Methods block: call them in threads."""

    def add(self, job: Any) -> int:
        """Keep a job (any msgspec structure). The answer is its number."""
        with self.write() as connection:
            values = {"job": msgspec.to_builtins(job), "asked": stored(self.now())}
            made: int = connection.execute(insert(jobs).values(**values).returning(jobs.c.id)).scalar_one()
        return made

    def replace(self, number: int, job: Any) -> None:
        """What is left of a job is another one."""
        with self.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == number).values(job=msgspec.to_builtins(job)))

    def done(self, number: int) -> None:
        """A job is done, or failed and said so."""
        with self.write() as connection:
            connection.execute(delete(jobs).where(jobs.c.id == number))

    def left(self, kind: Any) -> tuple[tuple[int, Any], ...]:
        """The jobs that are not done, the oldest first, as structures of this kind."""
        with self.read() as connection:
            rows = connection.execute(select(jobs.c.id, jobs.c.job).order_by(jobs.c.id)).all()
        return tuple((row.id, msgspec.convert(row.job, kind)) for row in rows)
