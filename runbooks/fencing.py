"""What may be fenced: the exact address, the node, or nothing. The table as a pure function, first matching row wins.

Invariant: an address is fenced only when everything that could still need it was looked at. Whatever is unknown
refuses. An IP that carries a Ceph daemon that is up, or Unstick itself, is never fenced.
"""

from datetime import timedelta
from enum import StrEnum

import msgspec

from diagnostics.facts.ceph import Address
from runbooks.model import Risk

# Long enough that no frozen writer outlives it by accident; the figure is ceph-csi's own.
FENCE_LASTS = timedelta(seconds=157_784_760)
YOUNGEST_LOCK = timedelta(minutes=2)
_STOPS_IO = frozenset({"pauserd", "pausewr", "pause", "full", "full_ratio"})
_YOUNG = "the lock is not known to be older than 2 minutes: wait, and look again"
_SHARED_MODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})


class Extent(StrEnum):
    """How much a fence covers."""

    EXACT = "exact"
    NODE = "node"
    REFUSE = "refuse"


class Scope(msgspec.Struct, frozen=True):
    """The decision: its extent, the blocklist entries that make it, its risk, and why; `dies` is who loses its disk.

    `unknown` says that the refusal comes from something that could not be seen.
    """

    extent: Extent
    entries: tuple[str, ...]
    reasons: tuple[str, ...]
    risk: Risk = Risk.HIGH
    dies: tuple[str, ...] = ()
    unknown: bool = False
    node: str | None = None


class Holder(msgspec.Struct, frozen=True):
    """What is known of the machine behind a lock. None where something could not be found out.

    `down` and `cordoned` are of the node; `ips` all its addresses; `foreign` who else would be hit at these addresses;
    `uses` what shows that the node itself still uses the volume.
    """

    node: str | None
    unclear: str | None
    ready: bool | None = None
    down: bool | None = None
    cordoned: bool = False
    ips: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    address_is_pod: str | None = None
    dies: tuple[str, ...] = ()


class Case(msgspec.Struct, frozen=True):
    """Everything that the decision rests on. `unknown` lists what could not be seen, in sentences.

    `reserved` names a holder that nobody may fence by rule: rbd-mirror, a mgr, a CSI controller. `watches_elsewhere`
    is None where not every other image was looked at. `already_fenced`: lasting entries cover every address of the
    holder's node.
    """

    image: str
    managed: bool
    address: str
    ip: str
    exact: str
    unknown: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    against: str | None = None
    changed: str | None = None
    watchers: tuple[str, ...] = ()
    lockers: int = 1
    exclusive: bool = True
    access_modes: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    watches_elsewhere: bool | None = None
    seen_twice: bool = False
    young: bool = False
    unmapped_on_node: bool = False
    daemons: dict[str, str] = {}
    own_ips: tuple[str, ...] = ()
    already_fenced: bool = False
    unhealthy: str | None = None
    holder: Holder = Holder(None, "its node is not known")


def scope(case: Case) -> Scope:
    """Decide what may be fenced for one lock."""
    if reasons := _unknowns(case):
        return Scope(Extent.REFUSE, (), reasons, unknown=bool(case.unknown))
    if reasons := _forbidden(case):
        return Scope(Extent.REFUSE, (), reasons)
    return _managed(case) if case.managed else _advisory(case)


def _unknowns(case: Case) -> tuple[str, ...]:
    """Row 1: anything unknown, unstable, or in another cluster."""
    found = list(case.unknown)
    if stops := sorted(case.flags & _STOPS_IO):
        found.append(f"Ceph's {', '.join(stops)} flag is set: nothing that was seen is reliable until it is cleared")
    if case.unhealthy:
        found.append(case.unhealthy)
    if case.against:
        found.append(case.against)
    if case.changed:
        found.append(case.changed)
    if case.holder.unclear:
        found.append(case.holder.unclear)
    elif case.holder.node is None:
        found.append("the holder's node is not known")
    return tuple(found)


def _forbidden(case: Case) -> tuple[str, ...]:
    """Row 2: what nobody may fence, whoever the holder is."""
    found = []
    if case.watchers:
        found.append(
            f"{case.image} has a watcher that is not fenced ({', '.join(case.watchers)}): a watcher is never fenced"
        )
    if case.lockers > 1:
        found.append(f"{case.image} has {case.lockers} lockers: a person decides which of them may go")
    if not case.exclusive:
        found.append("the lock is a shared one: several clients use the image by agreement")
    if shared := sorted(set(case.access_modes) & _SHARED_MODES):
        found.append(f"the volume is {', '.join(shared)}: several nodes may use it, as in the migration of a machine")
    for trait in case.traits:
        found.append(f"the image is {trait}: Ceph itself works on it")
    for holder in case.reserved:
        found.append(f"the holder may be {holder}: it works for others, who would lose their images with it")
    if case.ip in case.daemons:
        found.append(f"{case.daemons[case.ip]} is up at {case.ip}: a Ceph daemon's address is never fenced")
    if case.ip in case.own_ips:
        found.append(f"{case.ip} is Unstick's own address: it would fence itself")
    return tuple(found)


def _managed(case: Case) -> Scope:
    """Rows 3 and 4: the locker is the writer, so its exact address is enough, once nothing speaks for its life."""
    if case.holder.down:
        return _exact(case, f"a managed lock names the writer itself, and node {case.holder.node} is down")
    if case.sessions:
        return _refuse(
            f"{', '.join(case.sessions)} is still in session with a monitor and node {case.holder.node} is not down"
        )
    if case.young:
        return _refuse(_YOUNG)
    if case.watches_elsewhere is None:
        return _unseen("whether the client watches another image is not known: not all images were looked at")
    if case.watches_elsewhere:
        return _refuse("the client watches another image: it is alive")
    if not case.seen_twice:
        return _refuse("the client was not seen quiet in two looks more than 30 s apart")
    return _exact(case, "a managed lock names the writer itself, which showed no sign of life in two looks")


def _advisory(case: Case) -> Scope:
    """Rows 5 to 8: the writer is somebody else on the same host, known by nothing but the host's address."""
    holder = case.holder
    if hit := [ip for ip in holder.ips if ip in case.daemons or ip in case.own_ips]:
        return _refuse(f"node {holder.node} also has {', '.join(hit)}, where a Ceph daemon or Unstick itself runs")
    if case.already_fenced and case.ip in holder.ips:
        # As after an interruption: whatever became of the node, nothing more dies of it.
        entries = tuple(_host_entry(ip) for ip in holder.ips)
        return Scope(Extent.NODE, entries, (f"{', '.join(entries)} is fenced already",), node=holder.node)
    if holder.down is None:
        return _unseen(f"whether node {holder.node} is down is not known: its lease could not be read")
    if not holder.down:
        return _node_up(case)
    if holder.address_is_pod:
        return _refuse(
            f"{case.ip} is the address of pod {holder.address_is_pod}: power {holder.node} off and attest it"
        )
    if holder.foreign:
        return _refuse(*(f"fencing {holder.node} would hit {who}" for who in holder.foreign))
    if case.ip not in holder.ips:
        return _unseen(f"{case.ip} is not among the addresses of node {holder.node} that were read")
    if not holder.cordoned:
        return _refuse(f"node {holder.node} is down but not cordoned: its pods could come back to it")
    entries = tuple(_host_entry(ip) for ip in holder.ips)
    return Scope(
        Extent.NODE, entries,
        (f"node {holder.node} is down and cordoned, and no daemon, other node, pod or image was seen to need "
         f"{', '.join(holder.ips)}; who has an image open that is unlocked and that no volume names is not looked at",),
        Risk.CRITICAL, holder.dies, node=holder.node,
    )  # fmt: skip


def _node_up(case: Case) -> Scope:
    """Rows 5 and 6: a node that answers for itself must say that it does not have the image mapped."""
    holder, node = case.holder, case.holder.node
    reasons = [f"node {node} is not down, and {use}" for use in holder.uses]
    if not holder.ready:
        reasons.append(f"node {node} is neither Ready nor down: wait until it is one of them")
    if not case.seen_twice:
        sessions = f", and {', '.join(case.sessions)} has a session from {case.ip}" if case.sessions else ""
        reasons.append(f"the lock was not seen quiet in two looks more than 30 s apart{sessions}")
    if case.young:
        reasons.append(_YOUNG)
    if not case.unmapped_on_node:
        reasons.append(
            f"node {node} is not down (it is Ready, or its lease is fresh): missing is the proof from {node} itself "
            f"that the image is no longer mapped there: run `rbd device list` on {node}, which must not list {case.image}"
        )
    return _refuse(*reasons) if reasons else _exact(case, f"`rbd device list` on {node} was seen without the image")


def _host_entry(ip: str) -> str:
    # `ip:0/0` and not the bare ip: cephx's `profile rbd` refuses the bare form.
    return f"[{ip}]:0/0" if ":" in ip else f"{ip}:0/0"


def _exact(case: Case, why: str) -> Scope:
    if Address.parse(case.exact).nonce == 0:
        return _refuse(f"{case.exact} has no nonce: such an entry names no single client, but all of {case.ip}")
    return Scope(Extent.EXACT, (case.exact,), (why,), Risk.HIGH, (f"the client at {case.exact}, with all its images",))


def _refuse(*reasons: str) -> Scope:
    return Scope(Extent.REFUSE, (), reasons)


def _unseen(*reasons: str) -> Scope:
    return Scope(Extent.REFUSE, (), reasons, unknown=True)
