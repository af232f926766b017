"""Kubernetes objects as far as Unstick reads them: slim structs that name only the fields in use.

Field names are Kubernetes' own, in snake case. Whatever the API may leave out or set to null has a default, because
real clusters do both (an Event's `involvedObject`, a CSINode's `drivers`). A Secret's data is never among them.
"""

import ipaddress
from datetime import datetime

import msgspec

from diagnostics.model import Subject


def canonical_ip(text: str) -> str | None:
    """An IP address in its one canonical form, None for what is none: `fd00:0::5` and `fd00::5` are one address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


class Struct(msgspec.Struct, frozen=True, rename="camel"):
    """What all of these share: immutable, camelCase on the wire."""


class Owner(Struct, frozen=True):
    """An owner reference."""

    kind: str
    name: str
    uid: str
    controller: bool | None = None


class Meta(Struct, frozen=True):
    """Object metadata without managedFields."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    owner_references: tuple[Owner, ...] | None = None

    @property
    def controller(self) -> Owner | None:
        """The owner that manages this object, if there is one."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)


class Condition(Struct, frozen=True):
    """A status condition, of pods and nodes alike."""

    type: str
    status: str
    last_transition_time: datetime | None = None
    reason: str | None = None
    message: str | None = None


class LocalReference(Struct, frozen=True):
    """A reference by name within a namespace."""

    name: str = ""
    namespace: str | None = None


class RBDSource(Struct, frozen=True):
    """An in-tree `rbd` volume. The API fills in the defaults (`pool: rbd`, `user: admin`)."""

    image: str
    monitors: tuple[str, ...] = ()
    pool: str = "rbd"
    user: str = "admin"
    read_only: bool = False


class CSISource(Struct, frozen=True):
    """A CSI volume as a PV describes it."""

    driver: str
    volume_handle: str = ""
    volume_attributes: dict[str, str] | None = None


class ClaimSource(Struct, frozen=True):
    """A pod's use of a claim."""

    claim_name: str
    read_only: bool = False


class ConfigMapSource(Struct, frozen=True):
    """A pod's use of a ConfigMap as a volume."""

    name: str = ""
    optional: bool | None = None


class SecretSource(Struct, frozen=True):
    """A pod's use of a Secret as a volume: its name only."""

    secret_name: str = ""
    optional: bool | None = None


class InlineCSISource(Struct, frozen=True):
    """An ephemeral CSI volume of a pod."""

    driver: str = ""


class PodVolume(Struct, frozen=True):
    """One entry of a pod's `spec.volumes`."""

    name: str
    persistent_volume_claim: ClaimSource | None = None
    rbd: RBDSource | None = None
    cephfs: dict[str, object] | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    empty_dir: dict[str, object] | None = None
    projected: dict[str, object] | None = None
    downward_api: dict[str, object] | None = msgspec.field(name="downwardAPI", default=None)
    host_path: dict[str, object] | None = None
    csi: InlineCSISource | None = None
    ephemeral: dict[str, object] | None = None

    @property
    def is_local(self) -> bool:
        """Whether it lies on the pod's own node or comes from the API: no other machine can write to it."""
        local = (self.config_map, self.secret, self.empty_dir, self.projected, self.downward_api, self.host_path)
        return any(source is not None for source in local)

    def claim_name(self, pod: str) -> str | None:
        """The claim that it mounts: the one it names, or the generic ephemeral one made for this pod."""
        if self.persistent_volume_claim:
            return self.persistent_volume_claim.claim_name
        return f"{pod}-{self.name}" if self.ephemeral is not None else None


class PodSpec(Struct, frozen=True):
    """The part of a pod's spec that says where it runs and what it mounts."""

    node_name: str | None = None
    host_network: bool | None = None
    volumes: tuple[PodVolume, ...] | None = None


class Waiting(Struct, frozen=True):
    """Why a container waits."""

    reason: str | None = None
    message: str | None = None


class ContainerState(Struct, frozen=True):
    """A container's state, as far as it may be waiting."""

    waiting: Waiting | None = None


class ContainerStatus(Struct, frozen=True):
    """The state of one container."""

    name: str
    ready: bool = False
    state: ContainerState | None = None


class PodStatus(Struct, frozen=True):
    """How far a pod has come."""

    phase: str = ""
    reason: str | None = None
    start_time: datetime | None = None
    host_ip: str | None = msgspec.field(name="hostIP", default=None)
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    conditions: tuple[Condition, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(Struct, frozen=True):
    """A pod."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def subject(self) -> Subject:
        """This pod as a subject."""
        return Subject("Pod", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def claims(self) -> tuple[str, ...]:
        """Names of the claims that it mounts."""
        named = (v.claim_name(self.metadata.name) for v in self.spec.volumes or ())
        return tuple(name for name in named if name is not None)

    @property
    def waiting_since(self) -> datetime | None:
        """When its node should have begun with it: the PodScheduled transition, else startTime."""
        scheduled = (c for c in self.status.conditions or () if c.type == "PodScheduled" and c.status == "True")
        return next((c.last_transition_time for c in scheduled), None) or self.status.start_time

    @property
    def is_creating(self) -> bool:
        """Bound to a node, still Pending, and no container of it has got past its creation."""
        if self.status.phase != "Pending" or not self.spec.node_name:
            return False
        states = [
            s.state for s in (*(self.status.init_container_statuses or ()), *(self.status.container_statuses or ()))
        ]
        creating = ("ContainerCreating", "PodInitializing", None)
        return all(s is None or (s.waiting is not None and s.waiting.reason in creating) for s in states)

    @property
    def may_be_running(self) -> bool:
        """Not known to have ended: its containers may still hold volumes, whatever the API server has last heard."""
        return self.status.phase not in ("Succeeded", "Failed")


class PodRow(msgspec.Struct, frozen=True):
    """What joins need of a healthy pod, and nothing else."""

    namespace: str
    name: str
    uid: str
    node: str | None
    host_ip: str | None
    pod_ip: str | None
    phase: str
    claims: tuple[str, ...]
    deleting: bool


def pod_row(pod: Pod) -> PodRow:
    """Reduce a pod to its row."""
    meta, status = pod.metadata, pod.status
    return PodRow(
        meta.namespace or "", meta.name, meta.uid, pod.spec.node_name, status.host_ip, status.pod_ip, status.phase,
        pod.claims, meta.deletion_timestamp is not None,
    )  # fmt: skip


class ClaimSpec(Struct, frozen=True):
    """What a claim asks for and what it got."""

    volume_name: str | None = None
    access_modes: tuple[str, ...] | None = None
    storage_class_name: str | None = None


class PhaseStatus(Struct, frozen=True):
    """A status that is just a phase."""

    phase: str = ""


class Claim(Struct, frozen=True):
    """A PersistentVolumeClaim."""

    metadata: Meta
    spec: ClaimSpec = ClaimSpec()
    status: PhaseStatus = PhaseStatus()

    @property
    def subject(self) -> Subject:
        """This claim as a subject."""
        return Subject("PersistentVolumeClaim", self.metadata.namespace, self.metadata.name, self.metadata.uid)


class VolumeSpec(Struct, frozen=True):
    """What a PV is made of and who claims it."""

    access_modes: tuple[str, ...] | None = None
    claim_ref: LocalReference | None = None
    rbd: RBDSource | None = None
    csi: CSISource | None = None
    cephfs: dict[str, object] | None = None


class Volume(Struct, frozen=True):
    """A PersistentVolume."""

    metadata: Meta
    spec: VolumeSpec = VolumeSpec()
    status: PhaseStatus = PhaseStatus()

    @property
    def subject(self) -> Subject:
        """This volume as a subject."""
        return Subject("PersistentVolume", None, self.metadata.name, self.metadata.uid)


class NodeAddress(Struct, frozen=True):
    """One address of a node."""

    type: str
    address: str


class Taint(Struct, frozen=True):
    """A taint."""

    key: str
    effect: str = ""


class NodeSpec(Struct, frozen=True):
    """Whether a node takes pods."""

    unschedulable: bool | None = None
    taints: tuple[Taint, ...] | None = None


class NodeInfo(Struct, frozen=True):
    """What tells one boot, and one machine, from another."""

    boot_id: str = msgspec.field(name="bootID", default="")
    system_uuid: str = msgspec.field(name="systemUUID", default="")


class NodeStatus(Struct, frozen=True):
    """A node's addresses, conditions and volumes."""

    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[Condition, ...] | None = None
    node_info: NodeInfo = NodeInfo()
    volumes_in_use: tuple[str, ...] | None = None


class Node(Struct, frozen=True):
    """A node."""

    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def subject(self) -> Subject:
        """This node as a subject."""
        return Subject("Node", None, self.metadata.name, self.metadata.uid)

    @property
    def ips(self) -> tuple[str, ...]:
        """Its IP addresses in canonical form. Its own kubelet reports them: they identify the node, Ceph may see others."""
        return self._ips("InternalIP", "ExternalIP")

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """Those that it has itself; an ExternalIP may be a gateway's, which stands for many machines."""
        return self._ips("InternalIP")

    @property
    def odd_addresses(self) -> tuple[str, ...]:
        """What it reports as an IP and is none."""
        given = [a.address for a in self.status.addresses or () if a.type in ("InternalIP", "ExternalIP")]
        return tuple(address for address in given if canonical_ip(address) is None)

    def _ips(self, *types: str) -> tuple[str, ...]:
        found = (canonical_ip(a.address) for a in self.status.addresses or () if a.type in types)
        return tuple(dict.fromkeys(ip for ip in found if ip is not None))

    @property
    def ready(self) -> Condition | None:
        """Its Ready condition, None where there is none."""
        return next((c for c in self.status.conditions or () if c.type == "Ready"), None)

    @property
    def is_ready(self) -> bool:
        """Whether its kubelet reports Ready."""
        return self.ready is not None and self.ready.status == "True"


class LeaseSpec(Struct, frozen=True):
    """When a node's kubelet last renewed its lease."""

    renew_time: datetime | None = None


class Lease(Struct, frozen=True):
    """A Lease in `kube-node-lease`, named as its node."""

    metadata: Meta
    spec: LeaseSpec = LeaseSpec()


class InvolvedObject(Struct, frozen=True):
    """What an event is about."""

    kind: str = ""
    namespace: str | None = None
    name: str = ""
    uid: str = ""


class EventSource(Struct, frozen=True):
    """Who sent an event."""

    component: str = ""
    host: str = ""


class EventSeries(Struct, frozen=True):
    """How often an event came, in the newer form."""

    count: int = 1
    last_observed_time: datetime | None = None


class Event(Struct, frozen=True):
    """An event, in its core/v1 form."""

    metadata: Meta
    involved_object: InvolvedObject | None = None
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    count: int | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    series: EventSeries | None = None
    source: EventSource | None = None

    @property
    def about(self) -> InvolvedObject:
        """What the event is about; empty where the API says null."""
        return self.involved_object or InvolvedObject()

    @property
    def first_seen(self) -> datetime | None:
        """When it came first."""
        return self.first_timestamp or self.event_time or self.metadata.creation_timestamp

    @property
    def last_seen(self) -> datetime | None:
        """When it came last."""
        newest = self.series.last_observed_time if self.series else None
        return newest or self.last_timestamp or self.event_time or self.metadata.creation_timestamp

    @property
    def subject(self) -> Subject:
        """The event as a subject."""
        return Subject("Event", self.metadata.namespace, self.metadata.name, self.metadata.uid)


class AttachmentSource(Struct, frozen=True):
    """Which volume is attached."""

    persistent_volume_name: str | None = None


class AttachmentSpec(Struct, frozen=True):
    """Which volume goes to which node, by which attacher."""

    attacher: str
    node_name: str
    source: AttachmentSource = AttachmentSource()


class AttachError(Struct, frozen=True):
    """What the attacher ran into."""

    message: str | None = None
    time: datetime | None = None


class AttachmentStatus(Struct, frozen=True):
    """Whether it is attached."""

    attached: bool = False
    attach_error: AttachError | None = None


class Attachment(Struct, frozen=True):
    """A VolumeAttachment."""

    metadata: Meta
    spec: AttachmentSpec
    status: AttachmentStatus | None = None


class ReplicaSetSpec(Struct, frozen=True):
    """How many pods it keeps."""

    replicas: int | None = None


class Workload(Struct, frozen=True):
    """A ReplicaSet or StatefulSet: an owner that makes a deleted pod again."""

    metadata: Meta
    spec: ReplicaSetSpec = ReplicaSetSpec()
