"""One message to Slack, by whatever calls that takes: a post, an edit, a file; and whether it was there already.

A post whose answer was lost may have been taken. So that one is begun is noted first, and before it is repeated it is
looked for: each post carries its number and when it was written as metadata. It never decides what comes next: what it
raises leaves the message as it was.
"""

import base64
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.slack.errors import BOT_TOKEN, RateLimited, Rejected, SlackUnreachable, TokenRefused, answer_of
from bot.store.messages import Content, Message
from runbooks.database import stored

log = logging.getLogger("unstick.slack")

CALL_TIMEOUT = 8.0
"""Seconds for one call: it ends before any other replica can take this one for dead."""
# Seconds between two calls of a kind in a channel. https://docs.slack.dev/apis/web-api/rate-limits
SPACING = {"chat.postMessage": 1.0, "chat.update": 0.5, "chat.postEphemeral": 0.2}
# Slack limits a post by its channel, anything else for the whole workspace: what one channel learns, all wait for.
_PER_CHANNEL = {"chat.postMessage", "chat.postEphemeral"}
# Characters. https://docs.slack.dev/reference/methods/chat.update
LONGEST_EDIT = 4_000
# How far our clock may be ahead of Slack's when a message is looked for.
SKEW = timedelta(minutes=5)
# Of so many messages each: more than a channel gets while a post is under way.
PAGES, PAGE = 10, 200

# The message is no longer there, or no longer ours to edit.
_GONE = {"message_not_found", "cant_update_message", "edit_window_closed"}
_THREAD_GONE = {"thread_not_found", "message_not_found", "cannot_reply_to_message", "invalid_thread_ts"}
_BAD_BLOCKS = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "markdown_text_conflict"}
# What an app may lack and still be of use: no reason to let every message wait for a new token.
_OPTIONAL = {"missing_scope", "not_allowed_token_type", "access_denied"}


class Mute(Exception):
    """This replica could be taken for dead before a call would end: nothing was sent."""


class Shown(NamedTuple):
    """What Slack shows of a message: its name there, where it has one, and which version of it."""

    ts: str | None
    version: int


class Poster:
    """Makes the calls, at Slack's pace. `alive` tells whether this replica still lives after so many seconds.

    `trying` notes, before it is posted, that a message (or the file of that id) is; it returns once that is on disk.
    """

    def __init__(
        self, client: AsyncWebClient, trying: Callable[[Message, dict[str, str] | None], Awaitable[datetime]], *,
        alive: Callable[[float], bool], pause: Callable[[float], Awaitable[None]],
        now: Callable[[], float] = time.monotonic, called: Callable[[str, str], None] = lambda _method, _outcome: None,
    ) -> None:  # fmt: skip
        self.client = client
        self._told = called
        self.pause = pause
        self.now = now
        self._trying = trying
        self._alive = alive
        self._called: dict[tuple[str, str], float] = {}
        # Methods that Slack takes no more of until then, and the channel that was told so: it waits by itself.
        self._limited: dict[str, tuple[float, str]] = {}
        # Messages whose last post Slack did not take, for certain, and when that was begun: there is nothing to look for,
        # unless another replica has begun one since.
        self._not_taken: dict[int, datetime] = {}
        self._blind: set[str] = set()

    async def show(self, message: Message) -> Shown:
        """Let Slack show a message as it is wanted.

        Raises:
            Mute: not by this replica, now.
            RateLimited, SlackUnreachable, TokenRefused: not now.
            Rejected: never like this.
        """
        if message.file is not None:
            return await self._share(message, message.file)
        try:
            return await self._show(message, message.content)
        except Rejected as rejected:
            if rejected.code not in _BAD_BLOCKS or not message.content.blocks:
                raise
            log.error(
                "Slack does not take the blocks of message %d (%s): its text alone is shown.", message.id, rejected.code
            )
            return await self._show(message, Content(message.content.text))

    async def _show(self, message: Message, content: Content) -> Shown:
        said: dict[str, Any] = {"text": content.text, "blocks": list(content.blocks)}
        if message.only_to:
            # Nobody can look for what one person sees alone.
            await self._post("chat.postEphemeral", message, {**said, "user": message.only_to})
            return Shown(None, message.wanted_version)
        if message.ts:
            edited = {**said, "text": _fitting(content.text), "ts": message.ts}
            try:
                await self._json("chat.update", message.channel, edited)
            except Rejected as rejected:
                if rejected.code not in _GONE:
                    raise
                # Somebody deleted it. An edit is news, and news of an incident belongs before those who are on call.
                log.warning(
                    "Message %d is gone from %s (%s): it is posted anew.", message.id, message.channel, rejected.code
                )
            else:
                return Shown(message.ts, message.wanted_version)
        elif (found := await self._there_already(message, _is_of(message))) is not None:
            version = (found["metadata"]["event_payload"]).get("version") or message.wanted_version
            return Shown(str(found["ts"]), int(version))
        async with _Trying(self, message, None):
            ts = await self._post("chat.postMessage", message, {**said, "metadata": _metadata(message)})
        return Shown(ts, message.wanted_version)

    async def _post(self, method: str, message: Message, said: dict[str, Any]) -> str | None:
        """Post into the thread, or into the channel itself where there is none to post into.

        A parent without a `ts` failed for good, as order sees to it that it came first. Its reason may be its own, as
        blocks that Slack does not take; if it is the channel's, the reply will learn it soon enough.
        """
        if message.in_thread:
            try:
                return await self._json(method, message.channel, {**said, "thread_ts": message.in_thread})
            except Rejected as rejected:
                if rejected.code not in _THREAD_GONE:
                    raise
                log.warning("The thread of message %d is gone: it is posted to %s itself.", message.id, message.channel)
        return await self._json(method, message.channel, said)

    async def _share(self, message: Message, file: dict[str, str]) -> Shown:
        """Upload a file and share it, in three calls; nobody sees it before the last.

        https://docs.slack.dev/messaging/working-with-files
        """
        if message.shown_version:
            return Shown(None, message.wanted_version)  # a file is not edited
        if (before := file.get("id")) and await self._there_already(message, _shares(before)) is not None:
            return Shown(None, message.wanted_version)
        data = base64.b64decode(file["base64"])
        place = await self._optional(
            "files.getUploadURLExternal", message.channel,
            lambda: self.client.files_getUploadURLExternal(filename=file["name"], length=len(data)),
        )  # fmt: skip
        await self._upload(str(place["upload_url"]), data)
        made = str(place["file_id"])
        async with _Trying(self, message, {**file, "id": made}):
            await self._optional(
                "files.completeUploadExternal", message.channel,
                lambda: self.client.files_completeUploadExternal(
                    files=[{"id": made, "title": file.get("title") or file["name"]}], channel_id=message.channel,
                    initial_comment=message.content.text or None, thread_ts=message.in_thread,
                ),
            )  # fmt: skip
        return Shown(None, message.wanted_version)

    async def _upload(self, url: str, data: bytes) -> None:
        """Bring a file to where Slack wants it. The address is a secret, and stays out of every sentence."""
        if not self._alive(CALL_TIMEOUT):
            raise Mute
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT)
        ssl = True if self.client.ssl is None else self.client.ssl
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(url, data=data, proxy=self.client.proxy, ssl=ssl) as answer,
            ):
                status = answer.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise SlackUnreachable(f"Slack does not take a file: {type(error).__name__}.") from None
        if status != 200:
            raise SlackUnreachable(f"Slack does not take a file: HTTP status {status}.")

    async def _there_already(self, message: Message, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """The message, where an earlier try brought it to Slack whose answer was lost."""
        if message.tried is None or self._was_not_taken(message):
            return None
        try:
            async for each in self._since(message.tried - SKEW, message):
                if is_it(each):
                    log.info("Message %d was in %s already.", message.id, message.channel)
                    return each
        except Rejected as rejected:
            if rejected.code not in self._blind:
                self._blind.add(rejected.code)
                log.warning(
                    "Whether message %d is in %s already cannot be looked up (%s), and it is posted, perhaps again:"
                    " let the app read the channel's history, as `unstick slack manifest` has it.",
                    message.id, message.channel, rejected.code,
                )  # fmt: skip
        return None

    def _was_not_taken(self, message: Message) -> bool:
        """Whether the last post of a message, by any replica, is one of ours that Slack did not take."""
        return message.tried is not None and self._not_taken.get(message.id) == message.tried

    async def _since(self, oldest: datetime, message: Message) -> AsyncIterator[dict[str, Any]]:
        """What was posted since, where the message would be: in its thread, or, where that is gone, in its channel."""
        bounds = {"channel": message.channel, "oldest": f"{oldest.timestamp():.6f}", "limit": PAGE}
        if message.in_thread:
            try:
                async for each in self._pages("conversations.replies", {**bounds, "ts": message.in_thread}):
                    yield each
            except Rejected as rejected:
                if rejected.code not in _THREAD_GONE:
                    raise
            else:
                return
        async for each in self._pages("conversations.history", bounds):
            yield each

    async def _pages(self, method: str, asked: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        call = {
            "conversations.replies": self.client.conversations_replies,
            "conversations.history": self.client.conversations_history,
        }[method]
        cursor = ""
        for _ in range(PAGES):
            more = {**asked, **({"cursor": cursor} if cursor else {})}
            page = partial(call, **more, include_all_metadata=True)
            answer = await self._optional(method, asked["channel"], page)
            for each in answer.get("messages") or ():
                yield each
            cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return

    async def _json(self, method: str, channel: str, arguments: dict[str, Any]) -> str | None:
        """One call; the answer is the `ts` of what it made, if it says."""
        said = {"channel": channel, **arguments}
        answer = await self._call(method, channel, lambda: self.client.api_call(method, json=said))
        ts = answer.get("ts")
        return None if ts is None else str(ts)

    async def _optional(
        self, method: str, channel: str, call: Callable[[], Awaitable[AsyncSlackResponse]]
    ) -> AsyncSlackResponse:
        """One call that the app may have no right to: that is no reason to wait for a better token."""

        async def asked() -> AsyncSlackResponse:
            try:
                return await call()
            except SlackApiError as error:
                data = getattr(error.response, "data", None)
                code = data.get("error") if isinstance(data, dict) else None
                if code in _OPTIONAL:
                    raise Rejected(str(code)) from None
                raise

        return await self._call(method, channel, asked)

    async def _call(
        self, method: str, channel: str, call: Callable[[], Awaitable[AsyncSlackResponse]]
    ) -> AsyncSlackResponse:
        """One call at Slack's pace, by a replica that lives until it ends."""
        spacing = SPACING.get(method, 0.0)
        until, told = self._limited.get(method, (0.0, ""))
        if told == channel:
            del self._limited[method]
            until = 0.0
        rest = max(self._called.get((method, channel), -spacing) + spacing, until) - self.now()
        if rest > 0:
            await self.pause(rest)
        if not self._alive(CALL_TIMEOUT):
            raise Mute
        self._called[method, channel] = self.now()
        outcome = "ok"
        try:
            return await answer_of(call(), BOT_TOKEN, CALL_TIMEOUT)
        except RateLimited as limited:
            outcome = "limited"
            if method not in _PER_CHANNEL:
                self._limited[method] = (self.now() + limited.seconds, channel)
            raise
        except Exception as error:
            outcome = "unreachable" if isinstance(error, SlackUnreachable) else "refused"
            raise
        finally:
            self._told(method, outcome)


class _Trying:
    """From the note that a message is posted to the answer: what Slack refused for certain is not there."""

    def __init__(self, poster: Poster, message: Message, file: dict[str, str] | None) -> None:
        self._poster = poster
        self._message = message
        self._file = file
        self._at = message.tried or message.written

    async def __aenter__(self) -> None:
        message, noted = self._message, self._poster._was_not_taken(self._message)
        if not noted or message.ts is not None or self._file is not None:
            self._at = await self._poster._trying(message, self._file)
        self._poster._not_taken.pop(message.id, None)

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Rejected | RateLimited | TokenRefused | Mute):
            self._poster._not_taken[self._message.id] = self._at


def _metadata(message: Message) -> dict[str, Any]:
    """By which it is found: numbers begin anew with a new database, a moment does not come again."""
    payload = {"message": message.id, "version": message.wanted_version, "written": stored(message.written)}
    return {"event_type": "unstick", "event_payload": payload}


def _is_of(message: Message) -> Callable[[dict[str, Any]], bool]:
    """Whether something in Slack is this message; one that was given up since, as nobody could edit it, is not."""
    wanted = {name: value for name, value in _metadata(message)["event_payload"].items() if name != "version"}

    def is_it(each: dict[str, Any]) -> bool:
        payload = (each.get("metadata") or {}).get("event_payload") or {}
        newer = int(payload.get("version") or 0) > message.shown_version
        return newer and all(payload.get(name) == value for name, value in wanted.items())

    return is_it


def _shares(file: str) -> Callable[[dict[str, Any]], bool]:
    """Whether something in Slack shows the file of this id."""
    return lambda each: file in [one.get("id") for one in each.get("files") or ()]


def _fitting(text: str) -> str:
    """The text of an edit, which Slack bounds more narrowly than a post's. With blocks it is only the fallback."""
    return text if len(text) <= LONGEST_EDIT else text[: LONGEST_EDIT - 1] + "…"
