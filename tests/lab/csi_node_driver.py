"""A CSI node driver on a real kubelet: it answers like ceph-csi, or like the in-tree plugin, from what the real Ceph says.

It is run as a process in the node's own namespaces by the distribution's Python, and imports nothing but gRPC and the
lab's Ceph clients. Only the block device is simulated, as no kernel of a test machine has rbd: a folder for each image
takes its place, and a client that watches the image takes the mapping's.

Which way an image is guarded says the volume: with the attribute `advisoryLock: "true"` by the in-tree plugin's lock, of
which it complains in that plugin's words; else by nothing but its watchers, as ceph-csi does.
"""

import argparse
import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from tests.lab import csi_wire as wire
from tests.lab.ceph import Ceph
from tests.lab.clients import Client, add_lock, lockers, remove_lock
from tests.lab.errors import LabError

NAME = "rbd.csi.ceph.com"
# As long as anybody's tests may last; the process ends with the node anyway.
_LIFE = 3600  # seconds


class InUseError(Exception):
    """Somebody else has the image; the message is what the kubelet is told."""


class Volumes:
    """The volumes that are staged on this node, each with the client that holds its image."""

    def __init__(self, ceph: Ceph, node: str, address: str, devices: Path) -> None:
        self._ceph, self._address, self._devices = ceph, address, devices
        self._cookie = f"kubelet_lock_magic_{node}"
        self._held: dict[str, Client] = {}  # by volume ID

    def stage(self, volume: str, path: str, image: str, *, locked: bool) -> None:
        """Take the image `pool/image`, unless it is this node's already, and put its device at the path.

        Raises:
            InUseError: another one has it.
            LabError: Ceph did not answer, or the mount failed.
        """
        if volume not in self._held or not self._held[volume].alive:
            if locked:
                self._lock(image)
            elif self._is_watched(image):
                raise InUseError(f"rbd image {image} is still being used")
            client = Client(self._ceph, image, "watch", address=self._address, cookie=self._cookie, life=_LIFE)
            self._held[volume] = client.start()
            client.wait_for("open")
        device = self._devices / image
        device.mkdir(parents=True, exist_ok=True)
        _bind(str(device), path)

    def unstage(self, volume: str, path: str) -> None:
        """Give the image back; nothing happens if it is not staged."""
        _unbind(path)
        client = self._held.pop(volume, None)
        if client is not None:
            client.stop()
            remove_lock(self._ceph, client.image, self._cookie, self._address)

    def _is_watched(self, image: str) -> bool:
        return bool(json.loads(self._ceph.run("rbd", "status", "--format", "json", image))["watchers"])

    def _lock(self, image: str) -> None:
        taken = InUseError(f"rbd: image {image.rpartition('/')[2]} is locked by other nodes")
        holders = [row["id"] for row in lockers(self._ceph, image)]
        if self._cookie in holders:
            return
        if holders:
            raise taken
        try:
            add_lock(self._ceph, image, self._cookie, self._address)
        except LabError:
            if lockers(self._ceph, image):
                raise taken from None
            raise


class Driver:
    """The answers to the kubelet's calls, one at a time."""

    def __init__(self, volumes: Volumes, node: str) -> None:
        self._volumes, self._node = volumes, node
        self._one = threading.Lock()

    def identity(self) -> grpc.GenericRpcHandler:
        """The service Identity."""
        about = wire.csi["GetPluginInfoResponse"](name=NAME, vendor_version="lab")
        return wire.csi_service(
            "Identity",
            {
                "GetPluginInfo": _always(about),
                "GetPluginCapabilities": _always(wire.csi["GetPluginCapabilitiesResponse"]()),
                "Probe": _always(wire.csi["ProbeResponse"]()),
            },
        )

    def node(self) -> grpc.GenericRpcHandler:
        """The service Node."""
        stages = wire.csi["NodeGetCapabilitiesResponse"](capabilities=[{"rpc": {"type": wire.STAGE_UNSTAGE_VOLUME}}])
        about = wire.csi["NodeGetInfoResponse"](node_id=self._node)
        done = {
            "NodeStageVolume": self._stage,
            "NodeUnstageVolume": lambda request: self._volumes.unstage(request.volume_id, request.staging_target_path),
            "NodePublishVolume": lambda request: _bind(request.staging_target_path, request.target_path),
            "NodeUnpublishVolume": lambda request: _unbind(request.target_path),
        }
        return wire.csi_service(
            "Node",
            {
                "NodeGetCapabilities": _always(stages),
                "NodeGetInfo": _always(about),
                **{method: self._answer(method, do) for method, do in done.items()},
            },
        )

    def _stage(self, request: Any) -> None:
        told = dict(request.volume_context)
        self._volumes.stage(
            request.volume_id,
            request.staging_target_path,
            f"{told['pool']}/{told['imageName']}",
            locked=told.get("advisoryLock") == "true",
        )

    def _answer(self, method: str, do: Any) -> wire.Answer:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            said = "done"
            try:
                with self._one:
                    do(request)
            except (InUseError, LabError, OSError, KeyError) as error:
                said = str(error)
            print(f"{method} {request.volume_id}: {said}", flush=True)
            if said != "done":
                context.abort(grpc.StatusCode.INTERNAL, said)
            return wire.csi[f"{method}Response"]()

        return answer


def registration(endpoint: Path) -> grpc.GenericRpcHandler:
    """The service by which the kubelet learns of the driver."""
    about = wire.registration["PluginInfo"](
        type="CSIPlugin", name=NAME, endpoint=str(endpoint), supported_versions=["1.0.0"]
    )

    def notify(request: Any, context: grpc.ServicerContext) -> Any:
        print(f"registered: {request.plugin_registered} {request.error}", flush=True)
        return wire.registration["RegistrationStatusResponse"]()

    requests = {
        "GetInfo": wire.registration["InfoRequest"],
        "NotifyRegistrationStatus": wire.registration["RegistrationStatus"],
    }
    answers: dict[str, wire.Answer] = {
        "GetInfo": _always(about),
        "NotifyRegistrationStatus": notify,
    }
    return wire.service("pluginregistration.Registration", requests, answers)


def _always(message: Any) -> wire.Answer:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        return message

    return answer


def _bind(source: str, target: str) -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    if not _is_mounted(target):
        _mount("mount", "--bind", source, target)


def _unbind(target: str) -> None:
    if _is_mounted(target):
        _mount("umount", target)
    if Path(target).exists():
        Path(target).rmdir()


def _is_mounted(target: str) -> bool:
    return any(line.split()[1] == target for line in Path("/proc/self/mounts").read_text().splitlines())


def _mount(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise LabError(done.stderr.strip())


def _serve(socket: Path, *services: grpc.GenericRpcHandler) -> grpc.Server:
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers(services)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("node", "address", "kubelet", "devices"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    # CEPH_CONF leads to the cluster: this one starts none.
    volumes = Volumes(Ceph(Path()), args.node, args.address, Path(args.devices))
    driver = Driver(volumes, args.node)
    endpoint = Path(args.kubelet, "plugins", NAME, "csi.sock")
    serving = _serve(endpoint, driver.identity(), driver.node())
    telling = _serve(Path(args.kubelet, "plugins_registry", f"{NAME}-reg.sock"), registration(endpoint))
    telling.wait_for_termination()
    serving.wait_for_termination()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
