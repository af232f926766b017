"""The incident's facts, made by hand, for tests that judge purely: one field at a time can be made to differ.

As it stands, node1 (10.0.0.1) is down and cordoned, its old pod hangs in Terminating, and the lock that its kubelet took
on `mioss/index` was seen quiet in two looks; the replacement waits on node2.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import (
    LOCKS,
    NEIGHBOURS,
    OSDMAP,
    SESSIONS,
    SIGHTINGS,
    Address,
    Daemon,
    Fence,
    Image,
    ImageSpec,
    LockedImage,
    Locker,
    Locks,
    OsdMap,
    PoolProblem,
    PoolScan,
    Session,
    Sessions,
    Sighting,
    Watcher,
)
from diagnostics.facts.disruption import NODE_OSDMAP
from diagnostics.facts.holders import (
    CLAIM_USERS,
    LEASES,
    NODE_PODS,
    NODES,
    OWNING_REPLICA_SETS,
    OWNING_STATEFUL_SETS,
    PODS_AT,
)
from diagnostics.facts.images import image_of_volume
from diagnostics.facts.kubernetes import Listing
from diagnostics.facts.resources import Attachment, Lease, Node, Pod, Volume, Workload, pod_row
from diagnostics.model import Scope, Subject
from runbooks.situation import Planned, Situation
from runbooks.standing import ADMISSIONS, STANDING, Admission, Standing

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
FSID = "6e42f353-fa1b-5024-b021-e52863cf03bd"
OTHER_FSID = "00000000-fa1b-5024-b021-e52863cf03bd"
IMAGE = Image(FSID, "mioss", "", "index", 1, "index.rbd")
KUBELET = Locker("client.24128", "kubelet_lock_magic_node1", Address("10.0.0.1", 0, 77))
MANAGED = Locker("client.24128", "auto 94000", Address("10.0.0.1", 0, 77))
YEARS = NOW + timedelta(days=1800)
PARAMS = {
    "image": "mioss/index", "locker": KUBELET.name, "node": "node1", "pod": "search/new",
}  # fmt: skip


class Admitted(dict[str, Admission]):
    """What the API server says, the same to every act."""

    def __init__(self, answer: Admission) -> None:
        self.answer = answer

    def get(self, key: str, default: Any = None) -> Any:
        return self.answer


def node(name: str, ip: str, **changed: Any) -> Node:
    """A node that is Ready; `ready`, `cordoned`, `ips`, `boot` and `in_use` make it another one."""
    addresses = [{"type": "InternalIP", "address": one} for one in (ip, *changed.get("ips", ()))]
    return msgspec.convert(
        {
            "metadata": {"name": name, "uid": changed.get("uid", f"uid-{name}")},
            "spec": {"unschedulable": changed.get("cordoned", False)},
            "status": {
                "addresses": addresses,
                "conditions": [{"type": "Ready", "status": changed.get("ready", "True")}],
                "nodeInfo": {"bootID": changed.get("boot", f"boot-{name}")},
                "volumesInUse": changed.get("in_use", []),
            },
        },
        Node,
    )


def pod(name: str, on: str | None, **changed: Any) -> Pod:
    """A pod of namespace `search` that runs and mounts the claim `index`; it has the ReplicaSet `rs` for an owner."""
    volumes = changed.get("volumes", [{"name": "data", "persistentVolumeClaim": {"claimName": "index"}}])
    meta: dict[str, Any] = {
        "name": name, "namespace": changed.get("namespace", "search"), "uid": changed.get("uid", f"uid-{name}"),
        "ownerReferences": [
            {"kind": kind, "name": "rs", "uid": "uid-rs", "controller": True}
            for kind in [changed.get("owner", "ReplicaSet")] if kind
        ],
    }  # fmt: skip
    if changed.get("terminating"):
        meta["deletionTimestamp"] = NOW - timedelta(minutes=6)
    waits = {"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}
    statuses = changed.get("containers", [waits] if changed.get("phase") == "Pending" else [])
    status = {
        "phase": changed.get("phase", "Running"), "hostIP": changed.get("host_ip", "10.0.0.9"),
        "podIP": changed.get("pod_ip", "10.244.0.7"), "containerStatuses": statuses,
        "initContainerStatuses": changed.get("init", []),
    }  # fmt: skip
    return msgspec.convert({"metadata": meta, "spec": {"nodeName": on, "volumes": volumes}, "status": status}, Pod)


def volume(name: str = "index", **changed: Any) -> Volume:
    """An in-tree RBD volume, bound to its claim; `source` is another one, `phase` another state."""
    source = changed.get(
        "source", {"rbd": {"image": "index", "pool": "mioss", "user": "admin", "monitors": ["10.0.1.1:6789"]}}
    )
    claim = changed.get("claim", {"namespace": "search", "name": "index"})
    spec = {"accessModes": changed.get("modes", ["ReadWriteOnce"]), "claimRef": claim, **source}
    status = {"phase": changed.get("phase", "Bound")}
    return msgspec.convert({"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec, "status": status}, Volume)


def csi(**attributes: str) -> dict[str, Any]:
    """The source of a ceph-csi volume of the same image."""
    named = {"pool": "mioss", "imageName": "index", **attributes}
    return {"csi": {"driver": "rbd.csi.ceph.com", "volumeHandle": "handle-1", "volumeAttributes": named}}


def attachment(to: str, of: str = "index") -> Attachment:
    """A VolumeAttachment."""
    spec = {"attacher": "rbd.csi.ceph.com", "nodeName": to, "source": {"persistentVolumeName": of}}
    return msgspec.convert({"metadata": {"name": f"csi-{to}"}, "spec": spec}, Attachment)


def lease(of: str, age: timedelta) -> Lease:
    """A node's lease, renewed so long ago."""
    return msgspec.convert({"metadata": {"name": of}, "spec": {"renewTime": NOW - age}}, Lease)


def workload(replicas: int | None = 1, **changed: Any) -> Workload:
    """The ReplicaSet or StatefulSet that owns the pods."""
    meta = {"name": "rs", "namespace": "search", "uid": changed.get("uid", "uid-rs")}
    if changed.get("deleting"):
        meta["deletionTimestamp"] = NOW.isoformat()
    return msgspec.convert({"metadata": meta, "spec": {"replicas": replicas}}, Workload)


def watcher(ip: str, client: str = "client.9", nonce: int = 5) -> Watcher:
    """Somebody who has the image open."""
    return Watcher(client, Address(ip, 0, nonce))


@dataclass
class Incident:
    """The facts, to be changed before `snapshot` or `situation` is asked for. `unseen` kinds could not be read.

    `free` are the unlocked images that the look at the neighbours met (None: all that volumes name, and nobody has them
    open), `open_elsewhere` who has them open.
    """

    lockers: tuple[Locker, ...] = (KUBELET,)
    exclusive: bool = True
    watchers: tuple[Watcher, ...] | None = ()
    traits: tuple[str, ...] = ()
    primary: int | None = 2
    others: tuple[LockedImage, ...] = ()
    pools: tuple[PoolScan, ...] = (PoolScan("mioss", "", 2, 1),)
    problems: tuple[PoolProblem, ...] = ()
    unread_pools: tuple[PoolProblem, ...] = ()
    locked: bool = True
    standing: Standing = field(default_factory=lambda: Standing("ceph/stale_rbd_lock"))
    admission: Admission = field(default_factory=Admission)
    tag: str = ""
    users: dict[str, tuple[Watcher, ...]] = field(default_factory=dict)
    open_elsewhere: dict[str, tuple[Watcher, ...]] = field(default_factory=dict)
    free: tuple[ImageSpec, ...] | None = None
    nodes: list[Node] = field(
        default_factory=lambda: [
            node("node1", "10.0.0.1", ready="Unknown", cordoned=True), node("node2", "10.0.0.2")
        ]
    )  # fmt: skip
    pods: list[Pod] = field(
        default_factory=lambda: [pod("old", "node1", terminating=True), pod("new", "node2", phase="Pending")]
    )
    on_node: list[Pod] = field(default_factory=lambda: [pod("old", "node1", terminating=True)])
    at_address: list[Pod] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=lambda: [lease("node1", timedelta(minutes=12))])
    attachments: list[Attachment] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=lambda: [volume()])
    owners: list[Workload] = field(default_factory=lambda: [workload()])
    sessions: tuple[Session, ...] = ()
    silent: dict[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset({"sortbitwise"})
    fences: tuple[Fence, ...] = ()
    daemons: tuple[Daemon, ...] = (Daemon("mon.a", "10.0.1.1"), Daemon("osd.0", "10.0.1.2"))
    own_ips: tuple[str, ...] = ("10.0.0.99",)
    health: str = "HEALTH_OK"
    first_seen: timedelta | None = timedelta(minutes=5)
    first_look: dict[str, Any] = field(default_factory=dict)
    unseen: dict[Kind[Any], str] = field(default_factory=dict)

    def sightings(self) -> tuple[Sighting, ...]:
        """The first look at each locker, `first_seen` ago; `first_look` is what differed then."""
        if self.first_seen is None:
            return ()
        seen = {"primary": self.primary, "node": "node1", "boot": "boot-node1", "ips": ("10.0.0.1",), **self.first_look}
        return tuple(Sighting(FSID, IMAGE.spec, lk.name, NOW - self.first_seen, **seen) for lk in self.lockers)

    def image(self) -> LockedImage:
        """The locked image."""
        return LockedImage(
            IMAGE, self.exclusive, self.tag, self.lockers, self.watchers, "timed out" if self.watchers is None else None,
            "1.5", self.primary, self.traits,
        )  # fmt: skip

    def _neighbours(self, images: tuple[LockedImage, ...]) -> Locks:
        named = (spec for volume in self.volumes if (spec := image_of_volume(volume)))
        unlocked = tuple(spec for spec in named if str(spec) not in {image.image.spec for image in images})
        quiet = {} if self.free is not None else {str(spec): () for spec in unlocked}
        return Locks(
            FSID, images, self.pools, self.unread_pools, free=unlocked if self.free is None else self.free,
            users={**quiet, **self.open_elsewhere},
        )  # fmt: skip

    def snapshot(self) -> Snapshot:
        """All facts of the moment `NOW`."""
        images = (*((self.image(),) if self.locked else ()), *self.others)
        at = [pod_row(one) for one in self.at_address]
        facts: dict[Kind[Any], Any] = {
            LOCKS: Locks(FSID, images[: int(self.locked)], (), self.problems, users=self.users),
            NEIGHBOURS: self._neighbours(images),
            SESSIONS: Sessions(self.sessions, self.silent),
            OSDMAP: OsdMap(FSID, self.flags, self.fences, self.daemons, self.own_ips, self.health),
            NODE_OSDMAP: OsdMap(FSID, self.flags, self.fences, self.daemons, self.own_ips, self.health),
            SIGHTINGS: self.sightings(),
            NODES: Listing(tuple(self.nodes)),
            PODS_AT: Listing(tuple(self.at_address), tuple(at)),
            CLAIM_USERS: Listing(tuple(self.pods)),
            NODE_PODS: Listing(tuple(self.on_node)),
            LEASES: Listing(tuple(self.leases)),
            k8s.ATTACHMENTS: Listing(tuple(self.attachments)),
            k8s.VOLUMES: Listing(tuple(self.volumes)),
            OWNING_REPLICA_SETS: Listing(tuple(self.owners)),
            OWNING_STATEFUL_SETS: Listing(tuple(self.owners)),
            STANDING: self.standing,
            ADMISSIONS: Admitted(self.admission),
        }
        facts |= {kind: NotSeen(reason) for kind, reason in self.unseen.items()}
        return Snapshot("here", NOW, Scope("here"), {kind.name: fact for kind, fact in facts.items()})

    def situation(
        self, *, act: Planned | None = None, expected: tuple[Planned, ...] = (), done: tuple[Planned, ...] = (),
        **params: str,
    ) -> Situation:  # fmt: skip
        """What a guard judges, with the runbook's parameters; one given as "" is left out."""
        known = {"locker": self.lockers[0].name} if self.lockers else {}
        given = {name: value for name, value in {**PARAMS, **known, **params}.items() if value}
        return Situation(self.snapshot(), given, expected, act, done)


def fence_of(*entries: str, **changed: Any) -> Planned:
    """A planned fence."""
    from runbooks.model import Risk

    targets = (Subject("CephCluster", None, FSID, FSID), IMAGE.subject)
    effect = {"entries": list(entries), "seconds": 157_784_760, "extent": "node"}
    return Planned("ceph.fence", "fence", targets, effect, Risk.CRITICAL, changed.get("dies", ()))
