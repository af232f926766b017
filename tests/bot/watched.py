"""A watch of the sandbox's Kubernetes over HTTP, on a clock that is moved by hand: hours pass in moments, and nothing sleeps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from bot.sandbox.kubernetes.access import EVERYTHING, Rule
from bot.sandbox.kubernetes.server import ApiServer
from bot.watch import Watch
from diagnostics.model import Subject
from diagnostics.sources.kubernetes.api import Access, Api
from tests.bot import churn

GRACE = timedelta(seconds=60)


async def until(what: Callable[[], object]) -> None:
    """Wait for something that happens in a server, for a bounded time."""
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)


class HandClock:
    """Time that passes when `forward` is called; who pauses meanwhile goes on in the order of the times."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    async def pause(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + timedelta(seconds=seconds), woken))
        await woken

    async def forward_to(self, at: datetime) -> None:
        await _breathe()
        while due := sorted((s for s in self._sleepers if s[0] <= at and not s[1].done()), key=lambda s: s[0]):
            self._now = max(self._now, due[0][0])
            due[0][1].set_result(None)
            self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].done()]
            await _breathe()
        self._now = max(self._now, at)


async def _breathe() -> None:
    for _ in range(12):  # what a timer sets off needs no answer from anybody, only its turns
        await asyncio.sleep(0)


class World:
    """The API server, the watch, and what it told, with the seconds since the beginning."""

    def __init__(self, folder: Path, clock: HandClock, **watch: Any) -> None:
        self.clock, self.began = clock, clock.now()
        self.told: list[tuple[float, str, str]] = []
        self.failing = False
        self.token = "good"
        self.server = ApiServer(clock.now, {"reader": "good"}, {"reader": [EVERYTHING]})
        self._folder = folder
        self.opened = 0
        self.watch = Watch(
            "prod", self.connect, self._notice, self._settled, grace=GRACE, now=clock.now, pause=clock.pause, **watch
        )
        self._selected: dict[str, int] = {}

    def connect(self) -> Api:
        """A connection, with whatever token is to be used now."""
        self.opened += 1
        config = self.server.kubeconfig("reader")
        config["users"][0]["user"]["token"] = self.token
        path = self._folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return Api(Access(str(path)), timeout=3)

    async def _notice(self, subject: Subject) -> None:
        if self.failing:
            raise RuntimeError("the database is away")
        self.told.append(((self.clock.now() - self.began).total_seconds(), "notice", subject.name))

    async def _settled(self, subject: Subject) -> None:
        self.told.append(((self.clock.now() - self.began).total_seconds(), "settled", subject.name))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run the watch; it must still run at the end."""
        task = asyncio.create_task(self.watch.run())
        try:
            yield task
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def allow(self, *rules: Rule) -> None:
        """Allow the watch just this."""
        self.server.access.grant("reader", rules)

    def cut(self) -> None:
        """Break all connections."""
        assert self.server._runner is not None
        assert self.server._runner.server is not None
        for connection in self.server._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    def do(self, step: churn.Step) -> None:
        """Make one change in the cluster."""
        before = self._is_selected(step, step.plural == "pods")
        churn.apply(step, self.server.registry)
        if before or self._is_selected(step, False):
            self._selected[step.plural] = self.server.registry.store.revision

    def _is_selected(self, step: churn.Step, as_it_was: bool) -> bool:
        stored: Any = step.object
        if as_it_was:
            meta = stored["metadata"]
            stored = next(
                (o for o in self.server.registry.store.all(churn.PODS, meta["namespace"])
                 if o["metadata"]["name"] == meta["name"]), None)  # fmt: skip
        elif step.word == "DELETED":
            return False
        if stored is None:
            return False
        if step.plural == "events":
            return bool(stored["type"] == "Warning")
        return stored["status"]["phase"] == "Pending" and bool(stored["spec"].get("nodeName"))

    async def heard(self) -> None:
        """Wait until the watch has heard of all changes."""

        def has_come_so_far() -> bool:
            revisions = self.watch.revisions.items()
            seen = {
                plural: min(int(at or 0) for name, at in revisions if name.startswith(plural))
                for plural in self._selected
            }
            return all(seen[plural] >= wanted for plural, wanted in self._selected.items())

        await until(has_come_so_far)

    async def tries_until(self, what: Callable[[], object]) -> None:
        """Let time pass for new tries, until something is so."""
        async with asyncio.timeout(10):
            while not what():
                await self.clock.forward_to(self.clock.now() + timedelta(seconds=0.5))
                await asyncio.sleep(0.005)

    async def at(self, seconds: float) -> None:
        """Let time pass up to so many seconds after the beginning."""
        await self.heard()
        await self.clock.forward_to(self.began + timedelta(seconds=seconds))
        await _breathe()

    async def play(self, steps: Sequence[churn.Step], every: float = 5.0, cut_each: int = 0) -> None:
        """Make timed changes, those of `every` seconds at once; break the connections after each `cut_each` such."""
        rest = list(reversed(steps))
        number = 0
        while rest:
            ends = (rest[-1].at // every + 1) * every
            while rest and rest[-1].at < ends:
                self.do(rest.pop())
            await self.at(ends)
            number += 1
            if cut_each and number % cut_each == 0:
                self.cut()


def step(word: str, made: churn.Object) -> churn.Step:
    """A change that has no time."""
    return churn.Step(0, "pods" if made["kind"] == "Pod" else "events", word, made)
