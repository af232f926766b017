"""Schedules: crontab's words mean what crontab means, each firing happens once, and no report ends the others."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, select

from bot import schedule as module
from bot.crontab import trigger
from bot.schedule import GRACE, Schedule
from bot.settings import ClusterSettings, ScheduleSettings, Settings, SettingsError
from bot.store import State, open_state
from bot.store.reports import Reports
from bot.store.tables import slots

BERLIN = ZoneInfo("Europe/Berlin")
WEDNESDAY = datetime(2026, 3, 4, 0, 0, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(f"sqlite:///{tmp_path}/state.db")
    yield opened
    opened.runbooks.engine.dispose()


class Made:
    """What was made, in place of reports."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.names: list[str] = []
        self.error = error
        self.once = asyncio.Event()

    async def __call__(self, name: str, words: ScheduleSettings) -> None:
        self.names.append(name)
        self.once.set()
        if self.error is not None:
            raise self.error


def settings(cron: str = "0 8 * * *", timezone: str = "UTC") -> Settings:
    return Settings(schedules={"morning": ScheduleSettings(cron=cron, timezone=timezone)})


def planned(
    reports: Reports, made: Made, now: datetime, cron: str = "0 8 * * *", timezone: str = "UTC"
) -> Schedule:  # fmt: skip
    return Schedule(settings(cron, timezone), reports, made, now=lambda: now)


def fires(cron: str, begin: datetime, end: datetime, timezone: str = "UTC") -> list[datetime]:
    """When a firing would really claim a slot: `fire` asks for what is due at each minute."""
    plan = module._Planned("morning", ScheduleSettings(cron=cron, timezone=timezone))
    found: list[datetime] = []
    at = begin
    while at < end:
        due = plan.due(at)
        if due is not None and due >= begin and due not in found:
            found.append(due)
        at += timedelta(minutes=5)
    return found


# --- Words


@pytest.mark.parametrize(
    ("days", "names"),
    [
        ("0", "Sun"), ("7", "Sun"), ("1", "Mon"), ("6", "Sat"), ("1-5", "Mon Tue Wed Thu Fri"), ("0,6", "Sat Sun"),
        ("5-7", "Fri Sat Sun"), ("sun", "Sun"), ("Mon", "Mon"), ("mon-fri", "Mon Tue Wed Thu Fri"),
        ("fri-sun", "Fri Sat Sun"), ("0-7", "Mon Tue Wed Thu Fri Sat Sun"), ("*", "Mon Tue Wed Thu Fri Sat Sun"),
        ("*/2", "Tue Thu Sat Sun"), ("1-5/2", "Mon Wed Fri"), ("0-2", "Mon Tue Sun"), ("4/2", "Thu Sat"),
    ],
)  # fmt: skip
def test_days_of_the_week_are_crontabs(days: str, names: str) -> None:
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    made = trigger("schedules.morning", f"0 8 * * {days}", "UTC")
    week = [monday + timedelta(days=day) for day in range(7)]
    met = [day for day in week if made.get_next_fire_time(None, day) == day + timedelta(hours=8)]
    assert " ".join(f"{day:%a}" for day in met) == names


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("*/15 * * * *", "2026-03-04T00:00"), ("5/20 * * * *", "2026-03-04T00:05"), ("0 22-23 * * *", "2026-03-04T22:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"), ("0 0 1 jan-feb *", "2027-01-01T00:00"), ("0 0 */10 * 1", "2026-05-11T00:00"),
        ("30 8 1,15 MAR *", "2026-03-15T08:30"),
    ],
)  # fmt: skip
def test_the_other_fields_are_crontabs(cron: str, first: str) -> None:
    made = trigger("schedules.morning", cron, "UTC")
    assert made.get_next_fire_time(None, WEDNESDAY).isoformat()[:16] == first


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("0 8 * *", "it has 4 fields"), ("", "it has 0 fields"), ("@daily", "it has 1 fields"),
        ("0 8 * * * *", "it has 6 fields"), ("61 * * * *", "'61' is no minute"), ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of the month"), ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no day of the week"), ("* * * * funday", "'funday' is no day of the week"),
        ("* * last * *", "'last' is no day of the month"), ("*/0 * * * *", "'*/0' holds no minute"),
        ("5-1 * * * *", "'5-1' holds no minute"), ("1,,2 * * * *", "'' is no minute"), ("-1 * * * *", "'-1' is no minute"),
        ("* * * jan/x *", "'jan/x' is no month"), ("* * * * 1-", "'1-' is no day of the week"),
        ("² * * * *", "'²' is no minute"), ("0 8 1 * 1", "make two schedules"), ("0 8 31 2 *", "no month has such a day"),
        ("0 8 31 4,6 *", "would never fire"),
    ],
)  # fmt: skip
def test_a_cron_that_means_nothing_names_the_schedule_and_the_next_move(cron: str, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        trigger("schedules.morning", cron, "UTC")
    assert str(refused.value).startswith("schedules.morning.cron: ")
    assert says in str(refused.value)
    assert "; " in str(refused.value)


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "Europe", "../../etc/passwd", "/etc/localtime", "CEST+2", "\0"])
def test_an_unknown_time_zone_names_the_schedule_and_the_next_move(zone: str, state: State) -> None:
    with pytest.raises(SettingsError) as refused:
        Schedule(settings(timezone=zone), state.reports, Made())
    assert str(refused.value).startswith("schedules.morning.timezone: there is no time zone")
    assert "write one such as Europe/Berlin" in str(refused.value)


@pytest.mark.parametrize(
    ("cluster", "says"),
    [("wset", "schedules.morning.cluster: there is no cluster 'wset'; did you mean 'west'?"),
     (None, "schedules.morning looks at no cluster: name one of east, west there or as default_cluster.")],
)  # fmt: skip
def test_a_cluster_that_cannot_be_looked_at_names_the_schedule_and_the_next_move(
    cluster: str | None, says: str
) -> None:
    words = ScheduleSettings(cron="0 8 * * *", channel="C024BE7LR", cluster=cluster)
    several = {name: ClusterSettings() for name in ("east", "west")}
    with pytest.raises(SettingsError) as refused:
        module.check(Settings(clusters=several, schedules={"morning": words}))
    assert str(refused.value) == says
    module.check(Settings(clusters=several, schedules={"morning": words.model_copy(update={"cluster": "east"})}))


# --- Clocks that change


def test_a_report_at_eight_is_made_at_eight_on_both_sides_of_a_clock_change() -> None:
    spring = fires("0 8 * * *", datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC), "Europe/Berlin")
    assert [f"{at:%d %H}" for at in spring] == ["28 07", "29 06", "30 06"]
    autumn = fires("0 8 * * *", datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC), "Europe/Berlin")
    assert [f"{at:%d %H}" for at in autumn] == ["24 06", "25 07", "26 07"]


def test_a_report_in_the_hour_that_spring_skips_is_made_once_that_day() -> None:
    made = fires("30 2 * * *", datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC), "Europe/Berlin")
    assert [f"{at:%d %H:%M}" for at in made] == ["28 01:30", "29 01:30", "30 00:30"]


def test_a_report_in_the_hour_that_autumn_repeats_is_made_once_that_day() -> None:
    made = fires("30 2 * * *", datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC), "Europe/Berlin")
    assert [f"{at:%d %H:%M}" for at in made] == ["24 00:30", "25 00:30", "26 01:30"]


def test_an_hourly_report_is_made_in_each_real_hour_of_a_clock_change() -> None:
    autumn = datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert len(fires("0 * * * *", autumn, autumn + timedelta(hours=8), "Europe/Berlin")) == 8
    spring = datetime(2026, 3, 28, 22, tzinfo=UTC)
    assert len(fires("0 * * * *", spring, spring + timedelta(hours=8), "Europe/Berlin")) == 8


def test_next_leaves_out_the_second_pass_of_a_repeated_hour(state: State) -> None:
    between = datetime(2026, 10, 25, 0, 40, tzinfo=UTC)
    schedule = planned(state.reports, Made(), between, "30 2 * * *", "Europe/Berlin")
    assert schedule.next() == {"morning": datetime(2026, 10, 26, 1, 30, tzinfo=UTC)}


# --- Firing

EIGHT = datetime(2026, 3, 4, 8, 0, tzinfo=UTC)


async def test_a_firing_makes_the_report_once_by_the_time_that_was_set(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unstick.schedule")
    made = Made()
    await planned(state.reports, made, EIGHT + timedelta(seconds=2)).fire("morning")
    await planned(state.reports, made, EIGHT + timedelta(minutes=9)).fire("morning")
    assert made.names == ["morning"]
    assert caplog.messages == [f"The report morning of {EIGHT.isoformat()} was made already."]
    assert not state.reports.claim("morning", EIGHT)
    assert state.reports.claim("morning", EIGHT + timedelta(seconds=2))


@pytest.mark.parametrize("late", [timedelta(0), GRACE])
async def test_a_report_is_made_up_to_the_grace_late(state: State, late: timedelta) -> None:
    made = Made()
    await planned(state.reports, made, EIGHT + late).fire("morning")
    assert made.names == ["morning"]


@pytest.mark.parametrize("off", [timedelta(seconds=-1), GRACE + timedelta(seconds=1)])
async def test_nothing_is_made_before_the_time_or_after_the_grace(state: State, off: timedelta) -> None:
    made = Made()
    await planned(state.reports, made, EIGHT + off).fire("morning")
    assert made.names == []
    assert state.reports.claim("morning", EIGHT)


async def test_of_several_firings_that_were_missed_only_the_last_is_made(state: State) -> None:
    made = Made()
    await planned(state.reports, made, EIGHT + timedelta(minutes=7, seconds=5), "* * * * *").fire("morning")
    assert made.names == ["morning"]
    assert not state.reports.claim("morning", EIGHT + timedelta(minutes=7))
    assert state.reports.claim("morning", EIGHT + timedelta(minutes=6))


async def test_replicas_on_one_database_make_a_report_once(tmp_path: Path) -> None:
    states = [open_state(f"sqlite:///{tmp_path}/state.db") for _ in range(3)]
    made = Made()
    schedules = [planned(each.reports, made, EIGHT + timedelta(seconds=n)) for n, each in enumerate(states)]
    await asyncio.gather(*(schedule.fire("morning") for schedule in schedules))
    assert made.names == ["morning"]
    for each in states:
        each.runbooks.engine.dispose()


# --- Errors


async def test_a_report_that_fails_is_one_sentence_and_the_next_one_is_made(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unstick.schedule")
    await planned(state.reports, Made(ValueError("the cluster is\non fire")), EIGHT).fire("morning")
    (record,) = caplog.records
    assert record.getMessage() == f"The report morning of {EIGHT.isoformat()} was not made: the cluster is"
    assert record.exc_info is None
    made = Made()
    await planned(state.reports, made, EIGHT + timedelta(days=1)).fire("morning")
    assert made.names == ["morning"]


async def test_a_database_that_cannot_be_written_makes_no_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Made()
    without_tables = create_engine(f"sqlite:///{tmp_path}/empty.db")
    await planned(Reports(without_tables), made, EIGHT).fire("morning")
    without_tables.dispose()
    assert made.names == []
    assert "The state database cannot be written" in caplog.text


async def test_a_report_that_takes_too_long_is_given_up(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LONGEST", timedelta(seconds=0.5))

    async def forever(*_: Any) -> None:
        await asyncio.Event().wait()

    await Schedule(settings(), state.reports, forever, now=lambda: EIGHT).fire("morning")
    assert "was given up: it took too long" in caplog.text


# --- The library around it


def running(schedule: Schedule) -> Any:
    """The library's own job."""
    (job,) = schedule._scheduler.get_jobs()
    return job


async def test_a_restart_within_the_grace_makes_the_report_that_fell_due_meanwhile(state: State) -> None:
    made = Made()
    schedule = Schedule(settings("* * * * *"), state.reports, made)
    schedule.start()
    await asyncio.wait_for(made.once.wait(), 20)
    schedule.stop()
    assert made.names[0] == "morning"
    assert len(made.names) == len(set(_slots(state)))


async def test_a_slot_that_another_replica_had_is_not_made_at_the_start(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = Made(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def taken(schedule: str, fires: datetime) -> bool:
        loop.call_soon_threadsafe(asked.set)
        return False

    monkeypatch.setattr(state.reports, "claim", taken)
    schedule = Schedule(settings("* * * * *"), state.reports, made)
    schedule.start()
    await asyncio.wait_for(asked.wait(), 20)
    schedule.stop()
    assert made.names == []


async def test_the_library_is_told_to_coalesce_to_wait_the_grace_and_never_to_run_two_at_once(state: State) -> None:
    schedule = planned(state.reports, Made(), datetime.now(UTC) + timedelta(days=1), "0 8 * * *")
    schedule.start()
    job = running(schedule)
    assert (job.coalesce, job.max_instances, job.misfire_grace_time) == (True, 1, GRACE.total_seconds())
    assert job.next_run_time == schedule.next()["morning"] or datetime.now(UTC) - job.next_run_time <= GRACE
    schedule.stop()


async def test_a_stop_gives_up_what_is_being_made_without_a_traceback(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def forever(*_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    schedule = Schedule(settings("* * * * *"), state.reports, forever)
    schedule.start()
    await asyncio.wait_for(begun.wait(), 20)
    schedule.stop()
    await asyncio.wait_for(ended.wait(), 20)
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
    assert "was given up, because Unstick stops" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_schedule_that_never_ran_can_be_stopped(state: State) -> None:
    planned(state.reports, Made(), EIGHT).stop()


async def test_without_schedules_nothing_fires(state: State) -> None:
    schedule = Schedule(Settings(), state.reports, Made())
    schedule.start()
    assert schedule.next() == {}
    schedule.stop()


def test_the_command_line_does_not_pay_for_the_scheduler() -> None:
    asked = "import sys, bot.cli, bot.cli.app, bot.settings; print('apscheduler' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "False"


def _slots(state: State) -> list[str]:
    with state.reports.read() as connection:
        return list(connection.execute(select(slots.c.fires)).scalars())
