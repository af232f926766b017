"""Socket Mode's frames, seen raw and by the real AsyncSocketModeHandler."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from slack_bolt.app.async_app import AsyncApp

from bot.sandbox.clock import Clock
from bot.sandbox.slack import NotSeen, Workspace

Connect = Callable[..., Any]


async def socket_url(workspace: Workspace, session: aiohttp.ClientSession) -> str:
    headers = {"Authorization": f"Bearer {workspace.app_token}"}
    async with session.post(workspace.api_url + "apps.connections.open", headers=headers) as response:
        return str((await response.json())["url"])


async def test_frames_are_those_that_slack_sends(workspace: Workspace) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    async with aiohttp.ClientSession() as session:
        url = await socket_url(workspace, session)
        async with session.ws_connect(url, autoping=False) as socket:
            hello = await socket.receive_json()
            assert (hello["type"], hello["num_connections"]) == ("hello", 1)
            assert hello["connection_info"]["app_id"]
            assert hello["debug_info"]["host"]
            await socket.ping(b"sdk-ping-pong:1")
            pong = await socket.receive()
            assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"sdk-ping-pong:1")
            typing = asyncio.create_task(alice.types(incidents, "/unstick help"))
            envelope = await socket.receive_json()
            assert envelope.keys() == {"envelope_id", "type", "payload", "accepts_response_payload"}
            assert (envelope["type"], envelope["accepts_response_payload"]) == ("slash_commands", True)
            acknowledgement = {"envelope_id": envelope["envelope_id"], "payload": {"text": "Here is how"}}
            await socket.send_json(acknowledgement)
            assert (await typing).text == "Here is how"
            await socket.send_json(acknowledgement)
            await socket.send_str("no json")
            assert await workspace.changes.until(lambda: len(workspace.protocol_errors) == 2 or None, 5)
            await workspace.disconnect("warning", grace=0.05)
            frame = await socket.receive_json()
            assert (frame["type"], frame["reason"]) == ("disconnect", "warning")
            assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(url)


async def test_without_a_connection_a_command_is_not_dispatched(workspace: Workspace) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    reply = await alice.types(incidents, "/unstick help")
    assert (reply.error, reply.ack, reply.seconds) == ("dispatch_failed", None, None)


async def test_a_late_acknowledgement_is_an_error_whose_latency_is_known(
    workspace: Workspace, running: AsyncApp
) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    may_answer = asyncio.Event()

    @running.command("/unstick")
    async def slow(ack: Any) -> None:
        await may_answer.wait()
        await ack("too late")

    reply = await alice.types(incidents, "/unstick check")
    assert (reply.error, reply.seconds) == ("operation_timeout", None)
    may_answer.set()
    assert await workspace.changes.until(lambda: reply.seconds, 5)
    assert reply.seconds is not None
    assert reply.seconds > 0.3
    assert (reply.ack, workspace.messages(incidents)) == (None, ())


async def test_each_payload_goes_to_one_of_two_connections(
    workspace: Workspace, app: AsyncApp, connect: Connect
) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    handled: list[str] = []

    @app.command("/unstick")
    async def count(ack: Any, command: dict[str, Any]) -> None:
        handled.append(command["text"])
        await ack()

    async with connect(2):
        for number in range(4):
            assert (await alice.types(incidents, f"/unstick {number}")).error is None
    assert handled == ["0", "1", "2", "3"]
    assert [delivery.connection for delivery in workspace.deliveries] == [1, 2, 1, 2]


async def test_which_connection_gets_a_payload_can_be_ordered(clock: Clock) -> None:
    asked: list[int] = []
    order = iter([9, 0, 4, 4, 10])

    def spread(connections: int) -> int:
        asked.append(connections)
        return next(order)

    async with Workspace(now=clock.now, spread=spread) as workspace, aiohttp.ClientSession() as session:
        incidents, alice = workspace.channel("incidents"), workspace.person("alice")
        held, hellos = [], []
        for _ in range(10):
            socket = await session.ws_connect(await socket_url(workspace, session))
            hellos.append((await socket.receive_json())["num_connections"])
            held.append(socket)
        await workspace.connected(10)
        assert hellos == list(range(1, 11))
        for expected in (9, 0, 4, 4, 0):
            typing = asyncio.create_task(alice.types(incidents, "/unstick help"))
            envelope = await held[expected].receive_json()
            await held[expected].send_json({"envelope_id": envelope["envelope_id"]})
            assert (await typing).error is None
        for socket in held:
            await socket.close()
    assert [delivery.connection for delivery in workspace.deliveries] == [10, 1, 5, 5, 1]
    assert asked == [10] * 5


@pytest.mark.parametrize("how", ["refresh_requested", "abruptly", "close frame", "down"])
async def test_the_real_client_comes_back(workspace: Workspace, running: AsyncApp, how: str) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")

    @running.command("/unstick")
    async def answer(ack: Any) -> None:
        await ack("here")

    if how == "refresh_requested":
        await workspace.disconnect("refresh_requested")
    elif how == "down":
        workspace.faults.down = True
        assert workspace.connections == 0
        workspace.faults.down = False
    else:
        await workspace.close_sockets(abruptly=how == "abruptly")
    await workspace.connected()
    assert workspace.sockets.opened == 2
    assert (await alice.types(incidents, "/unstick help")).text == "here"


async def test_the_real_client_waits_until_slack_is_there(
    workspace: Workspace, app: AsyncApp, connect: Connect
) -> None:
    await workspace.stop_listening()
    async with connect(wait=False):
        with pytest.raises(NotSeen, match="0 of 1 sockets are open"):
            await workspace.connected(timeout=0.1)
        await workspace.listen_again()
        await workspace.connected()


async def test_refused_and_limited_connections_are_asked_for_again(
    workspace: Workspace, app: AsyncApp, connect: Connect
) -> None:
    workspace.faults.refuse_app_token = "invalid_auth"
    async with connect(wait=False):
        refused = [("apps.connections.open", {}, "invalid_auth")] * 2
        assert await workspace.changes.until(lambda: workspace.calls[:2] == refused or None, 5)
        workspace.faults.rate_limit(1, retry_after=0, method="apps.connections.open")
        workspace.faults.refuse_app_token = False
        await workspace.connected()
    assert [call.answer for call in workspace.calls][-2:] == ["ratelimited", "ok"]


async def test_the_eleventh_connection_is_sent_away(workspace: Workspace) -> None:
    async with aiohttp.ClientSession() as session:
        held = [await session.ws_connect(await socket_url(workspace, session)) for _ in range(10)]
        await workspace.connected(10)
        async with session.ws_connect(await socket_url(workspace, session)) as socket:
            assert json.loads((await socket.receive()).data)["reason"] == "too_many_websockets"
        for socket in held:
            await socket.close()
