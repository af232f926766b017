"""Joins facts into one causal chain: event -> pod -> PVC -> PV -> image -> lock -> client -> node.

Every link says what is so and shows where it was read. A chain ends where proof ends; it never guesses further.
"""

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from diagnostics.causes import Cause, classify, is_umbrella, telling
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, ImageSpec, LockedImage, Locker
from diagnostics.facts.holders import (
    LEASES,
    NODES,
    PODS_AT,
    host_of,
    images_of_pod,
    is_down,
    lease_of,
    volume_of,
)  # fmt: skip
from diagnostics.facts.images import image_of_pod_volume, image_of_volume, is_rbd
from diagnostics.facts.kubernetes import CLAIMS, EVENTS, PODS, REPLICA_SETS, VOLUMES
from diagnostics.facts.resources import Claim, Event, Node, Pod, Volume
from diagnostics.model import Change, Evidence, Finding, Link, Subject, quoted
from diagnostics.verdicts import Verdict, sessions_of, verdict_of

# A kubelet repeats the event of a failing mount every few minutes; one that has not come for longer than this is past.
REPEATED_WITHIN = timedelta(minutes=15)
LATELY = timedelta(days=7)  # what changed longer ago hardly broke it just now
MOST_SIBLINGS = 3  # events shown beside the telling one: what else the kubelet says of the same pod
# What a mount can look like from outside while a lock is held elsewhere. Any other cause explains itself.
_MAY_BE_THE_LOCK = frozenset({
    "unknown", "mount-timeout-umbrella", "rbd-image-locked", "rbd-image-in-use", "csi-rpc-timeout",
    "csi-operation-in-flight", "rbd-advisory-lock-blocks-exclusive",
})  # fmt: skip

READS = (
    Read(PODS, where=lambda pod: pod.is_creating), Read(EVENTS), Read(CLAIMS), Read(VOLUMES), Read(LOCKS), Read(OSDMAP),
    Read(SESSIONS), Read(SIGHTINGS), Read(NODES), Read(PODS_AT), Read(LEASES), Read(REPLICA_SETS),
)  # fmt: skip


def explain(finding: Finding, snapshot: Snapshot) -> Finding:
    """Complete a finding: its chain from symptom to root, the cause that the whole chain proves, what stayed unseen."""
    unseen: list[str] = list(finding.unseen)
    cause = finding.cause
    if finding.subject.kind == "Pod" and (pod := _pod(finding.subject, snapshot)):
        links, cause = _from_pod(pod, finding.cause, snapshot, unseen)
    elif finding.subject.kind == "RBDImage" and (image := _locked_by_name(finding.subject.name, snapshot)):
        links = [*_volume_links(image, snapshot), *_lock_links(image, snapshot, unseen)]
    else:
        links = list(finding.chain)
    root = _root(links)
    return msgspec.structs.replace(
        finding, chain=tuple(links), cause=cause, root=root, unseen=tuple(dict.fromkeys(unseen))
    )


def _root(links: list[Link]) -> Subject | None:
    return links[-1].subject if links else None


def _pod(subject: Subject, snapshot: Snapshot) -> Pod | None:
    pods = snapshot.seen(PODS)
    return next((pod for pod in (pods.full if pods else ()) if pod.metadata.uid == subject.uid), None)


def _locked_by_name(spec: str, snapshot: Snapshot) -> LockedImage | None:
    locks = snapshot.seen(LOCKS)
    return next((image for image in (locks.images if locks else ()) if image.image.spec == spec), None)


def _from_pod(pod: Pod, found: str | None, snapshot: Snapshot, unseen: list[str]) -> tuple[list[Link], str | None]:
    by_lock = found == "rbd-image-locked"  # the finding is about the lock: what else an event says is said beside it
    event, cause = telling_event(pod, snapshot, unseen, of_lock=by_lock)
    slug = found if found not in (None, "unknown") or cause is None else cause.cause
    links = [*(_event_links(pod, event, snapshot)), _pod_link(pod)]
    if cause is not None and cause.cause not in _MAY_BE_THE_LOCK and not by_lock:
        return links, cause.cause  # whatever else is true of the pod's images, this is what it waits for
    held: list[Link] = []
    free: list[Link] = []
    ended: list[Link] = []
    for entry in pod.spec.volumes or ():
        path, spec = _volume_path(pod, entry, snapshot, unseen)
        image = _locked_by_name(str(spec), snapshot) if spec else None
        if image is not None and _holds_up(pod, image, snapshot):
            held += [*path, *_lock_links(image, snapshot, unseen)]
        elif image is None and spec is not None:
            unlocked = [*path, *_unlocked_image(spec, snapshot, unseen)]
            free = free or unlocked
        elif image is None:
            ended = ended or path
    if held:
        return [*links, *held], "rbd-image-locked"
    if cause is not None and is_umbrella(cause):
        unseen.append("only a time-out is known: no sibling event or lock says why the volume does not come")
    return [*links, *(free or ended)], slug


def telling_event(
    pod: Pod, snapshot: Snapshot, unseen: list[str], *, of_lock: bool = False
) -> tuple[Event | None, Cause | None]:
    """The event of a pod, or of its claims, that tells most, and its cause. The newest is not always the telling one.

    With `of_lock`, one that may tell of a lock goes before all that tell of something else.
    """
    events = snapshot[EVENTS]
    if isinstance(events, NotSeen):
        unseen.append(f"events: {events.reason}")
        return None, None
    claims = {c.metadata.uid for c in _claims(pod, snapshot)}
    about = [
        event for event in events.full
        if event.type == "Warning" and event.about.uid and event.about.uid in {pod.metadata.uid, *claims}
    ]  # fmt: skip
    about.sort(key=lambda event: event.last_seen or snapshot.taken_at)
    about = [event for event in about if not _outdated(event, about, snapshot)]
    if of_lock:
        causes = [classify(event.message or "", event.reason).cause for event in about]
        about = [e for e, cause in zip(about, causes, strict=True) if cause in _MAY_BE_THE_LOCK] or about
    index = telling([(event.message or "", event.reason) for event in about])
    if index is None:
        return None, None
    return about[index], classify(about[index].message or "", about[index].reason)


def _outdated(event: Event, siblings: list[Event], snapshot: Snapshot) -> bool:
    """Whether an event tells of a trouble that is over: it stopped coming, while others of its reason still do."""
    newest = max(other.last_seen or snapshot.taken_at for other in siblings if other.reason == event.reason)
    seen = event.last_seen or snapshot.taken_at
    return snapshot.taken_at - seen > REPEATED_WITHIN and newest > seen


def _claims(pod: Pod, snapshot: Snapshot) -> Iterator[Claim]:
    claims = snapshot.seen(CLAIMS)
    for claim in claims.full if claims else ():
        if claim.metadata.namespace == pod.metadata.namespace and claim.metadata.name in pod.claims:
            yield claim


def _event_links(pod: Pod, event: Event | None, snapshot: Snapshot) -> Iterator[Link]:
    if event is None:
        return
    cause = classify(event.message or "", event.reason)
    times = f" ({event.count} times)" if event.count and event.count > 1 else ""
    says = f"{event.reason}{times}: {cause.why}"
    proof = [Evidence(f"event {event.metadata.namespace}/{event.metadata.name}", event.message or "")]
    events = snapshot.seen(EVENTS)
    for other in events.full if events else ():
        known = classify(other.message or "", other.reason).cause not in (cause.cause, "unknown")
        if other.metadata.uid != event.metadata.uid and other.about.uid == pod.metadata.uid and known:
            proof.append(Evidence(f"event {other.metadata.namespace}/{other.metadata.name}", other.message or ""))
            if len(proof) > MOST_SIBLINGS:
                break
    yield Link(event.subject, says, tuple(proof))


def _pod_link(pod: Pod) -> Link:
    meta, since = pod.metadata, pod.waiting_since
    waits = f"waits in ContainerCreating on node {pod.spec.node_name}" if pod.is_creating else f"is {pod.status.phase}"
    says = f"{waits} since {since:%Y-%m-%dT%H:%M:%SZ}" if since else waits
    text = f"status.phase {pod.status.phase}, spec.nodeName {pod.spec.node_name}"
    return Link(pod.subject, says, (Evidence(f"GET pods {meta.namespace}/{meta.name}", text),))


def _volume_path(pod: Pod, entry: object, snapshot: Snapshot, unseen: list[str]) -> tuple[list[Link], ImageSpec | None]:
    """The links from one of a pod's volumes to its image: claim and PV, or nothing for an inline volume."""
    source = getattr(entry, "persistent_volume_claim", None)
    if source is None:
        return [], image_of_pod_volume(entry)  # type: ignore[arg-type]
    claim = next((c for c in _claims(pod, snapshot) if c.metadata.name == source.claim_name), None)
    if claim is None:
        blind = snapshot[CLAIMS]
        if isinstance(blind, NotSeen):
            unseen.append(f"claim {source.claim_name}: {blind.reason}")
        return [], None
    links = [_claim_link(claim)]
    volume = volume_of(pod, source.claim_name, snapshot)
    if volume is None:
        if isinstance(unread := snapshot[VOLUMES], NotSeen):
            unseen.append(f"volume of {source.claim_name}: {unread.reason}")
        return links, None
    image = image_of_volume(volume)
    if image is None and is_rbd(volume):
        unseen.append(f"the image of {volume.subject}: its attributes do not say which it is")
    return [*links, _volume_link(volume)], image


def _claim_link(claim: Claim) -> Link:
    meta = claim.metadata
    text = f"status.phase {claim.status.phase}, spec.volumeName {claim.spec.volume_name or '(none)'}"
    source = f"GET persistentvolumeclaims {meta.namespace}/{meta.name}"
    return Link(
        claim.subject, f"is {claim.status.phase} to {claim.spec.volume_name or 'nothing'}", (Evidence(source, text),)
    )


def _volume_link(volume: Volume) -> Link:
    spec = image_of_volume(volume)
    if volume.spec.rbd:
        text = f"spec.rbd: pool {volume.spec.rbd.pool}, image {volume.spec.rbd.image}, user {volume.spec.rbd.user}"
    elif volume.spec.csi:
        text = f"spec.csi: driver {volume.spec.csi.driver}, volumeHandle {volume.spec.csi.volume_handle}"
    else:
        text = "neither spec.rbd nor a Ceph CSI driver"
    nameless = "is an RBD image that it does not name" if is_rbd(volume) else "is no RBD image"
    says = f"is the RBD image {spec}" if spec else nameless
    return Link(volume.subject, says, (Evidence(f"GET persistentvolumes {volume.metadata.name}", text),))


def _volume_links(image: LockedImage, snapshot: Snapshot) -> Iterator[Link]:
    volumes = snapshot.seen(VOLUMES)
    wanted = ImageSpec(image.image.pool, image.image.namespace, image.image.name)
    for volume in volumes.full if volumes else ():
        if image_of_volume(volume) == wanted:
            yield _volume_link(volume)


def _unlocked_image(spec: ImageSpec, snapshot: Snapshot, unseen: list[str]) -> Iterator[Link]:
    locks = snapshot[LOCKS]
    if isinstance(locks, NotSeen):
        unseen.append(f"image {spec}: {locks.reason}")
        return
    unseen.extend(f"pool {problem.pool}: {problem.reason}" for problem in locks.problems if problem.pool == spec.pool)
    subject = Subject("RBDImage", None, str(spec), f"{locks.fsid}/{spec.pool}/{spec.namespace}/{spec.name}")
    if spec in locks.absent:
        yield Link(
            subject, "does not exist in Ceph", (Evidence(f"rados {spec.pool}", "neither rbd_id nor .rbd object"),)
        )
    elif spec in locks.free:
        yield Link(subject, "is not locked", (Evidence(f"lock get_info on {spec}", "no locker"),))
    elif not locks.covers(spec):
        unseen.append(f"image {spec}: pool {spec.pool} was not looked at")


def _holds_up(pod: Pod, image: LockedImage, snapshot: Snapshot) -> bool:
    """Whether a lock is held by somebody other than the pod's own node at work."""
    for locker in image.lockers:
        host = host_of(locker.address.ip, snapshot).node
        own = host is not None and host.metadata.name == pod.spec.node_name
        if not (own and verdict_of(image, locker, snapshot).verdict is Verdict.LIVE):
            return True
    return False


def _lock_links(image: LockedImage, snapshot: Snapshot, unseen: list[str]) -> Iterator[Link]:
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
        yield from _locker_links(image, locker, snapshot, unseen)


def _locker_links(image: LockedImage, locker: Locker, snapshot: Snapshot, unseen: list[str]) -> Iterator[Link]:
    uid = f"{image.image.subject.uid}#{locker.name}"
    kind = "exclusive" if image.exclusive else "shared"
    held = f"{kind} lock rbd_lock: {locker.client} {locker.cookie} {locker.address}"
    judgement = verdict_of(image, locker, snapshot)
    yield Link(
        Subject("RBDLock", None, locker.name, uid),
        f"is held by {locker.client} from {locker.address.ip}: {judgement.verdict}",
        (Evidence(f"cls lock get_info on {image.image.pool}/{image.image.header}", held),),
    )
    yield Link(
        Subject("CephClient", None, locker.client, f"{image.image.fsid}/{locker.client}"),
        judgement.why,
        tuple(_client_evidence(image, locker, snapshot)),
    )
    host = host_of(locker.address.ip, snapshot)
    if host.node is None:
        unseen.append(f"the node of {locker.client}: {host.why}")
        return
    says, lease = _node_state(host.node, snapshot)
    yield Link(host.node.subject, says, (Evidence(f"GET nodes {host.node.metadata.name}", f"{host.why}; {lease}"),))


def _client_evidence(image: LockedImage, locker: Locker, snapshot: Snapshot) -> Iterator[Evidence]:
    watchers = "could not be read" if image.watchers is None else ", ".join(str(w.address) for w in image.watchers)
    yield Evidence(f"rbd watchers of {image.image.spec}", watchers or "none")
    sessions, osdmap = snapshot[SESSIONS], snapshot[OSDMAP]
    if isinstance(sessions, NotSeen):
        yield Evidence("mon sessions", f"not seen: {sessions.reason}")
    else:
        by = locker.client if locker.managed else locker.address.ip
        found = ", ".join(f"{s.entity} {s.client}" for s in sessions_of(locker, sessions)) or "none"
        yield Evidence(f"mon sessions of {by}", found)
    if not isinstance(osdmap, NotSeen):
        covering = [fence.entry for fence in osdmap.fences if fence.covers(locker.address)]
        yield Evidence("osd blocklist", ", ".join(covering) or f"no entry covers {locker.address}")
        yield Evidence("ceph cluster", f"the one that is configured ({osdmap.fsid}) is assumed to be the volume's")


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


def changes(finding: Finding, snapshot: Snapshot) -> tuple[Change, ...]:
    """What changed lately on the chain's subjects, oldest first."""
    found: list[Change] = []
    for node in nodes.full if (nodes := snapshot.seen(NODES)) else ():
        on_chain = any(link.subject.uid == node.metadata.uid for link in finding.chain)
        if on_chain and node.ready and node.ready.last_transition_time:
            says = f"Ready became {node.ready.status}" + (f" ({node.ready.reason})" if node.ready.reason else "")
            found.append(Change(node.ready.last_transition_time, node.subject, says))
    if pod := _pod(finding.subject, snapshot):
        owner = pod.metadata.controller
        if pod.metadata.creation_timestamp:
            by = f" by {owner.kind} {owner.name}" if owner else ""
            found.append(Change(pod.metadata.creation_timestamp, pod.subject, f"created{by}"))
        sets = snapshot.seen(REPLICA_SETS)
        for owner_set in sets.full if sets else ():
            made = owner_set.metadata.creation_timestamp
            subject = Subject(
                "ReplicaSet", owner_set.metadata.namespace, owner_set.metadata.name, owner_set.metadata.uid
            )
            if made and owner is not None and owner.uid == owner_set.metadata.uid:
                found.append(Change(made, subject, "created"))
    lately = (change for change in found if snapshot.taken_at - change.when <= LATELY)
    return tuple(sorted(lately, key=lambda change: change.when))


__all__ = ["READS", "changes", "explain", "images_of_pod", "telling_event"]
