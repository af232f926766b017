"""Nodes, pods and Jobs on a real control plane with hollow kubelets, through the command line."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.rbac import read_rules, write_rules
from tests.integration.stage import UNSTICK, Ran, Unstick
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

FULL, FREE = "hollow-0", "hollow-1"
GATE = "lab/ready"
"""A readiness gate: a pod is Ready only once the test says so."""


class OnKubernetes(Unstick):
    """The command line with a configuration of Kubernetes alone."""

    def __init__(self, kubernetes: Kubernetes, folder: Path) -> None:
        kubernetes.grant("diagnose", read_rules())
        kubernetes.grant("remediate", write_rules())
        self.folder = folder
        self.config = folder / "unstick.yaml"
        cluster = {
            "kubeconfig": str(kubernetes.kubeconfig("diagnose")),
            "remediate_kubeconfig": str(kubernetes.kubeconfig("remediate")),
        }
        self.settings: Object = {
            "clusters": {"lab": {"kubernetes": cluster}},
            "people": {
                "cli:alice": {"roles": ["responder", "approver"]}, "cli:bob": {"roles": ["approver", "responder"]},
            },
            "state": str(folder / "state.db"),
        }  # fmt: skip
        self.config.write_text(yaml.safe_dump(self.settings))

    def plan(self, runbook: str, **params: str) -> Ran:
        """`unstick runbook plan`, as a document."""
        return self.run("runbook", "plan", runbook, *_params(params), "-o", "json")

    def ask(self, runbook: str, **params: str) -> str:
        """Ask for a runbook as alice; gives the execution."""
        asked = self.run("runbook", "run", runbook, *_params(params), "-o", "json")
        assert asked.code == 0, (asked.out, asked.err)
        return str(asked.json["execution"])

    def approved(self, runbook: str, **params: str) -> Ran:
        """Ask for a runbook as alice, and approve it as bob, which runs it."""
        return self.run("runbook", "approve", self.ask(runbook, **params), login="bob")

    def state_of(self, execution: str) -> str:
        """Where an execution stands."""
        [found] = self.run("runbook", "history", execution, "-o", "json").json
        return str(found["state"])


def _params(params: dict[str, str]) -> list[str]:
    return [word for name, value in params.items() for word in ("-p", f"{name}={value}")]


def uids(pods: list[Object]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


@dataclass
class Shop:
    """A namespace of its own on two nodes, of which one carries everything."""

    kubernetes: Kubernetes
    unstick: OnKubernetes
    namespace: str

    def pods(self, node: str | None = None, app: str = "") -> list[Object]:
        """The pods of the namespace that are not going."""
        found = self.kubernetes.items(
            "Pod", self.namespace, labels=f"app={app}" if app else "", fields=f"spec.nodeName={node}" if node else ""
        )
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def make_ready(self, pod: Object) -> None:
        """Open the readiness gate of a pod."""
        gate = {"type": GATE, "status": "True"}
        self.kubernetes.patch(
            "Pod", pod["metadata"]["name"], {"status": {"conditions": [gate]}}, self.namespace, subresource="status",
            strategic=True,
        )  # fmt: skip

    def budget_allows(self, number: int) -> None:
        """Wait until the budget allows so many evictions."""
        until(
            f"the budget to allow {number}",
            lambda: (
                self.kubernetes.get("PodDisruptionBudget", "web", self.namespace)["status"].get("disruptionsAllowed")
                == number
            ),
            timeout=60,
        )

    def deployment(self, app: str, replicas: int, **pod: Any) -> None:
        """A Deployment, once its pods run on the one node."""
        spec = {
            "terminationGracePeriodSeconds": 1, "containers": [{"name": "app", "image": "app:1"}], **pod,
        }  # fmt: skip
        labels = {"app": app}
        self.kubernetes.apply(
            {
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app, "namespace": self.namespace},
                "spec": {
                    "replicas": replicas, "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                },
            }
        )  # fmt: skip

        def run() -> bool:
            found = [pod for pod in self.pods(FULL, app) if pod["status"]["phase"] == "Running"]
            return len(found) == replicas

        until(f"the pods of {app} to run", run, timeout=60)

    def guarded_web(self) -> None:
        """Two Ready pods of `web`, of which one must stay."""
        self.deployment("web", 2, readinessGates=[{"conditionType": GATE}])
        for pod in self.pods(FULL, "web"):
            self.make_ready(pod)
        self.kubernetes.apply(
            {
                "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget",
                "metadata": {"name": "web", "namespace": self.namespace},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
            }
        )  # fmt: skip
        self.budget_allows(1)


@pytest.fixture(scope="module")
def cluster(lab_folder: Path) -> Iterator[Kubernetes]:
    """A control plane of its own with two hollow nodes: what is drained here must not be other tests'."""
    if os.environ.get("KUBECONFIG") or os.environ.get("KUBEBUILDER_ASSETS"):
        pytest.skip("hollow kubelets join the lab's own Kubernetes only: KUBECONFIG and KUBEBUILDER_ASSETS name others")
    with Kubernetes(Path(tempfile.mkdtemp(prefix="d-", dir=lab_folder)), hollow_nodes=2) as kubernetes:
        for node in (FULL, FREE):
            until(f"{node} to be Ready", lambda node=node: _is_ready(kubernetes, node), timeout=60)  # type: ignore[misc]
        yield kubernetes


def _is_ready(kubernetes: Kubernetes, name: str) -> bool:
    node = kubernetes.find("Node", name) or {"status": {}}
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", ()))


@pytest.fixture
def shop(cluster: Kubernetes, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """An empty namespace; what is made in it before `open_up` lands on the one node."""
    namespace = request.node.name.removeprefix("test_")[:24].strip("_").replace("_", "-")
    _cordon(cluster, FULL, None)
    _cordon(cluster, FREE, True)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    until("the default service account", lambda: cluster.find("ServiceAccount", "default", namespace), timeout=30)
    yield Shop(cluster, OnKubernetes(cluster, tmp_path), namespace)
    for kind in ("Deployment", "Job"):
        for made in cluster.items(kind, namespace):
            cluster.delete(kind, made["metadata"]["name"], namespace)

    def emptied() -> bool:
        left = cluster.items("Pod", namespace)
        for pod in left:
            cluster.delete("Pod", pod["metadata"]["name"], namespace, grace=0)
        return not left

    until("the pods to be gone", emptied, timeout=60)  # a drain takes away the pods of all namespaces
    cluster.delete("Namespace", namespace)


def _cordon(kubernetes: Kubernetes, node: str, yes: bool | None) -> None:
    kubernetes.patch("Node", node, {"spec": {"unschedulable": yes}})


def cordoned(kubernetes: Kubernetes, node: str) -> bool:
    return bool(kubernetes.get("Node", node)["spec"].get("unschedulable"))


def test_a_drain_that_a_budget_stops_says_so_and_resumes_to_its_end(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.guarded_web()
    shop.deployment("idle", 1)
    _cordon(shop.kubernetes, FREE, None)
    before = shop.pods(FULL)
    plan = shop.unstick.plan("nodes/drain", node=FULL, within="8s")
    assert (plan.code, plan.json["plan"]["risk"]) == (0, "high"), (plan.out, plan.err)
    assert {t["uid"] for t in plan.json["plan"]["steps"][1]["act"]["targets"][1:]} == uids(before)

    execution = shop.unstick.ask("nodes/drain", node=FULL, within="8s")
    stopped = shop.unstick.run("runbook", "approve", execution, login="bob")
    with capsys.disabled():
        print(stopped.out)
    said = " ".join((stopped.out + stopped.err).split())
    assert "2 of 3 pods are evicted" in said
    [held] = [pod for pod in shop.pods(FULL) if pod["metadata"]["uid"] in uids(before)]
    assert f"{shop.namespace}/{held['metadata']['name']} is held up by PodDisruptionBudget {shop.namespace}/web" in said
    assert shop.unstick.state_of(execution) == "asking"
    assert cordoned(shop.kubernetes, FULL)

    [new] = [pod for pod in shop.pods(app="web") if pod["metadata"]["uid"] not in uids(before)]
    assert new["spec"]["nodeName"] == FREE
    shop.make_ready(new)
    shop.budget_allows(1)
    done = shop.unstick.run("runbook", "retry", execution)
    with capsys.disabled():
        print(done.out)
    assert shop.unstick.state_of(execution) == "done", (done.out, done.err)
    assert shop.pods(FULL) == []
    assert new["metadata"]["uid"] in uids(shop.pods(FREE)), "what came in place of an evicted pod was not touched"

    # Given back: not while it is out of service, and then yes.
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoSchedule"}
    taints = shop.kubernetes.get("Node", FULL)["spec"]["taints"]
    shop.kubernetes.patch("Node", FULL, {"spec": {"taints": [*taints, taint]}})
    given_up = shop.unstick.plan("nodes/uncordon", node=FULL)
    assert (given_up.code, "out of service" in given_up.out) == (1, True)
    shop.kubernetes.patch("Node", FULL, {"spec": {"taints": taints}})
    back = shop.unstick.run("runbook", "run", "nodes/uncordon", "-p", f"node={FULL}", "--yes")
    assert back.code == 0, (back.out, back.err)
    assert not cordoned(shop.kubernetes, FULL)
    again = shop.unstick.plan("nodes/uncordon", node=FULL)
    assert (again.code, "not cordoned" in again.out) == (1, True)


def test_a_drain_whose_process_is_killed_in_the_middle_resumes(shop: Shop) -> None:
    shop.guarded_web()
    _cordon(shop.kubernetes, FREE, None)
    before = uids(shop.pods(FULL))
    execution = shop.unstick.ask("nodes/drain", node=FULL, within="5m")
    with subprocess.Popen(
        [UNSTICK, "runbook", "approve", execution], env=shop.unstick.environment(LOGNAME="bob"),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as runner:  # fmt: skip
        try:
            until("one pod to be evicted", lambda: len(uids(shop.pods(FULL)) & before) == 1, timeout=60)
        finally:
            runner.send_signal(signal.SIGKILL)
    assert runner.returncode == -signal.SIGKILL
    [left] = uids(shop.pods(FULL)) & before
    new = until(
        "the new pod",
        lambda: next((p for p in shop.pods(FREE, "web") if p["status"]["phase"] == "Running"), None),
        timeout=60,
    )
    shop.make_ready(new)
    shop.budget_allows(1)
    done = shop.unstick.run("runbook", "run", execution)
    assert shop.unstick.state_of(execution) == "done", (done.out, done.err)
    assert left not in uids(shop.pods())
    assert shop.pods(FULL) == []
    assert new["metadata"]["uid"] in uids(shop.pods(FREE)), "an evicted pod's successor was evicted too"


def test_a_drain_refuses_what_would_be_lost_and_a_budget_that_never_allows(shop: Shop) -> None:
    shop.deployment("cache", 1, volumes=[{"name": "scratch", "emptyDir": {}}])
    meta = {"name": "bare", "namespace": shop.namespace}
    shop.kubernetes.apply(
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": meta,
            "spec": {"nodeName": FULL, "containers": [{"name": "app", "image": "app:1"}]},
        }
    )  # fmt: skip
    until(
        "the bare pod to run", lambda: len([p for p in shop.pods(FULL) if p["status"]["phase"] == "Running"]) == 2, 60
    )
    alone = shop.unstick.plan("nodes/drain", node=FULL)
    assert alone.code == 1
    told = " ".join(alone.json["plan"]["refusals"])
    assert "nowhere to go" in told, told
    _cordon(shop.kubernetes, FREE, None)
    told = " ".join(shop.unstick.plan("nodes/drain", node=FULL).json["plan"]["refusals"])
    assert f"{shop.namespace}/bare has no controller" in told
    assert "loses what is in emptyDir scratch" in told
    named = shop.unstick.plan("nodes/drain", node=FULL, also="unmanaged,emptydir")
    assert named.code == 0, named.json["plan"]["refusals"]
    shop.kubernetes.apply(
        {
            "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {**meta, "name": "cache"},
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "cache"}}},
        }
    )  # fmt: skip
    never = shop.unstick.plan("nodes/drain", node=FULL, also="unmanaged,emptydir")
    assert never.code == 1
    assert "never allows" in " ".join(never.json["plan"]["refusals"])
    assert len(shop.pods(FULL)) == 2
    assert not cordoned(shop.kubernetes, FULL), "a plan changes nothing"


def test_one_pod_is_evicted_and_its_budget_is_held_to(shop: Shop) -> None:
    shop.guarded_web()
    first, second = shop.pods(FULL, "web")
    name = f"{shop.namespace}/{first['metadata']['name']}"
    done = shop.unstick.approved("pods/evict", pod=name)
    assert done.code == 0, (done.out, done.err)
    assert first["metadata"]["uid"] not in uids(shop.pods())
    shop.budget_allows(0)
    held = shop.unstick.plan("pods/evict", pod=f"{shop.namespace}/{second['metadata']['name']}")
    assert held.code == 1
    assert f"PodDisruptionBudget {shop.namespace}/web allows no eviction" in " ".join(held.json["plan"]["refusals"])
    assert second["metadata"]["uid"] in uids(shop.pods())


def test_a_failed_job_is_run_anew_once_and_its_secret_is_in_no_plan(shop: Shop) -> None:
    spec = {
        "backoffLimit": 0, "ttlSecondsAfterFinished": 3600,
        "template": {
            "spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "app:1", "env": [{"name": "PASSWORD", "value": "not-to-be-seen"}]}],
            }
        },
    }  # fmt: skip
    meta = {"name": "nightly", "namespace": shop.namespace}
    shop.kubernetes.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})
    job = f"{shop.namespace}/nightly"
    early = shop.unstick.plan("jobs/rerun", job=job)
    assert (early.code, "has not failed" in early.out) == (1, True)

    pod = until("the pod to run", lambda: next((p for p in shop.pods() if p["status"]["phase"] == "Running"), None), 60)
    failed = {"status": {"phase": "Failed", "containerStatuses": None}}
    shop.kubernetes.patch("Pod", pod["metadata"]["name"], failed, shop.namespace, subresource="status")
    until("the Job to fail", lambda: _has_failed(shop.kubernetes.get("Job", "nightly", shop.namespace)), timeout=60)

    plan = shop.unstick.plan("jobs/rerun", job=job)
    assert plan.code == 0, plan.out
    assert "not-to-be-seen" not in plan.out
    done = shop.unstick.approved("jobs/rerun", job=job)
    assert done.code == 0, (done.out, done.err)
    jobs = {one["metadata"]["name"]: one for one in shop.kubernetes.items("Job", shop.namespace)}
    old = jobs.pop("nightly")
    [(name, new)] = jobs.items()
    assert name == f"nightly-rerun-{old['metadata']['uid'][:8]}"
    assert new["spec"]["template"]["spec"]["containers"] == old["spec"]["template"]["spec"]["containers"]
    assert new["spec"]["selector"] != old["spec"]["selector"]
    assert "ttlSecondsAfterFinished" not in new["spec"], "it would vanish, and with it the trace that it was made"
    assert new["metadata"]["annotations"]["unstick/origin"] == f"Job/nightly/{old['metadata']['uid']}"
    assert new["status"]["active"] == 1
    twice = shop.unstick.plan("jobs/rerun", job=job)
    assert (twice.code, "was made from it already" in twice.out) == (1, True)
    assert b"not-to-be-seen" not in b"".join(file.read_bytes() for file in shop.unstick.folder.glob("state.db*"))


def _has_failed(job: Object) -> bool:
    return any(c["type"] == "Failed" and c["status"] == "True" for c in job["status"].get("conditions", ()))
