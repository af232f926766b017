"""The election: one leads, it stops before anybody else may begin, and what a leader of before writes is refused."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.leader import Alone
from bot.lease import Claim, lease_of
from bot.settings import LeaderSettings, SettingsError
from bot.store.leaders import Deposed, Leadership
from diagnostics.sources import CouldNotLook
from tests.bot.election import LASTS, T0, Database, Replica, Server, simulate, time, until

Scenario = Callable[[Replica, Replica], Awaitable[None]]


def play(scenario: Scenario) -> tuple[Replica, Replica]:
    """A scenario of two replicas, of which the first leads."""
    server, database = Server(), Database()
    first, second = Replica("a", server, database), Replica("bb", server, database)

    async def all_of_it() -> None:
        first.start()
        await until(lambda: first.written, 5)
        second.start()
        await asyncio.sleep(5)
        assert (first.leads, second.leads) == (True, False)
        await scenario(first, second)
        for replica in (first, second):
            replica.go_on()
            await replica.stop()

    simulate(all_of_it())
    database.engine.dispose()
    orderly(first, second)
    return first, second


def orderly(*replicas: Replica) -> None:
    """The writes that were taken are those of one leader after another, and each was in its own time."""
    written = sorted((at, token, each.name) for each in replicas for at, token in each.written)
    assert [token for _, token, _ in written] == sorted(token for _, token, _ in written)
    assert len({(token, name) for _, token, name in written}) == len({token for _, token, _ in written})


# --- Ordinary days


def test_one_leads_for_as_long_as_it_lives_and_the_others_wait() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        await asyncio.sleep(600)
        assert [len(each.led) for each in (first, second)] == [1, 0]
        assert first.elector.trouble == second.elector.trouble == ""

    play(scenario)


def test_a_clean_stop_lets_the_next_one_in_at_once() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        await first.stop()
        assert first.server.holder == ""
        assert first.database.leaders.active() is None
        assert await until(lambda: second.written, 5) < 2.5
        ended = first.led[0][1]
        assert ended is not None
        assert ended < second.led[0][0]

    play(scenario)


def test_a_leader_that_was_killed_is_replaced_within_fifteen_seconds_and_not_before_its_lease_has_run_out() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        first.stall()  # for ever: as if killed
        last = first.server.read()
        assert last is not None
        assert LASTS * 0.75 < await until(lambda: second.written, 15) < 13

    play(scenario)


def test_a_lease_that_somebody_only_marks_stays_where_it_is() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        for number in range(20):
            first.server.touch(seen=str(number))
            await asyncio.sleep(3)
        assert [len(each.led) for each in (first, second)] == [1, 0]
        assert first.server.whole is not None
        assert first.server.whole["metadata"]["annotations"]["seen"] == "19"

    play(scenario)


def test_replicas_do_not_ask_in_step() -> None:
    first, _ = play(lambda _first, _second: asyncio.sleep(60))
    again = [round(first.elector._about(0.2), 9) for _ in range(50)]
    assert len(set(again)) == 50
    assert all(LASTS * 0.16 <= wait <= LASTS * 0.2 for wait in again)


# --- An API server that is away


def test_a_leader_stops_before_its_lease_runs_out_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        first.cut = True
        began = time()
        await until(lambda: second.written, 15)
        ended = first.led[0][1]
        assert ended is not None
        assert ended - began <= LASTS * 0.7 + 0.1
        assert ended + LASTS * 0.2 < second.led[0][0]
        first.cut = False
        await asyncio.sleep(30)
        assert [len(each.led) for each in (first, second)] == [1, 1]

    play(scenario)
    assert "could not renew the Lease for" in caplog.text
    assert "The Kubernetes API did not answer." in caplog.text


def test_an_api_server_that_is_away_for_all_stops_the_leader_and_one_leads_again_once_it_answers() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        first.cut = second.cut = True
        await asyncio.sleep(60)
        assert not first.leads
        assert not second.leads
        assert "did not answer" in second.elector.trouble
        before = len(first.written) + len(second.written)
        first.cut = second.cut = False
        await until(lambda: len(first.written) + len(second.written) > before, 5)
        await asyncio.sleep(5)
        assert first.leads != second.leads
        assert first.elector.trouble == second.elector.trouble == ""

    play(scenario)


def test_answers_that_are_lost_for_a_while_cost_nothing_and_for_long_the_leadership() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        first.deaf = True
        await asyncio.sleep(2.5)
        first.deaf = False
        await asyncio.sleep(20)
        assert [len(each.led) for each in (first, second)] == [1, 0]
        first.deaf = True
        await until(lambda: not first.leads, 10)
        ended = first.led[0][1]
        first.cut = True
        await until(lambda: second.written, 15)
        assert ended is not None
        assert ended < second.led[0][0]

    play(scenario)


def test_no_request_outlives_the_lease_and_requests_are_not_made_over_and_over() -> None:
    asked: list[float] = []

    async def scenario(first: Replica, second: Replica) -> None:
        write = first.write

        async def counted(before: Any, claim: Claim, timeout: float) -> Any:
            asked.append(time() + timeout)
            return await write(before, claim, timeout)

        first.write = counted  # type: ignore[method-assign]
        first.cut = True
        began = time()
        await until(lambda: not first.leads, 10)
        assert asked
        assert max(asked) <= began + LASTS * 0.7 + 0.01
        assert len(asked) <= 5

    play(scenario)


# --- What happens to the Lease


def test_a_lease_that_is_deleted_ends_the_leadership_and_a_higher_token_follows() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        token = first.written[-1][1]
        first.server.delete()
        await until(lambda: len(first.led) + len(second.led) > 1, 10)
        later = (first.led[1:] + second.led)[0]
        assert later[2] > token
        assert first.led[0][1] is not None
        assert first.led[0][1] < later[0]
        assert first.server.read() is not None

    play(scenario)


def test_a_lease_that_is_deleted_under_a_dead_leader_still_runs_out_first() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        first.stall()
        first.server.delete()
        assert await until(lambda: second.written, 15) > LASTS * 0.7

    play(scenario)


def test_somebody_who_takes_the_lease_by_hand_ends_the_leadership(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        first.server.write(first.server.read(), Claim("eve", 40, 20, T0))
        await until(lambda: not first.leads, 5)
        assert await until(lambda: first.leads or second.leads, 40) > 15
        assert (first.led[1:] + second.led)[0][2] > 40

    play(scenario)
    assert "eve has the Lease now" in caplog.text


# --- The token


def test_a_leader_that_stood_still_between_the_lease_and_its_token_writes_nothing() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        await first.stop()
        await until(lambda: second.written, 5)
        activate = first.database.leaders.activate
        reached, standing = asyncio.Event(), asyncio.Event()

        async def stalls(call: Callable[..., Any], /, *args: Any) -> Any:
            if getattr(call, "__name__", "") == "activate" and not standing.is_set():
                reached.set()
                await standing.wait()
            return await first.in_thread(call, *args)

        late = Replica("late", first.server, first.database)
        late.elector._in_thread = stalls
        await second.stop()
        late.start()
        await asyncio.wait_for(reached.wait(), 5)
        late.stall()  # it has the Lease, and no token yet
        second.start()
        await until(lambda: second.led[1:], 15)
        now = second.led[-1][2]
        late.go_on()
        standing.set()
        await asyncio.sleep(20)
        assert late.led == late.written == []
        assert second.leads
        assert second.database.leaders.active() == Leadership(now, "bb")
        with pytest.raises(Deposed, match="late is not the leader any more"):
            activate(Leadership(now - 1, "late"))
        await late.stop()

    play(scenario)


def test_a_leader_that_stood_still_is_refused_when_it_goes_on_and_stops(caplog: pytest.LogCaptureFixture) -> None:
    refused: list[str] = []

    async def scenario(first: Replica, second: Replica) -> None:
        act, before = first.act, len(first.written)

        def tells(leadership: Leadership) -> None:
            try:
                act(leadership)
            except Deposed as error:
                refused.append(str(error))
                raise

        first.act = tells  # type: ignore[method-assign]
        first.stall()
        await until(lambda: len(second.written) > 5, 15)
        first.go_on()
        await asyncio.sleep(3)
        assert len(first.written) <= before + 1
        assert not first.leads
        assert second.leads

    play(scenario)
    assert refused
    assert "by the database bb leads, with token" in refused[0]
    assert "did not end" not in caplog.text, "it ended as soon as it could"


def test_a_database_that_was_restored_lets_nobody_write_until_there_is_a_token_above_the_leases() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        backup = first.database.saved()
        for _ in range(3):
            first.database.leaders.issue("x")
        await first.stop()
        await until(lambda: second.written, 5)
        high = second.led[0][2]
        assert high >= 5
        first.start()
        first.database.restore(backup)  # in which `first` leads, with token 1
        written = len(second.written)
        await until(lambda: not second.leads, 5)
        assert len(second.written) == written, "its token is not the one in the database"
        # The two leaders before had lower tokens; what follows is above all that the Lease has seen.
        await until(lambda: len(second.led) + len(first.led) > 2, 20)
        assert (second.led[1:] + first.led[1:])[0][2] > high

    play(scenario)


def test_a_lease_that_is_deleted_does_not_set_the_tokens_back() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        for _ in range(5):
            token = first.database.leaders.active()
            first.server.delete()
            await until(lambda: first.database.leaders.active() not in (None, token), 15)  # noqa: B023

    first, second = play(scenario)
    tokens = sorted(token for each in (first, second) for _, _, token in each.led)
    assert len(tokens) == len(set(tokens)) == 6


def test_while_the_database_is_away_nobody_takes_the_lease() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        first.database.away = True
        await first.stop()
        await asyncio.sleep(30)
        assert not second.leads
        assert first.server.holder == ""
        assert "The state database cannot be written" in second.elector.trouble
        first.database.away = False
        await until(lambda: second.written, 5)
        assert second.elector.trouble == ""

    play(scenario)


# --- What the leader does


def test_work_that_does_not_end_is_told_of_loses_its_token_and_keeps_the_replica_from_leading_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        let_go, given = asyncio.Event(), []

        async def stubborn(leadership: Leadership) -> None:
            given.append(leadership)
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    await asyncio.sleep(0)

        await second.stop()
        await first.stop()
        first.start(stubborn)
        await until(lambda: given, 5)
        first.server.delete()
        await until(lambda: not first.leads, 5)
        await asyncio.sleep(LASTS)
        with pytest.raises(Deposed, match="by the database nobody leads"):
            first.act(given[0])
        assert first.server.read() is None, "it lets the Lease run out, and does not take it again"
        second.start()
        await until(lambda: second.written, 15)
        await second.stop()
        await asyncio.sleep(LASTS * 2)
        assert len(given) == 1
        let_go.set()
        await until(lambda: len(given) == 2, 15)

    play(scenario)
    assert "did not end when it was told to" in caplog.text
    (record,) = (each for each in caplog.records if "did not end" in each.message)
    assert record.levelno == logging.ERROR


@pytest.mark.parametrize("error", [ValueError("on fire"), None])
def test_work_that_ends_by_itself_gives_the_lease_away_and_begins_anew(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    tokens: list[int] = []

    async def scenario(first: Replica, second: Replica) -> None:
        async def once(leadership: Leadership) -> None:
            tokens.append(leadership.token)
            if error is not None:
                raise error

        await second.stop()
        await first.stop()
        first.start(once)
        await until(lambda: len(tokens) > 2, 30)
        assert time() > 1.5, "not over and over"

    play(scenario)
    assert tokens == sorted(set(tokens))
    assert ("an error that nobody foresaw" in caplog.text) == (error is not None)


def test_a_cancel_while_the_work_ends_waits_for_it() -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        ended: list[float] = []

        async def slow(_: Leadership) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(1)
                ended.append(time())

        await second.stop()
        await first.stop()
        first.start(slow)
        await until(lambda: first.leads, 5)
        first.server.delete()
        await until(lambda: not first.leads, 5)
        await first.stop()
        assert ended

    play(scenario)


def test_a_refusal_is_one_sentence_however_often_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(first: Replica, second: Replica) -> None:
        async def refused(_timeout: float) -> None:
            raise CouldNotLook("Not allowed to read the Lease: grant it.")

        second.read = refused  # type: ignore[method-assign, assignment]
        await asyncio.sleep(60)

    play(scenario)
    assert [each.message for each in caplog.records if "Not allowed" in each.message] == [
        "This replica cannot lead now. Not allowed to read the Lease: grant it."
    ]


# --- Without a Lease


def test_one_replica_alone_leads_by_its_token_and_ends_it() -> None:
    database = Database()

    async def scenario() -> None:
        given: list[Leadership] = []

        async def lead(leadership: Leadership) -> None:
            given.append(leadership)
            await asyncio.Event().wait()

        alone = Alone(database.leaders, "a")
        task = asyncio.create_task(alone.run(lead))
        while not given:  # noqa: ASYNC110 - its calls are in real threads
            await asyncio.sleep(0.01)
        assert alone.leading == given[0] == database.leaders.active()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert database.leaders.active() is None

    asyncio.run(scenario())
    database.engine.dispose()


def test_of_two_that_believe_to_be_alone_the_older_one_ends_and_says_what_to_do() -> None:
    database = Database()

    async def scenario() -> None:
        async def lead(leadership: Leadership) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(writes(leadership))

        async def writes(leadership: Leadership) -> None:
            while True:
                with database.leaders.write() as connection:
                    database.leaders.insist(connection, leadership)
                await asyncio.sleep(0.01)

        first = asyncio.create_task(Alone(database.leaders, "a").run(lead))
        while database.leaders.active() is None:  # noqa: ASYNC110 - its calls are in real threads
            await asyncio.sleep(0.01)
        second = asyncio.create_task(Alone(database.leaders, "b").run(lead))
        with pytest.raises(Deposed, match=r"b leads, with token 2\)\. Another Unstick works on .* stop one of them\."):
            await asyncio.wait_for(first, 10)
        assert not second.done()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)

    asyncio.run(scenario())
    database.engine.dispose()


def test_alone_too_it_begins_anew_after_an_error_and_waits_for_a_database_that_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database()
    tokens, waits = [], []

    async def scenario() -> None:
        led = asyncio.Event()

        async def lead(leadership: Leadership) -> None:
            tokens.append(leadership.token)
            if len(tokens) == 1:
                with database.engine.begin() as connection:
                    connection.exec_driver_sql("ALTER TABLE leaders RENAME TO away")
                raise ValueError("on fire")
            led.set()
            await asyncio.Event().wait()

        async def pause(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                with database.engine.begin() as connection:
                    connection.exec_driver_sql("ALTER TABLE away RENAME TO leaders")

        alone = Alone(database.leaders, "a", pause=pause)
        task = asyncio.create_task(alone.run(lead))
        await asyncio.wait_for(led.wait(), 10)
        assert alone.trouble == ""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    database.engine.dispose()
    assert tokens == [1, 2]
    assert waits == [5.0, 1.0, 1.0]
    assert "an error that nobody foresaw, and begins anew" in caplog.text
    assert len([m for m in caplog.messages if m.startswith("Nothing is fired or watched yet.")]) == 1


def test_a_namespace_that_nobody_named_is_asked_for() -> None:
    with pytest.raises(SettingsError, match=r"leader\.namespace: outside of a pod"):
        lease_of(LeaderSettings(kubeconfig="/nowhere"))
    assert lease_of(LeaderSettings(namespace="unstick"))._one.endswith("/namespaces/unstick/leases/unstick")


# --- Anything, in any order

GENTLE = ("cut", "deaf", "slow", "touch", "database", "restart")
ROUGH = (*GENTLE, "stall", "delete")
# Lengths around those that matter: an answer, a stop, a Lease.
_lengths = st.sampled_from((0.3, 1.5, 2.5, 4.0, 6.5, 7.5, 9.0, 10.5, 12.5, 17.0, 25.0)) | st.floats(0.1, 25.0)
_waits = st.floats(0.1, 12.0)
LEADER = 2  # whoever leads then, in place of a number


def _events(kinds: tuple[str, ...]) -> st.SearchStrategy[list[tuple[float, str, int, float]]]:
    one = st.tuples(_waits, st.sampled_from(kinds), st.integers(0, LEADER + 1), _lengths)
    return st.lists(one, min_size=2, max_size=14)


async def _happens(replicas: list[Replica], what: str, which: int, lasts: float) -> None:
    leading = [each for each in replicas if each.leads] or replicas
    one = leading[0] if which >= LEADER else replicas[which]
    database = one.database
    match what:
        case "stall":
            one.stall()
            await asyncio.sleep(lasts)
            one.go_on()
        case "cut" | "deaf":
            setattr(one, what, True)
            await asyncio.sleep(lasts)
            setattr(one, what, False)
        case "slow":
            one.latency = lasts / 10
            await asyncio.sleep(lasts)
            one.latency = 0.02
        case "delete":
            one.server.delete()
        case "touch" if one.server.whole is not None:
            one.server.touch(seen=str(lasts))
        case "database":
            database.away = True
            await asyncio.sleep(lasts)
            database.away = False
        case "restart" if one.task is not None and not one.task.cancelling():
            one.go_on()
            await one.stop()
            one.start()


async def _anything(events: list[tuple[float, str, int, float]], replicas: list[Replica]) -> None:
    for replica in replicas:
        replica.start()
    happening = []
    for wait, what, which, lasts in events:
        await asyncio.sleep(wait)
        happening.append(asyncio.create_task(_happens(replicas, what, which, lasts)))
    await asyncio.gather(*happening)
    for replica in replicas:
        replica.go_on()
    written = [len(each.written) for each in replicas]
    await asyncio.sleep(3 * LASTS)
    assert sum(each.leads for each in replicas) == 1, "whatever it was, one leads in the end"
    assert [len(each.written) for each in replicas] != written
    for replica in replicas:
        await replica.stop()


def _played(events: list[tuple[float, str, int, float]], seed: int, rate: float) -> list[Replica]:
    fate, server, database = random.Random(seed), Server(), Database()  # noqa: S311 - not a secret
    replicas = [Replica("a", server, database, fate=fate), Replica("bb", server, database, fate=fate, rate=rate)]
    simulate(_anything(events, replicas))
    database.engine.dispose()
    orderly(*replicas)
    return replicas


_any_clock = {"seed": st.integers(0, 2**32), "rate": st.floats(0.98, 1.02)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=_events(ROUGH), **_any_clock)
def test_whatever_happens_in_whatever_order_no_two_leaders_write(
    events: list[tuple[float, str, int, float]], seed: int, rate: float
) -> None:
    _played(events, seed, rate)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=_events(GENTLE), **_any_clock)
def test_while_no_process_stands_still_and_the_lease_is_there_nobody_even_tries_once_somebody_else_leads(
    events: list[tuple[float, str, int, float]], seed: int, rate: float
) -> None:
    replicas = _played(events, seed, rate)
    turns = sorted((at, token) for each in replicas for at, token in each.steps)
    assert [token for _, token in turns] == sorted(token for _, token in turns)


def test_without_the_token_two_leaders_would_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario of the stall does catch what it is there for."""
    server, database = Server(), Database()
    monkeypatch.setattr(type(database.leaders), "insist", lambda *_: None)
    first, second = Replica("a", server, database), Replica("bb", server, database)

    async def scenario() -> None:
        first.start()
        await until(lambda: first.written, 5)
        second.start()
        first.stall()
        await until(lambda: len(second.written) > 3, 20)
        first.go_on()
        await asyncio.sleep(3)
        await first.stop()
        await second.stop()

    simulate(scenario())
    database.engine.dispose()
    with pytest.raises(AssertionError):
        orderly(first, second)
