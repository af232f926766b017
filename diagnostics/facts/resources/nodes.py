"""Nodes and the leases that their kubelets renew."""

from datetime import datetime

import msgspec

from diagnostics.facts.resources.meta import Condition, Meta, Struct, canonical_ip
from diagnostics.model import Subject


class NodeAddress(Struct, frozen=True):
    """One address of a node."""

    type: str
    address: str


class Taint(Struct, frozen=True):
    """A taint."""

    key: str
    effect: str = ""
    value: str = ""
    time_added: datetime | None = None


class NodeSpec(Struct, frozen=True):
    """Whether a node takes pods."""

    unschedulable: bool | None = None
    taints: tuple[Taint, ...] | None = None


class NodeInfo(Struct, frozen=True):
    """What tells one boot, and one machine, from another, and what its kernel is."""

    boot_id: str = msgspec.field(name="bootID", default="")
    system_uuid: str = msgspec.field(name="systemUUID", default="")
    kernel_version: str = ""
    kubelet_version: str = ""


class AttachedVolume(Struct, frozen=True):
    """A volume that the controller takes for attached to a node."""

    name: str


class NodeStatus(Struct, frozen=True):
    """A node's addresses, conditions and volumes."""

    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[Condition, ...] | None = None
    node_info: NodeInfo = NodeInfo()
    volumes_in_use: tuple[str, ...] | None = None
    volumes_attached: tuple[AttachedVolume, ...] | None = None


class Node(Struct, frozen=True):
    """A node."""

    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def subject(self) -> Subject:
        """This node as a subject."""
        return Subject("Node", None, self.metadata.name, self.metadata.uid)

    @property
    def ips(self) -> tuple[str, ...]:
        """Its IP addresses in canonical form. Its own kubelet reports them: they identify the node, Ceph may see others."""
        return self._ips("InternalIP", "ExternalIP")

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """Those that it has itself; an ExternalIP may be a gateway's, which stands for many machines."""
        return self._ips("InternalIP")

    @property
    def odd_addresses(self) -> tuple[str, ...]:
        """What it reports as an IP and is none."""
        given = [a.address for a in self.status.addresses or () if a.type in ("InternalIP", "ExternalIP")]
        return tuple(address for address in given if canonical_ip(address) is None)

    def _ips(self, *types: str) -> tuple[str, ...]:
        found = (canonical_ip(a.address) for a in self.status.addresses or () if a.type in types)
        return tuple(dict.fromkeys(ip for ip in found if ip is not None))

    @property
    def ready(self) -> Condition | None:
        """Its Ready condition, None where there is none."""
        return next((c for c in self.status.conditions or () if c.type == "Ready"), None)

    @property
    def is_ready(self) -> bool:
        """Whether its kubelet reports Ready."""
        return self.ready is not None and self.ready.status == "True"


class LeaseSpec(Struct, frozen=True):
    """When a node's kubelet last renewed its lease."""

    renew_time: datetime | None = None


class Lease(Struct, frozen=True):
    """A Lease in `kube-node-lease`, named as its node."""

    metadata: Meta
    spec: LeaseSpec = LeaseSpec()
