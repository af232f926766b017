"""What an API server fills in when an object is created. Pure; only what Unstick's code or its people would see."""

import copy
from collections.abc import Callable, Mapping

from bot.sandbox.kubernetes.resources import Object, Resource

_NOT_READY = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
_UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
EVICTION_SECONDS = 300
"""How long a pod stays on a node that is not ready or unreachable, unless it tolerates more (Kubernetes' default)."""


def new_object(resource: Resource, given: Object) -> Object:
    """The object that a create request stores, without its identity: given fields, defaults, no status of its own."""
    made = copy.deepcopy(given)
    for name in ("kind", "apiVersion", *resource.never_stored):
        made.pop(name, None)
    if resource.has_status and resource.kind != "Node":
        made.pop("status", None)
    if (fill := _FILL.get(resource.kind)) is not None:
        fill(made)
    return made


def _pod(made: Object) -> None:
    spec = made.setdefault("spec", {})
    fill_pod_spec(spec)
    spec.setdefault("serviceAccountName", "default")
    tolerations = spec.setdefault("tolerations", [])
    for taint in (_NOT_READY, _UNREACHABLE):
        if not any(t.get("key") in (taint["key"], None, "") for t in tolerations):
            tolerations.append({**taint, "tolerationSeconds": EVICTION_SECONDS})
    made["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


def fill_pod_spec(spec: Object) -> None:
    """The defaults that a pod template gets as well."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    for volume in spec.get("volumes") or ():
        if "rbd" in volume:
            _rbd(volume["rbd"])


def _rbd(source: Object) -> None:
    source.setdefault("pool", "rbd")
    source.setdefault("user", "admin")
    source.setdefault("keyring", "/etc/ceph/keyring")


def _volume(made: Object) -> None:
    spec = made.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if "rbd" in spec:
        _rbd(spec["rbd"])
    _protect(made, "kubernetes.io/pv-protection")
    made["status"] = {"phase": "Pending"}


def _claim(made: Object) -> None:
    made.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    _protect(made, "kubernetes.io/pvc-protection")
    made["status"] = {"phase": "Pending"}


def _protect(made: Object, finalizer: str) -> None:
    finalizers = made["metadata"].setdefault("finalizers", [])
    if finalizer not in finalizers:
        finalizers.append(finalizer)


def _event(made: Object) -> None:
    for name in ("involvedObject", "source"):
        made[name] = made.get(name) or {}
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        made.setdefault(name, None)
    for name in ("reportingComponent", "reportingInstance"):
        made[name] = made.get(name) or ""
    for name in ("reason", "message", "type", "count"):
        if not made.get(name):
            made.pop(name, None)


def _attachment(made: Object) -> None:
    made["status"] = {"attached": False}


def _namespace(made: Object) -> None:
    made["spec"] = {"finalizers": ["kubernetes"]}
    made["status"] = {"phase": "Active"}


def _workload(made: Object) -> None:
    spec = made.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    fill_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
    made["status"] = {"replicas": 0}


_FILL: Mapping[str, Callable[[Object], None]] = {
    "Pod": _pod,
    "PersistentVolume": _volume,
    "PersistentVolumeClaim": _claim,
    "Event": _event,
    "VolumeAttachment": _attachment,
    "Namespace": _namespace,
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
}
