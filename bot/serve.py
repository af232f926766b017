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
# The chart gives the pod a minute to end: the act under way, a call to Slack under way (15 s at most), what is left.
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
        ping_interval: float = 5.0,
    ) -> None:  # fmt: skip
        """`pause` is how to wait for Slack: between tries, and between messages.

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
        desk = Desk(settings, state, target, self.delivery.wake, self._link)
        self.worker = Worker(desk, self.work)
        app = AsyncApp(client=self._client, logger=sdk_log)
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

    def _link(self, message: Message) -> str | None:
        """The address of a message: Slack's own form of it."""
        if self._identity is None or message.ts is None:
            return None
        return f"{self._identity.url.rstrip('/')}/archives/{message.channel}/p{message.ts.replace('.', '')}"

    async def _fire(self, name: str, words: ScheduleSettings) -> None:
        await self.worker.accept(MakeReport("", channel_of(name, words, self._settings), name))
