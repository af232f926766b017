"""What people do to an execution: words on steps that wait, retries, skips, pauses, cancels, decisions, freezes."""

from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from runbooks.actions import ActFailed, ActStopped, OutcomeUnknown
from runbooks.approval import Person
from runbooks.engine import Engine, Refusal
from runbooks.events import Say, StepEvent
from runbooks.execution import Execution, Said
from runbooks.hands import Hands
from runbooks.interventions import Interventions
from runbooks.model import Runbook
from runbooks.situation import Planned
from runbooks.standing import Admission, Limit, Rules
from runbooks.store import State, Store
from tests.runbooks.conftest import Clock
from tests.runbooks.hand_made import PARAMS, Incident, node, watcher
from tests.runbooks.test_run_steps import CORDON, DELETE, World, book

ALICE = Person("cli:alice", frozenset({"responder"}))
BOB = Person("cli:bob", frozenset({"approver"}))
ROOT = Person("cli:root", frozenset({"admin", "responder"}))
CAROL = Person("cli:carol", frozenset({"viewer"}))
ELSEWHERE = Person("cli:dan", frozenset({"responder", "admin"}), frozenset({"shop"}))
PEOPLE = {one.id: one for one in (ALICE, BOB, ROOT, CAROL, ELSEWHERE)}
HAND = {"id": "hand", "manual": "ssh {{node}} rbd device list"}
ATTEST = {"id": "off", "attest": "node_is_off", "with": {"node": "{{node}}"}}
ABSENT = {"id": "proof", "prove": {"name": "image_has_no_watcher"}}
UNCORDONED = {**CORDON, "undo": "kubernetes.uncordon", "verify": {"name": "node_is_cordoned"}, "timeout": "10s"}


@dataclass
class Does:
    """Hands that change the incident as acts would: a node is cordoned and uncordoned."""

    incident: Incident
    applied: list[str] = field(default_factory=list)
    before: Callable[[Planned], None] = lambda _: None
    after: Callable[[Planned], None] = lambda _: None

    async def admission(self, act: Planned) -> Admission:
        return Admission()

    async def apply(self, act: Planned) -> None:
        self.before(act)
        self.applied.append(act.action)
        if act.action.endswith("cordon"):
            cordoned = act.action == "kubernetes.cordon"
            self.incident.nodes[0] = node("node1", "10.0.0.1", cordoned=cordoned)
        self.after(act)


@dataclass
class Played(World):
    """The incident, and hands that change it."""

    def __post_init__(self) -> None:
        self.does = Does(self.incident)

    @asynccontextmanager
    async def hands(self, requester: str) -> Any:
        hands: Hands = self.does
        yield hands


@dataclass
class Stage:
    """An engine with one runbook, and what people can do to its execution."""

    world: Played
    store: Store
    runbook: Runbook
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        self.engine = Engine(
            "here", self.world, self.store, lambda _: self.runbook, PEOPLE.__getitem__, lambda: self.rules
        )
        self.people = Interventions(self.engine)

    async def asked(self) -> Execution:
        plan = await self.engine.plan(self.runbook, dict(PARAMS), ALICE)
        execution = await self.engine.request(plan, ALICE)
        if plan.risk.rank > 1:
            await self.engine.approve(execution, BOB, plan.confirmation)
        return execution

    async def run(self, execution: Execution, person: Person = ALICE) -> list[StepEvent]:
        return [event async for event in self.engine.run(execution.id, person)]

    def now(self, execution: Execution) -> Execution:
        return self.store.get(execution.id)

    def journal(self, execution: Execution) -> list[tuple[str, str | None]]:
        return [(entry.step, entry.outcome) for entry in self.store.entries(execution.id)]

    def audited(self) -> list[str]:
        assert self.store.audit_fault() is None
        return [row.event for row in self.store.audit_rows()]


@pytest.fixture
def stage(store: Store, clock: Clock) -> Callable[..., Stage]:
    def made(*steps: dict[str, Any], rules: Rules | None = None) -> Stage:
        incident = Incident(nodes=[node("node1", "10.0.0.1"), node("node2", "10.0.0.2")])
        return Stage(Played(incident, clock), store, book(*steps), rules or Rules())

    return made


# Words on a step


async def test_a_run_waits_for_what_is_done_by_hand_and_goes_on_with_the_word(stage: Callable[..., Stage]) -> None:
    it = stage(HAND, UNCORDONED)
    execution = await it.asked()
    events = await it.run(execution)
    assert (it.now(execution).state, it.now(execution).asking, it.world.does.applied) == (State.ASKING, "hand", [])
    assert events[-1].text == "asking: by hand: ssh node1 rbd device list"
    assert (await it.run(execution))[-1].say is Say.ENDED, "running it again says nothing on anybody's behalf"
    assert it.now(execution).state is State.ASKING
    await it.people.say(it.now(execution), ALICE, Said.DONE, "nothing mapped")
    events = await it.run(execution)
    assert it.now(execution).state is State.DONE
    assert any("done by hand, says cli:alice: nothing mapped" in event.text for event in events)
    assert [word.person for word in it.store.statements(execution.id)] == ["cli:alice"]
    assert "done" in it.audited()


@pytest.mark.parametrize(
    ("person", "kind", "confirmed", "reason"),
    [
        (CAROL, Said.ATTESTED, "node1", "neither the role responder nor approver"),
        (ALICE, Said.ATTESTED, "node2", "typing 'node1'"),
        (ALICE, Said.ATTESTED, None, "nothing was typed"),
        (ALICE, Said.DONE, "node1", "waits for an attestation, not for the word that it was done"),
        (ALICE, Said.RETRY, "node1", "waits for an attestation"),
        (ALICE, Said.SKIP, None, "role admin"),
        (ROOT, Said.SKIP, None, "say why"),
    ],
)
async def test_a_word_that_does_not_count_is_refused_and_on_record(
    stage: Callable[..., Stage], person: Person, kind: Said, confirmed: str | None, reason: str
) -> None:
    it = stage(ATTEST, UNCORDONED)
    execution = await it.asked()
    await it.run(execution)
    with pytest.raises(Refusal, match=reason):
        await it.people.say(it.now(execution), person, kind, "", confirmed)
    assert it.store.statements(execution.id) == ()
    assert it.audited()[-1] == "word refused"
    await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.ASKING, [])


async def test_an_attestation_counts_for_a_while_and_is_then_asked_for_again(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    it = stage(ATTEST, UNCORDONED)
    execution = await it.asked()
    await it.run(execution)
    await it.people.say(it.now(execution), BOB, Said.ATTESTED, "", "node1")
    clock.forward(15 * 60)
    with pytest.raises(Refusal, match="the plan expired"):
        await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.VOID, [])


async def test_an_attestation_names_who_gave_it_and_when(stage: Callable[..., Stage]) -> None:
    it = stage(ATTEST, UNCORDONED)
    execution = await it.asked()
    assert any("a person attests: node node1 is powered off" in step.says for step in execution.plan.steps)
    await it.run(execution)
    await it.people.say(it.now(execution), BOB, Said.ATTESTED, "", "node1")
    said = [event.text for event in await it.run(execution) if event.step == "off"]
    assert said[-1].startswith("attested by cli:bob at 03:20:")
    assert it.now(execution).state is State.DONE
    row = next(row for row in it.store.audit_rows() if row.event == "attested")
    assert (row.person, row.execution) == ("cli:bob", execution.id)


async def test_a_plan_that_attests_a_node_that_is_not_there_is_refused(stage: Callable[..., Stage]) -> None:
    it = stage({**ATTEST, "with": {"node": "node9"}})
    plan = await it.engine.plan(it.runbook, dict(PARAMS), ALICE)
    assert any("there is no node node9" in reason for reason in plan.refusals)


async def test_nobody_says_a_word_on_what_does_not_wait(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED)
    execution = await it.asked()
    with pytest.raises(Refusal, match="no step of it waits"):
        await it.people.say(execution, ALICE, Said.DONE)
    await it.run(execution)
    with pytest.raises(Refusal, match="is done: no step of it waits"):
        await it.people.say(execution, ALICE, Said.DONE)


async def test_a_word_keeps_an_approval_alive_for_a_while_and_no_longer(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    it = stage(UNCORDONED, HAND, {**DELETE, "id": "delete", "verify": {"name": "pod_is_gone"}, "timeout": "10s"})
    for late, ends in ((10 * 60, State.DONE), (16 * 60, State.VOID)):
        it.world.incident.nodes[0] = node("node1", "10.0.0.1")
        execution = await it.asked()
        await it.run(execution)
        clock.forward(14 * 60)
        await it.people.say(it.now(execution), ALICE, Said.DONE)
        clock.forward(late)
        it.world.does.after = partial(pod_goes, it.world.incident)
        await it.run(execution)
        it.world.incident.pods = Incident().pods
        assert it.now(execution).state is ends, it.now(execution).reason


def pod_goes(incident: Incident, act: Planned) -> None:
    """The deleted pod goes."""
    if act.action == "kubernetes.delete_pod":
        incident.pods = incident.pods[:1]


# What to do about a failure


async def test_a_failed_act_that_asks_is_tried_again_when_somebody_says_so(stage: Callable[..., Stage]) -> None:
    it = stage({**UNCORDONED, "on_failure": "ask"})
    execution = await it.asked()

    def fails(_: Planned) -> None:
        raise ActFailed("The webhook says no.")

    it.world.does.before = fails
    events = await it.run(execution)
    assert (it.now(execution).state, it.now(execution).asking) == (State.ASKING, "cordon")
    assert "The webhook says no." in events[-1].text
    it.world.does.before = lambda _: None
    await it.people.say(it.now(execution), ALICE, Said.RETRY)
    await it.run(execution)
    assert it.now(execution).state is State.DONE
    assert it.journal(execution) == [("cordon", "failed"), ("cordon", "done")]


async def test_an_act_that_was_stopped_half_way_is_gone_on_with(stage: Callable[..., Stage]) -> None:
    it = stage({**UNCORDONED, "on_failure": "ask"})
    execution = await it.asked()

    def stops(_: Planned) -> None:
        raise ActStopped("2 of 5 pods are evicted; the budget holds the rest.")

    it.world.does.before = stops
    await it.run(execution)
    assert it.journal(execution) == [("cordon", "stopped")]
    it.world.does.before = lambda _: None
    await it.run(execution)
    assert (it.now(execution).state, it.journal(execution)[-1]) == (State.DONE, ("cordon", "done"))


async def test_what_was_done_but_did_not_hold_is_verified_again_and_not_done_again(stage: Callable[..., Stage]) -> None:
    it = stage({**UNCORDONED, "on_failure": "ask"})
    execution = await it.asked()
    it.world.does.after = lambda _: it.world.incident.nodes.__setitem__(
        0, node("node1", "10.0.0.1")
    )  # fmt: skip
    await it.run(execution)
    assert (it.now(execution).state, it.journal(execution)) == (State.ASKING, [("cordon", "unverified")])
    it.world.incident.nodes[0] = node("node1", "10.0.0.1", cordoned=True)
    await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.DONE, ["kubernetes.cordon"])


async def test_an_admin_skips_a_step_with_a_reason(stage: Callable[..., Stage]) -> None:
    it = stage({**HAND, "on_failure": "ask"}, UNCORDONED)
    execution = await it.asked()
    await it.run(execution)
    await it.people.say(it.now(execution), ROOT, Said.SKIP, "looked at it yesterday")
    events = await it.run(execution)
    assert StepEvent("hand", Say.SKIPPED, "cli:root said to skip it: looked at it yesterday") in events
    assert it.now(execution).state is State.DONE
    with pytest.raises(Refusal, match="role in namespace search"):
        await it.people.say(it.now(execution), ELSEWHERE, Said.SKIP, "why not")


FAILS = {"id": "proof", "prove": {"name": "image_has_no_watcher"}, "on_failure": "undo"}


def somebody_watches(incident: Incident) -> None:
    """The proof after the act does not hold."""
    incident.watchers = (watcher("10.0.0.9"),)


async def test_what_was_done_is_taken_back_when_a_later_step_fails(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, FAILS)
    execution = await it.asked()
    it.world.does.after = lambda _: somebody_watches(it.world.incident)
    events = await it.run(execution)
    assert it.world.does.applied == ["kubernetes.cordon", "kubernetes.uncordon"]
    assert it.now(execution).state is State.FAILED
    assert it.now(execution).reason.endswith("taken back: uncordon node node1")
    assert it.journal(execution) == [("cordon", "done"), ("cordon.undo", "done")]
    assert events[-1].say is Say.ENDED
    assert [act.action for act in execution.plan.acts] == ["kubernetes.cordon", "kubernetes.uncordon"]


async def test_taking_back_is_gone_on_with_after_an_interruption_and_done_once(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    it = stage(UNCORDONED, FAILS)
    execution = await it.asked()

    def lost(act: Planned) -> None:
        somebody_watches(it.world.incident)
        if act.action == "kubernetes.uncordon":
            raise OutcomeUnknown("no answer")

    it.world.does.after = lost
    await it.run(execution)
    assert (it.now(execution).state, it.journal(execution)[-1]) == (State.IN_DOUBT, ("cordon.undo", None))
    it.world.does.after = lambda _: None
    await it.run(execution)
    assert it.now(execution).state is State.FAILED
    assert it.journal(execution)[-1] == ("cordon.undo", "done")
    assert it.world.does.applied == ["kubernetes.cordon", "kubernetes.uncordon"]


async def test_what_cannot_be_taken_back_now_is_said(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, FAILS)
    execution = await it.asked()

    def gone(act: Planned) -> None:
        somebody_watches(it.world.incident)
        it.world.incident.nodes[0] = node("node1", "10.0.0.1", cordoned=True, uid="another")

    it.world.does.after = gone
    it.runbook = book({**UNCORDONED, "verify": None}, FAILS)
    await it.run(execution)
    assert it.now(execution).state is State.FAILED
    assert "taking it back did not work: object_unchanged" in it.now(execution).reason


# Pause, cancel, decide, withdraw


async def test_a_running_execution_is_paused_after_its_act_and_gone_on_with(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, {"id": "n", "prove": {"name": "node_is_cordoned"}})
    execution = await it.asked()
    it.world.does.after = lambda _: it.store.want(execution.id, "pause", "cli:alice")
    events = await it.run(execution)
    assert it.now(execution).state is State.PAUSED
    assert events[-1].text.startswith("paused: pause asked for by cli:alice")
    assert it.journal(execution) == [("cordon", "done")]
    await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.DONE, ["kubernetes.cordon"])


async def test_a_running_execution_is_cancelled_and_says_what_stands(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, {"id": "n", "prove": {"name": "node_is_cordoned"}})
    execution = await it.asked()
    async for event in it.engine.run(execution.id, ALICE):
        if (event.step, event.say) == ("cordon", Say.DONE):
            await it.people.cancel(it.now(execution), BOB)
        last = event
    assert it.now(execution).state is State.CANCELLED
    assert last.text == "cancelled: cancel asked for by cli:bob"
    notes = [row.event for row in it.store.audit_rows()]
    assert notes[-2:] == ["cancel asked for", "cancelled"]
    with pytest.raises(Refusal, match="is cancelled"):
        await it.run(execution)


async def test_what_nobody_runs_is_cancelled_at_once_and_lets_go_of_its_targets(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, HAND)
    execution = await it.asked()
    await it.run(execution)
    with pytest.raises(Refusal, match="works on Node node1"):
        await other(it)
    with pytest.raises(Refusal, match="none of the roles"):
        await it.people.cancel(it.now(execution), CAROL)
    await it.people.cancel(it.now(execution), BOB, "not any more")
    assert (it.now(execution).state, it.now(execution).reason) == (State.CANCELLED, "not any more")
    with pytest.raises(Refusal, match="nothing to cancel"):
        await it.people.cancel(it.now(execution), BOB)
    assert (await other(it)).state is State.WAITING


async def other(it: Stage) -> Execution:
    """Another runbook on the same node."""
    second = it.runbook.model_copy(update={"id": "ceph/other", "sha256": "b" * 64})
    plan = await it.engine.plan(second, dict(PARAMS), ALICE)
    return await it.engine.request(plan, ALICE)


async def test_of_two_that_work_on_the_same_only_one_begins(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED)
    execution, second = await it.asked(), await other(it)
    it.store.take(second.id, "another process")
    with pytest.raises(Refusal, match=f"{second.id} works on Node node1"):
        await it.run(execution)
    assert it.world.does.applied == []
    assert it.now(execution).state in (State.APPROVED, State.WAITING)


async def test_an_admin_decides_what_became_of_an_act_that_nobody_can_see(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, HAND)
    execution = await it.asked()

    def lost(_: Planned) -> None:
        raise OutcomeUnknown("no answer")

    it.world.does.after = lost
    await it.run(execution)
    assert it.now(execution).state is State.IN_DOUBT
    for person, why, reason in ((ALICE, "I saw it", "role admin"), (ROOT, " ", "say how you know")):
        with pytest.raises(Refusal, match=reason):
            await it.people.decide(it.now(execution), person, done=True, why=why)
    await it.people.decide(it.now(execution), ROOT, done=True, why="kubectl shows it cordoned")
    await it.run(execution)
    assert it.now(execution).asking == "hand"
    assert it.journal(execution) == [("cordon", "done")]
    assert it.world.does.applied == ["kubernetes.cordon"]
    with pytest.raises(Refusal, match="no act of ex-"):
        await it.people.decide(it.now(execution), ROOT, done=True, why="again")


async def test_an_act_decided_as_not_done_is_tried_again(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED)
    execution = await it.asked()

    def lost(_: Planned) -> None:
        raise OutcomeUnknown("no answer")

    it.world.does.before = lost
    await it.run(execution)
    it.world.does.before = lambda _: None
    await it.people.decide(it.now(execution), ROOT, done=False, why="kubectl shows it")
    await it.run(execution)
    assert it.journal(execution) == [("cordon", "not done"), ("cordon", "done")]
    assert it.now(execution).state is State.DONE


HIGH = {**UNCORDONED, "risk": "high"}


async def test_an_approver_takes_the_approval_back_before_anything_is_begun(stage: Callable[..., Stage]) -> None:
    it = stage(HIGH)
    execution = await it.asked()
    assert it.now(execution).state is State.APPROVED
    with pytest.raises(Refusal, match="has not approved it"):
        await it.people.withdraw(execution, ROOT)
    await it.people.withdraw(execution, BOB)
    assert (it.now(execution).state, it.store.approvals(execution.id)) == (State.WAITING, ())
    with pytest.raises(Refusal, match="1 more approval"):
        await it.run(execution)
    await it.engine.approve(it.now(execution), BOB)
    await it.run(execution)
    with pytest.raises(Refusal, match="is done: cancel it instead"):
        await it.people.withdraw(execution, BOB)


# Freeze and limits


async def test_a_freeze_refuses_plans_and_pauses_what_runs_until_the_thaw(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, {**DELETE, "id": "delete", "verify": None})
    execution = await it.asked()
    it.world.does.after = lambda _: it.store.freeze("here", "cli:bob", "the database team is at work")
    await it.run(execution)
    assert it.now(execution).state is State.PAUSED
    assert "by cli:bob: the database team is at work" in it.now(execution).reason
    it.world.does.after = lambda _: None
    with pytest.raises(Refusal, match="the database team is at work"):
        await other(it)
    with pytest.raises(Refusal, match="neither the role approver nor admin"):
        await it.people.thaw(ALICE)
    assert await it.people.thaw(BOB)
    assert not await it.people.thaw(BOB)
    await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied[0]) == (State.DONE, "kubernetes.cordon")
    assert it.audited().count("thawed") == 1


async def test_whoever_only_looks_does_not_freeze(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED)
    with pytest.raises(Refusal, match="none of the roles"):
        await it.people.freeze(CAROL, "because")
    await it.people.freeze(ALICE, "")
    frozen = it.store.frozen("here")
    assert frozen is not None
    assert (frozen.person, frozen.why, it.store.frozen("elsewhere")) == ("cli:alice", "no reason given", None)


async def test_a_change_freeze_lets_what_has_begun_end(stage: Callable[..., Stage]) -> None:
    closed: list[str] = []
    rules = Rules(closed=lambda book, _: tuple(f"{book}: {why}" for why in closed))
    it = stage(UNCORDONED, {**DELETE, "id": "delete", "verify": None}, rules=rules)
    execution = await it.asked()
    it.world.does.after = lambda _: closed.append("the weekend holds")
    await it.run(execution)
    assert it.now(execution).state is State.DONE
    with pytest.raises(Refusal, match="ceph/other: the weekend holds"):
        await other(it)


async def test_acts_beyond_the_limit_are_refused_until_time_has_passed(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    it = stage(UNCORDONED, rules=Rules(limits=(Limit("node", 1, timedelta(minutes=30)),)))
    await it.run(await it.asked())
    with pytest.raises(Refusal, match="act 2 within 30 min for node node1, and the limit is 1"):
        await other(it)
    clock.forward(30 * 60)
    assert (await other(it)).state is State.WAITING
