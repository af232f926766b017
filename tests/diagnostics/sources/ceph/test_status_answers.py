"""What monitors answer about the cluster's own state, in the shapes that Ceph 16.2 printed, in others, and in none."""

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.sandbox.ceph import Caps, SimulatedCluster
from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import STATUS, ClusterStatus, HealthCheck, OsdState, PoolUse
from diagnostics.model import Scope
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph import status_answers
from diagnostics.sources.ceph.source import CephSource
from diagnostics.sources.ceph.wire import MalformedReply

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


STUCK = [
    "pg 1.0 is stuck stale for 87s, current state stale+active+clean, last acting [0]",
    "pg 3.1f is stuck inactive since forever, current state unknown, last acting []",
    "pg 1.2 is down, acting [1,2]",
]
HEALTH = {
    "status": "HEALTH_WARN",
    "checks": {
        "OSD_DOWN": {
            "severity": "HEALTH_WARN", "summary": {"message": "1 osds down", "count": 1},
            "detail": [{"message": "osd.0 (root=default,host=vm) is down"}], "muted": False,
        },
        "PG_AVAILABILITY": {
            "severity": "HEALTH_WARN",
            "summary": {"message": "Reduced data availability: 4 pgs inactive, 5 pgs stale", "count": 9},
            "detail": [{"message": line} for line in [*STUCK, "3 more pgs"]], "muted": True,
        },
    },
    "mutes": [{"code": "PG_AVAILABILITY", "sticky": False}],
}  # fmt: skip


def test_health_is_told_with_its_details_and_what_is_muted() -> None:
    health, checks = status_answers.read_health(encoded(HEALTH))
    assert health == "HEALTH_WARN"
    assert checks[0] == HealthCheck(
        "OSD_DOWN", "HEALTH_WARN", "1 osds down", ("osd.0 (root=default,host=vm) is down",), muted=False
    )
    assert [check.muted for check in checks] == [False, True]


def test_releases_without_mutes_and_details_are_read_too() -> None:
    old = {"status": "HEALTH_ERR", "checks": {"MON_DOWN": {"severity": "HEALTH_WARN", "summary": {"message": "m"}}}}
    assert status_answers.read_health(encoded(old)) == ("HEALTH_ERR", (HealthCheck("MON_DOWN", "HEALTH_WARN", "m"),))


def test_the_placement_groups_that_serve_nothing_are_named_with_what_is_said_of_them() -> None:
    _, checks = status_answers.read_health(encoded(HEALTH))
    assert status_answers.inactive_pgs(checks, "x") == {
        "1.0": "stuck stale for 87s, current state stale+active+clean, last acting [0]",
        "3.1f": "stuck inactive since forever, current state unknown, last acting []",
        "1.2": "down, acting [1,2]",
    }
    assert status_answers.inactive_pgs(checks, None) == {}
    assert status_answers.inactive_pgs([HealthCheck("PG_DEGRADED", "HEALTH_WARN", "", (STUCK[0],))], "x") == {}


def quorum(names: list[str]) -> bytes:
    return encoded({"quorum_names": names, "monmap": {"mons": [{"name": n, "rank": 0} for n in "abc"]}})


def test_monitors_and_those_in_the_quorum_are_named() -> None:
    assert status_answers.read_quorum(quorum(["a", "b"])) == (("a", "b", "c"), ("a", "b"))


@pytest.mark.parametrize("names", [[], ["a", "z"]])
def test_a_quorum_of_nobody_or_of_strangers_is_an_error(names: list[str]) -> None:
    with pytest.raises(MalformedReply, match="has the quorum"):
        status_answers.read_quorum(quorum(names))


def osd(number: int, up: int, inside: int, *state: str) -> dict[str, Any]:
    return {"osd": number, "up": up, "in": inside, "state": ["exists", *state]}


DUMP = {
    "osds": [
        osd(0, 1, 1, "up"), osd(1, 0, 1), osd(2, 0, 0), osd(3, 0, 1, "new"), osd(4, 0, 0, "destroyed"), osd(5, 0, 1),
        osd(6, 0, 0),
    ],
    "osd_xinfo": [
        {"osd": 0, "down_stamp": "2026-03-01T09:00:00.243196+0000"},
        {"osd": 1, "down_stamp": "2026-03-01T11:00:00.000000+0000"},
        {"osd": 2, "down_stamp": "0.000000"},
        {"osd": 5, "down_stamp": "2020-01-01 12:00:00.000000"},
    ],
    "pools": [
        {"pool": 1, "pool_name": "rbd", "flags_names": "hashpspool,full,full_quota,selfmanaged_snaps"},
        {"pool": 2, "pool_name": "plain", "flags_names": ""},
        {"pool": 3, "pool_name": "just-made", "flags_names": "hashpspool"},
    ],
}  # fmt: skip


def test_osds_are_up_or_down_since_when_in_or_out_and_those_without_data_left_out() -> None:
    assert status_answers.read_osd_states(encoded(DUMP)) == (
        OsdState("osd.0", up=True, inside=True),
        OsdState("osd.1", up=False, inside=True, down_since=NOW - timedelta(hours=1)),
        OsdState("osd.2", up=False, inside=False),
        OsdState("osd.5", up=False, inside=True),
        OsdState("osd.6", up=False, inside=False),
    )


def test_a_manager_counts_once_it_has_taken_up_its_work() -> None:
    assert status_answers.read_active_mgr(b'{"active_name": "x", "available": true}') == "x"
    assert status_answers.read_active_mgr(b'{"active_name": "x", "available": false}') is None
    assert status_answers.read_active_mgr(b'{"active_name": "", "available": false}') is None


COUNTS = {
    "pgmap": {"pgs_by_state": [{"state_name": "active+clean", "count": 9}, {"state_name": "unknown", "count": 4}]}
}


def test_placement_groups_are_counted_by_a_manager_only() -> None:
    assert status_answers.read_pgs(encoded(COUNTS), "x") == {"active+clean": 9, "unknown": 4}
    assert status_answers.read_pgs(encoded(COUNTS), None) == {}


def df(**used: float) -> bytes:
    pools = [{"name": n, "id": 1, "stats": {"percent_used": u, "max_avail": 1024}} for n, u in used.items()]
    return encoded({"stats": {}, "pools": pools})


def test_pools_have_flags_always_and_numbers_where_a_manager_measured_them() -> None:
    dump, use = encoded(DUMP), df(rbd=0.5, plain=0)
    flags = ("hashpspool", "full", "full_quota", "selfmanaged_snaps")
    measured = (
        PoolUse("rbd", 0.5, 1024, flags), PoolUse("plain", 0.0, 1024), PoolUse("just-made", flags=("hashpspool",)),
    )  # fmt: skip
    assert status_answers.read_pools(dump, use, "x") == measured
    unmeasured = [(pool.used, pool.left, pool.flags) for pool in status_answers.read_pools(dump, use, None)]
    assert unmeasured == [(None, None, flags), (None, None, ()), (None, None, ("hashpspool",))]


@pytest.mark.parametrize("share", [-0.1, 1.5, 97.0])
def test_a_share_that_is_none_is_an_error(share: float) -> None:
    with pytest.raises(MalformedReply, match="of pool rbd is used"):
        status_answers.read_pools(encoded(DUMP), df(rbd=share), "x")


READERS: list[Callable[[bytes], object]] = [
    status_answers.read_health,
    status_answers.read_quorum,
    status_answers.read_osd_states,
    status_answers.read_active_mgr,
    lambda answer: status_answers.read_pgs(answer, "x"),
    lambda answer: status_answers.read_pools(answer, df(), "x"),
    lambda answer: status_answers.read_pools(encoded(DUMP), answer, "x"),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("junk", [b"", b"nonsense", b"[1]", b"{", b'"\xff"', b"null", b"{}"])
def test_an_answer_that_makes_no_sense_is_an_error(read: Callable[[bytes], object], junk: bytes) -> None:
    with pytest.raises(MalformedReply, match="makes no sense"):
        read(junk)


_KEYS = ["status", "checks", "osds", "in", "up", "osd", "pools", "pgmap", "pgs_by_state", "mons", "quorum_names"]
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner),
    max_leaves=12,
)


@given(_json, st.sampled_from(READERS))
def test_whatever_json_comes_only_malformed_reply_is_raised(value: object, read: Callable[[bytes], object]) -> None:
    with contextlib.suppress(MalformedReply):
        read(encoded(value))


# --- Through the source, over the simulated Ceph


async def status(cluster: SimulatedCluster, caps: Caps = Caps.DIAGNOSE) -> ClusterStatus:
    source = CephSource(lambda: cluster.connect("client.unstick", caps=caps))
    found = await source.fetch(STATUS, Snapshot("c", NOW, Scope("c")))
    assert isinstance(found, ClusterStatus)
    return found


@pytest.fixture
def cluster() -> SimulatedCluster:
    made = SimulatedCluster(lambda: NOW)
    made.create_pool("rbd")
    return made


async def test_a_cluster_that_is_well(cluster: SimulatedCluster) -> None:
    cluster.used["rbd"] = 0.25
    found = await status(cluster)
    assert found == ClusterStatus(
        cluster.fsid, "HEALTH_OK", (), ("a", "b", "c"), ("a", "b", "c"),
        tuple(OsdState(f"osd.{number}", up=True, inside=True) for number in range(3)), "x", {"active+clean": 8}, {},
        (PoolUse("rbd", 0.25, 75 * 1024**3, ("hashpspool",)),),
    )  # fmt: skip
    assert not status_answers.may_lack_service(found)


async def test_a_cluster_that_is_not(cluster: SimulatedCluster) -> None:
    cluster.down = {number: NOW - timedelta(minutes=5) for number in cluster.osds}
    cluster.out, cluster.silent_mons, cluster.used["rbd"] = {2}, {"c"}, 0.97
    cluster.muted = {"MON_DOWN"}
    found = await status(cluster)
    assert (found.health, found.quorum, found.pgs) == ("HEALTH_ERR", ("a", "b"), {"stale+active+clean": 8})
    assert {check.code for check in found.checks} == {"MON_DOWN", "OSD_DOWN", "POOL_FULL", "PG_AVAILABILITY"}
    assert [check.code for check in found.checks if check.muted] == ["MON_DOWN"]
    assert len(found.inactive) == 8
    assert found.inactive["1.0"] == "stuck stale for 5m, current state stale+active+clean, last acting [0,1,2]"
    assert [(osd.up, osd.inside) for osd in found.osds] == [(False, True), (False, True), (False, False)]
    assert found.pools[0].flags == ("hashpspool", "full")


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ({"down": {1: NOW}}, False), ({"down": dict.fromkeys(range(3), NOW)}, True), ({"mgr": None}, True), ({"primaries": {"1.3": None}}, True),
        ({"silent_mons": {"b"}}, False), ({"used": {"rbd": 0.99}}, False),
    ],
)  # fmt: skip
async def test_what_may_leave_placement_groups_unserved(
    cluster: SimulatedCluster, change: dict[str, Any], lacks: bool
) -> None:
    vars(cluster).update(change)
    assert status_answers.may_lack_service(await status(cluster)) is lacks


async def test_without_a_manager_its_last_numbers_are_not_told(cluster: SimulatedCluster) -> None:
    cluster.mgr = None
    found = await status(cluster)
    assert (found.mgr, found.pgs) == (None, {})
    assert found.pools == (PoolUse("rbd", flags=("hashpspool",)),)
    assert [check.code for check in found.checks] == ["MGR_DOWN"]


@pytest.mark.parametrize("command", ["status", "health", "quorum_status", "df", "osd dump", "mgr dump"])
async def test_a_refused_command_is_named_with_the_caps_to_give(cluster: SimulatedCluster, command: str) -> None:
    cluster.denied.add(command)
    with pytest.raises(CouldNotLook, match=rf"'{command}'.*mon 'allow r, allow command sessions'"):
        await status(cluster)
