"""Payloads by signed HTTP, taken by the real slack-bolt behind its own aiohttp adapter."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack import NotPossible, NotSeen, Workspace
from tests.bot.sandbox.slack.serving import button, form, listening

Object = dict[str, Any]


@pytest.fixture
def taken() -> list[web.Request]:
    return []


@pytest.fixture
async def app(workspace: Workspace, taken: list[web.Request]) -> AsyncIterator[AsyncApp]:
    """A Bolt app that serves HTTP and checks signatures."""
    client = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url)
    bolt = AsyncApp(client=client, signing_secret=workspace.signing_secret)

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        taken.append(request)
        return await to_aiohttp_response(await bolt.async_dispatch(await to_bolt_request(request)))

    async with listening(handle) as url:
        workspace.deliver_to(url)
        yield bolt


async def test_commands_clicks_and_modals_work_as_they_do_over_sockets(workspace: Workspace, app: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")

    @app.command("/unstick")
    async def plan(ack: Any, command: Object, client: Any) -> None:
        await ack(f"Planning {command['text']}")
        row = {"type": "actions", "elements": [button("Approve", "approve")]}
        await client.chat_postMessage(channel=command["channel_id"], text="Plan", blocks=[row])

    @app.action("approve")
    async def approve(ack: Any, body: Object, client: Any) -> None:
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=form())

    @app.view("approve")
    async def submitted(ack: Any, view: Object, client: Any) -> None:
        typed = view["state"]["values"]["node"]["typed"]["value"]
        if typed != "node1":
            await ack(response_action="errors", errors={"node": "Type the node's name."})
        else:
            await ack()
            await client.chat_postMessage(channel=incidents, text="Approved")

    await workspace.connected()
    assert workspace.connections == 0
    reply = await alice.types(incidents, "/unstick fix pod/x")
    assert (reply.error, reply.text, reply.delivery.status) == (None, "Planning fix pod/x", 200)
    assert await alice.sees(incidents, "Planning fix pod/x")
    message = await alice.sees(incidents, "Approve")
    assert (await alice.clicks(message, "Approve")).error is None
    view = await alice.sees_modal("Approve")
    assert (await alice.submits(view, {"Node": "node2"})).errors == {"node": "Type the node's name."}
    assert (await alice.submits(await alice.sees_modal("Type the node"), {"Node": "node1"})).error is None
    assert await alice.sees(incidents, "Approved")
    replayed = await alice.replay(reply)
    assert (replayed.error, replayed.payload) == (None, reply.payload)


async def test_bodies_and_signatures_are_slacks(workspace: Workspace, app: AsyncApp, taken: list[web.Request]) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    message = await workspace.posts_as_app(incidents, "alert")

    @app.command("/unstick")
    @app.shortcut("diagnose")
    @app.event("app_mention")
    async def take(ack: Any) -> None:
        await ack()

    await alice.types(incidents, "/unstick why a&b=c ü")
    await alice.uses_shortcut(message, "diagnose")
    await alice.says(incidents, "@unstick why")
    command, shortcut, event = [(request, await request.text()) for request in taken]
    verifier = SignatureVerifier(workspace.signing_secret)
    for request, body in (command, shortcut, event):
        assert verifier.is_valid_request(body, dict(request.headers))
    assert command[0].content_type == shortcut[0].content_type == "application/x-www-form-urlencoded"
    assert parse_qs(command[1])["text"] == ["why a&b=c ü"]
    assert json.loads(parse_qs(shortcut[1])["payload"][0])["type"] == "message_action"
    assert event[0].content_type == "application/json"
    assert json.loads(event[1])["event"]["type"] == "app_mention"
    assert "X-Slack-Retry-Num" not in event[0].headers


async def test_forged_tampered_unsigned_and_stale_requests_are_seen_by_their_status(
    workspace: Workspace, app: AsyncApp, taken: list[web.Request]
) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    done = []

    @app.command("/unstick")
    async def fix(ack: Any, command: Object) -> None:
        done.append(command["text"])
        await ack()

    genuine = (await alice.types(incidents, "/unstick fix pod/x")).delivery
    http = workspace.http
    assert await http.forges(genuine) == 401
    assert await http.tampers(genuine, user_id="U0MALLORY") == 401
    assert await http.leaves_out(genuine) == 401
    assert await http.leaves_out(genuine, "X-Slack-Signature") == 401
    assert await http.sends_late(genuine, 301) == 401
    assert await http.sends_late(genuine, -301) == 401
    assert done == ["fix pod/x"]
    # Bolt takes a request that was cut out and sent again within five minutes: an app has to know it by itself.
    assert await http.repeats(genuine) == 200
    assert await http.sends_late(genuine, 200) == 200
    first, again = taken[0], taken[-2]
    assert await first.read() == await again.read()
    for header in ("X-Slack-Signature", "X-Slack-Request-Timestamp"):
        assert first.headers[header] == again.headers[header]


async def test_an_answer_that_is_late_missing_or_wrong_is_an_error(workspace: Workspace) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    may_answer, statuses = asyncio.Event(), [200]

    async def handle(request: web.Request) -> web.Response:
        await may_answer.wait()
        return web.Response(status=statuses[-1])

    async with listening(handle) as url:
        workspace.deliver_to(url)
        reply = await alice.types(incidents, "/unstick check")
        assert (reply.error, reply.seconds) == ("operation_timeout", None)
        may_answer.set()
        assert await workspace.changes.until(lambda: reply.seconds, 5)
        assert (reply.seconds or 0) > 0.3
        for status, error in ((401, "http_client_error"), (500, "http_service_error"), (204, None)):
            statuses.append(status)
            assert (await alice.types(incidents, "/unstick check")).error == error
        workspace.faults.down = True
        assert (await alice.types(incidents, "/unstick check")).error == "dispatch_failed"
        workspace.faults.down = False
    assert (await alice.types(incidents, "/unstick check")).error == "dispatch_failed"
    with pytest.raises(NotSeen, match="does not answer Slack's challenge"):
        await workspace.connected(timeout=0.05)
    workspace.deliver_to(None)
    with pytest.raises(NotPossible, match="no request URL"):
        _ = workspace.http


@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        ([200], [("0", "")]),
        ([500, 200], [("0", ""), ("1", "http_error")]),
        ([500, 404, 503, 500], [("0", ""), ("1", "http_error"), ("2", "http_error"), ("3", "http_error")]),
        (["no retry"], [("0", "")]),
        (["late", 200], [("0", ""), ("1", "http_timeout")]),
    ],
)
async def test_an_event_that_is_not_taken_comes_again(answers: list[Any], tries: list[tuple[str, str]]) -> None:
    seen: list[tuple[str, str]] = []
    ids: set[str] = set()
    pauses: list[float] = []
    late = asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def handle(request: web.Request) -> web.Response:
        said = answers[len(seen)]
        headers = request.headers
        seen.append((headers.get("X-Slack-Retry-Num", "0"), headers.get("X-Slack-Retry-Reason", "")))
        ids.add((await request.json())["event_id"])
        if said == "late":
            await late.wait()
        if said == "no retry":
            return web.Response(status=500, headers={"X-Slack-No-Retry": "1"})
        return web.Response(status=200 if said == "late" else said)

    async with listening(handle) as url, Workspace(ack_bound=0.1, request_url=url, pause=pause) as workspace:
        incidents, alice = workspace.channel("incidents"), workspace.person("alice")
        assert await alice.says(incidents, "@unstick why")
        await workspace.retried()
        late.set()
    assert (seen, len(ids)) == (tries, 1)
    assert pauses == [0, 60, 300][: len(tries) - 1]


async def test_commands_and_clicks_are_not_tried_again() -> None:
    seen = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(status=500)

    async with listening(handle) as url, Workspace(request_url=url) as workspace:
        incidents, alice = workspace.channel("incidents"), workspace.person("alice")
        await alice.types(incidents, "/unstick why")
        await workspace.retried()
    assert len(seen) == 1


async def test_five_hundred_commands_at_once_are_all_answered(workspace: Workspace, app: AsyncApp) -> None:
    incidents, people = workspace.channel("incidents"), [workspace.person(f"p{number}") for number in range(50)]
    taken: list[str] = []

    @app.command("/unstick")
    async def why(ack: Any, command: Object) -> None:
        taken.append(command["text"])
        await ack()

    asked = [people[n % 50].types(incidents, f"/unstick {n}") for n in range(500)]
    replies = await asyncio.gather(*asked)
    assert {reply.error for reply in replies} <= {None, "operation_timeout"}
    assert await workspace.changes.until(lambda: len(taken) == 500 or None, 10)
    assert sorted(taken, key=int) == [str(n) for n in range(500)]
