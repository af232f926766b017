"""RBD locks whose holder shows no sign of life, or is cut off from the cluster.

Meaning: a client took the image's lock and went away without giving it back; nothing else will do that for it.
Impact: no other client may use the image: a rescheduled pod hangs until the lock is broken.
Mitigation: fence the old holder first, then break its lock; breaking alone does not stop a writer that comes back.
"""

from collections.abc import Iterator
from datetime import datetime

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, LockedImage
from diagnostics.facts.holders import NODES, PODS_AT
from diagnostics.facts.watchers import daemon_of
from diagnostics.model import Finding, Severity, Unseen
from diagnostics.verdicts import Verdict, severity_of, sighting_of, verdict_of


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each image with lockers that are not alive, and say of each suspect what is missing."""
    locks = snapshot.seen(LOCKS)
    if locks is None:
        return
    for problem in locks.problems:
        yield Unseen(f"pool {problem.pool}", problem.reason)
    for image in locks.images:
        yield from _dead_lockers(image, snapshot)


def _dead_lockers(image: LockedImage, snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    sightings = snapshot.seen(SIGHTINGS) or ()
    dead: list[tuple[str, Severity, datetime | None]] = []
    for locker in image.lockers:
        judgement = verdict_of(image, locker, snapshot)
        severity = severity_of(image, locker, snapshot)
        if judgement.verdict is Verdict.SUSPECT:
            yield Unseen(f"lock {locker.client} on {image.image.spec}", f"suspect: {judgement.why}")
        elif severity is not None:
            sighting = sighting_of(image, locker, sightings)
            says = f"{locker.client} ({locker.cookie}) at {locker.address}: {judgement.verdict}; {judgement.why}"
            mirrors = [f"{w.client} is {name}" for w in image.watchers or () if (name := daemon_of(w, snapshot))]
            if judgement.verdict is Verdict.IN_USE_ELSEWHERE and mirrors:
                says += f" ({', '.join(mirrors[:3])}, a daemon of Ceph)"
            dead.append((says, severity, sighting.first_seen if sighting else None))
    if dead:
        yield Finding(
            subject=image.image.subject,
            summary=f"{image.image.spec} is locked by {'; and by '.join(says for says, _, _ in dead)}",
            cause="rbd-image-locked",
            since=min((since for _, _, since in dead if since), default=None),
            severity=max((severity for _, severity, _ in dead), key=lambda severity: severity.rank),
        )


CHECK = Check(
    find,
    reads=(
        Read(LOCKS), Read(OSDMAP, optional=True), Read(SESSIONS, optional=True), Read(SIGHTINGS, optional=True),
        Read(NODES, optional=True), Read(PODS_AT, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
