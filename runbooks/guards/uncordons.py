"""Guards of giving a node back to the scheduler."""

from diagnostics.facts import NotSeen, Read
from diagnostics.facts.ceph import Address
from diagnostics.facts.disruption import NODE_OSDMAP
from diagnostics.facts.holders import NODES
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.guards.drains import drained_node
from runbooks.guards.unfencing import is_whole
from runbooks.situation import Situation
from runbooks.standing import STANDING

_NOT_BACK = {
    "node.kubernetes.io/not-ready": "its kubelet is not ready",
    "node.kubernetes.io/unreachable": "its kubelet cannot be reached",
    "node.kubernetes.io/out-of-service": "it was declared out of service, and its volumes were given away",
}
"""Taints of a node that is not back. https://kubernetes.io/docs/reference/labels-annotations-taints/"""


@guard(Read(NODES))
def node_is_back(situation: Situation) -> Ruling:
    """The node is Ready, and carries no taint that says that it is down or was given up."""
    node = drained_node(situation)
    against = [
        f"{why} (taint {key})" for key, why in _NOT_BACK.items() if key in {t.key for t in node.spec.taints or ()}
    ]
    if not node.is_ready:
        against.insert(0, "it is not Ready")
    if against:
        return refused(*(f"node {node.metadata.name} is not back: {why}" for why in against))
    return allowed(f"node {node.metadata.name} is Ready", node=f"{node.metadata.name}={node.metadata.uid}")


@guard(Read(NODES), Read(NODE_OSDMAP), Read(STANDING))
def ceph_serves_node(situation: Situation) -> Ruling:
    """Ceph refuses no address of the node as a whole: a pod with a Ceph volume could not start there.

    What Unstick fenced on this very node counts too: Ceph may see the node at an address that Kubernetes does not know.
    """
    node, osdmap = drained_node(situation), situation.snapshot[NODE_OSDMAP]
    if isinstance(osdmap, NotSeen):
        if osdmap.configured:
            return unknown(f"whether {node.metadata.name} is fenced is not known: {osdmap.reason}")
        return allowed("no Ceph is configured, so that none was asked whether the node is fenced")
    standing = situation.snapshot[STANDING]
    if isinstance(standing, NotSeen):
        return unknown(f"which fences Unstick has set on {node.metadata.name} was not read from the state database")
    here = {osdmap.fsid, *osdmap.others}
    ours = {one.entry for one in standing.fenced if one.node_uid == node.metadata.uid and one.fsid in here}
    # An exact entry stays for good: a reboot gives every client another nonce.
    fences = {f.entry: Address.parse(f.entry).ip for f in osdmap.fences if f.entry in ours and is_whole(f)}
    fences |= {f.entry: ip for ip in node.ips for f in osdmap.fences if f.covers_host(ip)}
    if fences:
        return refused(
            *(
                f"Ceph refuses every client at {ip} of {node.metadata.name} ({entry}): "
                "unfence it first (ceph/unfence_recovered_node)"
                for entry, ip in fences.items()
            )
        )
    return allowed(f"Ceph does not fence {node.metadata.name}")


@guard(Read(NODES))
def node_is_schedulable(situation: Situation) -> Ruling:
    """The scheduler may use the node."""
    node = drained_node(situation)
    if node.spec.unschedulable:
        return refused(f"node {node.metadata.name} is still cordoned")
    return allowed(f"pods may be scheduled to {node.metadata.name}")
