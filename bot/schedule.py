"""Fires health reports at the times that the configuration names. It must never fire one twice, nor die of one.

The scheduler's own store is in memory: each firing claims its slot in the state database instead, so that one replica
of several makes the report (APScheduler 3 on a shared store runs every job in every replica, silently).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]

from bot.crontab import trigger
from bot.settings import ScheduleSettings, Settings, SettingsError
from bot.store.reports import Reports
from diagnostics.catalog import all_checks, chosen
from runbooks.format.wording import instead

GRACE = timedelta(minutes=15)
"""How late a report may still be made: after that the next one is waited for."""
LONGEST = timedelta(minutes=30)
"""How long the making of one report may take."""

Fire = Callable[[str, ScheduleSettings], Awaitable[None]]
_log = logging.getLogger("unstick.schedule")
# Longer than any change of a clock: asked in the hour that spring skips, the library overlooks what falls into it.
_BACK = timedelta(hours=3)
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
        for fires in self.times(now - GRACE - _BACK):
            if fires > now:
                break
            latest = fires
        return latest if latest is not None and latest >= now - GRACE else None


class Schedule:
    """All schedules of a configuration. What one fires is given as `fire`; it runs in the loop that `start` is called in.

    Raises:
        SettingsError: one of them means nothing, or can never fire.
    """

    def __init__(
        self, settings: Settings, reports: Reports, fire: Fire, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:  # fmt: skip
        self._planned = {name: _Planned(name, words) for name, words in settings.schedules.items()}
        self._reports = reports
        self._fire = fire
        self._now = now
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    def start(self) -> None:
        """Begin to fire, at once where a report fell due less than GRACE ago: a restart at eight loses none of eight."""
        now = self._now()
        for name, planned in self._planned.items():
            self._scheduler.add_job(
                self._fired, planned.trigger, args=(name,), id=name, name=name, coalesce=True, max_instances=1,
                misfire_grace_time=int(GRACE.total_seconds()), next_run_time=planned.due(now) or next(planned.times(now)),
            )  # fmt: skip
        self._scheduler.start()

    def stop(self) -> None:
        """Fire no more, and give up what is being made. Nothing happens where it does not run."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def next(self) -> dict[str, datetime]:
        """When each schedule fires next."""
        now = self._now()
        return {name: next(planned.times(now)) for name, planned in self._planned.items()}

    async def fire(self, name: str) -> None:
        """What a firing does: claim the slot that is due, and have the report made. Errors end in the log."""
        planned = self._planned[name]
        fires = planned.due(self._now())
        if fires is None:
            return
        try:
            async with asyncio.timeout(LONGEST.total_seconds()):
                if await asyncio.to_thread(self._reports.claim, name, fires):
                    await self._fire(name, planned.words)
                else:
                    _log.info("The report %s of %s was made already.", name, fires.isoformat())
        except TimeoutError:
            _log.error("The report %s of %s was given up: it took too long.", name, fires.isoformat())
        except Exception as error:  # noqa: BLE001 - whatever one report dies of, the next one is to be made
            said = (str(error).splitlines() or [""])[0] or type(error).__name__
            _log.error("The report %s of %s was not made: %s", name, fires.isoformat(), said)
            _log.debug("What it died of:", exc_info=True)

    async def _fired(self, name: str) -> None:
        try:
            await self.fire(name)
        except asyncio.CancelledError:
            # `stop` cancels it; the library would log that as an error with its traceback.
            _log.warning("The report %s was given up, because Unstick stops.", name)
