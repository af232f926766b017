"""An election in time that passes by itself: electors with clocks of their own, a Lease, and everything that goes wrong.

The loop jumps to its next timer, so that minutes take milliseconds and the order of things is the same in each run. The
Lease is kept by optimistic concurrency as an API server does it; the database is a real one.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from sqlalchemy import create_engine, delete
from sqlalchemy.pool import StaticPool

from bot.leader import Elector
from bot.lease import Claim, Conflict, Lease, _parsed, written
from bot.store.leaders import Deposed, Leaders, Leadership
from bot.store.tables import leaders as table
from diagnostics.sources import CouldNotLook
from runbooks.database import StoreError

T0 = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
LASTS = 10.0
T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is that of its next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0.0

    def time(self) -> float:
        return self._at

    def _run_once(self) -> None:
        if not self._ready:
            if not self._scheduled:
                raise RuntimeError("nothing will ever happen any more")
            self._at = max(self._at, self._scheduled[0].when())
        super()._run_once()


def simulate(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)


def time() -> float:
    return asyncio.get_running_loop().time()


class Database:
    """A real database in memory, which can be away, and be set back to an earlier state."""

    def __init__(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        table.create(self.engine)
        self.leaders = Leaders(self.engine, lambda: T0)
        self.away = False

    def saved(self) -> dict[str, Any]:
        with self.engine.begin() as connection:
            return dict(connection.execute(table.select()).mappings().one())

    def restore(self, row: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(delete(table))
            connection.execute(table.insert().values(**row))


class Server:
    """What an API server keeps of one Lease."""

    def __init__(self) -> None:
        self.whole: dict[str, Any] | None = None
        self._numbers = itertools.count(1)

    @property
    def holder(self) -> str:
        return str(self.whole["spec"]["holderIdentity"]) if self.whole else ""

    def read(self) -> Lease | None:
        return _parsed(msgspec.json.encode(self.whole)) if self.whole else None

    def write(self, before: Lease | None, claim: Claim) -> Lease:
        found = self.whole["metadata"] if self.whole else {}
        meant = before.whole["metadata"] if before else {}
        if (found.get("uid"), found.get("resourceVersion")) != (meant.get("uid"), meant.get("resourceVersion")):
            raise Conflict("the object has been modified")
        self.whole = written(before, claim, "unstick")
        meta = {"uid": found.get("uid") or f"u{next(self._numbers)}", "resourceVersion": str(next(self._numbers))}
        self.whole["metadata"] |= meta
        return self.read() or self._never()

    def touch(self, **annotations: str) -> None:
        """What somebody does who only marks the object."""
        assert self.whole is not None
        meta = self.whole["metadata"]
        changed = {"annotations": meta["annotations"] | annotations, "resourceVersion": str(next(self._numbers))}
        self.whole = {**self.whole, "metadata": meta | changed}

    def delete(self) -> None:
        self.whole = None

    def _never(self) -> Lease:
        raise AssertionError


class Replica:
    """One process: its own clock, its own way to the API server and the database; it can stand still, and be killed."""

    def __init__(
        self, name: str, server: Server, database: Database, *, fate: random.Random | None = None, rate: float = 1.0
    ) -> None:
        self.name, self.server, self.database, self.rate = name, server, database, rate
        self.fate = fate or random.Random(7)  # noqa: S311 - not a secret
        self.cut = self.deaf = False
        self.latency = 0.02
        self.written: list[tuple[float, int]] = []
        self.steps: list[tuple[float, int]] = []
        self.led: list[tuple[float, float | None, int]] = []
        self._going = asyncio.Event()
        self._going.set()
        self.elector = Elector(
            self, database.leaders, name, timedelta(seconds=LASTS), now=lambda: T0,
            monotonic=lambda: 1000 * len(name) + time() * rate, pause=self.pause, in_thread=self.in_thread,
            chance=self.fate.random,
        )  # fmt: skip
        self.task: asyncio.Task[None] | None = None
        self._threads: set[asyncio.Task[Any]] = set()

    # What the elector is given

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.rate)
        await self._going.wait()

    async def read(self, timeout: float) -> Lease | None:
        return await self._asked(self.server.read, timeout)

    async def write(self, before: Lease | None, claim: Claim, timeout: float) -> Lease:
        return await self._asked(lambda: self.server.write(before, claim), timeout)

    async def in_thread(self, call: Callable[..., Any], /, *args: Any) -> Any:
        """What is begun in a thread goes on, though nobody waits for it any more."""
        thread = asyncio.ensure_future(self._blocking(call, *args))
        self._threads.add(thread)
        thread.add_done_callback(self._threads.discard)
        thread.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return await asyncio.shield(thread)

    async def _blocking(self, call: Callable[..., Any], *args: Any) -> Any:
        await self.pause(self.fate.uniform(0, self.latency))
        if self.database.away:
            await self.pause(0.5)
            raise StoreError("The state database cannot be written: it is away; check its server and rights.")
        answer = call(*args)
        await self.pause(self.fate.uniform(0, self.latency))
        return answer

    async def _asked(self, ask: Callable[[], T], timeout: float) -> T:
        assert 0 < timeout <= LASTS / 4
        there, back = self.fate.uniform(0, self.latency), self.fate.uniform(0, self.latency)
        if self.cut or there >= timeout:
            await self.pause(timeout)
            raise CouldNotLook("The Kubernetes API did not answer.", unreachable=True)
        await self.pause(there)
        answer = ask()
        if self.deaf or there + back >= timeout:
            await self.pause(timeout - there)
            raise CouldNotLook("The Kubernetes API did not answer.", unreachable=True)
        await self.pause(back)
        return answer

    # What it does as the leader

    async def lead(self, leadership: Leadership) -> None:
        began = time()
        self.led.append((began, None, leadership.token))
        try:
            while True:
                self.steps.append((time(), leadership.token))
                await self.in_thread(self.act, leadership)
                await self.pause(self.fate.uniform(0.2, 1.0))
        finally:
            self.led[-1] = (began, time(), leadership.token)

    def act(self, leadership: Leadership) -> None:
        with self.database.leaders.write() as connection:
            self.database.leaders.insist(connection, leadership)
            self.written.append((time(), leadership.token))

    # What happens to it

    def start(self, lead: Callable[[Leadership], Awaitable[None]] | None = None) -> "Replica":
        self.task = asyncio.create_task(self.elector.run(lead or self.lead))
        return self

    async def stop(self) -> None:
        """End it in order."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def stall(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    @property
    def leads(self) -> bool:
        return self.elector.leading is not None


async def until(what: Callable[[], object], within: float) -> float:
    """Wait in the loop's time; how long it took."""
    began = time()
    while not what():
        assert time() - began <= within, f"not within {within} s"
        await asyncio.sleep(0.01)
    return time() - began


__all__ = [
    "LASTS", "T0", "Database", "Deposed", "Replica", "Server", "VirtualLoop", "simulate", "time", "until",
]  # fmt: skip
