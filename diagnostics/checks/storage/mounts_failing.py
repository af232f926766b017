"""Pods whose volumes the kubelet fails to attach or mount, told by its Warning events.

Meaning: an attach, map or mount call returned an error, or did not return in time.
Impact: the pod cannot start; the volume may still be held elsewhere.
Mitigation: the cause in the finding names what to repair; an umbrella time-out alone says only that something hangs.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.causes import classify, telling
from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.kubernetes import EVENTS, PODS
from diagnostics.facts.resources import Event
from diagnostics.model import Finding, Severity, Unseen

REASONS = frozenset({
    "FailedMount", "FailedMapVolume", "FailedAttachVolume", "FailedUnMount", "VolumeResizeFailed",
    "FailedCreatePodSandBox",
})  # fmt: skip
# A kubelet repeats a failing mount at least every 2 minutes 2 seconds (its longest back-off) plus the wait itself.
FRESH = timedelta(minutes=15)


def _about_mounts(event: Event) -> bool:
    return event.type == "Warning" and event.reason in REASONS and event.about.kind == "Pod"


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each pod that still waits and has a fresh event of a failed mount."""
    pods, events = snapshot.seen(PODS), snapshot.seen(EVENTS)
    waiting = {pod.metadata.uid: pod for pod in (pods.full if pods else ()) if pod.is_creating}
    told: dict[str, list[Event]] = {}
    for event in sorted(events.full if events else (), key=lambda e: e.last_seen or snapshot.taken_at):
        fresh = event.last_seen is None or snapshot.taken_at - event.last_seen <= FRESH  # no time at all: may be now
        if fresh and _about_mounts(event) and event.about.uid in waiting:
            told.setdefault(event.about.uid, []).append(event)
    for uid, siblings in told.items():
        pod = waiting[uid]
        event = siblings[telling([(e.message or "", e.reason) for e in siblings]) or 0]
        cause = classify(event.message or "", event.reason)
        yield Finding(
            subject=pod.subject,
            summary=f"{pod.metadata.namespace}/{pod.metadata.name} cannot mount its volumes: {cause.why}",
            cause=cause.cause,
            since=min((e.first_seen for e in siblings if e.first_seen), default=None),
        )


CHECK = Check(
    find,
    reads=(Read(PODS, where=lambda pod: pod.is_creating), Read(EVENTS, where=_about_mounts)),
    severity=Severity.WARNING,
)
