"""Slack by HTTP: every request is signed, no older than five minutes, and taken once.

Bolt verifies signature and time stamp (https://docs.slack.dev/authentication/verifying-requests-from-slack); that nobody
plays a request again is seen to here, in the store, because the next one may reach another replica.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from bot.slack.edge.core import ARRIVED
from bot.store.signatures import Signatures
from runbooks.database import StoreError

_log = logging.getLogger("unstick.slack")
SIGNATURE = "x-slack-signature"
TIMESTAMP = "x-slack-request-timestamp"
PATIENCE = 1.5  # seconds for the store; Slack waits for three, and what was asked for is still to be kept
_SECONDS = re.compile(r"[0-9]{1,12}")
_NOT_SLACKS = '{"error": "invalid request"}'  # as Bolt says it


class _Rush:
    """Looks signatures up together: what comes while the store is busy is one transaction, however much it is."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures
        self._waiting: list[tuple[str, asyncio.Future[bool]]] = []
        self._working: asyncio.Task[None] | None = None

    async def take(self, signature: str) -> bool:
        """Whether nobody has taken a request of that signature before; it is taken now.

        Raises:
            StoreError: the database cannot be written, and so the request must not be taken.
        """
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((signature, taken))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await taken

    async def _work(self) -> None:
        while self._waiting:
            # Whoever has waited too long was turned away: its request is not taken.
            now, self._waiting = [each for each in self._waiting if not each[1].done()], []
            try:
                fresh = set(await asyncio.to_thread(self._signatures.take_all, [signature for signature, _ in now]))
            except Exception as error:  # noqa: BLE001 - whatever it is, each of them is told, and none is taken
                for _, taken in now:
                    if not taken.done():
                        taken.set_exception(error)
                continue
            for signature, taken in now:
                if not taken.done():
                    taken.set_result(signature in fresh)
                fresh.discard(signature)  # of two that came together one is taken


class SlackByHttp:
    """Takes what Slack sends to the request URL."""

    def __init__(self, app: AsyncApp, signatures: Signatures, acked: Callable[[str, float], None]) -> None:
        """`app` knows the signing secret. What it verified is looked up in `signatures` before anything listens.

        `acked` is told of what was acknowledged: its kind, and after how many seconds.
        """
        self._app = app
        self._acked = acked
        self._rush = _Rush(signatures)
        app.middleware(self._once())

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        try:
            (await request.text()).encode()
        except (UnicodeError, LookupError):
            return web.Response(status=400, text="This is no text.")
        # Bolt stumbles over what neither Slack nor its own code would write, before it looks whether that is signed.
        stamp, signature = request.headers.get(TIMESTAMP, ""), request.headers.get(SIGNATURE, "")
        if not (_SECONDS.fullmatch(stamp) and signature.isascii()):
            return web.Response(status=401, text=_NOT_SLACKS)
        try:
            asked = await to_bolt_request(request)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return web.Response(status=401, text=_NOT_SLACKS)
        began = time.monotonic()
        ARRIVED.set(began)
        answer = await self._app.async_dispatch(asked)
        self._acked("http", time.monotonic() - began)
        return await to_aiohttp_response(answer)

    def _once(self) -> Callable[..., Awaitable[BoltResponse]]:
        """A middleware, which Bolt asks after it has verified the request."""

        async def once(req: AsyncBoltRequest, next: Callable[[], Awaitable[BoltResponse]]) -> BoltResponse:  # noqa: A002 - bolt's own name
            if req.mode != "http":
                return await next()
            signature = (req.headers.get(SIGNATURE) or [""])[0]
            try:
                fresh = await asyncio.wait_for(self._rush.take(signature), PATIENCE)
            except (StoreError, TimeoutError):
                return BoltResponse(status=503, body="Unstick cannot take it just now.")
            if not fresh:
                _log.warning("a request of Slack's was played a second time, and was not taken")
                return BoltResponse(status=401, body='{"error": "the request was taken before"}')
            return await next()

        return once
