"""Makes and posts the health report of a schedule."""

import asyncio

from bot import reports
from bot.diagnose import run_checks
from bot.settings import SettingsError
from bot.slack.blocks.report import report as report_blocks
from bot.slack.desk import Desk
from bot.slack.jobs import MakeReport
from diagnostics.catalog import chosen


async def report(desk: Desk, job: MakeReport) -> None:
    """Look, compare with the last report, keep this one, and post it."""
    words = desk.settings.schedules.get(job.schedule)
    if words is None:
        raise SettingsError(f"There is no schedule {job.schedule!r} in the configuration any more.")
    target = desk.target(words.cluster)
    checks = chosen(words.areas, words.checks)
    found = await run_checks(target, desk.state, checks, words.namespaces)
    last = await asyncio.to_thread(desk.state.reports.last, job.schedule, target.name)
    made = reports.health(last, found.report)
    content = report_blocks(made, job.schedule)
    await asyncio.to_thread(
        desk.state.reports.keep, job.schedule, made, lambda c: desk.state.messages.add_within(c, job.channel, content)
    )
    desk.wake()
