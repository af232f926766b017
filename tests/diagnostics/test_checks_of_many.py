"""Checks of Ceph over thousands of things: what they say stays short, and nothing is looked up once for each pair."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from diagnostics.checks.ceph import header_pgs_inactive, osds_down, pgs_unavailable
from diagnostics.facts import Kind, Snapshot, krbd
from diagnostics.facts.blind import by_reason, some
from diagnostics.facts.ceph import (
    FEATURES,
    LOCKS,
    PLACEMENTS,
    STATUS,
    ClusterStatus,
    HealthCheck,
    ImageFeatures,
    Locks,
    OsdState,
    Placement,
    Placements,
)
from diagnostics.facts.holders import NODES
from diagnostics.facts.kubernetes import PODS, VOLUMES, Listing
from diagnostics.facts.resources import CSISource, Meta, Node, NodeStatus, Volume, VolumeSpec
from diagnostics.facts.resources.meta import Condition
from diagnostics.facts.resources.nodes import NodeInfo
from diagnostics.facts.resources.pods import Pod, PodSpec, PodStatus, PodVolume
from diagnostics.facts.resources.volumes import RBDSource
from diagnostics.model import Finding, Scope, Unseen

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MANY = 200


def snapshot(facts: dict[Kind[Any], Any]) -> Snapshot:
    return Snapshot("c", NOW, Scope("c"), {kind.name: fact for kind, fact in facts.items()})


def status(**changes: Any) -> ClusterStatus:
    told: dict[str, Any] = {"fsid": "f", "health": "HEALTH_WARN", "checks": (), "mons": ("a",), "quorum": ("a",)}
    return ClusterStatus(**{**told, "osds": (OsdState("osd.0", up=True, inside=True),), "mgr": "x", **changes})


def power_cut() -> ClusterStatus:
    since = NOW - timedelta(minutes=5)
    osds = tuple(OsdState(f"osd.{number}", up=False, inside=True, down_since=since) for number in range(MANY))
    told = HealthCheck("OSD_DOWN", "HEALTH_WARN", "osds down", tuple(f"{osd.name} (host=h) is down" for osd in osds))
    return status(osds=osds, checks=(told,), pgs={"stale+active+clean": 8})


def pod(name: str, *images: str) -> Pod:
    volumes = tuple(PodVolume(image, rbd=RBDSource(image)) for image in images)
    return Pod(Meta(name, "shop", name), PodSpec("node1", volumes=volumes), PodStatus("Pending"))


def test_each_image_that_cannot_be_opened_names_the_pods_that_wait_for_it_and_each_pod_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    look = header_pgs_inactive.images_of_pod

    def counted(one: Pod, world: Snapshot) -> object:
        looked.append(one.metadata.name)
        return look(one, world)

    monkeypatch.setattr(header_pgs_inactive, "images_of_pod", counted)
    images = [f"image{number}" for number in range(MANY)]
    pods = [pod(f"pod{number}", image) for number, image in enumerate(images)]
    pods += [pod(f"more{number}", "image0", "image1") for number in range(5)]
    headers = {f"rbd/{image}": Placement("1.0", None, "header") for image in images}
    facts = {
        STATUS: status(pgs={"unknown": 1}), PLACEMENTS: Placements(headers), LOCKS: Locks("f", ()),
        PODS: Listing(tuple(pods)),
    }  # fmt: skip
    found = [item for item in header_pgs_inactive.find(snapshot(facts)) if isinstance(item, Finding)]
    told = {finding.subject.name: finding.summary.partition("; ")[2] for finding in found}
    assert len(told) == MANY
    assert told["rbd/image0"] == "shop/more0, shop/more1, shop/more2 and 3 more wait for it"
    assert told["rbd/image7"] == "shop/pod7 waits for it"
    assert len(looked) == len(pods)


def test_where_ceph_serves_every_header_no_pod_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(header_pgs_inactive, "images_of_pod")
    facts = {STATUS: status(), PLACEMENTS: Placements({"rbd/a": Placement("1.0", 0)}), PODS: Listing((pod("p", "a"),))}
    assert [item for item in header_pgs_inactive.find(snapshot(facts)) if isinstance(item, Finding)] == []


def test_a_power_cut_takes_all_osds_and_no_sentence_names_them_all() -> None:
    headers = {f"rbd/image{number}": Placement("1.0", None, "header") for number in range(MANY)}
    world = snapshot({STATUS: power_cut(), PLACEMENTS: Placements(headers), LOCKS: Locks("f", ())})
    (groups,) = pgs_unavailable.find(world)
    assert isinstance(groups, Finding)
    assert groups.summary.endswith("; osd.0, osd.1, osd.2 and 197 more are down")
    for finding in (groups, *header_pgs_inactive.find(world)):
        assert isinstance(finding, Finding)
        last = finding.chain[-1]
        assert last.says == "is down, and so are osd.1, osd.2, osd.3 and 196 more"
        assert [proof.text for proof in last.evidence[6:]] == [
            "osd.3 up=0 in=1, down since 2026-03-01T11:55:00Z", "osd.3 (host=h) is down",
        ]  # fmt: skip
    assert len(list(osds_down.find(world))) == MANY


def node(number: int, kernel: str) -> Node:
    told = NodeStatus(conditions=(Condition("Ready", "True"),), node_info=NodeInfo(kernel_version=kernel))
    return Node(Meta(f"node{number}"), status=told)


def test_a_kernel_is_judged_once_for_an_image_however_many_nodes_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    judge = krbd.support_of

    def counted(kernel: str, features: tuple[str, ...]) -> krbd.Support:
        judged.append(kernel)
        return judge(kernel, features)

    monkeypatch.setattr(krbd, "support_of", counted)
    attributes = [{"pool": "rbd", "imageName": f"image{number}"} for number in range(MANY)]
    volumes = [
        Volume(Meta(f"pv{number}"), VolumeSpec(csi=CSISource("rbd.csi.ceph.com", "h", given)))
        for number, given in enumerate(attributes)
    ]
    nodes = [node(number, ("4.4.0", "4.5.0")[number % 2]) for number in range(MANY)]
    features = {f"rbd/image{number}": ("object-map",) for number in range(MANY)}
    facts = {VOLUMES: Listing(tuple(volumes)), NODES: Listing(tuple(nodes)), FEATURES: ImageFeatures(features)}
    found = list(krbd.in_features(snapshot(facts)))
    assert len(found) == MANY
    assert sorted(judged) == ["4.4.0"] * MANY + ["4.5.0"] * MANY


def test_what_was_not_seen_for_one_reason_is_told_once() -> None:
    told = [(f"image {number}", "no time" if number else "no right") for number in range(10_000)]
    assert list(by_reason([*told, told[1]])) == [
        Unseen("image 0", "no right"),
        Unseen("image 1, image 2, image 3 and 9996 more", "no time"),
    ]
    assert [some("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
