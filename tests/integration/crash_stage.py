"""For each action: a runbook of it alone, and a real world in which it may be done, made anew for each time.

The effects are counted where they happen: by the API server's audit log, by the monitor's, and by the version of the
object that holds a lock. Nothing of ours has a hand in that.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import yaml

from diagnostics.model import Subject
from runbooks.execution import State
from runbooks.fencing import FENCE_LASTS
from runbooks.model import Risk
from runbooks.plan import Plan, digest
from runbooks.situation import Planned
from runbooks.store import Store
from tests.integration.stage import Unstick, manifests
from tests.lab.ceph import Ceph
from tests.lab.clients import add_lock, lockers, remove_lock
from tests.lab.kubelet import Kubelet, declare_dead
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

SPACE, POOL = "crash", "crash"
HOST, DRAINED, DEAD, BACK = "crash-host", "crash-drained", "crash-dead", "crash-back"
ADDRESSES = {HOST: "127.0.0.150", DRAINED: "127.0.0.151", DEAD: "127.0.0.152", BACK: "127.0.0.153"}
IMAGE, ATTACHED = f"{POOL}/image", "crash-attached"
COOKIE = f"kubelet_lock_magic_{DEAD}"
SECONDS = int(FENCE_LASTS.total_seconds())
Params = dict[str, str]
Fresh = Callable[["CrashStage", Store], tuple[Params, list[str]]]
"""Makes the world ready for one more time; gives the parameters, and the effects that there must be, each once."""


@dataclass(frozen=True)
class Staged:
    """One action's runbook and world. `step` is the one that is cut."""

    parameters: Mapping[str, Any]
    steps: tuple[Object, ...]
    step: str
    fresh: Fresh
    twice: bool = False
    """Whether locks must have been seen half a minute ago."""

    def runbook(self, action: str) -> str:
        """The file of it."""
        return yaml.safe_dump(
            {
                "id": name_of(action), "version": "1.0.0", "status": "preview", "title": f"Do {action} alone",
                "meaning": "Something is cut short.", "impact": "Something is done once.", "owner": "nobody",
                "changelog": "First.", "parameters": dict(self.parameters), "steps": list(self.steps),
            },
            sort_keys=False,
        )  # fmt: skip


def name_of(action: str) -> str:
    """The runbook of an action."""
    return f"crash/{action.replace('.', '_')}"


def act(action: str, verify: Any, *, step: str = "act", **arguments: str) -> Object:
    """A step that does an action."""
    return {
        "id": step, "act": action, "with": arguments, "verify": verify, "timeout": "1m", "undo": "none",
        "because": "it is only tried",
    }  # fmt: skip


class CrashStage:
    """The real parts, and nodes on them: two that run pods, one that is dead, one that came back."""

    def __init__(self, kubernetes: Kubernetes, ceph: Ceph, folder: Path) -> None:
        self.kubernetes, self.ceph, self.folder = kubernetes, ceph, folder
        self.unstick = Unstick(kubernetes, ceph, folder)
        self.runbooks = folder / "runbooks"
        self._numbers = itertools.count(1)
        self._stack = ExitStack()
        self._rados: Any = None

    def start(self) -> None:
        """Set the stage."""
        self.runbooks.mkdir()
        for action, staged in STAGES.items():
            (self.runbooks / f"{action}.yaml").write_text(staged.runbook(action))
        import rados

        self._rados = self._stack.enter_context(rados.Rados(conffile=str(self.ceph.conf), name=self.ceph.user))
        # The monitor keeps the last 50 lines of its log, and writes it every five seconds: too few, and too long to wait.
        for option, value in (("mon_log_max_summary", "100000"), ("mon_tick_interval", "1")):
            self.ceph.run("ceph", "config", "set", "mon", option, value)
            self._stack.callback(self.ceph.run, "ceph", "config", "rm", "mon", option)
        self.ceph.create_pool(POOL)
        self.ceph.create_image(IMAGE)
        self._stack.callback(remove_lock, self.ceph, IMAGE, COOKIE)
        nodes = {name: Kubelet(self.kubernetes, self.ceph, name, at) for name, at in ADDRESSES.items()}
        self.cordon(None)
        for node in nodes.values():
            self._stack.enter_context(node)
        nodes[DEAD].kill()
        declare_dead(self.kubernetes, DEAD)
        nodes[BACK].come_back(timedelta(minutes=6))
        self.kubernetes.patch("Node", DEAD, {"spec": {"unschedulable": True}})
        self.kubernetes.patch("Node", BACK, {"spec": {"unschedulable": True}})
        volume = [one for one in manifests(SPACE, IMAGE) if one["kind"] != "Deployment"]
        attributes = {"clusterID": self.ceph.fsid, "pool": POOL, "imageName": "another"}
        csi = {"driver": "rbd.csi.ceph.com", "volumeHandle": "handle", "volumeAttributes": attributes}
        attached = {
            "capacity": {"storage": "16Mi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "csi": csi,
            "claimRef": {"name": "attached", "namespace": SPACE},
        }
        volume.append(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": ATTACHED}, "spec": attached}
        )
        self.kubernetes.apply(volume)
        for name in (f"{SPACE}-index-api", ATTACHED):
            self._stack.callback(self.kubernetes.delete, "PersistentVolume", name)
        self._stack.callback(self.kubernetes.delete, "Namespace", SPACE)
        until("the account", lambda: self.kubernetes.find("ServiceAccount", "default", SPACE), timeout=30)

    def stop(self) -> None:
        """Leave nothing behind."""
        for node in (DEAD, BACK):
            self.fenced(node, yes=False)
        self._stack.close()

    def cordon(self, yes: bool | None) -> None:
        """Cordon the node that is drained, or not."""
        if self.kubernetes.find("Node", DRAINED):
            self.kubernetes.patch("Node", DRAINED, {"spec": {"unschedulable": yes}})

    def number(self) -> int:
        """One that was not used yet."""
        return next(self._numbers)

    # What was done, by those who did it.

    def effects(self) -> list[str]:
        """All that Unstick has changed so far, in Kubernetes and in Ceph's blocklist."""
        return [*self.kubernetes.written("remediate"), *self._commands()]

    def _commands(self) -> Iterator[str]:
        asked = {"prefix": "log last", "num": 100000, "level": "info", "channel": "audit", "format": "json"}
        code, answer, why = self._rados.mon_command(json.dumps(asked), b"")
        assert code == 0, why
        for entry in json.loads(answer):
            said = entry["message"]
            if "entity='client.unstick-remediate'" in said and said.endswith(": finished"):
                command = json.loads(said.partition(" cmd=")[2].removeprefix("'").removesuffix("': finished"))
                [words] = command if isinstance(command, list) else [command]
                yield f"{words['prefix']} {words['blocklistop']} {words['addr']}"

    def lock_changes(self) -> int:
        """How often the image's lock was changed, by the version of its object: a change makes it two more."""
        with self._rados.open_ioctx(POOL) as pool:
            pool.stat(f"{IMAGE.partition('/')[2]}.rbd")
            return int(pool.get_last_version()) // 2

    # The parts of worlds.

    def fenced(self, node: str, *, yes: bool) -> None:
        """Let a node's address be fenced as a whole, or not."""
        entry = entry_of(node)
        words = ("add", entry, str(SECONDS)) if yes else ("rm", entry)
        self.ceph.run("ceph", "osd", "blocklist", *words, check=yes)

    def locked(self) -> str:
        """Let the dead node hold the image's lock; gives `client/cookie`."""
        self.fenced(DEAD, yes=False)
        if not (held := lockers(self.ceph, IMAGE)):
            add_lock(self.ceph, IMAGE, COOKIE, ADDRESSES[DEAD])
            held = lockers(self.ceph, IMAGE)
        return f"{held[0]['locker']}/{COOKIE}"

    def hanging_pod(self) -> str:
        """A pod of the volume that hangs in Terminating on the dead node."""
        name = f"hanging-{self.number()}"
        mount = {"name": "data", "persistentVolumeClaim": {"claimName": "index-api"}}
        spec = {**pod_spec(), "nodeName": DEAD, "volumes": [mount], "tolerations": [{"operator": "Exists"}]}
        self.kubernetes.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": SPACE}, "spec": spec}
        )
        self.kubernetes.delete("Pod", name, SPACE)
        return name

    def workload(self, kind: str, name: str, replicas: int, **spec: Any) -> None:
        """A Deployment or StatefulSet, if it is not there already."""
        if self.kubernetes.find(kind, name, SPACE):
            return
        labels, more = {"app": name}, {"serviceName": name} if kind == "StatefulSet" else {}
        template = {"metadata": {"labels": labels}, "spec": {**pod_spec(), **spec}}
        self.kubernetes.apply({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": SPACE},
            "spec": {"selector": {"matchLabels": labels}, "replicas": replicas, "template": template, **more},
        })  # fmt: skip

    def pods(self, app: str, number: int, *, phase: str) -> list[Object]:
        """Its pods, once there are so many in this phase, and no other."""

        def there() -> list[Object] | None:
            found = self.kubernetes.items("Pod", SPACE, labels=f"app={app}")
            well = [p for p in found if "deletionTimestamp" not in p["metadata"] and p["status"]["phase"] == phase]
            return well if len(well) == number else None

        return until(f"{number} {phase} pods of {app}", there, timeout=60)


def entry_of(node: str) -> str:
    """The blocklist's entry of a whole node."""
    return f"{ADDRESSES[node]}:0/0"


def pod_spec() -> Object:
    """What every pod here is."""
    return {"containers": [{"name": "app", "image": "app:1"}], "terminationGracePeriodSeconds": 1}


NOWHERE: Mapping[str, Any] = {"nodeSelector": {"nowhere": "at-all"}}


def _cordon(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    stage.cordon(None)
    return {"node": DRAINED}, [f"patch nodes {DRAINED}"]


def _uncordon(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    stage.cordon(True)
    return {"node": DRAINED}, [f"patch nodes {DRAINED}"]


def _delete_pod(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    stage.workload("Deployment", "waiting", 1, **NOWHERE)
    [pod] = stage.pods("waiting", 1, phase="Pending")
    name = f"{SPACE}/{pod['metadata']['name']}"
    return {"pod": name}, [f"delete pods {name}"]


def _evict_pod(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    stage.workload("Deployment", "web", 2, nodeSelector={"kubernetes.io/hostname": HOST})
    pod = stage.pods("web", 2, phase="Running")[0]
    name = f"{SPACE}/{pod['metadata']['name']}"
    return {"pod": name}, [f"create pods/eviction {name}"]


def _drain(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    stage.cordon(None)
    stage.workload("Deployment", "drained", 2, nodeSelector={"kubernetes.io/hostname": DRAINED})
    pods = stage.pods("drained", 2, phase="Running")
    stage.cordon(True)
    effects = [f"create pods/eviction {SPACE}/{pod['metadata']['name']}" for pod in pods]
    return {"node": DRAINED, "also": "others_down"}, effects


def _rerun_job(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    name = f"nightly-{stage.number()}"
    template = {"spec": {**pod_spec(), **NOWHERE, "restartPolicy": "Never"}}
    job = stage.kubernetes.create({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": SPACE},
        "spec": {"backoffLimit": 0, "template": template},
    })  # fmt: skip
    until("the Job to have its pod", lambda: _pods_of_job(stage, name), timeout=30, every=0.05)
    [pod] = _pods_of_job(stage, name)
    stage.kubernetes.patch("Pod", pod["metadata"]["name"], {"status": {"phase": "Failed"}}, SPACE, subresource="status")
    until(
        "the Job to have failed", lambda: _has_failed(stage.kubernetes.get("Job", name, SPACE)), timeout=30, every=0.05
    )
    made = f"{SPACE}/{name}-rerun-{job['metadata']['uid'][:8]}"
    return {"job": f"{SPACE}/{name}"}, [f"create jobs {made}"]


def _pods_of_job(stage: CrashStage, name: str) -> list[Any]:
    return stage.kubernetes.items("Pod", SPACE, labels=f"job-name={name}")


def _has_failed(job: Any) -> bool:
    ended = [each["type"] for each in job["status"].get("conditions") or ()]
    return "Failed" in ended and not job["status"].get("active")


def _force_delete_pod(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    stage.fenced(DEAD, yes=True)
    name = f"{SPACE}/{stage.hanging_pod()}"
    return {"pod": name}, [f"delete pods {name}"]


def _delete_attachment(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    name = f"crash-{stage.number()}"
    stage.kubernetes.create({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": name},
        "spec": {
            "attacher": "rbd.csi.ceph.com", "nodeName": "crash-gone",
            "source": {"persistentVolumeName": ATTACHED},
        },
    })  # fmt: skip
    return {"volume_attachment": name}, [f"delete volumeattachments {name}"]


def _of_deployment(stage: CrashStage, name: str, **spec: Any) -> tuple[Params, list[str]]:
    stage.workload("Deployment", name, 0)
    if spec:
        stage.kubernetes.patch("Deployment", name, {"spec": spec}, SPACE)
    return {"workload": f"deployment/{SPACE}/{name}"}, [f"patch deployments {SPACE}/{name}"]


def _observed(stage: CrashStage, kind: str, name: str) -> bool:
    found = stage.kubernetes.get(kind, name, SPACE)
    return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])


def _undo(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    """Back and forth between two revisions."""
    made = _of_deployment(stage, "undone")
    until("its revision", lambda: _observed(stage, "Deployment", "undone"), timeout=30, every=0.05)
    if len(stage.kubernetes.items("ReplicaSet", SPACE, labels="app=undone")) < 2:
        template = {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}
        stage.kubernetes.patch("Deployment", "undone", {"spec": {"template": template}}, SPACE)
    until(
        "two revisions", lambda: len(stage.kubernetes.items("ReplicaSet", SPACE, labels="app=undone")) == 2, timeout=30
    )
    until("its revision", lambda: _observed(stage, "Deployment", "undone"), timeout=30, every=0.05)
    return made


def _broken(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    """Neither revision's pod ever runs: whichever is wanted, the other one's pod holds it up."""
    name = "ordered"
    if not stage.kubernetes.find("StatefulSet", name, SPACE):
        stage.workload("StatefulSet", name, 1, **NOWHERE)
        stage.pods(name, 1, phase="Pending")
        template = {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}
        stage.kubernetes.patch("StatefulSet", name, {"spec": {"template": template}}, SPACE)
        until("its second revision", lambda: _wanted_revision(stage, name, 2), timeout=30, every=0.05)
        stage.kubernetes.delete("Pod", f"{name}-0", SPACE, grace=0)

    def stuck() -> bool:
        pod = stage.kubernetes.find("Pod", f"{name}-0", SPACE)
        wanted = stage.kubernetes.get("StatefulSet", name, SPACE)["status"].get("updateRevision")
        label = pod["metadata"]["labels"].get("controller-revision-hash") if pod else None
        fresh = _observed(stage, "StatefulSet", name)
        return bool(pod and "deletionTimestamp" not in pod["metadata"] and fresh and label == wanted)

    until("the broken pod", stuck, timeout=60, every=0.05)
    wanted = stage.kubernetes.get("StatefulSet", name, SPACE)["status"]["updateRevision"]
    kept = (
        one["metadata"]["name"] for one in stage.kubernetes.items("ControllerRevision", SPACE, labels=f"app={name}")
    )
    [other] = [revision for revision in kept if revision != wanted]
    effects = [
        f"patch statefulsets {SPACE}/{name}", f"patch controllerrevisions {SPACE}/{other}",
        f"delete pods {SPACE}/{name}-0",
    ]  # fmt: skip
    return {"workload": f"statefulset/{SPACE}/{name}"}, effects


def _wanted_revision(stage: CrashStage, name: str, number: int) -> bool:
    found = stage.kubernetes.items("ControllerRevision", SPACE, labels=f"app={name}")
    return len(found) == number and _observed(stage, "StatefulSet", name)


def _set_strategy(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    numbers = {"maxSurge": 1, "maxUnavailable": 0}
    return _of_deployment(stage, "strategic", strategy={"type": "RollingUpdate", "rollingUpdate": numbers})


def _fence(stage: CrashStage, _: Store) -> tuple[Params, list[str]]:
    params = {"image": IMAGE, "locker": stage.locked(), "node": DEAD}
    return params, [f"osd blocklist add {entry_of(DEAD)}"]


def _break_lock(stage: CrashStage, store: Store) -> tuple[Params, list[str]]:
    params, effects = _fence(stage, store)
    return params, [*effects, "lock changed"]


def _unfence(stage: CrashStage, store: Store) -> tuple[Params, list[str]]:
    """A fence that an execution set, as its journal says, on the node when it had another boot."""
    node = stage.kubernetes.get("Node", BACK)
    fsid, told = stage.ceph.fsid, node["status"]["nodeInfo"]
    targets = (Subject("CephCluster", None, fsid, fsid), Subject("Node", None, BACK, node["metadata"]["uid"]))
    effect = {
        "entries": [entry_of(BACK)], "seconds": SECONDS, "extent": "node", "boot_id": "an earlier one",
        "system_uuid": told["systemUUID"],
    }  # fmt: skip
    done = Planned("ceph.fence", "fence the node", targets, effect, Risk.CRITICAL)
    expires, number = datetime.now(UTC) + timedelta(minutes=15), str(stage.number())
    plan = Plan("lab", "crash/fenced", "1.0.0", "f" * 64, {"number": number}, (), {}, "cli:alice", expires)
    execution = store.create(msgspec.structs.replace(plan, hash=digest(plan)))
    store.move(execution.id, State.APPROVED, "cli:bob")
    lease = store.take(execution.id, "the test")
    entry = store.intend(lease, "fence", done, [])
    stage.fenced(BACK, yes=True)
    store.conclude(lease, entry, "done", None)
    store.verified(lease, entry, "fenced", holds=True)
    store.move(execution.id, State.DONE, "cli:bob", lease=lease)
    return {"node": BACK}, [f"osd blocklist rm {entry_of(BACK)}"]


_NODE, _POD, _WORKLOAD, _JOB = {"node": "node"}, {"pod": "pod"}, {"workload": "workload"}, {"job": "job"}
_LOCK = {"image": "rbd_image", "locker": "rbd_locker", "node": "node"}
_FENCE = act(
    "ceph.fence", "fence_covers_every_address", step="fence", image="{{image}}", locker="{{locker}}", node="{{node}}",
    **{"for": f"{SECONDS}s"},
)  # fmt: skip

STAGES: dict[str, Staged] = {
    "ceph.break_lock": Staged(
        _LOCK,
        (_FENCE, act("ceph.break_lock", "image_has_no_watcher", image="{{image}}", locker="{{locker}}")),
        "act", _break_lock, twice=True,
    ),
    "ceph.fence": Staged(_LOCK, (_FENCE,), "fence", _fence, twice=True),
    "ceph.unfence": Staged(_NODE, (act("ceph.unfence", "fence_is_lifted", node="{{node}}"),), "act", _unfence),
    "kubernetes.cordon": Staged(_NODE, (act("kubernetes.cordon", "node_is_cordoned", node="{{node}}"),), "act", _cordon),
    "kubernetes.delete_pod": Staged(
        _POD, (act("kubernetes.delete_pod", "pod_is_gone", pod="{{pod}}"),), "act", _delete_pod
    ),
    "kubernetes.delete_volume_attachment": Staged(
        {"volume_attachment": "volume_attachment"},
        (
            act(
                "kubernetes.delete_volume_attachment", "volume_attachment_absent",
                volume_attachment="{{volume_attachment}}",
            ),
        ),
        "act", _delete_attachment,
    ),
    "kubernetes.drain": Staged(
        {**_NODE, "also": {"kind": "string"}}, (act("kubernetes.drain", "node_is_drained", node="{{node}}", also="{{also}}", **{"for": "20s"}),),
        "act", _drain,
    ),
    "kubernetes.evict_pod": Staged(
        _POD, (act("kubernetes.evict_pod", "evicted_pod_is_gone", pod="{{pod}}"),), "act", _evict_pod
    ),
    "kubernetes.force_delete_pod": Staged(
        _POD, (act("kubernetes.force_delete_pod", "pod_is_gone", pod="{{pod}}"),), "act", _force_delete_pod
    ),
    "kubernetes.rerun_job": Staged(
        _JOB, (act("kubernetes.rerun_job", "rerun_is_under_way", job="{{job}}"),), "act", _rerun_job
    ),
    "kubernetes.uncordon": Staged(
        _NODE, (act("kubernetes.uncordon", "node_is_schedulable", node="{{node}}"),), "act", _uncordon
    ),
    "rollouts.delete_broken_pods": Staged(
        _WORKLOAD,
        (
            act("rollouts.undo", "no_newer_rollout", step="undo", workload="{{workload}}"),
            act("rollouts.delete_broken_pods", "rollout_is_not_paused", workload="{{workload}}"),
        ),
        "act", _broken,
    ),
    "rollouts.pause": Staged(
        _WORKLOAD, (act("rollouts.pause", "rollout_is_paused", workload="{{workload}}"),), "act",
        lambda stage, _: _of_deployment(stage, "paused", paused=False),
    ),
    "rollouts.restart": Staged(
        _WORKLOAD, (act("rollouts.restart", "no_newer_rollout", workload="{{workload}}"),), "act",
        lambda stage, _: _of_deployment(stage, "restarted"),
    ),
    "rollouts.resume": Staged(
        _WORKLOAD, (act("rollouts.resume", "rollout_is_not_paused", workload="{{workload}}"),), "act",
        lambda stage, _: _of_deployment(stage, "resumed", paused=True),
    ),
    "rollouts.set_strategy": Staged(
        _WORKLOAD, (act("rollouts.set_strategy", "strategy_is_set", workload="{{workload}}", strategy="Recreate"),),
        "act", _set_strategy,
    ),
    "rollouts.undo": Staged(
        _WORKLOAD, (act("rollouts.undo", "no_newer_rollout", workload="{{workload}}"),), "act", _undo
    ),
}  # fmt: skip
