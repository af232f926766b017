"""An incident told for the post-mortem: what was seen, who did what when, how long it took. Markdown, or JSON.

All of it comes from the store; no secret is in it, because none is in what is kept.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain

import msgspec

from bot import answers
from bot.answers import Json, moment
from bot.incidents import UNSTICK, Event, Incident, IncidentState, What, times
from bot.store import State
from diagnostics.model import Change, Link
from runbooks.approval import Approval
from runbooks.execution import Entry, Execution, Statement

_MARKUP = re.compile(r"([\\`*_{}\[\]#|~])")
_LINE_BEGINS = re.compile(r"^([-+>]|\d+[.)])")


class Done(msgspec.Struct, frozen=True):
    """What was asked for in an incident, who approved it, and what was done and said of it."""

    execution: Execution
    approvals: tuple[Approval, ...] = ()
    entries: tuple[Entry, ...] = ()
    statements: tuple[Statement, ...] = ()


class Entered(msgspec.Struct, frozen=True):
    """A line of the timeline."""

    at: datetime
    who: str
    says: str


def done_about(state: State, incident: str) -> tuple[Done, ...]:
    """Everything that was asked for in an incident, the oldest first. It blocks: call it in a thread."""
    asked = (request.execution for request in state.requests.of_incident(incident))
    store = state.runbooks
    found = [
        Done(store.get(each), store.approvals(each), store.entries(each), store.statements(each)) for each in asked
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda done: done.execution.created))


def export(state: State, incident: str) -> str:
    """An incident's timeline as Markdown, from the store. It blocks: call it in a thread.

    Raises:
        KeyError: there is none of that id.
    """
    found = state.incidents.get(incident)
    return timeline(found, state.incidents.events(incident), done_about(state, incident), found.answer.changes)


def timeline(incident: Incident, events: Sequence[Event], executions: Sequence[Done], changes: Sequence[Change]) -> str:
    """An incident as Markdown: its chain, its durations, what happened in order, what changed before, what was not seen."""
    finding = incident.answer.finding
    over = incident.state is IncidentState.RESOLVED
    stands = f"resolved {moment(incident.resolved or incident.updated)}: {_plain(incident.note)}" if over else "open"
    parts = [
        [f"# Incident {_plain(incident.id)}: {_plain(str(incident.subject))}"],
        [
            f"- Cluster: {_plain(incident.cluster)}",
            f"- State: {stands}",
            f"- What: {_plain(finding.summary)}",
            f"- Root: {_plain(str(finding.root)) if finding.root else 'not known'}",
            f"- Cause: {_plain(finding.cause or 'not known')}",
            *_others(incident),
        ],
        ["## How long it took", "", *_durations(incident, events, executions)],
        ["## What was seen", "", *_seen(finding.chain)],
        ["## What changed before it broke", "", *_changed(changes, finding.since)],
        ["## What happened", "", *(_line(each) for each in happened(incident, events, executions))],
        ["## What was not seen", "", *_unseen(incident)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def happened(incident: Incident, events: Sequence[Event], executions: Sequence[Done]) -> tuple[Entered, ...]:
    """All that happened in an incident, in order."""
    since = incident.answer.finding.since
    began = [Entered(since, "", "it began, as far as is known")] if since and since <= incident.opened else []
    told = (Entered(each.at, each.who, f"{each.what}: {each.says}" if each.says else str(each.what)) for each in events)
    lines = chain(began, told, *(_of_execution(each) for each in executions))
    return tuple(sorted(lines, key=lambda line: line.at))


def _of_execution(done: Done) -> Iterator[Entered]:
    execution, plan = done.execution, done.execution.plan
    name = f"{execution.id} ({plan.runbook}@{plan.version})"
    params = " ".join(f"{key}={value}" for key, value in plan.params.items())
    yield Entered(execution.created, plan.requester, f"asked for {name}, of risk {plan.risk}: {params}")
    for approval in done.approvals:
        yield Entered(approval.at, approval.person.id, f"approved {execution.id}")
    for said in done.statements:
        words = f": {said.said}" if said.said else ""
        yield Entered(said.at, said.person, f"said of step {said.step} of {execution.id}: {said.kind}{words}")
    for entry in done.entries:
        outcome = f"{entry.outcome or 'no outcome is known'}{f', {entry.said}' if entry.said else ''}"
        yield Entered(entry.intended, UNSTICK, f"{entry.act.says} (step {entry.step} of {execution.id}): {outcome}")
    if execution.ended is not None:
        reason = f": {execution.reason}" if execution.reason else ""
        yield Entered(execution.ended, UNSTICK, f"{name} ended: {execution.state}{reason}")


def _others(incident: Incident) -> list[str]:
    if not incident.others:
        return []
    names = ", ".join(_plain(str(each)) for each in incident.others)
    return [f"- Waits for the same root: {names}"]


def _durations(incident: Incident, events: Sequence[Event], executions: Sequence[Done]) -> list[str]:
    """Each from the moment that it is measured from; what did not happen is said to be so."""
    since, opened = incident.answer.finding.since, incident.opened
    acked = next((each.at for each in events if each.what is What.ACKED), None)
    asked = min((each.execution.created for each in executions), default=None)
    approved = min((a.at for each in executions for a in each.approvals), default=None)
    acted = min((entry.intended for each in executions for entry in each.entries), default=None)
    first_over = next((each.at for each in events if each.what is What.RESOLVED), incident.resolved)
    began = moment(since) if since and since <= opened else None
    lines = [
        f"- Began: {began or 'not known'}",
        f"- To notice: {_took(since, opened) if began else 'not known'} (noticed {moment(opened)})",
        _since_noticed("ack", opened, acked),
        _since_noticed("ask for a fix", opened, asked),
        _since_noticed("approval", opened, approved),
        _since_noticed("the first act", opened, acted),
        _since_noticed("the end", opened, first_over),
    ]
    if incident.returns:
        lines.append(
            f"- It came back {times(incident.returns)}; it was open for {_lasted(_open_for(incident, events))} in all"
        )
    return lines


def _since_noticed(what: str, opened: datetime, when: datetime | None) -> str:
    return f"- From then to {what}: {f'{_took(opened, when)} ({moment(when)})' if when else 'it did not come to that'}"


def _open_for(incident: Incident, events: Sequence[Event]) -> timedelta:
    """How long it was open in all; what is open still counts to the last look."""
    total, start = timedelta(0), None
    for each in events:
        if each.what in (What.OPENED, What.BACK):
            start = each.at
        elif each.what is What.RESOLVED and start is not None:
            total, start = total + (each.at - start), None
    return total + (max(incident.updated - start, timedelta(0)) if start is not None else timedelta(0))


def _seen(links: Sequence[Link]) -> list[str]:
    lines = []
    for number, link in enumerate(links, 1):
        lines.append(f"{number}. **{_plain(str(link.subject))}** {_plain(link.says)}")
        lines += [f"   - {_plain(proof.source)}: {_plain(proof.text)}" for proof in link.evidence]
    return lines or ["No chain was found."]


def _changed(changes: Sequence[Change], since: datetime | None) -> list[str]:
    before = [each for each in changes if since is None or each.when <= since]
    told = sorted(before, key=lambda change: change.when)
    lines = [f"- {moment(each.when)} {_plain(str(each.subject))}: {_plain(each.says)}" for each in told]
    return lines or ["Nothing that is known."]


def _unseen(incident: Incident) -> list[str]:
    missing = (*incident.answer.finding.unseen, *incident.answer.changes_unseen)
    return [f"- {_plain(each)}" for each in dict.fromkeys(missing)] or ["Nothing that mattered."]


def _line(entered: Entered) -> str:
    who = f" {_plain(entered.who)}:" if entered.who else ""
    return f"- {moment(entered.at)}{who} {_plain(entered.says)}"


def _took(start: datetime | None, end: datetime) -> str:
    return _lasted(end - start) if start is not None else "not known"


def _lasted(time: timedelta) -> str:
    """`1 h 2 min 5 s`: the parts that are not nought."""
    seconds = max(0, round(time.total_seconds()))
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def _plain(text: str) -> str:
    """Other people's words on one line, as words: nothing in them is markup, or steers a terminal."""
    flat = "".join(c if c.isprintable() else " " if c in "\t\r\n" else f"\\x{ord(c):02x}" for c in text).strip()
    shown = _MARKUP.sub(r"\\\1", flat).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LINE_BEGINS.sub(r"\\\1", shown)


def short(incident: Incident) -> Json:
    """An incident in a list."""
    return {
        "id": incident.id, "cluster": incident.cluster, "state": incident.state,
        "subject": answers.subject(incident.subject), "others": [answers.subject(each) for each in incident.others],
        "summary": incident.answer.finding.summary, "opened": moment(incident.opened),
        "resolved": moment(incident.resolved), "acked_by": incident.acked_by, "acked": moment(incident.acked),
        "snoozed_by": incident.snoozed_by, "snoozed_until": moment(incident.snoozed_until),
        "returns": incident.returns, "flapping": incident.flapping,
    }  # fmt: skip


def document(incident: Incident, events: Sequence[Event], executions: Sequence[Done]) -> Json:
    """An incident as a whole."""
    answer = incident.answer
    lines = happened(incident, events, executions)
    return {
        "version": 1,
        **short(incident),
        "note": incident.note,
        "finding": answers.why(
            answer.status, answer.finding, answer.offers, answer.changes, answer.beside, answer.changes_unseen
        ),
        "executions": [each.execution.id for each in executions],
        "timeline": [{"at": moment(each.at), "who": each.who, "says": each.says} for each in lines],
    }
