"""What can be said of one locker: the verdict table, as a pure function. The dangerous decision of the whole project.

Invariant: no verdict calls a lock dead (`stale`, `stale_managed`, `fenced`) unless everything that could show life was
looked at and showed none. Whatever could not be looked at ends in `suspect`, never in `stale`.
"""

import ipaddress
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

import msgspec

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import (
    LOCKS,
    OSDMAP,
    SESSIONS,
    SIGHTINGS,
    Address,
    Fence,
    LockedImage,
    Locker,
    Locks,
    OsdMap,
    Session,
    Sessions,
    Sighting,
)  # fmt: skip
from diagnostics.facts.fences import NodeFence, came_back, fences_over, is_host_wide, standing
from diagnostics.facts.holders import NODES, PODS_AT, host_of
from diagnostics.facts.sightings import Sightings
from diagnostics.facts.watchers import clients_of_images
from diagnostics.model import Severity, quoted

# A killed client's watch stays about 30 s (`osd_client_watch_timeout`), so one look proves nothing.
BETWEEN_LOOKS = timedelta(seconds=30)
# A takeover of a managed lock takes 26 to 30 s, counted from the old owner's last sign of life.
TAKEN_BY_NOW = timedelta(minutes=2)
# A fence that ends sooner than this does not count as one: a frozen writer resumes when it has run out.
FAR_OFF = timedelta(hours=24)
# Their sessions from a host say nothing of its clients. Whoever else has one there, named or not, may be the writer.
_DAEMONS = ("mon.", "osd.", "mgr.", "mds.")
_WANTED = " wanted by "  # between a managed lock and a client that waits for it, in a sighting


# The first look is forgotten when nobody has looked for this long.
STALE_LOOK = timedelta(minutes=15)
MOST_WATCHERS = 20  # addresses kept of one image; more than that is no volume of one pod
MANAGED_TAG = "internal"  # what librbd and krbd tag their own locks with; a person can choose any cookie


class Verdict(StrEnum):
    """What one locker is, from harmless to dangerous to touch. The words of `unstick locks`."""

    LIVE = "live"
    IN_USE_ELSEWHERE = "in_use_elsewhere"
    FENCED = "fenced"
    ALIVE_OR_CUT_OFF = "alive_or_cut_off"
    SUSPECT = "suspect"
    STALE = "stale"
    STALE_MANAGED = "stale_managed"


class Judgement(msgspec.Struct, frozen=True):
    """A verdict and the sentence that explains it. `quiet` says that this look showed no sign of life at all."""

    verdict: Verdict
    why: str
    quiet: bool = False


def fences_of(address: Address, fences: tuple[Fence, ...], now: datetime, *, host: bool) -> tuple[Fence, ...]:
    """The fences that cover an address now; with `host`, only those that cover every client of its IP."""
    return tuple(
        fence for fence in fences
        if fence.until > now and (fence.covers_host(address.ip) if host else fence.covers(address))
    )  # fmt: skip


def sessions_of(locker: Locker, sessions: Sessions, ips: tuple[str, ...] = ()) -> tuple[Session, ...]:
    """The mon sessions that may be the writer's: by client id for managed locks, by IP for advisory ones.

    A kubelet's lock was taken by a short-lived `rbd` command: its client id never has a session, its node does, from
    the lock's address or from another one of the node (`ips`, see `holder_ips`).
    Daemons of the same host (`osd.3`) are no writers of images; a session without a name or a host may be anybody's.
    """
    if locker.managed:
        return tuple(s for s in sessions.open if s.client == locker.client)
    return tuple(
        s for s in sessions.open
        if (s.ip == locker.address.ip or s.ip in ips or _is_nowhere(s.ip)) and not s.entity.startswith(_DAEMONS)
    )  # fmt: skip


def holder_ips(locker: Locker, snapshot: Snapshot, sighting: Sighting | None = None) -> tuple[str, ...]:
    """All addresses of an advisory locker's node; where no node is known now, those that the first look knew."""
    if locker.managed:
        return ()
    node = host_of(locker.address.ip, snapshot).node
    return node.ips if node else sighting.ips if sighting else ()


@lru_cache(maxsize=4096)
def _is_nowhere(ip: str) -> bool:
    """Whether an address is 0.0.0.0 or ::, which an instance has until it was told its own: it could be anybody's."""
    return ipaddress.ip_address(ip).is_unspecified


def judge(
    image: LockedImage, locker: Locker, osdmap: OsdMap | NotSeen, sessions: Sessions | NotSeen,
    sighting: Sighting | None, now: datetime, ips: tuple[str, ...] = (),
) -> Judgement:  # fmt: skip
    """Judge one locker of one image. The table is that of the facts: watchers first, then fences, sessions, time.

    `ips` are the other addresses of an advisory locker's node: a client there shows life as one at the lock's own does.
    """
    if image.watchers is None:
        return _suspect(image.watchers_unseen or "its watchers could not be read, and nobody said why")
    if seen := _watched(image, locker, ips):
        return seen
    if isinstance(osdmap, NotSeen):
        return _suspect(f"the blocklist could not be read: {osdmap.reason}")
    if locker.managed and image.tag != MANAGED_TAG:
        return _suspect(f"its cookie is a managed lock's and its tag {image.tag!r} is not: who writes is not known")
    covering = fences_of(locker.address, osdmap.fences, now, host=not locker.managed)
    lasting = [fence for fence in covering if fence.until - now >= FAR_OFF]
    if lasting:
        return Judgement(
            Verdict.FENCED, f"no watcher, and {lasting[0].entry} is fenced until {_when(lasting[0].until)}"
        )
    if isinstance(sessions, NotSeen):
        return _suspect(f"mon sessions could not be read: {sessions.reason}")
    if not locker.managed and _is_nowhere(locker.address.ip):
        return _suspect(
            f"it was taken from {locker.address}, which names no host: whose sessions to look for is not known"
        )
    if alive := sessions_of(locker, sessions, ips):
        whose = quoted(sorted({f"{s.entity} ({s.client}) on mon {s.mon}" for s in alive})[:3])
        others = sorted({s.ip for s in alive} & set(ips))  # a managed locker's session is its own, wherever it is from
        at = locker.address.ip if locker.managed or locker.address.ip in others or not others else quoted(others)
        return Judgement(
            Verdict.ALIVE_OR_CUT_OFF,
            f"no watcher, but {whose} has an open session from {at}: frozen or cut off, it may write again",
        )
    if sessions.silent:
        reasons = quoted([f"mon {mon}: {why}" for mon, why in sorted(sessions.silent.items())])
        return _suspect(f"not every mon told its sessions ({reasons})")
    if image.primary is None:
        return _suspect("which OSD is primary for its header is not known: its watchers may have been asked of nobody")
    return _quiet(locker, sighting, now)


def _watched(image: LockedImage, locker: Locker, ips: tuple[str, ...] = ()) -> Judgement | None:
    watchers = image.watchers or ()
    for watcher in watchers:
        if watcher.client == locker.client or watcher.address == locker.address:
            return Judgement(
                Verdict.LIVE, f"the locker {locker.client} itself watches the image from {watcher.address}"
            )
    for watcher in watchers:
        if not locker.managed and watcher.address.ip in (locker.address.ip, *ips):
            return Judgement(
                Verdict.LIVE, f"{watcher.client} on the same host watches the image from {watcher.address}"
            )
    if watchers:
        others = quoted([f"{w.client} at {w.address}" for w in watchers[:3]])
        return Judgement(
            Verdict.IN_USE_ELSEWHERE, f"the image is in use by {others}, not by the locker: a person decides"
        )
    return None


def _quiet(locker: Locker, sighting: Sighting | None, now: datetime) -> Judgement:
    if sighting is None or sighting.first_seen is None:
        return _suspect("no watcher and no session in this look: look again after 30 s", quiet=True)
    if now - sighting.first_seen <= BETWEEN_LOOKS:
        return _suspect(f"first seen {_when(sighting.first_seen)}, look again after 30 s", quiet=True)
    twice = f"no watcher and no mon session in two looks, {_when(sighting.first_seen)} and {_when(now)}"
    if locker.managed:
        why = f"{twice}; a managed lock: the next client takes it over by itself, unless its cephx caps are wrong"
        return Judgement(Verdict.STALE_MANAGED, why, quiet=True)
    return Judgement(Verdict.STALE, twice, quiet=True)


def _suspect(why: str, *, quiet: bool = False) -> Judgement:
    return Judgement(Verdict.SUSPECT, why, quiet)


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def sighting_of(image: LockedImage, locker: Locker, sightings: tuple[Sighting, ...]) -> Sighting | None:
    """The earlier look at this very locker, if there was one."""
    return Sightings.of(sightings).named(image.image.fsid, image.image.spec, locker.name)


def verdict_of(image: LockedImage, locker: Locker, snapshot: Snapshot) -> Judgement:
    """Judge a locker by a snapshot that holds the sightings of this look too."""
    sighting = sighting_of(image, locker, snapshot.seen(SIGHTINGS) or ())
    ips = holder_ips(locker, snapshot, sighting)
    return judge(image, locker, snapshot[OSDMAP], snapshot[SESSIONS], sighting, snapshot.taken_at, ips)


def severity_of(image: LockedImage, locker: Locker, snapshot: Snapshot) -> Severity | None:
    """How much a locker matters by itself; None for the two verdicts that are in order.

    A managed lock heals itself. It counts only while the fence that its takeover left ends within 24 hours, and its
    node is not known to have rebooted since.
    """
    verdict = verdict_of(image, locker, snapshot).verdict
    if verdict is Verdict.LIVE:
        return None
    if verdict is Verdict.STALE_MANAGED:
        osdmap, node = snapshot.seen(OSDMAP), host_of(locker.address.ip, snapshot).node
        fences = fences_of(locker.address, osdmap.fences, snapshot.taken_at, host=False) if osdmap else ()
        over = fences_over(node, fences) if node else ()
        gone = bool(over) and all(has_rebooted(one, snapshot) for one in over)
        return Severity.WARNING if fences and not gone else None
    return Severity.CRITICAL if verdict is Verdict.ALIVE_OR_CUT_OFF else Severity.WARNING


def has_rebooted(over: NodeFence, snapshot: Snapshot) -> bool | None:
    """Whether a fence's node has rebooted since the fence was seen first: then whoever was fenced there is gone.

    None where that cannot be told. A node that was Ready at the first look, and ever since, may have rebooted before
    that look; and without a systemUUID nobody knows whether another boot is another machine's.
    """
    seen, info = fence_sighting_of(over, snapshot.seen(SIGHTINGS) or ()), over.node.status.node_info
    if seen and seen.boot and info.boot_id and info.boot_id != seen.boot:
        if not seen.machine or not info.system_uuid:
            return None
        return info.system_uuid == seen.machine  # else another machine has the name now, and the old one may run
    if not over.node.is_ready:
        return False
    same = seen is not None and bool(info.boot_id) and info.boot_id == seen.boot
    return False if same and seen and came_back(over.node, seen.first_seen) else None


def fence_sighting_of(over: NodeFence, sightings: tuple[Sighting, ...]) -> Sighting | None:
    """What is kept of the first look at a fence over a node."""
    return Sightings.of(sightings).of_fence(f"{over.fence.entry} {over.node.metadata.name}")


def is_rbd_clients(over: NodeFence, snapshot: Snapshot) -> bool:
    """Whether an image was locked or open at an exact entry's very address, at this look or an earlier one."""
    seen = fence_sighting_of(over, snapshot.seen(SIGHTINGS) or ())
    return over.exact and seen is not None and str(Address.parse(over.fence.entry)) in seen.watched_from


def wanted_since(image: LockedImage, locker: Locker, client: str, sightings: tuple[Sighting, ...]) -> datetime | None:
    """Since when a client has an image open whose managed lock belongs to somebody who is gone; None: not seen so."""
    name = f"{locker.name}{_WANTED}{client}"
    seen = Sightings.of(sightings).named(image.image.fsid, image.image.spec, name)
    return seen.first_seen if seen else None


def look(snapshot: Snapshot, earlier: tuple[Sighting, ...], ended: datetime | None = None) -> tuple[Sighting, ...]:
    """The sightings after this look, of locks and of fences. A look that takes long counts from its end (`ended`)."""
    at = ended or snapshot.taken_at
    locks, fences = (Sightings(s for s in earlier if s.is_of_fence is fence) for fence in (False, True))
    return Sightings((*_look_at_locks(snapshot, locks, at), *_look_at_fences(snapshot, fences, locks, at)))


def _look_at_fences(snapshot: Snapshot, earlier: Sightings, locks: Sightings, ended: datetime) -> tuple[Sighting, ...]:
    """Keeps the first look at each fence over a node that ends within 24 hours, until it has ended or is gone.

    With an exact entry goes whether it is known as an RBD client's (`watched_from` has its address): once its lock was
    taken over nothing else tells it from the entry of a CephFS client, or of a mgr that has moved.

    The first boot stays, also when an exact entry is extended: no client lives through a reboot of its machine. An entry
    for the whole host that gets another end begins anew: it may have been made again, after the reboot.
    """
    osdmap, nodes, now = snapshot.seen(OSDMAP), snapshot.seen(NODES), snapshot.taken_at
    if osdmap is None:
        return earlier
    fences = {fence.entry: fence for fence in standing(osdmap.fences, now)}
    kept = {
        s.locker: msgspec.structs.replace(s, until=fence.until) for s in earlier
        if s.fsid == osdmap.fsid and (fence := fences.get(s.locker.partition(" ")[0]))
        and (s.until == fence.until or not is_host_wide(fence))
    }  # fmt: skip
    soon = tuple(fence for fence in fences.values() if fence.until - now < FAR_OFF)
    clients = clients_of_images(snapshot) | {address for s in locks for address in s.watched_from} if soon else set()
    for node in nodes.full if nodes else ():
        info = node.status.node_info
        for over in fences_over(node, soon):
            name = f"{over.fence.entry} {node.metadata.name}"
            made = Sighting(
                osdmap.fsid, "", name, ended, node=node.metadata.name, boot=info.boot_id, machine=info.system_uuid,
                ips=tuple(sorted(node.ips)), until=over.fence.until,
            )  # fmt: skip
            seen = kept.get(name, made)
            address = str(Address.parse(over.fence.entry)) if over.exact else ""
            known = (address,) if address in clients else seen.watched_from
            kept[name] = msgspec.structs.replace(seen, last_look=ended, watched_from=known)
    return (*(s for s in earlier if s.fsid != osdmap.fsid), *kept.values())


def _look_at_locks(snapshot: Snapshot, earlier: Sightings, ended: datetime) -> tuple[Sighting, ...]:
    """Kept where nothing changed, begun where a lock is quiet for the first time.

    A sign of life, another primary OSD, a node with another boot id or address, or too long a time without any look
    ends the quiet: the next look is a first one again. Sightings of images that this look did not cover are kept as
    they are, those of locks that are gone are dropped.
    """
    locks = snapshot.seen(LOCKS)
    if locks is None:
        return earlier
    fresh: list[Sighting] = []
    for image in locks.images:
        for locker in image.lockers:
            now = _sighting_now(image, locker, snapshot, ended)
            before = sighting_of(image, locker, earlier)
            ips = holder_ips(locker, snapshot, before)
            judgement = judge(image, locker, snapshot[OSDMAP], snapshot[SESSIONS], None, snapshot.taken_at, ips)
            if judgement.quiet or (before is not None and judgement.verdict is Verdict.FENCED):
                made = _continued(before, now, node_seen=_node_seen(now, snapshot))
            elif before is not None and judgement.verdict not in (Verdict.LIVE, Verdict.ALIVE_OR_CUT_OFF):
                # This look was blind, or met another client (the waiting kubelet's own tries open the image for
                # moments): it neither proves nor disproves the first one.
                made = before
            else:
                made = msgspec.structs.replace(now, first_seen=None)
            watched = _watched_from(before, image)
            if made.first_seen is not None or watched:
                fresh.append(msgspec.structs.replace(made, watched_from=watched))
            fresh += _wanting(image, locker, earlier, now)
    return (*_not_covered(earlier, locks), *fresh)


def _wanting(image: LockedImage, locker: Locker, earlier: Sightings, now: Sighting) -> Iterator[Sighting]:
    """The clients that have the image open although the holder of its managed lock does not: they wait for the lock."""
    if image.watchers is None:
        same = earlier.of_image(now.fsid, now.image)
        yield from (s for s in same if s.locker.startswith(f"{locker.name}{_WANTED}"))
    watched = _watched(image, locker) if locker.managed else None
    if watched is None or watched.verdict is not Verdict.IN_USE_ELSEWHERE:
        return
    for watcher in (image.watchers or ())[:MOST_WATCHERS]:
        name = f"{locker.name}{_WANTED}{watcher.client}"
        before = earlier.named(now.fsid, now.image, name)
        made = Sighting(now.fsid, now.image, name, now.last_look, last_look=now.last_look)
        yield _continued(before, made, node_seen=False)


def _not_covered(earlier: Sightings, locks: Locks) -> Iterator[Sighting]:
    """The sightings whose image this look did not see, in pools that it did not walk to their end."""
    named = {*(image.image.spec for image in locks.images), *(str(spec) for spec in (*locks.free, *locks.absent))}
    blind = {problem.pool for problem in locks.problems}
    walked = {"/".join(filter(None, (p.pool, p.namespace))) for p in locks.pools if p.pool not in blind}
    for s in earlier:
        if s.fsid != locks.fsid or (s.image not in named and s.image.rpartition("/")[0] not in walked):
            yield s


def _watched_from(before: Sighting | None, image: LockedImage) -> tuple[str, ...]:
    """The addresses of all watchers that were seen while this locker held the lock, the newest ones first."""
    now = (str(watcher.address) for watcher in image.watchers or ())
    return tuple(dict.fromkeys((*now, *(before.watched_from if before else ()))))[:MOST_WATCHERS]


def _sighting_now(image: LockedImage, locker: Locker, snapshot: Snapshot, ended: datetime) -> Sighting:
    node = host_of(locker.address.ip, snapshot).node if snapshot.seen(NODES) else None
    return Sighting(
        fsid=image.image.fsid, image=image.image.spec, locker=locker.name, first_seen=ended, last_look=ended,
        primary=image.primary, node=node.metadata.name if node else None,
        boot=node.status.node_info.boot_id if node else None, ips=tuple(sorted(node.ips)) if node else (),
    )  # fmt: skip


def _node_seen(now: Sighting, snapshot: Snapshot) -> bool:
    """Whether this look can tell which node holds the lock. That no node does is an answer, if all were looked at."""
    return now.node is not None or (snapshot.seen(NODES) is not None and snapshot.seen(PODS_AT) is not None)


def _continued(before: Sighting | None, now: Sighting, *, node_seen: bool) -> Sighting:
    if before is None or before.first_seen is None or before.primary != now.primary:
        return now
    if before.last_look is not None and now.last_look is not None and now.last_look - before.last_look > STALE_LOOK:
        return now  # nobody looked for so long that the holder may have come and gone in between
    if node_seen and (before.node, before.boot, before.ips) != (now.node, now.boot, now.ips):
        return now  # also where the first look did not know the node: it cannot vouch for the same boot
    return msgspec.structs.replace(before, last_look=now.last_look)
