"""The incident with nothing simulated but the block device: the real kubelet hangs, says why, and really goes on."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.real_stage import real_scene
from tests.lab.ceph import Ceph
from tests.lab.cgroups import Cgroup
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.real_kubelet import IMAGE, RealKubelet
from tests.lab.waiting import until


def test_a_real_node_is_ready_and_runs_a_pod(kubernetes: Kubernetes, real_node: RealKubelet) -> None:
    container = {"name": "app", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", "exit 7"]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    name = {"name": "on-the-real-node", "namespace": "default"}
    kubernetes.create({"apiVersion": "v1", "kind": "Pod", "metadata": name, "spec": spec})

    def ended() -> Object | None:
        status = kubernetes.get("Pod", name["name"], "default")["status"]
        return dict(status) if status["phase"] == "Failed" else None

    status = until("the pod to end", ended, timeout=60)
    [told] = status["containerStatuses"]
    assert told["state"]["terminated"]["exitCode"] == 7  # which only the container itself can tell
    assert status["hostIP"] == real_node.address
    kubernetes.delete("Pod", name["name"], "default", grace=0)


def test_a_watched_image_hangs_in_ceph_csis_words_and_runs_once_the_watcher_is_gone(
    ceph: Ceph, kubernetes: Kubernetes, real_node: RealKubelet, tmp_path: Path
) -> None:
    with real_scene(kubernetes, ceph, real_node, tmp_path, 62, locked=False) as scene:
        scene.old_node_is_cut_off()
        pod = scene.hanging(f"rbd image {scene.image} is still being used")
        assert scene.state(pod) == {"waiting": {"reason": "ContainerCreating"}}

        why = scene.unstick.run("why", f"pod/{pod}", "-n", scene.namespace, "-o", "json")
        assert why.code == 1
        assert why.json["cause"] == "rbd-image-in-use"
        assert why.json["root"]["name"] == scene.old.node
        client = why.json["chain"][-2]
        assert client["subject"] == {**client["subject"], "kind": "CephClient", "name": scene.holder.id}
        assert f"watches the image from {scene.old.address}" in client["says"]
        assert why.json["unseen"] == []
        assert any("RollingUpdate" in says for says in why.json["beside"]), "the design that let it come to this"

        scene.holder.stop()
        until("the pod to run", lambda: scene.runs(pod), timeout=90)
        assert scene.unstick.run("why", f"pod/{pod}", "-n", scene.namespace).code == 0


def test_a_dead_nodes_lock_is_freed_by_two_people_and_the_pod_really_runs(
    ceph: Ceph, kubernetes: Kubernetes, real_node: RealKubelet, tmp_path: Path
) -> None:
    with real_scene(kubernetes, ceph, real_node, tmp_path, 64, locked=True) as scene:
        unstick = scene.unstick
        scene.client_dies()

        def stale() -> Object | None:
            [row] = unstick.locks(scene.image)
            return row if row["verdict"] == "stale" else None

        until("the second look", stale, timeout=60, every=2)
        scene.node_dies()
        pod = scene.hanging(f"rbd: image {scene.image.rpartition('/')[2]} is locked by other nodes")
        assert scene.state(pod) == {"waiting": {"reason": "ContainerCreating"}}
        [row] = unstick.locks(scene.image)
        assert (row["verdict"], row["node"]) == ("stale", scene.old.node)
        assert f"{scene.namespace}/{pod}" in row["pods"]
        why = unstick.run("why", f"pod/{pod}", "-n", scene.namespace, "-o", "json")
        assert why.json["cause"] == "rbd-image-locked"
        assert why.json["root"]["name"] == scene.old.node
        assert [offer["id"] for offer in why.json["runbooks"]] == ["ceph/stale_rbd_lock"]

        locker = f"{row['locker']}/{row['cookie']}"
        words = {"image": scene.image, "locker": locker, "node": scene.old.node, "pod": f"{scene.namespace}/{pod}"}
        params = [word for name, value in words.items() for word in ("-p", f"{name}={value}")]
        plan = unstick.run("runbook", "plan", "ceph/stale_rbd_lock", *params)
        assert plan.code == 0, plan.out + plan.err
        asked = unstick.run("runbook", "run", "ceph/stale_rbd_lock@1.0.0", *params, "-o", "json")
        assert asked.code == 0, asked.err
        approve = ("runbook", "approve", asked.json["execution"], "--confirm", scene.old.node)
        assert unstick.run(*approve).code == 1  # not by herself
        done = unstick.run(*approve, login="bob")
        assert done.code == 0, done.out + done.err

        assert scene.runs(pod)
        [taken] = scene.lockers()
        assert taken["id"] == f"kubelet_lock_magic_{real_node.node}"
        assert taken["address"].startswith(f"{real_node.address}:0/")
        assert unstick.run("why", f"pod/{pod}", "-n", scene.namespace).code == 0


def living_in(namespace: str) -> set[str]:
    """The names of the processes of a pid namespace that have not ended. A container has one of its own, inside."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if str((process / "ns/pid").readlink()) == namespace and state != "Z":
                found.add((process / "comm").read_text().strip())
    return found


def cgroups_of(pid: int) -> list[Path]:
    """The cgroups that the test run with this pid made."""
    return list(Path("/sys/fs/cgroup").glob(f"**/unstick-lab-{pid}-*"))


def test_nothing_of_a_real_node_outlives_a_killed_test_run(real_node: RealKubelet, lab_folder: Path) -> None:
    folder = lab_folder / "killed"
    script = Path(__file__).parent / "killed_node.py"
    surroundings = {**os.environ, "PYTHONPATH": str(script.parent.parent.parent)}
    child = subprocess.Popen([sys.executable, script, folder], env=surroundings, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "runs\n"
        first = (folder / "real" / "first.pid").read_text().strip()
        namespace = os.readlink(f"/proc/{first}/ns/pid")
        assert {"containerd", "kubelet", "containerd-shim"} <= living_in(namespace)
        inside = [procs.read_text() for made in cgroups_of(child.pid) for procs in made.glob("**/cgroup.procs")]
        assert any(inside)  # the container's process
    finally:
        child.kill()
        child.communicate(timeout=10)
    until("everything to end", lambda: not living_in(namespace), timeout=10)
    # What is left are cgroups. They can be removed, so that nothing is in them, and the next node removes them.
    assert cgroups_of(child.pid)
    Cgroup("next").create()
    left = cgroups_of(child.pid)
    Cgroup("next").remove()
    assert left == []
