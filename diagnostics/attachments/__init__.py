"""What holds a volume that a waiting pod needs: which VolumeAttachment, which node, which pod, and whether that passes.

Pure. Invariant: nothing is called dead, orphaned or unused unless what could show a user was read and showed none; the
rest is UNKNOWN with its reason. It tells what is, never what to do: a node that is down may still write.

How the attach controller decides (attachdetach/reconciler of Kubernetes): it detaches a volume once no pod on the node
wants it and the node's volumesInUse lacks it. A volume still in use it detaches by force, after 6 minutes, if the node
is not Ready then, unless `disable-force-detach-on-timeout` is set. A pod that is being deleted wants its volumes until
its object is gone or no container shows running. A dead node's pod shows running for ever.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from diagnostics.attachments.facts import (
    SETTLED,
    attach_event,
    cause_of,
    is_attached_in_tree,
    is_exclusive,
    is_in_use,
    is_leaving,
    needs_attachment,
    pods_were_read,
    users_on,
)
from diagnostics.attachments.links import (
    attachment_link,
    cut,
    gone_link,
    node_link,
    since_when,
    time_of,
    user_link,
)
from diagnostics.causes import Confidence, classify
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.holders import NODES, is_down, users_of_claim
from diagnostics.facts.resources import Attachment, Event, Node, Pod, PodRow, Volume
from diagnostics.model import Evidence, Link, lasting, quoted

FORCE_DETACH = timedelta(minutes=6)  # the attach controller's maxWaitForUnmountDuration
GRACE = timedelta(seconds=60)  # an ordinary attachment takes seconds
_MULTI, _STUCK = "multi-attach", "attach-stuck"
_SOON = "the controller detaches it within seconds if nothing is wrong, so look again"
# Causes that say that it has not come yet, not why it cannot.
_MAY_PASS = frozenset(
    {_MULTI, _STUCK, "csi-rpc-timeout", "csi-operation-in-flight", "mount-timeout-umbrella", "unknown"}
)


class Hold(StrEnum):
    """Why a volume is not attached where it is needed, in words for people; what passes by itself comes last."""

    TERMINATING_POD = "blocked by a Terminating pod"
    DEAD_NODE = "held by a dead node"
    ORPHANED = "orphaned VolumeAttachment"
    STILL_MOUNTED = "still mounted on a live node, without a pod"
    LIVE_POD = "held by a live pod"
    ATTACH_ERROR = "attach error"
    UNPROCESSED = "nobody processes it"
    UNKNOWN = "unknown"
    DETACHING = "being detached"
    TRANSIENT = "transient"
    BEING_ATTACHED = "being attached"

    @property
    def rank(self) -> int:
        """Its place in this order: the lowest matters most."""
        return list(Hold).index(self)


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps one volume from one pod. `says` is a clause about the volume; the last of `links` is the root.

    `final`: waiting does not help. `since`: when it began, and `ends`: when it passes, where the API tells.
    """

    kind: Hold
    cause: str
    says: str
    links: tuple[Link, ...] = ()
    since: datetime | None = None
    ends: datetime | None = None
    final: bool = False
    unseen: tuple[str, ...] = ()


def hold_of(pod: Pod, volume: Volume, snapshot: Snapshot) -> Holding | None:
    """What keeps a volume from the node of a pod that waits for it; None where attaching is not what fails.

    Uses VolumeAttachments, nodes and leases, the pods of the claim, the CSIDriver and FailedAttachVolume events.
    """
    attachments = snapshot[k8s.ATTACHMENTS]
    if needs_attachment(volume, snapshot) is False or is_attached_in_tree(volume, pod, snapshot):
        return None
    if isinstance(attachments, NotSeen):
        told = f"VolumeAttachments could not be read: {attachments.reason}"
        return _unknown(told) if volume.spec.csi else _without_attachment(pod, volume, snapshot)
    here = pod.spec.node_name
    by_volume = attachments.index("volume", lambda a: a.spec.source.persistent_volume_name)
    all_of_it = by_volume.get(volume.metadata.name, ())
    own = next((a for a in all_of_it if a.spec.node_name == here), None)
    if own and own.status and own.status.attached and own.metadata.deletion_timestamp is None:
        return None
    if own and (failed := _attach_error(own)) and failed.final:
        return failed
    elsewhere = [_held(a.spec.node_name, a, pod, volume, snapshot) for a in all_of_it if a is not own]
    if elsewhere and is_exclusive(volume):
        return _worst(elsewhere)
    if own:
        return _detaching(own, snapshot, _STUCK) or _attach_error(own) or _not_yet(own, snapshot)
    return _without_attachment(pod, volume, snapshot)


def _worst(holdings: list[Holding]) -> Holding:
    """The one that matters most; what is not known of the others stays said."""
    first = min(holdings, key=lambda holding: holding.kind.rank)
    unseen = (reason for holding in holdings for reason in holding.unseen)
    return msgspec.structs.replace(first, unseen=tuple(dict.fromkeys(unseen)))


def _held(name: str, attachment: Attachment | None, pod: Pod, volume: Volume, snapshot: Snapshot) -> Holding:
    """What holds a volume on another node: its VolumeAttachment (None for in-tree volumes), the node, its pods."""
    if attachment and (detaching := _detaching(attachment, snapshot, _MULTI)):
        return detaching
    links = (attachment_link(attachment),) if attachment else ()
    nodes = snapshot[NODES]
    if isinstance(nodes, NotSeen):
        return _unknown(f"node {name}, which has the volume, could not be read: {nodes.reason}", links, _MULTI)
    node = next(iter(nodes.index("name", lambda node: node.metadata.name).get(name, ())), None)
    if node is None and attachment is None and snapshot.scope.subject is not None:
        return _unknown(f"node {name}, which has the volume, was not read", links, _MULTI)
    if node is None:
        return _left_on_gone_node(name, links, pod, snapshot)
    users = users_on(name, volume, snapshot)
    down = is_down(node, snapshot)
    if users:
        return _held_by(users, node, down, links, snapshot)
    if users is None and down and is_in_use(node, volume):
        says = f"is held by node {name}, which is down; its volumesInUse has it"
        told = f"the pods that use {volume.subject} on {name} were not read: one may hang in Terminating"
        links = (*links, node_link(node, snapshot, volume))
        return _multi(Hold.DEAD_NODE, says, links, final=True, unseen=(told,))
    if users is None:
        why = f"the pods that use {volume.subject} on node {name} were not read"
        return _unknown(why, (*links, node_link(node, snapshot, volume)), _MULTI)
    if node.is_ready:
        return _left_on_live_node(node, attachment, links, pod, volume, snapshot)
    return _left_on_unhealthy_node(node, down, links, pod, volume, snapshot)


def _held_by(
    users: tuple[PodRow, ...], node: Node, down: bool | None, links: tuple[Link, ...], snapshot: Snapshot
) -> Holding:
    """The volume has users on the node: alive, or with it dead, or hanging in their deletion on it."""
    name, names = node.metadata.name, quoted([f"{row.namespace}/{row.name}" for row in users[:3]])
    there = node_link(node, snapshot)
    if down is None:
        why = f"node {name} is not Ready and its lease was not read: whether {names} on it is dead is not known"
        return _unknown(why, (*links, there), _MULTI)
    deleting = [row for row in users if row.deleting]
    if down and deleting:
        row = deleting[0]
        says = f"is wanted by pod {row.namespace}/{row.name}, which is Terminating{since_when(row.deletes)} on node {name}, which is down"
        links = (
            *links,
            user_link(row, "is Terminating, and still shows running: the controller never detaches"),
            there,
        )
        return _multi(Hold.TERMINATING_POD, says, links, final=True, since=row.deletes)
    if down:
        says = f"is held by node {name}, which is down with {names} on it"
        links = (*links, user_link(users[0], f"is {users[0].phase} by its last status"), there)
        return _multi(Hold.DEAD_NODE, says, links, final=True)
    state = "Ready" if node.is_ready else "not Ready, but its lease is fresh"
    doing = f"Terminating{since_when(deleting[0].deletes)}" if len(deleting) == len(users) else users[0].phase
    says = f"is in use by {names} ({doing}) on node {name}, which is {state}"
    return _multi(
        Hold.LIVE_POD, says, (*links, there, user_link(users[0], f"uses the volume on {name}: it is {doing}"))
    )


def _left_on_gone_node(name: str, links: tuple[Link, ...], pod: Pod, snapshot: Snapshot) -> Holding:
    """The node object is gone: the controller's 6 minutes run here too, from when the node or its pod went at the latest."""
    says, links = f"is attached to node {name}, which does not exist any more", (*links, gone_link("Node", name))
    since = pod.waiting_since
    if since is not None and snapshot.taken_at < since + FORCE_DETACH:
        ends = since + FORCE_DETACH
        return _multi(Hold.TRANSIENT, f"{says}: the controller detaches it about {time_of(ends)}", links, ends=ends)
    return _multi(Hold.ORPHANED, says, links)


def _left_on_live_node(
    node: Node, attachment: Attachment | None, links: tuple[Link, ...], pod: Pod, volume: Volume, snapshot: Snapshot
) -> Holding:
    """No pod wants it there, and the node is Ready: the controller never detaches by force from such a node.

    When its last pod ended is not recorded: not before this pod has waited for long is it called an orphan.
    """
    name, links = node.metadata.name, (*links, node_link(node, snapshot, volume))
    in_use = is_in_use(node, volume)
    made = attachment.metadata.creation_timestamp if attachment else None
    if in_use is None or made is None:
        why = f"no pod uses it on node {name}, and whether it is still mounted there the API does not tell"
        return _unknown(why, links, _MULTI)
    if in_use and is_leaving(node, volume, snapshot, within=FORCE_DETACH):
        return _multi(Hold.TRANSIENT, f"is being unmounted on node {name}, whose pod has just ended", links)
    if in_use:
        says = f"is still mounted on node {name} (its volumesInUse has it), which is Ready, though no pod uses it there"
        return _multi(Hold.STILL_MOUNTED, says, links)
    since = pod.waiting_since
    waits_briefly = since is None or snapshot.taken_at - since <= FORCE_DETACH
    if snapshot.taken_at - made <= SETTLED or waits_briefly or is_leaving(node, volume, snapshot):
        says = f"is free on node {name}: no pod uses it there now"
        return _multi(Hold.TRANSIENT, f"{says}, and {_SOON}", links)
    says = f"is attached to node {name}, which is Ready and has neither a pod that uses it now nor the volume in use: {_SOON}"
    return _multi(Hold.ORPHANED, says, links[:1])  # the node is well: the attachment itself is the root


def _left_on_unhealthy_node(
    node: Node, down: bool | None, links: tuple[Link, ...], pod: Pod, volume: Volume, snapshot: Snapshot
) -> Holding:
    """No pod wants it there, and the node is not Ready: the clock of the forced detaching runs, or has run out.

    When the old pod went is not recorded. It had gone by the time that this pod was scheduled, or it went later.
    """
    name, links = node.metadata.name, (*links, node_link(node, snapshot, volume))
    times = [pod.waiting_since, node.ready.last_transition_time if node.ready else None]
    begins = max((time for time in times if time), default=None)
    if begins is None:
        return _unknown(f"since when node {name} is not Ready is not known", links, _MULTI)
    ends = begins + FORCE_DETACH
    if snapshot.taken_at < ends:
        says = (
            f"is held by node {name}, which is not Ready and has no pod that uses it any more: the controller detaches it "
            f"by force about {time_of(ends)}, or 6 min after the old pod went, unless disable-force-detach-on-timeout is set"
        )
        return _multi(Hold.TRANSIENT, says, links, since=begins, ends=ends)
    if not down:
        lease = "was not read" if down is None else "is fresh"
        why = f"node {name} is not Ready but its lease {lease}, and the forced detaching, due {time_of(ends)}, did not happen"
        return _unknown(why, links, _MULTI)
    says = (
        f"is held by node {name}, which is down, and the forced detaching, due about {time_of(ends)}, did not happen: "
        "disable-force-detach-on-timeout is set, or the old pod went later than this one was scheduled"
    )
    return _multi(Hold.DEAD_NODE, says, links, since=begins, final=True)


def _detaching(attachment: Attachment, snapshot: Snapshot, cause: str) -> Holding | None:
    since = attachment.metadata.deletion_timestamp
    if since is None:
        return None
    error = attachment.status.detach_error if attachment.status else None
    why = f"; the driver says: {cut(error.message or '')}" if error else ""
    took = snapshot.taken_at - since
    says = f"is being detached from node {attachment.spec.node_name} since {time_of(since)} ({lasting(took)}){why}"
    links = (attachment_link(attachment),)
    final = took > FORCE_DETACH
    return Holding(kind=Hold.DETACHING, cause=cause, says=says, links=links, since=since, final=final)


def _attach_error(attachment: Attachment) -> Holding | None:
    error = attachment.status.attach_error if attachment.status else None
    if error is None or not error.message:
        return None
    cause = classify(error.message, "FailedAttachVolume")
    final = cause.confidence is Confidence.CERTAIN and cause.cause not in _MAY_PASS
    says = f"cannot be attached to node {attachment.spec.node_name}: {cause.why} ({cut(error.message)})"
    links = (attachment_link(attachment),)
    return Holding(kind=Hold.ATTACH_ERROR, cause=cause.cause, says=says, links=links, since=error.time, final=final)


def _not_yet(attachment: Attachment, snapshot: Snapshot) -> Holding:
    made = attachment.metadata.creation_timestamp
    young = made is not None and snapshot.taken_at - made <= GRACE
    waited = f" for {lasting(snapshot.taken_at - made)}" if made else ""
    says = f"waits{waited} to be attached to node {attachment.spec.node_name} by {attachment.spec.attacher}, without an error"
    kind = Hold.BEING_ATTACHED if young else Hold.UNPROCESSED
    return Holding(kind=kind, cause=_STUCK, says=says, links=(attachment_link(attachment),), since=made)


def _without_attachment(pod: Pod, volume: Volume, snapshot: Snapshot) -> Holding | None:
    """No VolumeAttachment has to do with it: an in-tree volume, or nobody began to attach it."""
    event, since = attach_event(pod, volume, snapshot), pod.waiting_since
    if event:
        told = _by_event(event, volume)
        return _by_its_pods(told, pod, volume, snapshot) if told.cause == _MULTI else told
    if volume.spec.csi is None:
        return None
    if needs_attachment(volume, snapshot) is None:
        return _unknown(f"whether {volume.spec.csi.driver} attaches volumes is not known: its CSIDriver was not read")
    if since is None:
        return _unknown("no VolumeAttachment was made for it, and since when the pod waits is not known")
    says = f"has no VolumeAttachment to node {pod.spec.node_name} after {lasting(snapshot.taken_at - since)}"
    proof = Evidence("LIST volumeattachments", f"none for {volume.metadata.name} on {pod.spec.node_name}")
    kind = Hold.BEING_ATTACHED if snapshot.taken_at - since <= GRACE else Hold.UNPROCESSED
    links = (Link(volume.subject, says, (proof,)),)
    return Holding(kind=kind, cause=_STUCK, says=says, links=links, since=since)


def _by_its_pods(told: Holding, pod: Pod, volume: Volume, snapshot: Snapshot) -> Holding:
    """The controller told of a Multi-Attach, and no VolumeAttachment tells with whom (in-tree): the claim's pods do."""
    ref = volume.spec.claim_ref
    users = users_of_claim(ref.namespace, ref.name, snapshot) if ref else ()
    nodes = {row.node: None for row in users if row.node and row.node != pod.spec.node_name and row.phase != "Pending"}
    if held := [_held(name, None, pod, volume, snapshot) for name in nodes]:
        return _worst(held)
    seen = ref is None or pods_were_read(ref.namespace, snapshot)
    why = "no pod elsewhere uses it" if seen else "the pods of its claim were not read"
    return msgspec.structs.replace(told, unseen=(f"who holds {volume.subject} is not known: {why}",))


def _by_event(event: Event, volume: Volume) -> Holding:
    cause = cause_of(event)
    says = f"cannot be attached: {cause.why} ({cut(event.message or '')})"
    proof = Evidence(f"event {event.metadata.namespace}/{event.metadata.name}", event.message or "")
    final = cause.confidence is Confidence.CERTAIN and cause.cause not in _MAY_PASS
    links = (Link(volume.subject, f"cannot be attached: {cause.why}", (proof,)),)
    return Holding(
        kind=Hold.ATTACH_ERROR, cause=cause.cause, says=says, links=links, since=event.first_seen, final=final
    )


def _unknown(why: str, links: tuple[Link, ...] = (), cause: str = _STUCK) -> Holding:
    return Holding(
        kind=Hold.UNKNOWN, cause=cause, says=f"is held by what is not known: {why}", links=links, unseen=(why,)
    )


def _multi(
    kind: Hold, says: str, links: tuple[Link, ...], *, since: datetime | None = None, ends: datetime | None = None,
    final: bool = False, unseen: tuple[str, ...] = (),
) -> Holding:  # fmt: skip
    return Holding(kind=kind, cause=_MULTI, says=says, links=links, since=since, ends=ends, final=final, unseen=unseen)
