"""VolumeAttachments, nodes and pods as links of a causal chain, with what proves each. Pure."""

from datetime import datetime

from diagnostics.attachments.facts import is_in_use
from diagnostics.facts import Snapshot
from diagnostics.facts.holders import LEASES, is_down, lease_of
from diagnostics.facts.resources import Attachment, Node, PodRow, Volume
from diagnostics.model import Evidence, Link, Subject

_MOST_TEXT = 500  # characters of an error message in a sentence


def attachment_link(attachment: Attachment) -> Link:
    """A VolumeAttachment as a link of a chain, with the errors that it carries."""
    return Link(attachment.subject, *_told(attachment))


def _told(attachment: Attachment) -> tuple[str, tuple[Evidence, ...]]:
    status, meta, node = attachment.status, attachment.metadata, attachment.spec.node_name
    attached = "is attached to" if status and status.attached else "is not attached to"
    deleting = f", being deleted since {time_of(meta.deletion_timestamp)}" if meta.deletion_timestamp else ""
    errors = [
        f"{name}: {error.message}" for name, error in (
            ("attachError", status.attach_error if status else None),
            ("detachError", status.detach_error if status else None),
        ) if error and error.message
    ]  # fmt: skip
    text = "; ".join([f"status.attached {bool(status and status.attached)}", *errors])
    return f"{attached} node {node}{deleting}", (Evidence(f"GET volumeattachments {meta.name}", text),)


def node_link(node: Node, snapshot: Snapshot, volume: Volume | None = None) -> Link:
    """A node as a link of a chain: whether it is Ready or down, and whether it says that it has the volume in use."""
    ready, name = node.ready, node.metadata.name
    state = f"Ready={ready.status}" if ready else "has no Ready condition"
    since = since_when(ready.last_transition_time) if ready else ""
    down = "is down: " if is_down(node, snapshot) else ""
    lease = lease_of(node, snapshot.seen(LEASES))
    renewed = lease.spec.renew_time if lease else None
    told = [state, f"lease renewed {time_of(renewed)}" if renewed else "" if node.is_ready else "no lease was found"]
    told += [f"taint {taint.key}:{taint.effect}" for taint in node.spec.taints or ()]
    if volume is not None and (in_use := is_in_use(node, volume)) is not None:
        told.append("volumesInUse has it" if in_use else "volumesInUse lacks it")
    return Link(node.subject, f"{down}{state}{since}", (Evidence(f"GET nodes {name}", "; ".join(filter(None, told))),))


def gone_link(kind: str, name: str) -> Link:
    """A Node or PersistentVolume that something still names, and that is no more."""
    plural = {"Node": "nodes", "PersistentVolume": "persistentvolumes"}[kind]
    return Link(Subject(kind, None, name, ""), "does not exist", (Evidence(f"GET {plural} {name}", "not found"),))


def user_link(row: PodRow, says: str) -> Link:
    """A pod that wants the volume, as a link of a chain."""
    text = f"status.phase {row.phase}, spec.nodeName {row.node}{since_when(row.deletes, ', deletionTimestamp')}"
    proof = Evidence(f"GET pods {row.namespace}/{row.name}", text)
    return Link(Subject("Pod", row.namespace, row.name, row.uid), says, (proof,))


def cut(message: str) -> str:
    """An error message for a sentence: one line, its beginning only."""
    line = " ".join(message.split())
    return line if len(line) <= _MOST_TEXT else f"{line[:_MOST_TEXT]}..."


def since_when(moment: datetime | None, word: str = " since") -> str:
    """` since 2026-03-14T09:20:00Z`, and nothing where that is not known."""
    return f"{word} {time_of(moment)}" if moment else ""


def time_of(moment: datetime) -> str:
    """A moment as the API writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
