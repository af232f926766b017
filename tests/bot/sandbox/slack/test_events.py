"""Events, message shortcuts and other apps' messages, over sockets and over HTTP, taken by the real slack-bolt."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.app.async_app import AsyncApp

from bot.sandbox.clock import Clock
from bot.sandbox.slack import NotPossible, Workspace
from tests.bot.sandbox.slack.serving import button, form, listening

Object = dict[str, Any]


@pytest.fixture(params=["sockets", "http"])
async def served(workspace: Workspace, app: AsyncApp, connect: Any, request: pytest.FixtureRequest) -> Any:
    """The same app, over either transport."""
    if request.param == "sockets":
        async with connect():
            yield app
        return

    async def handle(asked: web.Request) -> web.Response:
        return await to_aiohttp_response(await app.async_dispatch(await to_bolt_request(asked)))

    async with listening(handle) as url:
        workspace.deliver_to(url)
        yield app


@pytest.fixture
def app(client: Any, workspace: Workspace) -> AsyncApp:
    return AsyncApp(client=client, signing_secret=workspace.signing_secret)


async def test_a_mention_comes_in_its_envelope_and_is_answered_in_its_thread(
    workspace: Workspace, served: AsyncApp
) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    bodies: list[Object] = []

    @served.event("app_mention")
    async def mentioned(event: Object, body: Object, say: Any) -> None:
        bodies.append(body)
        await say("Looking", thread_ts=event.get("thread_ts", event["ts"]))

    alert = await workspace.posts_as_app(incidents, "FailedMount")
    assert await alice.says(incidents, "pod/x hangs") is None
    reply = await alice.says(incidents, "@unstick why pod/x", alert.ts)
    assert reply is not None
    assert reply.error is None
    assert (await alice.sees(incidents, "Looking")).thread_ts == alert.ts
    (body,) = bodies
    event = body["event"]
    assert (body["type"], body["team_id"], body["api_app_id"]) == ("event_callback", workspace.team, "A0UNSTICK")
    assert body["event_id"].startswith("Ev")
    assert body["authorizations"][0]["user_id"] == workspace.bot_user
    assert (event["type"], event["user"], event["channel"]) == ("app_mention", alice.id, incidents)
    assert (event["thread_ts"], event["text"]) == (alert.ts, f"<@{workspace.bot_user}> why pod/x")
    root = await alice.says(incidents, f"<@{workspace.bot_user}> why")
    assert root is not None
    assert "thread_ts" not in root.payload["event"]


async def test_a_message_shortcut_carries_the_message_and_may_open_a_modal(
    workspace: Workspace, served: AsyncApp
) -> None:
    alerts, alice = workspace.channel("alerts"), workspace.person("alice")
    bodies: list[Object] = []

    @served.shortcut("diagnose")
    async def diagnose(ack: Any, body: Object, client: Any, respond: Any) -> None:
        await ack()
        bodies.append(body)
        await client.views_open(trigger_id=body["trigger_id"], view=form())
        await respond("Looking at it", response_type="ephemeral")

    field = {"title": "pod", "value": "web-0"}
    attachment = {"color": "danger", "title": "KubePodNotReady", "text": "not *ready*", "fields": [field]}
    message = await workspace.posts_as_app(alerts, "[FIRING:1]", attachments=[attachment], name="Alertmanager")
    assert message.visible == "[FIRING:1]\nKubePodNotReady\nnot ready\npod web-0"
    assert (await alice.uses_shortcut(message, "diagnose")).error is None
    assert await alice.sees_modal("Approve")
    private = await alice.sees(alerts, "Looking at it")
    assert private.ephemeral_to == alice.id
    (body,) = bodies
    assert (body["type"], body["callback_id"], body["message_ts"]) == ("message_action", "diagnose", message.ts)
    assert body["channel"] == {"id": alerts, "name": "alerts"}
    assert body["user"]["id"] == alice.id
    assert body["team"]["id"] == workspace.team
    assert body["message"]["attachments"] == [{"id": 1, **attachment}]
    assert (body["message"]["subtype"], body["message"]["username"]) == ("bot_message", "Alertmanager")
    assert "user" not in body["message"]
    with pytest.raises(NotPossible, match="no shortcuts"):
        await alice.uses_shortcut(private, "diagnose")


async def test_opening_the_home_shows_what_the_app_publishes(workspace: Workspace, served: AsyncApp) -> None:
    alice, bob = workspace.person("alice"), workspace.person("bob")
    bodies: list[Object] = []
    clicks: list[Object] = []

    def home(text: str) -> Object:
        section = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
        row = {"type": "actions", "block_id": "row", "elements": [button("Approve", "approve")]}
        return {"type": "home", "private_metadata": "7", "blocks": [section, row]}

    @served.event("app_home_opened")
    async def opened(event: Object, client: Any) -> None:
        bodies.append(event)
        await client.views_publish(user_id=event["user"], view=home(f"Incidents of <@{event['user']}>"))

    @served.action("approve")
    async def approve(ack: Any, body: Object, client: Any) -> None:
        await ack()
        clicks.append(body)
        await client.views_publish(user_id=body["user"]["id"], view=home("*None*"), hash=body["view"]["hash"])
        await client.views_open(trigger_id=body["trigger_id"], view=form())

    reply = await alice.opens_home()
    assert reply is not None
    assert reply.error is None
    view = await alice.sees_home("Incidents of @alice")
    assert view.buttons == ("Approve",)
    assert (bodies[0]["tab"], bodies[0]["channel"]) == ("home", workspace.direct(alice))
    assert "view" not in bodies[0]
    assert (await alice.clicks(view, "Approve")).error is None
    after = await alice.sees_home("None")
    assert (after.id, after.content["hash"] != view.content["hash"]) == (view.id, True)
    assert await alice.sees_modal("Approve")
    (click,) = clicks
    assert click["container"] == {"type": "view", "view_id": view.id}
    assert (click["view"]["type"], click["view"]["private_metadata"]) == ("home", "7")
    assert not {"channel", "message", "response_url"} & click.keys()
    assert click["actions"][0]["block_id"] == "row"
    await alice.opens_home()
    assert bodies[1]["view"]["id"] == view.id
    await bob.opens_home("messages")
    with pytest.raises(NotPossible, match="not the home tab of bob"):
        await bob.clicks(view, "Approve")


@pytest.fixture
async def subscribed(clock: Clock) -> AsyncIterator[Workspace]:
    events = ("app_mention", "message.channels", "message.groups", "message.im")
    async with Workspace(now=clock.now, events=events) as made:
        yield made


def told(workspace: Workspace) -> list[tuple[str, str, str]]:
    events = [delivery.payload["event"] for delivery in workspace.deliveries if not delivery.retry]
    return [(event["type"], event.get("channel_type", ""), event["text"]) for event in events]


async def test_messages_are_told_only_to_who_is_subscribed(workspace: Workspace, subscribed: Workspace) -> None:
    for each in (workspace, subscribed):
        alice, incidents = each.person("alice"), each.channel("incidents")
        secret, far = each.channel("secret", private=True), each.channel("far", bot=False)
        await alice.says(incidents, "hello")
        await alice.says(secret, "psst")
        await alice.says(far, "@unstick are you there?")
        await alice.says(each.direct(alice), "@unstick hello")
        await each.posts_as_app(incidents, "alert")
    assert told(workspace) == []
    bot = f"<@{subscribed.bot_user}>"
    assert told(subscribed) == [
        ("message", "channel", "hello"), ("message", "group", "psst"), ("message", "im", f"{bot} hello"),
        ("message", "channel", "alert"),
    ]  # fmt: skip
    assert subscribed.deliveries[-1].payload["event"]["subtype"] == "bot_message"
    await alice.says(incidents, "@unstick why")
    assert told(subscribed)[-2:] == [("app_mention", "", f"{bot} why"), ("message", "channel", f"{bot} why")]
    ids = [delivery.payload["event_id"] for delivery in subscribed.deliveries if not delivery.retry]
    assert len(set(ids)) == len(ids)


async def test_an_event_needs_its_scope_and_its_subscription(clock: Clock) -> None:
    async with Workspace(now=clock.now, events=("app_mention",), scopes=("chat:write",)) as workspace:
        incidents, alice = workspace.channel("incidents"), workspace.person("alice")
        assert await alice.says(incidents, "@unstick why") is None
        assert await alice.opens_home() is None
        with pytest.raises(NotPossible, match="lacks the scope `commands`"):
            await alice.types(incidents, "/unstick why")
        workspace.scopes = ("app_mentions:read", "commands")
        assert await alice.says(incidents, "@unstick why")
        assert (await alice.types(incidents, "/unstick why")).error == "dispatch_failed"


async def test_over_sockets_too_an_event_comes_again_with_its_count(
    clock: Clock, workspace: Workspace, client: Any
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with Workspace(now=clock.now, pause=pause) as alone:
        incidents, alice = alone.channel("incidents"), alone.person("alice")
        reply = await alice.says(incidents, "@unstick why")
        assert reply is not None
        assert reply.error == "dispatch_failed"
        await alone.retried()
        tries = [(each.retry, each.reason) for each in alone.deliveries]
        assert tries == [(0, ""), (1, "timeout"), (2, "timeout"), (3, "timeout")]
        assert len({each.envelope_id for each in alone.deliveries}) == 4
    assert pauses == [0, 60, 300]


async def test_what_an_app_posts_is_refused_as_slack_would(workspace: Workspace) -> None:
    with pytest.raises(NotPossible, match="unsupported type"):
        await workspace.posts_as_app(workspace.channel("alerts"), "x", [{"type": "divide"}])
