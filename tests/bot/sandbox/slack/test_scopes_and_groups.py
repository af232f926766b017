"""User groups, and what a token without the scope for something is told, asked by the real slack_sdk."""

from typing import Any

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack import Workspace

Object = dict[str, Any]


async def refused(call: Any) -> Object:
    with pytest.raises(SlackApiError) as caught:
        await call
    answer: Object = caught.value.response.data
    return answer


async def test_a_group_has_who_is_in_it_now(client: AsyncWebClient, workspace: Workspace) -> None:
    alice, bob = workspace.person("alice"), workspace.person("bob")
    oncall = workspace.group("oncall", [alice])
    assert (await client.usergroups_users_list(usergroup=oncall))["users"] == [alice.id]
    assert workspace.group("oncall", [bob, alice]) == oncall
    assert (await client.usergroups_users_list(usergroup=oncall))["users"] == [bob.id, alice.id]
    workspace.group("oncall", [])
    assert (await client.usergroups_users_list(usergroup=oncall))["users"] == []
    assert (await refused(client.usergroups_users_list(usergroup="S0NONE")))["error"] == "no_such_subteam"
    workspace.groups.remove(oncall)
    assert (await refused(client.usergroups_users_list(usergroup=oncall)))["error"] == "no_such_subteam"


async def test_groups_are_listed_and_disabled_ones_only_if_asked_for(
    client: AsyncWebClient, workspace: Workspace
) -> None:
    alice = workspace.person("alice")
    oncall, old = workspace.group("oncall", [alice]), workspace.group("old", [alice], disabled=True)
    (group,) = (await client.usergroups_list())["usergroups"]
    assert (group["id"], group["handle"], group["date_delete"]) == (oncall, "oncall", 0)
    assert not {"users", "user_count"} & group.keys()
    listed = await client.usergroups_list(include_disabled=True, include_users=True, include_count=True)
    assert [(g["id"], g["users"], g["user_count"]) for g in listed["usergroups"]] == [
        (oncall, [alice.id], 1), (old, [alice.id], 1),
    ]  # fmt: skip
    assert (await refused(client.usergroups_users_list(usergroup=old)))["error"] == "no_such_subteam"
    assert (await client.usergroups_users_list(usergroup=old, include_disabled=True))["users"] == [alice.id]


async def test_a_call_without_its_scope_says_which(client: AsyncWebClient, workspace: Workspace) -> None:
    incidents, secret = workspace.channel("incidents"), workspace.channel("secret", private=True)
    alice = workspace.person("alice")
    workspace.scopes = ("chat:write", "commands")
    assert (await client.auth_test())["ok"]
    assert (await client.chat_postMessage(channel=incidents, text="hello"))["ok"]
    needed = {
        "usergroups:read": client.usergroups_list(),
        "channels:history": client.conversations_history(channel=incidents),
        "groups:history": client.conversations_replies(channel=secret, ts="1.000001"),
        "im:history": client.conversations_history(channel=workspace.direct(alice)),
        "channels:read": client.conversations_info(channel=incidents),
        "files:write": client.files_getUploadURLExternal(filename="a", length=1),
        "users:read": client.users_info(user=alice.id),
    }
    for scope, call in needed.items():
        answer = await refused(call)
        assert (answer["error"], answer["needed"]) == ("missing_scope", scope)
        assert answer["provided"] == "chat:write,commands"
    workspace.scopes = ("channels:history",)
    assert (await client.conversations_history(channel=incidents))["ok"]
    assert (await refused(client.chat_postMessage(channel=incidents, text="hello")))["needed"] == "chat:write"


async def test_a_bot_posts_where_it_is_not_only_with_a_scope_and_never_in_private(
    client: AsyncWebClient, workspace: Workspace
) -> None:
    far, secret = workspace.channel("far", bot=False), workspace.channel("secret", private=True, bot=False)
    workspace.scopes = ("chat:write", "channels:history", "groups:history")
    assert (await refused(client.chat_postMessage(channel=far, text="x")))["error"] == "not_in_channel"
    workspace.scopes = ("chat:write", "chat:write.public", "channels:history", "groups:history")
    assert (await client.chat_postMessage(channel=far, text="x"))["ok"]
    assert (await refused(client.chat_postMessage(channel=secret, text="x")))["error"] == "channel_not_found"
    assert (await refused(client.conversations_history(channel=far)))["error"] == "not_in_channel"
    assert (await refused(client.conversations_history(channel=secret)))["error"] == "channel_not_found"
