"""What can be said of one locker: the verdict table, as a pure function. The dangerous decision of the whole project.

Invariant: no verdict calls a lock dead (`stale`, `stale_managed`, `fenced`) unless everything that could show life was
looked at and showed none. Whatever could not be looked at ends in `suspect`, never in `stale`.
"""

from datetime import datetime, timedelta
from enum import StrEnum

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
from diagnostics.facts.holders import NODES, PODS_AT, host_of
from diagnostics.model import Severity, quoted

# A killed client's watch stays about 30 s (`osd_client_watch_timeout`), so one look proves nothing.
BETWEEN_LOOKS = timedelta(seconds=30)
# A fence that ends sooner than this does not count as one: a frozen writer resumes when it has run out.
FAR_OFF = timedelta(hours=24)
# Their sessions from a host say nothing of its clients. Whoever else has one there, named or not, may be the writer.
_DAEMONS = ("mon.", "osd.", "mgr.", "mds.")


# The first look is forgotten when nobody has looked for this long.
STALE_LOOK = timedelta(minutes=15)
MOST_WATCHERS = 20  # addresses kept of one image; more than that is no volume of one pod


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


def sessions_of(locker: Locker, sessions: Sessions) -> tuple[Session, ...]:
    """The mon sessions that may be the writer's: by client id for managed locks, by IP for advisory ones.

    A kubelet's lock was taken by a short-lived `rbd` command: its client id never has a session, its node's IP does.
    Daemons of the same host (`osd.3`) are no writers of images; a session without a name may be anybody's.
    """
    if locker.managed:
        return tuple(s for s in sessions.open if s.client == locker.client)
    return tuple(s for s in sessions.open if s.ip == locker.address.ip and not s.entity.startswith(_DAEMONS))


def judge(
    image: LockedImage, locker: Locker, osdmap: OsdMap | NotSeen, sessions: Sessions | NotSeen,
    sighting: Sighting | None, now: datetime,
) -> Judgement:  # fmt: skip
    """Judge one locker of one image. The table is that of the facts: watchers first, then fences, sessions, time."""
    if image.watchers is None:
        return _suspect(image.watchers_unseen or "its watchers could not be read, and nobody said why")
    if seen := _watched(image, locker):
        return seen
    if isinstance(osdmap, NotSeen):
        return _suspect(f"the blocklist could not be read: {osdmap.reason}")
    covering = fences_of(locker.address, osdmap.fences, now, host=not locker.managed)
    lasting = [fence for fence in covering if fence.until - now >= FAR_OFF]
    if lasting:
        return Judgement(
            Verdict.FENCED, f"no watcher, and {lasting[0].entry} is fenced until {_when(lasting[0].until)}"
        )
    if isinstance(sessions, NotSeen):
        return _suspect(f"mon sessions could not be read: {sessions.reason}")
    if alive := sessions_of(locker, sessions):
        whose = quoted(sorted({f"{s.entity} ({s.client}) on mon {s.mon}" for s in alive})[:3])
        return Judgement(
            Verdict.ALIVE_OR_CUT_OFF,
            f"no watcher, but {whose} has an open session from {locker.address.ip}: frozen or cut off, it may write again",
        )
    if sessions.silent:
        reasons = quoted([f"mon {mon}: {why}" for mon, why in sorted(sessions.silent.items())])
        return _suspect(f"not every mon told its sessions ({reasons})")
    if image.primary is None:
        return _suspect("which OSD is primary for its header is not known: its watchers may have been asked of nobody")
    return _quiet(locker, sighting, now)


def _watched(image: LockedImage, locker: Locker) -> Judgement | None:
    watchers = image.watchers or ()
    for watcher in watchers:
        if watcher.client == locker.client or watcher.address == locker.address:
            return Judgement(
                Verdict.LIVE, f"the locker {locker.client} itself watches the image from {watcher.address}"
            )
    for watcher in watchers:
        if watcher.address.ip == locker.address.ip and not locker.managed:
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
    key = (image.image.fsid, image.image.spec, locker.name)
    return next((s for s in sightings if (s.fsid, s.image, s.locker) == key), None)


def verdict_of(image: LockedImage, locker: Locker, snapshot: Snapshot) -> Judgement:
    """Judge a locker by a snapshot that holds the sightings of this look too."""
    sighting = sighting_of(image, locker, snapshot.seen(SIGHTINGS) or ())
    return judge(image, locker, snapshot[OSDMAP], snapshot[SESSIONS], sighting, snapshot.taken_at)


def severity_of(image: LockedImage, locker: Locker, snapshot: Snapshot) -> Severity | None:
    """How much a locker matters by itself; None for the two verdicts that are in order.

    A managed lock heals itself. It counts only while the fence that its takeover left ends within 24 hours.
    """
    verdict = verdict_of(image, locker, snapshot).verdict
    if verdict is Verdict.LIVE:
        return None
    if verdict is Verdict.STALE_MANAGED:
        osdmap = snapshot.seen(OSDMAP)
        fenced = osdmap and fences_of(locker.address, osdmap.fences, snapshot.taken_at, host=False)
        return Severity.WARNING if fenced else None
    return Severity.CRITICAL if verdict is Verdict.ALIVE_OR_CUT_OFF else Severity.WARNING


def look(snapshot: Snapshot, earlier: tuple[Sighting, ...], ended: datetime | None = None) -> tuple[Sighting, ...]:
    """The sightings after this look: kept where nothing changed, begun where a lock is quiet for the first time.

    A sign of life, another primary OSD, a node with another boot id or address, or too long a time without any look
    ends the quiet: the next look is a first one again. Sightings of images that this look did not cover are kept as
    they are, those of locks that are gone are dropped. A look that takes long counts from its end (`ended`).
    """
    locks = snapshot.seen(LOCKS)
    if locks is None:
        return earlier
    fresh: list[Sighting] = []
    for image in locks.images:
        for locker in image.lockers:
            now = _sighting_now(image, locker, snapshot, ended or snapshot.taken_at)
            before = sighting_of(image, locker, earlier)
            judgement = judge(image, locker, snapshot[OSDMAP], snapshot[SESSIONS], None, snapshot.taken_at)
            if judgement.quiet or (before is not None and judgement.verdict is Verdict.FENCED):
                made = _continued(before, now, node_seen=_node_seen(now, snapshot))
            elif before is not None and not _shows_life(image, locker, snapshot):
                # This look was blind, or met another client (the waiting kubelet's own tries open the image for
                # moments): it neither proves nor disproves the first one.
                made = before
            else:
                made = msgspec.structs.replace(now, first_seen=None)
            watched = _watched_from(before, image)
            if made.first_seen is not None or watched:
                fresh.append(msgspec.structs.replace(made, watched_from=watched))
    kept = tuple(s for s in earlier if not _covered(s, locks))
    return (*kept, *fresh)


def _covered(sighting: Sighting, locks: Locks) -> bool:
    """Whether this look saw the sighting's image, or walked all of the pool that it is no longer locked in."""
    named = {*(image.image.spec for image in locks.images), *(str(spec) for spec in (*locks.free, *locks.absent))}
    blind = {problem.pool for problem in locks.problems}
    walked = {"/".join(filter(None, (p.pool, p.namespace))) for p in locks.pools if p.pool not in blind}
    return sighting.fsid == locks.fsid and (sighting.image in named or sighting.image.rpartition("/")[0] in walked)


def _shows_life(image: LockedImage, locker: Locker, snapshot: Snapshot) -> bool:
    verdict = judge(image, locker, snapshot[OSDMAP], snapshot[SESSIONS], None, snapshot.taken_at).verdict
    return verdict in (Verdict.LIVE, Verdict.ALIVE_OR_CUT_OFF)


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
