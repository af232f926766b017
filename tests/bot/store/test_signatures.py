"""What was taken is taken once, by whichever replica, for as long as Slack's signature is good."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from bot.store import State, open_state
from bot.store.signatures import KEPT


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 3, 14, 9, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replicas(database: str, clock: Clock) -> Iterator[tuple[State, State]]:
    """Two replicas on one database."""
    both = open_state(database, clock), open_state(database, clock)
    yield both
    for state in both:
        state.runbooks.engine.dispose()


def test_of_all_who_take_one_at_once_one_has_it(replicas: tuple[State, State]) -> None:
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda n: replicas[n % 2].signatures.take("v0=a"), range(16)))
    assert taken.count(True) == 1


def test_of_many_those_are_fresh_that_nobody_took_and_each_once(replicas: tuple[State, State]) -> None:
    one, other = (state.signatures for state in replicas)
    many = [f"v0={n}" for n in range(1200)]
    assert one.take("v0=7")
    assert other.take_all([*many, "v0=3", "v0=1199"]) == frozenset(many) - {"v0=7"}
    assert one.take_all(many) == frozenset()
    assert one.take_all([]) == frozenset()


def test_it_is_forgotten_once_slack_itself_would_not_send_it_any_more(
    replicas: tuple[State, State], clock: Clock
) -> None:
    one, other = (state.signatures for state in replicas)
    assert one.take("v0=a")
    clock.at += KEPT - timedelta(seconds=1)
    assert not other.take("v0=a")
    clock.at += timedelta(seconds=2)
    assert other.take("v0=a")
