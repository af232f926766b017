"""Renders an incident: from the symptom down to the root cause, a line a link, and what is being done about it."""

import shlex

from bot.answers import moment
from bot.incidents import Incident, IncidentState, same
from bot.slack.blocks import kit, progress
from bot.slack.blocks.answers import root_word, standing, told_of
from bot.slack.blocks.kit import Json
from bot.slack.blocks.progress import Run, clock, named, notes, notes_that_stay, step_lines
from bot.slack.blocks.text import SENTENCE, code, cut, escaped, words
from bot.slack.words import Button, Click, offer_name
from bot.store.messages import Content
from diagnostics.model import Evidence, Finding, Link
from runbooks.offers import Offer
from runbooks.store import State

__all__ = ["Run", "evidence", "incident"]

_MOST_OFFERS = 5
_MOST_OTHERS = 5


def incident(what: Incident, run: Run | None) -> Content:
    """The message of an incident; `run` is the latest execution that was asked for in it."""
    finding = told_of(what)
    mark, word = standing(what)
    over = what.state is IncidentState.RESOLVED
    says = words(finding.summary, 2 * SENTENCE)
    told: list[Json] = [kit.section(f"*{words(what.note, 2 * SENTENCE)}*")] if over and what.note else []
    more = _more(what)
    told.append(kit.section(f"_It was:_ {says}" if over else f"*{says}*{more and chr(10)}{more}"))
    return kit.content(
        f"{mark} {word}: {says}{more and ', '}{more}" + (f" ({words(what.note)})" if over and what.note else ""),
        kit.header(f"{mark} {word}: {cut(str(what.subject), 110)}"),
        told,
        kit.paragraphs(_chain(finding)[-1:] if over else _chain(finding)),
        kit.paragraphs(_unseen(finding)),
        kit.paragraphs([] if over else _beside(what)),
        _execution(run, over=over),
        _buttons(what, run),
        kit.context(
            f"{code(cut(what.id, 80))} · {words(what.cluster, 100)} · opened {moment(what.opened)}"
            f" · looked at {moment(what.updated)}"
        ),
    )


def _beside(what: Incident) -> list[str]:
    lines = [f"🔎 *found beside it*: {words(says)}" for says in what.answer.beside]
    return kit.fitting(lines, lambda n: f"🔎 and {n} more: `unstick why` on the command line shows all", kit.ROOM // 2)


def _more(what: Incident) -> str:
    """What else waits for the same root: `and 2 more: billing/ledger-0, media/reports-0`."""
    names = [str(each).removeprefix(f"{each.kind} ") for each in what.others]
    shown = [words(name, 120) for name in names[:_MOST_OTHERS]]
    return f"and {len(names)} more: {', '.join(shown)}{', …' * (len(names) > _MOST_OTHERS)}" if names else ""


def _chain(finding: Finding) -> list[str]:
    """A line a link. The last one, the root cause, is never among those that are left out."""
    if not finding.chain:
        root = f"*{root_word(finding).capitalize()}*  {words(str(finding.root))}"
        return [root] if finding.root is not None and finding.root != finding.subject else []
    *before, last = finding.chain
    lines = [f"↓  {_link(link)}" for link in before]
    shown = kit.fitting(lines, lambda n: f"↓  and {n} more links: *{Button.SHOW_EVIDENCE.label}*")
    label = f"*{root_word(finding).upper()}*  " if before else ""
    return [*shown, f"➡️  {label}{_link(last)}"]


def _link(link: Link) -> str:
    return f"{words(str(link.subject))} {words(link.says)}"


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
            notes_that_stay(run) if over else step_lines(run),
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
    looks = (kit.button(Button.SHOW_EVIDENCE, click), kit.button(Button.WHY, click))
    offers = what.answer.offers if same(what.answer.finding.subject, what.subject) else ()
    busy = run is not None and not run.execution.state.ended and not (
        run.execution.state is State.WAITING and run.expired
    )  # fmt: skip
    if what.state is IncidentState.RESOLVED or busy or not offers:
        return kit.actions(*looks)
    if len(offers) == 1:
        plan = kit.button(Button.PLAN_FIX, Click(incident=what.id, offer=offer_name(offers[0])), "primary")
        return [kit.context(f"A runbook answers this: {_offer(offers[0])}"), *kit.actions(plan, *looks)]
    shown: list[Json] = [
        kit.section(f"Runbook {_offer(o)}", kit.button(Button.PLAN_FIX, Click(incident=what.id, offer=offer_name(o))))
        for o in offers[:_MOST_OFFERS]
    ]
    if left := len(offers) - len(shown):
        shown.append(kit.context(f"and {left} more: `unstick why` on the command line shows all"))
    return [*shown, *kit.actions(*looks)]


def _offer(offer: Offer) -> str:
    params = " ".join(f"{name}={shlex.quote(value)}" for name, value in offer.params.items())
    return f"{code(cut(f'{offer.runbook}@{offer.version}', 120))} {words(params)}"


def evidence(what: Incident) -> Content:
    """What proves an incident: every link with its evidence, what was not seen, and what changed lately."""
    finding, changes = told_of(what), what.answer.changes
    seen = what.answer.looked or what.updated
    lines = [line for link in finding.chain for line in _proofs(link)]
    shown = kit.fitting(
        lines, lambda n: f"and {n} more lines: `unstick why` on the command line shows all", 3 * kit.ROOM
    )
    lately = [f"{escaped(moment(c.when) or '')}  {words(str(c.subject), 120)}: {words(c.says)}" for c in changes]
    lately = kit.fitting(lately, lambda n: f"and {n} more changes: `unstick why` shows all", kit.ROOM // 2)
    name = words(str(finding.subject))
    return kit.content(
        f"Evidence for {name}, as of the last look that found it, {clock(seen)}",
        kit.section(f"*Evidence* for {name}, as of the last look that found it, {moment(seen)}"),
        kit.paragraphs(shown or ["No evidence was kept with what was found."]),
        kit.paragraphs(_unseen(finding)),
        kit.paragraphs(["*What changed lately*", *lately] if lately else []),
    )


def _proofs(link: Link) -> list[str]:
    return [f"*{_link(link)}*", *(f"        {_proof(link, proof)}" for proof in link.evidence)]


def _proof(link: Link, proof: Evidence) -> str:
    own = proof.source.removeprefix(f"{link.subject.kind.lower()} ")
    source = "its message" if own == f"{link.subject.namespace}/{link.subject.name}" else proof.source
    return f"{words(source)}: {words(proof.text)}"
