"""Plans, progress and executions in words and as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from bot.answers import moment
from bot.cli.lines import command, printable, write
from bot.interventions import awaited
from diagnostics.model import Subject
from runbooks.catalog import Library
from runbooks.events import Say, StepEvent
from runbooks.guards import Answer
from runbooks.model import Risk, Runbook, Step
from runbooks.plan import Plan, PlannedStep
from runbooks.store import Execution, Store

_ANSWERS = {
    Answer.ALLOWED: ("yes", "green"),
    Answer.REFUSED: ("NO", "bold red"),
    Answer.UNKNOWN: ("UNKNOWN", "magenta"),
}
_LINES = {"+": "green", "-": "red", "@": "cyan"}
_TO_COPY = ("note", "manual")  # they hold commands: a line break in one would spoil the copy
_RISKS = {Risk.READ: "green", Risk.LOW: "cyan", Risk.HIGH: "yellow", Risk.CRITICAL: "bold red"}
_SAYS = {
    Say.BEGUN: ("…", "cyan"), Say.DONE: ("done", "green"), Say.SKIPPED: ("skip", "dim"), Say.NOTE: ("note", "bold"),
    Say.REFUSED: ("REFUSED", "bold red"), Say.FAILED: ("FAILED", "bold red"), Say.IN_DOUBT: ("IN DOUBT", "magenta"),
    Say.ENDED: ("end", "bold"),
}  # fmt: skip


def plan(console: Console, made: Plan) -> None:
    """A plan for a person to judge: steps, targets, guards, who pays, and whether it may be run."""
    write(console, (f"{made.runbook}@{made.version}", "bold"), "  risk ", (made.risk, _RISKS[made.risk]))
    for name, value in made.params.items():
        write(console, f"{name} = {value}", indent=2)
    for step in made.steps:
        console.print()
        _step(console, step, 2)
    refusals = made.refusals
    _taken_back(console, made)
    if refusals:
        console.print(Text("\nRefused:", style="bold red"))
        for reason in refusals:
            write(console, f"- {reason}", indent=2, hang=2)
    else:
        write(console, "")
        write(console, ("Allowed", "bold green"), f" until {moment(made.expires)}.")
        write(console, f"plan {made.hash}", style="dim")


def _taken_back(console: Console, made: Plan) -> None:
    """What a failure of a later step would take back, in the order in which it would be."""
    back = [step.undoing for step in reversed(made.steps) if step.undoing is not None and step.skipped is None]
    if back:
        write(console, "")
        write(console, "Taken back, newest first, where a later step fails that says so:", style="bold")
    for act in back:
        write(console, f"- {act.says}", (f"  [{act.risk}]", _RISKS[act.risk]), indent=2, hang=2)


def _step(console: Console, step: PlannedStep, indent: int, prefix: str = "") -> None:
    if step.skipped is not None:
        write(console, f"{prefix}{step.id}: skipped: {step.skipped}", indent=indent, style="dim")
        return
    if step.kind in _TO_COPY:
        command(console, f"{prefix}{step.id}: {step.says}", indent)
        return
    risk: tuple[str, str] = (f"  [{step.act.risk}]", _RISKS[step.act.risk]) if step.act else ("", "")
    write(console, prefix, (f"{step.id}: ", "bold"), step.says, risk, indent=indent)
    for target in step.act.targets if step.act else ():
        write(console, f"on {target} ({_identity(target)})", indent=indent + 2, style="dim")
    for target in step.attest.targets if step.attest else ():
        what = f"waits for a person who types {target.name} ({_identity(target)})"
        write(console, what, indent=indent + 2, style="yellow")
    for line in step.act.shows if step.act else ():
        console.print(Text(" " * (indent + 4) + printable(line), style=_LINES.get(line[:1], "dim")))
    if step.act and step.act.dies:
        write(console, f"what dies: {', '.join(step.act.dies)}", indent=indent + 2, style="bold red")
    for ruling in step.rulings:
        answer, style = _ANSWERS[ruling.answer]
        write(
            console, (f"{answer:<7} ", style), f"{ruling.guard}: {'; '.join(ruling.reasons)}", indent=indent + 2, hang=8
        )
    if step.otherwise is not None:
        _step(console, step.otherwise, indent + 2, "otherwise ")


def _identity(target: Subject) -> str:
    """What tells a target from another of the same name: its UID, or the Ceph cluster that it lies in."""
    fsid, slash, _ = target.uid.partition("/")
    return f"Ceph {fsid}" if slash else target.uid or "no UID"


def standing(book: Runbook, books: Library) -> list[str]:
    """What a version is among the others: its status, and whether its id alone means it."""
    successor = f" -> {book.successor}" if book.successor else ""
    marks = [f"{book.status}{successor}"]
    return marks + ["latest"] * books.is_latest(book) + ["pinned"] * books.is_pinned(book)


def book_json(book: Runbook, books: Library) -> dict[str, Any]:
    """One version of a runbook as one of a list."""
    return {
        "id": book.id, "version": book.version, "status": book.status, "title": book.title,
        "latest": books.is_latest(book), "pinned": books.is_pinned(book), "successor": book.successor,
    }  # fmt: skip


def diff(console: Console, changes: Sequence[str], lines: Sequence[str]) -> None:
    """What changed between two versions, in words and line by line."""
    if not lines:
        write(console, "The two are the same.")
        return
    write(console, "; ".join(changes) or "only texts, times or arguments changed", style="bold")
    for line in lines:
        console.print(Text(printable(line), style=_LINES.get(line[:1], "")))


def show(console: Console, book: Runbook, books: Library) -> None:
    """A runbook for a person to read."""
    write(console, f"{book.name}  {', '.join(standing(book, books))}: {book.title}", style="bold")
    if book.deprecation:
        write(console, book.deprecation, style="yellow")
    versions = ", ".join(each.version for each in books.versions(book.id))
    write(console, f"versions {versions}; new in this one: {book.changelog}")
    write(console, f"owner {book.owner}; answers {', '.join(book.answers) or 'nothing'}; sha256 {book.sha256}")
    for text in (book.meaning, book.impact):
        console.print()
        for line in text.strip().splitlines():
            write(console, line, hang=2)
    console.print()
    for name, parameter in book.parameters.items():
        needed = "required" if parameter.required else "optional"
        write(console, f"-p {name}=…  {parameter.kind}, {needed}: {parameter.description}", indent=2)
    console.print()
    for step in book.steps:
        guards = ", ".join(call.name for call in (*step.when, *step.require))
        behind = (f"  (behind {guards})" if guards else "", "dim")
        failed = (f"  (on failure: {step.on_failure})" if step.on_failure != "stop" else "", "dim")
        write(console, (f"{step.id}: ", "bold"), f"{step.kind} {_what(step)}", behind, failed, indent=2)


def _what(step: Step) -> str:
    """What a step does, in the runbook's own words."""
    if step.wait is not None:
        within = f", within {step.within.total_seconds():g} s" if step.within else ""
        otherwise = f", otherwise {step.otherwise.act}" if step.otherwise and step.otherwise.act else ""
        return ", ".join(f"until {name} is {phase}" for name, phase in step.wait.items()) + within + otherwise
    becomes = f" becomes {step.becomes}" if step.becomes else ""
    proved = step.prove.name if step.prove else None
    return (step.act or step.check or proved or step.attest or step.manual or step.note or "") + becomes


def event(console: Console, what: StepEvent) -> None:
    """One line of progress."""
    said, style = _SAYS[what.say]
    if what.say is Say.NOTE:
        command(console, f"{said:>8}  {what.step or 'execution'}: {what.text}")
        return
    write(console, (f"{said:>8}", style), f"  {what.step or 'execution'}: {what.text}", hang=12)


def execution(console: Console, what: Execution, store: Store | None) -> None:
    """One execution; with a store also who approved it, what was said of its steps, and its journal."""
    made = what.plan
    reason = f": {what.reason}" if what.reason else ""
    name = f"{made.runbook}@{made.version}"
    write(console, (what.id, "bold"), f"  {moment(what.created)}  {what.state}  {name}  by {made.requester}{reason}")
    for when, says in _story(what, store) if store is not None else ():
        write(console, f"{moment(when) or '':<20}  {says}", indent=4, hang=22)
    if what.wanted is not None:
        write(console, f"asked to {what.wanted} after the act that is under way", indent=4, style="yellow")
    if what.asking is not None:
        write(console, f"step {what.asking} waits for a person's word", indent=4, style="yellow")


def _story(what: Execution, store: Store) -> list[tuple[datetime, str]]:
    """What people and the engine did, by time."""
    told = [
        (each.at, f"approved by {each.person.id}" + (f", who typed {each.confirmed}" if each.confirmed else ""))
        for each in store.approvals(what.id)
    ]
    told += [
        (each.at, f"{each.step}: {each.kind}, says {each.person}" + (f": {each.said}" if each.said else ""))
        for each in store.statements(what.id)
    ]
    told += [
        (each.intended, f"{each.step}: {each.act.says}: {each.outcome or 'no outcome'}")
        for each in store.entries(what.id)
    ]
    return sorted(told, key=lambda one: one[0])


def execution_json(what: Execution, store: Store) -> dict[str, Any]:
    """One execution as a document."""
    return {
        "id": what.id, "state": what.state, "reason": what.reason, "created": moment(what.created),
        "ended": moment(what.ended), "runbook": what.plan.runbook, "version": what.plan.version,
        "params": what.plan.params, "risk": what.plan.risk, "requester": what.plan.requester, "plan": what.plan.hash,
        "expires": moment(what.plan.expires), "confirm": what.plan.confirmation, "wanted": what.wanted,
        "asking": what.asking, "awaited": awaited(what),
        "approvals": [
            {"person": each.person.id, "at": moment(each.at), "confirmed": each.confirmed}
            for each in store.approvals(what.id)
        ],
        "statements": [
            {"step": each.step, "kind": each.kind, "person": each.person, "said": each.said, "at": moment(each.at)}
            for each in store.statements(what.id)
        ],
        "acts": [
            {"step": e.step, "attempt": e.attempt, "act": msgspec.to_builtins(e.act), "intended": moment(e.intended),
             "outcome": e.outcome, "said": e.said} for e in store.entries(what.id)
        ],
    }  # fmt: skip
