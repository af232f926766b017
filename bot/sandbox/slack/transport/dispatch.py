"""Brings every payload to the app, over sockets or HTTP as the app is set up, and events again if they were not taken.

Facts: docs.slack.dev/apis/events-api (an event is tried again up to three times: nearly at once, after a minute and
after five), as of 2026. Commands and clicks are never tried again: the person does that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from bot.sandbox.slack.changes import Changes
from bot.sandbox.slack.socket_mode import SocketMode
from bot.sandbox.slack.transport.delivery import Delivery
from bot.sandbox.slack.transport.http_mode import HttpMode

# Seconds before each retry of an event.
PAUSES = (0.0, 60.0, 300.0)
_REASONS = {
    "operation_timeout": "http_timeout", "dispatch_failed": "connection_failed", "http_client_error": "http_error",
    "http_service_error": "http_error",
}  # fmt: skip


class Dispatch:
    """The way to the app.

    Args:
        sockets: the app's open sockets.
        changes: told when the retries of an event are over.
        pause: waits the seconds before a retry; a test gives its own.
        away: whether Slack itself cannot send anything now.
    """

    def __init__(
        self, sockets: SocketMode, changes: Changes, pause: Callable[[float], Awaitable[None]],
        away: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._sockets, self._changes, self._pause, self._away = sockets, changes, pause, away
        self._retrying: set[asyncio.Task[None]] = set()
        self.http: HttpMode | None = None
        self._to_close: list[HttpMode] = []
        self.deliveries = sockets.deliveries

    def serve_by(self, http: HttpMode | None) -> None:
        """Use this request URL from now on; None means sockets."""
        self.http = http
        if http is not None:
            self._to_close.append(http)

    async def deliver(self, kind: str, payload: dict[str, Any], *, accepts_response: bool) -> Delivery:
        """Send a payload and wait for the acknowledgement; an event that failed is tried again in the background."""
        first = await self._send(Delivery(kind, payload), accepts_response)
        if kind == "events_api" and first.error and not first.final:
            task = asyncio.create_task(self._again(first))
            self._retrying.add(task)
            task.add_done_callback(self._retried)
        return first

    @property
    def retrying(self) -> bool:
        """Whether an event is still to be tried again."""
        return bool(self._retrying)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in tuple(self._retrying):
            task.cancel()
        await asyncio.gather(*self._retrying, return_exceptions=True)
        for http in self._to_close:
            await http.close()

    async def _again(self, last: Delivery) -> None:
        for number, seconds in enumerate(PAUSES, start=1):
            await self._pause(seconds)
            reason = _REASONS.get(last.error or "", "unknown_error") if last.request is not None else "timeout"
            last = await self._send(Delivery(last.type, last.payload, number, reason), accepts_response=False)
            if last.error is None or last.final:
                return

    def _retried(self, task: asyncio.Task[None]) -> None:
        self._retrying.discard(task)
        self._changes.happened()

    async def _send(self, delivery: Delivery, accepts_response: bool) -> Delivery:
        if self.http is None:
            return await self._sockets.send(delivery, accepts_response=accepts_response)
        self.deliveries.append(delivery)
        if self._away():
            delivery.error = "dispatch_failed"
        else:
            await self.http.deliver(delivery, accepts_response=accepts_response)
        return delivery
