"""How much waits, and for how long: what /readyz and the metrics tell of the database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from bot.store import State, open_state
from bot.store.messages import Content

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)


@pytest.fixture
def passed() -> list[float]:
    """Seconds since the beginning."""
    return [0.0]


@pytest.fixture
def state(database: str, passed: list[float]) -> Iterator[State]:
    state = open_state(database, lambda: T0 + timedelta(seconds=passed[0]))
    yield state
    state.runbooks.engine.dispose()


def waits(state: State) -> tuple[int, float]:
    there = state.counts.look()
    return there.behind, there.behind_for


def test_an_edit_of_an_old_message_has_waited_only_since_the_edit(state: State, passed: list[float]) -> None:
    assert waits(state) == (0, 0)
    number = state.messages.add("C1", Content("an incident"))
    passed[0] = 40
    assert waits(state) == (1, 40)
    state.messages.delivered(state.messages.get(number), "1.1")
    assert waits(state) == (0, 0)
    passed[0] = 86_400
    state.messages.edit(number, Content("the same incident, a day later"))
    assert waits(state) == (1, 0)
    passed[0] += 50
    state.messages.edit(number, Content("and edited once more"))
    passed[0] += 50
    assert waits(state) == (1, 100), "an edit more does not make Slack any less behind"


def test_what_slack_would_not_take_waits_anew_from_its_next_edit(state: State, passed: list[float]) -> None:
    number = state.messages.add("C1", Content("an incident"))
    state.messages.undeliverable(state.messages.get(number), "the bot is not in the channel")
    assert waits(state) == (0, 0)
    passed[0] = 1000
    state.messages.edit(number, Content("somebody may have invited it"))
    passed[0] = 1010
    assert waits(state) == (1, 10)


def test_the_one_that_has_waited_longest_counts(state: State, passed: list[float]) -> None:
    old = state.messages.add("C1", Content("old"))
    state.messages.delivered(state.messages.get(old), "1.1")
    passed[0] = 100
    state.messages.add("C2", Content("waits"))
    passed[0] = 130
    state.messages.edit(old, Content("edited"))
    assert waits(state) == (2, 30)
