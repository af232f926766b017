"""Makes health reports and posts them: those of a schedule, and those that somebody asks for."""

import asyncio
import base64
from functools import partial

from sqlalchemy import Connection

from bot.reports.making import ASKED, Made, keep, make
from bot.schedule import key_of
from bot.settings import SettingsError
from bot.slack.blocks.report import report as report_blocks
from bot.slack.desk import Desk
from bot.slack.jobs import AskReport, MakeReport
from bot.store.messages import Content
from diagnostics.catalog import chosen


async def report(desk: Desk, job: MakeReport) -> None:
    """Look, compare with the last report, keep this one, and post it, in one transaction and once for each firing."""
    words = desk.settings.schedules.get(job.schedule)
    if words is None:
        raise SettingsError(f"There is no schedule {job.schedule!r} in the configuration any more.")
    checks = chosen(words.areas, words.checks)
    made = await make(desk.target(words.cluster), desk.state, job.schedule, checks, words.namespaces)
    desk.metrics.scanned(made.report.cluster, made.found.report, made.found.seconds)
    if words.only_if_changed and not made.report.is_news:
        await keep(made, desk.state, job.schedule)
        return
    files = await asyncio.to_thread(_files, made, f"schedule {job.schedule}")
    key = key_of(job.schedule, job.fires) if job.fires else None

    def told(connection: Connection) -> None:
        add = partial(desk.state.messages.add_within, connection, job.channel)
        message = add(report_blocks(made.report, f"Schedule {job.schedule}"), key=key)
        for place, (text, file) in enumerate(files):
            add(text, parent=message, file=file, key=None if key is None else f"{key}/{place}")

    await keep(made, desk.state, job.schedule, told)
    desk.wake()


async def ask(desk: Desk, job: AskReport) -> None:
    """Make a report for whoever asks, in the message that waits for it."""
    await desk.insist(desk.person(job.asker, desk.cluster(job.cluster)), (None,), "no report is made")
    made = await make(desk.target(job.cluster), desk.state, ASKED, chosen())
    desk.metrics.scanned(made.report.cluster, made.found.report, made.found.seconds)
    files = await asyncio.to_thread(_files, made, "asked for in Slack")

    def told(connection: Connection) -> None:
        for place, (text, file) in enumerate(files):
            key = f"report/asked/{job.message}/{place}"
            desk.state.messages.add_within(connection, job.channel, text, parent=job.message, file=file, key=key)

    # Told first and kept afterwards: where a crash comes in between, the next one finds the same to be news.
    await desk.edit(job.message, report_blocks(made.report, "Asked for"))
    await keep(made, desk.state, ASKED, told)
    desk.wake()


def _files(made: Made, name: str) -> list[tuple[Content, dict[str, str]]]:
    """The trend as a picture, once there is one, and all of it as a page."""
    when = f"{made.report.taken_at:%Y-%m-%d-%H%M}"
    files = [_file("The whole report, to open in a browser", f"health-{when}.html", made.page(name).encode())]
    if len(made.trend) > 1:
        files.insert(0, _file("Findings by area, last 7 days", f"trend-{when}.png", made.chart()))
    return files


def _file(title: str, name: str, data: bytes) -> tuple[Content, dict[str, str]]:
    return Content(title), {"name": name, "title": title, "base64": base64.b64encode(data).decode()}
