"""Which features of an RBD image a node's kernel can map, and which images the kernels of nodes cannot. Pure.

By "KRBD support" of each feature in Ceph's own documentation (https://docs.ceph.com/en/latest/rbd/rbd-config-ref/,
"Image Features"). A version proves only the kernel as kernel.org released it: RHEL and SUSE bring newer features into
older versions (ceph-csi itself knows deep-flatten of 4.18.0-193.el8), so there an old number proves nothing.

A pod that runs has its image mapped, whatever the kernel's version says: only waiting pods' nodes are judged. rbd-nbd maps
in user space, and a volume with `tryOtherMounters` falls back to it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.blind import by_reason
from diagnostics.facts.ceph import FEATURES, ImageSpec
from diagnostics.facts.csi_config import Drift
from diagnostics.facts.holders import NODES, users_of_claim
from diagnostics.facts.images import image_of_volume
from diagnostics.facts.kubernetes import VOLUMES
from diagnostics.facts.resources import Node, Volume
from diagnostics.facts.users import unread
from diagnostics.facts.watchers import image_subject
from diagnostics.model import Evidence, Link, Severity, Unseen, quoted

_CAUSE = "rbd-feature-unsupported"
_SINCE: dict[str, tuple[int, int]] = {
    "layering": (3, 10),
    "striping": (4, 17),
    "exclusive-lock": (4, 9),
    "object-map": (5, 3),
    "fast-diff": (5, 3),
    "deep-flatten": (5, 1),
    "data-pool": (4, 11),
    "operations": (4, 16),
}
# A mirror's secondary (`non-primary`) is left out: that it cannot be mapped is no matter of the kernel.
_NEVER = frozenset({"journaling", "migrating"})
_STRIPING_BEFORE = (3, 10)  # striping that is the default one all the same; only newer kernels do "fancy" striping
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,4})")
_BACKPORTED = re.compile(r"\.el\d|-default$")


class Support(msgspec.Struct, frozen=True):
    """The features that a kernel lacks for certain, and those of which its version does not tell."""

    lacking: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


def support_of(kernel: str, features: Iterable[str]) -> Support:
    """How a kernel (`5.10.0-28-amd64`, as its node reports it) takes these features of an image.

    A feature that is not known here is not judged: a newer Ceph may have more.
    """
    found = _VERSION.match(kernel)
    wanted = sorted(set(features))
    never = tuple(feature for feature in wanted if feature in _NEVER)
    if found is None:
        return Support(never, tuple(feature for feature in wanted if feature in _SINCE))
    version = (int(found[1]), int(found[2]))
    old = [feature for feature in wanted if version < _SINCE.get(feature, (0, 0))]
    if _BACKPORTED.search(kernel):
        return Support(never, tuple(old))
    plain = [feature for feature in old if feature == "striping" and version >= _STRIPING_BEFORE]
    return Support(tuple(sorted({*never, *old} - {*plain})), tuple(plain))


def in_features(snapshot: Snapshot) -> Iterator[Drift | Unseen]:
    """Volumes whose image has features that the kernel of a waiting pod's node, or of every Ready node, lacks."""
    volumes, features = snapshot.seen(VOLUMES), snapshot[FEATURES]
    mapped = [
        (volume, image) for volume in (volumes.full if volumes else ())
        if (image := image_of_volume(volume)) is not None and _is_for_the_kernel(volume)
    ]  # fmt: skip
    if mapped:
        yield from unread(snapshot, FEATURES, NODES)
    if isinstance(features, NotSeen):
        return
    unclear: list[tuple[str, str]] = []
    ready = _one_of_each_kernel(snapshot)
    for volume, image in mapped:
        if reason := features.unread.get(str(image)):
            unclear.append((f"features of {image}", reason))
        elif names := features.features.get(str(image)):
            for found in _of_volume(volume, image, names, ready, snapshot):
                if isinstance(found, Unseen):
                    unclear.append((found.subject, found.reason))
                else:
                    yield found
    yield from by_reason(unclear)


def _is_for_the_kernel(volume: Volume) -> bool:
    given = (volume.spec.csi.volume_attributes or {}) if volume.spec.csi else {}
    other = given.get("tryOtherMounters", "").lower() in ("true", "1", "t")
    return given.get("mounter", "") != "rbd-nbd" and not other


def _one_of_each_kernel(snapshot: Snapshot) -> tuple[Node, ...]:
    """The first Ready node with each kernel: the others say nothing more."""
    nodes = snapshot.seen(NODES)
    found: dict[str, Node] = {}
    for node in nodes.full if nodes else ():
        if node.is_ready:
            found.setdefault(node.status.node_info.kernel_version, node)
    return tuple(found.values())


def _of_volume(
    volume: Volume, image: ImageSpec, features: tuple[str, ...], ready: Sequence[Node], snapshot: Snapshot
) -> Iterator[Drift | Unseen]:
    nodes, ref, scope = snapshot.seen(NODES), volume.spec.claim_ref, snapshot.scope
    every = nodes.index("name", lambda node: node.metadata.name) if nodes else {}
    rows = users_of_claim(ref.namespace, ref.name, snapshot) if ref else ()
    waiting = dict.fromkeys(row.node for row in rows if row.phase == "Pending" and row.node in every)
    for name in waiting:
        node = every[name][0]
        support = support_of(node.status.node_info.kernel_version, features)
        if support.lacking:
            yield _drift(volume, image, features, node, support, snapshot)
            return
        if support.unsure:
            yield Unseen(
                f"{image} on {name}",
                f"{_kernel(node)} may have {quoted(support.unsure)} or not: its version does not tell",
            )
    # A look at one pod, or at some namespaces, does not know who else uses it, nor all nodes.
    if rows or scope.subject is not None or scope.namespaces:
        return
    found = [support_of(node.status.node_info.kernel_version, features) for node in ready]
    if ready and all(support.lacking for support in found):
        yield _drift(volume, image, features, ready[0], found[0], snapshot, nobody=True)


def _drift(
    volume: Volume,
    image: ImageSpec,
    features: tuple[str, ...],
    node: Node,
    support: Support,
    snapshot: Snapshot,
    *,
    nobody: bool = False,
) -> Drift:
    lacks, on = quoted(support.lacking), f"{_kernel(node)} of {node.metadata.name}"
    where = f"no Ready node's kernel maps ({on} is one)" if nobody else f"{on} lacks, where a pod waits for it"
    says = f"the image {image} of {volume.metadata.name} has {lacks}, which {where}"
    proof = Evidence(
        f"GET nodes {node.metadata.name}", f"nodeInfo.kernelVersion {node.status.node_info.kernel_version}"
    )
    links = (
        Link(volume.subject, f"is the RBD image {image}"),
        Link(
            image_subject(image, snapshot),
            f"has {quoted(features)}",
            (Evidence(f"rbd info {image}", quoted(features)),),
        ),
        Link(node.subject, f"maps with {_kernel(node)}, which lacks {quoted(support.lacking)}", (proof,)),
    )
    return Drift(volume.subject, _CAUSE, says, links, Severity.INFO if nobody else None)


def _kernel(node: Node) -> str:
    return f"kernel {node.status.node_info.kernel_version or '(not told)'}"
