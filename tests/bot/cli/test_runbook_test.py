"""`unstick runbook test`: the cases of the built-in and of one's own runbooks, without any cluster."""

from pathlib import Path

import pytest
import yaml

from runbooks.catalog import built_in_folder
from tests.bot.cli import shapes
from tests.bot.cli.test_runbook_commands import words_of
from tests.bot.cli.world import Run, World
from tests.runbooks.testing.conftest import ALLOWED, BOOK, Shelf

CASES = {
    "version": int,
    "failed": int,
    "cases": [{"runbook": str, "case": str, "path": str, "ok": bool, "differences": [str]}],
    "without": [str],
}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A runbook with one case, in the working directory."""
    made = Shelf(tmp_path)
    made.file.write_text(BOOK)
    made.write("allowed_it_is_well", ALLOWED)
    return made


def test_a_built_in_runbook_is_tested_by_its_id(unstick: Run) -> None:
    ran = unstick("runbook", "test", "nodes/uncordon")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert "ok     nodes/uncordon@1.0.0  allowed_the_node_is_back" in lines
    assert "ok     nodes/uncordon@1.0.0  interrupted_after_uncordon" in lines
    assert lines[-1] == f"{len(lines) - 1} cases, 0 failed."
    assert unstick("runbook", "test", "nodes/uncordon@1.0.0").out == ran.out


def test_ones_own_runbook_is_tested_by_its_file_or_folder(unstick: Run, shelf: Shelf) -> None:
    shelf.write("refused_node_is_cordoned", "why: It is none.\nlike: allowed_it_is_well\n")
    ran = unstick("runbook", "test", "uncordon.yaml")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "ok     shop/uncordon@1.0.0  allowed_it_is_well",
        "FAILED shop/uncordon@1.0.0  refused_node_is_cordoned",
        "       plan: expected refused, came out allowed",
        "2 cases, 1 failed.",
    ]
    assert unstick("runbook", "test", ".").out == ran.out


def test_the_document_has_every_case_with_what_came_out_otherwise(unstick: Run, shelf: Shelf) -> None:
    shelf.write("allowed_x", "why: It is none.\nlike: nothing\n")
    ran = unstick("runbook", "test", "uncordon.yaml", "-o", "json")
    assert ran.code == 1
    assert shapes.mistakes(ran.json, CASES) == []
    assert ran.json["failed"] == 1
    wrong = next(case for case in ran.json["cases"] if not case["ok"])
    assert wrong["differences"][0].startswith(f"{wrong['path']}:2:7: there is no case 'nothing' to be like")


def test_a_named_runbook_without_cases_is_told_what_to_write(unstick: Run, shelf: Shelf) -> None:
    shelf.write("allowed_it_is_well", ALLOWED).unlink()
    ran = unstick("runbook", "test", "uncordon.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.said == (
        "unstick: shop/uncordon@1.0.0 has no cases: write the first one as uncordon.cases/allowed_NAME.yaml."
    )


@pytest.mark.parametrize("named", ["nodes/uncordn", "nowhere.yaml"])
def test_what_is_not_there_cannot_be_tested(unstick: Run, named: str) -> None:
    ran = unstick("runbook", "test", named)
    assert ran.code == 2
    assert ran.said.startswith("unstick: there is no ")


def test_cases_are_no_runbooks_and_to_have_none_is_said_when_linting(unstick: Run, shelf: Shelf) -> None:
    ran = unstick("runbook", "lint", ".")
    assert (ran.code, ran.out, ran.err) == (0, "No mistakes.\n", "")
    shelf.write("allowed_it_is_well", ALLOWED).unlink()
    ran = unstick("runbook", "lint", ".")
    assert (ran.code, ran.out) == (0, "No mistakes.\n")
    assert ran.said.startswith(
        "unstick: uncordon.yaml:1:1: shop/uncordon@1.0.0 has no case that shows that it is allowed"
    )


def test_what_a_plan_was_made_from_is_recorded_and_played_back(world: World) -> None:
    """The copy of the library's runbook has the recorded case alone: it comes to the same acts, without the cluster."""
    world.stale()
    file = world.folder / "allowed_it_was_so.yaml"
    plan = world.run("runbook", "plan", *words_of(world), "-o", "json", "--record", str(file))
    assert plan.code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    acts = [step["act"]["says"] for step in plan.json["plan"]["steps"] if step["act"]]
    assert yaml.safe_load(file.read_text())["expect"]["acts"][: len(acts)] == acts
    book = world.folder / "own" / "1.0.0.yaml"
    book.parent.mkdir()
    book.write_text((built_in_folder() / "ceph/stale_rbd_lock/1.0.0.yaml").read_text())
    cases = book.with_name("1.0.0.cases")
    cases.mkdir()
    text = file.read_text().replace("after: []", "after: [{before: cordon, changes: [{remove: nodes/node1}]}]")
    (cases / file.name).write_text(text.replace("plan: allowed", "plan: allowed\n  ends: failed"))
    ran = world.run("runbook", "test", str(book))
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1 cases, 0 failed."), ran.out


def test_a_refused_plan_is_recorded_with_what_refuses_it(world: World) -> None:
    file = world.folder / "refused.yaml"
    words = words_of(world)
    ran = world.run("runbook", "plan", *words, "--record", str(file))
    assert ran.code == 1
    expect = yaml.safe_load(file.read_text())["expect"]
    assert expect["plan"] == "refused"
    assert "ceph/locks_stale" in expect["refused_by"]
    again = world.run("runbook", "plan", *words, "--record", str(file))
    assert (again.code, again.said) == (2, f"unstick: {file} is there already: name a new file for the case.")
    nowhere = world.run("runbook", "plan", *words, "--record", str(world.folder / "no" / "x.yaml"))
    assert nowhere.code == 2
    assert nowhere.said.endswith("x.yaml: No such file or directory: name another file.")
