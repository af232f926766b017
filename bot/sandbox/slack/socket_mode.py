"""Socket Mode as Slack speaks it: tickets, frames, and every payload to exactly one of the open connections.

Facts: docs.slack.dev/apis/events-api/using-socket-mode, as of 2026. Its bound on an acknowledgement is real time, as
everything that a process on the other side of a socket does.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import WSMsgType, web

from bot.sandbox.slack.changes import Changes
from bot.sandbox.slack.state import Object
from bot.sandbox.slack.transport.delivery import Delivery

MOST_CONNECTIONS = 10
Reason = Literal["refresh_requested", "warning", "link_disabled", "too_many_websockets"]


@dataclass(eq=False)
class _Connection:
    number: int
    socket: web.WebSocketResponse
    request: web.Request
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class SocketMode:
    """The server's end of all open sockets.

    Args:
        app: the app's id.
        ack_bound: seconds of real time the bot has to acknowledge; Slack gives three.
        changes: told of every connection and acknowledgement.
        spread: which of so many connections gets the next payload, by its index; None takes one after the other.
    """

    def __init__(
        self, app: str, ack_bound: float, changes: Changes, spread: Callable[[int], int] | None = None
    ) -> None:  # fmt: skip
        self._app, self._bound, self._changes = app, ack_bound, changes
        self._spread = spread or self._next
        self._tickets: set[str] = set()
        self._connections: list[_Connection] = []
        self._opened = self._turn = 0
        self._waiting: dict[str, tuple[Delivery, float, _Connection, asyncio.Future[None]]] = {}
        self.deliveries: list[Delivery] = []
        self.protocol_errors: list[str] = []

    @property
    def connections(self) -> int:
        """How many sockets are open."""
        return len(self._connections)

    @property
    def opened(self) -> int:
        """How many sockets were ever opened."""
        return self._opened

    def ticket(self) -> str:
        """The right to open one socket."""
        ticket = secrets.token_hex(16)
        self._tickets.add(ticket)
        return ticket

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Hold one socket until either side closes it."""
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403, text="the ticket is unknown or was used before")
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(request)
        if self.connections >= MOST_CONNECTIONS:
            await socket.send_str(_disconnect("too_many_websockets"))
            await socket.close()
            return socket
        self._opened += 1
        connection = _Connection(self._opened, socket, request)
        self._connections.append(connection)
        try:
            await socket.send_str(self._hello())
            self._changes.happened()
            async for frame in socket:
                if frame.type == WSMsgType.TEXT:
                    self._received(connection, frame.data)
        except ConnectionError:
            pass  # an abrupt end is an end
        finally:
            self._forget(connection)
            connection.gone.set()
        return socket

    async def deliver(self, kind: str, payload: Object, *, accepts_response: bool) -> Delivery:
        """Send a payload to one connection and wait for the acknowledgement."""
        return await self.send(Delivery(kind, payload), accepts_response=accepts_response)

    async def send(self, delivery: Delivery, *, accepts_response: bool) -> Delivery:
        """Send what is to be delivered to one connection; the delivery tells what came of it."""
        self.deliveries.append(delivery)
        frame = {
            "envelope_id": delivery.envelope_id, "type": delivery.type, "payload": delivery.payload,
            "accepts_response_payload": accepts_response,
        }  # fmt: skip
        if delivery.type == "events_api":
            frame |= {"retry_attempt": delivery.retry, "retry_reason": delivery.reason}
        sent = await self._send(delivery, json.dumps(frame))
        if sent is None:
            delivery.error = "dispatch_failed"
            return delivery
        try:
            await asyncio.wait_for(asyncio.shield(sent), self._bound)
        except TimeoutError:
            delivery.error = "operation_timeout"
        if not accepts_response:
            delivery.ack = None
        return delivery

    async def _send(self, delivery: Delivery, frame: str) -> asyncio.Future[None] | None:
        while self.connections:
            connection = self._connections[self._spread(self.connections) % self.connections]
            acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            delivery.connection = connection.number
            self._waiting[delivery.envelope_id] = (delivery, time.monotonic(), connection, acknowledged)
            try:
                await connection.socket.send_str(frame)
            except ConnectionError:
                del self._waiting[delivery.envelope_id]
                self._forget(connection)
                continue
            return acknowledged
        delivery.connection = None
        return None

    def _next(self, _connections: int) -> int:
        self._turn += 1
        return self._turn - 1

    def _received(self, connection: _Connection, data: str) -> None:
        try:
            frame: Any = json.loads(data)
            envelope_id, payload = str(frame["envelope_id"]), frame.get("payload")
        except (ValueError, KeyError, TypeError, AttributeError):
            self._misunderstood(f"not an acknowledgement: {data[:200]}")
            return
        delivery, sent, to, acknowledged = self._waiting.get(envelope_id, (None, 0.0, None, None))
        if delivery is None or acknowledged is None or to is not connection:
            self._misunderstood(f"acknowledges what this connection was not sent, or again: {envelope_id}")
            return
        del self._waiting[envelope_id]
        delivery.seconds = time.monotonic() - sent
        if delivery.error is None and isinstance(payload, dict):
            delivery.ack = payload
        acknowledged.set_result(None)
        self._changes.happened()

    def _misunderstood(self, what: str) -> None:
        self.protocol_errors.append(what)
        self._changes.happened()

    def abort(self) -> None:
        """Cut all sockets off, as a broken network does."""
        for connection in tuple(self._connections):
            if connection.request.transport is not None:
                connection.request.transport.abort()
            self._forget(connection)

    async def close(self) -> None:
        """Close all sockets with a close frame."""
        for connection in tuple(self._connections):
            self._forget(connection)
            await connection.socket.close()

    async def disconnect(self, reason: Reason, grace: float) -> None:
        """Tell all clients to go and give them no more payloads; those that stay longer than `grace` seconds are closed.

        Slack leaves time between the frame and the end: a client that met both at once would connect twice.
        """
        await asyncio.gather(*(self._dismiss(each, reason, grace) for each in tuple(self._connections)))

    async def _dismiss(self, connection: _Connection, reason: Reason, grace: float) -> None:
        self._forget(connection)
        try:
            await connection.socket.send_str(_disconnect(reason))
            await asyncio.wait_for(connection.gone.wait(), grace)
        except TimeoutError:
            await connection.socket.close()
        except ConnectionError:
            return

    def _forget(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._changes.happened()

    def _hello(self) -> str:
        about = {"host": "applink-sandbox", "build_number": 1, "approximate_connection_time": 18060}
        frame = {
            "type": "hello", "num_connections": self.connections, "debug_info": about,
            "connection_info": {"app_id": self._app},
        }  # fmt: skip
        return json.dumps(frame)


def _disconnect(reason: Reason) -> str:
    return json.dumps({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-sandbox"}})
