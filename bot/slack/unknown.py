"""Jobs that a replica has without knowing: it was told that the database did not take a write, which took it after all.

Nobody else does them while it lives. So it looks, and does them; but what somebody was told is not done, is not done.
"""

import logging
from collections.abc import Callable

from bot.slack.jobs import AnyJob
from bot.store import State
from bot.store.jobs import Left

_log = logging.getLogger("unstick.work")
UNKNOWN = 30.0
"""Seconds for which a job may be unknown to the replica that has it: longer than any answer of the database may take."""


class Unknown:
    """What a replica (`owner`) knows of its jobs, against what it has. Callable from any thread.

    `unwanted` are the jobs, by name and with the message said for each (0: none), whose askers were told that nothing is
    done. `monotonic` is a clock in seconds that nobody sets.
    """

    def __init__(
        self, state: State, owner: str, unwanted: dict[str, int], take_on: Callable[[Left], None],
        monotonic: Callable[[], float],
    ) -> None:  # fmt: skip
        self._state = state
        self._owner = owner
        self._unwanted = unwanted
        self._take_on = take_on
        self._monotonic = monotonic
        self._since: dict[int, float] = {}
        self.known: set[int] = set()
        """The numbers of the jobs that it knows."""

    def find(self) -> None:
        """Take on what has been unknown for so long that nobody is about to tell of it.

        Raises:
            StoreError: the state database cannot be used.
        """
        now, own = self._monotonic(), self._state.jobs.numbers(self._owner)
        self._since = {number: self._since.get(number, now) for number in own - self.known}
        late = [number for number, since in self._since.items() if now - since >= UNKNOWN]
        for left in self._state.jobs.some(late, AnyJob) if late else ():
            if left.name in self._unwanted:
                self._drop(left)
            else:
                _log.warning("Job %d was written though the database did not say so: it is done now.", left.number)
                self._take_on(left)

    def _drop(self, left: Left) -> None:
        with self._state.jobs.write() as connection:
            self._state.jobs.drop_within(connection, left.number)
            if message := self._unwanted[left.name]:
                self._state.messages.drop_within(connection, message)
        del self._unwanted[left.name]
