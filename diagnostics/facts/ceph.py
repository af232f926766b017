"""Facts of a Ceph cluster: RBD locks, watchers, mon sessions, the OSD map and its blocklist."""

import ipaddress
from datetime import datetime

import msgspec

from diagnostics.facts import Kind
from diagnostics.facts import kubernetes as k8s
from diagnostics.model import Subject


class Address(msgspec.Struct, frozen=True):
    """An address as Ceph names a client instance: `ip:port/nonce`, an IPv6 one in brackets."""

    ip: str
    port: int
    nonce: int

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{self.port}/{self.nonce}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse `ip:port/nonce`, with or without a `v1:`, `v2:` or `any:` in front.

        Raises:
            ValueError: the text is not such an address. Ceph itself ignores trailing junk; this does not.
        """
        plain = text
        for prefix in ("v1:", "v2:", "any:"):
            plain = plain.removeprefix(prefix)
        host, _, rest = plain.rpartition(":")
        port, slash, nonce = rest.partition("/")
        if not slash or not port.isascii() or not port.isdigit() or not nonce.isascii() or not nonce.isdigit():
            raise ValueError(f"{text!r} is not a Ceph address (ip:port/nonce)")
        bracketed = host.startswith("[") and host.endswith("]")
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if (ip.version == 6) != bracketed or int(port) > 65535 or int(nonce) > 0xFFFFFFFF:
            raise ValueError(f"{text!r} is not a Ceph address (ip:port/nonce)")
        return cls(str(ip), int(port), int(nonce))


class Image(msgspec.Struct, frozen=True):
    """An RBD image. `format` is 1 or 2; `header` is the object that carries its lock and its watchers."""

    fsid: str
    pool: str
    namespace: str
    name: str
    format: int
    header: str

    @property
    def spec(self) -> str:
        """`pool[/namespace]/image`, as the rbd command writes it."""
        return "/".join(part for part in (self.pool, self.namespace, self.name) if part)

    @property
    def subject(self) -> Subject:
        """This image as a subject."""
        return Subject("RBDImage", None, self.spec, f"{self.fsid}/{self.pool}/{self.namespace}/{self.name}")


class ImageSpec(msgspec.Struct, frozen=True):
    """Where a volume says that its image lies; whether it is there is another matter."""

    pool: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.pool, self.namespace, self.name) if part)


class Locker(msgspec.Struct, frozen=True):
    """Who holds a lock: the client (`client.4117`), its cookie and the address it took the lock from."""

    client: str
    cookie: str
    address: Address

    @property
    def managed(self) -> bool:
        """Taken by librbd or krbd itself for exclusive-lock images (cookie `auto N`), not by a person or a kubelet."""
        return self.cookie.startswith("auto ")

    @property
    def name(self) -> str:
        """`client.N/COOKIE`: what a runbook calls this locker."""
        return f"{self.client}/{self.cookie}"


class Watcher(msgspec.Struct, frozen=True):
    """A client that has the image open: an unbroken watch on its header."""

    client: str
    address: Address


class LockedImage(msgspec.Struct, frozen=True):
    """An image whose lock is held. `watchers` is None where they could not be read (`watchers_unseen` says why).

    `pg` and `primary` name the header's placement group and its acting primary OSD (None: not known).
    `traits` are what makes the image one that nobody should touch by rule: `mirrored`, `trashed`, `migrating`, or
    `unread` where that could not be seen.
    """

    image: Image
    exclusive: bool
    tag: str
    lockers: tuple[Locker, ...]
    watchers: tuple[Watcher, ...] | None
    watchers_unseen: str | None = None
    pg: str | None = None
    primary: int | None = None
    traits: tuple[str, ...] = ()


class PoolScan(msgspec.Struct, frozen=True):
    """One pool and namespace that was looked at: how many images it has and how many of them are locked."""

    pool: str
    namespace: str
    images: int
    locked: int


class PoolProblem(msgspec.Struct, frozen=True):
    """A pool, or one image of it, that could not be read."""

    pool: str
    reason: str


class Locks(msgspec.Struct, frozen=True):
    """All locked images in scope, the pools that were walked, and what could not be read.

    `absent` holds the images that a volume names and that are not there; `free` those that are there and unlocked, with
    their watchers in `users` (by `pool[/namespace]/image`) as far as these could be read.
    """

    fsid: str
    images: tuple[LockedImage, ...]
    pools: tuple[PoolScan, ...] = ()
    problems: tuple[PoolProblem, ...] = ()
    absent: tuple[ImageSpec, ...] = ()
    free: tuple[ImageSpec, ...] = ()
    users: dict[str, tuple[Watcher, ...]] = {}

    def covers(self, spec: ImageSpec) -> bool:
        """Whether this reading tells of an image, be it by a problem: if not, nobody knows whether it is locked."""
        return (
            spec in self.free
            or spec in self.absent
            or any((p.pool, p.namespace) == (spec.pool, spec.namespace) for p in self.pools)
            or any(problem.pool == spec.pool for problem in self.problems)
            or any(str(spec) == locked.image.spec for locked in self.images)
        )


class Session(msgspec.Struct, frozen=True):
    """A client's or daemon's open session with a monitor. `client` is `client.N` with N the global id."""

    entity: str
    client: str
    ip: str
    mon: str


class Sessions(msgspec.Struct, frozen=True):
    """Sessions of all monitors. `silent` maps the monitors that did not answer to the reason: then nothing is proved."""

    open: tuple[Session, ...]
    silent: dict[str, str] = {}


class Fence(msgspec.Struct, frozen=True):
    """A blocklist entry: the exact string, the network and nonce it covers (nonce 0: every client there), its end."""

    entry: str
    until: datetime

    def covers(self, address: Address) -> bool:
        """Whether a client with this address is fenced by this entry."""
        return self.covers_host(address.ip) or (not self._is_range and Address.parse(self.entry) == address)

    def covers_host(self, ip: str) -> bool:
        """Whether every client at this IP is fenced by this entry.

        Ceph takes an entry for the whole host only with port 0 and nonce 0: `ip:6789/0` fences one address.
        """
        network, nonce = parse_fence(self.entry)
        whole = self._is_range or (nonce == 0 and Address.parse(self.entry).port == 0)
        return whole and ipaddress.ip_address(ip) in network

    @property
    def _is_range(self) -> bool:
        return self.entry.startswith("cidr:")


def parse_fence(entry: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int]:
    """The network and the nonce that a blocklist entry covers; nonce 0 stands for every client there.

    A range reads `cidr:10.0.0.0:0/24` or `cidr:[2001:db8::]:0/64`: the bits stand where a nonce would.

    Raises:
        ValueError: the entry is neither a range nor `ip:port/nonce`.
    """
    if entry.startswith("cidr:"):
        address = Address.parse(entry.removeprefix("cidr:"))
        return ipaddress.ip_network(f"{address.ip}/{address.nonce}", strict=False), 0
    address = Address.parse(entry)
    return ipaddress.ip_network(address.ip), address.nonce


class Daemon(msgspec.Struct, frozen=True):
    """A Ceph daemon that is up, and an address of it. The IP of one must never be fenced."""

    name: str
    ip: str


class OsdMap(msgspec.Struct, frozen=True):
    """The cluster's identity, flags that stop I/O, fences, its health, and where its daemons and we ourselves are.

    Read around a node with several Ceph clusters, it has the fences and daemons of all: `others` are their fsids.
    """

    fsid: str
    flags: frozenset[str]
    fences: tuple[Fence, ...]
    daemons: tuple[Daemon, ...]
    own_ips: tuple[str, ...]
    health: str = "HEALTH_OK"
    others: frozenset[str] = frozenset()


class Sighting(msgspec.Struct, frozen=True):
    """What earlier looks saw of a lock: since when it shows no sign of life, and who watched its image before.

    `first_seen` is the first quiet look, None while the lock lives; `last_look` the newest one. A first look is
    worthless once the header's `primary` OSD has changed, or the holder's node came back with another `boot` id or
    other `ips` (None and empty: not known at the time). `watched_from` are the addresses of all watchers seen so far:
    the writer of a kubelet's lock is none of its lockers, and may use another address of the machine than they did.

    Two more things are kept so. A client that waits for a managed lock whose holder is gone: `locker` is then
    `LOCKER wanted by CLIENT`, and `first_seen` since when. And a fence over a node that ends soon: `image` is "", `locker`
    is `ENTRY NODE`, and `boot`, `machine` (its systemUUID) and `ips` are the node's when the fence was seen first, `until`
    its end: a node that shows another boot later has rebooted since.
    """

    fsid: str
    image: str
    locker: str
    first_seen: datetime | None
    primary: int | None = None
    node: str | None = None
    boot: str | None = None
    ips: tuple[str, ...] = ()
    last_look: datetime | None = None
    watched_from: tuple[str, ...] = ()
    machine: str | None = None
    until: datetime | None = None

    @property
    def is_of_fence(self) -> bool:
        """Whether this is of a fence, not of a lock."""
        return not self.image


class VolumeWatchers(msgspec.Struct, frozen=True):
    """Who has the images open that volumes name and that `Locks` does not tell of, by `pool[/namespace]/image`.

    `unread` has the reason for each image whose watchers could not be read. Images that are not there are left out.
    """

    watchers: dict[str, tuple[Watcher, ...]] = {}
    unread: dict[str, str] = {}


class ImageFeatures(msgspec.Struct, frozen=True):
    """The names of the features of the images that volumes name (`layering`, `exclusive-lock`), by the image's spec.

    An image of format 1 has none. `unread` has the reason for each that could not be read.
    """

    features: dict[str, tuple[str, ...]] = {}
    unread: dict[str, str] = {}


class Placement(msgspec.Struct, frozen=True):
    """The placement group that an object lies in, and its acting primary OSD; None while nobody serves it.

    `object` is the image's header, or the object with its id (`rbd_id.IMAGE`) where that one's group is not served: then
    nobody learns which header the image has, and nobody can open it.
    """

    pg: str
    primary: int | None
    object: str = ""


class Placements(msgspec.Struct, frozen=True):
    """Where the headers lie of the images that volumes name, by the image's spec; `unread` has the reasons.

    They are looked up only while Ceph reports trouble that can stop a placement group: each takes a command of its own.
    """

    headers: dict[str, Placement] = {}
    unread: dict[str, str] = {}


class HealthCheck(msgspec.Struct, frozen=True):
    """One entry of `ceph health detail`: its code (`OSD_DOWN`), severity (`HEALTH_WARN`), summary and details."""

    code: str
    severity: str
    summary: str
    details: tuple[str, ...] = ()
    muted: bool = False


class OsdState(msgspec.Struct, frozen=True):
    """An OSD: whether it is up, and whether data is placed on it (`in`). `down_since` is None where Ceph does not tell.

    One that never was up, or that was destroyed for its replacement, holds no data and is left out.
    """

    name: str
    up: bool
    inside: bool
    down_since: datetime | None = None


class PoolUse(msgspec.Struct, frozen=True):
    """How full a pool is: the used share (0 to 1) of what it could hold, bytes left, and its flags (`full`, `nearfull`).

    `used` and `left` are None while no manager measures them.
    """

    name: str
    used: float | None = None
    left: int | None = None
    flags: tuple[str, ...] = ()


class ClusterStatus(msgspec.Struct, frozen=True):
    """What Ceph says of itself. `mgr` is the active manager: without one nobody counts `pgs` or measures `pools`.

    (The monitors then go on telling its last numbers, which are not repeated here.) `pgs` counts placement groups by state
    (`active+clean`); `inactive` names those that serve no I/O, with what Ceph says of each, as far as its health details
    list them: from a minute on, and the first 50.
    """

    fsid: str
    health: str
    checks: tuple[HealthCheck, ...]
    mons: tuple[str, ...]
    quorum: tuple[str, ...]
    osds: tuple[OsdState, ...]
    mgr: str | None
    pgs: dict[str, int] = {}
    inactive: dict[str, str] = {}
    pools: tuple[PoolUse, ...] = ()

    def check(self, code: str) -> HealthCheck | None:
        """The health check with this code, if Ceph reports it."""
        return next((check for check in self.checks if check.code == code), None)

    def muted(self, code: str) -> bool:
        """Whether an operator has muted this health check."""
        return (check := self.check(code)) is not None and check.muted

    @property
    def down(self) -> tuple[OsdState, ...]:
        """The OSDs that are down."""
        return tuple(osd for osd in self.osds if not osd.up)


# The subject of a look at every lock that there is, and at what of Kubernetes surrounds them.
ALL_LOCKS = Subject("RBDLocks", None, "*", "")

LOCKS: Kind[Locks] = Kind("ceph.locks", after=(k8s.VOLUMES,))
# Every locked image of the cluster, whatever the scope, and the unlocked ones that volumes name, with their users: who
# else uses an address that is to be fenced.
NEIGHBOURS: Kind[Locks] = Kind("ceph.neighbours", after=(k8s.VOLUMES,))
STATUS: Kind[ClusterStatus] = Kind("ceph.status", after=(LOCKS,))
FEATURES: Kind[ImageFeatures] = Kind("ceph.features", after=(k8s.VOLUMES, LOCKS))
PLACEMENTS: Kind[Placements] = Kind("ceph.placements", after=(k8s.VOLUMES, LOCKS, STATUS))
SESSIONS: Kind[Sessions] = Kind("ceph.sessions", after=(LOCKS,))
OSDMAP: Kind[OsdMap] = Kind("ceph.osdmap", after=(LOCKS,))
# Made by the scan from the other facts and from what earlier looks left in the store; no source reads it.
SIGHTINGS: Kind[tuple[Sighting, ...]] = Kind("ceph.sightings", after=(LOCKS, SESSIONS, OSDMAP))
