"""Pods that should have been gone for more than two minutes.

Meaning: its node is not Ready or gone, so that nobody reports its end; or the kubelet there does not end its containers or
let go of its volumes; or they have ended, and finalizers keep the object.
Impact: its name and its volumes stay taken: a StatefulSet makes no other pod in its place.
Mitigation: mend the node, or prove that it is off before the pod is deleted by force. Who set a finalizer has to remove it.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.attachments.links import time_of
from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.holders import LEASES, NODES
from diagnostics.facts.kubernetes import EVENTS, PODS
from diagnostics.facts.resources import Pod
from diagnostics.facts.told import Told, told_of
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, lasting, quoted
from diagnostics.rollouts.holdups import broken_node_link

# A deletionTimestamp is the end of the grace period already; a kubelet takes seconds more to clean up.
GRACE = timedelta(minutes=2)
_ENDING = ("kill", "prestop", "unmount")  # in the reasons of events that tell of a pod's end (`FailedKillPod`)


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each. Where its node is the reason, that is the root: all pods there are one trouble."""
    pods = snapshot.seen(PODS)
    for pod in pods.full if pods else ():
        ends = pod.metadata.deletion_timestamp
        if ends is not None and snapshot.taken_at - ends > GRACE:
            yield _finding(pod, snapshot)


def _finding(pod: Pod, snapshot: Snapshot) -> Finding:
    meta, nodes, events = pod.metadata, snapshot[NODES], snapshot[EVENTS]
    ends, node = meta.deletion_timestamp or snapshot.taken_at, broken_node_link(pod, snapshot)
    told = told_of(meta.uid, snapshot) if node is None else None
    told = told if told and any(word in (told.event.reason or "").lower() for word in _ENDING) else None
    unseen = list[str]()
    if isinstance(nodes, NotSeen) and pod.spec.node_name:
        unseen.append(f"whether its node {pod.spec.node_name} is Ready: {nodes.reason}")
    if isinstance(events, NotSeen) and node is None:
        unseen.append(f"events: {events.reason}")
    keeps = f", finalizers {', '.join(meta.finalizers)}" if meta.finalizers else ""
    text = f"deletionTimestamp {time_of(ends)}, phase {pod.status.phase}, spec.nodeName {pod.spec.node_name}{keeps}"
    proof = Evidence(f"GET pods {meta.namespace}/{meta.name}", text)
    link = Link(pod.subject, f"is Terminating since {time_of(ends)}", (proof,))
    return Finding(
        subject=pod.subject,
        summary=f"{meta.namespace}/{meta.name} should have been gone for {lasting(snapshot.taken_at - ends)}: "
        f"{_why(pod, node, told, blind=isinstance(nodes, NotSeen) and bool(pod.spec.node_name))}",
        cause=told.slug if told else None,
        since=ends,
        chain=(*((told.link,) if told else ()), link, *((node,) if node else ())),
        unseen=tuple(unseen),
    )


def _why(pod: Pod, node: Link | None, told: Told | None, *, blind: bool) -> str:
    finalizers = pod.metadata.finalizers or ()
    kept = f"; the finalizer {quoted(finalizers)} is left too" if finalizers else ""
    if node is not None:
        return f"its node {node.subject.name} ({node.says}) does not report that it has ended{kept}"
    if blind:
        return f"whether its node {pod.spec.node_name} is Ready is not known{kept}"
    says = f" ({told.says})" if told else ""
    if pod.spec.node_name and pod.may_be_running and pod.shows_running:
        return f"the kubelet on {pod.spec.node_name} has not ended its containers{says}{kept}"
    if finalizers:
        return f"no container of it runs, and the finalizer {quoted(finalizers)} is left: who set it has to remove it"
    return f"no container of it runs, and the kubelet on {pod.spec.node_name or '(none)'} does not let it go{says}"


CHECK = Check(
    find,
    reads=(
        Read(PODS, where=lambda pod: pod.metadata.deletion_timestamp is not None), Read(NODES, optional=True), Read(LEASES, optional=True),
        Read(EVENTS, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
