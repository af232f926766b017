"""What is read around a node that is drained, a pod that is evicted and a Job that is run anew: by which requests."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from diagnostics.facts import Snapshot
from diagnostics.facts.disruption import ALL_NODES, BUDGETS, LABELLED_PODS, PLACED_VOLUMES
from diagnostics.facts.kubernetes import Get, List, Listing, Resource
from diagnostics.facts.resources.disruption import LabelledPod
from diagnostics.facts.resources.runs import JobRun, digest_of
from diagnostics.facts.runs import CRON_JOBS, JOB_RUNS
from diagnostics.model import Scope, Subject

NODE = Subject("Node", None, "node1", "")
POD = Subject("Pod", "shop", "web-1", "")
JOB = Subject("Job", "shop", "nightly-1", "")


def asked(kind: Resource[Any], subject: Subject | None, **facts: Any) -> list[Get | List]:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return list(kind.requests(Snapshot("c", now, Scope("c", subject=subject), facts)))


def pods(*claims: str) -> dict[str, Any]:
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    made = [
        msgspec.convert({"metadata": {"name": name, "namespace": ns}, "spec": {"volumes": volumes}}, LabelledPod)
        for name, ns in (("web-1", "shop"), ("web-2", "shop"), ("dns", "kube-system"))
    ]
    return {LABELLED_PODS.name: Listing(tuple(made))}


def job(owner: str | None, name: str = "nightly-1") -> JobRun:
    owners = [{"kind": owner, "name": "nightly", "uid": "u", "controller": True}] if owner else []
    meta = {"name": name, "namespace": "shop", "ownerReferences": owners}
    return msgspec.convert({"metadata": meta, "spec": {"suspend": True, "template": {"secret": "hidden"}}}, JobRun)


def test_around_a_node_its_pods_their_budgets_their_volumes_and_the_other_nodes_are_read() -> None:
    assert asked(LABELLED_PODS, NODE) == [List(None, "spec.nodeName=node1")]
    assert asked(ALL_NODES, NODE) == [List()]
    assert asked(BUDGETS, NODE, **pods()) == [List("shop"), List("kube-system")]
    assert asked(PLACED_VOLUMES, NODE, **pods("data")) == [List()]
    assert asked(PLACED_VOLUMES, NODE, **pods()) == []


def test_around_a_pod_that_pod_is_read_and_nothing_is_in_a_scan() -> None:
    assert asked(LABELLED_PODS, POD) == [Get("web-1", "shop")]
    for kind in (LABELLED_PODS, ALL_NODES, BUDGETS, PLACED_VOLUMES, JOB_RUNS, CRON_JOBS):
        assert asked(kind, None) == []
    for kind in (LABELLED_PODS, ALL_NODES, BUDGETS, PLACED_VOLUMES):
        assert asked(kind, JOB) == []


def test_around_a_job_its_namespaces_jobs_and_its_cronjob_are_read() -> None:
    assert asked(JOB_RUNS, JOB) == [List("shop")]
    assert asked(JOB_RUNS, NODE) == []
    runs = {JOB_RUNS.name: Listing((job("CronJob"), job("CronJob", "nightly-2"), job("Other")))}
    assert asked(CRON_JOBS, JOB, **runs) == [Get("nightly", "shop")]
    assert asked(CRON_JOBS, JOB, **{JOB_RUNS.name: Listing((job(None),))}) == []


def test_of_a_jobs_spec_its_digest_stays_and_what_may_be_secret_does_not() -> None:
    kept = job(None)
    assert kept.spec is None
    assert kept.told.suspend is True
    assert kept.sha256 == digest_of({"template": {"secret": "hidden"}, "suspend": True})
    assert "hidden" not in repr(kept)
    again = msgspec.json.decode(msgspec.json.encode(kept), type=JobRun)
    assert again == kept, "a recorded one is the same when it is read again"
