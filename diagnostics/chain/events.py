"""Which event of a pod tells most, and what it says: the newest one is not always the telling one."""

from collections.abc import Collection, Iterator
from datetime import timedelta

from diagnostics.causes import Cause, classify, telling
from diagnostics.chain.volumes import claims_of
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.kubernetes import EVENTS, Listing
from diagnostics.facts.resources import Event, Pod
from diagnostics.model import Evidence, Link

# A kubelet repeats the event of a failing mount every few minutes; one that has not come for longer than this is past.
REPEATED_WITHIN = timedelta(minutes=15)
MOST_SIBLINGS = 3  # events shown beside the telling one: what else the kubelet says of the same pod
# Ordinary events that show an older trouble to be over. (A scan reads Warnings only, and does without them.)
SHOW_PROGRESS = frozenset({"Scheduled", "SuccessfulAttachVolume"})
# What a mount can look like from outside while a lock is held elsewhere. Any other cause explains itself.
MAY_BE_THE_LOCK = frozenset({
    "unknown", "mount-timeout-umbrella", "rbd-image-locked", "rbd-image-in-use", "csi-rpc-timeout",
    "csi-operation-in-flight", "rbd-advisory-lock-blocks-exclusive",
})  # fmt: skip


def telling_event(
    pod: Pod, snapshot: Snapshot, unseen: list[str], *, of_lock: bool = False, without: Collection[Event] = ()
) -> tuple[Event | None, Cause | None]:
    """The event of a pod, or of its claims, that tells most, and its cause. The newest is not always the telling one.

    With `of_lock`, one that may tell of a lock goes before all that tell of something else. `without` are events that
    are known to be over.
    """
    about = [event for event in events_about(pod, snapshot, unseen) if event not in without]
    if of_lock:
        causes = [classify(event.message or "", event.reason).cause for event in about]
        about = [e for e, cause in zip(about, causes, strict=True) if cause in MAY_BE_THE_LOCK] or about
    index = telling([(event.message or "", event.reason) for event in about])
    if index is None or about[index].type != "Warning":
        return None, None
    return about[index], classify(about[index].message or "", about[index].reason)


def events_about(pod: Pod, snapshot: Snapshot, unseen: list[str]) -> list[Event]:
    """The events of a pod and its claims that still count, oldest first."""
    events = snapshot[EVENTS]
    if isinstance(events, NotSeen):
        unseen.append(f"events: {events.reason}")
        return []
    uids = dict.fromkeys((*(claim.metadata.uid for claim in claims_of(pod, snapshot)), pod.metadata.uid))
    about = [
        event for uid in uids for event in _by_uid(events, uid)
        if event.type == "Warning" or event.reason in SHOW_PROGRESS
    ]  # fmt: skip
    about.sort(key=lambda event: event.last_seen or snapshot.taken_at)
    return [event for event in about if not _outdated(event, about, snapshot)]


def _by_uid(events: Listing[Event] | None, uid: str) -> tuple[Event, ...]:
    return events.index("about", lambda event: event.about.uid).get(uid, ()) if events and uid else ()


def _outdated(event: Event, siblings: list[Event], snapshot: Snapshot) -> bool:
    """Whether an event tells of a trouble that is over: it stopped coming, while others of its reason still do."""
    newest = max(other.last_seen or snapshot.taken_at for other in siblings if other.reason == event.reason)
    seen = event.last_seen or snapshot.taken_at
    return snapshot.taken_at - seen > REPEATED_WITHIN and newest > seen


def event_links(pod: Pod, event: Event | None, snapshot: Snapshot) -> Iterator[Link]:
    """What the telling event says, with what else is said of the pod beside it as evidence."""
    if event is None:
        return
    cause = classify(event.message or "", event.reason)
    times = f" ({event.count} times)" if event.count and event.count > 1 else ""
    says = f"{event.reason}{times}: {cause.why}"
    proof = [Evidence(f"event {event.metadata.namespace}/{event.metadata.name}", event.message or "")]
    for other in _by_uid(snapshot.seen(EVENTS), pod.metadata.uid):
        known = classify(other.message or "", other.reason).cause not in (cause.cause, "unknown")
        if other.metadata.uid != event.metadata.uid and known:
            proof.append(Evidence(f"event {other.metadata.namespace}/{other.metadata.name}", other.message or ""))
            if len(proof) > MOST_SIBLINGS:
                break
    yield Link(event.subject, says, tuple(proof))
