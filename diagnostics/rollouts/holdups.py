"""What holds up the pods of a workload: the one that tells most, in words and as links of a chain. Pure.

A pod on a node that is not Ready is held up by that node: the chain ends there, and the workload is not to blame.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from diagnostics.attachments.links import cut, gone_link, node_link, time_of
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.holders import NODES
from diagnostics.facts.plugins import trouble_of
from diagnostics.facts.resources import Node, Pod
from diagnostics.facts.told import told_of
from diagnostics.facts.workloads import pods_of
from diagnostics.model import Evidence, Link, Subject, quoted

# A container that failed says so at once and may be well at its second try; whatever has not failed is given as long as
# a Deployment's rollout may take without progress (the API's default of progressDeadlineSeconds).
FAILED_FOR = timedelta(minutes=2)
SLOW_FOR = timedelta(minutes=10)
# A controller tries to make a pod again after 16 minutes 40 seconds at most (its queue's longest back-off, 1000 s).
RETRIED = timedelta(minutes=20)
MOST_NAMED = 5
_OWNERS = frozenset({"ReplicaSet", "StatefulSet", "DaemonSet"})
_BEGINNING = frozenset({"ContainerCreating", "PodInitializing"})
_PULLS = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})


class Holdup(msgspec.Struct, frozen=True):
    """Why a pod does not get on: a few words, and the links from the pod to what holds it up.

    `rank` is higher for what tells more. `node` is that of a pod on a node that is gone or not Ready.
    """

    pod: Pod
    says: str
    rank: int
    since: datetime | None
    links: tuple[Link, ...]
    node: str | None = None


def is_unwell(pod: Pod) -> bool:
    """Whether a workload's pod does not serve, or is being deleted: what a scan keeps in full."""
    owner, going = pod.metadata.controller, pod.metadata.deletion_timestamp is not None
    return owner is not None and owner.kind in _OWNERS and (going or (not pod.is_ready and pod.may_be_running))


def unwell_pods(owner: str, snapshot: Snapshot) -> tuple[Pod, ...] | NotSeen:
    """The pods of an owner (its UID) that do not serve or are being deleted, by name."""
    pods = pods_of(owner, snapshot)
    return pods if isinstance(pods, NotSeen) else tuple(filter(is_unwell, pods))


def holdup_of(pod: Pod, snapshot: Snapshot) -> Holdup:
    """What holds one pod up."""
    since, (rank, says) = since_when_unwell(pod), _trouble(pod)
    where = f"on {pod.spec.node_name} " if pod.spec.node_name else ""
    link = pod_link(pod, f"{where}{says}{f' since {time_of(since)}' if since else ''}")
    if (root := broken_node_link(pod, snapshot)) is not None:
        node = pod.spec.node_name
        return Holdup(pod, f"is on node {node} ({root.says})", 0, since, (link, root), node)
    return Holdup(pod, says, rank, since, (link,))


def pod_link(pod: Pod, says: str) -> Link:
    """The link that tells of a pod, with what its own status says."""
    proof = Evidence(
        f"GET pods {pod.metadata.namespace}/{pod.metadata.name}", f"phase {pod.status.phase}; {_told(pod)}"
    )
    return Link(pod.subject, says, (proof,))


def late_holdups(pods: Sequence[Pod], snapshot: Snapshot) -> tuple[Holdup, ...]:
    """What holds up those of the pods that had time enough, the most telling first."""
    found = [holdup_of(pod, snapshot) for pod in pods if is_late(pod, snapshot)]
    return tuple(sorted(found, key=lambda each: -each.rank))


def told_together(held: Sequence[Holdup]) -> str:
    """Pods that are held up, in a sentence with their nodes: the first few by name."""
    nodes = [f" on {each.pod.spec.node_name}" if each.pod.spec.node_name else "" for each in held]
    named = [f"{each.pod.metadata.name}{on} {each.says}" for each, on in zip(held, nodes, strict=True)]
    more = f", and {len(held) - MOST_NAMED} more" if len(held) > MOST_NAMED else ""
    return f"{quoted(named[:MOST_NAMED])}{more}"


def is_late(pod: Pod, snapshot: Snapshot) -> bool:
    """Whether a pod that does not serve should by now."""
    since = since_when_unwell(pod)
    soon = pod.metadata.deletion_timestamp is not None or _trouble(pod)[0] == _FAILED
    return since is None or snapshot.taken_at - since > (FAILED_FOR if soon else SLOW_FOR)


def since_when_unwell(pod: Pod) -> datetime | None:
    """When it was to be gone, ceased to be Ready, or was last known to begin."""
    if pod.metadata.deletion_timestamp is not None:
        return pod.metadata.deletion_timestamp
    for word in ("Ready", "PodScheduled"):
        for condition in pod.status.conditions or ():
            if condition.type == word and condition.status != "True" and condition.last_transition_time:
                return condition.last_transition_time
    return pod.status.start_time or pod.metadata.creation_timestamp


def broken_node_link(pod: Pod, snapshot: Snapshot) -> Link | None:
    """The link to a pod's node where that is not Ready or gone; None where it is well or nobody knows."""
    nodes, name = snapshot.seen(NODES), pod.spec.node_name
    if nodes is None or not name:
        return None
    node: Node | None = next(iter(nodes.index("name", lambda each: each.metadata.name).get(name, ())), None)
    subject = snapshot.scope.subject
    if node is None:
        return gone_link("Node", name) if subject is None or subject.kind == "Pod" else None
    return None if node.is_ready else node_link(node, snapshot)


class NotMade(msgspec.Struct, frozen=True):
    """Why an owner's pods cannot be made, in its controller's words, since when, and the link that tells so."""

    why: str
    since: datetime | None
    link: Link


def not_made(owner: Subject, snapshot: Snapshot) -> NotMade | None:
    """Why an owner's pods cannot be made (a quota, an admission webhook), as a fresh event tells."""
    told = told_of(owner.uid, snapshot, within=RETRIED)
    if told is None or told.event.reason != "FailedCreate":
        return None
    why = cut(told.event.message or "(no message)")
    return NotMade(why, told.event.first_seen, Link(owner, f"cannot make its pods: {why}", told.link.evidence))


_FAILED, _UNPLACED, _CREATING, _UNREADY, _GOING = 4, 3, 2, 1, 0


def _trouble(pod: Pod) -> tuple[int, str]:
    if pod.metadata.deletion_timestamp is not None:
        return _GOING, "is Terminating"
    unplaced = _unschedulable(pod)
    if unplaced is not None and not pod.spec.node_name:
        return _UNPLACED, f"is not scheduled: {unplaced}" if unplaced else "is not scheduled"
    for status in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        reason = status.state.waiting.reason if status.state and status.state.waiting else None
        if reason in _PULLS:
            return _FAILED, f"cannot pull its image: {trouble_of(pod)}"
        if reason is not None and reason not in _BEGINNING:
            return _FAILED, f"does not start: {trouble_of(pod)}"
        if not status.ready and status.restart_count:
            return _FAILED, f"ends again and again: {trouble_of(pod)}"
    if pod.is_creating:
        return _CREATING, "waits in ContainerCreating"
    return (
        (_UNREADY, f"is not Ready: {trouble_of(pod)}") if pod.status.phase != "Pending" else (_CREATING, "is Pending")
    )


def _unschedulable(pod: Pod) -> str | None:
    """What the scheduler says; None where it has nothing against the pod."""
    scheduled = (c for c in pod.status.conditions or () if c.type == "PodScheduled" and c.status == "False")
    return next((cut(c.message or c.reason or "") for c in scheduled), None)


def _told(pod: Pod) -> str:
    """What the pod's own status says, in its words."""
    waiting = [
        f"{status.name}: {status.state.waiting.reason}: {cut(status.state.waiting.message or '(no message)')}"
        for status in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ()))
        if status.state and status.state.waiting and status.state.waiting.reason not in _BEGINNING
    ]
    finalizers = f"; finalizers {', '.join(pod.metadata.finalizers)}" if pod.metadata.finalizers else ""
    return ("; ".join(waiting) or _unschedulable(pod) or trouble_of(pod)) + finalizers
