"""Claims, PersistentVolumes, and what attaches them."""

from datetime import datetime

import msgspec

from diagnostics.facts.resources.meta import AnnotatedMeta, Condition, LocalReference, Meta, Struct
from diagnostics.facts.resources.redaction import redact
from diagnostics.model import Subject


class RBDSource(Struct, frozen=True):
    """An in-tree `rbd` volume. The API fills in the defaults (`pool: rbd`, `user: admin`)."""

    image: str
    monitors: tuple[str, ...] = ()
    pool: str = "rbd"
    user: str = "admin"
    read_only: bool = False


class CSISource(Struct, frozen=True):
    """A CSI volume as a PV describes it. The secret references are names only."""

    driver: str
    volume_handle: str = ""
    volume_attributes: dict[str, str] | None = None
    node_stage_secret_ref: LocalReference | None = None
    controller_expand_secret_ref: LocalReference | None = None


class Requests(Struct, frozen=True):
    """What a claim asks for: `storage` is a Kubernetes quantity (`10Gi`)."""

    requests: dict[str, str | int] | None = None


class ClaimSpec(Struct, frozen=True):
    """What a claim asks for and what it got; a data source is the snapshot or claim that its volume is filled from."""

    volume_name: str | None = None
    access_modes: tuple[str, ...] | None = None
    storage_class_name: str | None = None
    volume_mode: str | None = None
    resources: Requests | None = None
    data_source: dict[str, object] | None = None
    data_source_ref: dict[str, object] | None = None


class PhaseStatus(Struct, frozen=True):
    """A phase; a PV's says why too, where it failed, and (Kubernetes 1.29 and later) since when."""

    phase: str = ""
    reason: str | None = None
    message: str | None = None
    last_phase_transition_time: datetime | None = None

    def __post_init__(self) -> None:
        redact(self)


class ClaimStatus(PhaseStatus, frozen=True):
    """A claim's phase, what it has got, and how far its resize has come (`Resizing`, `FileSystemResizePending`)."""

    capacity: dict[str, str | int] | None = None
    conditions: tuple[Condition, ...] | None = None


class Claim(Struct, frozen=True):
    """A PersistentVolumeClaim. Its annotations name the provisioner and the node that were chosen for it."""

    metadata: AnnotatedMeta
    spec: ClaimSpec = ClaimSpec()
    status: ClaimStatus = ClaimStatus()

    @property
    def subject(self) -> Subject:
        """This claim as a subject."""
        return Subject("PersistentVolumeClaim", self.metadata.namespace, self.metadata.name, self.metadata.uid)


class VolumeSpec(Struct, frozen=True):
    """What a PV is made of and who claims it."""

    access_modes: tuple[str, ...] | None = None
    claim_ref: LocalReference | None = None
    storage_class_name: str | None = None
    persistent_volume_reclaim_policy: str = ""
    volume_mode: str | None = None
    capacity: dict[str, str | int] | None = None
    rbd: RBDSource | None = None
    csi: CSISource | None = None
    cephfs: dict[str, object] | None = None


class Whereabouts(msgspec.Struct, frozen=True):
    """Which of several Ceph clusters a volume lies in. No part of the API: a look at several marks each volume with it.

    `ceph` is the Ceph's name in the configuration, "" where that is not known; `here` that it is the one that is looked at.
    `says` is the proof, or why there is none: a clause.
    """

    ceph: str
    here: bool
    says: str


class Volume(Struct, frozen=True):
    """A PersistentVolume. Where one Ceph is configured, `whereabouts` is None: the volume is taken to lie there."""

    metadata: Meta
    spec: VolumeSpec = VolumeSpec()
    status: PhaseStatus = PhaseStatus()
    whereabouts: Whereabouts | None = None

    @property
    def subject(self) -> Subject:
        """This volume as a subject."""
        return Subject("PersistentVolume", None, self.metadata.name, self.metadata.uid)


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

    def __post_init__(self) -> None:
        redact(self)


class AttachmentStatus(Struct, frozen=True):
    """Whether it is attached."""

    attached: bool = False
    attach_error: AttachError | None = None
    detach_error: AttachError | None = None


class Attachment(Struct, frozen=True):
    """A VolumeAttachment."""

    metadata: Meta
    spec: AttachmentSpec
    status: AttachmentStatus | None = None

    @property
    def subject(self) -> Subject:
        """This attachment as a subject."""
        return Subject("VolumeAttachment", None, self.metadata.name, self.metadata.uid)


class StorageClass(Struct, frozen=True):
    """A StorageClass. Its parameters name pools, clusterIDs and secrets, never a secret's data."""

    metadata: AnnotatedMeta
    provisioner: str = ""
    parameters: dict[str, str] | None = None
    volume_binding_mode: str = "Immediate"
    allow_volume_expansion: bool | None = None

    @property
    def subject(self) -> Subject:
        """This class as a subject."""
        return Subject("StorageClass", None, self.metadata.name, self.metadata.uid)


class CSIDriverSpec(Struct, frozen=True):
    """What the cluster is told of a driver."""

    attach_required: bool = True


class CSIDriver(Struct, frozen=True):
    """A CSIDriver, named as the driver itself."""

    metadata: Meta
    spec: CSIDriverSpec = CSIDriverSpec()


class NodeDriver(Struct, frozen=True):
    """A driver whose node plugin is registered on a node."""

    name: str
    node_id: str = msgspec.field(name="nodeID", default="")


class CSINodeSpec(Struct, frozen=True):
    """The drivers of a node. Real API servers answer `null` for none."""

    drivers: tuple[NodeDriver, ...] | None = None


class CSINode(Struct, frozen=True):
    """A CSINode, named as its node: which drivers are registered there."""

    metadata: Meta
    spec: CSINodeSpec = CSINodeSpec()

    @property
    def drivers(self) -> frozenset[str]:
        """The names of the registered drivers."""
        return frozenset(driver.name for driver in self.spec.drivers or ())

    @property
    def subject(self) -> Subject:
        """This CSINode as a subject."""
        return Subject("CSINode", None, self.metadata.name, self.metadata.uid)
