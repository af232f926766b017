"""What can go wrong with Slack, as the real slack_sdk meets it."""

import asyncio
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.sandbox.clock import Clock
from bot.sandbox.slack import Workspace


@pytest.fixture
def client(workspace: Workspace) -> AsyncWebClient:
    """A client that gives up soon, and tries once."""
    return AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, timeout=1, retry_handlers=[])


@pytest.fixture
def incidents(workspace: Workspace) -> str:
    return workspace.channel("incidents")


async def test_a_post_whose_answer_is_lost_was_made(
    client: AsyncWebClient, workspace: Workspace, incidents: str
) -> None:
    workspace.faults.lose("chat.postMessage", times=2)
    for _ in range(2):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await client.chat_postMessage(channel=incidents, text="Plan")
    assert (await client.chat_postMessage(channel=incidents, text="Plan"))["ok"]
    assert [message.text for message in workspace.messages(incidents)] == ["Plan"] * 3
    assert [call.answer for call in workspace.calls] == ["lost", "lost", "ok"]


async def test_a_lost_answer_may_also_have_been_a_refusal(client: AsyncWebClient, workspace: Workspace) -> None:
    workspace.faults.lose("chat.postMessage")
    with pytest.raises((aiohttp.ClientError, OSError)):
        await client.chat_postMessage(channel="C0NOWHERE", text="Plan")
    assert [call.answer for call in workspace.calls] == ["lost"]


async def test_the_answer_to_a_response_url_and_to_an_upload_can_be_lost_too(
    client: AsyncWebClient, workspace: Workspace, incidents: str
) -> None:
    reply = await workspace.person("alice").types(incidents, "/unstick why")
    workspace.faults.lose("response_url")
    with pytest.raises((aiohttp.ClientError, OSError)):
        await AsyncWebhookClient(reply.payload["response_url"], retry_handlers=[]).send(text="Looking")
    assert [message.text for message in workspace.messages(incidents)] == ["Looking"]
    workspace.faults.lose("upload")
    with pytest.raises((aiohttp.ClientError, OSError)):
        await client.files_upload_v2(channel=incidents, content="x", filename="a.txt")
    assert [call.answer for call in workspace.calls if call.method == "upload"] == ["lost"]


async def test_one_method_is_limited_for_so_many_calls(
    client: AsyncWebClient, workspace: Workspace, incidents: str
) -> None:
    workspace.faults.rate_limit(2, retry_after=30, method="chat.postMessage")
    for _ in range(2):
        with pytest.raises(SlackApiError) as caught:
            await client.chat_postMessage(channel=incidents, text="x")
        response: Any = caught.value.response
        assert (response.status_code, response["error"]) == (429, "ratelimited")
        assert response.headers["Retry-After"] == "30"
        assert (await client.auth_test())["ok"]
    assert (await client.chat_postMessage(channel=incidents, text="x"))["ok"]


async def test_silence_answers_nothing_and_carries_nothing_out(workspace: Workspace, incidents: str) -> None:
    hasty = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, timeout=0.1, retry_handlers=[])  # type: ignore[arg-type]
    workspace.faults.silent = True
    with pytest.raises(TimeoutError):
        await hasty.chat_postMessage(channel=incidents, text="x")
    patient = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, retry_handlers=[])
    posting = asyncio.create_task(patient.chat_postMessage(channel=incidents, text="y"))
    done, _ = await asyncio.wait({posting}, timeout=0.05)
    assert not done
    workspace.faults.silent = False
    with pytest.raises((aiohttp.ClientError, OSError)):
        await posting
    assert workspace.messages(incidents) == ()
    assert (await patient.chat_postMessage(channel=incidents, text="z"))["ok"]


async def test_refused_connections_end_with_listening_again(
    client: AsyncWebClient, workspace: Workspace, incidents: str
) -> None:
    await workspace.stop_listening()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.chat_postMessage(channel=incidents, text="x")
    await workspace.listen_again()
    assert (await client.chat_postMessage(channel=incidents, text="x"))["ok"]


async def test_a_channel_takes_a_message_a_second_after_a_burst(clock: Clock) -> None:
    async with Workspace(now=clock.now, paced=True) as workspace:
        incidents, reports = workspace.channel("incidents"), workspace.channel("reports")
        client = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, retry_handlers=[])

        async def post(channel: str) -> str:
            try:
                await client.chat_postMessage(channel=channel, text="x")
            except SlackApiError as refused:
                response: Any = refused.response
                return str(response.headers["Retry-After"])
            return "ok"

        assert [await post(incidents) for _ in range(7)] == ["ok"] * 5 + ["1", "1"]
        assert await post(reports) == "ok"
        for _ in range(3):
            clock.forward(1)
            assert [await post(incidents), await post(incidents)] == ["ok", "1"]
        assert workspace.calls[-1].answer == "ratelimited"


async def test_groups_can_be_asked_for_twenty_times_a_minute(clock: Clock) -> None:
    async with Workspace(now=clock.now, paced=True) as workspace:
        client = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, retry_handlers=[])
        for _ in range(20):
            await client.usergroups_list()
        with pytest.raises(SlackApiError) as caught:
            await client.usergroups_list()
        response: Any = caught.value.response
        assert response.headers["Retry-After"] == "3"
        clock.forward(3)
        assert (await client.usergroups_list())["ok"]
