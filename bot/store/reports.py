"""Keeps what scheduled reports found, and which firings were asked for: each once."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from bot.reports import HealthReport
from bot.reports.trend import Counts
from bot.store.tables import reports, slots
from runbooks.database import Database, StoreError, stored

MOST_REPORTS = 400
"""How many reports of a schedule are kept, of each cluster."""
SLOTS_KEPT = timedelta(days=30)
_INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Reports(Database):
    """All scheduled reports. Methods block: call them in threads."""

    def claim(self, connection: Connection, schedule: str, fires: datetime) -> bool:
        """Take a firing, by the time that the schedule sets for it. False: it was taken already.

        What is to come of it is written in the same transaction, so that one that was taken is never without it.

        Raises:
            StoreError: the database is of a kind that cannot settle who was first.
        """
        row = {"schedule": schedule, "fires": stored(fires), "claimed": stored(self.now())}
        claiming = _claiming(self.engine.dialect.name, row)
        connection.execute(
            delete(slots).where(slots.c.schedule == schedule, slots.c.fires < stored(fires - SLOTS_KEPT))
        )
        return connection.execute(claiming).first() is not None

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

    def since(self, cluster: str, begin: datetime) -> tuple[Counts, ...]:
        """What the reports about a cluster since a time counted, of every schedule, the oldest first.

        One that another version wrote in other words is left out. No more than the counts is read: findings are many.

        Raises:
            StoreError: the database cannot be read.
        """
        kept = reports.c.report
        names = ("taken_at", "areas", "namespaces")
        wanted = select(*(kept[name].label(name) for name in names)).where(
            reports.c.taken_at >= stored(begin), kept["cluster"].as_string() == cluster
        )
        with self.read() as connection:
            rows = connection.execute(wanted.order_by(reports.c.taken_at)).all()
        found = []
        for row in rows:
            with suppress(msgspec.ValidationError):
                found.append(msgspec.convert(dict(zip(names, row, strict=True)), Counts))
        return tuple(found)

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
            _prune(connection, schedule, report.cluster)
            told(connection)


def _claiming(dialect: str, row: dict[str, str]) -> Any:
    """Write a slot unless it is there, and tell which of the two it was: psycopg has no rowcount here."""
    insert = _INSERT.get(dialect)
    if insert is None:
        raise StoreError(f"A {dialect} database cannot keep schedules: name SQLite or PostgreSQL in `state`.")
    return insert(slots).values(row).on_conflict_do_nothing().returning(slots.c.schedule)


def _prune(connection: Connection, schedule: str, cluster: str) -> None:
    """Leave the newest reports of a schedule about a cluster: one that is looked at often takes nothing from others."""
    own = (reports.c.schedule == schedule, reports.c.report["cluster"].as_string() == cluster)
    oldest = connection.execute(
        select(reports.c.taken_at).where(*own).order_by(reports.c.taken_at.desc()).offset(MOST_REPORTS - 1).limit(1)
    ).scalar()
    if oldest is not None:
        connection.execute(delete(reports).where(*own, reports.c.taken_at < oldest))
