"""A node that is given up and taken back, on the real Ceph and the real control plane, by the command line."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.given_up_stage import Scene, attachment, lift, network_fence, session_from, staged
from tests.integration.stage import Ran, Unstick
from tests.lab.ceph import Ceph
from tests.lab.clients import Client
from tests.lab.kubelet import Kubelet
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

POOL = "given-up"
LONG = timedelta(minutes=6)


@pytest.fixture
def stage(ceph: Ceph, kubernetes: Kubernetes, tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Sets the stage with nodes of numbers of its own, so that no test's fence hits another test's node."""
    if not kubernetes.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS brings an API server alone: nothing makes or schedules pods there")
    ceph.create_pool(POOL)
    with ExitStack() as stack:

        def set_up(number: int, storage: str = "rbd", *, share: bool = False) -> Scene:
            namespace, image = f"{POOL}-{number}-{os.getpid()}", f"{POOL}/image-{number}"
            ceph.create_image(image)
            old = stack.enter_context(Kubelet(kubernetes, ceph, f"up-{number}", f"127.0.0.{number}"))
            for manifest in staged(namespace, image, ceph.fsid, storage, share=share):
                kubernetes.apply(manifest)
            stack.callback(kubernetes.delete, "PersistentVolume", f"{namespace}-index-api")
            stack.callback(kubernetes.delete, "Namespace", namespace)
            if storage == "rbd":
                old.client(60).wait_for_writes()
            on_old = f"spec.nodeName={old.node}"
            until("the pod to be bound", lambda: kubernetes.items("Pod", namespace, fields=on_old), timeout=60)
            new = stack.enter_context(Kubelet(kubernetes, ceph, f"up-{number + 1}", f"127.0.0.{number + 1}"))
            scene = Scene(Unstick(kubernetes, ceph, tmp_path), ceph, kubernetes, image, namespace, old, new)
            stack.callback(lift, scene)
            until("the pod to run", lambda: scene.running(old), timeout=30)
            return scene

        yield set_up


def test_a_fence_is_lifted_only_after_a_reboot_and_with_every_proof(stage: Callable[..., Scene]) -> None:
    scene = stage(140)
    unfence, node, entry = "ceph/unfence_recovered_node", scene.old.node, "127.0.0.140:0/0"
    scene.node_dies()
    scene.old_pod()
    until("the killed client's watch to go", lambda: not scene.watched(), timeout=60, every=0.5)
    until("the second look", lambda: scene.unstick.locks(scene.image)[0]["verdict"] == "stale", timeout=90, every=2)
    row = scene.unstick.locks(scene.image)[0]
    ended = scene.done(
        "ceph/stale_rbd_lock", image=scene.image, locker=f"{row['locker']}/{row['cookie']}", node=node
    )  # fmt: skip
    assert ended["state"] == "done"
    assert entry in scene.blocklist()

    # While it is down, and after it came back without a reboot, or as another machine, or just now.
    why = scene.refusals(unfence, node=node)
    assert "is not Ready" in why
    assert "has not rebooted" in why
    scene.old.come_back(LONG, rebooted=False)
    assert scene.refusals(unfence, node=node).startswith("node_has_rebooted_since_fence: ")
    scene.old.come_back(LONG)
    boot = scene.kubernetes.get("Node", node)["status"]["nodeInfo"]
    changed = {"status": {"nodeInfo": {**boot, "systemUUID": "another"}}}
    scene.old.cut_off()
    scene.kubernetes.patch("Node", node, changed, subresource="status", strategic=True)
    assert "another machine is called" in scene.refusals(unfence, node=node)
    scene.old.come_back(timedelta(minutes=1), rebooted=False)
    assert "more than five minutes" in scene.refusals(unfence, node=node)
    scene.old.come_back(LONG)

    # Each proof that is missing by itself.
    with network_fence(scene.kubernetes, "127.0.0.0/24"):
        assert "NetworkFence ours" in scene.refusals(unfence, node=node)
    with session_from(scene.ceph, scene.old.address):
        assert "has a session with mon" in scene.refusals(unfence, node=node)
    until("the session to end", lambda: scene.runbook("plan", unfence, node=node).code == 0, timeout=60, every=2)
    used = {"status": {"volumesInUse": ["kubernetes.io/csi/rbd.csi.ceph.com^handle"]}}
    scene.kubernetes.patch("Node", node, used, subresource="status", strategic=True)
    assert "volumesInUse" in scene.refusals(unfence, node=node)
    scene.kubernetes.patch("Node", node, {"status": {"volumesInUse": None}}, subresource="status", strategic=True)

    # An entry in the same words that ends when none of ours would: somebody has set it again.
    scene.ceph.run("ceph", "osd", "blocklist", "rm", entry)
    scene.ceph.run("ceph", "osd", "blocklist", "add", entry, "1000000")
    assert "is in no journal of Unstick" in scene.refusals(unfence, node=node)
    scene.ceph.run("ceph", "osd", "blocklist", "rm", entry)
    scene.fence(entry)

    with Client(scene.ceph, scene.image, "watch", address=scene.old.address) as fenced:
        assert fenced.wait_for("error")["errno"] == 108
    until("its session to end", lambda: scene.runbook("plan", unfence, node=node).code == 0, timeout=60, every=2)
    ended = scene.done(unfence, node=node)
    assert ended["state"] == "done"
    assert entry not in scene.blocklist()
    beside = f"{POOL}/beside-140"
    scene.ceph.create_image(beside)
    with Client(scene.ceph, beside, "writer", address=scene.old.address) as client:
        client.wait_for_writes()
    assert "no entry of the blocklist covers" in scene.refusals(unfence, node=node)

    # Without its Node object only a person can know.
    scene.old.stop()
    assert "only a person can know" in scene.refusals(unfence, node=node)


def test_a_forced_deletion_is_refused_with_what_is_missing_until_the_node_is_fenced(
    stage: Callable[..., Scene],
) -> None:
    scene = stage(142)
    force = "pods/force_delete_on_dead_node"
    [alive] = scene.pods(scene.old)
    name = f"{scene.namespace}/{alive['metadata']['name']}"
    why = scene.refusals(force, pod=name)
    assert "is not down" in why
    assert "hangs in Terminating" in why

    scene.node_dies()
    assert scene.old_pod() == name
    why = scene.refusals(force, pod=name)
    assert "node up-142 is not fenced as a whole: 127.0.0.142" in why
    assert "does not stand in for a fence of what is on Ceph: index-api" in why
    assert "let a Ceph admin run `ceph osd blocklist add 127.0.0.142:0/0 157784760`" in why
    assert "does not stand in for a fence" in scene.refusals(force, pod=name, node=scene.old.node)
    asked = scene.runbook("run", force, pod=name)
    assert asked.code == 1
    scene.ceph.run("ceph", "osd", "blocklist", "add", "127.0.0.142:0/0", "3600")
    assert "not fenced as a whole" in scene.refusals(force, pod=name), "an hour is no fence"
    scene.ceph.run("ceph", "osd", "blocklist", "rm", "127.0.0.142:0/0")

    scene.fence("127.0.0.142:0/0")
    ended = scene.done(force, pod=name)
    assert ended["state"] == "done"
    assert [act["step"] for act in ended["acts"]] == ["remove"]
    assert scene.pods(scene.old) == []
    assert "not there any more" in scene.refusals(force, pod=name)


def test_an_orphaned_attachment_is_deleted_and_one_that_is_in_use_or_hangs_is_not(stage: Callable[..., Scene]) -> None:
    scene = stage(144, "csi")
    orphaned = "storage/orphaned_volume_attachment"
    of_ready = attachment(scene, scene.old.node)
    why = scene.refusals(orphaned, volume_attachment=of_ready)
    assert "is Ready: its driver detaches there" in why
    assert "uses the volume" in why
    scene.kubernetes.delete("VolumeAttachment", of_ready)

    of_gone = attachment(scene, "gone-144", "external-attacher/rbd-csi-ceph-com")
    scene.kubernetes.delete("VolumeAttachment", of_gone)
    why = scene.refusals(orphaned, volume_attachment=of_gone)
    assert "is being deleted already and waits for rbd.csi.ceph.com to remove external-attacher/rbd-csi-ceph-com" in why
    scene.kubernetes.patch("VolumeAttachment", of_gone, {"metadata": {"finalizers": None}})

    until("it to go", lambda: not scene.kubernetes.items("VolumeAttachment"), timeout=30)
    of_gone = attachment(scene, "gone-144")
    ended = scene.done(orphaned, volume_attachment=of_gone)
    assert ended["state"] == "done"
    assert scene.kubernetes.items("VolumeAttachment") == []


def test_a_dead_nodes_volume_is_taken_for_the_pod_that_waits(stage: Callable[..., Scene]) -> None:
    """The attach controller leaves these nodes to themselves: the test makes what it would have left behind."""
    scene = stage(146, "csi")
    take, node = "storage/multi_attach_dead_node", scene.old.node
    scene.kubernetes.patch("Node", scene.new.node, {"spec": {"unschedulable": True}})
    name = attachment(scene, node)
    scene.node_dies()
    old = scene.old_pod()

    def waiting() -> str | None:
        pods = scene.kubernetes.items("Pod", scene.namespace)
        return next((p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"]), None)

    pod = f"{scene.namespace}/{until('the new pod', waiting, timeout=60)}"
    assert "does not stand in for a fence of what is on Ceph: index-api" in scene.refusals(take, pod=pod, node=node)
    assert "missing is such a fence" in scene.refusals("pods/force_delete_on_dead_node", pod=old)

    scene.fence("127.0.0.146:0/0")
    plan: Any = scene.runbook("plan", take, pod=pod, node=node).json["plan"]
    assert (plan["refusals"], plan["risk"]) == ([], "high")
    free = threading.Timer(5, lambda: scene.kubernetes.patch("Node", scene.new.node, {"spec": {"unschedulable": None}}))
    free.start()
    ended = scene.done(take, pod=pod, node=node)
    free.join()
    assert ended["state"] == "done"
    assert [act["step"] for act in ended["acts"]] == ["cordon", "clear", "detach"]
    assert name not in {one["metadata"]["name"] for one in scene.kubernetes.items("VolumeAttachment")}
    assert scene.running(scene.new)


@pytest.fixture(scope="module")
def hollow(lab_folder: Path) -> Iterator[Kubernetes]:
    """A cluster of its own with one hollow kubelet, which mounts what the API keeps and runs no containers."""
    with Kubernetes(lab_folder / "h", hollow_nodes=1) as kubernetes:
        yield kubernetes


def test_a_pod_starts_once_what_it_mounts_was_created_and_nothing_is_deleted(
    hollow: Kubernetes, ceph: Ceph, tmp_path: Path
) -> None:
    unstick, namespace = Unstick(hollow, ceph, tmp_path), "config"
    labels = {"app": "app"}
    spec = {
        "containers": [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "c", "mountPath": "/c"}]}],
        "volumes": [{"name": "c", "configMap": {"name": "settings"}}], "tolerations": [{"operator": "Exists"}],
    }  # fmt: skip
    hollow.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    until("the account", lambda: hollow.find("ServiceAccount", "default", namespace), timeout=30)
    hollow.apply({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}, "replicas": 1,
        },
    })  # fmt: skip

    def waiting() -> Object | None:
        pods = hollow.items("Pod", namespace)
        return next((pod for pod in pods if pod["status"].get("containerStatuses")), None)

    pod = until("the pod to wait on its node", waiting, timeout=60)
    words = ["storage/missing_config@1.1.0", "-p", f"pod={namespace}/{pod['metadata']['name']}"]
    plan = unstick.run("runbook", "plan", *words, "-o", "json").json["plan"]
    assert (plan["refusals"], plan["steps"][1]["otherwise"]["act"]["action"]) == ([], "kubernetes.delete_pod")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": namespace}}
    created = threading.Timer(5, lambda: hollow.apply(config))
    created.start()
    asked = unstick.run("runbook", "run", *words, "--yes")
    created.join()
    assert asked.code == 0, asked.out + asked.err
    [ended] = unstick.run("runbook", "history", "-o", "json").json
    if ended["state"] != "done":  # its risk is low, and another person's yes is still asked for
        ran = unstick.run("runbook", "approve", ended["id"], login="bob")
        assert ran.code == 0, ran.out + ran.err
    [ended] = unstick.run("runbook", "history", ended["id"], "-o", "json").json
    assert (ended["state"], ended["acts"]) == ("done", [])
    assert hollow.get("Pod", pod["metadata"]["name"], namespace)["status"]["phase"] == "Running"


def test_a_persons_word_that_the_node_is_off_is_enough_for_nfs(stage: Callable[..., Scene]) -> None:
    scene = stage(148, "nfs")
    force, node = "pods/force_delete_on_dead_node", scene.old.node
    scene.node_dies()
    pod = scene.old_pod()
    why = scene.refusals(force, pod=pod)
    assert "missing is a person who attests that up-148 is off (node=up-148)" in why

    asked = scene.runbook("run", force, pod=pod, node=node)
    assert asked.code == 0, asked.out + asked.err
    assert (asked.json["plan"]["risk"], asked.json["confirm"]) == ("critical", node)
    execution = asked.json["execution"]
    scene.unstick.run("runbook", "approve", execution, "--confirm", node, login="bob")
    assert scene.history(execution)["state"] == "asking"
    assert [f"{scene.namespace}/{one['metadata']['name']}" for one in scene.pods(scene.old)] == [pod]
    assert scene.unstick.run("runbook", "attest", execution, "--confirm", "up-149").code == 1
    assert scene.unstick.run("runbook", "attest", execution, "--confirm", node, login="carol").code == 1
    ran = scene.unstick.run("runbook", "attest", execution, "--confirm", node)
    assert ran.code == 0, ran.out + ran.err
    assert scene.history(execution)["state"] == "done"
    assert scene.pods(scene.old) == []
    assert scene.unstick.run("audit", "verify").code == 0


def test_no_word_stands_in_for_the_fence_of_a_volume_on_ceph(stage: Callable[..., Scene]) -> None:
    """The pod has a volume on Ceph and another one on NFS: it takes the fence for the one and the word for the other."""
    scene = stage(150, "csi", share=True)
    force, node, entry = "pods/force_delete_on_dead_node", scene.old.node, "127.0.0.150:0/0"
    scene.node_dies()
    pod = scene.old_pod()

    def attested() -> tuple[str, Callable[[], Ran]]:
        asked = scene.runbook("run", force, pod=pod, node=node)
        assert asked.code == 0, asked.out + asked.err
        assert asked.json["plan"]["risk"] == "critical"
        execution = asked.json["execution"]
        scene.unstick.run("runbook", "approve", execution, "--confirm", node, login="bob")
        assert scene.history(execution)["state"] == "asking"
        return execution, lambda: scene.unstick.run("runbook", "attest", execution, "--confirm", node)

    why = scene.refusals(force, pod=pod, node=node)
    assert "node up-150 is not fenced as a whole: 127.0.0.150" in why
    assert "does not stand in for a fence of what is on Ceph: index-api" in why
    scene.fence(entry)
    assert "volume share is not known to be on this Ceph" in scene.refusals(force, pod=pod)

    # What Ceph hears gives the lie to the word, before it was given and after that.
    with session_from(scene.ceph, scene.old.address):
        assert "has a session with mon" in scene.refusals(force, pod=pod, node=node)
    until("the session to end", lambda: scene.runbook("plan", force, pod=pod, node=node).code == 0, timeout=60, every=2)
    execution, attest = attested()
    with session_from(scene.ceph, scene.old.address):
        refused = attest()
    assert refused.code == 1, refused.out + refused.err
    assert "has a session with mon" in refused.out + refused.err
    until("the session to end", lambda: scene.runbook("plan", force, pod=pod, node=node).code == 0, timeout=60, every=2)

    execution, attest = attested()
    scene.unfence(entry)
    refused = attest()
    assert refused.code == 1, refused.out + refused.err
    assert "does not stand in for a fence" in refused.out + refused.err
    assert scene.history(execution)["state"] == "void"
    assert [f"{scene.namespace}/{one['metadata']['name']}" for one in scene.pods(scene.old)] == [pod]

    scene.fence(entry)
    execution, attest = attested()
    ran = attest()
    assert ran.code == 0, ran.out + ran.err
    assert scene.history(execution)["state"] == "done"
    assert scene.pods(scene.old) == []
    assert scene.unstick.run("audit", "verify").code == 0
