"""Events of real kubelets (hollow ones: all of a kubelet but its containers) lead to the right cause, root and runbook."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.rbac import read_rules
from diagnostics.sources.kubernetes.api import Access, Api
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

UNSTICK = Path(sys.executable).parent / "unstick"
DRIVER = "rbd.csi.ceph.com"
NODE = "hollow-0"
VALUE = "not-to-be-seen"
SECRET_NAMES = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]


@dataclass(frozen=True)
class Cluster:
    """A cluster with one hollow kubelet, and the namespace of the pods that wait there."""

    kubernetes: Kubernetes
    folder: Path
    namespace: str

    def why(self, pod: str, user: str = "diagnose") -> Any:
        """What `unstick why` says of a pod, once its node's kubelet has said something."""
        until(f"an event of {pod}", lambda: self._told(pod), timeout=90)
        return self.ask(pod, user)

    def ask(self, pod: str, user: str = "diagnose") -> Any:
        """What `unstick why` says of a pod now."""
        config = self.folder / f"{user}.yaml"
        words = {"clusters": {"lab": {"kubernetes": {"kubeconfig": str(self.kubernetes.kubeconfig(user))}}}}
        config.write_text(yaml.safe_dump({**words, "state": str(self.folder / "state.db")}))
        kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CEPH_CONF")}
        done = subprocess.run(
            [UNSTICK, "why", f"pod/{pod}", "-n", self.namespace, "-o", "json"], capture_output=True, text=True,
            timeout=60, env={**kept, "UNSTICK_CONFIG": str(config)}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (1, 3), (done.returncode, done.stdout, done.stderr)
        for form in (VALUE, base64.b64encode(VALUE.encode()).decode()):
            assert form not in done.stdout + done.stderr, "a Secret's value was read"
        return json.loads(done.stdout)

    def _told(self, pod: str) -> bool:
        events = self.kubernetes.items("Event", self.namespace, fields=f"involvedObject.name={pod}")
        return any(event["reason"] == "FailedMount" for event in events)


def volumes() -> dict[str, Object]:
    """The volume of each pod, by the pod's name."""
    key = [{"key": "absent", "path": "absent"}]
    return {
        "config-map": {"configMap": {"name": "absent"}},
        "config-key": {"configMap": {"name": "there", "items": key}},
        "secret": {"secret": {"secretName": "absent"}},
        "secret-key": {"secret": {"secretName": "there", "items": key}},
        "driver": {"persistentVolumeClaim": {"claimName": "bound"}},
        "claim": {"persistentVolumeClaim": {"claimName": "unbound"}},
    }


def pod(namespace: str, name: str, volume: Object, node: str | None = NODE) -> Object:
    """A pod with one volume, bound to the hollow node past the scheduler (which would not bind a claim's pod)."""
    spec: Object = {
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", **volume}],
    }
    bound = {"nodeName": node} if node else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**spec, **bound},
    }


def claim(namespace: str, name: str, class_name: str, volume: str | None) -> Object:
    """A claim of a class, or for a volume."""
    named = {"volumeName": volume} if volume else {}
    size = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": class_name, "resources": size, **named}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


@pytest.fixture(scope="module")
def cluster(lab_folder: Path) -> Iterator[Cluster]:
    """A control plane of its own: its hollow node must not get other tests' pods."""
    if os.environ.get("KUBECONFIG") or os.environ.get("KUBEBUILDER_ASSETS"):
        pytest.skip("hollow kubelets join the lab's own Kubernetes only: KUBECONFIG and KUBEBUILDER_ASSETS name others")
    folder = Path(tempfile.mkdtemp(prefix="m-", dir=lab_folder))
    namespace = "mounts"
    with Kubernetes(folder, hollow_nodes=1) as kubernetes:
        kubernetes.grant("diagnose", read_rules())
        kubernetes.grant("names", [*read_rules(), *SECRET_NAMES])
        meta = {"namespace": namespace, "name": "there"}
        kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        kubernetes.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"present": "1"}})
        kubernetes.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"present": VALUE}})
        driver = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}}
        kubernetes.apply({**driver, "spec": {"attachRequired": False}})
        kubernetes.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": "made-by-hand"},
                "spec": {
                    "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
                    "csi": {
                        "driver": DRIVER, "volumeHandle": "handle",
                        "volumeAttributes": {"pool": "p", "imageName": "i", "clusterID": "c"},
                    },
                    "claimRef": {"namespace": namespace, "name": "bound"},
                },
            }
        )  # fmt: skip
        kubernetes.apply(claim(namespace, "bound", "", "made-by-hand"))
        kubernetes.apply(claim(namespace, "unbound", "absent-class", None))

        def is_bound() -> bool:
            found = kubernetes.get("PersistentVolumeClaim", "bound", namespace)
            return bool(found["status"]["phase"] == "Bound")

        until("the claim to be bound", is_bound, timeout=60)
        until(
            "the default service account", lambda: kubernetes.find("ServiceAccount", "default", namespace), timeout=30
        )
        for name, volume in volumes().items():
            kubernetes.apply(pod(namespace, name, volume))
        yield Cluster(kubernetes, folder, namespace)


def runbooks(document: Any) -> list[str]:
    return [offer["id"] for offer in document["runbooks"]]


@pytest.mark.parametrize(
    ("name", "cause", "root", "says", "runbook"),
    [
        ("config-map", "configmap-missing", "ConfigMap mounts/absent", "does not exist", "storage/missing_config"),
        ("config-key", "secret-key-missing", "ConfigMap mounts/there", "has no key absent", "storage/missing_config"),
        ("driver", "csi-driver-not-registered", f"CSINode None/{NODE}", "has no driver", "storage/unregistered_csi_driver"),
        ("claim", "pvc-unbound", "PersistentVolumeClaim mounts/unbound", "is Pending to", "storage/unbound_claim"),
    ],
)  # fmt: skip
def test_a_kubelets_event_leads_to_its_cause_its_root_and_its_runbook(
    cluster: Cluster, name: str, cause: str, root: str, says: str, runbook: str
) -> None:
    document = cluster.why(name)
    found = document["root"]
    assert document["cause"] == cause
    assert [f"{found['kind']} {found['namespace']}/{found['name']}"] == [root]
    assert says in document["chain"][-1]["says"]
    assert [link["subject"]["kind"] for link in document["chain"][:2]] == ["Event", "Pod"]
    assert runbook in runbooks(document)


def test_a_secret_is_named_by_the_event_alone_where_nobody_granted_its_keys_names(cluster: Cluster) -> None:
    missing, key = cluster.why("secret"), cluster.why("secret-key")
    assert (missing["cause"], key["cause"]) == ("secret-missing", "secret-key-missing")
    assert missing["root"]["kind"] == key["root"]["kind"] == "Pod"
    assert "storage/missing_config" in runbooks(missing)
    assert "storage/missing_config" in runbooks(key)


def test_where_it_is_granted_the_missing_secret_and_the_missing_key_are_seen_and_no_value_ever_is(
    cluster: Cluster,
) -> None:
    missing, key = cluster.why("secret", user="names"), cluster.why("secret-key", user="names")
    assert (missing["root"]["kind"], missing["root"]["name"]) == ("Secret", "absent")
    assert "does not exist" in missing["chain"][-1]["says"]
    assert (key["root"]["kind"], key["root"]["name"]) == ("Secret", "there")
    assert "has no key absent" in key["chain"][-1]["says"]
    assert "its keys are present" in key["chain"][-1]["evidence"][0]["text"]


def test_the_server_sends_a_secrets_metadata_and_nothing_of_its_data(cluster: Cluster) -> None:
    async def both() -> tuple[bytes, bytes]:
        async with Api(Access(kubeconfig=str(cluster.kubernetes.kubeconfig("names")))) as api:
            path = f"/api/v1/namespaces/{cluster.namespace}/secrets/there"
            return await api.get(path, metadata_only=True), await api.get(path)

    value = base64.b64encode(VALUE.encode())
    metadata, whole = asyncio.run(both())
    assert value in whole, "the comparison would prove nothing"
    assert value not in metadata
    assert json.loads(metadata)["kind"] == "PartialObjectMetadata"
    assert "data" not in json.loads(metadata)


def test_a_pod_that_no_node_takes_because_of_its_claim_is_led_to_the_claims_class(cluster: Cluster) -> None:
    name = "unscheduled"
    cluster.kubernetes.apply(pod(cluster.namespace, name, volumes()["claim"], node=None))

    def answer() -> Any:
        found = cluster.ask(name)
        return found if found["status"] == "found" else None

    document = until("the claim to be past its grace", answer, timeout=120, every=5)
    assert document["cause"] == "pvc-unbound"
    assert document["subject"]["name"] == name
    assert document["chain"][0]["subject"]["kind"] == "Pod"
    assert document["root"] == {"kind": "StorageClass", "namespace": None, "name": "absent-class", "uid": ""}
    assert "storage/unbound_claim" in runbooks(document)
