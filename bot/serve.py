"""`unstick serve`: the edge (Slack, schedule, delivery) on one loop, all slow work on another, and the store between.

It ends when it is told to, or when Slack refuses a token. Slack being away ends nothing: what is said meanwhile is kept.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult

from bot.schedule import Schedule, channel_of
from bot.schedule import check as check_schedules
from bot.settings import ScheduleSettings, Settings
from bot.slack.connection import Connection, Identity, identify, sdk_log, web_client
from bot.slack.delivery import Delivery
from bot.slack.desk import Desk
from bot.slack.edge import Edge
from bot.slack.errors import RateLimited, SlackUnreachable, waits
from bot.slack.jobs import MakeReport
from bot.slack.worker import Worker
from bot.store import State
from bot.store.messages import Message
from bot.wiring import Target
from bot.work import WorkLoop

_log = logging.getLogger("unstick")
# The chart gives the pod 90 s to end: the act under way, a call to Slack under way (15 s at most), what is left.
LAST_ACT = 20.0
LAST_WORDS = 5.0


@dataclass(frozen=True)
class Tokens:
    """The secrets of the Slack app: the bot's token, and the app's own for Socket Mode."""

    bot: str
    app: str

    def __repr__(self) -> str:
        return "Tokens(bot=…, app=…)"


class Server:
    """The bot. `run` lasts until `stop`."""

    def __init__(
        self, settings: Settings, state: State, target: Callable[[str | None], Target], tokens: Tokens, *,
        now: Callable[[], datetime] | None = None, pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        ping_interval: float = 5.0, people: Callable[[], Settings] | None = None,
    ) -> None:  # fmt: skip
        """`pause` is how to wait for Slack: between tries, and between messages. `people` tells who may do what now.

        Raises:
            SettingsError: a schedule means nothing, or has no channel.
        """
        check_schedules(settings)
        self._settings = settings
        self._state = state
        self._pause = pause
        self._identity: Identity | None = None
        self._client = web_client(tokens.bot, settings.slack.api_url)
        self.delivery = Delivery(self._client, state.messages, pause=pause)
        self.work = WorkLoop()
        self._desk = desk = Desk(settings, state, target, self.delivery.wake, self._link, people=people)
        self.worker = Worker(desk, self.work)
        self._bot_token = tokens.bot
        # Without a token of its own, Bolt asks `_authorized`; with one it would ask Slack, in the midst of a click.
        app = AsyncApp(client=web_client(None, settings.slack.api_url), logger=sdk_log, authorize=self._authorizing())
        self.edge = Edge(desk, self.worker, self._client)
        self.edge.register(app)
        self.connection = Connection(app, tokens.app, self._client, pause=pause, ping_interval=ping_interval)
        timed = {"now": now} if now else {}
        self.schedule = Schedule(settings, state.reports, self._fire, **timed)
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop`.

        Raises:
            TokenRefused: Slack does not take a token.
        """
        self.work.start()
        self.work.call(self.worker.keep())
        await asyncio.to_thread(self.worker.resume)
        self.schedule.start()
        for name, fires in self.schedule.next().items():
            _log.info("the report %s is made next at %s", name, fires.isoformat())
        parts = [asyncio.create_task(part) for part in (self.delivery.run(), self._talk(), self._stopped.wait())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.schedule.stop()
            await self._end(parts)
        for part in done:
            part.result()

    def stop(self) -> None:
        """End: what is under way is left as the store has it."""
        self._stopped.set()

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT end it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    async def _end(self, parts: Sequence[asyncio.Task[Any]]) -> None:
        await self.connection.close()
        self.worker.stop()
        await asyncio.to_thread(self.work.stop, LAST_ACT)
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        with suppress(Exception):
            await self.delivery.settle(LAST_WORDS)

    async def _talk(self) -> None:
        """Find out who we are, then keep the socket open."""
        tries = waits()
        said = ""
        while self._identity is None:
            try:
                self._identity = await identify(self._client)
            except SlackUnreachable as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("%s It is tried again until it answers; what is to be said is kept.", said)
                wait = next(tries)
                await self._pause(error.seconds if isinstance(error, RateLimited) else wait)
        _log.info("this is %s in the workspace %s", self._identity.bot_user, self._identity.team_name)
        await self.connection.run()

    def _authorizing(self) -> Callable[[], Awaitable[AuthorizeResult]]:
        """A function, as Bolt takes a method's `self` for a name of something that it should hand over."""

        async def authorize() -> AuthorizeResult:
            return await self._authorized()

        return authorize

    async def _authorized(self) -> AuthorizeResult:
        """Who the bot is, told to Bolt before each payload; no payload comes before it is known (`_talk`).

        Who the people are is read anew here too: in a thread, so that it delays no other payload.
        """
        await asyncio.to_thread(self._desk.now)
        us = self._identity
        if us is None:
            raise RuntimeError("something came from Slack before it was known who the bot is")
        return AuthorizeResult(
            enterprise_id=None, team_id=us.team, team=us.team_name, url=us.url, bot_user_id=us.bot_user,
            bot_token=self._bot_token,
        )  # fmt: skip

    def _link(self, message: Message) -> str | None:
        """The address of a message: Slack's own form of it."""
        if self._identity is None or message.ts is None:
            return None
        return f"{self._identity.url.rstrip('/')}/archives/{message.channel}/p{message.ts.replace('.', '')}"

    async def _fire(self, name: str, words: ScheduleSettings) -> None:
        await self.worker.accept(MakeReport("", channel_of(name, words, self._settings), name))
