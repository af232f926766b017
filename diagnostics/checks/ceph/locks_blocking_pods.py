"""Pods that wait for an RBD image whose lock another client holds.

Meaning: the image is locked from elsewhere: by a dead node's client, or by a live one that still writes.
Impact: the pod hangs in ContainerCreating for as long as the lock is held.
Mitigation: see the lock's verdict. A live holder is left alone; a stale one is fenced, then its lock is broken.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, ImageSpec, LockedImage
from diagnostics.facts.holders import NODES, PODS_AT, host_of, images_of_pod, volume_of
from diagnostics.facts.images import image_of_volume, is_rbd
from diagnostics.facts.kubernetes import CLAIMS, PODS, VOLUMES
from diagnostics.facts.resources import Pod
from diagnostics.model import Finding, Severity, Unseen
from diagnostics.verdicts import Verdict, verdict_of


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each waiting pod with foreign locks on images that it mounts; suspect locks count."""
    locks, pods = snapshot.seen(LOCKS), snapshot.seen(PODS)
    if locks is None or pods is None:
        return
    for problem in locks.problems:
        yield Unseen(f"pool {problem.pool}", problem.reason)
    locked = {ImageSpec(i.image.pool, i.image.namespace, i.image.name): i for i in locks.images}
    for pod in pods.full:
        if not pod.is_creating:
            continue
        yield from _nameless(pod, snapshot)
        specs = images_of_pod(pod, snapshot)
        yield from _blocked(pod, [locked[spec] for spec in specs if spec in locked], snapshot)
        for spec in specs:
            if not locks.covers(spec):
                yield Unseen(f"image {spec}", f"pool {spec.pool} was not looked at: add it to the pools of this Ceph")


def _nameless(pod: Pod, snapshot: Snapshot) -> Iterator[Unseen]:
    """The pod's volumes that are RBD images but do not say which: their locks cannot be found."""
    for claim in pod.claims:
        volume = volume_of(pod, claim, snapshot)
        if volume is not None and is_rbd(volume) and image_of_volume(volume) is None:
            yield Unseen(str(volume.subject), "it is an RBD image, but its attributes do not say which")


def _blocked(pod: Pod, images: list[LockedImage], snapshot: Snapshot) -> Iterator[Finding]:
    foreign: dict[str, Verdict] = {}
    for image in images:
        for locker in image.lockers:
            judgement = verdict_of(image, locker, snapshot)
            host = host_of(locker.address.ip, snapshot).node
            own = host is not None and host.metadata.name == pod.spec.node_name
            if own and judgement.verdict is Verdict.LIVE:
                continue  # the pod's own node holds it: that is a mount under way
            where = f"node {host.metadata.name}" if host else "no known node"
            says = (
                f"{image.image.spec}, locked by {locker.client} at {locker.address.ip} ({where}): "
                f"{judgement.verdict}; {judgement.why}"
            )
            foreign[says] = judgement.verdict
    if foreign:
        alive = all(verdict is Verdict.LIVE for verdict in foreign.values())
        yield Finding(
            subject=pod.subject,
            summary=f"{pod.metadata.namespace}/{pod.metadata.name} waits for {'; and for '.join(foreign)}",
            cause="rbd-image-locked",
            since=pod.waiting_since,
            severity=Severity.WARNING if alive else Severity.CRITICAL,
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
