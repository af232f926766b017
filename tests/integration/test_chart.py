"""The chart, installed by a real Helm engine on a real API server: what its account can see, and what it must not do."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from bot.rbac import read_rules, write_rules
from tests.integration.stage import UNSTICK
from tests.lab import helm
from tests.lab.helm import Release
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import ApiError, Object, Objects
from tests.lab.waiting import until

NAMESPACE = f"chart-{os.getpid()}"
ROOT = helm.CHART.parents[1]

EVERYTHING: Object = {
    "image": {"repository": "registry.example/unstick", "tag": "1", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "replicas": 0,
    "config": {
        "clusters": {
            "lab": {
                "kubernetes": {"remediate_kubeconfig": "/etc/unstick-remediate/kubeconfig"},
                "ceph": {"conf": "/etc/ceph/ceph.conf", "user": "client.unstick"},
            }
        }
    },
    "slack": {"existingSecret": "slack-tokens"},
    "ceph": {"existingSecret": "ceph-reader"},
    "remediate": {"enabled": True, "kubeconfigSecret": "remediate", "createRole": True},
    "persistence": {"enabled": True, "size": "5Gi", "storageClass": "local"},
    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
    "user": 1000,
    "nodeSelector": {"role": "infra"},
    "tolerations": [{"key": "infra", "operator": "Exists"}],
}


@pytest.fixture(scope="module")
def folder(lab_folder: Path) -> Path:
    made = lab_folder / "chart"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def release(kubernetes: Kubernetes, folder: Path) -> Iterator[Release]:
    """The chart on the API server, with the role to remediate, which is bound to nobody."""
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    values = {
        "image": {"repository": "registry.example/unstick"}, "slack": {"existingSecret": "slack-tokens"},
        "remediate": {"createRole": True},
        "config": {"clusters": {"lab": {}}, "state": str(folder / "state.db")},
    }  # fmt: skip
    installed = helm.install(values, namespace=NAMESPACE, kubeconfig=kubernetes.kubeconfig())
    yield installed
    kubernetes.delete("Deployment", "unstick", NAMESPACE)
    for one in installed.objects:
        if one["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            kubernetes.delete(one["kind"], one["metadata"]["name"])
    kubernetes.delete("Namespace", NAMESPACE)


@pytest.fixture(scope="module")
def account(kubernetes: Kubernetes, release: Release, folder: Path) -> Path:
    """A folder with what a pod of the chart's account has: `token` and `ca.crt`; and with a kubeconfig of the same."""
    path = kubernetes.path("ServiceAccount", "unstick", NAMESPACE, "v1") + "/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = json.loads(kubernetes.request("POST", path, asked))["status"]["token"]
    config = yaml.safe_load(kubernetes.kubeconfig("labchart").read_text())
    config["users"][0]["user"] = {"token": token}
    (folder / "kubeconfig").write_text(json.dumps(config))
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    (folder / "unstick.yaml").write_text(release.one("ConfigMap")["data"]["unstick.yaml"])
    reader = Objects(folder / "kubeconfig")
    until("the account's grant to take effect", lambda: allowed(reader, "GET", "/api/v1/nodes"), timeout=15)
    return folder


def allowed(user: Objects, method: str, path: str, body: Any = None) -> bool:
    """Whether the API server lets this user do it; a dry run, so that nothing is done where it does."""
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        user.request(method, path, body, {} if method == "GET" else {"dryRun": "All"}, media)
    except ApiError as error:
        if error.code == 403:
            return False
        if error.code != 404 or method != "GET":  # what is not there may be looked for all the same
            raise
    return True


def unstick(program: Sequence[str], account: Path, *words: str, **environment: str) -> Any:
    """What `unstick WORDS -o json` prints, in an environment without a home and with the chart's unstick.yaml."""
    done = subprocess.run(
        [*program, *words, "-o", "json"], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        env={
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(account / "no-home"),
            "UNSTICK_CONFIG": str(account / "unstick.yaml"), **environment,
        },
    )  # fmt: skip
    assert done.returncode in (0, 1, 3), done.stderr
    return json.loads(done.stdout)


def was_forbidden_nothing(document: Any) -> bool:
    return "Not allowed" not in json.dumps(document)


def looked_everywhere(document: Any) -> bool:
    """Every check answered; those of Ceph were skipped, as the chart was told of none."""
    statuses: dict[str, str] = {outcome["check"]: outcome["status"] for outcome in document["outcomes"]}
    assert statuses["storage/pods_stuck_creating"] in ("ok", "found")
    assert statuses["ceph/locks_stale"] == "skipped"
    return "unknown" not in statuses.values() and was_forbidden_nothing(document)


def test_the_api_server_takes_what_the_chart_renders_as_it_is(kubernetes: Kubernetes, release: Release) -> None:
    deployment = kubernetes.get("Deployment", "unstick", NAMESPACE)
    written = release.one("Deployment")["spec"]["template"]["spec"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert written["containers"][0].items() <= container.items()
    assert deployment["spec"]["template"]["spec"]["securityContext"] == written["securityContext"]
    for role, rules in (("read", read_rules()), ("remediate", write_rules())):
        assert kubernetes.get("ClusterRole", f"{NAMESPACE}:unstick:{role}")["rules"] == rules


def test_the_api_server_takes_every_value_too(kubernetes: Kubernetes, release: Release) -> None:
    every = helm.install(EVERYTHING, release="full", namespace=NAMESPACE, kubeconfig=kubernetes.kubeconfig())
    try:
        assert len(kubernetes.get("Deployment", "full-unstick", NAMESPACE)["spec"]["template"]["spec"]["volumes"]) == 5
    finally:
        for one in every.objects:
            kubernetes.delete(one["kind"], one["metadata"]["name"], one["metadata"].get("namespace"))


def test_a_pod_is_made_of_it_that_gets_the_accounts_token(kubernetes: Kubernetes, release: Release) -> None:
    if not kubernetes.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS brings an API server alone: no Deployment makes pods there")
    labels = "app.kubernetes.io/instance=unstick"
    [pod] = until("the Deployment's pod", lambda: kubernetes.items("Pod", NAMESPACE, labels=labels), timeout=60)
    assert pod["spec"]["serviceAccountName"] == "unstick"
    paths = [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
    assert sorted(paths) == [
        "/etc/unstick",
        "/tmp",
        "/var/lib/unstick",
        "/var/run/secrets/kubernetes.io/serviceaccount",
    ]


def test_the_account_sees_all_that_the_checks_read(account: Path) -> None:
    document = unstick([str(UNSTICK)], account, "check", KUBECONFIG=str(account / "kubeconfig"))
    assert looked_everywhere(document)
    assert document["scanned"]["persistentvolumeclaims"] >= 1


def test_in_a_pod_the_accounts_own_token_is_used_without_any_kubeconfig(kubernetes: Kubernetes, account: Path) -> None:
    server = urlsplit(kubernetes.host)
    service = {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port or 443)}
    program = [sys.executable, "-m", "tests.lab.in_pod", str(account)]
    assert looked_everywhere(unstick(program, account, "check", **service))
    if kubernetes.has_controllers:
        [pod] = kubernetes.items("Pod", NAMESPACE)
        why = unstick(program, account, "why", f"pod/{pod['metadata']['name']}", "-n", NAMESPACE, **service)
        assert was_forbidden_nothing(why)
        assert why["status"] == "unknown"  # no node is there to run it
        assert "bound to no node" in why["summary"]


def test_each_declared_read_is_allowed_and_no_secret_can_be_read(account: Path) -> None:
    reader = Objects(account / "kubeconfig")
    for rule in read_rules():
        for resource in rule["resources"]:
            for group in rule["apiGroups"]:
                base = f"/apis/{group}/v1" if group else "/api/v1"
                assert allowed(reader, "GET", f"{base}/namespaces/{NAMESPACE}/{resource}/absent")
                assert allowed(reader, "GET", f"{base}/{resource}") == ("list" in rule["verbs"]), resource
    assert not allowed(reader, "GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")
    assert not allowed(reader, "GET", "/api/v1/secrets")


def test_no_write_is_allowed_even_where_the_role_to_remediate_exists(kubernetes: Kubernetes, account: Path) -> None:
    account_of_chart, admin = Objects(account / "kubeconfig"), kubernetes
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "victim", "namespace": NAMESPACE}}
    spec: Object = {"containers": [{"name": "app", "image": "app:1"}], "automountServiceAccountToken": False}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"{NAMESPACE}-node"}}
    if kubernetes.has_controllers:
        until("the service account", lambda: kubernetes.find("ServiceAccount", "default", NAMESPACE), 30)
    kubernetes.apply([{**pod, "spec": spec}, node])
    cordon = {"spec": {"unschedulable": True}}
    try:
        for method, path, body in (
            ("DELETE", kubernetes.path("Pod", "victim", NAMESPACE), None),
            ("PATCH", kubernetes.path("Node", f"{NAMESPACE}-node", None), cordon),
            ("PATCH", kubernetes.path("Deployment", "unstick", NAMESPACE), {"spec": {"replicas": 0}}),
            ("DELETE", kubernetes.path("ClusterRole", f"{NAMESPACE}:unstick:read", None), None),
        ):
            assert allowed(admin, method, path, body), "the request itself must be one that somebody may make"
            assert not allowed(account_of_chart, method, path, body), f"{method} {path}"
    finally:
        kubernetes.delete("Pod", "victim", NAMESPACE, grace=0)
        kubernetes.delete("Node", f"{NAMESPACE}-node")
