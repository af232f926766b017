"""The stage for a node that is given up and taken back: a Deployment's pod on an old node, and a new node beside it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.integration.stage import Ran, Unstick, manifests
from tests.lab.ceph import Ceph
from tests.lab.clients import from_address
from tests.lab.kubelet import Kubelet, declare_dead
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import ApiError, Object
from tests.lab.waiting import until

YEARS = "157784760"
NFS = {"server": "127.0.0.1", "path": "/share"}
SLEEPER = "import rados, sys, time; c = rados.Rados(conffile=sys.argv[1], name=sys.argv[2]); c.connect(); print('up', flush=True); time.sleep(60)"


def staged(namespace: str, image: str, fsid: str, storage: str, *, share: bool) -> list[Object]:
    """The Deployment with its volume: in-tree `rbd`, on Ceph by `csi`, or `nfs`; with a share on NFS beside it."""
    pool, _, name = image.partition("/")
    made = manifests(namespace, image)
    [volume] = [one["spec"] for one in made if one["kind"] == "PersistentVolume"]
    [pod] = [one["spec"]["template"]["spec"] for one in made if one["kind"] == "Deployment"]
    if storage != "rbd":
        del volume["rbd"]
        attributes = {"clusterID": fsid, "pool": pool, "imageName": name}
        csi = {"driver": "rbd.csi.ceph.com", "volumeHandle": f"handle-{name}", "volumeAttributes": attributes}
        volume[storage] = {"csi": csi, "nfs": NFS}[storage]
    if share:
        pod["volumes"].append({"name": "share", "nfs": NFS})
    return made


@dataclass
class Scene:
    """A Deployment's pod on the old node, and a new node beside it."""

    unstick: Unstick
    ceph: Ceph
    kubernetes: Kubernetes
    image: str
    namespace: str
    old: Kubelet
    new: Kubelet
    entries: list[str] = field(default_factory=list)

    def pods(self, kubelet: Kubelet) -> list[Object]:
        """The pods that are bound to a node."""
        return list(self.kubernetes.items("Pod", self.namespace, fields=f"spec.nodeName={kubelet.node}"))

    def running(self, kubelet: Kubelet) -> bool:
        """Whether a pod on a node runs."""
        return any(pod["status"]["phase"] == "Running" for pod in self.pods(kubelet))

    def watched(self) -> bool:
        """Whether anybody watches the image."""
        return bool(json.loads(self.ceph.run("rbd", "status", "--format", "json", self.image))["watchers"])

    def blocklist(self) -> dict[str, str]:
        """The entries of the blocklist with their ends."""
        return dict(json.loads(self.ceph.run("ceph", "osd", "dump", "--format", "json"))["blocklist"])

    def fence(self, entry: str) -> None:
        """Set a fence by hand."""
        self.entries.append(entry)
        self.ceph.run("ceph", "osd", "blocklist", "add", entry, YEARS)

    def unfence(self, entry: str) -> None:
        """Lift a fence by hand."""
        self.ceph.run("ceph", "osd", "blocklist", "rm", entry)

    def old_pod(self) -> str:
        """`namespace/name` of the pod that hangs in Terminating on the old node."""

        def hanging() -> str | None:
            names = (pod["metadata"]["name"] for pod in self.pods(self.old) if "deletionTimestamp" in pod["metadata"])
            return next(names, None)

        return f"{self.namespace}/{until('the old pod to hang', hanging, timeout=60)}"

    def node_dies(self) -> None:
        """The node dies with its clients, and Kubernetes gives its pods up."""
        self.old.kill()
        declare_dead(self.kubernetes, self.old.node)

    def runbook(self, verb: str, name: str, **params: str) -> Ran:
        """`unstick runbook plan` or `run`, as alice; the answer is JSON."""
        words = [word for key, value in params.items() for word in ("-p", f"{key}={value}")]
        return self.unstick.run("runbook", verb, name, *words, "-o", "json")

    def refusals(self, name: str, **params: str) -> str:
        """Why a plan is refused."""
        planned = self.runbook("plan", name, **params)
        assert planned.code == 1, planned.out + planned.err
        return " | ".join(planned.json["plan"]["refusals"])

    def done(self, name: str, **params: str) -> Object:
        """Ask as alice, approve as bob, and run it to its end."""
        asked = self.runbook("run", name, **params)
        assert asked.code == 0, asked.out + asked.err
        execution, confirm = asked.json["execution"], asked.json.get("confirm")
        words = ["--confirm", confirm] if confirm else []
        ran = self.unstick.run("runbook", "approve", execution, *words, login="bob")
        assert ran.code == 0, ran.out + ran.err
        return self.history(execution)

    def history(self, execution: str) -> Object:
        """One execution."""
        [found] = self.unstick.run("runbook", "history", execution, "-o", "json").json
        return dict(found)


def lift(scene: Scene) -> None:
    """Leave no fence behind: addresses are used again."""
    for entry in {*scene.entries, f"{scene.old.address}:0/0"}:
        scene.ceph.run("ceph", "osd", "blocklist", "rm", entry, check=False)


@contextmanager
def network_fence(kubernetes: Kubernetes, cidr: str) -> Iterator[None]:
    """The custom resource of csi-addons, and one of them."""
    group, name = "csiaddons.openshift.io", "networkfences.csiaddons.openshift.io"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    kubernetes.apply({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {
            "group": group, "scope": "Cluster",
            "names": {"plural": "networkfences", "singular": "networkfence", "kind": "NetworkFence"},
            "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": schema}],
        },
    })  # fmt: skip
    path = f"/apis/{group}/v1alpha1/networkfences"
    body = {
        "apiVersion": f"{group}/v1alpha1", "kind": "NetworkFence", "metadata": {"name": "ours"},
        "spec": {"cidrs": [cidr], "fenceState": "Fenced"},
    }  # fmt: skip
    try:
        until("the custom resource to be served", lambda: _created(kubernetes, path, body), timeout=30)
        yield
    finally:
        kubernetes.delete("CustomResourceDefinition", name)


def _created(kubernetes: Kubernetes, path: str, body: Object) -> bool:
    try:
        kubernetes.request("POST", path, body)
    except ApiError as error:  # the API server needs a moment before it serves a new kind
        return "AlreadyExists" in str(error)
    return True


@contextmanager
def session_from(ceph: Ceph, address: str) -> Iterator[None]:
    """A client with an open session from an address, which has no image open."""
    command = [sys.executable, "-c", SLEEPER, str(ceph.conf), ceph.user]
    env = {**os.environ, **from_address(address)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == "up"
            yield
        finally:
            child.kill()


def attachment(scene: Scene, node: str, *finalizers: str) -> str:
    """A VolumeAttachment of the scene's volume, as the attach controller makes it."""
    name = f"csi-{scene.namespace}-{node}"
    scene.kubernetes.apply({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {"name": name, "finalizers": list(finalizers)},
        "spec": {
            "attacher": "rbd.csi.ceph.com", "nodeName": node,
            "source": {"persistentVolumeName": f"{scene.namespace}-index-api"},
        },
    })  # fmt: skip
    return name
