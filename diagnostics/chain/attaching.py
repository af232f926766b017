"""Whether an event that tells of attaching is over: the controller tells of a Multi-Attach once, and never takes it back."""

from diagnostics.attachments import hold_of
from diagnostics.causes import classify
from diagnostics.chain.volumes import volumes_of_pod
from diagnostics.facts import Snapshot
from diagnostics.facts.kubernetes import ATTACHMENTS
from diagnostics.facts.resources import Event, Pod, Volume

_ATTACHING = frozenset({"multi-attach", "attach-stuck", "attach-limit-exceeded"})


def is_attached_since(event: Event, pod: Pod, snapshot: Snapshot) -> bool:
    """Whether an event blames attaching, and each volume that it can be about is attached to the pod's node by now.

    Where it names a volume that is not known to be the pod's, nobody can tell: False.
    """
    cause = classify(event.message or "", event.reason)
    if cause.cause not in _ATTACHING:
        return False
    volumes = [volume for volume, _ in volumes_of_pod(pod, snapshot)]
    if name := cause.entities.get("volume"):
        volumes = [volume for volume in volumes if volume.metadata.name == name]
    return bool(volumes) and all(_is_attached(volume, event, pod, snapshot) for volume in volumes)


def _is_attached(volume: Volume, event: Event, pod: Pod, snapshot: Snapshot) -> bool:
    attachments, here = snapshot.seen(ATTACHMENTS), pod.spec.node_name
    by_name = attachments.index("volume", lambda a: a.spec.source.persistent_volume_name) if attachments else {}
    for attachment in by_name.get(volume.metadata.name, ()):
        if attachment.spec.node_name == here and attachment.metadata.deletion_timestamp is None:
            return attachment.status is not None and attachment.status.attached
    # An in-tree volume has no attachment to judge by: there only the controller's own event says what fails.
    judged = volume.spec.csi is not None or event.reason == "FailedAttachVolume"
    return judged and hold_of(pod, volume, snapshot) is None
