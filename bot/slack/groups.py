"""Who is in which Slack user group, as Slack said last: kept in memory, and asked anew in the background.

What Slack could not be asked for too long is not known any more: nobody has a role by it then.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from slack_sdk.web.async_client import AsyncWebClient

from bot.access import Membership
from bot.slack.errors import BOT_TOKEN, RateLimited, Rejected, SlackUnreachable, TokenRefused, answer_of

_log = logging.getLogger("unstick.slack")
# Seconds after which Slack is asked anew, and after which an answer does not hold any more.
FRESH = 300.0
HOLDS = 900.0
# Seconds between two tries of what failed: a call of this kind may be made 20 times a minute.
RETRY = 30.0
# Seconds between two looks whether something is to be asked.
LOOKS = 5.0


class Groups:
    """What is known of the groups. Any thread may ask; nothing here waits for Slack but `refresh` and `keep`."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._members: dict[str, tuple[float, frozenset[str]]] = {}
        self._failed: dict[str, float] = {}  # when it may be tried again
        self._said: dict[str, str] = {}
        self._asked_once = asyncio.Event()

    def of(self, user: str, named: Iterable[str]) -> Membership:
        """In which of the named groups a user is. Nobody but a Slack user is in one."""
        groups = tuple(named)
        if not groups or user.startswith("cli:"):
            return Membership()
        with self._lock:
            known = {name: self._known(name) for name in groups}
        return Membership(
            frozenset(name for name, members in known.items() if members is not None and user in members),
            frozenset(name for name, members in known.items() if members is None),
        )

    def members(self, named: Iterable[str]) -> frozenset[str]:
        """Everybody who is known to be in one of the named groups."""
        with self._lock:
            return frozenset().union(*(self._known(name) or frozenset() for name in named))

    def _known(self, group: str) -> frozenset[str] | None:
        asked, members = self._members.get(group, (None, frozenset[str]()))
        return members if asked is not None and self._now() - asked < HOLDS else None

    def due(self, named: Iterable[str]) -> tuple[str, ...]:
        """The groups that Slack is to be asked about now."""
        now = self._now()
        with self._lock:
            return tuple(
                name for name in named
                if now - self._members.get(name, (now - FRESH,))[0] >= FRESH and now >= self._failed.get(name, now)
            )  # fmt: skip

    async def refresh(self, client: AsyncWebClient, named: Iterable[str]) -> None:
        """Ask Slack about every group that is due. What it does not say stays as it was, and is logged once."""
        for group in self.due(named):
            asked = self._now()  # what changes while Slack answers is newer than the answer
            try:
                answer = await answer_of(client.usergroups_users_list(usergroup=group), BOT_TOKEN)
            except (SlackUnreachable, Rejected, TokenRefused) as error:
                self._could_not(group, error)
                continue
            users = answer.get("users")
            with self._lock:
                self._members[group] = (asked, frozenset(map(str, users if isinstance(users, list) else ())))
                self._failed.pop(group, None)
            if self._said.pop(group, None) is not None:
                _log.warning("Slack says again who is in group %s.", group)

    def _could_not(self, group: str, error: Exception) -> None:
        wait = max(RETRY, error.seconds) if isinstance(error, RateLimited) else RETRY
        with self._lock:
            self._failed[group] = self._now() + wait
        if self._said.get(group) != str(error):
            self._said[group] = str(error)
            _log.error("Slack could not be asked who is in group %s: %s", group, error)

    async def keep(
        self, client: AsyncWebClient, named: Callable[[], Iterable[str]],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        """Keep it fresh, until it is cancelled. `named` tells which groups the configuration names now."""
        while True:
            await self.refresh(client, await asyncio.to_thread(lambda: tuple(named())))
            self._asked_once.set()
            await pause(LOOKS)

    async def asked(self, named: Iterable[str], limit: float) -> None:
        """Wait until Slack was asked once about all of them, on the loop of `keep`, and no longer than `limit` seconds."""
        if any(named):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked_once.wait(), limit)
