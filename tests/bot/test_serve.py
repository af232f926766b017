"""How the server begins and ends where its surroundings fail: no part of it waits for another one's trouble."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import bot.serve
from bot.sandbox.slack import Workspace
from bot.serve import Server, Tokens
from bot.settings import HttpSettings, Settings, SlackSettings, WatchSettings
from bot.store import State, open_state
from bot.store.leaders import Deposed, Leadership
from runbooks.database import StoreError
from tests.bot.scenarios.hands import until

PATIENCE = 20.0
Lead = Callable[[Leadership], Awaitable[None]]


class Election:
    """One that does as a test says."""

    leading: Leadership | None = None
    trouble = ""

    def __init__(self, runs: Callable[[], Awaitable[None]]) -> None:
        self._runs = runs

    async def run(self, lead: Lead) -> None:
        await self._runs()


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Callable[..., Server]]:
    """Makes a server; Slack is there."""
    async with Workspace() as workspace:
        states: list[State] = []

        def make(election: Election | None = None) -> Server:
            slack = SlackSettings(api_url=workspace.api_url, channel=workspace.channel("ops"), connections=1)
            settings = Settings(
                slack=slack, http=HttpSettings(port=0), watch=WatchSettings(enabled=False), state=str(tmp_path / "s.db")
            )
            states.append(open_state(settings.state_url))
            tokens = Tokens(workspace.bot_token, workspace.app_token)
            return Server(settings, states[-1], lambda _: pytest.fail("no cluster"), tokens, election=election)

        yield make
        for state in states:
            state.runbooks.engine.dispose()


async def test_whoever_was_deposed_ends_with_a_sentence_that_is_told_as_one(made: Callable[..., Server]) -> None:
    async def deposed() -> None:
        raise Deposed("one is not the leader any more. Another Unstick works on the same state database.")

    with pytest.raises(StoreError, match="Another Unstick works"):
        await asyncio.wait_for(made(Election(deposed)).run(), PATIENCE)


async def test_the_loop_is_seen_to_turn_while_the_database_does_not_answer_at_the_start(
    made: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.serve, "TURN", 0.01)
    server, answers, asked = made(), threading.Event(), threading.Event()
    resume = server.worker.resume

    def slowly() -> None:
        asked.set()
        answers.wait(PATIENCE)
        resume()

    monkeypatch.setattr(server.worker, "resume", slowly)
    running = asyncio.create_task(server.run())
    await until(asked.is_set)
    touched = server.loops["edge"]._touched
    await until(lambda: server.loops["edge"]._touched > touched)
    answers.set()
    server.stop()
    await asyncio.wait_for(running, PATIENCE)


async def test_an_election_that_ends_slowly_keeps_nothing_else_from_ending(made: Callable[..., Server]) -> None:
    """With the API server away, giving back the Lease takes its time-outs; the pod has 90 s for all of it."""
    server: Server
    leads = asyncio.Event()

    async def ends_slowly() -> None:
        try:
            leads.set()
            await asyncio.Event().wait()
        finally:
            await until(lambda: not server.work._thread.is_alive())

    server = made(Election(ends_slowly))
    running = asyncio.create_task(server.run())
    await asyncio.wait_for(leads.wait(), PATIENCE)
    server.stop()
    await asyncio.wait_for(running, PATIENCE)
