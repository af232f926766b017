"""People talk with a real slack-bolt app through the workspace."""

from typing import Any

import pytest
from slack_bolt.app.async_app import AsyncApp

from bot.sandbox.clock import Clock
from bot.sandbox.slack import NotPossible, NotSeen, Workspace

Object = dict[str, Any]


def button(text: str, action_id: str, **more: Any) -> Object:
    return {"type": "button", "text": {"type": "plain_text", "text": text}, "action_id": action_id, **more}


def plan(*buttons: Object, text: str = "*Plan* for `web-0`") -> list[Object]:
    section: Object = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
    return [section, {"type": "actions", "block_id": "plan", "elements": list(buttons)}] if buttons else [section]


def node_form(**more: Any) -> Object:
    element = {"type": "plain_text_input", "action_id": "typed"}
    label = {"type": "plain_text", "text": "Node"}
    return {
        "type": "modal",
        "callback_id": "approve",
        "title": {"type": "plain_text", "text": "Approve the plan"},
        "submit": {"type": "plain_text", "text": "Approve"},
        "private_metadata": "plan-7",
        "blocks": [{"type": "input", "block_id": "node", "label": label, "element": element}],
        **more,
    }


async def test_a_command_is_acknowledged_and_answered_in_a_thread(workspace: Workspace, running: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    seen: list[Object] = []

    @running.command("/unstick")
    async def why(ack: Any, command: Object, client: Any) -> None:
        seen.append(command)
        await ack("Looking at <@U0ALICE>'s pod ...")
        root = await client.chat_postMessage(channel=command["channel_id"], text="*Looking*")
        await client.chat_postMessage(channel=command["channel_id"], text="ROOT CAUSE: a lock", thread_ts=root["ts"])

    reply = await alice.types(incidents, "/unstick why pod/x -n y")
    found = await alice.sees(incidents, "ROOT CAUSE")
    assert (reply.error, reply.text) == (None, "Looking at <@U0ALICE>'s pod ...")
    assert reply.seconds is not None
    assert 0 < reply.seconds < 0.3
    root = next(m for m in workspace.messages(incidents) if m.ts == found.thread_ts)
    assert (seen[0]["text"], seen[0]["user_id"], seen[0]["channel_name"]) == ("why pod/x -n y", alice.id, "incidents")
    assert root.user == workspace.bot_user
    private = next(m for m in workspace.messages(incidents) if m.ephemeral_to == alice.id)
    assert private.visible == "Looking at @alice's pod ..."
    assert not any(m.ephemeral_to for m in workspace.person("bob").messages(incidents))


async def test_a_click_carries_what_slack_sends_and_edits_keep_their_history(
    workspace: Workspace, running: AsyncApp
) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    bodies: list[Object] = []

    @running.action("approve")
    async def approve(ack: Any, body: Object, client: Any) -> None:
        await ack()
        bodies.append(body)
        place = {"channel": body["channel"]["id"], "ts": body["message"]["ts"]}
        await client.chat_update(**place, text="Approved", blocks=plan(text="Approved by <@U0ALICE>"))

    await running.client.chat_postMessage(
        channel=incidents, text="Plan", blocks=plan(button("Approve", "approve", value="7", style="danger"))
    )
    message = await alice.sees(incidents, "Plan for web-0")
    assert message.buttons == ("Approve",)
    reply = await alice.clicks(message, "Approve")
    assert reply.error is None
    edited = await alice.sees(incidents, "Approved by @alice")
    assert [version[0] for version in edited.versions] == ["Plan", "Approved"]
    body = bodies[0]
    action = body["actions"][0]
    assert (action["action_id"], action["block_id"], action["value"], action["type"]) == (
        "approve",
        "plan",
        "7",
        "button",
    )
    assert action["action_ts"]
    assert body["container"] == {
        "type": "message", "message_ts": message.ts, "channel_id": incidents, "is_ephemeral": False,
    }  # fmt: skip
    assert body["user"]["id"] == alice.id
    assert body["response_url"].startswith("http://127.0.0.1")
    with pytest.raises(NotPossible, match="no 'Approve'"):
        await alice.clicks(message, "Approve")
    await alice.replay(reply)
    assert bodies[1] == body


async def test_a_modal_opens_complains_and_closes(workspace: Workspace, running: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")

    @running.command("/unstick")
    async def open_modal(ack: Any, body: Object, client: Any) -> None:
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=node_form())

    @running.view("approve")
    async def submitted(ack: Any, view: Object) -> None:
        typed = view["state"]["values"]["node"]["typed"]["value"]
        if typed == "node1":
            await ack()
        else:
            await ack(response_action="errors", errors={"node": "Type the node's name."})

    await alice.types(incidents, "/unstick approve")
    view = await alice.sees_modal("Approve the plan")
    with pytest.raises(NotPossible, match="'Node' is empty"):
        await alice.submits(view)
    reply = await alice.submits(view, {"Node": "node2"})
    assert reply.errors == {"node": "Type the node's name."}
    assert "Type the node's name." in (await alice.sees_modal("Type the")).visible
    reply = await alice.submits(view, {"typed": "node1"})
    assert (reply.error, reply.errors) == (None, {})
    with pytest.raises(NotSeen, match="none is open"):
        await alice.sees_modal("Approve", timeout=0)
    with pytest.raises(NotPossible, match="not on top"):
        await alice.submits(view, {"Node": "node1"})


# --- What only some see, and what is not there


async def test_a_click_on_an_ephemeral_message_brings_no_message_and_can_replace_it(
    workspace: Workspace, running: AsyncApp
) -> None:
    incidents, alice, bob = workspace.channel("incidents"), workspace.person("alice"), workspace.person("bob")
    bodies: list[Object] = []

    @running.action("why")
    async def why(ack: Any, body: Object, respond: Any) -> None:
        await ack()
        bodies.append(body)
        await respond(text="Because of a lock", replace_original=True)

    blocks = plan(button("Why?", "why"), text="Only you")
    await running.client.chat_postEphemeral(channel=incidents, user=alice.id, text="Only you", blocks=blocks)
    message = await alice.sees(incidents, "Only you")
    with pytest.raises(NotPossible, match="bob does not see that message"):
        await bob.clicks(message, "Why?")
    await alice.clicks(message, "why")
    assert (await alice.sees(incidents, "Because of a lock")).ts == message.ts
    assert "message" not in bodies[0]
    assert bodies[0]["container"]["is_ephemeral"] is True


async def test_who_waits_in_vain_is_told_what_is_there(workspace: Workspace, running: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    await running.client.chat_postMessage(channel=incidents, text="Plan", blocks=plan(button("Approve", "a")))
    with pytest.raises(NotSeen) as caught:
        await alice.sees(incidents, "ROOT CAUSE", timeout=0.01)
    assert "waited 0.01 s for 'ROOT CAUSE' in #incidents" in str(caught.value)
    assert "Plan for web-0" in str(caught.value)
    assert "[Approve]" in str(caught.value)


async def test_two_buttons_of_one_name_are_told_apart_by_action_id(workspace: Workspace, running: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    blocks = plan(button("Ack", "ack-1"), button("Ack", "ack-2"))
    await running.client.chat_postMessage(channel=incidents, text="Two", blocks=blocks)
    message = await alice.sees(incidents, "Plan")
    with pytest.raises(NotPossible, match="two of 'Ack'"):
        await alice.clicks(message, "Ack")
    assert (await alice.clicks(message, "ack-2")).payload["actions"][0]["action_id"] == "ack-2"


async def test_a_mention_reaches_the_bot_with_its_thread(workspace: Workspace, running: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")

    @running.event("app_mention")
    async def mentioned(event: Object, say: Any) -> None:
        await say(f"heard: {event['text']}", thread_ts=event.get("thread_ts", event["ts"]))

    assert await alice.says(incidents, "pod/x hangs") is None
    root = workspace.messages(incidents)[0]
    reply = await alice.says(incidents, "@unstick why pod/x", root.ts)
    assert reply is not None
    assert reply.error is None
    assert (await alice.sees(incidents, "heard: @unstick why pod/x")).thread_ts == root.ts


async def test_a_command_line_starts_with_a_slash(workspace: Workspace) -> None:
    with pytest.raises(NotPossible, match="not a slash command"):
        await workspace.person("alice").types(workspace.channel("incidents"), "unstick why")


async def test_a_command_is_answered_for_all_or_not_at_all(workspace: Workspace, running: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")

    @running.command("/unstick")
    async def answer(ack: Any, command: Object) -> None:
        if command["text"] == "loud":
            await ack(text="for all", response_type="in_channel")
        elif command["text"] == "wrong":
            await ack(blocks=[{"type": "divide"}])
        else:
            await ack()

    assert (await alice.types(incidents, "/unstick quiet")).error is None
    assert workspace.messages(incidents) == ()
    assert (await alice.types(incidents, "/unstick wrong")).error == "invalid_response"
    assert workspace.messages(incidents) == ()
    await alice.types(incidents, "/unstick loud")
    assert (await workspace.person("bob").sees(incidents, "for all")).ephemeral_to is None


# --- Modals


async def shown(workspace: Workspace, app: AsyncApp, **more: Any) -> Any:
    alice = workspace.person("alice")
    await app.client.views_open(trigger_id=workspace.modals.trigger(alice.id), view=node_form(**more))
    return await alice.sees_modal("Approve the plan")


@pytest.mark.parametrize("action", ["update", "push", "clear"])
async def test_a_submission_is_answered_with_another_view(workspace: Workspace, running: AsyncApp, action: str) -> None:
    alice = workspace.person("alice")

    @running.view("approve")
    async def submitted(ack: Any) -> None:
        following = node_form(title={"type": "plain_text", "text": "Are you sure?"}, callback_id="sure")
        await (ack(response_action="clear") if action == "clear" else ack(response_action=action, view=following))

    view = await shown(workspace, running)
    assert (await alice.submits(view, {"Node": "node1"})).error is None
    open_now = [view.title for view in workspace.modals.stack(alice.id)]
    expected = {"update": ["Are you sure?"], "push": ["Approve the plan", "Are you sure?"], "clear": []}
    assert open_now == expected[action]
    if action == "push":
        await alice.closes(await alice.sees_modal("Are you sure?"))
        assert (await alice.sees_modal("Approve")).id == view.id


async def test_complaints_about_inputs_that_are_not_there_are_an_error(workspace: Workspace, running: AsyncApp) -> None:
    alice = workspace.person("alice")

    @running.view("approve")
    async def submitted(ack: Any) -> None:
        await ack(response_action="errors", errors={"typed": "that is the action id"})

    reply = await alice.submits(await shown(workspace, running), {"Node": "x"})
    assert (reply.error, reply.errors) == ("invalid_response", {})
    assert await alice.sees_modal("Approve the plan", timeout=0)


async def test_a_submission_that_is_not_acknowledged_leaves_the_modal_open(
    workspace: Workspace, running: AsyncApp
) -> None:
    alice = workspace.person("alice")
    reply = await alice.submits(await shown(workspace, running), {"Node": "x"})
    assert reply.error == "operation_timeout"
    assert await alice.sees_modal("Approve the plan", timeout=0)


@pytest.mark.parametrize("notify", [True, False])
async def test_closing_is_told_only_to_a_view_that_asks(workspace: Workspace, running: AsyncApp, notify: bool) -> None:
    alice = workspace.person("alice")
    closed: list[Object] = []

    @running.view_closed("approve")
    async def on_close(ack: Any, body: Object) -> None:
        await ack()
        closed.append(body)

    reply = await alice.closes(await shown(workspace, running, notify_on_close=notify))
    assert (reply is not None) == notify
    assert [(body["view"]["private_metadata"], body["is_cleared"]) for body in closed] == [("plan-7", False)] * notify


async def test_menus_and_limits_of_inputs_are_those_of_the_view(workspace: Workspace, running: AsyncApp) -> None:
    alice = workspace.person("alice")
    bodies: list[Object] = []

    @running.view("approve")
    async def submitted(ack: Any, view: Object) -> None:
        await ack()
        bodies.append(view["state"]["values"])

    def label(text: str) -> Object:
        return {"type": "plain_text", "text": text}

    options = [{"text": label("Two hours"), "value": "2h"}, {"text": label("A day"), "value": "1d"}]
    select = {"type": "static_select", "action_id": "how_long", "options": options}
    boxes = {"type": "checkboxes", "action_id": "boxes", "options": options}
    typed = {"type": "plain_text_input", "action_id": "node", "max_length": 5, "initial_value": "node1"}
    view = await shown(
        workspace, running,
        blocks=[
            {"type": "input", "block_id": "snooze", "label": label("Snooze"), "element": select},
            {"type": "input", "block_id": "node", "label": label("Node"), "element": typed},
            {"type": "input", "block_id": "boxes", "label": label("Boxes"), "element": boxes, "optional": True},
        ],
    )  # fmt: skip
    for values, says in (
        ({"Snooze": "A week"}, "'A week' is not offered"),
        ({"Snooze": "2h", "Node": "node10"}, "takes 0 to 5 characters"),
        ({"Snooze": "2h", "Nod": "x"}, "no input"),
        ({}, "'Snooze' is empty"),
    ):
        with pytest.raises(NotPossible, match=says):
            await alice.submits(view, values)
    await alice.submits(view, {"Snooze": "A day", "Boxes": ["2h"]})
    values = bodies[0]
    assert values["snooze"]["how_long"]["selected_option"]["value"] == "1d"
    assert values["node"]["node"]["value"] == "node1"
    assert [option["value"] for option in values["boxes"]["boxes"]["selected_options"]] == ["2h"]


async def test_buttons_and_menus_work_in_modals_and_menus_in_messages(workspace: Workspace, running: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    bodies: list[Object] = []

    @running.action("pick")
    async def picked(ack: Any, body: Object) -> None:
        await ack()
        bodies.append(body)

    option = {"text": {"type": "plain_text", "text": "Two hours"}, "value": "2h"}
    menu = {"type": "static_select", "action_id": "pick", "options": [option]}
    await running.client.chat_postMessage(channel=incidents, text="Snooze?", blocks=plan(menu))
    message = await alice.sees(incidents, "[Two hours]")
    await alice.chooses(message, "pick", "2h")
    assert bodies[0]["actions"][0]["selected_option"]["value"] == "2h"
    with pytest.raises(NotPossible, match="'3h' is not offered"):
        await alice.chooses(message, "pick", "3h")
    view = await shown(workspace, running, blocks=[{"type": "actions", "elements": [button("Pick", "pick")]}])
    await alice.clicks(view, "Pick")
    assert bodies[1]["container"] == {"type": "view", "view_id": view.id}
    assert bodies[1]["view"]["private_metadata"] == "plan-7"


async def test_a_command_is_sent_again_word_for_word(workspace: Workspace, running: AsyncApp) -> None:
    incidents, alice = workspace.channel("incidents"), workspace.person("alice")
    commands: list[Object] = []

    @running.command("/unstick")
    async def answer(ack: Any, command: Object) -> None:
        await ack()
        commands.append(command)

    await alice.replay(await alice.types(incidents, "/unstick why pod/x"))
    assert commands[0] == commands[1]


# --- What people read


async def test_a_transcript_reads_as_the_conversation_did(
    workspace: Workspace, running: AsyncApp, clock: Clock
) -> None:
    incidents, alice, client = workspace.channel("incidents"), workspace.person("alice"), running.client
    await alice.says(incidents, "pod/web-0 hangs")
    clock.forward(60)
    root = await client.chat_postMessage(channel=incidents, text="x", blocks=plan(button("Plan fix", "plan")))
    await client.chat_postEphemeral(channel=incidents, user=alice.id, text="Looking")
    clock.forward(1)
    await client.chat_postMessage(channel=incidents, text="*ROOT CAUSE*: a &lt;lock&gt;", thread_ts=root["ts"])
    await client.chat_update(channel=incidents, ts=root["ts"], text="x", blocks=plan(button("Approve", "a")))
    assert workspace.transcript(incidents) == [
        "03:07:00 @alice",
        "  pod/web-0 hangs",
        "03:08:00 @unstick (edited)",
        "  Plan for web-0",
        "  [Approve]",
        "    03:08:01 @unstick",
        "      ROOT CAUSE: a <lock>",
        "03:08:00 @unstick (only visible to alice)",
        "  Looking",
    ]
    assert "Looking" not in "\n".join(workspace.transcript(incidents, viewer=workspace.person("bob")))


async def test_a_private_channel_is_for_its_members(workspace: Workspace, running: AsyncApp) -> None:
    alice, bob = workspace.person("alice"), workspace.person("bob")
    secret = workspace.channel("secret", private=True, members=[alice])
    seen: list[Object] = []

    @running.command("/unstick")
    async def why(ack: Any, command: Object) -> None:
        seen.append(command)
        await ack()

    await alice.says(secret, "psst")
    assert (await alice.types(secret, "/unstick why")).error is None
    assert seen[0]["channel_name"] == "privategroup"
    assert [message.text for message in alice.messages(secret)] == ["psst"]
    assert bob.messages(secret) == ()
    with pytest.raises(NotPossible, match="private to others"):
        await bob.types(secret, "/unstick why")
    with pytest.raises(NotPossible, match="private to others"):
        await bob.says(secret, "hello")
