"""What people say counts, whatever happens in between: approvals, pauses, cancels, freezes, words on a step."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from diagnostics.model import Subject
from runbooks import approval as approvals
from runbooks.actions import ActFailed, OutcomeUnknown
from runbooks.approval import Approval, Person
from runbooks.engine import Refusal
from runbooks.events import Say
from runbooks.execution import Execution, Said
from runbooks.model import Risk
from runbooks.plan import Plan, PlannedStep
from runbooks.situation import Planned
from runbooks.standing import Limit, Rules
from runbooks.store import State
from runbooks.tables import executions
from tests.runbooks.conftest import Clock
from tests.runbooks.hand_made import NOW, PARAMS
from tests.runbooks.test_interventions import (
    ALICE,
    ATTEST,
    BOB,
    HAND,
    HIGH,
    UNCORDONED,
    Stage,
    other,
    stage,
)
from tests.runbooks.test_run_steps import DELETE

__all__ = ["stage"]
UNVERIFIED = {**DELETE, "id": "delete", "verify": None}


def while_it_looks(it: Stage, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[object]]) -> None:
    """Let something happen once, while the engine reads the cluster for the first time from now on."""
    look = it.world.look
    happened: list[bool] = []

    async def slow(*what: Any, **how: Any) -> Any:
        if not happened:
            happened.append(True)
            await happens()
        return await look(*what, **how)

    monkeypatch.setattr(it.world, "look", slow)


async def dies_after(it: Stage, execution: Execution, step: str, then: Callable[[], Awaitable[object]]) -> None:
    """Run it until a step is done, let something happen, and end the runner."""
    running = it.engine.run(execution.id, ALICE)
    async for event in running:
        if (event.step, event.say) == (step, Say.DONE):
            await then()
            break
    await running.aclose()


def no_answer(_: Planned) -> None:
    """The act's answer is lost."""
    raise OutcomeUnknown("no answer")


# Before the first act


async def test_an_approval_withdrawn_while_the_run_looks_does_not_count(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stage(HIGH)
    execution = await it.asked()
    while_it_looks(it, monkeypatch, lambda: it.people.withdraw(it.now(execution), BOB))
    with pytest.raises(Refusal):
        await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.WAITING, [])
    assert it.audited()[-1] == "run refused"


async def test_a_pause_accepted_while_the_run_looks_holds(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stage(HIGH)
    execution = await it.asked()
    while_it_looks(it, monkeypatch, lambda: it.people.pause(it.now(execution), ALICE))
    with pytest.raises(Refusal):
        await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.PAUSED, [])


async def test_a_plan_that_expires_while_the_run_looks_is_not_begun(
    stage: Callable[..., Stage], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stage(HIGH)
    execution = await it.asked()
    clock.forward(14 * 60 + 50)

    async def a_mon_is_slow() -> None:
        clock.forward(30)

    while_it_looks(it, monkeypatch, a_mon_is_slow)
    with pytest.raises(Refusal, match="the plan expired at 03:35:00 UTC"):
        await it.run(execution)
    assert it.world.does.applied == []


async def test_a_plan_changed_in_the_database_is_not_run(stage: Callable[..., Stage]) -> None:
    it = stage(HIGH)
    execution = await it.asked()
    mine = executions.c.id == execution.id
    with it.store.write() as connection:
        made = connection.scalar(select(executions.c.plan).where(mine))
        assert made is not None
        made["steps"][0]["act"]["effect"] = {"unschedulable": True, "taints": "anything"}
        connection.execute(update(executions).where(mine).values(plan=made))
    with pytest.raises(Refusal, match="its hash does not fit"):
        await it.run(execution)
    assert it.world.does.applied == []


async def test_what_was_denied_meanwhile_is_not_approved(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stage({**UNCORDONED, "risk": "critical"}, rules=Rules(quorum=2))
    plan = await it.engine.plan(it.runbook, dict(PARAMS), ALICE)
    execution = await it.engine.request(plan, ALICE)
    while_it_looks(it, monkeypatch, lambda: it.engine.deny(execution, BOB, "no"))
    with pytest.raises(Refusal):
        await it.engine.approve(execution, BOB, plan.confirmation)
    assert it.store.approvals(execution.id) == ()
    assert "approved" not in it.audited()


async def test_what_has_begun_to_act_is_not_denied_any_more(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, HAND)
    execution = await it.asked()
    await dies_after(it, execution, "cordon", lambda: asyncio.sleep(0))
    with pytest.raises(Refusal):
        await it.engine.deny(execution, BOB, "no")
    assert not it.now(execution).state.ended


async def test_what_was_paused_and_lost_its_approver_is_approved_anew_by_another(stage: Callable[..., Stage]) -> None:
    it = stage(HIGH)
    execution = await it.asked()
    await it.people.pause(it.now(execution), ALICE)
    new = Person("cli:new", frozenset({"approver"}))
    it.engine.who = lambda name: new if name == new.id else Person(name, frozenset({"responder"}))
    with pytest.raises(Refusal, match="1 more approval"):
        await it.run(execution)
    assert (await it.engine.approve(it.now(execution), new, execution.plan.confirmation)).allowed
    await it.run(execution)
    assert it.now(execution).state is State.DONE


async def test_the_audit_log_keeps_the_guards_answers_at_the_request_and_at_the_approval(
    stage: Callable[..., Stage],
) -> None:
    it = stage(HIGH)
    await it.asked()
    details = {row.event: row.detail for row in it.store.audit_rows()}
    for event in ("requested", "approved"):
        assert '"cordon: kubernetes_permits": "allowed"' in details[event]


# Whose roles reach far enough


async def test_roles_in_one_namespace_do_not_approve_an_act_on_a_node(stage: Callable[..., Stage]) -> None:
    it = stage(HIGH)
    plan = await it.engine.plan(it.runbook, {name: v for name, v in PARAMS.items() if name != "pod"}, ALICE)
    eve = Person("cli:eve", frozenset({"approver"}), frozenset({"shop"}))
    for person, counts in ((eve, False), (BOB, True)):
        given = Approval(person, plan.hash, plan.confirmation, it.world.now())
        assert (approvals.may_approve(plan, given, it.world.now()) == ()) is counts


def test_roles_in_one_namespace_neither_ask_for_nor_run_what_ends_the_pods_of_another() -> None:
    node = Subject("Node", None, "n1", "u")
    act = Planned("kubernetes.drain", "drain", (node,), {}, Risk.HIGH, ("bank/ledger-0",))
    step = PlannedStep("s", "act", "x", act)
    plan = Plan("here", "a/b", "1.0.0", "f", {"node": "n1"}, (step,), {}, "cli:eve", NOW + timedelta(minutes=15))
    eve = Person("cli:eve", frozenset({"responder"}), frozenset({"shop"}))
    assert approvals.may_request(plan, eve)
    assert approvals.may_run(plan, eve)
    reaches = Person(eve.id, eve.roles)
    assert approvals.may_request(plan, reaches) == ()


# Pause and cancel


async def test_a_cancel_that_was_accepted_holds_after_the_runner_died(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, UNVERIFIED)
    execution = await it.asked()
    await dies_after(it, execution, "cordon", lambda: it.people.cancel(it.now(execution), BOB, "stop it"))
    assert it.now(execution).state is State.CANCELLED
    with pytest.raises(Refusal, match="is cancelled"):
        await it.run(execution)
    assert it.world.does.applied == ["kubernetes.cordon"]


async def test_a_pause_that_was_accepted_holds_after_the_runner_died(stage: Callable[..., Stage]) -> None:
    it = stage(UNCORDONED, UNVERIFIED)
    execution = await it.asked()
    await dies_after(it, execution, "cordon", lambda: it.people.pause(it.now(execution), BOB))
    assert (it.now(execution).state, it.world.does.applied) == (State.PAUSED, ["kubernetes.cordon"])


async def test_a_cancel_that_was_accepted_holds_when_the_step_asks(stage: Callable[..., Stage]) -> None:
    it = stage({**UNCORDONED, "on_failure": "ask"})
    execution = await it.asked()

    def fails(_: Planned) -> None:
        it.store.want(execution.id, "cancel", "cli:bob")
        raise ActFailed("The webhook says no.")

    it.world.does.before = fails
    await it.run(execution)
    it.world.does.before = lambda _: None
    assert it.now(execution).state is State.CANCELLED
    with pytest.raises(Refusal, match="is cancelled"):
        await it.run(execution)
    assert it.world.does.applied == []


async def test_a_cancel_while_a_doubt_is_settled_waits_until_it_is(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stage(UNCORDONED)
    execution = await it.asked()
    it.world.does.after = no_answer
    await it.run(execution)
    assert it.now(execution).state is State.IN_DOUBT
    take = it.store.take

    def taking(*what: Any, **how: Any) -> Any:
        lease = take(*what, **how)
        it.store.want(execution.id, "cancel", "cli:alice")
        return lease

    monkeypatch.setattr(it.store, "take", taking)
    await it.run(execution)
    assert (it.now(execution).state, it.journal(execution)) == (State.CANCELLED, [("cordon", "done")])


async def test_an_execution_whose_act_is_in_doubt_is_not_cancelled_and_keeps_its_targets(
    stage: Callable[..., Stage],
) -> None:
    it = stage(UNCORDONED)
    execution = await it.asked()
    it.world.does.before = no_answer
    await it.run(execution)
    with pytest.raises(Refusal, match="an act of it is in doubt"):
        await it.people.cancel(it.now(execution), ALICE)
    assert (it.now(execution).state, it.journal(execution)) == (State.IN_DOUBT, [("cordon", None)])
    with pytest.raises(Refusal, match="works on Node node1"):
        await other(it)


# Words on a step


async def test_a_fresh_word_keeps_alive_what_has_not_begun_to_act(stage: Callable[..., Stage], clock: Clock) -> None:
    it = stage(HAND, UNCORDONED)
    execution = await it.asked()
    await it.run(execution)
    clock.forward(14 * 60)
    await it.people.say(it.now(execution), ALICE, Said.DONE)
    clock.forward(2 * 60)
    await it.run(execution)
    assert (it.now(execution).state, it.world.does.applied) == (State.DONE, ["kubernetes.cordon"])


async def test_a_word_that_comes_an_hour_after_the_expiry_is_refused(stage: Callable[..., Stage], clock: Clock) -> None:
    it = stage(UNCORDONED, HAND, {**UNVERIFIED, "on_failure": "undo"})
    execution = await it.asked()
    await it.run(execution)
    clock.forward(75 * 60)
    with pytest.raises(Refusal, match="its approval expired at 03:35:00 UTC, too long ago"):
        await it.people.say(it.now(execution), ALICE, Said.DONE)
    assert it.store.statements(execution.id) == ()
    assert it.world.does.applied == ["kubernetes.cordon"]


async def test_a_word_is_refused_when_the_runbooks_version_is_gone(stage: Callable[..., Stage]) -> None:
    it = stage(HAND, UNCORDONED)
    execution = await it.asked()
    await it.run(execution)

    def gone(name: str) -> Any:
        raise LookupError(f"there is no runbook {name}")

    it.engine.find = gone
    with pytest.raises(Refusal, match="there is no runbook ceph/try"):
        await it.people.say(it.now(execution), ALICE, Said.DONE)


async def test_an_attestation_from_the_future_does_not_count_for_as_long_as_the_clock_was_set_back(
    stage: Callable[..., Stage], clock: Clock
) -> None:
    it = stage(ATTEST, UNCORDONED, HAND, UNVERIFIED)
    execution = await it.asked()
    await it.run(execution)
    await it.people.say(it.now(execution), ALICE, Said.ATTESTED, confirmed="node1")
    await it.run(execution)
    assert it.now(execution).asking == "hand"
    clock.forward(-3600)
    await it.people.say(it.now(execution), ALICE, Said.DONE)
    await it.run(execution)
    assert (it.now(execution).asking, it.world.does.applied) == ("off", ["kubernetes.cordon"])


async def test_an_attestation_of_somebody_who_lost_every_role_does_not_count(stage: Callable[..., Stage]) -> None:
    it = stage(ATTEST, UNCORDONED)
    execution = await it.asked()
    await it.run(execution)
    await it.people.say(it.now(execution), ALICE, Said.ATTESTED, confirmed="node1")
    it.engine.who = lambda name: Person(name, frozenset())
    await it.run(execution)
    assert (it.now(execution).asking, it.world.does.applied) == ("off", [])


# A freeze and a limit hold in the moment of the act


async def test_a_freeze_right_before_the_intent_stops_the_act(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stage(UNCORDONED)
    execution = await it.asked()
    intend = it.store.intend

    def late(*what: Any, **how: Any) -> Any:
        it.store.freeze("here", "cli:bob", "stop everything")
        return intend(*what, **how)

    monkeypatch.setattr(it.store, "intend", late)
    await it.run(execution)
    assert (it.now(execution).state, it.journal(execution)) == (State.PAUSED, [])
    assert it.world.does.applied == []


async def test_two_that_were_judged_at_once_do_not_exceed_a_limit_together(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    cordon = {"id": "cordon", "act": "kubernetes.cordon", "with": {"node": "{{node}}"}}
    it = stage(cordon, rules=Rules(limits=(Limit("cluster", 1, timedelta(minutes=30)),)))
    made = []
    for node, locker in (("node1", PARAMS["locker"]), ("node2", PARAMS["locker"] + "x")):
        plan = await it.engine.plan(it.runbook, {**PARAMS, "node": node, "locker": locker}, ALICE)
        made.append(await it.engine.request(plan, ALICE))
    gate, intend = threading.Barrier(2, timeout=20), it.store.intend

    def both(*what: Any, **how: Any) -> Any:
        gate.wait()
        return intend(*what, **how)

    monkeypatch.setattr(it.store, "intend", both)
    await asyncio.gather(*map(it.run, made))
    assert sorted(map(it.journal, made)) == [[], [("cordon", "done")]]
    assert sorted(it.now(one).state for one in made) == [State.DONE, State.PAUSED]
    assert it.world.does.applied == ["kubernetes.cordon"]
