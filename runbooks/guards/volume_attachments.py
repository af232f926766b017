"""Guards about VolumeAttachments that nobody needs any more."""

from diagnostics.facts import Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.holders import NODES
from diagnostics.facts.resources import Attachment
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.guards.dead_nodes import ATTACHMENT_READS, doomed_attachments, node_named, users_there
from runbooks.situation import Situation


@guard(*ATTACHMENT_READS, Read(NODES))
def volume_attachment_is_orphaned(situation: Situation) -> Ruling:
    """The VolumeAttachment's node is gone or not Ready, no pod object there uses the volume, and nobody deletes it yet."""
    found = doomed_attachments(situation)
    if not found:
        return refused("there is no such VolumeAttachment")
    reasons = [reason for attachment in found for reason in _against(attachment, situation)]
    if reasons:
        return refused(*reasons)
    named = {str(one.subject): f"{one.metadata.uid} to {one.spec.node_name}" for one in found}
    return allowed("no pod needs it there: " + ", ".join(named), **named)


def _against(attachment: Attachment, situation: Situation) -> list[str]:
    name, node = attachment.metadata.name, attachment.spec.node_name
    if attachment.metadata.deletion_timestamp is not None:
        return [_hangs(attachment)]
    there = node_named(node, situation)
    ready = there is not None and there.is_ready
    reasons = [f"VolumeAttachment {name} is to node {node}, which is Ready: its driver detaches there"] if ready else []
    reasons += [
        f"pod {user} on node {node} uses the volume of VolumeAttachment {name}: it must be gone first"
        for user in users_there(attachment, situation)
    ]
    return reasons


def _hangs(attachment: Attachment) -> str:
    waits = ", ".join(attachment.metadata.finalizers or ())
    why = f"waits for {attachment.spec.attacher} to remove {waits}" if waits else "is about to go"
    return (
        f"VolumeAttachment {attachment.metadata.name} is being deleted already and {why}: see that the driver's "
        "external-attacher runs, and never strip its finalizer"
    )


@guard(Read(k8s.ATTACHMENTS), Read(k8s.VOLUMES), *ATTACHMENT_READS)
def volume_attachment_is_there(situation: Situation) -> Ruling:
    """A VolumeAttachment to the node that is given up still stands in the way, and nobody deletes it yet."""
    found = [one for one in doomed_attachments(situation) if one.metadata.deletion_timestamp is None]
    if not found:
        return refused("no VolumeAttachment stands in the way")
    return allowed("in the way: " + ", ".join(str(one.subject) for one in found))


@guard(*ATTACHMENT_READS)
def volume_attachment_absent(situation: Situation) -> Ruling:
    """The VolumeAttachments that the act deleted are not there any more: the driver has let the volume go."""
    volumes, attachments = situation.listed(k8s.VOLUMES), situation.listed(k8s.ATTACHMENTS)
    if not any(volume.spec.csi for volume in volumes):
        return unknown("no CSI volume was read that would have led to its VolumeAttachments")
    act = situation.act
    gone = (
        {target.uid for target in act.targets} if act else {one.metadata.uid for one in doomed_attachments(situation)}
    )
    left = [one for one in attachments if one.metadata.uid in gone]
    if not left:
        return allowed("gone")
    return refused(
        *(
            f"VolumeAttachment {one.metadata.name} is still there"
            if one.metadata.deletion_timestamp is None
            else _hangs(one)
            for one in left
        )
    )
