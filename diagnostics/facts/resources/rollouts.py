"""One workload with its whole pod template and its revisions: what a rollout is taken back to.

Templates are kept as they came, because a revision is put back byte for byte. They may hold secrets (the values of
environment variables), so they are read for one subject only, are never kept, and are never said.
"""

from typing import Any

import msgspec

from diagnostics.facts.resources.meta import Condition, Owner, Struct
from diagnostics.facts.resources.workloads import LabelSelector, Strategy
from diagnostics.model import Subject

Template = dict[str, Any]


class Marks(Struct, frozen=True):
    """The labels and annotations by which tools mark what they manage. Others are not read.

    https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/,
    https://fluxcd.io/flux/components/kustomize/kustomizations/, https://fluxcd.io/flux/components/helm/helmreleases/,
    https://helm.sh/docs/chart_best_practices/labels/,
    https://github.com/operator-framework/operator-lifecycle-manager/blob/master/pkg/lib/ownerutil/util.go
    """

    argocd_instance: str | None = msgspec.field(name="argocd.argoproj.io/instance", default=None)
    argocd_tracking: str | None = msgspec.field(name="argocd.argoproj.io/tracking-id", default=None)
    flux_kustomization: str | None = msgspec.field(name="kustomize.toolkit.fluxcd.io/name", default=None)
    flux_release: str | None = msgspec.field(name="helm.toolkit.fluxcd.io/name", default=None)
    managed_by: str | None = msgspec.field(name="app.kubernetes.io/managed-by", default=None)
    helm_release: str | None = msgspec.field(name="meta.helm.sh/release-name", default=None)
    change_cause: str | None = msgspec.field(name="kubernetes.io/change-cause", default=None)
    revision: str | None = msgspec.field(name="deployment.kubernetes.io/revision", default=None)
    olm_owner: str | None = msgspec.field(name="olm.owner", default=None)


class FieldManager(Struct, frozen=True):
    """Who has written some of an object's fields. Which fields these are is not read."""

    manager: str = ""


class MarkedMeta(Struct, frozen=True):
    """Metadata with the marks of tools."""

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[Owner, ...] | None = None
    labels: Marks | None = None
    annotations: Marks | None = None
    managed_fields: tuple[FieldManager, ...] | None = None

    @property
    def controller(self) -> Owner | None:
        """The owner that manages this object, if there is one."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)

    @property
    def made_by(self) -> str | None:
        """Whoever made this object, in words: any owner, or OLM, which marks what it owns from another namespace."""
        if self.owner_references:
            owner = self.controller or self.owner_references[0]
            return f"{owner.kind} {owner.name}"
        return f"OLM's {self.labels.olm_owner}" if self.labels and self.labels.olm_owner else None

    @property
    def change_cause(self) -> str | None:
        """What `kubernetes.io/change-cause` says."""
        return self.annotations.change_cause if self.annotations else None


class RolledOutSpec(Struct, frozen=True):
    """What Deployments, StatefulSets and DaemonSets are told about their pods. `strategy` is a Deployment's."""

    template: Template = {}  # noqa: RUF012 - msgspec makes a new one each time
    selector: LabelSelector = LabelSelector()
    replicas: int | None = None
    paused: bool | None = None
    strategy: Strategy | None = None
    update_strategy: Strategy | None = None
    pod_management_policy: str = "OrderedReady"


class RolledOutStatus(Struct, frozen=True):
    """How far a rollout has come: the fields of all three kinds."""

    observed_generation: int | None = None
    replicas: int | None = None
    ready_replicas: int | None = None
    updated_replicas: int | None = None
    available_replicas: int | None = None
    current_revision: str | None = None
    update_revision: str | None = None
    desired_number_scheduled: int | None = None
    updated_number_scheduled: int | None = None
    number_available: int | None = None
    conditions: tuple[Condition, ...] | None = None


class RolledOut(Struct, frozen=True):
    """A Deployment, StatefulSet or DaemonSet as a whole. A GET of one object says its kind."""

    kind: str
    metadata: MarkedMeta
    spec: RolledOutSpec = RolledOutSpec()
    status: RolledOutStatus = RolledOutStatus()

    @property
    def subject(self) -> Subject:
        """This workload as a subject."""
        return Subject(self.kind, self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def replicas(self) -> int:
        """How many pods a Deployment or StatefulSet keeps. The API fills in 1."""
        return 1 if self.spec.replicas is None else self.spec.replicas

    @property
    def way(self) -> Strategy:
        """How it replaces its pods. The API fills in RollingUpdate."""
        return self.spec.strategy or self.spec.update_strategy or Strategy()

    @property
    def partition(self) -> int:
        """The smallest ordinal of a StatefulSet that an update changes."""
        rolling = self.way.rolling_update
        return (rolling.partition or 0) if rolling else 0

    @property
    def is_observed(self) -> bool:
        """Whether its controller has looked at its newest spec."""
        return (self.status.observed_generation or 0) >= (self.metadata.generation or 0)


class TemplateOf(Struct, frozen=True):
    """What an old revision is made from."""

    template: Template = {}  # noqa: RUF012 - msgspec makes a new one each time


class RevisionSet(Struct, frozen=True):
    """A ReplicaSet with its template: a revision of a Deployment."""

    metadata: MarkedMeta
    spec: TemplateOf = TemplateOf()

    @property
    def subject(self) -> Subject:
        """This ReplicaSet as a subject."""
        return Subject("ReplicaSet", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def number(self) -> int | None:
        """The number of its revision; None where the controller has given it none yet."""
        given = self.metadata.annotations.revision if self.metadata.annotations else None
        return int(given) if given and given.isdecimal() else None

    @property
    def template(self) -> Template:
        """What its pods are made from."""
        return self.spec.template


class RevisionData(Struct, frozen=True):
    """A ControllerRevision's data: a patch of the spec, which the controllers make of the template alone."""

    spec: TemplateOf = TemplateOf()


class ControllerRevision(Struct, frozen=True):
    """A revision of a StatefulSet or DaemonSet."""

    metadata: MarkedMeta
    data: RevisionData | None = None
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
    def template(self) -> Template:
        """What its pods are made from."""
        return self.data.spec.template if self.data else {}
