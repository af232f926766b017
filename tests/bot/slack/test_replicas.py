"""Several replicas on one database bring Slack each message once and in order, whichever of them dies and when."""

import asyncio
import sys
import time as clock
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bot.sandbox.slack import Workspace
from bot.slack.connection import web_client
from bot.slack.delivery import Delivery
from bot.slack.posting import CALL_TIMEOUT
from bot.store import State, open_state
from bot.store.messages import Content
from bot.store.replicas import BEAT, LIVES, Pulse
from tests.lab.databases import BOTH, database, postgres
from tests.lab.postgres import Postgres

__all__ = ["database", "postgres"]
T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
DEAD = LIVES.total_seconds() + 1


@pytest.fixture(params=BOTH)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Killed(BaseException):
    """What kill -9 leaves: nothing after it is done, and nobody is told."""


class Replica:
    """A process with a connection to the database, a beat and a delivery of its own."""

    def __init__(self, name: str, workspace: Workspace, database: str, time: "Time") -> None:
        self.state = open_state(database, time.now)
        self.pulse = Pulse(self.state.replicas, alone=False, replica=name, now=time.monotonic)
        self.client = web_client(workspace.bot_token, workspace.api_url)
        self.delivery = Delivery(
            self.client, self.state.messages, pulse=self.pulse, pause=time.pause, now=time.monotonic
        )
        self.pulse.begin()

    async def settles(self) -> None:
        assert await self.delivery.settle(20)

    async def is_killed(self) -> None:
        with pytest.raises(Killed):
            await self.delivery.settle(20)


class Time:
    """One for all: the database's, and that of each process."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def pause(self, _seconds: float) -> None:
        await asyncio.sleep(0.001)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    for module in ("replicas", "jobs", "messages"):
        monkeypatch.setattr(f"bot.store.{module}.moment", lambda *_: made.now())
    return made


@pytest.fixture
def replica(workspace: Workspace, database: str, time: Time) -> Iterator[Callable[[str], Replica]]:
    made: list[Replica] = []

    def make(name: str) -> Replica:
        made.append(Replica(name, workspace, database, time))
        return made[-1]

    yield make
    for each in made:
        each.state.runbooks.engine.dispose()


@pytest.fixture
def channel(workspace: Workspace) -> str:
    return workspace.channel("incidents")


def dies(*_: Any, **__: Any) -> Any:
    raise Killed


def shown(workspace: Workspace, channel: str) -> list[str]:
    return [message.text for message in workspace.messages(channel)]


def say(state: State, channel: str, *texts: str) -> None:
    for each in texts:
        state.messages.add(channel, Content(each))


def before_the_note(replica: Replica) -> None:
    replica.state.messages.trying = dies  # type: ignore[method-assign]


def before_the_post(replica: Replica) -> None:
    replica.client.api_call = dies  # type: ignore[method-assign]


def after_the_post(replica: Replica) -> None:
    replica.state.messages.delivered = dies  # type: ignore[method-assign]


@pytest.mark.parametrize("moment", [before_the_note, before_the_post, after_the_post])
async def test_what_a_replica_died_over_is_brought_by_another_one_once_and_in_order(
    moment: Callable[[Replica], None], replica: Callable[[str], Replica], workspace: Workspace, channel: str, time: Time
) -> None:
    one, two = replica("one"), replica("two")
    say(one.state, channel, "first", "second", "third")
    moment(one)
    await one.is_killed()
    await two.settles()
    posted = ["first"] if moment is after_the_post else []
    assert shown(workspace, channel) == posted, "nobody knows yet that it died"
    time.passed += LIVES.total_seconds() - 1
    two.pulse.beat()
    time.passed += 2
    await two.settles()
    assert shown(workspace, channel) == ["first", "second", "third"]
    assert two.state.messages.channels_behind() == ()


async def test_who_cannot_beat_says_nothing_from_before_it_could_be_taken_for_dead(
    replica: Callable[[str], Replica], workspace: Workspace, channel: str, time: Time
) -> None:
    one = replica("one")
    say(one.state, channel, "first")
    time.passed += LIVES.total_seconds() - CALL_TIMEOUT
    assert not await one.delivery.settle(0.2)
    assert workspace.calls == []
    one.pulse.beat()
    await one.settles()
    assert shown(workspace, channel) == ["first"]


def test_a_beat_may_come_late_before_a_replica_falls_silent() -> None:
    assert LIVES.total_seconds() > CALL_TIMEOUT + BEAT


async def test_one_that_stood_still_while_another_took_its_place_repeats_nothing(
    replica: Callable[[str], Replica], workspace: Workspace, channel: str, time: Time
) -> None:
    one, two = replica("one"), replica("two")
    standing, go_on = asyncio.Event(), asyncio.Event()
    call = one.client.api_call

    async def stands_still(*what: Any, **how: Any) -> Any:
        answer = await call(*what, **how)
        standing.set()
        await go_on.wait()
        return answer

    one.client.api_call = stands_still  # type: ignore[method-assign]
    say(one.state, channel, "first", "second")
    task = asyncio.create_task(one.delivery.run())
    await asyncio.wait_for(standing.wait(), 10)
    time.passed += DEAD
    two.pulse.beat()
    await two.settles()
    assert shown(workspace, channel) == ["first", "second"]
    go_on.set()
    one.pulse.beat()
    say(two.state, channel, "third")
    await two.settles()
    await one.settles()
    assert shown(workspace, channel) == ["first", "second", "third"]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_one_that_ends_leaves_is_brought_at_once(
    replica: Callable[[str], Replica], workspace: Workspace, channel: str
) -> None:
    one, two = replica("one"), replica("two")
    workspace.faults.down = True
    say(one.state, channel, "first", "second")
    assert not await one.delivery.settle(0.2)
    workspace.faults.down = False
    one.pulse.stop()
    await two.settles()
    assert shown(workspace, channel) == ["first", "second"]


async def test_replicas_that_all_have_something_to_say_say_it_once_and_in_order(
    replica: Callable[[str], Replica], workspace: Workspace, channel: str
) -> None:
    replicas = [replica(name) for name in ("one", "two", "three")]
    channels = [channel, workspace.channel("storage")]
    tasks = [asyncio.create_task(each.delivery.run()) for each in replicas]
    for number in range(24):
        each = replicas[number % 3]
        await asyncio.to_thread(say, each.state, channels[number % 2], str(number))
        each.delivery.wake()
    for where in (0, 1):
        wanted = [str(number) for number in range(24) if number % 2 == where]

        def all_there(where: int = where, wanted: list[str] = wanted) -> bool | None:
            return len(shown(workspace, channels[where])) >= len(wanted) or None

        assert await workspace.changes.until(all_there, 30)
        assert shown(workspace, channels[where]) == wanted
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for where in (0, 1):
        assert len(shown(workspace, channels[where])) == 12


_REPLICA = """
import asyncio, sys
from bot.slack.connection import web_client
from bot.slack.delivery import Delivery
from bot.store import open_state
from bot.store.replicas import Pulse
name, database, token, url = sys.argv[1:]
state = open_state(database)
pulse = Pulse(state.replicas, alone=False, replica=name)
pulse.begin()
pulse.start()
asyncio.run(Delivery(web_client(token, url), state.messages, pulse=pulse).run())
"""


@pytest.mark.real
async def test_a_process_that_is_killed_while_it_posts_is_followed_within_15_seconds_without_a_double(
    workspace: Workspace, postgres: Postgres, channel: str
) -> None:
    """Real processes, the server's clock and kill -9: what it had just sent comes to Slack, and it never hears of it."""
    database = postgres.create_database()
    state = open_state(database)
    wanted = [str(number) for number in range(6)]
    say(state, channel, *wanted)
    running = {
        name: await asyncio.create_subprocess_exec(
            sys.executable, "-c", _REPLICA, name, database, workspace.bot_token, workspace.api_url
        )
        for name in ("one", "two")
    }
    try:
        assert await workspace.changes.until(lambda: len(shown(workspace, channel)) >= 2 or None, 30)
        workspace.faults.hang("chat.postMessage", 2.0)
        with state.jobs.read() as connection:
            holder = connection.execute(text("SELECT owner FROM channel_owners")).scalar_one()
        await asyncio.sleep(1.5)  # a post is a second after the last one: it is on its way now
        running[holder].kill()
        killed = clock.monotonic()
        await running[holder].wait()
        assert await workspace.changes.until(lambda: len(shown(workspace, channel)) >= 4 or None, 30)
        assert clock.monotonic() - killed < 15 + 1
        assert await workspace.changes.until(lambda: len(shown(workspace, channel)) >= len(wanted) or None, 30)
        await asyncio.sleep(1.5)  # a double would come now
        assert shown(workspace, channel) == wanted
    finally:
        for process in running.values():
            if process.returncode is None:
                process.kill()
                await process.wait()
        state.runbooks.engine.dispose()


async def test_what_was_refused_here_and_posted_by_another_replica_since_is_not_posted_again(
    replica: Callable[[str], Replica], workspace: Workspace, channel: str, time: Time
) -> None:
    """What this process knows of a post that Slack did not take is worth nothing once somebody else has tried."""
    one, two = replica("one"), replica("two")
    say(one.state, channel, "first", "second")
    workspace.faults.rate_limit(times=1, method="chat.postMessage")
    dead, posting = asyncio.Event(), one.delivery.pause

    async def falls_silent(seconds: float) -> None:
        if workspace.calls and not dead.is_set():
            dead.set()
            time.passed += DEAD
        await posting(seconds)

    one.delivery.pause = falls_silent  # type: ignore[method-assign]
    task = asyncio.create_task(one.settles())
    await asyncio.wait_for(dead.wait(), 10)
    two.pulse.beat()
    after_the_post(two)
    await two.is_killed()
    assert shown(workspace, channel) == ["first"]
    time.passed += DEAD
    one.pulse.beat()
    await task
    assert shown(workspace, channel) == ["first", "second"]
