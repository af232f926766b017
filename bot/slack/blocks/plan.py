"""Renders plans and requests for approval: what will be done, to what, who pays for it, and how far it has come.

What decides is never left out unsaid: what does not fit is counted, by namespace where something dies.
"""

from collections.abc import Sequence

import msgspec

from bot.interventions import awaited
from bot.slack.blocks import acts, kit
from bot.slack.blocks.kit import Json
from bot.slack.blocks.modals import (
    approval_modal,
    attestation_modal,
    cancel_modal,
    denial_modal,
    modal_click,
    skip_modal,
)
from bot.slack.blocks.progress import Run, clock, named, notes, people, standing, step_lines
from bot.slack.blocks.text import SENTENCE, code, escaped, mention, words
from bot.slack.words import Button, Click
from bot.store.messages import Content
from bot.store.requests import ShownPlan
from runbooks.execution import Said
from runbooks.plan import Plan
from runbooks.store import Execution, State

__all__ = [
    "Run", "approval_modal", "asked_plan", "attestation_modal", "cancel_modal", "denial_modal", "modal_click", "plan",
    "request", "skip_modal",
]  # fmt: skip

_MOST_MENTIONS = 10
_MOST_DYING = 15
_WORDS = {
    State.WAITING: "Approval needed", State.APPROVED: "Approved", State.RUNNING: "Running",
    State.ASKING: "Waits for a word", State.PAUSED: "Paused", State.CANCELLED: "Cancelled",
    State.IN_DOUBT: "In doubt", State.DONE: "Done", State.FAILED: "Failed", State.DENIED: "Denied", State.VOID: "Void",
}  # fmt: skip


def plan(shown: ShownPlan, changed: Sequence[str] = ()) -> Content:
    """A plan for a person to judge. It can be asked for where nothing refuses it."""
    made = shown.plan
    differs = [f"•  {words(what)}" for what in changed]
    told: list[Json] = []
    if differs:
        more = kit.fitting(differs, lambda n: f"•  and {n} more differences", 1500)
        told = kit.paragraphs(["🔁 *Looked again: it is not the plan that was shown before*", *more])
    if made.refusals:
        return kit.content(f"Refused: {_title(made)}: {words(made.refusals[0])}", told, _refused(made))
    ask = kit.button(Button.REQUEST_APPROVAL, Click(plan=shown.id, plan_hash=made.hash), "primary")
    return kit.content(f"Plan: {_title(made)}, risk {made.risk}", told, _body(made), kit.actions(ask))


def asked_plan(shown: ShownPlan, execution: Execution) -> Content:  # noqa: ARG001 - the execution holds the same plan
    """The plan after somebody asked for it: nobody can ask twice."""
    made = execution.plan
    asked = kit.context(f"{mention(made.requester)} asked for it: {code(execution.id)}")
    return kit.content(f"Plan: {_title(made)}, asked for as {escaped(execution.id)}", _body(made), asked)


def _title(made: Plan) -> str:
    return words(f"{made.runbook}@{made.version}")


def _body(made: Plan) -> list[Json]:
    return [
        kit.section(f"*Plan*  {named(made)}  {acts.risk(made)}"),
        kit.context(acts.parameters(made)),
        *_dies(made),
        *kit.paragraphs(acts.steps(made)),
        *_shown(made),
        kit.context(f"Allowed until {clock(made.expires)}: {acts.guards_counted(made)}"),
    ]


def _shown(made: Plan) -> list[Json]:
    """What people want to see of the acts; Slack folds what is long."""
    return kit.paragraphs(acts.shown(made))


def _dies(made: Plan) -> list[Json]:
    lines = acts.dies(made, most=_MOST_DYING)
    return kit.paragraphs([f"☠️ *What dies*: {len(acts.dying(made))}", *lines]) if lines else []


def _refused(made: Plan) -> list[Json]:
    reasons = [f"•  {words(reason)}" for reason in made.refusals]
    return [
        kit.section(f"⛔ *Refused*  {named(made)}"),
        kit.context(acts.parameters(made)),
        *kit.paragraphs(
            kit.fitting(
                reasons, lambda n: f"•  and {n} more reasons: `unstick runbook plan` on the command line shows all",
                2 * kit.ROOM,
            )
        ),
        kit.context("Nothing was changed."),
    ]  # fmt: skip


def request(run: Run, approvers: Sequence[str]) -> Content:
    """A request for approval and what becomes of it. Approvers are called while it waits for them, and not after."""
    execution, made = run.execution, run.execution.plan
    expired = run.ran_out or (execution.state is State.WAITING and run.expired)
    word = "Expired" if expired else _WORDS[execution.state]
    head = f"{word}: {made.runbook}@{made.version}"
    asks = f"{mention(made.requester)} {'asks' if run.open_to_approval else 'asked'} for {named(made)}, {acts.risk(made)}  ({code(execution.id)})"
    return kit.content(
        f"{words(head)}, risk {made.risk} ({escaped(execution.id)})",
        kit.header(f"{_mark(run)} {head}"),
        kit.section(f"{asks}\n{standing(run)}"),
        _called(run, approvers),
        kit.context(acts.parameters(made)),
        _dies(made) if execution.state is State.WAITING and not expired else (),
        () if expired else _done(run),
        _small_print(run),
        _buttons(run),
    )


def _mark(run: Run) -> str:
    state = run.execution.state
    if run.ran_out:
        return "⌛"
    if state is State.APPROVED and (run.turned_away or run.interrupted):
        return "⏸️"
    if state is State.WAITING:
        return "⌛" if run.expired else acts.RISKS[run.execution.plan.risk]
    return {
        State.DONE: "✅", State.IN_DOUBT: "❔", State.FAILED: "❌", State.VOID: "⛔", State.DENIED: "⛔",
        State.CANCELLED: "⛔", State.ASKING: "✋", State.PAUSED: "⏸️",
    }.get(state, "⏳")  # fmt: skip


def _called(run: Run, approvers: Sequence[str]) -> list[Json]:
    """The people who may approve, while somebody's word is missing; who has given it is not called again."""
    if not run.open_to_approval:
        return []
    given = {each.person.id for each in run.approvals}
    able = [
        mention(each) for each in dict.fromkeys(approvers) if each not in given and each != run.execution.plan.requester
    ]
    if not able:
        return [kit.section("⚠️ Nobody who is known here may approve it: an admin gives somebody the role approver.")]
    rest = f" and {len(able) - _MOST_MENTIONS} more" if len(able) > _MOST_MENTIONS else ""
    return [kit.section(f"May approve: {', '.join(able[:_MOST_MENTIONS])}{rest}")]


def _done(run: Run) -> list[Json]:
    """What will be done; once it has begun, what has become of each step."""
    if not run.begun:
        made = run.execution.plan
        return [] if run.execution.state.ended else [*kit.paragraphs(acts.steps(made)), *_shown(made)]
    lines = kit.fitting(
        step_lines(run), lambda n: f"and {n} more steps: `unstick runbook history` shows what was done", 2 * kit.ROOM
    )
    stands = [f"📌 *{words(each, 2 * SENTENCE)}*" for each in notes(run.steps)]
    return kit.paragraphs([*lines, *kit.fitting(stands, lambda n: f"📌 and {n} more notes")])


def _small_print(run: Run) -> list[Json]:
    """What the guards said, while somebody has to judge; who approved, where it did not come to a good end."""
    if run.execution.state is State.WAITING and not run.expired:
        return [kit.context(f"{acts.guards_counted(run.execution.plan)}; they are asked again before every act")]
    if run.approvals and run.execution.state in (State.FAILED, State.VOID, State.DENIED, State.CANCELLED):
        return [kit.context(f"It was approved by {people(run.approvals)}")]
    return []


_FOR = {Said.DONE: Button.DONE, Said.ATTESTED: Button.ATTEST, Said.RETRY: Button.TRY_AGAIN}


def _buttons(run: Run) -> list[Json]:
    """What may be clicked as it stands now. Who may is judged when somebody does."""
    execution = run.execution
    click = Click(execution=execution.id, plan_hash=execution.plan.hash)
    made: list[Json | None] = []
    if run.open_to_approval:
        made += [kit.button(Button.APPROVE, click, "primary"), kit.button(Button.DENY, click, "danger")]
    if run.may_be_withdrawn:
        made.append(kit.button(Button.WITHDRAW, click))
    if (word := awaited(execution)) is not None:
        of_step = msgspec.structs.replace(click, step=execution.asking or "", after=run.said)
        made += [kit.button(_FOR[word], of_step, "primary"), kit.button(Button.SKIP, of_step)]
    if execution.state in (State.RUNNING, State.ASKING, State.PAUSED) and execution.wanted is None:
        made.append(kit.button(Button.CANCEL, click, "danger"))
    return kit.actions(*made)
