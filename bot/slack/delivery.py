"""Brings to Slack what the store wants people to see, and only that: what is said is decided elsewhere.

Nothing is kept here that a restart would miss: a message is in the store until Slack has taken it. Order is kept within
a channel; channels do not wait for each other. Of several replicas one holds a channel while it has something to bring
there, and says nothing once another one could take it for dead.

Where the answer to a post is lost (a time-out, a crash), Slack may have taken it: it is looked for before it is posted
again (`posting`). Only where the app may not read a channel's history, and for what one person sees alone, that cannot
be, and it is posted again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

from slack_sdk.web.async_client import AsyncWebClient

from bot.slack.errors import BOT_TOKEN, RateLimited, Rejected, SlackUnreachable, TokenRefused, next_move, waits
from bot.slack.posting import CALL_TIMEOUT, Mute, Poster
from bot.store.messages import Message, Messages
from bot.store.replicas import Pulse
from runbooks.database import StoreError

log = logging.getLogger("unstick.slack")
P = ParamSpec("P")
T = TypeVar("T")

# Seconds between two looks for what another process wrote; what this one writes is told by `wake`.
POLL = 1.0
# Seconds for which a channel is held after the last message: a second goes by between two, whoever brings them.
LINGER = 1.0
# Seconds between two looks whether this replica may speak again.
MUTE = 0.1
# What only one person sees answers what they just did: later it would puzzle them, and the audit log has it anyhow.
STALE = timedelta(minutes=30)
# What an app may do without a right of its own, but for this.
_MOVES = {"missing_scope": "add the scopes that `unstick slack manifest` lists to the app and install it again"}


class Delivery:
    """Delivers for ever (`run`), or what there is (`settle`). `pause` and `now`, both in seconds, are its only time.

    `client` should have `retry_handlers=[]`: the retries here are the ones that keep order. `pulse` tells which of
    several replicas this is (None: the only one).
    """

    def __init__(
        self, client: AsyncWebClient, messages: Messages, *, pulse: Pulse | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep, now: Callable[[], float] = time.monotonic,
        called: Callable[[str, str], None] = lambda _method, _outcome: None,
    ) -> None:  # fmt: skip
        """`called` is told of each call: its method, and what came of it in a word."""
        self.messages = messages
        self.now = now
        self._pulse = pulse
        self._owner = None if pulse is None or pulse.alone else pulse.id
        self._pause = pause
        self._poster = Poster(client, self._trying, alive=self._alive, pause=self.pause, now=now, called=called)
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._at_work: dict[str, asyncio.Task[None]] = {}
        # What should never happen, met by one at work: it ends `run` instead of being met again and again.
        self._failure: BaseException | None = None
        # A refused token is no one channel's trouble: all wait until then.
        self._refused_until = 0.0
        self._token_waits = waits()
        self._said_of_token = ""

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await self._pause(seconds)

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
        behind = await self._in_store(self.messages.channels_behind, self._owner)
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
        """Deliver what there is for one channel, while no other replica does."""
        owner = self._owner
        if owner is None:
            await self._rounds(channel)
        elif await self._in_store(self.messages.hold, channel, owner):
            await self._rounds(channel)
            await self.pause(LINGER)
            await self._rounds(channel)
            await self._in_store(self.messages.let_go, channel, owner)
        else:
            await self.pause(POLL)  # it is found again until the other one is done

    async def _rounds(self, channel: str) -> None:
        """Deliver in rounds: a message that is edited all the time delays no other.

        Each is read anew before each try, so that only its newest version is told, by who holds the channel still.
        """
        last, tries, said = 0, waits(), ""
        while True:
            await self._while_refused()
            while not self._alive(CALL_TIMEOUT):
                await self.pause(MUTE)
            message = await self._next(channel, last)
            if message is None:
                return
            try:
                await _to_its_end(self._deliver(message))
            except Mute:
                continue
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
        above = await self._in_store(self.messages.next_behind, channel, last, self._owner)
        return above or (await self._in_store(self.messages.next_behind, channel, 0, self._owner) if last else None)

    def _alive(self, for_seconds: float) -> bool:
        return self._pulse is None or self._pulse.alive(for_seconds)

    async def _trying(self, message: Message, file: dict[str, str] | None) -> datetime:
        return await self._in_store(self.messages.trying, message, file)

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
            shown = await self._poster.show(message)
        except Rejected as rejected:
            self._token_is_good()
            move = _MOVES.get(rejected.code) or next_move(rejected.code)
            await self._give_up(message, f"Slack does not take it ({rejected.code}): {move}.")
        except (TokenRefused, SlackUnreachable, Mute):
            raise
        except Exception as error:
            # A message that trips the code must not hold up those behind it for ever.
            log.exception("Message %d could not be told.", message.id)
            await self._give_up(message, f"Unstick itself failed at it ({type(error).__name__}): see its log.")
        else:
            self._token_is_good()
            await self._in_store(self.messages.delivered, message, shown.ts, shown.version)

    async def _give_up(self, message: Message, reason: str) -> None:
        log.error("Message %d was not delivered to %s. %s", message.id, message.channel, reason)
        await self._in_store(self.messages.undeliverable, message, reason)

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
