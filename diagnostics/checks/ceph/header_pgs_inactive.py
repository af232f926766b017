"""RBD images that nobody can open, because the placement group of their header serves no I/O.

Meaning: the OSDs with the image's header are down, or do not agree; Ceph lets a client wait there without an error.
Impact: mapping or mounting the image hangs until it times out; whoever has it open hangs at its next watch.
Mitigation: nothing on Kubernetes' side helps. Bring the OSDs back that serve this placement group.
"""

from collections.abc import Iterator, Sequence

from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.blind import by_reason, some
from diagnostics.facts.ceph import LOCKS, OSDMAP, PLACEMENTS, SESSIONS, SIGHTINGS, STATUS, ClusterStatus, Placement
from diagnostics.facts.holders import NODES, images_of_pod
from diagnostics.facts.images import parse_spec
from diagnostics.facts.kubernetes import CLAIMS, PODS, VOLUMES
from diagnostics.facts.osds import down_link, missed, part
from diagnostics.model import Evidence, Finding, Link, Severity, Subject, Unseen


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each image that a volume names, or that is locked, whose header is out of reach."""
    status, placements, locks = snapshot.seen(STATUS), snapshot[PLACEMENTS], snapshot[LOCKS]
    if status is None:
        return
    if status.mgr is None:
        yield Unseen("placement groups", "no manager is active, so nobody says which of those with an OSD are inactive")
    for what, fact in (("images that volumes name", placements), ("locked images", locks)):
        if isinstance(fact, NotSeen) and fact.configured:
            yield Unseen(what, fact.reason)
    lying: dict[str, Placement] = {}
    if not isinstance(placements, NotSeen):
        yield from by_reason((f"image {spec}", reason) for spec, reason in placements.unread.items())
        lying |= placements.headers
    for locked in () if isinstance(locks, NotSeen) else locks.images:
        if locked.pg is not None:
            lying.setdefault(locked.image.spec, Placement(locked.pg, locked.primary, locked.image.header))
    lost = {spec: at for spec, at in lying.items() if at.primary is None or at.pg in status.inactive}
    waiting = _waiting(snapshot) if lost else {}
    for spec, placement in lost.items():
        yield _finding(spec, placement, status, waiting.get(spec, ()))


def _finding(spec: str, placement: Placement, status: ClusterStatus, waiting: Sequence[str]) -> Finding:
    said = status.inactive.get(placement.pg)
    why = f"is {said}" if said else "has no acting primary OSD"
    placed = "nobody" if placement.primary is None else f"osd.{placement.primary}"
    proof = [Evidence(f"ceph osd map of {placement.object}", f"pg {placement.pg}, acting primary {placed}")]
    proof += [Evidence("ceph health detail", f"pg {placement.pg} is {said}")] if said else []
    osds = missed(status, [said or ""])
    image = parse_spec(spec)
    subject = Subject("RBDImage", None, spec, f"{status.fsid}/{image.pool}/{image.namespace}/{image.name}")
    pods = f"; {some(sorted(waiting))} {'waits' if len(waiting) == 1 else 'wait'} for it" if waiting else ""
    return Finding(
        subject=subject,
        summary=f"{spec} cannot be opened: placement group {placement.pg} of {placement.object} {why}{pods}",
        cause="rbd-map-timeout",
        since=max((osd.down_since for osd in osds if osd.down_since), default=None),
        chain=(
            Link(subject, f"cannot be opened: {placement.object} lies in placement group {placement.pg}", (proof[0],)),
            Link(part(status, "PlacementGroup", placement.pg), why, tuple(proof)),
            *down_link(status, osds),
        ),
    )


def _waiting(snapshot: Snapshot) -> dict[str, list[str]]:
    """The pods that wait for each image."""
    pods, found = snapshot.seen(PODS), dict[str, list[str]]()
    for pod in pods.full if pods else ():
        for image in images_of_pod(pod, snapshot) if pod.is_creating else ():
            found.setdefault(str(image), []).append(f"{pod.metadata.namespace}/{pod.metadata.name}")
    return found


# Where a locked image is found, its chain tells of the lock: with all that can show its holder's life.
_OPTIONAL = (PLACEMENTS, LOCKS, CLAIMS, VOLUMES, OSDMAP, SESSIONS, SIGHTINGS, NODES)
CHECK = Check(
    find,
    reads=(
        Read(STATUS), Read(PODS, where=lambda pod: pod.is_creating, optional=True),
        *(Read(kind, optional=True) for kind in _OPTIONAL),
    ),
    severity=Severity.CRITICAL,
)  # fmt: skip
