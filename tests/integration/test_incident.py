"""The incident on the real control plane and the real Ceph, from the hanging pod to the freed lock, by the command line."""

import asyncio
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot import settings as configuration
from bot.diagnose import look_at_subject
from bot.store import open_state
from bot.wiring import target
from diagnostics.model import Subject
from tests.integration.stage import Ran, Unstick, manifests
from tests.lab.ceph import Ceph
from tests.lab.clients import Client, add_lock
from tests.lab.kubelet import Kubelet, declare_dead
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

POOL = "mioss"
KILLED = Path(__file__).parent / "killed_child.py"


@dataclass
class Scene:
    """A running pod on the old node, and a new node beside it."""

    unstick: Unstick
    ceph: Ceph
    kubernetes: Kubernetes
    image: str
    namespace: str
    old: Kubelet
    new: Kubelet

    def locker(self) -> Object:
        """The one row of `unstick locks` for the image."""
        [row] = self.unstick.locks(self.image)
        return row

    def params(self, row: Object, *, pod: bool = True) -> list[str]:
        """What `runbook plan` and `run` are told."""
        words = {"image": self.image, "locker": f"{row['locker']}/{row['cookie']}", "node": self.old.node}
        if pod:
            words["pod"] = f"{self.namespace}/{self.waiting()['metadata']['name']}"
        return [word for name, value in words.items() for word in ("-p", f"{name}={value}")]

    def waiting(self) -> Object:
        """The pod that waits on the new node."""
        return until("the waiting pod", lambda: self.pod(self.new, "Pending"), timeout=60)

    def pod(self, kubelet: Kubelet, phase: str) -> Object | None:
        """The pod of the Deployment that is bound to a node and in this phase."""
        fields = f"spec.nodeName={kubelet.node},status.phase={phase}"
        return next(iter(self.kubernetes.items("Pod", self.namespace, fields=fields)), None)

    def watched(self) -> bool:
        """Whether anybody watches the image."""
        status = json.loads(self.ceph.run("rbd", "status", "--format", "json", self.image))
        return bool(status["watchers"])

    def blocklist(self) -> str:
        """The entries of the blocklist."""
        return str(json.loads(self.ceph.run("ceph", "osd", "dump", "--format", "json"))["blocklist"])


@pytest.fixture
def stage(ceph: Ceph, kubernetes: Kubernetes, tmp_path: Path) -> Iterator[Callable[[int], Scene]]:
    """Sets the stage with nodes of numbers of its own, so that no test's fence hits another test's node."""
    if not kubernetes.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS brings an API server alone: nothing makes or schedules pods there")
    ceph.create_pool(POOL)
    with ExitStack() as stack:

        def set_up(number: int) -> Scene:
            namespace = f"search-{number}-{os.getpid()}"
            image = f"{POOL}/index-api-image-{number}"
            ceph.create_image(image)
            old = stack.enter_context(Kubelet(kubernetes, ceph, f"node{number}", f"127.0.0.{number}"))
            for manifest in manifests(namespace, image):
                kubernetes.apply(manifest)
            stack.callback(kubernetes.delete, "PersistentVolume", f"{namespace}-index-api")
            stack.callback(kubernetes.delete, "Namespace", namespace)
            old.client(60).wait_for_writes()
            new = stack.enter_context(Kubelet(kubernetes, ceph, f"node{number + 1}", f"127.0.0.{number + 1}"))
            scene = Scene(Unstick(kubernetes, ceph, tmp_path), ceph, kubernetes, image, namespace, old, new)
            until("the pod to run", lambda: scene.pod(old, "Running"), timeout=30)
            return scene

        yield set_up


def request(scene: Scene, row: Object) -> tuple[str, str]:
    """Ask for the runbook as alice; gives the execution and what an approver must type."""
    asked = scene.unstick.run("runbook", "run", "ceph/stale_rbd_lock@1.0.0", *scene.params(row), "-o", "json")
    assert asked.code == 0, asked.err
    assert asked.json["plan"]["risk"] == "critical"
    return asked.json["execution"], asked.json["confirm"]


def refused(ran: Ran, *words: str) -> None:
    """A refusal says why, on stderr, with exit code 1."""
    assert ran.code == 1, (ran.code, ran.out, ran.err)
    for word in words:
        assert word in ran.err, ran.err


def in_process(scene: Scene, pod: str) -> float:
    """How long `why` takes inside a process that runs already, in seconds."""
    os.environ.pop("KUBECONFIG", None)
    settings = configuration.load(str(scene.unstick.config))
    work = target(settings)
    state = open_state(settings.state_url)
    began = time.monotonic()
    asyncio.run(look_at_subject(work, state, Subject("Pod", scene.namespace, pod, "")))
    return time.monotonic() - began


def test_a_dead_nodes_lock_is_found_explained_approved_and_freed(
    stage: Callable[[int], Scene], capsys: pytest.CaptureFixture[str]
) -> None:
    scene = stage(12)
    unstick = scene.unstick

    # While the old node lives, the lock is live, and a plan on it is refused with its reasons.
    row = scene.locker()
    assert (row["verdict"], row["format"], row["node"]) == ("live", 1, "node12")
    assert row["cookie"] == "kubelet_lock_magic_node12"
    plan = unstick.run("runbook", "plan", "ceph/stale_rbd_lock", *scene.params(row, pod=False))
    assert plan.code == 1
    assert "has a watcher that is not fenced" in plan.out
    asked = unstick.run("runbook", "run", "ceph/stale_rbd_lock", *scene.params(row, pod=False))
    refused(asked, "has a watcher", "live")

    # The node dies; its pod is replaced, and the new one hangs.
    scene.old.kill()
    declare_dead(scene.kubernetes, "node12")
    pod = scene.waiting()["metadata"]["name"]
    until("the killed client's watch to go", lambda: not scene.watched(), timeout=60, every=0.5)
    first = scene.locker()
    assert first["verdict"] == "suspect", first
    assert "look again after 30 s" in first["why"]
    early = unstick.run("runbook", "run", "ceph/stale_rbd_lock", *scene.params(first))
    refused(early, "suspect")
    second = until("the second look", lambda: (r := scene.locker())["verdict"] == "stale" and r, timeout=60, every=2)
    assert second["node"] == "node12"
    assert second["pvc"] == f"{scene.namespace}/index-api"
    assert f"{scene.namespace}/{pod}" in second["pods"]

    why = unstick.run("why", f"pod/{pod}", "-n", scene.namespace, "-o", "json")
    assert why.code == 1
    kinds = [link["subject"]["kind"] for link in why.json["chain"]]
    volume = ["PersistentVolumeClaim", "PersistentVolume", "RBDImage", "RBDLock", "CephClient"]
    assert kinds == ["Event", "Pod", *volume, "Node"]
    assert all(
        link["evidence"] and all(e["source"] and e["text"] for e in link["evidence"]) for link in why.json["chain"]
    )
    assert why.json["cause"] == "rbd-image-locked"
    assert why.json["root"]["name"] == "node12"
    assert [offer["id"] for offer in why.json["runbooks"]] == ["ceph/stale_rbd_lock"]
    assert why.json["unseen"] == []
    with capsys.disabled():
        print(f"\nwhy: {in_process(scene, pod):.2f} s in process, {why.took:.2f} s as a whole command")
        print(unstick.run("why", f"pod/{pod}", "-n", scene.namespace).out)

    check = unstick.run("check", "-n", scene.namespace, "-o", "json")
    assert check.code == 1
    statuses = {outcome["check"]: outcome["status"] for outcome in check.json["outcomes"]}
    assert (
        statuses["storage/mounts_failing"]
        == statuses["ceph/locks_blocking_pods"]
        == statuses["ceph/locks_stale"]
        == "found"
    )
    blocking = next(o for o in check.json["outcomes"] if o["check"] == "ceph/locks_blocking_pods")
    assert blocking["findings"][0]["root"]["name"] == "node12"

    # Asked for by alice; approved by neither herself nor a viewer, but by bob, who types the node's name.
    execution, confirm = request(scene, second)
    assert confirm == "node12"
    refused(unstick.run("runbook", "approve", execution, "--confirm", confirm), "cannot approve it")
    refused(
        unstick.run("runbook", "approve", execution, "--confirm", confirm, login="carol"),
        "does not have the role approver",
    )
    refused(unstick.run("runbook", "approve", execution, login="bob"), "typing 'node12'")
    refused(unstick.run("runbook", "approve", execution, "--confirm", "node13", login="bob"), "typing 'node12'")
    assert scene.locker()["locker"] == second["locker"]
    done = unstick.run("runbook", "approve", execution, "--confirm", confirm, login="bob")
    with capsys.disabled():
        print(done.out)
    assert done.code == 0, done.out + done.err
    assert f"unstick runbook run ceph/unfence_recovered_node -p node={scene.old.node}" in done.out

    # The lock is the new node's, the fence stands, and whoever still comes from the old address gets errno 108.
    after = scene.locker()
    assert (after["verdict"], after["node"]) == ("live", "node13")
    assert "127.0.0.12:0/0" in scene.blocklist()
    assert scene.pod(scene.new, "Running") is not None
    with Client(scene.ceph, scene.image, "writer", address="127.0.0.12") as newcomer:
        assert newcomer.wait_for("error")["errno"] == 108
    assert unstick.run("why", f"pod/{pod}", "-n", scene.namespace).code == 0
    assert unstick.run("audit", "verify").code == 0
    [ended] = unstick.run("runbook", "history", execution, "-o", "json").json
    assert ended["state"] == "done"
    assert [act["step"] for act in ended["acts"]] == ["cordon", "fence", "unlock", "clear"]
    refused(unstick.run("runbook", "approve", execution, "--confirm", confirm, login="bob"), "nothing to approve")


def test_a_frozen_writer_is_alive_or_cut_off_and_a_killed_engine_finds_its_way(stage: Callable[[int], Scene]) -> None:
    scene = stage(14)
    unstick = scene.unstick
    writer = scene.old.client()
    scene.old.freeze()
    scene.old.cut_off()
    declare_dead(scene.kubernetes, "node14")
    scene.waiting()
    until("the frozen client's watch to go", lambda: not scene.watched(), timeout=60, every=0.5)
    row = scene.locker()
    assert row["verdict"] == "alive_or_cut_off", row
    assert unstick.run("check", "--check", "ceph/locks_stale", "--fail-on", "critical").code == 1
    execution, confirm = request(scene, row)

    # The engine dies by kill -9 when the lock is broken and the outcome is not on disk.
    child = (sys.executable, str(KILLED), "after", "unlock")
    killed = unstick.run("runbook", "approve", execution, "--confirm", confirm, login="bob", child=child)
    assert killed.code == -9, killed.err
    [left] = unstick.run("runbook", "history", execution, "-o", "json").json
    assert left["state"] == "in_doubt"
    assert [(act["step"], act["outcome"]) for act in left["acts"]] == [
        ("cordon", "done"),
        ("fence", "done"),
        ("unlock", None),
    ]

    # It was frozen before the fence, and finds itself shut out when it is let go.
    scene.old.thaw()
    assert writer.wait_for("error")["errno"] == 108

    # Gone on with, it is verified against Ceph, and nothing is done twice.
    done = unstick.run("runbook", "run", execution, login="bob")
    assert done.code == 0, done.out + done.err
    assert "verified: done" in done.out
    [ended] = unstick.run("runbook", "history", execution, "-o", "json").json
    assert ended["state"] == "done"
    assert [act["attempt"] for act in ended["acts"] if act["step"] == "unlock"] == [1]
    assert scene.locker()["node"] == "node15"
    assert unstick.run("audit", "verify").code == 0


def test_an_act_that_was_intended_and_never_done_is_done_once_after_the_restart(stage: Callable[[int], Scene]) -> None:
    scene = stage(16)
    unstick = scene.unstick
    scene.old.freeze()
    scene.old.cut_off()
    declare_dead(scene.kubernetes, "node16")
    scene.waiting()
    until("the frozen client's watch to go", lambda: not scene.watched(), timeout=60, every=0.5)
    row = scene.locker()
    execution, confirm = request(scene, row)
    child = (sys.executable, str(KILLED), "before", "unlock")
    killed = unstick.run("runbook", "approve", execution, "--confirm", confirm, login="bob", child=child)
    assert killed.code == -9, killed.err
    assert scene.locker()["locker"] == row["locker"], "the act had not begun"
    done = unstick.run("runbook", "run", execution, login="bob")
    assert done.code == 0, done.out + done.err
    [ended] = unstick.run("runbook", "history", execution, "-o", "json").json
    unlocks = [(act["attempt"], act["outcome"]) for act in ended["acts"] if act["step"] == "unlock"]
    assert unlocks == [(1, "not done"), (2, "done")]
    assert scene.locker()["node"] == "node17"


def test_a_ready_nodes_address_is_in_no_plan_and_its_writer_never_sees_an_error(stage: Callable[[int], Scene]) -> None:
    scene = stage(18)
    unstick, beside = scene.unstick, f"{POOL}/beside-18"
    scene.ceph.create_image(beside)
    with Client(scene.ceph, beside, "writer", address="127.0.0.18") as other:
        other.wait_for_writes()
        scene.old.kill_clients()
        until("the killed client's watch to go", lambda: not scene.watched(), timeout=60, every=0.5)
        row = scene.locker()
        assert row["verdict"] == "alive_or_cut_off", row
        plan = unstick.run("runbook", "plan", "ceph/stale_rbd_lock", *scene.params(row, pod=False), "-o", "json")
        assert plan.code == 1
        assert "127.0.0.18:0/0" not in json.dumps([step.get("act") for step in plan.json["plan"]["steps"]])
        reasons = " ".join(plan.json["plan"]["refusals"])
        assert "rbd device list" in reasons
        assert "node18" in reasons
        refused(
            unstick.run("runbook", "run", "ceph/stale_rbd_lock", *scene.params(row, pod=False)), "missing is the proof"
        )
        other.wait_for_writes(50)
        assert other.error is None
    assert "127.0.0.18" not in scene.blocklist()


def test_an_address_of_the_mon_is_never_fenced(stage: Callable[[int], Scene], ceph: Ceph) -> None:
    scene = stage(20)
    image = f"{POOL}/on-the-mon"
    ceph.create_image(image)
    add_lock(ceph, image, "kubelet_lock_magic_node20", "127.0.0.1")
    [row] = scene.unstick.locks(image)
    words = ["-p", f"image={image}", "-p", f"locker={row['locker']}/{row['cookie']}", "-p", "node=node20"]
    plan = scene.unstick.run("runbook", "plan", "ceph/stale_rbd_lock", *words)
    assert plan.code == 1, shlex.join(words)
    assert "PersistentVolume" in plan.out
