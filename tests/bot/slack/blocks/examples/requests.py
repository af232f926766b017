"""Plans, and requests for approval in each of their states."""

from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from bot.slack.blocks import answers
from bot.slack.blocks import plan as blocks
from bot.slack.blocks.progress import Run
from bot.store.messages import Content
from bot.store.requests import ShownPlan, ToldStep
from runbooks.approval import Approval, Decision, decide
from runbooks.events import Say
from runbooks.plan import Plan
from runbooks.store import State
from tests.bot.slack.blocks.story import ALICE, BOB, Story

APPROVERS = ("U0BOB", "U0CAROL")


def at(run: Run, state: State, reason: str = "", *told: ToldStep, asking: str | None = None) -> Run:
    """The run, in another state and with more told of it."""
    execution = msgspec.structs.replace(run.execution, state=state, reason=reason, asking=asking)
    return replace(run, execution=execution, steps=(*run.steps, *told))


def said(step: str, say: Say, text: str) -> ToldStep:
    """Something that was told on the way."""
    return ToldStep(datetime(2026, 3, 3, 3, 21, tzinfo=UTC), step, say, text)


def attested(story: Story) -> Run:
    """A run that waits for somebody's word that the node is off."""
    begun = story.runs[len(story.runs) // 2]
    act = next(step.act for step in story.plan.steps if step.id == "cordon")
    steps = tuple(
        msgspec.structs.replace(s, kind="attest", says="node node1 is powered off", act=None, attest=act)
        if s.id == "clear" else s for s in begun.execution.plan.steps
    )  # fmt: skip
    plan = msgspec.structs.replace(begun.execution.plan, steps=steps)
    execution = msgspec.structs.replace(begun.execution, plan=plan)
    return at(replace(begun, execution=execution), State.ASKING, "clear: node node1 is powered off", asking="clear")


def _shown(made: Plan) -> ShownPlan:
    return ShownPlan("pl-00000001", "in-1a2b3c4d", made, 9, "C1")


def _with_many_victims(made: Plan) -> Plan:
    names = tuple(f"{space}/worker-{n}" for space, most in (("batch", 170), ("web", 60)) for n in range(most))
    steps = tuple(
        msgspec.structs.replace(s, act=msgspec.structs.replace(s.act, dies=names)) if s.act and s.act.dies else s
        for s in made.steps
    )
    return msgspec.structs.replace(made, steps=steps)


def examples(story: Story) -> dict[str, Content]:
    """Each state as it stands in the thread."""
    waiting, begun, done = story.waiting, story.runs[len(story.runs) // 2], story.runs[-1]
    expires = story.plan.expires
    given = Approval(BOB, story.plan.hash, "node1", waiting.now)
    half = decide(story.plan, (given,), waiting.now, quorum=2)
    late = replace(waiting, now=expires, decision=decide(story.plan, (), expires))
    runs = {
        "waiting": waiting,
        "half_approved": replace(waiting, approvals=(given,), decision=half),
        "expired": late,
        "needs_nobody_else": replace(waiting, decision=Decision(True, ())),
        "denied": at(waiting, State.DENIED, "", said("", Say.ENDED, "denied by U0BOB: not tonight")),
        "approved": at(replace(waiting, approvals=(given,)), State.APPROVED),
        "turned_away": at(
            replace(waiting, approvals=(given,)), State.APPROVED, "",
            said("", Say.REFUSED, "everything is stopped in cluster sandbox by U0ALICE: maintenance"),
        ),
        "running": begun,
        "asking_for_a_word": attested(story),
        "asking_to_try_again": at(
            begun, State.ASKING, "step clear failed: the API server did not answer", said("clear", Say.FAILED, "no answer"),
            asking="clear",
        ),
        "paused": at(begun, State.PAUSED, "everything is stopped in cluster sandbox by U0ALICE: maintenance"),
        "in_doubt": at(begun, State.IN_DOUBT, "whether node node1 was fenced is not known"),
        "failed": at(begun, State.FAILED, "the monitors did not answer within 10 s"),
        "cancelled": at(begun, State.CANCELLED, "", said("", Say.ENDED, "cancelled by U0ALICE: the node is back")),
        "void": at(waiting, State.VOID, "node node1 is Ready again"),
        "done": done,
    }  # fmt: skip
    told = {f"request_{name}": blocks.request(run, [ALICE.id, *APPROVERS]) for name, run in runs.items()}
    execution = waiting.execution
    return told | {
        "plan": blocks.plan(_shown(story.plan)),
        "plan_of_which_hundreds_die": blocks.plan(_shown(_with_many_victims(story.plan))),
        "plan_changed": blocks.plan(_shown(story.plan), ["fence: node_is_down: boot was a, is b"]),
        "plan_asked_for": blocks.asked_plan(_shown(story.plan), execution),
        "plan_refused": blocks.plan(_shown(story.refused)),
        "note_expired": answers.expired(execution, ["U0ALICE"]),
        "frozen": answers.frozen("sandbox", "U0ALICE", "the storage network is being rebuilt"),
        "thawed": answers.thawed("sandbox", "U0BOB", [execution], were_frozen=True),
        "thawed_what_was_not_frozen": answers.thawed("sandbox", "U0BOB", [], were_frozen=False),
    }
