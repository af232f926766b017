"""Slack by HTTP: every request is signed, no older than five minutes, and taken once.

Bolt verifies signature and time stamp (https://docs.slack.dev/authentication/verifying-requests-from-slack); that nobody
plays a request again is seen to here, in the store, because the next one may reach another replica.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from bot.store.signatures import Signatures
from runbooks.database import StoreError

_log = logging.getLogger("unstick.slack")
SIGNATURE = "x-slack-signature"
PATIENCE = 2.0  # seconds for the store; Slack waits for three


class SlackByHttp:
    """Takes what Slack sends to the request URL."""

    def __init__(self, app: AsyncApp, signatures: Signatures, acked: Callable[[str, float], None]) -> None:
        """`app` knows the signing secret. What it verified is looked up in `signatures` before anything listens.

        `acked` is told of what was acknowledged: its kind, and after how many seconds.
        """
        self._app = app
        self._acked = acked
        self._signatures = signatures
        app.middleware(self._once())

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        try:
            await request.text()
        except (UnicodeDecodeError, LookupError):
            return web.Response(status=400, text="This is no text.")
        began = time.monotonic()
        answer = await self._app.async_dispatch(await to_bolt_request(request))
        self._acked("http", time.monotonic() - began)
        return await to_aiohttp_response(answer)

    def _once(self) -> Callable[..., Awaitable[BoltResponse]]:
        """A middleware, which Bolt asks after it has verified the request."""

        async def once(req: AsyncBoltRequest, next: Callable[[], Awaitable[BoltResponse]]) -> BoltResponse:  # noqa: A002 - bolt's own name
            if req.mode != "http":
                return await next()
            signature = (req.headers.get(SIGNATURE) or [""])[0]
            try:
                fresh = await asyncio.wait_for(asyncio.to_thread(self._signatures.take, signature), PATIENCE)
            except (StoreError, TimeoutError):
                return BoltResponse(status=503, body="Unstick cannot take it just now.")
            if not fresh:
                _log.warning("a request of Slack's was played a second time, and was not taken")
                return BoltResponse(status=401, body='{"error": "the request was taken before"}')
            return await next()

        return once
