"""Which blocklist entries lie over which nodes, and how a finding's chain tells of an entry and of a node.

An entry is over a node where it covers an address that the node itself reports. Ceph may know a node by an address of a
storage network, which no Node object names: of such entries nothing is said here.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import Address, Fence, OsdMap, Sighting, parse_fence
from diagnostics.facts.holders import LEASES, is_down, lease_of
from diagnostics.facts.resources import Node
from diagnostics.model import Evidence, Link, Subject

# How long ceph-csi's NetworkFence and Unstick itself fence for.
USUAL_FENCE = timedelta(seconds=157_784_760)
A_YEAR = timedelta(days=365)


class NodeFence(msgspec.Struct, frozen=True):
    """An entry over a node; `exact` where it names one client there, not the whole host."""

    fence: Fence
    node: Node
    exact: bool


def is_host_wide(fence: Fence) -> bool:
    """Whether an entry covers every client of an IP, or of a range of them."""
    return fence.covers_host(str(parse_fence(fence.entry)[0].network_address))


def standing(fences: Iterable[Fence], now: datetime) -> tuple[Fence, ...]:
    """The entries that have not ended."""
    return tuple(fence for fence in fences if fence.until > now)


def fences_over(node: Node, fences: Iterable[Fence]) -> tuple[NodeFence, ...]:
    """The entries that cover an address of a node, be it for one client there."""
    found: list[NodeFence] = []
    for fence in fences:
        whole = any(fence.covers_host(ip) for ip in node.ips)
        if whole or str(parse_fence(fence.entry)[0].network_address) in node.ips:
            found.append(NodeFence(fence, node, not whole))
    return tuple(found)


def is_older_than_node(over: NodeFence, now: datetime) -> bool:
    """Whether an entry that lasts for years was made before its Node object, if it was made for the usual time."""
    made, until = over.node.metadata.creation_timestamp, over.fence.until
    return made is not None and until - now > A_YEAR and until - USUAL_FENCE < made


def is_daemons(over: NodeFence) -> bool:
    """A client's entry has no port. Daemons that were replaced (mgr, MDS) are fenced for a day, with theirs."""
    return over.exact and Address.parse(over.fence.entry).port != 0


def came_back(node: Node, since: datetime | None) -> bool:
    """Whether a node became Ready after a moment: it was not Ready then, or later."""
    ready = node.ready.last_transition_time if node.is_ready and node.ready else None
    return since is not None and ready is not None and ready > since


def boot_told(over: NodeFence, seen: Sighting | None, rebooted: bool | None) -> str:
    """What is known of a node's boot since its fence was `seen` first, if it is not known to have rebooted."""
    name, boot = over.node.metadata.name, over.node.status.node_info.boot_id
    since = seen.first_seen if seen else None
    told = f"since {since:%Y-%m-%dT%H:%M:%SZ}, when the fence was seen first" if since else "since it was fenced"
    other = bool(seen and seen.boot and boot and seen.boot != boot)
    if rebooted is None:
        if other:
            why = "its boot is another one, but no systemUUID tells whether it is the same machine"
        elif seen is None or seen.last_look == seen.first_seen:
            why = "this is the first look at it"
        elif boot and seen.boot:
            why = f"it has the boot that it had {told}, and was Ready then"
        else:
            why = "it tells no boot"
        return f"whether {name} has rebooted since then is not known: {why}"
    if other:
        return f"another machine is called {name} now, the one that was fenced may still run"
    if not over.node.is_ready:
        return f"{name} is not Ready and has not shown another boot"
    return f"{name} has not rebooted {told}"


def fence_link(fence: Fence, osdmap: OsdMap, says: str = "") -> Link:
    """The link that tells of an entry, with what `ceph osd dump` shows of it."""
    until = f"{fence.until:%Y-%m-%dT%H:%M:%SZ}"
    subject = Subject("CephBlocklistEntry", None, fence.entry, f"{osdmap.fsid}/{fence.entry}")
    return Link(subject, says or f"stands until {until}", (Evidence("ceph osd dump", f"{fence.entry} until {until}"),))


def node_link(node: Node, snapshot: Snapshot) -> Link:
    """The link that tells how a node is, with its Ready condition, its lease and its boot."""
    ready, lease = node.ready, lease_of(node, snapshot.seen(LEASES))
    state = f"Ready={ready.status}" if ready else "no Ready condition"
    since = f" since {ready.last_transition_time:%Y-%m-%dT%H:%M:%SZ}" if ready and ready.last_transition_time else ""
    renewed = lease.spec.renew_time if lease else None
    told = f"lease renewed {renewed:%Y-%m-%dT%H:%M:%SZ}" if renewed else "no lease was read"
    text = f"{state}; {told}; bootID {node.status.node_info.boot_id or '(none)'}; {', '.join(node.ips)}"
    down = "is down: " if is_down(node, snapshot) else ""
    return Link(node.subject, f"{down}{state}{since}", (Evidence(f"GET nodes {node.metadata.name}", text),))
