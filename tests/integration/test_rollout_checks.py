"""Workloads that do not get on, judged on real controllers: what `unstick check` finds once time enough has passed.

Hollow kubelets start no container that could fail, so pods stay for reasons that need none: no node fits, a finalizer, a
status that the test writes. Time is not waited for: where a grace is longer than the test, the check judges the moment to come.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.rbac import read_rules
from diagnostics.catalog import chosen
from diagnostics.model import Outcome, Scope, Subject
from diagnostics.scan import scan
from diagnostics.sources.kubernetes.api import Access, Api
from diagnostics.sources.kubernetes.source import KubernetesSource
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

UNSTICK = Path(sys.executable).parent / "unstick"
NAMESPACE = "rollouts"
NOWHERE = {"unstick-lab/absent": "true"}
FINALIZER = "unstick-lab.invalid/held"


@dataclass(frozen=True)
class Cluster:
    """A cluster with two hollow kubelets, and the command line of somebody who may read."""

    kubernetes: Kubernetes
    folder: Path

    def check(self, *words: str) -> Any:
        """What `unstick check WORDS -o json` finds, by check."""
        config, user = self.folder / "unstick.yaml", self.kubernetes.kubeconfig("diagnose")
        words_of = {
            "clusters": {"lab": {"kubernetes": {"kubeconfig": str(user)}}},
            "state": str(self.folder / "state.db"),
        }
        config.write_text(yaml.safe_dump(words_of))
        kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CEPH_CONF")}
        done = subprocess.run(
            [UNSTICK, "check", *words, "-o", "json"], capture_output=True, text=True, timeout=60,
            env={**kept, "UNSTICK_CONFIG": str(config)}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode in (0, 1, 3), (done.returncode, done.stdout, done.stderr)
        return {outcome["check"]: outcome for outcome in json.loads(done.stdout)["outcomes"]}

    def judged(self, check: str, later: timedelta = timedelta(0), subject: Subject | None = None) -> Outcome:
        """What one check says of a moment to come, by the facts of now, as somebody who may read."""

        async def look() -> Outcome:
            async with Api(Access(kubeconfig=str(self.kubernetes.kubeconfig("diagnose")))) as api:
                scope = Scope("lab", subject=subject)
                now = datetime.now(UTC) + later
                report = await scan([KubernetesSource(api)], chosen(ids=(check,)), scope, (), now)
                return report.outcomes[0]

        return asyncio.run(look())

    def found(self, check: str, name: str, later: timedelta = timedelta(0)) -> Any:
        """The finding of a check about something of that name, None while there is none."""
        outcome = self.judged(check, later)
        assert outcome.status != "unknown", outcome.reason
        return next((each for each in outcome.findings if each.subject.name == name), None)


def template(app: str, **spec: Any) -> Object:
    containers = [{"name": "app", "image": "app:1"}]
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 0, **spec},
    }


def workload(kind: str, name: str, spec: Object, **pod: Any) -> Object:
    """A workload of the namespace whose pods are told from others by its name."""
    whole = {"selector": {"matchLabels": {"app": name}}, "template": template(name, **pod), **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": whole}


def kinds(finding: Any) -> list[str]:
    return [link.subject.kind for link in finding.chain]


@pytest.fixture(scope="module")
def cluster(lab_folder: Path) -> Iterator[Cluster]:
    """A control plane of its own: its hollow nodes must not get other tests' pods."""
    if os.environ.get("KUBECONFIG") or os.environ.get("KUBEBUILDER_ASSETS"):
        pytest.skip("hollow kubelets join the lab's own Kubernetes only: KUBECONFIG and KUBEBUILDER_ASSETS name others")
    folder = Path(tempfile.mkdtemp(prefix="o-", dir=lab_folder))
    with Kubernetes(folder, hollow_nodes=2) as kubernetes:
        kubernetes.grant("diagnose", read_rules())
        kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        until("the service account", lambda: kubernetes.find("ServiceAccount", "default", NAMESPACE), timeout=30)
        until("both nodes to be Ready", lambda: len(ready_nodes(kubernetes)) == 2, timeout=60)
        yield Cluster(kubernetes, folder)


def ready_nodes(kubernetes: Kubernetes) -> list[str]:
    return [
        node["metadata"]["name"] for node in kubernetes.items("Node")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
        and not node["spec"].get("taints")
    ]  # fmt: skip


def pods_of(cluster: Cluster, app: str) -> list[Object]:
    return cluster.kubernetes.items("Pod", NAMESPACE, labels=f"app={app}")


def is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def test_a_deployment_past_its_deadline_is_found_by_the_command_line_with_its_replica_set_and_its_pod(
    cluster: Cluster,
) -> None:
    spec = {"replicas": 1, "progressDeadlineSeconds": 2}
    cluster.kubernetes.apply(workload("Deployment", "stalled", spec, nodeSelector=NOWHERE))

    def outcome() -> Any:
        found = cluster.check("--area", "rollouts")["rollouts/deployments_stalled"]
        return found if found["status"] == "found" else None

    [finding] = until("the deadline to pass", outcome, timeout=60, every=1)["findings"]
    assert finding["subject"]["name"] == "stalled"
    assert finding["severity"] == "critical"
    assert [link["subject"]["kind"] for link in finding["chain"]] == ["Deployment", "ReplicaSet", "Pod"]
    assert "made no progress within 2 s" in finding["summary"]
    assert "nodes are available" in finding["summary"]
    deployment = cluster.kubernetes.get("Deployment", "stalled", NAMESPACE)
    about = cluster.judged("rollouts/deployments_stalled", subject=Subject("Deployment", NAMESPACE, "stalled", ""))
    assert [each.subject.uid for each in about.findings] == [deployment["metadata"]["uid"]]
    assert kinds(about.findings[0]) == ["Deployment", "ReplicaSet", "Pod"], "its pods are found by its selector"
    cluster.kubernetes.patch("Deployment", "stalled", {"spec": {"replicas": 0}}, NAMESPACE)
    until("nobody to wait for it", lambda: not cluster.found("rollouts/deployments_stalled", "stalled"), timeout=30)


def test_a_deployment_whose_pods_a_quota_forbids_is_found_with_the_quotas_own_words(cluster: Cluster) -> None:
    limits = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "limited"}}
    cluster.kubernetes.apply(limits)
    until("the service account", lambda: cluster.kubernetes.find("ServiceAccount", "default", "limited"), timeout=30)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "limited"}}
    cluster.kubernetes.apply({**quota, "spec": {"hard": {"pods": "0"}}})

    def is_counted() -> bool:
        return bool(cluster.kubernetes.get("ResourceQuota", "none", "limited").get("status", {}).get("hard"))

    until("the quota to count", is_counted, timeout=60)
    made = workload("Deployment", "refused", {"replicas": 1})
    daemons, sets = workload("DaemonSet", "refused", {}), workload("StatefulSet", "refused", {"serviceName": "x"})
    for manifest in (made, daemons, sets):
        cluster.kubernetes.apply({**manifest, "metadata": {"name": "refused", "namespace": "limited"}})
    soon = timedelta(minutes=2)
    for check in ("deployments_stalled", "daemonsets_incomplete", "statefulsets_stuck"):
        finding = until(check, lambda c=check: cluster.found(f"rollouts/{c}", "refused", soon), timeout=60, every=1)
        assert "exceeded quota" in finding.summary, check
        assert finding.severity == "critical"


def test_a_stateful_set_waits_for_a_broken_pod_and_a_rollback_does_not_reach_it(cluster: Cluster) -> None:
    cluster.kubernetes.apply(workload("StatefulSet", "ordered", {"replicas": 2, "serviceName": "ordered"}))
    until("its pods", lambda: len([p for p in pods_of(cluster, "ordered") if is_ready(p)]) == 2, timeout=90)
    bad, good = {"nodeSelector": NOWHERE}, {"nodeSelector": None}

    def change(spec: Object) -> None:
        cluster.kubernetes.patch("StatefulSet", "ordered", {"spec": {"template": {"spec": spec}}}, NAMESPACE)

    change(bad)
    later = timedelta(minutes=11)

    def held() -> Any:
        return cluster.found("rollouts/statefulsets_stuck", "ordered", later)

    finding = until("the update to be held up", held, timeout=60, every=1)
    assert kinds(finding) == ["StatefulSet", "Pod"]
    assert finding.root.name == "ordered-1"
    assert "must be deleted" not in finding.summary
    assert cluster.found("rollouts/statefulsets_stuck", "ordered") is None, "within its grace"
    change(good)

    def told() -> bool:
        again = held()
        return again is not None and "it must be deleted to be replaced" in again.summary

    until("the rollback not to reach it", told, timeout=60, every=1)
    [broken] = [pod for pod in pods_of(cluster, "ordered") if pod["metadata"]["name"] == "ordered-1"]
    assert broken["spec"]["nodeSelector"] == NOWHERE, "the real controller left it"
    cluster.kubernetes.delete("Pod", "ordered-1", NAMESPACE)
    until("it to be well once the pod was deleted", lambda: held() is None and all(map(is_ready, pods_of(cluster, "ordered"))),
          timeout=90, every=1)  # fmt: skip


def test_a_daemon_set_that_serves_on_one_node_only_is_found_with_the_pod_of_the_other(cluster: Cluster) -> None:
    cluster.kubernetes.apply(workload("DaemonSet", "agent", {}))
    until("its pods", lambda: len([p for p in pods_of(cluster, "agent") if is_ready(p)]) == 2, timeout=90)
    later, check = timedelta(minutes=11), "rollouts/daemonsets_incomplete"
    assert cluster.found(check, "agent", later) is None
    # More than a node has: of the new revision no pod is placed, and maxUnavailable lets one node wait at a time.
    greedy = [{"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "5000"}}}]
    cluster.kubernetes.patch(
        "DaemonSet", "agent", {"spec": {"template": {"spec": {"containers": greedy}}}}, NAMESPACE, strategic=True
    )
    finding = until("a node to lack it", lambda: cluster.found(check, "agent", later), timeout=60, every=1)
    assert kinds(finding) == ["DaemonSet", "Pod"]
    assert "serves on 1 of 2 nodes" in finding.summary
    assert "Insufficient cpu" in finding.summary
    assert finding.severity == "warning"


def test_a_job_whose_pod_failed_is_found_with_how_it_ended(cluster: Cluster) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "load", "namespace": NAMESPACE}}
    pod = template("load", restartPolicy="Never", nodeSelector=NOWHERE)
    cluster.kubernetes.apply({**job, "spec": {"backoffLimit": 0, "template": pod}})
    until("its pod", lambda: pods_of(cluster, "load"), timeout=30)
    assert cluster.found("jobs/failed", "load") is None, "it still tries"
    [made] = pods_of(cluster, "load")
    ended = {"name": "app", "image": "app:1", "imageID": "", "ready": False, "restartCount": 0}
    ended["state"] = {"terminated": {"exitCode": 3, "reason": "Error"}}
    status = {"phase": "Failed", "containerStatuses": [ended]}
    cluster.kubernetes.patch("Pod", made["metadata"]["name"], {"status": status}, NAMESPACE, subresource="status")
    finding = until("the Job to fail", lambda: cluster.found("jobs/failed", "load"), timeout=60, every=1)
    assert "BackoffLimitExceeded" in finding.summary
    assert "exit code 3" in finding.summary
    assert kinds(finding) == ["Job", "Pod"]


def test_a_pod_that_a_finalizer_keeps_is_found_and_gone_once_that_is_removed(cluster: Cluster) -> None:
    meta = {"name": "kept", "namespace": NAMESPACE, "finalizers": [FINALIZER], "labels": {"app": "kept"}}
    spec = template("kept")["spec"]
    cluster.kubernetes.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    until("it to run", lambda: all(map(is_ready, pods_of(cluster, "kept"))), timeout=60)
    cluster.kubernetes.delete("Pod", "kept", NAMESPACE)
    check, later = "pods/stuck_terminating", timedelta(minutes=3)
    until("it to be found", lambda: cluster.found(check, "kept", later), timeout=60)
    assert cluster.found(check, "kept") is None, "within its grace"

    def told() -> bool:
        finding = cluster.found(check, "kept", later)
        return finding is not None and f"the finalizer {FINALIZER} is left: who set it" in finding.summary

    until("its container to have ended", told, timeout=60, every=1)
    cluster.kubernetes.patch("Pod", "kept", {"metadata": {"finalizers": None}}, NAMESPACE)
    until("it to be gone", lambda: not pods_of(cluster, "kept"), timeout=30)
    assert cluster.found(check, "kept", later) is None


def test_a_cordoned_node_is_found_after_a_day_since_the_taint_that_the_controller_set(cluster: Cluster) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)
    cluster.kubernetes.patch("Node", "hollow-1", {"spec": {"unschedulable": True}})
    try:
        check, later = "nodes/cordoned_long", timedelta(hours=25)
        until("the taint with its time", lambda: cluster.judged(check).status == "ok", timeout=30, every=0.5)
        finding = until("it to be found", lambda: cluster.found(check, "hollow-1", later), timeout=30)
        assert finding.since >= began.replace(microsecond=0)
        assert finding.root.name == "hollow-1"
    finally:
        cluster.kubernetes.patch("Node", "hollow-1", {"spec": {"unschedulable": None}})


def test_a_node_whose_kubelet_fell_silent_is_the_one_root_of_all_that_hangs_there(cluster: Cluster) -> None:
    meta = {"namespace": NAMESPACE, "labels": {"app": "left"}}
    gone = {"name": "silent", "labels": {"lab": "silent"}}
    cluster.kubernetes.apply({"apiVersion": "v1", "kind": "Node", "metadata": gone})
    for name in ("left-0", "left-1"):
        spec = {**template("left")["spec"], "nodeName": "silent", "tolerations": [{"operator": "Exists"}]}
        spec["terminationGracePeriodSeconds"] = 1
        cluster.kubernetes.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "name": name}, "spec": spec})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": _now()}
    cluster.kubernetes.patch(
        "Node", "silent", {"status": {"conditions": [ready]}}, subresource="status", strategic=True
    )
    for name in ("left-0", "left-1"):
        cluster.kubernetes.delete("Pod", name, NAMESPACE)
    later = timedelta(minutes=8)

    def is_unknown() -> bool:
        conditions = cluster.kubernetes.get("Node", "silent")["status"]["conditions"]
        return any(c["type"] == "Ready" and c["status"] == "Unknown" for c in conditions)

    until("the controller to notice", is_unknown, timeout=90, every=1)
    node = cluster.found("nodes/not_ready", "silent", later)
    stuck = cluster.judged("pods/stuck_terminating", later).findings
    mine = [each for each in stuck if each.subject.name.startswith("left-")]
    assert len(mine) == 2
    uid = cluster.kubernetes.get("Node", "silent")["metadata"]["uid"]
    assert {(each.root.uid, each.cause) for each in (node, *mine)} == {(uid, None)}, "one incident"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
