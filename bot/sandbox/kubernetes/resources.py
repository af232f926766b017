"""Which resources the sandbox's API server knows, and how each differs from the others.

Data only. The differences (selectable fields, subresources, what a deletion returns) were read off a real server.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Object = dict[str, Any]


def timestamp(moment: datetime) -> str:
    """A moment in UTC as Kubernetes writes it (metav1.Time): `2026-03-14T09:26:53Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(moment: datetime) -> str:
    """A moment in UTC with microseconds (metav1.MicroTime), as leases have it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """A moment from what the API holds.

    Raises:
        ValueError: the text is not RFC 3339.
    """
    return datetime.fromisoformat(text)


def _paths(*names: str, **aliases: str) -> dict[str, str]:
    return {"metadata.name": "metadata.name", **{name: name for name in names}, **aliases}


NAMESPACED = _paths("metadata.namespace")


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource. `fields` maps the selectable field labels to where their value lies in the object.

    `tells_fields`: how the real server words its refusal of other labels differs between old and new registrations.
    `returns_deleted`: a deletion answers with the object instead of a bare success. `never_stored`: fields of which
    nothing is kept, not even for a moment.
    """

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    has_status: bool = False
    counts_generations: bool = False
    returns_deleted: bool = False
    fields: Mapping[str, str] = field(default_factory=lambda: NAMESPACED)
    tells_fields: bool = True
    creatable_only: bool = False
    never_stored: tuple[str, ...] = ()

    @property
    def group_version(self) -> str:
        """`v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name in error messages: `pods`, `replicasets.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def whole(self, stored: Object) -> Object:
        """The object as a single answer shows it, with its kind and version; lists leave both out."""
        return {"kind": self.kind, "apiVersion": self.group_version, **stored}


_POD_FIELDS = _paths(
    "metadata.namespace", "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
    "status.phase", "status.podIP", "status.nominatedNodeName",
)  # fmt: skip
_EVENT_FIELDS = _paths(
    "metadata.namespace", "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
    "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
    "reason", "type", "reportingComponent", source="source.component",
)  # fmt: skip

_APPS: dict[str, Any] = {"group": "apps", "has_status": True, "counts_generations": True}
_STORAGE: dict[str, Any] = {"group": "storage.k8s.io", "namespaced": False, "returns_deleted": True}

RESOURCES: tuple[Resource, ...] = (
    Resource("pods", "Pod", has_status=True, returns_deleted=True, fields=_POD_FIELDS, tells_fields=False),
    Resource("nodes", "Node", namespaced=False, has_status=True, fields=_paths("spec.unschedulable"),
             tells_fields=False),
    Resource("events", "Event", fields=_EVENT_FIELDS, tells_fields=False),
    Resource("namespaces", "Namespace", namespaced=False, has_status=True,
             fields=_paths("status.phase", name="metadata.name"), tells_fields=False),
    Resource("persistentvolumes", "PersistentVolume", namespaced=False, has_status=True, returns_deleted=True),
    Resource("persistentvolumeclaims", "PersistentVolumeClaim", has_status=True, returns_deleted=True),
    Resource("configmaps", "ConfigMap"),
    Resource("secrets", "Secret", fields=_paths("metadata.namespace", "type"), tells_fields=False,
             never_stored=("data", "stringData")),
    Resource("services", "Service", has_status=True),
    Resource("endpoints", "Endpoints"),
    Resource("deployments", "Deployment", **_APPS),
    Resource("replicasets", "ReplicaSet", **_APPS),
    Resource("statefulsets", "StatefulSet", **_APPS),
    Resource("daemonsets", "DaemonSet", **_APPS),
    Resource("controllerrevisions", "ControllerRevision", group="apps"),
    Resource("jobs", "Job", group="batch", has_status=True,
             fields=_paths("metadata.namespace", "status.successful"), tells_fields=False),
    Resource("volumeattachments", "VolumeAttachment", has_status=True, **_STORAGE),
    Resource("csinodes", "CSINode", **_STORAGE),
    Resource("csidrivers", "CSIDriver", **_STORAGE),
    Resource("storageclasses", "StorageClass", **_STORAGE),
    Resource("leases", "Lease", group="coordination.k8s.io"),
    Resource("poddisruptionbudgets", "PodDisruptionBudget", group="policy", has_status=True, counts_generations=True),
    Resource("selfsubjectaccessreviews", "SelfSubjectAccessReview", group="authorization.k8s.io", namespaced=False,
             creatable_only=True),
)  # fmt: skip

BY_NAME: Mapping[tuple[str, str], Resource] = {(r.group_version, r.plural): r for r in RESOURCES}
BY_KIND: Mapping[tuple[str, str], Resource] = {(r.group_version, r.kind): r for r in RESOURCES}

PODS = BY_NAME["v1", "pods"]
NODES = BY_NAME["v1", "nodes"]
EVENTS = BY_NAME["v1", "events"]
NAMESPACES = BY_NAME["v1", "namespaces"]
VOLUMES = BY_NAME["v1", "persistentvolumes"]
CLAIMS = BY_NAME["v1", "persistentvolumeclaims"]
SECRETS = BY_NAME["v1", "secrets"]
DEPLOYMENTS = BY_NAME["apps/v1", "deployments"]
REPLICA_SETS = BY_NAME["apps/v1", "replicasets"]
STATEFUL_SETS = BY_NAME["apps/v1", "statefulsets"]
LEASES = BY_NAME["coordination.k8s.io/v1", "leases"]
