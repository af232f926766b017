"""Hand-made facts around a node that is given up or taken back, and one example of each act on it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from diagnostics.facts import Kind
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import Fence
from diagnostics.facts.holders import BESIDE_POD
from diagnostics.facts.kubernetes import Listing
from diagnostics.facts.network_fences import NETWORK_FENCES, NetworkFence
from diagnostics.facts.resources import Attachment, Claim, Node, Pod
from diagnostics.model import Scope, Subject
from runbooks.fencing import FENCE_LASTS
from runbooks.model import Risk
from runbooks.parameters import subject_of
from runbooks.situation import Planned, Situation
from runbooks.standing import STANDING, FencedByUs, Standing
from tests.runbooks.hand_made import FSID, NOW, YEARS, Incident, csi, node, pod, volume

HOST = Fence("10.0.0.1:0/0", YEARS)
CSI = "kubernetes.io/csi/rbd.csi.ceph.com^handle-1"
OLD = pod("old", "node1", terminating=True)
NEW = pod("new", "node2", phase="Pending")


def claim(name: str = "index", of: str = "index") -> Claim:
    """A bound claim of namespace `search`."""
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": "search", "uid": f"uid-{name}"}, "spec": {"volumeName": of}}, Claim
    )


def attached(to: str = "node1", of: str = "index", **meta: Any) -> Attachment:
    """A VolumeAttachment with the attacher's finalizer."""
    spec = {"attacher": "rbd.csi.ceph.com", "nodeName": to, "source": {"persistentVolumeName": of}}
    full = {"name": f"csi-{to}", "uid": f"uid-csi-{to}", "finalizers": ["external-attacher/rbd-csi-ceph-com"], **meta}
    return msgspec.convert({"metadata": full, "spec": spec}, Attachment)


def off(name: str = "node1", uid: str | None = None) -> Planned:
    """A person's word that a node is off."""
    target = Subject("Node", None, name, uid or f"uid-{name}")
    return Planned("attest", f"{name} is off", (target,), {"attests": "node_is_off"}, Risk.READ)


def dead(**how: Any) -> Situation:
    """A CSI volume on node1, which is down, with its old pod there; the new one waits on node2.

    `params`, `pods` (in the namespace), `pod` (the runbook's own; None: gone), `claims`, `facts` (by kind) and what
    `Incident` and `Situation` take make it another one.
    """
    pods: list[Pod] = how.pop("pods", [OLD, NEW])
    params: dict[str, str] = how.pop("params", {"pod": "search/new", "node": "node1"})
    claims: list[Claim] = how.pop("claims", [claim()])
    facts: dict[Kind[Any], Any] = how.pop("facts", {})
    judged = {name: how.pop(name) for name in ("act", "expected", "done") if name in how}
    named = [one for one in pods if f"search/{one.metadata.name}" == params.get("pod")]
    incident = Incident(
        **{"volumes": [volume(source=csi())], "attachments": [attached()], "pods": pods, "locked": False, **how}
    )
    read: dict[Kind[Any], Any] = {
        k8s.PODS: Listing(tuple(named)), k8s.CLAIMS: Listing(tuple(claims)), BESIDE_POD: Listing(tuple(pods)), **facts,
    }  # fmt: skip
    snapshot = replace(incident.snapshot(), scope=Scope("here", subject=subject_of(params)))
    for kind, fact in read.items():
        if kind not in incident.unseen:
            snapshot = snapshot.with_fact(kind, fact)
    return Situation(snapshot, params, **judged)


def recovered_node(ready_for: timedelta = timedelta(minutes=6), **changed: Any) -> Node:
    """node1 after its reboot: Ready for so long, with another boot and the same systemUUID."""
    made = node("node1", "10.0.0.1", boot=changed.pop("boot", "boot-2"), cordoned=True, **changed)
    status: dict[str, Any] = msgspec.to_builtins(made.status)
    status["conditions"] = [
        {"type": "Ready", "status": changed.get("ready", "True"), "lastTransitionTime": NOW - ready_for}
    ]
    status["nodeInfo"]["systemUUID"] = changed.get("machine", "machine-1")
    return msgspec.convert({**msgspec.to_builtins(made), "status": status}, Node)


def record(entry: str = "10.0.0.1:0/0", **changed: Any) -> FencedByUs:
    """What the journal holds of a fence that was set so that it ends with `YEARS`."""
    at: datetime = changed.get("at", YEARS - FENCE_LASTS)
    return FencedByUs(
        entry, changed.get("fsid", FSID), changed.get("node_uid", "uid-node1"), changed.get("boot_id", "boot-1"),
        changed.get("system_uuid", "machine-1"), at,
    )  # fmt: skip


def back(**how: Any) -> Situation:
    """node1 has rebooted, and its fence stands still. `fenced` is the journal, `network_fences` those of csi-addons."""
    fenced: tuple[FencedByUs, ...] = how.pop("fenced", (record(),))
    others: tuple[NetworkFence, ...] = how.pop("network_fences", ())
    unseen: dict[Kind[Any], str] = how.get("unseen", {})
    judged = {name: how.pop(name) for name in ("act", "expected", "done") if name in how}
    incident = Incident(
        **{"nodes": [recovered_node(), node("node2", "10.0.0.2")], "fences": (HOST,), "locked": False, **how}
    )
    snapshot = incident.snapshot()
    for kind, fact in (
        (NETWORK_FENCES, Listing(others)),
        (STANDING, Standing("ceph/unfence_recovered_node", fenced=fenced)),
    ):
        if kind not in unseen:
            snapshot = snapshot.with_fact(kind, fact)
    return Situation(snapshot, {"node": "node1"}, **judged)


EXAMPLES: dict[str, tuple[Situation, dict[str, str]]] = {
    "ceph.unfence": (back(), {"node": "node1"}),
    "kubernetes.delete_volume_attachment": (
        dead(params={"volume_attachment": "csi-node1"}), {"volume_attachment": "csi-node1"},
    ),
    "kubernetes.force_delete_pod": (dead(fences=(HOST,)), {"pod": "search/new", "node": "node1"}),
}  # fmt: skip
"""An act of each: the situation to plan it in, and what it is told."""

__all__ = [
    "CSI",
    "EXAMPLES",
    "HOST",
    "NEW",
    "OLD",
    "attached",
    "back",
    "claim",
    "dead",
    "off",
    "record",
    "recovered_node",
]
