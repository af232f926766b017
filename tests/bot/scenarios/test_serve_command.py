"""`unstick serve` as a process: how it ends, and what it says then."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.sandbox.slack import Workspace

PATIENCE = 20.0
COMMAND = (sys.executable, "-c", "from bot.cli import main; main()", "serve")
TOKENS = ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN")


@dataclass
class Ended:
    """How a process ended, and what it wrote."""

    code: int | None
    written: str

    @property
    def sentences(self) -> list[str]:
        """What it said to whoever started it, apart from its log."""
        return [line for line in self.written.splitlines() if line.startswith("unstick: ")]


@dataclass
class Served:
    """A server as a process."""

    process: asyncio.subprocess.Process

    async def ended(self) -> Ended:
        """How it ended, by itself."""
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return Ended(self.process.returncode, (out + err).decode())

    async def told_to_end(self) -> Ended:
        """How it ends when Kubernetes ends it."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def served(
    workspace: Workspace, folder: Path, *, without: str = "", behind: str = "", **words: Any
) -> AsyncIterator[Served]:
    """`unstick serve`, with the workspace's tokens but for one, and `behind` each of them; `words` are settings."""
    configuration = folder / "unstick.yaml"
    settings = {
        "state": str(folder / "state.db"), "slack": {"api_url": workspace.api_url}, "http": {"port": 0}, **words,
    }  # fmt: skip
    configuration.write_text(yaml.safe_dump(settings))
    environment = {name: value for name, value in os.environ.items() if name not in TOKENS}
    given = dict(zip(TOKENS, (workspace.bot_token, workspace.app_token), strict=True))
    given = {name: f"{token}{behind}" for name, token in given.items() if name != without}
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--config", str(configuration), env=environment | given, cwd=Path(__file__).parents[3],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Served(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    async with Workspace() as made:
        yield made


def says_it_well(ended: Ended, workspace: Workspace) -> None:
    """One sentence, no traceback, and no token."""
    assert "Traceback" not in ended.written
    assert len(ended.sentences) == 1, ended.written
    assert ended.written.splitlines()[-1] == ended.sentences[0]
    for token in (workspace.bot_token, workspace.app_token):
        assert token not in ended.written


@pytest.mark.parametrize(
    ("refused", "name", "code"),
    [("refuse_bot_token", "SLACK_BOT_TOKEN", "token_revoked"), ("refuse_app_token", "SLACK_APP_TOKEN", "invalid_auth")],
)
async def test_a_refused_token_ends_it_with_a_sentence_that_names_the_variable(
    refused: str, name: str, code: str, workspace: Workspace, tmp_path: Path
) -> None:
    setattr(workspace.faults, refused, code)
    async with served(workspace, tmp_path) as server:
        ended = await server.ended()
    assert ended.code == 3
    says_it_well(ended, workspace)
    assert ended.sentences[0].startswith(f"unstick: Slack refuses the token in {name} ({code}): ")


async def test_a_token_that_is_refused_later_ends_it_too(workspace: Workspace, tmp_path: Path) -> None:
    async with served(workspace, tmp_path) as server:
        await workspace.connected(timeout=PATIENCE)
        workspace.faults.refuse_app_token = "token_revoked"
        await workspace.disconnect("refresh_requested")
        ended = await server.ended()
    assert ended.code == 3
    says_it_well(ended, workspace)
    assert "SLACK_APP_TOKEN (token_revoked)" in ended.sentences[0]


@pytest.mark.parametrize("name", TOKENS)
async def test_a_token_that_is_not_set_is_asked_for(name: str, workspace: Workspace, tmp_path: Path) -> None:
    async with served(workspace, tmp_path, without=name) as server:
        ended = await server.ended()
    assert ended.code == 2
    says_it_well(ended, workspace)
    assert f"{name} is not set" in ended.sentences[0]
    assert "unstick slack manifest" in ended.sentences[0]
    assert not (tmp_path / "state.db").exists()
    assert workspace.calls == []


async def test_tokens_that_were_swapped_are_told_apart_before_slack_is_asked(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.bot_token, workspace.app_token = workspace.app_token, workspace.bot_token
    async with served(workspace, tmp_path) as server:
        ended = await server.ended()
    assert ended.code == 2
    says_it_well(ended, workspace)
    assert "SLACK_BOT_TOKEN" in ended.sentences[0]
    assert "xoxb-" in ended.sentences[0]
    assert workspace.calls == []


async def test_a_schedule_that_has_no_channel_is_refused_at_the_start(workspace: Workspace, tmp_path: Path) -> None:
    async with served(workspace, tmp_path, schedules={"morning": {"cron": "0 8 * * *"}}) as server:
        ended = await server.ended()
    assert ended.code == 2
    says_it_well(ended, workspace)
    assert (
        "schedules.morning has no channel: name one there, at its cluster, or as slack.channel." in ended.sentences[0]
    )
    assert workspace.calls == []


async def test_it_serves_until_it_is_told_to_end(workspace: Workspace, tmp_path: Path) -> None:
    async with served(workspace, tmp_path) as server:
        await workspace.connected(timeout=PATIENCE)
        channel = workspace.channel("incidents")
        reply = await workspace.person("alice").types(channel, "/unstick help")
        assert reply.error is None
        ended = await server.told_to_end()
    assert ended.code == 0
    assert "Traceback" not in ended.written
    assert workspace.connections == 0
    assert workspace.bot_token not in ended.written
    assert workspace.app_token not in ended.written


async def moved(workspace: Workspace) -> None:
    """Let Slack move the bot to another connection."""
    opened = workspace.sockets.opened
    await workspace.disconnect("refresh_requested")
    assert await workspace.changes.until(lambda: workspace.sockets.opened > opened or None, PATIENCE)
    await workspace.connected(timeout=PATIENCE)


BARE = {"clusters": {"bare": {"kubernetes": None}}}


async def test_a_session_logs_what_it_works_on_and_when_and_nothing_of_its_libraries(
    workspace: Workspace, tmp_path: Path
) -> None:
    """One that makes a report, answers a command, is moved to another connection, and ends; and its successor."""
    ops = workspace.channel("ops")
    words: dict[str, Any] = {**BARE, "schedules": {"minutely": {"cron": "* * * * *", "channel": ops}}}
    logs = []
    for _ in range(2):
        async with served(workspace, tmp_path, **words) as server:
            await workspace.connected(timeout=PATIENCE)
            await workspace.person("alice").types(ops, "/unstick help")
            await workspace.person("alice").sees(ops, "Health of bare", PATIENCE)
            await moved(workspace)
            ended = await server.told_to_end()
        assert ended.code == 0
        lines = [json.loads(line) for line in ended.written.splitlines()]
        assert {line["level"] for line in lines} == {"info"}
        assert {line["logger"].partition(".")[0] for line in lines} == {"unstick"}
        assert all(line["at"] and line["event"] for line in lines)
        logs.append(ended.written)
    for log in logs:
        assert f"configuration {tmp_path}/unstick.yaml; clusters: bare" in log
        assert "The report minutely is made next at" in log
        assert "another replica" not in log


async def test_who_may_look_is_read_anew_without_a_restart(workspace: Workspace, tmp_path: Path) -> None:
    alice, channel = workspace.person("alice"), workspace.channel("incidents")
    async with served(workspace, tmp_path, **BARE, unknown_people="nobody") as server:
        await workspace.connected(timeout=PATIENCE)
        reply = await alice.types(channel, "/unstick check")
        assert "is not known here" in reply.text
        file = tmp_path / "unstick.yaml"
        said = yaml.safe_load(file.read_text())
        (tmp_path / "next").write_text(yaml.safe_dump({**said, "people": {alice.id: {"roles": ["viewer"]}}}))
        (tmp_path / "next").replace(file)
        reply = await alice.types(channel, "/unstick check")
        assert "The answer comes in this channel" in reply.text
        ended = await server.told_to_end()
    assert f"{file} was read anew" in ended.written
    assert "Traceback" not in ended.written


async def test_it_can_be_ended_while_slack_is_away(tmp_path: Path) -> None:
    async with Workspace(down=True) as workspace, served(workspace, tmp_path) as server:
        assert await workspace.changes.until(lambda: workspace.calls or None, PATIENCE)
        ended = await server.told_to_end()
    assert ended.code == 0
    assert "Traceback" not in ended.written
    assert "Slack cannot be reached" in ended.written


async def test_a_line_break_that_was_left_behind_a_token_is_no_part_of_it(workspace: Workspace, tmp_path: Path) -> None:
    async with served(workspace, tmp_path, behind="\n") as server:
        await workspace.connected(timeout=PATIENCE)
        assert (await server.told_to_end()).code == 0
