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
from bot.settings import Settings, SlackSettings
from bot.slack import manifest, words
from bot.slack.commands import parse, usages
from bot.slack.edge import LISTENERS, Edge
from bot.slack.words import COMMAND, Button

SLACK = Path(bot.__file__).parent / "slack"
# https://docs.slack.dev/reference/methods, one page a method: the scopes of a bot's token.
SCOPES = {
    "auth.test": set(), "apps.connections.open": set(), "views.open": set(), "views.publish": set(),
    "chat.postMessage": {"chat:write"}, "chat.postEphemeral": {"chat:write"}, "chat.update": {"chat:write"},
    "usergroups.users.list": {"usergroups:read"},
    "conversations.history": {"channels:history", "groups:history"},
    "conversations.replies": {"channels:history", "groups:history"},
    "files.getUploadURLExternal": {"files:write"}, "files.completeUploadExternal": {"files:write"},
}  # fmt: skip
# https://docs.slack.dev/reference/events, one page an event.
EVENTS = {"app_mention": {"app_mentions:read"}, "app_home_opened": set()}
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


def test_clicks_and_events_need_no_address_in_socket_mode(printed: Any) -> None:
    assert {listener.kind for listener in LISTENERS} == {"command", "action", "view", "event", "shortcut"}
    assert printed["settings"]["interactivity"] == {"is_enabled": True}
    assert printed["settings"]["socket_mode_enabled"] is True
    assert printed["settings"]["event_subscriptions"] == {"bot_events": sorted(EVENTS)}
    assert "http" not in str(printed)


def test_by_http_everything_comes_to_one_address_that_is_to_be_replaced() -> None:
    made = manifest.app_manifest(Settings(slack=SlackSettings(mode="http")))
    assert made["settings"]["socket_mode_enabled"] is False
    told = [
        made["settings"]["interactivity"]["request_url"], made["settings"]["event_subscriptions"]["request_url"],
        *(command["url"] for command in made["features"]["slash_commands"]),
    ]  # fmt: skip
    assert set(told) == {manifest.REQUEST_URL}
    assert manifest.REQUEST_URL.startswith("https://")
    assert manifest.REQUEST_URL.endswith("/slack/events")


def test_the_command_prints_it_for_the_mode_that_the_configuration_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "unstick.yaml").write_text("slack: {mode: http, direct_messages: true}\n")
    serve.manifest(str(tmp_path / "unstick.yaml"))
    made = yaml.safe_load(capsys.readouterr().out)
    assert made == manifest.app_manifest(Settings(slack=SlackSettings(mode="http", direct_messages=True)))


def test_what_is_listened_to_is_what_it_subscribes_to_and_offers(printed: Any) -> None:
    listened = {kind: [each.name for each in LISTENERS if each.kind == kind] for kind in ("event", "shortcut")}
    assert (
        sorted(printed["settings"]["event_subscriptions"]["bot_events"]) == sorted(listened["event"]) == sorted(EVENTS)
    )
    assert [(s["callback_id"], s["type"]) for s in printed["features"]["shortcuts"]] == [
        (name, "message") for name in listened["shortcut"]
    ]
    assert printed["features"]["app_home"]["home_tab_enabled"] is True


def test_direct_messages_are_asked_for_only_where_they_are_wanted(printed: Any) -> None:
    assert printed["features"]["app_home"]["messages_tab_enabled"] is False
    assert "im:history" not in printed["oauth_config"]["scopes"]["bot"]
    wanted = manifest.app_manifest(Settings(slack=SlackSettings(direct_messages=True)))
    assert wanted["features"]["app_home"]["messages_tab_enabled"] is True
    assert "im:history" in wanted["oauth_config"]["scopes"]["bot"]


def test_every_button_and_modal_that_is_drawn_is_listened_to() -> None:
    listened = {(listener.kind, listener.name) for listener in LISTENERS}
    windows = {value for name, value in vars(words).items() if name.endswith("_MODAL")}
    assert len(windows) == 9
    drawn = {("action", button.value) for button in Button} | {("view", window) for window in windows}
    others = {("command", COMMAND), ("shortcut", words.DIAGNOSE)} | {("event", name) for name in EVENTS}
    assert listened == drawn | others


async def test_what_bolt_listens_to_is_what_the_manifest_is_made_of(workspace: Workspace) -> None:
    app = AsyncApp(client=AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url))
    before = len(app._async_listeners)
    Edge(None, None, app.client).register(app)  # type: ignore[arg-type] # it is only registered
    refusing = 3  # of buttons, windows and shortcuts that are none of ours
    assert len(app._async_listeners) - before == len(LISTENERS) + refusing


def test_it_asks_for_the_scopes_of_what_is_called_and_for_commands(printed: Any) -> None:
    needed = set().union(*SCOPES.values(), *EVENTS.values()) | {"commands"}
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
    for shortcut in printed["features"]["shortcuts"]:
        assert 0 < len(shortcut["name"]) <= 24
        assert 0 < len(shortcut["description"]) <= 150
        assert 0 < len(shortcut["callback_id"]) <= 255


def test_the_hint_shows_every_command(printed: Any) -> None:
    hint = printed["features"]["slash_commands"][0]["usage_hint"].split(" | ")
    assert hint == [usage.removeprefix(f"{COMMAND} ") for usage, _ in usages()]
    assert parse(hint[0])
