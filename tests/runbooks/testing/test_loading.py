"""A built-in release without cases of its own does not load; a preview and a team's own runbook do."""

import shutil
from pathlib import Path

import pytest

from runbooks import catalog
from runbooks.catalog import Library, built_in_folder
from runbooks.format import releases
from runbooks.loader import RunbookErrors
from runbooks.vocabulary import vocabulary

NAME = "nodes/uncordon"


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built-in library of one runbook, and the folder of its cases."""
    shutil.copytree(built_in_folder() / NAME, tmp_path / NAME)
    content = (tmp_path / NAME / "1.0.0.yaml").read_bytes()
    (tmp_path / "versions.lock").write_text(f"{releases.sha256(content)}  {NAME}@1.0.0\n")
    monkeypatch.setattr(catalog, "built_in_folder", lambda: tmp_path)
    return tmp_path / NAME / "1.0.0.cases"


def refusals() -> list[str]:
    with pytest.raises(RunbookErrors) as caught:
        Library.load(vocabulary())
    return [problem.what for problem in caught.value.problems]


def test_a_release_with_its_cases_loads(copied: Path) -> None:
    assert [book.name for book in Library.load(vocabulary()).all()] == [f"{NAME}@1.0.0"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("allowed_*", "has no case that shows that it is allowed and comes to its end; write 1.0.0.cases/allowed_NAME"),
        (
            "refused_node_is_back*",
            "that guard node_is_back refuses; write 1.0.0.cases/refused_node_is_back.yaml beside",
        ),
        ("interrupted_*", "what becomes of step uncordon after a crash; write 1.0.0.cases/interrupted_after_uncordon"),
    ],
)
def test_a_release_that_lacks_a_case_does_not_load(copied: Path, case: str, said: str) -> None:
    for path in copied.glob(f"{case}.yaml"):
        path.unlink()
    [problem] = refusals()
    assert said in problem


def test_a_release_without_any_case_is_told_all_that_it_lacks(copied: Path) -> None:
    shutil.rmtree(copied)
    assert len(refusals()) == 6


def test_a_case_that_is_about_nothing_does_not_load(copied: Path) -> None:
    (copied / "refused_by_nobody.yaml").write_text("why: nobody\n")
    [problem] = refusals()
    assert "has no guard 'by_nobody'" in problem


def test_a_preview_and_a_teams_own_runbook_load_without(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = (copied.parent / "1.0.0.yaml").read_text()
    own = tmp_path_factory.mktemp("own")
    (own / "uncordon.yaml").write_text(text.replace(NAME, "shop/uncordon"))
    preview = text.replace("version: 1.0.0", "version: 1.1.0").replace("status: stable", "status: preview")
    (copied.parent / "1.1.0.yaml").write_text(preview)
    names = [book.name for book in Library.load(vocabulary(), [own]).all()]
    assert names == [f"{NAME}@1.0.0", f"{NAME}@1.1.0", "shop/uncordon@1.0.0"]
