"""Claims, PersistentVolumes, and what attaches them."""

from datetime import datetime

from diagnostics.facts.resources.meta import LocalReference, Meta, Struct
from diagnostics.model import Subject


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
