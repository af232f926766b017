"""The work loop: a thread of its own for everything slow, so that the edge (Slack, schedule) always answers in time.

It owns no state: what is to be done is in the store, and a lane that is full says so at once.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Any, TypeVar

_log = logging.getLogger("unstick.work")
T = TypeVar("T")


class Lane(StrEnum):
    """Work of one kind, which never waits for work of another. Of each cluster there is a lane of its own."""

    LOOKS = "looks"
    DECISIONS = "decisions"
    RUNS = "runs"
    STOPS = "stops"
    UNASKED = "unasked"


AT_ONCE = 4
# Threads of a loop for calls that block. Python's own number is by processors (6 on two), so that a few that wait for a
# database or a Ceph that is away would keep all others waiting: of another cluster, an approval, a lease to be renewed.
THREADS = 48
# What waits is a row in the store and a small object here: so many, that a rush of people is never turned away.
WAITING = 2_000
SWITCH = 0.0005
"""Seconds after which a thread that computes lets the other one go on, if that wants to.

Python's own 5 ms make each step of the edge wait so long while a scan is decoded: 500 commands at once were acknowledged
after 2.2 s, with this after 1.0 s (`tests/benchmarks/bench_acks.py`).
"""


LATE = 5.0
"""Seconds for what is cancelled to end."""


def threads(name: str) -> ThreadPoolExecutor:
    """The threads in which a loop makes calls that block."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix=name)


class Busy(Exception):
    """A lane is full: one sentence."""


class WorkLoop:
    """An event loop in a thread. `submit` may be called from any thread."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._most = at_once + waiting
        self._at_once = at_once
        self._held = dict.fromkeys(Lane, 0)
        self._guard = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._lanes: dict[tuple[Lane, str], asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="unstick-work", daemon=True)

    def start(self) -> None:
        """Begin to work. From now on the process changes between its threads more often."""
        sys.setswitchinterval(SWITCH)
        self._thread.start()

    def stop(self, patience: float) -> None:
        """End: wait up to `patience` seconds for what is under way, then leave it to the store to go on with later."""
        if not self._thread.is_alive():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._drain(patience), self._loop).result(patience + 2 * LATE)
        except TimeoutError:
            _log.error("The work loop stands still: what is under way is left as the store has it.")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LATE)

    def submit(
        self, lane: Lane, work: Callable[[], Awaitable[None]], cluster: Callable[[], Awaitable[str]] | None = None
    ) -> None:
        """Have something done. `cluster` tells what it is about: work on a cluster that is away delays no other's.

        Raises:
            Busy: too much waits already.
        """
        with self._guard:
            if self._held[lane] >= self._most:
                raise Busy(f"{self._held[lane]} requests wait already: try again in a minute.")
            self._held[lane] += 1
        self._loop.call_soon_threadsafe(self._begin, lane, work, cluster)

    def room(self, lane: Lane) -> bool:
        """Whether a lane takes more. From any thread."""
        with self._guard:
            return self._held[lane] < self._most

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on this loop at once, outside of the lanes."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_default_executor(threads("unstick-work"))
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def _begin(
        self, lane: Lane, work: Callable[[], Awaitable[None]], cluster: Callable[[], Awaitable[str]] | None
    ) -> None:
        task = self._loop.create_task(self._do(lane, work, cluster))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(
        self, lane: Lane, work: Callable[[], Awaitable[None]], cluster: Callable[[], Awaitable[str]] | None
    ) -> None:
        try:
            of = await cluster() if cluster is not None else ""
            async with self._lanes.setdefault((lane, of), asyncio.Semaphore(self._at_once)):
                await work()
        except Exception:  # noqa: BLE001 - the work itself says what went wrong; this is a mistake in Unstick
            _log.exception("a piece of work ended with an error that nobody foresaw")
        finally:
            with self._guard:
                self._held[lane] -= 1

    async def _drain(self, patience: float) -> None:
        own = asyncio.current_task()
        left = [task for task in self._tasks if task is not own]
        if left:
            _, late = await asyncio.wait(left, timeout=patience)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=LATE)
