"""What is read of pods and of events while they are watched: no more than decides whether to look at a pod.

Whether a pod is still being created is judged as by `diagnostics.facts.resources.Pod`; a test holds both together. It is
not that struct, because its spec and messages would be decoded for each change of each pod.
"""

from datetime import datetime

import msgspec

from diagnostics.model import Subject
from diagnostics.sources.kubernetes.watching import Identity, Watched

_CREATING = ("ContainerCreating", "PodInitializing", None)


class _Struct(msgspec.Struct, frozen=True, rename="camel", gc=False):
    pass


class Waiting(_Struct, frozen=True):
    """Why a container waits."""

    reason: str | None = None


class State(_Struct, frozen=True):
    """A container's state, as far as it waits."""

    waiting: Waiting | None = None


class Container(_Struct, frozen=True):
    """The status of one container."""

    state: State | None = None


class Condition(_Struct, frozen=True):
    """A condition of a pod."""

    type: str = ""
    status: str = ""
    last_transition_time: datetime | None = None


class Spec(_Struct, frozen=True):
    """Where a pod runs."""

    node_name: str | None = None


class Status(_Struct, frozen=True):
    """How far a pod has come."""

    phase: str | None = None
    start_time: datetime | None = None
    conditions: tuple[Condition, ...] | None = None
    init_container_statuses: tuple[Container, ...] | None = None
    container_statuses: tuple[Container, ...] | None = None


class WatchedPod(_Struct, frozen=True):
    """A pod."""

    metadata: Identity = Identity()
    spec: Spec = Spec()
    status: Status = Status()

    @property
    def subject(self) -> Subject:
        """This pod as a subject."""
        return Subject("Pod", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def waiting_since(self) -> datetime | None:
        """When its node should have begun with it: the PodScheduled transition, else startTime."""
        for condition in self.status.conditions or ():
            if condition.type == "PodScheduled" and condition.status == "True" and condition.last_transition_time:
                return condition.last_transition_time
        return self.status.start_time

    @property
    def is_creating(self) -> bool:
        """Bound to a node, still Pending, and no container of it has got past its creation."""
        if self.status.phase != "Pending" or not self.spec.node_name:
            return False
        containers = (*(self.status.init_container_statuses or ()), *(self.status.container_statuses or ()))
        return all(
            one.state is None or (one.state.waiting is not None and one.state.waiting.reason in _CREATING)
            for one in containers
        )


class About(_Struct, frozen=True):
    """What an event is about."""

    kind: str | None = None
    uid: str | None = None


class WatchedEvent(_Struct, frozen=True):
    """An event. What it says is only classified, never passed on."""

    metadata: Identity = Identity()
    involved_object: About | None = None
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    first_timestamp: datetime | None = None
    event_time: datetime | None = None

    @property
    def first_seen(self) -> datetime | None:
        """When it came first."""
        return self.first_timestamp or self.event_time


# A pod that leaves this selection (it runs, failed, is gone) is told as deleted, so that the pods which run, nearly all of
# a cluster, are neither listed nor heard of.
PODS = Watched("/api/v1", "pods", WatchedPod, "status.phase=Pending,spec.nodeName!=")
EVENTS = Watched("/api/v1", "events", WatchedEvent, "type=Warning", kept=False)
