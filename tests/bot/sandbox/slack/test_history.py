"""Channels and threads read back page by page, as a bot does that looks for what it posted before it crashed."""

from typing import Any

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.clock import Clock
from bot.sandbox.slack import Workspace

Object = dict[str, Any]


async def refused(call: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call
    return str(caught.value.response["error"])


@pytest.fixture
async def posted(client: AsyncWebClient, workspace: Workspace, clock: Clock) -> list[str]:
    """The times of five messages of one channel."""
    channel, times = workspace.channel("incidents"), []
    for number in range(5):
        metadata = {"event_type": "unstick", "event_payload": {"message": number, "deep": {"list": [1, None, "ü"]}}}
        answer = await client.chat_postMessage(channel=channel, text=f"m{number}", metadata=metadata)
        times.append(str(answer["ts"]))
        clock.forward(10)
    return times


def texts(answer: Any) -> list[str]:
    return [message["text"] for message in answer["messages"]]


async def test_bounds_leave_their_own_message_out_unless_inclusive(
    client: AsyncWebClient, workspace: Workspace, posted: list[str]
) -> None:
    channel = workspace.channel("incidents")
    between = {"channel": channel, "oldest": posted[1], "latest": posted[3]}
    assert texts(await client.conversations_history(**between)) == ["m2"]
    assert texts(await client.conversations_history(**between, inclusive=True)) == ["m3", "m2", "m1"]
    after = await client.conversations_history(channel=channel, oldest=posted[3])
    assert texts(after) == ["m4"]
    one = await client.conversations_history(channel=channel, latest=posted[2], inclusive=True, limit=1)
    assert (texts(one), one["has_more"]) == (["m2"], True)


async def test_metadata_comes_back_exactly_as_it_was_posted(
    client: AsyncWebClient, workspace: Workspace, posted: list[str]
) -> None:
    channel = workspace.channel("incidents")
    answer = await client.conversations_history(channel=channel, oldest=posted[3], include_all_metadata=True)
    payload = {"message": 4, "deep": {"list": [1, None, "ü"]}}
    assert answer["messages"][0]["metadata"] == {"event_type": "unstick", "event_payload": payload}


async def test_a_thread_is_read_with_its_root_in_pages(
    client: AsyncWebClient, workspace: Workspace, posted: list[str], clock: Clock
) -> None:
    channel, root = workspace.channel("incidents"), posted[0]
    replies = []
    for number in range(4):
        metadata = {"event_type": "unstick", "event_payload": {"reply": number}}
        answer = await client.chat_postMessage(channel=channel, text=f"r{number}", thread_ts=root, metadata=metadata)
        replies.append(str(answer["ts"]))
        clock.forward(1)
    found: list[str] = []
    cursor: str | None = None
    for _ in range(5):
        page = await client.conversations_replies(channel=channel, ts=root, limit=2, cursor=cursor)
        found += texts(page)
        if not page["has_more"]:
            break
        cursor = page["response_metadata"]["next_cursor"]
    assert found == ["m0", "r0", "r1", "r2", "r3"]
    late = await client.conversations_replies(channel=channel, ts=root, oldest=replies[1], include_all_metadata=True)
    assert texts(late) == ["m0", "r2", "r3"]
    assert late["messages"][1]["metadata"]["event_payload"] == {"reply": 2}
    assert texts(await client.conversations_history(channel=channel, limit=1)) == ["m4"]


async def test_who_is_not_there_reads_nothing_and_nonsense_is_refused(
    client: AsyncWebClient, workspace: Workspace, posted: list[str]
) -> None:
    channel, far = workspace.channel("incidents"), workspace.channel("far", bot=False)
    assert await refused(client.conversations_history(channel=far)) == "not_in_channel"
    assert await refused(client.conversations_replies(channel=far, ts=posted[0])) == "not_in_channel"
    assert await refused(client.conversations_history(channel=channel, cursor="2")) == "invalid_cursor"
    assert await refused(client.conversations_history(channel=channel, limit=1000)) == "invalid_limit"
    assert await refused(client.conversations_history(channel=channel, oldest="soon")) == "invalid_ts_oldest"
    assert await refused(client.conversations_history(channel=channel, latest="now")) == "invalid_ts_latest"
