"""Blocklist entries for a whole host or range that are left over from nodes which no longer exist.

Meaning: an address was fenced for long, and no node of this cluster has it any more: nobody will lift the fence.
Impact: none now. A new machine that gets the address cannot use any Ceph volume (errno 108).
Mitigation: a person who knows that the old machine is off removes it: `ceph osd blocklist rm ENTRY` (a range: `range rm`).
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.ceph import OSDMAP, SESSIONS
from diagnostics.facts.fences import fence_link, is_host_wide, standing
from diagnostics.facts.holders import NODES
from diagnostics.model import Finding, Severity, Unseen, lasting
from diagnostics.verdicts import FAR_OFF

# By the entry alone nobody can tell who made it, and who else may have this Ceph.
_WHOSE = (
    "; a NetworkFence, a person or another cluster on this Ceph may have made it for a reason that still holds: "
    "`kubectl get networkfences` and its owner tell"
)


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each such entry. Exact ones are left alone: a reboot changes the nonce, and they end."""
    osdmap, nodes, sessions = snapshot.seen(OSDMAP), snapshot.seen(NODES), snapshot[SESSIONS]
    if (
        osdmap is None or nodes is None or snapshot.scope.subject is not None
    ):  # around one subject not all nodes are read
        return
    now = snapshot.taken_at
    left = [
        fence for fence in standing(osdmap.fences, now)
        if fence.until - now > FAR_OFF and is_host_wide(fence)
        and not any(fence.covers_host(ip) for node in nodes.full for ip in node.ips)
    ]  # fmt: skip
    daemons = {daemon.ip: daemon.name for daemon in osdmap.daemons}
    clients = {} if isinstance(sessions, NotSeen) else {s.ip: s.entity or s.client for s in sessions.open}
    blind = sessions.reason if isinstance(sessions, NotSeen) else "; ".join(sessions.silent.values())
    for fence in left:
        if any(fence.covers_host(ip) for ip in (*daemons, *clients)):
            continue  # somebody is there: a machine outside this cluster, or a node at an address that it does not report
        until = f"{fence.until:%Y-%m-%dT%H:%M:%SZ}"
        yield Finding(
            subject=fence_link(fence, osdmap).subject,
            summary=f"{fence.entry} is fenced for {lasting(fence.until - now)} more (until {until}), and no node has an "
            f"address in it{_WHOSE}",
            chain=(fence_link(fence, osdmap, f"stands until {until} over no node of this cluster"),),
            unseen=(f"whether somebody is at {fence.entry}: mon sessions: {blind}",) if blind else (),
        )


CHECK = Check(
    find, reads=(Read(OSDMAP), Read(NODES), Read(SESSIONS, optional=True)), severity=Severity.INFO, of_the_whole=True
)
