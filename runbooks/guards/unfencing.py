"""Guards about lifting a fence: every proof that what was fenced cannot write any more, and that the fence is ours.

Lifting a fence lets a frozen or cut-off writer go on within seconds. Only a reboot of that very machine ends it for
certain, and only the boot that was recorded with the fence tells of one.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.facts import NotSeen, Read
from diagnostics.facts.ceph import OSDMAP, SESSIONS, Address, Fence, OsdMap
from diagnostics.facts.csi import is_ceph_csi
from diagnostics.facts.holders import NODES
from diagnostics.facts.network_fences import NETWORK_FENCES
from diagnostics.facts.resources import Node
from runbooks.fencing import FENCE_LASTS
from runbooks.guards import Ruling, allowed, guard, refused
from runbooks.situation import CannotPlan, Situation
from runbooks.standing import STANDING, FencedByUs

READY_FOR = timedelta(minutes=5)
_APART = timedelta(minutes=10)  # between our clock at the intent and the monitors' at the act
_IN_TREE = ("kubernetes.io/rbd/", "kubernetes.io/cephfs/")
_CSI = "kubernetes.io/csi/"
UNFENCE_READS = (Read(NODES), Read(OSDMAP), Read(STANDING))
"""What `recovered_node` and `ours_over` look at."""


def recovered_node(situation: Situation) -> Node:
    """The node whose fence is to be lifted.

    Raises:
        CannotPlan: it was not read, or its object is gone: then only a person can know whether the machine is off.
    """
    node = situation.node()
    if node is None:
        raise CannotPlan(
            f"node {situation.params.get('node')} does not exist any more: whether its machine is off only a person can "
            "know, who then lifts the fence by hand: ceph osd blocklist rm ENTRY"
        )
    return node


def entries_there(situation: Situation) -> tuple[Fence, ...]:
    """The entries over a whole host that cover the node, and have not ended.

    Raises:
        CannotPlan: the blocklist could not be read.
    """
    osdmap, node = _osdmap(situation), recovered_node(situation)
    now = situation.snapshot.taken_at
    return tuple(
        fence for fence in osdmap.fences if fence.until > now and any(fence.covers_host(ip) for ip in node.ips)
    )


def ours_over(situation: Situation) -> tuple[tuple[Fence, tuple[FencedByUs, ...]], ...]:
    """The entries over the whole node that an execution set on this very node, each with all records of that.

    An entry is ours if it ends when ours must end: one that somebody set again later in the same words is theirs.
    Exact entries stay: a reboot gives every client another nonce.

    Raises:
        CannotPlan: the blocklist or the journal could not be read.
    """
    osdmap, node = _osdmap(situation), recovered_node(situation)
    standing = situation.snapshot[STANDING]
    if isinstance(standing, NotSeen):
        raise CannotPlan("which fences Unstick has set was not read from the state database", unknown=True)
    mine: dict[str, list[FencedByUs]] = {}
    for one in standing.fenced:
        if one.node_uid == node.metadata.uid and one.fsid == osdmap.fsid:
            mine.setdefault(one.entry, []).append(one)
    now = situation.snapshot.taken_at
    return tuple(
        (fence, tuple(mine[fence.entry])) for fence in osdmap.fences
        if fence.until > now and is_whole(fence) and any(_ends_as(one, fence) for one in mine.get(fence.entry, ()))
    )  # fmt: skip


def _ends_as(record: FencedByUs, fence: Fence) -> bool:
    return abs(fence.until - (record.at + FENCE_LASTS)) <= _APART


def is_whole(fence: Fence) -> bool:
    """Whether an entry is one for a whole host, as Unstick sets them: no range, and no client's exact address."""
    return not fence.entry.startswith("cidr:") and fence.covers_host(Address.parse(fence.entry).ip)


def _osdmap(situation: Situation) -> OsdMap:
    osdmap = situation.snapshot[OSDMAP]
    if isinstance(osdmap, NotSeen):
        raise CannotPlan(f"the blocklist could not be read: {osdmap.reason}", unknown=True)
    return osdmap


@guard(*UNFENCE_READS)
def fence_is_ours(situation: Situation) -> Ruling:
    """Unstick itself set the entries on this very node, in these very words, and nobody else's entry covers it."""
    node, ours = recovered_node(situation), {fence.entry for fence, _ in ours_over(situation)}
    name = node.metadata.name
    there = {fence.entry for fence in entries_there(situation)}
    planned = set(situation.act.effect.get("entries", ours)) if situation.act else ours
    if others := sorted((there | planned) - ours):
        return refused(
            f"{', '.join(others)} over node {name} is in no journal of Unstick for this very node: whoever set it lifts "
            "it, once they know that the machine has rebooted: ceph osd blocklist rm ENTRY"
        )
    if not ours:
        return refused(f"no fence that Unstick has set covers node {name} as a whole: there is nothing to lift")
    if planned != ours:
        return refused(f"the plan lifts {', '.join(sorted(planned))}, but ours are {', '.join(sorted(ours))}")
    return allowed(f"set by Unstick: {', '.join(sorted(ours))}", entries=", ".join(sorted(ours)))


@guard(*UNFENCE_READS, Read(NETWORK_FENCES))
def no_network_fence_covers_node(situation: Situation) -> Ruling:
    """No NetworkFence names an address of the node: it has another owner then, who decides."""
    node, found = recovered_node(situation), situation.listed(NETWORK_FENCES)
    ips = dict.fromkeys((*node.ips, *(Address.parse(fence.entry).ip for fence, _ in ours_over(situation))))
    covering = sorted({str(one.subject) for one in found for ip in ips if one.covers(ip)})
    if covering:
        return refused(f"{', '.join(covering)} fences an address of node {node.metadata.name} too: its owner lifts it")
    return allowed("no NetworkFence names its addresses")


@guard(Read(NODES))
def node_is_ready_for_long(situation: Situation) -> Ruling:
    """The node is Ready, and has been for more than five minutes."""
    node = recovered_node(situation)
    name, ready = node.metadata.name, node.ready
    if not node.is_ready or ready is None:
        return refused(f"node {name} is not Ready")
    since = ready.last_transition_time
    if since is None or situation.snapshot.taken_at - since <= READY_FOR:
        return refused(f"node {name} is not known to be Ready for more than five minutes: wait")
    return allowed(f"node {name} is Ready for more than five minutes")


@guard(*UNFENCE_READS)
def node_has_rebooted_since_fence(situation: Situation) -> Ruling:
    """The node has another boot than when it was fenced, and is the same machine (bootID and systemUUID)."""
    node, ours = recovered_node(situation), ours_over(situation)
    if not ours:
        return refused(f"no fence that Unstick has set covers node {node.metadata.name}: no boot was recorded with one")
    reasons = [reason for fence, records in ours for record in records for reason in _not_rebooted(node, fence, record)]
    if reasons:
        return refused(*dict.fromkeys(reasons))
    info = node.status.node_info
    return allowed(
        f"node {node.metadata.name} has rebooted since it was fenced", boot=info.boot_id, machine=info.system_uuid
    )


def _not_rebooted(node: Node, fence: Fence, record: FencedByUs) -> Iterator[str]:
    name, info = node.metadata.name, node.status.node_info
    by_hand = (
        f"a person who knows that the machine that was fenced is off lifts it: ceph osd blocklist rm {fence.entry}"
    )
    if not record.boot_id or not record.system_uuid:
        yield f"which boot {name} had when {fence.entry} was set was not recorded: {by_hand}"
    elif not info.boot_id or not info.system_uuid:
        yield f"node {name} tells no bootID or no systemUUID: {by_hand}"
    elif info.system_uuid != record.system_uuid:
        yield f"another machine is called {name} now (systemUUID), the one that was fenced may still run: {by_hand}"
    elif info.boot_id == record.boot_id:
        yield f"node {name} has not rebooted since {fence.entry} was set (same bootID): reboot it first"


@guard(*UNFENCE_READS, Read(SESSIONS))
def no_session_from_before_reboot(situation: Situation) -> Ruling:
    """No client has a session with a monitor from the fenced addresses: none that could be from before the reboot.

    Ceph does not tell when a session began, so any of them counts, but those of its own daemons that are up there.
    """
    node, osdmap, sessions = recovered_node(situation), _osdmap(situation), situation.snapshot[SESSIONS]
    if isinstance(sessions, NotSeen):
        raise CannotPlan(f"mon sessions could not be read: {sessions.reason}", unknown=True)
    if sessions.silent:
        what = (f"mon {mon} did not tell its sessions: {why}" for mon, why in sorted(sessions.silent.items()))
        raise CannotPlan(*what, unknown=True)
    ips = {*node.ips, *(Address.parse(fence.entry).ip for fence, _ in ours_over(situation))}
    daemons = {daemon.name for daemon in osdmap.daemons if daemon.ip in ips}
    found = [one for one in sessions.open if one.ip in ips and one.entity not in daemons]
    if found:
        return refused(
            *(
                f"{one.entity or one.client} ({one.client}) has a session with mon {one.mon} from {one.ip}, and Ceph does "
                "not tell whether it is from before the reboot: find what it is, and end it"
                for one in found
            )
        )
    return allowed("no client has a session from there")


@guard(Read(NODES))
def no_ceph_volume_in_use_on_node(situation: Situation) -> Ruling:
    """The node's volumesInUse names no Ceph volume: nothing there waits to go on writing."""
    node = recovered_node(situation)
    used = [name for name in node.status.volumes_in_use or () if _is_on_ceph(name)]
    if used:
        return refused(
            f"node {node.metadata.name} still has {', '.join(used)} in use (volumesInUse): move the pods that use it away"
        )
    return allowed("no Ceph volume is in use there")


def _is_on_ceph(name: str) -> bool:
    driver = name.removeprefix(_CSI).partition("^")[0]
    return name.startswith(_IN_TREE) or (name.startswith(_CSI) and is_ceph_csi(driver))


@guard(Read(OSDMAP))
def fence_is_lifted(situation: Situation) -> Ruling:
    """None of the entries that the act lifts is in the blocklist any more."""
    osdmap = _osdmap(situation)
    if situation.act is None:
        raise CannotPlan("there is no act whose entries could be gone", unknown=True)
    lifted = situation.act.effect.get("entries", ())
    left = [fence.entry for fence in osdmap.fences if fence.entry in lifted]
    return refused(f"still in the blocklist: {', '.join(left)}") if left else allowed("gone from the blocklist")
