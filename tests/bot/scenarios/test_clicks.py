"""Each button, and that one trouble stays one incident however often, by whomever and wherever it is asked about."""

import asyncio
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.incidents import IncidentState
from bot.sandbox.kubernetes.incident import IMAGES, NAMESPACE, POOL, STUCK_POD
from bot.sandbox.kubernetes.resources import PODS
from bot.sandbox.slack import Message, Workspace
from bot.sandbox.world import Sandbox
from bot.settings import PersonSettings
from bot.slack.manifest import CALLS
from bot.slack.words import CONFIRM_BLOCK, WHY_BLOCK
from runbooks.store import State as ExecutionState
from tests.bot.scenarios.hands import over_both
from tests.bot.scenarios.office import PATIENCE, WHY, Office, serving
from tests.bot.scenarios.proofs import can_be_shown, on_record, quiet, refused, shown_to_all, told, untouched

pytestmark = over_both


@pytest.fixture(autouse=True)
def _all_that_was_said_can_be_shown(workspace: Workspace) -> Iterator[None]:
    yield
    can_be_shown(workspace)
    called = {call.method for call in workspace.calls}
    assert called <= set(CALLS), "the manifest asks for no scope for it"


async def asked(office: Office) -> Message:
    """Alice asks why, and sees the incident."""
    await office.alice.types(office.channel, WHY)
    await quiet(office)
    return shown_to_all(office)[-1]


def now(office: Office, message: Message) -> Message:
    """A message as it is by now."""
    return next(m for m in office.workspace.messages(message.channel) if m.ts == message.ts)


def thread(office: Office, root: Message) -> list[Message]:
    """What everybody sees in a message's thread."""
    return [m for m in shown_to_all(office, root.channel) if m.thread_ts == root.ts]


def heal(office: Office) -> object:
    """The image is unlocked and the pod runs: the answer undoes it."""
    box = office.sandbox
    locks = box.ceph.object(POOL, "", f"{IMAGES[0]}.rbd").locks
    held = dict(locks)
    stuck = box.api.registry.get(PODS, NAMESPACE, STUCK_POD)
    running = copy.deepcopy(stuck)
    running["status"] |= {"phase": "Running"}
    for status in running["status"].get("containerStatuses", ()):
        status |= {"ready": True, "started": True, "state": {"running": {"startedAt": "2026-03-03T03:19:00Z"}}}
    for condition in running["status"]["conditions"]:
        condition["status"] = "True"
    locks.clear()
    box.api.registry.store.put(PODS, running)

    def break_again() -> None:
        locks.update(held)
        box.api.registry.store.put(
            PODS, {**box.api.registry.get(PODS, NAMESPACE, STUCK_POD), "status": stuck["status"]}
        )

    return break_again


async def test_an_incident_is_looked_at_again_in_its_own_message_and_shows_its_evidence_once(office: Office) -> None:
    first = await asked(office)
    assert "suspect" in first.visible
    await office.sandbox.sleep(35)
    await office.alice.clicks(first, "Why?")
    await quiet(office)
    assert "stale; no watcher" in now(office, first).visible
    assert [m.ts for m in shown_to_all(office)] == [first.ts], "edited, not said anew"

    await office.carol.clicks(first, "Show evidence")
    await quiet(office)
    (evidence,) = thread(office, first)
    assert evidence.visible.startswith(f"Evidence for Pod {NAMESPACE}/{STUCK_POD}, as of the last look")
    assert "found it, 2026-03-03T03:19:35Z" in evidence.visible
    assert "mon sessions of" in evidence.visible
    await office.bob.clicks(first, "Show evidence")
    await quiet(office)
    assert [m.ts for m in thread(office, first)] == [evidence.ts]
    assert len(now(office, evidence).versions) == 1, "it has not changed"

    await office.sandbox.sleep(40)
    await office.alice.clicks(first, "Why?")
    await quiet(office)
    await office.bob.clicks(first, "Show evidence")
    await quiet(office)
    (again,) = thread(office, first)
    assert again.ts == evidence.ts
    assert "found it, 2026-03-03T03:20:15Z" in again.visible
    assert (on_record(office), len(office.state.runbooks.audit_rows())) == ([], 0), "looks need no record"


async def test_evidence_that_two_people_want_at_the_same_moment_is_shown_once(office: Office) -> None:
    incident = await asked(office)
    people = (office.alice, office.bob, office.carol) * 3
    await asyncio.gather(*(person.clicks(incident, "Show evidence") for person in people))
    await quiet(office)
    assert len(thread(office, incident)) == 1


async def test_a_finding_of_a_check_becomes_an_incident_in_a_message_of_its_own(office: Office) -> None:
    await office.alice.types(office.channel, "/unstick check")
    await quiet(office)
    (check,) = shown_to_all(office)
    before = check.visible
    await office.carol.clicks(check, "Why?", beside="waits for mioss/index-api-image")
    await quiet(office)
    _, incident = shown_to_all(office)
    assert "ROOT CAUSE  Node node1" in incident.visible
    assert (incident.thread_ts, now(office, check).visible) == (None, before)
    await office.bob.clicks(check, "Why?", beside="waits for mioss/index-api-image")
    await quiet(office)
    assert "This is incident in-" in shown_to_all(office)[-1].visible
    assert len([m for m in shown_to_all(office) if "ROOT CAUSE" in m.visible]) == 1


async def test_from_the_plan_to_the_running_pod_by_clicks(office: Office) -> None:
    plan = await office.planned()
    incident = next(m for m in shown_to_all(office) if "ROOT CAUSE" in m.visible)
    assert plan.thread_ts == incident.ts
    dying = ("billing/ledger-0", "media/uploads-6f7c9b5d48-4vnhq", "search/index-api-5c9d8f7b6d-x7x2k")
    for words in (*dying, "risk critical", "fence node node1: blocklist 10.47.136.60:0/0", "all guards say yes"):
        assert words in plan.visible
    assert office.state.runbooks.history() == (), "a plan alone asks for nothing"

    await office.alice.clicks(plan, "Request approval")
    request = await office.offered("Approve")
    await quiet(office)
    assert request.thread_ts == incident.ts
    assert "May approve: @bob" in request.visible
    assert f"<@{office.bob.id}>" in str(request.versions[0]), "the post itself calls approvers: an edit calls nobody"
    assert "[" not in now(office, plan).visible.splitlines()[-1], "nobody can ask twice"
    assert "Plan fix" not in now(office, incident).buttons, "no second fix beside one that is open"
    assert "Waits for approval" in now(office, incident).visible
    untouched(office)

    await office.bob.clicks(request, "Approve")
    modal = await office.bob.sees_modal("What dies")
    for words in (*dying, "blocklist 10.47.136.60:0/0", "Unstick undoes none of this", "node1"):
        assert words in modal.visible
    for wrong in ("node2", "NODE1", "node"):
        reply = await office.bob.submits(modal, {CONFIRM_BLOCK: wrong})
        assert reply.errors == {CONFIRM_BLOCK: "Type node1 exactly, or cancel."}
    await quiet(office)
    untouched(office)
    reply = await office.bob.submits(modal, {CONFIRM_BLOCK: " node1 "})
    assert reply.errors == {}
    await office.carol.sees(office.channel, "Resolved", PATIENCE)
    await quiet(office)
    assert office.execution().state is ExecutionState.DONE
    done = now(office, request)
    assert "✅ Done: ceph/stale_rbd_lock@1.0.0" in done.visible
    assert "approved by @bob" in done.visible
    assert done.buttons == ()
    assert len(done.versions) > 4, "it is edited as steps complete"
    over = now(office, incident)
    assert "looked at again: it is Running and waits for nothing" in over.visible
    assert over.visible.count("Resolved") == 1
    assert over.buttons == ("Show evidence", "Why?")
    assert len(shown_to_all(office)) == 3, "an incident, a plan, a request: edited, never spammed"
    assert all(told_to == [] for told_to in (told(office, office.bob), told(office, office.carol)))


async def test_an_approver_denies_with_a_reason_and_a_viewer_cannot(office: Office) -> None:
    request = await office.requested()
    await office.carol.clicks(request, "Deny")
    modal = await office.carol.sees_modal("will not be run")
    await office.carol.submits(modal, {WHY_BLOCK: "I do not like it"})
    await quiet(office)
    assert "does not have the role approver" in refused(office, office.carol)
    assert office.execution().state is ExecutionState.WAITING
    await office.bob.clicks(request, "Deny")
    modal = await office.bob.sees_modal("will not be run")
    await office.bob.submits(modal, {WHY_BLOCK: "node1 *boots* <!channel>"})
    await quiet(office)
    assert office.execution().state is ExecutionState.DENIED
    denied = now(office, request)
    assert "Denied by @bob: node1 ∗boots∗ <!channel>" in denied.visible
    assert "<!channel>" not in str(denied.blocks)
    assert denied.buttons == ()
    incident = next(m for m in shown_to_all(office) if "ROOT CAUSE" in m.visible)
    assert "Denied by @bob" in incident.visible
    assert "Plan fix" in incident.buttons, "it can be planned anew"
    untouched(office)


async def test_whoever_asked_takes_the_request_back_without_a_word(office: Office) -> None:
    request = await office.requested()
    await office.alice.clicks(request, "Deny")
    await office.alice.submits(await office.alice.sees_modal("will not be run"), {})
    await quiet(office)
    assert office.execution().state is ExecutionState.DENIED
    assert "withdrawn by @alice" in now(office, request).visible
    untouched(office)


# One trouble stays one incident.


async def test_two_people_in_two_channels_are_led_to_one_incident(office: Office) -> None:
    office.server.identity = replace(office.server.identity, url="https://acme.slack.com/")  # type: ignore[type-var]
    other = office.workspace.channel("storage")
    incident = await asked(office)
    await office.bob.types(other, WHY)
    await quiet(office)
    (pointer,) = shown_to_all(office, other)
    kept = office.state.incidents.about("sandbox", office.state.incidents.get(_id(pointer)).subject)
    assert kept is not None
    link = f"https://acme.slack.com/archives/{office.channel}/p{incident.ts.replace('.', '')}"
    assert f"<{link}|told of there>" in str(pointer.blocks)
    assert pointer.buttons == ()
    await office.alice.types(office.channel, WHY)
    await quiet(office)
    assert _id(shown_to_all(office)[-1]) == _id(pointer)
    assert [m.ts for m in shown_to_all(office) if "Plan fix" in m.buttons] == [incident.ts]


def _id(message: Message) -> str:
    return next(word.strip("`,.") for word in message.visible.split() if word.startswith("in-"))


async def test_two_people_who_ask_at_the_same_moment_get_one_incident(office: Office) -> None:
    people = (office.alice, office.bob, office.carol, office.alice)
    await asyncio.gather(*(person.types(office.channel, WHY) for person in people))
    await quiet(office)
    said = shown_to_all(office)
    assert len(said) == 4
    assert len([m for m in said if "ROOT CAUSE" in m.visible]) == 1
    assert len({_id(m) for m in said}) == 1


async def test_after_a_restart_it_is_the_same_incident_in_the_same_message(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    async with serving(sandbox, workspace, tmp_path, by_http=by_http) as office:
        incident = await asked(office)
    await sandbox.sleep(35)
    async with serving(sandbox, workspace, tmp_path, by_http=by_http) as office:
        await office.carol.types(office.channel, WHY)
        await quiet(office)
        assert "stale; no watcher" in now(office, incident).visible
        assert _id(shown_to_all(office)[-1]) == _id(incident)
        await office.alice.clicks(incident, "Plan fix")
        assert (await office.offered("Request approval")).thread_ts == incident.ts


async def test_another_pod_of_the_same_dead_node_is_told_of_in_the_same_incident(office: Office) -> None:
    incident = await asked(office)
    registry = office.sandbox.api.registry
    registry.delete(PODS, "billing", "ledger-0", {"gracePeriodSeconds": 0})
    await office.sandbox.sleep(90)
    await office.bob.types(office.channel, "/unstick why pod/ledger-0 -n billing")
    await quiet(office)
    assert _id(shown_to_all(office)[-1]) == _id(incident)
    assert len([m for m in shown_to_all(office) if "ROOT CAUSE" in m.visible]) == 1
    assert "mioss/ledger-image" in now(office, incident).visible


async def test_a_trouble_that_is_over_is_resolved_when_looked_at_and_comes_back_in_its_own_message(
    office: Office,
) -> None:
    incident = await asked(office)
    break_again = heal(office)
    await office.carol.types(office.channel, WHY)
    await quiet(office)
    over = now(office, incident)
    assert "looked at again: it is Running and waits for nothing" in over.visible
    assert over.visible.count("Resolved") == 1
    assert "Plan fix" not in over.buttons
    assert office.state.incidents.get(_id(incident)).state is IncidentState.RESOLVED
    assert callable(break_again)
    break_again()
    await office.alice.types(office.channel, WHY)
    await quiet(office)
    again = now(office, incident)
    assert "ROOT CAUSE" in again.visible
    assert "came back once" in again.visible
    (note,) = [m for m in shown_to_all(office) if m.thread_ts == incident.ts]
    assert "Back again, 2nd time" in note.visible
    assert len([m for m in shown_to_all(office) if "Plan fix" in m.buttons]) == 1
    assert {_id(m) for m in shown_to_all(office) if "This is incident" in m.visible} == {_id(incident)}
    heal(office)
    await office.alice.clicks(again, "Why?")
    await quiet(office)
    over = now(office, incident)
    assert over.visible.count("Resolved") == 1
    await office.alice.clicks(over, "Why?")
    await quiet(office)
    assert now(office, incident) == over, "whoever asks from there again is answered beside it"


async def test_blindness_resolves_nothing(office: Office) -> None:
    incident = await asked(office)
    office.sandbox.api.access.grant("diagnose", ())
    await office.carol.clicks(incident, "Why?")
    await quiet(office)
    assert office.state.incidents.get(_id(incident)).state is IncidentState.OPEN
    assert now(office, incident) == incident, "what was seen stays, with its buttons"
    (answer,) = told(office, office.carol)
    assert "unknown" in answer
    assert "forbidden" in answer


async def test_a_look_that_fails_leaves_the_incidents_message_as_it_was(office: Office) -> None:
    incident = await asked(office)
    office.sandbox.api.registry.delete(PODS, NAMESPACE, STUCK_POD, {"gracePeriodSeconds": 0})
    await office.carol.clicks(incident, "Why?")
    await quiet(office)
    assert now(office, incident) == incident
    (answer,) = told(office, office.carol)
    assert f"There is no Pod {STUCK_POD} in namespace {NAMESPACE}" in answer


async def test_a_critical_plan_with_a_quorum_of_two_waits_for_a_second_person(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    dave = workspace.person("dave")
    ids = {"alice": ("responder",), "bob": ("approver",), "dave": ("approver",)}
    people = {workspace.person(name).id: PersonSettings(roles=roles) for name, roles in ids.items()}  # type: ignore[arg-type]
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, people=people, critical_quorum=2) as office:
        request = await office.requested()
        await office.approved(request)
        await quiet(office)
        waiting = now(office, request).visible
        assert "1 more approval of another person is needed" in waiting
        assert "approved so far by @bob" in waiting
        assert "May approve: @dave" in waiting
        await office.approved(request)
        await quiet(office)
        assert office.execution().state is ExecutionState.WAITING, "the same person's second word is no second person"
        assert [e for e, who in office.events() if (e, who) == ("approved", office.bob.id)] == ["approved"]
        untouched(office)
        await dave.clicks(request, "Approve")
        await dave.submits(await dave.sees_modal("What dies"), {CONFIRM_BLOCK: "node1"})
        await office.carol.sees(office.channel, "Resolved", PATIENCE)
        await quiet(office)
        assert "approved by @bob, @dave" in now(office, request).visible
