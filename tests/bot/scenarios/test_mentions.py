"""`@unstick ...` does what the command does, and is answered in the thread where it was said."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.settings import ClusterSettings
from bot.slack import manifest
from tests.bot.scenarios.office import PATIENCE, Office, serving
from tests.bot.scenarios.proofs import can_be_shown, on_record, quiet, refused, shown_to_all, told, untouched


@pytest.fixture(params=["socket", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """How Slack reaches the bot."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _with_no_more_than_the_manifest_asks_for(workspace: Workspace) -> Iterator[None]:
    workspace.scopes = manifest.app_manifest()["oauth_config"]["scopes"]["bot"]
    yield
    can_be_shown(workspace)


@pytest.fixture
async def office(sandbox: Sandbox, workspace: Workspace, tmp_path: Path, transport: str) -> AsyncIterator[Office]:
    """The bot, serving, with the cluster under its own name."""
    clusters = {sandbox.target.name: ClusterSettings()}
    async with serving(sandbox, workspace, tmp_path, by_http=transport == "http", clusters=clusters) as made:
        yield made


async def test_a_mention_in_a_channel_is_answered_in_the_thread_that_it_begins(office: Office) -> None:
    reply = await office.alice.says(office.channel, "hey @unstick why reports-0 -n media?")
    assert reply is not None
    assert reply.error is None
    await quiet(office)
    answer = await office.carol.sees(office.channel, "🟢 ok  Pod media/reports-0", PATIENCE)
    asked = next(m for m in shown_to_all(office) if "hey" in m.visible)
    assert answer.thread_ts == asked.ts


async def test_a_mention_in_a_thread_of_others_is_answered_there(office: Office) -> None:
    await office.bob.says(office.channel, "something is odd")
    begun = shown_to_all(office)[-1]
    await office.carol.says(office.channel, "@unstick check media", thread_ts=begun.ts)
    await quiet(office)
    answers = [m for m in shown_to_all(office) if m.thread_ts == begun.ts and m.user == office.workspace.bot_user]
    assert len(answers) == 1
    assert "unknown" in answers[0].visible
    await office.carol.says(office.channel, "@unstick runbooks", thread_ts=begun.ts)
    listed = await office.bob.sees(office.channel, "ceph/stale_rbd_lock@1.0.0", PATIENCE)
    assert listed.thread_ts == begun.ts
    await office.carol.says(office.channel, "@unstick whoami", thread_ts=begun.ts)
    await quiet(office)
    assert "viewer" in told(office, office.carol)[-1], "that is for nobody else"


async def test_in_an_incidents_thread_it_means_the_incident(office: Office) -> None:
    message = await office.incident()
    await quiet(office)
    (incident,) = office.state.incidents.open()
    await office.alice.says(office.channel, "@unstick ack", thread_ts=message.ts)
    await quiet(office)
    assert office.state.incidents.get(incident.id).acked_by == office.alice.id
    await office.alice.says(office.channel, "@unstick snooze 2h", thread_ts=message.ts)
    await quiet(office)
    assert office.state.incidents.get(incident.id).snoozed_until is not None
    await office.alice.says(office.channel, "@unstick why", thread_ts=message.ts)
    await quiet(office)
    last = shown_to_all(office)[-1]
    assert last.thread_ts == message.ts
    assert incident.id in last.visible
    assert f"{NAMESPACE}/{STUCK_POD}" in last.visible
    assert len(office.state.incidents.open()) == 1


async def test_what_is_not_understood_is_said_to_whoever_said_it_alone_in_the_thread(office: Office) -> None:
    await office.alice.says(office.channel, "@unstick wy pod/x")
    await quiet(office)
    mistaken = next(m for m in office.workspace.messages(office.channel) if m.ephemeral_to == office.alice.id)
    assert "did you mean 'why'?" in mistaken.visible
    asked = next(m for m in shown_to_all(office) if "wy pod/x" in m.visible)
    assert mistaken.thread_ts == asked.ts
    await office.alice.says(office.channel, "@unstick")
    await quiet(office)
    assert "What you can ask Unstick" in told(office, office.alice)[-1]
    assert [m for m in shown_to_all(office) if m.user == office.workspace.bot_user] == []


async def test_who_may_not_is_refused_in_the_thread_and_nothing_is_done(office: Office) -> None:
    message = await office.incident()
    await quiet(office)
    await office.carol.says(office.channel, "@unstick ack", thread_ts=message.ts)
    await quiet(office)
    assert "has none of the roles" in refused(office, office.carol)
    (incident,) = office.state.incidents.open()
    assert incident.acked_by is None
    untouched(office)


async def test_the_same_mention_that_comes_again_is_answered_once(office: Office) -> None:
    reply = await office.alice.says(office.channel, "@unstick why reports-0 -n media")
    assert reply is not None
    await quiet(office)
    before = len(shown_to_all(office))
    again = {**reply.payload, "event_context": "4-again"}  # what is signed to the letter as before is refused anyway
    await office.alice.replay(replace(reply, delivery=replace(reply.delivery, payload=again)))
    await quiet(office)
    assert len(shown_to_all(office)) == before


async def test_a_mention_that_another_replica_took_is_not_taken_by_this_one(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, transport: str
) -> None:
    # One that begins anew knows as little of what was taken as another one does.
    by_http, clusters = transport == "http", {sandbox.target.name: ClusterSettings()}
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, clusters=clusters) as office:
        sent = [
            await office.alice.says(office.channel, said)
            for said in ("@unstick why reports-0 -n media", "@unstick help")
        ]
        await quiet(office)
        before = len(office.workspace.messages(office.channel))
    async with serving(sandbox, workspace, tmp_path, by_http=by_http, clusters=clusters) as office:
        for reply in sent:
            assert reply is not None
            payload = {**reply.payload, "event_context": "4-again"}
            await office.alice.replay(replace(reply, delivery=replace(reply.delivery, payload=payload)))
        await quiet(office)
        assert len(office.workspace.messages(office.channel)) == before


async def test_a_bots_words_and_those_of_another_workspace_are_not_for_us(office: Office) -> None:
    reply = await office.alice.says(office.channel, "@unstick why reports-0 -n media")
    assert reply is not None
    await quiet(office)
    before = len(office.workspace.messages(office.channel))
    event = reply.payload["event"]
    for changed in ({"bot_id": "B0OTHER"}, {"user_team": "T0OTHER"}, {"team": "T0OTHER"}, {"source_team": "T0OTHER"}):
        forged = {**reply.payload, "event": {**event, **changed, "ts": f"{event['ts'][:-1]}9"}}
        await office.alice.replay(replace(reply, delivery=replace(reply.delivery, payload=forged)))
    await quiet(office)
    assert len(office.workspace.messages(office.channel)) == before
    assert on_record(office) == []


async def test_a_check_in_a_thread_has_buttons_that_answer_in_that_thread(office: Office) -> None:
    await office.bob.says(office.channel, "what now?")
    begun = shown_to_all(office)[-1]
    await office.bob.says(office.channel, f"@unstick check {NAMESPACE}", thread_ts=begun.ts)
    await quiet(office)
    found = await office.bob.sees(office.channel, "[Why?]", PATIENCE)
    assert found.thread_ts == begun.ts
    await office.bob.clicks(found, "Why?", beside=STUCK_POD)
    await quiet(office)
    incident = shown_to_all(office)[-1]
    assert incident.thread_ts == begun.ts
    assert STUCK_POD in incident.visible
