"""A state database, and a plan to keep in it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
import pytest

from bot.store import open_state
from runbooks.plan import Plan, digest
from runbooks.store import Store
from tests.lab.databases import database, kind, postgres
from tests.runbooks.hand_made import NOW

__all__ = ["database", "kind", "postgres"]


class Clock:
    """The time, moved by hand."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        """The time."""
        return self.time

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: str, clock: Clock) -> Iterator[Store]:
    made = open_state(database, clock.now).runbooks
    yield made
    made.engine.dispose()


@pytest.fixture
def plan() -> Plan:
    made = Plan("here", "a/b", "1.0.0", "f" * 64, {"x": "y"}, (), {}, "cli:alice", NOW + timedelta(minutes=15))
    return msgspec.structs.replace(made, hash=digest(made))
