"""Attacks on an approval, each refused: nothing is done, whoever tried is told why, and it is on record, in a whole chain.

What is no refusal but must not count twice (two clicks at once) stands below the table.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tests.bot.scenarios.office as office_module
from bot.access import person as person_of
from bot.diagnose import library
from bot.remedy import engine
from bot.sandbox.kubernetes.incident import IMAGES, POOL
from bot.sandbox.kubernetes.incident import NODES as ADDRESSES
from bot.sandbox.kubernetes.resources import NODES
from bot.sandbox.slack import Message, Person, View, Workspace
from bot.sandbox.world import Sandbox
from bot.serve import Server
from bot.settings import PersonSettings, Settings
from bot.slack.words import CONFIRM_BLOCK, WHY_BLOCK, Click, click_of, value_of
from runbooks.parameters import parse_parameters
from runbooks.store import Execution
from runbooks.store import State as ExecutionState
from tests.bot.scenarios.hands import again, over_both
from tests.bot.scenarios.office import PATIENCE, Office, serving
from tests.bot.scenarios.proofs import IMAGE, can_be_shown, office_id, on_record, quiet, refused, told, untouched

pytestmark = over_both

OWN = """\
id: nodes/look_after
version: {version}
status: stable
title: Look after a node
meaning: {meaning}
impact: None.
owner: cluster on-call
changelog: First release.
parameters: {{node: node}}
steps:
  - id: cordon
    act: kubernetes.cordon
    with: {{node: "{{{{node}}}}"}}
    risk: high
    verify: node_is_cordoned
    undo: kubernetes.uncordon
"""


@dataclass
class Team:
    """The office, with a second approver, one of another namespace, and somebody who has two Slack users."""

    office: Office
    folder: Path
    settings: list[Settings]
    dave: Person
    erin: Person
    alias: Person

    def roles(self, person: Person, *roles: str) -> None:
        """From now on this person has these roles, as the configuration is read anew."""
        people = {**self.settings[-1].people, person.id: PersonSettings(roles=roles)}  # type: ignore[arg-type]
        self.settings.append(self.settings[-1].model_copy(update={"people": people}))

    async def window(self, person: Person, request: Message) -> View:
        """The window in which this person would type the node's name."""
        await person.clicks(request, "Approve")
        return await person.sees_modal("What dies")

    async def own(self) -> Message:
        """A request for a runbook of the team's own, on a healthy node, that takes one approval."""
        await self.office.alice.types(self.office.channel, "/unstick run nodes/look_after node=node2")
        return await self.office.alice.sees(self.office.channel, "Approval needed: nodes/look_after", PATIENCE)


@pytest.fixture
async def team(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Team]:
    names = ("alice", "bob", "carol", "dave", "erin", "alias")
    alice, bob, carol, dave, erin, alias = (workspace.person(name) for name in names)
    people = {
        alice.id: PersonSettings(roles=("responder", "approver"), also=(alias.id, "cli:alice")),
        bob.id: PersonSettings(roles=("approver",)), carol.id: PersonSettings(roles=("viewer",)),
        dave.id: PersonSettings(roles=("approver",), namespaces=("media",)),
        erin.id: PersonSettings(roles=("approver",)),
    }  # fmt: skip
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.yaml").write_text(OWN.format(version="1.0.0", meaning="A test."))
    changes = {"people": people, "runbooks": (str(folder),)}
    now = [Settings(**changes)]
    monkeypatch.setattr(office_module, "Server", partial(Server, people=lambda: now[-1]))
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, **changes) as office:
        yield Team(office, folder, now, dave, erin, alias)


@pytest.fixture(autouse=True)
def _all_that_was_said_can_be_shown(workspace: Workspace) -> Iterator[None]:
    yield
    can_be_shown(workspace)


async def forged(team: Team, request: Message, person: Person, action: str = "approve", **changes: Any) -> None:
    """The click of a button that was made up: another value, button or place than the message has."""
    click = await team.office.carol.clicks(request, "Approve")
    await quiet(team.office)
    payload = copy.deepcopy(click.payload)
    payload["user"] |= {"id": person.id, "username": person.name, "name": person.name}
    payload["actions"][0] |= {"action_id": action, **{k: v for k, v in changes.items() if k == "value"}}
    if channel := changes.get("channel"):
        payload["channel"]["id"] = payload["container"]["channel_id"] = channel
    await person.replay(payload)


def value(request: Message, **changes: Any) -> str:
    """The value that the button of a request carries, otherwise."""
    button = next(
        e for b in request.blocks if b["type"] == "actions" for e in b["elements"] if e["action_id"] == "approve"
    )
    return json.dumps({**json.loads(button["value"]), **changes})


Attack = Callable[[Team, Message], Awaitable[tuple[Person, str | None, tuple[str, ...]]]]
ATTACKS: dict[str, Attack] = {}


def attack(made: Attack) -> Attack:
    """An attack on the request that waits. It gives who tried, on which execution, and what is said to them."""
    ATTACKS[made.__name__] = made
    return made


@attack
async def a_click_is_replayed_after_it_ended(team: Team, request: Message) -> Any:
    office = team.office
    modal = await team.window(office.bob, request)
    await office.alice.clicks(request, "Deny")
    await office.alice.submits(await office.alice.sees_modal(), {WHY_BLOCK: "no"})
    await quiet(office)
    first = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    await quiet(office)
    await again(office.bob, first)
    return office.bob, office.execution().id, ("is denied: there is nothing to approve",)


@attack
async def another_execution_is_named(team: Team, request: Message) -> Any:
    await forged(team, request, team.office.bob, value=value(request, execution="ex-00000000"))
    return team.office.bob, "ex-00000000", ("there is no execution 'ex-00000000'",)


@attack
async def an_execution_of_the_command_line_is_named(team: Team, request: Message) -> Any:
    made = await asked_on_the_command_line(team.office, "cli:alice")
    await forged(team, request, team.office.bob, value=value(request, execution=made.id, plan_hash=made.plan.hash))
    return team.office.bob, made.id, ("was not asked for in Slack",)


@attack
async def the_execution_of_another_message_is_named(team: Team, request: Message) -> Any:
    other = await team.own()
    await forged(team, request, team.office.bob, value=value(other))
    return team.office.bob, click_of(value(other)).execution, ("this is not the message of",)


@attack
async def another_plan_is_named(team: Team, request: Message) -> Any:
    await forged(team, request, team.office.bob, value=value(request, plan_hash="0" * 64))
    return team.office.bob, team.office.execution().id, ("the button is of another plan",)


@attack
async def no_plan_is_named(team: Team, request: Message) -> Any:
    execution = team.office.execution().id
    await forged(team, request, team.office.bob, value=value_of(Click(execution=execution)))
    return team.office.bob, execution, ("the button is of another plan",)


@attack
async def a_value_does_not_parse(team: Team, request: Message) -> Any:
    await forged(team, request, team.office.bob, value="{'execution': approve all of it}")
    return team.office.bob, None, ("this is no button of Unstick",)


@attack
async def a_button_is_made_up(team: Team, request: Message) -> Any:
    await forged(team, request, team.office.bob, "approve_without_asking")
    return team.office.bob, None, ("Unstick has no button or window 'approve_without_asking'",)


@attack
async def the_value_says_that_somebody_else_clicked(team: Team, request: Message) -> Any:
    bob = team.office.bob.id
    await forged(team, request, team.office.alice, value=value(request, user=bob, asker=bob, person=bob))
    return team.office.alice, None, ("this is no button of Unstick",)


@attack
async def the_requester_approves(team: Team, request: Message) -> Any:
    await team.office.alice.clicks(request, "Approve")
    return team.office.alice, team.office.execution().id, ("asked for this plan and cannot approve it",)


@attack
async def the_requester_approves_as_another_of_their_users(team: Team, request: Message) -> Any:
    await team.alias.clicks(request, "Approve")
    return team.alias, team.office.execution().id, ("asked for this plan and cannot approve it",)


@attack
async def a_role_was_revoked_before_the_click(team: Team, request: Message) -> Any:
    team.roles(team.office.bob, "viewer")
    await team.office.bob.clicks(request, "Approve")
    return team.office.bob, team.office.execution().id, ("does not have the role approver",)


@attack
async def a_role_was_revoked_between_the_click_and_the_name(team: Team, request: Message) -> Any:
    modal = await team.window(team.office.bob, request)
    team.roles(team.office.bob, "viewer")
    await team.office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    return team.office.bob, team.office.execution().id, ("does not have the role approver",)


@attack
async def the_target_is_another_one_of_its_name(team: Team, request: Message) -> Any:
    modal = await team.window(team.office.bob, request)
    store = team.office.sandbox.api.registry.store
    node = copy.deepcopy(next(n for n in store.all(NODES) if n["metadata"]["name"] == "node1"))
    node["metadata"]["uid"] = "another-machine"
    store.put(NODES, node)
    await team.office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    return team.office.bob, team.office.execution().id, ("another-machine",)


@attack
async def the_image_is_locked_by_somebody_else_by_now(team: Team, request: Message) -> Any:
    modal = await team.window(team.office.bob, request)
    ceph = team.office.sandbox.ceph
    with ceph.lock:
        ceph.object(POOL, "", f"{IMAGES[0]}.rbd").locks.clear()
    ceph.client(ADDRESSES["node3"], "client.admin").lock_advisory(IMAGE, "kubelet_lock_magic_node3")
    await team.office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    return team.office.bob, team.office.execution().id, ("lock",)


@attack
async def the_runbook_is_another_file(team: Team, request: Message) -> Any:
    other = await team.own()
    (team.folder / "own.yaml").write_text(OWN.format(version="1.0.0", meaning="Another text."))
    await team.office.bob.clicks(other, "Approve")
    return team.office.bob, click_of(value(other)).execution, ("is not the file that the plan was made from",)


@attack
async def the_runbook_has_another_version(team: Team, request: Message) -> Any:
    other = await team.own()
    (team.folder / "own.yaml").write_text(OWN.format(version="1.1.0", meaning="A test."))
    await team.office.bob.clicks(other, "Approve")
    return team.office.bob, click_of(value(other)).execution, ("1.0.0",)


@attack
async def it_has_expired(team: Team, request: Message) -> Any:
    modal = await team.window(team.office.bob, request)
    team.office.sandbox.clock.forward(15 * 60)
    await team.office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
    return team.office.bob, team.office.execution().id, ("the plan expired at",)


@attack
async def it_is_clicked_in_another_channel(team: Team, request: Message) -> Any:
    elsewhere = team.office.workspace.channel("elsewhere")
    await forged(team, request, team.office.bob, channel=elsewhere)
    return team.office.bob, team.office.execution().id, ("was asked for in another channel",)


@attack
async def an_approver_of_another_namespace_approves(team: Team, request: Message) -> Any:
    await team.dave.clicks(request, "Approve")
    return team.dave, team.office.execution().id, ("has no role in namespace search",)


async def asked_on_the_command_line(office: Office, login: str) -> Execution:
    books = library(office.settings)
    async with engine(office.settings, office.sandbox.target, office.state, books) as running:
        book = running.find("nodes/look_after")
        asker = person_of(office.settings, login)
        return await running.request(await running.plan(book, parse_parameters(book, ("node=node2",)), asker), asker)


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_refused_told_and_on_record(team: Team, name: str) -> None:
    office = team.office
    request = await office.requested()
    who, execution, reasons = await ATTACKS[name](team, request)
    await quiet(office)
    said = all_told(office, who)[-1] if name == "it_is_clicked_in_another_channel" else refused(office, who)
    row = next(row for row in reversed(office.state.runbooks.audit_rows()) if "refused" in row.event)
    assert row.person == office_id(office, who)
    assert execution is None or row.execution == execution
    given = json.loads(row.detail)["reasons"]
    for reason in reasons:
        assert any(reason in each for each in given), given
        assert reason in said
    assert office.state.runbooks.audit_fault() is None
    assert not [e for e, _ in office.events() if e in ("approved", "may run", "running", "intent")]
    untouched(office)


def all_told(office: Office, person: Person) -> list[str]:
    """What only this person was shown, in whichever channel."""
    shown = office.workspace.state.channels
    return [m.visible for each in shown for m in office.workspace.messages(each) if m.ephemeral_to == person.id]


async def test_a_window_that_was_opened_elsewhere_or_made_up_is_refused_in_the_window(team: Team) -> None:
    office = team.office
    request = await office.requested()
    modal = await team.window(office.bob, request)
    wrong = await office.bob.submits(modal, {CONFIRM_BLOCK: "node2"})
    kept = json.loads(wrong.payload["view"]["private_metadata"])
    for metadata, reason in (
        ({**kept, "channel": "C0ELSEWHERE"}, "was asked for in another channel"),
        ({**kept, "click": value(request, plan_hash="0" * 64)}, "the button is of another plan"),
        ({**kept, "click": value(request, execution="ex-00000000")}, "there is no execution"),
        ({**kept, "click": "{}}"}, "this is no window of Unstick"),
        ({}, "this is no window of Unstick"),
    ):
        payload = copy.deepcopy(wrong.payload)
        payload["view"]["private_metadata"] = json.dumps(metadata)
        payload["view"]["state"]["values"][CONFIRM_BLOCK]["typed"]["value"] = "node1"
        reply = await office.bob.replay(payload)
        assert reply.errors is not None
        assert reason in reply.errors[CONFIRM_BLOCK]
        event, who, reasons = on_record(office)[-1]
        assert (event, who) == ("click refused", office.bob.id)
        assert reason in reasons[0]
    payload = copy.deepcopy(wrong.payload)
    payload["view"]["callback_id"] = "approve_all"
    await office.bob.replay(payload)
    await quiet(office)
    assert "no button or window 'approve_all'" in on_record(office)[-1][2][0]
    assert office.execution().state is ExecutionState.WAITING
    untouched(office)


async def test_two_approvers_at_once_and_each_of_them_twice_start_one_run(team: Team) -> None:
    office = team.office
    request = await office.requested()
    both = [(person, await team.window(person, request)) for person in (office.bob, team.erin)]
    sent = await asyncio.gather(*(person.submits(modal, {CONFIRM_BLOCK: "node1"}) for person, modal in both))
    await asyncio.gather(*(again(person, reply) for (person, _), reply in zip(both, sent, strict=True)))
    await office.alice.sees(office.channel, "Resolved", PATIENCE)
    await quiet(office)
    events = [event for event, _ in office.events()]
    assert (events.count("running"), events.count("may run")) == (1, 1)
    assert len([row for row in office.state.runbooks.audit_rows() if row.event == "approved"]) <= 2
    acts = [json.loads(row.detail)["step"] for row in office.state.runbooks.audit_rows() if row.event == "intent"]
    assert len(acts) == len(set(acts)) == 4
    assert office.state.runbooks.audit_fault() is None
    for person in (office.bob, team.erin):
        for said in told(office, person):
            assert "mistake in Unstick" not in said


async def test_one_approver_twice_is_no_quorum(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool
) -> None:  # fmt: skip
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, critical_quorum=2) as office:
        request = await office.requested()
        await office.bob.clicks(request, "Approve")
        modal = await office.bob.sees_modal("What dies")
        first = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
        await asyncio.gather(*(again(office.bob, first) for _ in range(3)))
        await quiet(office)
        assert office.execution().state is ExecutionState.WAITING
        assert [event for event, _ in office.events()].count("approved") == 1
        assert len(office.state.runbooks.approvals(office.execution().id)) == 1
        untouched(office)
