"""Gathers from a situation what the fencing decision rests on. It collects and compares; it decides nothing."""

import ipaddress
import re
from collections.abc import Iterator

from diagnostics.facts import NotSeen
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import (
    NEIGHBOURS,
    OSDMAP,
    SESSIONS,
    SIGHTINGS,
    Address,
    LockedImage,
    Locker,
    OsdMap,
    Sighting,
)
from diagnostics.facts.holders import LEASES, NODE_PODS, NODES, PODS_AT, Host, host_of, is_down
from diagnostics.facts.images import image_of_volume, is_ceph
from diagnostics.facts.resources import Node, Pod, Volume
from diagnostics.verdicts import BETWEEN_LOOKS, FAR_OFF, fences_of, sessions_of, sighting_of
from runbooks.fencing import YOUNGEST_LOCK, Case, Holder
from runbooks.situation import CannotPlan, Situation, waits

KUBELET_COOKIE = "kubelet_lock_magic_"
_FSID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The provisioner keeps every volume's life in its hands; its pod is told by its name, as Rook and ceph-csi give it.
_CSI_CONTROLLER = re.compile(r"csi.*(provisioner|controller|ctrlplugin)|(provisioner|ctrlplugin).*csi")


def case_of(situation: Situation) -> Case:
    """Collect what is known of the lock that the runbook is about.

    Raises:
        CannotPlan: the lock is not there, or locks could not be read.
    """
    image, locker = situation.image(), situation.locker()
    if image is None or locker is None:
        raise CannotPlan(f"{situation.params.get('locker')} holds no lock on {situation.params.get('image')} any more")
    snapshot, osdmap = situation.snapshot, situation.snapshot[OSDMAP]
    sighting = sighting_of(image, locker, snapshot.seen(SIGHTINGS) or ())
    first = sighting.first_seen if sighting else None
    twice = first is not None and snapshot.taken_at - first > BETWEEN_LOOKS
    volumes = situation.volumes()
    host = host_of(locker.address.ip, snapshot)
    down = is_down(host.node, snapshot) if host.node else None
    known_for = snapshot.taken_at - first if first else None
    sessions = snapshot.seen(SESSIONS)
    holder = _holder(image, locker, host, down, volumes, situation)
    fenced = _already_fenced(holder, osdmap, situation)
    return Case(
        image=image.image.spec,
        managed=locker.managed,
        address=str(locker.address),
        ip=locker.address.ip,
        exact=str(locker.address),
        unknown=tuple(_blind(image, volumes, situation)),
        flags=osdmap.flags if isinstance(osdmap, OsdMap) else frozenset(),
        against=speaks_against(volumes, image.image.fsid, osdmap),
        changed=_changed(image, sighting, None if fenced else host.node),
        watchers=tuple(_unfenced_watchers(image, osdmap, situation)),
        lockers=len(image.lockers),
        exclusive=image.exclusive,
        access_modes=tuple(sorted({mode for v in volumes for mode in v.spec.access_modes or ()})),
        traits=image.traits,
        sessions=tuple(f"{s.entity} ({s.client})" for s in (sessions_of(locker, sessions) if sessions else ())),
        reserved=tuple(_reserved(locker, host, situation)),
        watches_elsewhere=_watches_elsewhere(locker, image, situation),
        seen_twice=twice,
        young=not down and (known_for is None or known_for < YOUNGEST_LOCK),
        daemons={d.ip: d.name for d in osdmap.daemons} if isinstance(osdmap, OsdMap) else {},
        own_ips=osdmap.own_ips if isinstance(osdmap, OsdMap) else (),
        already_fenced=fenced,
        unhealthy=_unhealthy(osdmap),
        holder=holder,
    )


def _blind(image: LockedImage, volumes: tuple[Volume, ...], situation: Situation) -> Iterator[str]:
    """What the table needs and what could not be seen."""
    if image.watchers is None:
        yield f"the watchers of {image.image.spec} could not be read: {image.watchers_unseen}"
    if "unread" in image.traits:
        yield f"whether {image.image.spec} is mirrored, trashed or migrating could not be read"
    if image.primary is None:
        yield f"the placement group of {image.image.header} is not known"
    sessions = situation.snapshot[SESSIONS]
    if not isinstance(sessions, NotSeen):
        yield from (f"mon {mon} did not tell its sessions: {why}" for mon, why in sorted(sessions.silent.items()))
    for kind in (SESSIONS, OSDMAP, NEIGHBOURS, NODES, PODS_AT, LEASES, NODE_PODS, k8s.ATTACHMENTS):
        if isinstance(fact := situation.snapshot[kind], NotSeen):
            yield f"{kind.name} could not be read: {fact.reason}"
    if len(volumes) != 1:
        count = "no PersistentVolume" if not volumes else f"{len(volumes)} PersistentVolumes"
        yield f"{count} of this cluster is made of {image.image.spec}: whose lock this is is not certain"


def speaks_against(volumes: tuple[Volume, ...], fsid: str, osdmap: OsdMap | NotSeen) -> str | None:
    """What speaks against the configured Ceph being the volume's: another clusterID, or other monitors."""
    for volume in volumes:
        attributes = (volume.spec.csi.volume_attributes if volume.spec.csi else None) or {}
        cluster_id = attributes.get("clusterID", "")
        if _FSID.fullmatch(cluster_id) and cluster_id != fsid:
            return f"the volume's clusterID is {cluster_id}, but the configured Ceph is {fsid}"
        if isinstance(osdmap, OsdMap):
            named = {ip for monitor in _monitors(volume) if (ip := _ip(monitor))}
            ours = {d.ip for d in osdmap.daemons if d.name.startswith("mon.")}
            if named and ours and not named & ours:
                return f"the volume's monitors ({', '.join(sorted(named))}) are not those of the configured Ceph"
    return None


def _monitors(volume: Volume) -> tuple[str, ...]:
    """The monitors that an in-tree volume names, RBD or CephFS."""
    if volume.spec.rbd:
        return volume.spec.rbd.monitors
    named = (volume.spec.cephfs or {}).get("monitors")
    return tuple(str(monitor) for monitor in named) if isinstance(named, list | tuple) else ()


def _ip(monitor: str) -> str | None:
    """The IP of a `host:port` monitor, None for a host name."""
    host = monitor[1:].partition("]")[0] if monitor.startswith("[") else monitor.rpartition(":")[0] or monitor
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _already_fenced(holder: Holder, osdmap: OsdMap | NotSeen, situation: Situation) -> bool:
    if isinstance(osdmap, NotSeen) or not holder.ips:
        return False
    now = situation.snapshot.taken_at
    lasting = [fence for fence in osdmap.fences if fence.until - now >= FAR_OFF]
    return all(any(fence.covers_host(ip) for fence in lasting) for ip in holder.ips)


def _unhealthy(osdmap: OsdMap | NotSeen) -> str | None:
    if isinstance(osdmap, NotSeen) or osdmap.health != "HEALTH_ERR":
        return None
    return "Ceph is in HEALTH_ERR: repair it first (`ceph health detail`), since what it answers now may not last"


def _unfenced_watchers(image: LockedImage, osdmap: OsdMap | NotSeen, situation: Situation) -> Iterator[str]:
    # A fence that soon ends lets its client write again: a watcher behind one is not fenced.
    now = situation.snapshot.taken_at
    lasting = tuple(f for f in (osdmap.fences if isinstance(osdmap, OsdMap) else ()) if f.until - now >= FAR_OFF)
    for watcher in image.watchers or ():
        if not fences_of(watcher.address, lasting, now, host=False):
            yield f"{watcher.client} at {watcher.address}"


def _changed(image: LockedImage, sighting: Sighting | None, node: Node | None) -> str | None:
    """What must not have changed since the first look, and did.

    Without a node its reboots are not asked for: behind a lasting fence nothing rests on how it was at the first look.
    """
    if sighting is None:
        return None
    if sighting.primary != image.primary:
        return f"the primary OSD of {image.pg} changed since the first look: look twice again"
    if sighting.node and node:
        boot = node.status.node_info.boot_id
        if (sighting.node, sighting.boot, sighting.ips) != (node.metadata.name, boot, tuple(sorted(node.ips))):
            return f"node {node.metadata.name} has rebooted or changed its addresses since the first look"
    return None


def _reserved(locker: Locker, host: Host, situation: Situation) -> Iterator[str]:
    """Who the holder may be that nobody fences by rule: it works for volumes all over the cluster."""
    sessions, pods = situation.snapshot.seen(SESSIONS), situation.snapshot.seen(NODE_PODS)
    for session in sessions.open if sessions else ():
        if session.client == locker.client and (session.entity.startswith("mgr.") or "rbd-mirror" in session.entity):
            yield session.entity
    if host.pod and _CSI_CONTROLLER.search(host.pod):
        yield f"the CSI controller {host.pod}"
    if locker.managed and host.node:
        name = host.node.metadata.name
        on_node = [pod for pod in (pods.full if pods else ()) if pod.spec.node_name == name and pod.may_be_running]
        yield from _csi_controllers(on_node)


def _csi_controllers(on_node: list[Pod]) -> Iterator[str]:
    for pod in on_node:
        if _CSI_CONTROLLER.search(pod.metadata.name) and pod.metadata.deletion_timestamp is None:
            yield f"the CSI controller {pod.metadata.namespace}/{pod.metadata.name}"


def _watches_elsewhere(locker: Locker, image: LockedImage, situation: Situation) -> bool | None:
    """Whether the locker's client watches another image; None where not all locked images were looked at."""
    locks = situation.snapshot.seen(NEIGHBOURS)
    others = [i for i in (locks.images if locks else ()) if i.image != image.image]
    if any(w.client == locker.client for other in others for w in other.watchers or ()):
        return True
    complete = locks is not None and locks.pools and not locks.problems
    return False if complete and all(other.watchers is not None for other in others) else None


def _holder(
    image: LockedImage, locker: Locker, host: Host, down: bool | None, volumes: tuple[Volume, ...], situation: Situation
) -> Holder:
    node = host.node
    if node is None:
        return Holder(None, f"the holder's node is not known: {host.why}", address_is_pod=host.pod)
    name = node.metadata.name
    unclear = _unconfirmed(node, locker, volumes, situation)
    if (stated := situation.params.get("node")) and stated != name:
        unclear = f"the runbook is run for node {stated}, but {host.why}"
    if node.odd_addresses:
        unclear = (
            f"node {name} has addresses that are none ({', '.join(node.odd_addresses)}): what to fence is not certain"
        )
    recorded, strange = _recorded(node, image, locker, situation)
    if strange:
        unclear = f"a writer of {image.image.spec} was seen at {', '.join(strange)}, on no machine that is known"
    ips = tuple(dict.fromkeys((*node.internal_ips, locker.address.ip, *recorded)))
    cordoned = bool(node.spec.unschedulable) or any(
        act.action == "kubernetes.cordon" and node.subject in act.targets for act in situation.expected
    )
    pods = situation.snapshot.seen(NODE_PODS)
    on_node = [p for p in (pods.full if pods else ()) if p.spec.node_name == name and p.may_be_running]
    return Holder(
        node=name, unclear=unclear, ready=node.is_ready, down=down, cordoned=cordoned, ips=ips,
        foreign=tuple(_foreign(name, ips, volumes, on_node, situation)),
        uses=tuple(_uses(node, volumes, situation)), address_is_pod=host.pod,
        dies=(*sorted(_dies(on_node, situation)), *_clients_at(ips, situation), *_not_looked_at(situation)),
    )  # fmt: skip


def _recorded(node: Node, image: LockedImage, locker: Locker, situation: Situation) -> tuple[list[str], list[str]]:
    """The addresses that earlier looks saw writers of the image at: the holder's own ones, and those of nobody known.

    Whoever watches now is judged as a watcher. An address of another node is that node's business.
    """
    sighting = sighting_of(image, locker, situation.snapshot.seen(SIGHTINGS) or ())
    now = {str(watcher.address) for watcher in image.watchers or ()}
    osdmap, nodes = situation.snapshot.seen(OSDMAP), situation.snapshot.seen(NODES)
    others = {ip for n in (nodes.full if nodes else ()) if n.metadata.name != node.metadata.name for ip in n.ips}
    others |= {daemon.ip for daemon in (osdmap.daemons if osdmap else ())} | set(osdmap.own_ips if osdmap else ())
    own: list[str] = []
    strange: list[str] = []
    for ip in dict.fromkeys(Address.parse(a).ip for a in (sighting.watched_from if sighting else ()) if a not in now):
        found = host_of(ip, situation.snapshot).node
        if ip == locker.address.ip or (found is not None and found.metadata.name == node.metadata.name):
            own.append(ip)
        elif ip not in others:
            strange.append(ip)
    return own, strange


def _unconfirmed(node: Node, locker: Locker, volumes: tuple[Volume, ...], situation: Situation) -> str | None:
    """Why an address alone does not name the node: the cookie, the old pod or an attachment must agree with it."""
    name = node.metadata.name
    agreeing: list[str] = []
    against: list[str] = []
    if locker.cookie.startswith(KUBELET_COOKIE):
        host = locker.cookie.removeprefix(KUBELET_COOKIE)
        (agreeing if host in (name, name.partition(".")[0]) else against).append(f"the lock's cookie names {host}")
    waiting_on = {pod.spec.node_name for pod in situation.users() if waits(pod)}
    for pod in situation.users():
        if not waits(pod):
            where = f"pod {pod.metadata.namespace}/{pod.metadata.name} is bound to {pod.spec.node_name}"
            (agreeing if pod.spec.node_name == name else against).append(where)
    attachments = situation.snapshot.seen(k8s.ATTACHMENTS)
    names = {v.metadata.name for v in volumes}
    for attachment in attachments.full if attachments else ():
        if attachment.spec.source.persistent_volume_name in names and attachment.spec.node_name not in waiting_on:
            where = f"attachment {attachment.metadata.name} is to {attachment.spec.node_name}"
            (agreeing if attachment.spec.node_name == name else against).append(where)
    if against:
        return (
            f"{locker.address.ip} is an address of {name}, but {', '.join(against)}: the holder's node is not certain"
        )
    if not agreeing:
        return f"only its address leads to {name}: neither cookie, old pod nor attachment confirms it"
    return None


def _foreign(
    name: str, ips: tuple[str, ...], volumes: tuple[Volume, ...], on_node: list[Pod], situation: Situation
) -> Iterator[str]:
    """Who else would lose its connections if these addresses were fenced."""
    explained = {f"client.{v.spec.rbd.user}" for v in volumes if v.spec.rbd}
    sessions = situation.snapshot.seen(SESSIONS)
    for session in sessions.open if sessions else ():
        if session.ip in ips and session.entity not in explained:
            yield f"{session.entity or 'an unnamed client'} ({session.client}), which has a session from {session.ip}"
    known = [s for s in (sessions.open if sessions else ()) if s.ip in ips and s.entity in explained]
    clients, pods = {s.client for s in known}, sum(_is_on_ceph(pod, situation) is True for pod in on_node)
    if len(clients) > pods + 1:  # one for each pod, and one `rbd` command: any more come from somewhere else
        yield f"{len(clients)} clients in session from there, though only {pods} pods with Ceph volumes are known there"
    nodes = situation.snapshot.seen(NODES)
    for other in nodes.full if nodes else ():
        shared = set(other.ips) & set(ips)
        if shared and other.metadata.name != name:
            yield f"node {other.metadata.name}, which has {', '.join(sorted(shared))} too"
    yield from _csi_controllers(on_node)
    yield from _neighbours(ips, on_node, situation)


def _neighbours(ips: tuple[str, ...], on_node: list[Pod], situation: Situation) -> Iterator[str]:
    """Clients at these addresses that have another image open, which no pod on the node accounts for: somebody's work."""
    everywhere = situation.snapshot.seen(NEIGHBOURS)
    accounted = {image for pod in on_node for image in _images_by_claim(pod, situation)}
    for other in everywhere.images if everywhere else ():
        if other.image.spec in accounted or other.image.spec == situation.params.get("image"):
            continue
        for watcher in other.watchers or ():
            if watcher.address.ip in ips:
                yield f"{watcher.client} at {watcher.address}, which has {other.image.spec} open for no pod of this node"


def _images_by_claim(pod: Pod, situation: Situation) -> Iterator[str]:
    volumes = situation.snapshot.seen(k8s.VOLUMES)
    for volume in volumes.full if volumes else ():
        ref = volume.spec.claim_ref
        if (
            ref
            and ref.namespace == pod.metadata.namespace
            and ref.name in pod.claims
            and (spec := image_of_volume(volume))
        ):
            yield str(spec)


def _uses(node: Node, volumes: tuple[Volume, ...], situation: Situation) -> Iterator[str]:
    """What shows that the node uses the volume still. That none of this is there proves nothing."""
    name, attachments = node.metadata.name, situation.snapshot.seen(k8s.ATTACHMENTS)
    for pod in situation.users():
        if pod.spec.node_name == name:
            yield f"pod {pod.metadata.namespace}/{pod.metadata.name} there uses the claim"
    names = {v.metadata.name for v in volumes}
    for attachment in attachments.full if attachments else ():
        if attachment.spec.source.persistent_volume_name in names and attachment.spec.node_name == name:
            yield f"attachment {attachment.metadata.name} is to it"
    known_as = {v.spec.csi.volume_handle for v in volumes if v.spec.csi} | {
        v.spec.rbd.image for v in volumes if v.spec.rbd
    }
    for entry in node.status.volumes_in_use or ():
        if any(part and part in entry for part in known_as):
            yield f"its volumesInUse has {entry}"


def _dies(on_node: list[Pod], situation: Situation) -> Iterator[str]:
    """The RBD and CephFS pods on the node: a fence of its address takes their volumes away."""
    for pod in on_node:
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        if (known := _is_on_ceph(pod, situation)) is not False:
            yield name if known else f"{name} (perhaps: a claim of it is not known)"


def _is_on_ceph(pod: Pod, situation: Situation) -> bool | None:
    """Whether a pod has a volume on Ceph; None where it may have one, by a claim that is not known."""
    volumes = situation.snapshot.seen(k8s.VOLUMES)
    by_claim = {
        (v.spec.claim_ref.namespace, v.spec.claim_ref.name): v
        for v in (volumes.full if volumes else ()) if v.spec.claim_ref
    }  # fmt: skip
    claimed = [by_claim.get((pod.metadata.namespace, claim)) for claim in pod.claims]
    inline = any(is_ceph(entry) for entry in pod.spec.volumes or ())
    if inline or any(v is not None and is_ceph(v) for v in claimed):
        return True
    return None if any(v is None for v in claimed) else False


def _clients_at(ips: tuple[str, ...], situation: Situation) -> list[str]:
    """The clients that are in session from these addresses: a fence ends them too, whatever they are."""
    sessions = situation.snapshot.seen(SESSIONS)
    return sorted({f"{s.entity} in session from {s.ip}" for s in (sessions.open if sessions else ()) if s.ip in ips})


def _not_looked_at(situation: Situation) -> list[str]:
    """Pools that could not be looked at: who has their images open from these addresses is not known."""
    everywhere = situation.snapshot.seen(NEIGHBOURS)
    blind = {problem.pool for problem in (everywhere.problems if everywhere else ())}
    return [f"perhaps users of pool {pool}, which could not be read" for pool in sorted(blind)]
