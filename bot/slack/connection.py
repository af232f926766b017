"""Holds the Socket Mode connection to Slack, through everything that ends one, and hands to Bolt what comes in.

The SDK's own client is not used for it: it retries a refused token for ever, goes back to an address that is no longer
good, and closes the old connection before the new one stands, which loses the clicks in between. Frames and answers are
the SDK's. It must never wait for a listener before it reads on, and never write a token or a payload to the log.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from slack_bolt.adapter.socket_mode.async_internals import send_async_response
from slack_bolt.adapter.socket_mode.internals import build_headers
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from bot.slack.errors import (
    APP_TOKEN,
    BOT_TOKEN,
    CALL_TIMEOUT,
    RateLimited,
    Rejected,
    SlackUnreachable,
    answer_of,
    reason_of,
    waits,
)

log = logging.getLogger("unstick.slack")
# For the SDK and Bolt: below INFO they write payloads and the tickets of connections.
sdk_log = logging.getLogger("unstick.slack.sdk")
sdk_log.setLevel(logging.INFO)

# Seconds in which Slack wants an acknowledgement; later it does not matter any more.
ACK = 3.0
# Seconds for which a connection is read on that Slack wants replaced, while the new one already stands.
GRACE = 10.0
# Seconds for Slack to answer the end of a connection with its own.
GOODBYE = 2.0
# A connection that held for so many seconds was a good one: the next trouble begins with a short wait again.
HELD = 60.0
# So many refreshes in a row are followed at once; then even they wait, lest two programs chase each other.
REFRESHES = 3

_ROUTINE = {"refresh_requested", "warning"}
_ENDED = "The connection to Slack broke."
_REASONS = {
    "link_disabled": "Slack has Socket Mode switched off for this app: switch it on under api.slack.com/apps.",
    "too_many_websockets": "Slack holds as many connections for this app as it allows (10): stop what else uses its token.",
}


def web_client(token: str | None, api_url: str) -> AsyncWebClient:
    """A client for `token` (None: each call brings its own) that tries once a call and logs no payload: what comes next is decided here, not there."""
    return AsyncWebClient(token, api_url, timeout=int(CALL_TIMEOUT), logger=sdk_log, retry_handlers=[])


@dataclass(frozen=True)
class Identity:
    """Who the bot is in Slack, by ids, and the name and the address of its workspace."""

    bot_user: str
    team: str
    team_name: str
    url: str


async def identify(client: AsyncWebClient) -> Identity:
    """Who the bot token belongs to.

    Raises:
        TokenRefused: to nobody any more.
        SlackUnreachable: Slack could not be asked.
    """
    try:
        answer = await answer_of(client.auth_test(), BOT_TOKEN)
    except Rejected as rejected:
        raise SlackUnreachable(f"Slack does not say who the bot is ({rejected.code}).") from None
    told = {name: str(answer.get(name) or "") for name in ("user_id", "team_id", "team", "url")}
    return Identity(told["user_id"], told["team_id"], told["team"], told["url"])


class _Socket(AsyncBaseSocketModeClient):
    """One connection as the SDK's answers want it. An answer goes back through the connection its question came by."""

    def __init__(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        self.stream = stream
        self.logger = log
        self.under_way: set[asyncio.Task[None]] = set()
        # Why to leave it: Slack's reason, or "" where it ended without one.
        self.left: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send_message(self, message: str) -> None:
        await self.stream.send_str(message)

    def leave(self, reason: str) -> None:
        if not self.left.done():
            self.left.set_result(reason)


class Connection:
    """One connection that stands again whenever it has ended. `pause` takes seconds; `say` gets one sentence a change.

    `acked` is told of what was acknowledged: its kind, and after how many seconds.

    `client` asks for the address of each connection, with `app_token`; it should have `retry_handlers=[]`.
    """

    def __init__(
        self, app: AsyncApp, app_token: str, client: AsyncWebClient, *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep, say: Callable[[str], None] = log.warning,
        ping_interval: float = 5, acked: Callable[[str, float], None] = lambda _kind, _seconds: None,
    ) -> None:  # fmt: skip
        self.app = app
        self.client = client
        self.pause = pause
        self.say = say
        self.ping_interval = ping_interval
        self.acked = acked
        self._app_token = app_token
        self._trouble: str | None = None
        self._standing: _Socket | None = None
        self._readers: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()

    @property
    def connected(self) -> bool:
        """Slack has said hello, and not yet goodbye."""
        return self._standing is not None and not self._standing.left.done()

    async def until_connected(self, timeout: float) -> bool:
        """Whether the connection stands, as soon as it does; after `timeout` seconds, or where `run` ended, it does not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.connected and not self._closing.is_set():
                    self._changed.clear()
                    await self._changed.wait()
        return self.connected

    async def run(self) -> None:
        """Connect and stay connected, until `close` or cancellation.

        Raises:
            TokenRefused: Slack does not take the app-level token; no later try could do better.
        """
        self._over.clear()
        session = aiohttp.ClientSession()
        stay = asyncio.create_task(self._stay(session))
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({stay, closing}, return_when=asyncio.FIRST_COMPLETED)
            if stay.done():
                stay.result()
        finally:
            self._closing.set()
            self._changed.set()
            await _ended(stay, closing, *self._readers)
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=ACK)
            await _ended(*self._under_way)
            await session.close()
            self._over.set()

    async def close(self) -> None:
        """End `run`. What came in is still acknowledged."""
        self._closing.set()
        await self._over.wait()

    async def _stay(self, session: aiohttp.ClientSession) -> None:
        tries, refreshes = waits(), 0
        while True:
            try:
                socket = await self._open(session)
            except SlackUnreachable as trouble:
                self._away(str(trouble))
                await self.pause((isinstance(trouble, RateLimited) and trouble.seconds) or next(tries))
                continue
            self._back(socket)
            began = time.monotonic()
            reader = asyncio.create_task(self._read(socket))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
            reason = await socket.left
            if time.monotonic() - began >= HELD:
                tries, refreshes = waits(), 0
            if reason in _ROUTINE and refreshes < REFRESHES:
                refreshes += 1
                continue
            self._away(_REASONS.get(reason, _ENDED))
            await self.pause(next(tries))

    async def _open(self, session: aiohttp.ClientSession) -> _Socket:
        """A new connection on which Slack has said hello."""
        try:
            answer = await answer_of(
                self.client.apps_connections_open(app_token=self._app_token), APP_TOKEN, CALL_TIMEOUT
            )
        except Rejected as rejected:
            raise SlackUnreachable(
                f"Slack opens no connection ({rejected.code}): see that Socket Mode is on under api.slack.com/apps."
            ) from None
        ssl = True if self.client.ssl is None else self.client.ssl
        try:
            # An address is good for one connection: each try asks for its own.
            async with asyncio.timeout(CALL_TIMEOUT):
                stream = await session.ws_connect(
                    str(answer.get("url") or ""),
                    heartbeat=self.ping_interval,
                    proxy=self.client.proxy,
                    ssl=ssl,
                    timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE),
                )
                try:
                    first = _frame(await stream.receive())
                except BaseException:
                    await stream.close()
                    raise
        except TimeoutError:
            raise SlackUnreachable(f"Slack said no hello within {CALL_TIMEOUT:g} s.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise SlackUnreachable(f"Slack's socket cannot be opened: {reason_of(error)}.") from None
        if first.get("type") != "hello":
            await stream.close()
            raise SlackUnreachable(_REASONS.get(str(first.get("reason")), _ENDED))
        return _Socket(stream)

    async def _read(self, socket: _Socket) -> None:
        """Read a connection to its end. One that is to be replaced is read on: what still comes by it counts."""
        try:
            async with asyncio.timeout(None) as bound:
                async for message in socket.stream:
                    frame = _frame(message)
                    if message.type is aiohttp.WSMsgType.ERROR:
                        break
                    if frame.get("type") == "disconnect":
                        reason = str(frame.get("reason") or "")
                        socket.leave(reason)
                        if reason not in _ROUTINE:
                            break
                        bound.reschedule(asyncio.get_running_loop().time() + GRACE)
                    self._hand_over(socket, frame)
        except TimeoutError:
            pass  # the grace is over
        finally:
            socket.leave("")
            if socket.under_way and not socket.stream.closed:
                await asyncio.wait(socket.under_way, timeout=ACK)
            await socket.stream.close()

    def _hand_over(self, socket: _Socket, frame: dict[str, object]) -> None:
        try:
            request = SocketModeRequest.from_dict(frame)
        except (TypeError, ValueError):
            # No payload that can be read. The SDK means a ValueError and trips over its own name for the type.
            request = None
        if request is None:
            return
        task = asyncio.create_task(self._dispatch(socket, request))
        for tasks in (socket.under_way, self._under_way):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _dispatch(self, socket: _Socket, request: SocketModeRequest) -> None:
        began = time.time()
        try:
            asked = AsyncBoltRequest(mode="socket_mode", body=request.payload, headers=build_headers(request))
            answer = await self.app.async_dispatch(asked)
            await send_async_response(socket, request, answer, began)
            self.acked(request.type, time.time() - began)
        except (ConnectionError, aiohttp.ClientError):
            # It was dealt with all the same; what came of it is in the store.
            log.warning(
                "The connection to Slack ended before something that came by it (%s) was acknowledged.", request.type
            )
        except Exception as error:  # noqa: BLE001 - one payload must not end the others; its words could be payload
            log.error(
                "Something that came from Slack (%s) could not be dealt with: %s.", request.type, type(error).__name__
            )

    def _away(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            self.say(f"{why} Unstick keeps trying; what it has to say waits in the store.")

    def _back(self, socket: _Socket) -> None:
        if self._trouble is not None:
            self.say("Slack is back.")
        self._trouble, self._standing = None, socket
        self._changed.set()


def _frame(message: aiohttp.WSMessage) -> dict[str, object]:
    """What Slack said; nothing where it is not an object."""
    if message.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        frame = json.loads(message.data)
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
