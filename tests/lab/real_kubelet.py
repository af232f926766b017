"""A real node on the lab's Kubernetes: containerd, the real kubelet, and a CSI driver that asks the real Ceph.

It lives in namespaces of its own (pids and mounts), so that the machine's /run, /var/lib, /var/log and sysctls stay as
they are, and the kernel ends all of it, containers too, with the tests. Its network is the machine's: pods have a
loopback address each and no interface.
"""

import contextlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.lab import credentials
from tests.lab.ceph import Ceph
from tests.lab.cgroups import Cgroup
from tests.lab.clients import from_address
from tests.lab.errors import LabError
from tests.lab.kubernetes import Kubernetes, built_binaries
from tests.lab.objects import Object
from tests.lab.processes import Daemon, free_ports
from tests.lab.reports import forget_node
from tests.lab.waiting import until

DRIVER = "rbd.csi.ceph.com"
IMAGE = "lab.invalid/app:1"
"""What its pods can run: a busybox, which sleeps if not told otherwise. Nothing can be pulled."""

_HERE = Path(__file__).parent
# Of the distribution, as Ceph's bindings are, and with its gRPC.
_PYTHON = "/usr/bin/python3"
_FIRST = "first.pid"  # of the node's first process, as the machine counts

_CONTAINERD = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab.invalid/busybox:1"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/cni"
    conf_dir = "{folder}/cni.d"
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."*"]
    endpoint = ["http://127.0.0.1:1"]
"""

# A network plugin that makes no interface. The address is one of the loopback, out of the container's id.
_CNI = """\
#!/bin/sh
cat >/dev/null
version='"cniVersion":"0.3.1"'
case "$CNI_COMMAND" in
VERSION) echo "{$version,\\"supportedVersions\\":[\\"0.3.0\\",\\"0.3.1\\"]}" ;;
ADD)
    number=$((0x$(printf %.4s "$CNI_CONTAINERID")))
    echo "{$version,\\"interfaces\\":[{\\"name\\":\\"eth0\\",\\"sandbox\\":\\"$CNI_NETNS\\"}],\\"ips\\":[{\\"version\\":\\"4\\"," \\
        "\\"interface\\":0,\\"address\\":\\"127.77.$((number / 256)).$((number % 256))/32\\"}]}"
    ;;
*) echo "{$version}" ;;
esac
"""


class RealKubelet:
    """One real node. Use it as a context manager, or call start() and stop()."""

    def __init__(
        self, kubernetes: Kubernetes, folder: Path, ceph: Ceph | None = None, *, node: str = "real-0",
        address: str = "127.0.0.61",
    ) -> None:  # fmt: skip
        """Keep everything under `folder`. With a `ceph` the node has the CSI driver, whose clients come from `address`.

        `address` is the node's InternalIP too.
        """
        self.node, self.address, self.folder = node, address, folder
        self._kubernetes, self._ceph = kubernetes, ceph
        self._cgroup = Cgroup(node)
        self._daemon = Daemon(node, folder)
        self._driver = Daemon("csi-node-driver", folder)

    def __enter__(self) -> "RealKubelet":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> "RealKubelet":
        """Bring the node up, and wait until the scheduler may use it, about 15 s.

        Raises:
            LabError: the cluster is not the lab's own, a program is missing, or a part did not come up.
        """
        programs = built_binaries()
        if not self._kubernetes.own or not self._kubernetes.has_controllers:
            raise LabError(
                "a real kubelet joins the lab's own Kubernetes only: unset KUBECONFIG and KUBEBUILDER_ASSETS"
            )
        if not (programs / "containerd").exists():
            raise LabError(f"no containerd in {programs}: run `make test-real`, which puts it there")
        try:
            self._prepare()
            self._start(programs)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End everything on the node, at once as a power cut would, and remove the Node and what it left."""
        self._driver.stop()
        first = self.folder / _FIRST
        if first.exists() and self._daemon.alive:
            # The parent waits for it, and it for all others: when the parent has ended, nothing lives there any more.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(first.read_text()), signal.SIGKILL)
        self._daemon.stop()
        self._cgroup.remove()
        forget_node(self._kubernetes, self.node)
        if self._ceph is not None:
            self._kubernetes.delete("CSIDriver", DRIVER)

    def volume(self, image: str) -> Path:
        """The folder that takes the block device's place for the image `pool/image`: what its pods wrote is there."""
        return self.folder / "devices" / image

    def _prepare(self) -> None:
        """Write the configuration, and the Node itself, to which the kubelet then comes."""
        (self.folder / _FIRST).unlink(missing_ok=True)
        for name in ("cni", "cni.d", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for plugin in ("lab", "loopback"):
            (self.folder / "cni" / plugin).write_text(_CNI)
            (self.folder / "cni" / plugin).chmod(0o755)
        network = {"cniVersion": "0.3.1", "name": "lab", "plugins": [{"type": "lab"}]}
        (self.folder / "cni.d" / "lab.conflist").write_text(json.dumps(network))
        (self.folder / "containerd.toml").write_text(_CONTAINERD.format(folder=self.folder))
        (self.folder / "kubelet.json").write_text(json.dumps(self._configuration()))
        certificates = self._kubernetes.folder
        certificate, key = credentials.make_client_certificate(
            certificates, credentials.node_user(self.node), credentials.NODES
        )
        credentials.write_kubeconfig(
            self.folder / "kubeconfig",
            self._kubernetes.host,
            (certificates / "ca.crt").read_bytes(),
            certificate=(certificate, key),
        )
        self._cgroup.create()
        # As a cloud provider says it. The kubelet would take an address of an interface only, and no other 127.0.0.N
        # than the first is one.
        addresses = [{"type": "InternalIP", "address": self.address}, {"type": "Hostname", "address": self.node}]
        metadata = {"name": self.node, "labels": {"kubernetes.io/hostname": self.node}}
        self._kubernetes.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        room = {"pods": "110"}  # a kubelet that finds none at all in a Node panics; it tells its own
        status = {"addresses": addresses, "capacity": room, "allocatable": room}
        self._kubernetes.patch("Node", self.node, {"status": status}, subresource="status")

    def _configuration(self) -> Object:
        [port] = free_ports(1)
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": port,
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": str(self._kubernetes.folder / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._cgroup.name}",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "hairpinMode": "none",
            "resolvConf": "",
            # A machine that is short of disk space must not turn its tests' pods away.
            "evictionHard": {},
            "imageGCHighThresholdPercent": 100,
            "volumePluginDir": str(self.folder / "flex"),
            "nodeStatusUpdateFrequency": "2s",
        }

    def _start(self, programs: Path) -> None:
        flags = [
            f"--config={self.folder / 'kubelet.json'}",
            f"--kubeconfig={self.folder / 'kubeconfig'}",
            f"--hostname-override={self.node}",
            # Keeps the addresses that the Node has already.
            "--cloud-provider=external",
            "--container-runtime=remote",
            "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        ]
        image = programs.parent / "busybox-image.tar"
        inside: list[str | Path] = [_HERE / "real_node.sh", programs, self.folder, image, *flags]
        self._daemon.start(
            ["unshare", "--mount", "--propagation=private", "--pid", "--kill-child", "bash", *inside],
            env={**os.environ, "TMPDIR": str(self.folder / "tmp")},
        )
        until(f"{self.node} to be Ready", self._is_ready, timeout=60)
        if self._ceph is not None:
            self._start_driver(self._ceph)
            until(f"{self.node} to know {DRIVER}", self._knows_driver, timeout=30)

    def _start_driver(self, ceph: Ceph) -> None:
        # Nobody attaches: the driver itself sees to it that an image is used once, as the in-tree plugin did.
        self._kubernetes.apply(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "CSIDriver",
                "metadata": {"name": DRIVER},
                "spec": {"attachRequired": False, "podInfoOnMount": False},
            }
        )
        options = [
            f"--node={self.node}",
            f"--address={self.address}",
            "--kubelet=/var/lib/kubelet",
            f"--devices={self.folder / 'devices'}",
        ]
        enter: Sequence[str] = ["nsenter", f"--target={self._first()}", "--mount", "--pid", "--"]
        program = ["setpriv", "--pdeathsig=TERM", "--", _PYTHON, "-m", "tests.lab.csi_node_driver"]
        surroundings = {**os.environ, **from_address(self.address), "CEPH_CONF": str(ceph.conf)}
        self._driver.start([*enter, *program, *options], env={**surroundings, "PYTHONPATH": str(_HERE.parent.parent)})

    def _first(self) -> int:
        return int((self.folder / _FIRST).read_text())

    def _is_ready(self) -> bool:
        self._daemon.check()
        node = self._kubernetes.get("Node", self.node)
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
        return ready and not node["spec"].get("taints")

    def _knows_driver(self) -> bool:
        self._driver.check()
        known = self._kubernetes.find("CSINode", self.node)
        return any(driver["name"] == DRIVER for driver in (known or {"spec": {}})["spec"].get("drivers") or ())
