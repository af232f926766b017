"""Access, as people meet it: Slack's groups, the channels and direct messages; every refusal names its rule and is kept."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.settings import ClusterSettings, GroupSettings, PersonSettings, SlackSettings
from bot.slack import groups as slack_groups
from bot.slack import manifest
from bot.slack.words import DIAGNOSE
from runbooks.store import State as ExecutionState
from tests.bot.scenarios.office import PATIENCE, WHY, serving
from tests.bot.scenarios.proofs import can_be_shown, on_record, quiet, refused, shown_to_all, told, untouched


@pytest.fixture(autouse=True)
def _with_no_more_than_the_manifest_asks_for(workspace: Workspace) -> Iterator[None]:
    workspace.scopes = manifest.app_manifest()["oauth_config"]["scopes"]["bot"]
    yield
    can_be_shown(workspace)


def grouped(sandbox: Sandbox, workspace: Workspace, **more: Any) -> dict[str, Any]:
    """Settings in which alice asks and the group approvers approves."""
    approvers = workspace.group("approvers", [workspace.person("bob")])
    return {
        "people": {workspace.person("alice").id: PersonSettings(roles=("responder",))},
        "groups": {approvers: GroupSettings(roles=("approver",))},
        "clusters": {sandbox.target.name: ClusterSettings()}, **more,
    }  # fmt: skip


async def test_who_is_in_a_group_approves_by_it_and_the_engine_counts_that(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with serving(sandbox, workspace, tmp_path, **grouped(sandbox, workspace)) as office:
        whoami = await office.bob.types(office.channel, "/unstick whoami")
        assert "groups.S0APPROVERS" in whoami.text
        request = await office.requested()
        assert "May approve: @bob" in request.visible, "who is called by the group's roles"
        await office.carol.clicks(request, "Approve")
        await quiet(office)
        assert "(says unknown_people: viewer)" in refused(office, office.carol)
        await office.approved(request)
        await office.bob.sees(office.channel, "✅ Done", PATIENCE)
        await quiet(office)
        assert office.execution().state is ExecutionState.DONE


async def test_what_slack_could_not_be_asked_gives_no_role_and_the_refusal_says_so(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(sandbox, workspace, tmp_path, **grouped(sandbox, workspace)) as office:
        request = await office.requested()
        workspace.faults.fail("usergroups.users.list", "internal_error", times=1000)
        book = office.server._desk.groups
        real = time.monotonic
        monkeypatch.setattr(book, "_now", lambda: real() + slack_groups.HOLDS)
        await office.bob.clicks(request, "Approve")
        await quiet(office)
        assert "Slack could not be asked who is in group S0APPROVERS" in refused(office, office.bob)
        assert office.execution().state is ExecutionState.WAITING
        untouched(office)


async def test_an_approval_by_a_group_that_one_has_left_does_not_count(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(sandbox, workspace, tmp_path, **grouped(sandbox, workspace, critical_quorum=2)) as office:
        erin = workspace.person("erin")
        approvers = workspace.group("approvers", [office.bob, erin])
        book = office.server._desk.groups
        real, ahead = time.monotonic, [slack_groups.FRESH]
        monkeypatch.setattr(book, "_now", lambda: real() + ahead[0])
        await book.refresh(office.server._client, (approvers,))
        request = await office.requested()
        await office.approved(request)
        await quiet(office)
        assert office.execution().state is ExecutionState.WAITING
        workspace.group("approvers", [erin])
        ahead[0] += slack_groups.FRESH
        await book.refresh(office.server._client, (approvers,))
        await erin.clicks(request, "Approve")
        modal = await erin.sees_modal()
        await erin.submits(modal, {"confirm": "node1"})
        await quiet(office)
        assert office.execution().state is ExecutionState.WAITING, "bob is no approver any more"
        untouched(office)


async def test_outside_of_the_channels_it_is_used_in_nothing_is_taken(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    home, other = workspace.channel("incidents"), workspace.channel("other")
    slack = SlackSettings(api_url=workspace.api_url, channel=home, channels=(home,))
    async with serving(sandbox, workspace, tmp_path, slack=slack) as office:
        for line in (WHY, "/unstick check", "/unstick incidents", "/unstick freeze", "/unstick whoami", "/unstick run"):
            reply = await office.alice.types(other, line)
            assert "says slack.channels" in reply.text, line
        await office.alice.says(other, "@unstick check")
        await office.alice.says(other, f"pod/{STUCK_POD} -n {NAMESPACE}")
        await office.alice.uses_shortcut(shown_to_all(office, other)[-1], DIAGNOSE)
        await quiet(office)
        assert [m for m in shown_to_all(office, other) if m.user == workspace.bot_user] == []
        alone = [m.visible for m in workspace.messages(other) if m.ephemeral_to == office.alice.id]
        assert len([said for said in alone if "slack.channels" in said]) == 8
        records = on_record(office)
        assert len(records) == 8
        assert {event for event, _, _ in records} == {"use refused"}
        assert all("says slack.channels" in reasons[0] for _, _, reasons in records)
        assert office.state.runbooks.frozen(sandbox.target.name) is None
        assert (await office.alice.types(home, "/unstick whoami")).text.startswith("You are")


@pytest.mark.parametrize("allowed", [False, True])
async def test_direct_messages_only_diagnose_and_only_where_a_setting_says_so(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, allowed: bool
) -> None:
    slack = SlackSettings(api_url=workspace.api_url, channel=workspace.channel("incidents"), direct_messages=allowed)
    workspace.scopes = manifest.app_manifest()["oauth_config"]["scopes"]["bot"]
    async with serving(sandbox, workspace, tmp_path, slack=slack) as office:
        direct = workspace.direct(office.alice)
        looks = [
            await office.alice.types(direct, line) for line in ("/unstick why reports-0 -n media", "/unstick locks")
        ]
        acts = [
            await office.alice.types(direct, f"/unstick {line}")
            for line in ("freeze", "thaw", "run nodes/uncordon node=node1", "ack in-00000000", "snooze in-00000000 2h")
        ]
        await quiet(office)
        assert all("says slack.direct_messages" in reply.text for reply in acts)
        assert all(("says slack.direct_messages" in reply.text) is not allowed for reply in looks)
        answered = [m for m in workspace.messages(direct) if m.user == workspace.bot_user and m.ephemeral_to is None]
        assert len(answered) == (2 if allowed else 0)
        if allowed:
            await office.alice.types(direct, WHY)
            await quiet(office)
            incident = next(m for m in office.alice.messages(direct) if "[Plan fix]" in m.visible)
            await office.alice.clicks(incident, "Plan fix")
            await quiet(office)
            assert "says slack.direct_messages" in [m.visible for m in office.alice.messages(direct)][-1]
        untouched(office)
        assert told(office, office.alice) == [], "nothing of it is told elsewhere"


async def test_who_may_look_into_one_namespace_is_shown_nothing_of_others(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    dora = workspace.person("dora")
    people = {dora.id: PersonSettings(roles=("viewer",), namespaces=("search",))}
    async with serving(sandbox, workspace, tmp_path, people=people) as office:
        await dora.types(office.channel, "/unstick check search")
        told = (await dora.sees(office.channel, "outside of your namespaces are not shown", 20)).visible
    assert "search/index-api" in told
    assert "node1 is not Ready" not in told
    assert "ledger" not in told
