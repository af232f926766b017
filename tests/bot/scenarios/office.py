"""The bot as a whole, as people meet it: the real edge, work loop, engine and store, the sandbox's cluster and Slack."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Message, Person, Workspace
from bot.sandbox.world import Sandbox
from bot.serve import Server, Tokens
from bot.settings import HttpSettings, PersonSettings, Settings, SlackSettings, WatchSettings
from bot.slack.words import CONFIRM_BLOCK
from bot.store import State, open_state
from bot.wiring import Target
from runbooks.store import Execution

PATIENCE = 20.0
WHY = f"/unstick why pod/{STUCK_POD} -n {NAMESPACE}"


@dataclass
class Office:
    """Everything of a scenario: the cluster, the workspace with its people, the store, and the bot."""

    sandbox: Sandbox
    workspace: Workspace
    settings: Settings
    state: State
    channel: str
    server: Server
    alice: Person  # asks
    bob: Person  # approves
    carol: Person  # looks on
    pauses: list[float] = field(default_factory=list)

    async def incident(self) -> Message:
        """Alice asks why, waits, and asks again: the lock is stale by then."""
        await self.alice.types(self.channel, WHY)
        message = await self.alice.sees(self.channel, "suspect", PATIENCE)
        await self.sandbox.sleep(35)
        await self.alice.clicks(message, "Why?")
        return await self.alice.sees(self.channel, "stale; no watcher", PATIENCE)

    async def planned(self) -> Message:
        """The plan that alice is shown."""
        await self.alice.clicks(await self.incident(), "Plan fix")
        return await self.offered("Request approval")

    async def requested(self) -> Message:
        """The request that waits for an approver."""
        await self.alice.clicks(await self.planned(), "Request approval")
        return await self.offered("Approve")

    async def approved(self, request: Message) -> None:
        """Bob approves, in the modal."""
        await self.bob.clicks(request, "Approve")
        modal = await self.bob.sees_modal()
        reply = await self.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
        assert not reply.errors

    async def offered(self, button: str) -> Message:
        """The message that has a button now."""
        return await self.alice.sees(self.channel, f"[{button}]", PATIENCE)

    def execution(self) -> Execution:
        """The newest execution."""
        return self.state.runbooks.history()[0]

    def events(self) -> list[tuple[str, str]]:
        """What the audit log says: event and person."""
        return [(row.event, row.person) for row in self.state.runbooks.audit_rows()]


async def listening(server: Server) -> str:
    """The address of a bot's HTTP server, as soon as it listens."""
    assert server.http is not None
    async with asyncio.timeout(PATIENCE):
        while not server.http.listens:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)
    return f"http://127.0.0.1:{server.http.port}"


@asynccontextmanager
async def serving(
    sandbox: Sandbox, workspace: Workspace, folder: Path, *, target: Callable[[str | None], Target] | None = None,
    connected: bool = True, by_http: bool = False, alert_token: str = "",
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep, **changes: Any,
) -> AsyncIterator[Office]:  # fmt: skip
    """A bot that serves a workspace, and ends with the block. `changes` are settings.

    `by_http`: Slack sends signed requests, in place of frames over sockets.
    """
    alice, bob, carol = (workspace.person(name) for name in ("alice", "bob", "carol"))
    channel = workspace.channel("incidents")
    people = {
        alice.id: PersonSettings(roles=("responder",)),
        bob.id: PersonSettings(roles=("approver",)),
        carol.id: PersonSettings(roles=("viewer",)),
    }
    words: dict[str, Any] = {
        "people": people, "slack": SlackSettings(api_url=workspace.api_url, channel=channel, connections=1),
        "state": str(folder / "state.db"), "http": HttpSettings(port=0), "watch": WatchSettings(enabled=False),
    }  # fmt: skip
    settings = Settings(**{**words, **changes})
    if by_http:
        settings = settings.model_copy(update={"slack": settings.slack.model_copy(update={"mode": "http"})})
    state = open_state(settings.state_url, sandbox.clock.now)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0.002)

    tokens = Tokens(workspace.bot_token, workspace.app_token, workspace.signing_secret, alert_token)
    server = Server(
        settings, state, target or (lambda _: sandbox.target), tokens, now=sandbox.clock.now, pause=pause,
        ping_interval=0.2, rest=rest,
    )  # fmt: skip
    running = asyncio.create_task(server.run())
    try:
        if by_http:
            workspace.deliver_to(f"{await listening(server)}/slack/events")
        if connected:
            await workspace.connected()
        yield Office(sandbox, workspace, settings, state, channel, server, alice, bob, carol, pauses)
    finally:
        server.stop()
        await asyncio.wait_for(running, PATIENCE)
        state.runbooks.engine.dispose()
