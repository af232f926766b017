"""RBD's own objects: what a real Ceph 16.2 keeps in them, and every cut of it."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.sources.ceph import rbd_objects
from diagnostics.sources.ceph.rbd_objects import Trashed
from diagnostics.sources.ceph.wire import MalformedReply

ID = bytes.fromhex("0c000000") + b"1028c37d9da4"
OLD_DIRECTORY = bytes.fromhex("00000000 02000000 07000000 6f6c642d74776f 00000000 04000000 6f6c6431 00000000")
TRASHED = bytes.fromhex("02011d00000000 07000000 74726173686564 3683006bebefac10 3683006bebefac10 00")


def test_the_id_of_an_image_is_read() -> None:
    assert rbd_objects.decode_id(ID, "rbd_id.new1") == "1028c37d9da4"
    assert rbd_objects.encode_id("1028c37d9da4") == ID


def test_the_directory_gives_names_and_ids_and_leaves_the_rest_out() -> None:
    omap = {"name_new1": ID, "id_1028c37d9da4": b"\x04\0\0\0new1", "state": b"\0"}
    assert rbd_objects.decode_directory(omap) == {"new1": "1028c37d9da4"}


def test_format_1_images_are_read_from_the_directorys_data() -> None:
    assert rbd_objects.decode_old_directory(OLD_DIRECTORY) == ("old-two", "old1")
    assert rbd_objects.encode_old_directory(("old-two", "old1")) == OLD_DIRECTORY
    assert rbd_objects.decode_old_directory(b"") == ()


def test_the_header_of_the_old_directory_is_skipped() -> None:
    with_header = bytes.fromhex("02000000 ffff 01000000 01000000 78 03000000 616263")
    assert rbd_objects.decode_old_directory(with_header) == ("x",)


def test_trashed_images_are_read() -> None:
    assert rbd_objects.decode_trash({"id_10362acd9263": TRASHED}) == (Trashed("10362acd9263", "trashed"),)
    assert rbd_objects.decode_trash({"id_1": rbd_objects.encode_trashed("x")}) == (Trashed("1", "x"),)


def test_namespaces_and_mirrored_images_are_read_from_keys() -> None:
    assert rbd_objects.decode_namespaces({"name_ns1": b"", "other": b""}) == ("ns1",)
    keys = {"global_b5b3": b"", "image_102acb61c9de": b"", "mirror_mode": b""}
    assert rbd_objects.decode_mirrored(keys) == {"102acb61c9de"}


def test_features_are_read_as_bits() -> None:
    assert rbd_objects.decode_features(bytes.fromhex("3d00000000000000")) == 0b111101
    migrating = rbd_objects.decode_features(bytes.fromhex("3d02000000000000"))
    assert migrating & rbd_objects.MIGRATING_FEATURE


CUT: list[tuple[Callable[[bytes], object], bytes]] = [
    (lambda data: rbd_objects.decode_id(data, "rbd_id.x"), ID),
    (lambda data: rbd_objects.decode_directory({"name_x": data}), ID),
    (rbd_objects.decode_old_directory, OLD_DIRECTORY),
    (lambda data: rbd_objects.decode_trash({"id_x": data}), TRASHED),
    (rbd_objects.decode_features, bytes(8)),
]


@pytest.mark.parametrize(("decode", "data"), CUT)
def test_every_cut_raises(decode: Callable[[bytes], object], data: bytes) -> None:
    for size in range(1 if decode is rbd_objects.decode_old_directory else 0, len(data)):
        with pytest.raises(MalformedReply):
            decode(data[:size])


@pytest.mark.parametrize(("decode", "data"), CUT)
def test_bytes_after_the_end_raise(decode: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(MalformedReply):
        decode(data + b"\0")


@given(st.binary(max_size=200), st.sampled_from([decode for decode, _ in CUT]))
def test_random_bytes_raise_nothing_but_malformed_reply(junk: bytes, decode: Callable[[bytes], object]) -> None:
    with contextlib.suppress(MalformedReply):
        decode(junk)
