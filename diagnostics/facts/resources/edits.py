"""Who edited an object, and when; and the images that each revision of a workload runs.

`managedFields` are more than a quarter of a pod, so they are read of a few objects around one subject only, never in a
scan, and never of pods. Of containers the names and images are kept: no value of an environment variable is decoded.
"""

from datetime import datetime

from diagnostics.facts.resources.configuration import ManagedFields
from diagnostics.facts.resources.meta import LocalReference, Meta, Struct
from diagnostics.facts.resources.workloads import LabelSelector, RolloutAnnotations, RolloutMeta
from diagnostics.model import Subject

FieldTree = dict[str, object]


class Edit(ManagedFields, frozen=True):
    """What one writer owns of an object, and when it last changed any of that.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management; `subresource` since Kubernetes 1.22.
    """

    manager: str = ""
    subresource: str | None = None
    time: datetime | None = None

    @property
    def fields(self) -> FieldTree:
        """The fields, by `f:NAME`, without metadata and status: what somebody wants of the object."""
        return {name: of for name, of in (self.fields_v1 or {}).items() if name not in ("f:metadata", "f:status")}

    def owns(self, *path: str) -> bool:
        """Whether it owns something at a path, such as `spec`, `template`."""
        here: object = self.fields_v1 or {}
        for name in path:
            here = here.get(f"f:{name}") if isinstance(here, dict) else None
        return here is not None


class EditedMeta(Meta, frozen=True):
    """Metadata with its writers."""

    managed_fields: tuple[Edit, ...] | None = None


class Edited(Struct, frozen=True):
    """Any object as its metadata alone: who made it, and who edited it when."""

    metadata: EditedMeta


class NameOnly(Struct, frozen=True):
    """Where the value of one environment variable comes from, by name."""

    config_map_key_ref: LocalReference | None = None
    secret_key_ref: LocalReference | None = None


class Variable(Struct, frozen=True):
    """An environment variable: where its value comes from, never the value."""

    value_from: NameOnly | None = None


class VariablesFrom(Struct, frozen=True):
    """A ConfigMap or Secret all of whose keys become environment variables."""

    config_map_ref: LocalReference | None = None
    secret_ref: LocalReference | None = None


class Container(Struct, frozen=True):
    """A container of a template: its image, and whence its environment comes."""

    name: str = ""
    image: str = ""
    env: tuple[Variable, ...] | None = None
    env_from: tuple[VariablesFrom, ...] | None = None


class ContainersOf(Struct, frozen=True):
    """The containers of a template."""

    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class ImageTemplate(Struct, frozen=True):
    """A pod template, as far as it names images and whence the environment comes."""

    spec: ContainersOf = ContainersOf()

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Its init containers and containers."""
        return (*(self.spec.init_containers or ()), *(self.spec.containers or ()))

    @property
    def images(self) -> dict[str, str]:
        """The image of each container, by the container's name."""
        return {each.name: each.image for each in self.all_containers}

    @property
    def config_maps(self) -> tuple[str, ...]:
        """The ConfigMaps that environment variables come from."""
        refs = [each.config_map_ref for one in self.all_containers for each in one.env_from or ()]
        refs += [each.value_from.config_map_key_ref for each in self._variables if each.value_from]
        return tuple(dict.fromkeys(ref.name for ref in refs if ref is not None and ref.name))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The Secrets that environment variables come from, by name."""
        refs = [each.secret_ref for one in self.all_containers for each in one.env_from or ()]
        refs += [each.value_from.secret_key_ref for each in self._variables if each.value_from]
        return tuple(dict.fromkeys(ref.name for ref in refs if ref is not None and ref.name))

    @property
    def _variables(self) -> tuple[Variable, ...]:
        return tuple(each for one in self.all_containers for each in one.env or ())


class EditedWorkloadMeta(EditedMeta, frozen=True):
    """Metadata of a workload with its writers, its revision and why it was made."""

    annotations: RolloutAnnotations | None = None


class EditedWorkloadSpec(Struct, frozen=True):
    """How a workload finds its revisions, and what it runs."""

    selector: LabelSelector = LabelSelector()
    template: ImageTemplate = ImageTemplate()


class EditedWorkload(Struct, frozen=True):
    """A Deployment, StatefulSet or DaemonSet with its writers. A GET of one object says its kind."""

    kind: str
    metadata: EditedWorkloadMeta
    spec: EditedWorkloadSpec = EditedWorkloadSpec()

    @property
    def subject(self) -> Subject:
        """This workload as a subject."""
        return Subject(self.kind, self.metadata.namespace, self.metadata.name, self.metadata.uid)


class ImagesOf(Struct, frozen=True):
    """What a revision is made from."""

    template: ImageTemplate = ImageTemplate()


class ImageSet(Struct, frozen=True):
    """A ReplicaSet with its images: a revision of a Deployment."""

    metadata: RolloutMeta
    spec: ImagesOf = ImagesOf()

    @property
    def subject(self) -> Subject:
        """This ReplicaSet as a subject."""
        return Subject("ReplicaSet", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def number(self) -> int | None:
        """The number of its revision; None where the controller has given it none yet."""
        return self.metadata.revision

    @property
    def images(self) -> dict[str, str]:
        """The image of each container."""
        return self.spec.template.images


class ImageData(Struct, frozen=True):
    """A ControllerRevision's data: a patch of the spec."""

    spec: ImagesOf = ImagesOf()


class ImageRevision(Struct, frozen=True):
    """A ControllerRevision with its images: a revision of a StatefulSet or DaemonSet."""

    metadata: RolloutMeta
    data: ImageData | None = None
    revision: int | None = None

    @property
    def subject(self) -> Subject:
        """This ControllerRevision as a subject."""
        return Subject("ControllerRevision", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def number(self) -> int | None:
        """The number of the revision."""
        return self.revision

    @property
    def images(self) -> dict[str, str]:
        """The image of each container."""
        return self.data.spec.template.images if self.data else {}
