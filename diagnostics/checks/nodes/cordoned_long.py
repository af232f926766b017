"""Nodes that have been cordoned for more than a day.

Meaning: somebody took the node out of scheduling, for a drain or a repair, and has not given it back.
Impact: the cluster has less room: pods can stay Pending for it, and a second node that fails has nowhere to go.
Mitigation: ask who cordoned it, then uncordon it. A dead node that was fenced stays cordoned until it has rebooted.

It is `info`; a `warning` while the scheduler names cordoned nodes among the reasons why pods stay Pending.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.holders import NODES
from diagnostics.facts.kubernetes import PODS
from diagnostics.facts.resources import Condition, Pod
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, lasting, quoted

GRACE = timedelta(hours=24)
WAITS = timedelta(seconds=60)  # an ordinary placement takes seconds
MOST_NAMED = 3
# https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-unschedulable
CORDONED = "node.kubernetes.io/unschedulable"
# The scheduler's words for a cordoned node: those of its NodeUnschedulable filter, and of the taint.
_WORDS = ("were unschedulable", CORDONED)


def _refused(pod: Pod) -> Condition | None:
    """Why the scheduler places a pod nowhere, if cordoned nodes are among the reasons."""
    for told in pod.status.conditions or ():
        if told.type == "PodScheduled" and told.status == "False" and any(w in (told.message or "") for w in _WORDS):
            return told if pod.metadata.deletion_timestamp is None and not pod.spec.node_name else None
    return None


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each. One whose taint bears no time is told of, though not since when."""
    nodes, pods = snapshot.seen(NODES), snapshot[PODS]
    waiting = () if isinstance(pods, NotSeen) else tuple(pod for pod in pods.full if _waits(pod, snapshot))
    for node in nodes.full if nodes else ():
        if not node.spec.unschedulable:
            continue
        since = next((taint.time_added for taint in node.spec.taints or () if taint.key == CORDONED), None)
        if since is None:
            yield Unseen(str(node.subject), f"since when it is cordoned: its taint {CORDONED} bears no time")
        elif snapshot.taken_at - since > GRACE:
            links = tuple(_pod_link(pod) for pod in waiting[:MOST_NAMED])
            names = quoted([f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in waiting[:MOST_NAMED]])
            more = f" and {len(waiting) - MOST_NAMED} more" if len(waiting) > MOST_NAMED else ""
            some = f"; the scheduler has no node for {names}{more}, and names cordoned ones" if waiting else ""
            says = f"has been cordoned for {lasting(snapshot.taken_at - since)}"
            state = "" if node.is_ready else ", and it is not Ready"
            text = f"spec.unschedulable true; taint {CORDONED} since {since:%Y-%m-%dT%H:%M:%SZ}"
            yield Finding(
                subject=node.subject,
                summary=f"node {node.metadata.name} {says}{state}{some}",
                since=since,
                chain=(*links, Link(node.subject, says, (Evidence(f"GET nodes {node.metadata.name}", text),))),
                unseen=(f"pods that wait for a node: {pods.reason}",) if isinstance(pods, NotSeen) else (),
                severity=Severity.WARNING if waiting else Severity.INFO,
            )


def _waits(pod: Pod, snapshot: Snapshot) -> bool:
    told = _refused(pod)
    since = told.last_transition_time if told else None
    return told is not None and (since is None or snapshot.taken_at - since > WAITS)


def _pod_link(pod: Pod) -> Link:
    proof = Evidence(f"GET pods {pod.metadata.namespace}/{pod.metadata.name}", getattr(_refused(pod), "message", ""))
    return Link(pod.subject, "is Pending: no node takes it", (proof,))


CHECK = Check(
    find,
    reads=(Read(NODES), Read(PODS, where=lambda pod: _refused(pod) is not None, optional=True)),
    severity=Severity.INFO,
)
