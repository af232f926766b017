"""Each refusal: with all its reasons, seen by whoever clicked alone, on record; and the cluster is left as it was."""

import asyncio
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.access import person as person_of
from bot.diagnose import library
from bot.remedy import engine
from bot.sandbox.kubernetes.incident import NODES as ADDRESSES
from bot.sandbox.kubernetes.resources import LEASES, NODES, PODS, micro_timestamp
from bot.sandbox.kubernetes.statuses import node_conditions
from bot.sandbox.slack import Message, Person, Workspace
from bot.sandbox.world import Sandbox
from bot.settings import PersonSettings
from bot.slack.words import CONFIRM_BLOCK, WHY_BLOCK, Click, value_of
from runbooks.parameters import parse_parameters
from runbooks.store import Execution
from runbooks.store import State as ExecutionState
from tests.bot.scenarios.hands import again, over_both
from tests.bot.scenarios.office import PATIENCE, WHY, Office, serving
from tests.bot.scenarios.proofs import (
    IMAGE,
    can_be_shown,
    lockers,
    on_record,
    quiet,
    refused,
    shown_to_all,
    told,
    untouched,
)

pytestmark = over_both


@pytest.fixture(autouse=True)
def _all_that_was_said_can_be_shown(workspace: Workspace) -> Iterator[None]:
    yield
    can_be_shown(workspace)


def now(office: Office, message: Message) -> Message:
    """A message as it is by now."""
    return next(m for m in office.workspace.messages(message.channel) if m.ts == message.ts)


async def refuses(office: Office, person: Person, message: Message, button: str, *reasons: str) -> str:
    """A click is refused for exactly these reasons, in words that only this person sees; all others see nothing new."""
    others = [p for p in (office.alice, office.bob, office.carol) if p.id != person.id]
    before = [len(told(office, other)) for other in others]
    records = len(on_record(office))
    reply = await person.clicks(message, button)
    assert reply.error is None
    await quiet(office)
    said = refused(office, person)
    assert [len(told(office, other)) for other in others] == before
    assert len(on_record(office)) == records + 1
    given = on_record(office)[-1][2]
    assert len(given) == len(reasons), given
    for reason in reasons:
        assert any(reason in each for each in given), (reason, given)
    return said


def executions(office: Office) -> list[ExecutionState]:
    return [made.state for made in office.state.runbooks.history()]


async def new_settings(office: Office, **people: tuple[str, ...]) -> dict[str, Any]:
    """People with other roles, as a restart would read them."""
    return {"people": {office.workspace.person(n).id: PersonSettings(roles=r) for n, r in people.items()}}  # type: ignore[arg-type]


async def test_who_may_not_approve_is_told_all_the_reasons_and_others_still_can(office: Office) -> None:
    request = await office.requested()
    carol, alice = office.carol.id, office.alice.id
    await refuses(office, office.carol, request, "Approve", f"{carol} does not have the role approver")
    said = await refuses(
        office, office.alice, request, "Approve", f"{alice} does not have the role approver",
        f"{alice} asked for this plan and cannot approve it: another approver must",
    )  # fmt: skip
    assert said.count("•") == 2
    assert office.workspace.modals.stack(carol) == (), "nobody types a node's name for nothing"
    assert office.workspace.modals.stack(alice) == ()
    assert executions(office) == [ExecutionState.WAITING]
    assert "Waits for approval" in now(office, request).visible
    assert on_record(office)[0][:2] == ("approval refused", carol)
    untouched(office)
    await office.sandbox.sleep(16 * 60)
    said = await refuses(
        office, office.alice, request, "Approve", "does not have the role approver", "cannot approve it", "the plan expired at",
    )  # fmt: skip
    assert said.count("•") == 3
    untouched(office)


async def test_a_viewer_may_plan_but_not_request(office: Office) -> None:
    await office.carol.clicks(await office.incident(), "Plan fix")
    plan = await office.offered("Request approval")
    await refuses(office, office.carol, plan, "Request approval", "does not have the role responder")
    assert executions(office) == []
    untouched(office)


@pytest.mark.parametrize("main", ["slack", "cli"])
async def test_the_same_human_by_another_id_cannot_approve(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, main: str
) -> None:
    alice = workspace.person("alice").id
    ids = (alice, "cli:alice") if main == "slack" else ("cli:alice", alice)
    people = {ids[0]: PersonSettings(roles=("responder", "approver"), also=(ids[1],))}
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, people=people) as office:
        await office.incident()
        asked = await _asked_on_the_command_line(office, "cli:alice")
        await office.alice.types(office.channel, f"/unstick run {asked.id}")
        request = await office.offered("Approve")
        await quiet(office)
        reason = f"{ids[0]} asked for this plan and cannot approve it: another approver must"
        await refuses(office, office.alice, request, "Approve", reason)
        assert executions(office) == [ExecutionState.WAITING]
        untouched(office)


async def _asked_on_the_command_line(office: Office, login: str) -> Execution:
    books, (locker,) = library(), lockers(office)
    async with engine(office.settings, office.sandbox.target, office.state, books) as running:
        book = running.find("ceph/stale_rbd_lock")
        words = (f"image={IMAGE}", f"locker={locker}", "node=node1")
        asker = person_of(office.settings, login)
        return await running.request(await running.plan(book, parse_parameters(book, words), asker), asker)


async def test_who_is_unknown_is_refused_everything_where_unknown_people_are_nobody(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, unknown_people="nobody") as office:
        dave = workspace.person("dave")
        incident = await office.incident()
        shown = now(office, incident).visible
        unknown = f"{dave.id} is not known here"
        for line in (WHY, "/unstick check", "/unstick check search", "/unstick locks"):
            said = len(shown_to_all(office))
            reply = await dave.types(office.channel, line)
            await quiet(office)
            assert unknown in reply.text
            assert len(shown_to_all(office)) == said, "nobody else reads of it"
            assert on_record(office)[-1][:2] == ("look refused", dave.id)
        await refuses(office, dave, incident, "Why?", unknown)
        await refuses(office, dave, incident, "Show evidence", unknown)
        assert now(office, incident).visible == shown, "whoever is refused changes nothing of what others see"
        await dave.clicks(incident, "Plan fix")
        await quiet(office)
        assert unknown in shown_to_all(office)[-1].visible
        (locker,) = lockers(office)
        await dave.types(office.channel, f"/unstick run ceph/stale_rbd_lock image={IMAGE} locker={locker} node=node1")
        await quiet(office)
        assert "Refused: nothing is planned" in shown_to_all(office)[-1].visible
        await office.alice.clicks(incident, "Plan fix")
        plan = await office.offered("Request approval")
        await refuses(office, dave, plan, "Request approval", "does not have the role responder", "is not known here")
        await office.alice.clicks(plan, "Request approval")
        request = await office.offered("Approve")
        await refuses(office, dave, request, "Approve", f"{dave.id} does not have the role approver")
        await dave.clicks(request, "Deny")
        await dave.submits(await dave.sees_modal(), {WHY_BLOCK: "no"})
        await quiet(office)
        assert f"{dave.id} does not have the role approver" in refused(office, dave)
        await dave.types(office.channel, f"/unstick run {office.execution().id}")
        await quiet(office)
        assert "has neither the role responder nor approver" in refused(office, dave)
        assert executions(office) == [ExecutionState.WAITING]
        untouched(office)


async def test_who_has_roles_in_another_namespace_only_is_refused_here(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    dave, erin = workspace.person("dave"), workspace.person("erin")
    people = {
        workspace.person("alice").id: PersonSettings(roles=("responder",)),
        dave.id: PersonSettings(roles=("responder", "approver"), namespaces=("media",)),
        erin.id: PersonSettings(roles=("approver",), namespaces=("search", "media")),
    }
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, people=people) as office:
        request = await office.requested()
        await quiet(office)
        incident = next(m for m in shown_to_all(office) if "ROOT CAUSE" in m.visible)
        assert "Nobody who is known here may approve it" in request.visible
        shown = now(office, incident).visible
        await refuses(office, dave, incident, "Why?", f"{dave.id} may look into media, not into namespace search")
        assert now(office, incident).visible == shown
        everywhere = ("/unstick check", "/unstick locks")
        for line, where in ((WHY, "namespace search"), *((each, "all namespaces") for each in everywhere)):
            reply = await dave.types(office.channel, line)
            await quiet(office)
            assert f"{dave.id} may look into media, not into {where}" in reply.text
        await dave.types(office.channel, "/unstick why pod/reports-0 -n media")
        await quiet(office)
        assert "🟢 ok  Pod media/reports-0" in shown_to_all(office)[-1].visible
        no_role = f"{dave.id} has no role in namespace"
        await refuses(office, dave, request, "Approve", f"{no_role} billing", f"{no_role} search")
        # The fence kills a pod of billing too, so whoever answers for search alone cannot approve it.
        await refuses(office, erin, request, "Approve", f"{erin.id} has no role in namespace billing")
        assert executions(office) == [ExecutionState.WAITING]
        untouched(office)


async def test_a_role_that_was_taken_away_meanwhile_does_not_count(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    async with serving(sandbox, workspace, tmp_path, by_http=by_http) as office:
        request = await office.requested()
        await office.bob.clicks(request, "Approve")
        modal = await office.bob.sees_modal("What dies")
        changed = await new_settings(office, alice=("responder",), bob=("viewer",), carol=("approver",))
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, **changed) as office:
        reply = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
        assert reply.errors == {}
        await quiet(office)
        assert f"{office.bob.id} does not have the role approver" in refused(office, office.bob)
        assert executions(office) == [ExecutionState.WAITING]
        untouched(office)
        await office.carol.clicks(request, "Approve")
        await office.carol.submits(await office.carol.sees_modal(), {CONFIRM_BLOCK: "node1"})
        await office.carol.sees(office.channel, "Resolved", PATIENCE)
        await quiet(office)


# Clicks that come twice.


async def test_a_replayed_request_is_one_execution(office: Office) -> None:
    plan = await office.planned()
    click = await office.alice.clicks(plan, "Request approval")
    await quiet(office)
    asked = office.execution().id
    await again(office.alice, click)
    await quiet(office)
    assert f"{asked} asks for this plan already" in refused(office, office.alice)
    assert executions(office) == [ExecutionState.WAITING]
    assert len([m for m in shown_to_all(office) if "Approve" in m.buttons]) == 1
    untouched(office)


async def test_two_requests_at_the_same_moment_leave_one_to_approve(office: Office) -> None:
    plan = await office.planned()
    await asyncio.gather(*(office.alice.clicks(plan, "Request approval") for _ in range(4)))
    await quiet(office)
    assert executions(office).count(ExecutionState.WAITING) == 1
    assert set(executions(office)) <= {ExecutionState.WAITING, ExecutionState.DENIED}
    assert len([m for m in shown_to_all(office) if "Approve" in m.buttons]) == 1
    untouched(office)


async def test_an_approval_that_is_sent_twice_runs_once_and_is_nothing_after_the_end(office: Office) -> None:
    request = await office.requested()
    click = await office.bob.clicks(request, "Approve")
    modal = await office.bob.sees_modal()
    submitted = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    await again(office.bob, submitted)
    await office.bob.sees(office.channel, "Resolved", PATIENCE)
    await quiet(office)
    events = [event for event, _ in office.events()]
    assert (events.count("running"), events.count("may run"), events.count("approved")) == (1, 1, 1)
    acts = events.count("intent")
    done = office.execution()
    assert done.state is ExecutionState.DONE
    for once_more in (click, submitted):
        before = len(on_record(office))
        await again(office.bob, once_more)
        await quiet(office)
        assert f"{done.id} is done: there is nothing to approve" in refused(office, office.bob)
        assert len(on_record(office)) == before + 1
    assert [event for event, _ in office.events()].count("intent") == acts
    assert office.execution() == done
    assert "✅ Done" in now(office, request).visible


async def test_a_second_plan_of_the_same_fix_is_refused_while_the_first_is_open(office: Office) -> None:
    incident = await office.incident()
    for _ in range(2):
        await office.alice.clicks(incident, "Plan fix")
    await quiet(office)
    first, second = (m for m in shown_to_all(office) if "Request approval" in m.buttons)
    await office.alice.clicks(first, "Request approval")
    await quiet(office)
    asked = office.execution().id
    await refuses(office, office.alice, second, "Request approval", f"{asked} does the same and is waiting")
    assert executions(office) == [ExecutionState.WAITING]
    untouched(office)
    office.sandbox.clock.forward(16 * 60)
    for _ in range(2):
        await office.alice.clicks(incident, "Why?")
        await quiet(office)
        await office.sandbox.sleep(35)
    await office.alice.clicks(incident, "Plan fix")
    await quiet(office)
    await office.alice.clicks(shown_to_all(office)[-1], "Request approval")
    await quiet(office)
    assert len(executions(office)) == 2, "what expired stands in nobody's way"


async def test_two_approvers_at_the_same_moment_start_one_run(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:
    dave = workspace.person("dave")
    roles = {"alice": ("responder",), "bob": ("approver",), "dave": ("approver",)}
    people = {workspace.person(n).id: PersonSettings(roles=r) for n, r in roles.items()}  # type: ignore[arg-type]
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, people=people) as office:
        request = await office.requested()
        modals = []
        for person in (office.bob, dave):
            await person.clicks(request, "Approve")
            modals.append((person, await person.sees_modal("What dies")))
        await asyncio.gather(*(person.submits(modal, {CONFIRM_BLOCK: "node1"}) for person, modal in modals))
        await office.alice.sees(office.channel, "Resolved", PATIENCE)
        await quiet(office)
        assert executions(office) == [ExecutionState.DONE]
        events = [event for event, _ in office.events()]
        assert events.count("running") == 1
        steps = [row.detail for row in office.state.runbooks.audit_rows() if row.event == "intent"]
        assert len(steps) == len(set(steps)) == 4


async def test_what_somebody_denied_meanwhile_cannot_be_approved_or_denied_again(office: Office) -> None:
    request = await office.requested()
    await office.bob.clicks(request, "Approve")
    approving = await office.bob.sees_modal("What dies")
    await office.alice.clicks(request, "Deny")
    denied = await office.alice.submits(await office.alice.sees_modal(), {WHY_BLOCK: "it came back"})
    await quiet(office)
    await office.bob.submits(approving, {CONFIRM_BLOCK: "node1"})
    await quiet(office)
    assert "is denied: there is nothing to approve" in refused(office, office.bob)
    await again(office.alice, denied)
    await quiet(office)
    assert "is denied: there is nothing to deny" in refused(office, office.alice)
    assert executions(office) == [ExecutionState.DENIED]
    assert "it came back" in now(office, request).visible
    untouched(office)


async def test_a_request_that_expired_is_void_and_says_so(office: Office) -> None:
    request = await office.requested()
    await office.bob.clicks(request, "Approve")
    modal = await office.bob.sees_modal("What dies")
    office.sandbox.clock.forward(16 * 60)
    await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    await quiet(office)
    assert "the plan expired at 03:34:35 UTC: ask for it anew" in refused(office, office.bob)
    assert executions(office) == [ExecutionState.VOID]
    over = now(office, request)
    assert "Expired at 03:34:35 UTC" in over.visible
    assert over.buttons == ()
    untouched(office)


# Plans that are not what they were.


def node1_is_back(office: Office) -> None:
    registry, at = office.sandbox.api.registry, office.sandbox.clock.now()
    node = copy.deepcopy(registry.get(NODES, None, "node1"))
    node["status"]["conditions"] = node_conditions(True, at, at)
    registry.store.put(NODES, node)
    lease = copy.deepcopy(registry.get(LEASES, "kube-node-lease", "node1"))
    lease["spec"]["renewTime"] = micro_timestamp(at)
    registry.store.put(LEASES, lease)


def a_watcher_appears(office: Office) -> None:
    office.sandbox.ceph.client(ADDRESSES["node3"], "client.admin").open(IMAGE)


def one_victim_less(office: Office) -> None:
    office.sandbox.api.registry.delete(PODS, "media", "uploads-6f7c9b5d48-4vnhq", {"gracePeriodSeconds": 0})


CHANGES = pytest.mark.parametrize(
    ("change", "says", "is_refused"),
    [
        (node1_is_back, "node1", True),
        (a_watcher_appears, "watche", True),
        (one_victim_less, "uploads-6f7c9b5d48-4vnhq", False),
    ],
    ids=["the node is back", "a watcher appears", "a victim less"],
)


@CHANGES
async def test_a_plan_that_changed_since_it_was_shown_is_shown_anew(
    office: Office, change: Any, says: str, is_refused: bool
) -> None:
    plan = await office.planned()
    before = plan.visible
    change(office)
    await office.alice.clicks(plan, "Request approval")
    await quiet(office)
    said = refused(office, office.alice)
    assert "the plan has changed since it was shown" in said
    assert says in said
    anew = now(office, plan)
    assert anew.visible != before
    assert "Looked again: it is not the plan that was shown before" in anew.visible
    assert says in anew.visible
    assert executions(office) == []
    assert ("Request approval" in anew.buttons) is not is_refused
    untouched(office)
    if not is_refused:
        await office.alice.clicks(plan, "Request approval")
        request = await office.offered("Approve")
        assert "uploads-6f7c9b5d48-4vnhq" not in request.visible


@CHANGES
async def test_a_plan_that_changed_since_it_was_asked_for_is_void(
    office: Office, change: Any, says: str, is_refused: bool
) -> None:
    request = await office.requested()
    await office.bob.clicks(request, "Approve")
    modal = await office.bob.sees_modal("What dies")
    change(office)
    await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    await quiet(office)
    assert says in refused(office, office.bob)
    assert executions(office) == [ExecutionState.VOID]
    over = now(office, request)
    assert "Void" in over.visible
    assert says in over.visible, "everybody sees what changed"
    assert over.buttons == ()
    untouched(office)


# Payloads that no button of ours sends.


async def test_a_forged_value_is_answered_and_does_nothing(office: Office) -> None:
    request = await office.requested()
    click = await office.alice.clicks(request, "Approve")
    await quiet(office)
    execution = office.execution().id
    for action, value in (
        ("approve", ""), ("approve", "rm -rf"), ("approve", "[]"), ("approve", '{"execution": 7}'),
        ("approve", value_of(Click(execution="ex-00000000"))), ("deny", value_of(Click(execution="../../x"))),
        ("why", value_of(Click(incident="in-00000000"))), ("plan_fix", value_of(Click(incident="' OR 1=1 --"))),
        ("show_evidence", value_of(Click(execution=execution))), ("request_approval", value_of(Click(plan=execution))),
        ("approve", value_of(Click(plan=execution))), ("why", value_of(Click(pod="a/../../b"))),
    ):  # fmt: skip
        before = len(told(office, office.alice)) + len(shown_to_all(office))
        records = len(on_record(office))
        payload = copy.deepcopy(click.payload)
        payload["actions"][0] |= {"action_id": action, "value": value}
        reply = await office.alice.replay(payload)
        assert reply.error is None, (action, value)
        await quiet(office)
        assert len(told(office, office.alice)) + len(shown_to_all(office)) == before + 1, (action, value)
        assert "mistake in Unstick" not in (told(office, office.alice)[-1] + shown_to_all(office)[-1].visible)
        assert len(on_record(office)) == records + 1, (action, value)
        assert on_record(office)[-1][:2] == ("click refused", office.alice.id)
    assert executions(office) == [ExecutionState.WAITING]
    untouched(office)


async def test_a_modal_that_carries_something_else_does_nothing(office: Office) -> None:
    request = await office.requested()
    await office.bob.clicks(request, "Approve")
    modal = await office.bob.sees_modal()
    wrong = await office.bob.submits(modal, {CONFIRM_BLOCK: "node2"})
    for metadata in ("", "{}", '{"click": "{}", "channel": "C1"}', "x" * 100):
        payload = copy.deepcopy(wrong.payload)
        payload["view"]["private_metadata"] = metadata
        payload["view"]["state"]["values"][CONFIRM_BLOCK]["typed"]["value"] = "node1"
        reply = await office.bob.replay(payload)
        assert reply.error is None, metadata
        assert reply.errors.keys() == {CONFIRM_BLOCK}, "the modal says that it is of no use"
    await quiet(office)
    assert executions(office) == [ExecutionState.WAITING]
    untouched(office)


async def test_people_of_another_workspace_are_not_heard(sandbox: Sandbox, tmp_path: Path, by_http: bool) -> None:
    async with (
        Workspace(now=sandbox.clock.now, ack_bound=0.3) as workspace,
        serving(sandbox, workspace, tmp_path, by_http=by_http) as office,
    ):
        request = await office.requested()
        await office.bob.clicks(request, "Approve")
        modal = await office.bob.sees_modal()
        wrong = await office.bob.submits(modal, {CONFIRM_BLOCK: "node2"})
        said = len(office.workspace.messages(office.channel))
        payload = copy.deepcopy(wrong.payload)
        payload["user"]["team_id"] = "T0FOREIGN"
        payload["view"]["state"]["values"][CONFIRM_BLOCK]["typed"]["value"] = "node1"
        await office.bob.replay(payload)
        asked = await office.bob.types(office.channel, "/unstick help")
        typed = copy.deepcopy(asked.payload)
        typed |= {"team_id": "T0FOREIGN", "text": WHY.partition(" ")[2]}
        await workspace.sockets.deliver("slash_commands", typed, accepts_response=True)
        await quiet(office)
        assert len(office.workspace.messages(office.channel)) == said + 1, "help alone"
        assert executions(office) == [ExecutionState.WAITING]
        untouched(office)


async def test_a_refused_click_leaves_nothing_that_a_role_given_later_could_make_an_approval_of(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await office.requested()
    accepted: list[Any] = []

    async def accept(job: Any) -> None:
        accepted.append(job)

    monkeypatch.setattr(office.server.worker, "accept", accept)
    await office.carol.clicks(request, "Approve")
    said = await office.carol.sees(office.channel, "is refused", PATIENCE)
    assert said.thread_ts == request.thread_ts, "it is told where she clicked"
    assert accepted == []
    untouched(office)
