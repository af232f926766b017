"""What a real Ceph says of its own trouble, through a real scan with the reading identity: each trouble, and its end.

The cluster is this module's own, because its OSD falls silent. Its only manager counts placement groups and measures pools.
"""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from diagnostics.catalog import chosen
from diagnostics.model import Finding, Outcome, Scope, Severity, Status
from diagnostics.scan import scan
from diagnostics.sources.ceph.librados import LibRados, Timeouts
from diagnostics.sources.ceph.source import CephSource
from tests.diagnostics.recorded import Recording, World
from tests.lab.ceph import Ceph, Identity
from tests.lab.waiting import until

POOL = "images"
IMAGES = ("old", "new")
CHECKS = tuple(
    f"ceph/{name}"
    for name in ("osds_down", "mons_out_of_quorum", "pgs_unavailable", "pools_near_full", "header_pgs_inactive")
)
READING = {"mon": "allow r, allow command sessions", "osd": "profile rbd-read-only"}
SHORT = Timeouts(mount=5, mon=5, osd=3)


@pytest.fixture(scope="module")
def own(lab_folder: Path) -> Iterator[Ceph]:
    """A Ceph with one image of each format, and a manager."""
    with Ceph(Path(tempfile.mkdtemp(prefix="s-", dir=lab_folder)) / "c") as ceph:
        if not ceph.own:
            pytest.skip("these tests stop daemons: CEPH_CONF names a cluster that is not theirs")
        ceph.create_pool(POOL)
        for number, name in enumerate(IMAGES, 1):
            ceph.create_image(f"{POOL}/{name}", number)
        ceph.mgr_start()
        yield ceph


@pytest.fixture(scope="module")
def reader(own: Ceph) -> Identity:
    return own.identity("status-reader", READING)


async def look(reader: Identity) -> dict[str, Outcome]:
    """A scan with these checks, whose volumes name the images; the outcomes by the checks' names."""
    volumes = [
        {
            "metadata": {"name": f"pv-{name}", "uid": f"uid-{name}"},
            "spec": {"rbd": {"monitors": ["127.0.0.1"], "pool": POOL, "image": name}},
        }
        for name in IMAGES
    ]
    now = datetime.now(UTC)
    kubernetes = Recording(World("volumes of the real images", now, {"persistentvolumes": volumes}))
    ceph = CephSource(LibRados(reader.conf, reader.user, SHORT).connect)
    try:
        report = await scan([kubernetes, ceph], chosen(ids=CHECKS), Scope("c"), (), now)
    finally:
        await ceph.aclose()
    return {outcome.check.removeprefix("ceph/"): outcome for outcome in report.outcomes}


def statuses(outcomes: dict[str, Outcome]) -> dict[str, Status]:
    return {name: outcome.status for name, outcome in outcomes.items()}


def only(outcome: Outcome) -> Finding:
    (finding,) = outcome.findings
    return finding


WELL = {name.removeprefix("ceph/"): Status.OK for name in CHECKS}


async def test_a_cluster_that_is_well_is_ok_with_the_reading_identity(own: Ceph, reader: Identity) -> None:
    outcomes = await look(reader)
    assert statuses(outcomes) == WELL, outcomes


async def test_an_osd_that_fell_silent_is_the_root_of_images_that_nobody_can_open(own: Ceph, reader: Identity) -> None:
    own.osd_stop()
    try:
        own.run("ceph", "osd", "down", "0")
        at_once = await look(reader)
        until("Ceph to name the groups", lambda: "PG_AVAILABILITY" in own.run("ceph", "health", "detail"), timeout=30)
        later = await look(reader)
    finally:
        own.osd_start()
    for outcomes in (at_once, later):
        assert statuses(outcomes) == {
            **WELL,
            "osds_down": Status.FOUND,
            "pgs_unavailable": Status.FOUND,
            "header_pgs_inactive": Status.FOUND,
        }, outcomes
        down = only(outcomes["osds_down"])
        assert (str(down.subject), down.severity) == ("OSD osd.0", Severity.CRITICAL)
        assert down.since is not None
        assert abs(down.since - datetime.now(UTC)).total_seconds() < 120
        groups = only(outcomes["pgs_unavailable"])
        assert str(groups.root) == "OSD osd.0"
        assert "4 of 4 placement groups serve no I/O (4 stale+active+clean)" in groups.summary
        images = outcomes["header_pgs_inactive"].findings
        assert {(str(found.subject), str(found.root)) for found in images} == {
            (f"RBDImage {POOL}/{name}", "OSD osd.0") for name in IMAGES
        }
        assert {found.cause for found in images} == {"rbd-map-timeout"}
    assert "last acting [0]" in str(only(later["pgs_unavailable"]).chain[0].evidence)
    until("the OSD to be up again", lambda: "1 up" in own.run("ceph", "osd", "stat"), timeout=60)
    until("all groups to be active", lambda: "PG_AVAILABILITY" not in own.run("ceph", "health", "detail"), timeout=60)
    until("their count", lambda: "4 active+clean" in own.run("ceph", "pg", "stat"), timeout=30)
    assert statuses(await look(reader)) == WELL


async def test_a_pool_behind_an_osd_that_is_near_full_is_found_with_it(own: Ceph, reader: Identity) -> None:
    data = own.folder / "data"
    data.write_bytes(b"x" * (40 << 20))
    own.run("rados", "-p", POOL, "put", "large", str(data))
    own.run("ceph", "osd", "set-nearfull-ratio", "0.01")
    try:
        until("Ceph to flag the pool", lambda: "POOL_NEARFULL" in own.run("ceph", "health", "detail"), timeout=30)
        outcomes = await look(reader)
    finally:
        own.run("ceph", "osd", "set-nearfull-ratio", "0.85")
        own.run("rados", "-p", POOL, "rm", "large")
    assert statuses(outcomes) == {**WELL, "pools_near_full": Status.FOUND}, outcomes
    found = only(outcomes["pools_near_full"])
    assert (str(found.subject), str(found.root)) == (f"Pool {POOL}", "OSD osd.0")
    assert found.severity is Severity.WARNING
    until("the flag to go", lambda: "POOL_NEARFULL" not in own.run("ceph", "health", "detail"), timeout=30)


async def test_a_quota_that_is_used_up_is_critical_and_blames_no_osd(own: Ceph, reader: Identity) -> None:
    own.run("ceph", "osd", "pool", "set-quota", POOL, "max_objects", "1")
    try:
        until("Ceph to flag the pool", lambda: "POOL_FULL" in own.run("ceph", "health", "detail"), timeout=30)
        found = only((await look(reader))["pools_near_full"])
    finally:
        own.run("ceph", "osd", "pool", "set-quota", POOL, "max_objects", "0")
    assert (str(found.root), found.severity) == (f"Pool {POOL}", Severity.CRITICAL)
    assert "has used up its quota" in found.summary
    until("the flag to go", lambda: "POOL_FULL" not in own.run("ceph", "health", "detail"), timeout=30)


async def test_without_a_manager_its_last_numbers_prove_nothing(own: Ceph, reader: Identity) -> None:
    own.mgr_stop()
    outcomes = await look(reader)
    assert "4 active+clean" in own.run("ceph", "status"), "the monitors still tell the old numbers"
    blind = ("pgs_unavailable", "pools_near_full", "header_pgs_inactive")
    assert statuses(outcomes) == {**WELL, **dict.fromkeys(blind, Status.UNKNOWN)}, outcomes
    for name in blind:
        assert "no manager is active" in str(outcomes[name].reason)


async def test_a_mon_that_is_down_makes_all_of_it_unknown_in_time(own: Ceph, reader: Identity) -> None:
    own.mon_stop()
    try:
        began = datetime.now(UTC)
        outcomes = await look(reader)
        took = (datetime.now(UTC) - began).total_seconds()
    finally:
        own.mon_start()
    assert set(statuses(outcomes).values()) == {Status.UNKNOWN}, outcomes
    for outcome in outcomes.values():
        assert "Ceph could not be asked: no monitor of " in str(outcome.reason)
    assert took < 20
