"""The bot, serving a fresh sandbox."""

import ssl
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import pytest

from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from tests.bot.scenarios.office import Office, serving

_plain_context = cache(ssl.create_default_context)


@pytest.fixture(autouse=True)
def one_reading_of_all_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection reads all certificates of the machine, which takes a while, and the sandbox needs none."""
    real = ssl.create_default_context
    monkeypatch.setattr(
        ssl, "create_default_context", lambda *a, **k: real(*a, **k) if a or any(k.values()) else _plain_context()
    )


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path / "sandbox") as world:
        yield world


@pytest.fixture
async def workspace(sandbox: Sandbox) -> AsyncIterator[Workspace]:
    async with Workspace(now=sandbox.clock.now) as made:
        yield made


@pytest.fixture
def transport() -> str:
    """How Slack reaches the bot. A module that is to hold over both ways says `pytestmark = over_both`."""
    return "socket"


@pytest.fixture
def by_http(transport: str) -> bool:
    """Whether Slack reaches the bot by signed requests, for a test that has it serve by itself."""
    return transport == "http"


@pytest.fixture
async def office(sandbox: Sandbox, workspace: Workspace, tmp_path: Path, by_http: bool) -> AsyncIterator[Office]:
    """The bot, serving."""
    async with serving(sandbox, workspace, tmp_path, by_http=by_http) as made:
        yield made
