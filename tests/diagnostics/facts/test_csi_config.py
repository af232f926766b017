"""ceph-csi's configuration, as its plugins would read it: shapes, addresses, and what they could not use."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import Daemon, OsdMap
from diagnostics.facts.csi import CSI_CONFIG
from diagnostics.facts.csi_config import (
    ClusterEntry,
    cluster_id_of,
    config_unseen,
    configs,
    is_of,
    parse_config,
    stale_monitors,
)
from diagnostics.facts.kubernetes import PODS, Listing
from diagnostics.facts.resources import (
    ConfigMap,
    ConfigMapSource,
    CSISource,
    Meta,
    Owner,
    Pod,
    PodSpec,
    PodVolume,
    Volume,
    VolumeSpec,
)
from diagnostics.model import Scope

OSDMAP = OsdMap("fsid-1", frozenset(), (), (Daemon("mon.a", "10.0.1.1"), Daemon("osd.0", "10.0.1.2")), ())


def config_map(entries: Any, key: str = "config.json", **more: str) -> ConfigMap:
    text = entries if isinstance(entries, str) else json.dumps(entries)
    return ConfigMap(Meta("ceph-csi-config", "ceph"), {key: text, **more})


def entry(*monitors: str, name: str = "c") -> ClusterEntry:
    return ClusterEntry(name, monitors)


@pytest.mark.parametrize("key", ["config.json", "csi-cluster-config-json"])
def test_the_list_is_found_under_ceph_csis_key_and_rooks(key: str) -> None:
    found = parse_config(config_map([{"clusterID": "c", "monitors": ["10.0.1.1:6789"]}], key))
    assert (found.entries, found.problems, found.readable) == ((entry("10.0.1.1:6789"),), (), True)


@pytest.mark.parametrize(
    "given",
    [
        {"clusterID": "c", "monitors": ["m"], "rbd": {"radosNamespace": "n"}},
        {"clusterID": "c", "monitors": ["m"], "radosNamespace": "n"},
        {"clusterid": "c", "MONITORS": ["m"], "RBD": {"radosnamespace": "n"}, "cephFS": None, "readAffinity": {"enabled": True}},
    ],
    ids=["nested", "as up to 3.6", "in any case, beside what is new"],
)  # fmt: skip
def test_the_rados_namespace_is_found_where_each_version_keeps_it(given: Any) -> None:
    assert parse_config(config_map([given])).entries == (ClusterEntry("c", ("m",), "n"),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no use"),
        ("[{]", "no use"),
        ('[{"clusterID": "c", "monitors": ["m"]},]', "trailing comma"),
        ("[" * 100_000, "no use"),
        ('{"clusterID": "c"}', "not a list"),
        ("null", "not a list"),
        ('["c"]', "entry 1 is not an object"),
        ('[{"clusterID": 7}]', "clusterID of entry 1"),
        ('[{"clusterID": "c", "monitors": "10.0.1.1"}]', "monitors of entry 1"),
        ('[{"clusterID": "c", "monitors": ["m", 1]}]', "monitors of entry 1"),
        ('[{"clusterID": "c", "monitors": ["m"]}, {"clusterID": "d", "rbd": []}]', "rbd part of entry 2"),
        ('[{"clusterID": "c", "rbd": {"radosNamespace": 1}}]', "radosNamespace of entry 1"),
    ],
)
def test_what_go_could_not_decode_leaves_nothing_to_conclude_from(text: str, says: str) -> None:
    found = parse_config(config_map(text))
    assert (found.entries, found.readable) == ((), False)
    (problem,) = found.problems
    assert says in problem


def test_a_config_map_without_the_list_is_a_problem_but_rooks_second_one_is_none() -> None:
    bare = parse_config(ConfigMap(Meta("ceph-csi-config", "ceph"), None))
    assert (bare.readable, bare.problems) == (False, ("it has no config.json",))
    rooks = parse_config(config_map('[{"ClusterIDMapping": {"a": "b"}}]', "csi-mapping-config-json"))
    assert (rooks.readable, rooks.problems, rooks.mapped) == (True, (), {"a", "b"})


@pytest.mark.parametrize("text", ["", "{", "null", '[1, {"clusterIDMapping": 1}, {}]'])
def test_a_mapping_that_cannot_be_read_maps_nothing(text: str) -> None:
    entries = [{"clusterID": "c", "monitors": ["m"]}]
    found = parse_config(config_map(entries, **{"cluster-mapping.json": text}))
    assert (found.mapped, found.problems) == (frozenset(), ())


def test_the_first_of_two_entries_counts_and_all_that_is_wrong_is_told() -> None:
    found = parse_config(
        config_map([{"clusterID": "c", "monitors": ["a"]}, {"clusterID": "c", "monitors": [" "]}, {"monitors": None}])
    )
    assert found.entry("c") == entry("a")
    assert found.entry("d") is None
    assert found.problems == (
        "an entry has no clusterID",
        "cluster c has no monitors",
        "cluster c is there 2 times; only the first is used",
    )


@pytest.mark.parametrize(
    ("written", "ips", "names"),
    [
        ("10.0.1.1", {"10.0.1.1"}, set()),
        ("10.0.1.1:6789", {"10.0.1.1"}, set()),
        ("10.0.1.1:6789,10.0.1.2:6789", {"10.0.1.1", "10.0.1.2"}, set()),
        ("v2:10.0.1.1:3300/0", {"10.0.1.1"}, set()),
        ("[v2:10.0.1.1:3300/0,v1:10.0.1.1:6789/0]", {"10.0.1.1"}, set()),
        ("[v2:[fd00:0::1]:3300,v1:[fd00::1]:6789]", {"fd00::1"}, set()),
        ("[fd00::1]:6789", {"fd00::1"}, set()),
        ("fd00::1", {"fd00::1"}, set()),
        ("mon.ceph.svc:6789", set(), {"mon.ceph.svc"}),
        (" ", set(), set()),
    ],
)
def test_a_monitor_is_understood_in_each_way_of_writing_it(written: str, ips: set[str], names: set[str]) -> None:
    assert (entry(written).ips, entry(written).names) == (ips, names)


@pytest.mark.parametrize(
    ("one", "ours", "stale"),
    [
        (entry("10.0.1.1:6789"), True, ()),
        (entry("10.0.1.1:6789", "10.0.1.2:6789"), True, ("10.0.1.2",)),  # an OSD is there, no monitor
        (entry("10.9.9.9:6789", name="fsid-1"), True, ("10.9.9.9",)),
        (entry("10.9.9.9:6789"), False, ()),
        (entry("10.9.9.9:6789", "mon:6789"), None, ()),
        (entry("mon:6789"), None, ()),
        (entry(), None, ()),
    ],
)
def test_only_an_entry_of_this_ceph_can_have_stale_monitors(
    one: ClusterEntry, ours: bool | None, stale: tuple[str, ...]
) -> None:
    assert (is_of(one, OSDMAP), stale_monitors(one, OSDMAP)) == (ours, stale)


@pytest.mark.parametrize(
    ("handle", "attributes", "found"),
    [
        ("0001-0009-rook-ceph-0000000000000002-8a2f", {"clusterID": "other"}, "rook-ceph"),
        ("0001-0003-a-b-0000000000000002-8a2f", None, "a-b"),
        ("0001-00ff-short-0000000000000002-8a2f", {"clusterID": "c"}, "c"),
        ("by-hand", {"clusterID": "c", "staticVolume": "true"}, "c"),
        ("by-hand", {"monitors": "10.0.1.1"}, None),
        ("by-hand", {"clusterID": ""}, None),
    ],
)
def test_a_volumes_cluster_is_told_by_its_handle_before_its_attributes(
    handle: str, attributes: dict[str, str] | None, found: str | None
) -> None:
    csi = CSISource("rbd.csi.ceph.com", handle, attributes)
    assert cluster_id_of(Volume(Meta("pv"), VolumeSpec(csi=csi))) == found


def test_a_volume_of_another_kind_has_no_cluster() -> None:
    assert cluster_id_of(Volume(Meta("pv"))) is None


def plugin(driver: str, *maps: str) -> Pod:
    socket = PodVolume("socket", host_path={"path": f"/var/lib/kubelet/plugins/{driver}"})
    mounted = tuple(PodVolume(name, config_map=ConfigMapSource(name)) for name in maps)
    owner = Owner("DaemonSet", "ds", "ds-1", True)
    return Pod(Meta(driver, "ceph", driver, owner_references=(owner,)), PodSpec("n1", volumes=(socket, *mounted)))


def test_each_driver_is_judged_by_the_config_maps_that_its_own_plugins_mount() -> None:
    rbd = ConfigMap(Meta("ceph-csi-config", "ceph"), {"config.json": '[{"clusterID": "a", "monitors": ["m"]}]'})
    fs = ConfigMap(Meta("cephfs-csi-config", "ceph"), {"config.json": "["})
    pods = (plugin("rbd.csi.ceph.com", "ceph-csi-config"), plugin("cephfs.csi.ceph.com", "cephfs-csi-config"))
    snapshot = Snapshot("c", datetime(2026, 3, 14, tzinfo=UTC), Scope("c"))
    snapshot = snapshot.with_fact(PODS, Listing(pods)).with_fact(CSI_CONFIG, Listing((rbd, fs)))
    found = configs(snapshot)
    assert found["rbd.csi.ceph.com"].entries == (entry("m", name="a"),)
    assert found["rbd.csi.ceph.com"].readable
    assert not found["cephfs.csi.ceph.com"].readable
    assert "no node plugin of nfs.csi.ceph.com" in config_unseen("nfs.csi.ceph.com", snapshot)
