"""The embedded sandbox: the incident's Kubernetes and Ceph in one process, joined by the kubelets' volumes.

Unstick's own code runs unchanged in it. Only addresses, the Ceph backend and the clock differ.
"""

import asyncio
import secrets
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bot.rbac import read_rules, write_rules
from bot.sandbox.ceph.client import SimulatedClient
from bot.sandbox.ceph.cluster import SimulatedCluster
from bot.sandbox.ceph.connection import Caps
from bot.sandbox.clock import Clock
from bot.sandbox.kubernetes import incident
from bot.sandbox.kubernetes.access import Rule
from bot.sandbox.kubernetes.controllers import Controllers
from bot.sandbox.kubernetes.resources import BY_NAME, PODS
from bot.sandbox.kubernetes.server import ApiServer
from bot.wiring import Target
from diagnostics.sources.ceph.rados import RadosError
from diagnostics.sources.kubernetes.api import Access

Json = dict[str, Any]
BOT_IP = "10.46.180.99"
_BUSY = 16
_FIRST_CLIENT = 24_128


class RbdVolumes:
    """What lies behind the pods' volumes: RBD images, locked and mapped as the in-tree kubelet plugin did it.

    A short-lived `rbd` process takes the advisory lock; the writer that maps the image is another client of the node.
    """

    def __init__(self, ceph: SimulatedCluster) -> None:
        self._ceph = ceph
        self._held: dict[tuple[str, str], tuple[str, SimulatedClient, SimulatedClient]] = {}

    def mount(self, pod: Json, volume: Json, node: str) -> str | None:
        """Lock and map the image of a volume; anything else mounts."""
        source = volume["spec"].get("rbd")
        if source is None:
            return None
        image = f"{source['pool']}/{source['image']}"
        ip = incident.NODES[node]
        command, writer = self._ceph.client(ip, "client.admin"), self._ceph.client(ip, "client.admin")
        try:
            command.lock_advisory(image, f"kubelet_lock_magic_{node}")
            writer.open(image)
            writer.write(image)
        except RadosError as error:
            command.close()
            writer.close()
            if error.errno == _BUSY:
                return f"rbd: image {source['image']} is locked by other nodes"
            return f"rbd: map failed exit status {error.errno}, rbd output: {error}"
        command.close()
        self._held[pod["metadata"]["uid"], image] = (node, command, writer)
        return None

    def unmount(self, pod: Json, volume: Json, node: str) -> None:  # noqa: ARG002 - the protocol names it
        """Unmap the image; the kubelet gives the lock back."""
        source = volume.get("spec", {}).get("rbd")
        if source is None:
            return
        image = f"{source['pool']}/{source['image']}"
        held = self._held.pop((pod["metadata"]["uid"], image), None)
        if held is not None:
            held[2].close()

    def node_dies(self, node: str) -> None:
        """Kill every client of a node: their locks stay."""
        for where, _, writer in self._held.values():
            if where == node:
                writer.kill()


class Sandbox:
    """The incident's world, to be entered with `async with`. `folder` takes kubeconfigs and the state database."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.clock = Clock()
        self.ceph = SimulatedCluster(
            self.clock.now, mons={name: m.partition(":")[0] for name, m in zip("abc", incident.MONITORS, strict=True)}
        )
        self.volumes = RbdVolumes(self.ceph)
        tokens = {user: secrets.token_hex(16) for user in ("diagnose", "remediate")}
        self.api = ApiServer(
            self.clock.now, tokens, {"diagnose": _rules(read_rules()), "remediate": _rules(write_rules())}, port
        )
        self._fill()
        self.controllers = Controllers(self.api.registry, self.volumes)

    def _fill(self) -> None:
        """Play what came before: the pods got their images, then node1 died twelve minutes ago."""
        ceph = self.ceph
        ceph.next_client = _FIRST_CLIENT
        ceph.create_pool(incident.POOL)
        for number, image in enumerate(incident.IMAGES):
            ceph.create_image(f"{incident.POOL}/{image}", format=1 if number == 0 else 2)
        self.api.registry.load(incident.objects(self.clock.now() + incident.DEAD_FOR))
        store = self.api.registry.store
        volumes = {
            (ref["namespace"], ref["name"]): volume
            for volume in store.all(BY_NAME["v1", "persistentvolumes"])
            if (ref := volume["spec"].get("claimRef"))
        }
        for pod in store.all(PODS):
            for entry in pod["spec"].get("volumes", ()) if pod["status"]["phase"] == "Running" else ():
                claim = entry.get("persistentVolumeClaim", {}).get("claimName")
                if volume := volumes.get((pod["metadata"]["namespace"], claim)):
                    self.volumes.mount(pod, volume, pod["spec"]["nodeName"])
        self.volumes.node_dies(incident.DEAD_NODE)
        self.clock.forward(incident.DEAD_FOR / timedelta(seconds=1))

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self.api.__aenter__()
        self.folder.mkdir(parents=True, exist_ok=True)
        for user in ("diagnose", "remediate"):
            path = self.folder / f"{user}.kubeconfig"
            path.touch(mode=0o600)
            path.write_text(yaml.safe_dump(self.api.kubeconfig(user)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.api.__aexit__(kind, error, trace)

    @property
    def target(self) -> Target:
        """The sandbox as a cluster that Unstick is configured for."""
        return Target(
            name="sandbox",
            kubernetes=Access(str(self.folder / "diagnose.kubeconfig")),
            remediate=Access(str(self.folder / "remediate.kubeconfig")),
            connect_ceph=lambda: self.ceph.connect("client.unstick", BOT_IP, Caps.DIAGNOSE),
            remediate_ceph=lambda: self.ceph.connect("client.unstick-remediate", BOT_IP, Caps.REMEDIATE),
            now=self.clock.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        """Let time pass, second by second, while kubelets and controllers go on with their work.

        It passes on the sandbox's own loop, where its API server answers, whichever loop asks for it.
        """
        if asyncio.get_running_loop() is self._loop:
            self._pass(seconds)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.sleep(seconds), self._loop))

    def _pass(self, seconds: float) -> None:
        whole = max(1, round(seconds))
        for _ in range(whole):
            self.clock.forward(seconds / whole)
            self.controllers.step()


def _rules(given: list[dict[str, list[str]]]) -> tuple[Rule, ...]:
    return tuple(Rule.of(rule) for rule in given)
