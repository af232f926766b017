"""What the commands share that work on an execution: find it, run it, and say what to type next."""

import shlex
from collections.abc import AsyncIterator
from typing import Any

from rich.console import Console
from typer import Exit

from bot.access import person
from bot.cli import plans
from bot.cli.lines import command, write
from bot.cli.shared import Refused, Usage, print_json, run_async, say, text_console
from bot.diagnose import library
from bot.interventions import awaited, to_type
from bot.remedy import engine
from bot.settings import Settings
from bot.store import State
from bot.wiring import Target
from runbooks.engine import Refusal
from runbooks.events import StepEvent
from runbooks.execution import HELD, Execution, Said
from runbooks.execution import State as ExecutionState


def found(state: State, execution: str) -> Execution:
    """One execution as it is now, after what has expired was ended.

    Raises:
        Usage: there is none of that id.
    """
    sweep(state)
    try:
        return state.runbooks.get(execution)
    except KeyError:
        raise Usage(f"There is no execution {execution!r}: `unstick runbook history` lists them.") from None


def sweep(state: State) -> None:
    """End what has expired before it began, and say so: whoever comes next should know why it is over."""
    for execution in state.runbooks.expire(state.runbooks.now()):
        ended = state.runbooks.get(execution)
        say(f"{execution} ({ended.plan.runbook}, asked for by {ended.plan.requester}) is void: {ended.reason}.")


def refuse(refusal: Refusal) -> Any:
    """End the command with all reasons of a refusal."""
    reasons = "".join(f"\n  - {reason}" for reason in refusal.reasons)
    raise Refused(f"{refusal.what}:{reasons}") from None


def console_of(output: str) -> Console:
    """Where people read on while a document is made: beside it."""
    return text_console() if output == "text" else _errors()


def _errors() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def run_to_its_end(settings: Settings, target: Target, state: State, execution: Execution, output: str) -> None:
    """Run an execution, show its progress, and exit with 1 where it did not end well."""
    console = console_of(output)

    async def work() -> None:
        async with engine(settings, target, state, library(settings)) as running:
            await _show(running.run(execution.id, person(settings, cluster=target.name)), console)

    try:
        run_async(work)
    except Refusal as refusal:
        refuse(refusal)
    ended = state.runbooks.get(execution.id)
    if output == "json":
        show_json(state, ended)
    what_next(ended)
    if ended.state is not ExecutionState.DONE:
        raise Exit(1)


async def _show(events: AsyncIterator[StepEvent], console: Console) -> None:
    async for event in events:
        plans.event(console, event)


def show_json(state: State, execution: Execution) -> None:
    """One execution as the document on stdout."""
    print_json(plans.execution_json(execution, state.runbooks))


def what_next(execution: Execution) -> None:
    """Say on stderr what to type next, where an execution waits for a person."""
    lines = next_commands(execution)
    if not lines:
        return
    console = _errors()
    write(console, f"{execution.id} is {execution.state}" + (f": {execution.reason}" if execution.reason else ""))
    for line, meaning in lines:
        write(console, f"{meaning}:", indent=2)
        command(console, line, 4)


def next_commands(execution: Execution) -> list[tuple[str, str]]:
    """What may be typed next, each with what it does; nothing where nobody has to do anything."""
    of, state = f"unstick runbook {{}} {execution.id}", execution.state
    if state not in HELD:
        return []
    cancel = (f"{of.format('cancel')} --why TEXT", "to end it here, where what was done stands")
    if state is ExecutionState.PAUSED:
        return [(of.format("run"), "to go on with it, once nothing stands in the way"), cancel]
    if state is ExecutionState.IN_DOUBT:
        return [
            (of.format("run"), "to look again what became of the act, and go on"),
            (f"{of.format('decide')} done|not-done --why TEXT", "as an admin, where that can never be seen"),
        ]
    word = {
        Said.DONE: (of.format("done"), "once you have done it by hand"),
        Said.ATTESTED: (
            f"{of.format('attest')} --confirm {shlex.quote(to_type(execution) or '')}",
            "to give your word",
        ),
        Said.RETRY: (of.format("retry"), "to try the step again"),
    }[awaited(execution) or Said.RETRY]
    return [word, (f"{of.format('skip')} --why TEXT", "as an admin, to leave the step out"), cancel]
