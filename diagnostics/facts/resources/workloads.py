"""What makes pods: the owners that make a deleted one again, and how they replace one by another."""

from diagnostics.facts.resources.meta import Condition, Meta, Struct
from diagnostics.facts.resources.pods import PodSpec
from diagnostics.model import Subject


class ReplicaSetSpec(Struct, frozen=True):
    """How many pods it keeps."""

    replicas: int | None = None


class Workload(Struct, frozen=True):
    """A ReplicaSet or StatefulSet: an owner that makes a deleted pod again."""

    metadata: Meta
    spec: ReplicaSetSpec = ReplicaSetSpec()


class PodTemplate(Struct, frozen=True):
    """What the pods are made from."""

    spec: PodSpec = PodSpec()


class RollingUpdate(Struct, frozen=True):
    """How many pods more, or fewer, there may be while one set replaces another: a number or a percentage."""

    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class Strategy(Struct, frozen=True):
    """How a Deployment replaces its pods: `RollingUpdate` (the API's default) or `Recreate`."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Struct, frozen=True):
    """What a Deployment keeps, and how it replaces it."""

    replicas: int | None = None
    strategy: Strategy = Strategy()
    template: PodTemplate = PodTemplate()


class DeploymentStatus(Struct, frozen=True):
    """How far a Deployment has come."""

    conditions: tuple[Condition, ...] | None = None


class Deployment(Struct, frozen=True):
    """A Deployment."""

    metadata: Meta
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


class DaemonSetSpec(Struct, frozen=True):
    """What a DaemonSet puts on its nodes."""

    template: PodTemplate = PodTemplate()


class DaemonSetStatus(Struct, frozen=True):
    """On how many nodes its pod should be, and on how many it is available."""

    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    number_available: int | None = None
    number_unavailable: int | None = None


class DaemonSet(Struct, frozen=True):
    """A DaemonSet."""

    metadata: Meta
    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()

    @property
    def subject(self) -> Subject:
        """This DaemonSet as a subject."""
        return Subject("DaemonSet", self.metadata.namespace, self.metadata.name, self.metadata.uid)
