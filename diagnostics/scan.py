"""One look at the world: reads what the chosen checks declare, once, and lets them judge it.

What could not be read becomes `unknown` with its reason, or `skipped` where nothing is configured; never `ok`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from diagnostics import chain, verdicts
from diagnostics.catalog import Listed
from diagnostics.facts import Kind, NotSeen, Read, Snapshot, in_order
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, Sighting
from diagnostics.facts.kubernetes import Listing
from diagnostics.model import Finding, Outcome, Scope, Severity, Status, Unseen, finding_id
from diagnostics.sources import CouldNotLook, Source

MOST_NAMED = 5  # things named for one reason why they were not seen
MOST_REASONS = 20
_WITHOUT_LOCKS = ("Node", "Deployment", "StatefulSet", "DaemonSet", "Job")


@dataclass(frozen=True)
class Report:
    """What a scan came to. `scanned` counts what was read of each kind; `sightings` are for the store to keep.

    With several Ceph clusters `looks` has the snapshot of each, by its name; `snapshot` is then the first of them.
    """

    taken_at: datetime
    outcomes: tuple[Outcome, ...]
    scanned: dict[str, int]
    sightings: tuple[Sighting, ...]
    snapshot: Snapshot
    looks: Mapping[str, Snapshot] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, worst first."""
        found = [finding for outcome in self.outcomes for finding in outcome.findings]
        return tuple(sorted(found, key=lambda f: -(f.severity or Severity.INFO).rank))


async def gather(
    sources: Sequence[Source], reads: Sequence[Read[Any]], scope: Scope, sightings: tuple[Sighting, ...], now: datetime
) -> Snapshot:
    """Read the facts for `reads` and all that they come after. Independent kinds are read at the same time."""
    kinds = in_order(read.kind for read in reads)
    if SIGHTINGS in kinds:
        kinds = in_order((*kinds, LOCKS, SESSIONS, OSDMAP))
    began = time.monotonic()
    facts: dict[str, Any] = {}
    if scope.subject is not None and scope.subject.kind in _WITHOUT_LOCKS and LOCKS not in {r.kind for r in reads}:
        # Nodes come after locks, because a lock's address may lead to one. Around a node nobody asks for that, and the
        # locks of every volume there is would be read for nothing.
        facts[LOCKS.name] = NotSeen("locks are not looked at around this", configured=False)
    down: dict[Source, NotSeen] = {}
    done = {kind.name: asyncio.Event() for kind in kinds}

    async def read(kind: Kind[Any]) -> None:
        for needed in kind.after:
            await done[needed.name].wait()
        try:
            if kind.name in facts:
                return
            earlier = Snapshot(scope.cluster, now, scope, dict(facts))
            facts[kind.name] = await _fetch(sources, kind, earlier, reads, down)
        finally:
            done[kind.name].set()

    await asyncio.gather(*(read(kind) for kind in kinds if kind is not SIGHTINGS))
    snapshot = Snapshot(scope.cluster, now, scope, facts)
    ended = now + timedelta(seconds=int(time.monotonic() - began))
    return snapshot.with_fact(SIGHTINGS, await asyncio.to_thread(verdicts.look, snapshot, sightings, ended))


async def _fetch(
    sources: Sequence[Source],
    kind: Kind[Any],
    earlier: Snapshot,
    reads: Sequence[Read[Any]],
    down: dict[Source, NotSeen],
) -> Any:
    """Read one kind. A source that could not be reached at all is not asked again: each try costs a time-out."""
    source = next((s for s in sources if s.provides(kind)), None)
    if source is None:
        what = "Ceph" if kind.name.startswith("ceph.") else "Kubernetes"
        return NotSeen(f"no {what} is configured", configured=False)
    if source in down:
        return down[source]
    try:
        found = await source.fetch(kind, earlier, _kept(kind, reads) if earlier.scope.subject is None else None)
    except CouldNotLook as error:
        seen = NotSeen(error.reason, error.configured)
        if error.unreachable:
            down[source] = seen
        return seen
    return found


def _kept(kind: Kind[Any], reads: Sequence[Read[Any]]) -> Callable[[Any], bool] | None:
    """What any of the reads needs in full; None where one of them needs everything."""
    wheres = [read.where for read in reads if read.kind is kind]
    conditions = [where for where in wheres if where is not None]
    if len(conditions) < len(wheres) or not conditions:
        return None
    return lambda item: any(condition(item) for condition in conditions)


async def scan(
    sources: Sequence[Source], checks: Sequence[Listed], scope: Scope, sightings: tuple[Sighting, ...], now: datetime
) -> Report:
    """Run checks over one fresh snapshot."""
    reads = [read for listed in checks for read in listed.check.reads]
    snapshot = await gather(sources, (*reads, *chain.READS), scope, sightings, now)
    # Over a large cluster this takes seconds, and who waits for answers shares the loop.
    outcomes = await asyncio.to_thread(lambda: tuple(judged(listed, snapshot) for listed in checks))
    scanned = {
        name.partition(" ")[0]: fact.scanned for name, fact in snapshot.facts.items()
        if isinstance(fact, Listing) and " " not in name
    }  # fmt: skip
    if locks := snapshot.seen(LOCKS):
        scanned["rbd images"] = sum(pool.images for pool in locks.pools)
    return Report(now, outcomes, scanned, snapshot.seen(SIGHTINGS) or (), snapshot)


def judged(listed: Listed, snapshot: Snapshot) -> Outcome:
    """Let one check judge a snapshot, complete its findings, and say what it could not see."""
    check = listed.check
    missing = [(read, fact) for read in check.reads if isinstance(fact := snapshot[read.kind], NotSeen)]
    needed = [fact for read, fact in missing if not read.optional]
    if needed:
        status = Status.UNKNOWN if any(fact.configured for fact in needed) else Status.SKIPPED
        told = next((fact for fact in needed if fact.configured), needed[0])
        return Outcome(listed.id, status, told.reason, ())
    findings: list[Finding] = []
    unseen: list[Unseen] = []
    for item in check.find(snapshot.only(check.reads)):
        if isinstance(item, Unseen):
            unseen.append(item)
        else:
            findings.append(_completed(item, listed, snapshot))
    reason = _told(unseen) or None
    if not findings:
        blind = any(not item.by_choice for item in unseen)
        return Outcome(listed.id, Status.UNKNOWN if blind else Status.OK, reason, ())
    return Outcome(listed.id, Status.FOUND, reason, tuple(findings))


def _told(unseen: Sequence[Unseen]) -> str:
    """What was not seen, each reason once, with the first things that it hides: there can be thousands of them."""
    by_reason: dict[str, dict[str, None]] = {}
    for item in unseen:
        by_reason.setdefault(item.reason, {})[item.subject] = None
    told = [f"{_first(list(subjects), 'more')}: {reason}" for reason, subjects in by_reason.items()]
    return _first(told, "more reasons", MOST_REASONS, "; ")


def _first(items: Sequence[str], word: str, most: int = MOST_NAMED, joined: str = ", ") -> str:
    more = f" and {len(items) - most} {word}" if len(items) > most else ""
    return f"{joined.join(items[:most])}{more}"


def _completed(finding: Finding, listed: Listed, snapshot: Snapshot) -> Finding:
    explained = chain.explain(finding, snapshot)
    return msgspec.structs.replace(
        explained,
        severity=explained.severity or listed.check.severity,
        id=finding_id(listed.id, explained.subject, explained.cause),
    )
