"""How findings went over the last days, from the reports that were kept. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from bot.reports import HealthReport

DAYS = timedelta(days=7)


class Point(msgspec.Struct, frozen=True):
    """What one report counted: findings by area, and how many checks could not look."""

    at: datetime
    found: dict[str, int]
    blind: int


def trend(reports: Iterable[HealthReport], now: datetime) -> tuple[Point, ...]:
    """The points of the last seven days, the oldest first. Reports about some namespaces only are left out.

    A report that ran only some areas tells of these alone.
    """
    points = [
        Point(report.taken_at, {area.area: area.found for area in report.areas}, sum(a.blind for a in report.areas))
        for report in reports
        if not report.namespaces and report.areas and now - DAYS <= report.taken_at <= now
    ]
    return tuple(sorted(points, key=lambda point: point.at))
