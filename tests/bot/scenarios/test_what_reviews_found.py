"""What independent reviews found: each of these once acted, lost something, or told what was not so."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bot.serve
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.settings import PersonSettings
from bot.slack import looks, remedies, worker
from bot.slack.blocks import modals
from bot.slack.edge import core as edge
from bot.slack.jobs import AnyJob, Approve
from bot.slack.words import CONFIRM_BLOCK
from bot.store.jobs import Jobs
from bot.store.messages import Messages
from bot.store.requests import Request, Requests
from bot.work import AT_ONCE, WAITING, Lane
from diagnostics.model import Status
from runbooks.database import StoreError
from runbooks.plan import PLAN_LASTS
from runbooks.store import State
from tests.bot.scenarios.hands import Gate, Hand, until
from tests.bot.scenarios.office import PATIENCE, Office, serving
from tests.bot.scenarios.proofs import forbid, quiet, shown_to_all, told, untouched
from tests.bot.scenarios.test_refusals import _asked_on_the_command_line, executions, now, one_victim_less
from tests.bot.scenarios.test_schedule_scenario import HEALTH, by_default, fire


def failing_once(real: Callable[..., Any]) -> Callable[..., Any]:
    """A call to the store that fails the first time."""
    calls = count()

    def called(*given: Any, **named: Any) -> Any:
        if next(calls) == 0:
            raise StoreError("The state database cannot be written: disk I/O error; check its disk and rights.")
        return real(*given, **named)

    return called


@pytest.fixture
def ops(workspace: Workspace) -> str:
    return workspace.channel("ops")


async def test_the_second_click_of_a_double_click_asks_for_no_plan_that_was_not_read(office: Office) -> None:
    plan = await office.planned()
    one_victim_less(office)
    click = await office.alice.clicks(plan, "Request approval")
    await quiet(office)
    await office.alice.replay(click)  # the screen showed the first plan still
    await quiet(office)
    assert executions(office) == []
    assert "made anew since this button was drawn" in told(office, office.alice)[-1]
    again = await office.offered("Request approval")
    await office.alice.clicks(again, "Request approval")
    assert executions(office) == [State.WAITING] or await office.offered("Approve")


async def test_what_was_said_to_be_lost_is_not_done_after_a_restart_either(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await office.requested()
    await quiet(office)
    await office.bob.clicks(request, "Approve")
    modal = await office.bob.sees_modal("What dies")
    add = Jobs.add_all

    def late(self: Jobs, *given: Any) -> Any:
        time.sleep(0.5)  # as a locked database would; the answer was given up long before
        return add(self, *given)

    monkeypatch.setattr(edge, "PATIENCE", 0.1)
    monkeypatch.setattr(Jobs, "add_all", late)
    monkeypatch.setattr(Jobs, "done", lambda *_: pytest.fail("there is nothing to take back"))
    reply = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    assert "nothing was accepted" in reply.errors[CONFIRM_BLOCK]
    await asyncio.to_thread(time.sleep, 0.8)
    assert office.state.jobs.left(AnyJob) == ()
    monkeypatch.undo()
    assert executions(office) == [State.WAITING]
    untouched(office)


async def test_a_decision_of_long_ago_is_not_done_after_a_restart_and_its_asker_is_told(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with serving(sandbox, workspace, tmp_path) as office:
        await office.requested()
        asked = office.execution().id
    state = office.state
    state.jobs.add(Approve(office.bob.id, office.channel, asked, "node1"))
    sandbox.clock.forward(PLAN_LASTS / timedelta(seconds=1))
    async with serving(sandbox, workspace, tmp_path) as office:
        said = await office.bob.sees(office.channel, "was left undone while Unstick was away", PATIENCE)
        assert said.ephemeral_to == office.bob.id
        await quiet(office)
        assert office.state.runbooks.approvals(asked) == ()
        untouched(office)


async def test_an_approved_run_that_was_turned_away_says_so_and_ends_when_its_time_is_over(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "KEEP", 0.05)
    approve = remedies.approve
    async with serving(sandbox, workspace, tmp_path) as office:
        request = await office.requested()

        async def and_then_kubernetes_is_silent(*given: Any) -> Any:
            following = await approve(*given)
            forbid(office, "pods")
            return following

        monkeypatch.setattr(remedies, "approve", and_then_kubernetes_is_silent)
        await office.approved(request)
        said = await office.alice.sees(office.channel, "and not run", PATIENCE)
        assert "/unstick run ex-" in said.visible
        sandbox.clock.forward(3600)
        await until(lambda: office.execution().state is State.VOID)
        await quiet(office)
        await until(lambda: "⌛ Expired" in now(office, request).visible)
        untouched(office)


async def test_a_restart_between_the_end_of_a_run_and_the_last_look_resolves_the_incident_all_the_same(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.serve, "LAST_ACT", 0.2)
    gate, look = Gate(), looks.look_at_subject
    async with serving(sandbox, workspace, tmp_path) as office:
        request = await office.requested()

        async def held(*given: Any) -> Any:
            await gate.holds()
            return await look(*given)

        monkeypatch.setattr(looks, "look_at_subject", held)
        await office.approved(request)
        await gate.arrived()
        assert executions(office) == [State.DONE]
    gate.open()
    before = len(told(office, office.bob))
    async with serving(sandbox, workspace, tmp_path) as office:
        await office.alice.sees(office.channel, "Resolved", PATIENCE)
        await quiet(office)
        assert len(told(office, office.bob)) == before, "nobody is told that a run which ended well cannot be run"


@pytest.mark.parametrize("part", [(Requests, "asked"), (Messages, "add_within")], ids=lambda part: part[1])
async def test_a_request_stands_with_its_message_or_not_at_all(
    office: Office, part: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await office.planned()

    monkeypatch.setattr(*part, failing_once(getattr(*part)))
    await office.alice.clicks(plan, "Request approval")
    await quiet(office)
    assert "cannot be written" in told(office, office.alice)[-1]
    assert executions(office) == []
    assert not any("Approve" in m.buttons for m in shown_to_all(office))
    await office.alice.clicks(await office.offered("Request approval"), "Request approval")
    await office.offered("Approve")
    assert executions(office) == [State.WAITING]


async def test_a_report_waits_for_a_place_where_all_are_taken(
    sandbox: Sandbox, workspace: Workspace, ops: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "POLL", 0.05)
    hand, gate = Hand(), Gate()
    target = hand.on(sandbox.target)
    slack = by_default(workspace, ops)
    async with serving(sandbox, workspace, tmp_path, schedules=HEALTH, slack=slack, target=target) as office:
        hand.look = gate.holds
        for _ in range(AT_ONCE + WAITING):
            office.server.work.submit(Lane.LOOKS, gate.holds)
        await sandbox.sleep(60)
        await fire(office)
        gate.open()
        assert await office.alice.sees(ops, "Health of sandbox", PATIENCE)


async def test_news_that_could_not_be_said_at_once_is_said_and_no_failure_of_it(
    sandbox: Sandbox, workspace: Workspace, ops: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack = by_default(workspace, ops)
    async with serving(sandbox, workspace, tmp_path, schedules=HEALTH, slack=slack) as office:
        monkeypatch.setattr(Messages, "add_within", failing_once(Messages.add_within))
        await sandbox.sleep(60)
        await fire(office)
        report = await office.alice.sees(ops, "Health of sandbox", PATIENCE)
        assert "new" in report.visible.splitlines()[0]
        assert not [each for each in workspace.messages(ops) if "cannot be written" in each.visible]


async def test_a_request_that_cannot_be_told_of_keeps_no_other_from_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_of: list[str] = []

    async def tell(_: Any, execution: str) -> None:
        told_of.append(execution)
        if execution == "ex-1":
            raise ValueError("a mistake")

    two = tuple(Request(name, None, 1, office.channel, False) for name in ("ex-1", "ex-2"))
    monkeypatch.setattr(worker, "tell_request", tell)
    monkeypatch.setattr(worker, "KEEP", 0.01)
    monkeypatch.setattr(Requests, "open", lambda _: two)
    keeping = office.server.work.call(office.server.worker.keep())
    await until(lambda: told_of.count("ex-2") > 1)
    keeping.cancel()


async def test_who_may_not_run_an_execution_shows_nobody_what_it_is(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    people = {workspace.person("alice").id: PersonSettings(roles=("responder",), also=("cli:alice",))}
    async with serving(sandbox, workspace, tmp_path, people=people, unknown_people="nobody") as office:
        dave, elsewhere = workspace.person("dave"), workspace.channel("random")
        await office.incident()
        asked = await _asked_on_the_command_line(office, "cli:alice")
        await dave.types(elsewhere, f"/unstick run {asked.id}")
        await dave.sees(elsewhere, "cannot be run", PATIENCE)
        await quiet(office)
        assert [m for m in workspace.messages(elsewhere) if m.ephemeral_to is None] == []
        assert office.state.requests.get(asked.id) is None


async def test_every_address_that_is_fenced_stands_in_the_dialog(office: Office) -> None:
    await office.requested()
    made = office.execution()
    entries = [f"[2001:db8:1234:5678:9abc:def0:{i:04x}:1]:0/0" for i in range(12)]
    steps = []
    for step in made.plan.steps:
        act = step.act
        if act is not None and act.action == "ceph.fence":
            says = f"fence node node1: blocklist {', '.join(entries)} for 157784760 s"
            act = msgspec.structs.replace(act, says=says, effect={**act.effect, "entries": entries})
        steps.append(msgspec.structs.replace(step, act=act))
    plan = msgspec.structs.replace(made.plan, steps=tuple(steps))
    view = modals.approval_modal(msgspec.structs.replace(made, plan=plan), office.channel)
    assert all(entry in str(view["blocks"]) for entry in entries)


async def test_one_row_that_nobody_can_read_ends_no_round_for_good(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = count()

    def expire(_: Any, __: Any) -> tuple[str, ...]:
        if next(rounds) == 0:
            raise ValueError("a plan of another version")
        return ()

    monkeypatch.setattr(worker, "KEEP", 0.01)
    monkeypatch.setattr(type(office.state.runbooks), "expire", expire)
    keeping = office.server.work.call(office.server.worker.keep())
    await until(lambda: next(rounds) > 4)
    assert not keeping.done()
    keeping.cancel()


async def test_a_pod_that_only_begins_to_start_leaves_no_incident(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = await office.incident()
    look = looks.look_at_subject

    async def starts(*given: Any) -> Any:
        found = await look(*given)
        return msgspec.structs.replace(found, status=Status.OK, starting=True)

    monkeypatch.setattr(looks, "look_at_subject", starts)
    await office.alice.clicks(incident, "Why?")
    await quiet(office)
    assert "Resolved" not in now(office, incident).visible
