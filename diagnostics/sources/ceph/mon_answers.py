"""What the monitors say, as facts: open sessions, fences, flags, and where Ceph's own daemons are.

The shapes were measured on Ceph 16.2; what older and newer releases name differently is accepted. An answer that does
not make sense is an error, never an empty list: no session and no fence are what people act upon.
"""

import ipaddress
import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypeVar

import msgspec

from diagnostics.facts.ceph import Daemon, Fence, Session, parse_fence
from diagnostics.sources.ceph.wire import MalformedReply


class _Address(msgspec.Struct, frozen=True):
    addr: str = ""


class _Addresses(msgspec.Struct, frozen=True):
    addrvec: tuple[_Address, ...] = ()


class _SessionRow(msgspec.Struct, frozen=True):
    global_id: int
    name: str = ""
    entity_name: str = ""
    con_type: str = ""
    open: bool = True
    addrs: _Addresses = _Addresses()
    socket_addr: _Address = _Address()


class _Osd(msgspec.Struct, frozen=True):
    osd: int
    up: int = 0
    public_addrs: _Addresses = _Addresses()
    cluster_addrs: _Addresses = _Addresses()
    public_addr: str = ""
    cluster_addr: str = ""


class _OsdDump(msgspec.Struct, frozen=True):
    fsid: str
    osds: tuple[_Osd, ...]
    flags: str = ""
    flags_set: tuple[str, ...] | None = None
    blocklist: dict[str, str] | None = None
    blacklist: dict[str, str] | None = None
    range_blocklist: dict[str, str] = {}


class _Mon(msgspec.Struct, frozen=True):
    name: str
    public_addrs: _Addresses = _Addresses()
    addr: str = ""


class _Health(msgspec.Struct):
    status: str


class _MonDump(msgspec.Struct, frozen=True):
    mons: tuple[_Mon, ...]
    fsid: str = ""


class _MgrDump(msgspec.Struct, frozen=True):
    active_name: str = ""
    active_addrs: _Addresses = _Addresses()
    active_addr: str = ""


class _Mds(msgspec.Struct, frozen=True):
    name: str = ""
    addrs: _Addresses = _Addresses()
    addr: str = ""


class _MdsMap(msgspec.Struct, frozen=True):
    info: dict[str, _Mds] = {}


class _Filesystem(msgspec.Struct, frozen=True):
    mdsmap: _MdsMap = _MdsMap()


class _FsDump(msgspec.Struct, frozen=True):
    standbys: tuple[_Mds, ...]
    filesystems: tuple[_Filesystem, ...]


class _Placement(msgspec.Struct, frozen=True):
    pgid: str
    acting_primary: int


class OsdFacts(msgspec.Struct, frozen=True):
    """What `osd dump` tells: the cluster's id, its flags and fences, and the OSDs that are up."""

    fsid: str
    flags: frozenset[str]
    fences: tuple[Fence, ...]
    daemons: tuple[Daemon, ...]


T = TypeVar("T")


def read_sessions(answer: bytes, mon: str, own: str = "") -> tuple[Session, ...]:
    """The open sessions that one monitor lists, without those of other monitors and of the client `own` (ourselves).

    A row's `global_id` is the N of `client.N`. A connection for a command to one monitor has its own, beside the
    client's, and carries the client's in its name: it counts for both.

    Raises:
        MalformedReply: the answer makes no sense, or an open session in it has no address: it could be anybody's.
    """
    found: dict[Session, None] = {}
    for row in decode(answer, tuple[_SessionRow, ...], "sessions"):
        if not row.open or row.con_type == "mon" or own in (row.name, f"client.{row.global_id}"):
            continue
        # Where a session comes from and what its client calls its own may differ (NAT): a holder may be known by either.
        ips = dict.fromkeys(_ips([row.socket_addr.addr, *(one.addr for one in row.addrs.addrvec)]))
        if not ips:
            raise MalformedReply(f"a session of {row.entity_name or row.name} has no address that can be read")
        number = row.name.removeprefix("client.")
        clients = (str(row.global_id), number if row.name.startswith("client.") and number.isdigit() else "")
        for client, ip in itertools.product(filter(None, clients), ips):
            found[Session(row.entity_name, f"client.{client}", ip, mon)] = None
    return tuple(found)


def read_osds(answer: bytes) -> OsdFacts:
    """Read `osd dump`.

    Raises:
        MalformedReply: it makes no sense, or a fence in it cannot be read.
    """
    dump = decode(answer, _OsdDump, "osd dump")
    listed = dump.blocklist if dump.blocklist is not None else dump.blacklist  # the key's name before 16
    if listed is None:
        raise MalformedReply("the answer to 'osd dump' has no blocklist")
    flags = dump.flags_set if dump.flags_set is not None else dump.flags.split(",")
    daemons = [
        daemon
        for osd in dump.osds
        if osd.up
        for daemon in _daemons(
            f"osd.{osd.osd}", [osd.public_addrs, osd.cluster_addrs], [osd.public_addr, osd.cluster_addr]
        )
    ]
    fences = tuple(_fence(entry, until) for entry, until in {**listed, **dump.range_blocklist}.items())
    return OsdFacts(dump.fsid, frozenset(flag for flag in flags if flag), fences, _distinct(daemons))


def read_mons(answer: bytes) -> tuple[tuple[str, ...], tuple[Daemon, ...]]:
    """The names of the monitors, and where they are, from `mon dump`."""
    mons = decode(answer, _MonDump, "mon dump").mons
    if not mons:
        raise MalformedReply("the answer to 'mon dump' names no monitor")
    daemons = [daemon for mon in mons for daemon in _daemons(f"mon.{mon.name}", [mon.public_addrs], [mon.addr])]
    return tuple(mon.name for mon in mons), _distinct(daemons)


def read_monmap(answer: bytes) -> tuple[str, frozenset[tuple[str, int]]]:
    """Which cluster this is, from `mon dump`: its fsid, and the address and port of each of its monitors.

    Raises:
        MalformedReply: it makes no sense, or names no cluster or no address.
    """
    dump = decode(answer, _MonDump, "mon dump")
    written = [address.addr for mon in dump.mons for address in mon.public_addrs.addrvec]
    found = set()
    for address in (one.partition("/")[0] for one in (*written, *(mon.addr for mon in dump.mons))):
        port = address.rpartition(":")[2]
        found |= {(ip, int(port)) for ip in _ips([address]) if port.isascii() and port.isdigit()}
    if not dump.fsid or not found:
        raise MalformedReply("the answer to 'mon dump' does not tell which cluster this is, or where its monitors are")
    return dump.fsid, frozenset(found)


def read_health(answer: bytes) -> str:
    """The cluster's overall health from `health`: HEALTH_OK, HEALTH_WARN or HEALTH_ERR."""
    return decode(answer, _Health, "health").status


def read_mgr(answer: bytes) -> tuple[Daemon, ...]:
    """Where the active manager is, from `mgr dump`; none is active in a cluster without one."""
    mgr = decode(answer, _MgrDump, "mgr dump")
    if not mgr.active_name:
        return ()
    return _distinct(_daemons(f"mgr.{mgr.active_name}", [mgr.active_addrs], [mgr.active_addr]))


def read_mds(answer: bytes) -> tuple[Daemon, ...]:
    """Where the metadata servers are, active and standing by, from `fs dump`."""
    dump = decode(answer, _FsDump, "fs dump")
    servers = [*dump.standbys, *(mds for fs in dump.filesystems for mds in fs.mdsmap.info.values())]
    return _distinct(d for mds in servers for d in _daemons(f"mds.{mds.name}", [mds.addrs], [mds.addr]))


def read_placement(answer: bytes) -> tuple[str, int | None]:
    """An object's placement group and its acting primary OSD, from `osd map`. None: the group has no primary now."""
    placement = decode(answer, _Placement, "osd map")
    return placement.pgid, placement.acting_primary if placement.acting_primary >= 0 else None


def decode(answer: bytes, shape: type[T], command: str) -> T:
    """Read an answer in JSON; fields that `shape` does not name are skipped.

    Raises:
        MalformedReply: it is no JSON, or not of that shape.
    """
    try:
        return msgspec.json.decode(answer, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # RecursionError: nested too deeply
        raise MalformedReply(f"the answer to {command!r} makes no sense ({error})") from None


def _fence(entry: str, until: str) -> Fence:
    try:
        parse_fence(entry)
        ends = datetime.fromisoformat(until)
    except ValueError:
        raise MalformedReply(f"the blocklist entry {entry!r} until {until!r} cannot be read") from None
    if ends.tzinfo is None:
        raise MalformedReply(f"the end of the blocklist entry {entry!r} ({until}) names no time zone")
    return Fence(entry, ends)


def _daemons(name: str, vectors: Iterable[_Addresses], plain: Iterable[str]) -> list[Daemon]:
    """A daemon at each of its IPs; `plain` are the older fields, read where the newer say nothing.

    Raises:
        MalformedReply: nothing tells where it is, so nobody may act as if it were nowhere.
    """
    ips = list(_ips(address.addr for vector in vectors for address in vector.addrvec)) or list(_ips(plain))
    if not ips:
        raise MalformedReply(f"where {name} is cannot be read")
    return [Daemon(name, ip) for ip in ips]


def _ips(addresses: Iterable[str]) -> Iterator[str]:
    """The IPs of `ip:port` or `ip:port/nonce`, skipping what is none (`(unrecognized address family 0)`)."""
    for address in addresses:
        host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
        try:
            yield str(ipaddress.ip_address(host))
        except ValueError:
            continue


def _distinct(daemons: Iterable[Daemon]) -> tuple[Daemon, ...]:
    return tuple(dict.fromkeys(daemons))
