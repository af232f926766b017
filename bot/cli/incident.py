"""The incident commands: list them, show one, and export one's timeline for the post-mortem."""

from typing import Annotated, Literal

import typer
from rich.console import Console

from bot import timeline
from bot.answers import moment
from bot.cli import text
from bot.cli.lines import write
from bot.cli.shared import (
    Cluster,
    Config,
    Output,
    Usage,
    global_options,
    print_json,
    settings_of,
    state_of,
    text_console,
)
from bot.incidents import Incident, IncidentState, times
from bot.store import State

app = typer.Typer(no_args_is_help=True, help="What was found stuck: what is open, what happened, and who did what.")
Id = Annotated[str, typer.Argument(help="The id of an incident, as in-1a2b3c4d.")]
Form = Annotated[Literal["markdown", "json"], typer.Option("-o", "--output", help="markdown or json.")]
_RECENT = 50


@app.command("list")
def list_incidents(
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    config: Config = None, cluster: Cluster = None, output: Output = "text",
) -> None:  # fmt: skip
    """List the open incidents, then those that were over last; of one cluster where that is named."""
    settings = settings_of(config)
    named = cluster or global_options.get("cluster")
    wanted = settings.cluster(named)[0] if named else None
    kept = state_of(settings).incidents
    over = () if open_only else (each for each in kept.recent(_RECENT) if each.state is IncidentState.RESOLVED)
    shown = [*kept.open(wanted), *(each for each in over if wanted in (None, each.cluster))]
    if output == "json":
        print_json([timeline.short(each) for each in shown])
        return
    console = text_console()
    for each in shown:
        _line(console, each)
    if not shown:
        write(console, "There is no open incident." if open_only else "There has been no incident.", style="dim")


@app.command()
def show(incident: Id, config: Config = None, output: Output = "text") -> None:
    """Show one incident: why it is stuck, and what has happened so far."""
    state = state_of(settings_of(config))
    found = _found(state, incident)
    events, done = state.incidents.events(incident), timeline.done_about(state, incident)
    if output == "json":
        print_json(timeline.document(found, events, done))
        return
    console = text_console()
    _line(console, found)
    if found.note:
        write(console, found.note, indent=2)
    for other in found.others:
        write(console, f"waits for the same: {other}", indent=2)
    console.print()
    text.why(console, found.answer)
    console.print()
    for each in timeline.happened(found, events, done):
        who = f"{each.who}: " if each.who else ""
        write(console, f"{moment(each.at)}  ", (who, "bold"), each.says, hang=22)


@app.command()
def export(incident: Id, config: Config = None, output: Form = "markdown") -> None:
    """Print what happened in an incident, for the post-mortem: who did what when, and how long it took."""
    state = state_of(settings_of(config))
    found = _found(state, incident)
    if output == "json":
        print_json(timeline.document(found, state.incidents.events(incident), timeline.done_about(state, incident)))
        return
    typer.echo(timeline.export(state, incident), nl=False)


def _found(state: State, incident: str) -> Incident:
    try:
        return state.incidents.get(incident)
    except KeyError:
        raise Usage(f"There is no incident {incident!r}: `unstick incident list` lists them.") from None


def _line(console: Console, what: Incident) -> None:
    """An incident in a line, and who has it."""
    over = what.state is IncidentState.RESOLVED
    style = "green" if over else "bold red"
    told = [f"opened {moment(what.opened)}"]
    told += [f"resolved {moment(what.resolved)}"] if over else []
    told += [f"acked by {what.acked_by}"] if what.acked_by and not over else []
    told += (
        [f"snoozed by {what.snoozed_by} until {moment(what.snoozed_until)}"] if what.snoozed_until and not over else []
    )
    told += [f"came back {times(what.returns)}"] if what.returns else []
    says = what.answer.finding.summary
    write(console, (what.state.value, style), f"  {what.id}  {what.cluster}  {what.subject}: {says}", hang=10)
    write(console, ", ".join(told), indent=2, style="dim")
