"""A plan's facts written down as a case: nothing secret is in it, and played back it comes to the same."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbooks import judging
from runbooks import plan as plans
from runbooks.catalog import Library
from runbooks.model import Runbook
from runbooks.plan import Plan
from runbooks.testing.cases import Case, load_case
from runbooks.testing.playing import REQUESTER, play
from runbooks.testing.record import Recorder, write
from runbooks.testing.replay import Replay
from runbooks.verifying import subject_of
from runbooks.vocabulary import vocabulary

SECRET = "hunter2-and-more"


@pytest.fixture
def book() -> Runbook:
    return Library.load(vocabulary()).find("rollouts/undo@1.0.0")


@pytest.fixture
def case(book: Runbook) -> Case:
    """A Deployment whose revisions differ in the value of a variable alone, which is a secret."""
    found = load_case(Path(book.source).parent / "1.0.0.cases" / "allowed_a_deployment_goes_back.yaml", book)
    templates = [found.world["kubernetes"]["deployments"][0]["spec"]["template"]]
    templates += [each["spec"]["template"] for each in found.world["kubernetes"]["replicasets"]]
    for template, value in zip(templates, (SECRET, f"{SECRET}-old", SECRET), strict=True):
        container: dict[str, Any] = template["spec"]["containers"][0]
        container["image"] = "registry.example/web:3"
        container["env"] = [{"name": "PASSWORD", "value": value}]
        container["args"] = [f"--token={value}"]
        template["metadata"]["annotations"] = {"note": value}
    found.world["kubernetes"]["secrets"] = [{"metadata": {"name": "s", "namespace": "shop"}}]
    return found


def recorded(case: Case, book: Runbook, path: Path) -> Plan:
    """Plan from the case's world, and record that."""
    recorder = Recorder(Replay(case))
    snapshot = asyncio.run(recorder.look(judging.reads_of(book), subject_of(dict(case.params))))
    made = plans.make("there", book, dict(case.params), snapshot, REQUESTER.id, recorder.now())
    write(path, made, recorder)
    return made


def test_nothing_secret_is_in_it_and_what_was_different_still_is(case: Case, book: Runbook, tmp_path: Path) -> None:
    path = tmp_path / "recorded.yaml"
    recorded(case, book, path)
    text = path.read_text()
    assert SECRET not in text
    world = yaml.safe_load(text)["world"]
    assert "secrets" not in world["kubernetes"]
    runs, *kept = (
        each["spec"]["template"] for kind in ("deployments", "replicasets") for each in world["kubernetes"][kind]
    )
    env = [template["spec"]["containers"][0]["env"] for template in (runs, *kept)]
    assert [each[0]["name"] for each in env] == ["PASSWORD"] * 3
    assert env[0] == env[2] != env[1]
    assert runs["metadata"]["labels"] == {"app": "web"}
    assert text.startswith("# Recorded from cluster there")
    assert path.stat().st_mode & 0o777 == 0o600


def test_played_back_it_comes_to_the_same_acts_and_guards(case: Case, book: Runbook, tmp_path: Path) -> None:
    path = tmp_path / "allowed_recorded.yaml"
    before = recorded(case, book, path)
    path.write_text(path.read_text().replace("plan: refused", "plan: allowed").replace("refused_by:", "reasons:"))
    again = asyncio.run(play(load_case(path, book), book)).plan
    assert (
        [act.says for act in again.acts]
        == [act.says for act in before.acts]
        == ["take Deployment shop/web back to revision 2"]
    )
    assert again.basis.keys() == before.basis.keys()


def test_a_file_that_is_there_is_never_written_over(case: Case, book: Runbook, tmp_path: Path) -> None:
    path = tmp_path / "recorded.yaml"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        recorded(case, book, path)
    assert path.read_text() == "mine"


def test_what_could_not_be_read_stays_unread(case: Case, book: Runbook, tmp_path: Path) -> None:
    case.world["unseen"] = {"replicasets in full": {"reason": "replicasets are forbidden"}}
    path = tmp_path / "recorded.yaml"
    recorded(case, book, path)
    world = yaml.safe_load(path.read_text())["world"]
    assert world["unseen"]["replicasets in full"] == {"reason": "replicasets are forbidden", "configured": True}
