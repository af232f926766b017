"""Nodes that still carry the out-of-service taint though they are back.

Meaning: somebody declared the node dead (`node.kubernetes.io/out-of-service`), and nobody took that back.
Impact: the attach controller skips its check of what is mounted there and detaches volumes at once, while the kubelet may
still write to them; pods that do not tolerate the taint are deleted by force.
Mitigation: prove that the machine was rebooted since (its bootID), then remove the taint. Leave it while the node is down.
"""

from collections.abc import Iterator

from diagnostics.attachments.links import node_link
from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.holders import LEASES, NODES, is_down
from diagnostics.facts.resources import Node
from diagnostics.model import Finding, Severity, Unseen, lasting

# https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-out-of-service
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each tainted node whose kubelet talks again, whether it is Ready yet or not."""
    nodes = snapshot.seen(NODES)
    for node in nodes.full if nodes else ():
        if not any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints or ()):
            continue
        down = is_down(node, snapshot)
        if down is None:
            leases = snapshot[LEASES]
            why = leases.reason if isinstance(leases, NotSeen) else "it has no lease that says when it was renewed"
            yield Unseen(f"whether {node.subject}, which is tainted out-of-service, is still down", why)
        elif not down:
            yield _left(node, snapshot)


def _left(node: Node, snapshot: Snapshot) -> Finding:
    since = min(
        (t.time_added for t in node.spec.taints or () if t.key == OUT_OF_SERVICE and t.time_added), default=None
    )
    state = "is Ready" if node.is_ready else "is not Ready yet, but its lease is fresh"
    lasts = f" for {lasting(snapshot.taken_at - since)}" if since else ""
    return Finding(
        subject=node.subject,
        summary=f"node {node.metadata.name} {state} and is still tainted out-of-service{lasts}: the controller detaches "
        f"volumes from it at once, mounted or not. Remove the taint once its bootID shows a reboot "
        f"since; it is {node.status.node_info.boot_id or 'not known'}",
        since=since,
        chain=(node_link(node, snapshot),),
    )


CHECK = Check(find, reads=(Read(NODES), Read(LEASES, optional=True)), severity=Severity.WARNING)
