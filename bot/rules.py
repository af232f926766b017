"""What a team has set for all executions, as the engine takes it: quorum, limits, and change freezes."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from bot.settings import ChangeFreezeSettings, Settings
from runbooks.standing import Limit, Rules


def rules(settings: Settings) -> Rules:
    """The rules of a configuration.

    Raises:
        SettingsError: a change freeze names no time that ever comes.
    """
    limits = tuple(Limit(words.per, words.acts, words.within) for words in settings.limits)
    return Rules(settings.critical_quorum, limits, _closed(settings.change_freezes))


def _closed(freezes: Mapping[str, ChangeFreezeSettings]) -> Callable[[str, datetime], tuple[str, ...]]:
    if not freezes:
        return lambda _runbook, _when: ()
    from bot.crontab import trigger  # only here: who has no change freeze does not pay for the scheduler

    windows = [
        (name, words, trigger(f"change_freezes.{name}", words.cron, words.timezone)) for name, words in freezes.items()
    ]

    def closed(runbook: str, when: datetime) -> tuple[str, ...]:
        told = []
        for name, words, times in windows:
            begun = times.get_next_fire_time(None, when - words.lasts + timedelta(microseconds=1))
            if runbook not in words.exempt and begun is not None and begun <= when:
                ends = (begun.astimezone(UTC) + words.lasts).astimezone(begun.tzinfo)  # hours, not the clock's hands
                told.append(
                    f"the change freeze {name} holds until {ends:%d %b %H:%M %Z}: wait, or have an admin exempt {runbook}"
                )
        return tuple(told)

    return closed
