"""What a kubelet of the days of the in-tree `rbd` plugin told the API server, in its words.

The words of the events are quoted from such kubelets; whoever looks for causes in events must find them here as there.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object

_LEASES = "kube-node-lease"
_AT_ONCE = timedelta()


class Reports:
    """All that one node's kubelet says: of its node, of its pods, and of mounts that fail."""

    def __init__(self, kubernetes: Kubernetes, node: str, address: str) -> None:
        self._kubernetes, self._node, self._address = kubernetes, node, address
        self._since = _now()
        self._boot_id, self._system_uuid = str(uuid4()), str(uuid4())
        self._events: dict[tuple[str, str], str] = {}  # the event's name, by pod UID and message

    def node_is_ready(self) -> None:
        """Renew the node's lease and say that it is Ready."""
        uid = self._kubernetes.get("Node", self._node)["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": uid}
        self._kubernetes.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._node, "namespace": _LEASES, "ownerReferences": [owner]},
                "spec": {"holderIdentity": self._node, "leaseDurationSeconds": 40, "renewTime": _now_exactly()},
            }
        )
        _patch_status(self._kubernetes, "Node", self._node, None, self._node_status())

    def comes_back(self, ready_for: timedelta, *, rebooted: bool, replaced: bool) -> None:
        """What the node is from now on: Ready for so long, with another boot, or as another machine."""
        self._since = _now(ready_for)
        self._boot_id = str(uuid4()) if rebooted else self._boot_id
        self._system_uuid = str(uuid4()) if replaced else self._system_uuid

    def pod_is_creating(self, pod: Object) -> None:
        """Say that the pod's containers wait for their creation, unless that was said already."""
        if "containerStatuses" in pod["status"]:
            return
        ready = _condition("Ready", "False", "ContainersNotReady")
        waiting = {"ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}
        self._pod_is(pod, {"phase": "Pending", "conditions": [ready]}, waiting)

    def pod_is_running(self, pod: Object) -> None:
        """Say that the pod runs and is ready, with an IP of its own."""
        number = int(pod["metadata"]["uid"][:4], 16)
        ip = f"10.244.{number // 256}.{number % 256}"
        running = {"ready": True, "state": {"running": {"startedAt": _now()}}}
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [_condition("Ready", "True")]}
        self._pod_is(pod, status, running)

    def image_is_locked(self, pod: Object, volume: str, pv: str, image: str) -> None:
        """Tell that the pod's volume cannot be mounted: first the time-out that covers it up, then the lock itself."""
        name, namespace, uid = (pod["metadata"][key] for key in ("name", "namespace", "uid"))
        self._mount_failed(
            pod,
            f'Unable to mount volumes for pod "{name}_{namespace}({uid})": timeout expired waiting for volumes to '
            f'attach/mount for pod "{name}"/"{namespace}". list of unattached/unmounted volumes=[{volume}]',
        )
        locked = f"rbd: image {image} is locked by other nodes"
        self._mount_failed(pod, f'MountVolume.SetUp failed for volume "{pv}" : {locked}')

    def _node_status(self) -> Object:
        room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        ready = _condition("Ready", "True", "KubeletReady", self._since) | {"lastHeartbeatTime": _now()}
        return {
            "addresses": [
                {"type": "InternalIP", "address": self._address},
                {"type": "Hostname", "address": self._node},
            ],
            "capacity": room,
            "allocatable": room,
            "conditions": [ready],
            "nodeInfo": {
                "bootID": self._boot_id,
                "systemUUID": self._system_uuid,
                "machineID": self._system_uuid.replace("-", ""),
                "kubeletVersion": "v1.9.11",
                "kubeProxyVersion": "v1.9.11",
                "kernelVersion": "4.15.0",
                "osImage": "stand-in",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "containerRuntimeVersion": "none://0",
            },
        }

    def _pod_is(self, pod: Object, status: Object, container_status: Object) -> None:
        fixed = {"imageID": "", "restartCount": 0, **container_status}
        status["containerStatuses"] = [
            {"name": container["name"], "image": container["image"], **fixed} for container in pod["spec"]["containers"]
        ]
        status["hostIP"] = self._address
        status["startTime"] = pod["status"].get("startTime") or _now()
        status["conditions"].append(_condition("Initialized", "True"))
        _patch_status(self._kubernetes, "Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], status)

    def _mount_failed(self, pod: Object, message: str) -> None:
        """Post a FailedMount event, or count it up where it was posted before."""
        about = {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}
        namespace = about["namespace"]
        known = self._events.get((about["uid"], message))
        if known:
            count = self._kubernetes.get("Event", known, namespace)["count"] + 1
            self._kubernetes.patch("Event", known, {"count": count, "lastTimestamp": _now()}, namespace)
            return
        event = self._kubernetes.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"generateName": f"{about['name']}.", "namespace": namespace},
                "involvedObject": {"apiVersion": "v1", "kind": "Pod", **about},
                "type": "Warning",
                "reason": "FailedMount",
                "message": message,
                "source": {"component": "kubelet", "host": self._node},
                "firstTimestamp": _now(),
                "lastTimestamp": _now(),
                "count": 1,
            }
        )
        self._events[about["uid"], message] = event["metadata"]["name"]


def declare_dead(kubernetes: Kubernetes, node: str, since: timedelta = timedelta(minutes=10)) -> None:
    """Let a node whose kubelet is silent be known as dead now, as if it had been so for `since`.

    The status is what the node controller writes after 40 s of silence; the lease is then as old as Unstick asks for
    before it takes a node for down.
    """
    silent = _condition("Ready", "Unknown", "NodeStatusUnknown", _now(since))
    silent["message"] = "Kubelet stopped posting node status."
    _patch_status(kubernetes, "Node", node, None, {"conditions": [silent]})
    kubernetes.patch("Lease", node, {"spec": {"renewTime": _now_exactly(since)}}, _LEASES)


def forget_node(kubernetes: Kubernetes, node: str) -> None:
    """Remove the Node, its lease and, by force, the pods that are bound to it."""
    kubernetes.delete("Node", node)  # first, or the scheduler binds the pods' replacements to it
    kubernetes.delete("Lease", node, _LEASES)
    for pod in pods_of(kubernetes, node):
        kubernetes.delete("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], grace=0)


def pods_of(kubernetes: Kubernetes, node: str) -> Sequence[Object]:
    """The pods that are bound to the node."""
    return kubernetes.items("Pod", fields=f"spec.nodeName={node}")


def _patch_status(kubernetes: Kubernetes, kind: str, name: str, namespace: str | None, status: Object) -> None:
    # Strategic: a condition replaces the one of its type and leaves those that controllers and the scheduler wrote.
    kubernetes.patch(kind, name, {"status": status}, namespace, subresource="status", strategic=True)


def _condition(kind: str, status: str, reason: str | None = None, since: str | None = None) -> Object:
    return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": since or _now()}


def _now(ago: timedelta = _AT_ONCE) -> str:
    return f"{datetime.now(UTC) - ago:%Y-%m-%dT%H:%M:%SZ}"


def _now_exactly(ago: timedelta = _AT_ONCE) -> str:
    """To the microsecond, which a lease wants and nothing else does."""
    return f"{datetime.now(UTC) - ago:%Y-%m-%dT%H:%M:%S.%fZ}"
