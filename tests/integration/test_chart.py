"""The chart, installed by a real Helm engine on a real API server: what its account can see, and what it must not do."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from bot.lease import Claim, KubernetesLease
from bot.rbac import Rule, read_rules, write_rules
from bot.watch import WATCHED
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import IN_CLUSTER_TOKEN, Access
from tests.integration.stage import UNSTICK
from tests.lab import helm
from tests.lab.helm import Release
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import ApiError, Object, Objects
from tests.lab.waiting import until

NAMESPACE = f"chart-{os.getpid()}"
SEVERAL = f"chart-several-{os.getpid()}"
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
    "alertmanager": {"existingSecret": "alerts"},
    "ingress": {
        "enabled": True, "className": "nginx", "host": "a.example", "tlsSecret": "tls", "annotations": {"a/b": "c"},
    },
    "metrics": {"scrapeAnnotations": True},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
}  # fmt: skip


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
    remove(kubernetes, installed, NAMESPACE)


@pytest.fixture(scope="module")
def several(kubernetes: Kubernetes) -> Iterator[Release]:
    """The chart with three replicas on PostgreSQL."""
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SEVERAL}})
    values = {
        "image": {"repository": "registry.example/unstick"}, "slack": {"existingSecret": "slack-tokens"}, "replicas": 3,
        "config": {"clusters": {"lab": {}}, "state": "postgresql://unstick@db.example/unstick"},
    }  # fmt: skip
    installed = helm.install(values, namespace=SEVERAL, kubeconfig=kubernetes.kubeconfig())
    yield installed
    remove(kubernetes, installed, SEVERAL)


def remove(kubernetes: Kubernetes, release: Release, namespace: str) -> None:
    kubernetes.delete("Deployment", "unstick", namespace)
    for one in release.objects:
        if one["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            kubernetes.delete(one["kind"], one["metadata"]["name"])
    kubernetes.delete("Namespace", namespace)


@pytest.fixture(scope="module")
def account(kubernetes: Kubernetes, release: Release, folder: Path) -> Path:
    """A folder with what a pod of the chart's account has: `token` and `ca.crt`; and with a kubeconfig of the same."""
    signed_in(kubernetes, NAMESPACE, folder)
    (folder / "unstick.yaml").write_text(release.one("ConfigMap")["data"]["unstick.yaml"])
    return folder


@pytest.fixture(scope="module")
def one_of_several(kubernetes: Kubernetes, several: Release, folder: Path) -> Path:
    """The kubeconfig of the account of three replicas."""
    made = folder / "several"
    made.mkdir()
    signed_in(kubernetes, SEVERAL, made)
    return made / "kubeconfig"


def signed_in(kubernetes: Kubernetes, namespace: str, folder: Path) -> None:
    """Write the account's token, and a kubeconfig with it, once its rights hold."""
    path = kubernetes.path("ServiceAccount", "unstick", namespace, "v1") + "/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = json.loads(kubernetes.request("POST", path, asked))["status"]["token"]
    config = yaml.safe_load(kubernetes.kubeconfig("labchart").read_text())
    config["users"][0]["user"] = {"token": token}
    (folder / "kubeconfig").write_text(json.dumps(config))
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    reader = Objects(folder / "kubeconfig")
    until("the account's grant to take effect", lambda: allowed(reader, "GET", "/api/v1/nodes"), timeout=15)


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


def contains(found: Any, written: Any) -> bool:
    """Whether all that was written is there; the API server adds its defaults."""
    if isinstance(written, dict):
        return isinstance(found, dict) and all(k in found and contains(found[k], said) for k, said in written.items())
    if isinstance(written, list):
        return len(found) == len(written) and all(map(contains, found, written))
    return bool(found == written)


def rights(user: Objects, namespace: str) -> set[tuple[str, ...]]:
    """All that a user may do in a namespace, by the API server's own account of it: verb, group, resource and name each."""
    asked = {
        "kind": "SelfSubjectRulesReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"namespace": namespace},
    }
    answer = user.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", asked)
    return expanded(json.loads(answer)["status"]["resourceRules"])


def expanded(rules: Sequence[Rule]) -> set[tuple[str, ...]]:
    return {
        (verb, group, resource, name) for rule in rules for verb in rule["verbs"] for group in rule["apiGroups"]
        for resource in rule["resources"] for name in rule.get("resourceNames") or [""]
    }  # fmt: skip


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
    assert contains(container, written["containers"][0])
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


def test_what_is_watched_may_be_watched_and_nothing_else(account: Path) -> None:
    reader = Objects(account / "kubeconfig")
    for each in WATCHED:
        base = f"/apis/{each.group}/v1" if each.group else "/api/v1"
        reader.request("GET", f"{base}/{each.plural}", query={"watch": "1", "timeoutSeconds": "1"})
    with pytest.raises(ApiError) as refused:
        reader.request("GET", "/api/v1/nodes", query={"watch": "1", "timeoutSeconds": "1"})
    assert refused.value.code == 403


# --- Several replicas


def test_the_api_server_takes_three_replicas_and_counts_them_for_a_drain(
    kubernetes: Kubernetes, several: Release
) -> None:
    assert contains(kubernetes.get("Deployment", "unstick", SEVERAL)["spec"], several.one("Deployment")["spec"])
    assert contains(kubernetes.get("Service", "unstick", SEVERAL)["spec"], several.one("Service")["spec"])
    if not kubernetes.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS brings an API server alone: nobody counts pods there")

    def counted() -> bool:
        budget = kubernetes.get("PodDisruptionBudget", "unstick", SEVERAL)
        return bool(budget.get("status", {}).get("expectedPods") == 3)

    until("the budget to count three pods", counted, timeout=60)


def test_a_pod_is_told_its_namespace_where_the_election_looks_for_it(kubernetes: Kubernetes, several: Release) -> None:
    if not kubernetes.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS brings an API server alone: no Deployment makes pods there")
    [pod, *_] = until("the Deployment's pods", lambda: kubernetes.items("Pod", SEVERAL), timeout=60)
    place = IN_CLUSTER_TOKEN.with_name("namespace")
    [mount] = [m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["mountPath"] == str(place.parent)]
    [volume] = [v for v in pod["spec"]["volumes"] if v["name"] == mount["name"]]
    assert namespace_in(kubernetes, volume)[place.name] == SEVERAL


def namespace_in(kubernetes: Kubernetes, volume: Object) -> dict[str, str]:
    """What a token's volume says of the namespace, by file: a Secret's data, or since 1.21 the downward API."""
    if "secret" in volume:
        data = kubernetes.get("Secret", volume["secret"]["secretName"], SEVERAL)["data"]
        return {"namespace": base64.b64decode(data["namespace"]).decode()}
    items = [
        each for source in volume["projected"]["sources"] for each in source.get("downwardAPI", {}).get("items", ())
    ]
    return {each["path"]: SEVERAL for each in items if each["fieldRef"]["fieldPath"] == "metadata.namespace"}


def test_the_account_may_do_what_is_declared_and_take_its_lease_and_nothing_more(
    kubernetes: Kubernetes, one_of_several: Path
) -> None:
    lease = "coordination.k8s.io", "leases"
    elects = {("create", *lease, ""), ("get", *lease, "unstick"), ("update", *lease, "unstick")}
    reads = expanded(read_rules())
    user, nobody = Objects(one_of_several), Objects(kubernetes.kubeconfig("chart-nobody"))
    assert rights(user, SEVERAL) - rights(nobody, SEVERAL) == reads | elects
    assert rights(user, NAMESPACE) - rights(nobody, NAMESPACE) == reads


def test_one_alone_on_sqlite_may_write_no_lease(kubernetes: Kubernetes, account: Path) -> None:
    user, nobody = Objects(account / "kubeconfig"), Objects(kubernetes.kubeconfig("chart-nobody"))
    assert rights(user, NAMESPACE) - rights(nobody, NAMESPACE) == expanded(read_rules())


def test_the_electors_own_requests_get_through_and_no_other_lease_can_be_taken(
    kubernetes: Kubernetes, one_of_several: Path
) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "other", "namespace": SEVERAL},
    }
    kubernetes.apply({**lease, "spec": {"holderIdentity": "somebody"}})

    def taken(name: str, namespace: str = SEVERAL) -> str:
        return asyncio.run(_taken_and_renewed(one_of_several, namespace, name))

    assert taken("unstick") == "one"
    for name, namespace in (("other", SEVERAL), ("unstick", "default")):
        with pytest.raises(CouldNotLook, match="Not allowed to write the Lease"):
            taken(name, namespace)
    assert kubernetes.get("Lease", "other", SEVERAL)["spec"]["holderIdentity"] == "somebody"
    path = kubernetes.path("Lease", "unstick", SEVERAL)
    user = Objects(one_of_several)
    assert not allowed(user, "DELETE", path)
    assert not allowed(user, "PATCH", path, {"spec": {"holderIdentity": "two"}})


async def _taken_and_renewed(kubeconfig: Path, namespace: str, name: str) -> str:
    """Take a Lease as the elector does, and renew it; answers with who holds it then."""
    async with KubernetesLease(Access(str(kubeconfig), None), namespace, name) as lease:
        for token in (1, 2):
            await lease.write(await lease.read(10), Claim("one", token, 10.0, datetime.now(UTC)), 10)
        held = await lease.read(10)
        assert held is not None
        return held.holder
