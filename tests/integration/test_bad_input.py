"""What goes wrong on real parts is said in one sentence with the next move; what still can be seen is still told."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stage import Unstick
from tests.lab.ceph import Ceph
from tests.lab.clients import Client, add_lock
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

POOL = "field"
NAMESPACE = f"field-{os.getpid()}"


@pytest.fixture
def unstick(kubernetes: Kubernetes, ceph: Ceph, tmp_path: Path) -> Unstick:
    ceph.create_pool(POOL)
    return Unstick(kubernetes, ceph, tmp_path)


def csi_pod(image: str) -> list[Object]:
    """A pod bound to a node without kubelet, with a ceph-csi volume whose image `image` lies in the pool."""
    metadata = {"name": "csi", "namespace": NAMESPACE}
    attributes = {"pool": POOL, "imageName": image, "clusterID": "rook-ceph"}
    csi = {"driver": "rook-ceph.rbd.csi.ceph.com", "volumeHandle": f"0001-lab-{image}", "volumeAttributes": attributes}
    size = {"storage": "16Mi"}
    volume = {
        "capacity": size,
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "csi": csi,
        "claimRef": metadata,
    }
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": f"{NAMESPACE}-csi"}
    pod = {
        "nodeName": f"{NAMESPACE}-node",
        "containers": [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "csi"}}],
        "tolerations": [{"operator": "Exists"}],
    }
    pv = {"name": f"{NAMESPACE}-csi"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"{NAMESPACE}-node"}},
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": pv, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {**claim, "resources": {"requests": size}}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
    ]  # fmt: skip


@pytest.fixture
def stuck(kubernetes: Kubernetes, ceph: Ceph) -> Iterator[str]:
    """A pod that waits for a ceph-csi image, which is locked by a client that was killed; gives the image."""
    if not kubernetes.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS brings an API server alone: nobody binds the claim there")
    image = "csi-vol-1"
    ceph.create_pool(POOL)
    ceph.create_image(f"{POOL}/{image}", format=2)
    with Client(ceph, f"{POOL}/{image}", "managed", address="127.0.0.41") as client:
        client.wait_for_writes()
        client.kill()
    objects = csi_pod(image)
    for manifest in objects[:-1]:
        kubernetes.apply(manifest)
    until(
        "the claim to be bound",
        lambda: kubernetes.get("PersistentVolumeClaim", "csi", NAMESPACE)["status"].get("phase") == "Bound",
        30,
    )
    until("the service account", lambda: kubernetes.find("ServiceAccount", "default", NAMESPACE), 30)
    kubernetes.apply(objects[-1])
    kubernetes.patch("Pod", "csi", {"status": {"startTime": "2026-01-01T00:00:00Z"}}, NAMESPACE, subresource="status")
    yield image
    kubernetes.delete("Pod", "csi", NAMESPACE, grace=0)
    for kind in ("PersistentVolume", "Node", "Namespace"):
        kubernetes.delete(
            kind, {"PersistentVolume": f"{NAMESPACE}-csi", "Node": f"{NAMESPACE}-node"}.get(kind, NAMESPACE)
        )


def test_a_ceph_csi_volume_leads_to_its_image_whose_managed_lock_is_left_alone(unstick: Unstick, stuck: str) -> None:
    def stale() -> Object | None:
        [row] = unstick.locks(f"{POOL}/{stuck}")
        return row if row["verdict"] == "stale_managed" else None

    row = until("the second look at the managed lock", stale, timeout=120, every=2)
    assert row["managed"] is True
    assert row["format"] == 2
    assert row["pvc"] == f"{NAMESPACE}/csi"
    why = unstick.run("why", "pod/csi", "-n", NAMESPACE, "-o", "json")
    assert why.code == 1, why.out
    kinds = [link["subject"]["kind"] for link in why.json["chain"]]
    assert kinds[:6] == ["Pod", "PersistentVolumeClaim", "PersistentVolume", "RBDImage", "RBDLock", "CephClient"]
    words = ["-p", f"image={POOL}/{stuck}", "-p", f"locker={row['locker']}/{row['cookie']}"]
    refused = unstick.run("runbook", "run", "ceph/stale_rbd_lock", *words)
    assert refused.code == 1
    assert "managed" in refused.err


def test_a_forbidden_list_is_unknown_and_says_what_to_grant(unstick: Unstick, kubernetes: Kubernetes) -> None:
    pods_only = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    kubernetes.grant("labforbidden", pods_only)
    path = str(kubernetes.kubeconfig("labforbidden"))

    def statuses() -> dict[str, Object]:
        # UNSTICK_CONFIG would name the lab's kubeconfig: an empty configuration leaves it to KUBECONFIG.
        empty = unstick.folder / "empty.yaml"
        empty.write_text("{}")
        ran = unstick.run(
            "check", "--area", "storage", "-o", "json", env={"KUBECONFIG": path, "UNSTICK_CONFIG": str(empty)}
        )
        assert ran.code in (1, 3)
        return {outcome["check"]: outcome for outcome in ran.json["outcomes"]}

    until(
        "the grant to take effect",
        lambda: statuses()["storage/pods_stuck_creating"]["status"] != "unknown",
        15,
        every=1,
    )
    failing = statuses()["storage/mounts_failing"]
    assert failing["status"] == "unknown"
    assert "list events" in failing["reason"]
    assert "RBAC" in failing["reason"]


def test_an_unreachable_api_server_leaves_ceph_answered(unstick: Unstick, kubernetes: Kubernetes) -> None:
    broken = unstick.folder / "unreachable.kubeconfig"
    broken.write_text(kubernetes.kubeconfig("diagnose").read_text().replace(kubernetes.host, "https://127.0.0.1:1"))
    unstick.settings["clusters"]["lab"]["kubernetes"] = {"kubeconfig": str(broken)}
    unstick.config.write_text(json.dumps(unstick.settings))
    why = unstick.run("why", "pod/any", "-o", "json")
    assert why.code == 3
    assert why.json["status"] == "unknown"
    assert "cannot be reached" in why.json["summary"]
    locks = unstick.run("locks", "--pool", POOL, "-o", "json")
    assert locks.code in (0, 1)
    assert locks.json["cluster"] is None


def test_a_pod_that_is_not_there_is_a_usage_error(unstick: Unstick) -> None:
    ran = unstick.run("why", "pod/never-was", "-n", "default")
    assert ran.code == 2
    assert "no Pod never-was in namespace default" in ran.err


def test_a_user_without_session_caps_makes_locks_suspect_and_never_stale(unstick: Unstick, ceph: Ceph) -> None:
    image = f"{POOL}/caps"
    ceph.create_image(image)
    add_lock(ceph, image, "kubelet_lock_magic_gone", "127.0.0.42")
    reader = ceph.identity("nosessions", {"mon": "allow r", "osd": "profile rbd-read-only"})
    unstick.settings["clusters"]["lab"]["ceph"] = {"conf": str(reader.conf), "user": reader.user}
    unstick.config.write_text(json.dumps(unstick.settings))
    [row] = unstick.locks(image)
    assert row["verdict"] == "suspect"
    assert "command sessions" in row["why"]


def test_a_mon_that_is_down_is_unknown_within_its_time_out_and_kubernetes_is_still_answered(
    unstick: Unstick, ceph: Ceph
) -> None:
    if not ceph.own:
        pytest.skip("CEPH_CONF names a given cluster: its mon is not stopped")
    ceph.mon_stop()
    try:
        locks = unstick.run("locks", "--pool", POOL)
        assert locks.code == 3
        assert locks.err.count("\n") == 1, locks.err
        assert "no monitor" in locks.err
        check = unstick.run("check", "-o", "json")
        statuses = {outcome["check"]: outcome["status"] for outcome in check.json["outcomes"]}
        assert statuses["ceph/locks_stale"] == "unknown"
        assert statuses["storage/pods_stuck_creating"] in ("ok", "found")
    finally:
        ceph.mon_start()
