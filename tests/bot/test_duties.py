"""What the leader does by itself, round after round, for several clusters."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bot.duties import ROUND, STILL, Duties
from bot.settings import ClusterSettings, Settings, SlackSettings
from bot.slack.jobs import AnyJob, Notice
from bot.store import State, open_state
from bot.store.leaders import Leadership
from diagnostics.model import Subject

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
PODS = {name: Subject("Pod", "shop", f"db-of-{name}", f"uid-{name}") for name in ("east", "west")}


class Noticed:
    """As much of a watch as a round asks for: what it noticed and saw nothing more of."""

    def __init__(self, *pods: Subject) -> None:
        self.noticed = tuple((pod, T0) for pod in pods)


class Round:
    """A leader with two clusters, on a clock that its own rounds move. `told`: the pods of every job, with its time."""

    def __init__(self, folder: Path) -> None:
        self.passed = 0.0
        self.state: State = open_state(f"sqlite:///{folder}/state.db", self.now)
        clusters = {name: ClusterSettings(channel=f"C0{name.upper()}") for name in PODS}
        settings = Settings(clusters=clusters, slack=SlackSettings(channel="C0OPS"))
        self.duties = Duties(settings, self.state, lambda _: pytest.fail("no cluster"), self.done, pause=self.pause)
        self.leadership: Leadership = self.state.leaders.issue("one")
        self.state.leaders.activate(self.leadership)
        self.told: list[tuple[str, float]] = []
        self.on_job: Any = lambda: None

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.passed)

    async def pause(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)
        if self.passed > 4 * STILL.total_seconds():
            raise asyncio.CancelledError

    def done(self) -> None:
        """Every job is done at once, and nothing comes of it."""
        for left in self.state.jobs.left(AnyJob):
            assert isinstance(left.job, Notice)
            self.told.append((left.job.subject.name, self.passed))
            self.state.jobs.done(left.number)
        self.on_job()

    async def runs(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await self.duties._look_after(self.leadership)


@pytest.fixture
def rounds(tmp_path: Path) -> Iterator[Round]:
    made = Round(tmp_path)
    yield made
    made.state.runbooks.engine.dispose()


async def test_what_was_noticed_and_never_told_of_is_looked_at_again_in_its_interval_in_each_of_two_clusters(
    rounds: Round,
) -> None:
    rounds.duties.watches = {name: Noticed(pod) for name, pod in PODS.items()}  # type: ignore[misc]
    await rounds.runs()
    for pod in PODS.values():
        times = [at for name, at in rounds.told if name == pod.name]
        assert len(times) in (3, 4), times
        between = [after - before for before, after in pairwise(times)]
        assert all(STILL.total_seconds() <= each <= STILL.total_seconds() + 2 * ROUND for each in between), times


async def test_a_watch_that_begins_in_the_midst_of_a_round_does_not_end_it(
    rounds: Round, caplog: pytest.LogCaptureFixture
) -> None:
    rounds.duties.watches["east"] = Noticed(PODS["east"])  # type: ignore[assignment]
    rounds.on_job = lambda: rounds.duties.watches.setdefault("west", Noticed(PODS["west"]))  # type: ignore[arg-type]
    await rounds.runs()
    assert {name for name, _ in rounds.told} == {pod.name for pod in PODS.values()}
