"""Renders an incident: from the symptom down to the root cause, a line a link, and what is being done about it."""

import re
import shlex
from collections.abc import Sequence

from bot.answers import moment
from bot.incidents import FLAPPING_CLEAN, Incident, IncidentState, ordinal, same, times
from bot.slack.blocks import kit, progress
from bot.slack.blocks.answers import root_word, standing, told_of
from bot.slack.blocks.kit import Json
from bot.slack.blocks.progress import Run, clock, named, notes, notes_that_stay, step_lines
from bot.slack.blocks.text import SENTENCE, code, cut, escaped, mention, words
from bot.slack.words import Button, Click, offer_name
from bot.store.messages import Content
from diagnostics.model import Change, Evidence, Finding, Link, lasting
from runbooks.offers import Offer
from runbooks.store import State

__all__ = ["Run", "awake", "back", "evidence", "incident"]

_MOST_OFFERS = 5
_MOST_OTHERS = 5
_MOST_CHANGES = 3
_STEP = 100  # characters of what became of a step: the request in the thread has all of it


def incident(what: Incident, run: Run | None) -> Content:
    """The message of an incident; `run` is the latest execution that was asked for in it."""
    finding = told_of(what)
    mark, word = standing(what)
    over = what.state is IncidentState.RESOLVED
    says = words(_of_today(what, finding.summary), 2 * SENTENCE)
    more = _more(what)
    brief = words(_of_today(what, _without_name(finding)), 2 * SENTENCE)
    under_way = run is not None and run.begun  # its steps are what people follow then
    told: list[Json] = [kit.section(f"*{words(what.note, 2 * SENTENCE)}*")] if over and what.note else []
    told.append(kit.section(f"_It was:_ {brief}" if over else f"*{brief}*{more and chr(10)}{more}"))
    behind = f" ({words(what.note)})" if over and what.note else _in_short(what, finding)
    return kit.content(
        f"{mark} {word}: {says}{more and ', '}{more}{behind}",
        kit.header(f"{mark} {word}: {cut(str(what.subject), 110)}"),
        _answered(what),
        told,
        kit.paragraphs(_chain(what, finding)[-1:] if over else _chain(what, finding)),
        kit.paragraphs([] if over or under_way else _changed(what)),
        kit.paragraphs(_unseen(finding)),
        _execution(run, over=over),
        _buttons(what, run),
        [] if over or under_way else _beside(what),
        kit.context(" · ".join(_small_print(what))),
    )


def back(what: Incident) -> Content:
    """A note in the thread of an incident that came back."""
    says = words(told_of(what).summary, 2 * SENTENCE)
    said = f"🔁 *Back again*, {ordinal(what.returns + 1)} time: {says}"
    quiet = (
        f"It flaps: from now on it stays open until it has been well for {lasting(FLAPPING_CLEAN)}, "
        "and that it comes back is not told here any more."
    )
    return kit.content(
        f"Back again, {ordinal(what.returns + 1)} time: {says}",
        kit.section(f"{said}\n{quiet}" if what.flapping else said),
    )


def awake(what: Incident, ids: Sequence[str]) -> Content:
    """A note in the thread of an incident that is open still when its snooze is over: it calls whoever snoozed it.

    `ids` are theirs: of several, a Slack user's is one that calls.
    """
    called = [mention(each) for each in ids]
    who = next((each for each in called if each.startswith("<@")), mention(what.snoozed_by or ""))
    said = f"{who}: the snooze is over, and this is open still: {words(told_of(what).summary, 2 * SENTENCE)}"
    return kit.content(said, kit.section(f"⏰ {said}"))


def _small_print(what: Incident) -> list[str]:
    """What it is called, how long it has been there, how often it came back, and whether it seems to be gone."""
    told = [code(cut(what.id, 80)), words(what.cluster, 100), f"opened {moment(what.opened)}"]
    if what.returns:
        told.append(f"came back {times(what.returns)}, last at {moment(what.began)}")
    if what.state is IncidentState.RESOLVED:
        return [*told, f"resolved {moment(what.resolved or what.updated)}"]
    told.append(f"looked at {moment(what.answer.looked or what.updated)}")
    return [*told, f"*not found any more since {moment(what.well_since)}*"] if what.well_since is not None else told


def _answered(what: Incident) -> list[Json]:
    """Who has it, and whether it is quiet: whoever is woken by it reads that first."""
    if what.state is IncidentState.RESOLVED:
        return []
    told = []
    if what.flapping:
        told.append(f"🔁 flapping: open until it has been well for {lasting(FLAPPING_CLEAN)}")
    if what.acked_by:
        told.append(f"👀 acked by {mention(what.acked_by)} at {moment(what.acked)}")
    if what.snoozed_until is not None:
        told.append(f"🔕 snoozed by {mention(what.snoozed_by or '')} until {moment(what.snoozed_until)}")
    return [kit.context("\n".join(told))] if told else []


def _without_name(finding: Finding) -> str:
    """What is wrong, without the name that the heading has."""
    return finding.summary.removeprefix(f"{finding.subject} ".removeprefix(f"{finding.subject.kind} "))


def _of_today(what: Incident, text: str) -> str:
    """Times of the day on which it was last looked at, without that day: the small print has it."""
    seen = what.answer.looked or what.updated
    return re.sub(rf"\b{seen:%Y-%m-%d}T(\d\d:\d\d:\d\d)Z", r"\1 UTC", text)


def _in_short(what: Incident, finding: Finding) -> str:
    """The end of the chain, for a notification."""
    *before, last = finding.chain or (None,)
    if not before or last is None:
        return ""
    says = words(_of_today(what, f"{last.subject} {last.says}"))
    return f". {root_word(finding).capitalize()}: {says}"


def _changed(what: Incident) -> list[str]:
    """The last changes before it broke, the oldest of them first; all others are with the evidence."""
    since = what.answer.finding.since
    before = [each for each in what.answer.changes if since is None or each.when <= since]
    shown = sorted(before, key=lambda change: change.when)[-_MOST_CHANGES:]
    if not shown:
        return []
    lines = [_of_today(what, _change(each)) for each in shown]
    left = len(what.answer.changes) - len(shown)
    more = f" (and {left} more: *{Button.SHOW_EVIDENCE.label}*)" if left else ""
    return [f"🕐 *changed before it broke*{more}", *lines]


def _change(change: Change) -> str:
    return f"{escaped(moment(change.when) or '')}  {words(str(change.subject), 120)}: {words(change.says)}"


def _beside(what: Incident) -> list[Json]:
    """What else is wrong on the way, as small print: it is for the morning after."""
    lines = [f"🔎 found beside it: {words(says)}" for says in what.answer.beside]
    shown = kit.fitting(lines, lambda n: f"🔎 and {n} more: `unstick why` on the command line shows all", kit.ROOM // 2)
    return [kit.context("\n".join(shown))] if shown else []


def _more(what: Incident) -> str:
    """What else waits for the same root: `and 2 more: billing/ledger-0, media/reports-0`."""
    names = [str(each).removeprefix(f"{each.kind} ") for each in what.others]
    shown = [words(name, 120) for name in names[:_MOST_OTHERS]]
    return f"and {len(names)} more: {', '.join(shown)}{', …' * (len(names) > _MOST_OTHERS)}" if names else ""


def _chain(what: Incident, finding: Finding) -> list[str]:
    """A line a link. The last one, the root cause, is never among those that are left out."""
    if not finding.chain:
        root = f"*{root_word(finding).capitalize()}*  {words(str(finding.root))}"
        return [root] if finding.root is not None and finding.root != finding.subject else []
    *before, last = finding.chain
    lines = [f"↓  {_link(what, link)}" for link in before]
    shown = kit.fitting(lines, lambda n: f"↓  and {n} more links: *{Button.SHOW_EVIDENCE.label}*")
    label = f"*{root_word(finding).upper()}*  " if before else ""
    return [*shown, f"\n➡️  {label}{words(str(last.subject))} {words(_of_today(what, last.says))}"]


def _link(what: Incident, link: Link) -> str:
    """What a link says. Nobody knows an event by its name: that is its pod's, with a number."""
    kind = words(link.subject.kind, 80) or "?"
    name = "" if link.subject.kind == "Event" else words(str(link.subject).removeprefix(link.subject.kind).strip())
    return " ".join(filter(None, (f"*{kind}*", name, words(_of_today(what, link.says)))))


def _unseen(finding: Finding, room: int = kit.ROOM // 2) -> list[str]:
    lines = [f"❔ *not seen*: {words(why)}" for why in finding.unseen]
    return kit.fitting(
        lines, lambda n: f"❔ *not seen*: and {n} more, which `unstick why` on the command line shows", room
    )


def _execution(run: Run | None, *, over: bool) -> list[Json]:
    """How the latest execution stands, and its steps once it has begun; afterwards only what stays of it."""
    if run is None:
        return []
    lines = [f"{progress.standing(run)}  ({code(run.execution.id)}, {named(run.execution.plan)})"]
    if run.begun:
        lines += kit.fitting(
            notes_that_stay(run) if over else step_lines(run, _STEP),
            lambda n: f"and {n} more steps: the request in the thread tells",
            2000,
        )
        lines += kit.fitting([f"📌 {words(each)}" for each in notes(run.steps)], _more_notes, 800)
    return [kit.divider(), *kit.paragraphs(lines)]


def _more_notes(left: int) -> str:
    return f"📌 and {left} more notes: the request in the thread tells"


def _buttons(what: Incident, run: Run | None) -> list[Json]:
    """What can be done now. No fix is planned beside one that is open, nor for what is over."""
    click = Click(incident=what.id)
    looks = [kit.button(Button.SHOW_EVIDENCE, click), kit.button(Button.WHY, click)]
    if what.state is IncidentState.OPEN:
        looks += [] if what.acked_by else [kit.button(Button.ACK, click)]
        looks.append(kit.button(Button.SNOOZE, click))
    offers = what.answer.offers if same(what.answer.finding.subject, what.subject) else ()
    busy = run is not None and not run.execution.state.ended and not (
        run.execution.state is State.WAITING and run.expired
    )  # fmt: skip
    if what.state is IncidentState.RESOLVED or busy or not offers:
        return kit.actions(*looks)
    if len(offers) == 1:
        plan = kit.button(Button.PLAN_FIX, Click(incident=what.id, offer=offer_name(offers[0])), "primary")
        return [kit.context(f"A runbook answers this: {_runbook(offers[0])}"), *kit.actions(plan, *looks)]
    shown: list[Json] = [
        kit.section(f"Runbook {_offer(o)}", kit.button(Button.PLAN_FIX, Click(incident=what.id, offer=offer_name(o))))
        for o in offers[:_MOST_OFFERS]
    ]
    if left := len(offers) - len(shown):
        shown.append(kit.context(f"and {left} more: `unstick why` on the command line shows all"))
    return [*shown, *kit.actions(*looks)]


def _offer(offer: Offer) -> str:
    params = " ".join(f"{name}={shlex.quote(value)}" for name, value in offer.params.items())
    return f"{_runbook(offer)} {words(params)}"


def _runbook(offer: Offer) -> str:
    return code(cut(f"{offer.runbook}@{offer.version}", 120))


def evidence(what: Incident) -> Content:
    """What proves an incident: every link with its evidence, what was not seen, and what changed lately."""
    finding, changes = told_of(what), what.answer.changes
    seen = what.answer.looked or what.updated
    lines = [line for link in finding.chain for line in _proofs(link)]
    shown = kit.fitting(
        lines, lambda n: f"and {n} more lines: `unstick why` on the command line shows all", 3 * kit.ROOM
    )
    lately = [_change(each) for each in changes] + [
        f"❔ *not seen of that*: {words(why)}" for why in what.answer.changes_unseen
    ]
    lately = kit.fitting(lately, lambda n: f"and {n} more changes: `unstick why` shows all", kit.ROOM // 2)
    name = words(str(finding.subject))
    return kit.content(
        f"Evidence for {name}, as of the last look that found it, {clock(seen)}",
        kit.section(f"*Evidence* for {name}, as of the last look that found it, {moment(seen)}"),
        kit.paragraphs(shown or ["No evidence was kept with what was found."]),
        kit.paragraphs(_unseen(finding)),
        kit.paragraphs(["*What changed lately*", *lately] if lately else []),
        _beside(what),
    )


def _proofs(link: Link) -> list[str]:
    name = f"{words(str(link.subject))} {words(link.says)}"
    return [f"\n*{name}*", *(f"•  {_proof(link, proof)}" for proof in link.evidence)]


def _proof(link: Link, proof: Evidence) -> str:
    own = proof.source.removeprefix(f"{link.subject.kind.lower()} ")
    source = "its message" if own == f"{link.subject.namespace}/{link.subject.name}" else proof.source
    return f"{words(source)}: {words(proof.text)}"
