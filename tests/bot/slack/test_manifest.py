"""The app manifest asks Slack for what the code uses: not less, or it fails in use; not more, or nobody should grant it."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

import bot
from bot.cli import serve
from bot.sandbox.slack import Workspace
from bot.slack import manifest
from bot.slack.commands import parse, usages
from bot.slack.edge import LISTENERS, Edge
from bot.slack.words import (
    APPROVAL_MODAL,
    ATTESTATION_MODAL,
    CANCEL_MODAL,
    COMMAND,
    DENIAL_MODAL,
    SKIP_MODAL,
    Button,
)

SLACK = Path(bot.__file__).parent / "slack"
# https://docs.slack.dev/reference/methods, one page a method: the scopes of a bot's token.
SCOPES = {
    "auth.test": set(), "apps.connections.open": set(), "views.open": set(), "chat.postMessage": {"chat:write"},
    "chat.postEphemeral": {"chat:write"}, "chat.update": {"chat:write"},
}  # fmt: skip
METHOD = re.compile(
    r"(apps|auth|bookmarks|chat|conversations|files|pins|reactions|team|usergroups|users|views)(\.[A-Za-z]+)+"
)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """The manifest as `unstick slack manifest` prints it and Slack reads it."""
    serve.manifest()
    return yaml.safe_load(capsys.readouterr().out)


def test_it_names_every_command_that_the_edge_listens_to_and_no_other(printed: Any) -> None:
    listened = [listener.name for listener in LISTENERS if listener.kind == "command"]
    assert [command["command"] for command in printed["features"]["slash_commands"]] == listened == [COMMAND]


def test_clicks_and_modals_need_interactivity_and_socket_mode_no_address(printed: Any) -> None:
    assert {listener.kind for listener in LISTENERS} == {"command", "action", "view"}
    assert printed["settings"]["interactivity"] == {"is_enabled": True}
    assert printed["settings"]["socket_mode_enabled"] is True
    assert "event_subscriptions" not in printed["settings"], "nothing listens to events"


def test_every_button_and_modal_that_is_drawn_is_listened_to() -> None:
    listened = {(listener.kind, listener.name) for listener in LISTENERS}
    windows = (APPROVAL_MODAL, ATTESTATION_MODAL, CANCEL_MODAL, DENIAL_MODAL, SKIP_MODAL)
    drawn = {("action", button.value) for button in Button} | {("view", window) for window in windows}
    assert listened == drawn | {("command", COMMAND)}


async def test_what_bolt_listens_to_is_what_the_manifest_is_made_of(workspace: Workspace) -> None:
    app = AsyncApp(client=AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url))
    before = len(app._async_listeners)
    Edge(None, None, app.client).register(app)  # type: ignore[arg-type] # it is only registered
    refusing = 2  # of buttons and windows that are none of ours
    assert len(app._async_listeners) - before == len(LISTENERS) + refusing


def test_it_asks_for_the_scopes_of_what_is_called_and_for_commands(printed: Any) -> None:
    needed = set().union(*SCOPES.values()) | {"commands"}
    assert set(manifest.CALLS) == set(SCOPES)
    asked = set(printed["oauth_config"]["scopes"]["bot"])
    assert needed <= asked
    # A public channel may be posted in without an invitation: the one thing beyond what a call must have.
    assert asked - needed == {"chat:write.public"}
    assert printed["oauth_config"]["scopes"].keys() == {"bot"}, "it acts for nobody but itself"


def _called() -> set[str]:
    """The Web API methods that the code calls: by the SDK's own names, or by Slack's as a word of their own."""
    found = set()
    for path in SLACK.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and METHOD.fullmatch(node.value):
                if path.name != "manifest.py":
                    found.add(node.value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                on, name = ast.unparse(node.func.value), node.func.attr
                if on.split(".")[-1].endswith("client") and name != "api_call":
                    found.add(name.replace("_", "."))
    return found


def test_every_call_in_the_code_is_in_the_manifests_list() -> None:
    called = _called()
    assert called, "the search finds nothing: it must be mended"
    assert called == set(manifest.CALLS)


def test_it_keeps_slacks_limits(printed: Any) -> None:
    """https://docs.slack.dev/reference/app-manifest"""
    about, command = printed["display_information"], printed["features"]["slash_commands"][0]
    assert 0 < len(about["name"]) <= 35
    assert 0 < len(about["description"]) <= 140
    assert 0 < len(printed["features"]["bot_user"]["display_name"]) <= 80
    assert 0 < len(command["description"]) <= 2000
    assert 0 < len(command["usage_hint"]) <= 1000
    assert len(command["command"]) <= 32


def test_the_hint_shows_every_command(printed: Any) -> None:
    hint = printed["features"]["slash_commands"][0]["usage_hint"].split(" | ")
    assert hint == [usage.removeprefix(f"{COMMAND} ") for usage, _ in usages()]
    assert parse(hint[0])
