"""Times as crontab(5) writes them, read strictly and handed to APScheduler in words that it cannot misread."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]

from bot.settings import SettingsError

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


def trigger(where: str, cron: str, timezone: str) -> CronTrigger:
    """When something happens: as crontab(5) reads its words, in its time zone. `where` names the setting.

    APScheduler 3 counts the days of the week from Monday, so they are handed to it by name.

    Raises:
        SettingsError: the cron or the time zone means nothing, or it would never happen.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(
            f"{where}.timezone: there is no time zone {timezone!r}; write one such as Europe/Berlin."
        ) from None
    try:
        minute, hour, day, month, weekday = _fields(cron)
    except ValueError as error:
        raise SettingsError(
            f"{where}.cron: {error}; write it as in a crontab, such as `0 8 * * 1-5` for 8:00 on workdays."
        ) from None
    made = CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=zone)
    if made.get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise SettingsError(f"{where}.cron: no month has such a day, so it would never fire; correct it.")
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
