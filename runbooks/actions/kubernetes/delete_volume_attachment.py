"""Delete VolumeAttachments of a node that is gone, or that can write nothing any more, so that another node gets the volume.

The driver's external-attacher detaches the volume and removes its finalizer; that is waited for and never done for it.
"""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts import Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.resources import Node
from diagnostics.model import Subject
from runbooks.actions import ActFailed, Action, ActStopped, Clients, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.guards.dead_nodes import (
    ATTACHMENT_READS,
    STOP_READS,
    attested_off,
    dead_node,
    doomed_attachments,
    not_behind_fence,
)
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:
    """Plan to delete the VolumeAttachment that is named, or those on the node that keep the pod from its volumes.

    It is critical where it rests on a person's word that the node writes no more; then the node is a target too.

    Raises:
        CannotPlan: there is none, or nobody looked whether its node is there.
    """
    found = [one for one in doomed_attachments(situation) if one.metadata.deletion_timestamp is None]
    if not found:
        wanted = arguments.get("volume_attachment") or f"to node {arguments.get('node')} that the pod waits for"
        raise CannotPlan(f"there is no VolumeAttachment {wanted}, or it is being deleted already")
    named = ", ".join(
        f"{one.metadata.name} ({one.spec.source.persistent_volume_name} on {one.spec.node_name})" for one in found
    )
    _, node = dead_node(situation)
    by_word = node is not None and attested_off(situation, node) and not _is_behind_fence(situation, node)
    return Planned(
        action="kubernetes.delete_volume_attachment",
        says=f"delete VolumeAttachment {named}",
        targets=(*(one.subject for one in found), *((node.subject,) if node is not None and by_word else ())),
        effect={"nodes": sorted({one.spec.node_name for one in found})},
        risk=Risk.CRITICAL if by_word else Risk.HIGH,
    )


def _is_behind_fence(situation: Situation, node: Node) -> bool:
    try:
        return not not_behind_fence(situation, node)
    except CannotPlan:
        return False


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the deletions."""
    with telling_outcome("delete the VolumeAttachment", dry=True, gone_is_done=True):
        for target in _attachments(planned):
            await clients.api().delete(target, grace_seconds=None, dry_run=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Delete them, each by its UID; one that is gone already does not keep the others.

    Raises:
        ActStopped: some were deleted, and then one was refused.
    """
    deleted: list[str] = []
    for target in _attachments(planned):
        try:
            with telling_outcome("delete the VolumeAttachment", gone_is_done=True):
                await clients.api().delete(target, grace_seconds=None, dry_run=False)
        except ActFailed as error:
            if deleted:
                raise ActStopped(f"{', '.join(deleted)} deleted; then: {error}") from None
            raise
        deleted.append(target.name)


def _attachments(planned: Planned) -> list[Subject]:
    return [target for target in planned.targets if target.kind == "VolumeAttachment"]


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether each is gone or being deleted; None where VolumeAttachments were not seen."""
    seen = situation.snapshot.seen(k8s.ATTACHMENTS)
    if seen is None:
        return None
    left = {one.metadata.uid for one in seen.full if one.metadata.deletion_timestamp is None}
    return not any(target.uid in left for target in _attachments(planned))


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"volume_attachment": "volume_attachment", "pod": "pod", "node": "node"},
    undo="the attach controller makes a new one where a pod needs the volume",
    reads=(*ATTACHMENT_READS, *STOP_READS, Read(k8s.ATTACHMENTS)),
    writes=(Write("storage.k8s.io", "volumeattachments", "delete", "VolumeAttachment"),),
    guards=("object_unchanged", "volume_attachment_is_orphaned", "node_fenced_or_attested_off"),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
