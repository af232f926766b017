"""A node's kubelet: it renews the node's lease, mounts volumes, starts pods and ends them, and says what goes wrong.

Driven by `step`; it never sleeps. Whether a mount works is `Storage`'s to say. Retries and messages are those of a
real kubelet, because Unstick reads them.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from bot.sandbox.kubernetes import events, statuses
from bot.sandbox.kubernetes.registry import Registry
from bot.sandbox.kubernetes.resources import (
    BY_NAME,
    CLAIMS,
    EVENTS,
    LEASES,
    NODES,
    PODS,
    SECRETS,
    VOLUMES,
    Object,
    micro_timestamp,
    parse_time,
    timestamp,
)

RENEWAL = timedelta(seconds=10)
HEARTBEAT = timedelta(minutes=5)
FIRST_RETRY = timedelta(seconds=0.5)
LONGEST_RETRY = timedelta(seconds=122)
MOUNT_TIMEOUT = timedelta(seconds=123)
"""kubelet waits twice as long before each new try of a mount, up to `LONGEST_RETRY`, and says every `MOUNT_TIMEOUT`
that it waits in vain."""
_CONFIG_MAPS = BY_NAME["v1", "configmaps"]


class Storage(Protocol):
    """What lies behind volumes. A volume is a PV, or for a pod's inline volume an object of the same shape.

    It is asked for every volume, also for such as are no business of Ceph's: those it mounts.
    """

    def mount(self, pod: Object, volume: Object, node: str) -> str | None:
        """Try to mount: None where it worked, else the error as kubelet would report it."""
        ...

    def unmount(self, pod: Object, volume: Object, node: str) -> None:
        """The pod is done with the volume."""
        ...


@dataclass
class _Retry:
    """When a mount is tried next, and how long the wait after that is."""

    at: datetime
    wait: timedelta = FIRST_RETRY


@dataclass
class _Work:
    """What a kubelet has in hand for one pod. `waits_since` is None until it waits for volumes."""

    mounted: dict[str, Object] = field(default_factory=dict)
    retries: dict[str, _Retry] = field(default_factory=dict)
    waits_since: datetime | None = None


class Kubelet:
    """The kubelet of one node. With `adopts`, pods that run there already are taken to have their volumes mounted."""

    def __init__(self, node: str, registry: Registry, storage: Storage, *, adopts: bool = True) -> None:
        self.node = node
        self._registry = registry
        self._storage = storage
        self._work: dict[str, _Work] = {}
        for pod in self._pods() if adopts else ():
            if pod["status"].get("phase") == "Running":
                volumes = {name: volume for name, volume in self._volumes(pod) if isinstance(volume, dict)}
                self._work[pod["metadata"]["uid"]] = _Work(volumes)

    def step(self) -> None:
        """Do what is due now: lease, node status, and each pod of this node."""
        if self._registry.store.get(NODES, None, self.node) is None:
            return
        self._renew()
        self._report()
        pods = self._pods()
        for pod in sorted(pods, key=lambda pod: "deletionTimestamp" not in pod["metadata"]):
            self._sync(pod)  # those that end first, as they may hold what others wait for
        present = {pod["metadata"]["uid"] for pod in pods}
        for uid in [uid for uid in self._work if uid not in present]:
            self._release(uid, {"metadata": {"uid": uid}})

    def _pods(self) -> list[Object]:
        return [pod for pod in self._registry.store.all(PODS) if pod["spec"].get("nodeName") == self.node]

    def _renew(self) -> None:
        now = self._registry.now()
        lease = self._registry.store.get(LEASES, "kube-node-lease", self.node)
        spec = {"holderIdentity": self.node, "leaseDurationSeconds": 40, "renewTime": micro_timestamp(now)}
        if lease is None:
            metadata = {"name": self.node}
            self._registry.create(LEASES, "kube-node-lease", {"metadata": metadata, "spec": spec})
        elif now - parse_time(lease["spec"]["renewTime"]) >= RENEWAL:
            self._registry.store.put(LEASES, {**lease, "spec": {**lease["spec"], **spec}})

    def _report(self) -> None:
        now = self._registry.now()
        node = copy.deepcopy(self._registry.get(NODES, None, self.node))
        ready = next((c for c in node["status"].get("conditions", ()) if c["type"] == "Ready"), None)
        if ready is not None and ready["status"] == "True":
            if now - parse_time(ready["lastHeartbeatTime"]) < HEARTBEAT:
                return
            since = parse_time(ready["lastTransitionTime"])
        else:
            since = now
        node["status"]["conditions"] = statuses.node_conditions(True, since, now)
        self._registry.store.put(NODES, node)

    def _sync(self, pod: Object) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            self._release(meta["uid"], pod)
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            self._registry.delete(PODS, meta["namespace"], meta["name"], options)
            return
        if pod["status"].get("phase") in ("Succeeded", "Failed"):
            self._release(meta["uid"], pod)
            return
        work = self._work.setdefault(meta["uid"], _Work())
        if not pod["status"].get("startTime"):
            pod = self._write(pod, running=False)
        missing = [name for name, volume in self._volumes(pod) if not self._mount(pod, name, volume, work)]
        if missing:
            self._complain_of_waiting(pod, missing, work)
        if (not missing) != _is_running(pod):
            self._write(pod, running=not missing)

    def _volumes(self, pod: Object) -> Iterator[tuple[str, Object | str]]:
        """The pod's volumes by their names: what to mount, or why that is not known."""
        namespace = pod["metadata"]["namespace"]
        store = self._registry.store
        for entry in pod["spec"].get("volumes") or ():
            source = {field: value for field, value in entry.items() if field != "name"}
            inline: Object = {"metadata": {"name": entry["name"]}, "spec": source}
            if claim_source := source.get("persistentVolumeClaim"):
                claim = store.get(CLAIMS, namespace, claim_source["claimName"])
                bound = store.get(VOLUMES, None, claim["spec"].get("volumeName", "")) if claim else None
                yield entry["name"], bound or f'persistentvolumeclaim "{claim_source["claimName"]}" not found'
            elif (named := source.get("configMap")) and not named.get("optional"):
                known = store.get(_CONFIG_MAPS, namespace, named["name"])
                yield entry["name"], inline if known else f'configmap "{named["name"]}" not found'
            elif (named := source.get("secret")) and not named.get("optional"):
                known = store.get(SECRETS, namespace, named["secretName"])
                yield entry["name"], inline if known else f'secret "{named["secretName"]}" not found'
            else:
                yield entry["name"], inline

    def _mount(self, pod: Object, name: str, volume: Object | str, work: _Work) -> bool:
        if name in work.mounted:
            return True
        now = self._registry.now()
        retry = work.retries.setdefault(name, _Retry(now))
        if now < retry.at:
            return False
        error = volume if isinstance(volume, str) else self._storage.mount(pod, volume, self.node)
        if error is None and isinstance(volume, dict):
            work.mounted[name] = volume
            work.retries.pop(name)
            return True
        retry.at, retry.wait = now + retry.wait, min(retry.wait * 2, LONGEST_RETRY)
        shown = name if isinstance(volume, str) else volume["metadata"]["name"]
        self._say(pod, "FailedMount", statuses.mount_failure(shown, str(error)), "Warning")
        return False

    def _complain_of_waiting(self, pod: Object, missing: list[str], work: _Work) -> None:
        now, meta = self._registry.now(), pod["metadata"]
        if work.waits_since is None:
            work.waits_since = self._last_complaint(pod) or parse_time(pod["status"]["startTime"])
        if now - work.waits_since < MOUNT_TIMEOUT:
            return
        work.waits_since = now
        said = statuses.mount_timeout(meta["namespace"], meta["name"], meta["uid"], missing)
        self._say(pod, "FailedMount", said, "Warning")

    def _last_complaint(self, pod: Object) -> datetime | None:
        """When a kubelet before this one said last that it waits: a complaint is not repeated early."""
        times = [
            parse_time(event["lastTimestamp"])
            for event in self._registry.store.all(EVENTS, pod["metadata"]["namespace"])
            if event.get("involvedObject", {}).get("uid") == pod["metadata"]["uid"]
            and str(event.get("message", "")).startswith("Unable to mount volumes")
            and event.get("lastTimestamp")
        ]
        return max(times, default=None)

    def _write(self, pod: Object, *, running: bool) -> Object:
        """Store a pod's status as running, or as being created."""
        now = self._registry.now()
        written = copy.deepcopy(pod)
        status = written["status"]
        status.setdefault("startTime", timestamp(now))
        node = self._registry.get(NODES, None, self.node)
        addresses = node["status"].get("addresses") or ()
        status["hostIP"] = next((a["address"] for a in addresses if a["type"] == "InternalIP"), "")
        status["phase"] = "Running" if running else "Pending"
        if running:
            on_host = pod["spec"].get("hostNetwork")
            status["podIP"] = status["hostIP"] if on_host else status.get("podIP") or self._free_ip(node)
        else:
            status.pop("podIP", None)
        containers = pod["spec"]["containers"]
        status["containerStatuses"] = [statuses.container_status(made, not running, now) for made in containers]
        scheduled = parse_time(status["startTime"])
        status["conditions"] = statuses.pod_conditions([c["name"] for c in containers], scheduled, running, now)
        stored = self._registry.store.put(PODS, written)
        for container in containers if running else ():
            self._say(stored, "Started", f"Started container {container['name']}")
        return stored

    def _free_ip(self, node: Object) -> str:
        network = node["spec"].get("podCIDR", "10.244.0.0/24").rpartition(".")[0]
        taken = {pod["status"].get("podIP") for pod in self._registry.store.all(PODS)}
        return next(ip for ip in (f"{network}.{number}" for number in range(2, 1000)) if ip not in taken)

    def _release(self, uid: str, pod: Object) -> None:
        work = self._work.pop(uid, _Work())
        for volume in work.mounted.values():
            self._storage.unmount(pod, volume, self.node)

    def _say(self, pod: Object, reason: str, message: str, kind: str = "Normal") -> None:
        about = events.reference("Pod", pod)
        events.post(self._registry, about, reason, message, component="kubelet", host=self.node, kind=kind)


def _is_running(pod: Object) -> bool:
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())
    return ready and pod["status"]["phase"] == "Running" and bool(pod["status"].get("podIP"))
