"""A Slack workspace on loopback: the Web API and Socket Mode for a bot, and people to talk with it.

A bot runs against it unchanged: `AsyncWebClient(base_url=workspace.api_url)`. It is a stand-in to be trusted, so it
refuses what Slack refuses. It never listens on anything but loopback, and what it knows ends with it.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Self

from aiohttp import web

from bot.sandbox.slack import transcript
from bot.sandbox.slack.changes import Changes
from bot.sandbox.slack.faults import Faults
from bot.sandbox.slack.methods import Methods
from bot.sandbox.slack.modals import Modals
from bot.sandbox.slack.payloads import Payloads
from bot.sandbox.slack.people import Person
from bot.sandbox.slack.refusals import NotSeen
from bot.sandbox.slack.response_urls import ResponseUrls
from bot.sandbox.slack.socket_mode import Delivery, Reason, SocketMode
from bot.sandbox.slack.state import Message, State
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
    """

    def __init__(
        self, port: int = 0, now: Callable[[], datetime] = _utc, *, ack_bound: float = 3.0, down: bool = False,
        listening: bool = True,
    ) -> None:  # fmt: skip
        self._listening, self._port = listening, port
        self._reserved: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._people: dict[str, Person] = {}
        self.bot_token = f"xoxb-{secrets.token_hex(12)}"
        self.app_token = f"xapp-1-{secrets.token_hex(12)}"
        self.changes = Changes()
        self.state = State(now, self.changes.happened)
        about = {"team_id": self.state.team, "app_id": self.state.app, "bot_id": self.state.bot_id}
        about["app_installed_team_id"] = self.state.team
        self.modals = Modals(now, self.changes.happened, {"type": "modal", **about}, self.state.names)
        self.sockets = SocketMode(self.state.app, ack_bound, self.changes)
        self.faults = Faults(self.sockets.abort)
        self.faults.down = down
        self._methods = Methods(self.state, self.modals, lambda: self.url)
        self._urls = ResponseUrls(self.state)
        tokens = (self.bot_token, self.app_token)
        self._web = WebApi(self._methods, self._urls, self.sockets, self.faults, tokens, self.changes.happened)

    async def __aenter__(self) -> Self:
        self._reserve()
        self.payloads = Payloads(self.state, self.modals, self._urls, self._methods, f"{self.url}actions/")
        self._runner = web.AppRunner(self._web.application(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        if self._listening:
            await self.listen_again()
        return self

    async def __aexit__(self, *_: object) -> None:
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
        self, name: str, *, bot: bool = True, archived: bool = False, members: Iterable[Person] | None = None
    ) -> str:
        """Make a channel, or change one: the id.

        Args:
            name: without `#`.
            bot: whether the bot is a member.
            archived: whether nobody can post any more.
            members: who is in it; None for everybody.
        """
        ids = None if members is None else [person.id for person in members]
        return self.state.channel(name, bot=bot, archived=archived, members=ids).id

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

    @property
    def connections(self) -> int:
        """How many sockets are open."""
        return self.sockets.connections

    async def connected(self, n: int = 1, timeout: float = 5.0) -> None:
        """Wait until `n` sockets are open.

        Raises:
            NotSeen: after `timeout` seconds of real time.
        """
        if not await self.changes.until(lambda: self.connections >= n or None, timeout):
            asked = [f"{call.method}: {call.answer}" for call in self.calls[-10:]]
            raise NotSeen(f"{self.connections} of {n} sockets are open after {timeout:g} s; last calls: {asked}")

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
