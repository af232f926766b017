"""The incident's stage on a real node: a Deployment whose volume another node's dead client still has, in one way or other.

The old node is a Node object with a Ceph client of its own; the new one is `real_kubelet.RealKubelet`, with everything
that happens there: its kubelet's events, its CSI driver's answers, its containers.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.integration.stage import Unstick, manifests
from tests.lab.ceph import Ceph
from tests.lab.clients import Client, Mode, lockers, remove_lock
from tests.lab.errors import LabError
from tests.lab.kubelet import Kubelet, declare_dead
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.real_kubelet import DRIVER, IMAGE, RealKubelet
from tests.lab.reports import forget_node
from tests.lab.waiting import until

POOL = "real"


@dataclass
class RealScene:
    """A pod that ran on the old node, whose client holds the image, and the real node beside it."""

    unstick: Unstick
    kubernetes: Kubernetes
    ceph: Ceph
    namespace: str
    image: str
    old: Kubelet
    holder: Client
    new: RealKubelet

    deployment: ClassVar[str] = "index-api"

    def pod(self, node: str, phase: str) -> Object | None:
        """The pod of the Deployment that is bound to a node and in this phase."""
        pods = self.kubernetes.items("Pod", self.namespace, fields=f"spec.nodeName={node},status.phase={phase}")
        return next((pod for pod in pods if "deletionTimestamp" not in pod["metadata"]), None)

    def client_dies(self) -> None:
        """The old node's client goes, and Ceph forgets its watch, which takes about 30 s; its lock stays.

        A test has Unstick look here, twice and 30 s apart, rather than when the pod hangs already: a kubelet that has
        failed for long waits for minutes until it tries again.
        """
        self.holder.kill()
        until("the killed client's watch to go", lambda: not self.watchers(), timeout=60, every=0.5)

    def node_dies(self) -> None:
        """The rest of the old node goes too, and Kubernetes takes it for dead and replaces its pod."""
        self.old.kill()
        self._is_declared_dead()

    def old_node_dies(self) -> None:
        """Both, one after the other, as it looks to somebody who comes when the pod hangs."""
        self.client_dies()
        self.node_dies()

    def old_node_is_cut_off(self) -> None:
        """Kubernetes takes the old node for dead, while its client lives and has the image open."""
        self.old.cut_off()
        self._is_declared_dead()

    def _is_declared_dead(self) -> None:
        """Kubernetes takes the old node for dead and evicts its pod.

        The node controller stops evicting while it takes most nodes of a zone for dead, as those of other tests may be:
        then the pod is deleted as it would do it.
        """
        declare_dead(self.kubernetes, self.old.node)
        try:
            until("the pod to be evicted", lambda: self.pod(self.old.node, "Running") is None, timeout=20)
        except LabError:
            if (pod := self.pod(self.old.node, "Running")) is not None:
                self.kubernetes.delete("Pod", pod["metadata"]["name"], self.namespace)

    def hanging(self, words: str) -> str:
        """Return the name of the pod that hangs on the real node, once the kubelet has told it in these words."""
        try:
            pod = until("the pod on the real node", lambda: self.pod(self.new.node, "Pending"), timeout=60)
        except LabError as error:
            raise LabError(f"{error}; there is: {self._there_is()}") from None
        name = str(pod["metadata"]["name"])
        until(f"the kubelet to tell {words!r}", lambda: any(words in said for said in self.told(name)), timeout=30)
        return name

    def _there_is(self) -> str:
        """Where the pods are and how the nodes stand, for whoever reads of a failure."""
        pods = [
            f"{pod['metadata']['name']} on {pod['spec'].get('nodeName')}: {pod['status']}"
            for pod in self.kubernetes.items("Pod", self.namespace)
        ]
        nodes = [
            f"{node['metadata']['name']}: {node['spec']}, "
            + ", ".join(f"{each['type']}={each['status']}" for each in node["status"].get("conditions", []))
            for node in self.kubernetes.items("Node")
        ]
        return "; ".join([*pods, *nodes])

    def told(self, pod: str) -> list[str]:
        """The messages of the real kubelet's events about mounts of the pod that failed."""
        fields = f"involvedObject.name={pod},reason=FailedMount"
        events = self.kubernetes.items("Event", self.namespace, fields=fields)
        return [event["message"] for event in events if event["source"].get("host") == self.new.node]

    def state(self, pod: str) -> Object:
        """What the pod's one container is in: `waiting` with its reason, or `running`."""
        status = self.kubernetes.get("Pod", pod, self.namespace)["status"]
        return dict(status.get("containerStatuses", [{"state": {}}])[0]["state"])

    def runs(self, pod: str) -> bool:
        """Whether the pod really runs: it is said to be Ready, and its container has written to the volume."""
        status = self.kubernetes.get("Pod", pod, self.namespace)["status"]
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
        written = self.new.volume(self.image) / "written-by"
        return ready and written.exists() and written.read_text().strip() == pod

    def watchers(self) -> list[Object]:
        """Who watches the image."""
        status = json.loads(self.ceph.run("rbd", "status", "--format", "json", self.image))
        return list(status["watchers"])

    def lockers(self) -> list[dict[str, str]]:
        """Who holds the image's lock."""
        return lockers(self.ceph, self.image)


@contextmanager
def real_scene(
    kubernetes: Kubernetes, ceph: Ceph, new: RealKubelet, folder: Path, number: int, *, locked: bool
) -> Iterator[RealScene]:
    """Set the stage, with an old node `old-NUMBER` at 127.0.0.NUMBER, which no other test may have.

    `locked` is the in-tree plugin's way (an advisory lock and a client that writes), else ceph-csi's (a watcher alone).
    """
    namespace, image, old_node = f"real-{number}-{os.getpid()}", f"{POOL}/index-api-image-{number}", f"old-{number}"
    ceph.create_pool(POOL)
    # Each as its own provisioner makes them.
    ceph.create_image(image, format=1 if locked else 2, features=None if locked else "layering")
    cookie = f"kubelet_lock_magic_{old_node}"
    with ExitStack() as stack:
        old = stack.enter_context(Kubelet(kubernetes, ceph, old_node, f"127.0.0.{number}"))
        mode: Mode = "advisory" if locked else "watch"
        holder = stack.enter_context(Client(ceph, image, mode, address=old.address, cookie=cookie))
        holder.wait_for("open")
        scene = RealScene(Unstick(kubernetes, ceph, folder), kubernetes, ceph, namespace, image, old, holder, new)
        stack.callback(_strike, scene)
        kubernetes.patch("Node", new.node, {"spec": {"unschedulable": True}})
        for manifest in real_manifests(namespace, image, ceph.fsid, (old_node, new.node), locked=locked):
            kubernetes.apply(manifest)
        until("the pod to run on the old node", lambda: scene.pod(old_node, "Running"), timeout=60)
        kubernetes.patch("Node", new.node, {"spec": {"unschedulable": None}})
        yield scene


def real_manifests(namespace: str, image: str, fsid: str, nodes: tuple[str, str], *, locked: bool) -> list[Object]:
    """The Deployment of `stage.manifests` for a node that runs containers, with a volume of the CSI driver.

    The pod writes its own name to the volume, and runs on one of the `nodes`. `fsid` is the Ceph cluster's; `locked` as in
    real_scene().
    """
    made = manifests(namespace, image)
    by_kind = {manifest["kind"]: manifest["spec"] for manifest in made if "spec" in manifest}
    pool, _, name = image.partition("/")
    attributes = {"clusterID": fsid, "pool": pool, "imageName": name, "advisoryLock": str(locked).lower()}
    del by_kind["PersistentVolume"]["rbd"]
    by_kind["PersistentVolume"]["csi"] = {"driver": DRIVER, "volumeHandle": name, "volumeAttributes": attributes}
    pod = by_kind["Deployment"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 1
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]} for node in nodes]
    pod["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    pod["containers"][0] |= {
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo $POD >/data/written-by; exec sleep 1000000"],
        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    }
    return made


def _strike(scene: RealScene) -> None:
    """Remove what was deployed, and wait until the real node has given the image back."""
    scene.old.cut_off()
    forget_node(scene.kubernetes, scene.old.node)
    scene.kubernetes.patch("Node", scene.new.node, {"spec": {"unschedulable": None}})
    scene.kubernetes.delete("Namespace", scene.namespace)
    until("the pods to be gone", lambda: not scene.kubernetes.items("Pod", scene.namespace), timeout=60)
    scene.kubernetes.delete("PersistentVolume", f"{scene.namespace}-{scene.deployment}")
    remove_lock(scene.ceph, scene.image, scene.holder.cookie)
    mine = f"kubelet_lock_magic_{scene.new.node}"
    until("the lock to be given back", lambda: all(row["id"] != mine for row in scene.lockers()), timeout=30)
