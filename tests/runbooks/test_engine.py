"""Requests, approvals and runs on the sandbox's incident: what is done is what was approved, by whom it may be."""

from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diagnostics.sources import CouldNotLook
from runbooks.approval import Person
from runbooks.engine import Refusal
from runbooks.events import Say
from runbooks.plan import digest
from runbooks.standing import Rules
from runbooks.store import State
from tests.runbooks.staged import ALICE, BOB, CAROL, IMAGE, NODES, PODS, Process, Stage, incident, staged

BOOK = "ceph/stale_rbd_lock@1.0.0"


def audited(stage: Stage) -> str:
    """The newest row of the audit log, in words."""
    row = stage.state.runbooks.audit_rows()[-1]
    return f"{row.event} by {row.person}: {row.detail}"


async def test_an_approved_plan_is_done_step_by_step_and_on_record(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        assert (execution.state, execution.plan.risk) == (State.APPROVED, "critical")
        events = await stage.run(execution)
        assert [event.step for event in events if event.say is Say.DONE] == [
            "look", "cordon", "fence", "unlock", "clear", "retry", "settle",
        ]  # fmt: skip
        assert (events[-2].say, events[-1].text) == (Say.NOTE, "done")
        assert stage.journal(execution) == [(s, 1, "done") for s in ("cordon", "fence", "unlock", "clear")]
        assert stage.phases() == ["Running"]
        rows = stage.state.runbooks.audit_rows()
        assert [row.person for row in rows if row.event in ("requested", "approved", "done")] == [
            ALICE.id, BOB.id, BOB.id,
        ]  # fmt: skip
        intents = [row.detail for row in rows if row.event == "intent"]
        assert all('"answer": "allowed"' in detail for detail in intents)
        assert "fence_scope_is_safe" in intents[1]
        with pytest.raises(Refusal, match="is done"):
            await stage.run(execution)


# Asking.


async def test_after_one_look_the_request_is_refused_with_every_guards_reasons(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.sandbox.ceph.silent_mons = {"b"}
        stage.sandbox.ceph.flags.add("pausewr")
        with pytest.raises(Refusal) as caught:
            await stage.requested()
        told = " | ".join(caught.value.reasons)
        for reason in ("ceph/locks_stale: ", "lock_is_breakable: ", "fence_scope_is_safe: ", "mon b", "pausewr"):
            assert reason in told, told
        assert audited(stage).startswith("refused by cli:alice: ")
        assert "pausewr" in audited(stage)
        assert stage.state.runbooks.history() == ()


@pytest.mark.parametrize(
    ("person", "says"),
    [
        (Person("cli:alice", frozenset({"viewer"})), "does not have the role responder"),
        (Person("cli:alice"), "is not known here"),
        (Person("cli:alice", frozenset({"responder"}), frozenset({"shop"})), "no role in namespace search"),
        (Person("cli:mallory", frozenset({"responder", "approver"})), "made for cli:alice, not for cli:mallory"),
    ],
)
async def test_only_whom_the_plan_was_made_for_and_who_may_can_ask_for_it(
    person: Person, says: str, tmp_path: Path
) -> None:
    async with staged(tmp_path) as stage:
        plan = await stage.plan()
        with pytest.raises(Refusal, match=says):
            await stage.engine.request(plan, person)
        assert audited(stage).startswith(f"refused by {person.id}")


async def test_a_plan_that_was_altered_expired_or_made_for_another_cluster_cannot_be_asked_for(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        plan = await stage.plan()
        with pytest.raises(Refusal, match="its hash does not fit"):
            await stage.engine.request(msgspec.structs.replace(plan, requester=ALICE.id, sha256="0"), ALICE)
        elsewhere = msgspec.structs.replace(plan, cluster="other")
        with pytest.raises(Refusal, match="for cluster other, not for sandbox"):
            await stage.engine.request(msgspec.structs.replace(elsewhere, hash=digest(elsewhere)), ALICE)
        stage.sandbox.clock.forward(15 * 60)
        with pytest.raises(Refusal, match="expired"):
            await stage.engine.request(plan, ALICE)


# Approving.


@pytest.mark.parametrize(
    ("person", "typed", "says"),
    [
        (ALICE, "node1", "asked for this plan and cannot approve it"),
        (Person("cli:alice", frozenset({"responder", "approver", "admin"})), "node1", "cannot approve it"),
        (Person("cli:dave", frozenset({"viewer", "admin"})), "node1", "does not have the role approver"),
        (BOB, None, "nothing was typed"),
        (BOB, "node2", "not 'node2'"),
        (Person("cli:bob", frozenset({"approver"}), frozenset({"search"})), "node1", "no role in namespace billing"),
    ],
)
async def test_an_approval_that_does_not_count_is_refused_and_on_record(
    person: Person, typed: str | None, says: str, tmp_path: Path
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.requested()
        with pytest.raises(Refusal, match=says):
            await stage.engine.approve(execution, person, typed)
        assert stage.now(execution).state is State.WAITING
        assert stage.state.runbooks.approvals(execution.id) == ()
        assert audited(stage).startswith(f"approval refused by {person.id}")
        with pytest.raises(Refusal, match="more approval"):
            await stage.run(execution)
        assert stage.process.wrote == []


async def test_an_expired_request_can_neither_be_approved_nor_stay_open(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.requested()
        stage.sandbox.clock.forward(15 * 60)
        with pytest.raises(Refusal, match="expired"):
            await stage.engine.approve(execution, BOB, "node1")
        assert stage.now(execution).state is State.VOID


async def test_an_approved_plan_that_is_not_begun_in_time_is_not_begun(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        stage.sandbox.clock.forward(15 * 60)
        with pytest.raises(Refusal, match="expired"):
            await stage.run(execution)
        assert (stage.now(execution).state, stage.process.wrote) == (State.VOID, [])


async def test_a_quorum_of_two_needs_two_people(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.engine.rules = lambda: Rules(quorum=2)
        execution = await stage.requested()
        for _ in range(2):
            decision = await stage.engine.approve(execution, BOB, "node1")
            assert (decision.allowed, decision.waiting) == (False, True)
        assert stage.now(execution).state is State.WAITING
        assert (await stage.engine.approve(execution, CAROL, "node1")).allowed
        assert stage.now(execution).state is State.APPROVED


async def test_approvers_who_look_at_an_old_page_change_nothing_that_has_gone_on(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        asked = await stage.requested()
        await stage.engine.approve(asked, BOB, "node1")
        running = stage.engine.run(asked.id, BOB)
        await anext(running)
        with pytest.raises(Refusal, match="is running: there is nothing to approve"):
            await stage.engine.approve(asked, CAROL, "node1")
        with pytest.raises(Refusal, match="is running: there is nothing to deny"):
            await stage.engine.deny(asked, CAROL, "no")
        assert stage.now(asked).state is State.RUNNING
        assert [event async for event in running][-1].text == "done"


async def test_an_approval_that_comes_while_another_one_is_counted_does_not_take_the_run_away(tmp_path: Path) -> None:
    """Both read `waiting`; the first is approved and run before the second one's state is written."""
    async with staged(tmp_path) as stage:
        asked = await stage.requested()
        other = stage.engine_of(Process())
        approve, began = other.store.approve, []

        def late(execution: str, approval: Any, guards: Any = None) -> None:
            approve(execution, approval, guards)
            stage.state.runbooks.move(execution, State.APPROVED, "cli:bob", only_from=(State.WAITING,))
            began.append(stage.state.runbooks.take(execution, "another"))

        other.store.approve = late  # type: ignore[method-assign]
        with pytest.raises(Refusal, match="is running by now"):
            await other.approve(asked, CAROL, "node1")
        assert (stage.now(asked).state, stage.now(asked).lease_owner) == (State.RUNNING, "another")
        stage.state.runbooks.renew(began[0])


# Denying.


@pytest.mark.parametrize("person", [BOB, ALICE])
async def test_an_approver_denies_and_the_requester_takes_back(person: Person, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        await stage.engine.deny(execution, person, "not tonight")
        assert (stage.now(execution).state, stage.now(execution).reason) == (State.DENIED, "not tonight")
        with pytest.raises(Refusal, match="is denied"):
            await stage.run(execution)
        with pytest.raises(Refusal, match="nothing to deny"):
            await stage.engine.deny(execution, person, "again")
        assert stage.process.wrote == []


async def test_a_viewer_denies_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.requested()
        with pytest.raises(Refusal, match="does not have the role approver"):
            await stage.engine.deny(execution, Person("cli:dave", frozenset({"viewer"})), "no")
        assert stage.now(execution).state is State.WAITING


# What changes between request, approval and run.


def released(stage: Stage) -> None:
    stage.sandbox.ceph.object(incident.POOL, "", f"{incident.IMAGES[0]}.rbd").locks.clear()


def taken_by_another(stage: Stage) -> None:
    released(stage)
    stage.sandbox.ceph.client("10.46.181.147", "client.admin").lock_advisory(IMAGE, "kubelet_lock_magic_node3")


def recreated(stage: Stage) -> None:
    stage.change(PODS, incident.NAMESPACE, incident.STUCK_POD, lambda pod: pod["metadata"].update(uid="another-uid"))


def came_back(stage: Stage) -> None:
    stage.sandbox.controllers.boot(incident.DEAD_NODE)
    stage.sandbox.controllers.step()


def daemon_appears(stage: Stage) -> None:
    stage.sandbox.ceph.osds[7] = incident.NODES[incident.DEAD_NODE]


def another_file(stage: Stage) -> None:
    stage.books[BOOK] = stage.find(BOOK).model_copy(update={"sha256": "0" * 64})


def somebody_watches(stage: Stage) -> None:
    stage.sandbox.ceph.client("10.46.181.147", "client.admin").open(IMAGE)


def another_pod_dies(stage: Stage) -> None:
    place = {"nodeName": incident.DEAD_NODE}
    stage.change(PODS, "media", "reports-0", lambda pod: pod["spec"].update(place))


CHANGES: dict[str, tuple[Callable[[Stage], None], str]] = {
    "the lock was released": (released, "holds no lock"),
    "another holds the lock": (taken_by_another, "holds no lock"),
    "the pod is another one of the same name": (recreated, "is another-uid"),
    "the node came back": (came_back, "is not down"),
    "a daemon runs at the node's address": (daemon_appears, "osd.7 is up at 10.47.136.60"),
    "the runbook is another file": (another_file, "not the file that the plan was made from"),
    "somebody opened the image": (somebody_watches, "has a watcher that is not fenced"),
    "one more pod would die": (another_pod_dies, "media/reports-0"),
}


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES)
async def test_a_change_before_the_approval_voids_the_request_and_says_what_changed(
    change: Callable[[Stage], None], says: str, tmp_path: Path
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.requested()
        change(stage)
        with pytest.raises(Refusal, match=says):
            await stage.engine.approve(execution, BOB, "node1")
        assert stage.now(execution).state is State.VOID
        assert says in stage.now(execution).reason
        with pytest.raises(Refusal, match="is void"):
            await stage.run(execution)
        assert stage.process.wrote == []


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES)
async def test_a_change_after_the_approval_voids_it_and_says_what_changed(
    change: Callable[[Stage], None], says: str, tmp_path: Path
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        change(stage)
        with pytest.raises(Refusal, match=says):
            await stage.run(execution)
        assert stage.now(execution).state is State.VOID
        assert "run refused by cli:bob" in audited(stage)
        assert stage.process.wrote == []


async def test_what_cannot_be_seen_at_approval_is_refused_but_not_called_a_change(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.requested()
        stage.sandbox.ceph.denied.add("sessions")
        with pytest.raises(Refusal, match="did not tell its sessions"):
            await stage.engine.approve(execution, BOB, "node1")
        assert stage.now(execution).state is State.WAITING
        stage.sandbox.ceph.denied.clear()
        assert (await stage.engine.approve(execution, BOB, "node1")).allowed


DURING: dict[str, tuple[str, Callable[[Stage], None], str, list[str], State]] = {
    "a watcher before the fence": ("cordon", somebody_watches, "has a watcher", ["patch"], State.FAILED),
    "the node came back before the fence": ("cordon", came_back, "is not down", ["patch"], State.FAILED),
    "a daemon before the fence": ("cordon", daemon_appears, "osd.7 is up", ["patch"], State.FAILED),
    "another pod before the fence": ("cordon", recreated, "is search/", ["patch"], State.VOID),
    "one more would die": ("cordon", another_pod_dies, "dies was ", ["patch"], State.VOID),
    "a new locker before the unlock": ("fence", taken_by_another, "holds no lock", ["patch", "osd"], State.FAILED),
    "the fence is lifted before the unlock": (
        "fence", lambda stage: stage.sandbox.ceph.fences.clear(), "no fence that lasts covers", ["patch", "osd"],
        State.FAILED,
    ),
    "a watcher before the unlock": ("fence", somebody_watches, "watches mioss/index", ["patch", "osd"], State.FAILED),
}  # fmt: skip


@pytest.mark.parametrize(("after", "change", "says", "did", "ends"), DURING.values(), ids=DURING)
async def test_a_change_between_two_acts_stops_the_run_before_the_next_one(
    after: str, change: Callable[[Stage], None], says: str, did: list[str], ends: State, tmp_path: Path
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        events = []
        async for event in stage.engine.run(execution.id, BOB):
            events.append(event)
            if (event.step, event.say) == (after, Say.DONE):
                change(stage)
        assert says in events[-1].text
        assert [what.split()[0] for what in stage.process.wrote] == did
        assert stage.now(execution).state is ends
        assert stage.audited()[-1] == ends


# Running.


@pytest.mark.parametrize(
    ("person", "says"),
    [
        (Person("cli:dave", frozenset({"viewer"})), "neither the role responder nor approver"),
        (Person("cli:eve", frozenset({"responder"}), frozenset({"shop"})), "no role in namespace search"),
    ],
)
async def test_only_who_may_sets_an_approved_plan_going(person: Person, says: str, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        with pytest.raises(Refusal, match=says):
            _ = [event async for event in stage.engine.run(execution.id, person)]
        assert stage.process.wrote == []


async def test_another_clusters_engine_neither_approves_nor_runs_nor_goes_on(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        other, process = stage.engine_of(Process(), "elsewhere"), stage.process
        waiting = await stage.requested()
        with pytest.raises(Refusal, match="for cluster sandbox, not for elsewhere"):
            await other.approve(waiting, BOB, "node1")
        await stage.engine.approve(waiting, BOB, "node1")
        execution = stage.now(waiting)
        with pytest.raises(Refusal, match="not for elsewhere"):
            await stage.run(execution, other)
        running = stage.engine.run(execution.id, BOB)
        async for event in running:
            if (event.step, event.say) == ("cordon", Say.DONE):
                break
        await running.aclose()
        with pytest.raises(Refusal, match="not for elsewhere"):
            await stage.run(execution, other)
        assert len(process.wrote) == 1
        assert stage.now(execution).state is State.APPROVED


async def test_an_interrupted_run_does_not_go_on_with_another_file(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        running = stage.engine.run(execution.id, BOB)
        async for event in running:
            if (event.step, event.say) == ("cordon", Say.DONE):
                break
        await running.aclose()
        another_file(stage)
        with pytest.raises(Refusal, match="not the file that the plan was made from"):
            await stage.run(execution)
        assert (stage.now(execution).state, len(stage.process.wrote)) == (State.VOID, 1)


async def test_a_runbook_that_is_not_there_any_more_voids_its_executions(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()

        def gone(name: str) -> Any:
            raise LookupError(f"there is no runbook {name}")

        stage.engine.find = gone
        with pytest.raises(Refusal, match="there is no runbook"):
            await stage.run(execution)
        assert stage.now(execution).state is State.VOID


async def test_clients_that_cannot_be_opened_fail_the_run_before_any_intent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()

        @asynccontextmanager
        async def none(_: str) -> Any:
            raise CouldNotLook("No kubeconfig for the remediating identity.")
            yield

        monkeypatch.setattr(stage.engine.world, "clients", none)
        with pytest.raises(Refusal, match="there is nothing to act with: No kubeconfig"):
            await stage.run(execution)
        assert (stage.now(execution).state, stage.journal(execution)) == (State.APPROVED, [])


async def test_a_server_that_would_not_accept_an_act_is_not_asked_for_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        events = []
        async for event in stage.engine.run(execution.id, BOB):
            events.append(event)
            if (event.step, event.say) == ("cordon", Say.BEGUN):
                stage.sandbox.api.access.grant("remediate", ())
        assert "the identity that would act may not patch nodes: grant it in RBAC" in events[-1].text
        assert (stage.process.wrote, stage.journal(execution)) == ([], [])


async def test_a_plan_without_node_and_pod_skips_their_steps_for_good(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.sandbox.api.registry.patch(NODES, None, "node1", {"spec": {"unschedulable": True}})
        execution = await stage.approved(node="", pod="")
        events = await stage.run(execution)
        skipped = {event.step: event.text for event in events if event.say is Say.SKIPPED}
        assert skipped == dict.fromkeys(("cordon", "clear", "unfence"), "node was not given") | dict.fromkeys(
            ("retry", "settle"), "pod was not given"
        )
        assert [what.split()[0] for what in stage.process.wrote] == ["osd", "break_lock"]
        assert stage.now(execution).state is State.DONE


async def test_without_the_nodes_name_the_old_nodes_pod_is_not_taken_for_the_one_that_starts(tmp_path: Path) -> None:
    """The dead node's pod stays in phase Running for ever; one that nobody deletes must not end the wait."""
    async with staged(tmp_path) as stage:
        stage.sandbox.api.registry.patch(NODES, None, "node1", {"spec": {"unschedulable": True}})
        stage.change(PODS, incident.NAMESPACE, incident.OLD_POD, lambda pod: pod["metadata"].pop("deletionTimestamp"))
        execution = await stage.approved(node="")
        events = await stage.run(execution)
        said = next(event.text for event in events if (event.step, event.say) == ("retry", Say.DONE))
        assert said.endswith("is Running on node2")
