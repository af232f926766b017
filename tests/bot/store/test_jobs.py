"""What was asked for and is not done: it survives everything, in order, as the structure that it was."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from bot.slack import jobs
from bot.slack.jobs import AnyJob
from bot.store import State, open_state
from bot.store.jobs import Jobs
from diagnostics.model import Subject
from runbooks.database import StoreError
from runbooks.execution import Said

WHY = jobs.LookAtSubject("U1", "C1", Subject("Pod", "a", "b", ""), None, 3)
EVERY = (
    WHY,
    jobs.LookAtAll("U1", "C1", "search", None, 4),
    jobs.LookAtLocks("U1", "C1", "east", 5),
    jobs.PlanFix("U1", "C1", "in-1", "offer", 6),
    jobs.RequestApproval("U1", "C1", "pl-1", "0123"),
    jobs.RunRunbook("U1", "C1", "ceph/x", ("a=1", "b=2"), None, 7),
    jobs.Approve("U2", "C1", "ex-1", "node1"),
    jobs.Approve("U2", "C1", "ex-1", None),
    jobs.Deny("U2", "C1", "ex-1", "not now"),
    jobs.SayOfStep("U2", "C1", "ex-1", "plug", Said.DONE),
    jobs.SayOfStep("U2", "C1", "ex-1", "is_off", Said.ATTESTED, typed="node1", after=2),
    jobs.Withdraw("U2", "C1", "ex-1"),
    jobs.Cancel("U2", "C1", "ex-1", "wrong node"),
    jobs.Freeze("U2", "C1", None, "the storage team is at work", 8),
    jobs.Thaw("U2", "C1", "east", 9),
    jobs.GoOn("U1", "C1", "ex-1"),
    jobs.GoOn("U1", "C1", "ex-1", interrupted=True),
    jobs.MakeReport("", "C1", "nightly"),
    jobs.MakeReport("", "C1", "nightly", "2026-03-03T03:00:00+00:00"),
    jobs.AskReport("U1", "C1", None, 10),
    jobs.Notice("", "", Subject("Pod", "a", "b", ""), "east", "FailedMount: it is locked"),
    jobs.FollowUp("", "", "in-1"),
    jobs.Ack("U1", "C1", "in-1"),
    jobs.Snooze("U1", "C1", "in-1", 3600),
    jobs.TellAlerts("", "C1", "0123"),
    jobs.Forgotten("U1", "C1", "2026-03-03 03:07:00 UTC"),
)


@pytest.fixture
def state(database: str) -> Iterator[State]:
    state = open_state(database)
    yield state
    state.runbooks.engine.dispose()


def left(state: State) -> list[tuple[int, object]]:
    return [(each.number, each.job) for each in state.jobs.left(AnyJob)]


def test_there_is_one_of_each_kind_here() -> None:
    assert {type(job) for job in EVERY} == set(AnyJob.__args__)  # type: ignore[attr-defined] # of a union


def test_every_kind_of_job_comes_back_as_it_was_the_oldest_first(state: State, database: str) -> None:
    numbers = [state.jobs.add(job) for job in EVERY]
    assert left(state) == list(zip(numbers, EVERY, strict=True))
    again = open_state(database)
    assert left(again) == list(zip(numbers, EVERY, strict=True))
    again.runbooks.engine.dispose()


def test_what_is_done_is_gone_and_the_rest_stays(state: State) -> None:
    first, second = state.jobs.add(EVERY[0]), state.jobs.add(EVERY[1])
    state.jobs.done(first)
    state.jobs.done(first)
    assert left(state) == [(second, EVERY[1])]


def test_what_is_left_of_a_job_takes_its_place(state: State) -> None:
    approval, look = state.jobs.add(jobs.Approve("U2", "C1", "ex-1", "node1")), state.jobs.add(WHY)
    state.jobs.replace(approval, jobs.GoOn("U2", "C1", "ex-1"))
    assert left(state) == [(approval, jobs.GoOn("U2", "C1", "ex-1")), (look, WHY)]


def test_a_job_that_nobody_waits_for_any_more_is_not_kept(state: State) -> None:
    assert state.jobs.add(WHY, wanted=lambda: False) is None
    assert left(state) == []


def test_a_job_of_another_version_stays_and_keeps_no_other_from_being_done(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    odd, sound = state.jobs.add({"job": "of tomorrow"}), state.jobs.add(WHY)
    assert left(state) == [(sound, WHY)]
    assert f"job {odd} cannot be read" in caplog.text


def test_when_a_job_was_asked_for_is_kept(database: str) -> None:
    when = datetime(2026, 3, 3, 3, 7, tzinfo=UTC)
    state = open_state(database, lambda: when)
    state.jobs.add(WHY)
    assert [each.asked for each in state.jobs.left(AnyJob)] == [when]
    state.runbooks.engine.dispose()


def test_a_database_that_is_away_is_said_in_a_sentence(tmp_path: Path) -> None:
    away = Jobs(create_engine(f"sqlite:///{tmp_path}/nowhere/state.db"))
    with pytest.raises(StoreError, match="state database cannot be written"):
        away.add(WHY)
    with pytest.raises(StoreError, match="state database cannot be read"):
        away.left(AnyJob)
