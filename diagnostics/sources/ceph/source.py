"""The source of Ceph facts: locks, sessions, the OSD map, the cluster's state, images. It never breaks or fences.

librados blocks, and some of its calls could block for ever. So the calls run in daemon threads of this source's own, a
few at a time, and each is waited for only so long.
"""

import threading
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, TypeVar

import msgspec

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts.ceph import (
    ALL_LOCKS,
    FEATURES,
    LOCKS,
    NEIGHBOURS,
    OSDMAP,
    PLACEMENTS,
    SESSIONS,
    STATUS,
    ClusterStatus,
    ImageFeatures,
    ImageSpec,
    Locks,
    OsdMap,
    Placements,
    PoolProblem,
    Session,
    Sessions,
    VolumeWatchers,
)
from diagnostics.facts.disruption import NODE_OSDMAP
from diagnostics.facts.holders import NODES, WATCHERS, images_of_pod
from diagnostics.facts.images import images_of, parse_spec, unplaced_images
from diagnostics.facts.kubernetes import VOLUMES
from diagnostics.facts.users import waiting_pods
from diagnostics.facts.whereabouts import Identity
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph import mon_answers, status_answers
from diagnostics.sources.ceph.images import ImageReader
from diagnostics.sources.ceph.locks import LockReader
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.threads import in_daemon_thread
from diagnostics.sources.ceph.wire import MalformedReply

T = TypeVar("T")
U = TypeVar("U", ImageFeatures, VolumeWatchers, Placements)

AT_ONCE = 4
PATIENCE = 120.0
RETRY_AFTER = 5.0
EACCES, ESHUTDOWN = 13, 108


class CephSource:
    """Reads one Ceph cluster over one connection, which is made when it is first needed.

    Args:
        connect: makes the connection; blocks; raises CouldNotLook or RadosError.
        pools: the pools that a scan walks; none means all.
        namespaces: the RBD namespaces that it walks in each; none means all, "" is the default one.
        patience: seconds after which a reading is given up.
    """

    def __init__(
        self,
        connect: Callable[[], Rados],
        pools: Sequence[str] = (),
        namespaces: Sequence[str] = (),
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connect = connect
        self._pools = tuple(pools)
        self._namespaces = tuple(namespaces)
        self._patience = patience
        self._clock = clock
        self._rados: Rados | None = None
        self._failed: tuple[float, CouldNotLook] | None = None
        self._connecting = threading.Lock()
        self._room = threading.BoundedSemaphore(AT_ONCE)

    def provides(self, kind: Kind[Any]) -> bool:
        """Whether this source reads that kind of fact."""
        return kind in (LOCKS, NEIGHBOURS, SESSIONS, OSDMAP, NODE_OSDMAP, STATUS, FEATURES, WATCHERS, PLACEMENTS)

    async def fetch(
        self,
        kind: Kind[Any],
        earlier: Snapshot,
        keep: Callable[[Any], bool] | None = None,  # noqa: ARG002 - only locked images are read, and each matters
    ) -> Any:
        """Read one kind of what Ceph knows.

        Raises:
            CouldNotLook: no connection, a refusal, no answer in time, or one that makes no sense.
        """
        readers: dict[str, Callable[[Snapshot], Awaitable[Any]]] = {
            LOCKS.name: self._locks,
            NEIGHBOURS.name: self._neighbours,
            FEATURES.name: self._features,
            WATCHERS.name: self._watchers,
            PLACEMENTS.name: self._placements,
        }
        if kind.name in readers:
            return await readers[kind.name](earlier)
        if kind is not NODE_OSDMAP and _nothing_on_rbd(earlier):
            raise CouldNotLook("no RBD image is involved, so Ceph was not asked", configured=False)
        of_the_monitors: dict[str, Callable[[Rados], Any]] = {
            SESSIONS.name: _sessions,
            OSDMAP.name: _osd_map,
            NODE_OSDMAP.name: _osd_map,
            STATUS.name: _status,
        }
        return await self._in_a_thread(of_the_monitors[kind.name])

    async def identity(self) -> Identity:
        """Which cluster this is: its fsid and its monitors.

        Raises:
            CouldNotLook: as `fetch` does.
        """
        return await self._in_a_thread(_identity)

    async def aclose(self) -> None:
        """End the connection, if there is one."""
        rados, self._rados = self._rados, None
        if rados is not None:
            await self._in_a_thread(lambda _: rados.close(), connected=rados)

    async def _locks(self, earlier: Snapshot) -> Locks:
        subject = earlier.scope.subject
        if subject is None or subject == ALL_LOCKS:
            return await self._in_a_thread(self._walk)
        wanted = _subjects_images(earlier)
        if not wanted:
            _require_volumes(earlier)
            return Locks("", ())
        return await self._in_a_thread(lambda rados: self._look_at(rados, wanted))

    async def _neighbours(self, earlier: Snapshot) -> Locks:
        """All locks, and who has the unlocked images open that volumes name."""
        _require_volumes(earlier)
        return await self._in_a_thread(lambda rados: self._walk_all(rados, images_of(earlier)))

    def _walk_all(self, rados: Rados, named: Sequence[ImageSpec]) -> Locks:
        reader = self._reader(rados)
        reader.walk((), ())
        locks = reader.result()
        locked = {one.image.spec for one in locks.images}
        unlocked = [spec for spec in dict.fromkeys(named) if str(spec) not in locked]
        seen = ImageReader(rados, reader.late).watchers(unlocked)
        told = seen.watchers.keys() | seen.unread.keys()
        problems = [
            PoolProblem(spec.pool, f"who has image {spec} open could not be read: {seen.unread[str(spec)]}")
            for spec in unlocked if str(spec) in seen.unread
        ]  # fmt: skip
        return msgspec.structs.replace(
            locks,
            problems=(*locks.problems, *problems),
            absent=tuple(spec for spec in unlocked if str(spec) not in told),
            free=tuple(spec for spec in unlocked if str(spec) in seen.watchers),
            users=seen.watchers,
        )

    async def _features(self, earlier: Snapshot) -> ImageFeatures:
        named = _named(earlier)
        read = await self._in_a_thread(lambda rados: self._images(rados).features(named)) if named else ImageFeatures()
        return _with_unplaced(read, earlier)

    async def _watchers(self, earlier: Snapshot) -> VolumeWatchers:
        """Who has the other images open. That is asked only in a scan, and while the client of a node may be cut off."""
        if earlier.scope.subject is not None:
            return VolumeWatchers()
        nodes = earlier[NODES]
        if isinstance(nodes, NotSeen):
            raise CouldNotLook(f"which nodes are not Ready is not known: {nodes.reason}", configured=nodes.configured)
        if all(node.is_ready for node in nodes.full):
            return VolumeWatchers()
        locks = earlier.seen(LOCKS)
        told = {*locks.users, *(one.image.spec for one in locks.images)} if locks else set()
        others = [spec for spec in _named(earlier) if str(spec) not in told]
        read = (
            await self._in_a_thread(lambda rados: self._images(rados).watchers(others)) if others else VolumeWatchers()
        )
        return _with_unplaced(read, earlier)

    async def _placements(self, earlier: Snapshot) -> Placements:
        """Where the headers lie, of images that pods wait for first.

        That is asked only while Ceph may have placement groups that serve nothing.
        """
        status = earlier[STATUS]
        if isinstance(status, NotSeen):
            raise CouldNotLook(f"what ails Ceph is not known: {status.reason}", configured=status.configured)
        if not status_answers.may_lack_service(status):
            return Placements()
        named = _named(earlier)
        if not named:
            return _with_unplaced(Placements(), earlier)
        wanted = {image for pod in waiting_pods(earlier) for image in images_of_pod(pod, earlier)}
        specs = sorted(named, key=lambda image: image not in wanted)
        read = await self._in_a_thread(lambda rados: self._images(rados).placements(specs, status.inactive.keys()))
        return _with_unplaced(read, earlier)

    def _walk(self, rados: Rados) -> Locks:
        reader = self._reader(rados)
        reader.walk(self._pools, self._namespaces)
        return reader.result()

    def _look_at(self, rados: Rados, wanted: Sequence[ImageSpec]) -> Locks:
        reader = self._reader(rados)
        reader.look_at(wanted)
        return reader.result()

    def _reader(self, rados: Rados) -> LockReader:
        """A reader that ends by itself before it is given up, so that what it has seen is not lost."""
        ends = self._clock() + self._patience / 2
        return LockReader(rados, late=lambda: self._clock() > ends)

    def _images(self, rados: Rados) -> ImageReader:
        return ImageReader(rados, self._reader(rados).late)

    def _connected(self) -> Rados:
        """The connection. After a failure nobody tries again for some seconds: each try may take long."""
        with self._connecting:
            if self._rados is not None:
                return self._rados
            if self._failed and self._clock() - self._failed[0] < RETRY_AFTER:
                raise self._failed[1]
            try:
                self._rados = self._connect()
            except RadosError as error:
                failure = _could_not_look(error)
            except CouldNotLook as error:
                failure = error
            else:
                return self._rados
            self._failed = (self._clock(), failure)
            raise failure

    def _answer(self, read: Callable[[Rados], T], connected: Rados | None) -> T:
        """Run one reading and translate what it may raise."""
        rados = connected
        try:
            rados = rados or self._connected()
            return read(rados)
        except RadosError as error:
            if error.errno == ESHUTDOWN and rados is not None:
                self._drop(rados)
            raise _could_not_look(error) from None
        except MalformedReply as error:
            raise CouldNotLook(f"Ceph's answer could not be understood: {error}; look again") from None

    def _drop(self, rados: Rados) -> None:
        """Close a connection that was fenced: it stays so, and only a new one can be let in again."""
        with self._connecting:
            if self._rados is not rados:
                return  # somebody else met it first
            self._rados = None
        rados.close()

    async def _in_a_thread(self, read: Callable[[Rados], T], connected: Rados | None = None) -> T:
        """Run a reading off the loop, a few at a time, and give it up when it takes too long."""

        def work() -> T:
            if not self._room.acquire(timeout=self._patience):
                raise TimeoutError
            try:
                return self._answer(read, connected)
            finally:
                self._room.release()

        try:
            return await in_daemon_thread(work, self._patience)
        except TimeoutError:
            raise CouldNotLook(
                f"Ceph did not answer within {self._patience:g} s: check `ceph health`, then look again"
            ) from None


def _subjects_images(earlier: Snapshot) -> tuple[ImageSpec, ...]:
    """The images that the volumes around the subject name, as far as these could be read; for one image, that one."""
    subject = earlier.scope.subject
    if subject is None or subject.kind != "RBDImage":
        return images_of(earlier)
    try:
        return (parse_spec(subject.name),)
    except ValueError as error:
        raise CouldNotLook(str(error)) from None


def _named(earlier: Snapshot) -> tuple[ImageSpec, ...]:
    """The same, but only if all volumes could be read."""
    subject = earlier.scope.subject
    if subject is None or subject.kind != "RBDImage":
        _require_volumes(earlier)
    return _subjects_images(earlier)


def _with_unplaced(read: U, earlier: Snapshot) -> U:
    """What was read of images, and that nobody could look at those whose Ceph is not known."""
    unplaced = unplaced_images(earlier)
    return msgspec.structs.replace(read, unread=unplaced | read.unread) if unplaced else read


def _require_volumes(earlier: Snapshot) -> None:
    """Without the volumes nobody knows which images are meant: no image is not the same as none that is known.

    Raises:
        CouldNotLook: they could not be read.
    """
    if isinstance(unseen := earlier[VOLUMES], NotSeen):
        reason = f"which RBD images are involved is not known: {unseen.reason}"
        raise CouldNotLook(reason, configured=unseen.configured)


def _nothing_on_rbd(earlier: Snapshot) -> bool:
    locks = earlier.seen(LOCKS)
    return earlier.scope.subject is not None and locks is not None and not locks.fsid


def _sessions(rados: Rados) -> Sessions:
    """Ask each monitor in turn: a client has its session with one of them."""
    names, _ = mon_answers.read_mons(rados.mon({"prefix": "mon dump"}))
    sessions: list[Session] = []
    silent: dict[str, str] = {}
    for name in names:
        try:
            # Our own sessions are left out: we are nobody's writer.
            sessions += mon_answers.read_sessions(rados.mon({"prefix": "sessions"}, name), name, rados.client)
        except RadosError as error:
            cap = "; the cephx user needs the caps mon 'allow command sessions'" if error.errno == EACCES else ""
            silent[name] = f"{error}{cap}"
        except MalformedReply as error:
            silent[name] = str(error)
    return Sessions(tuple(sessions), silent)


def _identity(rados: Rados) -> Identity:
    return Identity(*mon_answers.read_monmap(rados.mon({"prefix": "mon dump"})))


def _osd_map(rados: Rados) -> OsdMap:
    osds = mon_answers.read_osds(rados.mon({"prefix": "osd dump"}))
    _, mons = mon_answers.read_mons(rados.mon({"prefix": "mon dump"}))
    mgr = mon_answers.read_mgr(rados.mon({"prefix": "mgr dump"}))
    mds = mon_answers.read_mds(rados.mon({"prefix": "fs dump"}))
    health = mon_answers.read_health(rados.mon({"prefix": "health"}))
    return OsdMap(osds.fsid, osds.flags, osds.fences, (*osds.daemons, *mons, *mgr, *mds), rados.own_ips(), health)


def _status(rados: Rados) -> ClusterStatus:
    health, checks = status_answers.read_health(rados.mon({"prefix": "health", "detail": "detail"}))
    mons, quorum = status_answers.read_quorum(rados.mon({"prefix": "quorum_status"}))
    mgr = status_answers.read_active_mgr(rados.mon({"prefix": "mgr dump"}))
    osds = rados.mon({"prefix": "osd dump"})
    return ClusterStatus(
        rados.fsid,
        health,
        checks,
        mons,
        quorum,
        status_answers.read_osd_states(osds),
        mgr,
        status_answers.read_pgs(rados.mon({"prefix": "status"}), mgr),
        status_answers.inactive_pgs(checks, mgr),
        status_answers.read_pools(osds, rados.mon({"prefix": "df"}), mgr),
    )


def _could_not_look(error: RadosError) -> CouldNotLook:
    moves = {
        EACCES: "give the cephx user the caps mon 'allow r, allow command sessions'",
        ESHUTDOWN: "Ceph has fenced this client: find its address in `ceph osd blocklist ls` and who put it there",
        110: "check that the monitors are up and can be reached from here",
    }
    move = moves.get(error.errno, "check `ceph -s`")
    return CouldNotLook(f"Ceph could not be asked: {error}; {move}", unreachable=error.errno == 110)
