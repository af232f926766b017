"""The app manifest, ready to paste: made of what the code listens to and calls, so that it asks for nothing more."""

from typing import Any

from bot.settings import Settings
from bot.slack.commands import usages
from bot.slack.edge import LISTENERS
from bot.slack.words import COMMAND, DIAGNOSE_LABEL

# Every method of the Web API that the bot calls, and the scopes of the bot's token that it takes.
# https://docs.slack.dev/reference/methods, one page a method.
CALLS = {
    "auth.test": (),
    "apps.connections.open": (),  # with the app's own token, which needs connections:write
    "chat.postMessage": ("chat:write", "chat:write.public"),
    "chat.postEphemeral": ("chat:write",),
    "chat.update": ("chat:write",),
    "views.open": (),
    "views.publish": (),
    "usergroups.users.list": ("usergroups:read",),
    "conversations.history": ("channels:history", "groups:history"),
    "conversations.replies": ("channels:history", "groups:history"),
    "files.getUploadURLExternal": ("files:write",),
    "files.completeUploadExternal": ("files:write",),
}
# What an event takes to be subscribed to: https://docs.slack.dev/reference/events
EVENTS = {"app_mention": ("app_mentions:read",), "app_home_opened": ()}
# Where Slack sends everything in the HTTP mode: the host is to be replaced by one's own.
REQUEST_URL = "https://unstick.example.com/slack/events"


def app_manifest(settings: Settings | None = None) -> dict[str, Any]:
    """The manifest of the app that listens to all that the edge listens to, in the mode that the settings say."""
    slack = (settings or Settings()).slack
    by_http = slack.mode == "http"
    listened = {
        kind: [each.name for each in LISTENERS if each.kind == kind] for kind in ("command", "event", "shortcut")
    }
    scopes = {scope for needed in CALLS.values() for scope in needed} | {"commands"}
    scopes |= {scope for name in listened["event"] for scope in EVENTS[name]}
    if slack.direct_messages:
        scopes.add("im:history")  # to find out there too whether a message was posted before a crash
    address = {"request_url": REQUEST_URL} if by_http else {}
    hint = " | ".join(usage.removeprefix(f"{COMMAND} ") for usage, _ in usages())
    command = {"description": "Why is it stuck?", "usage_hint": hint, "should_escape": False}
    return {
        "display_information": {
            "name": "Unstick",
            "description": "Finds out why something on Kubernetes is stuck, and frees it safely.",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": "app_home_opened" in listened["event"],
                "messages_tab_enabled": slack.direct_messages,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": "unstick", "always_online": True},
            "shortcuts": [
                {"name": DIAGNOSE_LABEL, "type": "message", "callback_id": name, "description": "Why is this stuck?"}
                for name in listened["shortcut"]
            ],
            "slash_commands": [
                {"command": name, **command, **({"url": REQUEST_URL} if by_http else {})}
                for name in listened["command"]
            ],
        },
        "oauth_config": {"scopes": {"bot": sorted(scopes)}},
        "settings": {
            "event_subscriptions": {**address, "bot_events": sorted(listened["event"])},
            "interactivity": {"is_enabled": True, **address},
            "org_deploy_enabled": False,
            "socket_mode_enabled": not by_http,
            "token_rotation_enabled": False,
        },
    }
