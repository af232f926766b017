"""What is answered from the store at once, and what is typed in other words than the commands': ids, hints, channels."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.incidents import IncidentState
from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.settings import ClusterSettings, PersonSettings
from bot.slack import manifest
from bot.slack.edge import core
from bot.wiring import Target
from tests.bot.scenarios.office import WHY, Office, serving
from tests.bot.scenarios.proofs import can_be_shown, on_record, quiet, shown_to_all, told, untouched


@pytest.fixture(params=["socket", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """How Slack reaches the bot."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _all_that_was_said_can_be_shown(workspace: Workspace) -> Iterator[None]:
    workspace.scopes = manifest.app_manifest()["oauth_config"]["scopes"]["bot"]
    yield
    can_be_shown(workspace)
    assert {call.method for call in workspace.calls if "." in call.method} <= set(manifest.CALLS)


async def test_open_incidents_are_listed_from_the_store_with_links_to_those_that_may_look(office: Office) -> None:
    empty = await office.alice.types(office.channel, "/unstick incidents")
    assert "No incident is open in all clusters" in empty.text
    await office.incident()
    await quiet(office)
    before = len(shown_to_all(office))
    (incident,) = office.state.incidents.open()
    listed = await office.alice.types(office.channel, "/unstick incidents")
    assert "1 open incident in all clusters" in listed.text
    assert incident.id in listed.text
    assert f"{NAMESPACE}/{STUCK_POD}" in listed.text
    message = office.state.messages.get(incident.message)
    assert f"p{str(message.ts).replace('.', '')}" in str((listed.ack or {})["blocks"]), "a link leads to it"
    assert len(shown_to_all(office)) == before, "nobody else is told"


async def test_whoever_may_not_look_is_told_that_there_is_more_and_not_what(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    dave = workspace.person("dave")
    people = {
        workspace.person("alice").id: PersonSettings(roles=("responder",)),
        dave.id: PersonSettings(roles=("viewer",), namespaces=("media",)),
    }
    async with serving(sandbox, workspace, tmp_path, people=people) as office:
        await office.incident()
        for line, says in (("incidents", "and 1 that you may not look into"), ("whoami", "media")):
            reply = await dave.types(office.channel, f"/unstick {line}")
            assert says in reply.text
            assert STUCK_POD not in str(reply.ack)
        hinted = await dave.types(office.channel, f"/unstick why pod/{STUCK_POD} -n media")
        assert NAMESPACE not in str(hinted.ack), "a hint tells nothing that they may not look into"


async def test_what_was_run_is_listed_newest_first_with_how_it_stands(office: Office) -> None:
    assert "Nothing was run" in (await office.carol.types(office.channel, "/unstick history")).text
    await office.requested()
    await quiet(office)
    listed = await office.carol.types(office.channel, "/unstick history")
    assert office.execution().id in listed.text
    assert "ceph/stale_rbd_lock@1.0.0" in listed.text
    assert "waiting" in listed.text
    assert "nothing was run" in (
        await office.carol.types(office.channel, "/unstick history --cluster nope")
    ).text.lower() or (
        "There is no cluster" in (await office.carol.types(office.channel, "/unstick history --cluster nope")).text
    )


async def test_an_incident_is_acked_and_snoozed_by_its_id_with_or_without_its_beginning(office: Office) -> None:
    await office.incident()
    await quiet(office)
    (incident,) = office.state.incidents.open()
    taken = await office.alice.types(office.channel, f"/unstick ack {incident.id.removeprefix('in-')}")
    assert "Taken" in taken.text
    await quiet(office)
    assert office.state.incidents.get(incident.id).acked_by == office.alice.id
    await office.alice.types(office.channel, f"/unstick snooze {incident.id} 90m")
    await quiet(office)
    until = office.state.incidents.get(incident.id).snoozed_until
    assert until is not None
    assert abs((until - office.sandbox.clock.now()).total_seconds() - 5400) < 60
    await office.alice.types(office.channel, f"/unstick snooze {incident.id} off")
    await quiet(office)
    assert office.state.incidents.get(incident.id).snoozed_until is None
    wrong = incident.id[:-1] + ("0" if incident.id[-1] != "0" else "1")
    typo = await office.alice.types(office.channel, f"/unstick ack {wrong}")
    assert f"did you mean `{incident.id}`?" in typo.text
    assert "lists those that are open" in (await office.alice.types(office.channel, "/unstick ack zzz")).text
    assert on_record(office) == []


async def test_who_may_not_ack_is_refused_with_the_rule_that_says_so(office: Office) -> None:
    await office.incident()
    await quiet(office)
    (incident,) = office.state.incidents.open()
    await office.carol.types(office.channel, f"/unstick ack {incident.id}")
    await quiet(office)
    # It may come before the acknowledgement, which Slack shows as a message too.
    said = next(each for each in told(office, office.carol) if "Refused:" in each)
    assert f"(says people.{office.carol.id})" in said
    assert [(event, who) for event, who, _ in on_record(office)] == [("answer refused", office.carol.id)]
    assert office.state.incidents.get(incident.id).acked_by is None


async def test_the_buttons_ack_at_once_and_ask_for_how_long_to_snooze(office: Office) -> None:
    message = await office.incident()
    await quiet(office)
    (incident,) = office.state.incidents.open()
    await office.alice.clicks(message, "Snooze")
    modal = await office.alice.sees_modal("For how long?")
    reply = await office.alice.submits(modal, {"For how long?": "4 hours"})
    assert not reply.errors
    await quiet(office)
    until = office.state.incidents.get(incident.id).snoozed_until
    assert until is not None
    assert abs((until - office.sandbox.clock.now()).total_seconds() - 4 * 3600) < 60
    await office.alice.clicks(message, "Ack")
    await quiet(office)
    assert office.state.incidents.get(incident.id).acked_by == office.alice.id
    assert office.state.incidents.get(incident.id).state is IncidentState.OPEN


async def test_a_pod_that_no_incident_knows_gets_a_hint_of_one_that_is_called_alike(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "HINTS_KEEP", 0.0)
    await office.incident()
    await quiet(office)
    mistyped = STUCK_POD[:-1] + "x"
    reply = await office.alice.types(office.channel, f"/unstick why pod/{mistyped} -n {NAMESPACE}")
    assert f"did you mean `pod/{STUCK_POD} -n {NAMESPACE}`?" in reply.text
    elsewhere = await office.alice.types(office.channel, f"/unstick why {STUCK_POD}")
    assert f"did you mean `pod/{STUCK_POD} -n {NAMESPACE}`?" in elsewhere.text
    namespace = await office.alice.types(office.channel, "/unstick check serach")
    assert f"did you mean `-n {NAMESPACE}`?" in namespace.text
    assert "did you mean" not in (await office.alice.types(office.channel, WHY)).text
    await quiet(office)


async def test_a_channel_means_its_cluster_and_a_name_comes_before_it(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    west = workspace.channel("west")
    clusters = {"east": ClusterSettings(), "west": ClusterSettings(channel=west)}
    made: dict[str, Target] = {name: replace(sandbox.target, name=name) for name in clusters}

    def target(name: str | None) -> Target:
        return made[office.settings.cluster(name)[0]]

    async with serving(sandbox, workspace, tmp_path, target=target, clusters=clusters) as office:
        for line, says in (("/unstick check", "west: "), ("/unstick check --cluster east", "east: ")):
            await office.alice.types(west, line)
            await quiet(office)
            assert says in shown_to_all(office, west)[-1].visible
        assert "in cluster west" in (await office.alice.types(west, "/unstick incidents")).text
        frozen = await office.alice.types(west, "/unstick freeze a change")
        assert frozen.error is None
        await quiet(office)
        assert office.state.runbooks.frozen("west") is not None
        assert office.state.runbooks.frozen("east") is None


async def test_a_role_in_one_cluster_is_none_in_another_whatever_is_asked(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    clusters = {"east": ClusterSettings(), "west": ClusterSettings()}
    made: dict[str, Target] = {name: replace(sandbox.target, name=name) for name in clusters}
    alice = workspace.person("alice").id
    people = {alice: PersonSettings(roles=("responder", "approver"), clusters=("east",))}

    def target(name: str | None) -> Target:
        return made[office.settings.cluster(name)[0]]

    async with serving(sandbox, workspace, tmp_path, target=target, clusters=clusters, people=people) as office:
        rule = f"(says people.{alice}: roles in cluster east alone)"
        for line in ("check", "locks", "why reports-0 -n media", "report", "run nodes/uncordon node=node1"):
            reply = await office.alice.types(office.channel, f"/unstick {line} --cluster west")
            assert rule in reply.text, line
        for line in ("freeze now", "thaw"):
            await office.alice.types(office.channel, f"/unstick {line} --cluster west")
            await quiet(office)
            assert rule in shown_to_all(office)[-1].visible, line
        assert office.state.runbooks.frozen("west") is None
        await office.alice.types(office.channel, "/unstick why reports-0 -n media --cluster east")
        await quiet(office)
        assert "🟢 ok" in shown_to_all(office)[-1].visible
        await office.alice.types(office.channel, "/unstick freeze now --cluster east")
        await quiet(office)
        assert office.state.runbooks.frozen("east") is not None
        untouched(office)


async def test_whoami_says_in_plain_words_who_one_is_by_which_rule_and_what_that_allows(office: Office) -> None:
    said = (await office.alice.types(office.channel, "/unstick whoami")).text
    for expected in (office.alice.id, "responder", f"people.{office.alice.id}", "Namespaces  all", "ask for runbooks"):
        assert expected in said, expected
    assert "approve what others" not in said
    dave = office.workspace.person("dave")
    unknown = (await dave.types(office.channel, "/unstick whoami")).text
    assert "unknown_people: viewer" in unknown
    assert "look: why, check" in unknown
    assert told(office, dave), "for nobody but whoever asked"
