"""Facts made by hand around a node that is drained and a Job that is run anew; one field at a time can be made to differ."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import Daemon, Fence, OsdMap
from diagnostics.facts.disruption import ALL_NODES, BUDGETS, LABELLED_PODS, NODE_OSDMAP, PLACED_VOLUMES
from diagnostics.facts.holders import NODES
from diagnostics.facts.kubernetes import Listing
from diagnostics.facts.resources import DaemonSet, Job, Node, Pod, ReplicaSet, StatefulSet
from diagnostics.facts.resources.disruption import Budget, LabelledPod, PlacedVolume
from diagnostics.facts.resources.runs import ORIGIN, CronJob, JobRun
from diagnostics.facts.runs import CRON_JOBS, JOB_RUNS
from diagnostics.facts.workloads import DAEMON_SETS, JOBS, STATEFUL_SETS
from diagnostics.model import Scope, Subject
from runbooks.actions import all_actions
from runbooks.situation import Planned, Situation
from runbooks.standing import STANDING, FencedByUs, Standing, hold_key

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
YEARS = NOW + timedelta(days=1800)
NODE = Subject("Node", None, "node1", "")
Json = dict[str, Any]


def node(name: str = "node1", ip: str = "10.0.0.1", **changed: Any) -> Node:
    """A node that is Ready and cordoned, as it is when its drain begins."""
    return msgspec.convert(
        {
            "metadata": {"name": name, "uid": changed.get("uid", f"uid-{name}")},
            "spec": {
                "unschedulable": changed.get("cordoned", name == "node1"),
                "taints": [{"key": key} for key in changed.get("taints", ())],
            },
            "status": {
                "addresses": [{"type": "InternalIP", "address": ip}],
                "conditions": [{"type": "Ready", "status": changed.get("ready", "True")}],
            },
        },
        Node,
    )


def pod(name: str, owner: str | None = "ReplicaSet", **changed: Any) -> LabelledPod:
    """A Ready pod of namespace `shop` with the label `app: web` on node1."""
    owners = [{"kind": owner, "name": "web", "uid": "uid-owner", "controller": True}] if owner else []
    meta = {
        "name": name, "namespace": "shop", "uid": changed.get("uid", f"uid-{name}"), "ownerReferences": owners,
        "labels": changed.get("labels", {"app": "web"}),
        **({"deletionTimestamp": NOW.isoformat()} if changed.get("going") else {}),
    }  # fmt: skip
    ready = {"type": "Ready", "status": "True" if changed.get("ready", True) else "False"}
    ips: tuple[str, ...] = changed.get("ips", ())
    return msgspec.convert(
        {
            "metadata": meta, "spec": {"nodeName": changed.get("on", "node1"), "volumes": changed.get("volumes", [])},
            "status": {
                "phase": changed.get("phase", "Running"), "conditions": [ready],
                "podIP": next(iter(ips), None), "podIPs": [{"ip": ip} for ip in ips],
            },
        },
        LabelledPod,
    )  # fmt: skip


def budget(name: str = "web", **changed: Any) -> Budget:
    """A budget of the pods of `app: web`, one of which may go now."""
    spec = changed.get("spec", {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}})
    status = {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": changed.get("namespace", "shop"), "uid": f"uid-{name}"},
            "spec": spec, "status": {**status, **changed.get("status", {})},
        },
        Budget,
    )  # fmt: skip


def claim_of(claim: str, **source: Any) -> PlacedVolume:
    """The PersistentVolume of a claim in `shop`; `source` says where it lies."""
    spec = {"claimRef": {"namespace": "shop", "name": claim}, **source}
    return msgspec.convert({"metadata": {"name": f"pv-{claim}", "uid": f"uid-pv-{claim}"}, "spec": spec}, PlacedVolume)


def run(name: str = "nightly-1", **changed: Any) -> JobRun:
    """A Job of namespace `shop` that has failed; the CronJob `nightly` made it."""
    owner = changed.get("owner", "CronJob")
    meta = {
        "name": name, "namespace": "shop", "uid": changed.get("uid", f"uid-{name}"),
        "creationTimestamp": changed.get("made", NOW - timedelta(hours=2)).isoformat() if changed.get("made", NOW) else None,
        "ownerReferences": [{"kind": owner, "name": "nightly", "uid": "uid-nightly", "controller": True}] if owner else [],
        **({"deletionTimestamp": NOW.isoformat()} if changed.get("going") else {}),
        **({"annotations": {ORIGIN: changed["origin"]}} if "origin" in changed else {}),
    }  # fmt: skip
    ended = changed.get("ended", "Failed")
    conditions = [{"type": ended, "status": "True", "reason": "BackoffLimitExceeded"}] if ended else []
    spec = changed.get("spec", {"template": {"spec": {"containers": [{"name": "c", "env": [{"value": "hidden"}]}]}}})
    status = {"conditions": conditions, "active": changed.get("active"), "terminating": changed.get("terminating")}
    return msgspec.json.decode(msgspec.json.encode({"metadata": meta, "spec": spec, "status": status}), type=JobRun)


def cron(policy: str = "Forbid", **changed: Any) -> CronJob:
    """The CronJob that made the Job."""
    spec = {"concurrencyPolicy": policy, "suspend": changed.get("suspend", False)}
    return msgspec.convert(
        {"metadata": {"name": "nightly", "uid": changed.get("uid", "uid-nightly")}, "spec": spec}, CronJob
    )


@dataclass
class Scene:
    """The facts, to be changed before `situation` is asked for. `unseen` kinds could not be read."""

    nodes: list[Node] = field(default_factory=lambda: [node(), node("node2", "10.0.0.2")])
    pods: list[LabelledPod] = field(default_factory=lambda: [pod("web-1"), pod("web-2")])
    budgets: list[Budget] = field(default_factory=lambda: [budget()])
    volumes: list[PlacedVolume] = field(default_factory=list)
    runs: list[JobRun] = field(default_factory=lambda: [run()])
    crons: list[CronJob] = field(default_factory=lambda: [cron()])
    owners: Json = field(default_factory=lambda: {"spec": {"replicas": 2}})
    daemons: tuple[Daemon, ...] = (Daemon("mon.a", "10.0.1.1"),)
    fences: tuple[Fence, ...] = ()
    held: dict[Subject, str] = field(default_factory=dict)
    fenced: tuple[FencedByUs, ...] = ()
    ceph: bool = True
    unseen: dict[Kind[Any], str] = field(default_factory=dict)
    subject: Subject = NODE

    def snapshot(self) -> Snapshot:
        """The facts as a snapshot."""
        meta = {"name": "web", "namespace": "shop", "uid": "uid-owner"}
        own = {**self.owners, "metadata": {**meta, **self.owners.get("metadata", {})}}
        plain = [
            msgspec.convert(msgspec.to_builtins(p), Pod) for p in (pod(p.metadata.name, **_of(p)) for p in self.pods)
        ]
        facts: dict[Kind[Any], Any] = {
            NODES: Listing(tuple(self.nodes)), ALL_NODES: Listing(tuple(self.nodes)),
            LABELLED_PODS: Listing(tuple(self.pods)), k8s.PODS: Listing(tuple(plain)),
            BUDGETS: Listing(tuple(self.budgets)), PLACED_VOLUMES: Listing(tuple(self.volumes)),
            JOB_RUNS: Listing(tuple(self.runs)), CRON_JOBS: Listing(tuple(self.crons)),
            k8s.REPLICA_SETS: Listing((msgspec.convert(own, ReplicaSet),)),
            STATEFUL_SETS: Listing((msgspec.convert(own, StatefulSet),)),
            DAEMON_SETS: Listing((msgspec.convert({**own, "spec": {}}, DaemonSet),)),
            JOBS: Listing((msgspec.convert(own, Job),)),
            STANDING: Standing(
                "nodes/drain", held={hold_key(node): who for node, who in self.held.items()}, fenced=self.fenced
            ),
            NODE_OSDMAP: OsdMap("fsid", frozenset(), self.fences, self.daemons, ())
            if self.ceph else NotSeen("no Ceph is configured", configured=False),
        }  # fmt: skip
        named = {kind.name: fact for kind, fact in facts.items()}
        named |= {kind.name: NotSeen(why) for kind, why in self.unseen.items()}
        return Snapshot("lab", NOW, Scope("lab", subject=self.subject), named)

    def situation(self, act: Planned | None = None, expected: tuple[Planned, ...] = (), **params: str) -> Situation:
        """The facts as a runbook's parameters pick them out."""
        told = {"node": "node1", "pod": "shop/web-1", "job": "shop/nightly-1", **params}
        return Situation(self.snapshot(), told, expected, act)

    def drain(self, **arguments: str) -> Planned:
        """The drain as it is planned from these facts."""
        return all_actions()["kubernetes.drain"].plan(self.situation(), {"node": "node1", **arguments})


def _of(found: LabelledPod) -> Json:
    """What makes `pod` give the same pod again, without the labels that only a LabelledPod has."""
    owner = found.metadata.controller
    return {
        "owner": owner.kind if owner else None,
        "uid": found.metadata.uid,
        "phase": found.status.phase,
        "labels": {},
        "volumes": msgspec.to_builtins(found.spec.volumes or ()),
    }


def act_on(*targets: Subject, **effect: Any) -> Planned:
    """An act on these objects."""
    planned = Scene().drain()
    return msgspec.structs.replace(planned, targets=targets, effect=effect)


EXAMPLES: dict[str, tuple[Situation, Json]] = {
    "kubernetes.drain": (Scene().situation(), {"node": "node1", "also": "emptydir", "for": "10m"}),
    "kubernetes.evict_pod": (Scene().situation(), {"pod": "shop/web-1"}),
    "kubernetes.rerun_job": (Scene().situation(), {"job": "shop/nightly-1"}),
    "kubernetes.uncordon": (Scene().situation(), {"node": "node1"}),
}
