"""What the API tells of one volume's attaching: who wants it, who says to have it, whether it is attached at all. Pure."""

from datetime import timedelta

from diagnostics.causes import Cause, classify
from diagnostics.facts import Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.csi import CSI_DRIVERS
from diagnostics.facts.holders import CLAIM_USERS, NODES, users_of_claim
from diagnostics.facts.resources import Attachment, Event, Node, Pod, PodRow, Volume

FRESH = timedelta(
    minutes=15
)  # an error of attaching is repeated more often than that; a Multi-Attach is told only once
SETTLED = timedelta(minutes=10)  # an attachment younger than this may be of a pod that comes or goes just now
_SHARED = ("ReadWriteMany", "ReadOnlyMany")  # the controller attaches a volume with either to several nodes


def is_exclusive(volume: Volume) -> bool:
    """Whether a volume may be attached to one node at a time, as far as the attach controller cares."""
    return not any(mode in _SHARED for mode in volume.spec.access_modes or ())


def needs_attachment(volume: Volume, snapshot: Snapshot) -> bool | None:
    """Whether a VolumeAttachment is made for a CSI volume. None: in-tree, or its CSIDriver could not be read.

    A driver without a CSIDriver object is attached for (Kubernetes: `CanAttach` of the CSI plugin).
    """
    drivers = snapshot.seen(CSI_DRIVERS)
    if volume.spec.csi is None or drivers is None:
        return None
    return all(d.spec.attach_required for d in drivers.full if d.metadata.name == volume.spec.csi.driver)


def is_attached_in_tree(volume: Volume, pod: Pod, snapshot: Snapshot) -> bool:
    """Whether volumesAttached of the pod's node has an in-tree RBD volume: `kubernetes.io/rbd/POOL:IMAGE`.

    Old releases of Kubernetes wrote its monitors in place of the pool (`[MON MON]`).
    """
    rbd, nodes = volume.spec.rbd, snapshot.seen(NODES)
    if rbd is None or nodes is None:
        return False
    at = nodes.index("name", lambda node: node.metadata.name).get(pod.spec.node_name, ())
    names = {f"kubernetes.io/rbd/{place}:{rbd.image}" for place in (rbd.pool, f"[{' '.join(rbd.monitors)}]")}
    return any(attached.name in names for node in at for attached in node.status.volumes_attached or ())


def is_in_use(node: Node, volume: Volume) -> bool | None:
    """Whether the node's own volumesInUse has a CSI volume (`kubernetes.io/csi/DRIVER^HANDLE`); None for in-tree ones.

    A down node's list is old: that it has the volume counts, that it lacks it proves nothing.
    """
    if volume.spec.csi is None:
        return None
    name = f"kubernetes.io/csi/{volume.spec.csi.driver}^{volume.spec.csi.volume_handle}"
    return name in (node.status.volumes_in_use or ())


def users_on(node: str, volume: Volume, snapshot: Snapshot) -> tuple[PodRow, ...] | None:
    """The pods on a node that want the volume; None where the pods of its claim's namespace were not all read."""
    ref = volume.spec.claim_ref
    if ref is None:
        return ()
    if not pods_were_read(ref.namespace, snapshot):
        return None
    users = users_of_claim(ref.namespace, ref.name, snapshot)
    return tuple(row for row in users if row.node == node and (row.shows_running or not row.deleting))


def is_leaving(node: Node, volume: Volume, snapshot: Snapshot, within: timedelta | None = None) -> bool:
    """Whether a pod of the volume's claim is being deleted on a node: its volume is about to be let go there.

    `within`: only one that should have ended that lately at the earliest; no unmounting hangs yet.
    """
    ref = volume.spec.claim_ref
    found: list[PodRow] = []
    for kind in (k8s.PODS, CLAIM_USERS):
        if ref is not None and (pods := snapshot.seen(kind)):
            by_claim = pods.rows_by("claim", lambda row: ((row.namespace, name) for name in row.claims))
            found += by_claim.get((ref.namespace, ref.name), ())
    leaving = [row for row in found if row.node == node.metadata.name and row.deleting]
    if within is None:
        return bool(leaving)
    return any(row.deletes is not None and snapshot.taken_at - row.deletes <= within for row in leaving)


def is_young(attachment: Attachment, snapshot: Snapshot) -> bool:
    """Whether an attachment was made so lately that what belongs to it may have been read before."""
    made = attachment.metadata.creation_timestamp
    return made is None or snapshot.taken_at - made <= SETTLED


def is_awaited_for(limit: timedelta, volume: Volume | None, snapshot: Snapshot) -> bool:
    """Whether pods wait in ContainerCreating for a volume, and none for longer: about when the first came, it was let go."""
    ref, pods = volume.spec.claim_ref if volume else None, snapshot.seen(k8s.PODS)
    if ref is None or pods is None:
        return False
    by_claim = pods.index_each("claim", lambda pod: {(pod.metadata.namespace, name) for name in pod.claims})
    waiting = [pod for pod in by_claim.get((ref.namespace, ref.name), ()) if pod.is_creating]
    since = min((pod.waiting_since for pod in waiting if pod.waiting_since), default=None)
    return since is not None and snapshot.taken_at - since <= limit


def is_left(attachment: Attachment, node: Node, volume: Volume, snapshot: Snapshot) -> bool:
    """Whether a Ready node has a volume attached that it has not mounted, and none of whose pods just leaves.

    The volumesInUse of a node that is not Ready would prove nothing.
    """
    settled = node.is_ready and not is_young(attachment, snapshot)
    return settled and is_in_use(node, volume) is False and not is_leaving(node, volume, snapshot)


def pods_were_read(namespace: str | None, snapshot: Snapshot) -> bool:
    """Whether all pods of a namespace were read.

    Around one subject, a namespace was listed if any pod of it is there: such a list is never a part of one.
    """
    if snapshot.scope.subject is not None:
        beside = snapshot.seen(CLAIM_USERS)
        return beside is not None and any(row.namespace == namespace for row in beside.rows)
    named = snapshot.scope.namespaces
    return snapshot.seen(k8s.PODS) is not None and (not named or namespace in named)


def attach_event(pod: Pod, volume: Volume, snapshot: Snapshot) -> Event | None:
    """The newest FailedAttachVolume event of a pod that names the volume, unless it is past.

    It is past when the kubelet mounts the volume already, or when it stopped coming. The controller tells of a
    Multi-Attach once only, so that one does not grow old.
    """
    events, name = snapshot.seen(k8s.EVENTS), f'"{volume.metadata.name}"'
    mine = events.index("about", lambda event: event.about.uid).get(pod.metadata.uid, ()) if events else ()
    about = [event for event in mine if name in (event.message or "")]
    about.sort(key=lambda event: event.last_seen or snapshot.taken_at)
    found: Event | None = None
    for event in about:
        if event.reason == "FailedAttachVolume":
            found = event
        elif event.reason == "SuccessfulAttachVolume" or _mounts(event.message or ""):
            found = None
    if found is None or cause_of(found).cause == "multi-attach" or found.last_seen is None:
        return found
    return found if snapshot.taken_at - found.last_seen <= FRESH else None


def cause_of(event: Event) -> Cause:
    """What an event's message means."""
    return classify(event.message or "", event.reason)


def _mounts(message: str) -> bool:
    return message.startswith("MountVolume.") and not message.startswith("MountVolume.WaitForAttach")
