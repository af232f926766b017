"""The incident as API objects: node1 is dead, its pod's replacement hangs behind the lock that its image still carries.

Data only, at a moment that the caller gives. All times fit together: the node died, was noticed, its pods were
evicted after five minutes, and the replacement has been waiting since. `IMAGES` and `FILE_SYSTEM` say what the
sandbox's Ceph must hold for it. Secrets exist by name only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from bot.sandbox.kubernetes.defaults import EVICTION_SECONDS, fill_pod_spec
from bot.sandbox.kubernetes.kubelet import FIRST_RETRY, LONGEST_RETRY, MOUNT_TIMEOUT
from bot.sandbox.kubernetes.registry import uid_of
from bot.sandbox.kubernetes.resources import Object, micro_timestamp, timestamp
from bot.sandbox.kubernetes.statuses import (
    container_status,
    mount_failure,
    mount_timeout,
    node_conditions,
    pod_conditions,
    unreachable_taints,
)

DEAD_NODE = "node1"
NODES = {"node1": "10.47.136.60", "node2": "10.46.181.146", "node3": "10.46.181.147"}
MONITORS = ("10.46.180.11:6789", "10.46.180.12:6789", "10.46.180.13:6789")
POOL = "mioss"
IMAGES = ("index-api-image", "ledger-image", "reports-image")
"""RBD images in `POOL` that volumes name: the incident's, another one of the dead node, a healthy one of node3."""
FILE_SYSTEM = "uploads"

DEAD_FOR = timedelta(minutes=12)
NOTICED_AFTER = timedelta(seconds=45)
EVICTED_AFTER = NOTICED_AFTER + timedelta(seconds=EVICTION_SECONDS)


@dataclass(frozen=True)
class _App:
    """One application: its workload, its pods' names by node, and the volume that they mount."""

    namespace: str
    name: str
    kind: str
    claim: str | None
    pods: tuple[tuple[str, str], ...]
    replicas: int


_APPS = (
    _App("search", "index-api", "Deployment", "index-api", (("index-api-5c9d8f7b6d-x7x2k", "node1"),), 1),
    _App("billing", "ledger", "StatefulSet", "ledger", (("ledger-0", "node1"),), 1),
    _App("media", "uploads", "Deployment", "uploads",
         (("uploads-6f7c9b5d48-4vnhq", "node1"), ("uploads-6f7c9b5d48-t2kdz", "node2")), 2),
    _App("media", "reports", "StatefulSet", "reports", (("reports-0", "node3"),), 1),
    _App("shop", "web", "Deployment", None,
         (("web-7d5b8c6f9-bq4ws", "node2"), ("web-7d5b8c6f9-hz6pl", "node3"), ("web-7d5b8c6f9-nv8rc", "node3")), 3),
    _App("monitoring", "node-exporter", "DaemonSet", None,
         (("node-exporter-9w2vd", "node1"), ("node-exporter-lm5cz", "node2"), ("node-exporter-r8tqx", "node3")), 3),
)  # fmt: skip
_REPLACEMENTS = {
    "index-api-5c9d8f7b6d-x7x2k": ("index-api-5c9d8f7b6d-q4z8m", "node2"),
    "uploads-6f7c9b5d48-4vnhq": ("uploads-6f7c9b5d48-w5jts", "node3"),
}
STUCK_POD = "index-api-5c9d8f7b6d-q4z8m"
OLD_POD = "index-api-5c9d8f7b6d-x7x2k"
NAMESPACE = "search"


def objects(now: datetime, monitors: Sequence[str] = MONITORS) -> Iterator[Object]:
    """All objects of the incident's cluster as they are at `now` (UTC), ready for `Registry.load`."""
    died = now - DEAD_FOR
    for name in ("default", "kube-system", "kube-node-lease", *dict.fromkeys(app.namespace for app in _APPS)):
        yield {**_head("v1", "Namespace", name, None, now - timedelta(days=412)), "status": {"phase": "Active"}}
    for number, (name, ip) in enumerate(NODES.items()):
        yield _node(name, ip, number, now, died, monitors)
        yield _lease(name, died if name == DEAD_NODE else now - timedelta(seconds=4))
    yield _secret("search", "ceph-admin-key", now)
    yield _secret("media", "ceph-admin-key", now)
    yield _secret("billing", "ceph-admin-key", now)
    for app in _APPS:
        if app.claim:
            yield from _storage(app, monitors, now)
        yield from _workload(app, died, now)
    yield from _events(died, now)


def _head(version: str, kind: str, name: str, namespace: str | None, created: datetime) -> Object:
    meta: Object = {"name": name} | ({"namespace": namespace} if namespace else {})
    head: Object = {"apiVersion": version, "kind": kind, "metadata": meta}
    meta["uid"] = uid_of(head)
    meta["creationTimestamp"] = timestamp(created)
    return head


def _secret(namespace: str, name: str, now: datetime) -> Object:
    head = _head("v1", "Secret", name, namespace, now - timedelta(days=400))
    return {**head, "type": "kubernetes.io/rbd"}


def _node(name: str, ip: str, number: int, now: datetime, died: datetime, monitors: Sequence[str]) -> Object:
    node = _head("v1", "Node", name, None, now - timedelta(days=400))
    node["metadata"]["labels"] = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    dead = name == DEAD_NODE
    since = died + NOTICED_AFTER if dead else now - timedelta(days=37)
    heartbeat = died if dead else now - timedelta(seconds=20)
    node["spec"] = {"podCIDR": f"10.244.{number + 1}.0/24"}
    if dead:
        node["spec"]["taints"] = unreachable_taints(since)
    node["status"] = {
        "capacity": {"cpu": "16", "memory": "64Gi", "pods": "110"},
        "allocatable": {"cpu": "16", "memory": "62Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
        "conditions": node_conditions(not dead, since, heartbeat),
        "nodeInfo": {
            "machineID": uuid5(NAMESPACE_URL, f"machine/{name}").hex,
            "systemUUID": str(uuid5(NAMESPACE_URL, f"system/{name}")),
            "bootID": str(uuid5(NAMESPACE_URL, f"boot/{name}")),
            "kernelVersion": "4.19.0-21-amd64",
            "osImage": "Debian GNU/Linux 10 (buster)",
            "containerRuntimeVersion": "containerd://1.4.12",
            "kubeletVersion": "v1.21.14",
            "kubeProxyVersion": "v1.21.14",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    }
    mounted = [image_of(app) for app in _APPS if app.claim and app.claim != "uploads" and app.pods[0][1] == name]
    if mounted:
        shown = " ".join(monitors)
        node["status"]["volumesInUse"] = [f"kubernetes.io/rbd/[{shown}]:{image}" for image in mounted]
    return node


def image_of(app: _App) -> str:
    """The RBD image behind an application's volume."""
    return f"{app.claim}-image"


def _lease(node: str, renewed: datetime) -> Object:
    lease = _head("coordination.k8s.io/v1", "Lease", node, "kube-node-lease", renewed - timedelta(days=400))
    lease["spec"] = {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": micro_timestamp(renewed)}
    return lease


def _storage(app: _App, monitors: Sequence[str], now: datetime) -> Iterator[Object]:
    """The PV and the PVC of an application, bound to each other. A PV is named as its claim."""
    created = now - timedelta(days=390)
    claim = _head("v1", "PersistentVolumeClaim", str(app.claim), app.namespace, created)
    shared = app.claim == "uploads"
    modes = ["ReadWriteMany" if shared else "ReadWriteOnce"]
    volume = _head("v1", "PersistentVolume", str(app.claim), None, created)
    volume["metadata"]["finalizers"] = ["kubernetes.io/pv-protection"]
    reference = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": app.namespace}
    volume["spec"] = {
        "capacity": {"storage": "50Gi"},
        "accessModes": modes,
        "claimRef": {**reference, "name": app.claim, "uid": claim["metadata"]["uid"]},
        "persistentVolumeReclaimPolicy": "Retain",
        "volumeMode": "Filesystem",
    }
    secret = {"name": "ceph-admin-key", "namespace": app.namespace}
    reach: Object = {"monitors": list(monitors), "user": "admin", "secretRef": secret}
    if shared:
        volume["spec"]["cephfs"] = {**reach, "path": f"/{FILE_SYSTEM}"}
    else:
        place = {"pool": POOL, "image": image_of(app), "fsType": "ext4", "keyring": "/etc/ceph/keyring"}
        volume["spec"]["rbd"] = {**reach, **place}
    volume["status"] = {"phase": "Bound"}
    claim["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
    claim["spec"] = {"accessModes": modes, "volumeName": app.claim, "volumeMode": "Filesystem", "storageClassName": ""}
    claim["spec"]["resources"] = {"requests": {"storage": "50Gi"}}
    claim["status"] = {"phase": "Bound", "accessModes": modes, "capacity": {"storage": "50Gi"}}
    yield volume
    yield claim


def _workload(app: _App, died: datetime, now: datetime) -> Iterator[Object]:
    """The objects that own an application's pods, and the pods."""
    evicted = died + EVICTED_AFTER
    created = now - timedelta(days=37)
    labels = {"app": app.name}
    template = {"metadata": {"labels": labels}, "spec": _pod_spec(app)}
    spec: Object = {"selector": {"matchLabels": labels}, "template": template}
    ready = sum(node != DEAD_NODE for _, node in app.pods) + (app.name == "uploads")
    if app.kind == "DaemonSet":
        status = dict.fromkeys(("desiredNumberScheduled", "currentNumberScheduled"), app.replicas)
        status |= {"numberReady": ready, "numberAvailable": ready, "numberMisscheduled": 0}
    else:
        spec |= {"replicas": app.replicas} | ({"serviceName": app.name} if app.kind == "StatefulSet" else {})
        status = {"replicas": app.replicas, "readyReplicas": ready, "availableReplicas": ready}
    owner = _head("apps/v1", app.kind, app.name, app.namespace, created)
    yield {**owner, "spec": spec, "status": status}
    if app.kind == "Deployment":
        replica_set = _head("apps/v1", "ReplicaSet", app.pods[0][0].rsplit("-", 1)[0], app.namespace, created)
        replica_set["metadata"]["ownerReferences"] = [_owned_by(owner)]
        replica_set["metadata"]["labels"] = labels
        yield (owner := {**replica_set, "spec": spec, "status": status})
    for number, (name, node) in enumerate(app.pods, 10 * (_APPS.index(app) + 1)):
        yield _pod(app, owner, name, node, number, now - timedelta(days=3), died)
        if (replacement := _REPLACEMENTS.get(name)) is not None:
            yield _pod(app, owner, *replacement, number + 100, evicted, died)


def _owned_by(owner: Object) -> Object:
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
    return {**reference, "uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def _pod_spec(app: _App) -> Object:
    container: Object = {"name": app.name, "image": f"registry.example.com/{app.namespace}/{app.name}:1.24.3"}
    spec: Object = {"containers": [container]}
    if app.claim:
        container["volumeMounts"] = [{"name": app.claim, "mountPath": "/data"}]
        spec["volumes"] = [{"name": app.claim, "persistentVolumeClaim": {"claimName": app.claim}}]
    if app.kind == "DaemonSet":  # the agents of a node: on its own network, and never evicted
        spec |= {"hostNetwork": True, "tolerations": [{"operator": "Exists"}]}
    fill_pod_spec(spec)
    return spec


def _pod(app: _App, owner: Object, name: str, node: str, number: int, created: datetime, died: datetime) -> Object:
    """A pod: running on its node, or stuck; on the dead node running as far as anybody knows, and evicted since."""
    pod = _head("v1", "Pod", name, app.namespace, created)
    pod["metadata"] |= {"labels": {"app": app.name}, "ownerReferences": [_owned_by(owner)]}
    tolerated = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute",
         "tolerationSeconds": EVICTION_SECONDS}
        for key in ("not-ready", "unreachable")
    ]  # fmt: skip
    place = {"nodeName": node, "serviceAccountName": "default"}
    pod["spec"] = {"tolerations": tolerated, **_pod_spec(app), **place}
    pod["status"] = {"phase": "Running", "qosClass": "BestEffort", "hostIP": NODES[node]}
    if node == DEAD_NODE and app.kind != "DaemonSet":
        grace = pod["spec"]["terminationGracePeriodSeconds"]
        pod["metadata"]["deletionTimestamp"] = timestamp(died + EVICTED_AFTER + timedelta(seconds=grace))
        pod["metadata"]["deletionGracePeriodSeconds"] = grace
    creating = name == STUCK_POD
    if creating:
        pod["status"]["phase"] = "Pending"
    else:
        own = f"10.244.{list(NODES).index(node) + 1}.{number}"
        pod["status"]["podIP"] = NODES[node] if pod["spec"].get("hostNetwork") else own
    pod["status"]["startTime"] = timestamp(created)
    pod["status"]["containerStatuses"] = [container_status(pod["spec"]["containers"][0], creating, created)]
    lost = died + NOTICED_AFTER if node == DEAD_NODE else None
    pod["status"]["conditions"] = pod_conditions([app.name], created, not creating and lost is None, lost or created)
    return pod


def _events(died: datetime, now: datetime) -> Iterator[Object]:
    """What the cluster has said about it in the last quarter of an hour."""
    evicted, noticed = died + EVICTED_AFTER, died + NOTICED_AFTER
    node = {"kind": "Node", "name": DEAD_NODE, "uid": DEAD_NODE}
    said = f"Node {DEAD_NODE} status is now: NodeNotReady"
    yield _event(node, "default", "NodeNotReady", "Normal", said, ("node-controller", ""), [noticed])
    gone, stuck = _about(OLD_POD), _about(STUCK_POD)
    said = f"Marking for deletion Pod {NAMESPACE}/{OLD_POD}"
    yield _event(gone, NAMESPACE, "TaintManagerEviction", "Normal", said, ("taint-controller", ""), [evicted])
    said = f"Successfully assigned {NAMESPACE}/{STUCK_POD} to node2"
    yield _event(stuck, NAMESPACE, "Scheduled", "Normal", said, ("default-scheduler", ""), [evicted])
    kubelet = ("kubelet", "node2")
    said = mount_failure("index-api", f"rbd: image {IMAGES[0]} is locked by other nodes")
    yield _event(stuck, NAMESPACE, "FailedMount", "Warning", said, kubelet, list(_retries(evicted, now)))
    waits = int((now - evicted) / MOUNT_TIMEOUT)
    times = [evicted + MOUNT_TIMEOUT * (number + 1) for number in range(waits)]
    said = mount_timeout(NAMESPACE, STUCK_POD, stuck["uid"], ["index-api"])
    yield _event(stuck, NAMESPACE, "FailedMount", "Warning", said, kubelet, times)


def _retries(start: datetime, end: datetime) -> Iterator[datetime]:
    wait, moment = FIRST_RETRY, start + timedelta(seconds=1)
    while moment <= end:
        yield moment
        moment, wait = moment + wait, min(wait * 2, LONGEST_RETRY)


def _about(pod: str) -> Object:
    uid = uid_of({"kind": "Pod", "metadata": {"name": pod, "namespace": NAMESPACE}})
    return {"kind": "Pod", "namespace": NAMESPACE, "name": pod, "uid": uid, "apiVersion": "v1"}


def _event(
    about: Object, namespace: str, reason: str, kind: str, message: str, source: tuple[str, str],
    times: Sequence[datetime],
) -> Object:  # fmt: skip
    name = f"{about['name']}.{int(times[0].timestamp() * 1_000_000_000):x}"
    event = _head("v1", "Event", name, namespace, times[0])
    event |= {"involvedObject": about, "reason": reason, "message": message, "type": kind, "count": len(times)}
    event["source"] = {"component": source[0]} | ({"host": source[1]} if source[1] else {})
    event |= {"firstTimestamp": timestamp(times[0]), "lastTimestamp": timestamp(times[-1]), "eventTime": None}
    return event | {"reportingComponent": "", "reportingInstance": ""}
