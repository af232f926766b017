"""What is slow stays where it is: Slack gets its answer in time, whatever hangs behind."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import bot.serve
import bot.slack.edge.core
import bot.slack.worker
from bot.sandbox.slack import Workspace
from bot.sandbox.slack.people import Reply
from bot.sandbox.world import Sandbox
from bot.slack.jobs import AnyJob, GoOn, LookAtLocks, MakeReport
from bot.slack.words import CONFIRM_BLOCK
from bot.slack.worker import TOO_SLOW
from bot.store import open_state
from bot.store.messages import Content
from bot.work import AT_ONCE, WAITING, Lane, WorkLoop
from tests.bot.scenarios.hands import ACTS, Gate, Hand, until
from tests.bot.scenarios.office import PATIENCE, WHY, Office, serving

ACK = 3.0
COMING = "The answer comes in this channel; if none does, `/invite @unstick` first."


def in_time(reply: Reply) -> bool:
    """Slack got its answer, and got it soon enough."""
    return reply.error is None and reply.seconds is not None and reply.seconds < ACK


def burn(seconds: float) -> None:
    """Keep the processor busy, in Python."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@asynccontextmanager
async def slow(sandbox: Sandbox, workspace: Workspace, folder: Path) -> AsyncIterator[tuple[Office, Hand, Gate]]:
    """A bot whose looks hang in threads as soon as `hand.look` says so; they are let go at the end."""
    hand, gate = Hand(), Gate()
    async with serving(sandbox, workspace, folder, target=hand.on(sandbox.target)) as office:
        try:
            yield office, hand, gate
        finally:
            gate.open()


async def test_five_slow_diagnoses_at_once_delay_no_acknowledgement(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with slow(sandbox, workspace, tmp_path) as (office, hand, gate):
        looks = 0

        async def look() -> None:
            nonlocal looks
            looks += 1
            if looks < AT_ONCE:
                await asyncio.to_thread(gate.blocks)
            else:
                burn(1.0)

        hand.look = look
        people = (office.alice, office.bob, office.carol, office.alice, office.bob)
        replies = [await person.types(office.channel, WHY) for person in people]
        for _ in range(20):
            replies.append(await office.carol.types(office.channel, "/unstick help"))
        assert [reply.error for reply in replies if not in_time(reply)] == []
        assert looks >= AT_ONCE
        gate.open()
        for person in (office.alice, office.bob, office.carol):
            await person.sees(office.channel, "suspect", PATIENCE)
        await until(lambda: not office.state.jobs.left(AnyJob))
        assert looks == len(people)


async def test_an_approval_is_taken_and_run_while_every_look_hangs(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with slow(sandbox, workspace, tmp_path) as (office, hand, gate):
        request = await office.requested()
        hanging = 0

        async def look() -> None:
            nonlocal hanging
            if hanging < AT_ONCE:
                hanging += 1
                await asyncio.to_thread(gate.blocks)

        hand.look = look
        for _ in range(AT_ONCE + 2):
            assert in_time(await office.carol.types(office.channel, "/unstick check"))
        await gate.arrived(AT_ONCE)
        await office.approved(request)
        await office.alice.sees(office.channel, "✅ Done: ceph/stale_rbd_lock@1.0.0", PATIENCE)
        assert len(hand.did) == len(ACTS)
        assert all(delivery.error is None for delivery in office.workspace.deliveries)


async def test_one_persons_requests_beyond_what_may_wait_are_refused_and_all_others_are_answered(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = 10
    monkeypatch.setattr(bot.slack.worker, "EACH", places)
    async with slow(sandbox, workspace, tmp_path) as (office, hand, gate):
        hand.look = gate.holds
        replies = [await office.alice.types(office.channel, "/unstick locks") for _ in range(places + 3)]
        assert [reply.error for reply in replies if not in_time(reply)] == []
        said = [reply.text for reply in replies if "try again" in reply.text]
        assert said == [f"{places} of your requests wait already: try again when some of them are answered."] * 3
        assert "try again" not in (await office.bob.types(office.channel, "/unstick locks")).text
        assert len(office.state.jobs.left(AnyJob)) == places + 1
        gate.open()
        await until(lambda: not office.state.jobs.left(AnyJob))
        again = await office.alice.types(office.channel, "/unstick locks")
        assert "try again" not in again.text, "there is room again"
        await until(lambda: not office.state.jobs.left(AnyJob))
        assert await office.server.delivery.settle(PATIENCE)
        told = [message.visible for message in workspace.messages(office.channel) if message.ephemeral_to is None]
        assert len([text for text in told if "mioss" in text]) == len(told) == places + 2, (
            "of a refusal nobody else hears"
        )


async def test_a_lane_without_room_refuses_what_people_ask_for_and_takes_what_nobody_could_ask_for_again(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with slow(sandbox, workspace, tmp_path) as (office, _, gate):
        for _ in range(AT_ONCE + WAITING):
            office.server.work.submit(Lane.LOOKS, gate.holds)
        reply = await office.alice.types(office.channel, "/unstick locks")
        assert reply.text == "Too many requests wait already: try again in a minute."
        await office.server.worker.accept(MakeReport("", office.channel, "nightly"))
        assert [type(left.job) for left in office.state.jobs.left(AnyJob)] == [MakeReport]
        assert not any("⏳" in message.visible for message in workspace.messages(office.channel))


async def test_two_hundred_commands_at_once_are_all_taken_and_all_answered(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    many = 200
    async with slow(sandbox, workspace, tmp_path) as (office, _, __):
        people = [workspace.person(f"person-{number % 7}") for number in range(many)]
        replies = await asyncio.gather(*(each.types(office.channel, "/unstick locks") for each in people))
        assert {reply.error for reply in replies} == {None}
        assert {reply.text for reply in replies} == {COMING}
        await until(lambda: not office.state.jobs.left(AnyJob))
        assert await office.server.delivery.settle(PATIENCE)
        told = [message.visible for message in workspace.messages(office.channel) if message.ephemeral_to is None]
        assert len([text for text in told if "mioss" in text]) == len(told) == many


async def test_an_approved_run_that_finds_no_place_is_run_once_there_is_one(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.slack.worker, "POLL", 0.05)
    async with slow(sandbox, workspace, tmp_path) as (office, hand, gate):
        request = await office.requested()
        for _ in range(AT_ONCE + WAITING):
            office.server.work.submit(Lane.RUNS, gate.holds)
        await office.approved(request)
        await until(lambda: [type(left.job) for left in office.state.jobs.left(AnyJob)] == [GoOn])
        assert hand.did == []
        gate.open()
        await office.alice.sees(office.channel, "Resolved:", PATIENCE)
        assert len(hand.did) == len(ACTS)


async def test_more_than_fits_from_before_a_restart_is_all_done_after_it(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.slack.worker, "POLL", 0.05)
    monkeypatch.setattr(bot.serve, "WorkLoop", lambda: WorkLoop(waiting=2))
    state = open_state(f"sqlite:///{tmp_path}/state.db", sandbox.clock.now)
    channel, alice = workspace.channel("incidents"), workspace.person("alice")
    asked = AT_ONCE + 15
    for _ in range(asked):
        message = state.messages.add(channel, Content("⏳"))
        state.jobs.add(LookAtLocks(alice.id, channel, None, message))
    state.runbooks.engine.dispose()
    async with serving(sandbox, workspace, tmp_path) as office:
        await until(lambda: not office.state.jobs.left(AnyJob))
        assert await office.server.delivery.settle(PATIENCE)
        said = [message.visible for message in workspace.messages(channel)]
        assert len([text for text in said if "mioss" in text]) == asked


# A state database that cannot be written.


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another process writes, and goes on writing."""
    with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge waits as long as it takes to tell late from in time, and no longer."""
    monkeypatch.setattr(bot.slack.edge.core, "PATIENCE", 0.3)


class Threads:
    """What is under way in threads, whether or not somebody still waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._under_way = 0
        self._guard = threading.Lock()
        self._to_thread = asyncio.to_thread
        monkeypatch.setattr(asyncio, "to_thread", self._counted)

    async def _counted(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def counted() -> Any:
            try:
                return work(*args, **kwargs)
            finally:
                with self._guard:
                    self._under_way -= 1

        with self._guard:
            self._under_way += 1
        return await self._to_thread(counted)

    async def settled(self, office: Office) -> None:
        """Whatever was begun has come to its end, and Slack was told of it."""
        await until(lambda: self._under_way == 0 and office.server.worker.acceptor.idle)
        await until(lambda: not office.state.jobs.left(AnyJob))
        assert await office.server.delivery.settle(PATIENCE)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    return Threads(monkeypatch)


async def test_a_command_to_a_locked_database_is_not_accepted_in_time_and_not_done_later(
    impatient: None, threads: Threads, sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with slow(sandbox, workspace, tmp_path) as (office, hand, _):
        looks = 0

        async def look() -> None:
            nonlocal looks
            looks += 1

        hand.look = look
        with locked(tmp_path):
            reply = await office.alice.types(office.channel, WHY)
            assert in_time(reply)
            assert reply.text == TOO_SLOW
        await threads.settled(office)
        assert looks == 0
        assert not any("⏳" in message.visible for message in workspace.messages(office.channel))
    async with serving(sandbox, workspace, tmp_path, target=hand.on(sandbox.target)) as office:
        await threads.settled(office)
        assert looks == 0


async def test_a_click_that_a_locked_database_does_not_take_is_not_done_later(
    impatient: None, threads: Threads, sandbox: Sandbox, workspace: Workspace, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    given_up = asyncio.Event()
    whisper = bot.slack.edge.Edge.whisper

    async def whispered(*what: Any) -> None:
        given_up.set()
        await whisper(*what)

    monkeypatch.setattr(bot.slack.edge.Edge, "whisper", whispered)
    async with slow(sandbox, workspace, tmp_path) as (office, _, __):
        shown = await office.planned()
        with locked(tmp_path):
            assert in_time(await office.alice.clicks(shown, "Request approval"))
            # Bolt deals with a click after its acknowledgement: the edge gives up while this is held.
            await given_up.wait()
        await office.alice.sees(office.channel, "nothing was accepted", PATIENCE)
        await threads.settled(office)
        assert office.state.runbooks.history() == ()
    async with serving(sandbox, workspace, tmp_path) as office:
        await threads.settled(office)
        assert office.state.runbooks.history() == ()


async def test_an_approval_to_a_locked_database_is_said_to_be_lost_in_the_modal_and_does_not_count_later(
    impatient: None, threads: Threads, sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with slow(sandbox, workspace, tmp_path) as (office, hand, _):
        await office.bob.clicks(await office.requested(), "Approve")
        modal = await office.bob.sees_modal()
        with locked(tmp_path):
            reply = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
            assert in_time(reply)
            assert dict(reply.errors) == {CONFIRM_BLOCK: TOO_SLOW}
        await threads.settled(office)
        assert office.execution().state == "waiting"
        reply = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
        assert in_time(reply)
        assert not reply.errors
        await office.alice.sees(office.channel, "Resolved:", PATIENCE)
        assert len(hand.did) == len(ACTS)
        assert office.events().count(("approved", office.bob.id)) == 1
