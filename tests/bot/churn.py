"""An hour of a busy cluster as timed changes of its objects: ordinary pod starts, and one pod that is really stuck.

Data only, the same for the same seed. `hour` gives the changes in the order of their times; `as_line` writes one as a
watch does, `apply` does one to the sandbox's Kubernetes. Ordinary starts come with what real ones come with: a scheduler
that has no room yet, caches that are not filled, networks that are not ready, disks that are still elsewhere.
"""

import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.sandbox.kubernetes.registry import Registry
from bot.sandbox.kubernetes.resources import EVENTS, PODS, timestamp
from diagnostics.model import Subject

Object = dict[str, Any]
NAMESPACE = "search"
STUCK = Subject("Pod", NAMESPACE, "index-api-stuck", "uid-stuck")
SLOWEST = 40.0
"""Seconds that an ordinary start takes at most."""
IMAGE = "index-api-image"
_TRANSIENT = (
    ("FailedMount", 'MountVolume.SetUp failed for volume "config" : failed to sync configmap cache: timed out waiting for the condition'),
    ("FailedMount", 'MountVolume.SetUp failed for volume "kube-api-access-x7k2p" : object "search"/"kube-root-ca.crt" not registered'),
    ("FailedMount", 'MountVolume.SetUp failed for volume "config" : configmap "settings" not found'),
    ("FailedMount", 'MountVolume.SetUp failed for volume "token" : secret "token" not found'),
    (
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to set up sandbox container network for pod:"
        " networkPlugin cni failed: stat /var/lib/calico/nodename: no such file or directory",
    ),
    (
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) index-api-old',
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One change: so many seconds after the beginning, of a `pods` or `events` object, as ADDED, MODIFIED or DELETED."""

    at: float
    plural: str
    word: str
    object: Object


def hour(
    began: datetime, ordinary: int = 1_000, seed: int = 1, stuck: bool = True, length: float = 3_600
) -> list[Step]:
    """The changes of an hour (`length` seconds) that begins then, in order; resourceVersions rise."""
    chance = random.Random(seed)  # noqa: S311 - it decides what a test plays
    steps = [
        step
        for number in range(ordinary)
        for step in _ordinary(f"pod-{number}", began, chance.uniform(0, length - SLOWEST - 30), chance)
    ]
    steps += _stuck(began, length / 4, length) if stuck else ()
    steps.sort(key=lambda step: step.at)
    return [_versioned(step, 1_000 + number) for number, step in enumerate(steps)]


def as_line(step: Step) -> bytes:
    """The change as a line of a watch."""
    return json.dumps({"type": step.word, "object": {"apiVersion": "v1", **step.object}}).encode() + b"\n"


def apply(step: Step, registry: Registry) -> None:
    """Make the change in the sandbox's Kubernetes; its watches tell of it."""
    resource = {"pods": PODS, "events": EVENTS}[step.plural]
    if step.word == "DELETED":
        registry.store.remove(resource, step.object)
    else:
        registry.store.put(resource, step.object)


def pod(
    name: str, began: datetime, at: float, phase: str = "Pending", node: str | None = None, uid: str = ""
) -> Object:
    """A pod as a real API server shows it, with what makes real ones large."""
    scheduled = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": _time(began, at)}] if node else []
    state: Object = {"running": {"startedAt": _time(began, at)}}
    if phase == "Pending":
        state = {"waiting": {"reason": "ContainerCreating"}}
    status: Object = {"phase": phase, "conditions": scheduled, "qosClass": "Burstable"}
    if node:
        status["containerStatuses"] = [{"name": "app", "image": "app:1", "ready": phase == "Running", "state": state}]
    managed = {"manager": "kubelet", "fieldsV1": {f"f:field{n}": {} for n in range(20)}}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": uid or f"uid-{name}", "managedFields": [managed],
            "creationTimestamp": _time(began, at),
        },
        "spec": {"containers": [{"name": "app", "image": "app:1"}], **({"nodeName": node} if node else {})},
        "status": status,
    }  # fmt: skip


def event(
    about: Object, began: datetime, at: float, reason: str, message: str, kind: str = "Warning", count: int = 1
) -> Object:
    """An event about a pod."""
    meta = about["metadata"]
    key = f"{meta['name']}.{zlib.crc32(f'{reason} {message}'.encode()):x}{'n' if kind == 'Normal' else 'w'}"
    return {
        "kind": "Event", "metadata": {"name": key, "namespace": NAMESPACE, "uid": f"uid-{key}"}, "type": kind,
        "involvedObject": {"kind": "Pod", "namespace": NAMESPACE, "name": meta["name"], "uid": meta["uid"]},
        "reason": reason, "message": message, "count": count, "firstTimestamp": _time(began, at),
        "lastTimestamp": _time(began, at), "source": {"component": "kubelet", "host": "node2"},
    }  # fmt: skip


def _ordinary(name: str, began: datetime, at: float, chance: random.Random) -> Iterator[Step]:
    yield Step(at, "pods", "ADDED", pod(name, began, at))
    if chance.random() < 0.2:
        said = "0/3 nodes are available: 3 Insufficient cpu."
        yield Step(at + 0.1, "events", "ADDED", event(pod(name, began, at), began, at, "FailedScheduling", said))
        at += chance.uniform(1, 20)
    bound = pod(name, began, at, node="node2")
    takes = chance.uniform(1, SLOWEST)
    yield Step(at, "pods", "MODIFIED", bound)
    yield Step(at, "events", "ADDED", event(bound, began, at, "Scheduled", f"assigned {name} to node2", "Normal"))
    for reason, message in chance.sample(_TRANSIENT, chance.choice((0, 1, 1, 2))):
        first = at + chance.uniform(-0.05, takes / 2)  # an event may be told before its pod is
        yield Step(first, "events", "ADDED", event(bound, began, first, reason, message))
        if chance.random() < 0.5:
            again = first + takes / 4
            yield Step(again, "events", "MODIFIED", event(bound, began, first, reason, message, count=2))
    yield Step(at + takes / 2, "events", "ADDED", event(bound, began, at, "Pulling", "Pulling image", "Normal"))
    runs = pod(name, began, at, "Running", "node2")
    yield Step(at + takes, "pods", "MODIFIED", runs)
    if chance.random() < 0.3:
        late = at + takes + chance.uniform(0, 20)
        yield Step(late, "events", "ADDED", event(runs, began, late, "Unhealthy", "Readiness probe failed"))
        yield Step(late + 0.5, "pods", "DELETED", runs)


def _stuck(began: datetime, at: float, length: float) -> Iterator[Step]:
    """The incident: the image is locked by a dead node's client. kubelet tries again, and sums up every two minutes."""
    bound = pod(STUCK.name, began, at, node="node2", uid=STUCK.uid)
    yield Step(at, "pods", "ADDED", bound)
    locked = f'MountVolume.SetUp failed for volume "pv" : rbd: image {IMAGE} is locked by other nodes'
    waits = "Unable to attach or mount volumes: unmounted volumes=[data]: timed out waiting for the condition"
    retry, wait, count = at + 0.5, 0.5, 1
    while retry < length:
        word = "ADDED" if count == 1 else "MODIFIED"
        yield Step(retry, "events", word, event(bound, began, at, "FailedMount", locked, count=count))
        retry, wait, count = retry + wait, min(wait * 2, 122), count + 1
    for number, when in enumerate(range(int(at) + 123, int(length), 135)):
        word = "ADDED" if number == 0 else "MODIFIED"
        yield Step(when, "events", word, event(bound, began, when, "FailedMount", waits, count=number + 1))


def _versioned(step: Step, revision: int) -> Step:
    meta = {**step.object["metadata"], "resourceVersion": str(revision)}
    return Step(step.at, step.plural, step.word, {**step.object, "metadata": meta})


def _time(began: datetime, at: float) -> str:
    return timestamp(began + timedelta(seconds=at))
