"""`unstick report`: the health of a cluster, compared with the last report, as words, JSON, a page or a picture."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bot import answers
from bot.cli import report_text
from bot.cli.shared import (
    CephConf,
    Cluster,
    Config,
    Context,
    Output,
    Usage,
    print_json,
    say,
    settings_of,
    state_of,
    target_of,
    text_console,
    with_progress,
)
from bot.reports.making import ASKED, Made, keep, make
from bot.store import State
from bot.wiring import Target
from diagnostics.catalog import chosen
from diagnostics.model import Severity


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    html: Annotated[Path | None, typer.Option("--html", help="Write it as one HTML file.")] = None,
    chart: Annotated[Path | None, typer.Option("--chart", help="Write the trend of the last 7 days as a PNG.")] = None,
    context: Context = None, ceph_conf: CephConf = None, config: Config = None, cluster: Cluster = None,
    output: Output = "text",
) -> None:  # fmt: skip
    """Tell what is new, worse and resolved since the last report, and how it went over the last 7 days."""
    for path in (html, chart):
        if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise Usage(f"{path} cannot be written: {path.parent} is no folder that can be written to.")
    settings = settings_of(config)
    target, state = target_of(settings, cluster, context, ceph_conf), state_of(settings)
    made = with_progress("Looking …", lambda: _made(target, state))
    if output == "json":
        print_json(answers.report(made.report, made.trend))
    else:
        report_text.report(text_console(), made.report)
    try:
        if html is not None:
            html.write_text(made.page("unstick report"), encoding="utf-8", errors="replace")
        if chart is not None:
            chart.write_bytes(made.chart())
    except OSError as error:
        raise Usage(f"{error.filename} cannot be written ({error.strerror}): name another file.") from None
    for path in (html, chart):
        if path is not None:
            say(f"wrote {path}")
    if not made.report.areas:
        say("Nothing was looked at: set KUBECONFIG and CEPH_CONF, or write an unstick.yaml (`unstick config check`).")
    bad = any(trouble.severity.rank >= Severity.WARNING.rank for trouble in made.report.found)
    told = made.report
    unseen = told.unseen or told.unjudged or told.forgotten or (told.locks is not None and told.locks.unread)
    raise typer.Exit(1 if bad else 3 if unseen else 0)


async def _made(target: Target, state: State) -> Made:
    made = await make(target, state, ASKED, chosen())
    await keep(made, state, ASKED)
    return made
