"""What is read of Kubernetes, and by which requests: whole lists for a scan, GETs and selectors for one subject.

Which requests a kind takes is a pure function of the snapshot so far, so that a source only carries them out.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from diagnostics.facts import Kind, Snapshot
from diagnostics.facts import resources as res
from diagnostics.facts.resources import Attachment, Claim, Deployment, Event, Pod, PodRow, ReplicaSet, Volume

F = TypeVar("F", covariant=True)


@dataclass(frozen=True)
class Get:
    """Read one object. That it does not exist is an answer, not an error."""

    name: str
    namespace: str | None = None


@dataclass(frozen=True)
class List:
    """Read a list, in pages: of one namespace or all, narrowed by a field selector and by a label selector."""

    namespace: str | None = None
    fields: str | None = None
    labels: str | None = None


@dataclass(frozen=True)
class Listing(Generic[F]):
    """The objects that were read: `full` where they matter, and a slim row for each one (pods only)."""

    full: tuple[F, ...]
    rows: tuple[PodRow, ...] = ()
    scanned: int = 0
    _indexes: dict[str, dict[Any, tuple[Any, ...]]] = field(default_factory=dict, compare=False, repr=False)

    def index(self, name: str, key: Callable[[Any], Hashable]) -> Mapping[Any, tuple[F, ...]]:
        """The objects by a key, made once for each `name`: joins over thousands of them must not scan for each."""
        return self.index_each(name, lambda item: (key(item),))

    def index_each(self, name: str, keys: Callable[[Any], Iterable[Hashable]]) -> Mapping[Any, tuple[F, ...]]:
        """The objects by any number of keys of each."""
        return cast("Mapping[Any, tuple[F, ...]]", self._index(f"full {name}", self.full, keys))

    def rows_by(self, name: str, keys: Callable[[PodRow], Iterable[Hashable]]) -> Mapping[Any, tuple[PodRow, ...]]:
        """The rows by any number of keys of each."""
        return self._index(f"rows {name}", self.rows, keys)

    def _index(
        self, name: str, items: Iterable[Any], keys: Callable[[Any], Iterable[Hashable]]
    ) -> dict[Any, tuple[Any, ...]]:
        if name not in self._indexes:
            made: dict[Any, list[Any]] = {}
            for item in items:
                for key in keys(item):
                    made.setdefault(key, []).append(item)
            self._indexes[name] = {key: tuple(found) for key, found in made.items()}
        return self._indexes[name]


@dataclass(frozen=True, eq=False)
class Resource(Kind[Listing[F]], Generic[F]):
    """A Kubernetes resource: `requests` says what to ask, and `verbs` what that takes in RBAC.

    Where the server does not serve `version`, those in `older` are asked, in that order. Of one that is `metadata_only` no
    content is asked for: by name alone.
    One that is `granted_by_choice` asks for metadata alone, never for content, and that it is forbidden is no blindness:
    the cluster's owner did not grant it (Secrets).
    """

    group: str = ""
    version: str = "v1"
    plural: str = ""
    struct: type[Any] = res.Struct
    row: Callable[[Any], PodRow] | None = None
    requests: Callable[[Snapshot], Iterable[Get | List]] = lambda _: (List(),)
    verbs: str = "get list"
    granted_by_choice: bool = False
    older: tuple[str, ...] = ()
    metadata_only: bool = False

    @property
    def path(self) -> str:
        """The API path of the group and version, without the namespace: `/api/v1`, `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def paths(self) -> tuple[str, ...]:
        """That path in each version, the newest first."""
        return (self.path, *(f"/apis/{self.group}/{version}" for version in self.older))


def _full(snapshot: Snapshot, kind: "Resource[F]") -> Sequence[F]:
    listing = snapshot.seen(kind)
    return listing.full if listing else ()


def everywhere(snapshot: Snapshot, fields: str | None = None) -> tuple[List, ...]:
    """The lists of a scan: of its namespaces, of the whole cluster where it names none."""
    return tuple(List(ns, fields) for ns in snapshot.scope.namespaces) or (List(None, fields),)


def _pods(snapshot: Snapshot) -> Iterable[Get | List]:
    subject = snapshot.scope.subject
    if subject is None:
        return everywhere(snapshot)
    return (Get(subject.name, subject.namespace),) if subject.kind == "Pod" else ()


def _claims(snapshot: Snapshot) -> Iterable[Get | List]:
    if snapshot.scope.subject is None:
        return everywhere(snapshot)
    if snapshot.scope.subject.kind == "PersistentVolumeClaim":
        return (Get(snapshot.scope.subject.name, snapshot.scope.subject.namespace),)
    return {Get(claim, pod.metadata.namespace): None for pod in _full(snapshot, PODS) for claim in pod.claims}


_OF_ALL_VOLUMES = ("RBDImage", "RBDLocks", "Node", "VolumeAttachment")


def _volumes(snapshot: Snapshot) -> Iterable[Get | List]:
    subject = snapshot.scope.subject
    if subject is None or subject.kind in _OF_ALL_VOLUMES:  # no selector leads from these to their volumes
        return (List(),)
    if subject.kind == "PersistentVolume":
        return (Get(subject.name),)
    return {Get(claim.spec.volume_name): None for claim in _full(snapshot, CLAIMS) if claim.spec.volume_name}


def _events(snapshot: Snapshot) -> Iterable[Get | List]:
    if snapshot.scope.subject is None:
        return everywhere(snapshot, "type=Warning")
    objects = [*(p.metadata for p in _full(snapshot, PODS)), *(c.metadata for c in _full(snapshot, CLAIMS))]
    return [List(meta.namespace, f"involvedObject.uid={meta.uid}") for meta in objects if meta.uid]


def _attachments(snapshot: Snapshot) -> Iterable[Get | List]:
    subject = snapshot.scope.subject
    named = subject is None or subject.kind == "VolumeAttachment"
    if named or any(v.spec.csi for v in _full(snapshot, VOLUMES)):
        return (List(),)
    return ()


def _deployments(snapshot: Snapshot) -> Iterable[Get | List]:
    subject = snapshot.scope.subject
    if subject is None:
        return everywhere(snapshot)
    if subject.kind == "Deployment":
        return (Get(subject.name, subject.namespace),)
    owners = [(r.metadata.namespace, r.metadata.controller) for r in _full(snapshot, REPLICA_SETS)]
    return {Get(o.name, ns): None for ns, o in owners if o is not None and o.kind == "Deployment"}


def _replica_sets(snapshot: Snapshot) -> Iterable[Get | List]:
    """Of a Deployment all of its namespace: only their owner says whose they are."""
    subject = snapshot.scope.subject
    if subject is None:
        return everywhere(snapshot)
    if subject.kind == "Deployment":
        return (List(subject.namespace),)
    owners = [(p.metadata.namespace, p.metadata.controller) for p in _full(snapshot, PODS)]
    return {Get(o.name, ns): None for ns, o in owners if o is not None and o.kind == "ReplicaSet"}


PODS: Resource[Pod] = Resource("pods", plural="pods", struct=Pod, row=res.pod_row, requests=_pods)
CLAIMS: Resource[Claim] = Resource(
    "persistentvolumeclaims", (PODS,), plural="persistentvolumeclaims", struct=Claim, requests=_claims
)
VOLUMES: Resource[Volume] = Resource(
    "persistentvolumes", (CLAIMS,), plural="persistentvolumes", struct=Volume, requests=_volumes
)
EVENTS: Resource[Event] = Resource("events", (PODS, CLAIMS), plural="events", struct=Event, requests=_events)
ATTACHMENTS: Resource[Attachment] = Resource(
    "volumeattachments", (VOLUMES,), group="storage.k8s.io", plural="volumeattachments", struct=Attachment,
    requests=_attachments,
)  # fmt: skip
REPLICA_SETS: Resource[ReplicaSet] = Resource(
    "replicasets", (PODS,), group="apps", plural="replicasets", struct=ReplicaSet, requests=_replica_sets
)
DEPLOYMENTS: Resource[Deployment] = Resource(
    "deployments", (REPLICA_SETS,), group="apps", plural="deployments", struct=Deployment, requests=_deployments
)
