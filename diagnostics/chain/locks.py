"""The end of a chain that leads into Ceph: image -> lock -> client -> node."""

from collections.abc import Iterator

from diagnostics.chain.volumes import volume_link
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, ImageSpec, LockedImage, Locker, Watcher
from diagnostics.facts.holders import LEASES, host_of, is_down, lease_of, volumes_of
from diagnostics.facts.resources import Node, Pod
from diagnostics.model import Evidence, Link, Subject, quoted
from diagnostics.verdicts import Verdict, holder_ips, sessions_of, sighting_of, verdict_of

_NOT_KNOWN = "whose client that is, is not known"


def locked_by_name(spec: str, snapshot: Snapshot) -> LockedImage | None:
    """The locked image with this spec (`pool[/namespace]/image`)."""
    locks = snapshot.seen(LOCKS)
    return next((image for image in (locks.images if locks else ()) if image.image.spec == spec), None)


def volume_links(image: LockedImage, snapshot: Snapshot) -> Iterator[Link]:
    """The PersistentVolumes that are made of an image."""
    for volume in volumes_of(image.image.spec, snapshot):
        yield volume_link(volume)


def unlocked_image(
    spec: ImageSpec, pod_node: str | None, snapshot: Snapshot, unseen: list[str], *, told_locked: bool = False
) -> tuple[list[Link], str | None]:
    """The links of an image that carries no lock, and the cause if it is open elsewhere.

    `told_locked`: an event says that it is locked, which it is not (any more): a wrong key gives the same text.
    """
    locks = snapshot[LOCKS]
    if isinstance(locks, NotSeen):
        unseen.append(f"image {spec}: {locks.reason}")
        return [], None
    unseen.extend(f"pool {problem.pool}: {problem.reason}" for problem in locks.problems if problem.pool == spec.pool)
    subject = Subject("RBDImage", None, str(spec), f"{locks.fsid}/{spec.pool}/{spec.namespace}/{spec.name}")
    if spec in locks.absent:
        proof = Evidence(f"rados {spec.pool}", "neither rbd_id nor .rbd object")
        return [Link(subject, "does not exist in Ceph", (proof,))], "ceph-object-missing"
    if spec in locks.free:
        return _free_image(subject, locks.users.get(str(spec)), pod_node, snapshot, unseen, told_locked=told_locked)
    if not locks.covers(spec):
        unseen.append(f"image {spec}: pool {spec.pool} was not looked at")
    return [], None


def _free_image(
    image: Subject, watchers: tuple[Watcher, ...] | None, pod_node: str | None, snapshot: Snapshot, unseen: list[str],
    *, told_locked: bool,
) -> tuple[list[Link], str | None]:  # fmt: skip
    proof = [Evidence(f"lock get_info on {image.name}", "no locker")]
    if watchers is None:
        unseen.append(f"the users of image {image.name}: its watchers could not be read")
    else:
        told = ", ".join(f"{w.client} {w.address}" for w in watchers) or "none"
        proof.append(Evidence(f"rbd watchers of {image.name}", told))
    elsewhere = [w for w in watchers or () if _is_elsewhere(w, pod_node, snapshot)]
    strangers = [w for w in watchers or () if w not in elsewhere and host_of(w.address.ip, snapshot).node is None]
    unseen.extend(_whose(w.client, w.address.ip, snapshot) for w in strangers)
    if elsewhere:
        users = quoted([w.client for w in elsewhere])
        links = [Link(image, f"is not locked, but open at {users}", tuple(proof))]
        for watcher in elsewhere:
            links += _watcher_links(image, watcher, snapshot, unseen)
        return links, "rbd-image-in-use"
    if strangers:
        says = f"is not locked, but open at {quoted([w.client for w in strangers])}, and {_NOT_KNOWN}"
    elif told_locked:
        says = "is not locked: the lock went since, or the node's user or key is wrong, which gives the same text"
    elif watchers:
        says = "is not locked, and open at the pod's own node only: an earlier mount there was not undone"
    else:
        says = "is not locked"
    return [Link(image, says, tuple(proof))], None


def _is_elsewhere(watcher: Watcher, node: str | None, snapshot: Snapshot) -> bool:
    """Whether a watcher is known not to be of this node. One of no known node may be of it: nodes have more addresses
    than they report. A mirror daemon is nobody's mount, wherever it runs.
    """
    host = host_of(watcher.address.ip, snapshot).node
    if host is None:
        return _is_mirror(watcher, snapshot)
    return host.metadata.name != node


def _whose(client: str, ip: str, snapshot: Snapshot) -> str:
    return f"whose client {client} at {ip} is, is not known: {host_of(ip, snapshot).why}"


def _is_mirror(watcher: Watcher, snapshot: Snapshot) -> bool:
    return any("rbd-mirror" in entity for entity in _entities(watcher, snapshot))


def _entities(watcher: Watcher, snapshot: Snapshot) -> set[str]:
    """The Ceph users that a watching client has open sessions as."""
    sessions = snapshot.seen(SESSIONS)
    return {s.entity for s in (sessions.open if sessions else ()) if s.client == watcher.client and s.entity}


def _watcher_links(image: Subject, watcher: Watcher, snapshot: Snapshot, unseen: list[str]) -> Iterator[Link]:
    """The client that has an unlocked image open, and its node."""
    entities, mirror = _entities(watcher, snapshot), _is_mirror(watcher, snapshot)
    who = f" ({quoted(sorted(entities))})" if entities else ""
    daemon = ", a mirror daemon: it is no user of the volume, though old drivers count it as one" if mirror else ""
    yield Link(
        Subject("CephClient", None, watcher.client, f"{image.uid.partition('/')[0]}/{watcher.client}"),
        f"watches the image from {watcher.address}{who}{daemon}",
        (Evidence(f"rbd watchers of {image.name}", f"{watcher.client} {watcher.address}"),),
    )
    host = host_of(watcher.address.ip, snapshot)
    if host.node is not None and not mirror:
        yield node_link(host.node, snapshot, host.why)
    elif host.node is None:
        unseen.append(f"the node of {watcher.client}: {host.why}")


def holds_up(pod: Pod, image: LockedImage, snapshot: Snapshot) -> bool:
    """Whether a lock is held by somebody other than the pod's own node at work.

    A holder at work whose node is not known may be just that: nodes have more addresses than they report.
    """
    for locker in image.lockers:
        host = host_of(locker.address.ip, snapshot).node
        may_be_own = host is None or host.metadata.name == pod.spec.node_name
        if not (may_be_own and verdict_of(image, locker, snapshot).verdict is Verdict.LIVE):
            return True
    return False


def is_live(image: LockedImage, snapshot: Snapshot) -> bool:
    """Whether all that hold a lock on an image are at work."""
    return all(verdict_of(image, locker, snapshot).verdict is Verdict.LIVE for locker in image.lockers)


def stranger_links(image: LockedImage, snapshot: Snapshot, unseen: list[str]) -> Iterator[Link]:
    """The image, if some of those that hold its lock are at work and of no known node: it ends there, as nobody is blamed."""
    strangers = [
        locker for locker in image.lockers
        if host_of(locker.address.ip, snapshot).node is None
        and verdict_of(image, locker, snapshot).verdict is Verdict.LIVE
    ]  # fmt: skip
    if not strangers:
        return
    unseen.extend(_whose(locker.client, locker.address.ip, snapshot) for locker in strangers)
    says = f"is locked by {quoted([locker.client for locker in strangers])}, at work, and {_NOT_KNOWN}"
    source = f"cls lock get_info on {image.image.pool}/{image.image.header}"
    held = (Evidence(source, f"{one.client} {one.cookie} {one.address}") for one in strangers)
    yield Link(image.image.subject, says, tuple(held))


def lock_links(
    image: LockedImage, snapshot: Snapshot, unseen: list[str], pod_node: str | None = None
) -> Iterator[Link]:
    """Image, lock, client and node of each locker. `pod_node` is where the waiting pod is: its own lock is told as that."""
    meta = image.image
    watchers = (
        "not readable" if image.watchers is None else ", ".join(f"{w.client} {w.address}" for w in image.watchers)
    )
    placed = f"; pg {image.pg}, primary osd.{image.primary}" if image.pg else ""
    yield Link(
        meta.subject,
        f"is locked by {quoted([locker.client for locker in image.lockers])}",
        (
            Evidence(
                f"rados {meta.pool}/{meta.header}", f"format {meta.format}; watchers: {watchers or 'none'}{placed}"
            ),
        ),
    )
    for locker in image.lockers:
        yield from _locker_links(image, locker, snapshot, unseen, pod_node)


def _locker_links(
    image: LockedImage, locker: Locker, snapshot: Snapshot, unseen: list[str], pod_node: str | None
) -> Iterator[Link]:
    uid = f"{image.image.subject.uid}#{locker.name}"
    kind = "exclusive" if image.exclusive else "shared"
    held = f"{kind} lock rbd_lock: {locker.client} {locker.cookie} {locker.address}"
    judgement = verdict_of(image, locker, snapshot)
    host = host_of(locker.address.ip, snapshot)
    own = ", the pod's own node" if host.node and host.node.metadata.name == pod_node else ""
    if host.node is None and pod_node and judgement.verdict is Verdict.LIVE:
        own = f" ({_NOT_KNOWN})"
    yield Link(
        Subject("RBDLock", None, locker.name, uid),
        f"is held by {locker.client} from {locker.address.ip}{own}: {judgement.verdict}",
        (Evidence(f"cls lock get_info on {image.image.pool}/{image.image.header}", held),),
    )
    yield Link(
        Subject("CephClient", None, locker.client, f"{image.image.fsid}/{locker.client}"),
        judgement.why,
        tuple(_client_evidence(image, locker, snapshot)),
    )
    if host.node is None:
        unseen.append(f"the node of {locker.client}: {host.why}")
        return
    yield node_link(host.node, snapshot, host.why)


def _client_evidence(image: LockedImage, locker: Locker, snapshot: Snapshot) -> Iterator[Evidence]:
    watchers = "could not be read" if image.watchers is None else ", ".join(str(w.address) for w in image.watchers)
    yield Evidence(f"rbd watchers of {image.image.spec}", watchers or "none")
    sessions, osdmap = snapshot[SESSIONS], snapshot[OSDMAP]
    if isinstance(sessions, NotSeen):
        yield Evidence("mon sessions", f"not seen: {sessions.reason}")
    else:
        by = locker.client if locker.managed else locker.address.ip
        ips = holder_ips(locker, snapshot, sighting_of(image, locker, snapshot.seen(SIGHTINGS) or ()))
        found = ", ".join(f"{s.entity} {s.client}" for s in sessions_of(locker, sessions, ips)) or "none"
        yield Evidence(f"mon sessions of {by}", found)
    if not isinstance(osdmap, NotSeen):
        covering = [fence.entry for fence in osdmap.fences if fence.covers(locker.address)]
        yield Evidence("osd blocklist", ", ".join(covering) or f"no entry covers {locker.address}")
        placed = [v.whereabouts.says for v in volumes_of(image.image.spec, snapshot) if v.whereabouts]
        assumed = f"the one that is configured ({osdmap.fsid}) is assumed to be the volume's"
        yield Evidence("ceph cluster", placed[0] if placed else assumed)


def node_link(node: Node, snapshot: Snapshot, why: str) -> Link:
    """How a node is; `why` says what led to it."""
    says, lease = _node_state(node, snapshot)
    return Link(node.subject, says, (Evidence(f"GET nodes {node.metadata.name}", f"{why}; {lease}"),))


def _node_state(node: Node, snapshot: Snapshot) -> tuple[str, str]:
    ready = node.ready
    state = f"Ready={ready.status}" if ready else "no Ready condition"
    since = f" since {ready.last_transition_time:%Y-%m-%dT%H:%M:%SZ}" if ready and ready.last_transition_time else ""
    lease = lease_of(node, snapshot.seen(LEASES))
    renewed = lease.spec.renew_time if lease else None
    told = f"lease renewed {renewed:%Y-%m-%dT%H:%M:%SZ}" if renewed else "no lease was found"
    down = {True: "is down: ", False: "", None: ""}[is_down(node, snapshot)]
    cordoned = ", cordoned" if node.spec.unschedulable else ""
    return f"{down}{state}{since}{cordoned}", f"{state}; {told}"
