"""Facts around the holder of a lock: which node an address belongs to, who else uses the volume, what runs there.

An address matches a node by the node's own addresses, or by a host-network pod's: its podIP is its hostIP. That is
how the API server itself finds them (`status.podIP`), without listing any pods.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta

import msgspec

from diagnostics.facts import Kind, NotSeen, Snapshot, ceph
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.images import image_of_pod_volume, image_of_volume
from diagnostics.facts.kubernetes import Get, List, Listing, Resource
from diagnostics.facts.resources import Attachment, Claim, Lease, Node, Pod, PodRow, Volume, Workload, pod_row

MOST_LEASES = 20  # leases read one by one; for more, a list takes less
# A lease is renewed every 10 s; after 5 minutes without that, kubelet and API server do not talk.
LEASE_STALE = timedelta(minutes=5)
MOST_ADDRESSES = 50  # look-ups of single addresses; a scan that meets more dead clients than that says what it skipped


class Host(msgspec.Struct, frozen=True):
    """What an address belongs to: one node, or nothing certain. `why` is the evidence, or why there is none.

    `pod` is set where the address is a pod's own one (not its node's): fencing it is another matter.
    """

    node: Node | None
    why: str
    pod: str | None = None


def host_of(ip: str, snapshot: Snapshot) -> Host:
    """Find the node that an address belongs to. Two nodes with one address give none: never a guess."""
    nodes = snapshot.seen(NODES)
    if nodes is None:
        return Host(None, "nodes could not be read")
    direct = nodes.index_each("ip", lambda node: node.ips).get(ip, ())
    pods = snapshot[PODS_AT]
    at = {} if isinstance(pods, NotSeen) else pods.rows_by("ip", lambda row: {row.pod_ip, row.host_ip})
    rows = at.get(ip, ())
    own = next((f"{row.namespace}/{row.name}" for row in rows if row.pod_ip == ip != row.host_ip), None)
    names = {node.metadata.name for node in direct} | {row.node for row in rows if row.host_ip == ip and row.node}
    if len(names) > 1:
        return Host(None, f"{ip} is an address of several nodes: {', '.join(sorted(names))}", own)
    if direct:
        return Host(direct[0], f"{ip} is an address of node {direct[0].metadata.name}", own)
    if own:
        return Host(None, f"{ip} is the address of pod {own}, not of a node", own)
    if names and (known := nodes.index("name", lambda node: node.metadata.name).get(name := names.pop())):
        return Host(known[0], f"{ip} is the hostIP of a pod on node {name}")
    if isinstance(pods, NotSeen):
        return Host(None, f"no node names the address {ip}, and the pods at it could not be read: {pods.reason}")
    if ip not in _looked_up(snapshot):
        return Host(None, f"no node names the address {ip}, and it was one too many to look for pods at it")
    return Host(None, f"no node has the address {ip}")


def volumes_of(image: str, snapshot: Snapshot) -> tuple[Volume, ...]:
    """The PersistentVolumes that are made of an image (`pool[/namespace]/image`), locked or not."""
    volumes = snapshot.seen(k8s.VOLUMES)
    return volumes.index("image", lambda volume: str(image_of_volume(volume))).get(image, ()) if volumes else ()


def volume_of(pod: Pod, claim_name: str, snapshot: Snapshot) -> Volume | None:
    """The PersistentVolume that a pod's claim is bound to, as far as both were read.

    A claim may name a volume that is another's, and a volume a claim that was made anew under the same name.
    """
    claims, volumes = snapshot.seen(k8s.CLAIMS), snapshot.seen(k8s.VOLUMES)
    if claims is None or volumes is None:
        return None
    by_key = claims.index("key", lambda claim: (claim.metadata.namespace, claim.metadata.name))
    for claim in by_key.get((pod.metadata.namespace, claim_name), ()):
        for volume in volumes.index("name", lambda v: v.metadata.name).get(claim.spec.volume_name, ()):
            if _may_be_of(volume, claim):
                return volume
    return None


def _may_be_of(volume: Volume, claim: Claim) -> bool:
    ref, meta = volume.spec.claim_ref, claim.metadata
    if ref is None:
        return True  # not bound yet: the claim's word stands alone
    same = (ref.namespace, ref.name) == (meta.namespace, meta.name)
    return same and (not ref.uid or not meta.uid or ref.uid == meta.uid)


def images_of_pod(pod: Pod, snapshot: Snapshot) -> tuple[ceph.ImageSpec, ...]:
    """The RBD images that a pod mounts, through claims or inline."""
    found: dict[ceph.ImageSpec, None] = {}
    for entry in pod.spec.volumes or ():
        if claim := entry.claim_name(pod.metadata.name):
            volume = volume_of(pod, claim, snapshot)
            spec = image_of_volume(volume) if volume else None
        else:
            spec = image_of_pod_volume(entry)
        if spec is not None:
            found[spec] = None
    return tuple(found)


def _lockers(snapshot: Snapshot) -> Iterable[tuple[ceph.LockedImage, ceph.Locker]]:
    locks = snapshot.seen(ceph.LOCKS)
    for image in locks.images if locks else ():
        for locker in image.lockers:
            yield image, locker


# A VolumeAttachment may be of a volume that is gone; its node must not seem to be gone too because nobody asked for it.
_OF_ALL_NODES = ("RBDImage", "VolumeAttachment")


def _nodes(snapshot: Snapshot) -> Iterable[Get | List]:
    """All nodes where an address must be matched; else those that the pods run on, or their volumes are attached to."""
    subject, locks = snapshot.scope.subject, snapshot.seen(ceph.LOCKS)
    watched = locks is not None and any(locks.users.values())
    if subject is None or subject.kind in _OF_ALL_NODES or watched or any(True for _ in _lockers(snapshot)):
        return (List(),)
    if subject.kind == "Node":
        return (Get(subject.name),)
    pods = snapshot.seen(k8s.PODS)
    if subject.kind == "Pod" and pods is not None and not pods.full:
        return (List(),)  # it is gone, and what its owner made in its place may be anywhere
    names = {pod.spec.node_name: None for pod in (pods.full if pods else ()) if pod.spec.node_name}
    names |= {attachment.spec.node_name: None for attachment in attachments_of(snapshot)}
    return [Get(name) for name in names]


def attachments_of(snapshot: Snapshot) -> tuple[Attachment, ...]:
    """The attachments of the volumes in the snapshot. (The API has no selector for them: the list has all others too.)"""
    volumes, attachments = snapshot.seen(k8s.VOLUMES), snapshot.seen(k8s.ATTACHMENTS)
    names = {volume.metadata.name for volume in (volumes.full if volumes else ())}
    return tuple(
        attachment for attachment in (attachments.full if attachments else ())
        if attachment.spec.source.persistent_volume_name in names
    )  # fmt: skip


def _beside_pod(snapshot: Snapshot) -> Iterable[Get | List]:
    subject = snapshot.scope.subject
    return (List(subject.namespace),) if subject is not None and subject.kind == "Pod" and subject.namespace else ()


def _pods_at(snapshot: Snapshot) -> Iterable[Get | List]:
    return [List(None, f"status.podIP={ip}") for ip in _looked_up(snapshot)]


def _looked_up(snapshot: Snapshot) -> tuple[str, ...]:
    """The addresses of lockers, then of all watchers that the look at locks met."""
    locks = snapshot.seen(ceph.LOCKS)
    watched = (*(image.watchers or () for image in locks.images), *locks.users.values()) if locks else ()
    ips = dict.fromkeys(locker.address.ip for _, locker in _lockers(snapshot))
    ips |= {watcher.address.ip: None for watchers in watched for watcher in watchers}
    return tuple(ips)[:MOST_ADDRESSES]


def _claim_users(snapshot: Snapshot) -> Iterable[Get | List]:
    """The pods beside the claims of locked images, and of volumes that are attached elsewhere than their pod is.

    A scan of everything has a row of each pod already.
    """
    subject, pods = snapshot.scope.subject, snapshot.seen(k8s.PODS)
    if subject is None:
        return ()
    if subject.kind == "Pod":
        nodes = {pod.spec.node_name for pod in (pods.full if pods else ())}
        elsewhere = any(attachment.spec.node_name not in nodes for attachment in attachments_of(snapshot))
        if elsewhere and subject.namespace:
            return (List(subject.namespace),)
    if subject.kind == "VolumeAttachment":
        attached = {
            a.spec.source.persistent_volume_name for a in attachments_of(snapshot) if a.metadata.name == subject.name
        }
        volumes = snapshot.seen(k8s.VOLUMES)
        refs = [v.spec.claim_ref for v in (volumes.full if volumes else ()) if v.metadata.name in attached]
        return {List(ref.namespace): None for ref in refs if ref is not None and ref.namespace}
    images = dict.fromkeys(image.image.spec for image, _ in _lockers(snapshot))
    if subject.kind == "RBDImage":
        images[subject.name] = None  # its users matter also once its lock is gone
    claims = [volume.spec.claim_ref for image in images for volume in volumes_of(image, snapshot)]
    return {List(ref.namespace): None for ref in claims if ref is not None and ref.namespace}


def holder_nodes(snapshot: Snapshot) -> tuple[Node, ...]:
    """The nodes that the lockers' addresses lead to, each once."""
    found = (host_of(locker.address.ip, snapshot).node for _, locker in _lockers(snapshot))
    return tuple({node.metadata.name: node for node in found if node is not None}.values())


def _leases(snapshot: Snapshot) -> Iterable[Get | List]:
    """The leases of the lockers' nodes, and of all nodes that are not Ready: only the lease tells which of them is down."""
    nodes = snapshot.seen(NODES)
    wanted = {node.metadata.name: None for node in holder_nodes(snapshot)}
    wanted |= {node.metadata.name: None for node in (nodes.full if nodes else ()) if not node.is_ready}
    if len(wanted) > MOST_LEASES:
        return (List("kube-node-lease"),)
    return [Get(name, "kube-node-lease") for name in wanted]


def _node_pods(snapshot: Snapshot) -> Iterable[Get | List]:
    names = dict.fromkeys(node.metadata.name for node in holder_nodes(snapshot))
    subject, nodes = snapshot.scope.subject, snapshot.seen(NODES)
    if subject is not None and subject.kind == "Node":
        names[subject.name] = None
    if subject is not None and subject.kind in ("Pod", "VolumeAttachment"):
        # What else is on a node that may be given up: its volumes are taken away with it.
        names |= {node.metadata.name: None for node in (nodes.full if nodes else ()) if not node.is_ready}
    return [List(None, f"spec.nodeName={name}") for name in names]


NODES: Resource[Node] = Resource(
    "nodes", (k8s.PODS, k8s.ATTACHMENTS, ceph.LOCKS), plural="nodes", struct=Node, requests=_nodes
)
PODS_AT: Resource[Pod] = Resource(
    "pods at the lockers' addresses", (ceph.LOCKS,), plural="pods", struct=Pod, row=pod_row, requests=_pods_at
)
CLAIM_USERS: Resource[Pod] = Resource(
    "pods beside the claims",
    (ceph.LOCKS, k8s.VOLUMES, k8s.ATTACHMENTS),
    plural="pods",
    struct=Pod,
    row=pod_row,
    requests=_claim_users,
)
BESIDE_POD: Resource[Pod] = Resource(
    "pods in the pod's namespace", plural="pods", struct=Pod, row=pod_row, requests=_beside_pod
)
LEASES: Resource[Lease] = Resource(
    "leases", (ceph.LOCKS, NODES, PODS_AT), group="coordination.k8s.io", plural="leases", struct=Lease,
    requests=_leases,
)  # fmt: skip
NODE_PODS: Resource[Pod] = Resource(
    "pods on the holders' nodes", (ceph.LOCKS, NODES, PODS_AT), plural="pods", struct=Pod, row=pod_row,
    requests=_node_pods,
)  # fmt: skip

# Read in a scan only, and only while some node is not Ready: who watches matters where a watcher may be cut off.
WATCHERS: Kind[ceph.VolumeWatchers] = Kind("ceph.watchers", after=(k8s.VOLUMES, ceph.LOCKS, NODES))


def _owners(kind: str) -> Callable[[Snapshot], Iterable[Get | List]]:
    def requests(snapshot: Snapshot) -> Iterable[Get | List]:
        pods = snapshot.seen(CLAIM_USERS)
        owners = [
            (pod.metadata.namespace, pod.metadata.controller) for pod in (pods.full if pods else ()) if pod.claims
        ]
        return {Get(owner.name, ns): None for ns, owner in owners if owner is not None and owner.kind == kind}

    return requests


OWNING_REPLICA_SETS: Resource[Workload] = Resource(
    "replica sets of the claims' pods", (CLAIM_USERS,), group="apps", plural="replicasets", struct=Workload,
    requests=_owners("ReplicaSet"),
)  # fmt: skip
OWNING_STATEFUL_SETS: Resource[Workload] = Resource(
    "stateful sets of the claims' pods", (CLAIM_USERS,), group="apps", plural="statefulsets", struct=Workload,
    requests=_owners("StatefulSet"),
)  # fmt: skip


def users_of(volume: Volume, snapshot: Snapshot) -> tuple[Pod, ...]:
    """The pods that mount the claim of a volume, ended ones left out."""
    ref, pods = volume.spec.claim_ref, snapshot.seen(CLAIM_USERS)
    if ref is None or pods is None:
        return ()
    return tuple(
        pod for pod in pods.full
        if pod.metadata.namespace == ref.namespace and ref.name in pod.claims and pod.may_be_running
    )  # fmt: skip


def is_bound(volume: Volume) -> bool:
    """Whether a volume is bound to the very claim that it names: a Released one names a claim that is gone.

    Its name may live on in a claim that was made anew, whose pods have another volume.
    """
    return volume.status.phase == "Bound"


def lease_of(node: Node, leases: Listing[Lease] | None) -> Lease | None:
    """The lease that a node's kubelet renews."""
    return next((lease for lease in (leases.full if leases else ()) if lease.metadata.name == node.metadata.name), None)


def is_down(node: Node, snapshot: Snapshot) -> bool | None:
    """DOWN: not Ready, and its lease more than 5 minutes old. None where the lease could not be read.

    That proves only that kubelet and API server do not talk: the machine may run on.
    """
    if node.is_ready:
        return False
    leases = snapshot.seen(LEASES)
    lease = lease_of(node, leases)
    if leases is None or lease is None or lease.spec.renew_time is None:
        return None
    return snapshot.taken_at - lease.spec.renew_time > LEASE_STALE


def users_of_claim(namespace: str | None, claim: str, snapshot: Snapshot) -> tuple[PodRow, ...]:
    """The pods that mount a claim, as far as they were read (a scan reads all of its namespaces); ended ones left out."""
    found: dict[str, PodRow] = {}
    for kind in (k8s.PODS, CLAIM_USERS):
        if pods := snapshot.seen(kind):
            by_claim = pods.rows_by("claim", lambda row: ((row.namespace, name) for name in row.claims))
            found |= {row.uid: row for row in by_claim.get((namespace, claim), ())}
    return tuple(row for row in found.values() if row.phase not in ("Succeeded", "Failed"))
