"""The chain of a pod that waits: its telling event, the pod, and what it waits for."""

from diagnostics.causes import is_umbrella
from diagnostics.chain import waits
from diagnostics.chain.events import MAY_BE_THE_LOCK, event_links, telling_event
from diagnostics.chain.locks import holds_up, lock_links, locked_by_name, unlocked_image
from diagnostics.chain.volumes import volume_path
from diagnostics.chain.waits import Wait
from diagnostics.facts import Snapshot
from diagnostics.facts.resources import Pod
from diagnostics.model import Evidence, Link

_LOCKED = "rbd-image-locked"
# What an image can be behind besides `MAY_BE_THE_LOCK`: a driver that was not registered hides what it would have met.
_MAY_BE_THE_IMAGE = MAY_BE_THE_LOCK | {"csi-driver-not-registered", "ceph-object-missing"}


def from_pod(pod: Pod, found: str | None, snapshot: Snapshot, unseen: list[str]) -> tuple[list[Link], str | None]:
    """The links from a pod to what it waits for, and the cause that these prove. `found` is the check's own cause."""
    by_lock = found == _LOCKED  # the finding is about the lock: what else an event says is said beside it
    event, cause = telling_event(pod, snapshot, unseen, of_lock=by_lock)
    links = [*(event_links(pod, event, snapshot)), _pod_link(pod)]
    slug = found if found not in (None, "unknown") or cause is None else cause.cause
    told = slug or ""
    if cause is not None and (corrected := waits.exists_after_all(pod, cause, snapshot)):
        return [*links, *corrected.links], corrected.cause
    wait = _wait(pod, told, snapshot, unseen)
    if told and told not in _MAY_BE_THE_IMAGE:
        return [*links, *(wait.links if wait else ())], told
    if wait is not None and wait.cause == told:
        return [*links, *wait.links], told
    held, free, path, in_use = _images(pod, told, snapshot, unseen)
    if held:
        return [*links, *held], _LOCKED
    if wait is not None:
        return [*links, *wait.links], wait.cause
    if cause is not None and is_umbrella(cause) and not in_use:
        unseen.append("only a time-out is known: nothing that was read says why the volume does not come")
    return [*links, *(free or path)], in_use if in_use and told in MAY_BE_THE_LOCK | {""} else slug


def _wait(pod: Pod, told: str, snapshot: Snapshot, unseen: list[str]) -> Wait | None:
    """The first thing that the pod is seen to wait for and that can be behind such an event."""
    for explain in waits.BEHIND.get(told, ()):
        for wait in explain(pod, snapshot, unseen):
            return wait
    return None


def _images(
    pod: Pod, told: str, snapshot: Snapshot, unseen: list[str]
) -> tuple[list[Link], list[Link], list[Link], str | None]:
    """The paths to images that are held up by a lock; to a free one; to another volume; and the cause if it is open."""
    node = pod.spec.node_name
    held: list[Link] = []
    free: list[Link] = []
    ended: list[Link] = []
    in_use: str | None = None
    for entry in pod.spec.volumes or ():
        path, spec = volume_path(pod, entry, snapshot, unseen)
        image = locked_by_name(str(spec), snapshot) if spec else None
        if image is not None and (told == _LOCKED or holds_up(pod, image, snapshot)):
            held += [*path, *lock_links(image, snapshot, unseen, node)]
        elif image is None and spec is not None:
            links, cause = unlocked_image(spec, node, snapshot, unseen, told_locked=told == _LOCKED)
            if not free or (cause and not in_use):
                free, in_use = [*path, *links], in_use or cause
        elif image is None:
            ended = ended or path
    return held, free, ended, in_use


def _pod_link(pod: Pod) -> Link:
    meta, since = pod.metadata, pod.waiting_since
    creating = f"waits in ContainerCreating on node {pod.spec.node_name}" if pod.is_creating else ""
    state = creating or f"is {pod.status.phase}"
    says = f"{state} since {since:%Y-%m-%dT%H:%M:%SZ}" if since else state
    text = f"status.phase {pod.status.phase}, spec.nodeName {pod.spec.node_name}"
    return Link(pod.subject, says, (Evidence(f"GET pods {meta.namespace}/{meta.name}", text),))
