"""The app manifest, ready to paste: made of what the code listens to and calls, so that it asks for nothing more."""

from typing import Any

from bot.slack.commands import usages
from bot.slack.edge import LISTENERS
from bot.slack.words import COMMAND

# Every method of the Web API that the bot calls, and the scopes of the bot's token that it takes.
CALLS = {
    "auth.test": (),
    "apps.connections.open": (),  # with the app's own token, which needs connections:write
    "chat.postMessage": ("chat:write", "chat:write.public"),
    "chat.postEphemeral": ("chat:write",),
    "chat.update": ("chat:write",),
    "views.open": (),
}


def app_manifest() -> dict[str, Any]:
    """The manifest of the app that listens to all that the edge listens to."""
    scopes = {scope for needed in CALLS.values() for scope in needed}
    if any(listener.kind == "command" for listener in LISTENERS):
        scopes.add("commands")
    hint = " | ".join(usage.removeprefix(f"{COMMAND} ") for usage, _ in usages())
    return {
        "display_information": {
            "name": "Unstick",
            "description": "Finds out why something on Kubernetes is stuck, and frees it safely.",
        },
        "features": {
            "bot_user": {"display_name": "unstick", "always_online": True},
            "slash_commands": [
                {
                    "command": listener.name,
                    "description": "Why is it stuck?",
                    "usage_hint": hint,
                    "should_escape": False,
                }
                for listener in LISTENERS
                if listener.kind == "command"
            ],
        },
        "oauth_config": {"scopes": {"bot": sorted(scopes)}},
        "settings": {
            "interactivity": {"is_enabled": any(listener.kind in ("action", "view") for listener in LISTENERS)},
            "org_deploy_enabled": False,
            "socket_mode_enabled": True,
            "token_rotation_enabled": False,
        },
    }
