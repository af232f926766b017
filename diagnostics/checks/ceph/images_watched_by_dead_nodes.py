"""Nodes that are down for Kubernetes while a Ceph client of theirs still has RBD images open.

Meaning: the machine is cut off from the API server, but alive for Ceph: it may be writing.
Impact: its volumes are safe nowhere else; a pod that was rescheduled waits, or writes beside it.
Mitigation: never fence a watcher or break its lock; power the machine off, or bring back its connection to the API server.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, ImageSpec, Watcher
from diagnostics.facts.fences import node_link
from diagnostics.facts.holders import LEASES, NODES, PODS_AT, WATCHERS, host_of, is_down
from diagnostics.facts.kubernetes import CLAIMS, PODS, VOLUMES
from diagnostics.facts.resources import Node
from diagnostics.facts.users import unread, waiting_for
from diagnostics.facts.watchers import daemon_of, open_images, unread_watchers, watched_link
from diagnostics.model import Finding, Severity, Unseen, quoted
from diagnostics.verdicts import fences_of

Held = tuple[ImageSpec, Watcher]
MOST_NAMED = 5  # images in the chain and the summary


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each node that is down and watches images; daemons such as rbd-mirror do not count."""
    nodes = snapshot.seen(NODES)
    not_ready = [node for node in (nodes.full if nodes else ()) if not node.is_ready]
    if not_ready:
        yield from unread_watchers(snapshot)
        yield from unread(snapshot, SESSIONS)
    for node in not_ready:
        at = [(spec, w) for spec, watchers in open_images(snapshot) for w in watchers if w.address.ip in node.ips]
        held = [(spec, w) for spec, w in at if not daemon_of(w, snapshot) and not _is_fenced(w, snapshot)]
        sure = [(spec, w) for spec, w in held if host_of(w.address.ip, snapshot).node is node]
        if sure and (down := is_down(node, snapshot)):
            yield _finding(node, sure, at, snapshot)
            yield from unread(snapshot, PODS, CLAIMS, VOLUMES)
        elif sure and down is None:
            yield Unseen(str(node.subject), "it is not Ready and watches images, but its lease could not be read")
        for _, watcher in held[: 0 if sure else 1]:
            yield Unseen(str(node.subject), host_of(watcher.address.ip, snapshot).why)


def _is_fenced(watcher: Watcher, snapshot: Snapshot) -> bool:
    """A fenced client writes no more, and its watch goes."""
    osdmap = snapshot.seen(OSDMAP)
    return bool(osdmap and fences_of(watcher.address, osdmap.fences, snapshot.taken_at, host=False))


def _finding(node: Node, held: list[Held], at: list[Held], snapshot: Snapshot) -> Finding:
    name, images = node.metadata.name, list(dict.fromkeys(spec for spec, _ in held))
    pods = list(dict.fromkeys(
        f"{pod.metadata.namespace}/{pod.metadata.name}" for spec in images for pod in waiting_for(spec, snapshot)
        if pod.spec.node_name != name
    ))  # fmt: skip
    more = f" and {len(images) - MOST_NAMED} more" if len(images) > MOST_NAMED else ""
    waits = f"; elsewhere {quoted(pods[:MOST_NAMED])} waits for that" if pods else ""
    daemons = sorted({daemon for _, watcher in at if (daemon := daemon_of(watcher, snapshot))})
    beside = f" (the daemon {quoted(daemons)} there is not counted)" if daemons else ""
    return Finding(
        subject=node.subject,
        summary=f"{name} is down for Kubernetes, but has {quoted([str(spec) for spec in images[:MOST_NAMED]])}{more} open "
        f"in Ceph{beside}: it is cut off, not dead, and may write{waits}",
        cause="rbd-image-in-use",
        since=node.ready.last_transition_time if node.ready else None,
        chain=(*(watched_link(spec, w, name, snapshot) for spec, w in held[:MOST_NAMED]), node_link(node, snapshot)),
        severity=Severity.CRITICAL if pods else Severity.WARNING,
    )


CHECK = Check(
    find,
    reads=(
        Read(LOCKS), Read(NODES), *(Read(kind, optional=True) for kind in (WATCHERS, OSDMAP, SESSIONS, SIGHTINGS, LEASES, PODS_AT)),
        Read(PODS, where=lambda pod: pod.is_creating, optional=True), Read(CLAIMS, optional=True),
        Read(VOLUMES, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
