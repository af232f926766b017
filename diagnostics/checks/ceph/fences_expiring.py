"""Fences that end within 24 hours over a node that is not known to have rebooted since.

Meaning: what was fenced, such as a frozen writer that lost its lock to a takeover, may still run there.
Impact: once the fence ends, it writes on without an error, beside whoever has its volume now: data is lost.
Mitigation: reboot the machine. Nothing extends an entry: `ceph osd blocklist rm ENTRY`, then `add` lets it write in between.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import OSDMAP, SIGHTINGS, OsdMap
from diagnostics.facts.fences import NodeFence, boot_told, fence_link, fences_over, is_daemons, node_link, standing
from diagnostics.facts.holders import LEASES, NODES
from diagnostics.facts.resources import Node
from diagnostics.model import Finding, Severity, Unseen, lasting, quoted
from diagnostics.verdicts import FAR_OFF, fence_sighting_of, has_rebooted, is_rbd_clients

MOST_NAMED = 5  # entries in the summary; the chain has as many


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each node with such fences.

    A node that was Ready at the first look at its fence may have rebooted before: that is told as `info`, and as
    `warning` where it came back with the same boot only after that look. On a Ready node, an entry of one client of which
    no image is known to have been locked or open there is `info` too: it may be a CephFS client's, or of an old mgr.
    """
    osdmap, nodes = snapshot.seen(OSDMAP), snapshot.seen(NODES)
    if osdmap is None or nodes is None:
        return
    soon = [f for f in standing(osdmap.fences, snapshot.taken_at) if f.until - snapshot.taken_at < FAR_OFF]
    for node in nodes.full:
        mine = [over for over in fences_over(node, soon) if not is_daemons(over)]
        twins = sorted(n.metadata.name for n in nodes.full if n is not node and set(n.ips) & set(node.ips))
        if mine and twins:
            yield Unseen(
                str(node.subject), f"it shares an address with {quoted(twins)}: whose fence this is, is unknown"
            )
        elif open_ends := [over for over in mine if not has_rebooted(over, snapshot)]:
            yield _finding(node, open_ends, osdmap, snapshot)


def _finding(node: Node, ends: list[NodeFence], osdmap: OsdMap, snapshot: Snapshot) -> Finding:
    ends = sorted(ends, key=lambda over: over.fence.until)
    sure = [over for over in ends if has_rebooted(over, snapshot) is False]
    first = (sure or ends)[0]
    seen = fence_sighting_of(first, snapshot.seen(SIGHTINGS) or ())
    daemons = sorted({daemon.name for daemon in osdmap.daemons if daemon.ip in node.ips})
    named = [f"{over.fence.entry} ({lasting(over.fence.until - snapshot.taken_at)})" for over in ends[:MOST_NAMED]]
    more = f" and {len(ends) - MOST_NAMED} more" if len(ends) > MOST_NAMED else ""
    # Where Ceph's own daemons run, a mgr that was replaced has left such entries too, without a port.
    own = f"; {quoted(daemons)} runs there too and may have left such an entry itself" if daemons else ""
    clients = [over for over in ends if not (over.exact and node.is_ready) or is_rbd_clients(over, snapshot)]
    if not clients:
        own += "; no image is known to have been open at such an address: it may be a CephFS client's or an old mgr's"
    exact = daemons and all(over.exact for over in ends)
    state = boot_told(first, seen, has_rebooted(first, snapshot))
    return Finding(
        subject=node.subject,
        summary=f"soon nothing fences {quoted(named)}{more} any more, and {state}: what was fenced there may then write "
        f"again{own}",
        since=seen.first_seen if seen else None,
        chain=(*(fence_link(over.fence, osdmap) for over in ends[:MOST_NAMED]), node_link(node, snapshot)),
        severity=Severity.WARNING if not exact and any(over in sure for over in clients) else Severity.INFO,
    )


CHECK = Check(
    find,
    reads=(
        Read(OSDMAP), Read(NODES), Read(LEASES, optional=True), Read(SIGHTINGS, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
