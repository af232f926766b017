"""Rollouts on the real control plane, by the command line: taken back, restarted, held, and set to Recreate.

The kubelet is a hollow one: all of a kubelet but its containers. What keeps a new pod from getting Ready is real too, a
ConfigMap that does not exist.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.rbac import read_rules, write_rules
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

UNSTICK = Path(sys.executable).parent / "unstick"
OLD, NEW = "old-value-not-to-be-seen", "new-value-not-to-be-seen"
CAUSE = "kubernetes.io/change-cause"


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document that it printed."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Bench:
    """A cluster with one hollow kubelet, two people, and the command line."""

    kubernetes: Kubernetes
    folder: Path

    def run(self, *words: str, login: str = "alice") -> Ran:
        """Run `unstick WORDS` as somebody. No output may ever hold a value of the template's environment."""
        kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CEPH_CONF", "SUDO_USER")}
        done = subprocess.run(
            [UNSTICK, *words], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
            env={**kept, "UNSTICK_CONFIG": str(self.folder / "unstick.yaml"), "LOGNAME": login},
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        for value in (OLD, NEW):
            assert value not in done.stdout + done.stderr, f"unstick {' '.join(words)} tells a value of the environment"
        return Ran(done.returncode, done.stdout, done.stderr)

    def ask(self, runbook: str, workload: str, *words: str) -> str:
        """Ask for a runbook as alice; gives the execution."""
        asked = self.run("runbook", "run", runbook, "-p", f"workload={workload}", *words, "-o", "json")
        assert asked.code == 0, asked.out + asked.err
        return str(asked.json["execution"])

    def approve(self, execution: str) -> Any:
        """Approve as bob, which runs it to its end; gives the execution."""
        ran = self.run("runbook", "approve", execution, "-o", "json", login="bob")
        assert ran.code == 0, ran.out + ran.err
        return ran.json

    def plan(self, runbook: str, workload: str, *words: str) -> Ran:
        """Plan a runbook, as JSON."""
        return self.run("runbook", "plan", runbook, "-p", f"workload={workload}", *words, "-o", "json")

    def ready(self, namespace: str, number: int) -> bool:
        """Whether so many pods are there, and all are Ready and none is ending."""
        pods = self.kubernetes.items("Pod", namespace)
        return len(pods) == number and all(is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)

    def history(self, kind: str, namespace: str) -> str:
        """What `kubectl rollout history` says."""
        return self.kubernetes.kubectl("-n", namespace, "rollout", "history", f"{kind}/app")


def is_ready(pod: Object) -> bool:
    return any((c["type"], c["status"]) == ("Ready", "True") for c in pod["status"].get("conditions", ()))


def template(image: str, value: str, volume: Object | None = None) -> Object:
    """A pod template; one with a volume of a ConfigMap that does not exist never gets Ready."""
    container: Object = {
        "name": "app", "image": image, "env": [{"name": "DB_PASSWORD", "value": value}],
        "args": ["--log-level=info", f"--token={value}"],
    }  # fmt: skip
    spec: Object = {
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "tolerations": [{"operator": "Exists"}],
    }
    if volume is not None:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", **volume}]
    return {"metadata": {"labels": {"app": "app"}}, "spec": spec}


def broken() -> Object:
    return template("app:2", NEW, {"configMap": {"name": "absent"}})


def workload(kind: str, namespace: str, of: Object, **spec: Any) -> Object:
    more: Object = {} if kind == "DaemonSet" else {"replicas": 2 if kind == "StatefulSet" else 1}
    if kind == "StatefulSet":
        more["serviceName"] = "app"
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "app", "namespace": namespace, "annotations": {CAUSE: "first release"}},
        "spec": {"selector": {"matchLabels": {"app": "app"}}, "template": of, **more, **spec},
    }


@pytest.fixture(scope="module")
def bench(lab_folder: Path) -> Iterator[Bench]:
    """A control plane of its own: its hollow node must not get other tests' pods."""
    if os.environ.get("KUBECONFIG") or os.environ.get("KUBEBUILDER_ASSETS"):
        pytest.skip("hollow kubelets join the lab's own Kubernetes only: KUBECONFIG and KUBEBUILDER_ASSETS name others")
    folder = Path(tempfile.mkdtemp(prefix="o-", dir=lab_folder))
    with Kubernetes(folder, hollow_nodes=1) as kubernetes:
        kubernetes.grant("diagnose", read_rules())
        kubernetes.grant("remediate", write_rules())
        paths = {
            "kubeconfig": str(kubernetes.kubeconfig("diagnose")),
            "remediate_kubeconfig": str(kubernetes.kubeconfig("remediate")),
        }
        settings = {
            "clusters": {"lab": {"kubernetes": paths}},
            "people": {
                "cli:alice": {"roles": ["responder", "approver"]}, "cli:bob": {"roles": ["responder", "approver"]},
            },
            "state": str(folder / "state.db"),
        }  # fmt: skip
        (folder / "unstick.yaml").write_text(yaml.safe_dump(settings))
        yield Bench(kubernetes, folder)


Stage = Callable[..., str]


@pytest.fixture
def stage(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Makes a namespace with a workload of one release, which is rolled out."""
    kubernetes, made = bench.kubernetes, []

    def set_up(kind: str, of: Object | None = None, **spec: Any) -> str:
        namespace = f"{kind.lower()}-{len(made)}-{abs(hash(request.node.name)) % 10**6}"
        made.append(namespace)
        kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        until("the account", lambda: kubernetes.find("ServiceAccount", "default", namespace), timeout=30)
        kubernetes.apply(workload(kind, namespace, of or template("app:1", OLD), **spec))
        number = 2 if kind == "StatefulSet" else 1
        until("the first release to run", lambda: bench.ready(namespace, number), timeout=60)
        return namespace

    yield set_up
    for namespace in made:
        kubernetes.delete("Namespace", namespace)


def change(bench: Bench, kind: str, namespace: str, of: Object, **spec: Any) -> None:
    """Roll another template out, and wait until a pod of it hangs."""
    manifest = workload(kind, namespace, of, **spec)
    manifest["metadata"]["annotations"][CAUSE] = "second release"
    bench.kubernetes.apply(manifest)

    def hangs() -> bool:
        pods = bench.kubernetes.items("Pod", namespace)
        return any(not is_ready(pod) and pod["spec"]["containers"][0]["image"] == "app:2" for pod in pods)

    until("the second release to hang", hangs, timeout=60)


def images(bench: Bench, namespace: str) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in bench.kubernetes.items("Pod", namespace)}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_rollout_that_hangs_is_taken_back_and_the_history_keeps_the_cause(
    bench: Bench, stage: Stage, kind: str
) -> None:
    namespace = stage(kind)
    change(bench, kind, namespace, broken())
    name = f"{kind.lower()}/{namespace}/app"

    planned = bench.plan("rollouts/undo", name)
    assert planned.code == 0, planned.out + planned.err
    act = planned.json["plan"]["steps"][0]["act"]
    assert set(act["shows"]) == {
        "container app: args: changed (value not shown)",
        "container app: env DB_PASSWORD: changed (value not shown)",
        "container app: image: app:2, then app:1",
        "container app: mount /data: removed, of volume data",
        "volume data: removed, configMap",
    }

    done = bench.approve(bench.ask("rollouts/undo", name))
    assert done["state"] == "done", done
    until("the old pods to end", lambda: bench.ready(namespace, 2 if kind == "StatefulSet" else 1), timeout=60)
    assert images(bench, namespace) == {"app:1"}
    history = bench.history(kind.lower(), namespace)
    assert "3 " in history, history
    assert "Undone by Unstick to revision 1" in history
    found = bench.kubernetes.get(kind, "app", namespace)
    assert found["metadata"]["annotations"][CAUSE] == "Undone by Unstick to revision 1"


def test_the_plan_in_words_shows_what_is_different_in_the_template(bench: Bench, stage: Stage) -> None:
    namespace = stage("Deployment")
    change(bench, "Deployment", namespace, broken())
    said = bench.run("runbook", "plan", "rollouts/undo", "-p", f"workload=deployment/{namespace}/app").out
    assert "container app: image: app:2, then app:1" in said
    assert "container app: env DB_PASSWORD: changed (value not shown)" in said


def test_a_chosen_revision_is_what_it_goes_back_to_and_one_that_is_not_kept_is_refused(
    bench: Bench, stage: Stage
) -> None:
    namespace = stage("Deployment")
    bench.kubernetes.apply(workload("Deployment", namespace, template("app:between", OLD)))
    until("the release between", lambda: images(bench, namespace) == {"app:between"}, timeout=60)
    change(bench, "Deployment", namespace, broken())
    name = f"deployment/{namespace}/app"
    missing = bench.plan("rollouts/undo", name, "-p", "revision=9")
    assert missing.code == 1
    assert any("keeps no revision 9; it keeps 1, 2, 3" in why for why in missing.json["plan"]["refusals"])
    same = bench.plan("rollouts/undo", name, "-p", "revision=3")
    assert any("is what runs already" in why for why in same.json["plan"]["refusals"])
    bench.approve(bench.ask("rollouts/undo", name, "-p", "revision=1"))
    until("the old pods to end", lambda: images(bench, namespace) == {"app:1"}, timeout=60)


def test_a_newer_rollout_between_plan_and_approval_voids_what_was_asked_for(bench: Bench, stage: Stage) -> None:
    namespace = stage("Deployment")
    change(bench, "Deployment", namespace, broken())
    execution = bench.ask("rollouts/undo", f"deployment/{namespace}/app")
    newer = workload("Deployment", namespace, template("app:3", NEW))
    bench.kubernetes.apply(newer)
    until("the newer rollout", lambda: images(bench, namespace) == {"app:3"}, timeout=60)
    refused = bench.run("runbook", "approve", execution, login="bob")
    assert refused.code == 1
    assert "template was" in refused.err
    assert images(bench, namespace) == {"app:3"}
    assert bench.kubernetes.get("Deployment", "app", namespace)["metadata"]["annotations"][CAUSE] == "first release"


def test_scaling_between_plan_and_approval_does_not_void_it(bench: Bench, stage: Stage) -> None:
    namespace = stage("Deployment")
    change(bench, "Deployment", namespace, broken())
    execution = bench.ask("rollouts/undo", f"deployment/{namespace}/app")
    bench.kubernetes.patch("Deployment", "app", {"spec": {"replicas": 2}}, namespace)
    bench.approve(execution)
    until("the old pods to end", lambda: bench.ready(namespace, 2), timeout=60)
    assert images(bench, namespace) == {"app:1"}


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ({"labels": {"argocd.argoproj.io/instance": "shop"}}, "Argo CD manages"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:a/app"}}, "Argo CD manages"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, "Flux manages"),
    ],
)
def test_what_git_manages_is_refused_with_what_to_do(bench: Bench, stage: Stage, marks: Object, says: str) -> None:
    namespace = stage("Deployment")
    change(bench, "Deployment", namespace, broken())
    bench.kubernetes.patch("Deployment", "app", {"metadata": marks}, namespace)
    refused = bench.plan("rollouts/undo", f"deployment/{namespace}/app")
    assert refused.code == 1
    assert any(says in why and "undo it in Git" in why for why in refused.json["plan"]["refusals"])


def test_what_a_field_manager_of_git_wrote_is_refused_and_what_an_owner_has_too(bench: Bench, stage: Stage) -> None:
    namespace = stage("Deployment")
    change(bench, "Deployment", namespace, broken())
    kubernetes = bench.kubernetes
    path = kubernetes.path("Deployment", "app", namespace)
    query = {"fieldManager": "argocd-controller"}
    body = {"metadata": {"labels": {"team": "shop"}}}
    kubernetes.request("PATCH", path, body, query, "application/merge-patch+json")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": namespace}}
    [made] = kubernetes.apply(owner)
    reference = {
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": made["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    kubernetes.patch("Deployment", "app", {"metadata": {"ownerReferences": [reference]}}, namespace)
    refusals = bench.plan("rollouts/undo", f"deployment/{namespace}/app").json["plan"]["refusals"]
    assert any("Argo CD manages" in why for why in refusals)
    assert any("belongs to ConfigMap owner" in why for why in refusals)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_restart_makes_every_pod_anew_and_leaves_the_rest(bench: Bench, stage: Stage, kind: str) -> None:
    namespace = stage(kind)
    before = {pod["metadata"]["uid"] for pod in bench.kubernetes.items("Pod", namespace)}
    number = len(before)
    for _ in range(2):  # each restart is another one than the last
        done = bench.approve(bench.ask("rollouts/restart", f"{kind.lower()}/{namespace}/app"))
        assert done["state"] == "done", done
        until("the old pods to go", lambda: bench.ready(namespace, number), timeout=60)
        after = {pod["metadata"]["uid"] for pod in bench.kubernetes.items("Pod", namespace)}
        assert not before & after
        before = after
    assert images(bench, namespace) == {"app:1"}


def test_a_restart_is_refused_where_nothing_would_follow_from_it(bench: Bench, stage: Stage) -> None:
    namespace = stage("DaemonSet", updateStrategy={"type": "OnDelete"})
    refused = bench.plan("rollouts/restart", f"daemonset/{namespace}/app")
    assert any("OnDelete" in why and "delete its pods by hand" in why for why in refused.json["plan"]["refusals"])


def test_a_csi_node_plugin_is_not_restarted(bench: Bench, stage: Stage) -> None:
    plugin = {"hostPath": {"path": "/var/lib/kubelet/plugins/rbd.csi.ceph.com"}}
    namespace = stage("DaemonSet", of=template("app:1", OLD, plugin))
    refused = bench.plan("rollouts/restart", f"daemonset/{namespace}/app")
    assert refused.code == 1
    assert any("is a CSI node plugin" in why for why in refused.json["plan"]["refusals"])


def test_a_rollout_is_held_until_a_person_has_looked_and_then_goes_on(bench: Bench, stage: Stage) -> None:
    namespace = stage("Deployment")
    name = f"deployment/{namespace}/app"
    asked = bench.run("runbook", "run", "rollouts/pause_and_resume", "-p", f"workload={name}", "--yes", "-o", "json")
    execution = asked.json["id"]
    assert asked.json["state"] == "asking", asked.out + asked.err
    assert bench.kubernetes.get("Deployment", "app", namespace)["spec"]["paused"] is True
    held = bench.plan("rollouts/undo", name)
    assert any("is paused: somebody holds it" in why for why in held.json["plan"]["refusals"])
    said = bench.run("runbook", "done", execution, login="bob")
    assert said.code == 0, said.out + said.err
    assert bench.run("runbook", "history", execution, "-o", "json").json[0]["state"] == "done"
    assert not bench.kubernetes.get("Deployment", "app", namespace)["spec"].get("paused")


def test_a_deployment_with_a_volume_for_one_node_gets_strategy_recreate(bench: Bench, stage: Stage) -> None:
    namespace = stage("Deployment")
    name = f"deployment/{namespace}/app"
    without = bench.plan("storage/recreate_strategy_for_rwo", name)
    assert any("share no volume that is for one node only" in why for why in without.json["plan"]["refusals"])
    bench.kubernetes.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
    )  # fmt: skip
    with_claim = template("app:1", OLD, {"persistentVolumeClaim": {"claimName": "data"}})
    bench.kubernetes.apply(workload("Deployment", namespace, with_claim))
    done = bench.approve(bench.ask("storage/recreate_strategy_for_rwo", name))
    assert done["state"] == "done", done
    assert bench.kubernetes.get("Deployment", "app", namespace)["spec"]["strategy"] == {"type": "Recreate"}
    again = bench.plan("storage/recreate_strategy_for_rwo", name)
    assert any("has strategy Recreate already" in why for why in again.json["plan"]["refusals"])


def test_no_value_of_the_environment_is_in_the_state_database_or_in_the_audit_log(bench: Bench) -> None:
    export = bench.run("audit", "export")
    assert "rollouts/undo" in export.out, "the comparison would prove nothing"
    kept = b"".join(file.read_bytes() for file in bench.folder.glob("state.db*"))
    assert b"rollouts.undo" in kept
    for value in (OLD, NEW):
        assert value.encode() not in kept
