"""Which of several replicas leads: who watches and fires the schedules. Never two at once whose writes are both taken.

Two things hold that. A Lease on the API server says who leads: a leader stops before its Lease can run out, be the server
gone or slow, and nobody else takes it before. And a token, given out by the database before the Lease is taken and
active once it is, is compared in every write (`bot.store.leaders`): a process that stood still through all of that writes
nothing. Times are measured by the process' own clock that only goes forward, from before a request was sent.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from bot.lease import Claim, Conflict, Lease, LeaseApi
from bot.store.leaders import Deposed, Leaders, Leadership
from diagnostics.sources import CouldNotLook
from runbooks.database import StoreError

__all__ = ["Alone", "Deposed", "Elector", "Lead", "Leadership"]

Lead = Callable[[Leadership], Awaitable[None]]
"""What is done by whoever leads. It is cancelled when that ends, and must end soon then."""
_log = logging.getLogger("unstick.leader")
_UNFORESEEN = "What the leader does ended with an error that nobody foresaw, and begins anew."
# Parts of how long a Lease lasts.
_RENEWED = 0.2  # it is renewed so often,
_ANSWER = 0.16  # a request may take so long,
_AGAIN = 0.05  # and is made again so soon after one that failed.
_LOOKED_AT = 0.1  # Who does not lead looks so often.
_STOPS = 0.7  # What the leader does is cancelled so long after the last renewal,
_ENDS = 0.9  # and must have ended by then: the rest is for clocks that run unlike each other.


class InThread(Protocol):
    """How a call that blocks is made: `asyncio.to_thread`."""

    def __call__(self, call: Callable[..., Any], /, *args: Any) -> Awaitable[Any]:
        """Make it."""
        ...


@dataclass
class _Held:
    """A Lease that we hold: as it is on the server, and when it was surely ours last."""

    leadership: Leadership
    lease: Lease
    renewed: float
    lost: bool = False


class Elector:
    """One replica's part in the election. `id` is the name of this life of it: no other process may ever have had it."""

    def __init__(
        self, lease: LeaseApi, leaders: Leaders, id: str, lasts: timedelta, *,  # noqa: A002 - what it is
        now: Callable[[], datetime] = lambda: datetime.now(UTC), monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep, in_thread: InThread = asyncio.to_thread,
        chance: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self._lease, self._leaders, self._id, self._lasts = lease, leaders, id, lasts.total_seconds()
        self._now, self._monotonic, self._pause, self._in_thread = now, monotonic, pause, in_thread
        self._chance = chance
        self._seen: tuple[str, float] | None = None
        self.leading: Leadership | None = None
        """What this replica leads with; None while it does not."""
        self.trouble = ""
        """One sentence on what is wrong with the election, as far as this replica sees; "" while nothing is."""

    async def run(self, lead: Lead) -> None:
        """Run `lead` while this replica leads, whenever that is, until cancelled. A clean end lets the next one in at once."""
        while True:
            held = await self._acquire()
            await self._lead(held, lead)
            await self._pause(self._about(_RENEWED))

    async def _acquire(self) -> _Held:
        """Wait until the Lease is free, and take it."""
        while True:
            try:
                lease = await self._lease.read(self._lasts * _ANSWER)
                free_in = self._free_in(lease)
                if free_in <= 0 and (held := await self._take(lease)) is not None:
                    return held
                self._says("")
                wait = self._about(_LOOKED_AT)
                await self._pause(min(wait, free_in) if free_in > 0 else wait)
            except Conflict:  # another one was faster
                await self._pause(self._about(_AGAIN))
            except (CouldNotLook, StoreError, Deposed, TimeoutError) as error:
                self._says(f"This replica cannot lead now. {str(error) or 'The state database is slow.'}")
                await self._pause(self._about(_LOOKED_AT))

    def _free_in(self, lease: Lease | None) -> float:
        """In how many seconds the Lease may be taken, if nothing happens to it.

        It runs out as long after we saw it renewed as its holder said it lasts. One that was deleted runs out as if it
        were there: its holder may not know yet.
        """
        now = self._monotonic()
        if lease is not None and (self._seen is None or self._seen[0] != lease.version):
            nobody = lease.holder in ("", self._id)
            self._seen = (lease.version, now if nobody else now + max(lease.lasts, self._lasts))
        return self._seen[1] - now if self._seen is not None else 0.0

    async def _take(self, lease: Lease | None) -> _Held | None:
        """Take the Lease: the token first, so that it is in the Lease before anybody writes with it.

        It is given out anew for each try: one that was kept from an earlier try could be lower than somebody's who took
        the Lease in between.
        """
        leadership = await self._in_thread(self._leaders.issue, self._id, lease.token if lease else 0)
        began = self._monotonic()
        taken = await self._lease.write(lease, self._claim(leadership), self._lasts * _ANSWER)
        held = _Held(leadership, taken, began)
        try:
            async with asyncio.timeout(self._lasts * _STOPS - (self._monotonic() - began)):
                await self._in_thread(self._leaders.activate, leadership)
            if self._left(held, _STOPS) > 0:
                return held
        except BaseException:
            await self._release(held)
            raise
        await self._retire(held)
        await self._release(held)
        return None

    async def _lead(self, held: _Held, lead: Lead) -> None:
        self.leading = held.leadership
        self._says("")
        _log.info("This replica (%s) leads now, with token %d.", self._id, held.leadership.token)
        work = asyncio.ensure_future(lead(held.leadership))
        keeping = asyncio.create_task(self._keep(held))
        try:
            await asyncio.wait({work, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending = asyncio.create_task(self._end(held, work, keeping))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending
                raise
        await asyncio.wait({work})  # it does not lead again while something believes that it still does

    async def _keep(self, held: _Held) -> None:
        """Renew the Lease, until it is lost or what the leader does has to stop."""
        wait, trouble = self._about(_RENEWED), "This process stood still."
        while (left := self._left(held, _STOPS)) > 0:
            await self._pause(min(wait, left))
            if (left := self._left(held, _STOPS)) <= 0:
                break
            began, bound = self._monotonic(), min(self._lasts * _ANSWER, left)
            try:
                held.lease = await self._lease.write(held.lease, self._claim(held.leadership), bound)
                held.renewed, wait = began, self._about(_RENEWED)
                self._says("")
            except Conflict:
                wait = 0.0
                if not await self._is_still_ours(held):
                    held.lost = True
                    return
            except CouldNotLook as error:
                wait, trouble = self._about(_AGAIN), str(error)
                self._says(f"The Lease cannot be renewed. {error}")
        silent = self._monotonic() - held.renewed
        self._says(f"This replica leads no more: it could not renew the Lease for {silent:.1f} s. {trouble}")

    async def _is_still_ours(self, held: _Held) -> bool:
        """After a conflict: whether somebody only touched the Lease, or took it."""
        bound = min(self._lasts * _ANSWER, self._left(held, _STOPS))
        if bound <= 0:
            return True  # not known any more; it stops for that reason
        try:
            found = await self._lease.read(bound)
        except CouldNotLook as error:
            self._says(f"The Lease cannot be renewed. {error}")
            return True  # the next write tells
        if found is None:
            self._says("This replica leads no more: the Lease was deleted. The next leader makes it anew.")
            return False
        if (found.holder, found.token) != (self._id, held.leadership.token):
            self._says(f"This replica leads no more: {found.holder or 'nobody'} has the Lease now.")
            return False
        held.lease = found
        return True

    async def _end(self, held: _Held, work: asyncio.Future[None], keeping: asyncio.Task[None]) -> None:
        """End what the leader does, then its token, then the Lease."""
        self.leading = None
        keeping.cancel()
        work.cancel()
        work.add_done_callback(_tell)
        # A process that stood still is late through no fault of the work: it has a moment, too.
        await asyncio.wait({work, keeping}, timeout=max(self._left(held, _ENDS), self._lasts * _AGAIN))
        if not work.done():
            _log.error(
                "What this replica (%s) does as the leader did not end when it was told to: its Lease runs out, another "
                "one leads then, and whatever is still written with token %d is refused.",
                self._id, held.leadership.token,
            )  # fmt: skip
        await self._retire(held)
        if work.done() and not held.lost:
            await self._release(held)

    async def _retire(self, held: _Held) -> None:
        """Have the database refuse what is still under way in threads. Where it cannot be reached, nothing is written."""
        try:
            async with asyncio.timeout(self._lasts * _ANSWER):
                await self._in_thread(self._leaders.retire, held.leadership)
        except (StoreError, TimeoutError) as error:
            _log.debug("The token %d could not be ended: %s", held.leadership.token, error)

    async def _release(self, held: _Held) -> None:
        """Let the next one take the Lease at once. Where that does not succeed, it runs out."""
        nobody, bound = Claim("", held.leadership.token, 1.0, self._now()), self._lasts * _ANSWER
        try:
            try:
                await self._lease.write(held.lease, nobody, bound)
            except Conflict:  # a renewal was under way
                found = await self._lease.read(bound)
                if found is not None and (found.holder, found.token) == (self._id, held.leadership.token):
                    await self._lease.write(found, nobody, bound)
        except (Conflict, CouldNotLook) as error:
            _log.debug("The Lease was not released: %s", error)

    def _claim(self, leadership: Leadership) -> Claim:
        return Claim(self._id, leadership.token, self._lasts, self._now())

    def _left(self, held: _Held, part: float) -> float:
        return held.renewed + self._lasts * part - self._monotonic()

    def _about(self, part: float) -> float:
        """A part of the Lease's length, in seconds, a little different each time: replicas must not ask in step."""
        return self._lasts * part * (0.8 + 0.2 * self._chance())

    def _says(self, sentence: str) -> None:
        """Keep what is wrong, and log it once."""
        if sentence and sentence != self.trouble:
            _log.warning("%s", sentence)
        self.trouble = sentence


class Alone:
    """The one replica of a database that only one may use (SQLite): no Lease, and the same tokens."""

    def __init__(
        self, leaders: Leaders, id: str, *,  # noqa: A002 - what it is
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._leaders, self._id, self._pause = leaders, id, pause
        self.leading: Leadership | None = None
        """What this replica leads with; None while it does not."""
        self.trouble = ""
        """One sentence on what keeps it from leading; "" while nothing does."""

    async def run(self, lead: Lead) -> None:
        """Run `lead` until cancelled.

        Raises:
            Deposed: another Unstick has begun to work on the same database.
        """
        while True:
            leadership = self.leading = await self._begin()
            try:
                await lead(leadership)
            except Exception as error:  # noqa: BLE001 - whatever it died of, schedules and watches go on
                deposed = _deposed(error)
                if deposed is not None:
                    also = "Another Unstick works on the same state database: stop one of them."
                    raise Deposed(f"{deposed} {also}") from None
                _log.error("%s", _UNFORESEEN, exc_info=error)
            finally:
                self.leading = None
                await asyncio.to_thread(self._retire, leadership)
            await self._pause(5.0)

    async def _begin(self) -> Leadership:
        while True:
            try:
                leadership = await asyncio.to_thread(self._leaders.issue, self._id)
                await asyncio.to_thread(self._leaders.activate, leadership)
            except (StoreError, Deposed) as error:
                if str(error) != self.trouble:
                    self.trouble = str(error)
                    _log.warning("Nothing is fired or watched yet. %s", error)
                await self._pause(1.0)
            else:
                self.trouble = ""
                return leadership

    def _retire(self, leadership: Leadership) -> None:
        try:
            self._leaders.retire(leadership)
        except StoreError as error:
            _log.debug("The token %d could not be ended: %s", leadership.token, error)


def _tell(work: asyncio.Future[None]) -> None:
    """Why what the leader does ended, where it ended by itself."""
    error = None if work.cancelled() else work.exception()
    deposed = _deposed(error)
    if deposed is not None:
        _log.warning("%s It stops leading; do all replicas name the same Lease and the same database?", deposed)
    elif error is not None:
        _log.error("%s", _UNFORESEEN, exc_info=error)


def _deposed(error: BaseException | None) -> Deposed | None:
    """The Deposed in an error, where it is one of a group of them too."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _deposed(each)) is not None), None)
    return error if isinstance(error, Deposed) else None
