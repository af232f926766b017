"""Makes a health report: looks at a cluster, compares with the last look, and keeps what it came to."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bot import answers
from bot.diagnose import Diagnosis, run_checks
from bot.reports import HealthReport, LockCount, health
from bot.reports.page import page
from bot.reports.trend import DAYS, Point, trend
from bot.store import State
from bot.wiring import Target
from diagnostics.catalog import Listed, all_checks
from diagnostics.facts.ceph import LOCKS
from diagnostics.scan import Report

ASKED = "asked for"
"""What reports are kept under that no schedule made."""
_IN_ORDER = frozenset({"live"})
_MOST_ROWS = 50


@dataclass(frozen=True)
class Made:
    """A report, the look that it was made of, and how it went over the last days, this one included."""

    report: HealthReport
    found: Diagnosis
    trend: tuple[Point, ...]

    def chart(self) -> bytes:
        """The trend as a PNG. It takes a while: call it in a thread."""
        from bot.reports.chart import chart  # slow to import, and no other command needs it

        return chart(self.trend, self.report.cluster, self.report.taken_at)

    def page(self, name: str) -> str:
        """All of it as one HTML file, without anything to load. It takes a while: call it in a thread."""
        return page(self.report, self.trend, name, self.chart())


async def make(
    target: Target, state: State, name: str, checks: Sequence[Listed], namespaces: tuple[str, ...] = ()
) -> Made:
    """Look, and compare with the last report of that name. Nothing is kept yet (`keep`).

    Raises:
        StoreError: the last reports cannot be read.
    """
    found = await run_checks(target, state, checks, namespaces)
    last = await asyncio.to_thread(state.reports.last, name, target.name)
    report = health(last, found.report, lock_count(found.report), _partly(checks))
    earlier = await asyncio.to_thread(state.reports.since, target.name, report.taken_at - DAYS)
    return Made(report, found, trend((*earlier, report), report.taken_at))


def _partly(checks: Sequence[Listed]) -> frozenset[str]:
    """The areas of which some checks are not among these."""
    ids = {each.id for each in checks}
    return frozenset(each.area for each in all_checks() if each.id not in ids)


async def keep(made: Made, state: State, name: str, told: Callable[[Connection], object] = lambda _: None) -> None:
    """Keep a report for the next one to be compared with; `told` says it in the same transaction.

    Raises:
        StoreError: the database cannot be written.
    """
    await asyncio.to_thread(state.reports.keep, name, made.report, told)


def lock_count(report: Report) -> LockCount | None:
    """The locks that a look saw, of all Cephs; None where it did not look at any."""
    looks = list(report.looks.values()) or [report.snapshot]
    if all(look.seen(LOCKS) is None for look in looks):
        return None
    told = answers.locks(None, report.snapshot, report.looks)
    verdicts: dict[str, int] = {}
    for row in told["locks"]:
        verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + 1
    rows = [
        f"{_ceph_of(row)}{row['pool']}/{row['image']}: {row['verdict']}: {row['why']}"
        for row in told["locks"] if row["verdict"] not in _IN_ORDER
    ]  # fmt: skip
    more = len(rows) - _MOST_ROWS
    shown = rows if more <= 0 else [*rows[:_MOST_ROWS], f"and {more} more: `unstick locks` lists them"]
    return LockCount(
        verdicts, sum(pool["images"] for pool in told["pools"]), len(told["pools"]), tuple(shown),
        tuple(f"{_ceph_of(each)}{each['pool']}: {each['reason']}" for each in told["problems"]),
    )  # fmt: skip


def _ceph_of(row: Mapping[str, Any]) -> str:
    """Whose pool it is, where there are several Ceph clusters: each may have one of that name."""
    return f"{row['ceph']}:" if "ceph" in row else ""
