"""Looks at a cluster that may have several Ceph clusters: at each by itself, and joins what came of it.

With one Ceph, or none, this is `scan` and `gather` and nothing else.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from diagnostics import scan as one
from diagnostics.catalog import Listed
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SIGHTINGS, Sighting
from diagnostics.facts.holders import NODES
from diagnostics.facts.images import is_ceph, named_image
from diagnostics.facts.kubernetes import ATTACHMENTS, PODS, VOLUMES
from diagnostics.facts.resources import PodVolume, Volume, Whereabouts
from diagnostics.model import Finding, Link, Outcome, Scope, Status, Subject, quoted
from diagnostics.scan import Report
from diagnostics.sources import Source
from diagnostics.sources.ceph.several import CephGroup, Look, of_ceph

Sightings = tuple[Sighting, ...]
_NAMED = "; or name the one that is meant with --ceph-conf"


def group_of(sources: Sequence[Source]) -> CephGroup | None:
    """The Ceph clusters among the sources, where there are several."""
    return next((source for source in sources if isinstance(source, CephGroup)), None)


async def scan(
    sources: Sequence[Source], checks: Sequence[Listed], scope: Scope, sightings: Sightings, now: datetime
) -> Report:
    """Run checks over each Ceph at the same time, and join what they came to."""
    group = group_of(sources)
    if group is None:
        return await one.scan(sources, checks, scope, sightings, now)
    async with Look(sources, group, scope, now) as look:
        views = [look.view(name) for name in group.members]
        reports = await asyncio.gather(*(one.scan(view, checks, scope, sightings, now) for view in views))
    return joined(dict(zip(group.members, reports, strict=True)), sightings)


async def gather_each(
    sources: Sequence[Source], reads: Sequence[Read[Any]], scope: Scope, sightings: Sightings, now: datetime
) -> dict[str, Snapshot]:
    """Read facts in the view of each Ceph at the same time, by its name ("": the only one, or none)."""
    group = group_of(sources)
    if group is None:
        return {"": await one.gather(sources, reads, scope, sightings, now)}
    async with Look(sources, group, scope, now) as look:
        views = [look.view(name) for name in group.members]
        found = await asyncio.gather(*(one.gather(view, reads, scope, sightings, now) for view in views))
    return dict(zip(group.members, found, strict=True))


async def gather(
    sources: Sequence[Source], reads: Sequence[Read[Any]], scope: Scope, sightings: Sightings, now: datetime
) -> Snapshot:
    """Read facts around a subject, in the view of the one Ceph that it lies in. Where that is not certain, of no Ceph."""
    group = group_of(sources)
    if group is None:
        return await one.gather(sources, reads, scope, sightings, now)
    async with Look(sources, group, scope, now) as look:
        chosen = await _chosen(look, scope, now)
        view = look.view(None, chosen) if isinstance(chosen, NotSeen) else look.view(chosen)
        return await one.gather(view, reads, scope, sightings, now)


async def _chosen(look: Look, scope: Scope, now: datetime) -> str | NotSeen:
    """The Ceph that a subject lies in, or why none can be told."""
    names, subject = list(look.members), scope.subject
    if subject is None:
        return NotSeen(f"there are several Ceph clusters ({quoted(names)}), and nothing says which is meant")
    if subject.kind == "Node":
        return await _fencing(look, scope, now)
    snapshot = await one.gather(look.view(None), [Read(VOLUMES), Read(PODS), Read(ATTACHMENTS)], scope, (), now)
    volumes, pods = snapshot[VOLUMES], snapshot.seen(PODS)
    if isinstance(volumes, NotSeen):
        return NotSeen(f"which Ceph {subject.name} lies in is not known: {volumes.reason}", volumes.configured)
    if subject.kind == "RBDImage":
        found: list[Volume | PodVolume] = [v for v in volumes.full if str(named_image(v)) == subject.name]
        if not found:
            made = f"no PersistentVolume is made of {subject.name}"
            return NotSeen(f"{made}, so that nothing says in which Ceph it lies, {quoted(names)}{_NAMED}")
    elif subject.kind == "VolumeAttachment":
        attachments = snapshot.seen(ATTACHMENTS)
        named = {
            a.spec.source.persistent_volume_name
            for a in (attachments.full if attachments else ())
            if a.metadata.name == subject.name
        }
        found = [volume for volume in volumes.full if volume.metadata.name in named and is_ceph(volume)]
    else:
        found = [volume for volume in volumes.full if is_ceph(volume)]
        found += [entry for pod in (pods.full if pods else ()) for entry in pod.spec.volumes or () if is_ceph(entry)]
    lying = [volume.whereabouts or Whereabouts("", False, "it does not say which Ceph it is of") for volume in found]
    if unknown := next((each for each in lying if not each.ceph), None):
        return NotSeen(f"{subject}: {unknown.says}")
    where = list(dict.fromkeys(each.ceph for each in lying))
    if len(where) > 1:
        return NotSeen(
            f"{subject} is of volumes in the Ceph clusters {quoted(where)}: which one is meant is not certain"
        )
    return where[0] if where else names[0]  # with no volume in Ceph none is asked


async def _fencing(look: Look, scope: Scope, now: datetime) -> str | NotSeen:
    """The one Ceph that fences a node as a whole."""
    snapshot, maps = await asyncio.gather(one.gather(look.view(None), [Read(NODES)], scope, (), now), look.osd_maps())
    nodes = snapshot[NODES]
    unseen = [each for each in (nodes, *maps.values()) if isinstance(each, NotSeen)]
    if unseen or isinstance(nodes, NotSeen):
        return NotSeen("; ".join(each.reason for each in unseen))
    ips = [ip for node in nodes.full if scope.subject and node.metadata.name == scope.subject.name for ip in node.ips]
    fencing = [
        name for name, each in maps.items()
        if not isinstance(each, NotSeen) and any(fence.covers_host(ip) for fence in each.fences for ip in ips)
    ]  # fmt: skip
    if len(fencing) == 1:
        return fencing[0]
    told = f"{quoted(fencing)} fence it" if fencing else f"none of {quoted(list(maps))} fences it"
    return NotSeen(f"which Ceph is meant for {scope.subject} is not certain: {told}{_NAMED}")


def joined(reports: dict[str, Report], earlier: Sightings) -> Report:
    """The reports of several Ceph clusters as one; its snapshot is the first one's, `looks` has each."""
    every = list(reports.values())
    outcomes = tuple(
        _outcome({name: report.outcomes[number] for name, report in reports.items()})
        for number in range(len(every[0].outcomes))
    )
    scanned = dict(every[0].scanned)
    for report in every[1:]:
        for what, count in report.scanned.items():
            scanned[what] = scanned.get(what, 0) + count if what == "rbd images" else max(count, scanned.get(what, 0))
    looks = {name: report.snapshot for name, report in reports.items()}
    return Report(every[0].taken_at, outcomes, scanned, sightings_of(looks.values(), earlier), every[0].snapshot, looks)


def sightings_of(looks: Iterable[Snapshot], earlier: Sightings) -> Sightings:
    """The sightings after several looks at the same time: of each Ceph those of its own, of all others as they were."""
    kept = {(s.fsid, s.image, s.locker): s for s in earlier}
    for snapshot in looks:
        locks, osdmap = snapshot.seen(LOCKS), snapshot.seen(OSDMAP)
        seen = {locks.fsid if locks else "", osdmap.fsid if osdmap else ""} - {""}
        fresh = snapshot.seen(SIGHTINGS) or ()
        kept = {key: s for key, s in kept.items() if s.fsid not in seen}
        kept |= {(s.fsid, s.image, s.locker): s for s in fresh if s.fsid in seen}
    return tuple(kept.values())


def _outcome(of: dict[str, Outcome]) -> Outcome:
    """One check's outcomes as one: what was found in any; else `unknown` if any could not look."""
    outcomes = list(of.values())
    findings = _findings([outcome.findings for outcome in outcomes])
    looked = {name: outcome for name, outcome in of.items() if outcome.status is not Status.SKIPPED}
    order = (Status.FOUND, Status.UNKNOWN, Status.OK, Status.SKIPPED)
    status = min((outcome.status for outcome in outcomes), key=order.index)
    told = _reasons({name: outcome.reason for name, outcome in (looked or of).items() if outcome.reason})
    return Outcome(outcomes[0].check, status, told, findings)


def _reasons(of: dict[str, str]) -> str | None:
    """Reasons, each once; with the Ceph's name those that not all give in the same words."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in of.items():
        by_reason.setdefault(reason, []).append(name)
    told = [reason if len(names) > 1 else of_ceph(names[0], reason) for reason, names in by_reason.items()]
    return "; ".join(told) or None


def _findings(of: Sequence[Sequence[Finding]]) -> tuple[Finding, ...]:
    """The findings of several looks: of the same subject one, with the chain that leads furthest."""
    about: dict[Subject, list[list[Finding]]] = {}
    for findings in of:
        mine: dict[Subject, list[Finding]] = {}
        for finding in findings:
            mine.setdefault(finding.subject, []).append(finding)
        for subject, found in mine.items():
            about.setdefault(subject, []).append(found)
    return tuple(finding for looks in about.values() for finding in _of_subject(looks))


def _of_subject(looks: list[list[Finding]]) -> list[Finding]:
    if len(looks) == 1:
        return looks[0]
    if any(len(found) != 1 for found in looks):  # several of one thing in one look: they are told apart by their ids
        return list({finding.id: finding for found in looks for finding in found}.values())
    best, *others = sorted((found[0] for found in looks), key=_reach, reverse=True)
    for other in others:
        if _in_ceph(other) and _in_ceph(best) and other.chain != best.chain:
            best = _both(best, other)
    return [best]


def _reach(finding: Finding) -> tuple[bool, int, int]:
    return _in_ceph(finding), len(finding.chain), len(finding.unseen)


def _in_ceph(finding: Finding) -> bool:
    return any(link.subject.kind in ("RBDImage", "RBDLock", "CephClient") for link in finding.chain)


def _both(best: Finding, other: Finding) -> Finding:
    """One thing that waits for images in two Ceph clusters: the way to the other comes first, the root stays."""
    shared = _shared(best.chain, other.chain)
    rest = tuple(link for link in other.chain[shared:] if link not in best.chain)
    differs = other.summary != best.summary
    return msgspec.structs.replace(
        best,
        summary=f"{best.summary}; {other.summary}" if differs else best.summary,
        chain=(*best.chain[:shared], *rest, *best.chain[shared:]),
        unseen=tuple(dict.fromkeys((*best.unseen, *other.unseen))),
    )


def _shared(one_chain: Sequence[Link], other: Sequence[Link]) -> int:
    """How many links two chains begin with alike."""
    pairs = enumerate(zip(one_chain, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one_chain), len(other)))
