"""`unstick serve`: the edge (Slack, HTTP, delivery) on one loop, all slow work on another, and the store between.

Any replica takes what people ask; one of them leads (`bot.duties`). It ends when it is told to, or when Slack refuses a
token. Slack, a cluster or the election being away ends nothing: what is said meanwhile is kept, and /readyz tells.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult

from bot.duties import Duties
from bot.http.alertmanager import Webhook
from bot.http.health import Health, Pulse
from bot.http.routes import routes
from bot.http.server import HttpServer
from bot.leader import Alone, Lead
from bot.metrics import Metrics
from bot.readiness import readiness
from bot.schedule import check as check_schedules
from bot.settings import Settings
from bot.slack import alerts
from bot.slack.connection import Connection, Identity, identify, sdk_log, web_client
from bot.slack.delivery import Delivery
from bot.slack.desk import Desk
from bot.slack.edge import Edge
from bot.slack.errors import RateLimited, SlackUnreachable, waits
from bot.slack.groups import Groups
from bot.slack.http_mode import SlackByHttp
from bot.slack.worker import Worker
from bot.store import State, replicas
from bot.store.leaders import Deposed, Leadership
from bot.store.messages import Message
from bot.wiring import Target
from bot.work import WorkLoop, threads
from runbooks.database import StoreError

_log = logging.getLogger("unstick")
# The chart gives the pod 90 s to end: the act under way, a call to Slack under way (15 s at most), what is left.
LAST_ACT = 20.0
LAST_WORDS = 5.0
GROUPS = 5.0  # seconds for Slack to tell who is in which group, at the start
TURN = 1.0  # seconds between two signs that a loop turns


@dataclass(frozen=True)
class Tokens:
    """The secrets: the Slack bot's token, the app's own for Socket Mode, its signing secret for HTTP, Alertmanager's token."""

    bot: str
    app: str = ""
    signing: str = ""
    alertmanager: str = ""

    def __repr__(self) -> str:
        return "Tokens(…)"


class Election(Protocol):
    """How it is settled which replica leads: `leading` is set while this one does, `trouble` tells what is wrong."""

    leading: Leadership | None
    trouble: str

    async def run(self, lead: Lead) -> None:
        """Run `lead` whenever this replica leads, until cancelled."""
        ...


class Server:
    """The bot. `run` lasts until `stop`."""

    def __init__(
        self, settings: Settings, state: State, target: Callable[[str | None], Target], tokens: Tokens, *,
        now: Callable[[], datetime] | None = None, pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        ping_interval: float = 5.0, people: Callable[[], Settings] | None = None,
        pulse: replicas.Pulse | None = None, election: Election | None = None,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep, lingers: float = 0.0,
    ) -> None:  # fmt: skip
        """`pause` is how to wait for Slack: between tries, and between messages. `people` tells who may do what now.
        `rest` is how the leader's duties wait. For `lingers` seconds it still answers by HTTP when it ends, and says that it
        is not ready any more: until then requests may be on their way to it.

        Without `pulse` and `election` it is the only replica.

        Raises:
            SettingsError: a schedule means nothing, or has no channel.
        """
        check_schedules(settings)
        self.settings, self.state = settings, state
        self._pause = pause
        self.pulse = pulse or replicas.Pulse(state.replicas, alone=True)
        self.election: Election = election or Alone(state.leaders, self.pulse.id)
        self.identity: Identity | None = None
        self.metrics = Metrics(state)
        self._client = web_client(tokens.bot, settings.slack.api_url)
        self.delivery = Delivery(
            self._client, state.messages, pulse=self.pulse, pause=pause, called=self.metrics.called
        )
        self.work = WorkLoop()
        self._desk = desk = Desk(
            settings,
            state,
            target,
            self.delivery.wake,
            self._link,
            people=people,
            groups=Groups(),
            metrics=self.metrics,
        )
        self.worker = Worker(desk, self.work, self.pulse)
        self._bot_token = tokens.bot
        slack = self._slack(tokens, ping_interval)
        self.duties = Duties(settings, state, target, self._there_is_work, now=now, pause=rest, metrics=self.metrics)
        self.loops = {"edge": Pulse(), "work": Pulse()}
        self.health = Health(readiness(self), self.loops)
        webhook = Webhook(settings, tokens.alertmanager, partial(alerts.keep, desk, self.worker.accept))
        answered = routes(self.health, self.metrics, webhook, slack, lambda: self.identity is not None)
        self.http = None if settings.http is None else HttpServer(settings.http, answered)
        self._lingers = lingers
        self.ending = False
        self._stopped = asyncio.Event()

    def _slack(self, tokens: Tokens, ping_interval: float) -> SlackByHttp | None:
        """What takes things from Slack: sockets, or (the answer) what its requests are handed to."""
        by_http = self.settings.slack.mode == "http"
        # Without a token of its own, Bolt asks `_authorized`; with one it would ask Slack, in the midst of a click.
        app = AsyncApp(
            client=web_client(None, self.settings.slack.api_url), logger=sdk_log, authorize=self._authorizing(),
            signing_secret=tokens.signing if by_http else None,
        )  # fmt: skip
        slack = SlackByHttp(app, self.state.signatures, self.metrics.acknowledged) if by_http else None
        Edge(self._desk, self.worker, self._client).register(app)
        self.connections = [
            Connection(
                app, tokens.app, self._client, pause=self._pause, ping_interval=ping_interval,
                acked=self.metrics.acknowledged,
            ) for _ in range(0 if by_http else self.settings.slack.connections)
        ]  # fmt: skip
        return slack

    async def run(self) -> None:
        """Serve until `stop`.

        Raises:
            TokenRefused: Slack does not take a token.
            CannotListen: the address for HTTP cannot be used.
            StoreError: the state database cannot be used, or, without a Lease, another Unstick works on the same one.
        """
        if self.http is not None:
            await self.http.start()
        # From before the first look into the database: while that is slow, a restart would help nobody.
        turning = asyncio.create_task(_turning(self.loops["edge"]))
        try:
            await self._serve()
        except Deposed as deposed:
            raise StoreError(str(deposed)) from None
        finally:
            turning.cancel()
            if self.http is not None:
                await self.http.stop()

    async def _serve(self) -> None:
        # Deliveries to many channels may all wait for the database: neither a click nor a probe waits behind them.
        asyncio.get_running_loop().set_default_executor(threads("unstick-edge"))
        if not self.pulse.alone:
            await asyncio.to_thread(self.pulse.begin)
        self.pulse.start()
        self.work.start()
        self.work.call(self.worker.keep())
        self.work.call(_turning(self.loops["work"]))
        asking = asyncio.create_task(self._desk.groups.keep(self._client, lambda: self._desk.now().groups))
        await self._desk.groups.asked(self.settings.groups, GROUPS)  # who may go on with what is left depends on it
        await asyncio.to_thread(self.worker.resume)
        parts: list[Coroutine[Any, Any, Any]] = [
            self.delivery.run(), self._talk(), self._until_stopped(),
        ]  # fmt: skip
        leads = asyncio.create_task(self.election.run(self.duties.lead))
        tasks = [leads, asking, *(asyncio.create_task(part) for part in parts)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leads.cancel()  # first: another replica is to lead at once; with an API server away that takes its time
            await self._end(tasks)
        for task in done:
            task.result()

    def stop(self) -> None:
        """End: what is under way is left as the store has it."""
        self._stopped.set()

    async def _until_stopped(self) -> None:
        await self._stopped.wait()
        self.ending = True
        await asyncio.sleep(self._lingers if self.http is not None else 0.0)

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT end it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*(each.close() for each in self.connections), return_exceptions=True)
        self.worker.stop()
        await asyncio.to_thread(self.work.stop, LAST_ACT)
        for task in tasks:
            if not task.cancelling():  # who gives back the Lease already is left to it
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Exception):
            await self.delivery.settle(LAST_WORDS)
        await asyncio.to_thread(self.pulse.stop)

    async def _talk(self) -> None:
        """Find out who we are, then keep the sockets open; by HTTP there is nothing more to do."""
        tries = waits()
        said = ""
        while self.identity is None:
            try:
                self.identity = await identify(self._client)
            except SlackUnreachable as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("%s It is tried again until it answers; what is to be said is kept.", said)
                wait = next(tries)
                await self._pause(error.seconds if isinstance(error, RateLimited) else wait)
        _log.info("this is %s in the workspace %s", self.identity.bot_user, self.identity.team_name)
        if not self.connections:
            await asyncio.Event().wait()
        await asyncio.gather(*(each.run() for each in self.connections))

    def _there_is_work(self) -> None:
        """A job was added for whichever replica: this one need not wait for its next look."""
        self.work.call(self._look_for_work())

    async def _look_for_work(self) -> None:
        try:
            await asyncio.to_thread(self.worker.take_over, of_the_dead=False)
        except StoreError as error:
            _log.error("%s", error)

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
        us = self.identity
        if us is None:
            raise RuntimeError("something came from Slack before it was known who the bot is")
        return AuthorizeResult(
            enterprise_id=None, team_id=us.team, team=us.team_name, url=us.url, bot_user_id=us.bot_user,
            bot_token=self._bot_token,
        )  # fmt: skip

    def _link(self, message: Message) -> str | None:
        """The address of a message: Slack's own form of it."""
        if self.identity is None or message.ts is None:
            return None
        return f"{self.identity.url.rstrip('/')}/archives/{message.channel}/p{message.ts.replace('.', '')}"


async def _turning(pulse: Pulse) -> None:
    while True:
        pulse.touch()
        await asyncio.sleep(TURN)
