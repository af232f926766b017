"""Runs blocking librados calls off the event loop, in threads that nobody has to wait for.

Some calls can block for ever (an unknown pool while the monitors are down, the wait for a new map). A daemon thread
neither blocks the loop nor keeps the process from ending, as a thread of an executor would.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


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
