"""A workspace, a store and a clock that only pauses move: nothing here waits to be right."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.sandbox.slack import Workspace
from bot.store import State, open_state

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)


class Clock:
    """Time that passes by pauses alone. `on_pause` is told how many there were."""

    def __init__(self) -> None:
        self.at = 0.0
        self.pauses: list[float] = []
        self.on_pause: Callable[[int], None] = lambda _: None

    def now(self) -> float:
        return self.at

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += seconds
        assert len(self.pauses) < 1000, "tries again and again"
        self.on_pause(len(self.pauses))
        await asyncio.sleep(0)

    def after(self, pauses: int, act: Callable[[], object]) -> None:
        """Do something in the pause of that number."""

        def told(count: int) -> None:
            if count == pauses:
                act()

        self.on_pause = told


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    async with Workspace() as workspace:
        yield workspace


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = open_state(f"sqlite:///{tmp_path}/state.db")
    yield state
    state.runbooks.engine.dispose()
