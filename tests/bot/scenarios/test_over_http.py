"""Slack by signed HTTP: the same answers, and nothing for whoever is not Slack, or plays something a second time."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
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


async def test_of_a_request_that_comes_many_times_at_once_one_is_taken(office: Office) -> None:
    genuine = (await office.alice.types(office.channel, "/unstick help")).delivery
    http = office.workspace.http
    fresh = await http.sends_late(genuine, -7)
    assert fresh == 200
    played = await asyncio.gather(*(http.sends_late(genuine, -20) for _ in range(20)))
    assert Counter(played) == {200: 1, 401: 19}


async def test_a_rush_of_requests_costs_few_transactions_and_loses_none(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, together = office.state.signatures.take_all, list[int]()

    def taking(those: Sequence[str]) -> frozenset[str]:
        together.append(len(those))
        return real(those)

    monkeypatch.setattr(office.state.signatures, "take_all", taking)
    asked = [office.alice.types(office.channel, f"/unstick why pod/reports-{n} -n media") for n in range(100)]
    replies = await asyncio.gather(*asked)
    assert {reply.error for reply in replies} == {None}
    assert sum(together) == 100
    assert len(together) < 50


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


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {}),
        (b"[]", {"Content-Type": "application/json"}),
        (b'"x"', {"Content-Type": "application/json"}),
        (b"payload=nothing", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"payload=[]", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b'{"user": "U0BOB", "team": 3}', {"Content-Type": "application/json"}),
        (b"command=%2Funstick&text=freeze&ssl_check=1", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"a=b", {"X-Slack-Request-Timestamp": "soon", "X-Slack-Signature": "v0=00"}),
        (b"a=b", {"X-Slack-Request-Timestamp": "9" * 5000, "X-Slack-Signature": "v0=00"}),
        (b"a=b", {"X-Slack-Request-Timestamp": "NOW", "X-Slack-Signature": "v0=\u00e9"}),
        (b"a=b", {"X-Slack-Request-Timestamp": "NOW", "X-Slack-Signature": ""}),
    ],
)
async def test_what_slack_would_never_send_gets_401_and_breaks_nothing(
    office: Office, body: bytes, headers: dict[str, str]
) -> None:
    stamped = {name: value.replace("NOW", str(int(time.time()))) for name, value in headers.items()}
    url = f"{await listening(office.server)}/slack/events"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=stamped) as answer:
        assert answer.status == 401
    assert office.events() == []
    assert office.state.counts.look().jobs == 0


@pytest.mark.parametrize("charset", ["utf-7", "hex", "none-such"])
async def test_what_is_no_text_gets_400(office: Office, charset: str) -> None:
    headers = {
        "Content-Type": f"text/plain; charset={charset}", "X-Slack-Signature": "v0=00",
        "X-Slack-Request-Timestamp": str(int(time.time())),
    }  # fmt: skip
    url = f"{await listening(office.server)}/slack/events"
    async with aiohttp.ClientSession() as session, session.post(url, data=b"+2AA-x", headers=headers) as answer:
        assert answer.status == 400


async def test_a_slow_database_leaves_slack_an_answer_within_its_three_seconds(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, slow = office.state.signatures.take_all, threading.Event()

    def taking(those: Sequence[str]) -> frozenset[str]:
        slow.wait(1.2)
        return real(those)

    def writing(*_: object, **__: object) -> None:
        slow.wait(5)

    monkeypatch.setattr(office.state.signatures, "take_all", taking)
    monkeypatch.setattr(office.state.incidents, "get", writing)
    began = time.monotonic()
    try:
        reply = await office.alice.types(office.channel, "/unstick ack in-01234567")
    finally:
        slow.set()
    assert "too slow just now" in reply.text
    assert time.monotonic() - began < 2.6


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
