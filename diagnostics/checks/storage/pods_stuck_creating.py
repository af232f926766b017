"""Pods that are bound to a node but have not got past the creation of their containers.

Meaning: the kubelet waits for something that does not come: a volume, a ConfigMap, the pod's network sandbox.
Impact: the pod serves nothing; its controller may have no other replica.
Mitigation: follow the chain to its root; deleting the pod rarely helps while the cause stands.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.kubernetes import PODS
from diagnostics.facts.resources import Pod
from diagnostics.model import Finding, Severity, Unseen, lasting

# An ordinary start takes seconds; a pull of a large image may take longer, but by then it says so in an event.
GRACE = timedelta(seconds=60)


def _stuck(pod: Pod) -> bool:
    return pod.is_creating


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each pod that has been creating its containers for longer than the grace."""
    pods = snapshot.seen(PODS)
    for pod in pods.full if pods else ():
        since = pod.waiting_since
        ends = pod.metadata.deletion_timestamp
        if not _stuck(pod):
            continue
        if ends is not None:
            if snapshot.taken_at - ends > GRACE:
                told = f"it is Terminating since {ends:%Y-%m-%dT%H:%M:%SZ}, and what it waited for is not looked into"
                yield Unseen(str(pod.subject), told)
        elif since is None:
            yield Unseen(str(pod.subject), "neither PodScheduled nor startTime says since when it waits")
        elif snapshot.taken_at - since > GRACE:
            waited = lasting(snapshot.taken_at - since)
            yield Finding(
                subject=pod.subject,
                summary=f"{pod.metadata.namespace}/{pod.metadata.name} has been in ContainerCreating for {waited} "
                f"on node {pod.spec.node_name}",
                since=since,
            )


CHECK = Check(find, reads=(Read(PODS, where=_stuck),), severity=Severity.WARNING)
