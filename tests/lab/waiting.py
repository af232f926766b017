"""Waiting by polling with a bound: the only way in which tests on real parts let time pass."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.lab.errors import LabError

T = TypeVar("T")


def until(what: str, ask: Callable[[], T | None], timeout: float, every: float = 0.1) -> T:
    """Ask every `every` seconds until the answer is true, and return it.

    Raises:
        LabError: no true answer within `timeout` seconds; says `what` was waited for and the last answer.
    """
    end = time.monotonic() + timeout
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise LabError(f"waited {timeout:g} s in vain for {what} (last answer: {answer!r:.500})")
        time.sleep(every)
