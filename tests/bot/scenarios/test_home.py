"""The app's home: what is open, what waits for the reader's word, the last report, who they are; made anew on demand."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.settings import ClusterSettings, PersonSettings
from bot.slack import manifest
from tests.bot.scenarios.office import PATIENCE, Office, serving
from tests.bot.scenarios.proofs import can_be_shown, quiet, shown_to_all


@pytest.fixture(params=["socket", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """How Slack reaches the bot."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _with_no_more_than_the_manifest_asks_for(workspace: Workspace) -> Iterator[None]:
    workspace.scopes = manifest.app_manifest()["oauth_config"]["scopes"]["bot"]
    yield
    can_be_shown(workspace)
    assert {call.method for call in workspace.calls if "." in call.method} <= set(manifest.CALLS)


@pytest.fixture
async def office(sandbox: Sandbox, workspace: Workspace, tmp_path: Path, transport: str) -> AsyncIterator[Office]:
    """The bot, serving, with the cluster under its own name."""
    clusters = {sandbox.target.name: ClusterSettings()}
    async with serving(sandbox, workspace, tmp_path, by_http=transport == "http", clusters=clusters) as made:
        yield made


async def test_a_home_with_nothing_open_says_so_and_who_one_is(office: Office) -> None:
    await office.alice.opens_home()
    home = await office.alice.sees_home("No incident is open")
    for said in ("Nothing waits for your word", "No report was made yet", "responder", f"people.{office.alice.id}"):
        assert said in home.visible, said
    assert shown_to_all(office) == []


async def test_it_shows_what_is_open_and_what_waits_to_those_whom_it_concerns(office: Office) -> None:
    await office.requested()
    await quiet(office)
    execution = office.execution().id
    for person in (office.alice, office.bob, office.carol):
        await person.opens_home()
    bob = await office.bob.sees_home("Waits for your approval: 1")
    assert execution in bob.visible
    assert "Open incidents: 1" in bob.visible
    assert f"{NAMESPACE}/{STUCK_POD}" in bob.visible
    assert "archives" in str(bob.blocks), "links lead to the messages"
    for person in (office.alice, office.carol):
        home = await person.sees_home("Waits for your approval: 0")
        assert execution not in home.visible


async def test_refresh_shows_it_as_it_is_by_now(office: Office) -> None:
    await office.bob.opens_home()
    home = await office.bob.sees_home("Waits for your approval: 0")
    await office.requested()
    await office.alice.types(office.channel, "/unstick freeze a change")
    await quiet(office)
    reply = await office.bob.clicks(home, "Refresh")
    assert reply.error is None
    now = await office.bob.sees_home("Waits for your approval: 1")
    assert "Everything is stopped in cluster" in now.visible
    assert "a change" in now.visible
    await office.alice.types(office.channel, "/unstick report")
    await quiet(office)
    await office.bob.clicks(now, "Refresh")
    await office.bob.sees_home("found")


async def test_an_approval_that_was_given_waits_no_more(office: Office) -> None:
    request = await office.requested()
    await office.approved(request)
    await office.bob.sees(office.channel, "✅ Done", PATIENCE)
    await quiet(office)
    await office.bob.opens_home()
    home = await office.bob.sees_home("Waits for your approval: 0")
    assert "Open incidents: 0" in home.visible


async def test_nobody_reads_there_of_what_they_may_not_look_into(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    dave, erin = workspace.person("dave"), workspace.person("erin")
    clusters = {sandbox.target.name: ClusterSettings()}
    people = {
        workspace.person("alice").id: PersonSettings(roles=("responder",)),
        dave.id: PersonSettings(roles=("approver",), namespaces=("media",)),
    }
    async with serving(
        sandbox, workspace, tmp_path, people=people, unknown_people="nobody", clusters=clusters
    ) as office:
        await office.requested()
        await office.alice.types(office.channel, "/unstick report")
        await office.alice.types(office.channel, "/unstick freeze the vault is open")
        await quiet(office)
        for person in (dave, erin):
            await person.opens_home()
            home = await person.sees_home("and 1 that you may not look into")
            assert STUCK_POD not in str(home.content)
            assert "Open incidents: 0" in home.visible
            assert "Waits for your approval: 0" in home.visible
            assert "No report was made yet" in home.visible
        assert "nothing: people and groups" in (await erin.sees_home()).visible
        assert "the vault is open" in (await dave.sees_home()).visible
        assert "the vault is open" not in (await erin.sees_home()).visible
        (incident,) = office.state.incidents.open()
        for person, told in ((dave, False), (office.alice, True)):  # no id is guessed out of a typo either
            reply = await person.types(office.channel, f"/unstick ack {incident.id[:-1]}")
            assert (incident.id in reply.text) is told, reply.text


async def test_another_tab_is_not_drawn_and_a_home_that_slack_does_not_take_breaks_nothing(office: Office) -> None:
    await office.alice.opens_home("messages")
    office.workspace.faults.fail("views.publish", "internal_error")
    await office.alice.opens_home()
    await quiet(office)
    assert office.workspace.homes.of(office.alice.id) is None
    await office.alice.opens_home()
    await office.alice.sees_home("Open incidents: 0")
