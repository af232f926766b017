"""Who needs Ceph, and what the kubelet tells of them: pods that wait, pods with Ceph volumes, their fresh events."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts.ceph import ImageSpec
from diagnostics.facts.holders import images_of_pod, volume_of
from diagnostics.facts.images import image_of_volume, is_ceph, is_here, is_of_another, is_rbd, why_nameless
from diagnostics.facts.kubernetes import CLAIMS, EVENTS, PODS, VOLUMES
from diagnostics.facts.resources import Event, Pod
from diagnostics.model import Unseen

# A kubelet repeats a failing mount at least every 2 minutes 2 seconds (its longest back-off) plus the wait itself.
FRESH = timedelta(minutes=15)


def unread(snapshot: Snapshot, *kinds: Kind[Any]) -> Iterator[Unseen]:
    """What of these kinds could not be read, though it is configured."""
    for kind in kinds:
        if isinstance(fact := snapshot[kind], NotSeen) and fact.configured:
            yield Unseen(kind.name, fact.reason)


def waiting_pods(snapshot: Snapshot) -> Iterator[Pod]:
    """The pods that wait in ContainerCreating."""
    pods = snapshot.seen(PODS)
    yield from (pod for pod in (pods.full if pods else ()) if pod.is_creating)


def waiting_for(image: ImageSpec, snapshot: Snapshot) -> tuple[Pod, ...]:
    """The waiting pods that mount an image."""
    return tuple(pod for pod in waiting_pods(snapshot) if image in images_of_pod(pod, snapshot))


def waits_at_most(limit: timedelta, pod: Pod, snapshot: Snapshot) -> bool:
    """Whether a waiting pod is known to wait for no longer than this."""
    return pod.waiting_since is not None and snapshot.taken_at - pod.waiting_since <= limit


def shared_images(pod: Pod, snapshot: Snapshot) -> frozenset[str]:
    """The pod's images that several nodes may write to: a VM that migrates has its disk open on both."""
    volumes = [volume for claim in pod.claims if (volume := volume_of(pod, claim, snapshot))]
    return frozenset(str(image_of_volume(v)) for v in volumes if "ReadWriteMany" in (v.spec.access_modes or ()))


def nameless(pod: Pod, snapshot: Snapshot) -> Iterator[Unseen]:
    """The pod's volumes that are RBD images but do not say which, or of no known Ceph: their locks cannot be found."""
    for claim in pod.claims:
        volume = volume_of(pod, claim, snapshot)
        if volume is not None and is_rbd(volume) and image_of_volume(volume) is None and not is_of_another(volume):
            yield Unseen(str(volume.subject), why_nameless(volume))
    for entry in pod.spec.volumes or ():
        if entry.rbd is not None and not is_here(entry) and not is_of_another(entry):
            yield Unseen(f"volume {entry.name} of {pod.subject}", why_nameless(entry))


def fresh_events(snapshot: Snapshot) -> Iterator[tuple[Pod, Event]]:
    """The waiting pods' own Warning events that came lately, or that bear no time at all."""
    waiting = {pod.metadata.uid: pod for pod in waiting_pods(snapshot)}
    events = snapshot.seen(EVENTS)
    for event in events.full if events else ():
        fresh = event.last_seen is None or snapshot.taken_at - event.last_seen <= FRESH
        if fresh and event.type == "Warning" and (pod := waiting.get(event.about.uid)):
            yield pod, event


def on_ceph(node: str, snapshot: Snapshot) -> tuple[str, ...]:
    """The pods (`namespace/name`) that have a Ceph volume and are bound to a node, as far as they were read."""
    pods, claims, volumes = snapshot.seen(PODS), snapshot.seen(CLAIMS), snapshot.seen(VOLUMES)
    named = {v.metadata.name for v in (volumes.full if volumes else ()) if is_ceph(v)}
    bound = {
        (c.metadata.namespace, c.metadata.name) for c in (claims.full if claims else ())
        if c.spec.volume_name in named
    }  # fmt: skip
    found = {
        f"{row.namespace}/{row.name}" for row in (pods.rows if pods else ())
        if row.node == node and row.phase not in ("Succeeded", "Failed")
        and any((row.namespace, claim) in bound for claim in row.claims)
    }  # fmt: skip
    found |= {
        f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in (pods.full if pods else ())
        if pod.spec.node_name == node and pod.may_be_running and any(is_ceph(v) for v in pod.spec.volumes or ())
    }  # fmt: skip
    return tuple(sorted(found))
