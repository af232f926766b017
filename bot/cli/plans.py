"""Plans, progress and executions in words and as JSON."""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from bot.answers import moment
from runbooks.engine import Say, StepEvent
from runbooks.guards import Answer
from runbooks.model import Runbook
from runbooks.plan import Plan, PlannedStep
from runbooks.store import Entry, Execution

_ANSWERS = {
    Answer.ALLOWED: ("yes", "green"),
    Answer.REFUSED: ("NO", "bold red"),
    Answer.UNKNOWN: ("UNKNOWN", "magenta"),
}
_SAYS = {
    Say.BEGUN: ("…", "cyan"), Say.DONE: ("done", "green"), Say.SKIPPED: ("skip", "dim"), Say.NOTE: ("note", "bold"),
    Say.REFUSED: ("REFUSED", "bold red"), Say.FAILED: ("FAILED", "bold red"), Say.IN_DOUBT: ("IN DOUBT", "magenta"),
    Say.ENDED: ("end", "bold"),
}  # fmt: skip


def plan(console: Console, made: Plan) -> None:
    """A plan for a person to judge: steps, targets, guards, who pays, and whether it may be run."""
    console.print(Text(f"{made.runbook}@{made.version}  risk {made.risk}", style="bold"))
    for name, value in made.params.items():
        console.print(f"  {name} = {value}")
    for step in made.steps:
        _step(console, step, "  ")
    refusals = made.refusals
    if refusals:
        console.print(Text("\nRefused:", style="bold red"))
        for reason in refusals:
            console.print(f"  - {reason}")
    else:
        console.print(f"\nAllowed until {moment(made.expires)}. Plan {made.hash}")


def _step(console: Console, step: PlannedStep, indent: str) -> None:
    if step.skipped is not None:
        console.print(Text(f"{indent}{step.id}: skipped: {step.skipped}", style="dim"))
        return
    risk = f"  [{step.act.risk}]" if step.act else ""
    console.print(f"{indent}{step.id}: {step.says}{risk}")
    for target in step.act.targets if step.act else ():
        console.print(Text(f"{indent}    on {target} ({target.uid})", style="dim"))
    if step.act and step.act.dies:
        console.print(Text(f"{indent}    what dies: {', '.join(step.act.dies)}", style="bold red"))
    for ruling in step.rulings:
        word, style = _ANSWERS[ruling.answer]
        console.print(Text.assemble(f"{indent}    {ruling.guard}: ", (word, style), f": {'; '.join(ruling.reasons)}"))
    if step.otherwise is not None:
        _step(console, step.otherwise, indent + "  otherwise ")


def show(console: Console, book: Runbook) -> None:
    """A runbook for a person to read."""
    console.print(Text(f"{book.name}  {book.status}: {book.title}", style="bold"))
    console.print(f"owner {book.owner}; answers {', '.join(book.answers) or 'nothing'}; sha256 {book.sha256}\n")
    console.print(f"{book.meaning}\n{book.impact}")
    for name, parameter in book.parameters.items():
        needed = "required" if parameter.required else "optional"
        console.print(f"  -p {name}=…  {parameter.kind}, {needed}: {parameter.description}")
    console.print()
    for step in book.steps:
        what = step.act or step.check or (step.prove.name if step.prove else None) or step.kind
        guards = ", ".join(call.name for call in (*step.when, *step.require))
        console.print(f"  {step.id}: {step.kind} {what}" + (f"  (behind {guards})" if guards else ""))


def event(console: Console, what: StepEvent) -> None:
    """One line of progress."""
    word, style = _SAYS[what.say]
    console.print(Text.assemble((f"{word:>8}", style), f"  {what.step or 'execution'}: {what.text}"))


def execution(console: Console, what: Execution, entries: Sequence[Entry]) -> None:
    """One execution, and its journal where it is given."""
    made = what.plan
    reason = f": {what.reason}" if what.reason else ""
    console.print(
        f"{what.id}  {moment(what.created)}  {what.state}  {made.runbook}@{made.version}  by {made.requester}{reason}"
    )
    for entry in entries:
        console.print(f"    {moment(entry.intended)}  {entry.step}: {entry.act.says}: {entry.outcome or 'no outcome'}")


def execution_json(what: Execution, entries: Sequence[Entry]) -> dict[str, Any]:
    """One execution as a document."""
    return {
        "id": what.id, "state": what.state, "reason": what.reason, "created": moment(what.created),
        "ended": moment(what.ended), "runbook": what.plan.runbook, "version": what.plan.version,
        "params": what.plan.params, "risk": what.plan.risk, "requester": what.plan.requester, "plan": what.plan.hash,
        "expires": moment(what.plan.expires), "confirm": what.plan.confirmation,
        "acts": [
            {"step": e.step, "attempt": e.attempt, "act": msgspec.to_builtins(e.act), "intended": moment(e.intended),
             "outcome": e.outcome, "said": e.said} for e in entries
        ],
    }  # fmt: skip
