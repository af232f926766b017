"""Fires health reports at the times that the configuration names. It must never fire one twice, nor die of one.

The scheduler's own store is in memory: each firing claims its slot in the state database instead, so that one replica
of several makes the report (APScheduler 3 on a shared store runs every job in every replica, silently).
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]

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
_MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
    "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_FIELDS: dict[str, tuple[int, int, dict[str, int]]] = {
    "minute": (0, 59, {}), "hour": (0, 23, {}), "day of the month": (1, 31, {}), "month": (1, 12, _MONTHS),
    "day of the week": (0, 7, _DAYS),
}  # fmt: skip
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]{1,3}))?")


def trigger(name: str, words: ScheduleSettings) -> CronTrigger:
    """When a schedule fires: as crontab(5) reads its words, in its time zone.

    APScheduler 3 counts the days of the week from Monday, so they are handed to it by name.

    Raises:
        SettingsError: its cron or its time zone means nothing, or it would never fire.
    """
    try:
        zone = ZoneInfo(words.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(
            f"schedules.{name}.timezone: there is no time zone {words.timezone!r}; write one such as Europe/Berlin."
        ) from None
    try:
        minute, hour, day, month, weekday = _fields(words.cron)
    except ValueError as error:
        raise SettingsError(
            f"schedules.{name}.cron: {error}; write it as in a crontab, such as `0 8 * * 1-5` for 8:00 on workdays."
        ) from None
    made = CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=zone)
    if made.get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise SettingsError(f"schedules.{name}.cron: no month has such a day, so it would never fire; correct it.")
    return made


def _fields(cron: str) -> list[str]:
    """The five fields, as APScheduler takes them."""
    given = cron.lower().split()
    if len(given) != len(_FIELDS):
        raise ValueError(f"it has {len(given)} fields, not the five of a crontab")
    if not given[2].startswith("*") and not given[4].startswith("*"):
        # cron fires when either matches, APScheduler when both do.
        raise ValueError("it names days of the month and of the week at once: make two schedules of it")
    numbers = [_numbers(what, written) for what, written in zip(_FIELDS, given, strict=True)]
    names = list(_DAYS)
    weekdays = sorted({number % 7 for number in numbers[4]})
    fields = ["*" if text == "*" else ",".join(map(str, found)) for text, found in zip(given, numbers, strict=True)]
    return [*fields[:4], ",".join(names[number] for number in weekdays)]


def _numbers(what: str, written: str) -> list[int]:
    """All numbers that a field stands for."""
    low, high, _ = _FIELDS[what]
    found: set[int] = set()
    for part in written.split(","):
        parsed = _PART.fullmatch(part)
        if parsed is None:
            raise ValueError(f"{part!r} is no {what}")
        step = int(parsed["step"] or 1)
        if parsed["first"] is None:
            first, last = low, high
        else:
            first = _number(what, parsed["first"])
            alone = high if parsed["step"] else first
            last = _number(what, parsed["last"], ends=True) if parsed["last"] else alone
        if first > last or step < 1:
            raise ValueError(f"{part!r} holds no {what}")
        found.update(range(first, last + 1, step))
    return sorted(found)


def _number(what: str, word: str, *, ends: bool = False) -> int:
    low, high, names = _FIELDS[what]
    if ends and word == "sun":
        return 7
    number = names.get(word, int(word) if word.isascii() and word.isdecimal() else -1)
    if not low <= number <= high:
        raise ValueError(f"{word!r} is no {what}")
    return number


def check(settings: Settings) -> None:
    """See that every schedule means something, before the first one fires.

    Raises:
        SettingsError: one has no channel, no such cluster or check, or a cron or time zone that means nothing.
    """
    for name, words in settings.schedules.items():
        trigger(name, words)
        channel_of(name, words, settings)
        _see_cluster(name, words, settings)
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
    channel = words.channel or settings.slack.channel
    if channel is None:
        raise SettingsError(f"schedules.{name} has no channel: name one there or as slack.channel.")
    return channel


def _see_cluster(name: str, words: ScheduleSettings, settings: Settings) -> None:
    known = ", ".join(sorted(settings.clusters))
    if words.cluster is not None and words.cluster not in settings.clusters:
        what = instead(words.cluster, settings.clusters)
        raise SettingsError(f"schedules.{name}.cluster: there is no cluster {words.cluster!r}; {what}")
    if words.cluster is None and settings.default_cluster is None and len(settings.clusters) > 1:
        raise SettingsError(f"schedules.{name} looks at no cluster: name one of {known} there or as default_cluster.")


class _Planned:
    """One schedule, and when it fires."""

    def __init__(self, name: str, words: ScheduleSettings) -> None:
        self.words = words
        self.trigger = trigger(name, words)
        self._each_hour = words.cron.split()[1].startswith("*")

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
