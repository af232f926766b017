"""When an open incident is looked at again by itself, and who may answer it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.incidents import Answer, Incident, IncidentState
from bot.slack.attention import FOLLOW_UP, MOST_DUE, SELDOM, due, is_due, may_answer
from bot.store import open_state
from diagnostics.model import Finding, Status, Subject
from runbooks.approval import Person

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
POD = Subject("Pod", "search", "a", "u")
SECOND = timedelta(seconds=1)


def opened(**changed: Any) -> Incident:
    made = Incident(
        "in-1a2b3c4d", "prod", POD, Answer(Status.FOUND, Finding(POD, "it waits"), (), ()), IncidentState.OPEN, "C1", 7,
        T0, T0, subjects=(POD,),
    )  # fmt: skip
    return msgspec.structs.replace(made, **changed)


def waits(incident: Incident) -> timedelta:
    """After how long it is due, counted from the last look."""
    after = next(n for n in range(1, 1000) if is_due(incident, incident.updated + n * SECOND))
    return after * SECOND


def test_it_is_looked_at_more_than_30_s_after_the_last_look() -> None:
    assert not is_due(opened(), T0 + FOLLOW_UP), "a lock is stale after more than 30 s"
    assert is_due(opened(), T0 + FOLLOW_UP + timedelta(milliseconds=1))


@pytest.mark.parametrize(("minutes", "after"), [(1, 31), (4, 31), (20, 134), (300, 301), (90_000, 301)])
def test_the_older_it_is_the_more_seldom_up_to_five_minutes(minutes: int, after: int) -> None:
    assert waits(opened(updated=T0 + timedelta(minutes=minutes))) == after * SECOND


def test_what_came_back_is_young_again() -> None:
    back = T0 + timedelta(hours=9)
    assert waits(opened(returns=1, returned=(back,), updated=back)) == 31 * SECOND


def test_what_was_well_is_looked_at_soon_unless_it_must_be_well_for_long() -> None:
    late = T0 + timedelta(hours=9)
    assert waits(opened(updated=late, well_since=late)) == 31 * SECOND
    times = tuple(late - timedelta(minutes=n) for n in (320, 310, 300))
    assert waits(opened(updated=late, well_since=late, returns=3, returned=times)) == SELDOM + SECOND


def test_many_that_wait_are_not_looked_at_without_end() -> None:
    many = tuple(Subject("Pod", "search", str(n), "") for n in range(200))
    assert waits(opened(subjects=many)) == 201 * SECOND


def test_five_hundred_that_are_due_at_once_hold_up_nobody_and_each_has_its_turn(tmp_path: Path) -> None:
    now = [T0]
    state = open_state(f"sqlite:///{tmp_path}/state.db", lambda: now[0])
    for cluster, count in (("away", 30), ("near", 7)):
        for number in range(count):
            pod = Subject("Pod", "search", f"p{number}", f"{cluster}-{number}")
            state.incidents.found(cluster, Answer(Status.FOUND, Finding(pod, "it waits"), (), ()), "C1", number)
    looked: list[str] = []
    for _ in range(10):
        now[0] += timedelta(minutes=1)
        some = due(state, now[0])
        assert sum(each.cluster == "away" for each in some) == MOST_DUE, "a cluster that is away takes no more places"
        looked += [each.id for each in some if each.cluster == "away"]
        for each in some:
            state.incidents.not_seen_well(each.id, each.subject)
    assert len(set(looked)) == 30, "those that were looked at longest ago come first"
    state.runbooks.engine.dispose()


def test_the_end_of_a_snooze_does_not_wait_for_a_look() -> None:
    until = T0 + timedelta(hours=1)
    snoozed = opened(snoozed_by="U1", snoozed_until=until, updated=until - SECOND)
    assert not is_due(snoozed, until - SECOND)
    assert is_due(snoozed, until)


@pytest.mark.parametrize("role", ["responder", "approver", "admin"])
def test_who_responds_in_the_namespace_may_answer(role: str) -> None:
    assert may_answer(Person("U1", frozenset({role})), opened()) == ()
    assert may_answer(Person("U1", frozenset({role}), frozenset({"search"})), opened()) == ()


def test_all_others_may_not_and_hear_which_rule_says_so() -> None:
    viewer = Person("U1", frozenset({"viewer"}), by="people.U1")
    assert may_answer(viewer, opened()) == (
        "U1 has none of the roles responder, approver and admin (says people.U1)",
    )  # fmt: skip
    elsewhere = Person("U1", frozenset({"responder"}), frozenset({"media", "billing"}), by="groups.S1")
    assert may_answer(elsewhere, opened()) == (
        "U1 has roles in namespace billing, media alone, and this is in search (says groups.S1)",
    )  # fmt: skip
