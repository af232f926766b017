"""Ready nodes whose Ceph clients are on the blocklist.

Meaning: a fence of the whole host outlived its reason: the node came back, or a new machine got the old address.
Impact: every RBD and CephFS volume fails there with errno 108, for pods that run and for those that wait.
Mitigation: once the machine is proved to have rebooted since it was fenced, lift the fence (ceph/unfence_recovered_node);
until then cordon the node.
"""

from collections.abc import Iterator

from diagnostics.causes import classify
from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import OSDMAP, OsdMap
from diagnostics.facts.fences import NodeFence, fence_link, fences_over, is_older_than_node, node_link, standing
from diagnostics.facts.holders import LEASES, NODES
from diagnostics.facts.images import is_ceph
from diagnostics.facts.kubernetes import CLAIMS, EVENTS, PODS, VOLUMES
from diagnostics.facts.resources import Node
from diagnostics.facts.users import fresh_events, on_ceph, unread
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, quoted

CAUSE = "rbd-client-blocklisted"


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each Ready node that is fenced as a whole, or whose waiting pods are told errno 108."""
    osdmap, nodes = snapshot.seen(OSDMAP), snapshot.seen(NODES)
    if osdmap is None or nodes is None:
        return
    fences, told = standing(osdmap.fences, snapshot.taken_at), _told(snapshot)
    yield from unread(snapshot, EVENTS, PODS)
    for node in nodes.full:
        whole = [over for over in fences_over(node, fences) if not over.exact]
        proof = told.get(node.metadata.name, [])
        if node.is_ready and (whole or proof):
            yield _finding(node, whole, proof, osdmap, snapshot)
            if whole:
                yield from unread(snapshot, CLAIMS, VOLUMES)


def _told(snapshot: Snapshot) -> dict[str, list[Link]]:
    """By node: the waiting pods that are told so, with the fresh event that tells."""
    told: dict[str, list[Link]] = {}
    for pod, event in fresh_events(snapshot):
        if classify(event.message or "", event.reason).cause == CAUSE:
            seen = Evidence(f"event {event.metadata.namespace}/{event.metadata.name}", event.message or "")
            told.setdefault(pod.spec.node_name or "", []).append(Link(pod.subject, "is told errno 108", (seen,)))
    return told


def _finding(node: Node, whole: list[NodeFence], proof: list[Link], osdmap: OsdMap, snapshot: Snapshot) -> Finding:
    name, pods = node.metadata.name, on_ceph(node.metadata.name, snapshot)
    entries = [over.fence.entry for over in whole]
    told = quoted([str(link.subject) for link in proof[:3]])
    what = f"its address is fenced by {quoted(entries)}" if entries else (
        f"{told} is told errno 108, though no entry covers the whole node: `ceph osd blocklist ls` may have its exact address"
    )  # fmt: skip
    hit = f"; {quoted(pods[:3])}{' and others' if len(pods) > 3 else ''} there need Ceph" if pods else ""
    run = f"`unstick runbook run ceph/unfence_recovered_node -p node={name}`"
    move = f"; {run} lifts it, once {name} has rebooted since" if entries else ""
    older = any(is_older_than_node(over, snapshot.taken_at) for over in whole)
    reused = f". The fence seems older than {name}, which may be a new machine at a dead one's address" if older else ""
    return Finding(
        subject=node.subject,
        summary=f"{name} is Ready, but {what}{hit}{move}{reused}",
        cause=CAUSE,
        chain=(*proof[:3], *(fence_link(over.fence, osdmap) for over in whole), node_link(node, snapshot)),
        severity=Severity.CRITICAL if pods or proof else Severity.WARNING,
    )


CHECK = Check(
    find,
    reads=(
        Read(OSDMAP), Read(NODES), Read(LEASES, optional=True), Read(EVENTS, optional=True),
        Read(PODS, where=lambda p: p.is_creating or any(is_ceph(v) for v in p.spec.volumes or ()), optional=True),
        Read(CLAIMS, optional=True), Read(VOLUMES, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
