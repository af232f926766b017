"""The lab does what the other tests of this folder build on: real clients, real locks, and the incident's story."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.ceph import Ceph
from tests.lab.clients import Client, lockers, remove_lock
from tests.lab.kubelet import Kubelet, declare_dead
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import ApiError, Object, Objects
from tests.lab.waiting import until

POOL = "lab"
NAMESPACE = f"lab-{os.getpid()}"  # a given cluster may still be at the deletion of the last run's
PV = f"{NAMESPACE}-index-api"


@pytest.fixture(scope="module", autouse=True)
def pool(ceph: Ceph) -> None:
    ceph.create_pool(POOL)


def watchers(ceph: Ceph, image: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(ceph.run("rbd", "status", "--format", "json", image))["watchers"]
    return rows


def test_a_killed_clients_lock_stays_and_its_watch_goes_within_half_a_minute(ceph: Ceph) -> None:
    image = f"{POOL}/killed"
    ceph.create_image(image)
    with Client(ceph, image, "advisory", address="127.0.0.21", cookie="kubelet_lock_magic_node1") as client:
        client.wait_for_writes()
        [locker] = lockers(ceph, image)
        [watcher] = watchers(ceph, image)
        assert locker["address"].startswith("127.0.0.21:0/")
        assert watcher["address"].startswith("127.0.0.21:0/")
        assert f"client.{watcher['client']}" == client.id != locker["locker"]
        client.kill()
    until("the watch to go", lambda: not watchers(ceph, image), timeout=45, every=0.5)
    assert lockers(ceph, image) == [locker]


def test_a_fence_on_its_address_ends_a_writer_and_no_other(ceph: Ceph) -> None:
    image, other = f"{POOL}/fenced", f"{POOL}/beside"
    ceph.create_image(image)
    ceph.create_image(other)
    with (
        Client(ceph, image, "writer", address="127.0.0.22") as fenced,
        Client(ceph, other, "writer", address="127.0.0.23") as beside,
    ):
        fenced.wait_for_writes()
        ceph.run("ceph", "osd", "blocklist", "add", "127.0.0.22:0/0", "600")
        try:
            assert fenced.wait_for("error")["errno"] == 108
            beside.wait_for_writes()
            assert beside.error is None
            with Client(ceph, image, "writer", address="127.0.0.22") as newcomer:
                assert newcomer.wait_for("error")["errno"] == 108
        finally:
            ceph.run("ceph", "osd", "blocklist", "rm", "127.0.0.22:0/0")


def test_a_frozen_client_stands_still_and_goes_on_when_thawed(ceph: Ceph) -> None:
    image = f"{POOL}/frozen"
    ceph.create_image(image, format=2)
    with Client(ceph, image, "managed", address="127.0.0.24") as client:
        client.wait_for_writes()
        [locker] = lockers(ceph, image)
        assert locker["id"].startswith("auto ")
        assert locker["locker"] == client.id
        client.freeze()
        client.thaw()
        client.wait_for_writes()
        assert client.error is None


def test_a_user_of_ceph_may_do_what_its_caps_say_and_no_more(ceph: Ceph) -> None:
    image = f"{POOL}/caps"
    ceph.create_image(image)
    reader = ceph.identity("labreader", {"mon": "allow r", "osd": "profile rbd-read-only"})
    with Client(ceph, image, "writer", address="127.0.0.25", identity=reader) as client:
        assert client.wait_for("error")["errno"] in (1, 30)
    nobody = ceph.identity("labnobody", {})
    with Client(ceph, image, "watch", address="127.0.0.25", identity=nobody) as client:
        assert client.wait_for("error")["errno"] == 13


def test_a_user_of_kubernetes_may_do_nothing_until_it_is_granted(kubernetes: Kubernetes) -> None:
    viewer = Objects(kubernetes.kubeconfig("labviewer"))
    with pytest.raises(ApiError) as refused:
        viewer.items("Pod")
    assert refused.value.code == 403
    kubernetes.grant("labviewer", [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]}])

    def allowed() -> list[Object]:
        try:
            return viewer.items("Namespace")
        except ApiError:
            return []

    until("the grant to take effect", allowed, timeout=10)
    with pytest.raises(ApiError):
        viewer.items("Pod")


def incident(image: str) -> list[Object]:
    """A Deployment of one pod whose in-tree RBD volume is `image`, and which gives up a dead node at once."""
    metadata = {"name": "index-api", "namespace": NAMESPACE}
    pool, _, name = image.partition("/")
    volume = {"capacity": {"storage": "16Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    rbd = {"monitors": ["127.0.0.1:6789"], "pool": pool, "image": name, "user": "admin", "fsType": "ext4"}
    gone = [{"key": f"node.kubernetes.io/{why}", "operator": "Exists"} for why in ("not-ready", "unreachable")]
    container = {"name": "app", "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    pod = {
        "tolerations": [{**taint, "effect": "NoExecute", "tolerationSeconds": 0} for taint in gone],
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "index-api"}}],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": PV},
            "spec": {**volume, "rbd": rbd, "claimRef": metadata},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "",
                "volumeName": PV,
                "resources": {"requests": {"storage": "16Mi"}},
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "index-api"}},
                "template": {"metadata": {"labels": {"app": "index-api"}}, "spec": pod},
            },
        },
    ]


@pytest.fixture
def deployed(ceph: Ceph, kubernetes: Kubernetes) -> Iterator[str]:
    """The incident's Deployment, on a cluster that has no node yet; gives its image."""
    if not kubernetes.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS brings an API server alone: nothing makes or schedules pods there")
    image = f"{POOL}/index-api-image"
    ceph.create_image(image)
    for manifest in incident(image):
        # Pods of a new namespace are refused until its service account is there; the ReplicaSet tries again by itself.
        kubernetes.apply(manifest)
    yield image
    kubernetes.delete("Namespace", NAMESPACE)
    kubernetes.delete("PersistentVolume", PV)


def pod_on(kubernetes: Kubernetes, node: str, phase: str) -> Object | None:
    """The pod of the Deployment that is bound to the node and in this phase."""
    pods = kubernetes.items("Pod", NAMESPACE, fields=f"spec.nodeName={node},status.phase={phase}")
    return pods[0] if pods else None


def test_the_incident_happens_and_ends_when_the_lock_goes(ceph: Ceph, kubernetes: Kubernetes, deployed: str) -> None:
    with Kubelet(kubernetes, ceph, "lab-a", "127.0.0.31") as old:
        until("the first pod to run", lambda: pod_on(kubernetes, "lab-a", "Running"), timeout=30)
        old.client().wait_for_writes()
        with Kubelet(kubernetes, ceph, "lab-b", "127.0.0.32") as new:
            old.kill()
            declare_dead(kubernetes, "lab-a")
            waiting = until("the new pod", lambda: pod_on(kubernetes, "lab-b", "Pending"), timeout=40)
            locked = "rbd: image index-api-image is locked by other nodes"

            def told() -> list[str]:
                about = f"involvedObject.uid={waiting['metadata']['uid']},reason=FailedMount"
                events = kubernetes.items("Event", NAMESPACE, fields=about)
                return [event["message"] for event in events if event["count"] > 1]

            until("both events, told more than once", lambda: len(told()) == 2, timeout=30)
            assert f'MountVolume.SetUp failed for volume "{PV}" : {locked}' in told()
            assert any("timeout expired waiting for volumes to attach/mount" in message for message in told())
            stuck = kubernetes.get("Pod", waiting["metadata"]["name"], NAMESPACE)
            [container] = stuck["status"]["containerStatuses"]
            assert container["state"] == {"waiting": {"reason": "ContainerCreating"}}
            [locker] = lockers(ceph, deployed)
            assert locker["id"] == "kubelet_lock_magic_lab-a"
            assert locker["address"].startswith("127.0.0.31:0/")
            terminating = pod_on(kubernetes, "lab-a", "Running")
            assert terminating is not None
            assert terminating["metadata"]["deletionTimestamp"]

            remove_lock(ceph, deployed, locker["id"])
            until("the new pod to run", lambda: pod_on(kubernetes, "lab-b", "Running"), timeout=30)
            new.client().wait_for_writes()
            [locker] = lockers(ceph, deployed)
            assert locker["id"] == "kubelet_lock_magic_lab-b"
    assert lockers(ceph, deployed) == []
