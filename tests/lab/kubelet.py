"""A stand-in for a node's kubelet of the days of the in-tree `rbd` plugin, on the real Kubernetes and the real Ceph.

Kubernetes 1.20's own kubelet needs a kernel with rbd and no longer says "locked by other nodes"; this one does what the
incident needs and nothing else: it keeps a Node Ready, takes the plugin's advisory lock from the node's own address,
tells the API server what old kubelets told it, and holds the image with a client that writes. Containers it has none,
and it leaves attaching to itself, as they did, so that no controller speaks of attachments.
"""

import threading
from datetime import timedelta
from types import TracebackType

from tests.lab.ceph import Ceph
from tests.lab.clients import Client, add_lock, lockers, remove_lock
from tests.lab.errors import LabError
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import ApiError, Object
from tests.lab.reports import Reports, declare_dead, forget_node, pods_of
from tests.lab.waiting import until

__all__ = ["Kubelet", "declare_dead"]

_SYNC_EVERY = 1.0  # seconds; also how soon a mount is tried again
_HEARTBEAT_EVERY = 5  # rounds of the loop


class Kubelet:
    """One node. Use it as a context manager, or call start() and stop().

    The node stays Ready whatever becomes of its clients (kill_clients, freeze, thaw); kill() ends both, and cut_off()
    only the kubelet. What fails in its loop fails the test, as an unhandled exception of a thread.
    """

    def __init__(self, kubernetes: Kubernetes, ceph: Ceph, node: str, address: str) -> None:
        """`address` is the node's InternalIP and the source of its Ceph clients, for example 127.0.0.12."""
        self.node, self.address = node, address
        self.cookie = f"kubelet_lock_magic_{node}"
        self._kubernetes, self._ceph = kubernetes, ceph
        self._reports = Reports(kubernetes, node, address)
        self._clients: dict[str, Client] = {}  # by pod UID
        self._ending = threading.Event()
        self._loop: threading.Thread | None = None

    def __enter__(self) -> "Kubelet":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> "Kubelet":
        """Register the node, begin to care for its pods, and wait until the scheduler may use it."""
        name = {"name": self.node, "labels": {"kubernetes.io/hostname": self.node}}
        self._kubernetes.create({"apiVersion": "v1", "kind": "Node", "metadata": name})
        self._begin_to_care()
        return self

    def come_back(self, ready_for: timedelta = timedelta(), *, rebooted: bool = True, replaced: bool = False) -> None:
        """The node is heard again, as if it had been Ready for so long: with another boot, as another machine, or neither.

        A machine that boots has none of its clients any more.
        """
        self.kill()
        if rebooted or replaced:
            for client in self._clients.values():
                client.stop()
            self._clients.clear()
        self._reports.comes_back(ready_for, rebooted=rebooted or replaced, replaced=replaced)
        self._ending.clear()
        self._begin_to_care()

    def _begin_to_care(self) -> None:
        self._reports.node_is_ready()
        self._loop = threading.Thread(target=self._run, name=f"kubelet-{self.node}", daemon=True)
        self._loop.start()
        if self._kubernetes.has_controllers:
            until(f"{self.node} to lose its taints", self._is_untainted, timeout=30)

    def stop(self) -> None:
        """End all that it did and leave nothing behind: its clients, its locks, its pods and the Node itself."""
        self.cut_off()
        for client in list(self._clients.values()):
            client.stop()
            remove_lock(self._ceph, client.image, self.cookie)
        self._clients.clear()
        forget_node(self._kubernetes, self.node)

    def kill(self) -> None:
        """The node dies: there is no heartbeat any more, its clients are gone at once, and its locks stay."""
        self.cut_off()
        self.kill_clients()

    def cut_off(self) -> None:
        """The node lives but is not heard any more: there is no heartbeat, and its clients go on writing."""
        self._ending.set()
        if self._loop is not None:
            self._loop.join()
            self._loop = None

    def kill_clients(self) -> None:
        """Kill the node's Ceph clients without unlocking; they are not started again."""
        for client in list(self._clients.values()):
            client.kill()

    def freeze(self) -> None:
        """Freeze the node's Ceph clients."""
        for client in list(self._clients.values()):
            client.freeze()

    def thaw(self) -> None:
        """Thaw the node's Ceph clients."""
        for client in list(self._clients.values()):
            client.thaw()

    def client(self, timeout: float = 30) -> Client:
        """Return the client of the first pod that has its volume here; wait for it.

        Raises:
            LabError: there is none within `timeout` seconds.
        """
        return until(f"a writer on {self.node}", lambda: next(iter(self._clients.values()), None), timeout)

    def _is_untainted(self) -> bool:
        taints = self._kubernetes.get("Node", self.node)["spec"].get("taints", [])
        return all(taint["key"] == "node.kubernetes.io/unschedulable" for taint in taints)

    def _run(self) -> None:
        rounds = 0
        while not self._ending.wait(_SYNC_EVERY):
            rounds += 1
            if rounds % _HEARTBEAT_EVERY == 0:
                self._reports.node_is_ready()
            for pod in pods_of(self._kubernetes, self.node):
                try:
                    self._sync(pod)
                except ApiError as error:
                    # The object changed or went between our read and our write: the next round sees it as it is.
                    if error.code not in (404, 409):
                        raise

    def _sync(self, pod: Object) -> None:
        if pod["metadata"].get("deletionTimestamp"):
            self._end(pod)
        elif pod["metadata"]["uid"] in self._clients or pod["status"]["phase"] == "Running":
            return
        elif volume := self._rbd_volume(pod):
            self._begin(pod, *volume)
        else:
            self._reports.pod_is_running(pod)

    def _begin(self, pod: Object, volume: str, pv: str, image: str) -> None:
        if not self._lock(image):
            self._reports.pod_is_creating(pod)
            self._reports.image_is_locked(pod, volume, pv, image.rpartition("/")[2])
            return
        client = Client(self._ceph, image, "writer", address=self.address, cookie=self.cookie).start()
        self._clients[pod["metadata"]["uid"]] = client
        client.wait_for("writing")
        self._reports.pod_is_running(pod)

    def _end(self, pod: Object) -> None:
        client = self._clients.pop(pod["metadata"]["uid"], None)
        if client is not None:
            client.stop()
            remove_lock(self._ceph, client.image, self.cookie, self.address)
        self._kubernetes.delete("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], grace=0)

    def _lock(self, image: str) -> bool:
        """Take the image's advisory lock as the in-tree plugin did; one of our own from before counts as taken."""
        if any(row["id"] == self.cookie for row in lockers(self._ceph, image)):
            return True
        try:
            add_lock(self._ceph, image, self.cookie, self.address)
        except LabError as error:
            # Held a moment ago: it may have been broken since.
            if "already held" in str(error) or lockers(self._ceph, image):
                return False
            raise
        return True

    def _rbd_volume(self, pod: Object) -> tuple[str, str, str] | None:
        """Return the names of the pod's first in-tree RBD volume and of its PV, and the image `pool/image`."""
        for volume in pod["spec"].get("volumes", []):
            if "persistentVolumeClaim" not in volume:
                continue
            claim_name = volume["persistentVolumeClaim"]["claimName"]
            claim = self._kubernetes.get("PersistentVolumeClaim", claim_name, pod["metadata"]["namespace"])
            if "volumeName" not in claim["spec"]:
                raise ApiError(404, f"the claim {claim_name} is not bound yet")
            pv = self._kubernetes.get("PersistentVolume", claim["spec"]["volumeName"])
            if "rbd" in pv["spec"]:
                rbd = pv["spec"]["rbd"]
                return volume["name"], pv["metadata"]["name"], f"{rbd.get('pool', 'rbd')}/{rbd['image']}"
        return None
