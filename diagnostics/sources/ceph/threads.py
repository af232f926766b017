"""Runs blocking librados calls off the event loop and many at a time, in threads that nobody has to wait for.

Some calls can block for ever (an unknown pool while the monitors are down, the wait for a new map). A daemon thread
neither blocks the loop nor keeps the process from ending, as a thread of an executor would.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")

TICK = 0.5
"""Seconds in which one piece of work should end; where none of many did, they all hang on something silent."""


async def in_daemon_thread(work: Callable[[], T], patience: float) -> T:
    """Run `work` and return what it returns, or raise what it raises.

    Raises:
        TimeoutError: it did not come back within `patience` seconds. It may still do what it was to do.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(error: BaseException | None, value: Any) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value)

    def run() -> None:
        error: BaseException | None = None
        value: Any = None
        try:
            value = work()
        except BaseException as caught:  # noqa: BLE001 - it is raised again where it is awaited
            error = caught
        with suppress(RuntimeError):  # the loop has ended, and with it whoever wanted the answer
            loop.call_soon_threadsafe(settle, error, value)

    threading.Thread(target=run, name="ceph", daemon=True).start()
    return await asyncio.wait_for(done, patience)


def on_each(work: Callable[[S], T], items: Sequence[S], at_once: int, most: int = 0) -> list[T]:
    """Run `work` on every item, `at_once` at a time, and return what it returned, in the order of the items.

    Where all hang (an OSD is silent, and each waits for its time-out), more threads are added, up to `most`, so that
    the items which would be answered do not wait behind those which are not.

    Raises:
        BaseException: what `work` raised for the first item that it raised for. No further item is then begun.
    """
    found: dict[int, T] = {}
    failed: dict[int, BaseException] = {}
    turns = iter(range(len(items)))  # taking the next one is atomic: no Python code runs meanwhile

    def run() -> None:
        for index in turns:
            if failed:
                return
            try:
                found[index] = work(items[index])
            except BaseException as caught:  # noqa: BLE001 - it is raised again below
                failed[index] = caught

    threads: list[threading.Thread] = []

    def add(count: int) -> None:
        new = [threading.Thread(target=run, name="ceph-each", daemon=True) for _ in range(count)]
        threads.extend(new)
        for thread in new:
            thread.start()

    add(min(at_once, len(items)))
    for thread in threads:  # which grow meanwhile
        while thread.is_alive():
            before = len(found)
            thread.join(TICK)
            if thread.is_alive() and len(found) == before:
                add(min(len(threads), most - len(threads), len(items) - len(threads)))
    if failed:
        raise failed[min(failed)]
    return [found[index] for index in range(len(items))]
