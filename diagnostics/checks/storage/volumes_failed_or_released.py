"""PersistentVolumes that failed, or whose claim is gone while they stay.

Meaning: Failed: Kubernetes could not reclaim it. Released with Delete: whoever deletes it does not succeed. Released with
Retain: it waits for a person, as it was told to.
Impact: no claim gets such a volume; its storage stays in use, and an image that a client still has open cannot be deleted.
Mitigation: repair what the deleter runs into, and it tries again. Retained: delete it, or free it by removing its claimRef.
"""

from collections.abc import Iterator

from diagnostics.causes import Confidence, classify
from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.kubernetes import EVENTS, VOLUMES
from diagnostics.facts.released import is_overdue, longest_first, released_since, told_together
from diagnostics.facts.resources import Volume
from diagnostics.facts.told import told_of
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, lasting

MOST_RETAINED = 5  # told one by one


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each volume that failed, or that is deleted in vain. Those that wait for a person are info."""
    volumes, retained = snapshot.seen(VOLUMES), list[Volume]()
    for volume in volumes.full if volumes else ():
        if volume.status.phase == "Failed":
            yield _finding(volume, snapshot)
        elif volume.status.phase != "Released":
            continue
        elif volume.spec.persistent_volume_reclaim_policy == "Retain":
            retained.append(volume)
        elif (overdue := is_overdue(volume, snapshot)) is None:
            yield Unseen(str(volume.subject), "it is Released and to be deleted, but nothing tells since when")
        elif overdue:
            yield _finding(volume, snapshot)
    if len(retained) <= MOST_RETAINED:
        yield from (_finding(volume, snapshot, Severity.INFO) for volume in retained)
    else:
        yield _together(longest_first(retained, snapshot), snapshot)


def _together(retained: list[Volume], snapshot: Snapshot) -> Finding:
    """One finding, about the first: they are as they were told to be, and must not hide by their number what is broken."""
    says, link = told_together(retained, snapshot)
    return Finding(link.subject, says, None, released_since(retained[0]), (link,), severity=Severity.INFO)


def _finding(volume: Volume, snapshot: Snapshot, severity: Severity | None = None) -> Finding:
    since = released_since(volume)
    told = told_of(volume.metadata.uid, snapshot, within=None) if severity is not Severity.INFO else None
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
