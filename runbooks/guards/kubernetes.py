"""Guards about nodes and pods."""

from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS
from diagnostics.facts.holders import (
    BESIDE_POD,
    CLAIM_USERS,
    LEASES,
    NODES,
    PODS_AT,
    holder_nodes,
    is_down,
)  # fmt: skip
from diagnostics.facts.resources import Node
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.guards.dead_nodes import (
    ATTACHMENT_READS,
    POD_READS,
    STOP_READS,
    dead_node,
    doomed_pods,
    stray_pods,
    there,
)
from runbooks.guards.stopped_nodes import fenced_or_off, only_a_fence_helps
from runbooks.situation import CannotPlan, Situation, waits

_POD_READS = (Read(LOCKS), Read(k8s.VOLUMES), Read(CLAIM_USERS))


@guard(Read(NODES), Read(LEASES), Read(PODS_AT), Read(LOCKS), Read(k8s.PODS), Read(k8s.ATTACHMENTS))
def node_is_down(situation: Situation) -> Ruling:
    """The node is not Ready and its lease is more than 5 minutes old."""
    name, node = dead_node(situation)
    if node is None:
        return refused(f"there is no node {name}")
    down = is_down(node, situation.snapshot)
    if down is None:
        return unknown(f"{_no_lease(node, situation.snapshot)}: whether it is down is not known")
    if not down:
        return refused(f"node {node.metadata.name} is not down: it is Ready, or its lease is fresh")
    return allowed(f"node {node.metadata.name} is not Ready and its lease is more than 5 minutes old", node="down")


def _no_lease(node: Node, snapshot: Snapshot) -> str:
    """Why a node's lease tells nothing: a lease is only asked for where the lock leads to its node."""
    name, leases = node.metadata.name, snapshot[LEASES]
    if isinstance(leases, NotSeen):
        return f"the lease of node {name} could not be read: {leases.reason}"
    if name not in {found.metadata.name for found in holder_nodes(snapshot)}:
        return f"the lease of node {name} was not looked at: nothing leads from the lock to its node"
    return f"node {name} has no lease that says when it was renewed"


@guard(Read(NODES))
def node_is_cordoned(situation: Situation) -> Ruling:
    """No new pod is scheduled to the node."""
    node = situation.node()
    if node is None:
        return refused(f"there is no node {situation.params.get('node')}")
    if not node.spec.unschedulable:
        return refused(f"node {node.metadata.name} is not cordoned")
    return allowed(f"node {node.metadata.name} is cordoned")


@guard()
def object_unchanged(situation: Situation) -> Ruling:
    """Every object that the act names is still the same one, by UID."""
    if situation.act is None:
        raise CannotPlan("there is no act to judge", unknown=True)
    basis = {}
    for target in situation.act.targets:
        now = situation.uid_now(target)
        if now is None:
            return refused(f"{target} is not there any more")
        if now != target.uid:
            return refused(f"{target} is another one now: it was {target.uid}, it is {now}")
        basis[str(target)] = now
    return allowed("the same objects by UID", **basis)


@guard(*_POD_READS, *POD_READS)
def old_pod_is_terminating(situation: Situation) -> Ruling:
    """A pod of the volume hangs in Terminating on the node: nobody is left there to finish its deletion."""
    pods = doomed_pods(situation)
    if not pods:
        return refused("no pod of the volume hangs in Terminating on the node")
    return allowed("it is Terminating: " + ", ".join(f"{p.metadata.namespace}/{p.metadata.name}" for p in pods))


@guard(*_POD_READS, Read(BESIDE_POD))
def pod_is_gone(situation: Situation) -> Ruling:
    """The pods that the act deletes are not there any more."""
    if situation.act is None:
        raise CannotPlan("there is no act whose pods could be gone", unknown=True)
    wanted = {target.uid for target in situation.act.targets}
    pods = situation.listed(BESIDE_POD) if "image" not in situation.params else situation.pods()
    left = [p.metadata.name for p in pods if p.metadata.uid in wanted]
    return refused(f"still there: {', '.join(left)}") if left else allowed("gone")


@guard(*_POD_READS, *ATTACHMENT_READS, *STOP_READS)
def every_ceph_volume_of_pod_is_fenced(situation: Situation) -> Ruling:
    """Every Ceph volume of the pod lies behind a lasting fence of its whole node, whatever a person attests.

    A volume that is not known counts as one on Ceph. For other storage, or none at all, it takes a person's word that
    the node is off, unless Ceph hears from it; without any such storage the fence alone will do.
    """
    node = there(situation)
    if stray := stray_pods(situation):
        return unknown(*(f"what {pod} mounts is not known: it is not among the pods that were read" for pod in stray))
    if missing := only_a_fence_helps(situation, node):
        return refused(*missing)
    return fenced_or_off(situation, node)


@guard(*_POD_READS, Read(k8s.PODS))
def pod_still_waits(situation: Situation) -> Ruling:
    """The pod has not got past its creation, so that deleting it ends nothing."""
    pod = situation.pod()
    if pod is None:
        return refused(f"pod {situation.params.get('pod')} is not there any more")
    if not waits(pod):
        return refused(f"{pod.subject} is {pod.status.phase} by now: it waits no more")
    return allowed(f"{pod.subject} still waits for its volumes")
