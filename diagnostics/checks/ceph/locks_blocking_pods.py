"""Pods that wait for an RBD image whose lock another client holds.

Meaning: the image is locked from elsewhere: by a dead node's client, or by a live one that still writes.
Impact: the pod hangs in ContainerCreating for as long as the lock is held.
Mitigation: see the lock's verdict. A live holder is left alone; a stale one is fenced, then its lock is broken.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, ImageSpec, LockedImage
from diagnostics.facts.holders import NODES, PODS_AT, host_of, images_of_pod
from diagnostics.facts.kubernetes import CLAIMS, PODS, VOLUMES
from diagnostics.facts.resources import Pod
from diagnostics.facts.users import nameless, shared_images, waits_at_most
from diagnostics.model import Finding, Severity, Unseen
from diagnostics.verdicts import TAKEN_BY_NOW, Verdict, verdict_of

GRACE = timedelta(seconds=60)  # an ordinary start takes seconds, and takes its own locks meanwhile


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each pod that waits for longer than the grace behind foreign locks; suspect ones count."""
    locks, pods = snapshot.seen(LOCKS), snapshot.seen(PODS)
    if locks is None or pods is None:
        return
    for problem in locks.problems:
        yield Unseen(f"pool {problem.pool}", problem.reason)
    locked = {ImageSpec(i.image.pool, i.image.namespace, i.image.name): i for i in locks.images}
    for pod in pods.full:
        if not pod.is_creating or waits_at_most(GRACE, pod, snapshot):
            continue
        yield from nameless(pod, snapshot)
        specs = images_of_pod(pod, snapshot)
        yield from _blocked(pod, [locked[spec] for spec in specs if spec in locked], snapshot)
        for spec in specs:
            if not locks.covers(spec):
                yield Unseen(f"image {spec}", f"pool {spec.pool} was not looked at: add it to the pools of this Ceph")


def _blocked(pod: Pod, images: list[LockedImage], snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    foreign: dict[str, Verdict] = {}
    shared = shared_images(pod, snapshot)
    for image in images:
        for locker in image.lockers:
            judgement = verdict_of(image, locker, snapshot)
            found = host_of(locker.address.ip, snapshot)
            host, alive = found.node, judgement.verdict is Verdict.LIVE
            if alive and (image.image.spec in shared or (host and host.metadata.name == pod.spec.node_name)):
                continue  # the pod's own node holds it: that is a mount under way
            if alive and host is None:
                told = f"it is alive, and whether at the waiting pod's own node is not known: {found.why}"
                yield Unseen(f"lock {locker.client} on {image.image.spec}", told)
                continue
            where = f"node {host.metadata.name}" if host else "no known node"
            says = (
                f"{image.image.spec}, locked by {locker.client} at {locker.address.ip} ({where}): "
                f"{judgement.verdict}; {judgement.why}"
            )
            foreign[says] = judgement.verdict
    if foreign:
        soon = waits_at_most(TAKEN_BY_NOW, pod, snapshot)
        harmless = {Verdict.LIVE, Verdict.STALE_MANAGED} if soon else {Verdict.LIVE}
        yield Finding(
            subject=pod.subject,
            summary=f"{pod.metadata.namespace}/{pod.metadata.name} waits for {'; and for '.join(foreign)}",
            cause="rbd-image-locked",
            since=pod.waiting_since,
            severity=Severity.WARNING if harmless.issuperset(foreign.values()) else Severity.CRITICAL,
        )


CHECK = Check(
    find,
    reads=(
        Read(PODS, where=lambda pod: pod.is_creating), Read(CLAIMS), Read(VOLUMES), Read(LOCKS),
        Read(OSDMAP, optional=True), Read(SESSIONS, optional=True), Read(SIGHTINGS, optional=True),
        Read(NODES, optional=True), Read(PODS_AT, optional=True),
    ),
    severity=Severity.CRITICAL,
)  # fmt: skip
