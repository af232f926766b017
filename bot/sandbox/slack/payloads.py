"""What Slack sends a bot when a person does something: commands, clicks, shortcuts, submissions, events.

Pure. Shapes as docs.slack.dev/reference/interaction-payloads and /interactivity/implementing-slash-commands document
them, as of 2026.
"""

import json
from collections.abc import Mapping
from typing import Any

from bot.sandbox.slack.methods import Methods
from bot.sandbox.slack.methods.response_urls import ResponseUrls
from bot.sandbox.slack.modals import Modals, View
from bot.sandbox.slack.state import Channel, Message, Object, State, User

# Long out of use in Slack, but still in every payload.
VERIFICATION_TOKEN = "sandbox-verification"  # noqa: S105 -- it opens nothing


class Payloads:
    """Builds payloads of one workspace.

    Args:
        state: people, channels and messages.
        modals: where triggers come from.
        urls: where response URLs come from.
        methods: how messages are shown.
        actions_url: the address response URLs begin with.
    """

    def __init__(
        self, state: State, modals: Modals, urls: ResponseUrls, methods: Methods, actions_url: str
    ) -> None:  # fmt: skip
        self._state, self._modals, self._urls, self._methods = state, modals, urls, methods
        self._actions_url = actions_url

    def command(self, user: User, channel: Channel, name: str, text: str) -> Object:
        """A slash command."""
        return {
            "token": VERIFICATION_TOKEN,
            "team_id": self._state.team,
            "team_domain": "sandbox",
            "channel_id": channel.id,
            "channel_name": channel.shown_name,
            "user_id": user.id,
            "user_name": user.name,
            "command": name,
            "text": text,
            "api_app_id": self._state.app,
            "is_enterprise_install": "false",
            "response_url": self._actions_url + self._urls.issue(user.id, channel.id),
            "trigger_id": self._modals.trigger(user.id),
        }

    def click(self, user: User, message: Message, element: Object, chosen: Object) -> Object:
        """Something in a message was clicked or chosen; a message only one person sees is not sent along."""
        channel = self._state.channels[message.channel]
        container = {
            "type": "message", "message_ts": message.ts, "channel_id": channel.id,
            "is_ephemeral": message.ephemeral_to is not None,
        }  # fmt: skip
        if message.thread_ts:
            container["thread_ts"] = message.thread_ts
        url = self._urls.issue(user.id, channel.id, message.ts, message.thread_ts)
        seen = {} if message.ephemeral_to else {"message": self._methods.shown(message)}
        return {
            **self._interaction("block_actions", user),
            "container": container,
            "channel": {"id": channel.id, "name": channel.shown_name},
            **seen,
            "state": {"values": {}},
            "response_url": self._actions_url + url,
            "actions": [self._action(element, chosen)],
        }

    def click_in_view(self, user: User, view: View, values: Object, element: Object, chosen: Object) -> Object:
        """Something in a modal was clicked or chosen before it was submitted, or something in a home tab."""
        return {
            **self._interaction("block_actions", user),
            "container": {"type": "view", "view_id": view.id},
            "view": {**_copy(view.content), "state": {"values": values}},
            "actions": [self._action(element, chosen)],
        }

    def submission(self, user: User, view: View, values: Mapping[str, Any]) -> Object:
        """A modal was submitted."""
        content = {**_copy(view.content), "state": {"values": _copy(values)}}
        return {**self._interaction("view_submission", user), "view": content, "response_urls": []}

    def closing(self, user: User, view: View, *, cleared: bool) -> Object:
        """A modal was closed without being submitted; it gives no right to open another."""
        about = self._interaction("view_closed", user)
        del about["trigger_id"]
        return {**about, "view": _copy(view.content), "is_cleared": cleared}

    def shortcut(self, user: User, message: Message, callback_id: str) -> Object:
        """A message shortcut was used; its response URL answers in the channel but cannot change somebody's message."""
        channel = self._state.channels[message.channel]
        url = self._urls.issue(user.id, channel.id, None, message.thread_ts)
        return {
            **self._interaction("message_action", user),
            "callback_id": callback_id,
            "action_ts": self._state.timestamp(),
            "message_ts": message.ts,
            "message": self._methods.shown(message),
            "channel": {"id": channel.id, "name": channel.shown_name},
            "response_url": self._actions_url + url,
        }

    def said(self, message: Message) -> Object:
        """The event of a message, without what its kind of channel adds."""
        shown = self._methods.shown(message)
        told = ("type", "subtype", "user", "bot_id", "username", "text", "ts", "thread_ts", "blocks", "attachments")
        event = {key: shown[key] for key in told if key in shown}
        event |= {"channel": message.channel, "event_ts": message.ts, "team": self._state.team}
        if "user" in event:
            event["client_msg_id"] = message.ts
        if message.thread_ts is None:
            event.pop("thread_ts", None)
        return event

    def event(self, event: Object) -> Object:
        """The envelope of an event, which names whom it was meant for."""
        at = self._state.timestamp()
        authorization = {
            "enterprise_id": None, "team_id": self._state.team, "user_id": self._state.bot.id, "is_bot": True,
            "is_enterprise_install": False,
        }  # fmt: skip
        return {
            "token": VERIFICATION_TOKEN,
            "team_id": self._state.team,
            "api_app_id": self._state.app,
            "event": _copy(event),
            "type": "event_callback",
            "event_id": "Ev0" + at.replace(".", ""),
            "event_time": int(float(at)),
            "authorizations": [authorization],
            "is_ext_shared_channel": False,
            "event_context": f"4-{at}",
        }

    def _interaction(self, kind: str, user: User) -> Object:
        team = self._state.team
        return {
            "type": kind,
            "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": team},
            "team": {"id": team, "domain": "sandbox"},
            "api_app_id": self._state.app,
            "token": VERIFICATION_TOKEN,
            "trigger_id": self._modals.trigger(user.id),
            "enterprise": None,
            "is_enterprise_install": False,
        }

    def _action(self, element: Object, chosen: Object) -> Object:
        told = ("type", "action_id", "block_id", "text", "value", "style")
        return {**{k: element[k] for k in told if k in element}, **chosen, "action_ts": self._state.timestamp()}


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))
