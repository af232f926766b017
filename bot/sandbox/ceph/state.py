"""The state of a simulated Ceph cluster: RADOS objects with RBD's layout, its clients, its fences, and the clock.

Time passes only by the clock that is handed in. Watches and sessions are therefore never stored as "gone": whether they
are there is worked out from when their client was last heard of.
"""

import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from diagnostics.facts.ceph import Address, Fence, ImageSpec
from diagnostics.facts.images import parse_spec
from diagnostics.sources.ceph import rbd_objects, wire
from diagnostics.sources.ceph.cls_lock import LockInfo
from diagnostics.sources.ceph.rados import RadosError

ENOENT, ESHUTDOWN, ETIMEDOUT = 2, 108, 110

WATCH_LASTS = timedelta(seconds=30)
"""How long a client that went silent is still listed as a watcher (`osd_client_watch_timeout`)."""
SESSION_LASTS = timedelta(seconds=300)
"""How long a monitor keeps the session of a silent client whose connection stands (`mon_session_timeout`)."""
PG_NUM = 8


@dataclass
class RadosObject:
    """One object: data, omap, and the state of its locks."""

    data: bytes = b""
    omap: dict[str, bytes] = field(default_factory=dict)
    locks: dict[str, LockInfo] = field(default_factory=dict)


@dataclass
class Instance:
    """A client as Ceph knows it: one process, one address. `silent_since` is None while it answers."""

    number: int
    entity: str
    address: Address
    mon: str
    silent_since: datetime | None = None
    gone: bool = False

    @property
    def client(self) -> str:
        """`client.N`."""
        return f"client.{self.number}"


@dataclass(frozen=True)
class Watch:
    """An instance that has an image open."""

    instance: Instance
    where: tuple[str, str, str]
    cookie: int


class ClusterState:
    """A Ceph cluster without the storage. Its methods may be called from any thread.

    Args:
        now: the clock, with a time zone.
        mons, osds: where the daemons are, by name and by number.

    Knobs for tests, to be set at any time: `health`, `silent_mons` (they do not answer), `flags` of the OSD map, `denied`
    (monitor commands that everybody is refused), `cut_replies` (to so many bytes are execute's replies cut),
    `primaries` (the acting primary of a placement group; None: it is inactive), `mgr` (None: it is gone), `down` (OSDs that
    are down, and since when), `out` (OSDs without data), `used` (the used share of a pool), `muted` (health checks).
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        fsid: str | None = None,
        mons: dict[str, str] | None = None,
        osds: dict[int, str] | None = None,
        mgr: tuple[str, str] | None = ("x", "10.47.1.11"),
    ) -> None:
        self.now = now
        self.fsid = fsid or str(uuid.uuid5(uuid.NAMESPACE_DNS, "ceph.sandbox"))
        self.mons = mons or {"a": "10.47.1.11", "b": "10.47.1.12", "c": "10.47.1.13"}
        self.osds = osds or {0: "10.47.1.21", 1: "10.47.1.22", 2: "10.47.1.23"}
        self.mgr = mgr
        self.had_mgr = mgr is not None
        self.down: dict[int, datetime] = {}
        self.out: set[int] = set()
        self.used: dict[str, float] = {}
        self.muted: set[str] = set()
        self.mds: dict[str, str] = {}
        self.pools: dict[str, int] = {}
        self.objects: dict[tuple[str, str, str], RadosObject] = {}
        self.instances: list[Instance] = []
        self.watches: list[Watch] = []
        self.fences: dict[str, datetime] = {}
        self.epoch = 1
        self.flags: set[str] = {"sortbitwise", "recovery_deletes", "purged_snapdirs", "pglog_hardlimit"}
        self.health = "HEALTH_OK"
        self.silent_mons: set[str] = set()
        self.denied: set[str] = set()
        self.cut_replies: int | None = None
        self.primaries: dict[str, int | None] = {}
        self.lock = threading.RLock()
        self.next_client = 4107
        self._next_image = 0x1028C37D9DA4

    def join(self, entity: str, ip: str) -> Instance:
        """Let a new process in: a number, an address with a nonce, and a session with one of the monitors."""
        with self.lock:
            number, self.next_client = self.next_client, self.next_client + 7
            nonce = zlib.crc32(f"{self.fsid}/{number}".encode()) or 1
            answering = [mon for mon in self.mons if mon not in self.silent_mons] or list(self.mons)
            instance = Instance(number, entity, Address(ip, 0, nonce), answering[number % len(answering)])
            self.instances.append(instance)
            return instance

    def create_pool(self, name: str) -> None:
        """Create a pool; nothing happens if it exists."""
        with self.lock:
            self.pools.setdefault(name, len(self.pools) + 1)

    def create_namespace(self, pool: str, namespace: str) -> None:
        """Create an RBD namespace."""
        with self.lock:
            self.put(pool, "", rbd_objects.NAMESPACES).omap[rbd_objects.NAME_KEY + namespace] = b""

    def create_image(self, spec: str, format: int = 2) -> str:  # noqa: A002 - rbd's own word
        """Create the image `pool[/namespace]/image` and return the name of its header."""
        where = parse_spec(spec)
        with self.lock:
            directory = self.put(where.pool, where.namespace, rbd_objects.DIRECTORY)
            if format == 1:
                names = rbd_objects.decode_old_directory(directory.data)
                directory.data = rbd_objects.encode_old_directory((*names, where.name))
                header = rbd_objects.old_header_object(where.name)
                self.put(where.pool, where.namespace, header).data = b"<<< Rados Block Device Image >>>\n"
                return header
            self._next_image += 1
            image_id = f"{self._next_image:x}"
            directory.omap[rbd_objects.NAME_KEY + where.name] = rbd_objects.encode_id(image_id)
            self.put(where.pool, where.namespace, rbd_objects.id_object(where.name)).data = rbd_objects.encode_id(
                image_id
            )
            header = rbd_objects.header_object(image_id)
            self.put(where.pool, where.namespace, header).omap[rbd_objects.FEATURES_KEY] = wire.u64(0b111101)
            return header

    def trash(self, spec: str) -> None:
        """Move a format-2 image to the trash: its name goes, its header and its lock stay."""
        where = parse_spec(spec)
        with self.lock:
            id_object = (where.pool, where.namespace, rbd_objects.id_object(where.name))
            image_id = rbd_objects.decode_id(self.objects.pop(id_object).data, id_object[2])
            self.put(where.pool, where.namespace, rbd_objects.DIRECTORY).omap.pop(rbd_objects.NAME_KEY + where.name)
            trash = self.put(where.pool, where.namespace, rbd_objects.TRASH)
            trash.omap[rbd_objects.TRASH_KEY + image_id] = rbd_objects.encode_trashed(where.name)

    def mirror(self, spec: str) -> None:
        """Set up mirroring for a format-2 image."""
        where = parse_spec(spec)
        with self.lock:
            image_id = self.header(where).removeprefix(rbd_objects.header_object(""))
            mirroring = self.put(where.pool, where.namespace, rbd_objects.MIRRORING)
            mirroring.omap[rbd_objects.MIRRORED_IMAGE_KEY + image_id] = b""

    def put(self, pool: str, namespace: str, oid: str) -> RadosObject:
        """The object, made if it is not there.

        Raises:
            RadosError: errno 2, there is no such pool.
        """
        if pool not in self.pools:
            raise RadosError(ENOENT, f"opening pool {pool} failed")
        return self.objects.setdefault((pool, namespace, oid), RadosObject())

    def object(self, pool: str, namespace: str, oid: str) -> RadosObject:
        """The object, for an operation on it.

        Raises:
            RadosError: errno 2, there is none; 110, its placement group is inactive.
        """
        if pool not in self.pools:
            raise RadosError(ENOENT, f"opening pool {pool} failed")
        if self.placement(pool, namespace, oid)[1] is None:
            raise RadosError(ETIMEDOUT, f"an operation on {oid} got no answer")
        try:
            return self.objects[pool, namespace, oid]
        except KeyError:
            raise RadosError(ENOENT, f"an operation on {oid} failed") from None

    def header(self, image: ImageSpec, image_id: str | None = None) -> str:
        """The name of an image's header, by its id or by its name.

        Raises:
            RadosError: errno 2, there is no such image.
        """
        if image_id is None:
            try:
                data = self.object(image.pool, image.namespace, rbd_objects.id_object(image.name)).data
            except RadosError as error:
                if error.errno != ENOENT:
                    raise
                header = rbd_objects.old_header_object(image.name)
                self.object(image.pool, image.namespace, header)
                return header
            image_id = rbd_objects.decode_id(data, rbd_objects.id_object(image.name))
        header = rbd_objects.header_object(image_id)
        self.object(image.pool, image.namespace, header)
        return header

    def placement(self, pool: str, namespace: str, oid: str) -> tuple[str, int | None]:
        """The placement group of an object and its acting primary OSD (None: inactive)."""
        name = f"{namespace}/{oid}" if namespace else oid
        group = f"{self.pools[pool]}.{zlib.crc32(name.encode()) % PG_NUM:x}"
        return group, self.primary(group)

    def primary(self, group: str) -> int | None:
        """The acting primary OSD of a placement group: each has a copy on every OSD, and the first that is up serves it."""
        return self.primaries.get(group, min(self.osds.keys() - self.down.keys(), default=None))

    def is_fenced(self, instance: Instance) -> bool:
        """Whether an entry of the blocklist covers this client now."""
        return any(fence.covers(instance.address) for fence in self.active_fences())

    def active_fences(self) -> list[Fence]:
        """The blocklist without the entries that have ended."""
        with self.lock:
            return [Fence(entry, until) for entry, until in self.fences.items() if until > self.now()]

    def refuse_if_fenced(self, instance: Instance) -> None:
        """Let nothing of a fenced client through to an OSD.

        Raises:
            RadosError: errno 108.
        """
        if self.is_fenced(instance):
            raise RadosError(ESHUTDOWN, f"an operation of {instance.client} failed")

    def watches_on(self, where: tuple[str, str, str]) -> Iterator[Watch]:
        """The watches that a header's OSD still believes in."""
        for watch in self.watches:
            silent = watch.instance.silent_since
            lost = silent is not None and self.now() - silent >= WATCH_LASTS
            if watch.where == where and not lost and not self.is_fenced(watch.instance):
                yield watch

    def sessions_on(self, mon: str) -> Iterator[Instance]:
        """The clients with an open session on a monitor."""
        for instance in self.instances:
            silent = instance.silent_since
            lost = instance.gone or (silent is not None and self.now() - silent >= SESSION_LASTS)
            if instance.mon == mon and not lost:
                yield instance
