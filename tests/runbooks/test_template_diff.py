"""The difference of two templates: told in words, and never a value that may be a secret."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.template_diff import lines

SECRET = "hunter2-not-to-be-seen"


def of(container: dict[str, Any] | None = None, meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": meta or {}, "spec": {"containers": [{"name": "app", **(container or {})}], **spec}}


def container(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    return lines(of(before), of(after))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"image": "a:1"}, {"image": "a:2"}, "image: a:1, then a:2"),
        ({}, {"imagePullPolicy": "Always"}, "imagePullPolicy: none before, then Always"),
        ({"tty": True}, {}, "tty: true, then none"),
        (
            {"resources": {"limits": {"memory": "1Gi"}}}, {"resources": {"limits": {"memory": "2Gi"}}},
            "resources.limits.memory: 1Gi, then 2Gi",
        ),
        (
            {"readinessProbe": {"periodSeconds": 1}}, {"readinessProbe": {"periodSeconds": 5}},
            "readinessProbe.periodSeconds: 1, then 5",
        ),
        (
            {"ports": [{"containerPort": 80, "name": "a"}]}, {"ports": [{"containerPort": 80, "name": "b"}]},
            "ports.80.name: a, then b",
        ),
        (
            {"volumeMounts": [{"mountPath": "/a", "name": "x"}]}, {"volumeMounts": [{"mountPath": "/a", "name": "y"}]},
            "mount /a.name: x, then y",
        ),
        ({}, {"volumeMounts": [{"mountPath": "/a", "name": "x"}]}, "mount /a: added, of volume x"),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "one"}}}]},
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "two"}}}]},
            "env A.valueFrom.secretKeyRef.key: one, then two",
        ),
        (
            {}, {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "one"}}}]},
            "env A: added, from secretKeyRef",
        ),
        (
            {"securityContext": {"capabilities": {"add": ["A"]}}}, {"securityContext": {"capabilities": {"add": ["A", "B"]}}},
            "securityContext.capabilities.add: [A], then [A, B]",
        ),
    ],
)  # fmt: skip
def test_what_is_known_to_be_harmless_is_shown(before: dict[str, Any], after: dict[str, Any], told: str) -> None:
    assert container(before, after) == (f"container app: {told}",)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"env": [{"name": "A", "value": "x"}]}, {"env": [{"name": "A", "value": SECRET}]}, "env A: changed (value not shown)"),
        ({}, {"env": [{"name": "A", "value": SECRET}]}, "env A: added (value not shown)"),
        ({"env": [{"name": "A", "value": SECRET}]}, {}, "env A: removed (value not shown)"),
        (
            {"env": [{"name": "A", "value": SECRET}, {"name": "A", "value": "x"}]},
            {"env": [{"name": "A", "value": "y"}, {"name": "A", "value": "x"}]},
            "env 0: changed (value not shown)",
        ),
        ({"command": ["sh", "-c", "a"]}, {"command": ["sh", "-c", SECRET]}, "command: changed (value not shown)"),
        (
            {"args": ["--old=1", "--same=1"]}, {"args": [f"--token={SECRET}", "--same=1", SECRET]},
            "args: --token added; --old removed; changed (value not shown)",
        ),
        ({}, {"args": [SECRET]}, "args: added (value not shown)"),
        ({}, {"args": [f"-p{SECRET}", "-v"]}, "args: -v added; added (value not shown)"),
        (
            {"livenessProbe": {"exec": {"command": ["a"]}}}, {"livenessProbe": {"exec": {"command": [SECRET]}}},
            "livenessProbe.exec.command: changed (value not shown)",
        ),
        (
            {"livenessProbe": {"httpGet": {"path": "/a"}}}, {"livenessProbe": {"httpGet": {"path": f"/b?t={SECRET}"}}},
            "livenessProbe.httpGet.path: /a, then /b",
        ),
        (
            {"livenessProbe": {"httpGet": {"path": "/a"}}}, {"livenessProbe": {"httpGet": {"path": f"/a?t={SECRET}"}}},
            "livenessProbe.httpGet.path: changed (value not shown)",
        ),
        (
            {}, {"livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": SECRET}]}}},
            "livenessProbe.httpGet.httpHeaders.Authorization.name: added (value not shown)",
        ),
        ({}, {"image": f"https://user:{SECRET}@registry/a"}, "image: none before, then https://user:***@registry/a"),
        ({}, {"lifecycle": {"postStart": {"exec": {"command": [SECRET]}}}}, "lifecycle.postStart.exec.command: added (value not shown)"),
    ],
)  # fmt: skip
def test_what_may_be_secret_is_only_said_to_have_changed(
    before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    found = container(before, after)
    assert found[0] == f"container app: {told}"
    assert SECRET not in "".join(found)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (of(meta={"labels": {"a": "1"}}), of(meta={"labels": {"a": "2"}}), "label a: 1, then 2"),
        (of(), of(meta={"annotations": {"a": SECRET}}), "annotation a: added (value not shown)"),
        (of(), of(nodeSelector={"disk": "ssd"}), "nodeSelector.disk: none before, then ssd"),
        (of(volumes=[{"name": "v", "configMap": {"name": "a"}}]), of(volumes=[]), "volume v: removed, configMap"),
        (of(volumes=[]), of(volumes=[{"name": "v"}]), "volume v: added"),
        (
            of(volumes=[{"name": "v", "configMap": {"name": "a"}}]), of(volumes=[{"name": "v", "configMap": {"name": "b"}}]),
            "volume v: configMap.name: a, then b",
        ),
        (
            of(volumes=[{"name": "v", "csi": {"driver": "d", "volumeAttributes": {"k": "x"}}}]),
            of(volumes=[{"name": "v", "csi": {"driver": "d", "volumeAttributes": {"k": SECRET}}}]),
            "volume v: csi.volumeAttributes.k: changed (value not shown)",
        ),
        (of(), of(initContainers=[{"name": "i", "image": "b:1"}]), "init container i: added, image b:1"),
        (of(initContainers=[{"name": "i"}]), of(), "init container i: removed (value not shown)"),
        (of(), of(tolerations=[{"operator": "Exists"}]), "tolerations.0.operator: none before, then Exists"),
        (of(securityContext={}), of(), "securityContext: empty, then none"),
        (of(hostname="a" * 200), of(), f"hostname: {'a' * 120}…, then none"),
        (of(hostname="a\x1b[31m"), of(), "hostname: a?[31m, then none"),
        ({"spec": {}}, {"spec": {"containers": []}}, "containers: added (value not shown)"),
        ({}, {"spec": None}, "spec: added (value not shown)"),
    ],
)  # fmt: skip
def test_the_pods_own_fields_are_told_in_peoples_words(
    before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    assert lines(before, after) == (told,)


def test_what_is_the_same_is_not_told_and_too_much_is_cut() -> None:
    assert lines(of({"image": "a"}), of({"image": "a"})) == ()
    many = lines(of(), of({"env": [{"name": f"A{number}", "value": SECRET} for number in range(50)]}))
    assert len(many) == 41
    assert many[-1] == "and 10 more lines"


_LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@given(
    before=st.dictionaries(st.sampled_from(["metadata", "spec"]), _JSON),
    after=st.dictionaries(st.sampled_from(["metadata", "spec"]), _JSON),
)
def test_whatever_a_template_holds_is_told_on_printable_lines(before: dict[str, Any], after: dict[str, Any]) -> None:
    told = lines(before, after)
    assert not told or before != after
    assert all(line.isprintable() for line in told)


def test_of_an_ephemeral_volumes_claim_only_known_fields_are_shown() -> None:
    def claim(value: str, size: str) -> dict[str, Any]:
        spec = {"resources": {"requests": {"storage": size}}, "storageClassName": value, "selector": {"x": value}}
        made = {"metadata": {"annotations": {"vault/token": value}, "labels": {"a": value}}, "spec": spec}
        return of(volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": made}}])

    told = lines(claim("one", "1Gi"), claim("two", "2Gi"))
    shown = [line for line in told if "value not shown" not in line]
    assert shown == [
        "volume v: ephemeral.volumeClaimTemplate.spec.resources.requests.storage: 1Gi, then 2Gi",
        "volume v: ephemeral.volumeClaimTemplate.spec.storageClassName: one, then two",
    ]
    assert len(told) == 5
