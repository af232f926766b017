"""Who has which images open, joined from all that was read of it."""

from collections.abc import Iterator

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import LOCKS, SESSIONS, ImageSpec, Watcher
from diagnostics.facts.holders import WATCHERS
from diagnostics.facts.images import parse_spec
from diagnostics.model import Evidence, Link, Subject, Unseen

# Daemons of Ceph, and those that work on images for it: they open images of all nodes.
_DAEMONS = ("mon.", "osd.", "mgr.", "mds.", "client.rbd-mirror", "client.rgw")


def open_images(snapshot: Snapshot) -> tuple[tuple[ImageSpec, tuple[Watcher, ...]], ...]:
    """The images that were looked at and have watchers: locked ones, and unlocked ones that volumes name."""
    locks, others = snapshot.seen(LOCKS), snapshot.seen(WATCHERS)
    found: dict[ImageSpec, tuple[Watcher, ...]] = {}
    for told in (others.watchers if others else {}, locks.users if locks else {}):
        found |= {parse_spec(spec): watchers for spec, watchers in told.items()}
    for locked in locks.images if locks else ():
        found[ImageSpec(locked.image.pool, locked.image.namespace, locked.image.name)] = locked.watchers or ()
    return tuple((spec, watchers) for spec, watchers in found.items() if watchers)


def clients_of_images(snapshot: Snapshot) -> set[str]:
    """The addresses (`ip:port/nonce`) of all lockers and watchers of images, as far as they were read."""
    locks = snapshot.seen(LOCKS)
    lockers = {str(locker.address) for image in (locks.images if locks else ()) for locker in image.lockers}
    return lockers | {str(watcher.address) for _, watchers in open_images(snapshot) for watcher in watchers}


def unread_watchers(snapshot: Snapshot) -> Iterator[Unseen]:
    """The images, and pools, of which it is not known who has them open."""
    locks, others = snapshot.seen(LOCKS), snapshot[WATCHERS]
    for problem in locks.problems if locks else ():
        yield Unseen(f"pool {problem.pool}", problem.reason)
    for locked in locks.images if locks else ():
        if locked.watchers is None:
            yield Unseen(f"watchers of {locked.image.spec}", locked.watchers_unseen or "they could not be read")
    if isinstance(others, NotSeen):
        if others.configured:
            yield Unseen("watchers of unlocked images", others.reason)
        return
    for spec, reason in others.unread.items():
        yield Unseen(f"watchers of {spec}", reason)


def daemon_of(watcher: Watcher, snapshot: Snapshot) -> str | None:
    """The name under which a watcher is in session, where it is a daemon's (`client.rbd-mirror.a`, `mgr.x`)."""
    sessions = snapshot.seen(SESSIONS)
    for session in sessions.open if sessions else ():
        if session.client == watcher.client and (session.entity.startswith(_DAEMONS) or "rbd-mirror" in session.entity):
            return session.entity
    return None


def image_subject(spec: ImageSpec, snapshot: Snapshot) -> Subject:
    """An image as a subject, locked or not."""
    fsid = locks.fsid if (locks := snapshot.seen(LOCKS)) else ""
    return Subject("RBDImage", None, str(spec), f"{fsid}/{spec.pool}/{spec.namespace}/{spec.name}")


def watched_link(spec: ImageSpec, watcher: Watcher, where: str, snapshot: Snapshot) -> Link:
    """The link that tells who has an image open."""
    proof = Evidence(f"rbd watchers of {spec}", f"{watcher.client} {watcher.address}")
    return Link(image_subject(spec, snapshot), f"is open at {watcher.client} on {where}", (proof,))
