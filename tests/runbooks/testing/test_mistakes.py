"""Mistakes in cases: each one gives file:line:column, what, and what to write instead."""

import re
from pathlib import Path

import pytest

from runbooks.testing.cases import CaseErrors, load_case
from tests.runbooks.testing.conftest import ALLOWED, Shelf

LIKE = "why: Another one.\nlike: allowed_it_is_well\n"


def mistakes(shelf: Shelf, name: str, text: str) -> str:
    with pytest.raises(CaseErrors) as caught:
        shelf.case(name, text)
    for line in str(caught.value).splitlines():
        assert re.match(rf"{re.escape(str(shelf.folder))}/uncordon\.cases/\w+\.yaml:\d+:\d+: ", line)
    return str(caught.value).replace(f"{shelf.folder}/uncordon.cases/", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("refused_node_is_cordond", "has no guard 'node_is_cordond'; did you mean 'node_is_cordoned'?"),
        ("refused_lock_is_breakable", "has no guard 'lock_is_breakable'"),
        ("interrupted_after_wait", "has no act step 'wait'"),
        ("happy", "a case is named allowed_*, refused_<guard>* or interrupted_after_<step>*"),
        ("Allowed-X", "a case is named in small letters"),
    ],
)
def test_a_name_that_says_nothing_of_the_runbook(shelf: Shelf, name: str, said: str) -> None:
    path = shelf.write(name, LIKE)
    with pytest.raises(CaseErrors) as caught:
        shelf.case(name, LIKE)
    assert str(caught.value).startswith(f"{path}:1:1: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LIKE + "wrold: {}\n", "allowed_x.yaml:3:1: a case has no field 'wrold'; did you mean 'world'?"),
        ("why: x\n", "allowed_x.yaml:1:1: this case has no world; write world:, or like: another case"),
        ("like: allowed_it_is_well\n", "allowed_x.yaml:1:1: say in a sentence what this case shows"),
        (LIKE + "world: {}\n", "allowed_x.yaml:3:8: this case has the world of the one that it is like"),
        ("why: x\nlike: allowed_it\n", "allowed_x.yaml:2:7: there is no case 'allowed_it' to be like"),
        ("why: x\nlike: allowed_x\n", "allowed_x.yaml:2:7: these cases are like each other in a circle"),
        (LIKE + "params: {noed: a}\n", "allowed_x.yaml:3:9: shop/uncordon@1.0.0 has no parameter 'noed'"),
        (LIKE + "after: [{step: uncordn}]\n", "allowed_x.yaml:3:16: shop/uncordon@1.0.0 has no step 'uncordn'"),
        (LIKE + "after: [{before: x}]\n", "allowed_x.yaml:3:18: shop/uncordon@1.0.0 has no step 'x'"),
        (LIKE + "after: [{step: wait, failed: x}]\n", "allowed_x.yaml:3:22: step 'wait' does not act"),
        (LIKE + "after: [{step: wait, when: x}]\n", "allowed_x.yaml:3:22: there is no 'when' here"),
        (LIKE + "after: [{step: wait, in: soon}]\n", "allowed_x.yaml:3:26: 'soon' is not a duration"),
        (LIKE + "says: [{step: wait, word: maybe}]\n", "allowed_x.yaml:3:27: invalid enum value 'maybe'"),
        (LIKE + "says: [{step: no, word: done}]\n", "allowed_x.yaml:3:15: shop/uncordon@1.0.0 has no step 'no'"),
        (LIKE + "admission: {ceph.fence: {}}\n", "allowed_x.yaml:3:13: shop/uncordon@1.0.0 has no action 'ceph.fence'"),
        (LIKE + "standing: {frosen: x}\n", "allowed_x.yaml:3:11: object contains unknown field `frosen`"),
        (LIKE + "expect: {end: done}\n", "allowed_x.yaml:3:9: object contains unknown field `end`"),
        (LIKE + "expect: {plan: refused}\n", "a plan that is refused has a case refused_<guard>"),
        (LIKE + "changes: [{set: nodes/node1 a}]\n", "allowed_x.yaml:3:11: 'set' goes with 'to'"),
        (LIKE + "changes: [{put: x}]\n", "allowed_x.yaml:3:11: this is no change; write set, add or remove"),
        (LIKE + "changes: [{remove: nodes/node2}]\n", "allowed_x.yaml:3:20: 'remove: nodes/node2': there is no such object"),
        (LIKE + "changes: [{remove: nodes/node1 spec.x}]\n", "there is nothing to remove"),
        (LIKE + "changes: [{set: 'nodes/node1 a[b', to: 1}]\n", "the path is not understood from '[b' on"),
        ("why: [\n", "this is not YAML"),
        ("- why\n", "a case is a mapping"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_case_is_told_where_it_stands(shelf: Shelf, text: str, said: str) -> None:
    assert said in mistakes(shelf, "allowed_x", text)


def test_all_mistakes_are_told_at_once(shelf: Shelf) -> None:
    said = mistakes(shelf, "allowed_x", LIKE + "says: [{step: no, word: done}]\nafter: [{step: nowhere}]\nfoo: 1\n")
    assert len(said.splitlines()) == 3


def test_a_refused_case_names_its_guard_among_those_that_refuse(shelf: Shelf) -> None:
    said = mistakes(shelf, "refused_node_is_back", LIKE + "expect: {refused_by: [node_is_cordoned]}\n")
    assert "the case's name says that node_is_back refuses; name it here too" in said


def test_mistakes_of_the_case_that_another_one_is_like_are_told_too(shelf: Shelf) -> None:
    shelf.write("allowed_it_is_well", ALLOWED.replace("step: uncordon", "step: cordon"))
    said = mistakes(shelf, "allowed_x", LIKE)
    assert "allowed_it_is_well.yaml:" in said
    assert "allowed_x.yaml:2:7: the case that this one is like has mistakes" in said


async def test_a_change_that_cannot_be_made_later_is_told_where_it_stands(shelf: Shelf) -> None:
    later = LIKE + "after:\n  - step: uncordon\n    changes:\n      - {remove: nodes/node7}\n"
    result = await shelf.result("allowed_x", later)
    [said] = result.differences
    assert said.startswith(
        f"{result.path}:6:18: 'remove: nodes/node7': there is no such object in this world at that time"
    )


async def test_an_object_that_the_api_would_never_give_is_told(shelf: Shelf) -> None:
    result = await shelf.result(
        "allowed_x", LIKE + "changes: [{set: nodes/node1 metadata, to: {name: node1, uid: [1]}}]\n"
    )
    assert "an object of its world is none that Kubernetes or Ceph would give" in result.differences[0]


def test_an_unreadable_file_is_told(shelf: Shelf) -> None:
    path = Path(shelf.write("allowed_x", LIKE))
    path.unlink()
    path.mkdir()
    with pytest.raises(CaseErrors, match="this case cannot be read"):
        load_case(path, shelf.runbook)
