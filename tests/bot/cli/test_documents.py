"""The JSON documents keep to the contract: exact keys, exact types, one document and nothing else on stdout."""

import json
from typing import Any

import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from tests.bot.cli import shapes
from tests.bot.cli.world import STUCK, World


def keeps(document: Any, shape: shapes.Shape) -> Any:
    assert shapes.mistakes(document, shape) == []
    return document


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"cause": "x", "confidence": "certain", "why": "y"}, "$ has no entities"),
        ({"cause": "x", "confidence": "certain", "why": "y", "entities": {}, "more": 1}, "$ has more, which"),
        ({"cause": "x", "confidence": "surely", "why": "y", "entities": {}}, "$.confidence is 'surely'"),
        ({"cause": "x", "confidence": "certain", "why": 1, "entities": {}}, "$.why is 1"),
        ({"cause": "x", "confidence": "certain", "why": "y", "entities": {"a": None}}, "$.entities.a is None"),
    ],
)
def test_the_validator_itself_finds_what_is_wrong(document: object, said: str) -> None:
    [mistake] = shapes.mistakes(document, shapes.CAUSE)
    assert mistake.startswith(said)


def test_check_prints_its_document_with_every_finding_complete(world: World) -> None:
    ran = world.run("check", "-o", "json")
    document = keeps(ran.json, shapes.CHECK)
    assert ran.err == ""
    assert document["cluster"] == "sandbox"
    outcomes = {outcome["check"]: outcome for outcome in document["outcomes"]}
    assert list(outcomes) == sorted(outcomes)
    assert {
        "ceph/locks_blocking_pods",
        "ceph/locks_stale",
        "storage/mounts_failing",
        "storage/pods_stuck_creating",
    } <= set(outcomes)
    [finding] = outcomes["ceph/locks_blocking_pods"]["findings"]
    assert finding["subject"]["name"] == STUCK_POD
    assert finding["cause"] == "rbd-image-locked"
    assert finding["root"]["kind"] == "Node"
    assert finding["root"] == finding["chain"][-1]["subject"]
    assert finding["runbooks"][0]["id"] == "ceph/stale_rbd_lock"
    assert finding["runbooks"][0]["params"]["pod"] == f"{NAMESPACE}/{STUCK_POD}"
    assert document["scanned"]["pods"] > 10


def test_the_same_finding_keeps_its_id_in_the_next_scan(world: World) -> None:
    def ids() -> set[str]:
        outcomes = world.run("check", "--area", "storage", "-o", "json").json["outcomes"]
        return {finding["id"] for outcome in outcomes for finding in outcome["findings"]}

    first = ids()
    world.pass_time(40)
    assert first
    assert ids() == first


def test_why_is_one_finding_with_its_status_and_what_changed(world: World) -> None:
    ran = world.run("why", *STUCK, "-o", "json")
    document = keeps(ran.json, shapes.WHY)
    assert (ran.code, ran.err, document["status"]) == (1, "", "found")
    kinds = [link["subject"]["kind"] for link in document["chain"]]
    assert kinds == [
        "Event", "Pod", "PersistentVolumeClaim", "PersistentVolume", "RBDImage", "RBDLock", "CephClient", "Node",
    ]  # fmt: skip
    assert all(link["evidence"] for link in document["chain"])
    assert [change["when"] for change in document["changes"]] == sorted(c["when"] for c in document["changes"])
    assert document["changes"]


def test_why_of_a_healthy_pod_is_ok_with_an_empty_chain(world: World) -> None:
    ran = world.run("why", "pod/reports-0", "-n", "media", "-o", "json")
    document = keeps(ran.json, shapes.WHY_NOTHING)
    assert (ran.code, document["status"], document["chain"], document["root"]) == (0, "ok", [], None)


def test_why_that_could_not_look_is_unknown_with_its_reason(world: World) -> None:
    world.forbid("pods")
    ran = world.run("why", *STUCK, "-o", "json")
    document = keeps(ran.json, shapes.WHY_NOTHING)
    assert (ran.code, document["status"], document["chain"]) == (3, "unknown", [])
    assert "RBAC" in document["summary"]
    assert document["unseen"] == [document["summary"]]


def test_locks_has_a_row_for_each_locker(world: World) -> None:
    ran = world.run("locks", "-o", "json")
    document = keeps(ran.json, shapes.LOCKS)
    assert document["pools"] == [{"pool": "mioss", "namespace": "", "images": 3, "locked": 3}]
    rows = {row["image"]: row for row in document["locks"]}
    old, used = rows["index-api-image"], rows["reports-image"]
    assert (old["format"], old["cookie"], old["node"], old["pvc"]) == (
        1, "kubelet_lock_magic_node1", "node1", "search/index-api",
    )  # fmt: skip
    assert f"{NAMESPACE}/{STUCK_POD}" in old["pods"]
    assert (old["watchers"], old["verdict"]) == ([], "suspect")
    assert (used["verdict"], len(used["watchers"])) == ("live", 1)


def test_locks_without_kubernetes_keeps_its_shape_with_nulls_and_the_same_exit_code(world: World) -> None:
    beside = world.run("locks", "-o", "json")
    world.cluster["kubernetes"] = None
    world.configure()
    ran = world.run("locks", "-o", "json")
    document = keeps(ran.json, shapes.LOCKS)
    assert document["cluster"] is None
    assert {(row["node"], row["pv"], row["pvc"], *row["pods"]) for row in document["locks"]} == {(None, None, None)}
    assert [row["verdict"] for row in document["locks"]] == [row["verdict"] for row in beside.json["locks"]]
    assert ran.code == beside.code == 1


def test_cause_is_a_document_a_line_in_order(world: World) -> None:
    lines = [
        b"rbd: image index-api-image is locked by other nodes",
        b'{"message": "Multi-Attach error for volume \\"pv\\" Volume is already used by pod(s) x", "reason": "FailedAttachVolume"}',
        b"the quick brown fox",
    ]
    ran = world.run("cause", "-o", "json", stdin=b"\n".join(lines))
    answers = [keeps(json.loads(line), shapes.CAUSE) for line in ran.out.splitlines()]
    assert [answer["cause"] for answer in answers] == ["rbd-image-locked", "multi-attach", "unknown"]
    assert answers[0]["entities"]["image"] == "index-api-image"


@pytest.mark.parametrize(
    "words",
    [
        ("runbook", "list"),
        ("runbook", "show", "ceph/stale_rbd_lock"),
        ("runbook", "history"),
        ("config", "check"),
        ("runbook", "plan", "ceph/stale_rbd_lock", "-p", "image=mioss/index-api-image", "-p", "locker=client.1/x"),
    ],
)
def test_every_other_document_stands_alone_on_stdout(world: World, words: tuple[str, ...]) -> None:
    ran = world.run(*words, "-o", "json")
    assert ran.json is not None
    assert ran.out.count("\n") == 1
    assert ran.err == ""
