"""The messages of the `lock` object class, both ways: Unstick asks, the sandbox's simulated Ceph answers.

The layout was measured on Ceph 16.2, 18.2 and 20.2. Nothing here sends anything, and nothing but MalformedReply
leaves a decoder: a reply that was cut must never look like a lock with fewer holders.
"""

import ipaddress
import struct
from enum import IntEnum
from functools import lru_cache

import msgspec

from diagnostics.facts.ceph import Address, Locker
from diagnostics.sources.ceph import wire
from diagnostics.sources.ceph.wire import MalformedReply, Reader

CLASS = "lock"
RBD_LOCK = "rbd_lock"
"""The name of the one lock that RBD takes on an image's header, managed or advisory."""

_ENTITIES = {1: "mon", 2: "mds", 4: "osd", 8: "client", 16: "mgr"}
_ENTITY_TYPES = {name: number for number, name in _ENTITIES.items()}
_IPV4, _IPV6 = 2, 10  # Linux' numbers: Ceph sends its own AF_ constants
_BRIEF = 40  # bytes: too few for a holder. A pool's thousands of free images give the same few of these replies
_V1 = 1  # what OSDs of 16.2 put there, whatever the client spoke


class LockKind(IntEnum):
    """How a lock may be shared. `NONE` goes with no holders."""

    NONE = 0
    EXCLUSIVE = 1
    SHARED = 2
    EXCLUSIVE_EPHEMERAL = 3


class LockInfo(msgspec.Struct, frozen=True):
    """The state of one lock: who holds it is what makes it locked, not that it has a name."""

    kind: LockKind
    tag: str
    lockers: tuple[Locker, ...]


class BreakRequest(msgspec.Struct, frozen=True):
    """Take the lock away from this client and cookie."""

    name: str
    client: str
    cookie: str


class LockRequest(msgspec.Struct, frozen=True):
    """Take the lock for the sender."""

    name: str
    kind: LockKind
    cookie: str
    tag: str = ""


class UnlockRequest(msgspec.Struct, frozen=True):
    """Give the sender's lock back."""

    name: str
    cookie: str


def encode_get_info(name: str = RBD_LOCK) -> bytes:
    """The request for the state of a lock."""
    return wire.versioned(wire.text(name))


def decode_get_info(data: bytes) -> str:
    """Which lock a get_info request asks for."""
    body, whole = _outer(data, "a get_info request")
    name = body.text("the lock's name")
    whole.end()
    return name


def encode_break(request: BreakRequest) -> bytes:
    """The request to break a lock."""
    return wire.versioned(wire.text(request.name), _entity(request.client), wire.text(request.cookie))


def decode_break(data: bytes) -> BreakRequest:
    """Read a break_lock request."""
    body, whole = _outer(data, "a break_lock request")
    name, client, cookie = body.text("the lock's name"), _read_entity(body), body.text("the cookie")
    whole.end()
    return BreakRequest(name, client, cookie)


def encode_lock(request: LockRequest) -> bytes:
    """The request to take a lock: without a description, for ever, with no flags."""
    until_and_flags = wire.u32(0) + wire.u32(0) + wire.u8(0)
    parts = (request.cookie, request.tag, "")
    return wire.versioned(
        wire.text(request.name), wire.u8(request.kind), *(wire.text(part) for part in parts), until_and_flags
    )


def decode_lock(data: bytes) -> LockRequest:
    """Read a lock request."""
    body, whole = _outer(data, "a lock request")
    name, kind = body.text("the lock's name"), _read_kind(body)
    cookie, tag = body.text("the cookie"), body.text("the tag")
    body.text("the description")
    body.take(9, "the duration and the flags")
    whole.end()
    return LockRequest(name, kind, cookie, tag)


def encode_unlock(request: UnlockRequest) -> bytes:
    """The request to give a lock back."""
    return wire.versioned(wire.text(request.name), wire.text(request.cookie))


def decode_unlock(data: bytes) -> UnlockRequest:
    """Read an unlock request."""
    body, whole = _outer(data, "an unlock request")
    request = UnlockRequest(body.text("the lock's name"), body.text("the cookie"))
    whole.end()
    return request


def encode_info(info: LockInfo, *, legacy_addresses: bool = False) -> bytes:
    """The reply to get_info, with addresses as old clients want them if `legacy_addresses`."""
    address = encode_legacy_address if legacy_addresses else encode_address
    lockers = [
        wire.versioned(_entity(locker.client), wire.text(locker.cookie))
        + wire.versioned(wire.u32(0), wire.u32(0), address(locker.address), wire.text(""))
        for locker in info.lockers
    ]
    return wire.versioned(wire.u32(len(lockers)), *lockers, wire.u8(info.kind), wire.text(info.tag))


def decode_info(data: bytes) -> LockInfo:
    """Read the reply to get_info.

    Raises:
        MalformedReply: it is cut, has an unknown format, or names a holder in a way that cannot be read.
    """
    return _decode_brief(data) if len(data) <= _BRIEF else _decode_info(data)


def _decode_info(data: bytes) -> LockInfo:
    body, whole = _outer(data, "the reply to get_info")
    count = body.u32("the number of lockers")
    lockers = tuple(_read_locker(body) for _ in range(count))
    info = LockInfo(_read_kind(body), body.text("the tag"), lockers)
    whole.end()
    return info


_decode_brief = lru_cache(maxsize=64)(_decode_info)


def encode_names(names: tuple[str, ...]) -> bytes:
    """The reply to list_locks."""
    return wire.versioned(wire.u32(len(names)), *(wire.text(name) for name in names))


def decode_names(data: bytes) -> tuple[str, ...]:
    """Read the reply to list_locks. A name stays in it after the lock was broken."""
    body, whole = _outer(data, "the reply to list_locks")
    count = body.u32("the number of locks")
    names = tuple(body.text("a lock's name") for _ in range(count))
    whole.end()
    return names


def encode_address(address: Address) -> bytes:
    """An address in the form of releases since Nautilus."""
    sockaddr = _sockaddr(address, "<H")
    body = wire.u32(_V1), wire.u32(address.nonce), wire.u32(len(sockaddr)), sockaddr
    return wire.u8(1) + wire.versioned(*body)


def encode_legacy_address(address: Address) -> bytes:
    """An address in the form that old clients want: 136 bytes, the family in network order."""
    return bytes(4) + wire.u32(address.nonce) + _sockaddr(address, ">H").ljust(128, b"\0")


def read_address(reader: Reader) -> Address:
    """The next address, in whichever of the two forms it is.

    Raises:
        MalformedReply: it is cut, or is neither IPv4 nor IPv6.
    """
    marker = reader.u8("the form of an address")
    if marker == 0:
        reader.take(3, "the start of an address")
        nonce = reader.u32("a nonce")
        return _read_sockaddr(reader, reader.take(128, "a socket address"), ">H", nonce)
    if marker != 1:
        raise reader.broken(f"no address begins with {marker}")
    body = reader.struct("an address")
    body.u32("the type of an address")
    nonce = body.u32("a nonce")
    return _read_sockaddr(body, body.take(body.u32("the length of a socket address"), "a socket address"), "<H", nonce)


def _outer(data: bytes, what: str) -> tuple[Reader, Reader]:
    whole = Reader(data, what)
    return whole.struct("the message"), whole


def _entity(name: str) -> bytes:
    kind, _, number = name.partition(".")
    if kind not in _ENTITY_TYPES or not number.isascii() or not number.isdigit():
        raise ValueError(f"{name!r} does not name a client as Ceph does (client.N)")
    return wire.u8(_ENTITY_TYPES[kind]) + wire.s64(int(number))


def _read_entity(reader: Reader) -> str:
    kind, number = reader.u8("the kind of a client"), reader.s64("the number of a client")
    if kind not in _ENTITIES or number < 0:
        raise reader.broken(f"kind {kind}, number {number} is no client")
    return f"{_ENTITIES[kind]}.{number}"


def _read_kind(reader: Reader) -> LockKind:
    number = reader.u8("the kind of the lock")
    try:
        return LockKind(number)
    except ValueError:
        raise reader.broken(f"{number} is no kind of lock") from None


def _read_locker(reader: Reader) -> Locker:
    who = reader.struct("a locker")
    client, cookie = _read_entity(who), who.text("a cookie")
    state = reader.struct("a locker's state")
    state.take(8, "the end of a lock")
    address = read_address(state)
    state.text("a description")
    return Locker(client, cookie, address)


def _sockaddr(address: Address, family: str) -> bytes:
    ip = ipaddress.ip_address(address.ip)
    port = struct.pack(">H", address.port)
    if ip.version == 4:
        return struct.pack(family, _IPV4) + port + ip.packed + bytes(8)
    return struct.pack(family, _IPV6) + port + bytes(4) + ip.packed + bytes(4)


def _read_sockaddr(reader: Reader, raw: bytes, family: str, nonce: int) -> Address:
    inside = Reader(raw, "a socket address")
    try:
        number = struct.unpack(family, inside.take(2, "its family"))[0]
        port = struct.unpack(">H", inside.take(2, "its port"))[0]
        if number == _IPV6:
            inside.take(4, "its flow")
        elif number != _IPV4:
            raise reader.broken(f"family {number} is neither IPv4 nor IPv6")
        ip = ipaddress.ip_address(inside.take(16 if number == _IPV6 else 4, "its IP"))
    except MalformedReply as error:
        raise reader.broken(str(error)) from None
    return Address(str(ip), port, nonce)
