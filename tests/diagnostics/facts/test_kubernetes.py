"""Which requests a look takes: whole lists for a scan, GETs and selectors for one subject, never all pods for a `why`."""

from datetime import UTC, datetime
from typing import Any

import pytest

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.kubernetes import (
    ATTACHMENTS,
    CLAIMS,
    EVENTS,
    PODS,
    REPLICA_SETS,
    VOLUMES,
    Get,
    List,
    Listing,
    Resource,
)
from diagnostics.facts.resources import (
    Claim,
    ClaimSource,
    ClaimSpec,
    CSISource,
    Meta,
    Owner,
    Pod,
    PodSpec,
    PodVolume,
    Volume,
    VolumeSpec,
)
from diagnostics.model import Scope, Subject

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
SETS = Owner("ReplicaSet", "index-api-5c9", "rs-1", True)
POD = Pod(
    Meta("index-api", "search", "pod-1", owner_references=(SETS,)),
    PodSpec(
        "node2", volumes=(PodVolume("d", ClaimSource("data")), PodVolume("t"), PodVolume("e", ClaimSource("data")))
    ),
)
CLAIM = Claim(Meta("data", "search", "pvc-1"), ClaimSpec("pv-1"))


def requests(kind: Resource[Any], subject: Subject | None = None, *namespaces: str, **facts: Any) -> list[Get | List]:
    return list(kind.requests(Snapshot("c", NOW, Scope("c", namespaces, subject), facts)))


ABOUT_POD = Subject("Pod", "search", "index-api", "")


def test_a_scan_lists_everything_and_of_events_the_warnings() -> None:
    assert requests(PODS) == [List()]
    assert requests(PODS, None, "a", "b") == [List("a"), List("b")]
    assert requests(CLAIMS, None, "a") == [List("a")]
    assert requests(EVENTS, None, "a") == [List("a", "type=Warning")]
    assert requests(EVENTS) == [List(None, "type=Warning")]
    assert requests(VOLUMES, None, "a") == [List()], "volumes have no namespace"
    assert requests(ATTACHMENTS) == [List()]


def test_a_look_at_one_pod_reads_what_leads_on_from_it_and_lists_no_pods() -> None:
    seen = {"pods": Listing((POD,)), "persistentvolumeclaims": Listing((CLAIM,))}
    assert requests(PODS, ABOUT_POD) == [Get("index-api", "search")]
    assert requests(CLAIMS, ABOUT_POD, **seen) == [Get("data", "search")], "each claim once"
    assert requests(VOLUMES, ABOUT_POD, **seen) == [Get("pv-1")]
    assert requests(EVENTS, ABOUT_POD, **seen) == [
        List("search", "involvedObject.uid=pod-1"), List("search", "involvedObject.uid=pvc-1"),
    ]  # fmt: skip
    assert requests(REPLICA_SETS, ABOUT_POD, **seen) == [Get("index-api-5c9", "search")]


def test_attachments_are_listed_only_where_a_csi_volume_is_involved() -> None:
    csi = Volume(Meta("pv-1"), VolumeSpec(csi=CSISource("rbd.csi.ceph.com")))
    assert requests(ATTACHMENTS, ABOUT_POD, persistentvolumes=Listing((Volume(Meta("pv-1")),))) == []
    assert requests(ATTACHMENTS, ABOUT_POD, persistentvolumes=Listing((csi,))) == [List()]


@pytest.mark.parametrize("subject", [Subject("RBDImage", None, "p/i", ""), Subject("RBDLocks", None, "*", "")])
def test_from_an_image_only_the_list_of_all_volumes_leads_back(subject: Subject) -> None:
    assert requests(VOLUMES, subject) == [List()]
    assert requests(PODS, subject) == []


def test_a_claim_and_a_volume_are_read_by_their_names() -> None:
    assert requests(CLAIMS, Subject("PersistentVolumeClaim", "search", "data", "")) == [Get("data", "search")]
    assert requests(VOLUMES, Subject("PersistentVolume", None, "pv-1", "")) == [Get("pv-1")]


def test_an_owner_that_does_not_manage_the_pod_is_not_read() -> None:
    for owners in ((), (Owner("ReplicaSet", "x", "u"),), (Owner("StatefulSet", "x", "u", True),)):
        pod = Pod(Meta("p", "n", "u", owner_references=owners))
        assert requests(REPLICA_SETS, ABOUT_POD, pods=Listing((pod,))) == []


def test_what_was_not_seen_leads_nowhere() -> None:
    assert requests(CLAIMS, ABOUT_POD, pods=NotSeen("forbidden")) == []
    assert requests(EVENTS, ABOUT_POD) == []
