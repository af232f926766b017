"""The controllers that keep the sandbox's cluster alive: workloads, the scheduler, node life, and a kubelet a node.

Driven by `step`, by the cluster's own clock; nothing here sleeps. It must run in the API server's event loop.
"""

import copy
from collections.abc import Iterable
from datetime import timedelta
from uuid import uuid4

from bot.sandbox.kubernetes import events, statuses
from bot.sandbox.kubernetes.kubelet import Kubelet, Storage
from bot.sandbox.kubernetes.registry import Registry
from bot.sandbox.kubernetes.resources import (
    DEPLOYMENTS,
    LEASES,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    Object,
    Resource,
    parse_time,
    timestamp,
)

LEASE_GRACE = timedelta(seconds=40)
"""How old a node's lease may get before the node counts as unreachable."""
_KEPT_BY_US = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready", "node.kubernetes.io/unschedulable")


class Controllers:
    """All controllers of one cluster. Nodes whose lease is fresh have a kubelet; the others have none until `boot`."""

    def __init__(self, registry: Registry, storage: Storage) -> None:
        self._registry = registry
        self._storage = storage
        self._kubelets = {
            node["metadata"]["name"]: Kubelet(node["metadata"]["name"], registry, storage)
            for node in registry.store.all(NODES)
            if self._is_heard(node["metadata"]["name"])
        }

    def step(self) -> None:
        """Let every controller do once what is due now."""
        for node in self._registry.store.all(NODES):
            self._watch_over(node)
        for resource in (REPLICA_SETS, STATEFUL_SETS):
            for owner in self._registry.store.all(resource):
                self._make_pods(resource, owner)
        for pod in self._registry.store.all(PODS):
            if not pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp"):
                self._schedule(pod)
        for kubelet in list(self._kubelets.values()):
            kubelet.step()
        for resource in (REPLICA_SETS, STATEFUL_SETS, DEPLOYMENTS):
            for owner in self._registry.store.all(resource):
                self._count(resource, owner)

    def stop_kubelet(self, node: str) -> None:
        """The node is not heard of any more, be it dead or cut off; what runs there may go on running."""
        self._kubelets.pop(node, None)

    def boot(self, node: str) -> None:
        """The node starts anew: another boot ID, and nothing mounted from before."""
        stored = copy.deepcopy(self._registry.get(NODES, None, node))
        stored["status"].setdefault("nodeInfo", {})["bootID"] = str(uuid4())
        self._registry.store.put(NODES, stored)
        self._kubelets[node] = Kubelet(node, self._registry, self._storage, adopts=False)

    def _is_heard(self, node: str) -> bool:
        lease = self._registry.store.get(LEASES, "kube-node-lease", node)
        return lease is not None and self._registry.now() - parse_time(lease["spec"]["renewTime"]) <= LEASE_GRACE

    def _watch_over(self, node: Object) -> None:
        """Node life: silence makes a node unreachable, taints follow its state, and its pods are evicted in time."""
        name, now = node["metadata"]["name"], self._registry.now()
        changed = copy.deepcopy(node)
        ready = next((c for c in node["status"].get("conditions", ()) if c["type"] == "Ready"), None)
        if not self._is_heard(name) and (ready is None or ready["status"] != "Unknown"):
            heartbeat = parse_time(ready["lastHeartbeatTime"]) if ready else now
            changed["status"]["conditions"] = statuses.node_conditions(False, now, heartbeat)
            about = {"kind": "Node", "name": name, "uid": name}
            said = f"Node {name} status is now: NodeNotReady"
            events.post(self._registry, about, "NodeNotReady", said, component="node-controller")
            self._mark_not_ready(name)
        self._taint(changed)
        if changed != node:
            self._registry.store.put(NODES, changed)
        for pod in self._registry.store.all(PODS):
            if pod["spec"].get("nodeName") == name:
                self._evict_in_time(pod, changed)

    def _mark_not_ready(self, node: str) -> None:
        for pod in self._registry.store.all(PODS):
            ready = [c for c in pod["status"].get("conditions", ()) if c["type"] == "Ready" and c["status"] == "True"]
            if pod["spec"].get("nodeName") == node and ready:
                changed = copy.deepcopy(pod)
                for condition in changed["status"]["conditions"]:
                    if condition["type"] == "Ready":
                        condition |= {"status": "False", "lastTransitionTime": timestamp(self._registry.now())}
                self._registry.store.put(PODS, changed)

    def _taint(self, node: Object) -> None:
        """Make a node's taints say what its state is; those of others stay."""
        now, spec = self._registry.now(), node["spec"]
        status = next((c["status"] for c in node["status"].get("conditions", ()) if c["type"] == "Ready"), "Unknown")
        wanted: list[Object] = []
        if status != "True":
            wanted += statuses.unreachable_taints(now) if status == "Unknown" else statuses.not_ready_taints(now)
        if spec.get("unschedulable"):
            taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
            wanted.append({**taint, "timeAdded": timestamp(now)})
        present = spec.get("taints") or []
        known = {(taint["key"], taint["effect"]): taint for taint in present}
        others = [taint for taint in present if taint["key"] not in _KEPT_BY_US]
        taints = [*others, *(known.get((taint["key"], taint["effect"]), taint) for taint in wanted)]
        if taints:
            spec["taints"] = taints
        else:
            spec.pop("taints", None)

    def _evict_in_time(self, pod: Object, node: Object) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            return
        for taint in node["spec"].get("taints") or ():
            if taint["effect"] != "NoExecute":
                continue
            stays = _tolerated_for(pod, taint)
            since = parse_time(taint.get("timeAdded") or timestamp(self._registry.now()))
            if stays is not None and self._registry.now() - since >= stays:
                said = f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
                about = events.reference("Pod", pod)
                events.post(self._registry, about, "TaintManagerEviction", said, component="taint-controller")
                self._registry.delete(PODS, meta["namespace"], meta["name"])
                return

    def _make_pods(self, resource: Resource, owner: Object) -> None:
        """Bring a workload to its size: a pod that is being deleted counts as gone, but still owns its name."""
        mine = self._pods_of(owner)
        alive = [p for p in mine if not _is_ending(p)]
        surplus = len(alive) - owner["spec"].get("replicas", 1)
        if resource is STATEFUL_SETS:
            there = {pod["metadata"]["name"] for pod in mine}
            names = [f"{owner['metadata']['name']}-{number}" for number in range(owner["spec"].get("replicas", 1))]
            for name in names:
                if name not in there:
                    self._make_pod(resource, owner, {"name": name})
        for _ in range(-surplus if resource is REPLICA_SETS else 0):
            self._make_pod(resource, owner, {"generateName": f"{owner['metadata']['name']}-"})
        for pod in sorted(alive, key=_is_ready)[: max(surplus, 0)]:
            self._registry.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _make_pod(self, resource: Resource, owner: Object, named: Object) -> None:
        template, meta = owner["spec"]["template"], owner["metadata"]
        reference = {"apiVersion": resource.group_version, "kind": resource.kind, "name": meta["name"]}
        reference |= {"uid": meta["uid"], "controller": True, "blockOwnerDeletion": True}
        metadata = {**(template.get("metadata") or {}), **named, "ownerReferences": [reference]}
        given = {"metadata": metadata, "spec": copy.deepcopy(template["spec"])}
        made = self._registry.create(PODS, meta["namespace"], given)
        about = events.reference(resource.kind, owner, resource.group_version)
        said = f"Created pod: {made['metadata']['name']}"
        events.post(self._registry, about, "SuccessfulCreate", said, component=f"{resource.kind.lower()}-controller")

    def _pods_of(self, owner: Object) -> list[Object]:
        uid, namespace = owner["metadata"]["uid"], owner["metadata"]["namespace"]
        return [pod for pod in self._registry.store.all(PODS, namespace) if uid in _controllers_of(pod)]

    def _schedule(self, pod: Object) -> None:
        """Bind a pod to the node with the fewest pods among those that take it."""
        meta, nodes = pod["metadata"], self._registry.store.all(NODES)
        load = [other["spec"].get("nodeName") for other in self._registry.store.all(PODS)]
        fitting = [node["metadata"]["name"] for node in nodes if _takes(node, pod)]
        about = events.reference("Pod", pod)
        if not fitting:
            said = f"0/{len(nodes)} nodes are available: {len(nodes)} node(s) had taints that the pod didn't tolerate."
            events.post(self._registry, about, "FailedScheduling", said, component="default-scheduler", kind="Warning")
            return
        node = min(fitting, key=lambda name: (load.count(name), name))
        self._registry.bind(meta["namespace"], meta["name"], node)
        said = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
        events.post(self._registry, about, "Scheduled", said, component="default-scheduler")

    def _count(self, resource: Resource, owner: Object) -> None:
        """Write a workload's status from its pods (a Deployment's from its ReplicaSets)."""
        if resource is DEPLOYMENTS:
            sets = self._registry.store.all(REPLICA_SETS, owner["metadata"]["namespace"])
            mine = [s["status"] for s in sets if owner["metadata"]["uid"] in _controllers_of(s)]
            replicas, ready = (sum(s.get(name, 0) for s in mine) for name in ("replicas", "readyReplicas"))
        else:
            alive = [pod for pod in self._pods_of(owner) if not _is_ending(pod)]
            replicas, ready = len(alive), sum(map(_is_ready, alive))
        status = {**owner.get("status", {}), "replicas": replicas, "readyReplicas": ready, "availableReplicas": ready}
        if status != owner.get("status"):
            self._registry.store.put(resource, {**owner, "status": status})


def _controllers_of(stored: Object) -> Iterable[str]:
    return [owner["uid"] for owner in stored["metadata"].get("ownerReferences") or () if owner.get("controller")]


def _is_ending(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or pod["status"].get("phase") in ("Succeeded", "Failed")


def _is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


def _tolerations(pod: Object, taint: Object) -> list[Object]:
    return [
        toleration
        for toleration in pod["spec"].get("tolerations") or ()
        if toleration.get("effect") in (None, "", taint["effect"])
        and (toleration.get("key") in (None, "") or toleration["key"] == taint["key"])
        and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))
    ]


def _tolerated_for(pod: Object, taint: Object) -> timedelta | None:
    """How long a pod stays under a NoExecute taint; None: for ever."""
    seconds = [toleration.get("tolerationSeconds") for toleration in _tolerations(pod, taint)]
    if not seconds:
        return timedelta(0)
    limits = [given for given in seconds if given is not None]
    return timedelta(seconds=min(limits)) if limits else None


def _takes(node: Object, pod: Object) -> bool:
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions") or ())
    taints = [t for t in node["spec"].get("taints") or () if t["effect"] in ("NoSchedule", "NoExecute")]
    return ready and not node["spec"].get("unschedulable") and all(_tolerations(pod, taint) for taint in taints)
