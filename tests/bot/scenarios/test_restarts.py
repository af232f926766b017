"""Restarts at every moment of the incident: the next server goes on by itself, and nothing is done twice."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

import bot.serve
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.slack import remedies
from bot.slack.jobs import AnyJob
from bot.slack.words import CONFIRM_BLOCK
from runbooks import engine as engines
from tests.bot.scenarios.hands import ACTS, Gate, Hand, until
from tests.bot.scenarios.office import PATIENCE, WHY, Office, serving

Serve = Callable[[Hand], Any]


@pytest.fixture
def serve(sandbox: Sandbox, workspace: Workspace, tmp_path: Path) -> Serve:
    """Serves the same state and the same people anew, each time that it is called."""

    @asynccontextmanager
    async def serve(hand: Hand) -> AsyncIterator[Office]:
        assert await workspace.changes.until(lambda: workspace.connections == 0 or None, PATIENCE)
        async with serving(sandbox, workspace, tmp_path, target=hand.on(sandbox.target)) as office:
            yield office

    return serve


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that does not wait for what is under way: a test holds it, so it would wait in vain."""
    monkeypatch.setattr(bot.serve, "LAST_ACT", 0.05)


async def ended_well(office: Office, hand: Hand, done: list[str] = ACTS) -> None:
    """The messages say the end, each act came once, nothing is left over, and the audit log is whole."""
    resolved = await office.carol.sees(office.channel, "Resolved:", PATIENCE)
    await office.carol.sees(office.channel, "✅ Done: ceph/stale_rbd_lock@1.0.0", PATIENCE)
    office.server.stop()
    await until(lambda: office.workspace.connections == 0)
    await until(lambda: not office.state.jobs.left(AnyJob))
    assert len(hand.did) == len(done), hand.did
    assert all(did.startswith(name) for did, name in zip(hand.did, done, strict=True))
    execution = office.execution()
    assert execution.state == "done", execution.reason
    assert office.state.runbooks.audit_fault() is None
    entries = office.state.runbooks.entries(execution.id)
    assert sorted(entry.step for entry in entries if entry.outcome == "done") == ["clear", "cordon", "fence", "unlock"]
    # The incident, its plan and its request: nothing was posted twice.
    said = [message for message in office.workspace.messages(office.channel) if message.ephemeral_to is None]
    assert len(said) == 3, [message.visible for message in said]
    assert resolved.ts == said[0].ts
    assert not any("mistake in Unstick" in message.visible for message in office.workspace.messages(office.channel))


async def asked(office: Office) -> None:
    reply = await office.alice.types(office.channel, WHY)
    assert reply.error is None


async def plan_clicked(office: Office) -> None:
    await office.alice.clicks(await office.alice.sees(office.channel, "[Plan fix]", PATIENCE), "Plan fix")


async def request_clicked(office: Office) -> None:
    await office.alice.clicks(await office.offered("Request approval"), "Request approval")


async def approval_submitted(office: Office) -> None:
    await office.approved(await office.offered("Approve"))


# What comes before the moment, and what is cut short.
MOMENTS: dict[str, tuple[Callable[[Office], Awaitable[Any]], Callable[[Office], Awaitable[None]]]] = {
    "plan": (Office.incident, plan_clicked),
    "request": (Office.planned, request_clicked),
    "approve": (Office.requested, approval_submitted),
}
AFTER = [plan_clicked, request_clicked, approval_submitted]


async def test_a_question_that_was_taken_is_answered_after_a_restart(serve: Serve, hasty: None) -> None:
    hand, gate = Hand(), Gate()
    hand.look = gate.holds
    async with serve(hand) as office:
        await asked(office)
        await office.alice.sees(office.channel, "⏳ Looking at", PATIENCE)
        await gate.arrived()
    gate.open()
    async with serve(hand) as office:
        message = await office.alice.sees(office.channel, "suspect", PATIENCE)
        await office.sandbox.sleep(35)
        await office.alice.clicks(message, "Why?")
        await office.alice.sees(office.channel, "stale; no watcher", PATIENCE)
        for step in AFTER:
            await step(office)
        await ended_well(office, hand)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_what_was_clicked_is_done_after_a_restart(moment: str, serve: Serve, hasty: None) -> None:
    hand, gate = Hand(), Gate()
    before, cut_short = MOMENTS[moment]
    async with serve(hand) as office:
        await before(office)
        hand.look = gate.holds
        await cut_short(office)
        await gate.arrived()
    gate.open()
    async with serve(hand) as office:
        for step in AFTER[list(MOMENTS).index(moment) + 1 :]:
            await step(office)
        await ended_well(office, hand)


async def test_each_button_and_the_modal_work_in_a_server_that_did_not_draw_them(serve: Serve) -> None:
    hand = Hand()
    async with serve(hand) as office:
        await office.incident()
    async with serve(hand) as office:
        await plan_clicked(office)
        await office.offered("Request approval")
    async with serve(hand) as office:
        await request_clicked(office)
        await office.offered("Approve")
    async with serve(hand) as office:
        await office.bob.clicks(await office.offered("Approve"), "Approve")
        modal = await office.bob.sees_modal()
    async with serve(hand) as office:
        reply = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
        assert (reply.error, dict(reply.errors)) == (None, {})
        await ended_well(office, hand)


async def test_a_server_that_is_stopped_in_an_act_ends_it_and_leaves_the_rest_to_the_next(serve: Serve) -> None:
    hand, gate = Hand(), Gate()
    hand.acts["osd blocklist"] = gate
    async with serve(hand) as office:
        await office.approved(await office.requested())
        await gate.arrived()
        office.server.stop()
        await until(office.server.worker.stopping.is_set)
        gate.open()
    assert [entry.outcome for entry in office.state.runbooks.entries(office.execution().id)] == ["done", "done"]
    assert office.execution().state == "approved"
    assert len(hand.did) == 2
    async with serve(hand) as office:
        await ended_well(office, hand)


async def test_an_act_that_was_cut_short_before_it_was_sent_is_done_by_the_next_server(
    serve: Serve, hasty: None
) -> None:
    hand, gate = Hand(), Gate()
    hand.acts["patch Node"] = gate
    async with serve(hand) as office:
        await office.approved(await office.requested())
        await gate.arrived()
    assert office.execution().state == "in_doubt"
    gate.open()
    async with serve(hand) as office:
        await ended_well(office, hand)


async def test_an_act_whose_answer_was_not_heard_is_verified_by_the_next_server_and_not_repeated(
    serve: Serve, hasty: None
) -> None:
    hand, gate = Hand(), Gate()
    hand.after["delete Pod"] = gate
    async with serve(hand) as office:
        await office.approved(await office.requested())
        await gate.arrived()
    gate.open()
    async with serve(hand) as office:
        await ended_well(office, hand)


async def test_an_act_on_ceph_that_lands_after_its_server_ended_is_not_repeated(serve: Serve, hasty: None) -> None:
    hand, gate = Hand(), Gate()
    hand.acts["break_lock"] = gate
    async with serve(hand) as office:
        await office.approved(await office.requested())
        await gate.arrived()
        office.server.stop()
        await until(lambda: office.execution().state == "in_doubt")
        gate.open()
    async with serve(hand) as office:
        await ended_well(office, hand)


class Killed:
    """Plays kill -9 for one server. Its process and the simulated cluster's are one, so that it cannot be killed.

    First the database is taken from it: whatever its code still does on the way down, nothing of that is kept. Its
    sockets are cut, and only then is it ended. So its lease stays, its acts stay without an outcome, and nobody is told.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current = "first"
        self.dead: set[str] = set()
        monkeypatch.setattr(engines, "this_process", lambda: self.current)
        monkeypatch.setattr(engines, "has_died", lambda owner: owner in self.dead)
        monkeypatch.setattr(remedies, "has_died", lambda owner: owner in self.dead)
        monkeypatch.setattr(bot.serve, "LAST_WORDS", 0.05)

    async def kills(self, office: Office, *, known: bool) -> None:
        """The server is gone. `known`: its host is the next one's, which can see that the process is no more."""

        def gone(*_: object) -> None:
            raise OperationalError("BEGIN", {}, Exception("the process is gone"))

        await office.server.delivery.settle(PATIENCE)
        event.listen(office.state.runbooks.engine, "begin", gone)
        await office.workspace.close_sockets()
        if known:
            self.dead.add(self.current)
        self.current = "second"


@pytest.mark.parametrize(
    ("when", "known"), [("before", True), ("after", False)], ids=["on this host", "on a host that nobody hears of"]
)
async def test_a_run_whose_server_was_killed_in_an_act_is_gone_on_with(
    when: str, known: bool, serve: Serve, hasty: None, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, tmp_path: Path
) -> None:  # fmt: skip
    hand, gate, killed = Hand(), Gate(), Killed(monkeypatch)
    (hand.acts if when == "before" else hand.after)["patch Node"] = gate
    async with serve(hand) as office:
        await office.approved(await office.requested())
        await gate.arrived()
        await killed.kills(office, known=known)
    with closing(sqlite3.connect(tmp_path / "state.db")) as left:
        assert left.execute("SELECT state, lease_owner FROM executions").fetchall() == [("running", "first")]
    gate.open()
    began = sandbox.clock.now()
    async with serve(hand) as office:
        await ended_well(office, hand)
    waited = (sandbox.clock.now() - began).total_seconds()
    assert known or waited >= 60, "a lease lasts a minute"
