"""Writes down what was asked for: all that waits at a moment in one transaction, so that a rush costs few of them.

Slack is told that something was taken only once it is on disk. Whoever gives up waiting is not served later: the two
decide by a lock whether it was taken or given up.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from sqlalchemy import Connection

from bot.slack.jobs import AnyJob
from bot.store import State
from bot.store.jobs import Left
from bot.store.messages import Said

_log = logging.getLogger("unstick.work")
MOST = 250
"""How much is written in one transaction: who comes first does not wait for everybody."""

MOST_UNWANTED = 4 * MOST
"""Of so many it is remembered that they are not wanted any more: mostly the database has none of them."""


@dataclass(eq=False)
class _Asking:
    """Somebody who waits. `job` makes the job, given the number of the message that was `said` for it."""

    said: Said | None
    job: Callable[[int], AnyJob]
    asker: AnyJob
    key: str | None
    answer: "Future[None]" = field(default_factory=Future)
    decided: threading.Lock = field(default_factory=threading.Lock)
    message: int = 0  # 0: none was said


class Acceptor:
    """Takes jobs from any loop. Each is the replica's that `owner` names, and is handed to `kept` once it is on disk.

    `admit` raises where a job is not to be taken; `dismiss` is told of one that was admitted and is not kept after all.
    """

    def __init__(
        self, state: State, owner: str, kept: Callable[[Left], None], wake: Callable[[], None], *,
        admit: Callable[[AnyJob], None], dismiss: Callable[[AnyJob], None],
    ) -> None:  # fmt: skip
        self._state = state
        self._owner = owner
        self._kept = kept
        self._wake = wake
        self._admit = admit
        self._dismiss = dismiss
        self._guard = threading.Lock()
        self._waiting: list[_Asking] = []
        self._writing = False
        self.unwanted: dict[str, int] = {}
        """Jobs by name, each with its message (0: none), whose askers were told that nothing is done, though the answer to
        the write may have been lost: where they are there after all, they are not to be done."""

    @property
    def idle(self) -> bool:
        """Nothing is being written, nor waits for it."""
        return not self._writing

    async def take(self, job: Callable[[int], AnyJob], said: Said | None = None, key: str | None = None) -> None:
        """Keep a job, and what is said for it, both or neither. Where this is cancelled, it is not done.

        Raises:
            Busy: too much waits already.
            StoreError: it cannot be kept, and so will not be done.
        """
        asking = _Asking(said, job, job(0), key)
        with self._guard:
            self._waiting.append(asking)
            begin, self._writing = not self._writing, True
        if begin:
            # A thread of its own: those of the loop may all wait for the same database.
            threading.Thread(target=self._write_all, name="unstick-accept", daemon=True).start()
        taking = asyncio.wrap_future(asking.answer)
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            if asking.decided.acquire(blocking=False):
                taking.add_done_callback(lambda late: late.cancelled() or late.exception())
                raise
            await taking

    def _write_all(self) -> None:
        while batch := self._next():
            try:
                self._write(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear, and the next be served
                _log.exception("what was asked for could not be taken, for a reason that nobody foresaw")
                for asking in batch:
                    if not asking.answer.done():
                        asking.answer.set_exception(error)
            finally:
                self._wake()

    def _next(self) -> list[_Asking]:
        with self._guard:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._writing = bool(batch)
            return batch

    def _write(self, batch: Sequence[_Asking]) -> None:
        admitted = [asking for asking in batch if not asking.decided.locked() and self._admitted(asking)]
        kept: dict[_Asking, Left] = {}
        try:
            with self._state.jobs.write() as connection:
                kept = self._within(connection, admitted)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self.unwanted |= {left.name: asking.message for asking, left in kept.items()}
            for name in list(self.unwanted)[:-MOST_UNWANTED]:
                del self.unwanted[name]
            for asking in admitted:
                self._dismiss(asking.asker)
                asking.answer.set_exception(error)
            return
        for asking in admitted:
            if asking not in kept:
                self._dismiss(asking.asker)
        for left in kept.values():
            self._kept(left)
        for asking in batch:
            if not asking.answer.done():
                asking.answer.set_result(None)

    def _admitted(self, asking: _Asking) -> bool:
        try:
            self._admit(asking.asker)
        except Exception as refused:  # noqa: BLE001 - it is the asker's to hear
            asking.answer.set_exception(refused)
            return False
        return True

    def _within(self, connection: Connection, batch: Sequence[_Asking]) -> dict[_Asking, Left]:
        """Keep what is still waited for when the transaction is about to end."""
        messages, jobs = self._state.messages, self._state.jobs
        fresh, keys = [], set()
        for asking in batch:
            if asking.key is None or (asking.key not in keys and jobs.number_of(connection, asking.key) is None):
                fresh.append(asking)
                keys.add(asking.key)
        said = [asking for asking in fresh if asking.said is not None]
        numbers = messages.add_all(connection, [asking.said for asking in said if asking.said is not None])
        for asking, number in zip(said, numbers, strict=True):
            asking.message = number
        wanted = [asking.job(asking.message) for asking in fresh]
        made = jobs.add_all(connection, wanted, self._owner, [asking.key for asking in fresh])
        kept, late = {}, []
        for asking, left in zip(fresh, made, strict=True):
            if asking.decided.acquire(blocking=False):
                kept[asking] = left
            else:
                late.append(asking.message)
                jobs.drop_within(connection, left.number)
        for message in filter(None, late):
            messages.drop_within(connection, message)
        return kept
