"""The windows in which a runbook is chosen and told its parameters: typed by kind, complaints at the field, then planned."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.slack.words import RUN_MODAL, parameter_block
from tests.bot.scenarios.office import PATIENCE, Office, serving
from tests.bot.scenarios.proofs import IMAGE, can_be_shown, lockers, quiet, shown_to_all, untouched

TYPED = """
id: team/typed
version: 1.0.0
status: stable
title: Something that takes parameters of all kinds
owner: a team
changelog: First.
answers: [ceph/locks_stale]
meaning: A node that is down takes no more pods.
impact: None.
parameters:
  node: {kind: node, description: the node}
  how: {kind: enum, values: [gently, at once], description: how}
  times: {kind: int, required: false, description: how often}
  within: {kind: duration, default: 3m, description: how long}
steps:
  - id: cordon
    when: [node_is_down]
    act: kubernetes.cordon
    with: {node: "{{node}}"}
    require: [object_unchanged]
    verify: node_is_cordoned
    undo: none
    because: uncordon it by hand once it is back
  - id: note
    note: "{{node}} was cordoned {{how}}, {{times}} times, within {{within}}"
"""


@pytest.fixture(params=["socket", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """How Slack reaches the bot."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _all_that_was_said_can_be_shown(workspace: Workspace) -> Iterator[None]:
    yield
    can_be_shown(workspace)


async def test_what_is_missing_is_asked_for_in_a_window_and_what_was_typed_is_in_it(office: Office) -> None:
    (locker,) = lockers(office)
    await office.alice.types(office.channel, "/unstick locks")
    await quiet(office)
    await office.sandbox.sleep(35)
    reply = await office.alice.types(office.channel, f"/unstick run ceph/stale_rbd_lock image={IMAGE} node=node1")
    assert "Fill in the window" in reply.text
    modal = await office.alice.sees_modal("Free an RBD image from a dead client's lock")
    before = len(shown_to_all(office))
    wrong = await office.alice.submits(modal, {parameter_block("locker"): "somebody"})
    assert set(wrong.errors) == {parameter_block("locker")}
    assert "client.NUMBER/COOKIE" in wrong.errors[parameter_block("locker")]
    await quiet(office)
    assert len(shown_to_all(office)) == before, "nothing is planned yet"
    right = await office.alice.submits(
        modal, {parameter_block("locker"): locker, parameter_block("pod"): f"{NAMESPACE}/{STUCK_POD}"}
    )
    assert not right.errors
    assert office.workspace.modals.stack(office.alice.id) == ()
    request = await office.offered("Approve")
    assert "ceph/stale_rbd_lock@1.0.0" in request.visible
    await quiet(office)
    params = office.execution().plan.params
    assert (params["image"], params["locker"], params["node"]) == (IMAGE, locker, "node1")
    untouched(office)


async def test_run_alone_asks_which_first_and_then_what_it_takes(office: Office) -> None:
    await office.alice.types(office.channel, "/unstick run")
    chooser = await office.alice.sees_modal("What it is told comes next")
    chosen = await office.alice.submits(chooser, {"Runbook": "nodes/uncordon"})
    assert not chosen.errors
    modal = await office.alice.sees_modal("nodes/uncordon@1.0.0")
    assert modal.content["callback_id"] == RUN_MODAL
    reply = await office.alice.submits(modal, {parameter_block("node"): "Node 1!"})
    assert set(reply.errors) == {parameter_block("node")}
    assert not (await office.alice.submits(modal, {parameter_block("node"): "node1"})).errors
    await quiet(office)
    assert "nodes/uncordon@1.0.0" in shown_to_all(office)[-1].visible
    untouched(office)


async def test_each_parameter_has_the_input_of_its_kind(sandbox: Sandbox, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "typed.yaml").write_text(TYPED)
    async with serving(sandbox, workspace, tmp_path, runbooks=(str(tmp_path / "books"),)) as office:
        await office.alice.types(office.channel, "/unstick run team/typed node=node1")
        modal = await office.alice.sees_modal("Something that takes parameters")
        inputs = {each["block_id"]: each for each in modal.blocks if each["type"] == "input"}
        kinds = {name: each["element"]["type"] for name, each in inputs.items()}
        assert kinds == {
            parameter_block("node"): "plain_text_input", parameter_block("how"): "static_select",
            parameter_block("times"): "number_input", parameter_block("within"): "plain_text_input",
        }  # fmt: skip
        assert inputs[parameter_block("node")]["element"]["initial_value"] == "node1"
        assert inputs[parameter_block("within")]["element"]["initial_value"] == "3m"
        assert inputs[parameter_block("times")]["optional"] is True
        wrong = await office.alice.submits(
            modal, {parameter_block("how"): "at once", parameter_block("within"): "a while"}
        )
        assert set(wrong.errors) == {parameter_block("within")}
        assert not (await office.alice.submits(
            modal, {parameter_block("how"): "at once", parameter_block("within"): "90s", parameter_block("times"): "2"}
        )).errors  # fmt: skip
        plan = await office.alice.sees(office.channel, "team/typed@1.0.0", PATIENCE)
        await quiet(office)
        plan = shown_to_all(office)[-1]
        assert "how = at once" in plan.visible
        assert "times = 2" in plan.visible
        assert "within = 90s" in plan.visible
        untouched(office)


async def test_a_window_that_slack_does_not_open_is_said_to_whoever_asked(office: Office) -> None:
    office.workspace.faults.fail("views.open", "expired_trigger_id")
    reply = await office.alice.types(office.channel, "/unstick run nodes/uncordon")
    assert "Slack did not open the dialog (expired_trigger_id)" in reply.text
    await office.alice.types(office.channel, "/unstick run nodes/uncordon")
    await office.alice.sees_modal("nodes/uncordon@1.0.0")
    untouched(office)


async def test_a_window_of_a_mention_cannot_be_opened_so_it_is_said_what_is_missing(office: Office) -> None:
    await office.alice.says(office.channel, "@unstick run nodes/uncordon")
    await quiet(office)
    assert "parameter 'node' is missing" in shown_to_all(office)[-1].visible
    untouched(office)
