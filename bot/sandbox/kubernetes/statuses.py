"""What nodes and pods look like, and what is said of them, when Kubernetes' own components write it. Pure."""

from collections.abc import Sequence
from datetime import datetime

from bot.sandbox.kubernetes.resources import Object, timestamp


def unreachable_taints(since: datetime) -> list[Object]:
    """The taints of a node whose kubelet is not heard of."""
    taint = {"key": "node.kubernetes.io/unreachable", "timeAdded": timestamp(since)}
    return [{**taint, "effect": "NoSchedule"}, {**taint, "effect": "NoExecute"}]


def not_ready_taints(since: datetime) -> list[Object]:
    """The taints of a node whose kubelet says that it is not ready."""
    return [{**taint, "key": "node.kubernetes.io/not-ready"} for taint in unreachable_taints(since)]


def node_conditions(ready: bool, since: datetime, heartbeat: datetime) -> list[Object]:
    """A node's conditions as its kubelet posts them, or as the node controller leaves them when it hears nothing."""
    times = {"lastHeartbeatTime": timestamp(heartbeat), "lastTransitionTime": timestamp(since)}
    lost = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    healthy: dict[str, Object] = {
        "MemoryPressure": {"status": "False", "reason": "KubeletHasSufficientMemory",
                           "message": "kubelet has sufficient memory available"},
        "DiskPressure": {"status": "False", "reason": "KubeletHasNoDiskPressure",
                         "message": "kubelet has no disk pressure"},
        "PIDPressure": {"status": "False", "reason": "KubeletHasSufficientPID",
                        "message": "kubelet has sufficient PID available"},
        "Ready": {"status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"},
    }  # fmt: skip
    return [{"type": kind, **(said if ready else lost), **times} for kind, said in healthy.items()]


def container_status(container: Object, creating: bool, since: datetime) -> Object:
    """The state of a container of a pod's spec that is being created, or has been running since."""
    if creating:
        state: Object = {"waiting": {"reason": "ContainerCreating"}}
    else:
        state = {"running": {"startedAt": timestamp(since)}}
    status = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0, "state": state}
    return status | {"ready": not creating, "started": not creating, "lastState": {}}


def pod_conditions(containers: Sequence[str], scheduled: datetime, ready: bool, since: datetime) -> list[Object]:
    """A pod's conditions: initialized, (not) ready since, and scheduled."""
    verdict: Object = {"status": "True"}
    if not ready:
        message = f"containers with unready status: [{' '.join(containers)}]"
        verdict = {"status": "False", "reason": "ContainersNotReady", "message": message}
    return [
        {"type": "Initialized", "status": "True", "lastTransitionTime": timestamp(scheduled)},
        {"type": "Ready", **verdict, "lastTransitionTime": timestamp(since)},
        {"type": "ContainersReady", **verdict, "lastTransitionTime": timestamp(since)},
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(scheduled)},
    ]


def mount_failure(volume: str, error: str) -> str:
    """kubelet's words for a mount that failed."""
    return f'MountVolume.SetUp failed for volume "{volume}" : {error}'


def mount_timeout(namespace: str, pod: str, uid: str, volumes: Sequence[str]) -> str:
    """kubelet's words after waiting in vain for a pod's volumes: they name no cause."""
    listed = " ".join(volumes)
    return (
        f'Unable to mount volumes for pod "{pod}_{namespace}({uid})": timeout expired waiting for volumes to attach '
        f'or mount for pod "{namespace}"/"{pod}". list of unmounted volumes=[{listed}]. '
        f"list of unattached volumes=[{listed}]"
    )
