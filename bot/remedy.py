"""Gives the runbook engine its world: fresh facts through the reading identity, clients with the remediating one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

from bot.access import without_slack
from bot.rules import rules
from bot.settings import Settings
from bot.store import State
from bot.wiring import Target
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import SIGHTINGS
from diagnostics.model import Scope, Subject
from diagnostics.several import gather
from diagnostics.sources import CouldNotLook, Source
from diagnostics.sources.kubernetes.api import NoSuchConfiguration
from runbooks.actions import Clients
from runbooks.approval import Person
from runbooks.catalog import Library
from runbooks.engine import Engine
from runbooks.hands import Hands, LiveHands, NoHands


class LiveWorld:
    """One cluster as the engine sees it. Every look is a fresh one, and what it sights is kept."""

    def __init__(self, target: Target, state: State, sources: Sequence[Source]) -> None:
        self._target = target
        self._state = state
        self._sources = sources

    async def look(self, reads: Sequence[Read[Any]], subject: Subject | None) -> Snapshot:
        """Fresh facts about a subject."""
        name = self._target.name
        earlier = await asyncio.to_thread(self._state.sightings.load, name)
        snapshot = await gather(self._sources, reads, Scope(name, subject=subject), earlier, self._target.now())
        await asyncio.to_thread(self._state.sightings.keep, name, earlier, snapshot.seen(SIGHTINGS) or ())
        return snapshot

    def clients(self, requester: str) -> AbstractAsyncContextManager[Clients]:
        """The connections that write, for the person who asked."""
        return self._target.clients(requester)

    @asynccontextmanager
    async def hands(self, requester: str) -> AsyncIterator[Hands]:
        """What acts for the person who asked; where nothing can be written with, hands that say why."""
        async with AsyncExitStack() as stack:
            try:
                hands: Hands = LiveHands(await stack.enter_async_context(self.clients(requester)))
            except (CouldNotLook, NoSuchConfiguration) as error:
                hands = NoHands(f"there is nothing to act with: {error}")
            yield hands

    def now(self) -> datetime:
        """The time."""
        return self._target.now()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._target.sleep(seconds)


@asynccontextmanager
async def engine(
    settings: Settings, target: Target, state: State, library: Library, who: Callable[[str], Person] | None = None
) -> AsyncIterator[Engine]:
    """The engine of one cluster, with its sources open. `who` tells what somebody may do there (None: as `settings` say)."""
    async with target.sources() as sources:
        world = LiveWorld(target, state, sources)
        known = who or partial(without_slack, settings, cluster=target.name)
        yield Engine(target.name, world, state.runbooks, library.find, known, partial(rules, settings))
