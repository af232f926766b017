"""PersistentVolumes that failed, or whose claim is gone while they stay.

Meaning: Failed: Kubernetes could not reclaim it. Released with Delete: whoever deletes it does not succeed. Released with
Retain: it waits for a person, as it was told to.
Impact: no claim gets such a volume; its storage stays in use, and an image that a client still has open cannot be deleted.
Mitigation: repair what the deleter runs into, and it tries again. Retained: delete it, or free it by removing its claimRef.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from diagnostics.causes import Confidence, classify
from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.kubernetes import EVENTS, VOLUMES
from diagnostics.facts.resources import Volume
from diagnostics.facts.told import Told, told_of
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, lasting

# Deleting an image takes seconds to minutes. A deleter that fails tries again after 5 minutes at most.
GRACE = timedelta(minutes=10)


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each volume that failed, that is deleted in vain, or that waits for a person (info)."""
    volumes = snapshot.seen(VOLUMES)
    for volume in volumes.full if volumes else ():
        told, since = told_of(volume.metadata.uid, snapshot, within=None), _since(volume)
        if volume.status.phase == "Failed":
            yield _finding(volume, told, since, snapshot)
        elif volume.status.phase != "Released":
            continue
        elif volume.spec.persistent_volume_reclaim_policy == "Retain":
            yield _finding(volume, None, since, snapshot, Severity.INFO)
        elif told or (since and snapshot.taken_at - since > GRACE):
            yield _finding(volume, told, since, snapshot)
        elif since is None:
            yield Unseen(str(volume.subject), "it is Released and to be deleted, but nothing tells since when")
        elif isinstance(unread := snapshot[EVENTS], NotSeen):
            yield Unseen(f"whether the deleting of {volume.subject} fails", unread.reason)


def _since(volume: Volume) -> datetime | None:
    return volume.status.last_phase_transition_time or volume.metadata.deletion_timestamp


def _finding(
    volume: Volume, told: Told | None, since: datetime | None, snapshot: Snapshot, severity: Severity | None = None
) -> Finding:
    name, phase, policy = volume.metadata.name, volume.status.phase, volume.spec.persistent_volume_reclaim_policy
    ref, message, events = volume.spec.claim_ref, volume.status.message or "", snapshot[EVENTS]
    cause = classify(message, volume.status.reason or "VolumeFailedDelete") if message else None
    slug = cause.cause if cause and cause.confidence is not Confidence.UNKNOWN else told.slug if told else None
    why = message or (told.says if told else "")
    age = f" for {lasting(snapshot.taken_at - since)}" if since else ""
    of = f" (its claim was {ref.namespace}/{ref.name})" if ref else ""
    state = f"is {phase}{f' since {since:%Y-%m-%dT%H:%M:%SZ}' if since else ''}"
    waits = "waits for a person to delete or free it" if severity is Severity.INFO else ""
    stuck = f"{'it could not be reclaimed' if phase == 'Failed' else 'nobody deletes it'}{f': {why}' if why else ''}"
    text = f"status.phase {phase}, persistentVolumeReclaimPolicy {policy}{f', message {message}' if message else ''}"
    blind = isinstance(events, NotSeen) and not why and not waits
    return Finding(
        subject=volume.subject,
        summary=f"volume {name}{of} is {phase}{age}, reclaim policy {policy or '(none)'}: {waits or stuck}",
        cause=slug if not waits else None,
        since=since,
        chain=(
            *((told.link,) if told else ()),
            Link(volume.subject, state, (Evidence(f"GET persistentvolumes {name}", text),)),
        ),
        unseen=(f"events: {events.reason}",) if blind and isinstance(events, NotSeen) else (),
        severity=severity,
    )


CHECK = Check(find, reads=(Read(VOLUMES), Read(EVENTS, optional=True)), severity=Severity.WARNING)
