"""What all Kubernetes objects share: metadata, owners, conditions."""

import ipaddress
from datetime import datetime

import msgspec

from diagnostics.facts.resources.redaction import redact


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


class RevisionLabels(Struct, frozen=True):
    """The two labels by which a controller knows which template a pod was made from. No other label is read."""

    template_hash: str | None = msgspec.field(name="pod-template-hash", default=None)
    revision_hash: str | None = msgspec.field(name="controller-revision-hash", default=None)


class Meta(Struct, frozen=True):
    """Object metadata without managedFields. `generation` counts the changes of the spec."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    owner_references: tuple[Owner, ...] | None = None
    generation: int | None = None
    finalizers: tuple[str, ...] | None = None
    labels: RevisionLabels | None = None

    @property
    def controller(self) -> Owner | None:
        """The owner that manages this object, if there is one."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)


class AnnotatedMeta(Meta, frozen=True):
    """Metadata with annotations, where these say something. Pods' are left out: there are too many of them."""

    annotations: dict[str, str] | None = None


class Condition(Struct, frozen=True):
    """A status condition, of pods and nodes alike."""

    type: str
    status: str
    last_transition_time: datetime | None = None
    reason: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        redact(self)


class LocalReference(Struct, frozen=True):
    """A reference by name within a namespace."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
