"""A workspace and, on the other side of its socket, a bot made of the real slack_sdk and slack-bolt."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.clock import Clock
from bot.sandbox.slack import Workspace

# slack_sdk notices a closed socket only when this many seconds are over.
PING_INTERVAL = 0.05


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def workspace(clock: Clock) -> AsyncIterator[Workspace]:
    async with Workspace(now=clock.now, ack_bound=0.3) as workspace:
        yield workspace


@pytest.fixture
def client(workspace: Workspace) -> AsyncWebClient:
    return AsyncWebClient(workspace.bot_token, base_url=workspace.api_url)


@pytest.fixture
def app(client: AsyncWebClient) -> AsyncApp:
    logger = logging.getLogger("tests.slack")
    logger.setLevel(logging.CRITICAL)
    return AsyncApp(client=client, logger=logger)


@asynccontextmanager
async def sockets(app: AsyncApp, workspace: Workspace, count: int = 1, wait: bool = True) -> AsyncIterator[None]:
    """Hold `count` real Socket Mode connections of an app open, as so many replicas do."""
    handlers = []
    connecting = []
    try:
        for _ in range(count):
            handler = AsyncSocketModeHandler(app, workspace.app_token, ping_interval=PING_INTERVAL)
            handlers.append(handler)
            connecting.append(asyncio.create_task(handler.connect_async()))
        if wait:
            await workspace.connected(count)
        yield
    finally:
        for handler in handlers:
            await handler.client.close()
        for task in connecting:
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)


@pytest.fixture
async def running(app: AsyncApp, workspace: Workspace) -> AsyncIterator[AsyncApp]:
    """The app, connected."""
    async with sockets(app, workspace):
        yield app


@pytest.fixture
def connect(app: AsyncApp, workspace: Workspace) -> Callable[..., object]:
    return lambda count=1, wait=True: sockets(app, workspace, count, wait)
