"""Guards about nodes and pods."""

from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS, OSDMAP, Address, OsdMap
from diagnostics.facts.holders import (
    CLAIM_USERS,
    LEASES,
    NODE_PODS,
    NODES,
    OWNING_REPLICA_SETS,
    OWNING_STATEFUL_SETS,
    PODS_AT,
    holder_nodes,
    is_down,
)  # fmt: skip
from diagnostics.facts.images import is_ceph
from diagnostics.facts.resources import Node, Pod
from diagnostics.verdicts import FAR_OFF
from runbooks.case import speaks_against
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.guards.locks import fenced_by_plan
from runbooks.situation import CannotPlan, Situation, waits

_POD_READS = (Read(LOCKS), Read(k8s.VOLUMES), Read(CLAIM_USERS))


@guard(Read(NODES), Read(LEASES), Read(PODS_AT), Read(LOCKS))
def node_is_down(situation: Situation) -> Ruling:
    """The node is not Ready and its lease is more than 5 minutes old."""
    node = situation.node()
    if node is None:
        return refused(f"there is no node {situation.params.get('node')}")
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


@guard(Read(NODES), *_POD_READS)
def object_unchanged(situation: Situation) -> Ruling:
    """Every object that the act names is still the same one, by UID."""
    if situation.act is None:
        raise CannotPlan("there is no act to judge", unknown=True)
    basis = {}
    for target in situation.act.targets:
        now = _uids(target.kind, situation).get((target.namespace, target.name))
        if now is None:
            return refused(f"{target} is not there any more")
        if now != target.uid:
            return refused(f"{target} is another one now: it was {target.uid}, it is {now}")
        basis[str(target)] = now
    return allowed("the same objects by UID", **basis)


def _uids(kind: str, situation: Situation) -> dict[tuple[str | None, str], str]:
    """The UIDs of all objects of a kind, by namespace and name."""
    if kind == "Pod":
        return {(p.metadata.namespace, p.metadata.name): p.metadata.uid for p in situation.pods()}
    nodes = situation.snapshot[NODES]
    if kind != "Node" or isinstance(nodes, NotSeen):
        raise CannotPlan(f"whether a {kind} is still the same one was not read", unknown=True)
    return {(None, n.metadata.name): n.metadata.uid for n in nodes.full}


def old_pods(situation: Situation) -> tuple[Pod, ...]:
    """The pods of the volume that hang in Terminating on the runbook's node."""
    node = situation.params.get("node")
    return tuple(
        pod for pod in situation.users()
        if node and pod.spec.node_name == node and pod.metadata.deletion_timestamp is not None
    )  # fmt: skip


@guard(*_POD_READS)
def old_pod_is_terminating(situation: Situation) -> Ruling:
    """A pod of the volume hangs in Terminating on the node: nobody is left there to finish its deletion."""
    pods = old_pods(situation)
    if not pods:
        return refused("no pod of the volume hangs in Terminating on the node")
    return allowed("it is Terminating: " + ", ".join(f"{p.metadata.namespace}/{p.metadata.name}" for p in pods))


@guard(*_POD_READS)
def pod_is_gone(situation: Situation) -> Ruling:
    """The pods that the act deletes are not there any more."""
    if situation.act is None:
        raise CannotPlan("there is no act whose pods could be gone", unknown=True)
    wanted = {target.uid for target in situation.act.targets}
    left = [p.metadata.name for p in situation.pods() if p.metadata.uid in wanted]
    return refused(f"still there: {', '.join(left)}") if left else allowed("gone")


@guard(*_POD_READS, Read(OSDMAP), Read(NODES), Read(NODE_PODS))
def every_ceph_volume_of_pod_is_fenced(situation: Situation) -> Ruling:
    """Every Ceph volume of the pod lies behind a fence of its whole node, and it has no other volume to lose.

    The addresses that the plan fenced count too: Ceph may see the node at one that Kubernetes does not know.
    """
    osdmap, node = situation.snapshot[OSDMAP], situation.node()
    if isinstance(osdmap, NotSeen) or node is None:
        return unknown("the blocklist or the node could not be read")
    by_plan = [Address.parse(entry) for entry in fenced_by_plan(situation)]
    expected = {
        Address.parse(entry).ip for act in situation.expected if act.action == "ceph.fence"
        for entry in act.effect["entries"] if Address.parse(entry).nonce == 0
    }  # fmt: skip
    lasting = [f for f in osdmap.fences if f.until - situation.snapshot.taken_at >= FAR_OFF]
    # An external address may be a gateway's: the plan's fence names it only where Ceph has seen the holder there.
    own = node.internal_ips if by_plan else node.ips
    ips = dict.fromkeys((*own, *(address.ip for address in by_plan)))
    bare = [ip for ip in ips if ip not in expected and not any(f.covers_host(ip) for f in lasting)]
    if bare or not node.ips:
        return refused(f"node {node.metadata.name} is not fenced as a whole: {', '.join(bare) or 'it has no address'}")
    other = [name for pod in old_pods(situation) for name in _not_fenced(pod, osdmap, situation)]
    if other:
        return refused(
            *(f"volume {name} is not on this Ceph: attest that {node.metadata.name} is off" for name in other)
        )
    return allowed(f"all addresses of {node.metadata.name} are fenced", fenced=", ".join(ips))


def _not_fenced(pod: Pod, osdmap: OsdMap, situation: Situation) -> list[str]:
    """Volumes of a pod that a fence on this Ceph does not cover, or may not: what is not known counts as not."""
    volumes = situation.snapshot.seen(k8s.VOLUMES)
    by_claim = {
        (v.spec.claim_ref.namespace, v.spec.claim_ref.name): v
        for v in (volumes.full if volumes else ()) if v.spec.claim_ref
    }  # fmt: skip
    found = []
    for entry in pod.spec.volumes or ():
        claim = entry.claim_name(pod.metadata.name)
        volume = by_claim.get((pod.metadata.namespace, claim)) if claim else None
        here = volume is not None and is_ceph(volume) and speaks_against((volume,), osdmap.fsid, osdmap) is None
        if not (entry.is_local or here):
            found.append(claim or entry.name)
    return found


@guard(*_POD_READS)
def pod_still_waits(situation: Situation) -> Ruling:
    """The pod has not got past its creation, so that deleting it ends nothing."""
    pod = situation.pod()
    if pod is None:
        return refused(f"pod {situation.params.get('pod')} is not there any more")
    if not waits(pod):
        return refused(f"{pod.subject} is {pod.status.phase} by now: it waits no more")
    return allowed(f"{pod.subject} still waits for its volumes")


@guard(*_POD_READS, Read(OWNING_REPLICA_SETS), Read(OWNING_STATEFUL_SETS))
def owner_will_recreate_pod(situation: Situation) -> Ruling:
    """The pod has an owner that is there, is not being deleted, and wants at least one replica."""
    pod = situation.pod()
    if pod is None:
        return refused(f"pod {situation.params.get('pod')} is not among the volume's users")
    owner = pod.metadata.controller
    if owner is None:
        return refused(f"{pod.subject} has no owner: nobody would make it again")
    kinds = {"ReplicaSet": OWNING_REPLICA_SETS, "StatefulSet": OWNING_STATEFUL_SETS}
    if owner.kind not in kinds:
        return refused(f"{pod.subject} belongs to {owner.kind} {owner.name}, which is not known to make it again")
    seen = situation.snapshot[kinds[owner.kind]]
    if isinstance(seen, NotSeen):
        return unknown(f"{owner.kind} {owner.name} could not be read: {seen.reason}")
    found = next((w for w in seen.full if w.metadata.uid == owner.uid), None)
    if found is None or found.metadata.deletion_timestamp is not None or not found.spec.replicas:
        return refused(f"{owner.kind} {owner.name} is gone, being deleted, or wants no pods")
    return allowed(f"{owner.kind} {owner.name} makes it again", owner=f"{owner.kind}/{owner.name}={owner.uid}")
