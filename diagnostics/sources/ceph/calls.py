"""Counts the calls under way on a connection to Ceph, so that it is ended only when none works with it any more.

librados frees what a running call works with, and the process dies. And it has calls that nothing bounds: those are
given up on, and what they work with is left to them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from diagnostics.sources.ceph.rados import RadosError

T = TypeVar("T")

ENOTCONN, ETIMEDOUT = 107, 110


class Calls:
    """The calls on one connection, from any thread. None may begin before open() and after end()."""

    def __init__(self) -> None:
        self._under_way = 0
        self._given_up: list[threading.Thread] = []
        self._changed = threading.Condition()
        self.are_open = False

    def open(self) -> None:
        """Let calls begin."""
        with self._changed:
            self.are_open = True

    @contextmanager
    def one(self) -> Iterator[None]:
        """The length of one call.

        Raises:
            RadosError: errno 107 where none may begin.
        """
        with self._changed:
            if not self.are_open:
                raise RadosError(ENOTCONN, "the connection to Ceph is not open")
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def given_up_after(self, seconds: int, call: Callable[[], T], doing: str) -> T:
        """Run a call that nothing else bounds. Its thread is left behind where it does not end, as a daemon.

        Raises:
            RadosError: errno 110 where it took longer, or what the call raised.
        """
        answers: list[T | RadosError] = []

        def run() -> None:
            try:
                answers.append(call())
            except RadosError as error:
                answers.append(error)

        thread = threading.Thread(target=run, name="rados-wait", daemon=True)
        thread.start()
        thread.join(seconds)
        if not answers:
            with self._changed:
                self._given_up.append(thread)
            raise RadosError(ETIMEDOUT, f"{doing} took longer than {seconds} s")
        if isinstance(answers[0], RadosError):
            raise answers[0]
        return answers[0]

    def end(self, patience: float) -> bool:
        """Let none begin any more, wait for those under way, and tell whether all have ended.

        Those that were given up on are not waited for, and the others for `patience` seconds at most.
        """
        with self._changed:
            self.are_open = False
            self._changed.wait_for(lambda: self._under_way <= sum(one.is_alive() for one in self._given_up), patience)
            return not self._under_way
