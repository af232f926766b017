"""What monitors answer, in the shapes that Ceph 16.2 printed, in those of other releases, and in none."""

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.facts.ceph import Daemon, Fence, Session
from diagnostics.sources.ceph import mon_answers
from diagnostics.sources.ceph.wire import MalformedReply


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def address(kind: str, text: str, nonce: int) -> dict[str, object]:
    return {"type": kind, "addr": text, "nonce": nonce}


CLOSED = address("none", "(unrecognized address family 0)", 0)


def row(**changes: object) -> dict[str, object]:
    seen = address("any", "127.0.0.1:0", 1241431211)
    return {
        "name": "client.4121", "entity_name": "client.admin", "addrs": {"addrvec": [seen]}, "socket_addr": seen,
        "con_type": "client", "con_features": 4540138314316775423, "open": True, "caps": {"text": "allow *"},
        "authenticated": True, "global_id": 4121, **changes,
    }  # fmt: skip


MON_ROW = row(
    name="mon.0", entity_name="", global_id=0, con_type="mon", socket_addr=CLOSED,
    addrs={"addrvec": [address("v2", "127.0.0.1:43300", 0), address("v1", "127.0.0.1:46789", 0)]},
)  # fmt: skip
ADMIN = Session("client.admin", "client.4121", "127.0.0.1", "a")


def test_an_open_session_is_read_and_the_monitors_own_are_not() -> None:
    assert mon_answers.read_sessions(encoded([MON_ROW, row()]), "a") == (ADMIN,)


def test_the_same_session_twice_is_one() -> None:
    assert mon_answers.read_sessions(encoded([row(), row(name="client.?")]), "a") == (ADMIN,)


def test_a_session_that_is_not_open_is_none() -> None:
    assert mon_answers.read_sessions(encoded([row(open=False)]), "a") == ()


def test_a_connection_for_one_command_counts_for_its_client_too() -> None:
    found = mon_answers.read_sessions(encoded([row(global_id=4193)]), "a")
    assert {session.client for session in found} == {"client.4193", "client.4121"}


def test_a_session_counts_at_the_address_of_its_socket_and_at_each_that_its_client_calls_its_own() -> None:
    v6 = row(socket_addr=address("any", "[2001:db8::7]:0", 3))
    plain = row(global_id=5, name="client.5", socket_addr=CLOSED)
    found = mon_answers.read_sessions(encoded([v6, plain]), "a")
    assert [(session.client, session.ip) for session in found] == [
        ("client.4121", "2001:db8::7"), ("client.4121", "127.0.0.1"), ("client.5", "127.0.0.1"),
    ]  # fmt: skip


def test_an_open_session_that_could_be_anybodys_is_an_error() -> None:
    nowhere = row(socket_addr=CLOSED, addrs={"addrvec": []})
    with pytest.raises(MalformedReply, match=r"a session of client\.admin has no address"):
        mon_answers.read_sessions(encoded([nowhere]), "a")


OSD = {
    "osd": 0,
    "up": 1,
    "public_addrs": {"addrvec": [address("v2", "127.0.0.1:46800", 16287), address("v1", "127.0.0.1:46801", 16287)]},
    "cluster_addrs": {"addrvec": [address("v2", "10.0.0.1:46802", 16287)]},
    "state": ["exists", "up"],
}
DUMP = {
    "epoch": 31,
    "fsid": "24c6b8d5",
    "flags": "sortbitwise,noout",
    "flags_set": ["noout", "sortbitwise"],
    "osds": [OSD, {**OSD, "osd": 1, "up": 0, "state": ["exists"]}],
    "blocklist": {"127.0.0.98:0/0": "2026-11-20T17:30:30.082311+0000"},
    "range_blocklist": {"cidr:10.9.0.0:0/24": "2026-11-20T17:30:30.203065+0000"},
}
SINGLE = Fence("127.0.0.98:0/0", datetime(2026, 11, 20, 17, 30, 30, 82311, tzinfo=UTC))
RANGE = Fence("cidr:10.9.0.0:0/24", datetime(2026, 11, 20, 17, 30, 30, 203065, tzinfo=UTC))


def test_the_osd_map_gives_flags_fences_and_the_osds_that_are_up() -> None:
    facts = mon_answers.read_osds(encoded(DUMP))
    assert facts.fsid == "24c6b8d5"
    assert facts.flags == {"noout", "sortbitwise"}
    assert facts.fences == (SINGLE, RANGE)
    assert facts.daemons == (Daemon("osd.0", "127.0.0.1"), Daemon("osd.0", "10.0.0.1"))


def test_older_releases_name_the_same_things_differently() -> None:
    old = {
        "fsid": "24c6b8d5",
        "flags": "pauserd,pausewr",
        "blacklist": DUMP["blocklist"],
        "osds": [{"osd": 3, "up": 1, "public_addr": "10.0.0.3:6801/5", "cluster_addr": "[2001:db8::3]:6803/5"}],
    }
    facts = mon_answers.read_osds(encoded(old))
    assert facts.flags == {"pauserd", "pausewr"}
    assert facts.fences == (SINGLE,)
    assert facts.daemons == (Daemon("osd.3", "10.0.0.3"), Daemon("osd.3", "2001:db8::3"))


def test_an_osd_map_without_a_blocklist_is_an_error_and_not_an_empty_one() -> None:
    without = {key: value for key, value in DUMP.items() if key != "blocklist"}
    with pytest.raises(MalformedReply, match="has no blocklist"):
        mon_answers.read_osds(encoded(without))


@pytest.mark.parametrize(
    ("entry", "until", "why"),
    [
        ("somewhere", "2026-11-20T17:30:30.082311+0000", "cannot be read"),
        ("127.0.0.98:0/0", "soon", "cannot be read"),
        ("127.0.0.98:0/0", "2026-11-20 17:30:30.082311", "names no time zone"),
    ],
)
def test_a_fence_that_cannot_be_read_is_never_left_out(entry: str, until: str, why: str) -> None:
    with pytest.raises(MalformedReply, match=why):
        mon_answers.read_osds(encoded({**DUMP, "blocklist": {entry: until}}))


def test_an_osd_of_which_nobody_knows_where_it_is_is_an_error() -> None:
    with pytest.raises(MalformedReply, match=r"where osd\.0 is"):
        mon_answers.read_osds(encoded({**DUMP, "osds": [{"osd": 0, "up": 1}]}))


def test_monitors_are_named_and_placed() -> None:
    vector = {"addrvec": [address("v2", "10.0.0.1:3300", 0), address("v1", "10.0.0.1:6789", 0)]}
    mons = {"mons": [{"name": "a", "public_addrs": vector}, {"name": "b", "addr": "10.0.0.2:6789/0"}]}
    assert mon_answers.read_mons(encoded(mons)) == (
        ("a", "b"),
        (Daemon("mon.a", "10.0.0.1"), Daemon("mon.b", "10.0.0.2")),
    )


def test_a_monitor_map_without_monitors_is_an_error() -> None:
    with pytest.raises(MalformedReply, match="names no monitor"):
        mon_answers.read_mons(b'{"mons": []}')


def test_the_active_manager_is_placed_where_there_is_one() -> None:
    none = {"active_name": "", "active_addrs": {"addrvec": []}, "active_addr": CLOSED["addr"]}
    assert mon_answers.read_mgr(encoded(none)) == ()
    active = {"active_name": "x", "active_addrs": {"addrvec": [address("v2", "10.0.0.5:6800", 7)]}}
    assert mon_answers.read_mgr(encoded(active)) == (Daemon("mgr.x", "10.0.0.5"),)


def test_metadata_servers_are_placed_active_and_standing_by() -> None:
    dump = {
        "standbys": [{"name": "s", "addrs": {"addrvec": [address("v2", "10.0.0.6:6800", 7)]}}],
        "filesystems": [{"mdsmap": {"info": {"gid_4107": {"name": "m", "addr": "10.0.0.7:6801/9"}}}}],
    }
    assert mon_answers.read_mds(encoded(dump)) == (Daemon("mds.s", "10.0.0.6"), Daemon("mds.m", "10.0.0.7"))
    assert mon_answers.read_mds(b'{"standbys": [], "filesystems": []}') == ()


def test_the_primary_of_a_placement_group_may_be_missing() -> None:
    assert mon_answers.read_placement(b'{"pgid": "2.5", "acting_primary": 3}') == ("2.5", 3)
    assert mon_answers.read_placement(b'{"pgid": "2.5", "acting_primary": -1}') == ("2.5", None)


READERS: list[Callable[[bytes], object]] = [
    lambda answer: mon_answers.read_sessions(answer, "a"),
    mon_answers.read_osds,
    mon_answers.read_mons,
    mon_answers.read_mgr,
    mon_answers.read_mds,
    mon_answers.read_placement,
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("junk", [b"", b"nonsense", b"[1]", b"{", b'"\xff"', b"null"])
def test_an_answer_that_makes_no_sense_is_an_error(read: Callable[[bytes], object], junk: bytes) -> None:
    with pytest.raises(MalformedReply, match="makes no sense"):
        read(junk)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["osds", "fsid", "mons", "name", "addr", "blocklist", "standbys", "filesystems"]), inner
        )
    ),
    max_leaves=12,
)


@given(_json, st.sampled_from(READERS))
def test_whatever_json_comes_only_malformed_reply_is_raised(value: object, read: Callable[[bytes], object]) -> None:
    with contextlib.suppress(MalformedReply):
        read(encoded(value))


def test_the_monmap_tells_the_cluster_and_every_address_of_its_monitors() -> None:
    addresses = [
        {"type": "v2", "addr": "10.1.0.1:3300", "nonce": 0},
        {"type": "v1", "addr": "10.1.0.1:6789", "nonce": 0},
    ]
    mons = [
        {"name": "a", "public_addrs": {"addrvec": addresses}, "addr": "10.1.0.1:6789/0"},
        {"name": "b", "addr": "[2001:db8::1]:6789/0"},  # as before Nautilus
    ]
    fsid, found = mon_answers.read_monmap(json.dumps({"fsid": "f-1", "mons": mons}).encode())
    assert fsid == "f-1"
    assert found == {("10.1.0.1", 3300), ("10.1.0.1", 6789), ("2001:db8::1", 6789)}


@pytest.mark.parametrize(
    "dump",
    [
        {"mons": [{"name": "a", "addr": "10.1.0.1:6789/0"}]},
        {"fsid": "f-1", "mons": []},
        {"fsid": "f-1", "mons": [{"name": "a", "addr": "(unrecognized address family 0)"}]},
        {"fsid": "f-1"},
    ],
)
def test_a_monmap_that_does_not_tell_which_cluster_it_is_of_is_malformed(dump: dict[str, object]) -> None:
    with pytest.raises(MalformedReply):
        mon_answers.read_monmap(json.dumps(dump).encode())
