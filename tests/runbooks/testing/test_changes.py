"""The few words in which a case changes a world."""

import copy
from typing import Any

import pytest

from runbooks.format import marks
from runbooks.testing.changes import BadChange, make, read_change

WORLD: dict[str, Any] = {
    "taken_at": "2026-03-14T09:30:00Z",
    "kubernetes": {
        "nodes": [{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}],
        "pods": [{"metadata": {"name": "p", "namespace": "x"}}, {"metadata": {"name": "p", "namespace": "y"}}],
    },
    "ceph": {"ceph.locks": {"images": [{"lockers": []}]}},
}


def changed(text: str) -> dict[str, Any]:
    world = copy.deepcopy(WORLD)
    node, _ = marks.read(text.encode(), "case.yaml")
    make(world, [read_change(node)])
    return world


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("{set: nodes/a spec.unschedulable, to: true}", ("kubernetes", "nodes", 0, "spec", "unschedulable"), True),
        (
            '{set: "nodes/a status.conditions[type=Ready].status", to: Unknown}',
            ("kubernetes", "nodes", 0, "status", "conditions", 0, "status"), "Unknown",
        ),
        (
            """{set: 'nodes/a metadata.annotations["a.b/c"]', to: x}""",
            ("kubernetes", "nodes", 0, "metadata", "annotations", "a.b/c"), "x",
        ),
        ("{set: pods/y/p spec.nodeName, to: a}", ("kubernetes", "pods", 1, "spec", "nodeName"), "a"),
        ("{add: leases, what: {metadata: {name: l}}}", ("kubernetes", "leases"), [{"metadata": {"name": "l"}}]),
        ("{add: ceph.osdmap fences, what: {entry: e}}", ("ceph", "ceph.osdmap", "fences"), [{"entry": "e"}]),
        (
            '{add: "ceph.locks images[0].lockers", what: {client: c}}',
            ("ceph", "ceph.locks", "images", 0, "lockers"), [{"client": "c"}],
        ),
        ("{set: sightings, to: []}", ("sightings",), []),
        ("{set: taken_at, to: later}", ("taken_at",), "later"),
        (
            "{set: unseen pods beside the claims, to: {reason: no}}",
            ("unseen", "pods beside the claims"), {"reason": "no"},
        ),
        ("{set: unseen ceph.osdmap, to: {reason: no}}", ("unseen", "ceph.osdmap"), {"reason": "no"}),
    ],
)  # fmt: skip
def test_a_change_is_made_where_it_says(text: str, path: tuple[Any, ...], value: Any) -> None:
    found: Any = changed(text)
    for part in path:
        found = found[part]
    assert found == value


def test_what_is_removed_is_gone_and_nothing_else() -> None:
    pods = changed("{remove: pods/x/p}")["kubernetes"]["pods"]
    assert [pod["metadata"]["namespace"] for pod in pods] == ["y"]
    world = changed('{remove: "nodes/a status.conditions[type=Ready]"}')
    assert world["kubernetes"]["nodes"][0]["status"]["conditions"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{set: pods/p spec, to: 1}", "there is no such object in this world at that time; it has x/p, y/p"),
        ("{set: leases/a spec, to: 1}", "it has none of this kind"),
        ("{set: pods/x/p/q spec, to: 1}", "an object is plural/name or plural/namespace/name"),
        ('{set: "nodes/a status.conditions[type=Other].status", to: 1}', "no item has type=Other"),
        ('{set: "nodes/a status.conditions[3].status", to: 1}', "there is no 3 on the way"),
        ("{add: nodes/a metadata.name, what: 1}", "only lists are added to; use set"),
        ("{remove: nodes/a spec.x.y}", "there is no spec"),
        ("{remove: ' '}", "there is no place here"),
        ("{remove: nodes/a, to: 1}", "'remove' stands alone"),
    ],
)
def test_a_change_that_has_nothing_to_change_is_told(text: str, said: str) -> None:
    with pytest.raises(BadChange) as caught:
        changed(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("case.yaml:1:")


def test_what_is_put_in_is_the_cases_own_to_change_later() -> None:
    node, _ = marks.read(b"{add: ceph.osdmap fences, what: {entry: e}}", "case.yaml")
    change, first, second = read_change(node), copy.deepcopy(WORLD), copy.deepcopy(WORLD)
    make(first, [change])
    first["ceph"]["ceph.osdmap"]["fences"][0]["entry"] = "another"
    make(second, [change])
    assert second["ceph"]["ceph.osdmap"]["fences"] == [{"entry": "e"}]
