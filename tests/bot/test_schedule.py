"""Schedules: crontab's words mean what crontab means, each firing happens once, and no report ends the others."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import event, select

from bot import schedule as module
from bot.crontab import trigger
from bot.leader import Alone
from bot.schedule import GRACE, Schedules, key_of
from bot.settings import ClusterSettings, ScheduleSettings, Settings, SettingsError, SlackSettings
from bot.slack.jobs import MakeReport
from bot.store import State, open_state
from bot.store.leaders import Deposed, Leadership
from bot.store.tables import jobs, slots

BERLIN = ZoneInfo("Europe/Berlin")
WEDNESDAY = datetime(2026, 3, 4, 0, 0, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(f"sqlite:///{tmp_path}/state.db")
    yield opened
    opened.runbooks.engine.dispose()


@pytest.fixture
def leads(state: State) -> Leadership:
    """The leader, as the database knows it."""
    return led(state, "a")


def led(state: State, holder: str) -> Leadership:
    leadership = state.leaders.issue(holder)
    state.leaders.activate(leadership)
    return leadership


def settings(cron: str = "0 8 * * *", timezone: str = "UTC") -> Settings:
    words = ScheduleSettings(cron=cron, timezone=timezone)
    return Settings(slack=SlackSettings(channel="C024BE7LR"), schedules={"morning": words})


def planned(state: State, now: datetime, cron: str = "0 8 * * *", timezone: str = "UTC") -> Schedules:
    return Schedules(settings(cron, timezone), state, now=lambda: now)


def asked(state: State) -> list[str]:
    """The firings whose reports are asked for, in order."""
    with state.jobs.read() as connection:
        rows = connection.execute(select(jobs.c.job, jobs.c.key, jobs.c.owner).order_by(jobs.c.id)).all()
    found = [msgspec.convert(row.job, MakeReport) for row in rows]
    assert [row.key for row in rows] == [f"report/{job.schedule}/{job.fires}" for job in found]
    assert all(row.owner is None for row in rows), "any replica may make it"
    return [job.fires for job in found]


def claimed(state: State) -> list[str]:
    with state.reports.read() as connection:
        return [datetime.fromisoformat(at).isoformat() for at in connection.execute(select(slots.c.fires)).scalars()]


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
        Schedules(settings(timezone=zone), state)
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
    schedule = planned(state, between, "30 2 * * *", "Europe/Berlin")
    assert schedule.next() == {"morning": datetime(2026, 10, 26, 1, 30, tzinfo=UTC)}


# --- Intervals


def every(length: timedelta) -> module._Planned:
    return module._Planned("often", ScheduleSettings(every=length))


def test_an_interval_is_counted_from_the_epoch_whenever_it_is_begun() -> None:
    plan = every(timedelta(minutes=7))
    began = [next(plan.times(WEDNESDAY + timedelta(seconds=off))) for off in range(0, 420, 30)]
    assert len(set(began)) == 2
    assert all(at.timestamp() % 420 == 0 for at in began)


@pytest.mark.parametrize("length", [timedelta(minutes=1), timedelta(minutes=7), timedelta(hours=6), timedelta(days=3)])
def test_what_is_due_of_an_interval_is_its_last_time_within_the_grace(length: timedelta) -> None:
    plan = every(length)
    fires = next(plan.times(WEDNESDAY + timedelta(days=1)))
    late = min(length, GRACE + timedelta(seconds=1)) - timedelta(seconds=1)
    assert plan.due(fires) == plan.due(fires + late) == fires
    assert plan.due(fires - timedelta(microseconds=1)) in (None, fires - length)
    assert plan.due(fires + GRACE + timedelta(seconds=1)) == (None if length > GRACE else plan.due(fires + GRACE))


async def test_a_restart_in_an_interval_neither_repeats_nor_loses_a_report(state: State, leads: Leadership) -> None:
    often = Settings(
        slack=SlackSettings(channel="C024BE7LR"), schedules={"often": ScheduleSettings(every=timedelta(minutes=5))}
    )
    at = WEDNESDAY
    while at < WEDNESDAY + timedelta(hours=1):
        # A process of its own for each look, every 100 s: each begins with what is due.
        await Schedules(often, state, now=lambda: at).fire("often", leads)  # noqa: B023
        at += timedelta(seconds=100)
    assert asked(state) == [(WEDNESDAY + timedelta(minutes=5 * number)).isoformat() for number in range(12)]


# --- Firing

EIGHT = datetime(2026, 3, 4, 8, 0, tzinfo=UTC)


async def test_a_firing_asks_for_the_report_once_by_the_time_that_was_set(
    state: State, leads: Leadership, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unstick.schedule")
    assert await planned(state, EIGHT + timedelta(seconds=2)).fire("morning", leads) == EIGHT
    assert await planned(state, EIGHT + timedelta(minutes=9)).fire("morning", leads) == EIGHT
    assert asked(state) == claimed(state) == [EIGHT.isoformat()]
    assert caplog.messages == [f"The report morning of {EIGHT.isoformat()} was asked for already."]


async def test_what_is_settled_is_not_asked_of_the_database_again(state: State, leads: Leadership) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    schedule = planned(state, EIGHT + timedelta(minutes=9))
    event.listen(state.reports.engine, "begin", never)
    assert await schedule.fire("morning", leads, EIGHT) == EIGHT
    event.remove(state.reports.engine, "begin", never)


@pytest.mark.parametrize("late", [timedelta(0), GRACE])
async def test_a_report_is_made_up_to_the_grace_late(state: State, leads: Leadership, late: timedelta) -> None:
    await planned(state, EIGHT + late).fire("morning", leads)
    assert asked(state) == [EIGHT.isoformat()]


@pytest.mark.parametrize("off", [timedelta(seconds=-1), GRACE + timedelta(seconds=1)])
async def test_nothing_is_made_before_the_time_or_after_the_grace(
    state: State, leads: Leadership, off: timedelta
) -> None:
    assert await planned(state, EIGHT + off).fire("morning", leads) is None
    assert asked(state) == claimed(state) == []


async def test_of_several_firings_that_were_missed_only_the_last_is_made(state: State, leads: Leadership) -> None:
    await planned(state, EIGHT + timedelta(minutes=7, seconds=5), "* * * * *").fire("morning", leads)
    assert asked(state) == claimed(state) == [(EIGHT + timedelta(minutes=7)).isoformat()]


async def test_replicas_on_one_database_that_all_believe_to_lead_fire_once(tmp_path: Path) -> None:
    states = [open_state(f"sqlite:///{tmp_path}/state.db") for _ in range(3)]
    leadership = led(states[0], "a")
    schedules = [planned(each, EIGHT + timedelta(seconds=n)) for n, each in enumerate(states)]
    await asyncio.gather(*(schedule.fire("morning", leadership) for schedule in schedules))
    assert asked(states[1]) == [EIGHT.isoformat()]
    for each in states:
        each.runbooks.engine.dispose()


async def test_a_leader_of_before_fires_nothing_and_the_next_one_makes_up_for_it(
    state: State, leads: Leadership
) -> None:
    after = led(state, "b")
    with pytest.raises(Deposed, match=r"a is not the leader any more .* b leads, with token 2"):
        await planned(state, EIGHT).fire("morning", leads)
    assert asked(state) == claimed(state) == []
    await planned(state, EIGHT + timedelta(minutes=14)).fire("morning", after)
    assert asked(state) == claimed(state) == [EIGHT.isoformat()]


@pytest.mark.parametrize("statement", ["INSERT INTO slots", "INSERT INTO jobs", "COMMIT"])
async def test_a_leader_that_dies_within_the_transaction_leaves_all_of_it_to_the_next_one(
    state: State, leads: Leadership, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        """In place of the end of the process."""

    def dies(_c: object, _cursor: object, said: str, *_: object) -> None:
        if said.startswith(statement):
            raise Died

    def dies_at_the_end(_c: object) -> None:
        raise Died

    kind, listener = ("commit", dies_at_the_end) if statement == "COMMIT" else ("after_cursor_execute", dies)
    event.listen(state.reports.engine, kind, listener)
    with pytest.raises(Died):
        planned(state, EIGHT)._claim("morning", EIGHT, leads)
    event.remove(state.reports.engine, kind, listener)
    assert asked(state) == claimed(state) == []
    await planned(state, EIGHT).fire("morning", leads)
    assert asked(state) == claimed(state) == [EIGHT.isoformat()]


async def test_who_makes_the_report_is_woken(state: State, leads: Leadership) -> None:
    woken: list[int] = []
    schedule = Schedules(settings(), state, now=lambda: EIGHT, wake=lambda: woken.append(len(asked(state))))
    await schedule.fire("morning", leads)
    await schedule.fire("morning", leads)
    assert woken == [1]


def test_a_key_fits_its_column_and_is_another_one_for_each_firing() -> None:
    names = ["morning", "x" * 48, "x" * 200, "x" * 201]
    keys = {key_of(name, (EIGHT + timedelta(minutes=n)).isoformat()) for name in names for n in range(2)}
    assert len(keys) == 8
    assert all(len(key) <= 80 for key in keys)
    assert f"report/morning/{EIGHT.isoformat()}" in keys


# --- Errors


async def test_a_database_that_cannot_be_written_delays_a_report_and_loses_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_state(f"sqlite:///{tmp_path}/state.db")
    leadership = led(opened, "a")
    tries: list[float] = []

    async def repaired(seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 3:
            with opened.reports.write() as connection:
                connection.exec_driver_sql("ALTER TABLE broken RENAME TO slots")

    with opened.reports.write() as connection:
        connection.exec_driver_sql("ALTER TABLE slots RENAME TO broken")
    await Schedules(settings(), opened, now=lambda: EIGHT, pause=repaired).fire("morning", leadership)
    assert len(tries) == 3
    assert asked(opened) == [EIGHT.isoformat()]
    assert len([m for m in caplog.messages if "waits. The state database cannot be written" in m]) == 1
    opened.runbooks.engine.dispose()


async def test_a_report_that_waits_for_the_database_is_given_up_for_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_state(f"sqlite:///{tmp_path}/state.db")
    leadership, now = led(opened, "a"), [EIGHT]

    async def later(_seconds: float) -> None:
        now[0] += timedelta(minutes=4)
        if now[0] == EIGHT + timedelta(minutes=8):
            with opened.reports.write() as connection:
                connection.exec_driver_sql("ALTER TABLE broken RENAME TO slots")

    with opened.reports.write() as connection:
        connection.exec_driver_sql("ALTER TABLE slots RENAME TO broken")
    schedule = Schedules(settings("*/5 * * * *"), opened, now=lambda: now[0], pause=later)
    await schedule.fire("morning", leadership)
    assert asked(opened) == [(EIGHT + timedelta(minutes=5)).isoformat()]
    opened.runbooks.engine.dispose()


# --- While it leads


@asynccontextmanager
async def running(schedule: Schedules, leadership: Leadership) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(schedule.run(leadership))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def first_asked(state: State) -> list[str]:
    async with asyncio.timeout(20):
        while not (found := asked(state)):  # noqa: ASYNC110 - it is written in threads
            await asyncio.sleep(0.01)
    return found


async def test_a_leader_makes_up_at_once_for_what_the_one_before_missed(state: State, leads: Leadership) -> None:
    async with running(planned(state, EIGHT + timedelta(minutes=10)), leads):
        assert await first_asked(state) == [EIGHT.isoformat()]


async def test_a_firing_comes_by_the_bell_of_the_library(
    state: State, leads: Leadership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_trigger", lambda *_: module.IntervalTrigger(seconds=1, timezone=UTC))
    monkeypatch.setattr(module, "_LOOKED_AT", 3600.0)
    words = ScheduleSettings(every=timedelta(minutes=5), channel="C024BE7LR")
    now = [EIGHT - timedelta(seconds=30)]
    async with running(Schedules(Settings(schedules={"often": words}), state, now=lambda: now[0]), leads):
        before = await first_asked(state)
        now[0] = EIGHT
        async with asyncio.timeout(20):
            while asked(state) == before:  # noqa: ASYNC110 - it is written in threads
                await asyncio.sleep(0.01)
    assert asked(state) == [(EIGHT - timedelta(minutes=5)).isoformat(), EIGHT.isoformat()]


async def test_a_bell_that_is_not_heard_costs_no_report(
    state: State, leads: Leadership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOKED_AT", 0.05)
    now = [EIGHT - timedelta(seconds=1)]
    async with running(Schedules(settings("0 8 1 1 *"), state, now=lambda: now[0]), leads):
        await asyncio.sleep(0.2)
        assert asked(state) == []
        now[0] = datetime(2027, 1, 1, 8, tzinfo=UTC)
        assert await first_asked(state) == [now[0].isoformat()]


async def test_one_who_is_deposed_ends(state: State, leads: Leadership) -> None:
    led(state, "b")
    async with running(planned(state, EIGHT), leads) as task:
        with pytest.raises(BaseExceptionGroup) as ended:
            await asyncio.wait_for(task, 20)
        assert ended.group_contains(Deposed)
    assert asked(state) == []


async def test_a_stop_leaves_no_thread_that_writes_later(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is in the midst of its transaction ends it or not; the next leader finds out which."""
    begun, go_on = threading.Event(), threading.Event()
    claim = Schedules._claim

    def slow(*args: object) -> bool:
        begun.set()
        go_on.wait(20)
        return claim(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Schedules, "_claim", slow)
    task = asyncio.create_task(Alone(state.leaders, "a").run(planned(state, EIGHT).run))
    await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert state.leaders.active() is None
    assert asked(state) == claimed(state) == []
    assert "Traceback" not in caplog.text


async def test_a_schedule_that_fails_does_not_end_the_others(
    state: State, leads: Leadership, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    claim = Schedules._claim

    def fails(self: Schedules, name: str, fires: datetime, leadership: Leadership) -> bool:
        if name == "bad":
            raise ValueError("on fire")
        return claim(self, name, fires, leadership)

    monkeypatch.setattr(Schedules, "_claim", fails)
    words = ScheduleSettings(cron="0 8 * * *", channel="C024BE7LR")
    both = Settings(schedules={"bad": words, "good": words})
    async with running(Schedules(both, state, now=lambda: EIGHT), leads) as task:
        assert await first_asked(state) == [EIGHT.isoformat()]
        assert not task.done()
    assert "The schedule bad could not be fired" in caplog.text


async def test_without_schedules_it_leads_and_fires_nothing(state: State, leads: Leadership) -> None:
    schedule = Schedules(Settings(), state)
    assert schedule.next() == {}
    async with running(schedule, leads) as task:
        await asyncio.sleep(0.1)
        assert not task.done()


def test_the_command_line_does_not_pay_for_the_scheduler() -> None:
    asked = "import sys, bot.cli, bot.cli.app, bot.settings; print('apscheduler' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "False"
