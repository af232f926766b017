"""Renders what is answered from the store at once: the open incidents, what was run, who somebody is."""

from collections.abc import Sequence
from typing import NamedTuple

from bot.access import Grant
from bot.answers import moment
from bot.incidents import Incident
from bot.slack.blocks import kit
from bot.slack.blocks.answers import standing, told, told_of
from bot.slack.blocks.progress import clock
from bot.slack.blocks.text import SENTENCE, code, cut, mention, words
from bot.slack.words import COMMAND
from bot.store.messages import Content
from runbooks.store import Execution, State

_RANKS = {"🔴": 0, "❔": 1, "🟠": 2, "🔵": 3, "🟢": 4}
_MARKS = {
    State.WAITING: "⏳", State.APPROVED: "⏳", State.RUNNING: "▶️", State.ASKING: "✋", State.PAUSED: "⏸️",
    State.DONE: "✅", State.FAILED: "❌", State.IN_DOUBT: "❔",
}  # fmt: skip
_ALLOWED = {
    "viewer": "look: why, check, locks, incidents and reports",
    "responder": "ask for runbooks, run what is of low risk, ack and snooze incidents, freeze",
    "approver": "approve what others ask for, freeze and thaw",
    "admin": "skip a step, say what became of an act in doubt, freeze and thaw",
}


class Linked(NamedTuple):
    """An incident, and the address of its message, where that is posted."""

    incident: Incident
    link: str | None


def link(text: str, address: str | None) -> str:
    """Words that lead somewhere; just the words where there is nowhere to lead. They are escaped already."""
    if address is None or not address.startswith(("https://", "http://")) or set(address) & set("<>| \n"):
        return text
    return f"<{address.replace('&', '&amp;')}|{text.replace('|', '¦')}>"


def worst_first(open_ones: Sequence[Linked]) -> list[Linked]:
    """Incidents as a reader wants them: the worst first, of equals the oldest."""
    return sorted(open_ones, key=lambda each: (_RANKS.get(standing(each.incident)[0], 9), each.incident.opened))


def incident_line(each: Linked) -> str:
    """One incident: how it stands, what it is about, who has it."""
    what = each.incident
    mark, word = standing(what)
    name = link(f"*{words(word)}: {words(str(what.subject), 160)}*", each.link)
    more = f" and {len(what.others)} more" if what.others else ""
    said = words(told(what.subject, told_of(what).summary).removeprefix(f"{what.subject}: "), SENTENCE)
    small = [code(cut(what.id, 80)), words(what.cluster, 100), f"since {clock(what.opened)}"]
    small += [f"acked by {mention(what.acked_by)}"] if what.acked_by else []
    small += [f"snoozed until {clock(what.snoozed_until)}"] if what.snoozed_until else []
    return f"{mark} {name}{more}  {said}\n        {' · '.join(small)}"


def incidents(open_ones: Sequence[Linked], where: str, hidden: int = 0) -> Content:
    """The open incidents; `hidden` are those of namespaces that the reader may not look into."""
    number = len(open_ones)
    said = f"{number} open incident{'' if number == 1 else 's'} in {words(where, 200)}" if number else (
        f"No incident is open in {words(where, 200)}"
    )  # fmt: skip
    lines = [incident_line(each) for each in worst_first(open_ones)]
    return kit.content(
        said,
        kit.section(f"*{said}*"),
        kit.paragraphs(kit.fitting(lines, lambda n: f"and {n} more: the app's home has all of them", 4 * kit.ROOM)),
        [kit.context(f"and {hidden} that you may not look into: `{COMMAND} whoami` says where you may")]
        if hidden
        else [],
    )


def execution_line(what: Execution, address: str | None) -> str:
    """One execution: how it stands, for whom, and when it was asked for."""
    plan = what.plan
    name = link(f"*{words(f'{plan.runbook}@{plan.version}', 160)}*", address)
    why = f": {words(what.reason, 160)}" if what.reason else ""
    return (
        f"{_MARKS.get(what.state, '⛔')} {name} {words(what.state.replace('_', ' '))}{why}\n"
        f"        {code(what.id)} · {words(what.plan.cluster, 100)} · for {mention(plan.requester)} · {moment(what.created)}"
    )


def history(done: Sequence[tuple[Execution, str | None]], where: str, hidden: int = 0) -> Content:
    """What was asked for and run lately, the newest first."""
    said = f"What was run lately in {words(where, 200)}" if done else f"Nothing was run in {words(where, 200)} yet"
    lines = [execution_line(each, address) for each, address in done]
    return kit.content(
        said,
        kit.section(f"*{said}*"),
        kit.paragraphs(
            kit.fitting(lines, lambda n: f"and {n} more: `unstick runbook history` shows all", 4 * kit.ROOM)
        ),
        [kit.context(f"and {hidden} in namespaces that you may not look into")] if hidden else [],
    )


def who(grant: Grant, asked: str) -> Content:
    """Who somebody is, by which rule, and what that allows, in plain words."""
    roles = ", ".join(grant.roles) or "none"
    others = [each for each in (grant.id, *grant.also) if each != asked]
    lines = [
        f"*You are* {mention(asked)} ({code(asked)})"
        + (f", known as {', '.join(code(cut(each, 100)) for each in others)} too" if others else ""),
        f"*Roles*  {words(roles)}, says {code(cut(grant.by, 200))}",
        f"*Namespaces*  {_places(grant.namespaces)}",
        f"*Clusters*  {_places(grant.clusters)}",
    ]
    may = [f"• {_ALLOWED[role]}" for role in _ALLOWED if role in grant.roles] or [
        "• nothing: `people` and `groups` in unstick.yaml name who may do what"
    ]
    return kit.content(
        f"You are {words(grant.id, 200)}, with the roles {words(roles)}",
        kit.paragraphs(lines),
        kit.paragraphs(["*What you may do*", *may]),
    )


def _places(named: Sequence[str]) -> str:
    if not named:
        return "all"
    shown = ", ".join(code(cut(each, 100)) for each in named[:12])
    return shown + (f" and {len(named) - 12} more" if len(named) > 12 else "")
