"""What a team has set for all executions: when change freezes hold, in their own time zones, and what they exempt."""

from datetime import UTC, datetime, timedelta

import pytest

from bot.rules import rules
from bot.settings import ChangeFreezeSettings, LimitSettings, Settings, SettingsError
from runbooks.standing import Limit


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def closed(freeze: ChangeFreezeSettings, when: str, runbook: str = "rollouts/undo") -> tuple[str, ...]:
    return rules(Settings(change_freezes={"weekend": freeze})).closed(runbook, at(when))


WEEKEND = ChangeFreezeSettings(
    cron="0 18 * * fri", lasts=timedelta(hours=62), timezone="Europe/Berlin", exempt=("ceph/stale_rbd_lock",)
)


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("2026-03-06T16:59:59", False),  # a Friday; Berlin is an hour ahead in winter
        ("2026-03-06T17:00:00", True),
        ("2026-03-08T12:00:00", True),
        ("2026-03-09T06:59:59", True),
        ("2026-03-09T07:00:00", False),
        ("2026-07-03T15:59:59", False),  # and two hours in summer
        ("2026-07-03T16:00:00", True),
        ("2026-07-06T05:59:59", True),
        ("2026-07-06T06:00:00", False),
    ],
)
def test_a_change_freeze_holds_from_its_first_moment_to_its_last_in_its_own_time_zone(when: str, holds: bool) -> None:
    assert bool(closed(WEEKEND, when)) is holds


def test_a_freeze_over_the_change_to_summer_time_lasts_as_many_hours_as_it_says() -> None:
    [said] = closed(WEEKEND, "2026-03-30T06:59:59")
    assert "until 30 Mar 09:00 CEST" in said, "the hour that the clock leaps over is none of the 62"
    assert closed(WEEKEND, "2026-03-30T07:00:00") == ()


def test_a_freeze_says_its_name_until_when_it_holds_and_what_to_do() -> None:
    [said] = closed(WEEKEND, "2026-03-07T12:00:00")
    assert said.startswith("the change freeze weekend holds until 09 Mar 08:00 CET")
    assert "have an admin exempt rollouts/undo" in said


def test_what_is_exempt_may_be_run_and_nothing_else() -> None:
    assert closed(WEEKEND, "2026-03-07T12:00:00", "ceph/stale_rbd_lock") == ()
    assert closed(WEEKEND, "2026-03-07T12:00:00", "ceph/stale_rbd_locks")


def test_a_freeze_that_begins_again_before_it_ends_always_holds() -> None:
    always = ChangeFreezeSettings(cron="0 * * * *", lasts=timedelta(hours=2))
    for minute in (0, 1, 59):
        assert closed(always, f"2026-03-07T12:{minute:02}:00")


def test_every_freeze_that_holds_is_told() -> None:
    day = ChangeFreezeSettings(cron="0 0 * * *", lasts=timedelta(days=1))
    both = rules(Settings(change_freezes={"a": day, "b": day}))
    assert [said.split()[3] for said in both.closed("x", at("2026-03-07T12:00:00"))] == ["a", "b"]


def test_a_freeze_that_never_comes_is_a_mistake_of_the_configuration() -> None:
    never = ChangeFreezeSettings(cron="0 0 30 2 *", lasts=timedelta(days=1))
    with pytest.raises(SettingsError, match=r"change_freezes\.weekend"):
        rules(Settings(change_freezes={"weekend": never}))


def test_limits_and_the_quorum_are_those_of_the_configuration() -> None:
    made = rules(Settings(critical_quorum=3, limits=(LimitSettings(per="node", acts=2, within=timedelta(hours=1)),)))
    assert (made.quorum, made.limits) == (3, (Limit("node", 2, timedelta(hours=1)),))
    assert made.longest == timedelta(hours=1)
    assert rules(Settings(limits=())).longest == timedelta(0)
    assert {limit.per for limit in rules(Settings()).limits} == {"cluster", "runbook", "namespace", "node"}
