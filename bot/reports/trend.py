"""How findings went over the last days, from the reports that were kept. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from bot.reports import AreaCount, HealthReport

DAYS = timedelta(days=7)


class Point(msgspec.Struct, frozen=True):
    """What one report counted: findings by area, and how many checks could not look."""

    at: datetime
    found: dict[str, int]
    blind: int


class Counts(msgspec.Struct, frozen=True):
    """Of a report what a trend is made of: a week of whole reports may be gigabytes."""

    taken_at: datetime
    areas: tuple[AreaCount, ...] = ()
    namespaces: tuple[str, ...] = ()


def trend(reports: Iterable[Counts | HealthReport], now: datetime) -> tuple[Point, ...]:
    """The points of the last seven days, the oldest first. Reports about some namespaces only are left out.

    A report that ran only some areas tells of these alone, and of none of which it ran only some checks: two schedules
    that look at more and at less would draw a line that jumps to and fro, though nothing changes.
    """
    points = [
        Point(report.taken_at, {area.area: area.found for area in whole}, sum(area.blind for area in whole))
        for report in reports
        if not report.namespaces
        and now - DAYS <= report.taken_at <= now
        and (whole := [area for area in report.areas if not area.partly])
    ]
    return tuple(sorted(points, key=lambda point: point.at))
