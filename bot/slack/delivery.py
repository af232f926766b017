"""Brings to Slack what the store wants people to see, and only that: what is said is decided elsewhere.

Nothing is kept here that a restart would miss: a message is in the store until Slack has taken it. Order is kept within
a channel; channels do not wait for each other.

Delivery is at least once. Where the answer to a post is lost (a time-out, a crash), Slack may have taken it, and it is
posted again. To look it up first would need the right to read every channel's history, which is too much to ask for
so rare a case. Each post carries its number as metadata, so that a double can be told from a second message.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

from slack_sdk.web.async_client import AsyncWebClient

from bot.slack.errors import (
    BOT_TOKEN,
    CALL_TIMEOUT,
    RateLimited,
    Rejected,
    SlackUnreachable,
    TokenRefused,
    answer_of,
    next_move,
    waits,
)
from bot.store.messages import Content, Message, Messages
from runbooks.database import StoreError

log = logging.getLogger("unstick.slack")
P = ParamSpec("P")
T = TypeVar("T")

# Seconds between two looks for what another process wrote; what this one writes is told by `wake`.
POLL = 5.0
# Seconds between two calls of a kind in a channel. https://docs.slack.dev/apis/web-api/rate-limits
SPACING = {"chat.postMessage": 1.0, "chat.update": 0.5, "chat.postEphemeral": 0.2}
# What only one person sees answers what they just did: later it would puzzle them, and the audit log has it anyhow.
STALE = timedelta(minutes=30)
# Characters. https://docs.slack.dev/reference/methods/chat.update
LONGEST_EDIT = 4_000

# The message is no longer there, or no longer ours to edit.
_GONE = {"message_not_found", "cant_update_message", "edit_window_closed"}
_THREAD_GONE = {"thread_not_found", "message_not_found", "cannot_reply_to_message", "invalid_thread_ts"}
_BAD_BLOCKS = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "markdown_text_conflict"}


class Delivery:
    """Delivers for ever (`run`), or what there is (`settle`). `pause` and `now`, both in seconds, are its only time.

    `client` should have `retry_handlers=[]`: the retries here are the ones that keep order.
    """

    def __init__(
        self, client: AsyncWebClient, messages: Messages, *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep, now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.client = client
        self.messages = messages
        self.pause = pause
        self.now = now
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._at_work: dict[str, asyncio.Task[None]] = {}
        # What should never happen, met by one at work: it ends `run` instead of being met again and again.
        self._failure: BaseException | None = None
        self._called: dict[tuple[str, str], float] = {}
        # A refused token is no one channel's trouble: all wait until then.
        self._refused_until = 0.0
        self._token_waits = waits()
        self._said_of_token = ""

    def wake(self) -> None:
        """Something new is in the store. Callable from any thread, before `run` and after it too."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Deliver for ever. A call that is under way when this is cancelled is ended and noted first."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._news.clear()
                await self._set_to_work()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await self._news.wait()
        finally:
            self._loop = None
            await self._stop()

    async def settle(self, timeout: float) -> bool:
        """Deliver what there is, for at most `timeout` seconds; beside `run` or without it. True: nothing is left.

        Without `run`, a call that is under way after `timeout` is ended and noted first.
        """
        try:
            async with asyncio.timeout(timeout):
                while await self._set_to_work():
                    await asyncio.wait(self._at_work.values(), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            return False
        finally:
            if self._loop is None:
                await self._stop()
        return True

    async def _set_to_work(self) -> bool:
        """See that each channel with something to tell has one at work on it. False: there is none."""
        if self._failure is not None:
            raise self._failure
        behind = await self._in_store(self.messages.channels_behind)
        for channel in behind:
            if channel not in self._at_work:
                task = asyncio.create_task(self._work(channel))
                self._at_work[channel] = task
                task.add_done_callback(partial(self._ended, channel))
        return bool(behind)

    def _ended(self, channel: str, task: asyncio.Task[None]) -> None:
        del self._at_work[channel]
        if not task.cancelled() and (failure := task.exception()):
            self._failure = failure
        # Something may have been written between its last look and now: look once more.
        self._news.set()

    async def _stop(self) -> None:
        tasks = list(self._at_work.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, channel: str) -> None:
        """Deliver what there is for one channel, in rounds: a message that is edited all the time delays no other.

        Each is read anew before each try, so that only its newest version is told.
        """
        last, tries, said = 0, waits(), ""
        while True:
            await self._while_refused()
            message = await self._next(channel, last)
            if message is None:
                return
            try:
                await _to_its_end(self._deliver(message))
            except TokenRefused as refused:
                self._refused(refused)
            except SlackUnreachable as trouble:
                if str(trouble) != said:
                    said = str(trouble)
                    log.warning("%s What is for %s waits in the store, message %d first.", said, channel, message.id)
                await self.pause((isinstance(trouble, RateLimited) and trouble.seconds) or next(tries))
            else:
                if said:
                    log.warning("Slack takes messages for %s again.", channel)
                last, tries, said = message.id, waits(), ""

    async def _next(self, channel: str, last: int) -> Message | None:
        above = await self._in_store(self.messages.next_behind, channel, last)
        return above or (await self._in_store(self.messages.next_behind, channel, 0) if last else None)

    async def _deliver(self, message: Message) -> None:
        """Tell Slack, and note what came of it. What it raises leaves the message as it was, to be tried again."""
        if message.only_to and message.shown_version:
            # Slack has no way to edit what one person sees alone.
            await self._in_store(self.messages.delivered, message, None)
            return
        if message.only_to and self.messages.now() - message.written > STALE:
            await self._give_up(message, "It was for one person and is out of date; the audit log has it.")
            return
        try:
            ts = await self._tell(message)
        except Rejected as rejected:
            self._token_is_good()
            await self._give_up(message, f"Slack does not take it ({rejected.code}): {next_move(rejected.code)}.")
        except (TokenRefused, SlackUnreachable):
            raise
        except Exception as error:
            # A message that trips the code must not hold up those behind it for ever.
            log.exception("Message %d could not be told.", message.id)
            await self._give_up(message, f"Unstick itself failed at it ({type(error).__name__}): see its log.")
        else:
            self._token_is_good()
            await self._in_store(self.messages.delivered, message, ts)

    async def _give_up(self, message: Message, reason: str) -> None:
        log.error("Message %d was not delivered to %s. %s", message.id, message.channel, reason)
        await self._in_store(self.messages.undeliverable, message, reason)

    async def _tell(self, message: Message) -> str | None:
        try:
            return await self._show(message, message.content)
        except Rejected as rejected:
            if rejected.code not in _BAD_BLOCKS or not message.content.blocks:
                raise
            log.error(
                "Slack does not take the blocks of message %d (%s): its text alone is shown.", message.id, rejected.code
            )
            return await self._show(message, Content(message.content.text))

    async def _show(self, message: Message, content: Content) -> str | None:
        said: dict[str, Any] = {"text": content.text, "blocks": list(content.blocks)}
        if message.only_to:
            await self._post("chat.postEphemeral", message, {**said, "user": message.only_to})
            return None
        if message.ts:
            edited = {**said, "text": _fitting(content.text), "ts": message.ts}
            try:
                await self._call("chat.update", message.channel, edited)
            except Rejected as rejected:
                if rejected.code not in _GONE:
                    raise
                # Somebody deleted it. An edit is news, and news of an incident belongs before those who are on call.
                log.warning(
                    "Message %d is gone from %s (%s): it is posted anew.", message.id, message.channel, rejected.code
                )
            else:
                return message.ts
        return await self._post("chat.postMessage", message, {**said, "metadata": _metadata(message)})

    async def _post(self, method: str, message: Message, said: dict[str, Any]) -> str | None:
        """Post into the thread, or into the channel itself where there is none to post into.

        A parent without a `ts` failed for good, as order sees to it that it came first. Its reason may be its own, as
        blocks that Slack does not take; if it is the channel's, the reply will learn it soon enough.
        """
        if message.parent_ts:
            try:
                return await self._call(method, message.channel, {**said, "thread_ts": message.parent_ts})
            except Rejected as rejected:
                if rejected.code not in _THREAD_GONE:
                    raise
                log.warning("The thread of message %d is gone: it is posted to %s itself.", message.id, message.channel)
        return await self._call(method, message.channel, said)

    async def _call(self, method: str, channel: str, arguments: dict[str, Any]) -> str | None:
        """One call at Slack's pace; the answer is the `ts` of what it made, if it says."""
        rest = self._called.get((method, channel), -SPACING[method]) + SPACING[method] - self.now()
        if rest > 0:
            await self.pause(rest)
        self._called[method, channel] = self.now()
        call = self.client.api_call(method, json={"channel": channel, **arguments})
        answer = await answer_of(call, BOT_TOKEN, CALL_TIMEOUT)
        ts = answer.get("ts")
        return None if ts is None else str(ts)

    def _refused(self, refused: TokenRefused) -> None:
        if str(refused) != self._said_of_token:
            self._said_of_token = str(refused)
            log.error("%s Until then all messages wait in the store.", refused)
        # Only the first that meets it after the last wait makes the next one longer.
        if self.now() >= self._refused_until:
            self._refused_until = self.now() + next(self._token_waits)

    def _token_is_good(self) -> None:
        if self._said_of_token:
            log.warning("Slack takes the token in %s again.", BOT_TOKEN)
        self._token_waits, self._said_of_token = waits(), ""

    async def _while_refused(self) -> None:
        if (rest := self._refused_until - self.now()) > 0:
            await self.pause(rest)

    async def _in_store(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Use the store in a thread, until it can be used: what Slack has taken must be noted, or it is told twice."""
        tries, said = waits(), ""
        while True:
            try:
                return await asyncio.to_thread(work, *args, **kwargs)
            except StoreError as error:
                if str(error) != said:
                    said = str(error)
                    log.error("%s Nothing is delivered to Slack until then.", error)
                await self.pause(next(tries))


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work that a cancellation does not interrupt at once: an answer under way is still noted, for a while."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=CALL_TIMEOUT)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


def _metadata(message: Message) -> dict[str, Any]:
    return {"event_type": "unstick", "event_payload": {"message": message.id}}


def _fitting(text: str) -> str:
    """The text of an edit, which Slack bounds more narrowly than a post's. With blocks it is only the fallback."""
    return text if len(text) <= LONGEST_EDIT else text[: LONGEST_EDIT - 1] + "…"
