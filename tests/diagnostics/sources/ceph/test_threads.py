"""Blocking calls in threads that nobody waits for: what comes back, what is raised, and what is given up."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from diagnostics.sources.ceph import threads
from diagnostics.sources.ceph.threads import in_daemon_thread, on_each

PATIENCE, TINY = 10.0, 0.01


class Ended(BaseException):
    """What ends a thread and is no Exception."""


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


class Stuck:
    """Work that does not come back until it is released, and the thread that does it."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> str:
        self.thread = threading.current_thread()
        self.release.wait(PATIENCE)
        return "late"

    def end(self) -> None:
        """Let it come back, and see that it did."""
        assert self.thread is not None
        self.release.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


async def test_the_result_comes_from_a_daemon_thread_of_its_own() -> None:
    thread = await in_daemon_thread(threading.current_thread, PATIENCE)
    assert thread is not threading.current_thread()
    assert thread.daemon, "a process must be able to end while a call hangs"


@pytest.mark.parametrize("error", [ValueError("cut"), TimeoutError("its own"), Ended("killed")], ids=repr)
async def test_what_the_work_raises_is_raised_where_it_is_awaited(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await in_daemon_thread(raising(error), PATIENCE)
    assert caught.value is error


async def test_work_that_does_not_come_back_is_given_up_without_waiting_for_its_thread() -> None:
    stuck = Stuck()
    with pytest.raises(TimeoutError):
        await in_daemon_thread(stuck, TINY)
    assert stuck.thread is not None
    assert stuck.thread.is_alive()
    stuck.end()


async def test_what_comes_back_too_late_disturbs_nobody() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    stuck = Stuck()
    with pytest.raises(TimeoutError):
        await in_daemon_thread(stuck, TINY)
    stuck.end()
    assert await in_daemon_thread(lambda: "next", PATIENCE) == "next"  # by now the late answer has been delivered
    assert told == []


def test_a_thread_that_outlives_its_loop_ends_quietly() -> None:
    stuck = Stuck()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await in_daemon_thread(stuck, TINY)

    asyncio.run(give_up())
    stuck.end()


def test_what_each_returned_keeps_the_order_of_the_items() -> None:
    gate = threading.Barrier(4)

    def work(item: int) -> int:
        if item < 4:
            gate.wait(PATIENCE)  # the first four are under way at the same time
        return item * 10

    assert on_each(work, range(200), 4) == [item * 10 for item in range(200)]
    assert on_each(work, [], 4) == []


def test_no_more_than_allowed_are_under_way_at_once() -> None:
    room, seen = threading.Semaphore(3), []

    def work(item: int) -> None:
        seen.append(room.acquire(blocking=False))
        room.release()

    on_each(work, range(300), 3)
    assert seen == [True] * 300


def test_what_is_raised_for_one_is_raised_and_nothing_further_is_begun() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 5:
            raise Ended

    with pytest.raises(Ended):
        on_each(work, range(100), 1)
    assert begun == [0, 1, 2, 3, 4, 5]


def test_where_all_hang_more_are_begun_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "TICK", TINY)
    limit, release, hanging = 16, threading.Event(), threading.Semaphore(0)
    begun: list[int] = []

    def work(item: int) -> str:
        begun.append(item)
        hanging.release()
        release.wait(PATIENCE)
        return "late"

    found: list[list[str]] = []
    batch = threading.Thread(target=lambda: found.append(on_each(work, range(40), 2, limit)))
    batch.start()
    for _ in range(limit):
        assert hanging.acquire(timeout=PATIENCE)
    assert not hanging.acquire(timeout=10 * TINY)
    assert len(begun) == limit
    release.set()
    batch.join(PATIENCE)
    assert found == [["late"] * 40]
