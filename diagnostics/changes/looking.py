"""Reads what tells of the changes around one finding: a few objects by name, once it is known which matter."""

import asyncio
from collections.abc import Sequence
from typing import Any

from diagnostics.changes.around import around
from diagnostics.facts import NotSeen, Read, Snapshot, edits
from diagnostics.facts.kubernetes import Resource
from diagnostics.model import Finding
from diagnostics.sources import CouldNotLook, Source

_KINDS: tuple[Resource[Any], ...] = (
    edits.DEPLOYMENTS, edits.STATEFUL_SETS, edits.DAEMON_SETS, edits.NODES, edits.NODE_EVENTS, edits.CLAIMS,
    edits.VOLUMES, edits.CLASSES, edits.DRIVERS, edits.IMAGE_SETS, edits.IMAGE_REVISIONS, edits.CONFIG_MAPS,
    edits.SECRETS,
)  # fmt: skip
READS = tuple(Read(kind) for kind in _KINDS)


async def look(sources: Sequence[Source], finding: Finding, snapshot: Snapshot) -> Snapshot:
    """The snapshot of a look that found something, with what tells when the things of its chain were changed.

    What cannot be read is NotSeen in it. The requests are bounded: `facts.edits.MOST_OF_A_KIND` of each kind.
    """
    seen = snapshot.with_fact(edits.ON_CHAIN, around(finding, snapshot))
    down: list[NotSeen] = []
    for kinds in ([k for k in _KINDS if not k.after], [k for k in _KINDS if k.after]):
        found = await asyncio.gather(*(_read(sources, kind, seen, down) for kind in kinds))
        for kind, facts in zip(kinds, found, strict=True):
            seen = seen.with_fact(kind, facts)
    return seen


async def _read(sources: Sequence[Source], kind: Resource[Any], earlier: Snapshot, down: list[NotSeen]) -> Any:
    """Read one kind. A server that could not be reached (`down`) is not asked again: each try costs a time-out."""
    source = next((each for each in sources if each.provides(kind)), None)
    if source is None:
        return NotSeen("no Kubernetes is configured", configured=False)
    if down:
        return down[0]
    try:
        return await source.fetch(kind, earlier)
    except CouldNotLook as error:
        seen = NotSeen(error.reason, error.configured)
        if error.unreachable:
            down.append(seen)
        return seen
