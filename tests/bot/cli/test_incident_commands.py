"""`unstick incident`: what is open, one incident as a whole, and its timeline for the post-mortem."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from bot.incidents import Answer, Incident
from bot.store import State, open_state
from diagnostics.model import Finding, Link, Severity, Status, Subject
from tests.bot.cli.world import Ran, Run

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
NODE = Subject("Node", None, "node1", "uid-node1")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    words = {"state": str(tmp_path / "state.db"), "clusters": {"prod": {}, "test": {}}}
    (tmp_path / "unstick.yaml").write_text(yaml.safe_dump(words))
    state = open_state(f"sqlite:///{tmp_path}/state.db", lambda: T0)
    yield state
    state.runbooks.engine.dispose()


def found(state: State, name: str, node: str = "node1", cluster: str = "prod") -> Incident:
    pod = Subject("Pod", "search", name, f"uid-{name}")
    root = Subject("Node", None, node, f"uid-{node}")
    links = (Link(pod, "waits"), Link(root, "is down"))
    finding = Finding(pod, f"search/{name} waits", "node_down", T0, links, root, (), Severity.CRITICAL, "f")
    return state.incidents.found(cluster, Answer(Status.FOUND, finding, (), (), T0), "C1", ord(name))


@pytest.fixture
def incident(unstick: Run, tmp_path: Path, state: State) -> Run:
    def run(*words: str, stdin: bytes = b"") -> Ran:
        return unstick("incident", *words, "--config", str(tmp_path / "unstick.yaml"), stdin=stdin)

    return run


def test_without_an_incident_there_is_none_to_list(incident: Run) -> None:
    assert incident("list").out == "There has been no incident.\n"
    assert incident("list", "--open").out == "There is no open incident.\n"
    assert incident("list", "-o", "json").json == []


def test_open_ones_come_first_then_those_that_are_over(incident: Run, state: State) -> None:
    first, second = found(state, "a"), found(state, "b", "node2")
    state.incidents.leave(first.id, first.subject, "it runs")
    state.incidents.ack(second.id, "U0ALICE")
    lines = incident("list").out.splitlines()
    assert lines == [
        f"open  {second.id}  prod  Pod search/b: search/b waits",
        "  opened 2026-03-03T03:20:00Z, acked by U0ALICE",
        f"resolved  {first.id}  prod  Pod search/a: search/a waits",
        "  opened 2026-03-03T03:20:00Z, resolved 2026-03-03T03:20:00Z",
    ]
    assert [each["id"] for each in incident("list", "-o", "json").json] == [second.id, first.id]
    assert [each["id"] for each in incident("list", "--open", "-o", "json").json] == [second.id]


def test_those_of_one_cluster_are_listed_by_its_name(incident: Run, state: State) -> None:
    here, there = found(state, "a"), found(state, "b", cluster="test")
    over = found(state, "c", "node3", cluster="test")
    state.incidents.leave(over.id, over.subject, "it runs")
    listed = incident("list", "--cluster", "test", "-o", "json").json
    assert [each["id"] for each in listed] == [there.id, over.id]
    assert here.id not in incident("list", "--cluster", "test").out
    ran = incident("list", "--cluster", "elsewhere")
    assert (ran.code, ran.out) == (2, "")
    assert "There is no cluster 'elsewhere'" in ran.said


def test_one_is_shown_with_its_chain_and_what_happened(incident: Run, state: State) -> None:
    made = found(state, "a")
    found(state, "b")
    state.incidents.ack(made.id, "U0ALICE")
    ran = incident("show", made.id)
    assert ran.code == 0
    assert "waits for the same: Pod search/a" in ran.out
    assert "ROOT CAUSE  Node node1 is down" in ran.out
    assert "2026-03-03T03:20:00Z  U0ALICE: acked" in ran.out
    document = incident("show", made.id, "-o", "json").json
    assert [each["says"].partition(":")[0] for each in document["timeline"][1:]] == ["opened", "joined", "acked"]
    assert document["finding"]["root"]["name"] == "node1"


def test_the_export_is_markdown_by_itself_or_json(incident: Run, state: State) -> None:
    made = found(state, "a")
    ran = incident("export", made.id)
    assert ran.out.startswith(f"# Incident {made.id}: Pod search/a\n")
    assert "- 2026-03-03T03:20:00Z unstick: opened: search/a waits" in ran.out
    assert ran.err == ""
    assert incident("export", made.id, "-o", "json").json["id"] == made.id


@pytest.mark.parametrize("command", ["show", "export"])
def test_an_unknown_id_is_a_usage_error_that_names_the_next_move(incident: Run, command: str) -> None:
    ran = incident(command, "in-00000000")
    assert (ran.code, ran.out) == (2, "")
    assert ran.said == "unstick: There is no incident 'in-00000000': `unstick incident list` lists them."
