"""Slack by signed HTTP: the same answers, and nothing for whoever is not Slack, or plays something a second time."""

from pathlib import Path

import aiohttp
import pytest

from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from tests.bot.scenarios.hands import until
from tests.bot.scenarios.office import WHY, Office, listening, serving


@pytest.fixture
def transport() -> str:
    return "http"


async def test_the_incident_from_the_question_to_the_running_pod(office: Office) -> None:
    request = await office.requested()
    await office.approved(request)
    assert "ROOT CAUSE" in (await office.alice.sees(office.channel, "Resolved", 20)).visible
    assert office.execution().state == "done"
    assert office.workspace.connections == 0


async def test_what_slack_did_not_sign_gets_401_and_nothing_is_done(office: Office) -> None:
    genuine = (await office.alice.types(office.channel, "/unstick help")).delivery
    http = office.workspace.http
    assert await http.forges(genuine) == 401
    assert await http.tampers(genuine, text="freeze because I can") == 401
    assert await http.leaves_out(genuine) == 401
    assert await http.leaves_out(genuine, "X-Slack-Signature") == 401
    assert await http.leaves_out(genuine, "X-Slack-Request-Timestamp") == 401
    assert office.events() == []
    assert office.state.counts.look().jobs == 0


@pytest.mark.parametrize("seconds", [301, -301])
async def test_what_is_older_than_five_minutes_or_of_the_future_gets_401(office: Office, seconds: int) -> None:
    genuine = (await office.alice.types(office.channel, "/unstick help")).delivery
    assert await office.workspace.http.sends_late(genuine, seconds) == 401
    assert await office.workspace.http.sends_late(genuine, seconds - 11 if seconds > 0 else seconds + 11) == 200


async def test_a_command_that_is_played_again_gets_401_and_is_not_done_again(office: Office) -> None:
    genuine = (await office.alice.types(office.channel, WHY)).delivery
    assert genuine.status == 200
    assert await office.workspace.http.repeats(genuine) == 401
    await office.alice.sees(office.channel, "suspect", 20)
    await until(lambda: office.state.counts.look().jobs == 0)
    assert len(office.workspace.messages(office.channel)) == 2  # what alice typed is answered in one message


async def test_an_approval_that_is_played_again_gets_401(office: Office) -> None:
    request = await office.requested()
    click = await office.bob.clicks(request, "Approve")
    modal = await office.bob.sees_modal()
    typed = await office.bob.submits(modal, {"confirm": "node1"})
    await office.alice.sees(office.channel, "Resolved", 20)
    before = office.events()
    for reply in (click, typed):
        assert await office.workspace.http.repeats(reply.delivery) == 401
        assert await office.workspace.http.forges(reply.delivery) == 401
    assert office.events() == before


async def test_nothing_is_taken_while_the_database_cannot_tell_whether_it_was_before(office: Office) -> None:
    genuine = (await office.alice.types(office.channel, "/unstick help")).delivery
    office.state.signatures.engine.dispose()
    with office.state.signatures.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE signatures RENAME TO kept")
    try:
        assert await office.workspace.http.sends_late(genuine, 0) == 503
    finally:
        with office.state.signatures.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE kept RENAME TO signatures")


async def test_nothing_is_taken_before_it_is_known_who_the_bot_is(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    workspace.faults.fail("auth.test", "fatal_error", times=1_000)
    async with serving(sandbox, workspace, tmp_path, connected=False, by_http=True) as office:
        url = f"{await listening(office.server)}/slack/events"
        async with aiohttp.ClientSession() as session, session.post(url, data=b"command=%2Funstick") as answer:
            assert answer.status == 503


async def test_by_sockets_nothing_of_slack_is_taken_over_http(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with serving(sandbox, workspace, tmp_path) as office:
        url = f"{await listening(office.server)}/slack/events"
        async with aiohttp.ClientSession() as session, session.post(url, data=b"command=%2Funstick") as answer:
            assert answer.status == 404


async def test_health_and_metrics_are_told(office: Office) -> None:
    await office.incident()
    url = await listening(office.server)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with session.get(f"{url}/readyz") as answer:
            told = await answer.json()
            assert (answer.status, told["ready"], told["degraded"]) == (200, True, [])
        async with session.get(f"{url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
    assert 'unstick_incidents_open{cluster="sandbox"} 1.0' in lines
    assert "unstick_store_up 1.0" in lines
    assert "unstick_jobs 0.0" in lines
