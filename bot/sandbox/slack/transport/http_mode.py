"""Signed HTTP as Slack speaks it to an app's request URL, and what somebody would send there who is not Slack.

Facts: docs.slack.dev/authentication/verifying-requests-from-slack (signature), /apis/events-api/using-http-request-urls
(challenge, headers), /interactivity/implementing-slash-commands and /interactivity/handling-user-interaction (bodies),
as of 2026. Its bound on an answer is real time, as everything that a process on the other side of a socket does.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp

from bot.sandbox.slack.changes import Changes
from bot.sandbox.slack.transport.delivery import Delivery, Request

Object = dict[str, Any]
# Seconds after which even an answer that came too late is not waited for any more.
LONGEST = 30.0
# Requests at a time: a listener's queue of connections is not much longer, and who finds it full waits a second.
AT_ONCE = 100
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class Answer(NamedTuple):
    """What an app answered over HTTP; `final` is its wish for no retry."""

    status: int
    content_type: str
    body: str
    final: bool = False


def encoded(kind: str, payload: Object) -> tuple[str, bytes]:
    """Content type and body: fields for a command, `payload=` for interactivity, JSON for an event."""
    if kind == "slash_commands":
        return FORM, urlencode(payload).encode()
    if kind == "interactive":
        return FORM, urlencode({"payload": json.dumps(payload)}).encode()
    return JSON, json.dumps(payload).encode()


def signed(secret: str, at: float, content_type: str, body: bytes) -> Request:
    """A request that whoever knows the secret signed at that time (seconds since 1970)."""
    moment = str(int(at))
    digest = hmac.new(secret.encode(), b"v0:" + moment.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": content_type, "X-Slack-Request-Timestamp": moment, "X-Slack-Signature": f"v0={digest}",
        "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)", "Accept": "application/json,*/*",
    }  # fmt: skip
    return Request(body, headers)


class HttpMode:
    """Slack's end of the app's request URL.

    Args:
        url: where payloads are posted.
        secret: the app's signing secret.
        ack_bound: seconds of real time the app has to answer; Slack gives three.
        changes: told of every answer.
        at: the time that requests are signed with, in seconds since 1970; it must be what the app compares with.
    """

    def __init__(self, url: str, secret: str, ack_bound: float, changes: Changes, at: Callable[[], float]) -> None:
        self.url = url
        self._secret, self._bound, self._changes, self._at = secret, ack_bound, changes, at
        self._session: aiohttp.ClientSession | None = None
        self._under_way: set[asyncio.Task[Answer]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    # --- What Slack sends

    async def deliver(self, delivery: Delivery, *, accepts_response: bool) -> None:
        """Post a payload and wait for the answer; the delivery tells what came of it."""
        async with self._slots:
            await self._deliver(delivery, accepts_response)

    async def _deliver(self, delivery: Delivery, accepts_response: bool) -> None:
        delivery.request = self._request(delivery)
        answering = asyncio.create_task(self.send(delivery.request))
        self._under_way.add(answering)
        answering.add_done_callback(self._note(delivery, time.monotonic()))
        try:
            answer = await asyncio.wait_for(asyncio.shield(answering), self._bound)
        except TimeoutError:
            delivery.error = "operation_timeout"
        except (aiohttp.ClientError, OSError):
            delivery.error = "dispatch_failed"
        else:
            delivery.final = answer.final
            if not 200 <= answer.status < 300:
                delivery.error = "http_client_error" if answer.status < 500 else "http_service_error"
            elif accepts_response:
                delivery.ack = acknowledgement(answer)

    async def challenge(self) -> bool:
        """Whether the request URL answers Slack's challenge, as it must when it is entered in the app's settings."""
        word = secrets.token_hex(8)
        body = json.dumps({"token": "sandbox-verification", "challenge": word, "type": "url_verification"}).encode()
        try:
            answer = await asyncio.wait_for(self.send(signed(self._secret, self._at(), JSON, body)), self._bound)
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False
        return answer.status == 200 and word in answer.body

    async def send(self, request: Request) -> Answer:
        """Post these very bytes and headers.

        Raises:
            aiohttp.ClientError: nobody takes them.
        """
        if self._session is None:
            # A connection that is kept may be closed by the app just as it is used again.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=LONGEST))
        posting = self._session.post(
            self.url, data=request.body, headers=dict(request.headers), allow_redirects=False
        )  # fmt: skip
        async with posting as answer:
            final = answer.headers.get("X-Slack-No-Retry") == "1"
            return Answer(answer.status, answer.content_type, await answer.text(), final)

    async def close(self) -> None:
        """End what is under way."""
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    # --- What somebody else sends, or sends again

    async def repeats(self, what: Delivery) -> int:
        """The HTTP status of the identical request, sent once more with its old signature."""
        return (await self.send(what.request or self._request(what))).status

    async def forges(self, what: Delivery) -> int:
        """The HTTP status of the same payload, signed now by somebody who does not know the secret."""
        content_type, body = encoded(what.type, what.payload)
        return (await self.send(signed(secrets.token_hex(16), self._at(), content_type, body))).status

    async def tampers(self, what: Delivery, **changed: Any) -> int:
        """The HTTP status of the request with its genuine signature, over a payload in which fields were changed."""
        genuine = what.request or self._request(what)
        return (await self.send(Request(encoded(what.type, what.payload | changed)[1], genuine.headers))).status

    async def leaves_out(self, what: Delivery, *headers: str) -> int:
        """The HTTP status of the payload without these headers, or without both of the signature's."""
        genuine = self._request(what)
        without = {each.lower() for each in headers or ("X-Slack-Signature", "X-Slack-Request-Timestamp")}
        kept = {name: value for name, value in genuine.headers.items() if name.lower() not in without}
        return (await self.send(Request(genuine.body, kept))).status

    async def sends_late(self, what: Delivery, seconds: float = 301) -> int:
        """The HTTP status of the payload, genuinely signed so many seconds ago; negative: by a clock that is ahead."""
        content_type, body = encoded(what.type, what.payload)
        return (await self.send(signed(self._secret, self._at() - seconds, content_type, body))).status

    def _request(self, delivery: Delivery) -> Request:
        content_type, body = encoded(delivery.type, delivery.payload)
        genuine = signed(self._secret, self._at(), content_type, body)
        if not delivery.retry:
            return genuine
        again = {"X-Slack-Retry-Num": str(delivery.retry), "X-Slack-Retry-Reason": delivery.reason}
        return Request(genuine.body, {**genuine.headers, **again})

    def _note(self, delivery: Delivery, sent: float) -> Callable[[asyncio.Task[Answer]], None]:
        def answered(task: asyncio.Task[Answer]) -> None:
            self._under_way.discard(task)
            if task.cancelled() or task.exception() is not None:
                return
            delivery.status = task.result().status
            delivery.seconds = time.monotonic() - sent if 200 <= delivery.status < 300 else None
            self._changes.happened()

        return answered


def acknowledgement(answer: Answer) -> Object | None:
    """What an answer says to the person who caused it: nothing, an object, or a text."""
    if not answer.body:
        return None
    if answer.content_type != JSON:
        return {"text": answer.body}
    try:
        said = json.loads(answer.body)
    except ValueError:
        return {"text": answer.body}
    return said if isinstance(said, dict) else {"text": answer.body}
