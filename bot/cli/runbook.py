"""The runbook commands: list, show, diff, lint, schema, plan, run, approve, deny, history."""

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from bot.access import person
from bot.cli import plans, runbook_test
from bot.cli.executions import console_of, found, refuse, run_to_its_end, show_json, sweep, what_next
from bot.cli.lines import command, printable, write
from bot.cli.shared import (
    CephConf,
    Cluster,
    Config,
    Context,
    Output,
    Refused,
    print_json,
    run_async,
    settings_of,
    state_of,
    target_of,
    text_console,
    with_progress,
)  # fmt: skip
from bot.diagnose import library
from bot.remedy import engine
from bot.settings import Settings
from runbooks.approval import Decision, may_request
from runbooks.catalog import NoSuchRunbookError
from runbooks.catalog import lint as lint_paths
from runbooks.engine import Refusal, has_died
from runbooks.format import differences
from runbooks.format import schema as schemas
from runbooks.loader import NoSuchPathError, RunbookErrors
from runbooks.model import Risk
from runbooks.parameters import BadParametersError, parse_parameters
from runbooks.plan import Plan
from runbooks.store import Execution
from runbooks.vocabulary import vocabulary

app = typer.Typer(no_args_is_help=True, help="Versioned runbooks: look at them, plan them, run them with approval.")
runbook_test.register(app)
USAGE = (NoSuchRunbookError, NoSuchPathError, RunbookErrors, BadParametersError)

Params = Annotated[list[str] | None, typer.Option("-p", "--param", help="NAME=VALUE; may be repeated.")]
_EXECUTION = re.compile(r"ex-[0-9a-f]{8}")


@app.command("list")
def list_runbooks(config: Config = None, output: Output = "text") -> None:
    """List the runbooks with all their versions. An id alone means its pinned version, else its latest."""
    books = library(settings_of(config))
    if output == "json":
        print_json([plans.book_json(book, books) for book in books.all()])
        return
    for book in books.all():
        write(text_console(), f"{book.name}  {', '.join(plans.standing(book, books))}  {book.title}")


@app.command()
def show(runbook: str, config: Config = None, output: Output = "text") -> None:
    """Show one runbook: what it means, what it may cost, what it does."""
    books = library(settings_of(config))
    book = books.find(runbook)
    if output == "json":
        document = book.model_dump(mode="json", by_alias=True, exclude_none=True)
        print_json({**document, "sha256": book.sha256, **plans.book_json(book, books)})
        return
    plans.show(text_console(), book, books)


@app.command()
def diff(
    runbook: Annotated[str, typer.Argument(help="ID of a runbook.")],
    version: Annotated[str, typer.Argument(help="The version to begin from.")],
    other: Annotated[str, typer.Argument(help="The version to compare with it.")],
    config: Config = None, output: Output = "text",
) -> None:  # fmt: skip
    """Compare two versions of a runbook: first in words what changed for whoever runs it, then line by line."""
    books = library(settings_of(config))
    old, new = (books.find(f"{runbook}@{each}") for each in (version, other))
    changes = differences.changes(old, new, vocabulary())
    lines = differences.unified(old, new, *(Path(book.source).read_text("utf-8-sig") for book in (old, new)))
    if output == "json":
        versions = {"id": old.id, "from": old.version, "to": new.version}
        print_json({"version": 1, **versions, "changes": list(changes), "diff": "\n".join(lines)})
        return
    plans.diff(text_console(), changes, lines)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a runbook, for editors."""
    typer.echo(schemas.text(vocabulary()), nl=False)


@app.command()
def lint(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders; default: the built-in ones.")] = None,
) -> None:
    """Judge runbooks without running them. Each mistake is a line FILE:LINE:COLUMN: what, and what to write instead."""
    if not paths:
        found = library().all()
        text_console().print(f"{len(found)} built-in runbooks are sound.")
        return
    problems = lint_paths(paths, vocabulary())  # beside the built-in ones
    for problem in problems:
        text_console().print(printable(str(problem)))
    if problems:
        raise typer.Exit(2)
    text_console().print("No mistakes.")
    runbook_test.recommend(paths)


@app.command()
def plan(
    runbook: str, param: Params = None, context: Context = None, ceph_conf: CephConf = None, config: Config = None,
    cluster: Cluster = None, output: Output = "text", record: runbook_test.Record = None,
) -> None:  # fmt: skip
    """Plan a runbook from fresh facts: what it would do, to what, and every guard's answer. Changes nothing."""
    made = _plan(runbook, param, settings_of(config), context, ceph_conf, cluster, record)
    _print_plan(made, output)
    raise typer.Exit(1 if made.refusals else 0)


def _plan(
    runbook: str, param: list[str] | None, settings: Settings, context: str | None, ceph_conf: str | None,
    cluster: str | None, record: Path | None = None,
) -> Plan:  # fmt: skip
    books = library(settings)
    book = books.find(runbook)
    params = parse_parameters(book, param or ())
    target, state = target_of(settings, cluster, context, ceph_conf), state_of(settings)

    async def work() -> Plan:
        async with engine(settings, target, state, books) as running:
            return await runbook_test.planned(running, book, params, person(settings, cluster=target.name), record)

    return with_progress("Planning …", work)


def _print_plan(made: Plan, output: str, execution: str | None = None) -> None:
    if output == "json":
        document = {**msgspec.to_builtins(made), "risk": made.risk, "refusals": list(made.refusals)}
        print_json({"version": 1, "execution": execution, "confirm": made.confirmation, "plan": document})
    else:
        plans.plan(text_console(), made)


@app.command()
def run(
    runbook: Annotated[str, typer.Argument(help="ID[@VERSION], or an execution to go on with.")],
    param: Params = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run a plan of low risk without asking.")] = False,
    context: Context = None, ceph_conf: CephConf = None, config: Config = None, cluster: Cluster = None,
    output: Output = "text",
) -> None:  # fmt: skip
    """Ask for a runbook to be run. What is dangerous waits for another person: `unstick runbook approve`."""
    settings = settings_of(config)
    target, state = target_of(settings, cluster, context, ceph_conf), state_of(settings)
    if _EXECUTION.fullmatch(runbook):
        run_to_its_end(settings, target, state, found(state, runbook), output)
        return
    made = _plan(runbook, param, settings, context, ceph_conf, cluster)
    # What would be refused is not worth a question. A "no" must leave nothing that somebody else could start.
    asks = (
        made.risk is Risk.LOW
        and not yes
        and not (made.refusals or may_request(made, person(settings, cluster=made.cluster)))
    )
    if asks:
        plans.plan(console_of(output), made)
        if not (sys.stdin.isatty() and typer.confirm("Run it?", err=True)):
            raise Refused("The plan was not confirmed, so nothing was asked for or changed: confirm it, or give --yes.")

    async def work() -> Execution:
        async with engine(settings, target, state, library(settings)) as running:
            return await running.request(made, person(settings, cluster=target.name))

    try:
        execution = run_async(work)
    except Refusal as refusal:
        refuse(refusal)
    at_once = made.risk in (Risk.READ, Risk.LOW)
    if not asks and (output == "text" or not at_once):  # one document: of a run at once, that is the execution
        _print_plan(made, output, execution.id)
    if at_once:
        run_to_its_end(settings, target, state, execution, output)
        return
    if output == "text":
        confirm = f" --confirm {shlex.quote(made.confirmation)}" if made.confirmation else ""
        console = text_console()
        console.print()
        write(console, f"{execution.id} waits for another person's approval until {made.expires:%H:%M:%S} UTC:")
        command(console, f"unstick runbook approve {execution.id}{confirm}", 2)


@app.command()
def approve(
    execution: str,
    confirm: Annotated[str | None, typer.Option("--confirm", help="The target's name, typed, for a critical plan.")] = None,
    context: Context = None, ceph_conf: CephConf = None, config: Config = None, cluster: Cluster = None,
    output: Output = "text",
) -> None:  # fmt: skip
    """Approve an execution, as another person than its requester, and run it."""
    settings = settings_of(config)
    target, state = target_of(settings, cluster, context, ceph_conf), state_of(settings)
    asked = found(state, execution)

    async def work() -> Decision:
        async with engine(settings, target, state, library(settings)) as running:
            return await running.approve(asked, person(settings, cluster=target.name), confirm)

    try:
        decision = with_progress("Judging the plan anew …", work)
    except Refusal as refusal:
        refuse(refusal)
    if not decision.allowed:
        if output == "json":
            show_json(state, found(state, execution))
        else:
            write(text_console(), f"Approved; {'; '.join(decision.reasons)}.")
        return
    run_to_its_end(settings, target, state, found(state, execution), output)


@app.command()
def deny(
    execution: str, why: Annotated[str, typer.Option("--why", help="What the requester should know.")] = "",
    config: Config = None, cluster: Cluster = None,
) -> None:  # fmt: skip
    """Deny an execution that waits for approval."""
    settings = settings_of(config)
    target, state = target_of(settings, cluster, None, None), state_of(settings)
    asked = found(state, execution)

    async def work() -> None:
        async with engine(settings, target, state, library(settings)) as running:
            await running.deny(asked, person(settings, cluster=target.name), why)

    try:
        run_async(work)
    except Refusal as refusal:
        refuse(refusal)
    text_console().print(f"{execution} is denied.")
    for entry in state.runbooks.entries(execution):
        text_console().print(f"  done before that, and it stands: {entry.act.says}")


@app.command()
def history(
    execution: Annotated[str | None, typer.Argument(help="One execution, with its journal.")] = None,
    config: Config = None, output: Output = "text",
) -> None:  # fmt: skip
    """List the executions, newest first, or show one with all its acts."""
    state = state_of(settings_of(config))
    state.runbooks.interrupted(has_died)
    sweep(state)
    shown = (found(state, execution),) if execution else state.runbooks.history()
    if output == "json":
        print_json([plans.execution_json(each, state.runbooks) for each in shown])
        return
    for each in shown:
        plans.execution(text_console(), each, state.runbooks if execution else None)
    if execution:
        what_next(shown[0])
