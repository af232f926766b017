"""Managed RBD locks that nobody takes over, although their holder is gone: the next client may not blocklist it.

Meaning: a new client finds the old owner dead and must fence it before it takes the lock (26 to 30 s); without the cap
to blocklist Ceph refuses that with errno 13, and it tries for ever.
Impact: the image stays locked by a dead client; the pod that waits for it does not start.
Mitigation: give the waiting client's cephx user the caps mon 'profile rbd'; never break a managed lock by hand.
"""

from collections.abc import Iterator
from datetime import datetime

from diagnostics.causes import Cause, Confidence, classify
from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, ImageSpec, LockedImage, Locker, Watcher
from diagnostics.facts.holders import NODES, PODS_AT
from diagnostics.facts.kubernetes import CLAIMS, EVENTS, PODS, VOLUMES
from diagnostics.facts.users import fresh_events, unread, waiting_for
from diagnostics.facts.watchers import daemon_of
from diagnostics.model import Finding, Severity, Unseen, lasting, quoted
from diagnostics.verdicts import TAKEN_BY_NOW, Verdict, verdict_of, wanted_since

CAUSE = "rbd-lock-takeover-denied"


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each image whose managed lock is wanted in vain, or of which an event says errno 13."""
    locks = snapshot.seen(LOCKS)
    for problem in locks.problems if locks else ():
        yield Unseen(f"pool {problem.pool}", problem.reason)
    yield from unread(snapshot, PODS, CLAIMS, VOLUMES, EVENTS)
    for image in locks.images if locks else ():
        for locker in image.lockers:
            if locker.managed and verdict_of(image, locker, snapshot).verdict is not Verdict.LIVE:
                yield from _denied(image, locker, snapshot)


def _denied(image: LockedImage, locker: Locker, snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    spec, now = ImageSpec(image.image.pool, image.image.namespace, image.image.name), snapshot.taken_at
    if image.watchers is None:
        yield Unseen(f"watchers of {spec}", image.watchers_unseen or "they could not be read")
    pods = waiting_for(spec, snapshot)
    told = [(e.first_seen, c) for p, e in fresh_events(snapshot) if p in pods
            and (c := classify(e.message or "", e.reason)).cause == CAUSE]  # fmt: skip
    waits = [(since, w) for w in image.watchers or () if (since := _since(image, locker, w, snapshot))]
    if not told and not any(now - since >= TAKEN_BY_NOW for since, _ in waits):
        return
    names = [f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods]
    clients = [f"{w.client} at {w.address} has it open since {lasting(now - since)}" for since, w in waits]
    yield Finding(
        subject=image.image.subject,
        summary=f"{spec}: {locker.client} at {locker.address} holds the managed lock and does not watch the image; "
        + "; ".join((*clients[:3], *([f"{quoted(names[:3])} waits for it"] if names else ()), _why(told))),
        cause=CAUSE,
        since=min((since for since, _ in (*told, *waits) if since), default=None),
        severity=Severity.CRITICAL if pods else Severity.WARNING,
    )


def _since(image: LockedImage, locker: Locker, watcher: Watcher, snapshot: Snapshot) -> datetime | None:
    if daemon_of(watcher, snapshot):
        return None  # an rbd-mirror or mgr has images open that it does not want to lock
    return wanted_since(image, locker, watcher.client, snapshot.seen(SIGHTINGS) or ())


def _why(told: list[tuple[datetime | None, Cause]]) -> str:
    """What is certain: only Ceph's own message names the missing cap; everything else fits it."""
    sure = next((cause for _, cause in told if cause.confidence is Confidence.CERTAIN), None)
    if sure:
        return f"certain: {sure.why}"
    return "likely: " + (
        told[0][1].why if told else "its cephx caps lack `osd blocklist`, or it does not want the lock"
    )


CHECK = Check(
    find,
    reads=(
        Read(LOCKS), *(Read(kind, optional=True) for kind in (OSDMAP, SESSIONS, SIGHTINGS, NODES, PODS_AT)),
        Read(PODS, where=lambda pod: pod.is_creating, optional=True),
        *(Read(kind, optional=True) for kind in (CLAIMS, VOLUMES, EVENTS)),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
