"""The chain of a pod that waits: its telling event, the pod, and what it waits for."""

import re

import msgspec

from diagnostics.causes import Cause, classify, is_umbrella
from diagnostics.chain import waits
from diagnostics.chain.attaching import is_attached_since
from diagnostics.chain.events import MAY_BE_THE_LOCK, event_links, events_about, telling_event
from diagnostics.chain.locks import holds_up, is_live, lock_links, locked_by_name, stranger_links, unlocked_image
from diagnostics.chain.volumes import volume_path
from diagnostics.chain.waits import Wait
from diagnostics.facts import Snapshot
from diagnostics.facts.resources import Event, Pod
from diagnostics.model import Evidence, Link

_LOCKED = "rbd-image-locked"
# What an image can be behind besides `MAY_BE_THE_LOCK`: a driver that was not registered hides what it would have met.
_MAY_BE_THE_IMAGE = MAY_BE_THE_LOCK | {"csi-driver-not-registered", "ceph-object-missing"}

# `unmounted volumes=[data token], unattached volumes=[...]`: names of the pod's own volumes. A list that was cut short,
# without its end, names nothing for sure.
_UNMOUNTED = re.compile(r"unmounted volumes=\[([^\]]*)\]")


class _Told(msgspec.Struct):
    """The event that tells most, what is over left out. `refuted` is one that calls not found what is there."""

    event: Event | None
    cause: Cause | None
    refuted: tuple[Event, Cause] | None = None
    over: frozenset[str] = frozenset()


def from_pod(pod: Pod, found: str | None, snapshot: Snapshot, unseen: list[str]) -> tuple[list[Link], str | None]:
    """The links from a pod to what it waits for, and the cause that these prove. `found` is the check's own cause."""
    by_lock = found == _LOCKED  # the finding is about the lock: what else an event says is said beside it
    chosen = _choose(pod, snapshot, unseen, by_lock=by_lock)
    if found in chosen.over and ((still := _wait(pod, found, snapshot, unseen)) is None or still.cause != found):
        found = None  # the check had it from an event that is over
    cause = chosen.cause
    slug = found if found not in (None, "unknown") or cause is None else cause.cause
    told = slug or ""
    links = [*event_links(pod, chosen.event, snapshot), _pod_link(pod)]
    waiting = _narrowed(pod, chosen.event) if cause is not None and cause.cause == told else pod
    wait = _wait(waiting, told, snapshot, unseen)
    if told and told not in _MAY_BE_THE_IMAGE:
        return [*links, *(wait.links if wait else ())], told
    if wait is not None and wait.cause == told:
        return [*links, *wait.links], told
    images = _images(waiting, told, snapshot, unseen)
    if images.held and not (images.live and wait is not None and wait.is_certain):
        return [*links, *images.held], _LOCKED
    if wait is not None:
        return [*links, *wait.links], wait.cause
    if images.in_use and told in MAY_BE_THE_LOCK | {""}:
        return [*links, *images.free], images.in_use
    if chosen.refuted and (not told or (cause is not None and is_umbrella(cause))):
        event, refuted = chosen.refuted
        if corrected := waits.exists_after_all(waiting, refuted, snapshot):
            return [*event_links(pod, event, snapshot), _pod_link(pod), *corrected.links], corrected.cause
    if cause is not None and is_umbrella(cause) and not images.in_use:
        unseen.append("only a time-out is known: nothing that was read says why the volume does not come")
    return [*links, *(images.free or images.ended)], slug


def _choose(pod: Pod, snapshot: Snapshot, unseen: list[str], *, by_lock: bool) -> _Told:
    """The event to go by: what tells of attaching is over once that is done, and what calls an object missing that is there."""
    past = [event for event in events_about(pod, snapshot, unseen) if is_attached_since(event, pod, snapshot)]
    over = {classify(event.message or "", event.reason).cause for event in past}
    refuted: tuple[Event, Cause] | None = None
    while True:
        event, cause = telling_event(pod, snapshot, unseen, of_lock=by_lock, without=past)
        if by_lock or event is None or cause is None or not waits.exists_after_all(pod, cause, snapshot):
            return _Told(event, cause, refuted, frozenset(over))
        refuted = refuted or (event, cause)
        past.append(event)
        over.add(cause.cause)


def _narrowed(pod: Pod, event: Event | None) -> Pod:
    """The pod with those of its volumes only that the kubelet's umbrella says to wait for; the others are mounted."""
    listed = _UNMOUNTED.search(event.message or "") if event else None
    names = frozenset(listed[1].split()) if listed else frozenset()
    volumes = tuple(entry for entry in pod.spec.volumes or () if entry.name in names)
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, volumes=volumes)) if volumes else pod


def _wait(pod: Pod, told: str, snapshot: Snapshot, unseen: list[str]) -> Wait | None:
    """The first thing that the pod is seen to wait for and that can be behind such an event.

    What gives way is taken only where there is nothing else.
    """
    passing: Wait | None = None
    for explain in waits.BEHIND.get(told, ()):
        for wait in explain(pod, snapshot, unseen):
            if not wait.gives_way:
                return wait
            passing = passing or wait
    return passing


class _Images(msgspec.Struct):
    """The paths to a pod's images: to those that a lock holds up (`live`: all holders are at work), to one that none
    does, and to another volume. `in_use` is the cause where the free one is open elsewhere.
    """

    held: list[Link] = []
    free: list[Link] = []
    ended: list[Link] = []
    in_use: str | None = None
    live: bool = True


def _images(pod: Pod, told: str, snapshot: Snapshot, unseen: list[str]) -> _Images:
    node, found = pod.spec.node_name, _Images()
    for entry in pod.spec.volumes or ():
        path, spec = volume_path(pod, entry, snapshot, unseen)
        image = locked_by_name(str(spec), snapshot) if spec else None
        if image is not None and (told == _LOCKED or holds_up(pod, image, snapshot)):
            found.held += [*path, *lock_links(image, snapshot, unseen, node)]
            found.live = found.live and is_live(image, snapshot)
        elif image is not None:
            strangers = [*stranger_links(image, snapshot, unseen)]
            found.free = found.free or ([*path, *strangers] if strangers else [])
        elif spec is not None:
            links, cause = unlocked_image(spec, node, snapshot, unseen, told_locked=told == _LOCKED)
            if not found.free or (cause and not found.in_use):
                found.free, found.in_use = [*path, *links], found.in_use or cause
        else:
            found.ended = found.ended or path
    return found


def _pod_link(pod: Pod) -> Link:
    meta, since = pod.metadata, pod.waiting_since
    creating = f"waits in ContainerCreating on node {pod.spec.node_name}" if pod.is_creating else ""
    state = creating or f"is {pod.status.phase}"
    says = f"{state} since {since:%Y-%m-%dT%H:%M:%SZ}" if since else state
    text = f"status.phase {pod.status.phase}, spec.nodeName {pod.spec.node_name}"
    return Link(pod.subject, says, (Evidence(f"GET pods {meta.namespace}/{meta.name}", text),))
