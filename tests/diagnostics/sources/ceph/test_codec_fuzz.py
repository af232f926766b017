"""Replies that were damaged on their way, many of them: a decoder reads them or raises MalformedReply, nothing else.

What is damaged was sent by a real Ceph 16.2. The damage follows a fixed seed, so that a failure can be had again;
UNSTICK_FUZZ gives another number of damaged replies (20,000 by default, in about a second).
"""

import json
import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.facts.ceph import Address
from diagnostics.sources.ceph import cls_lock, mon_answers, rbd_objects, wire
from diagnostics.sources.ceph.cls_lock import LockInfo, LockKind
from diagnostics.sources.ceph.wire import MalformedReply
from tests.diagnostics.sources.ceph import test_cls_lock, test_rbd_objects

DAMAGED = int(os.environ.get("UNSTICK_FUZZ", "20000"))
SEED = 20260314
MON = json.loads((Path(__file__).parent / "recorded" / "mon_answers_16.2.json").read_text())

Decoder = Callable[[bytes], object]
WIRE: list[tuple[Decoder, bytes]] = [
    *(
        (cls_lock.decode_info, reply)
        for reply in (
            test_cls_lock.KUBELET,
            test_cls_lock.SHARED,
            test_cls_lock.MANAGED,
            test_cls_lock.LEGACY,
            test_cls_lock.UNLOCKED_AGAIN,
        )
    ),
    (cls_lock.decode_names, test_cls_lock.NAMES),
    (lambda data: rbd_objects.decode_id(data, "rbd_id.x"), test_rbd_objects.ID),
    (lambda data: rbd_objects.decode_directory({"name_x": data}), test_rbd_objects.ID),
    (rbd_objects.decode_old_directory, test_rbd_objects.OLD_DIRECTORY),
    (lambda data: rbd_objects.decode_trash({"id_1": data}), test_rbd_objects.TRASHED),
    (rbd_objects.decode_features, bytes.fromhex("3d00000000000000")),
]
JSON: list[tuple[Decoder, bytes]] = [
    (decode, json.dumps(MON[command]).encode())
    for command, decode in {
        "sessions": lambda data: mon_answers.read_sessions(data, "a"),
        "osd dump": mon_answers.read_osds,
        "mon dump": mon_answers.read_mons,
        "mgr dump": mon_answers.read_mgr,
        "fs dump": mon_answers.read_mds,
        "health": mon_answers.read_health,
        "osd map": mon_answers.read_placement,
    }.items()
]
NUMBERS = [bytes(4), b"\1\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\1"]
VALUES: list[Any] = [
    None,
    True,
    -1,
    2**31,
    2**64,
    10**400,
    1.5,
    "",
    "x",
    "\0",
    "é" * 50,
    [],
    {},
    [[]],
    {"addr": 7},
    "[::1]:0/0",
]


def chances(run: int) -> random.Random:
    return random.Random(SEED + run)  # noqa: S311 - not a secret


def damaged(chance: random.Random, reply: bytes) -> bytes:
    """The reply with one to three damages: bits, bytes, lengths, cuts, repetitions, and pieces of other replies."""
    data = bytearray(reply)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.randint(1, 24))
        match chance.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.randrange(256)
            case 2:
                data[at : at + 4] = chance.choice(NUMBERS)
            case 3:
                del data[at:]
            case 4:
                del data[at:end]
            case 5:
                data[at:at] = data[at:end] * chance.randint(1, 3)
            case _:
                other = chance.choice(WIRE)[1]
                data[at:end] = other[chance.randrange(len(other)) :]
    return bytes(data)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value at which something else could stand: its container and its key."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def misshapen(chance: random.Random, answer: bytes) -> bytes:
    """The answer with one or two of its values, wherever they lie, missing or replaced."""
    value = json.loads(answer)
    for _ in range(chance.randint(1, 2)):
        spots = list(places(value))
        container, key = chance.choice(spots) if spots else ([value], 0)
        if chance.randrange(4):
            container[key] = deepcopy(chance.choice(VALUES))
        else:
            del container[key]
    return json.dumps(value).encode()


def outcome(decode: Decoder, data: bytes) -> object:
    """What was read, or None where it was refused. Any other error names the bytes that caused it."""
    try:
        return decode(data)
    except MalformedReply:
        return None
    except BaseException as error:
        error.add_note(f"damaged reply: {data.hex()}")
        raise


def test_damaged_replies_raise_nothing_but_malformed_reply() -> None:
    chance = chances(0)
    refused = 0
    for number in range(DAMAGED):
        decode, reply = WIRE[number % len(WIRE)]
        refused += outcome(decode, damaged(chance, reply)) is None
    assert DAMAGED // 2 < refused < DAMAGED  # some damage lies where any byte may be


def test_a_damaged_reply_that_is_read_says_the_same_when_it_is_written_and_read_again() -> None:
    chance = chances(1)
    read = 0
    for _ in range(DAMAGED // 5):
        found = outcome(cls_lock.decode_info, damaged(chance, test_cls_lock.SHARED))
        if isinstance(found, LockInfo):
            read += 1
            assert cls_lock.decode_info(cls_lock.encode_info(found)) == found
    assert read


def test_damaged_answers_of_monitors_raise_nothing_but_malformed_reply() -> None:
    chance = chances(2)
    read = refused = 0
    for number in range(DAMAGED // 10):
        decode, answer = JSON[number % len(JSON)]
        data = misshapen(chance, answer) if number % 2 else damaged(chance, answer)
        if outcome(decode, data) is None:
            refused += 1
        else:
            read += 1
    assert read > 100 < refused


@pytest.mark.parametrize(("decode", "answer"), JSON)
def test_every_cut_of_a_monitors_answer_raises(decode: Decoder, answer: bytes) -> None:
    assert decode(answer) is not None
    for size in range(0, len(answer), 7):
        with pytest.raises(MalformedReply):
            decode(answer[:size])


@pytest.mark.parametrize("decode", [decode for decode, _ in JSON])
def test_an_answer_that_is_nested_without_end_raises(decode: Decoder) -> None:
    for opening in (b"[", b'{"x":', b'[{"x":', b'{"status":"ok","x":[', b'{"fsid":"","osds":[],"x":['):
        with pytest.raises(MalformedReply):
            decode(opening * 50_000)
    with pytest.raises(MalformedReply):
        decode(b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}")


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("decode", "reply"), WIRE)
def test_no_number_in_a_reply_makes_a_decoder_take_memory_for_what_is_not_there(decode: Decoder, reply: bytes) -> None:
    for at in range(len(reply) - 3):
        for number in NUMBERS[2:]:
            claiming = reply[:at] + number + reply[at + 4 :]
            assert peak(lambda data=claiming: outcome(decode, data)) < 64_000 + 50 * len(reply)  # type: ignore[misc]


def lockers(count: int) -> bytes:
    locker = test_cls_lock.REPLIES[0][1].lockers
    return cls_lock.encode_info(LockInfo(LockKind.SHARED, "", locker * count))


def test_time_and_memory_grow_with_the_reply_and_not_faster() -> None:
    def cost(count: int) -> tuple[float, int]:
        reply = lockers(count)
        began = time.process_time()
        assert len(cls_lock.decode_info(reply).lockers) == count
        with pytest.raises(MalformedReply):
            cls_lock.decode_info(reply[:-9])
        return time.process_time() - began, peak(lambda: cls_lock.decode_info(reply))

    cost(500)
    few, many = cost(500), cost(10_000)
    assert many[0] < few[0] * 20 * 6
    assert many[1] < few[1] * 20 * 2


tails = st.binary(max_size=12)


@given(tails, tails, tails, tails, tails, st.integers(1, 255))
def test_what_newer_releases_append_to_any_struct_is_skipped(
    outer: bytes, key: bytes, state: bytes, place: bytes, sockaddr: bytes, version: int
) -> None:
    socket = bytes.fromhex("0200 1a85 0a2f883c") + bytes(8) + sockaddr
    address = wire.u8(1) + wire.versioned(
        wire.u32(2), wire.u32(9), wire.u32(len(socket)), socket, place, version=version
    )
    reply = wire.versioned(
        wire.u32(1),
        wire.versioned(wire.u8(8), wire.s64(4117), wire.text("ck"), key, version=version),
        wire.versioned(wire.u32(0), wire.u32(0), address, wire.text("said"), state, version=version),
        wire.u8(1),
        wire.text("tag"),
        outer,
        version=version,
    )
    found = cls_lock.decode_info(reply)
    assert (found.kind, found.tag) == (LockKind.EXCLUSIVE, "tag")
    (locker,) = found.lockers
    assert (locker.client, locker.cookie, locker.address) == ("client.4117", "ck", Address("10.47.136.60", 6789, 9))


@given(st.sampled_from(WIRE), st.binary(min_size=1, max_size=40))
def test_what_follows_the_end_of_a_reply_raises(case: tuple[Decoder, bytes], more: bytes) -> None:
    decode, reply = case
    with pytest.raises(MalformedReply, match="follow its end"):
        decode(reply + more)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=6).map(tuple), st.data())
def test_directories_and_names_are_read_back_and_every_cut_of_them_raises(
    names: tuple[str, ...], data: st.DataObject
) -> None:
    for encode, decode in (
        (rbd_objects.encode_old_directory, rbd_objects.decode_old_directory),
        (cls_lock.encode_names, cls_lock.decode_names),
    ):
        written = encode(names)
        assert decode(written) == names
        cut = data.draw(st.integers(1, len(written)))
        with pytest.raises(MalformedReply):
            decode(written[: cut - 1] or b"\0")
    for name in names:
        assert rbd_objects.decode_id(rbd_objects.encode_id(name), "x") == name
        (trashed,) = rbd_objects.decode_trash({"id_1": rbd_objects.encode_trashed(name)})
        assert trashed.name == name


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_read_back(number: int) -> None:
    signed = number - 2**63
    reader = wire.Reader(wire.u64(number) + wire.s64(signed) + wire.u32(number % 2**32) + wire.u8(number % 256), "x")
    assert (reader.u64("a"), reader.s64("b"), reader.u32("c"), reader.u8("d")) == (
        number, signed, number % 2**32, number % 256,
    )  # fmt: skip
    reader.end()
