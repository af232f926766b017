"""The Web API's methods and error codes, asked by the real slack_sdk."""

import json
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.sandbox.clock import Clock
from bot.sandbox.slack import Person, View, Workspace

Object = dict[str, Any]
SECTION: Object = {"type": "section", "text": {"type": "mrkdwn", "text": "*Root cause*: a lock"}}
MODAL: Object = {
    "type": "modal", "title": {"type": "plain_text", "text": "Approve"}, "blocks": [{"type": "divider"}],
}  # fmt: skip


async def refused(call: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call
    return str(caught.value.response["error"])


@pytest.fixture
def incidents(workspace: Workspace) -> str:
    return workspace.channel("incidents")


@pytest.fixture
def alice(workspace: Workspace) -> Person:
    return workspace.person("alice")


def trigger(workspace: Workspace, person: Person) -> str:
    return workspace.modals.trigger(person.id)


# --- Who asks


async def test_the_bot_learns_who_it_is(client: AsyncWebClient, workspace: Workspace) -> None:
    answer = await client.auth_test()
    assert (answer["user_id"], answer["team_id"]) == (workspace.bot_user, workspace.team)


async def test_tokens_are_missing_wrong_or_of_the_other_kind(workspace: Workspace) -> None:
    def by(token: str | None) -> AsyncWebClient:
        return AsyncWebClient(token, base_url=workspace.api_url)

    assert await refused(by(None).auth_test()) == "not_authed"
    assert await refused(by("xoxb-other").auth_test()) == "invalid_auth"
    assert await refused(by(workspace.app_token).auth_test()) == "not_allowed_token_type"
    assert await refused(by(None).apps_connections_open(app_token=workspace.bot_token)) == "not_allowed_token_type"
    assert (await by(None).apps_connections_open(app_token=workspace.app_token))["url"].startswith("ws://127.0.0.1")


async def test_a_revoked_token_is_refused_until_it_is_not(client: AsyncWebClient, workspace: Workspace) -> None:
    workspace.faults.refuse_bot_token = "token_revoked"
    assert await refused(client.auth_test()) == "token_revoked"
    workspace.faults.refuse_bot_token = True
    assert await refused(client.auth_test()) == "invalid_auth"
    workspace.faults.refuse_app_token = "account_inactive"
    assert await refused(client.apps_connections_open(app_token=workspace.app_token)) == "account_inactive"
    workspace.faults.clear()
    assert (await client.auth_test())["ok"]


async def test_api_test_needs_no_token_and_unknown_methods_are_named_so(workspace: Workspace) -> None:
    client = AsyncWebClient(base_url=workspace.api_url)
    assert (await client.api_test(foo="bar"))["args"]["foo"] == "bar"
    assert await refused(client.api_test(error="my_error")) == "my_error"
    assert await refused(client.api_call("chat.shout")) == "unknown_method"


async def test_bodies_are_forms_queries_or_json(workspace: Workspace, incidents: str) -> None:
    headers = {"Authorization": f"Bearer {workspace.bot_token}"}
    url = workspace.api_url + "chat.postMessage"
    given = {"channel": incidents, "blocks": json.dumps([SECTION])}
    async with aiohttp.ClientSession() as session:

        async def answer(**more: Any) -> Object:
            async with session.post(url, **more) as response:
                body: Object = await response.json()
                return body

        assert (await answer(headers=headers, data=given))["ok"]
        assert (await answer(data={**given, "token": workspace.bot_token}))["ok"]
        assert (await answer(headers=headers, params=given))["ok"]
        assert (await answer(headers=headers, json={"channel": incidents, "blocks": [SECTION]}))["ok"]
        assert (await answer(json={**given, "token": workspace.bot_token}))["error"] == "not_authed"
        as_json = headers | {"Content-Type": "application/json"}
        assert (await answer(headers=as_json, data="{"))["error"] == "invalid_json"
        assert (await answer(headers=as_json, data="[]"))["error"] == "json_not_object"
        as_text = headers | {"Content-Type": "text/plain"}
        assert (await answer(headers=as_text, data="hello"))["error"] == "invalid_post_type"
    assert len(workspace.messages(incidents)) == 4
    assert workspace.calls[0].arguments["blocks"] == [SECTION]
    assert not any("token" in call.arguments for call in workspace.calls)


# --- Messages


async def test_a_message_is_posted_with_blocks_metadata_and_ids_made_up(
    client: AsyncWebClient, workspace: Workspace, incidents: str
) -> None:
    metadata = {"event_type": "incident", "event_payload": {"id": 7}}
    answer = await client.chat_postMessage(channel="#incidents", text="Lock", blocks=[SECTION], metadata=metadata)
    (message,) = workspace.messages(incidents)
    assert (answer["channel"], answer["ts"]) == (incidents, message.ts)
    assert message.metadata == metadata
    assert message.visible == "Root cause: a lock"
    assert message.blocks[0]["block_id"]
    assert answer["message"]["blocks"] == message.blocks


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"channel": "C0NOWHERE", "text": "x"}, "channel_not_found"),
        ({"channel": "C0OLD", "text": "x"}, "is_archived"),
        ({"channel": "C0PRIVATE", "text": "x"}, "not_in_channel"),
        ({"channel": "C0INCIDENTS", "text": " "}, "no_text"),
        ({"channel": "C0INCIDENTS", "text": "x" * 40_001}, "msg_too_long"),
        ({"channel": "C0INCIDENTS", "text": "x", "blocks": [{"type": "divide"}]}, "invalid_blocks"),
        ({"channel": "C0INCIDENTS", "text": "x", "blocks": "no list"}, "invalid_blocks_format"),
        ({"channel": "C0INCIDENTS", "text": "x", "blocks": '{"blocks": []}'}, "invalid_blocks_format"),
        ({"channel": "C0INCIDENTS", "text": "x", "metadata": {"event_type": "e"}}, "invalid_metadata_schema"),
        ({"channel": "C0INCIDENTS", "text": "x", "metadata": "{"}, "invalid_metadata_format"),
        ({"channel": "C0INCIDENTS", "text": "x", "thread_ts": "1.000001"}, "invalid_thread_ts"),
        ({"channel": "C0INCIDENTS", "text": "x", "attachments": [{"text": "y"}]}, "invalid_arguments"),
        ({"channel": "", "text": "x"}, "invalid_arguments"),
    ],
)  # fmt: skip
async def test_a_post_is_refused(
    client: AsyncWebClient, workspace: Workspace, incidents: str, given: Object, error: str
) -> None:
    workspace.channel("old", archived=True)
    workspace.channel("private", bot=False)
    assert await refused(client.api_call("chat.postMessage", json=given)) == error
    assert workspace.messages(incidents) == ()
    assert workspace.calls[-1].answer == error


async def test_invalid_blocks_say_where(client: AsyncWebClient, incidents: str) -> None:
    long = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel=incidents, text="x", blocks=[long])
    assert caught.value.response["response_metadata"]["messages"] == [
        "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"
    ]


async def test_a_reply_to_a_reply_joins_the_thread(
    client: AsyncWebClient, workspace: Workspace, incidents: str
) -> None:
    root = await client.chat_postMessage(channel=incidents, text="root")
    first = await client.chat_postMessage(channel=incidents, text="first", thread_ts=root["ts"])
    await client.chat_postMessage(channel=incidents, text="second", thread_ts=first["ts"])
    replies = await client.conversations_replies(channel=incidents, ts=root["ts"])
    assert [m["text"] for m in replies["messages"]] == ["root", "first", "second"]
    assert replies["messages"][0]["reply_count"] == 2
    history = await client.conversations_history(channel=incidents)
    assert [m["text"] for m in history["messages"]] == ["root"]
    assert await refused(client.conversations_replies(channel=incidents, ts="1.000001")) == "thread_not_found"


async def test_history_comes_in_pages_the_newest_first(client: AsyncWebClient, incidents: str) -> None:
    for text in ("one", "two", "three"):
        await client.chat_postMessage(channel=incidents, text=text)
    page = await client.conversations_history(channel=incidents, limit=2)
    assert [m["text"] for m in page["messages"]] == ["three", "two"]
    assert page["has_more"]
    cursor = page["response_metadata"]["next_cursor"]
    rest = await client.conversations_history(channel=incidents, limit=2, cursor=cursor)
    assert [m["text"] for m in rest["messages"]] == ["one"]
    assert not rest["has_more"]


async def test_history_shows_metadata_only_to_who_asks_for_it(client: AsyncWebClient, incidents: str) -> None:
    metadata = {"event_type": "incident", "event_payload": {"id": 7}}
    await client.chat_postMessage(channel=incidents, text="one", metadata=metadata)
    (message,) = (await client.conversations_history(channel=incidents))["messages"]
    assert "metadata" not in message
    (message,) = (await client.conversations_history(channel=incidents, include_all_metadata=True))["messages"]
    assert message["metadata"] == metadata


async def test_text_without_blocks_takes_the_blocks_away_and_metadata_stays(
    client: AsyncWebClient, workspace: Workspace, incidents: str
) -> None:
    metadata = {"event_type": "incident", "event_payload": {}}
    ts = (await client.chat_postMessage(channel=incidents, text="a", blocks=[SECTION], metadata=metadata))["ts"]
    later = {"event_type": "later", "event_payload": {}}
    await client.api_call("chat.update", json={"channel": incidents, "ts": ts, "metadata": later})
    (message,) = workspace.messages(incidents)
    assert (message.visible, message.metadata and message.metadata["event_type"]) == ("Root cause: a lock", "later")
    await client.chat_update(channel=incidents, ts=ts, text="b")
    (message,) = workspace.messages(incidents)
    assert (message.visible, message.metadata and message.metadata["event_type"]) == ("b", "later")
    assert [len(blocks) for _, blocks in message.versions] == [1, 1, 0]


async def test_an_edit_is_refused(client: AsyncWebClient, workspace: Workspace, incidents: str, alice: Person) -> None:
    ts = (await client.chat_postMessage(channel=incidents, text="a"))["ts"]
    await alice.says(incidents, "mine")
    hers = workspace.messages(incidents)[-1].ts
    private = (await client.chat_postEphemeral(channel=incidents, user=alice.id, text="only you"))["message_ts"]
    edit = client.chat_update
    assert await refused(edit(channel=incidents, ts="1.000001", text="b")) == "message_not_found"
    assert await refused(edit(channel=incidents, ts=private, text="b")) == "message_not_found"
    assert await refused(edit(channel=incidents, ts=hers, text="b")) == "cant_update_message"
    assert await refused(edit(channel="#incidents", ts=ts, text="b")) == "channel_not_found"
    assert await refused(client.api_call("chat.update", json={"channel": incidents, "ts": ts})) == "no_text"
    assert await refused(edit(channel=incidents, ts=ts, text="x" * 4001)) == "msg_too_long"
    assert await refused(client.chat_delete(channel=incidents, ts=hers)) == "cant_delete_message"
    assert workspace.messages(incidents)[0].versions == (("a", []),)


async def test_a_deleted_message_is_gone(client: AsyncWebClient, workspace: Workspace, incidents: str) -> None:
    ts = (await client.chat_postMessage(channel=incidents, text="a"))["ts"]
    assert (await client.chat_delete(channel=incidents, ts=ts))["ts"] == ts
    assert workspace.messages(incidents) == ()


async def test_an_ephemeral_message_goes_to_a_member_only(
    client: AsyncWebClient, workspace: Workspace, alice: Person
) -> None:
    bob = workspace.person("bob")
    oncall = workspace.channel("oncall", members=[alice])
    await client.chat_postEphemeral(channel=oncall, user=alice.id, text="only you")
    assert (await alice.sees(oncall, "only you")).ephemeral_to == alice.id
    assert await refused(client.chat_postEphemeral(channel=oncall, user=bob.id, text="x")) == "user_not_in_channel"
    assert bob.messages(oncall) == ()


async def test_permalinks_point_to_messages(client: AsyncWebClient, workspace: Workspace, incidents: str) -> None:
    ts = (await client.chat_postMessage(channel=incidents, text="a"))["ts"]
    link = (await client.chat_getPermalink(channel=incidents, message_ts=ts))["permalink"]
    assert link == f"{workspace.url}archives/{incidents}/p{ts.replace('.', '')}"
    assert await refused(client.chat_getPermalink(channel=incidents, message_ts="1.000001")) == "message_not_found"


async def test_a_message_to_a_person_goes_to_the_direct_conversation(
    client: AsyncWebClient, workspace: Workspace, alice: Person
) -> None:
    answer = await client.chat_postMessage(channel=alice.id, text="awaits you")
    assert answer["channel"] == workspace.direct(alice)
    assert (await client.conversations_open(users=alice.id))["channel"]["id"] == answer["channel"]
    assert (await client.conversations_info(channel=answer["channel"]))["channel"]["is_im"]
    assert await alice.sees(answer["channel"], "awaits you", timeout=0)


async def test_users_and_conversations_are_described(
    client: AsyncWebClient, workspace: Workspace, incidents: str, alice: Person
) -> None:
    assert (await client.users_info(user=alice.id))["user"]["name"] == "alice"
    assert (await client.users_info(user=workspace.bot_user))["user"]["is_bot"]
    assert await refused(client.users_info(user="U0NOBODY")) == "user_not_found"
    assert (await client.conversations_info(channel=incidents))["channel"]["name"] == "incidents"
    assert await refused(client.conversations_info(channel="C0NOWHERE")) == "channel_not_found"


# --- Modals


async def opened(client: AsyncWebClient, workspace: Workspace, alice: Person) -> View:
    await client.views_open(trigger_id=trigger(workspace, alice), view=MODAL)
    return await alice.sees_modal("Approve", timeout=0)


async def test_a_trigger_is_good_once_and_for_three_seconds(
    client: AsyncWebClient, workspace: Workspace, alice: Person, clock: Clock
) -> None:
    assert await refused(client.views_open(trigger_id="1.2.abc", view=MODAL)) == "invalid_trigger_id"
    late = trigger(workspace, alice)
    clock.forward(3)
    in_time = trigger(workspace, alice)
    clock.forward(3)
    assert await refused(client.views_open(trigger_id=late, view=MODAL)) == "expired_trigger_id"
    assert (await client.views_open(trigger_id=in_time, view=MODAL))["view"]["title"]["text"] == "Approve"
    assert await refused(client.views_open(trigger_id=in_time, view=MODAL)) == "exchanged_trigger_id"


async def test_a_view_slack_would_not_show_is_refused_and_leaves_the_trigger(
    client: AsyncWebClient, workspace: Workspace, alice: Person
) -> None:
    fresh = trigger(workspace, alice)
    too_long = {**MODAL, "title": {"type": "plain_text", "text": "x" * 25}}
    with pytest.raises(SlackApiError) as caught:
        await client.views_open(trigger_id=fresh, view=too_long)
    assert caught.value.response["error"] == "invalid_arguments"
    assert "must be less than 25 characters" in caught.value.response["response_metadata"]["messages"][0]
    assert (await client.views_open(trigger_id=fresh, view=MODAL))["ok"]


async def test_an_open_view_is_updated_by_id_and_guarded_by_its_hash(
    client: AsyncWebClient, workspace: Workspace, alice: Person
) -> None:
    view = await opened(client, workspace, alice)
    changed = {**MODAL, "title": {"type": "plain_text", "text": "Changed"}}
    assert await refused(client.views_update(view_id=view.id, view=changed, hash="0.old")) == "hash_conflict"
    await client.views_update(view_id=view.id, view=changed, hash=view.content["hash"])
    assert (await alice.sees_modal("Changed", timeout=0)).id == view.id
    assert await refused(client.views_update(view_id="V0NONE", view=MODAL)) == "not_found"
    await alice.closes(view)
    assert await refused(client.views_update(view_id=view.id, view=MODAL)) == "not_found"


async def test_three_views_lie_upon_each_other_at_most(
    client: AsyncWebClient, workspace: Workspace, alice: Person
) -> None:
    assert await refused(client.views_push(trigger_id=trigger(workspace, alice), view=MODAL)) == "not_found"
    await opened(client, workspace, alice)
    for _ in range(2):
        await client.views_push(trigger_id=trigger(workspace, alice), view=MODAL)
    assert await refused(client.views_push(trigger_id=trigger(workspace, alice), view=MODAL)) == "push_limit_reached"


# --- Response URLs


async def posted(workspace: Workspace, path: str, **body: Any) -> tuple[int, str]:
    answer = await AsyncWebhookClient(f"{workspace.url}actions/{path}").send_dict(body)
    return answer.status_code, answer.body


async def test_a_response_url_is_good_for_five_uses_and_thirty_minutes(
    workspace: Workspace, incidents: str, alice: Person, clock: Clock
) -> None:
    path = workspace.payloads.command(alice.user, workspace.state.channels[incidents], "/unstick", "")["response_url"]
    path = path.removeprefix(f"{workspace.url}actions/")
    for number in range(5):
        assert (await posted(workspace, path, text=f"answer {number}"))[0] == 200
    status, body = await posted(workspace, path, text="sixth")
    assert (status, json.loads(body)["error"]) == (404, "used_url")
    assert {m.ephemeral_to for m in workspace.messages(incidents)} == {alice.id}
    second = workspace.payloads.command(alice.user, workspace.state.channels[incidents], "/unstick", "")
    clock.forward(30 * 60 + 1)
    status, body = await posted(workspace, second["response_url"].removeprefix(f"{workspace.url}actions/"), text="x")
    assert json.loads(body)["error"] == "expired_url"


async def test_a_response_url_answers_in_the_channel_replaces_or_deletes(
    client: AsyncWebClient, workspace: Workspace, incidents: str, alice: Person
) -> None:
    await client.chat_postMessage(channel=incidents, text="original")
    (message,) = workspace.messages(incidents)
    path = workspace.payloads.click(alice.user, message, {"type": "button"}, {})["response_url"]
    path = path.removeprefix(f"{workspace.url}actions/")
    await posted(workspace, path, text="for all", response_type="in_channel")
    assert [m.text for m in workspace.person("bob").messages(incidents)] == ["original", "for all"]
    await posted(workspace, path, text="changed", replace_original=True)
    assert [m.text for m in workspace.messages(incidents)] == ["changed", "for all"]
    assert (await posted(workspace, path, text="")) == (400, '{"ok": false, "error": "no_text"}')
    await posted(workspace, path, delete_original=True)
    assert [m.text for m in workspace.messages(incidents)] == ["for all"]


# --- Faults


async def test_a_rate_limit_says_when_to_come_back_and_the_sdk_does(
    workspace: Workspace, incidents: str, client: AsyncWebClient
) -> None:
    workspace.faults.rate_limit(1, retry_after=7, method="chat.postMessage")
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel=incidents, text="x")
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["Retry-After"] == "7"
    workspace.faults.rate_limit(1, retry_after=0)
    patient = AsyncRateLimitErrorRetryHandler(max_retry_count=1)
    retrying = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, retry_handlers=[patient])
    await retrying.chat_postMessage(channel=incidents, text="x")
    assert [call.answer for call in workspace.calls] == ["ratelimited", "ratelimited", "ok"]


async def test_calls_fail_err_and_hang_as_ordered(workspace: Workspace, incidents: str, client: AsyncWebClient) -> None:
    workspace.faults.fail("chat.postMessage", "fatal_error", times=2)
    for _ in range(2):
        assert await refused(client.chat_postMessage(channel=incidents, text="x")) == "fatal_error"
    workspace.faults.server_error(1)
    with pytest.raises(SlackApiError) as caught:
        await client.auth_test()
    assert caught.value.response.status_code == 503
    workspace.faults.hang("auth.test", 60)
    hurried = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, timeout=0.05)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        await hurried.auth_test()
    assert (await client.auth_test())["ok"]


async def test_a_workspace_that_is_down_drops_connections_and_comes_back(
    workspace: Workspace, client: AsyncWebClient
) -> None:
    workspace.faults.down = True
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.auth_test()
    workspace.faults.down = False
    assert (await client.auth_test())["ok"]
    assert [call.answer for call in workspace.calls] == ["dropped", "dropped", "ok"]  # the SDK asks twice


async def test_a_workspace_that_does_not_listen_refuses_and_comes_back_on_the_same_port() -> None:
    async with Workspace(listening=False) as workspace:
        client = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, retry_handlers=[])
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.auth_test()
        await workspace.listen_again()
        async with aiohttp.ClientSession() as session:
            kept = AsyncWebClient(workspace.bot_token, base_url=workspace.api_url, session=session, retry_handlers=[])
            assert (await kept.auth_test())["ok"]
            await workspace.stop_listening()
            with pytest.raises(aiohttp.ClientError):
                await kept.auth_test()
            with pytest.raises(aiohttp.ClientConnectorError):
                await kept.auth_test()
            await workspace.listen_again()
            assert (await kept.auth_test())["ok"]
