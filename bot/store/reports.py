"""Keeps what scheduled reports found, and who made which: each firing is one replica's alone."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from bot.reports import HealthReport
from bot.store.tables import reports, slots
from runbooks.database import Database, StoreError, stored

MOST_REPORTS = 400
"""How many reports of a schedule are kept."""
SLOTS_KEPT = timedelta(days=30)
_INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Reports(Database):
    """All scheduled reports. Methods block: call them in threads."""

    def claim(self, schedule: str, fires: datetime) -> bool:
        """Take a firing, by the time that the schedule sets for it. False: another replica has it already.

        A firing that was claimed is never given away again: a report that its replica died over is not made.

        Raises:
            StoreError: the database cannot be written, or is of a kind that cannot settle who was first.
        """
        row = {"schedule": schedule, "fires": stored(fires), "claimed": stored(self.now())}
        claiming = _claiming(self.engine.dialect.name, row)
        with self.write() as connection:
            connection.execute(
                delete(slots).where(slots.c.schedule == schedule, slots.c.fires < stored(fires - SLOTS_KEPT))
            )
            taken = connection.execute(claiming).first()
        return taken is not None

    def last(self, schedule: str, cluster: str) -> HealthReport | None:
        """The last report of a schedule about a cluster. One that another version wrote in other words counts as none.

        Raises:
            StoreError: the database cannot be read.
        """
        about = reports.c.report["cluster"].as_string() == cluster
        with self.read() as connection:
            row = connection.execute(
                select(reports.c.report).where(reports.c.schedule == schedule, about)
                .order_by(reports.c.taken_at.desc()).limit(1)
            ).first()  # fmt: skip
        try:
            return msgspec.convert(row.report, HealthReport) if row else None
        except msgspec.ValidationError:
            return None

    def keep(self, schedule: str, report: HealthReport, told: Callable[[Connection], object] = lambda _: None) -> None:
        """Keep a report, for the next one to be compared with. Of two of the same instant the later one stays.

        `told` says it, in the same transaction: news that nobody was told stays news.

        Raises:
            StoreError: the database cannot be written.
        """
        taken_at = stored(report.taken_at)
        with self.write() as connection:
            connection.execute(delete(reports).where(reports.c.schedule == schedule, reports.c.taken_at == taken_at))
            connection.execute(
                reports.insert().values(schedule=schedule, taken_at=taken_at, report=msgspec.to_builtins(report))
            )
            _prune(connection, schedule)
            told(connection)


def _claiming(dialect: str, row: dict[str, str]) -> Any:
    """Write a slot unless it is there, and tell which of the two it was: psycopg has no rowcount here."""
    insert = _INSERT.get(dialect)
    if insert is None:
        raise StoreError(f"A {dialect} database cannot keep schedules: name SQLite or PostgreSQL in `state`.")
    return insert(slots).values(row).on_conflict_do_nothing().returning(slots.c.schedule)


def _prune(connection: Connection, schedule: str) -> None:
    """Leave the newest reports of a schedule."""
    oldest = connection.execute(
        select(reports.c.taken_at).where(reports.c.schedule == schedule)
        .order_by(reports.c.taken_at.desc()).offset(MOST_REPORTS - 1).limit(1)
    ).scalar()  # fmt: skip
    if oldest is not None:
        connection.execute(delete(reports).where(reports.c.schedule == schedule, reports.c.taken_at < oldest))
