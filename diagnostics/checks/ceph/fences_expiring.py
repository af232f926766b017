"""Fences that end within 24 hours over a node that is not known to have rebooted since.

Meaning: what was fenced, such as a frozen writer that lost its lock to a takeover, may still run there.
Impact: once the fence ends, it writes on without an error, beside whoever has its volume now: data is lost.
Mitigation: reboot the machine. Else `ceph osd blocklist rm ENTRY` and at once `add ENTRY 157784760`: add alone extends none.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import OSDMAP, SIGHTINGS, Address, OsdMap
from diagnostics.facts.fences import NodeFence, fence_link, fences_over, node_link, standing
from diagnostics.facts.holders import LEASES, NODES
from diagnostics.facts.resources import Node
from diagnostics.model import Finding, Severity, Unseen, lasting, quoted
from diagnostics.verdicts import FAR_OFF, fence_sighting_of, has_rebooted

MOST_NAMED = 5  # entries in the summary; the chain has as many


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each node with such fences.

    One that is Ready at the first look at its fence may have rebooted before: that is told as `info`, and again as
    `warning` when it shows the same boot at a later look.
    """
    osdmap, nodes = snapshot.seen(OSDMAP), snapshot.seen(NODES)
    if osdmap is None or nodes is None:
        return
    soon = [f for f in standing(osdmap.fences, snapshot.taken_at) if f.until - snapshot.taken_at < FAR_OFF]
    for node in nodes.full:
        mine = [over for over in fences_over(node, soon) if not _is_daemons(over)]
        twins = sorted(n.metadata.name for n in nodes.full if n is not node and set(n.ips) & set(node.ips))
        if mine and twins:
            yield Unseen(
                str(node.subject), f"it shares an address with {quoted(twins)}: whose fence this is, is unknown"
            )
        elif open_ends := [over for over in mine if not has_rebooted(over, snapshot)]:
            yield _finding(node, open_ends, osdmap, snapshot)


def _is_daemons(over: NodeFence) -> bool:
    """A client's entry has no port. Daemons that were replaced (mgr, MDS) are fenced for a day, with theirs."""
    return over.exact and Address.parse(over.fence.entry).port != 0


def _finding(node: Node, ends: list[NodeFence], osdmap: OsdMap, snapshot: Snapshot) -> Finding:
    ends = sorted(ends, key=lambda over: over.fence.until)
    name, first = node.metadata.name, ends[0]
    seen = fence_sighting_of(first, snapshot.seen(SIGHTINGS) or ())
    since = seen.first_seen if seen else None
    told = f"since {since:%Y-%m-%dT%H:%M:%SZ}, when the fence was seen first" if since else "since it was fenced"
    unclear = all(has_rebooted(over, snapshot) is None for over in ends)
    daemons = sorted({daemon.name for daemon in osdmap.daemons if daemon.ip in node.ips})
    if unclear:
        state = f"whether {name} has rebooted since then is not known: this is the first look at it"
    elif seen and seen.boot != node.status.node_info.boot_id:
        state = f"another machine is called {name} now, the one that was fenced may still run"
    elif not node.is_ready:
        state = f"{name} is not Ready and has not shown another boot"
    else:
        state = f"{name} has not rebooted {told}"
    named = [f"{over.fence.entry} ({lasting(over.fence.until - snapshot.taken_at)})" for over in ends[:MOST_NAMED]]
    more = f" and {len(ends) - MOST_NAMED} more" if len(ends) > MOST_NAMED else ""
    # Where Ceph's own daemons run, a mgr that was replaced has left such entries too, without a port.
    own = f"; {quoted(daemons)} runs there too and may have left such an entry itself" if daemons else ""
    exact = daemons and all(over.exact for over in ends)
    return Finding(
        subject=node.subject,
        summary=f"soon nothing fences {quoted(named)}{more} any more, and {state}: what was fenced there may then write "
        f"again{own}",
        since=since,
        chain=(*(fence_link(over.fence, osdmap) for over in ends[:MOST_NAMED]), node_link(node, snapshot)),
        severity=Severity.INFO if unclear or exact else Severity.WARNING,
    )


CHECK = Check(
    find,
    reads=(
        Read(OSDMAP), Read(NODES), Read(LEASES, optional=True), Read(SIGHTINGS, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
