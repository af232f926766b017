"""VolumeAttachments that nobody needs and nobody removes: their node, their PV or their pods are gone.

Meaning: the node or PV that it names is gone, the driver does not finish detaching, or no pod there uses the volume.
Impact: while it is there, no other node gets a volume that may be attached to one node only.
Mitigation: see that the driver's attacher runs. Delete one only when its node is gone, or fenced and without a pod.
"""

from collections.abc import Iterator

from diagnostics.attachments import FORCE_DETACH
from diagnostics.attachments.facts import is_awaited_for, is_left, is_young, users_on
from diagnostics.attachments.links import attachment_link, cut, gone_link, node_link
from diagnostics.causes import classify
from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.holders import NODES, attachments_of
from diagnostics.facts.kubernetes import ATTACHMENTS, PODS, VOLUMES
from diagnostics.facts.resources import Attachment, Node, Volume
from diagnostics.model import Finding, Link, Severity, Unseen, lasting


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each orphan. Around one subject only its own attachments, and no PV or pod is missed there."""
    listed, nodes, volumes = snapshot.seen(ATTACHMENTS), snapshot.seen(NODES), snapshot.seen(VOLUMES)
    everything = snapshot.scope.subject is None
    attachments = (listed.full if listed else ()) if everything else attachments_of(snapshot)
    nodes_by_name = {node.metadata.name: node for node in (nodes.full if nodes else ())}
    volumes_by_name = {volume.metadata.name: volume for volume in (volumes.full if volumes else ())}
    for found in attachments:
        name = found.spec.source.persistent_volume_name  # none for a pod's inline volume: it has no PV
        node, volume = nodes_by_name.get(found.spec.node_name), volumes_by_name.get(name or "")
        if found.metadata.deletion_timestamp is not None:
            yield from _deleting(found, node, snapshot)
        elif node is None:
            gone = gone_link("Node", found.spec.node_name)
            passes = is_young(found, snapshot) or is_awaited_for(FORCE_DETACH, volume, snapshot)
            says = f"is to node {found.spec.node_name}, which is gone: Kubernetes takes 6 minutes to detach from it"
            yield _orphan(found, says, gone, severity=Severity.INFO if passes else None)
        elif name and volume is None and everything and not is_young(found, snapshot):  # volumes were read before
            gone = gone_link("PersistentVolume", name)
            yield _orphan(found, f"is of PersistentVolume {name}, which does not exist any more", gone)
        elif volume and everything:
            yield from _unused(found, node, volume, snapshot)


def _orphan(
    found: Attachment, says: str, *links: Link, before: Link | None = None, severity: Severity | None = None
) -> Finding:
    chain = (*((before,) if before else ()), attachment_link(found), *links)
    return Finding(found.subject, f"VolumeAttachment {found.metadata.name} {says}", chain=chain, severity=severity)


def _deleting(found: Attachment, node: Node | None, snapshot: Snapshot) -> Iterator[Finding]:
    """An object that is deleted and still there waits for its finalizer: the attacher has not detached the volume."""
    since = found.metadata.deletion_timestamp
    if since is None or snapshot.taken_at - since <= FORCE_DETACH:
        return
    error = found.status.detach_error.message if found.status and found.status.detach_error else None
    why = f"the driver says: {cut(error)}" if error else "its finalizer is not removed, and the driver says nothing"
    yield Finding(
        subject=found.subject,
        summary=f"VolumeAttachment {found.metadata.name} to node {found.spec.node_name} is being deleted for "
        f"{lasting(snapshot.taken_at - since)}: {why}",
        cause=classify(error, "FailedDetachVolume").cause if error else "attach-stuck",
        since=since,
        chain=(attachment_link(found), *(() if node else (gone_link("Node", found.spec.node_name),))),
    )


def _unused(found: Attachment, node: Node, volume: Volume, snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Only `info`: nothing tells since when, and an ordinary detaching looks the same for some seconds."""
    if not is_left(found, node, volume, snapshot):
        return
    if isinstance(pods := snapshot[PODS], NotSeen):
        yield Unseen(f"pods that use {volume.subject}", pods.reason)
    elif users_on(node.metadata.name, volume, snapshot) == ():  # None: the claim's namespace was not asked for
        says = f"is to node {node.metadata.name}, where no pod uses {volume.subject}, nor is it mounted: look again"
        yield _orphan(found, says, before=node_link(node, snapshot, volume), severity=Severity.INFO)


CHECK = Check(
    find,
    reads=(Read(ATTACHMENTS), Read(NODES), Read(VOLUMES), Read(PODS, where=lambda pod: pod.is_creating, optional=True)),
    severity=Severity.WARNING,
)
