"""Addresses and fences as Ceph writes them, and what a reading of locks tells of an image."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.facts.ceph import (
    Address,
    Fence,
    Image,
    ImageSpec,
    LockedImage,
    Locker,
    Locks,
    PoolProblem,
    PoolScan,
    parse_fence,
)
from diagnostics.model import Subject

LATER = datetime(2031, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "address", "written"),
    [
        ("10.47.136.60:0/1864102866", Address("10.47.136.60", 0, 1864102866), None),
        ("v1:10.47.136.60:6789/0", Address("10.47.136.60", 6789, 0), "10.47.136.60:6789/0"),
        ("v2:10.1.2.6:3300/7", Address("10.1.2.6", 3300, 7), "10.1.2.6:3300/7"),
        ("any:10.1.2.6:0/7", Address("10.1.2.6", 0, 7), "10.1.2.6:0/7"),
        ("[2001:db8::7]:0/5", Address("2001:db8::7", 0, 5), None),
        ("[2001:DB8:0:0::7]:0/5", Address("2001:db8::7", 0, 5), "[2001:db8::7]:0/5"),
    ],
)
def test_an_address_is_read_and_written_as_ceph_does(text: str, address: Address, written: str | None) -> None:
    assert Address.parse(text) == address
    assert str(address) == (written or text)


@pytest.mark.parametrize(
    "text",
    [
        "", "10.1.2.6", "10.1.2.6:0", "10.1.2.6/7", "10.1.2.6:0/", "10.1.2.6:/7", "10.1.2.6:0/7 junk", "10.1.2.6:0/-1",
        "10.1.2.6:0/٣", "10.1.2.6:65536/0", "10.1.2.6:0/4294967296", "10.1.2:0/7", "host:0/7", "2001:db8::7:0/5",
        "[10.1.2.6]:0/7", "[2001:db8::7:0/5", "10.1.2.6:0/7/8", " 10.1.2.6:0/7",
    ],
)  # fmt: skip
def test_whatever_ceph_would_cut_off_or_guess_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|appear"):
        Address.parse(text)


@given(st.ip_addresses().map(str), st.integers(0, 65535), st.integers(0, 0xFFFFFFFF))
def test_every_address_survives_being_written_and_read(ip: str, port: int, nonce: int) -> None:
    if "%" not in ip:
        assert Address.parse(str(Address(ip, port, nonce))) == Address(ip, port, nonce)


@pytest.mark.parametrize(
    ("entry", "covers", "covers_host"),
    [
        ("10.1.2.6:0/0", True, True),
        ("10.1.2.6:0/7", True, False),
        ("10.1.2.6:0/8", False, False),
        ("10.1.2.6:6789/7", False, False),
        ("10.1.2.6:6789/0", False, False),
        ("10.1.2.7:0/0", False, False),
        ("cidr:10.1.2.0:0/24", True, True),
        ("cidr:10.1.2.7:0/24", True, True),
        ("cidr:10.1.2.6:0/32", True, True),
        ("cidr:10.1.2.7:0/32", False, False),
        ("cidr:0.0.0.0:0/0", True, True),
        ("cidr:[::]:0/0", False, False),
    ],
)
def test_a_fence_covers_an_address_or_its_whole_host(entry: str, covers: bool, covers_host: bool) -> None:
    fence = Fence(entry, LATER)
    assert fence.covers(Address("10.1.2.6", 0, 7)) is covers
    assert fence.covers_host("10.1.2.6") is covers_host


@given(st.sampled_from(["10.1.2.6:0/0", "10.1.2.6:5/0", "10.1.2.6:0/7", "cidr:10.0.0.0:0/8", "cidr:10.1.2.6:0/32"]),
       st.sampled_from([0, 5]), st.sampled_from([0, 7, 8]))  # fmt: skip
def test_a_fence_of_the_whole_host_covers_each_of_its_clients(entry: str, port: int, nonce: int) -> None:
    fence = Fence(entry, LATER)
    if fence.covers_host("10.1.2.6"):
        assert fence.covers(Address("10.1.2.6", port, nonce))


@pytest.mark.parametrize(
    "entry", ["", "10.0.0.0/24", "cidr:10.0.0.0/24", "cidr:10.0.0.0:0/33", "cidr:x:0/8", "10.1.2.6"]
)
def test_an_entry_that_makes_no_sense_is_not_taken_for_one(entry: str) -> None:
    with pytest.raises(ValueError):
        parse_fence(entry)


def test_only_a_cookie_that_librbd_writes_makes_a_lock_managed() -> None:
    cookies = ["auto 140", "automatic", "auto", "kubelet_lock_magic_node1", ""]
    lockers = [Locker("client.1", cookie, Address("10.1.2.6", 0, 7)) for cookie in cookies]
    assert [locker.managed for locker in lockers] == [True, False, False, False, False]
    assert lockers[0].name == "client.1/auto 140"


def test_an_image_is_named_with_its_pool_and_with_its_namespace_if_it_has_one() -> None:
    image = Image("fsid", "mioss", "", "x", 1, "x.rbd")
    inside = Image("fsid", "mioss", "team", "x", 2, "rbd_header.1")
    assert (image.spec, str(ImageSpec("mioss", "", "x"))) == ("mioss/x", "mioss/x")
    assert (inside.spec, str(ImageSpec("mioss", "team", "x"))) == ("mioss/team/x", "mioss/team/x")
    assert image.subject == Subject("RBDImage", None, "mioss/x", "fsid/mioss//x")
    assert inside.subject.uid == "fsid/mioss/team/x"


def test_a_reading_tells_only_of_images_that_it_met_and_of_pools_that_it_walked() -> None:
    spec = ImageSpec("mioss", "", "x")
    locked = LockedImage(Image("fsid", "mioss", "", "x", 1, "x.rbd"), True, "", (), ())
    assert not Locks("fsid", ()).covers(spec)
    assert not Locks("fsid", (), (PoolScan("mioss", "team", 1, 0), PoolScan("kube", "", 1, 0))).covers(spec)
    assert not Locks("fsid", (), free=(ImageSpec("mioss", "", "y"),)).covers(spec)
    for told in (
        Locks("fsid", (locked,)),
        Locks("fsid", (), (PoolScan("mioss", "", 1, 0),)),
        Locks("fsid", (), problems=(PoolProblem("mioss", "?"),)),
        Locks("fsid", (), free=(spec,)),
        Locks("fsid", (), absent=(spec,)),
    ):
        assert told.covers(spec)
