"""Home tabs and views that are changed by id, asked for by the real slack_sdk."""

from typing import Any

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack import NotSeen, Person, Workspace

Object = dict[str, Any]


def home(text: str = "nothing open", **more: Any) -> Object:
    return {"type": "home", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}], **more}


async def refused(call: Any) -> Object:
    with pytest.raises(SlackApiError) as caught:
        await call
    answer: Object = caught.value.response.data
    return answer


@pytest.fixture
def alice(workspace: Workspace) -> Person:
    return workspace.person("alice")


async def test_a_home_is_replaced_by_whoever_has_seen_it_last(client: AsyncWebClient, alice: Person) -> None:
    first = (await client.views_publish(user_id=alice.id, view=home("one")))["view"]
    assert (first["type"], first["root_view_id"], first["app_id"]) == ("home", first["id"], "A0UNSTICK")
    second = (await client.views_publish(user_id=alice.id, view=home("two"), hash=first["hash"]))["view"]
    assert second["id"] == first["id"]
    late = await refused(client.views_publish(user_id=alice.id, view=home("three"), hash=first["hash"]))
    assert late["error"] == "hash_conflict"
    assert (await alice.sees_home()).visible == "two"
    await client.views_update(view_id=first["id"], view=home("four"), hash=second["hash"])
    assert (await alice.sees_home("four")).content["id"] == first["id"]
    assert (await refused(client.views_update(view_id="V0NONE", view=home())))["error"] == "not_found"


async def test_a_home_belongs_to_one_person(client: AsyncWebClient, workspace: Workspace, alice: Person) -> None:
    bob = workspace.person("bob")
    await client.views_publish(user_id=alice.id, view=home("alice's", external_id="home"))
    with pytest.raises(NotSeen, match="nothing was published"):
        await bob.sees_home(timeout=0.01)
    with pytest.raises(NotSeen, match="there is:\nalice's"):
        await alice.sees_home("bob's", timeout=0.01)
    taken = await refused(client.views_publish(user_id=bob.id, view=home(external_id="home")))
    assert taken["error"] == "duplicate_external_id"
    await client.views_update(external_id="home", view=home("changed", external_id="home"))
    assert await alice.sees_home("changed")


@pytest.mark.parametrize(
    ("view", "error"),
    [
        (home(blocks=[{"type": "divider"}] * 101), "invalid_arguments"),
        ({"type": "modal", "title": {"type": "plain_text", "text": "t"}, "blocks": []}, "invalid_arguments"),
        (home(title={"type": "plain_text", "text": "t"}), "invalid_arguments"),
        (home(blocks=[{"type": "table", "rows": [[{"type": "raw_text", "text": "x"}]]}]), "invalid_arguments"),
        (home(private_metadata="x" * 3001), "invalid_arguments"),
        (
            home(blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3000}}] * 90),
            "view_too_large",
        ),
    ],
)
async def test_what_is_no_home_is_not_published(
    client: AsyncWebClient, alice: Person, view: Object, error: str
) -> None:
    assert (await refused(client.views_publish(user_id=alice.id, view=view)))["error"] == error
    hundred = home(blocks=[{"type": "divider"}] * 100)
    assert (await client.views_publish(user_id=alice.id, view=hundred))["ok"]


async def test_a_home_is_published_for_people_and_only_if_the_app_has_one(
    client: AsyncWebClient, workspace: Workspace, alice: Person
) -> None:
    for nobody in ("U0NOBODY", workspace.bot_user):
        answer = await refused(client.views_publish(user_id=nobody, view=home()))
        assert (answer["error"], answer["response_metadata"]["messages"]) == (
            "invalid_arguments",
            ["invalid `user_id`"],
        )
    workspace.homes.enabled = False
    assert (await refused(client.views_publish(user_id=alice.id, view=home())))["error"] == "not_enabled"
