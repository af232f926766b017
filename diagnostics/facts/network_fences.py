"""NetworkFences: what csi-addons fences for ceph-csi, by address ranges, with one owner for each node.

They are a custom resource, which most clusters do not have: its definition is asked for first, and only where that is
there are they listed. https://github.com/csi-addons/kubernetes-csi-addons/blob/main/docs/networkfence.md
"""

import ipaddress
from collections.abc import Iterable

from diagnostics.facts import Snapshot
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources import Meta, Struct
from diagnostics.model import Subject

_DEFINITION = "networkfences.csiaddons.openshift.io"


class Definition(Struct, frozen=True):
    """A CustomResourceDefinition: that it is there is all that is asked of it."""

    metadata: Meta


class NetworkFenceSpec(Struct, frozen=True):
    """What is fenced (`fenceState` Fenced), or was and is let go (`Unfenced`)."""

    cidrs: tuple[str, ...] | None = None
    fence_state: str = "Fenced"


class NetworkFence(Struct, frozen=True):
    """A NetworkFence."""

    metadata: Meta
    spec: NetworkFenceSpec = NetworkFenceSpec()

    @property
    def subject(self) -> Subject:
        """This fence as a subject."""
        return Subject("NetworkFence", None, self.metadata.name, self.metadata.uid)

    def covers(self, ip: str) -> bool:
        """Whether it fences an address; a range that nobody can read counts as covering everything."""
        if self.spec.fence_state == "Unfenced":
            return False
        return any(_holds(cidr, ip) for cidr in self.spec.cidrs or ())


def _holds(cidr: str, ip: str) -> bool:
    try:
        return ipaddress.ip_address(ip) in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return True


def _fences(snapshot: Snapshot) -> Iterable[Get | List]:
    found = snapshot.seen(DEFINITIONS)
    return (List(),) if found and found.full else ()


DEFINITIONS: Resource[Definition] = Resource(
    "customresourcedefinitions", group="apiextensions.k8s.io", plural="customresourcedefinitions", struct=Definition,
    requests=lambda _: (Get(_DEFINITION),), verbs="get",
)  # fmt: skip
NETWORK_FENCES: Resource[NetworkFence] = Resource(
    "networkfences", (DEFINITIONS,), group="csiaddons.openshift.io", version="v1alpha1", plural="networkfences",
    struct=NetworkFence, requests=_fences,
)  # fmt: skip
