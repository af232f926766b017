"""Replicas that live and die: what a dead one had is one other's, and a living one's is nobody else's."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.slack import jobs
from bot.slack.jobs import AnyJob
from bot.store import State, open_state
from bot.store.messages import Content
from bot.store.replicas import BEAT, LIVES, Pulse, only_one
from runbooks.database import StoreError

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
LOCKS = jobs.LookAtLocks("U1", "C1", None, 1)


class Clock:
    """The server's time, and each process's own that nobody sets."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """On PostgreSQL the tests' clock stands in for the server's."""
    monkeypatch.setattr("bot.store.replicas.moment", lambda *_: clock.now())
    monkeypatch.setattr("bot.store.jobs.moment", lambda *_: clock.now())
    monkeypatch.setattr("bot.store.messages.moment", lambda *_: clock.now())
    state = open_state(database, clock.now)
    yield state
    state.runbooks.engine.dispose()


def pulse(state: State, name: str, clock: Clock) -> Pulse:
    made = Pulse(state.replicas, alone=False, replica=name, now=clock.monotonic)
    made.begin()
    return made


def taken(state: State, replica: str) -> list[int]:
    return [left.number for left in state.jobs.take_over(AnyJob, replica)]


# Living and dying


def test_a_replica_lives_as_long_as_it_beats(state: State, clock: Clock) -> None:
    one, two = pulse(state, "one", clock), pulse(state, "two", clock)
    for _ in range(10):
        clock.passed += BEAT
        one.beat()
    assert state.replicas.alive() == ("one",)
    assert one.alive(LIVES.total_seconds() - BEAT)
    assert not two.alive(0)


def test_a_replica_takes_itself_for_dead_before_any_other_one_can(state: State, clock: Clock) -> None:
    """It reads its clock before it beats: however long that takes, it never believes to live longer than it does."""
    one = pulse(state, "one", clock)
    pulse(state, "two", clock)
    state.jobs.add(LOCKS, "one")
    beat = state.replicas.beat

    def slowly(replica: str) -> bool:
        clock.passed += 5
        beaten = beat(replica)
        clock.passed += 3
        return beaten

    state.replicas.beat = slowly  # type: ignore[method-assign]
    one.beat()
    while one.alive(0):
        assert taken(state, "two") == []
        clock.passed += 0.5
    assert clock.passed <= LIVES.total_seconds()


def test_one_that_was_taken_for_dead_begins_anew_and_owns_nothing_any_more(
    state: State, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = pulse(state, "one", clock), pulse(state, "two", clock)
    number = state.jobs.add(LOCKS, "one")
    clock.passed += LIVES.total_seconds() + 1
    two.beat()
    assert taken(state, "two") == [number]
    one.beat()
    assert "taken for dead" in caplog.text
    assert one.alive(1)
    assert state.replicas.alive() == ("two", "one")
    assert taken(state, "one") == []


def test_one_that_only_beat_late_and_was_missed_by_nobody_goes_on(state: State, clock: Clock) -> None:
    one = pulse(state, "one", clock)
    number = state.jobs.add(LOCKS, "one")
    assert number is not None
    clock.passed += LIVES.total_seconds() + 1
    assert not one.alive(0)
    one.beat()
    assert one.alive(1)
    assert state.jobs.owned(number, "one")


def test_a_beat_that_fails_leaves_the_life_as_short_as_it_was(state: State, clock: Clock) -> None:
    one = pulse(state, "one", clock)

    def away(_: str) -> bool:
        raise StoreError("The state database cannot be written.")

    state.replicas.beat = away  # type: ignore[method-assign]
    clock.passed += 5
    with pytest.raises(StoreError):
        one.beat()
    assert one.alive(LIVES.total_seconds() - 5.5)
    assert not one.alive(LIVES.total_seconds() - 5)


def test_who_ends_gives_everything_back_at_once(state: State, clock: Clock) -> None:
    one, _ = pulse(state, "one", clock), pulse(state, "two", clock)
    number = state.jobs.add(LOCKS, "one")
    assert state.messages.hold("C1", "one")
    one.stop()
    assert taken(state, "two") == [number]
    assert state.messages.hold("C1", "two")
    assert not one.alive(0)


def test_whoever_missed_its_beats_does_not_wait_for_the_database_when_it_ends(
    state: State, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pulse(state, "one", clock)
    clock.passed += LIVES.total_seconds()
    monkeypatch.setattr(state.replicas, "leave", lambda _: pytest.fail("it is away: this would cost its time-outs"))
    one.stop()
    assert not one.alive(0)


def test_whoever_is_alone_takes_all_others_for_dead(state: State, clock: Clock, kind: str) -> None:
    pulse(state, "one", clock)
    state.jobs.add(LOCKS, "one")
    alone = Pulse(state.replicas, alone=True, replica="two", now=clock.monotonic)
    alone.begin()
    if kind == "postgres":
        assert not alone.alone, "nothing keeps another one from the same server"
        assert state.replicas.alive() == ("one", "two")
        assert taken(state, "two") == [], "the other one lives"
        assert state.messages.hold("C1", "one")
        assert not state.messages.hold("C1", "two"), "no message is brought by both"
        return
    clock.passed += 1000
    assert alone.alive(1000)
    assert len(taken(state, "two")) == 1


def test_a_pulse_beats_by_itself(state: State, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.store.replicas.BEAT", 0.01)
    beaten = threading.Event()
    one = pulse(state, "one", clock)
    beat = state.replicas.beat

    def seen(replica: str) -> bool:
        answer = beat(replica)
        beaten.set()
        return answer

    state.replicas.beat = seen  # type: ignore[method-assign]
    one.start()
    assert beaten.wait(10)
    one.stop()
    assert state.replicas.alive() == ()


# Jobs


def test_a_living_replicas_jobs_are_its_own_and_a_dead_ones_go_to_the_first_that_asks(
    state: State, clock: Clock
) -> None:
    _, two, three = (pulse(state, name, clock) for name in ("one", "two", "three"))
    numbers = [state.jobs.add(LOCKS, "one") for _ in range(3)]
    state.jobs.add(LOCKS, "two")
    assert taken(state, "two") == taken(state, "three") == []
    clock.passed += LIVES.total_seconds() - 1
    for each in (two, three):
        each.beat()
    clock.passed += 2
    assert taken(state, "three") == numbers
    assert taken(state, "two") == []


def test_of_many_who_take_over_at_once_each_job_goes_to_one(state: State, clock: Clock) -> None:
    names = [f"r{number}" for number in range(4)]
    numbers = {state.jobs.add(LOCKS) for _ in range(40)}
    for name in names:
        pulse(state, name, clock)
    got: list[int] = []
    barrier = threading.Barrier(len(names))

    def take(name: str) -> None:
        barrier.wait(10)
        got.extend(taken(state, name))

    threads = [threading.Thread(target=take, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == sorted(number for number in numbers if number is not None)


def test_what_is_nobodys_is_taken_by_any_and_by_no_replica_that_is_dead_itself(state: State, clock: Clock) -> None:
    number = state.jobs.add(LOCKS)
    assert taken(state, "unknown") == []
    pulse(state, "one", clock)
    assert taken(state, "one") == [number]
    assert taken(state, "one") == [], "its own are under way there"


def test_whoever_lost_a_job_can_neither_end_nor_change_it(state: State, clock: Clock) -> None:
    pulse(state, "one", clock)
    pulse(state, "two", clock)
    number = state.jobs.add(LOCKS, "two")
    assert number is not None
    state.jobs.done(number, "one")
    assert not state.jobs.replace(number, jobs.GoOn("U1", "C1", "ex-1"), "one")
    assert [(left.number, left.job) for left in state.jobs.left(AnyJob)] == [(number, LOCKS)]
    assert state.jobs.replace(number, jobs.GoOn("U1", "C1", "ex-1"), "two")
    state.jobs.done(number, "two")
    assert state.jobs.left(AnyJob) == ()


def test_a_job_of_a_key_is_there_once_until_it_is_done(state: State) -> None:
    first = state.jobs.add(LOCKS, key="report/nightly/1")
    assert first is not None
    assert state.jobs.add(LOCKS, "one", key="report/nightly/1") == first
    assert len(state.jobs.left(AnyJob)) == 1
    name = state.jobs.left(AnyJob)[0].name
    state.jobs.done(first)
    state.jobs.add(LOCKS, key="report/nightly/2")
    assert state.jobs.left(AnyJob)[0].name != name


def test_two_jobs_never_have_one_name_be_their_number_and_their_moment_the_same(state: State) -> None:
    names = set()
    for _ in range(3):
        number = state.jobs.add(LOCKS)
        assert number is not None
        names.add(state.jobs.left(AnyJob)[0].name)
        state.jobs.done(number)
    assert len(names) == 3


def test_a_job_of_another_version_is_taken_by_nobody_and_said_once(
    state: State, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pulse(state, "one", clock)
    state.jobs.add({"job": "of tomorrow"})
    assert taken(state, "one") == taken(state, "one") == []
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1


# Messages


def test_a_channel_is_one_replicas_until_it_lets_go_or_dies(state: State, clock: Clock) -> None:
    _, two = pulse(state, "one", clock), pulse(state, "two", clock)
    state.messages.add("C1", Content("a"))
    assert state.messages.hold("C1", "one")
    assert state.messages.hold("C1", "one")
    assert not state.messages.hold("C1", "two")
    assert state.messages.channels_behind("two") == ()
    assert state.messages.channels_behind("one") == state.messages.channels_behind() == ("C1",)
    assert state.messages.next_behind("C1", 0, "two") is None
    state.messages.let_go("C1", "two")
    assert not state.messages.hold("C1", "two")
    clock.passed += LIVES.total_seconds() - 1
    two.beat()
    clock.passed += 2
    assert state.messages.channels_behind("two") == ("C1",)
    assert state.messages.hold("C1", "two")
    assert state.messages.next_behind("C1", 0, "one") is None
    assert not state.messages.hold("C1", "one"), "it has to begin anew first"


def test_of_a_key_one_message_is_said_whoever_says_it_and_how_often(state: State) -> None:
    first = state.messages.add("C1", Content("one"), key="report/1")
    assert state.messages.add("C2", Content("other words"), key="report/1") == first
    assert state.messages.get(first).content == Content("one")
    assert state.messages.add("C1", Content("one"), key="report/2") != first
    assert state.messages.add("C1", Content("one")) != state.messages.add("C1", Content("one"))


def test_a_reply_to_a_reply_is_in_the_thread_where_that_is(state: State) -> None:
    root = state.messages.add("C1", Content("root"))
    reply = state.messages.add("C1", Content("reply"), parent=root)
    again = state.messages.add("C1", Content("again"), parent=reply)
    assert state.messages.get(again).parent == root
    foreign = state.messages.add("C1", Content("under an alert"), thread="111.222")
    below = state.messages.get(state.messages.add("C1", Content("below"), parent=foreign))
    assert (below.parent, below.in_thread) == (foreign, "111.222")


def test_an_edit_of_an_older_version_changes_nothing(state: State) -> None:
    number = state.messages.add("C1", Content("one"))
    version = state.messages.get(number).wanted_version
    assert state.messages.edit(number, Content("two"), version)
    assert not state.messages.edit(number, Content("older"), version)
    assert state.messages.get(number).content == Content("two")
    assert state.messages.edit(number, Content("whatever"))


def test_to_say_the_same_again_refuses_what_was_read_before_and_brings_slack_nothing(state: State) -> None:
    """One reads, another reads a newer state which looks as the message does: the first must not put its own there."""
    number = state.messages.add("C1", Content("resolved"))
    state.messages.delivered(state.messages.get(number), "1.1")
    version = state.messages.get(number).wanted_version
    assert state.messages.edit(number, Content("resolved"), version)
    assert not state.messages.edit(number, Content("open"), version)
    assert state.messages.channels_behind() == ()


def test_what_was_posted_in_an_older_version_is_still_to_be_edited(state: State) -> None:
    number = state.messages.add("C1", Content("one"))
    state.messages.edit(number, Content("two"))
    state.messages.trying(state.messages.get(number))
    state.messages.delivered(state.messages.get(number), "1.1", 1)
    message = state.messages.get(number)
    assert (message.ts, message.tried, message.shown_version) == ("1.1", None, 1)
    assert state.messages.channels_behind() == ("C1",)


# One server on a file

_SERVES = """
import sys
from bot.store.replicas import only_one
with only_one(sys.argv[1]):
    print("serves", flush=True)
    sys.stdin.readline()
"""


def test_a_second_server_on_a_file_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    first = subprocess.Popen(
        [sys.executable, "-c", _SERVES, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "serves\n"
        with pytest.raises(
            StoreError, match=r"Another `unstick serve` uses .*state\.db: stop it, or name a PostgreSQL"
        ):
            only_one(url).__enter__()
        open_state(url).runbooks.engine.dispose()  # the command line may use it meanwhile
    finally:
        first.kill()
        first.communicate()
    with only_one(url):
        pass


def test_the_lock_is_private_and_a_folder_that_takes_none_is_one_sentence(tmp_path: Path) -> None:
    with only_one(f"sqlite:///{tmp_path}/new/state.db"):
        assert (tmp_path / "new" / "state.db.serve").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="cannot be opened"):
        only_one("sqlite:////proc/nowhere/state.db").__enter__()


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "sqlite://", "no url at all"])
def test_any_number_may_serve_what_is_no_file(url: str) -> None:
    with only_one(url), only_one(url):
        assert os.getpid()
