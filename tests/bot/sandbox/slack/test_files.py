"""Files uploaded the current way, by the real slack_sdk's files_upload_v2 and by its three steps one by one."""

import json
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError, SlackRequestError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack import Workspace

Object = dict[str, Any]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


async def refused(call: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call
    return str(caught.value.response["error"])


@pytest.fixture
def reports(workspace: Workspace) -> str:
    return workspace.channel("reports")


async def put(url: str, content: bytes) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=content) as response:
        return response.status


async def test_a_chart_is_seen_in_its_thread(client: AsyncWebClient, workspace: Workspace, reports: str) -> None:
    alice = workspace.person("alice")
    root = await client.chat_postMessage(channel=reports, text="Health report")
    answer = await client.files_upload_v2(
        channel=reports, thread_ts=root["ts"], content=PNG, filename="trend.png", title="7 days", alt_txt="A line",
        initial_comment="The trend",
    )  # fmt: skip
    seen = await alice.sees(reports, "[file: 7 days]")
    assert (seen.visible, seen.thread_ts, seen.user) == (
        "The trend\n[file: 7 days]",
        root["ts"],
        workspace.bot_user,
    )
    (file,) = seen.files
    assert (file.name, file.title, file.content, file.alt_text) == ("trend.png", "7 days", PNG, "A line")
    assert answer["file"]["id"] == file.id
    assert "ts" not in answer.data
    about = (await client.files_info(file=file.id))["file"]
    assert about["shares"]["public"][reports] == [{"ts": seen.ts, "thread_ts": root["ts"]}]
    assert (about["size"], about["filetype"]) == (len(PNG), "png")
    (_, reply) = (await client.conversations_replies(channel=reports, ts=root["ts"]))["messages"]
    assert reply["files"][0]["id"] == file.id
    assert any("[file: 7 days]" in line for line in workspace.transcript(reports))


async def test_several_files_are_one_message(client: AsyncWebClient, workspace: Workspace, reports: str) -> None:
    uploads = [
        {"content": "<html/>", "filename": "report.html", "title": "HTML"},
        {"content": "{}", "filename": "report.json"},
    ]
    await client.files_upload_v2(channel=reports, file_uploads=uploads)
    (message,) = workspace.messages(reports)
    assert [(file.name, file.content) for file in message.files] == [
        ("report.html", b"<html/>"),
        ("report.json", b"{}"),
    ]


async def test_nothing_is_shared_before_the_bytes_are_there(
    client: AsyncWebClient, workspace: Workspace, reports: str
) -> None:
    asked = await client.files_getUploadURLExternal(filename="a.txt", length=3)
    files: Any = [{"id": asked["file_id"], "title": "A"}]
    assert await refused(client.files_completeUploadExternal(files=files, channel_id=reports)) == "file_not_found"
    assert await put(asked["upload_url"], b"four") == 400
    assert await put(asked["upload_url"] + "x", b"abc") == 404
    assert await put(asked["upload_url"], b"abc") == 200
    assert workspace.messages(reports) == ()
    assert (await client.files_completeUploadExternal(files=files))["files"] == [{"id": asked["file_id"], "title": "A"}]
    assert workspace.messages(reports) == ()
    assert await refused(client.files_completeUploadExternal(files=files, channel_id=reports)) == "file_not_found"
    assert await put(asked["upload_url"], b"abc") == 404


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ({"channel_id": "C0NOWHERE"}, "channel_not_found"),
        ({"channel_id": "C0FAR"}, "not_in_channel"),
        ({"channel_id": "C0REPORTS", "thread_ts": "1.000001"}, "invalid_thread_ts"),
        ({"channels": ["C0REPORTS", "C0OTHER"], "thread_ts": "1.000001"}, "invalid_arguments"),
    ],
)
async def test_a_file_goes_only_where_a_message_may(
    client: AsyncWebClient, workspace: Workspace, reports: str, where: Object, error: str
) -> None:
    workspace.channel("far", bot=False)
    workspace.channel("other")
    asked = await client.files_getUploadURLExternal(filename="a.txt", length=3)
    await put(asked["upload_url"], b"abc")
    files: Any = [{"id": asked["file_id"]}]
    assert await refused(client.files_completeUploadExternal(files=files, **where)) == error
    # A comment is in the address as the SDK calls it; in a form it may be longer.
    long = {"files": json.dumps(files), "channel_id": reports, "initial_comment": "x" * 40_001}
    assert await refused(client.api_call("files.completeUploadExternal", data=long)) == "msg_too_long"
    assert (await client.files_completeUploadExternal(files=files, channel_id=reports))["ok"]


async def test_what_is_asked_for_must_make_sense(client: AsyncWebClient) -> None:
    assert await refused(client.files_getUploadURLExternal(filename="a", length=-1)) == "missing_argument"
    assert await refused(client.files_getUploadURLExternal(filename="", length=1)) == "invalid_arguments"
    long = client.files_getUploadURLExternal(filename="a", length=1, alt_txt="x" * 1001)
    assert await refused(long) == "alt_txt_too_large"
    assert await refused(client.files_info(file="F0NONE")) == "file_not_found"


async def test_an_upload_that_fails_shares_nothing(client: AsyncWebClient, workspace: Workspace, reports: str) -> None:
    workspace.faults.server_error(1, method="upload")
    with pytest.raises(SlackRequestError, match="503"):
        await client.files_upload_v2(channel=reports, content=PNG, filename="trend.png")
    assert workspace.messages(reports) == ()
    assert [call.method for call in workspace.calls] == ["files.getUploadURLExternal", "upload"]


async def test_a_block_shows_only_a_file_that_is_there(
    client: AsyncWebClient, workspace: Workspace, reports: str
) -> None:
    def image(**which: str) -> list[Object]:
        return [{"type": "image", "alt_text": "trend", "slack_file": which}]

    assert (
        await refused(client.chat_postMessage(channel=reports, text="x", blocks=image(id="F0NONE"))) == "invalid_blocks"
    )
    uploaded = await client.files_upload_v2(content=PNG, filename="trend.png")
    file = uploaded["file"]["id"]
    assert workspace.messages(reports) == ()
    assert (await client.chat_postMessage(channel=reports, text="x", blocks=image(id=file)))["ok"]
    address = (await client.files_info(file=file))["file"]["url_private"]
    assert (await client.chat_postMessage(channel=reports, text="x", blocks=image(url=address)))["ok"]
