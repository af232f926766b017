"""Plans and requests in the store: one plan is asked for once, and everything that was told of it stays in order."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import Connection

from bot.store import State, open_state
from bot.store.messages import Content
from bot.store.requests import AskedAlready, Request, ShownPlan, ToldStep
from diagnostics.model import Subject
from runbooks.events import Say, StepEvent
from runbooks.guards import Answer
from runbooks.model import Risk
from runbooks.plan import Judged, Plan, PlannedStep, digest
from runbooks.situation import Planned

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)


@pytest.fixture
def state(database: str) -> Iterator[State]:
    state = open_state(database, lambda: T0)
    yield state
    state.runbooks.engine.dispose()


def plan(node: str = "node1") -> Plan:
    fence = Planned("ceph.fence", f"fence {node}", (Subject("Node", None, node, "uid"),), {"seconds": 1}, Risk.CRITICAL)
    deletes = Planned("kubernetes.delete_pod", "delete", (Subject("Pod", "a", "b", "uid"),), {}, Risk.LOW, ("a/b",))
    made = Plan(
        "here", "ceph/x", "1.0.0", "sha", {"node": node},
        (
            PlannedStep("fence", "act", "fence it", fence, (Judged("safe", Answer.ALLOWED, ("it is down",)),)),
            PlannedStep("retry", "wait", "wait", otherwise=PlannedStep("retry.otherwise", "act", "delete", deletes)),
        ),
        {"node": {"ready": "Unknown"}}, "U0ALICE", T0 + timedelta(minutes=15),
    )  # fmt: skip
    return msgspec.structs.replace(made, hash=digest(made))


def test_a_shown_plan_comes_back_whole_and_with_the_hash_that_was_approved(state: State) -> None:
    made = state.requests.show(plan(), "in-1", 3, "C1")
    kept = state.requests.shown(made.id)
    assert kept == made
    assert kept.plan == plan()
    assert digest(kept.plan) == kept.plan.hash
    assert (kept.incident, kept.message, kept.channel, kept.execution) == ("in-1", 3, "C1", None)


def test_a_message_can_show_another_plan_and_a_click_on_it_means_that_one(state: State) -> None:
    made = state.requests.show(plan(), None, 3, "C1")
    again = state.requests.replace(made, plan("node2"))
    assert again.plan == plan("node2")
    assert state.requests.shown(made.id) == again
    assert again.id == made.id


def test_a_plan_that_nobody_was_shown_is_a_key_error(state: State) -> None:
    with pytest.raises(KeyError, match="pl-00000000"):
        state.requests.shown("pl-00000000")


def ask(state: State, shown: ShownPlan, execution: str) -> None:
    with state.requests.write() as connection:
        state.requests.asked(connection, shown, execution, 4)


def tried(state: State, shown: ShownPlan, execution: str) -> str | None:
    try:
        ask(state, shown, execution)
    except AskedAlready:
        return None
    return execution


def test_one_plan_is_one_execution(state: State) -> None:
    made = state.requests.show(plan(), None, 3, "C1")
    ask(state, made, "ex-1")
    for again in ("ex-2", "ex-1"):
        with pytest.raises(AskedAlready):
            ask(state, made, again)
    assert state.requests.open() == (Request("ex-1", None, 4, "C1", False),)
    assert state.requests.shown(made.id).execution == "ex-1"


def test_of_many_claims_at_once_one_wins(state: State) -> None:
    made = state.requests.show(plan(), None, 3, "C1")
    names = [f"ex-{n}" for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        won = [name for name in threads.map(lambda name: tried(state, made, name), names) if name]
    assert len(won) == 1
    assert state.requests.shown(made.id).execution == won[0]


def test_a_request_is_open_until_its_end_is_told(state: State) -> None:
    made = state.requests.add("ex-1", "in-1", 4, "C1")
    other = state.requests.add("ex-2", None, 5, "C2")
    assert state.requests.get("ex-1") == made
    assert not made.closed
    assert set(state.requests.open()) == {made, other}
    state.requests.close("ex-1")
    assert state.requests.open() == (other,)
    closed = state.requests.get("ex-1")
    assert closed == msgspec.structs.replace(made, closed=True)


def test_an_end_is_told_once_whoever_tells_it_first(state: State) -> None:
    state.requests.add("ex-1", None, 4, "C1")
    told: list[str] = []

    def also(connection: Connection) -> None:
        state.messages.add_within(connection, "C1", Content("it expired"))
        told.append("once")

    assert state.requests.close("ex-1", also)
    assert not state.requests.close("ex-1", also)
    assert told == ["once"]
    assert state.messages.channels_behind() == ("C1",)


def test_what_cannot_be_said_with_the_end_leaves_it_to_be_told_again(state: State) -> None:
    made = state.requests.add("ex-1", None, 4, "C1")

    def also(connection: Connection) -> None:
        state.messages.add_within(connection, "C1", Content("it expired"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        state.requests.close("ex-1", also)
    assert state.requests.open() == (made,)
    assert state.messages.channels_behind() == ()


def test_what_nobody_asked_for_in_slack_is_told_nowhere(state: State) -> None:
    assert state.requests.get("ex-of-the-command-line") is None


def test_the_requests_of_an_incident_are_those_made_in_it(state: State) -> None:
    mine = {state.requests.add(f"ex-{n}", "in-1", n, "C1") for n in range(3)}
    state.requests.add("ex-9", "in-2", 9, "C1")
    state.requests.add("ex-8", None, 8, "C1")
    assert set(state.requests.of_incident("in-1")) == mine


def test_steps_are_told_in_the_order_in_which_they_happened_each_execution_by_itself(state: State) -> None:
    said = [
        StepEvent("fence", Say.BEGUN, "fencing"), StepEvent("fence", Say.DONE, "fenced"),
        StepEvent("", Say.ENDED, "done"), StepEvent("fence", Say.NOTE, "0"),
    ]  # fmt: skip
    for n, event in enumerate(said):
        state.requests.tell("ex-1", event)
        state.requests.tell("ex-2", StepEvent("other", Say.NOTE, str(n)))
    assert state.requests.told("ex-1") == tuple(ToldStep(T0, e.step, e.say, e.text) for e in said)
    assert [step.text for step in state.requests.told("ex-2")] == ["0", "1", "2", "3"]
    assert state.requests.told("ex-3") == ()


def test_all_of_it_survives_a_restart(state: State, database: str) -> None:
    made = state.requests.show(plan(), "in-1", 3, "C1")
    ask(state, made, "ex-1")
    state.requests.tell("ex-1", StepEvent("fence", Say.BEGUN, "fencing"))
    again = open_state(database, lambda: T0)
    assert again.requests.shown(made.id) == msgspec.structs.replace(made, execution="ex-1")
    assert again.requests.open() == state.requests.open() != ()
    again.requests.tell("ex-1", StepEvent("fence", Say.DONE, "fenced"))
    assert [step.say for step in again.requests.told("ex-1")] == [Say.BEGUN, Say.DONE]
    again.runbooks.engine.dispose()
