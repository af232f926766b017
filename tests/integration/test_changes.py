"""What changed before it broke, from a real API server: its managedFields, conditions and controllers, and kubectl's edits.

The node has no kubelet, so its pod waits for ever; the look is taken at a moment to come, when that counts as stuck.
"""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import settings as configuration
from bot.diagnose import look_at_subject
from bot.incidents import Answer
from bot.rbac import read_rules
from bot.store import open_state
from bot.wiring import target
from diagnostics.model import Status, Subject
from diagnostics.sources.kubernetes.api import Api
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.reports import Reports, forget_node
from tests.lab.waiting import until

NODE, CLASS = "changes-0", "changes"
MOST_REQUESTS = 30  # however many things lie around one pod with a claim, a ConfigMap and a Secret
SECRET_VALUE = "hunter2"
_NUMBERS = count()


@dataclass(frozen=True)
class Scene:
    """A pod that waits on a node without a kubelet, and who may look at it."""

    kubernetes: Kubernetes
    namespace: str
    folder: Path

    def kubectl(self, *words: str) -> None:
        """Do what people do."""
        self.kubernetes.kubectl("-n", self.namespace, *words)

    def pod(self, revision: str) -> Object | None:
        """The pod whose container has this image."""
        pods = self.kubernetes.items("Pod", self.namespace, fields=f"spec.nodeName={NODE}")
        return next((pod for pod in pods if pod["spec"]["containers"][0]["image"] == revision), None)

    def why(self, pod: str) -> Answer:
        """What `why` answers ten minutes from now."""
        user = self.kubernetes.kubeconfig("diagnose")
        config = self.folder / "unstick.yaml"
        words: Object = {"clusters": {"lab": {"kubernetes": {"kubeconfig": str(user)}}}}
        config.write_text(yaml.safe_dump({**words, "state": str(self.folder / "state.db")}))
        settings = configuration.load(str(config))
        work = replace(target(settings), now=lambda: datetime.now(UTC) + timedelta(minutes=10))
        state = open_state(settings.state_url)
        return asyncio.run(look_at_subject(work, state, Subject("Pod", self.namespace, pod, "")))


def manifests(namespace: str) -> list[Object]:
    """A Deployment whose pod is bound to the node, with a claim that can be resized, a ConfigMap and a Secret."""
    meta = {"name": "api", "namespace": namespace}
    driver, size = "changes.csi.invalid", {"storage": "1Gi"}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": CLASS}
    csi = {"driver": driver, "volumeHandle": namespace}
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "api"}},
        {"name": "settings", "configMap": {"name": "settings"}},
    ]
    env = [
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}},
        {"name": "X", "value": SECRET_VALUE},
    ]
    pod = {"nodeName": NODE, "volumes": volumes, "containers": [{"name": "app", "image": "app:1", "env": env}]}
    template = {"metadata": {"labels": {"app": "api"}}, "spec": pod}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS}, "provisioner": driver,
         "allowVolumeExpansion": True},
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace},
         "spec": {**spec, "capacity": size, "csi": csi, "claimRef": meta}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta,
         "spec": {**spec, "resources": {"requests": size}}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "name": "settings"}, "data": {"index.conf": "1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {**meta, "name": "keys"}, "stringData": {"k": SECRET_VALUE}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
         "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "api"}}, "template": template}},
    ]  # fmt: skip


@pytest.fixture
def scene(kubernetes: Kubernetes, tmp_path: Path) -> Iterator[Scene]:
    """The pod of the first revision, made long enough ago that edits are told from it."""
    if not kubernetes.has_controllers:
        pytest.skip("what changes needs controllers that answer to it")
    namespace = f"changes-{next(_NUMBERS)}-{os.getpid()}"
    kubernetes.grant("diagnose", read_rules())
    kubernetes.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    try:
        Reports(kubernetes, NODE, "127.0.0.77").node_is_ready()
        space, *objects = manifests(namespace)
        kubernetes.apply(space)
        until("the service account", lambda: kubernetes.find("ServiceAccount", "default", namespace), timeout=30)
        kubernetes.apply(objects)
        made = Scene(kubernetes, namespace, tmp_path)
        pod = until("the first pod", lambda: made.pod("app:1"), timeout=30)
        born = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        until("the claim to be bound", lambda: _phase(kubernetes, namespace) == "Bound", timeout=60)
        until("the next seconds", lambda: datetime.now(UTC) - born > timedelta(seconds=3), timeout=10)
        yield made
    finally:
        forget_node(kubernetes, NODE)
        for kind, name in (("Namespace", namespace), ("PersistentVolume", namespace), ("StorageClass", CLASS)):
            kubernetes.delete(kind, name)
        # Its pods wait for a Secret that other tests' accounts may not look at, and no kubelet ends them.
        until("its pods to be gone", lambda: _without_pods(kubernetes, namespace), timeout=60)


def _without_pods(kubernetes: Kubernetes, namespace: str) -> bool:
    pods = kubernetes.items("Pod", namespace)
    for pod in pods:
        kubernetes.delete("Pod", pod["metadata"]["name"], namespace, grace=0)
    return not pods


def _phase(kubernetes: Kubernetes, namespace: str) -> str:
    return str(kubernetes.get("PersistentVolumeClaim", "api", namespace).get("status", {}).get("phase"))


def starts(scene: Scene, pod: Object) -> None:
    """The node's kubelet takes the pod on, two seconds from now, and is never heard of it again."""
    at = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    scene.kubernetes.patch(
        "Pod", pod["metadata"]["name"], {"status": {"startTime": at}}, scene.namespace, subresource="status"
    )


def said(answer: Answer, kind: str) -> list[str]:
    """What is told of things of a kind."""
    return [change.says for change in answer.changes if change.subject.kind == kind]


def test_the_timeline_names_each_edit_that_came_before_the_pod_was_stuck(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Api.get

    async def get(self: Api, path: str, query: Mapping[str, str] | None = None, **how: Any) -> bytes:
        asked.append(f"{path}?{json.dumps(dict(query or {}))}")
        return await real(self, path, query, **how)

    scene.kubectl("patch", "configmap", "settings", "--patch", '{"data":{"index.conf":"2"}}')
    scene.kubectl("patch", "pvc", "api", "--patch", '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}')
    scene.kubectl("set", "image", "deployment/api", "app=app:2", "--record=true")
    scene.kubectl("cordon", NODE)
    pod = until("the second pod", lambda: scene.pod("app:2"), timeout=30)
    starts(scene, pod)
    monkeypatch.setattr(Api, "get", get)
    answer = scene.why(pod["metadata"]["name"])

    assert answer.status is Status.FOUND, answer
    (revision,) = [says for says in said(answer, "ReplicaSet") if "revision 2" in says]
    assert "of Deployment api by kubectl" in revision
    assert "image of app changed from app:1 to app:2" in revision
    assert "change-cause: kubectl set image deployment/api app=app:2" in revision
    (config,) = [says for says in said(answer, "ConfigMap") if "edited" in says]
    assert config.startswith("edited by kubectl-patch: data.index.conf")
    (resize,) = [says for says in said(answer, "PersistentVolumeClaim") if "resized" in says]
    assert resize.startswith("resized by kubectl-patch: asks for 2Gi, has 1Gi")
    (cordon,) = [says for says in said(answer, "Node") if "cordoned" in says]
    # By whom is told where the server keeps a node's writers, which this one does not.
    kept = scene.kubernetes.get("Node", NODE)["metadata"].get("managedFields")
    assert cordon.startswith("cordoned by kubectl" if kept else "cordoned (")
    assert all(says.endswith("before it broke)") for says in (revision, config, resize, cordon))
    assert not [says for says in said(answer, "Deployment") if "edited" in says], "its revision says that already"
    assert [change.when for change in answer.changes] == sorted(change.when for change in answer.changes)

    (unseen,) = [unseen for unseen in answer.changes_unseen if "Secret" in unseen]
    assert "keys: Not allowed" in unseen
    assert not any("Secret" in unseen for unseen in answer.finding.unseen)
    assert SECRET_VALUE not in str(answer)
    assert len(asked) <= MOST_REQUESTS, asked
    assert not [path for path in asked if path.startswith("/api/v1/pods?") and "fieldSelector" not in path]


def test_who_may_read_the_metadata_of_secrets_sees_who_edited_one_and_never_what(scene: Scene) -> None:
    may = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    scene.kubernetes.grant("diagnose", [*read_rules(), may])
    scene.kubectl("patch", "secret", "keys", "--patch", json.dumps({"stringData": {"k": f"{SECRET_VALUE}-new"}}))
    pod = until("the pod", lambda: scene.pod("app:1"), timeout=30)
    starts(scene, pod)
    answer = scene.why(pod["metadata"]["name"])
    (edit,) = [says for says in said(answer, "Secret") if "edited" in says]
    assert edit.startswith("edited by kubectl-patch (")
    assert not [unseen for unseen in answer.changes_unseen if "Secret" in unseen]
    assert SECRET_VALUE not in str(answer)
