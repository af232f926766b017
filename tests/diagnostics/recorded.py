"""Looks at recorded worlds, as tests take them: the reader itself is `diagnostics.sources.recorded`."""

from collections.abc import Sequence
from typing import Any

from diagnostics import chain
from diagnostics.facts import Read, Snapshot
from diagnostics.scan import gather
from diagnostics.sources.recorded import Gap, Json, Recording, World, but, load

__all__ = ["Gap", "Json", "Recording", "World", "but", "load", "look"]


async def look(world: World, reads: Sequence[Read[Any]] = chain.READS) -> Snapshot:
    """One look at a world."""
    return await gather([Recording(world)], reads, world.scope, world.sightings, world.taken_at)
