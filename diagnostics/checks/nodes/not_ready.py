"""Nodes that are not Ready.

Meaning: a kubelet that is silent (its lease is not renewed) has lost its machine, its process or its network; one that talks
and reports NotReady says itself what is wrong: the container runtime, the network plugin, a check of its own.
Impact: nothing new is placed there; after 5 minutes its pods are replaced, but for those that hold a volume or an identity.
Mitigation: a silent machine may still run and write: make sure that it is off before anything of it is forced.

Critical once its kubelet has been silent for more than 5 minutes. A node that has just joined is given 5 minutes.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from diagnostics.attachments.links import cut, node_link
from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.holders import LEASES, NODES, is_down, lease_of
from diagnostics.facts.plugins import STARTING
from diagnostics.facts.resources import Node
from diagnostics.model import Finding, Severity, Unseen, lasting

GRACE = timedelta(seconds=60)  # a kubelet that is restarted is not Ready for seconds
# The controller takes a kubelet for silent after 40 s: kube-controller-manager's --node-monitor-grace-period.
SILENT = timedelta(seconds=40)


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each. Without its lease a node is found, but not whether it is silent."""
    nodes = snapshot.seen(NODES)
    for node in nodes.full if nodes else ():
        since = node.ready.last_transition_time if node.ready else node.metadata.creation_timestamp
        if not node.is_ready and not _is_joining(node, snapshot) and not _just_now(since, snapshot):
            yield _finding(node, since, snapshot)


def _is_joining(node: Node, snapshot: Snapshot) -> bool:
    made = node.metadata.creation_timestamp
    return made is not None and snapshot.taken_at - made <= STARTING and not is_down(node, snapshot)


def _just_now(since: datetime | None, snapshot: Snapshot) -> bool:
    return since is not None and snapshot.taken_at - since <= GRACE


def _finding(node: Node, since: datetime | None, snapshot: Snapshot) -> Finding:
    leases, ready, lease = snapshot[LEASES], node.ready, lease_of(node, snapshot.seen(LEASES))
    renewed = lease.spec.renew_time if lease else None
    age = f" for {lasting(snapshot.taken_at - since)}" if since else ""
    unseen: tuple[str, ...] = ()
    if renewed is None:
        says = "whether its kubelet is silent is not known"
        unseen = (f"its lease: {leases.reason if isinstance(leases, NotSeen) else 'none was found'}",)
    elif (silence := snapshot.taken_at - renewed) > SILENT:
        says = f"its kubelet has been silent for {lasting(silence)}; the machine may still run"
    else:
        says = f"its kubelet talks and says {(ready.reason if ready else None) or 'no reason'}"
    told = f": {cut(ready.message)}" if ready and ready.message and ready.status == "False" else ""
    cordoned = "; it is cordoned" if node.spec.unschedulable else ""
    return Finding(
        subject=node.subject,
        summary=f"node {node.metadata.name} is not Ready{age}: {says}{told}{cordoned}",
        since=since,
        chain=(node_link(node, snapshot),),
        unseen=unseen,
        severity=Severity.CRITICAL if is_down(node, snapshot) else Severity.WARNING,
    )


CHECK = Check(find, reads=(Read(NODES), Read(LEASES, optional=True)), severity=Severity.WARNING)
