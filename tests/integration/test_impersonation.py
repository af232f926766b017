"""Acts as the person who asked, on the real API server: its own RBAC decides, and its own audit log names the person."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.rbac import read_rules
from tests.lab import audit
from tests.lab.kubernetes import Kubernetes

UNSTICK = Path(sys.executable).parent / "unstick"
READER, WRITER = "impersonation-reads", "impersonation-writes"
NODE = "impersonated-1"
OWN = """\
id: nodes/put_aside
version: 1.0.0
status: stable
title: Put a node aside
meaning: Only a test needs it.
impact: No new pods come to it.
owner: cluster on-call
changelog: First release.
parameters: {node: node}
steps:
  - {id: cordon, act: kubernetes.cordon, with: {node: "{{node}}"}, verify: node_is_cordoned, undo: kubernetes.uncordon}
"""


@dataclass
class Bench:
    """One node, an account that may impersonate, and the command line of several people."""

    kubernetes: Kubernetes
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def configure(self) -> None:
        (self.folder / "unstick.yaml").write_text(yaml.safe_dump(self.settings))

    def run(self, *words: str, login: str) -> subprocess.CompletedProcess[str]:
        """Run `unstick runbook WORDS` as somebody."""
        kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CEPH_CONF", "SUDO_USER")}
        environment = {**kept, "UNSTICK_CONFIG": str(self.folder / "unstick.yaml"), "LOGNAME": login}
        words = ("runbook", *words, "nodes/put_aside", "-p", f"node={NODE}")
        return subprocess.run(
            [UNSTICK, *words], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, env=environment
        )

    def may_impersonate(self, *users: str) -> None:
        """Let the writing account act as these users, and do nothing by itself."""
        rule = {"apiGroups": [""], "resources": ["users"], "resourceNames": list(users), "verbs": ["impersonate"]}
        self.kubernetes.grant(WRITER, [rule] if users else [])

    def is_cordoned(self) -> bool:
        return bool(self.kubernetes.get("Node", NODE)["spec"].get("unschedulable"))

    def patched_by(self) -> list[tuple[str, str | None]]:
        """Who changed the node by the API server's own audit log: the account, and the user that it acted as."""
        log = (self.kubernetes.folder / audit.LOG).read_text().splitlines()
        events = [json.loads(line) for line in log if f'"name":"{NODE}"' in line]
        return [
            (e["user"]["username"].rpartition(":")[2], e.get("impersonatedUser", {}).get("username")) for e in events
            if e["verb"] == "patch" and "dryRun=" not in e["requestURI"] and e["responseStatus"]["code"] < 300
        ]  # fmt: skip


@pytest.fixture
def bench(kubernetes: Kubernetes, tmp_path: Path) -> Iterator[Bench]:
    if not kubernetes.own:
        pytest.skip("only the lab's own API server writes an audit log that tests can read")
    kubernetes.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "impersonation-cordons"}}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "impersonation-cordons"}
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}]
    kubernetes.apply([{**rbac, "kind": "ClusterRole", "rules": rules}])
    people = [
        {"kind": "User", "name": name, "apiGroup": role["apiGroup"]} for name in ("alice@example.com", "dora-sre")
    ]
    kubernetes.apply([{**rbac, "kind": "ClusterRoleBinding", "subjects": people, "roleRef": role}])
    kubernetes.grant(READER, read_rules())
    (tmp_path / "own.yaml").write_text(OWN)
    paths = {
        "kubeconfig": str(kubernetes.kubeconfig(READER)), "remediate_kubeconfig": str(kubernetes.kubeconfig(WRITER)),
        "impersonate": "{login}@example.com",
    }  # fmt: skip
    made = Bench(kubernetes, tmp_path)
    made.settings = {
        "clusters": {"lab": {"kubernetes": paths}}, "state": str(tmp_path / "state.db"), "runbooks": [str(tmp_path / "own.yaml")],
        "people": {
            "cli:alice": {"roles": ["responder"]}, "cli:carol": {"roles": ["responder"]},
            "cli:dora": {"roles": ["responder"], "kubernetes_user": "dora-sre"},
        },
    }  # fmt: skip
    made.configure()
    yield made
    kubernetes.delete("Node", NODE)
    for kind in ("ClusterRoleBinding", "ClusterRole"):
        kubernetes.delete(kind, "impersonation-cordons")


def test_the_clusters_rbac_decides_for_the_person_and_its_audit_log_names_them(bench: Bench) -> None:
    bench.may_impersonate("alice@example.com", "carol@example.com")
    refused = bench.run("plan", login="carol")
    assert refused.returncode == 1, refused.stderr
    assert "kubernetes_permits: the identity that would act may not patch nodes" in refused.stdout
    assert bench.run("run", "--yes", login="carol").returncode == 1
    assert not bench.is_cordoned()
    assert bench.patched_by() == []
    done = bench.run("run", "--yes", login="alice")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.is_cordoned()
    assert bench.patched_by() == [(WRITER, "alice@example.com")]


def test_a_persons_own_kubernetes_user_is_the_one_that_acts(bench: Bench) -> None:
    before = len(bench.patched_by())
    bench.may_impersonate("dora-sre")
    done = bench.run("run", "--yes", login="dora")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.patched_by()[before:] == [(WRITER, "dora-sre")]


def test_an_account_that_may_not_impersonate_is_told_so_and_nothing_is_done(bench: Bench) -> None:
    bench.may_impersonate()
    refused = bench.run("plan", login="alice")
    assert refused.returncode == 1, refused.stderr
    assert "impersonate" in refused.stdout
    assert not bench.is_cordoned()


def test_without_the_setting_the_account_acts_as_itself(bench: Bench) -> None:
    del bench.settings["clusters"]["lab"]["kubernetes"]["impersonate"]
    bench.configure()
    bench.kubernetes.grant(WRITER, [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}])
    before = len(bench.patched_by())
    assert bench.run("run", "--yes", login="carol").returncode == 0
    assert bench.patched_by()[before:] == [(WRITER, None)]
