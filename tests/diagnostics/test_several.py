"""What several looks at the same time come to, as one: nothing is lost, nothing is told twice."""

from datetime import UTC, datetime
from typing import Any

import pytest

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import (
    LOCKS,
    OSDMAP,
    SIGHTINGS,
    STATUS,
    ClusterStatus,
    Daemon,
    Locks,
    OsdMap,
    PoolUse,
    Sighting,
)
from diagnostics.facts.csi import CSI_CONFIG, STORAGE_CLASSES
from diagnostics.facts.csi_drift import in_config, in_pools
from diagnostics.facts.disruption import NODE_OSDMAP
from diagnostics.facts.kubernetes import PODS, Listing
from diagnostics.facts.resources import ConfigMap, ConfigMapSource, Meta, Owner, Pod, PodSpec, PodVolume, StorageClass
from diagnostics.facts.resources.meta import AnnotatedMeta
from diagnostics.facts.resources.workloads import PodTemplate
from diagnostics.facts.whereabouts import CEPHS, PLUGIN_CONFIG, PLUGIN_SETS, Cephs, Identity
from diagnostics.model import Finding, Link, Outcome, Scope, Status, Subject, Unseen
from diagnostics.scan import Report
from diagnostics.several import joined, sightings_of

NOW = datetime(2026, 3, 3, tzinfo=UTC)
POD = Subject("Pod", "shop", "web-0", "uid-1")
EMPTY = Snapshot("prod", NOW, Scope("prod"))


def outcome(status: Status, *findings: Finding, reason: str | None = None) -> Outcome:
    return Outcome("storage/pods_stuck_creating", status, reason, findings)


def report(one: Outcome, snapshot: Snapshot = EMPTY, **scanned: int) -> Report:
    return Report(NOW, (one,), {name.replace("_", " "): count for name, count in scanned.items()}, (), snapshot)


def both(fast: Outcome, slow: Outcome) -> Outcome:
    return joined({"fast": report(fast), "slow": report(slow)}, ()).outcomes[0]


def links(*subjects: str) -> tuple[Link, ...]:
    return tuple(Link(Subject(kind, None, name, ""), "is so") for kind, _, name in (s.partition("/") for s in subjects))


OK, SKIPPED = outcome(Status.OK), outcome(Status.SKIPPED, reason="no RBD image is involved, so Ceph was not asked")
BLIND = outcome(Status.UNKNOWN, reason="Ceph could not be asked")
FOUND = outcome(Status.FOUND, Finding(POD, "it waits", id="1"))


@pytest.mark.parametrize(
    ("fast", "slow", "status", "reason"),
    [
        (OK, OK, Status.OK, None),
        (OK, SKIPPED, Status.OK, None),
        (SKIPPED, SKIPPED, Status.SKIPPED, SKIPPED.reason),
        (OK, BLIND, Status.UNKNOWN, "Ceph slow: Ceph could not be asked"),
        (SKIPPED, BLIND, Status.UNKNOWN, "Ceph slow: Ceph could not be asked"),
        (BLIND, BLIND, Status.UNKNOWN, "Ceph could not be asked"),
        (FOUND, BLIND, Status.FOUND, "Ceph slow: Ceph could not be asked"),
        (FOUND, OK, Status.FOUND, None),
        (FOUND, SKIPPED, Status.FOUND, None),
    ],
)
def test_what_is_found_counts_first_and_what_is_blind_is_told(
    fast: Outcome, slow: Outcome, status: Status, reason: str | None
) -> None:
    assert (both(fast, slow).status, both(fast, slow).reason) == (status, reason)
    assert both(slow, fast).status == status, "the order of the Ceph clusters decides nothing"
    assert both(fast, slow).findings == fast.findings


def test_of_one_thing_the_chain_that_leads_further_counts() -> None:
    short = Finding(
        POD, "it waits", "unknown", None, links("Pod/web-0", "PersistentVolume/pv"), unseen=("who knows",), id="1"
    )
    long = Finding(POD, "it waits", "rbd-image-locked", None, links("Pod/web-0", "PersistentVolume/pv", "RBDImage/a"), id="2")  # fmt: skip
    for pair in ((short, long), (long, short)):
        assert both(*(outcome(Status.FOUND, each) for each in pair)).findings == (long,)


def test_a_pod_that_waits_for_images_in_two_of_them_is_told_with_both() -> None:
    one = Finding(POD, "waits for a", "rbd-image-locked", None, links("Pod/web-0", "RBDImage/a", "Node/n1"), id="1")
    other = Finding(POD, "waits for b", "rbd-image-locked", None, links("Pod/web-0", "RBDImage/b"), id="1")
    [made] = both(outcome(Status.FOUND, other), outcome(Status.FOUND, one)).findings
    assert [link.subject.name for link in made.chain] == ["web-0", "b", "a", "n1"], "the root stays the last"
    assert made.summary == "waits for a; waits for b"


def test_things_of_each_stay_apart() -> None:
    images = [Finding(Subject("RBDImage", None, "p/a", f"{fsid}/p//a"), "is stale", id=fsid) for fsid in ("f", "s")]
    assert both(*(outcome(Status.FOUND, each) for each in images)).findings == tuple(images)


def test_kubernetes_is_counted_once_and_images_of_all() -> None:
    made = joined({"a": report(OK, pods=3, rbd_images=4), "b": report(OK, pods=3, rbd_images=5)}, ())
    assert made.scanned == {"pods": 3, "rbd images": 9}


def seen(fsid: str, *sightings: Sighting) -> Snapshot:
    osdmap = OsdMap(fsid, frozenset(), (), (), ())
    return EMPTY.with_fact(LOCKS, Locks(fsid, ())).with_fact(OSDMAP, osdmap).with_fact(SIGHTINGS, sightings)


def test_each_look_has_its_say_on_the_sightings_of_its_own_ceph_only() -> None:
    def of(fsid: str, number: int) -> Sighting:
        return Sighting(fsid, "p/a", f"client.{number}/c", NOW)

    earlier = (of("f", 1), of("s", 1), of("gone", 1))
    after = sightings_of([seen("f", of("f", 2), of("s", 1)), seen("s", of("f", 1), of("s", 3))], earlier)
    assert set(after) == {of("f", 2), of("s", 3), of("gone", 1)}
    blind = EMPTY.with_fact(LOCKS, NotSeen("away")).with_fact(SIGHTINGS, earlier)
    assert set(sightings_of([seen("f"), blind], earlier)) == {of("s", 1), of("gone", 1)}


def test_what_the_looks_read_besides_is_granted() -> None:
    from bot.rbac import read_rules

    granted = {
        (group, resource, verb)
        for rule in read_rules() for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip
    for kind in (PLUGIN_SETS, PLUGIN_CONFIG):
        assert {(kind.group, kind.plural, verb) for verb in kind.verbs.split()} <= granted


# ceph-csi's configuration, in the view of one of several


def drifting(looked_at: str) -> list[str]:
    """What `in_config` and `in_pools` say where classes and entries are of two Ceph clusters, and of an unknown one."""
    entries = '[{"clusterID": "a", "monitors": ["10.1.0.1:6789"]}, {"clusterID": "b", "monitors": ["10.2.0.1:6789"]}, {"clusterID": "c", "monitors": ["10.9.0.1:6789"]}]'  # fmt: skip
    cephs = {name: Identity(name, frozenset({(ip, 6789)})) for name, ip in (("f", "10.1.0.1"), ("s", "10.2.0.1"))}
    mon = Daemon("mon.a", next(iter(cephs[looked_at].ips)))
    status = ClusterStatus(
        looked_at, "HEALTH_OK", (), ("a",), ("a",), (), "x", {}, {}, (PoolUse(f"pool-of-{looked_at}"),)
    )
    template = PodTemplate(PodSpec(volumes=(
        PodVolume("socket", host_path={"path": "/var/lib/kubelet/plugins/rbd.csi.ceph.com"}),
        PodVolume("config", config_map=ConfigMapSource("ceph-csi-config")),
    )))  # fmt: skip
    plugin = Pod(Meta("plugin", "csi", owner_references=(Owner("DaemonSet", "d", "u", True),)), template.spec)
    classes = tuple(
        StorageClass(AnnotatedMeta(cluster), "rbd.csi.ceph.com", {"clusterID": cluster, "pool": pool})
        for cluster, pool in (("a", "pool-of-f"), ("b", "pool-of-s"), ("b", "gone"), ("c", "pool-of-c"))
    )
    facts: dict[Any, Any] = {
        CSI_CONFIG: Listing((ConfigMap(Meta("ceph-csi-config", "csi"), {"config.json": entries}),)),
        OSDMAP: OsdMap(looked_at, frozenset(), (), (mon,), ()), STATUS: status, LOCKS: Locks(looked_at, ()),
        PODS: Listing((plugin,)), STORAGE_CLASSES: Listing(classes), CEPHS: Cephs(dict(cephs)),
    }  # fmt: skip
    snapshot = Snapshot("prod", NOW, Scope("prod"), {kind.name: fact for kind, fact in facts.items()})
    found = [*in_config(snapshot), *in_pools(snapshot)]
    return [f"{one.subject}: {one.reason}" if isinstance(one, Unseen) else one.says for one in found]


def test_another_ceph_that_is_configured_is_no_drift_and_an_unknown_one_is_judged_by_none() -> None:
    unknown = "ConfigMap csi/ceph-csi-config: cluster c: none of its monitors is of the Ceph that was looked at"
    fast, slow = drifting("f"), drifting("s")
    assert [said.startswith(unknown) for said in fast] == [True]
    assert slow[0].startswith(unknown)
    assert slow[1:] == ["StorageClass b needs the pool gone, which does not exist"]


# The views, with sources that are made up where no real ones are needed


class Member:
    """Stands where a CephSource stands: one that answers for its OSD map only."""

    def __init__(self, found: Any) -> None:
        self.found = found

    async def fetch(self, kind: Any, earlier: Snapshot, keep: Any = None) -> Any:
        from diagnostics.sources import CouldNotLook

        assert kind is NODE_OSDMAP
        if isinstance(self.found, str):
            raise CouldNotLook(self.found)
        return self.found


async def test_around_a_node_the_daemons_and_fences_of_all_count_and_none_may_be_missing() -> None:
    from diagnostics.facts.ceph import Fence
    from diagnostics.sources.ceph.several import CephGroup, Look

    def told(fsid: str, ip: str, health: str) -> OsdMap:
        return OsdMap(fsid, frozenset(), (Fence(f"{ip}:0/0", NOW),), (Daemon("osd.0", ip),), (), health)

    maps = {"fast": told("f", "10.1.0.9", "HEALTH_OK"), "slow": told("s", "10.2.0.9", "HEALTH_ERR")}
    group = CephGroup({name: Member(found) for name, found in maps.items()})  # type: ignore[misc]
    async with Look([], group, EMPTY.scope, NOW) as look:
        all_of_them = await look.osd_map_of_all()
    assert isinstance(all_of_them, OsdMap)
    assert {daemon.ip for daemon in all_of_them.daemons} == {"10.1.0.9", "10.2.0.9"}
    assert {fence.entry for fence in all_of_them.fences} == {"10.1.0.9:0/0", "10.2.0.9:0/0"}
    assert (all_of_them.fsid, all_of_them.others, all_of_them.health) == ("f", {"s"}, "HEALTH_ERR")

    group.members["slow"] = Member("no answer")  # type: ignore[assignment]
    async with Look([], group, EMPTY.scope, NOW) as look:
        blind = await look.osd_map_of_all()
    assert blind == NotSeen("Ceph slow: no answer")
