"""Pods that wait for a volume which is not attached to their node, and what holds it.

Meaning: the volume is attached elsewhere, its attaching returns an error, or nobody works on it.
Impact: the pod hangs in ContainerCreating. A dead node, or a Terminating pod on it, holds the volume for ever.
Mitigation: let a live holder go first. A node that is down may still write: fence it, or prove it off, before detaching.
"""

from collections.abc import Iterator

from diagnostics.attachments import GRACE, Hold, Holding, hold_of
from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.csi import CSI_DRIVERS
from diagnostics.facts.holders import CLAIM_USERS, LEASES, NODES, volume_of
from diagnostics.facts.kubernetes import ATTACHMENTS, CLAIMS, EVENTS, PODS, VOLUMES
from diagnostics.facts.resources import Pod, Volume
from diagnostics.model import Finding, Severity, Unseen

_FOR_EVER = (Hold.DEAD_NODE, Hold.TERMINATING_POD)
_PASSING = (Hold.TRANSIENT, Hold.DETACHING)


def _waits(pod: Pod) -> bool:
    return pod.is_creating and pod.metadata.deletion_timestamp is None


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each pod that waits beyond the grace: for all its volumes, because they may have one cause.

    That a volume is elsewhere is a finding even where it is not known who holds it there. What waiting cannot change
    is found within the grace too.
    """
    pods = snapshot.seen(PODS)
    for pod in filter(_waits, pods.full if pods else ()):
        since = pod.waiting_since
        young = since is not None and snapshot.taken_at - since <= GRACE
        volumes = [volume for name in dict.fromkeys(pod.claims) if (volume := volume_of(pod, name, snapshot))]
        if not young:
            yield from _blind(volumes, snapshot)
        holds = [(volume, hold) for volume in volumes if (hold := hold_of(pod, volume, snapshot))]
        holds = [(v, h) for v, h in holds if h.kind is not Hold.BEING_ATTACHED and (h.final or not young)]
        guesses = [(v, h) for v, h in holds if h.kind is Hold.UNKNOWN and h.cause != "multi-attach"]
        yield from (Unseen(str(volume.subject), hold.unseen[0]) for volume, hold in guesses)
        if known := [pair for pair in holds if pair not in guesses]:
            yield _finding(pod, known)


def _blind(volumes: list[Volume], snapshot: Snapshot) -> Iterator[Unseen]:
    """Of an in-tree volume only events tell that it cannot be attached."""
    events = snapshot[EVENTS]
    if isinstance(events, NotSeen) and (in_tree := [volume for volume in volumes if volume.spec.csi is None]):
        yield Unseen(f"events of attaching {in_tree[0].subject}", events.reason)


def _finding(pod: Pod, holds: list[tuple[Volume, Holding]]) -> Finding:
    holds = sorted(holds, key=lambda pair: pair[1].kind.rank)
    kinds = {hold.kind for _, hold in holds if hold.final or hold.kind not in _PASSING}
    says = "; ".join(f"{volume.metadata.name} {hold.says} ({hold.kind})" for volume, hold in holds)
    return Finding(
        subject=pod.subject,
        summary=f"{pod.metadata.namespace}/{pod.metadata.name} waits on node {pod.spec.node_name}: {says}",
        cause=holds[0][1].cause,
        since=pod.waiting_since,
        chain=holds[0][1].links,
        unseen=tuple(dict.fromkeys(reason for _, hold in holds for reason in hold.unseen)),
        severity=Severity.CRITICAL if kinds & set(_FOR_EVER) else Severity.WARNING if kinds else Severity.INFO,
    )


CHECK = Check(
    find,
    reads=(
        Read(PODS, where=_waits), Read(CLAIMS), Read(VOLUMES), Read(ATTACHMENTS), Read(NODES),
        Read(LEASES, optional=True), Read(CLAIM_USERS, optional=True), Read(CSI_DRIVERS, optional=True),
        Read(EVENTS, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
