"""What people click and type for a run that waits for them: done, attest, try again, skip, cancel, withdraw, freeze."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tests.bot.scenarios.office as office_module
from bot.sandbox.kubernetes.resources import NODES
from bot.sandbox.slack import Message, Workspace
from bot.sandbox.world import Sandbox
from bot.serve import Server
from bot.settings import ChangeFreezeSettings, LimitSettings, PersonSettings, Settings
from bot.slack import worker
from bot.slack.words import CONFIRM_BLOCK, WHY_BLOCK
from bot.store import open_state
from runbooks.execution import Said, State
from tests.bot.scenarios.hands import Gate, Hand, again, over_both, until
from tests.bot.scenarios.office import PATIENCE, Office, serving
from tests.bot.scenarios.proofs import can_be_shown, on_record, quiet, refused, shown_to_all, told

pytestmark = over_both

OWN = """\
id: nodes/{name}
version: 1.0.0
status: stable
title: Look after a node
meaning: Only a test needs it.
impact: None.
owner: cluster on-call
changelog: First release.
parameters: {{node: node}}
steps:
  - id: cordon
    act: kubernetes.cordon
    with: {{node: "{{{{node}}}}"}}
    risk: {risk}
    verify: node_is_cordoned
    undo: kubernetes.uncordon
"""
UNCORDON = """\
  - id: uncordon
    act: kubernetes.uncordon
    with: {node: "{{node}}"}
    verify: %s
    timeout: 5s
    undo: kubernetes.cordon
    on_failure: %s
"""
BOOKS = {
    "by_hand": (
        "low",
        '  - {id: plug, manual: "pull the plug of {{node}}"}\n  - {id: wire, manual: "pull the wire, too"}\n',
    ),
    "is_off": ("low", '  - {id: is_off, attest: node_is_off, with: {node: "{{node}}"}}\n'),
    "fails": ("low", UNCORDON % ("node_is_cordoned", "ask")),
    "gives_back": ("low", UNCORDON % ("node_is_schedulable", "stop")),
    "careful": ("high", ""),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own.mkdir()
    for name, (risk, steps) in BOOKS.items():
        (own / f"{name}.yaml").write_text(OWN.format(name=name, risk=risk) + steps)
    return own


def words(workspace: Workspace, folder: Path, **more: Any) -> dict[str, Any]:
    people = {
        workspace.person("alice").id: PersonSettings(roles=("responder",)),
        workspace.person("bob").id: PersonSettings(roles=("approver",)),
        workspace.person("carol").id: PersonSettings(roles=("viewer",)),
        workspace.person("dora").id: PersonSettings(roles=("admin",)),
    }
    return {"people": people, "runbooks": (str(folder),), **more}


@pytest.fixture
async def office(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, folder: Path
) -> AsyncIterator[Office]:
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, **words(workspace, folder)) as made:
        yield made


@pytest.fixture(autouse=True)
def _all_that_was_said_can_be_shown(workspace: Workspace) -> Iterator[None]:
    yield
    can_be_shown(workspace)


async def started(office: Office, name: str) -> Message:
    """Alice asks for a runbook of low risk, and confirms it; gives its message."""
    await office.alice.types(office.channel, f"/unstick run nodes/{name} node=node2")
    plan = await office.alice.sees(office.channel, "[Request approval]", PATIENCE)
    await office.alice.clicks(plan, "Request approval")
    await quiet(office)
    return request(office)


def request(office: Office) -> Message:
    """The message of the newest execution, as it is now."""
    return next(
        m for m in reversed(shown_to_all(office)) if office.execution().id in m.visible and "asked for" in m.visible
    )


def is_cordoned(office: Office) -> bool:
    nodes = office.sandbox.api.registry.store.all(NODES)
    return next(bool(n["spec"].get("unschedulable")) for n in nodes if n["metadata"]["name"] == "node2")


async def test_a_step_by_hand_waits_for_done_and_an_old_button_counts_for_no_other_step(office: Office) -> None:
    waits = await started(office, "by_hand")
    assert "Waits for somebody's word" in waits.visible
    assert "pull the plug of node2" in waits.visible
    assert waits.buttons == ("Done", "Skip", "Cancel")
    await office.carol.clicks(waits, "Done")
    await quiet(office)
    assert "has neither the role responder nor approver" in refused(office, office.carol)
    first = await office.bob.clicks(waits, "Done")
    await quiet(office)
    assert office.execution().asking == "wire"
    await again(office.bob, first)
    await quiet(office)
    assert "since this button was drawn" in refused(office, office.bob)
    assert office.execution().asking == "wire"
    await office.alice.clicks(request(office), "Done")
    await quiet(office)
    over = request(office)
    assert "✅ Done" in over.visible
    assert over.buttons == ()
    said = office.state.runbooks.statements(office.execution().id)
    assert [(one.step, one.kind, one.person) for one in said] == [
        ("plug", Said.DONE, office.bob.id), ("wire", Said.DONE, office.alice.id),
    ]  # fmt: skip


async def test_two_clicks_on_done_at_once_go_on_once(office: Office) -> None:
    waits = await started(office, "by_hand")
    first = await office.alice.clicks(waits, "Done")
    await again(office.alice, first)
    await quiet(office)
    assert office.execution().asking == "wire", "the second is not for the next step"


async def test_an_attestation_is_typed_and_goes_on_record_with_the_name(office: Office) -> None:
    waits = await started(office, "is_off")
    assert waits.buttons == ("Attest", "Skip", "Cancel")
    await office.bob.clicks(waits, "Attest")
    modal = await office.bob.sees_modal("node node2 is powered off")
    wrong = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    assert wrong.errors == {CONFIRM_BLOCK: "Type node2 exactly, or cancel."}
    assert office.execution().state is State.ASKING
    await office.bob.submits(modal, {CONFIRM_BLOCK: "node2"})
    await quiet(office)
    assert office.execution().state is State.DONE
    assert ("attested", office.bob.id) in office.events()
    assert f"attested by {office.bob.id}" in request(office).visible


async def test_a_failed_step_is_tried_again_or_skipped_by_an_admin_for_a_reason(office: Office) -> None:
    waits = await started(office, "fails")
    assert waits.buttons == ("Try again", "Skip", "Cancel")
    await office.alice.clicks(waits, "Try again")
    await quiet(office)
    anew = request(office)
    assert anew.buttons == ("Try again", "Skip", "Cancel"), "it fails again, and asks again"
    await office.alice.clicks(anew, "Skip")
    await office.alice.submits(await office.alice.sees_modal(), {WHY_BLOCK: "no"})
    await quiet(office)
    assert "does not have the role admin" in refused(office, office.alice)
    dora = office.workspace.person("dora")
    await dora.clicks(anew, "Skip")
    await dora.submits(await dora.sees_modal("uncordon"), {WHY_BLOCK: "it may stay so"})
    await quiet(office)
    assert "Somebody else goes on" in told(office, dora)[-1], "an admin alone runs nothing"
    await office.bob.types(office.channel, f"/unstick run {office.execution().id}")
    await quiet(office)
    assert office.execution().state is State.DONE
    assert "it may stay so" in request(office).visible


async def test_what_waits_is_ended_with_a_reason_and_everybody_sees_by_whom(office: Office) -> None:
    waits = await started(office, "by_hand")
    await office.carol.clicks(waits, "Cancel")
    await office.carol.submits(await office.carol.sees_modal(), {WHY_BLOCK: "mine"})
    await quiet(office)
    assert "has none of the roles" in refused(office, office.carol)
    await office.bob.clicks(waits, "Cancel")
    await office.bob.submits(await office.bob.sees_modal("What was done stands"), {WHY_BLOCK: "wrong node"})
    await quiet(office)
    over = request(office)
    assert office.execution().state is State.CANCELLED
    assert "Cancelled by @bob: wrong node" in over.visible
    assert over.buttons == ()
    assert is_cordoned(office)


async def test_a_run_is_ended_after_the_act_that_is_under_way(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, folder: Path
) -> None:
    gate, hand = Gate(), Hand()
    hand.acts["patch Node node2"] = gate
    async with serving(
        sandbox, workspace, tmp_path, by_http=by_http, target=hand.on(sandbox.target), **words(workspace, folder)
    ) as office:
        await office.alice.types(office.channel, "/unstick run nodes/gives_back node=node2")
        plan = await office.alice.sees(office.channel, "[Request approval]", PATIENCE)
        await office.alice.clicks(plan, "Request approval")
        await gate.arrived()
        runs = await office.alice.sees(office.channel, "[Cancel]", PATIENCE)
        await office.alice.clicks(runs, "Cancel")
        await office.alice.submits(await office.alice.sees_modal(), {WHY_BLOCK: ""})
        await until(lambda: office.execution().wanted == "cancel")
        await office.alice.sees(office.channel, "it will cancel after the act that is under way", PATIENCE)
        gate.open()
        await quiet(office)
        assert office.execution().state is State.CANCELLED
        assert [entry.outcome for entry in office.state.runbooks.entries(office.execution().id)] == ["done"]
        assert hand.did == ["patch Node node2"]


async def test_an_approver_takes_their_own_yes_back_while_nothing_was_begun(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, critical_quorum=2) as office:
        asked = await office.requested()
        await office.approved(asked)
        await quiet(office)
        partly = next(m for m in shown_to_all(office) if m.ts == asked.ts)
        assert partly.buttons == ("Approve", "Deny", "Withdraw")
        await office.alice.clicks(partly, "Withdraw")
        await quiet(office)
        assert f"{office.alice.id} has not approved it" in refused(office, office.alice)
        await office.bob.clicks(partly, "Withdraw")
        await quiet(office)
        after = next(m for m in shown_to_all(office) if m.ts == asked.ts)
        assert after.buttons == ("Approve", "Deny")
        assert office.state.runbooks.approvals(office.execution().id) == ()
        assert ("approval withdrawn", office.bob.id) in office.events()


# Everything is stopped.


async def test_a_freeze_is_told_to_all_and_refuses_plans_with_who_and_why(office: Office) -> None:
    await office.carol.types(office.channel, "/unstick freeze")
    await quiet(office)
    assert "has none of the roles" in shown_to_all(office)[-1].visible
    await office.alice.types(office.channel, "/unstick freeze the storage team's at work")
    await quiet(office)
    assert (
        "Everything is stopped in cluster sandbox by @alice: the storage team's at work"
        in shown_to_all(office)[-1].visible
    )
    await office.alice.types(office.channel, "/unstick run nodes/by_hand node=node2")
    await quiet(office)
    plan = shown_to_all(office)[-1]
    assert f"by {office.alice.id}: the storage team's at work" in plan.visible
    assert plan.buttons == ()
    await office.alice.types(office.channel, "/unstick thaw")
    await quiet(office)
    assert "has neither the role approver nor admin" in shown_to_all(office)[-1].visible
    await office.bob.types(office.channel, "/unstick thaw")
    await quiet(office)
    assert "Acts may go on in cluster sandbox, says @bob" in shown_to_all(office)[-1].visible
    await started(office, "by_hand")
    assert is_cordoned(office)
    assert [event for event, _ in office.events()][:4] == ["freeze refused", "frozen", "thaw refused", "thawed"]


async def test_a_freeze_between_two_acts_pauses_and_the_thaw_tells_how_to_go_on(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, folder: Path
) -> None:
    gate, hand = Gate(), Hand()
    hand.acts["patch Node node2"] = gate
    async with serving(
        sandbox, workspace, tmp_path, by_http=by_http, target=hand.on(sandbox.target), **words(workspace, folder)
    ) as office:
        await office.alice.types(office.channel, "/unstick run nodes/gives_back node=node2")
        plan = await office.alice.sees(office.channel, "[Request approval]", PATIENCE)
        await office.alice.clicks(plan, "Request approval")
        await gate.arrived()
        await office.bob.types(office.channel, "/unstick freeze stop it")
        await office.bob.sees(office.channel, "Everything is stopped", PATIENCE)
        gate.open()
        await quiet(office)
        assert hand.did == ["patch Node node2"], "the act under way is finished, and no other is begun"
        paused = request(office)
        assert "⏸️ Paused" in paused.visible
        assert "stop it" in paused.visible
        assert paused.buttons == ("Cancel",)
        await office.alice.types(office.channel, f"/unstick run {office.execution().id}")
        await quiet(office)
        assert office.execution().state is State.PAUSED
        await office.bob.types(office.channel, "/unstick thaw")
        await quiet(office)
        assert f"/unstick run {office.execution().id}" in shown_to_all(office)[-1].visible
        await office.alice.types(office.channel, f"/unstick run {office.execution().id}")
        await quiet(office)
        assert office.execution().state is State.DONE
        assert not is_cordoned(office)


async def test_a_change_freeze_refuses_what_it_does_not_exempt_in_its_own_time_zone(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, folder: Path
) -> None:
    # The sandbox's time is 03:19 UTC on a Tuesday: 22:19 of Monday in New York, 04:19 in Berlin.
    evening = ChangeFreezeSettings(
        cron="0 22 * * mon", lasts=timedelta(hours=8), timezone="America/New_York", exempt=("nodes/is_off",)
    )
    over = ChangeFreezeSettings(cron="0 1 * * tue", lasts=timedelta(hours=3), timezone="Europe/Berlin")
    freezes = {"nights": evening, "early": over}
    async with serving(
        sandbox, workspace, tmp_path, by_http=by_http, **words(workspace, folder, change_freezes=freezes)
    ) as office:
        await office.alice.types(office.channel, "/unstick run nodes/by_hand node=node2")
        await quiet(office)
        plan = shown_to_all(office)[-1]
        assert "the change freeze nights holds until 03 Mar 06:00 EST" in plan.visible
        assert "early" not in plan.visible, "it ended at 04:00 in Berlin"
        assert plan.buttons == ()
        await started(office, "is_off")
        assert is_cordoned(office)


async def test_a_limit_refuses_the_act_that_would_be_one_too_many(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, folder: Path
) -> None:
    limits = (LimitSettings(per="node", acts=1, within=timedelta(hours=1)),)
    async with serving(
        sandbox, workspace, tmp_path, by_http=by_http, **words(workspace, folder, limits=limits)
    ) as office:
        await started(office, "is_off")
        await office.bob.clicks(request(office), "Attest")
        await office.bob.submits(await office.bob.sees_modal(), {CONFIRM_BLOCK: "node2"})
        await quiet(office)
        await office.alice.types(office.channel, "/unstick run nodes/is_off node=node2")
        await quiet(office)
        assert (
            "this would be act 2 within 60 min for node node2, and the limit is 1" in shown_to_all(office)[-1].visible
        )
        await sandbox.sleep(3601)
        await office.alice.types(office.channel, "/unstick run nodes/is_off node=node2")
        await quiet(office)
        assert "Request approval" in shown_to_all(office)[-1].buttons, "that was more than an hour ago"


async def test_a_change_freeze_that_is_written_into_the_file_holds_from_the_next_plan_on(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_now = [Settings(**words(workspace, folder))]
    monkeypatch.setattr(office_module, "Server", partial(Server, people=lambda: told_now[-1]))
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, **words(workspace, folder)) as office:
        always = ChangeFreezeSettings(cron="0 * * * *", lasts=timedelta(hours=2))
        limits = (LimitSettings(per="node", acts=1, within=timedelta(hours=1)),)
        told_now.append(told_now[0].model_copy(update={"change_freezes": {"now": always}}))
        await office.alice.types(office.channel, "/unstick run nodes/by_hand node=node2")
        await quiet(office)
        assert "the change freeze now holds" in shown_to_all(office)[-1].visible
        told_now.append(told_now[0].model_copy(update={"limits": limits}))
        await office.alice.types(office.channel, "/unstick run nodes/gives_back node=node2")
        await quiet(office)
        assert "this would be act 2 within 60 min for node node2" in shown_to_all(office)[-1].visible
        told_now.append(told_now[0])
        await started(office, "by_hand")
        assert is_cordoned(office)


# A request that nobody answered.


async def waiting(office: Office) -> Message:
    await office.alice.types(office.channel, "/unstick run nodes/careful node=node2")
    asked = await office.offered("Approve")
    await quiet(office)
    return asked


def calls(office: Office) -> list[Message]:
    return [m for m in shown_to_all(office) if "your request" in m.visible and "expired" in m.visible]


async def test_an_expired_request_is_edited_and_its_requester_told_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await waiting(office)
    office.sandbox.clock.forward(15 * 60)
    monkeypatch.setattr(worker, "KEEP", 0.02)
    await office.server.worker.sweep()
    await quiet(office)
    over = next(m for m in shown_to_all(office) if m.ts == asked.ts)
    assert "⌛ Expired: nodes/careful@1.0.0" in over.visible
    assert over.buttons == ()
    [call] = calls(office)
    assert "@alice: your request" in call.visible
    assert call.thread_ts == (asked.thread_ts or asked.ts)
    for _ in range(3):
        await office.server.worker.sweep()
    await quiet(office)
    assert len(calls(office)) == 1
    assert ("void", "engine") in office.events()
    await office.bob.types(office.channel, "/unstick runbooks")
    assert not [e for e in on_record(office) if e[0] == "click refused"]


@pytest.mark.parametrize("swept_by", ["the bot", "the command line"])
async def test_a_request_that_expired_while_the_bot_was_away_is_told_after_the_restart(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, folder: Path, swept_by: str
) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            serving(sandbox, workspace, tmp_path, by_http=by_http, **words(workspace, folder))
        )
        asked = await waiting(first)
    sandbox.clock.forward(20 * 60)
    if swept_by == "the command line":
        state = open_state(f"sqlite:///{tmp_path / 'state.db'}", sandbox.clock.now)
        assert len(state.runbooks.expire(state.runbooks.now())) == 1
        state.runbooks.engine.dispose()
    for _ in range(2):
        async with serving(sandbox, workspace, tmp_path, by_http=by_http, **words(workspace, folder)) as office:
            await office.alice.sees(office.channel, "your request", PATIENCE)
            await quiet(office)
            assert len(calls(office)) == 1
            assert "Expired" in next(m for m in shown_to_all(office) if m.ts == asked.ts).visible
