"""A Slack workspace on loopback: the Web API, Socket Mode and signed HTTP for a bot, and people to talk with it.

A bot runs against it unchanged: `AsyncWebClient(base_url=workspace.api_url)`. It is a stand-in to be trusted, so it
refuses what Slack refuses. It never listens on anything but loopback, and what it knows ends with it.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

from bot.sandbox.slack import transcript
from bot.sandbox.slack.blocks import mistakes
from bot.sandbox.slack.changes import Changes
from bot.sandbox.slack.events import USUAL, Events
from bot.sandbox.slack.faults import Faults
from bot.sandbox.slack.groups import Groups
from bot.sandbox.slack.homes import Homes
from bot.sandbox.slack.methods import Methods
from bot.sandbox.slack.methods.response_urls import ResponseUrls
from bot.sandbox.slack.modals import Modals
from bot.sandbox.slack.payloads import Payloads
from bot.sandbox.slack.people import Person
from bot.sandbox.slack.refusals import NotPossible, NotSeen
from bot.sandbox.slack.socket_mode import Reason, SocketMode
from bot.sandbox.slack.state import Message, State
from bot.sandbox.slack.transport.delivery import Delivery
from bot.sandbox.slack.transport.dispatch import Dispatch
from bot.sandbox.slack.transport.http_mode import HttpMode
from bot.sandbox.slack.transport.pacing import Pace
from bot.sandbox.slack.web_api import Call, WebApi

HOST = "127.0.0.1"


def _utc() -> datetime:
    return datetime.now(UTC)


class Workspace:
    """A workspace: `async with Workspace() as workspace`.

    Args:
        port: 0 chooses a free one.
        now: its clock; message times and the lives of triggers and response URLs follow it.
        ack_bound: seconds of real time a bot has to acknowledge.
        down: start with every connection dropped without an answer.
        listening: False starts with connections refused, until `listen_again`.
        request_url: the app's request URL, if it is served over HTTP; None means sockets.
        events: the bot events that the app is subscribed to, as its manifest names them.
        scopes: what the bot's token may do; None is everything.
        spread: which of so many sockets gets the next payload, by its index; None takes one after the other.
        signed_at: the time that HTTP requests are signed with, in seconds since 1970; what the app compares with.
        pause: waits the seconds before an event is tried again.
        paced: hold the app to Slack's documented rate limits, on the workspace's clock.

    Attributes:
        signing_secret: what HTTP requests are signed with.
    """

    def __init__(
        self, port: int = 0, now: Callable[[], datetime] = _utc, *, ack_bound: float = 3.0, down: bool = False,
        listening: bool = True, request_url: str | None = None, events: Collection[str] = USUAL,
        scopes: Collection[str] | None = None, spread: Callable[[int], int] | None = None,
        signed_at: Callable[[], float] = time.time, pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        paced: bool = False,
    ) -> None:  # fmt: skip
        self._listening, self._port = listening, port
        self._ack_bound, self._signed_at, self._subscribed = ack_bound, signed_at, events
        self._reserved: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._people: dict[str, Person] = {}
        self.bot_token = f"xoxb-{secrets.token_hex(12)}"
        self.app_token = f"xapp-1-{secrets.token_hex(12)}"
        self.signing_secret = secrets.token_hex(16)
        self.changes = Changes()
        self.state = State(now, self.changes.happened)
        about = {"team_id": self.state.team, "app_id": self.state.app, "bot_id": self.state.bot_id}
        about["app_installed_team_id"] = self.state.team
        self.modals = Modals(now, self.changes.happened, {"type": "modal", **about}, self.state.names)
        self.homes = Homes(self.state, self.changes.happened, about, self.state.names)
        self.groups = Groups()
        self.sockets = SocketMode(self.state.app, ack_bound, self.changes, spread)
        self.faults = Faults(self.sockets.abort)
        self.faults.down = down
        self.dispatch = Dispatch(self.sockets, self.changes, pause, lambda: self.faults.down or self._site is None)
        self.methods = Methods(self.state, self.modals, self.homes, self.groups, lambda: self.url)
        self._urls = ResponseUrls(self.state)
        tokens = (self.bot_token, self.app_token)
        self._web = WebApi(self.methods, self._urls, self.sockets, self.faults, tokens, self.changes.happened)
        self._web.pace = Pace(now) if paced else None
        self.scopes = scopes
        if request_url is not None:
            self.deliver_to(request_url)

    async def __aenter__(self) -> Self:
        self._reserve()
        self.payloads = Payloads(self.state, self.modals, self._urls, self.methods, f"{self.url}actions/")
        self.events = Events(self.state, self.homes, self.payloads, self.dispatch, self._subscribed, self.methods.may)
        self._runner = web.AppRunner(self._web.application(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        if self._listening:
            await self.listen_again()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispatch.close()
        self.sockets.abort()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._reserved is not None:
            self._reserved.close()

    # --- Addresses and names

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._port}/"

    @property
    def api_url(self) -> str:
        """The base URL for a Web API client."""
        return f"{self.url}api/"

    @property
    def bot_user(self) -> str:
        """The bot's user id."""
        return self.state.bot.id

    @property
    def team(self) -> str:
        """The workspace's id."""
        return self.state.team

    def person(self, name: str) -> Person:
        """The person of that name, who joins the workspace if new."""
        return self._people.setdefault(name, Person(self, self.state.user(name)))

    def channel(
        self, name: str, *, bot: bool = True, archived: bool = False, members: Iterable[Person] | None = None,
        private: bool = False,
    ) -> str:  # fmt: skip
        """Make a channel, or change one: the id.

        Args:
            name: without `#`.
            bot: whether the bot is a member.
            archived: whether nobody can post any more.
            members: who is in it; None for everybody.
            private: whether only members know of it.
        """
        ids = None if members is None else [person.id for person in members]
        return self.state.channel(name, bot=bot, archived=archived, members=ids, private=private).id

    def group(self, name: str, members: Iterable[Person], *, disabled: bool = False) -> str:
        """Make a user group, or change who is in it from now on: the id."""
        group = self.groups.set(name, [person.id for person in members], disabled=disabled)
        self.state.names[group.id] = f"@{name}"
        return group.id

    @property
    def scopes(self) -> Collection[str] | None:
        """What the bot's token may do; None is everything. Setting it is a new installation of the app."""
        return self.methods.scopes

    @scopes.setter
    def scopes(self, scopes: Collection[str] | None) -> None:
        """Give the token these scopes."""
        self.methods.scopes = None if scopes is None else frozenset(scopes)

    async def posts_as_app(
        self, channel: str, text: str = "", blocks: Sequence[Mapping[str, Any]] = (), *,
        attachments: Sequence[Mapping[str, Any]] = (), thread_ts: str | None = None, name: str = "Alertmanager",
    ) -> Message:  # fmt: skip
        """Another app posts by its incoming webhook, as an Alertmanager does; blocks and attachments as Slack has them.

        Raises:
            NotPossible: Slack would not take it.
        """
        plain = [dict(block) for block in blocks]
        if found := mistakes(plain):
            raise NotPossible(f"Slack would not take these blocks: {found}")
        user, attached = self.state.app_user(name), [dict(each) for each in attachments]
        message = self.state.post(channel, user.id, text, plain, thread_ts=thread_ts, attachments=attached)
        await self.events.posted(message)
        return message

    def direct(self, person: Person) -> str:
        """The id of the direct conversation between the bot and a person."""
        return self.state.direct(person.id).id

    # --- What happened

    @property
    def calls(self) -> list[Call]:
        """Everything the bot asked, the first call first."""
        return self._web.calls

    @property
    def deliveries(self) -> list[Delivery]:
        """Every payload that was sent to the bot, with the acknowledgement's latency."""
        return self.sockets.deliveries

    @property
    def protocol_errors(self) -> list[str]:
        """What the bot sent through its sockets that Slack would not understand."""
        return self.sockets.protocol_errors

    def messages(self, channel: str) -> tuple[Message, ...]:
        """All messages of a channel, ephemeral ones and replies too, the oldest first."""
        return self.state.messages(channel)

    def entries(self, channel: str, viewer: Person | None = None) -> list[transcript.Entry]:
        """The conversation in reading order, of all or as one person sees it."""
        messages = self.messages(channel) if viewer is None else viewer.messages(channel)
        return list(transcript.entries(messages, self.state.names))

    def transcript(self, channel: str, viewer: Person | None = None) -> list[str]:
        """The conversation as lines to print."""
        return [line for entry in self.entries(channel, viewer) for line in str(entry).splitlines()]

    # --- Connections

    def deliver_to(self, url: str | None, signing_secret: str | None = None) -> None:
        """Post payloads to this request URL from now on, or with None use the sockets again."""
        self.signing_secret = signing_secret or self.signing_secret
        http = None
        if url is not None:
            http = HttpMode(url, self.signing_secret, self._ack_bound, self.changes, self._signed_at)
        self.dispatch.serve_by(http)

    @property
    def http(self) -> HttpMode:
        """What posts to the app's request URL, and sends what Slack would not.

        Raises:
            NotPossible: the app is served by sockets.
        """
        if self.dispatch.http is None:
            raise NotPossible("the app has no request URL: see deliver_to()")
        return self.dispatch.http

    @property
    def connections(self) -> int:
        """How many sockets are open."""
        return self.sockets.connections

    async def connected(self, n: int = 1, timeout: float = 5.0) -> None:
        """Wait until `n` sockets are open or, over HTTP, until the request URL answers Slack's challenge.

        Raises:
            NotSeen: after `timeout` seconds of real time.
        """
        if self.dispatch.http is not None:
            await self._challenged(self.dispatch.http, timeout)
            return
        if not await self.changes.until(lambda: self.connections >= n or None, timeout):
            asked = [f"{call.method}: {call.answer}" for call in self.calls[-10:]]
            raise NotSeen(f"{self.connections} of {n} sockets are open after {timeout:g} s; last calls: {asked}")

    async def _challenged(self, http: HttpMode, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not await http.challenge():
            if time.monotonic() > deadline:
                raise NotSeen(f"{http.url} does not answer Slack's challenge after {timeout:g} s")
            await asyncio.sleep(0.02)

    async def retried(self, timeout: float = 5.0) -> None:
        """Wait until no event is to be tried again.

        Raises:
            NotSeen: after `timeout` seconds of real time.
        """
        if not await self.changes.until(lambda: not self.dispatch.retrying or None, timeout):
            raise NotSeen(f"an event is still to be tried again after {timeout:g} s")

    async def close_sockets(self, *, abruptly: bool = True) -> None:
        """Close all sockets: cut off, or with a close frame."""
        if abruptly:
            self.sockets.abort()
            await asyncio.sleep(0)
        else:
            await self.sockets.close()

    async def disconnect(self, reason: Reason = "refresh_requested", *, grace: float = 0.5) -> None:
        """Send Slack's disconnect frame to all sockets and close those that are still open after `grace` seconds."""
        await self.sockets.disconnect(reason, grace)

    async def stop_listening(self) -> None:
        """Refuse connections from now on and cut off the ones there are."""
        if self._site is None or self._runner is None:
            return
        self.sockets.abort()
        await self._site.stop()
        self._site = None
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()
        self._reserve()

    async def listen_again(self) -> None:
        """Take connections, on the same port."""
        if self._site is not None or self._runner is None or self._reserved is None:
            return
        self._site = web.SockSite(self._runner, self._reserved)
        await self._site.start()
        self._reserved = None

    def _reserve(self) -> None:
        """Hold the port without listening: connections are refused, and nobody else gets it."""
        self._reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.setblocking(False)
        self._reserved.bind((HOST, self._port))
        self._port = self._reserved.getsockname()[1]
