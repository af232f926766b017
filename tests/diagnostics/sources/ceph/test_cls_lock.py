"""The lock codec: bytes that a real Ceph 16.2 sent, every cut of them, and bytes that nobody ever sent."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.facts.ceph import Address, Locker
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.cls_lock import BreakRequest, LockInfo, LockKind, LockRequest, UnlockRequest
from diagnostics.sources.ceph.wire import MalformedReply, Reader, versioned

KUBELET = bytes.fromhex(
    "010169000000 01000000 010125000000 08 1510000000000000 18000000 6b7562656c65745f6c6f636b5f6d616769635f6e6f646531"
    "01012f000000 00000000 00000000 01 01011c000000 01000000 befc17bc 10000000 0200 0000 7f000001 0000000000000000"
    "00000000 01 00000000"
)
SHARED = bytes.fromhex(
    "0101a300000002000000 0101100000000832100000000000000300 0000636b31 01012f00000000000000000000000101011c000000"
    "010000003fdbd82310000000020000007f000001000000000000000000000000 01011000000008341000000000000003000000636b32"
    "01012f00000000000000000000000101011c00000001000000f7c66eb210000000020000007f000001000000000000000000000000"
    "02 0400000074616767"
)
MANAGED = bytes.fromhex(
    "01016d000000 01000000 010121000000 08 8a10000000000000 14000000 6175746f20313430363536353535313635383038"
    "01012f000000 00000000 00000000 01 01011c000000 01000000 ab848e5d 10000000 0200 0000 7f000001 0000000000000000"
    "00000000 01 08000000 696e7465726e616c"
)
UNLOCKED_AGAIN = bytes.fromhex("01010b000000 00000000 01 02000000 7467")
NAMES = bytes.fromhex("010110000000 01000000 08000000 7262645f6c6f636b")

# Not captured: put together from the layout, for clients from before Nautilus and for IPv6.
LEGACY = bytes.fromhex(
    "0101bb000000 01000000 010112000000 08 1510000000000000 05000000 6e6f646531"
    "010194000000 00000000 00000000"
    "00000000 05000000 0002 1a85 0a2f883c" + "00" * 120 + "00000000 01 00000000"
)
IPV6 = bytes.fromhex("01 010128000000 03000000 07000000 1c000000 0a00 1a85 00000000 fd00" + "00" * 13 + "09 00000000")

REPLIES: list[tuple[bytes, LockInfo]] = [
    (
        KUBELET,
        LockInfo(
            LockKind.EXCLUSIVE,
            "",
            (Locker("client.4117", "kubelet_lock_magic_node1", Address("127.0.0.1", 0, 3155688638)),),
        ),
    ),
    (
        SHARED,
        LockInfo(
            LockKind.SHARED,
            "tagg",
            (
                Locker("client.4146", "ck1", Address("127.0.0.1", 0, 601414463)),
                Locker("client.4148", "ck2", Address("127.0.0.1", 0, 2993604343)),
            ),
        ),
    ),
    (
        MANAGED,
        LockInfo(
            LockKind.EXCLUSIVE,
            "internal",
            (Locker("client.4234", "auto 140656555165808", Address("127.0.0.1", 0, 1569621163)),),
        ),
    ),
    (UNLOCKED_AGAIN, LockInfo(LockKind.EXCLUSIVE, "tg", ())),
]
LEGACY_INFO = LockInfo(LockKind.EXCLUSIVE, "", (Locker("client.4117", "node1", Address("10.47.136.60", 6789, 5)),))

DECODERS: list[Callable[[bytes], object]] = [
    cls_lock.decode_info,
    cls_lock.decode_names,
    cls_lock.decode_get_info,
    cls_lock.decode_break,
    cls_lock.decode_lock,
    cls_lock.decode_unlock,
]

addresses = st.builds(Address, st.ip_addresses().map(str), st.integers(0, 65535), st.integers(0, 2**32 - 1))
names = st.text(st.characters(codec="utf-8"), max_size=40)
clients = st.integers(0, 2**63 - 1).map(lambda number: f"client.{number}")
infos = st.builds(
    LockInfo,
    st.sampled_from(LockKind),
    names,
    st.lists(st.builds(Locker, clients, names, addresses), max_size=4).map(tuple),
)


@pytest.mark.parametrize(("reply", "info"), REPLIES, ids=["kubelet", "shared", "managed", "unlocked again"])
def test_a_reply_of_a_real_ceph_is_read_and_written_alike(reply: bytes, info: LockInfo) -> None:
    assert cls_lock.decode_info(reply) == info
    assert cls_lock.encode_info(info) == reply


def test_an_address_in_the_old_form_is_read_and_written_alike() -> None:
    assert cls_lock.decode_info(LEGACY) == LEGACY_INFO
    assert cls_lock.encode_info(LEGACY_INFO, legacy_addresses=True) == LEGACY


def test_an_ipv6_address_is_read() -> None:
    reader = Reader(IPV6, "an address")
    assert cls_lock.read_address(reader) == Address("fd00::9", 6789, 7)
    assert reader.left == 0


def test_the_names_of_locks_are_read_and_written_alike() -> None:
    assert cls_lock.decode_names(NAMES) == ("rbd_lock",)
    assert cls_lock.encode_names(("rbd_lock",)) == NAMES


def test_the_request_for_a_lock_has_the_measured_bytes() -> None:
    assert cls_lock.encode_get_info() == bytes.fromhex("01010c000000 08000000 7262645f6c6f636b")


def test_the_request_to_break_a_lock_has_the_measured_layout() -> None:
    expected = bytes.fromhex("01011a000000 08000000 7262645f6c6f636b 08 1510000000000000 01000000 63")
    assert cls_lock.encode_break(BreakRequest("rbd_lock", "client.4117", "c")) == expected


@pytest.mark.parametrize("reply", [KUBELET, SHARED, MANAGED, UNLOCKED_AGAIN, LEGACY])
def test_every_cut_of_a_reply_raises(reply: bytes) -> None:
    for size in range(len(reply)):
        with pytest.raises(MalformedReply):
            cls_lock.decode_info(reply[:size])


def test_every_cut_of_the_list_of_names_raises() -> None:
    for size in range(len(NAMES)):
        with pytest.raises(MalformedReply):
            cls_lock.decode_names(NAMES[:size])


@pytest.mark.parametrize("reply", [KUBELET, SHARED, MANAGED, UNLOCKED_AGAIN, LEGACY])
def test_bytes_after_the_end_of_a_reply_raise(reply: bytes) -> None:
    with pytest.raises(MalformedReply, match="1 bytes follow"):
        cls_lock.decode_info(reply + b"\0")


def test_what_a_newer_release_appends_to_a_struct_is_skipped() -> None:
    body = KUBELET[6:] + b"something new"
    assert cls_lock.decode_info(versioned(body, version=9)) == REPLIES[0][1]


def test_a_struct_that_only_newer_readers_may_read_raises() -> None:
    with pytest.raises(MalformedReply, match="version 9"):
        cls_lock.decode_info(versioned(KUBELET[6:], version=9, compat=9))


@pytest.mark.parametrize(
    ("at", "byte", "why"),
    [
        (16, 3, "is no client"),  # the kind of the locker
        (24, 0x80, "is no client"),  # its number, negative
        (29, 0xFF, "not UTF-8"),  # its cookie
        (67, 2, "no address begins with 2"),
        (86, 7, "neither IPv4 nor IPv6"),  # the family
        (106, 7, "no kind of lock"),
    ],
)
def test_a_value_that_cannot_be_is_named_in_the_error(at: int, byte: int, why: str) -> None:
    broken = bytearray(KUBELET)
    broken[at] = byte
    with pytest.raises(MalformedReply, match=why):
        cls_lock.decode_info(bytes(broken))


def test_a_client_without_a_number_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="does not name a client"):
        cls_lock.encode_break(BreakRequest("rbd_lock", "client.x", "c"))


@given(infos, st.booleans())
def test_what_is_written_is_read_back(info: LockInfo, legacy: bool) -> None:
    assert cls_lock.decode_info(cls_lock.encode_info(info, legacy_addresses=legacy)) == info


@given(names, clients, names, names, st.sampled_from(LockKind))
def test_requests_are_read_back(name: str, client: str, cookie: str, tag: str, kind: LockKind) -> None:
    breaking = BreakRequest(name, client, cookie)
    locking = LockRequest(name, kind, cookie, tag)
    unlocking = UnlockRequest(name, cookie)
    assert cls_lock.decode_get_info(cls_lock.encode_get_info(name)) == name
    assert cls_lock.decode_break(cls_lock.encode_break(breaking)) == breaking
    assert cls_lock.decode_lock(cls_lock.encode_lock(locking)) == locking
    assert cls_lock.decode_unlock(cls_lock.encode_unlock(unlocking)) == unlocking


@given(infos, st.data())
def test_every_cut_of_whatever_is_written_raises(info: LockInfo, data: st.DataObject) -> None:
    reply = cls_lock.encode_info(info)
    with pytest.raises(MalformedReply):
        cls_lock.decode_info(reply[: data.draw(st.integers(0, len(reply) - 1))])


@given(st.binary(max_size=300), st.sampled_from(DECODERS))
def test_random_bytes_raise_nothing_but_malformed_reply(junk: bytes, decode: Callable[[bytes], object]) -> None:
    for data in (junk, versioned(junk)):
        with contextlib.suppress(MalformedReply):
            decode(data)


@given(st.sampled_from([KUBELET, SHARED, MANAGED, LEGACY]), st.data())
def test_a_damaged_reply_raises_nothing_but_malformed_reply(reply: bytes, data: st.DataObject) -> None:
    damaged = bytearray(reply)
    for at in data.draw(st.lists(st.integers(0, len(reply) - 1), min_size=1, max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedReply):
        cls_lock.decode_info(bytes(damaged))
