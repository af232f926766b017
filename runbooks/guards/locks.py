"""Guards about an RBD image's lock, its watchers, and the fence that must come before the lock is broken."""

from diagnostics.facts import NotSeen, Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS, NEIGHBOURS, OSDMAP, SESSIONS, SIGHTINGS, Address, Fence
from diagnostics.facts.holders import CLAIM_USERS, LEASES, NODE_PODS, NODES, PODS_AT
from diagnostics.verdicts import FAR_OFF, Verdict, verdict_of
from runbooks.case import case_of
from runbooks.fencing import Extent, Scope, scope
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Situation, waits

_LOCK_READS = (Read(LOCKS), Read(NEIGHBOURS), Read(OSDMAP), Read(SESSIONS), Read(SIGHTINGS))
_CASE_READS = (
    *_LOCK_READS, Read(NODES), Read(PODS_AT), Read(LEASES), Read(NODE_PODS), Read(CLAIM_USERS), Read(k8s.VOLUMES),
    Read(k8s.ATTACHMENTS),
)  # fmt: skip


def decided(situation: Situation) -> Scope:
    """The fence's scope in this situation."""
    return scope(case_of(situation))


@guard(*_CASE_READS)
def lock_is_breakable(situation: Situation) -> Ruling:
    """The lock is advisory and stale; or fenced already; or cut off, where the plan fences the whole node."""
    image, locker = situation.image(), situation.locker()
    if image is None or locker is None:
        return refused(f"{situation.params['locker']} holds no lock on {situation.params['image']}: nothing to break")
    if locker.managed or image.tag == "internal":
        return refused(
            "the lock is a managed one: the next client takes it over by itself; if it cannot, check its caps"
        )
    judgement = verdict_of(image, locker, situation.snapshot)
    basis = {"lock": f"{locker.name} at {locker.address} on {image.image.subject.uid}"}
    if judgement.verdict in (Verdict.STALE, Verdict.FENCED):
        return allowed(f"{judgement.verdict}: {judgement.why}", **basis)
    if judgement.verdict is Verdict.ALIVE_OR_CUT_OFF:
        decision = decided(situation)
        if decision.extent is Extent.NODE and decision.risk is Risk.CRITICAL:
            return allowed(f"{judgement.why}; the plan is critical and fences its whole node first", **basis)
        return refused(f"{judgement.verdict}: {judgement.why}", *decision.reasons)
    if judgement.verdict is Verdict.SUSPECT:
        return unknown(f"{judgement.verdict}: {judgement.why}")
    return refused(f"{judgement.verdict}: {judgement.why}")


@guard(*_CASE_READS)
def fence_scope_is_safe(situation: Situation) -> Ruling:
    """Fencing what the table allows stops the old writer and nobody else."""
    decision = decided(situation)
    if decision.extent is Extent.REFUSE:
        return unknown(*decision.reasons) if decision.unknown else refused(*decision.reasons)
    planned = situation.act.effect.get("entries") if situation.act else None
    if planned is not None and list(planned) != list(decision.entries):
        return refused(f"the plan fences {', '.join(planned)}, but now it would be {', '.join(decision.entries)}")
    return allowed(
        f"{decision.extent} scope: {'; '.join(decision.reasons)}",
        scope=decision.extent, entries=", ".join(decision.entries), dies=", ".join(decision.dies),
    )  # fmt: skip


@guard(*_CASE_READS)
def fence_covers_every_address(situation: Situation) -> Ruling:
    """Blocklist entries that last for hours cover every address that the scope names."""
    osdmap = situation.snapshot[OSDMAP]
    if isinstance(osdmap, NotSeen):
        return unknown(f"the blocklist could not be read: {osdmap.reason}")
    wanted = fenced_by_plan(situation)
    if not wanted:
        return refused("this plan fenced nothing: there is no address that could be covered")
    expected = {entry for act in situation.expected if act.action == "ceph.fence" for entry in act.effect["entries"]}
    lasting = [f for f in osdmap.fences if f.until - situation.snapshot.taken_at >= FAR_OFF]
    bare = [entry for entry in wanted if entry not in expected and not _covered(entry, lasting)]
    if bare:
        return refused(*(f"no fence that lasts covers {entry}" for entry in bare))
    return allowed(f"fenced for years: {', '.join(wanted)}", covers=", ".join(wanted))


def fenced_by_plan(situation: Situation) -> list[str]:
    """What must be covered: what this very plan fences, not what would be decided now that it is fenced."""
    for act in (*situation.expected, *situation.done, *((situation.act,) if situation.act else ())):
        if act.action == "ceph.fence":
            return list(act.effect["entries"])
    return []


def _covered(entry: str, fences: list[Fence]) -> bool:
    address = Address.parse(entry)
    if address.nonce == 0:
        return any(fence.covers_host(address.ip) for fence in fences)
    return any(fence.covers(address) for fence in fences)


@guard(Read(LOCKS))
def lock_unchanged(situation: Situation) -> Ruling:
    """The image's one locker is still the one that was looked at: client, cookie and address."""
    image, locker = situation.image(), situation.locker()
    if image is None or locker is None:
        return refused(f"{situation.params['locker']} holds no lock on {situation.params['image']} any more")
    if len(image.lockers) != 1:
        return refused(f"{image.image.spec} now has {len(image.lockers)} lockers")
    return allowed(
        "same client, cookie and address", locker=f"{locker.name} {locker.address}", header=image.image.header
    )


@guard(Read(LOCKS))
def image_has_no_watcher(situation: Situation) -> Ruling:
    """Nobody has the image open."""
    image = situation.image()
    if image is None:
        return allowed("the image is not locked any more")
    if image.watchers is None:
        return unknown(f"the watchers of {image.image.spec} could not be read: {image.watchers_unseen}")
    if image.watchers:
        return refused(*(f"{w.client} watches {image.image.spec} from {w.address}" for w in image.watchers))
    return allowed("no watcher")


@guard(Read(LOCKS), Read(CLAIM_USERS), Read(k8s.VOLUMES), Read(NODES), Read(PODS_AT))
def new_node_watches_image(situation: Situation) -> Ruling:
    """The waiting pod, or its replacement, runs on another node, and a client at that node's address has the image open."""
    image, locks = situation.image(), situation.snapshot.seen(LOCKS)
    # Not every new user takes a lock: newer kubelets and ceph-csi only watch.
    watchers = image.watchers if image else locks.users.get(situation.params["image"]) if locks else None
    if watchers is None:
        return unknown(f"the watchers of {situation.params['image']} could not be read")
    nodes = situation.snapshot.seen(NODES)
    by_name = {n.metadata.name: n for n in (nodes.full if nodes else ())}
    for pod in situation.users():
        if pod.spec.node_name == situation.params.get("node"):
            continue  # what the old node is said to run is hearsay
        node = by_name.get(pod.spec.node_name or "")
        ips = {*(node.ips if node else ()), pod.status.host_ip}
        watcher = next((w for w in watchers if w.address.ip in ips), None)
        if pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None and watcher is not None:
            return allowed(f"{watcher.client} on {pod.spec.node_name} has the image open for {pod.metadata.name}")
    return refused("no watcher at the address of a node on which a pod of the volume runs")


@guard(*_CASE_READS)
def no_pod_outside_the_fence_uses_volume(situation: Situation) -> Ruling:
    """Every pod that uses the volume is on the fenced node, or is one that still waits for it.

    The dead node's own pod stays in phase Running for ever: it is inside the fence, and does not count.
    """
    case = case_of(situation)
    if not situation.volumes():
        raise CannotPlan(f"no PersistentVolume is made of {case.image}: who uses it is not known", unknown=True)
    outside = [
        f"pod {pod.metadata.namespace}/{pod.metadata.name} on {pod.spec.node_name} uses the volume"
        for pod in situation.users()
        if pod.spec.node_name != case.holder.node and not waits(pod)
    ]
    if outside:
        return refused(*outside)
    users = sorted(f"{p.metadata.namespace}/{p.metadata.name}={p.metadata.uid}" for p in situation.users())
    return allowed("only pods on the fenced node and waiting ones use the volume", users=", ".join(users))
