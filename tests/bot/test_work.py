"""The work loop: bounds, lanes that do not wait for each other, and an end that loses nothing and warns of nothing."""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bot import work as module
from bot.work import Busy, Lane, WorkLoop

PATIENCE = 5.0


class Holding:
    """Work that stands until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.ended: list[str] = []
        self._open = threading.Event()

    def let_go(self) -> None:
        self._open.set()

    async def __call__(self) -> None:
        self.began.release()
        try:
            while not self._open.is_set():  # noqa: ASYNC110 - a test opens it from another thread
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")

    def has_begun(self, count: int = 1) -> bool:
        return all(self.began.acquire(timeout=PATIENCE) for _ in range(count))


class Once:
    """Work that is done at once, and says so."""

    def __init__(self) -> None:
        self.done = threading.Event()

    async def __call__(self) -> None:
        self.done.set()

    def is_done(self) -> bool:
        return self.done.wait(PATIENCE)


@pytest.fixture
def loop() -> Iterator[WorkLoop]:
    made = WorkLoop(at_once=2, waiting=1)
    made.start()
    yield made
    made.stop(0.0)


def test_so_much_is_done_at_once_so_much_waits_and_the_next_is_told_to_come_back(loop: WorkLoop) -> None:
    held, waiting = Holding(), Once()
    for _ in range(2):
        loop.submit(Lane.LOOKS, held)
    assert held.has_begun(2)
    loop.submit(Lane.LOOKS, waiting)
    with pytest.raises(Busy, match=r"3 requests wait already: try again in a minute\."):
        loop.submit(Lane.LOOKS, Once())
    assert not waiting.done.is_set()
    held.let_go()
    assert waiting.is_done()


def test_whether_a_lane_has_room_is_told_beforehand(loop: WorkLoop) -> None:
    held = Holding()
    for _ in range(3):
        assert loop.room(Lane.LOOKS)
        loop.submit(Lane.LOOKS, held)
    assert not loop.room(Lane.LOOKS)
    assert loop.room(Lane.DECISIONS)
    held.let_go()


def test_a_thread_that_computes_lets_the_edge_go_on_soon(loop: WorkLoop) -> None:
    assert sys.getswitchinterval() <= 0.001


def test_a_place_is_free_again_once_work_has_ended(loop: WorkLoop) -> None:
    for _ in range(10):
        once = Once()
        loop.submit(Lane.RUNS, once)
        assert once.is_done()
        # What ends has told of it before its place is free: only a later piece of the loop's work tells that.
        assert loop.call(_nothing()).result(PATIENCE) is None


async def _nothing() -> None:
    pass


@pytest.mark.parametrize("full", list(Lane))
def test_no_lane_waits_for_another_one(full: Lane, loop: WorkLoop) -> None:
    held = Holding()
    for _ in range(3):
        loop.submit(full, held)
    for other in set(Lane) - {full}:
        once = Once()
        loop.submit(other, once)
        assert once.is_done()
    held.let_go()


def test_an_error_that_nobody_foresaw_is_logged_and_ends_nothing_else(
    loop: WorkLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    for _ in range(5):
        once = Once()
        loop.submit(Lane.LOOKS, fails)
        loop.submit(Lane.LOOKS, once)
        assert once.is_done()
        assert loop.call(_nothing()).result(PATIENCE) is None
    assert [record.getMessage() for record in caplog.records] == [
        "a piece of work ended with an error that nobody foresaw"
    ] * 5


def test_an_end_waits_for_what_is_under_way() -> None:
    loop, held = WorkLoop(), Holding()
    loop.start()
    loop.submit(Lane.RUNS, held)
    assert held.has_begun()
    letting_go = threading.Timer(0.05, held.let_go)
    letting_go.start()
    loop.stop(PATIENCE)
    letting_go.join()
    assert held.ended == ["done"]


def test_an_end_cancels_what_takes_longer_and_leaves_no_task_behind(caplog: pytest.LogCaptureFixture) -> None:
    loop, held = WorkLoop(at_once=2, waiting=4), Holding()
    loop.start()
    for _ in range(4):
        loop.submit(Lane.RUNS, held)
    beside = loop.call(asyncio.Event().wait())
    assert held.has_begun(2)
    loop.stop(0.01)
    gc.collect()
    assert held.ended == ["cancelled", "cancelled"]
    assert beside.cancelled()
    assert caplog.records == []
    assert not any(thread.name == "unstick-work" for thread in threading.enumerate())


def test_work_that_follows_from_work_at_the_very_end_is_left_undone() -> None:
    loop, held, late = WorkLoop(), Holding(), Holding()
    loop.start()

    async def followed() -> None:
        await held()
        loop.submit(Lane.RUNS, late)

    loop.submit(Lane.RUNS, followed)
    assert held.has_begun()
    letting_go = threading.Timer(0.02, held.let_go)
    letting_go.start()
    loop.stop(PATIENCE)
    letting_go.join()
    assert held.ended == ["done"]
    assert late.ended in ([], ["cancelled"])


def test_an_end_before_the_beginning_and_a_second_end_are_nothing() -> None:
    loop = WorkLoop()
    loop.stop(0.0)
    loop.start()
    loop.stop(0.0)
    loop.stop(0.0)


def test_calls_that_block_keep_no_other_from_a_thread(loop: WorkLoop) -> None:
    """Those of a database that is away, or of one cluster's Ceph: an approval needs a thread, too."""
    away, begun, done = threading.Event(), threading.Semaphore(0), Once()

    def hang() -> None:
        begun.release()
        away.wait(PATIENCE)

    async def hangs() -> None:
        await asyncio.gather(*(asyncio.to_thread(hang) for _ in range(10)))

    async def decides() -> None:
        await asyncio.to_thread(done.done.set)

    try:
        for lane in (Lane.LOOKS, Lane.RUNS):
            loop.submit(lane, hangs)
            loop.submit(lane, hangs)
        assert all(begun.acquire(timeout=PATIENCE / 2) for _ in range(40)), "one waits for another"
        loop.submit(Lane.DECISIONS, decides)
        assert done.done.wait(PATIENCE / 2)
    finally:
        away.set()


def test_work_that_does_not_end_when_it_is_told_to_keeps_nobody_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LATE", 0.05)
    begun, goes_on = threading.Event(), threading.Event()

    async def stubborn() -> None:
        begun.set()
        while not goes_on.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    async def stands_still() -> None:
        begun.set()
        goes_on.wait(PATIENCE)

    for work in (stubborn, stands_still):
        loop, begun, goes_on = WorkLoop(), threading.Event(), threading.Event()
        loop.start()
        loop.submit(Lane.RUNS, work)
        assert begun.wait(PATIENCE)
        began = time.monotonic()
        loop.stop(0.05)
        assert time.monotonic() - began < PATIENCE / 2
        goes_on.set()
    assert "stands still" in caplog.text


def test_work_on_one_cluster_does_not_wait_for_that_on_another(loop: WorkLoop) -> None:
    async def away() -> str:
        return "away"

    async def there() -> str:
        return "there"

    held, other = Holding(), Once()
    for _ in range(2):
        loop.submit(Lane.LOOKS, held, away)
    assert held.has_begun(2)
    loop.submit(Lane.LOOKS, other, there)
    assert other.is_done()
    held.let_go()
