"""Each command in Slack: acknowledged at once, to whoever typed it; answered in one message that everybody sees."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.settings import ClusterSettings
from bot.slack.commands import usages
from bot.wiring import Target
from runbooks.store import State as ExecutionState
from tests.bot.scenarios.hands import Gate, over_both
from tests.bot.scenarios.office import PATIENCE, WHY, Office, serving
from tests.bot.scenarios.proofs import (
    IMAGE,
    can_be_shown,
    forbid,
    lockers,
    on_record,
    quiet,
    refused,
    shown_to_all,
    told,
    untouched,
)

pytestmark = over_both

HEALTHY = "/unstick why pod/reports-0 -n media"
CORDON = """
id: team/cordon
version: 1.0.0
status: stable
title: Cordon a node that is down
owner: a team
changelog: First.
answers: [ceph/locks_stale]
meaning: A node that is down takes no more pods.
impact: None.
parameters:
  node: {kind: node, description: the node}
  image: {kind: rbd_image, required: false, description: what the node has locked}
steps:
  - id: cordon
    given: [image]
    when: [node_is_down]
    act: kubernetes.cordon
    with: {node: "{{node}}"}
    require: [object_unchanged]
    verify: node_is_cordoned
    undo: none
    because: uncordon it by hand once it is back
"""


@pytest.fixture(autouse=True)
def _all_that_was_said_can_be_shown(workspace: Workspace) -> Iterator[None]:
    yield
    can_be_shown(workspace)


async def asked(office: Office, line: str) -> str:
    """What a command is answered with, in a message of its own that everybody sees."""
    before = len(shown_to_all(office))
    reply = await office.alice.types(office.channel, line)
    assert reply.error is None
    assert reply.text.startswith("The answer comes in this channel")
    assert told(office, office.alice)[-1].startswith(reply.text[:32]), "the acknowledgement is for whoever typed"
    await quiet(office)
    said = shown_to_all(office)
    assert len(said) == before + 1, "one command is one message"
    return said[-1].visible


async def test_help_and_runbooks_are_answered_at_once_and_to_the_asker_alone(office: Office) -> None:
    for line in ("/unstick", "/unstick help"):
        reply = await office.alice.types(office.channel, line)
        for usage, meaning in usages():
            assert usage in reply.text
            assert meaning in reply.text
        assert told(office, office.alice)[-1] == reply.text
    listed = await office.alice.types(office.channel, "/unstick runbooks")
    assert "ceph/stale_rbd_lock@1.0.0  Free an RBD image from a dead client's lock" in listed.text
    await quiet(office)
    assert shown_to_all(office) == []


async def test_every_look_is_answered_in_a_message_of_its_own(office: Office) -> None:
    everything = await asked(office, "/unstick check")
    assert f"{NAMESPACE}/{STUCK_POD} waits for {IMAGE}" in everything
    assert "root cause: Node node1" in everything
    assert "13 pods" in everything
    one = await asked(office, f"/unstick check {NAMESPACE}")
    assert f"{NAMESPACE}/{STUCK_POD} waits for {IMAGE}" in one
    assert "2 pods" in one
    media = await asked(office, "/unstick check -n media")
    assert STUCK_POD not in media
    locks = await asked(office, "/unstick locks")
    assert "3 lockers; 3 images in 1 pool" in locks
    assert "2 suspect, 1 live" in locks
    for verdict, image in (("suspect", IMAGE), ("suspect", "mioss/ledger-image"), ("live", "mioss/reports-image")):
        assert f"{verdict}  {image}" in locks
    assert await asked(office, HEALTHY) == "🟢 ok  Pod media/reports-0: it is Running and waits for nothing"
    gone = await asked(office, "/unstick why pod/nope -n search")
    assert "There is no Pod nope in namespace search" in gone
    found = await asked(office, WHY)
    assert "ROOT CAUSE  Node node1 is down" in found
    assert "suspect" in found
    await office.sandbox.sleep(35)
    assert "stale  mioss/index-api-image" in await asked(office, "/unstick locks")
    assert on_record(office) == []


async def test_the_answer_takes_the_place_of_the_word_that_it_is_being_looked_at(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    gate, target = Gate(), sandbox.target

    def connect() -> object:
        gate.blocks()
        return target.connect_ceph() if target.connect_ceph else None

    slow = replace(target, connect_ceph=connect)  # type: ignore[arg-type]
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, target=lambda _: slow) as office:
        reply = await office.alice.types(office.channel, HEALTHY)
        assert reply.seconds is not None
        assert reply.seconds < 1, "an acknowledgement waits for no Ceph"
        first = await office.carol.sees(office.channel, "Looking at Pod media/reports-0")
        await gate.arrived()
        assert "⏳" in first.visible
        gate.open()
        answer = await office.carol.sees(office.channel, "🟢 ok", PATIENCE)
        assert answer.ts == first.ts
        assert len(answer.versions) == 2
        await quiet(office)
        assert [m.ts for m in shown_to_all(office)] == [first.ts]


async def test_what_cannot_be_seen_never_looks_in_order(office: Office) -> None:
    ceph = office.sandbox.ceph
    ceph.silent_mons |= set(ceph.mons)
    for line in ("/unstick locks", "/unstick check", WHY):
        said = await asked(office, line)
        assert "🟢" not in said, line
        assert "❔" in said or "⚠️" in said, line
        assert "connecting to the cluster failed" in said or "Ceph" in said, line
    ceph.silent_mons.clear()
    forbid(office, "pods")
    for line in ("/unstick check", WHY, HEALTHY):
        said = await asked(office, line)
        assert "🟢" not in said, line
        assert "unknown" in said, line
        assert "forbidden" in said, line
    assert (
        "❔ pods were not seen" in await asked(office, "/unstick locks")
        or "forbidden" in shown_to_all(office)[-1].visible
    )
    assert not [m for m in shown_to_all(office) if "Plan fix" in m.buttons], "nothing is offered on half a look"


async def test_a_typo_gets_a_hint_and_what_is_pasted_is_understood(office: Office) -> None:
    typo = await office.alice.types(office.channel, "/unstick chekc")
    assert "did you mean 'check'?" in typo.text
    wrong = await office.alice.types(office.channel, "/unstick why node/<!channel>")
    assert "write pod/NAME -n NAMESPACE" in wrong.text
    assert "<!channel>" not in str((wrong.ack or {}).get("text"))
    assert shown_to_all(office) == []
    for line in (
        "/unstick why reports-0 -n media", "/unstick why “pod/reports-0” —namespace media",
        "/unstick why `reports-0` ns/media",
    ):  # fmt: skip
        assert "🟢 ok  Pod media/reports-0" in await asked(office, line)


async def test_with_several_clusters_and_no_default_the_asker_is_told_to_choose(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    clusters = {name: ClusterSettings() for name in ("east", "west")}
    made: dict[str, Target] = {name: replace(sandbox.target, name=name) for name in clusters}

    def target(name: str | None) -> Target:
        return made[office.settings.cluster(name)[0]]

    async with serving(sandbox, workspace, tmp_path, by_http=by_http, target=target, clusters=clusters) as office:
        for line in ("/unstick check", WHY, "/unstick locks", "/unstick run ceph/stale_rbd_lock image=p/i locker=c/x"):
            said = (await office.alice.types(office.channel, line)).text
            assert "several clusters (east, west)" in said
            assert "choose one" in said
        unknown = await office.alice.types(office.channel, "/unstick locks --cluster north")
        assert "There is no cluster 'north' in the configuration; write one of: east, west" in unknown.text
        alike = await office.alice.types(office.channel, "/unstick report --cluster weast")
        assert "did you mean 'west'?" in alike.text or "did you mean 'east'?" in alike.text
        assert shown_to_all(office) == []
        assert "🔴 west: " in await asked(office, "/unstick check --cluster west")


async def stale(office: Office) -> str:
    """The incident's runbook as it is typed, once the lock is stale."""
    await asked(office, "/unstick locks")
    await office.sandbox.sleep(35)
    (locker,) = lockers(office)
    return f"/unstick run ceph/stale_rbd_lock image={IMAGE} locker={locker} node=node1 pod={NAMESPACE}/{STUCK_POD}"


async def test_what_cannot_be_run_is_answered_in_a_sentence(office: Office) -> None:
    line = await stale(office)
    before = len(shown_to_all(office))
    typo = await office.alice.types(office.channel, "/unstick run ceph/stale_rbd_lokc image=a")
    assert "did you mean 'ceph/stale_rbd_lock'?" in typo.text
    assert len(shown_to_all(office)) == before
    for typed, says in (
        (line + " colour=red", "colour"),
        (line.replace("node=node1", "node"), "node"),
        (line.replace("node=node1", "node=node2"), "Refused"),
    ):
        assert says in await asked(office, typed), typed
    unknown = await office.alice.types(office.channel, "/unstick run ex-00000000")
    assert "ex-00000000 is not known here" in unknown.text
    await quiet(office)
    assert office.state.runbooks.history() == ()
    untouched(office)


async def test_a_critical_runbook_is_asked_for_at_once_and_gone_on_with_by_its_id(office: Office) -> None:
    line = await stale(office)
    await office.alice.types(office.channel, line)
    request = await office.offered("Approve")
    assert "@alice asks for ceph/stale_rbd_lock@1.0.0, 🔴 risk critical" in request.visible
    assert "May approve: @bob" in request.visible
    await quiet(office)
    made = office.execution()
    assert (made.state, made.plan.requester) == (ExecutionState.WAITING, office.alice.id)
    plan = next(m for m in shown_to_all(office) if m.visible.startswith("Plan"))
    assert (request.thread_ts, plan.buttons) == (plan.ts, ()), "asked for in the plan's thread; nobody asks twice"
    await office.alice.types(office.channel, f"/unstick run {made.id}")
    await quiet(office)
    assert "more approval of another person is needed" in refused(office, office.alice)
    untouched(office)
    await office.approved(request)
    await office.bob.sees(office.channel, "✅ Done", PATIENCE)
    await quiet(office)
    await office.carol.types(office.channel, f"/unstick run {made.id}")
    await quiet(office)
    assert f"{made.id} is done" in refused(office, office.carol)


async def test_a_plan_of_low_risk_is_shown_first_and_needs_nobody_but_its_requester(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "cordon.yaml").write_text(CORDON)
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, runbooks=(str(tmp_path / "books"),)) as office:
        listed = await office.alice.types(office.channel, "/unstick runbooks")
        assert "team/cordon@1.0.0" in listed.text
        await asked(office, f"/unstick run team/cordon node=node1 image={IMAGE}")
        assert office.state.runbooks.history() == (), "it waits for its requester's word"
        plan = await office.offered("Request approval")
        await office.carol.clicks(plan, "Request approval")
        await quiet(office)
        assert "does not have the role responder" in refused(office, office.carol)
        untouched(office)
        await office.alice.clicks(plan, "Request approval")
        await office.alice.sees(office.channel, "✅ Done", PATIENCE)
        await quiet(office)
        assert office.execution().state is ExecutionState.DONE
        assert ("approved", office.bob.id) not in office.events()
