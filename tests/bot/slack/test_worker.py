"""What was asked for is done, by whichever replica is left, and what it failed of is said once."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.settings import Settings
from bot.slack import worker as module
from bot.slack.acceptor import MOST
from bot.slack.desk import Desk
from bot.slack.jobs import AnyJob, Deny, LookAtLocks, MakeReport
from bot.slack.unknown import UNKNOWN
from bot.slack.worker import Worker
from bot.store import State, open_state
from bot.store.messages import Content
from bot.store.replicas import LIVES, Pulse
from bot.work import Busy, WorkLoop
from runbooks.database import StoreError
from runbooks.engine import Refusal
from tests.bot.scenarios.hands import Gate, until

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
LOCKS = LookAtLocks("U1", "C1", None, 0)
DENY = Deny("U1", "C1", "ex-1", "no")


class Replica:
    """A worker on a database, with a pulse that beats when a test says so. It does nothing before `starts`."""

    def __init__(self, database: str, name: str, passed: list[float], *, alone: bool = False) -> None:
        self.state: State = open_state(database, lambda: T0 + timedelta(seconds=passed[0]))
        self.pulse = Pulse(self.state.replicas, alone=alone, replica=name, now=lambda: passed[0])
        self.pulse.begin()
        self.loop = WorkLoop()
        self.started = False
        desk = Desk(Settings(), self.state, lambda _: pytest.fail("no cluster"), lambda: None, lambda _: None)
        self.worker = Worker(desk, self.loop, self.pulse, lambda: passed[0])
        self.did: list[AnyJob] = []

    def starts(self) -> None:
        self.started = True
        self.loop.start()

    def ends(self) -> None:
        if not self.started:
            self.starts()  # a loop that never ran is closed by nobody
        if not self.worker.stopping.is_set():
            self.worker.stop()
        self.loop.stop(1.0)
        self.state.runbooks.engine.dispose()

    def takes_over(self) -> None:
        self.worker.take_over(of_the_dead=True)

    def left(self) -> list[AnyJob]:
        return [left.job for left in self.state.jobs.left(AnyJob)]


class Hands:
    """Does the looks and denials of all replicas; each of them may be held on its way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: dict[int, Replica] = {}
        self.gates: dict[str, Gate] = {}
        self.fails: Exception | None = None
        monkeypatch.setattr(module.looks, "locks", self._does)
        monkeypatch.setattr(module.remedies, "deny", self._does)

    async def _does(self, desk: Desk, job: AnyJob) -> None:
        replica = self.of[id(desk.state)]
        replica.did.append(job)
        if gate := self.gates.get(replica.pulse.id):
            await gate.holds()
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


@pytest.fixture
def passed() -> list[float]:
    """Seconds since the beginning, for everybody."""
    return [0.0]


@pytest.fixture
def replica(database: str, hands: Hands, passed: list[float]) -> Iterator[Callable[..., Replica]]:
    made: list[Replica] = []

    def make(name: str, **more: Any) -> Replica:
        made.append(Replica(database, name, passed, **more))
        hands.of[id(made[-1].state)] = made[-1]
        return made[-1]

    yield make
    for gate in hands.gates.values():
        gate.open()
    for each in made:
        each.ends()


@pytest.fixture
def database(tmp_path: Any) -> str:
    return f"sqlite:///{tmp_path}/state.db"


def dies(passed: list[float], *others: Replica) -> None:
    """Whoever does not beat now is dead."""
    passed[0] += LIVES.total_seconds() - 1
    for each in others:
        each.pulse.beat()
    passed[0] += 2


# Replicas that die


async def test_a_job_that_was_accepted_and_not_begun_is_done_by_another_replica(
    replica: Callable[..., Replica], passed: list[float]
) -> None:
    one, two = replica("one"), replica("two")
    two.starts()
    await one.worker.accept(LOCKS)
    two.takes_over()
    assert two.left() == [LOCKS], "the other one lives"
    dies(passed, two)
    two.takes_over()
    await until(lambda: not two.left())
    assert (one.did, two.did) == ([], [LOCKS])
    one.starts()  # it had only stood still: what it holds in memory is not its own any more
    one.pulse.beat()
    await asyncio.sleep(0.05)
    assert one.did == []


async def test_a_job_that_was_begun_is_done_anew_and_its_end_by_whoever_lost_it_changes_nothing(
    replica: Callable[..., Replica], hands: Hands, passed: list[float]
) -> None:
    one, two = replica("one"), replica("two")
    hands.gates["one"], hands.gates["two"] = Gate(), Gate()
    one.starts()
    two.starts()
    await one.worker.accept(LOCKS)
    await hands.gates["one"].arrived()
    dies(passed, two)
    two.takes_over()
    await hands.gates["two"].arrived()
    hands.gates["one"].open()
    await until(lambda: not one.worker._askers)
    assert two.left() == [LOCKS], "it is the other one's to end"
    hands.gates["two"].open()
    await until(lambda: not two.left())


async def test_a_job_whose_end_could_not_be_noted_is_done_anew_by_another_replica(
    replica: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch, passed: list[float]
) -> None:
    one, two = replica("one"), replica("two")
    one.starts()
    two.starts()
    tried = threading.Event()

    def away(*_: Any) -> None:
        tried.set()
        raise StoreError("The state database cannot be written.")

    monkeypatch.setattr(one.state.jobs, "done", away)
    await one.worker.accept(LOCKS)
    await until(tried.is_set)
    dies(passed, two)
    two.takes_over()
    await until(lambda: not two.left())
    assert (one.did, two.did) == ([LOCKS], [LOCKS])


async def test_why_a_job_failed_is_said_once_whichever_replica_says_it(
    replica: Callable[..., Replica], hands: Hands, passed: list[float]
) -> None:
    one, two = replica("one"), replica("two")
    hands.gates["one"] = Gate()
    hands.fails = Refusal("the denial is refused", ["you may not"])
    one.starts()
    two.starts()
    await one.worker.accept(DENY)
    await hands.gates["one"].arrived()
    dies(passed, two)
    two.takes_over()
    await until(lambda: not two.left())
    hands.gates["one"].open()
    await until(lambda: not one.worker._askers)
    said = two.state.messages.next_behind("C1", 0)
    assert said is not None
    assert (said.only_to, "you may not" in str(said.content)) == ("U1", True)
    assert two.state.messages.next_behind("C1", said.id) is None


async def test_two_jobs_that_fail_alike_are_both_said(replica: Callable[..., Replica], hands: Hands) -> None:
    one = replica("one")
    one.starts()
    hands.fails = Refusal("the denial is refused", ["you may not"])
    for _ in range(2):
        await one.worker.accept(DENY)
        await until(lambda: not one.left())
    said = one.state.messages.next_behind("C1", 0)
    assert said is not None
    assert one.state.messages.next_behind("C1", said.id) is not None


async def test_one_that_ends_gives_back_what_it_has_not_begun(replica: Callable[..., Replica], hands: Hands) -> None:
    one, two = replica("one"), replica("two")
    hands.gates["one"] = Gate()
    one.starts()
    two.starts()
    for _ in range(10):
        await one.worker.accept(LOCKS)
    await hands.gates["one"].arrived(4)
    one.worker.stop()
    await until(one.worker.stopping.is_set)
    hands.gates["one"].open()
    await until(lambda: len(one.left()) == 6)
    await asyncio.to_thread(one.loop.stop, 5.0)
    assert len(one.did) == 4, "no more was begun"
    one.pulse.stop()
    two.takes_over()
    await until(lambda: not two.left())
    assert len(two.did) == 6


async def test_the_round_takes_what_was_written_for_anybody(
    replica: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.01)
    one = replica("one")
    one.starts()
    keeping = one.loop.call(one.worker.keep())
    number = one.state.jobs.add(LOCKS, key="for/anybody")
    assert number is not None
    await until(lambda: not one.left())
    assert one.did == [LOCKS]
    keeping.cancel()


async def test_whoever_is_alone_takes_up_what_was_left_before_it(replica: Callable[..., Replica]) -> None:
    dead = replica("before")
    await dead.worker.accept(LOCKS)
    alone = replica("alone", alone=True)
    alone.starts()
    alone.worker.resume()
    await until(lambda: not alone.left())
    assert alone.did == [LOCKS]


# What is accepted


async def test_many_at_once_are_written_in_few_transactions_and_each_has_its_own_message(
    replica: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replica("one")
    written = []
    within = one.worker.acceptor._within

    def counted(connection: Any, batch: Any) -> Any:
        written.append(len(batch))
        return within(connection, batch)

    monkeypatch.setattr(one.worker.acceptor, "_within", counted)
    many = 2 * MOST
    await asyncio.gather(
        *(
            one.worker.begin("C1", Content(f"about {n}"), lambda m, n=n: LookAtLocks(f"U{n % 9}", f"C{n}", None, m))
            for n in range(many)
        )
    )
    jobs = one.left()
    assert {job.channel for job in jobs} == {f"C{n}" for n in range(many)}
    for job in jobs[:: many // 10]:
        assert isinstance(job, LookAtLocks)
        assert one.state.messages.get(job.message).content.text == f"about {job.channel[1:]}"
    assert len(written) < many / 10
    assert sum(written) == many
    assert max(written) <= MOST


async def test_who_gives_up_while_others_are_written_is_not_served_and_the_others_are(
    replica: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, gate = replica("one"), Gate()
    add = one.state.jobs.add_all

    def slowly(*given: Any) -> Any:
        gate.blocks()
        return add(*given)

    monkeypatch.setattr(one.state.jobs, "add_all", slowly)
    first = asyncio.create_task(one.worker.accept(DENY))
    await gate.arrived()  # all that follow are one transaction
    asked = [
        asyncio.create_task(
            one.worker.begin(f"C{n}", Content("⏳"), lambda m, n=n: LookAtLocks("U1", f"C{n}", None, m))
        )
        for n in range(4)
    ]
    await asyncio.sleep(0)
    asked[0].cancel()
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *asked[1:])
    assert [job.channel for job in one.left()] == ["C1", "C1", "C2", "C3"]
    assert set(one.state.messages.channels_behind()) == {"C1", "C2", "C3"}
    assert asked[0].cancelled()


async def test_who_gives_up_within_the_transaction_leaves_neither_job_nor_message(
    replica: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, gate = replica("one"), Gate()
    add = one.state.jobs.add_all

    def slowly(*given: Any) -> Any:
        made = add(*given)
        gate.blocks()
        return made

    monkeypatch.setattr(one.state.jobs, "add_all", slowly)
    asked = asyncio.create_task(one.worker.begin("C1", Content("⏳"), lambda m: LookAtLocks("U1", "C1", None, m)))
    await gate.arrived()
    asked.cancel()
    await asyncio.sleep(0)
    gate.open()
    await until(lambda: one.worker.acceptor.idle)
    assert asked.cancelled()
    assert (one.left(), one.state.messages.channels_behind(), dict(one.worker._askers)) == ([], (), {})


async def test_a_database_that_fails_is_said_to_all_who_wait_and_the_next_are_taken(
    replica: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replica("one")

    def away(*_: Any) -> Any:
        raise StoreError("The state database cannot be written: disk full.")

    with monkeypatch.context() as patched:
        patched.setattr(one.state.jobs, "add_all", away)
        told = await asyncio.gather(*(one.worker.accept(DENY) for _ in range(5)), return_exceptions=True)
    assert {str(each) for each in told} == {"The state database cannot be written: disk full."}
    assert dict(one.worker._askers) == {}
    await one.worker.accept(DENY)
    assert one.left() == [DENY]


async def test_of_one_key_one_job_is_kept_also_when_asked_for_at_once(replica: Callable[..., Replica]) -> None:
    one = replica("one")
    report = MakeReport("", "C1", "nightly", "now")
    await asyncio.gather(*(one.worker.accept(report, key="report/nightly/now") for _ in range(5)))
    await one.worker.begin("C1", Content("⏳"), lambda _: report, key="report/nightly/now")
    assert one.left() == [report]
    assert one.state.messages.channels_behind() == (), "nor is it announced again"


async def test_one_asker_has_so_many_places_and_gets_them_back(
    replica: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EACH", 2)
    one = replica("one")
    await one.worker.accept(LOCKS)
    await one.worker.accept(LOCKS)
    with pytest.raises(Busy, match="2 of your requests wait already"):
        await one.worker.accept(LOCKS)
    await one.worker.accept(LookAtLocks("U2", "C1", None, 0))
    one.starts()
    await until(lambda: not one.left())
    await until(lambda: not one.worker._askers)
    await one.worker.accept(LOCKS)


# Answers of the database that are lost


@contextmanager
def losing_answers(state: State) -> Iterator[None]:
    """What is written now is written, and said not to be."""
    write = state.jobs.write

    @contextmanager
    def lost() -> Iterator[Any]:
        with write() as connection:
            yield connection
        raise StoreError("The state database cannot be written: the server closed the connection.")

    state.jobs.write = lost  # type: ignore[method-assign]
    try:
        yield
    finally:
        state.jobs.write = write  # type: ignore[method-assign]


async def test_what_was_taken_over_without_anybody_hearing_of_it_is_done(
    replica: Callable[..., Replica], passed: list[float]
) -> None:
    one = replica("one")
    one.starts()
    one.state.jobs.add(LOCKS)
    with losing_answers(one.state), pytest.raises(StoreError):
        one.takes_over()
    one.worker.unknown.find()
    one.takes_over()
    assert one.left() == [LOCKS], "somebody may be about to tell of it"
    passed[0] += UNKNOWN
    one.worker.unknown.find()
    await until(lambda: not one.left())
    assert one.did == [LOCKS]


async def test_what_is_under_way_for_long_is_not_begun_again(
    replica: Callable[..., Replica], hands: Hands, passed: list[float]
) -> None:
    hands.gates["one"] = gate = Gate()
    one = replica("one")
    one.starts()
    await one.worker.accept(LOCKS)
    await gate.arrived()
    for _ in range(3):
        one.worker.unknown.find()
        passed[0] += UNKNOWN
    gate.open()
    await until(lambda: not one.left())
    assert one.did == [LOCKS]


async def test_what_somebody_was_told_is_not_done_is_not_done_and_its_message_is_taken_back(
    replica: Callable[..., Replica], passed: list[float]
) -> None:
    one = replica("one")
    one.starts()
    with losing_answers(one.state), pytest.raises(StoreError):
        await one.worker.begin("C1", Content("I look"), lambda message: LookAtLocks("U1", "C1", None, message))
    assert len(one.left()) == 1
    for _ in range(2):
        one.worker.unknown.find()
        passed[0] += UNKNOWN
    assert one.left() == []
    assert one.state.messages.channels_behind() == ()
    assert (one.did, one.worker.acceptor.unwanted) == ([], {})


async def test_the_answer_of_another_replica_is_not_replaced_by_why_this_one_failed(
    replica: Callable[..., Replica], hands: Hands, passed: list[float]
) -> None:
    hands.gates["one"] = gate = Gate()
    one, two = replica("one"), replica("two")
    one.starts()
    two.starts()
    message = one.state.messages.add("C1", Content("I look"))
    await one.worker.accept(LookAtLocks("U1", "C1", None, message))
    await gate.arrived()
    dies(passed, two)
    two.takes_over()
    await until(lambda: not two.left())
    two.state.messages.edit(message, Content("what two found"))
    hands.fails = Refusal("look", ["this one stood still for too long"])
    gate.open()
    await until(lambda: not one.worker._askers)
    assert one.state.messages.get(message).content.text == "what two found"


async def test_whoever_asks_once_the_work_has_ended_is_answered_and_the_job_is_left_for_others(
    replica: Callable[..., Replica],
) -> None:
    one = replica("one")
    one.ends()
    for _ in range(2):
        async with asyncio.timeout(5):
            await one.worker.accept(LOCKS)
    one.pulse.stop()
    two = replica("two")
    two.starts()
    two.takes_over()
    await until(lambda: not two.left())
    assert two.did == [LOCKS, LOCKS]
