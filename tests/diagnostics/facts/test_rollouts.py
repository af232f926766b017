"""A workload with its template and revisions: read around one subject, never in a scan."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts import rollouts as facts
from diagnostics.facts.kubernetes import Get, List, Listing, Resource
from diagnostics.facts.resources.rollouts import ControllerRevision, RevisionSet, RolledOut
from diagnostics.model import Scope, Subject

KINDS = (*facts.WORKLOADS.values(), facts.REVISION_SETS, facts.CONTROLLER_REVISIONS, facts.TEMPLATE_CLAIMS)
NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)


def workload(kind: str = "Deployment", **spec: Any) -> RolledOut:
    meta = {"name": "app", "namespace": "shop", "uid": "uid-app"}
    selector = {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x"]}]}
    return msgspec.convert({"kind": kind, "metadata": meta, "spec": {"selector": selector, **spec}}, RolledOut)


def snapshot(subject: Subject | None, *found: RolledOut) -> Snapshot:
    seen = {
        kind.name: Listing(tuple(one for one in found if one.kind == word)) for word, kind in facts.WORKLOADS.items()
    }
    return Snapshot("lab", NOW, Scope("lab", subject=subject), seen)


def asked(kind: Resource[Any], at: Snapshot) -> list[Get | List]:
    return list(kind.requests(at))


@pytest.mark.parametrize("subject", [None, Subject("Pod", "shop", "app", ""), Subject("Node", None, "app", "")])
def test_no_template_is_read_in_a_scan_or_around_anything_but_a_workload(subject: Subject | None) -> None:
    for kind in KINDS:
        assert asked(kind, snapshot(subject)) == []


@pytest.mark.parametrize("word", facts.WORKLOADS)
def test_around_a_workload_it_and_what_its_selector_finds_are_read(word: str) -> None:
    at = snapshot(Subject(word, "shop", "app", ""), workload(word))
    for kind, resource in facts.WORKLOADS.items():
        assert asked(resource, at) == ([Get("app", "shop")] if kind == word else [])
    revisions = List("shop", labels="app=a,tier in (x)")
    assert asked(facts.REVISION_SETS, at) == ([revisions] if word == "Deployment" else [])
    assert asked(facts.CONTROLLER_REVISIONS, at) == ([] if word == "Deployment" else [revisions])


def test_a_selector_without_words_would_find_all_and_so_is_not_used() -> None:
    at = snapshot(Subject("Deployment", "shop", "app", ""), workload(selector={}))
    assert asked(facts.REVISION_SETS, at) == []


def test_the_claims_of_a_template_are_read_each_once() -> None:
    volumes = [{"name": n, "persistentVolumeClaim": {"claimName": "data"}} for n in "ab"]
    at = snapshot(
        Subject("Deployment", "shop", "app", ""), workload(template={"spec": {"volumes": [*volumes, {"name": "c"}]}})
    )
    assert asked(facts.TEMPLATE_CLAIMS, at) == [Get("data", "shop")]


def test_what_controllers_add_to_a_template_makes_it_no_other_one() -> None:
    plain = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}}
    hashed = {"metadata": {"labels": {"app": "a", "pod-template-hash": "x"}}, "spec": {"containers": []}}
    patched = {**plain, "$patch": "replace"}
    assert facts.bare(hashed) == facts.bare(patched) == plain
    assert facts.sha256(hashed) == facts.sha256(patched) == facts.sha256(dict(reversed(plain.items())))
    assert facts.sha256({"spec": {"containers": [{}]}, "metadata": plain["metadata"]}) != facts.sha256(plain)
    assert facts.bare({"metadata": {"labels": None}}) == {"metadata": {"labels": None}}
    old = {**hashed, "metadata": {"creationTimestamp": None, **hashed["metadata"]}}
    assert facts.bare(old) == plain, "servers before 1.34 wrote it, and their ControllerRevisions keep it"
    dated = {**plain, "metadata": {**plain["metadata"], "creationTimestamp": "2026-03-03T03:20:00Z"}}
    assert facts.bare(dated) == dated


def test_only_numbered_revisions_of_the_workload_itself_count_and_in_the_order_of_their_numbers() -> None:
    def kept(number: str | None, owner: str = "uid-app", *, controls: bool = True) -> RevisionSet:
        meta: dict[str, Any] = {
            "name": f"app-{number}", "namespace": "shop", "uid": f"uid-{number}-{owner}",
            "ownerReferences": [{"kind": "Deployment", "name": "app", "uid": owner, "controller": controls}],
            "annotations": {"deployment.kubernetes.io/revision": number} if number else None,
        }  # fmt: skip
        return msgspec.convert({"metadata": meta, "spec": {"template": {"spec": {"n": number}}}}, RevisionSet)

    listed = (kept("10"), kept("9"), kept(None), kept("x"), kept("3", "uid-other"), kept("4", controls=False))
    at = snapshot(None).with_fact(facts.REVISION_SETS, Listing(listed))
    assert [one.number for one in facts.revisions(workload(), at)] == [9, 10]
    assert facts.revisions(workload(), at.with_fact(facts.REVISION_SETS, NotSeen("denied"))) == ()


def test_a_controller_revision_without_data_is_none_to_go_back_to() -> None:
    meta = {
        "name": "app-1", "uid": "u",
        "ownerReferences": [{"kind": "DaemonSet", "name": "app", "uid": "uid-app", "controller": True}],
    }  # fmt: skip
    empty = msgspec.convert({"metadata": meta, "revision": 1}, ControllerRevision)
    at = snapshot(None).with_fact(facts.CONTROLLER_REVISIONS, Listing((empty,)))
    assert facts.revisions(workload("DaemonSet"), at) == ()


def test_nothing_of_an_object_is_decoded_but_its_marks() -> None:
    secret = "not-to-be-seen"
    raw = {
        "kind": "Deployment",
        "metadata": {
            "name": "app", "labels": {"team": secret},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": secret, "kubernetes.io/change-cause": "c"},
            "managedFields": [{"manager": "kubectl", "fieldsV1": {secret: {}}}],
        },
        "spec": {}, "status": {},
    }  # fmt: skip
    found = msgspec.json.decode(msgspec.json.encode(raw), type=RolledOut)
    assert secret not in repr(found)
    assert (found.metadata.change_cause, found.metadata.managed_fields[0].manager) == ("c", "kubectl")  # type: ignore[index]
