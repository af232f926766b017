"""Who else is at the addresses that a fence would cover: sessions, other images, other nodes, CSI controllers.

Whoever is not explained by the cut-off node's own pods may be somebody's live work, behind NAT or on a shared address.
"""

import re
from collections.abc import Iterator

from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import NEIGHBOURS, SESSIONS, Locks, Session, Watcher
from diagnostics.facts.holders import NODES, is_bound, users_of
from diagnostics.facts.images import image_of_volume, is_ceph
from diagnostics.facts.resources import Pod, Volume
from runbooks.situation import Situation

# The provisioner keeps every volume's life in its hands; its pod is told by its name, as Rook and ceph-csi give it.
CSI_CONTROLLER = re.compile(r"csi.*(provisioner|controller|ctrlplugin)|(provisioner|ctrlplugin).*csi")
_DAEMONS = ("mon.", "osd.", "mgr.", "mds.", "client.rbd-mirror", "client.rgw")
_SHARED_MODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})


def foreign(
    name: str, ips: tuple[str, ...], volumes: tuple[Volume, ...], on_node: list[Pod], situation: Situation
) -> Iterator[str]:
    """Who else would lose its connections if these addresses of a node were fenced."""
    users = {f"client.{v.spec.rbd.user}" for v in volumes if v.spec.rbd}
    sessions = situation.snapshot.seen(SESSIONS)
    here = [s for s in (sessions.open if sessions else ()) if s.ip in ips]
    own = own_clients(name, ips, on_node, situation)
    for session in here:
        if session.entity not in users and not (session.client in own and _is_plain(session)):
            yield f"{session.entity or 'an unnamed client'} ({session.client}), which has a session from {session.ip}"
    clients, pods = (
        {s.client for s in here if s.entity in users},
        sum(is_on_ceph(p, situation) is True for p in on_node),
    )
    if len(clients) > pods + 1:  # one for each pod, and one `rbd` command: any more come from somewhere else
        yield f"{len(clients)} clients in session from there, though only {pods} pods with Ceph volumes are known there"
    nodes = situation.snapshot.seen(NODES)
    for other in nodes.full if nodes else ():
        shared = set(other.ips) & set(ips)
        if shared and other.metadata.name != name:
            yield f"node {other.metadata.name}, which has {', '.join(sorted(shared))} too"
    yield from csi_controllers(on_node)
    yield from _at_other_images(ips, on_node, situation)


def own_clients(name: str, ips: tuple[str, ...], on_node: list[Pod], situation: Situation) -> frozenset[str]:
    """The clients at these addresses that are surely the node's own: all images that they have open are its pods'.

    Only a volume that a single node may use explains a client, and only while it is attached to this node and to no
    other: a pod's replacement behind the same NAT has the very image open too. Where not all was seen, nobody is
    explained.
    """
    everywhere = situation.snapshot.seen(NEIGHBOURS)
    if everywhere is None or not everywhere.pools or everywhere.problems or unread_images(everywhere, situation):
        return frozenset()
    explained = {spec for pod in on_node for spec in _sole_images(pod, name, situation)}
    at_work: set[str] = set()
    elsewhere: set[str] = set()
    for spec, watchers in open_images(everywhere):
        for watcher in watchers:
            (at_work if spec in explained and watcher.address.ip in ips else elsewhere).add(watcher.client)
    return frozenset(at_work - elsewhere)


def open_images(everywhere: Locks) -> Iterator[tuple[str, tuple[Watcher, ...]]]:
    """The images that were looked at, `pool[/namespace]/image`, and who has them open: locked ones and free ones."""
    for locked in everywhere.images:
        yield locked.image.spec, locked.watchers or ()
    yield from everywhere.users.items()


def unread_images(everywhere: Locks, situation: Situation) -> list[str]:
    """The locked images, and those that volumes name, of which it is not known who has them open."""
    locked = {image.image.spec: image.watchers is not None for image in everywhere.images}
    volumes = situation.snapshot.seen(k8s.VOLUMES)
    named = {str(spec) for volume in (volumes.full if volumes else ()) if (spec := image_of_volume(volume))}
    named |= {str(spec) for spec in everywhere.free}
    known = {*everywhere.users, *(str(spec) for spec in everywhere.absent), *locked}
    return sorted({*(spec for spec, seen in locked.items() if not seen), *(named - known)})


def csi_controllers(on_node: list[Pod]) -> Iterator[str]:
    """The CSI controllers among the pods of a node."""
    for pod in on_node:
        if CSI_CONTROLLER.search(pod.metadata.name) and pod.metadata.deletion_timestamp is None:
            yield f"the CSI controller {pod.metadata.namespace}/{pod.metadata.name}"


def is_on_ceph(pod: Pod, situation: Situation) -> bool | None:
    """Whether a pod has a volume on Ceph; None where it may have one, by a claim that is not known."""
    volumes = situation.snapshot.seen(k8s.VOLUMES)
    by_claim = {
        (v.spec.claim_ref.namespace, v.spec.claim_ref.name): v
        for v in (volumes.full if volumes else ()) if v.spec.claim_ref
    }  # fmt: skip
    claimed = [by_claim.get((pod.metadata.namespace, claim)) for claim in pod.claims]
    inline = any(is_ceph(entry) for entry in pod.spec.volumes or ())
    if inline or any(v is not None and is_ceph(v) for v in claimed):
        return True
    return None if any(v is None for v in claimed) else False


def _is_plain(session: Session) -> bool:
    """Whether a session bears the name of an ordinary client: none at all, or a daemon's, explains nothing."""
    plain = session.entity.startswith("client.") and not session.entity.startswith(_DAEMONS)
    return plain and "rbd-mirror" not in session.entity


def _at_other_images(ips: tuple[str, ...], on_node: list[Pod], situation: Situation) -> Iterator[str]:
    """Clients at these addresses that have another image open, which no pod on the node accounts for: somebody's work."""
    everywhere = situation.snapshot.seen(NEIGHBOURS)
    accounted = {str(image_of_volume(volume)) for pod in on_node for volume in _volumes_of(pod, situation)}
    for spec, watchers in open_images(everywhere) if everywhere else ():
        if spec in accounted or spec == situation.params.get("image"):
            continue
        for watcher in watchers:
            if watcher.address.ip in ips:
                yield f"{watcher.client} at {watcher.address}, which has {spec} open for no pod of this node"


def _volumes_of(pod: Pod, situation: Situation) -> Iterator[Volume]:
    """The volumes that a pod's claims are bound to and that name their image."""
    volumes = situation.snapshot.seen(k8s.VOLUMES)
    for volume in volumes.full if volumes else ():
        ref = volume.spec.claim_ref
        mine = ref is not None and ref.namespace == pod.metadata.namespace and ref.name in pod.claims
        if mine and is_bound(volume) and image_of_volume(volume) is not None:
            yield volume


def _sole_images(pod: Pod, node: str, situation: Situation) -> Iterator[str]:
    """The images that a pod mounts and no other node may have: by access modes, attachments and known users."""
    attachments = situation.snapshot.seen(k8s.ATTACHMENTS)
    for volume in _volumes_of(pod, situation):
        modes = set(volume.spec.access_modes or ())
        to = {
            a.spec.node_name for a in (attachments.full if attachments else ())
            if a.spec.source.persistent_volume_name == volume.metadata.name
        }  # fmt: skip
        users = {user.spec.node_name for user in users_of(volume, situation.snapshot)}
        if modes and not modes & _SHARED_MODES and to == {node} and users <= {node}:
            yield str(image_of_volume(volume))
