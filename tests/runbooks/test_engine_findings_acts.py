"""What became of an act is never guessed: lost answers, leases that end, acts that are taken back, fences that stand."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from diagnostics.model import Subject
from diagnostics.sources.ceph.rados import RadosError
from diagnostics.sources.kubernetes.api import KubernetesError
from runbooks import acting
from runbooks import engine as engines
from runbooks.actions import ActFailed, ActStopped, Clients, OutcomeUnknown, switches
from runbooks.actions.ceph import fence
from runbooks.actions.outcomes import telling_outcome
from runbooks.approval import Person
from runbooks.database import StoreError
from runbooks.events import Say
from runbooks.guards import Answer, Ruling
from runbooks.interventions import Interventions
from runbooks.model import Risk
from runbooks.plan import Plan
from runbooks.situation import Planned
from runbooks.standing import Limit, Rules
from runbooks.store import State, Store
from tests.runbooks.conftest import Clock
from tests.runbooks.hand_made import node
from tests.runbooks.staged import Process, staged
from tests.runbooks.test_interventions import (
    ALICE,
    BOB,
    FAILS,
    HIGH,
    ROOT,
    UNCORDONED,
    Stage,
    somebody_watches,
    stage,
)

__all__ = ["stage"]
FSID = "fsid-1"
FENCE = Planned(
    "ceph.fence", "fence node1", (Subject("CephCluster", None, "ceph", FSID),),
    {"entries": ["10.0.0.1:0/0", "10.0.0.2:0/0"], "seconds": 157784760}, Risk.HIGH,
)  # fmt: skip
CORDON = Planned("kubernetes.cordon", "cordon", (Subject("Node", None, "n", "u"),), {"unschedulable": True}, Risk.LOW)


# Answers that are lost


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (504, "Timeout: request did not complete within requested timeout - context deadline exceeded"),
        (500, "etcdserver: request timed out"),
        (500, "etcdserver: request timed out, possibly due to previous leader failure"),
        (502, "Bad Gateway"),
    ],
)
async def test_a_time_out_on_the_servers_side_is_no_refusal(status: int, message: str) -> None:
    class Api:
        async def patch(self, *what: Any, **how: Any) -> None:
            raise KubernetesError(status, message)

    api: Any = Api()
    with pytest.raises(OutcomeUnknown):
        await switches.CORDON.apply(CORDON, Clients(api, None))


async def test_what_landed_though_the_server_timed_out_is_in_doubt_and_not_called_failed(
    stage: Callable[..., Stage],
) -> None:
    it = stage({**UNCORDONED, "on_failure": "undo"})
    execution = await it.asked()

    def landed(_: Planned) -> None:
        with telling_outcome("cordon the node"):
            raise KubernetesError(504, "Timeout: request did not complete within requested timeout")

    it.world.does.after = landed
    await it.run(execution)
    assert (it.now(execution).state, it.journal(execution)) == (State.IN_DOUBT, [("cordon", None)])
    assert it.world.does.applied == ["kubernetes.cordon"]


async def test_what_was_decided_as_not_done_is_sent_again_only_after_its_own_time_out(tmp_path: Path) -> None:
    async with staged(tmp_path) as it:
        execution = await it.approved()
        sent: list[datetime] = []

        def fenced(what: str) -> None:
            if what.startswith("osd blocklist"):
                sent.append(it.sandbox.clock.now())

        def lost(what: str) -> None:
            fenced(what)
            if sent:
                raise RadosError(110, "no answer")

        await it.run(execution, it.engine_of(Process(on_write=lost)))
        assert it.now(execution).state is State.IN_DOUBT
        await Interventions(it.engine).decide(it.now(execution), ROOT, done=False, why="blocklist ls lacks it")
        await it.run(execution, it.engine_of(Process(on_write=fenced)))
        first, second = sent
        assert second - first >= timedelta(seconds=15)


async def test_an_admin_decides_what_was_done_and_cannot_be_verified(tmp_path: Path) -> None:
    async with staged(tmp_path) as it:
        execution = await it.approved()

        def falls_silent(what: str) -> None:
            if what.startswith("osd blocklist"):
                it.sandbox.ceph.denied.add("osd dump")

        await it.run(execution, it.engine_of(Process(then=falls_silent)))
        assert it.now(execution).state is State.IN_DOUBT
        decided = await Interventions(it.engine).decide(it.now(execution), ROOT, done=True, why="I saw it")
        assert it.journal(decided)[-1] == ("fence", 1, "done")


async def test_an_act_is_given_up_when_its_lease_cannot_be_kept(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "RENEW", 0)
    it = stage({**UNCORDONED, "timeout": "20m"})
    execution = await it.asked()
    sent, ends = asyncio.Event(), []

    def away(_: Any) -> None:
        if sent.is_set():
            raise StoreError("the database is away")

    async def drains(_: Planned) -> None:
        sent.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("given up")
            raise

    monkeypatch.setattr(it.store, "renew", away)
    monkeypatch.setattr(it.world.does, "apply", drains)
    events = await asyncio.wait_for(it.run(execution), 10)
    assert (ends, events[-1].text) == (["given up"], "stopped: the database is away")
    assert it.journal(execution) == [("cordon", None)]


# Guards and checks around an act


async def test_a_guard_that_refuses_without_a_reason_refuses(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stage(UNCORDONED)
    execution = await it.asked()
    silent = Ruling(Answer.REFUSED, ())
    monkeypatch.setattr(acting, "judge_all", lambda calls, _: [(call.name, silent) for call in calls])
    await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.FAILED, [])
    assert "object_unchanged: it does not say why" in it.now(execution).reason


async def test_a_check_before_the_first_act_is_asked_again_when_that_act_changed_nothing(
    stage: Callable[..., Stage],
) -> None:
    it = stage({"id": "proof", "check": "ceph/locks_stale", "becomes": "found"}, {**UNCORDONED, "on_failure": "ask"})
    execution = await it.asked()

    def fails(_: Planned) -> None:
        raise ActFailed("The webhook says no; nothing was changed.")

    it.world.does.before = fails
    await it.run(execution)
    assert it.now(execution).state is State.ASKING
    it.world.does.before = lambda _: None
    looked = [event.text for event in await it.run(execution) if (event.step, event.say) == ("proof", Say.DONE)]
    assert len(looked) == 1
    assert "stale; no watcher and no mon session in two looks" in looked[0]


# Taking back


async def test_an_act_that_did_not_stay_taken_back_is_said_to_be_so(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, FAILS)
    execution = await it.asked()

    def put_back_at_once(act: Planned) -> None:
        somebody_watches(it.world.incident)
        if act.action == "kubernetes.uncordon":
            it.world.incident.nodes[0] = node("node1", "10.0.0.1", cordoned=True)

    it.world.does.after = put_back_at_once
    await it.run(execution)
    assert it.audited()[-3:] == ["outcome", "not verified", "failed"]
    assert it.now(execution).reason.endswith(
        "taking it back did not work: this was done and is not so: uncordon node node1"
    )


async def test_a_freeze_pauses_the_taking_back_which_is_gone_on_with_after_the_thaw(
    stage: Callable[..., Stage],
) -> None:
    it = stage(UNCORDONED, FAILS)
    execution = await it.asked()

    def frozen(_: Planned) -> None:
        somebody_watches(it.world.incident)
        it.store.freeze("here", "cli:bob", "the database team is at work")

    it.world.does.after = frozen
    await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.PAUSED, ["kubernetes.cordon"])
    it.world.does.after = lambda _: None
    await it.people.thaw(BOB)
    await it.run(execution)
    assert it.now(execution).state is State.FAILED
    assert it.journal(execution) == [("cordon", "done"), ("cordon.undo", "done")]


async def test_a_pause_before_the_taking_back_loses_nothing(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, FAILS)
    execution = await it.asked()
    it.world.does.after = lambda _: somebody_watches(it.world.incident)
    async for event in it.engine.run(execution.id, ALICE):
        if (event.step, event.say) == (FAILS["id"], Say.FAILED):
            await it.people.pause(it.now(execution), ALICE)
    assert (it.now(execution).state, it.world.does.applied) == (State.PAUSED, ["kubernetes.cordon"])
    await it.run(execution)
    assert it.now(execution).state is State.FAILED
    assert it.journal(execution) == [("cordon", "done"), ("cordon.undo", "done")]


async def test_no_limit_keeps_what_was_done_from_being_taken_back(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, FAILS, rules=Rules(limits=(Limit("node", 1, timedelta(minutes=30)),)))
    execution = await it.asked()
    it.world.does.after = lambda _: somebody_watches(it.world.incident)
    await it.run(execution)
    assert it.now(execution).state is State.FAILED
    assert it.journal(execution) == [("cordon", "done"), ("cordon.undo", "done")]


async def test_a_change_freeze_lets_a_taking_back_that_was_interrupted_end(stage: Callable[..., Stage]) -> None:
    closed: list[str] = []
    again = {**UNCORDONED, "id": "again"}
    it = stage(UNCORDONED, again, FAILS, rules=Rules(closed=lambda _book, _when: tuple(closed)))
    execution = await it.asked()

    def lost(act: Planned) -> None:
        somebody_watches(it.world.incident)
        if act.action == "kubernetes.uncordon":
            raise OutcomeUnknown("no answer")

    it.world.does.after = lost
    await it.run(execution)
    assert it.now(execution).state is State.IN_DOUBT
    it.world.does.after = lambda _: None
    closed.append("the weekend holds")
    await it.run(execution)
    assert it.now(execution).state is State.FAILED
    assert "weekend" not in it.now(execution).reason
    assert it.journal(execution)[-1] == ("cordon.undo", "done")


async def test_nothing_is_taken_back_under_an_approval_that_is_over(stage: Callable[..., Stage], clock: Clock) -> None:
    it = stage(HIGH, FAILS)
    execution = await it.asked()

    def lost(act: Planned) -> None:
        if act.action == "kubernetes.uncordon":
            raise OutcomeUnknown("no answer")

    it.world.does.before = lost
    it.world.does.after = lambda _: somebody_watches(it.world.incident)
    await it.run(execution)
    assert it.now(execution).state is State.IN_DOUBT
    it.world.does.before = lambda _: None
    clock.forward(timedelta(days=10).total_seconds())
    it.engine.who = lambda name: Person(name, frozenset({"viewer"}))
    await it.run(execution)
    assert it.now(execution).state is State.FAILED
    assert it.journal(execution) == [("cordon", "done"), ("cordon.undo", "not done")]
    assert it.world.does.applied == ["kubernetes.cordon"]


async def test_what_was_so_before_is_not_taken_back(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, FAILS)
    it.world.incident.nodes[0] = node("node1", "10.0.0.1", cordoned=True)
    execution = await it.asked()
    it.world.does.after = lambda _: somebody_watches(it.world.incident)
    await it.run(execution)
    assert it.now(execution).state is State.FAILED
    assert "kubernetes.uncordon" not in it.world.does.applied


# Fences


class Refusing:
    """A Ceph that sets one entry and refuses the next."""

    fsid = FSID

    def __init__(self) -> None:
        self.set: list[str] = []

    def own_ips(self) -> tuple[str, ...]:
        return ()

    def mon(self, command: Any, mon: Any = None) -> bytes:
        if self.set:
            raise RadosError(13, "permission denied")
        self.set.append(command["addr"])
        return b""

    def close(self) -> None: ...


async def test_a_fence_that_was_set_in_part_is_stopped_and_not_called_failed() -> None:
    ceph: Any = Refusing()
    with pytest.raises(ActStopped):
        await fence.apply(FENCE, Clients(None, lambda: ceph))
    assert ceph.set == ["10.0.0.1:0/0"]


def ours(store: Store) -> int:
    """How many entries of the blocklist are known as set by us."""
    return len(store.standing("here", "a/b", "", timedelta(0)).fenced)


def test_a_fence_whose_verification_did_not_hold_is_ours_still(store: Store, plan: Plan) -> None:
    execution = store.create(plan)
    lease = store.take(execution.id, "me")
    entry = store.intend(lease, "fence", FENCE, [])
    store.conclude(lease, entry, "done", None)
    assert ours(store) == 2
    store.verified(lease, entry, "the map came too late", holds=False)
    assert ours(store) == 2


def test_a_fence_that_ceph_refused_is_not_ours(store: Store, plan: Plan) -> None:
    execution = store.create(plan)
    lease = store.take(execution.id, "me")
    entry = store.intend(lease, "fence", FENCE, [])
    store.conclude(lease, entry, "failed", "Ceph refused to fence 10.0.0.1:0/0. Nothing was changed.")
    assert ours(store) == 0
