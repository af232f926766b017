"""One pass through the steps, on a world by hand: each kind of step, and how each can end."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import LOCKS
from diagnostics.facts.holders import CLAIM_USERS, NODES
from diagnostics.model import Subject
from runbooks.actions import Clients
from runbooks.approval import Person
from runbooks.engine import Engine
from runbooks.events import Say, StepEvent
from runbooks.hands import Hands, LiveHands
from runbooks.model import Parameter, Runbook, RunbookStatus, Step
from runbooks.parameters import subject_of
from runbooks.store import State, Store
from tests.runbooks.conftest import Clock
from tests.runbooks.hand_made import PARAMS, Incident, node, pod

ALICE = Person("cli:alice", frozenset({"responder"}))
BOB = Person("cli:bob", frozenset({"approver"}))
PEOPLE = {one.id: one for one in (ALICE, BOB)}


class Api:
    """Takes down what is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def permitted(self, *asked: Any) -> bool:
        return True

    async def patch(self, target: Subject, patch: Any, *, dry_run: bool) -> None:
        self.sent += [] if dry_run else [f"patch {target.name}"]

    async def delete(self, target: Subject, *, grace_seconds: int | None, dry_run: bool) -> None:
        self.sent += [] if dry_run else [f"delete {target.name}"]


@dataclass
class World:
    """What the engine sees: the incident, which may change as time passes."""

    incident: Incident
    clock: Clock
    api: Api = field(default_factory=Api)
    passes: Callable[[], None] = lambda: None

    async def look(self, reads: Sequence[Read[Any]], subject: Subject | None) -> Snapshot:
        return self.incident.snapshot().only(reads)

    @asynccontextmanager
    async def hands(self, requester: str) -> AsyncIterator[Hands]:
        api: Any = self.api
        yield LiveHands(Clients(api, None))

    def now(self) -> Any:
        return self.clock.now()

    async def sleep(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.passes()


@pytest.fixture
def world(clock: Clock) -> World:
    return World(Incident(), clock)


PARAMETERS = {
    "image": Parameter(kind="rbd_image"), "locker": Parameter(kind="rbd_locker"), "node": Parameter(kind="node"),
    "pod": Parameter(kind="pod"),
}  # fmt: skip


def book(*steps: dict[str, Any]) -> Runbook:
    return Runbook(
        id="ceph/try", version="1.0.0", status=RunbookStatus.STABLE, title="t", meaning="m", impact="i", owner="o",
        changelog="c", parameters=PARAMETERS, steps=tuple(Step.model_validate(step) for step in steps), sha256="a" * 64,
    )  # fmt: skip


CORDON = {"id": "cordon", "act": "kubernetes.cordon", "with": {"node": "{{node}}"}}
DELETE = {"act": "kubernetes.delete_pod", "with": {"pod": "{{pod}}"}}
WAIT = {"id": "wait", "wait": {"pod": "Running"}, "within": "1m"}


@dataclass
class Ran:
    """How a run went."""

    events: list[StepEvent]
    state: State
    reason: str
    journal: list[tuple[str, str | None]]

    @property
    def said(self) -> dict[str, str]:
        """The last word on each step."""
        return {event.step: event.text for event in self.events if event.say is Say.DONE}


async def run(world: World, store: Store, *steps: dict[str, Any], between: Callable[[], None] = lambda: None) -> Ran:
    """Ask for these steps, have them approved where they must be, and run them."""
    runbook = book(*steps)
    engine = Engine("here", world, store, lambda _: runbook, PEOPLE.__getitem__)
    plan = await engine.plan(runbook, dict(PARAMS), ALICE)
    execution = await engine.request(plan, ALICE)
    if plan.risk.rank > 1:
        await engine.approve(execution, BOB, plan.confirmation)
    between()
    events = [event async for event in engine.run(execution.id, ALICE)]
    ended = store.get(execution.id)
    return Ran(events, ended.state, ended.reason, [(e.step, e.outcome) for e in store.entries(execution.id)])


async def test_a_check_must_come_to_what_the_runbook_says(world: World, store: Store) -> None:
    check = {"id": "look", "check": "ceph/locks_stale"}
    assert (await run(world, store, {**check, "becomes": "found"})).state is State.DONE

    def gone() -> None:
        world.incident.locked = False

    after_acts = await run(world, store, CORDON, {**check, "becomes": "found"}, between=gone)
    assert after_acts.reason == "ceph/locks_stale is ok, not found: nothing was found"
    assert after_acts.state is State.FAILED
    assert (await run(world, store, CORDON, {**check, "becomes": "ok"})).said["look"] == "ceph/locks_stale is ok"


async def test_a_proof_is_judged_once_or_until_its_time_is_over(world: World, store: Store) -> None:
    prove = {"id": "prove", "prove": {"name": "new_node_watches_image"}}
    once = await run(world, store, prove)
    assert once.state is State.FAILED
    assert "new_node_watches_image does not hold" in once.reason
    began = world.clock.now()
    assert (await run(world, store, {**prove, "within": "10s"})).state is State.FAILED
    assert world.clock.now() - began == timedelta(seconds=10)
    world.passes = lambda: world.incident.pods.clear()
    assert (await run(world, store, {"id": "p", "prove": {"name": "node_is_cordoned"}})).state is State.DONE


async def test_a_manual_step_prints_the_command_with_its_parameters_and_asks_for_a_word(
    world: World, store: Store
) -> None:
    ran = await run(world, store, {"id": "hand", "manual": "ssh {{node}} rbd device list"})
    assert ran.state is State.ASKING
    assert ran.reason == "by hand: ssh node1 rbd device list"


async def test_a_note_is_printed_and_leaves_nothing_open(world: World, store: Store) -> None:
    ran = await run(world, store, {"id": "note", "note": "look at {{node}} later"})
    assert (ran.events[0].say, ran.events[0].text) == (Say.NOTE, "look at node1 later")
    assert ran.state is State.DONE


async def test_an_act_without_a_verification_is_done_when_it_was_done(world: World, store: Store) -> None:
    ran = await run(world, store, CORDON)
    assert (ran.state, ran.journal, world.api.sent) == (State.DONE, [("cordon", "done")], ["patch node1"])


async def test_an_act_whose_condition_no_longer_holds_is_left_out_and_said_so(world: World, store: Store) -> None:
    def came_back() -> None:
        world.incident.nodes[0] = node("node1", "10.0.0.1")

    runbook = book({**CORDON, "when": ({"name": "node_is_down"},)}, {"id": "note", "note": "n"})
    engine = Engine("here", world, store, lambda _: runbook, PEOPLE.__getitem__)
    execution = await engine.request(await engine.plan(runbook, dict(PARAMS), ALICE), ALICE)
    events = []
    async for event in engine.run(execution.id, ALICE):
        events.append(event)
        if event.say is Say.BEGUN:
            came_back()
    assert "not needed any more: node node1 is not down" in events[1].text
    assert (store.get(execution.id).state, world.api.sent) == (State.DONE, [])


@pytest.mark.parametrize(
    ("blind", "ends", "says"),
    [(True, State.IN_DOUBT, "cannot be judged now"), (False, State.FAILED, "is found, not ok")],
)
async def test_a_verifying_check_that_cannot_be_judged_is_in_doubt_and_one_that_does_not_hold_failed(
    blind: bool, ends: State, says: str, world: World, store: Store
) -> None:
    def goes_dark() -> None:
        if blind and world.api.sent:
            world.incident.unseen = {LOCKS: "nobody answered"}

    patch = world.api.patch

    async def then_dark(*what: Any, **how: Any) -> None:
        await patch(*what, **how)
        goes_dark()

    world.api.patch = then_dark  # type: ignore[method-assign]
    ran = await run(
        world, store, {**CORDON, "verify": {"check": "ceph/locks_stale", "becomes": "ok"}, "timeout": "10s"}
    )
    assert (ran.state, ran.journal) == (ends, [("cordon", "done" if blind else "unverified")])
    assert says in ran.reason


# Waiting


async def test_a_wait_ends_when_a_pod_of_the_volume_runs_on_a_ready_node(world: World, store: Store) -> None:
    def starts() -> None:
        world.incident.pods[1] = pod("new", "node2")

    world.passes = starts
    assert (await run(world, store, WAIT)).said["wait"] == "search/new is Running on node2"


@pytest.mark.parametrize(
    "other",
    [
        pod("new", "node2", terminating=True),
        pod("new", "node1"),
        pod("new", "node9"),
        pod("new", "node2", phase="Failed"),
    ],
    ids=["ends", "on the old node", "on a node that is not there", "has failed"],
)
async def test_no_other_pod_ends_a_wait(other: Any, world: World, store: Store) -> None:
    ran = await run(world, store, WAIT, between=lambda: world.incident.pods.__setitem__(1, other))
    assert (ran.state, ran.reason) == (State.FAILED, "no pod of the volume was seen Running within 60 s")


@pytest.mark.parametrize("kind", [CLAIM_USERS, NODES], ids=lambda kind: kind.name)
async def test_a_wait_that_sees_nothing_ends_in_time_and_does_not_go_on_to_act(
    kind: Any, world: World, store: Store
) -> None:
    runbook = book({**WAIT, "otherwise": {"id": "wait.otherwise", **DELETE}})
    engine = Engine("here", world, store, lambda _: runbook, PEOPLE.__getitem__)
    execution = await engine.request(await engine.plan(runbook, dict(PARAMS), ALICE), ALICE)
    began = world.clock.now()
    events = []
    async for event in engine.run(execution.id, ALICE):
        events.append(event)
        if (event.step, event.say) == ("wait", Say.BEGUN):
            world.incident.pods[1] = pod("new", "node2")
            world.incident.unseen = {kind: "nobody answered"}
    assert world.clock.now() - began >= timedelta(minutes=1)
    assert store.get(execution.id).state is State.FAILED
    assert world.api.sent == []


async def test_what_follows_a_wait_in_vain_is_done_and_its_replacement_waited_for(world: World, store: Store) -> None:
    def replaced() -> None:
        if world.api.sent:
            world.incident.pods[1] = pod("newer", "node2")

    world.passes = replaced
    verify = {"replacement": "Running", "within": "1m"}
    ran = await run(world, store, {**WAIT, "otherwise": {"id": "wait.otherwise", **DELETE, "verify": verify}})
    assert (ran.state, world.api.sent) == (State.DONE, ["delete new"])
    assert ran.said["wait"].endswith("search/newer is Running on node2")


async def test_a_replacement_that_cannot_be_seen_is_in_doubt(world: World, store: Store) -> None:
    def dark() -> None:
        if world.api.sent:
            world.incident.unseen = {CLAIM_USERS: "nobody answered"}

    world.passes = dark
    verify = {"replacement": "Running", "within": "1m"}
    ran = await run(world, store, {**WAIT, "otherwise": {"id": "wait.otherwise", **DELETE, "verify": verify}})
    assert (ran.state, ran.journal) == (State.IN_DOUBT, [("wait.otherwise", "done")])


async def test_the_deleted_pod_itself_is_not_its_replacement(world: World, store: Store) -> None:
    def runs_after_all() -> None:
        if world.api.sent:
            world.incident.pods[1] = pod("new", "node2")

    world.passes = runs_after_all
    verify = {"replacement": "Running", "within": "1m"}
    ran = await run(world, store, {**WAIT, "otherwise": {"id": "wait.otherwise", **DELETE, "verify": verify}})
    assert ran.state is State.FAILED


async def test_what_was_planned_as_skipped_is_not_done_after_a_wait_in_vain(world: World, store: Store) -> None:
    held = {"id": "wait.otherwise", **DELETE, "when": ({"name": "old_pod_is_terminating"},)}
    world.incident.pods[0] = pod("old", "node1")
    ran = await run(world, store, {**WAIT, "otherwise": held})
    assert ran.state is State.FAILED
    assert "no pod of the volume hangs in Terminating" in ran.reason
    assert world.api.sent == []


def test_facts_are_gathered_around_the_image_else_the_pod_else_the_node() -> None:
    assert subject_of({"image": "p/i", "pod": "a/b", "node": "n"}) == Subject("RBDImage", None, "p/i", "")
    assert subject_of({"pod": "a/b", "node": "n"}) == Subject("Pod", "a", "b", "")
    assert subject_of({"node": "n"}) == Subject("Node", None, "n", "")
    assert subject_of({}) is None
