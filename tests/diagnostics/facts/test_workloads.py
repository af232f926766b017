"""What is read of workloads: lists for a scan, one GET for one of them or for a pod of it, its pods by its own selector."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.kubernetes import DEPLOYMENTS, PODS, REPLICA_SETS, Get, List, Listing, Resource
from diagnostics.facts.resources import DaemonSet, Deployment, Job, LabelSelector, Meta, Owner, Pod, StatefulSet
from diagnostics.facts.workloads import DAEMON_SETS, JOBS, STATEFUL_SETS, WORKLOAD_PODS, pods_of
from diagnostics.model import Scope, Subject

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
KINDS = {"Deployment": DEPLOYMENTS, "StatefulSet": STATEFUL_SETS, "DaemonSet": DAEMON_SETS, "Job": JOBS}
SELECTED = {
    "metadata": {"name": "a", "namespace": "shop", "uid": "u"},
    "spec": {"selector": {"matchLabels": {"app": "a"}}},
}


def seeing(subject: Subject | None, *namespaces: str, **facts: Any) -> Snapshot:
    return Snapshot("c", NOW, Scope("c", namespaces, subject), facts)


def asked(kind: Resource[Any], subject: Subject | None, *namespaces: str, **facts: Any) -> list[Get | List]:
    return list(kind.requests(seeing(subject, *namespaces, **facts)))


def owned_by(kind: str) -> Listing[Pod]:
    return Listing((Pod(Meta("a-0", "shop", "p", owner_references=(Owner(kind, "a", "u", True),))),))


def test_a_scan_lists_the_namespaces_that_it_was_asked_for_and_daemon_sets_everywhere() -> None:
    for kind in (DEPLOYMENTS, STATEFUL_SETS, JOBS, REPLICA_SETS):
        assert asked(kind, None, "shop", "media") == [List("shop"), List("media")], kind.name
        assert asked(kind, None) == [List()], kind.name
    assert asked(DAEMON_SETS, None, "shop") == [List()]
    assert asked(WORKLOAD_PODS, None) == [], "a scan has all pods already"


@pytest.mark.parametrize("word", KINDS)
def test_a_look_at_one_workload_gets_that_one_and_nothing_of_the_other_kinds(word: str) -> None:
    subject = Subject(word, "shop", "a", "")
    for other, kind in KINDS.items():
        assert asked(kind, subject) == ([Get("a", "shop")] if other == word else []), other
    assert asked(REPLICA_SETS, subject) == ([List("shop")] if word == "Deployment" else [])
    assert asked(PODS, subject) == []


@pytest.mark.parametrize("word", ["StatefulSet", "DaemonSet", "Job"])
def test_a_look_at_a_pod_gets_its_owner(word: str) -> None:
    pod = Subject("Pod", "shop", "a-0", "")
    for other, kind in KINDS.items():
        expected = [Get("a", "shop")] if other == word else []
        assert asked(kind, pod, pods=owned_by(word)) == expected, other
    assert asked(KINDS[word], pod, pods=NotSeen("forbidden")) == []


def test_the_pods_of_the_workload_are_found_by_its_selector_and_never_all_of_them() -> None:
    structs: dict[str, type[Any]] = {
        "deployments": Deployment, "statefulsets": StatefulSet, "daemonsets": DaemonSet, "jobs": Job,
    }  # fmt: skip
    for word, kind in KINDS.items():
        found = Listing((msgspec.convert(SELECTED, structs[kind.name]),))
        assert asked(WORKLOAD_PODS, Subject(word, "shop", "a", ""), **{kind.name: found}) == [
            List("shop", labels="app=a")
        ]
        assert asked(WORKLOAD_PODS, Subject("Pod", "shop", "a-0", ""), **{kind.name: found}) == []
    bare = Listing((msgspec.convert({"metadata": {"name": "a"}}, Deployment),))
    assert asked(WORKLOAD_PODS, Subject("Deployment", "shop", "a", ""), deployments=bare) == []
    job = Listing((Job(Meta("a", "shop")),))
    assert asked(WORKLOAD_PODS, Subject("Job", "shop", "a", ""), jobs=job) == [List("shop", labels="job-name=a")]


def test_a_selector_is_written_as_the_api_reads_it() -> None:
    selector = msgspec.convert(
        {
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["x", "y"]}, {"key": "old", "operator": "NotIn", "values": ["z"]},
                {"key": "here", "operator": "Exists"}, {"key": "gone", "operator": "DoesNotExist", "values": None},
            ],
        },
        LabelSelector,
    )  # fmt: skip
    assert str(selector) == "a=1,b=2,tier in (x,y),old notin (z),here,!gone"
    assert str(LabelSelector()) == ""


def test_the_pods_of_an_owner_come_from_where_the_look_has_them() -> None:
    pods = owned_by("Job")
    assert [pod.metadata.name for pod in _seen(pods_of("u", seeing(None, pods=pods)))] == ["a-0"]
    assert pods_of("other", seeing(None, pods=pods)) == ()
    about = seeing(Subject("Job", "shop", "a", ""), **{"pods": Listing(()), WORKLOAD_PODS.name: pods})
    assert len(_seen(pods_of("u", about))) == 1
    assert isinstance(pods_of("u", seeing(None)), NotSeen)


def _seen(pods: tuple[Pod, ...] | NotSeen) -> tuple[Pod, ...]:
    assert not isinstance(pods, NotSeen)
    return pods


def deployment(**status: Any) -> Deployment:
    meta = {"name": "a", "generation": 3, "annotations": {"deployment.kubernetes.io/revision": "12", "other": "x"}}
    counts = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "observedGeneration": 3}
    raw = {"metadata": meta, "spec": {"replicas": 2}, "status": {**counts, **status}}
    return msgspec.convert(raw, Deployment)


def test_a_deployment_is_complete_when_all_its_pods_are_new_and_available_and_nothing_is_unobserved() -> None:
    assert deployment().is_complete
    assert deployment().metadata.revision == 12
    for less in ("replicas", "updatedReplicas", "availableReplicas"):
        assert not deployment(**{less: 1}).is_complete, less
        assert not deployment(**{less: None}).is_complete, less
    assert not deployment(observedGeneration=2).is_complete
    assert not deployment(replicas=3).is_complete, "an old pod is still there"


@pytest.mark.parametrize(("given", "seconds"), [(None, 600), (5, 5), (2**31 - 1, 600)])
def test_a_deadline_as_large_as_can_be_is_none(given: int | None, seconds: int) -> None:
    found = msgspec.convert({"metadata": {"name": "a"}, "spec": {"progressDeadlineSeconds": given}}, Deployment)
    assert found.deadline == seconds


def test_a_stateful_set_updates_what_its_partition_leaves_to_it() -> None:
    def behind(ready: int, updated: int, partition: int, strategy: str = "RollingUpdate") -> bool:
        spec = {"replicas": 3, "updateStrategy": {"type": strategy, "rollingUpdate": {"partition": partition}}}
        status = {"readyReplicas": ready, "updatedReplicas": updated, "currentRevision": "a", "updateRevision": "b"}
        return msgspec.convert({"metadata": {"name": "a"}, "spec": spec, "status": status}, StatefulSet).is_behind

    assert behind(3, 1, 0)
    assert not behind(3, 1, 2)
    assert behind(2, 1, 2), "one is not Ready"
    assert not behind(3, 0, 0, "OnDelete")


def test_only_the_two_revision_labels_of_a_pod_are_kept() -> None:
    labels = {"app": "a", "pod-template-hash": "5c9", "controller-revision-hash": "db-1"}
    pod = msgspec.convert({"metadata": {"name": "a", "labels": labels, "finalizers": ["f"]}}, Pod)
    assert pod.metadata.labels is not None
    assert msgspec.structs.asdict(pod.metadata.labels) == {"template_hash": "5c9", "revision_hash": "db-1"}
    assert pod.metadata.finalizers == ("f",)
