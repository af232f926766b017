"""What makes pods: the owners that make a deleted one again, and how they replace one by another."""

from datetime import datetime

import msgspec

from diagnostics.facts.resources.meta import Condition, Meta, Struct
from diagnostics.facts.resources.pods import PodSpec
from diagnostics.model import Subject

# The API fills it in; one that is as large as an int32 can be means that there is none (`HasProgressDeadline`).
PROGRESS_DEADLINE = 600
_NO_DEADLINE = 2**31 - 1


class RolloutAnnotations(Struct, frozen=True):
    """The annotations that tell of a rollout; others are not kept (`last-applied-configuration` holds a whole manifest)."""

    revision: str | None = msgspec.field(name="deployment.kubernetes.io/revision", default=None)
    change_cause: str | None = msgspec.field(name="kubernetes.io/change-cause", default=None)


class RolloutMeta(Meta, frozen=True):
    """Metadata of a Deployment or ReplicaSet: which revision it stands at, and why it was made."""

    annotations: RolloutAnnotations | None = None

    @property
    def revision(self) -> int | None:
        """The number of its revision, None where the controller has given it none yet."""
        given = self.annotations.revision if self.annotations else None
        return int(given) if given and given.isdecimal() else None

    @property
    def change_cause(self) -> str | None:
        """What `kubernetes.io/change-cause` says."""
        return self.annotations.change_cause if self.annotations else None


class Requirement(Struct, frozen=True):
    """One of a selector's `matchExpressions`."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class LabelSelector(Struct, frozen=True):
    """Which pods belong to a workload."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None

    def __str__(self) -> str:
        """The selector as the API takes it in `labelSelector=`; empty for none at all."""
        parts = [f"{key}={value}" for key, value in sorted((self.match_labels or {}).items())]
        for each in self.match_expressions or ():
            words = {"Exists": each.key, "DoesNotExist": f"!{each.key}"}
            several = f"{each.key} {each.operator.lower()} ({','.join(each.values or ())})"
            parts.append(words.get(each.operator, several))
        return ",".join(parts)


class ReplicaSetSpec(Struct, frozen=True):
    """How many pods it keeps."""

    replicas: int | None = None


class Workload(Struct, frozen=True):
    """A ReplicaSet or StatefulSet: an owner that makes a deleted pod again."""

    metadata: Meta
    spec: ReplicaSetSpec = ReplicaSetSpec()


class ReplicaSetStatus(Struct, frozen=True):
    """How many of its pods there are, and how far these are."""

    replicas: int = 0
    ready_replicas: int | None = None
    available_replicas: int | None = None
    observed_generation: int | None = None
    conditions: tuple[Condition, ...] | None = None


class ReplicaSet(Struct, frozen=True):
    """A ReplicaSet: one revision of a Deployment, or a set of its own."""

    metadata: RolloutMeta
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()

    @property
    def subject(self) -> Subject:
        """This ReplicaSet as a subject."""
        return Subject("ReplicaSet", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def replicas(self) -> int:
        """How many pods it keeps. The API fills in 1."""
        return 1 if self.spec.replicas is None else self.spec.replicas

    @property
    def is_behind(self) -> bool:
        """Whether fewer of its pods are available than it keeps. Old revisions, which keep none, are not."""
        return (self.status.available_replicas or 0) < self.replicas


class PodTemplate(Struct, frozen=True):
    """What the pods are made from."""

    spec: PodSpec = PodSpec()


class RollingUpdate(Struct, frozen=True):
    """How many pods more, or fewer, there may be while one set replaces another: a number or a percentage.

    `partition` is a StatefulSet's: pods with a smaller ordinal stay at the old revision.
    """

    max_surge: int | str | None = None
    max_unavailable: int | str | None = None
    partition: int | None = None


class Strategy(Struct, frozen=True):
    """How a workload replaces its pods: `RollingUpdate` (the API's default), a Deployment's `Recreate`, or `OnDelete`."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Struct, frozen=True):
    """What a Deployment keeps, and how it replaces it."""

    replicas: int | None = None
    strategy: Strategy = Strategy()
    template: PodTemplate = PodTemplate()
    selector: LabelSelector = LabelSelector()
    paused: bool | None = None
    progress_deadline_seconds: int | None = None
    revision_history_limit: int | None = None
    min_ready_seconds: int | None = None


class DeploymentStatus(Struct, frozen=True):
    """How far a Deployment has come."""

    conditions: tuple[Condition, ...] | None = None
    observed_generation: int | None = None
    replicas: int | None = None
    updated_replicas: int | None = None
    ready_replicas: int | None = None
    available_replicas: int | None = None
    unavailable_replicas: int | None = None


class Deployment(Struct, frozen=True):
    """A Deployment."""

    metadata: RolloutMeta
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()

    @property
    def subject(self) -> Subject:
        """This Deployment as a subject."""
        return Subject("Deployment", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def replicas(self) -> int:
        """How many pods it keeps. The API fills in 1."""
        return 1 if self.spec.replicas is None else self.spec.replicas

    @property
    def surge(self) -> int:
        """How many more pods a rollout may make meanwhile. The API fills in 25%; a share is rounded up."""
        rolling = self.spec.strategy.rolling_update
        given = "25%" if rolling is None or rolling.max_surge is None else str(rolling.max_surge)
        number = int(given.removesuffix("%"))
        return -(-self.replicas * number // 100) if given.endswith("%") else number

    @property
    def deadline(self) -> int:
        """Seconds that a rollout may take without progress; the API's default where it has none."""
        given = self.spec.progress_deadline_seconds
        return PROGRESS_DEADLINE if given is None or given >= _NO_DEADLINE else given

    @property
    def is_observed(self) -> bool:
        """Whether its controller has looked at its newest spec."""
        return (self.status.observed_generation or 0) >= (self.metadata.generation or 0)

    @property
    def is_complete(self) -> bool:
        """Whether all its pods are of the newest revision and available."""
        status = self.status
        counts = (status.replicas, status.updated_replicas, status.available_replicas)
        return self.is_observed and all((count or 0) == self.replicas for count in counts)

    @property
    def is_wanted(self) -> bool:
        """Whether it has anything to wait for: one that is scaled to 0 or being deleted has not."""
        return self.replicas > 0 and self.metadata.deletion_timestamp is None

    def condition(self, word: str) -> Condition | None:
        """Its condition of a type (`Progressing`, `Available`, `ReplicaFailure`)."""
        return next((c for c in self.status.conditions or () if c.type == word), None)


class StatefulSetSpec(Struct, frozen=True):
    """What a StatefulSet keeps, in which order, and how it replaces it."""

    replicas: int | None = None
    update_strategy: Strategy = Strategy()
    pod_management_policy: str = "OrderedReady"
    selector: LabelSelector = LabelSelector()
    min_ready_seconds: int | None = None
    revision_history_limit: int | None = None


class StatefulSetStatus(Struct, frozen=True):
    """How far a StatefulSet has come. `current_replicas` are those at the current, older, revision."""

    observed_generation: int | None = None
    replicas: int = 0
    ready_replicas: int | None = None
    current_replicas: int | None = None
    updated_replicas: int | None = None
    available_replicas: int | None = None
    current_revision: str | None = None
    update_revision: str | None = None
    conditions: tuple[Condition, ...] | None = None


class StatefulSet(Struct, frozen=True):
    """A StatefulSet."""

    metadata: Meta
    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()

    @property
    def subject(self) -> Subject:
        """This StatefulSet as a subject."""
        return Subject("StatefulSet", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def replicas(self) -> int:
        """How many pods it keeps. The API fills in 1."""
        return 1 if self.spec.replicas is None else self.spec.replicas

    @property
    def partition(self) -> int:
        """The smallest ordinal that an update changes."""
        rolling = self.spec.update_strategy.rolling_update
        return (rolling.partition or 0) if rolling else 0

    @property
    def is_ordered(self) -> bool:
        """Whether it makes and ends its pods one after the other, each only when those before it are Ready."""
        return self.spec.pod_management_policy == "OrderedReady"

    @property
    def is_behind(self) -> bool:
        """Whether it keeps more pods than are Ready, or an update of those that it may update is not done."""
        due = max(0, self.replicas - self.partition)
        return (self.status.ready_replicas or 0) < self.replicas or (
            self.is_updating and (self.status.updated_replicas or 0) < due
        )

    @property
    def is_updating(self) -> bool:
        """Whether it replaces its pods by itself by those of another revision."""
        status, rolling = self.status, self.spec.update_strategy.type == "RollingUpdate"
        return rolling and bool(status.update_revision) and status.update_revision != status.current_revision


class DaemonSetSpec(Struct, frozen=True):
    """What a DaemonSet puts on its nodes, and how it replaces it."""

    template: PodTemplate = PodTemplate()
    update_strategy: Strategy = Strategy()
    selector: LabelSelector = LabelSelector()
    min_ready_seconds: int | None = None
    revision_history_limit: int | None = None


class DaemonSetStatus(Struct, frozen=True):
    """On how many nodes its pod should be, is of the newest revision, and is available."""

    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    number_available: int | None = None
    number_unavailable: int | None = None
    number_ready: int | None = None
    updated_number_scheduled: int | None = None
    observed_generation: int | None = None


class DaemonSet(Struct, frozen=True):
    """A DaemonSet."""

    metadata: Meta
    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()

    @property
    def subject(self) -> Subject:
        """This DaemonSet as a subject."""
        return Subject("DaemonSet", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def is_updating(self) -> bool:
        """Whether it replaces its pods by itself by those of another revision."""
        behind = (self.status.updated_number_scheduled or 0) < self.status.desired_number_scheduled
        return behind and self.spec.update_strategy.type == "RollingUpdate"

    @property
    def is_observed(self) -> bool:
        """Whether its counts are of its newest spec. Its controller keeps none while a pod cannot be made (Kubernetes 1.20)."""
        return (self.status.observed_generation or 0) >= (self.metadata.generation or 0)

    @property
    def is_behind(self) -> bool:
        """Whether a pod of it is missing or not available, or its counts are not of its newest spec."""
        status, desired = self.status, self.status.desired_number_scheduled
        lacking = (status.number_available or 0) < desired or status.current_number_scheduled < desired
        return lacking or not self.is_observed


class JobSpec(Struct, frozen=True):
    """How often a Job is tried, and whether it is to run at all."""

    completions: int | None = None
    parallelism: int | None = None
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None
    suspend: bool | None = None
    selector: LabelSelector | None = None


class JobStatus(Struct, frozen=True):
    """How far a Job has come: numbers of pods, and when it ended well."""

    conditions: tuple[Condition, ...] | None = None
    active: int | None = None
    failed: int | None = None
    succeeded: int | None = None
    start_time: datetime | None = None
    completion_time: datetime | None = None


class Job(Struct, frozen=True):
    """A Job."""

    metadata: Meta
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    @property
    def subject(self) -> Subject:
        """This Job as a subject."""
        return Subject("Job", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def failure(self) -> Condition | None:
        """Its condition Failed while that is True: it is over, and no pod of it is made again."""
        return self._true("Failed")

    @property
    def is_complete(self) -> bool:
        """Whether it ended well."""
        return self._true("Complete") is not None

    @property
    def began(self) -> datetime | None:
        """When it began, or was made: a Job that failed at once may have no startTime."""
        return self.status.start_time or self.metadata.creation_timestamp

    def _true(self, word: str) -> Condition | None:
        return next((c for c in self.status.conditions or () if c.type == word and c.status == "True"), None)
