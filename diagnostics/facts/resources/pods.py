"""Pods and what they mount."""

from datetime import datetime

import msgspec

from diagnostics.facts.resources.meta import Condition, Meta, Struct
from diagnostics.facts.resources.redaction import redact
from diagnostics.facts.resources.volumes import RBDSource, Whereabouts
from diagnostics.model import Subject


class ClaimSource(Struct, frozen=True):
    """A pod's use of a claim."""

    claim_name: str
    read_only: bool = False


class KeyToPath(Struct, frozen=True):
    """One key that a volume takes out of a ConfigMap or Secret."""

    key: str


class ConfigMapSource(Struct, frozen=True):
    """A pod's use of a ConfigMap as a volume: of all its keys, or of `items`."""

    name: str = ""
    optional: bool | None = None
    items: tuple[KeyToPath, ...] | None = None


class SecretSource(Struct, frozen=True):
    """A pod's use of a Secret as a volume: its name and the names of keys only."""

    secret_name: str = ""
    optional: bool | None = None
    items: tuple[KeyToPath, ...] | None = None


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
    whereabouts: Whereabouts | None = None

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

    def __post_init__(self) -> None:
        redact(self)


class Terminated(Struct, frozen=True):
    """A container that has ended, and how."""

    reason: str | None = None
    exit_code: int | None = None


class ContainerState(Struct, frozen=True):
    """A container's state, as far as it waits or has ended; with neither it runs."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(Struct, frozen=True):
    """The state of one container, how it ended the last time, and how often it was started again."""

    name: str
    ready: bool = False
    state: ContainerState | None = None
    last_state: ContainerState | None = None
    restart_count: int = 0


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
    def is_ready(self) -> bool:
        """Whether its containers serve."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions or ())

    @property
    def may_be_running(self) -> bool:
        """Not known to have ended: its containers may still hold volumes, whatever the API server has last heard."""
        return self.status.phase not in ("Succeeded", "Failed")

    @property
    def shows_running(self) -> bool:
        """Whether some container runs by the last status that was reported. A dead node's pods keep saying so.

        A pod that is being deleted wants its volumes until no container shows running (Kubernetes: `IsPodTerminated`).
        """
        statuses = (*(self.status.init_container_statuses or ()), *(self.status.container_statuses or ()))
        states = [status.state or ContainerState() for status in statuses]
        return any(state.waiting is None and state.terminated is None for state in states)


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
    shows_running: bool = True
    deletes: datetime | None = None


def pod_row(pod: Pod) -> PodRow:
    """Reduce a pod to its row."""
    meta, status = pod.metadata, pod.status
    return PodRow(
        meta.namespace or "", meta.name, meta.uid, pod.spec.node_name, status.host_ip, status.pod_ip, status.phase,
        pod.claims, meta.deletion_timestamp is not None, pod.shows_running, meta.deletion_timestamp,
    )  # fmt: skip
