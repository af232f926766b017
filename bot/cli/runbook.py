"""The runbook commands: list, show, lint, plan, run, approve, deny, history."""

import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from bot.cli import plans
from bot.cli.lines import command, printable, write
from bot.cli.shared import (
    CephConf,
    Cluster,
    Config,
    Context,
    Output,
    Refused,
    Usage,
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
from bot.store import State
from bot.wiring import Target, person
from runbooks.approval import Decision, may_request
from runbooks.catalog import NoSuchRunbookError
from runbooks.engine import Refusal, has_died
from runbooks.events import Say, StepEvent
from runbooks.loader import NoSuchPathError, RunbookErrors
from runbooks.loader import lint as lint_paths
from runbooks.model import Risk
from runbooks.parameters import BadParametersError, parse_parameters
from runbooks.plan import Plan
from runbooks.store import Execution
from runbooks.store import State as ExecutionState
from runbooks.vocabulary import vocabulary

app = typer.Typer(no_args_is_help=True, help="Versioned runbooks: look at them, plan them, run them with approval.")
USAGE = (NoSuchRunbookError, NoSuchPathError, RunbookErrors, BadParametersError)

Params = Annotated[list[str] | None, typer.Option("-p", "--param", help="NAME=VALUE; may be repeated.")]
_EXECUTION = re.compile(r"ex-[0-9a-f]{8}")


@app.command("list")
def list_runbooks(config: Config = None, output: Output = "text") -> None:
    """List the runbooks and their versions."""
    books = library(settings_of(config)).all()
    if output == "json":
        print_json([{"id": b.id, "version": b.version, "status": b.status, "title": b.title} for b in books])
        return
    for book in books:
        write(text_console(), f"{book.name}  {book.status}  {book.title}")


@app.command()
def show(runbook: str, config: Config = None, output: Output = "text") -> None:
    """Show one runbook: what it means, what it may cost, what it does."""
    book = library(settings_of(config)).find(runbook)
    if output == "json":
        print_json({**book.model_dump(mode="json", by_alias=True, exclude_none=True), "sha256": book.sha256})
        return
    plans.show(text_console(), book)


@app.command()
def lint(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders; default: the built-in ones.")] = None,
) -> None:
    """Judge runbooks without running them. Each mistake is a line FILE:LINE:COLUMN: what, and what to write instead."""
    if not paths:
        found = library().all()
        text_console().print(f"{len(found)} built-in runbooks are sound.")
        return
    problems = lint_paths(paths, vocabulary())
    for problem in problems:
        text_console().print(printable(str(problem)))
    if problems:
        raise typer.Exit(2)
    text_console().print("No mistakes.")


@app.command()
def plan(
    runbook: str, param: Params = None, context: Context = None, ceph_conf: CephConf = None, config: Config = None,
    cluster: Cluster = None, output: Output = "text",
) -> None:  # fmt: skip
    """Plan a runbook from fresh facts: what it would do, to what, and every guard's answer. Changes nothing."""
    made = _plan(runbook, param, settings_of(config), context, ceph_conf, cluster)
    _print_plan(made, output)
    raise typer.Exit(1 if made.refusals else 0)


def _plan(
    runbook: str, param: list[str] | None, settings: Settings, context: str | None, ceph_conf: str | None,
    cluster: str | None,
) -> Plan:  # fmt: skip
    books = library(settings)
    book = books.find(runbook)
    params = parse_parameters(book, param or ())
    target, state = target_of(settings, cluster, context, ceph_conf), state_of(settings)

    async def work() -> Plan:
        async with engine(settings, target, state, books) as running:
            return await running.plan(book, params, person(settings))

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
        _run_to_its_end(settings, target, state, _execution(state, runbook), output)
        return
    made = _plan(runbook, param, settings, context, ceph_conf, cluster)
    # What would be refused is not worth a question. A "no" must leave nothing that somebody else could start.
    asks = made.risk is Risk.LOW and not yes and not (made.refusals or may_request(made, person(settings)))
    if asks:
        plans.plan(_console(output), made)
        if not (sys.stdin.isatty() and typer.confirm("Run it?", err=True)):
            raise Refused("The plan was not confirmed, so nothing was asked for or changed: confirm it, or give --yes.")

    async def work() -> Execution:
        async with engine(settings, target, state, library(settings)) as running:
            return await running.request(made, person(settings))

    try:
        execution = run_async(work)
    except Refusal as refusal:
        _refuse(refusal)
    at_once = made.risk in (Risk.READ, Risk.LOW)
    if not asks and (output == "text" or not at_once):  # one document: of a run at once, that is the execution
        _print_plan(made, output, execution.id)
    if at_once:
        _run_to_its_end(settings, target, state, execution, output)
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
    asked = _execution(state, execution)

    async def work() -> Decision:
        async with engine(settings, target, state, library(settings)) as running:
            return await running.approve(asked, person(settings), confirm)

    try:
        decision = with_progress("Judging the plan anew …", work)
    except Refusal as refusal:
        _refuse(refusal)
    if not decision.allowed:
        if output == "json":
            print_json(plans.execution_json(_execution(state, execution), ()))
        else:
            write(text_console(), f"Approved; {'; '.join(decision.reasons)}.")
        return
    _run_to_its_end(settings, target, state, _execution(state, execution), output)


@app.command()
def deny(
    execution: str, why: Annotated[str, typer.Option("--why", help="What the requester should know.")] = "",
    config: Config = None, cluster: Cluster = None,
) -> None:  # fmt: skip
    """Deny an execution that waits for approval."""
    settings = settings_of(config)
    target, state = target_of(settings, cluster, None, None), state_of(settings)
    asked = _execution(state, execution)

    async def work() -> None:
        async with engine(settings, target, state, library(settings)) as running:
            await running.deny(asked, person(settings), why)

    try:
        run_async(work)
    except Refusal as refusal:
        _refuse(refusal)
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
    found = (_execution(state, execution),) if execution else state.runbooks.history()
    if output == "json":
        print_json([plans.execution_json(e, state.runbooks.entries(e.id)) for e in found])
        return
    for each in found:
        plans.execution(text_console(), each, state.runbooks.entries(each.id) if execution else ())


def _execution(state: State, execution: str) -> Execution:
    try:
        return state.runbooks.get(execution)
    except KeyError:
        raise Usage(f"There is no execution {execution!r}: `unstick runbook history` lists them.") from None


def _refuse(refusal: Refusal) -> Any:
    reasons = "".join(f"\n  - {reason}" for reason in refusal.reasons)
    raise Refused(f"{refusal.what}:{reasons}") from None


def _console(output: str) -> Console:
    """Where people read on while a document is made: beside it."""
    if output == "text":
        return text_console()
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def _run_to_its_end(settings: Settings, target: Target, state: State, execution: Execution, output: str) -> None:
    console = _console(output)

    async def work() -> None:
        async with engine(settings, target, state, library(settings)) as running:
            await _show(running.run(execution.id, person(settings)), console)

    try:
        run_async(work)
    except Refusal as refusal:
        _refuse(refusal)
    ended = state.runbooks.get(execution.id)
    if output == "json":
        print_json(plans.execution_json(ended, state.runbooks.entries(ended.id)))
    if ended.state is not ExecutionState.DONE:
        raise typer.Exit(1)


async def _show(events: AsyncIterator[StepEvent], console: Console) -> None:
    async for event in events:
        plans.event(console, event)
        if event.say is Say.IN_DOUBT:
            console.print("  go on later with: unstick runbook run EXECUTION")
