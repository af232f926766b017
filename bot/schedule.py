"""Fires health reports at the times that the configuration names. It must never fire one twice, nor die of one.

The scheduler's own store is in memory and it only rings: what is due is a row that is not there yet. A firing is one
transaction, which sees that this replica still leads, claims the slot and adds the job. So no firing is lost or doubled,
wherever a leader dies (APScheduler 3 on a shared store runs every job in every replica, silently).
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]

from bot.crontab import trigger
from bot.settings import ScheduleSettings, Settings, SettingsError
from bot.slack.jobs import MakeReport
from bot.store import State
from bot.store.leaders import Deposed, Leadership
from diagnostics.catalog import all_checks, chosen
from runbooks.database import StoreError
from runbooks.format.wording import instead

GRACE = timedelta(minutes=15)
"""How late a report may still be made: after that the next one is waited for."""
_log = logging.getLogger("unstick.schedule")
# Longer than any change of a clock: asked in the hour that spring skips, the library overlooks what falls into it.
_BACK = timedelta(hours=3)
_AGAIN = 2.0  # seconds until a firing that the database did not take is tried again
_LOOKED_AT = 30.0  # seconds until what is due is looked at though nothing rang
_LONGEST_KEY = 80  # what others are named after it has 128
# What an interval is counted from, in every replica and after every restart.
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def check(settings: Settings) -> None:
    """See that every schedule means something, before the first one fires.

    Raises:
        SettingsError: one has no channel, no such cluster or check, or a cron or time zone that means nothing.
    """
    for name, words in settings.schedules.items():
        _trigger(name, words)
        _see_cluster(name, words, settings)
        channel_of(name, words, settings)
        try:
            chosen(words.areas, words.checks)
        except KeyError as unknown:
            known = {each for listed in all_checks() for each in (listed.id, listed.area)}
            what = f"there is no check or area {unknown.args[0]!r}; {instead(unknown.args[0], known)}"
            raise SettingsError(f"schedules.{name}: {what}") from None


def next_firings(settings: Settings, now: datetime) -> dict[str, datetime]:
    """When each schedule fires next, by name.

    Raises:
        SettingsError: one of them means nothing, or can never fire.
    """
    return {name: next(_Planned(name, words).times(now)) for name, words in settings.schedules.items()}


def channel_of(name: str, words: ScheduleSettings, settings: Settings) -> str:
    """The channel that a schedule's report goes to.

    Raises:
        SettingsError: there is none.
    """
    channel = words.channel or settings.channel_of(settings.cluster(words.cluster)[0])
    if channel is None:
        raise SettingsError(f"schedules.{name} has no channel: name one there, at its cluster, or as slack.channel.")
    return channel


def _see_cluster(name: str, words: ScheduleSettings, settings: Settings) -> None:
    known = ", ".join(sorted(settings.clusters))
    if words.cluster is not None and words.cluster not in settings.clusters:
        what = instead(words.cluster, settings.clusters)
        raise SettingsError(f"schedules.{name}.cluster: there is no cluster {words.cluster!r}; {what}")
    if words.cluster is None and settings.default_cluster is None and len(settings.clusters) > 1:
        raise SettingsError(f"schedules.{name} looks at no cluster: name one of {known} there or as default_cluster.")


def _trigger(name: str, words: ScheduleSettings) -> BaseTrigger:
    if words.cron is not None:
        return trigger(f"schedules.{name}", words.cron, words.timezone)
    assert words.every is not None, "the settings see to it that there is one of both"
    return IntervalTrigger(seconds=int(words.every.total_seconds()), start_date=_BEGINNING, timezone=UTC)


class _Planned:
    """One schedule, and when it fires."""

    def __init__(self, name: str, words: ScheduleSettings) -> None:
        self.words = words
        self.trigger = _trigger(name, words)
        self._each_hour = words.cron is None or words.cron.split()[1].startswith("*")

    def times(self, begin: datetime) -> Iterator[datetime]:
        """When it fires, from `begin` on; of an hour that a clock goes through twice, once where hours are named."""
        while (fires := self.trigger.get_next_fire_time(None, begin)) is not None:
            if self._each_hour or not fires.fold:
                yield fires.astimezone(UTC)
            begin = fires.astimezone(UTC) + timedelta(seconds=1)

    def due(self, now: datetime) -> datetime | None:
        """The latest time that it fires for now, unless that is too long ago."""
        latest = None
        if self.words.every is not None:
            latest = now - (now - _BEGINNING) % timedelta(seconds=int(self.words.every.total_seconds()))
        else:
            for fires in self.times(now - GRACE - _BACK):
                if fires > now:
                    break
                latest = fires
        return latest if latest is not None and latest >= now - GRACE else None


class Schedules:
    """All schedules of a configuration, as the leader fires them.

    Raises:
        SettingsError: one of them means nothing (`check`), or can never fire.
    """

    def __init__(
        self, settings: Settings, state: State, *, now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wake: Callable[[], None] = lambda: None, pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        """`wake` is called once there is a job more: other replicas see it within a second anyway."""
        check(settings)
        self._planned = {name: _Planned(name, words) for name, words in settings.schedules.items()}
        self._channels = {name: channel_of(name, words, settings) for name, words in settings.schedules.items()}
        self._state, self._now, self._wake, self._pause = state, now, wake, pause

    def next(self) -> dict[str, datetime]:
        """When each schedule fires next."""
        now = self._now()
        return {name: next(planned.times(now)) for name, planned in self._planned.items()}

    async def run(self, leadership: Leadership) -> None:
        """Fire until cancelled; at once where a report fell due less than GRACE ago that the leader before did not fire.

        Raises:
            BaseExceptionGroup: of Deposed: this replica does not lead any more.
        """
        scheduler = AsyncIOScheduler(timezone=UTC)
        for name, fires in self.next().items():
            _log.info("The report %s is made next at %s.", name, fires.isoformat())
        try:
            async with asyncio.TaskGroup() as group:
                for name, planned in self._planned.items():
                    rings = asyncio.Event()
                    scheduler.add_job(
                        _ring, planned.trigger, args=(rings,), id=name, name=name, coalesce=True,
                        misfire_grace_time=int(GRACE.total_seconds()),
                    )  # fmt: skip
                    group.create_task(self._keep_firing(name, rings, leadership))
                scheduler.start()
                await asyncio.Event().wait()  # without schedules, too, it leads
        finally:
            if scheduler.running:
                scheduler.shutdown(wait=False)

    async def fire(self, name: str, leadership: Leadership, after: datetime | None = None) -> datetime | None:
        """Fire what is due, unless that is `after`, which was settled before. The answer is what is settled by now.

        Of several that were missed the last is fired. Where the database cannot be written, it is tried until it can.

        Raises:
            Deposed: this replica does not lead any more.
        """
        said = ""
        while (fires := self._planned[name].due(self._now())) is not None and fires != after:
            try:
                claimed = await asyncio.to_thread(self._claim, name, fires, leadership)
            except StoreError as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("The report %s of %s waits. %s", name, fires.isoformat(), said)
                await self._pause(_AGAIN)
                continue
            after = fires
            if claimed:
                self._wake()
            else:
                _log.info("The report %s of %s was asked for already.", name, fires.isoformat())
        return after

    async def _keep_firing(self, name: str, rings: asyncio.Event, leadership: Leadership) -> None:
        settled: datetime | None = None
        while True:
            try:
                settled = await self.fire(name, leadership, settled)
            except Deposed:
                raise
            except Exception:  # noqa: BLE001 - whatever one schedule dies of, the others are fired, and its next one too
                _log.exception("The schedule %s could not be fired, for a reason that nobody foresaw.", name)
            try:
                async with asyncio.timeout(_LOOKED_AT):
                    await rings.wait()
            except TimeoutError:
                pass  # a clock that was set back between the bell and the look must not cost a report
            rings.clear()

    def _claim(self, name: str, fires: datetime, leadership: Leadership) -> bool:
        """Claim the slot and add its job, in one transaction. False: it is claimed already."""
        job = MakeReport("", self._channels[name], name, fires.isoformat())
        with self._state.reports.write() as connection:
            self._state.leaders.insist(connection, leadership)
            if not self._state.reports.claim(connection, name, fires):
                return False
            self._state.jobs.add_within(connection, job, key=key_of(name, fires.isoformat()))
        return True


def key_of(name: str, fires: str) -> str:
    """What a firing (at a time, in RFC 3339) is called in its job and in its message: `report/<schedule>/<fires>`."""
    key = f"report/{name}/{fires}"
    return key if len(key) <= _LONGEST_KEY else f"report/{hashlib.sha256(name.encode()).hexdigest()[:32]}/{fires}"


async def _ring(rings: asyncio.Event) -> None:
    rings.set()
