"""The store: states, leases and the journal, by several processes at once and with the disk against them."""

import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, create_engine, text

from bot.store import open_state
from runbooks import store as stores
from runbooks.approval import Approval, Person
from runbooks.database import StoreError
from runbooks.model import Risk
from runbooks.plan import Plan
from runbooks.situation import Planned
from runbooks.store import LEASE, OPEN, AlreadyOpen, Execution, Lease, LostLease, State, Store
from tests.lab.databases import BOTH
from tests.runbooks.conftest import Clock
from tests.runbooks.hand_made import NOW

ACT = Planned("kubernetes.cordon", "cordon node1", (), {"unschedulable": True}, Risk.LOW)
BOB = Person("cli:bob", frozenset({"approver"}), frozenset({"search"}))


@pytest.fixture(params=BOTH)
def kind(request: pytest.FixtureRequest) -> str:
    """It is kept alike in both databases."""
    return str(request.param)


def events(store: Store) -> list[str]:
    """The events of the audit log, which is whole."""
    assert store.audit_fault() is None
    return [row.event for row in store.audit_rows()]


def another(plan: Plan, value: str) -> Plan:
    """A plan that does the same to something else."""
    return msgspec.structs.replace(plan, params={"x": value})


def test_what_was_asked_for_is_kept_as_it_is(store: Store, plan: Plan) -> None:
    execution = store.create(plan)
    assert store.get(execution.id) == execution
    assert (execution.plan, execution.state, execution.created) == (plan, State.WAITING, NOW)
    with pytest.raises(KeyError):
        store.get("ex-00000000")


def test_history_is_newest_first_and_bounded(store: Store, plan: Plan, clock: Clock) -> None:
    made = []
    for number in range(3):
        made.append(store.create(another(plan, str(number))).id)
        clock.forward(1)
    assert [execution.id for execution in store.history()] == made[::-1]
    assert [execution.id for execution in store.history(limit=1)] == made[2:]


def test_an_approval_is_kept_once_with_the_roles_of_its_time(store: Store, plan: Plan) -> None:
    execution = store.create(plan)
    approval = Approval(BOB, plan.hash, "node1", NOW)
    store.approve(execution.id, approval)
    store.approve(execution.id, Approval(BOB, "another", None, NOW))
    assert store.approvals(execution.id) == (approval,)
    assert events(store) == ["requested", "approved"]


# States


def test_what_has_ended_stays_as_it_is(store: Store, plan: Plan) -> None:
    for ended in (state for state in State if state.ended):
        execution = store.create(plan)
        store.move(execution.id, ended, "cli:bob", "because")
        for state in State:
            with pytest.raises(LostLease):
                store.move(execution.id, state, "cli:bob")
        with pytest.raises(LostLease, match="has ended"):
            store.take(execution.id, "me")
        assert store.get(execution.id).state is ended
        assert store.get(execution.id).ended == NOW


def test_of_two_that_do_the_same_the_second_one_is_not_kept_until_the_first_has_ended(store: Store, plan: Plan) -> None:
    for state in State:
        first = store.create(plan)
        store.move(first.id, state, "cli:bob")
        if state.ended:
            continue
        later = msgspec.structs.replace(plan, version="2.0.0", requester="cli:bob", hash="0")
        with pytest.raises(AlreadyOpen, match=f"{first.id} does the same and is {state}: it comes first"):
            store.create(later)
        for other in ({"cluster": "elsewhere"}, {"runbook": "a/c"}, {"params": {"x": "z"}}):
            store.move(store.create(msgspec.structs.replace(plan, **other)).id, State.DENIED, "cli:bob")
        store.move(first.id, State.FAILED, "cli:bob")
    assert events(store)[0] == "requested"


def test_two_requests_that_both_saw_none_are_told_apart_by_the_index(
    store: Store, plan: Plan, monkeypatch: Any
) -> None:
    """As in PostgreSQL, where two transactions look at the same time."""
    first = store.create(plan)
    insist, asked = stores._insist_on_none, []

    def blind(connection: Any, key: str) -> None:
        asked.append(key)
        if len(asked) > 1:
            insist(connection, key)

    monkeypatch.setattr(stores, "_insist_on_none", blind)
    with pytest.raises(AlreadyOpen) as caught:
        store.create(plan)
    assert (caught.value.execution, caught.value.state) == (first.id, State.WAITING)
    assert (len(asked), events(store)) == (2, ["requested"])


def test_of_two_who_ask_for_the_same_at_once_one_gets_it(store: Store, plan: Plan, database: str, clock: Clock) -> None:
    other = open_state(database, clock.now).runbooks
    raised = at_once(lambda: store.create(plan), lambda: other.create(plan))
    assert sorted(type(error).__name__ for error in raised) == ["AlreadyOpen", "NoneType"]
    other.engine.dispose()


def test_one_that_expired_before_it_began_does_not_stand_in_the_way(store: Store, plan: Plan, clock: Clock) -> None:
    for state in (State.WAITING, State.APPROVED):
        first = store.create(msgspec.structs.replace(plan, expires=clock.now() + timedelta(minutes=15)))
        store.move(first.id, state, "cli:bob")
        clock.forward(15 * 60 - 1)
        with pytest.raises(AlreadyOpen):
            store.create(plan)
        clock.forward(1)
        second = store.create(plan)
        assert (store.get(first.id).state, store.get(first.id).ended) == (State.VOID, clock.now())
        assert store.get(first.id).reason == f"it expired at {clock.now():%H:%M:%S} UTC"
        assert events(store)[-2:] == ["void", "requested"]
        store.move(second.id, State.DONE, "cli:bob")


def begun(store: Store, plan: Plan, value: str) -> tuple[Execution, Lease]:
    """An execution that has acted."""
    execution = store.create(another(plan, value))
    lease = store.take(execution.id, "me")
    store.conclude(lease, store.intend(lease, "cordon", ACT, ()), "done", None)
    return execution, lease


def test_what_has_begun_does_not_expire_and_stands_in_the_way(store: Store, plan: Plan, clock: Clock) -> None:
    waiting = store.create(plan)
    running, _ = begun(store, plan, "running")
    between, lease = begun(store, plan, "between")
    store.leave(lease)
    assert store.get(between.id).state is State.APPROVED
    clock.forward(15 * 60 - 1)
    assert store.expire(clock.now()) == ()
    clock.forward(1)
    assert store.expire(clock.now()) == (waiting.id,)
    assert store.get(waiting.id).reason == "it expired at 03:35:00 UTC"
    assert events(store)[-1] == "void"
    assert store.expire(clock.now()) == ()
    for execution in (running, between):
        assert not store.get(execution.id).state.ended
        with pytest.raises(AlreadyOpen):
            store.create(execution.plan)


def test_what_is_kept_besides_a_request_is_kept_with_it_or_not_at_all(store: Store, plan: Plan) -> None:
    told: list[Execution] = []

    def beside(connection: Connection, execution: Execution) -> None:
        connection.execute(
            text("INSERT INTO approvals VALUES (:id, 'p', '[]', '[]', 'h', null, 'x')"), {"id": "beside"}
        )
        told.append(execution)

    def fails(connection: Connection, execution: Execution) -> None:
        beside(connection, execution)
        raise LookupError("the message is gone")

    with pytest.raises(LookupError, match="the message is gone"):
        store.create(plan, fails)
    assert (store.history(), store.audit_rows()) == ((), ())
    made = store.create(plan, beside)
    assert told[-1] == made == store.get(made.id)
    with store.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM approvals")) == 1


def test_a_state_is_left_only_from_where_it_was_looked_at(store: Store, plan: Plan) -> None:
    execution = store.create(plan)
    store.take(execution.id, "me")
    for stale in ((State.WAITING,), (State.WAITING, State.APPROVED), (State.DONE,)):
        with pytest.raises(LostLease):
            store.move(execution.id, State.DENIED, "cli:bob", only_from=stale)
    assert store.get(execution.id).lease_owner == "me"
    assert not set(OPEN) & {State.DONE, State.FAILED, State.DENIED, State.VOID}


# Leases


def test_a_lease_is_one_runners_until_it_ends(store: Store, plan: Plan, clock: Clock) -> None:
    execution = store.create(plan)
    first = store.take(execution.id, "first")
    assert store.get(execution.id).state is State.RUNNING
    for owner in ("first", "second"):
        with pytest.raises(LostLease, match="runs already"):
            store.take(execution.id, owner)
    clock.forward(LEASE.total_seconds() - 1)
    store.renew(first)
    clock.forward(LEASE.total_seconds() - 1)
    with pytest.raises(LostLease):
        store.take(execution.id, "second")
    clock.forward(2)
    assert store.take(execution.id, "second").token > first.token


def test_who_comes_too_late_is_told_so_without_the_name_of_a_process(
    store: Store, plan: Plan, monkeypatch: Any
) -> None:
    execution = store.create(plan)
    before = store.get(execution.id)
    store.take(execution.id, "vm:4026531836:1043:77")
    for stale in (False, True):
        if stale:
            monkeypatch.setattr(store, "get", lambda _: before)
        with pytest.raises(LostLease) as caught:
            store.take(execution.id, "second")
        assert str(caught.value) == f"{execution.id} runs already"
    assert "vm:4026531836:1043:77" in store.audit_rows()[-1].detail


def test_a_dead_owners_lease_ends_at_once(store: Store, plan: Plan) -> None:
    execution = store.create(plan)
    store.take(execution.id, "first")
    with pytest.raises(LostLease):
        store.take(execution.id, "second", gone=lambda owner: owner != "first")
    assert store.take(execution.id, "second", gone=lambda owner: owner == "first").owner == "second"


def every_write(store: Store, lease: Lease) -> list[Any]:
    """Each write that a runner does, as a function."""
    entry = store.entries(lease.execution)[0]
    return [
        lambda: store.renew(lease),
        lambda: store.intend(lease, "another", ACT, ()),
        lambda: store.conclude(lease, entry, "done", None),
        lambda: store.verified(lease, entry, "it holds", holds=True),
        lambda: store.move(lease.execution, State.DONE, "cli:bob", lease=lease),
        lambda: store.leave(lease),
    ]


def test_a_stale_token_writes_nothing(store: Store, plan: Plan, clock: Clock) -> None:
    execution = store.create(plan)
    stale = store.take(execution.id, "first")
    store.intend(stale, "cordon", ACT, ())
    clock.forward(LEASE.total_seconds() + 1)
    store.take(execution.id, "second")
    before, told = store.get(execution.id), events(store)
    for write in every_write(store, stale):
        with pytest.raises(LostLease):
            write()
    assert store.get(execution.id) == before
    assert events(store) == told
    assert [entry.outcome for entry in store.entries(execution.id)] == [None]


@pytest.mark.parametrize("state", [State.DENIED, State.VOID, State.APPROVED, State.IN_DOUBT])
def test_a_runner_whose_execution_was_taken_out_of_running_writes_nothing_with_the_same_token(
    store: Store, plan: Plan, state: State
) -> None:
    execution = store.create(plan)
    lease = store.take(execution.id, "sleeper")
    store.intend(lease, "cordon", ACT, ())
    store.move(execution.id, state, "somebody")
    for write in every_write(store, lease)[:4]:
        with pytest.raises(LostLease):
            write()


# After a crash


def test_a_dead_runners_execution_is_in_doubt_with_an_open_intent_and_else_approved(store: Store, plan: Plan) -> None:
    open_one, between = store.create(plan), store.create(another(plan, "z"))
    store.intend(store.take(open_one.id, "dead"), "cordon", ACT, ())
    lease = store.take(between.id, "dead")
    store.conclude(lease, store.intend(lease, "cordon", ACT, ()), "done", None)
    assert store.interrupted(lambda _: False) == ()
    left = {execution.id: execution for execution in store.interrupted(lambda owner: owner == "dead")}
    assert left[open_one.id].state is State.IN_DOUBT
    assert left[open_one.id].reason == "interrupted after the intent of step cordon"
    assert left[between.id].state is State.APPROVED
    assert all(execution.lease_owner is None for execution in left.values())
    assert store.interrupted(lambda _: True) == ()


def test_a_silent_runners_execution_is_left_when_its_lease_has_ended(store: Store, plan: Plan, clock: Clock) -> None:
    execution = store.create(plan)
    store.take(execution.id, "elsewhere")
    clock.forward(LEASE.total_seconds())
    assert store.interrupted(lambda _: False) == ()
    clock.forward(1)
    assert [left.id for left in store.interrupted(lambda _: False)] == [execution.id]


def test_a_running_execution_without_any_lease_is_not_forgotten(store: Store, plan: Plan) -> None:
    execution = store.create(plan)
    store.move(execution.id, State.RUNNING, "somebody")
    assert [left.state for left in store.interrupted(lambda _: False)] == [State.APPROVED]


def test_looking_for_dead_runners_takes_nothing_from_one_that_has_begun_meanwhile(
    store: Store, plan: Plan, monkeypatch: Any
) -> None:
    """Two processes find the same dead runner; the slower one must not end the run that the faster one has begun."""
    execution = store.create(plan)
    store.take(execution.id, "dead")
    leave, begun = store.leave, []

    def slow(lease: Lease, gone: Any = None) -> None:
        monkeypatch.setattr(store, "leave", leave)
        store.interrupted(lambda owner: owner == "dead")
        begun.append(store.take(execution.id, "faster"))
        leave(lease, gone)

    monkeypatch.setattr(store, "leave", slow)
    assert store.interrupted(lambda owner: owner == "dead") == ()
    assert store.get(execution.id).lease_owner == "faster"
    store.renew(begun[0])


# The journal


def test_an_intent_is_on_disk_for_every_other_process_before_intend_returns(
    store: Store, plan: Plan, database: str, kind: str
) -> None:
    execution = store.create(plan)
    lease = store.take(execution.id, "me")
    store.intend(lease, "cordon", ACT, [{"guard": "g", "answer": "allowed", "reasons": ["r"]}])
    survives = {"sqlite": ("PRAGMA synchronous", 2), "postgres": ("SHOW synchronous_commit", "on")}  # 2 is FULL
    with store.engine.connect() as connection:
        assert connection.execute(text(survives[kind][0])).scalar() == survives[kind][1], "it survives a power cut"
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as other:
        assert other.execute(text("SELECT step, outcome FROM journal")).fetchall() == [("cordon", None)]
        assert kind == "postgres" or other.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    engine.dispose()


def test_an_intent_that_cannot_be_written_is_an_error_and_nobody_may_act(store: Store, plan: Plan) -> None:
    lease = store.take(store.create(plan).id, "me")
    with store.engine.begin() as connection:
        connection.execute(text("DROP TABLE journal"))
    with pytest.raises(StoreError, match="cannot be written"):
        store.intend(lease, "cordon", ACT, ())


def test_a_write_whose_audit_row_fails_is_not_done_either(store: Store, plan: Plan) -> None:
    execution, waiting = store.create(plan), store.create(another(plan, "w"))
    lease = store.take(execution.id, "me")
    with store.engine.begin() as connection:
        connection.execute(text("DROP TABLE audit"))
    for write in (
        lambda: store.intend(lease, "cordon", ACT, ()),
        lambda: store.move(execution.id, State.DENIED, "cli:bob"),
        lambda: store.approve(waiting.id, Approval(BOB, plan.hash, None, NOW)),
        lambda: store.create(another(plan, "z")),
    ):
        with pytest.raises(StoreError):
            write()
    assert store.entries(execution.id) == ()
    assert store.approvals(waiting.id) == ()
    assert {e.id: e.state for e in store.history()} == {execution.id: State.RUNNING, waiting.id: State.WAITING}


def test_the_journal_is_in_the_order_of_its_intents_whatever_the_clock_does(
    store: Store, plan: Plan, clock: Clock
) -> None:
    execution = store.create(plan)
    lease = store.take(execution.id, "me")
    for step, passes in (("c", 0), ("a", 0), ("b", -30), ("a", -30)):
        clock.forward(passes)
        store.conclude(lease, store.intend(lease, step, ACT, ()), "not done", "no")
    entries = store.entries(execution.id)
    assert [(entry.step, entry.attempt) for entry in entries] == [("c", 1), ("a", 1), ("b", 1), ("a", 2)]
    assert entries[0].act == ACT


def test_outcome_and_verification_are_written_apart(store: Store, plan: Plan) -> None:
    lease = store.take(store.create(plan).id, "me")
    entry = store.intend(lease, "cordon", ACT, ())
    assert (entry.outcome, entry.said) == (None, None)
    store.conclude(lease, entry, "done", None)
    assert [(e.outcome, e.said) for e in store.entries(lease.execution)] == [("done", None)]
    store.verified(lease, entry, "it does not hold", holds=False)
    assert [(e.outcome, e.said) for e in store.entries(lease.execution)] == [("unverified", "it does not hold")]
    assert events(store)[-3:] == ["intent", "outcome", "not verified"]


# Several at once


def at_once(*work: Any) -> list[BaseException | None]:
    """Run these in threads that begin together; gives what each raised."""
    barrier = threading.Barrier(len(work))
    raised: list[BaseException | None] = [None] * len(work)

    def run(number: int) -> None:
        barrier.wait(10)
        try:
            work[number]()
        except Exception as error:  # noqa: BLE001 - the test judges it
            raised[number] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return raised


def test_of_two_who_take_a_lease_at_once_one_gets_it(store: Store, plan: Plan, database: str, clock: Clock) -> None:
    other = open_state(database, clock.now).runbooks
    for _ in range(10):
        execution = store.create(plan)
        raised = at_once(lambda e=execution: store.take(e.id, "one"), lambda e=execution: other.take(e.id, "two"))
        assert sorted(type(error).__name__ for error in raised) == ["LostLease", "NoneType"]
        assert store.get(execution.id).fencing_token == 1
        store.move(execution.id, State.DONE, "cli:bob")
    assert store.audit_fault() is None
    other.engine.dispose()


def test_rows_that_are_written_at_once_are_all_in_the_chain(store: Store, database: str, clock: Clock) -> None:
    other = open_state(database, clock.now).runbooks

    def write(to: Store, who: str) -> None:
        for number in range(20):
            to.record("refused", who, "", {"number": number})

    assert (
        at_once(lambda: write(store, "one"), lambda: write(other, "two"), lambda: write(store, "three")) == [None] * 3
    )
    rows = store.audit_rows()
    assert [row.seq for row in rows] == list(range(1, 61))
    assert store.audit_fault() is None
    other.engine.dispose()


# A disk that does not work


def test_a_database_that_cannot_be_read_or_written_is_one_sentence(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/empty.db")
    broken = Store(engine)
    for call in (broken.history, broken.audit_rows, lambda: broken.record("e", "p", "", {})):
        with pytest.raises(StoreError) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith("check its disk and rights.")
        assert caught.value.__cause__ is None
    engine.dispose()
    assert os.path.exists(tmp_path / "empty.db")
