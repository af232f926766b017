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
from diagnostics.facts.holders import LEASES, NODE_PODS, NODES, PODS_AT, Host, host_of, is_bound, is_down
from diagnostics.facts.resources import Node, Pod, Volume
from diagnostics.verdicts import BETWEEN_LOOKS, FAR_OFF, fences_of, holder_ips, sessions_of, sighting_of
from runbooks.fencing import YOUNGEST_LOCK, Case, Holder
from runbooks.neighbours import CSI_CONTROLLER, csi_controllers, foreign, is_on_ceph, open_images, unread_images
from runbooks.situation import CannotPlan, Situation, waits

KUBELET_COOKIE = "kubelet_lock_magic_"
_FSID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
    at_work = sessions_of(locker, sessions, holder_ips(locker, snapshot, sighting)) if sessions else ()
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
        sessions=tuple(f"{s.entity} ({s.client})" for s in at_work),
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
        if volume.whereabouts is not None and not volume.whereabouts.here:
            return f"volume {volume.metadata.name}: {volume.whereabouts.says}"
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
    if host.pod and CSI_CONTROLLER.search(host.pod):
        yield f"the CSI controller {host.pod}"
    if locker.managed and host.node:
        name = host.node.metadata.name
        on_node = [pod for pod in (pods.full if pods else ()) if pod.spec.node_name == name and pod.may_be_running]
        yield from csi_controllers(on_node)


def _watches_elsewhere(locker: Locker, image: LockedImage, situation: Situation) -> bool | None:
    """Whether the locker's client watches another image; None where not all were looked at: the locked, the named."""
    everywhere = situation.snapshot.seen(NEIGHBOURS)
    if everywhere is None:
        return None
    others = [(spec, watchers) for spec, watchers in open_images(everywhere) if spec != image.image.spec]
    if any(watcher.client == locker.client for _, watchers in others for watcher in watchers):
        return True
    unread = [spec for spec in unread_images(everywhere, situation) if spec != image.image.spec]
    return None if unread or not everywhere.pools or everywhere.problems else False


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
        foreign=tuple(foreign(name, ips, volumes, on_node, situation)),
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
            if pod.spec.node_name != name:
                against.append(where)
            elif all(is_bound(volume) for volume in volumes):  # else its claim may be another of the same name
                agreeing.append(where)
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
        if (known := is_on_ceph(pod, situation)) is not False:
            yield name if known else f"{name} (perhaps: a claim of it is not known)"


def _clients_at(ips: tuple[str, ...], situation: Situation) -> list[str]:
    """The clients that are in session from these addresses: a fence ends them too, whatever they are."""
    sessions = situation.snapshot.seen(SESSIONS)
    return sorted({f"{s.entity} in session from {s.ip}" for s in (sessions.open if sessions else ()) if s.ip in ips})


def _not_looked_at(situation: Situation) -> list[str]:
    """Pools and images that could not be looked at: who has them open from these addresses is not known."""
    everywhere = situation.snapshot.seen(NEIGHBOURS)
    if everywhere is None:
        return []
    pools = sorted({f"pool {problem.pool}" for problem in everywhere.problems})
    images = [f"image {spec}" for spec in unread_images(everywhere, situation) if spec != situation.params.get("image")]
    return [f"perhaps users of {what}, which could not be read" for what in (*pools, *images)]
