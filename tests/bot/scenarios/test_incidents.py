"""What becomes of an incident that many wait in, that was asked for where hardly anybody reads, or whose pod is not there."""

import asyncio
import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.incidents import Answer, Incident, IncidentState
from bot.sandbox.kubernetes.incident import IMAGES, NAMESPACE, STUCK_POD
from bot.sandbox.kubernetes.resources import PODS
from bot.sandbox.slack import Message, Workspace
from bot.sandbox.world import Sandbox
from bot.settings import SlackSettings
from bot.slack import looks, remedies
from bot.store import State
from bot.wiring import Target
from diagnostics.model import Subject
from runbooks.store import State as ExecutionState
from tests.bot.scenarios.hands import until
from tests.bot.scenarios.office import WHY, Office, serving
from tests.bot.scenarios.proofs import lockers, quiet, shown_to_all, told

LEDGER = "/unstick why pod/ledger-0 -n billing"


def now(office: Office, message: Message) -> Message:
    """A message as it is by now."""
    return next(m for m in office.workspace.messages(message.channel) if m.ts == message.ts)


def kept(office: Office) -> Incident:
    """The open incident of the stuck pod."""
    found = office.state.incidents.about("sandbox", Subject("Pod", NAMESPACE, STUCK_POD, ""))
    assert found is not None
    return found


def put(office: Office, namespace: str, name: str, **status: Any) -> None:
    """Change a pod's status."""
    registry = office.sandbox.api.registry
    pod = copy.deepcopy(registry.get(PODS, namespace, name))
    pod["status"] |= status
    registry.store.put(PODS, pod)


def runs(office: Office, namespace: str, name: str) -> None:
    """Let a pod run."""
    registry = office.sandbox.api.registry
    statuses = registry.get(PODS, namespace, name)["status"].get("containerStatuses", ())
    state = {"ready": True, "started": True, "state": {"running": {"startedAt": "2026-03-03T03:19:00Z"}}}
    put(office, namespace, name, phase="Running", containerStatuses=[{**each, **state} for each in statuses])


async def two_wait(office: Office) -> Message:
    """Two pods wait for the same dead node, each for an image of its own."""
    incident = await office.incident()
    office.sandbox.api.registry.delete(PODS, "billing", "ledger-0", {"gracePeriodSeconds": 0})
    await office.sandbox.sleep(90)
    await office.bob.types(office.channel, LEDGER)
    await quiet(office)
    said = now(office, incident)
    assert "mioss/ledger-image" in said.visible
    assert f"and 1 more: {NAMESPACE}/{STUCK_POD}" in said.visible
    return said


def ledger_runs(office: Office) -> None:
    """Its image is unlocked and the pod runs."""
    with office.sandbox.ceph.lock:
        for name, held in office.sandbox.ceph.objects.items():
            if held.locks and IMAGES[0] not in str(name):
                held.locks.clear()
    runs(office, "billing", "ledger-0")


async def test_one_pod_that_runs_does_not_resolve_the_incident_that_others_wait_in(office: Office) -> None:
    incident = await two_wait(office)
    ledger_runs(office)
    await office.bob.types(office.channel, LEDGER)
    await quiet(office)
    said = now(office, incident).visible
    assert "Resolved" not in said
    assert said.startswith(f"🔴 Critical: Pod {NAMESPACE}/{STUCK_POD}")
    assert "mioss/ledger-image" not in said
    assert "ok  Pod billing/ledger-0" in shown_to_all(office)[-1].visible, "who asked about it hears of it"
    assert [each.name for each in kept(office).subjects] == [STUCK_POD]
    assert lockers(office)
    runs(office, NAMESPACE, STUCK_POD)
    await office.alice.types(office.channel, WHY)
    await quiet(office)
    assert now(office, incident).visible.startswith("🟢 Resolved")


async def test_after_a_run_every_pod_that_waits_is_looked_at(office: Office) -> None:
    incident = await two_wait(office)
    ledger_runs(office)
    await looking_again(office)
    assert [each.name for each in kept(office).subjects] == [STUCK_POD]
    assert now(office, incident).visible.startswith(f"🔴 Critical: Pod {NAMESPACE}/{STUCK_POD}")
    runs(office, NAMESPACE, STUCK_POD)
    found = kept(office)
    await looking_again(office)
    assert office.state.incidents.get(found.id).state is IncidentState.RESOLVED


async def looking_again(office: Office) -> None:
    """What comes after a run."""
    desk = office.server.worker.desk
    await asyncio.wrap_future(office.server.work.call(looks.look_again(desk, kept(office))))
    await quiet(office)


async def test_a_pod_that_is_not_there_resolves_nothing_unless_a_run_replaced_it(office: Office) -> None:
    incident = await office.incident()
    office.sandbox.api.registry.delete(PODS, NAMESPACE, STUCK_POD, {"gracePeriodSeconds": 0})
    await looking_again(office)
    assert kept(office).state is IncidentState.OPEN
    assert "Resolved" not in now(office, incident).visible


async def test_a_pod_that_a_run_replaced_leaves_its_incident_though_it_is_gone(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_yet(*_: object) -> None: ...

    monkeypatch.setattr(remedies, "look_again", not_yet)
    await office.approved(await office.requested())
    await until(lambda: office.execution().state is ExecutionState.DONE)
    await quiet(office)
    incident = kept(office)
    office.sandbox.api.registry.delete(PODS, NAMESPACE, STUCK_POD, {"gracePeriodSeconds": 0})
    await looking_again(office)
    over = office.state.incidents.get(incident.id)
    assert (over.state, over.note) == (
        IncidentState.RESOLVED,
        f"Pod {NAMESPACE}/{STUCK_POD} is gone, and was replaced",
    )


async def test_a_pod_that_waits_for_something_else_by_now_gets_a_message_of_its_own(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = await two_wait(office)
    real = looks.look_at_subject

    async def look(target: Target, state: State, subject: Subject) -> Answer:
        got = await real(target, state, subject)
        elsewhere = msgspec.structs.replace(got.finding, root=Subject("Node", None, "node9", "u"), unseen=())
        return msgspec.structs.replace(got, finding=elsewhere)

    monkeypatch.setattr(looks, "look_at_subject", look)
    await office.bob.clicks(incident, "Why?")
    await quiet(office)
    first, second = (m for m in shown_to_all(office) if "Show evidence" in m.buttons)
    assert (first.ts, second.thread_ts) == (incident.ts, None)
    assert first.visible.startswith(f"🔴 Critical: Pod {NAMESPACE}/{STUCK_POD}")
    assert "it was found to wait for the same as Pod billing/ledger-0" in first.visible
    assert second.visible.startswith("🔴 Critical: Pod billing/ledger-0")
    assert "more:" not in first.visible + second.visible


async def test_a_pod_that_was_evicted_keeps_its_incident_what_it_was(office: Office) -> None:
    incident = await office.incident()
    put(office, NAMESPACE, STUCK_POD, phase="Failed", reason="Evicted")
    await office.alice.clicks(incident, "Why?")
    await quiet(office)
    assert str(kept(office).subject) == f"Pod {NAMESPACE}/{STUCK_POD}", "not the image that it waited for"
    assert "it is Failed (Evicted)" in told(office, office.alice)[-1]
    await looking_again(office)
    assert "Resolved" not in now(office, incident).visible


@pytest.mark.parametrize("phase", ["Failed", "Unknown", "Pending"])
async def test_a_pod_that_neither_runs_nor_waits_for_a_volume_is_unknown(office: Office, phase: str) -> None:
    registry = office.sandbox.api.registry
    pod = copy.deepcopy(registry.get(PODS, "media", "reports-0"))
    pod["status"] = {"phase": phase}
    if phase == "Pending":
        pod["spec"].pop("nodeName", None)
    registry.store.put(PODS, pod)
    await office.alice.types(office.channel, "/unstick why pod/reports-0 -n media")
    await quiet(office)
    said = shown_to_all(office)[-1].visible
    assert "🟢" not in said
    assert "unknown" in said
    assert "kubectl" in said, "the next move"


async def test_an_incident_of_a_direct_conversation_comes_to_the_channel_where_others_ask(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    slack = SlackSettings(api_url=workspace.api_url, direct_messages=True)
    async with serving(sandbox, workspace, tmp_path, slack=slack) as office:
        direct = office.workspace.direct(office.alice)
        await office.alice.types(direct, WHY)
        await quiet(office)
        (first,) = shown_to_all(office, direct)
        assert office.bob.messages(direct) == ()
        await office.bob.types(office.channel, WHY)
        await quiet(office)
        (incident,) = shown_to_all(office)
        assert "Plan fix" in incident.buttons
        pointer = now(office, first)
        assert "This is incident in-" in pointer.visible
        assert "Critical: Pod" in pointer.visible
        assert pointer.buttons == ()
        await office.alice.types(direct, WHY)
        await quiet(office)
        assert "This is incident in-" in shown_to_all(office, direct)[-1].visible
        await office.alice.clicks(now(office, incident), "Plan fix")
        await quiet(office)
        assert shown_to_all(office)[-1].thread_ts == incident.ts, "and so do those who can approve it"


async def test_an_incident_asked_for_where_the_bot_is_not_is_told_of_where_it_can_be_read(office: Office) -> None:
    private = office.workspace.channel("private", bot=False)
    await office.alice.types(private, WHY)
    await quiet(office)
    assert not shown_to_all(office, private)
    await office.bob.types(office.channel, WHY)
    await quiet(office)
    (incident,) = shown_to_all(office)
    assert "ROOT CAUSE" in incident.visible
    office.workspace.channel("private", bot=True)
    await office.alice.types(private, WHY)
    await quiet(office)
    assert "This is incident in-" in shown_to_all(office, private)[-1].visible
    assert now(office, incident).buttons == incident.buttons


async def test_evidence_that_is_asked_for_afterwards_says_when_it_was_found(office: Office) -> None:
    incident = await office.incident()
    seen = kept(office).answer.looked
    assert seen is not None
    await office.sandbox.sleep(600)
    runs(office, NAMESPACE, STUCK_POD)
    await office.alice.clicks(incident, "Why?")
    await quiet(office)
    assert now(office, incident).visible.startswith("🟢 Resolved")
    await office.carol.clicks(now(office, incident), "Show evidence")
    await quiet(office)
    (evidence,) = (m for m in shown_to_all(office) if m.thread_ts == incident.ts)
    assert f"as of the last look that found it, {seen:%Y-%m-%dT%H:%M:%SZ}" in evidence.visible
