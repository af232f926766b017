"""Every mistake has its message beside it: golden/NAME.yaml and NAME.txt; libraries/NAME/ and NAME.txt.

A new case is those two files. With UPDATE_GOLDEN=1 the messages are written anew: read the difference before it stays.
"""

import os
import re
from pathlib import Path

import pytest

from runbooks.loader import RunbookErrors, lint, load
from runbooks.model import Vocabulary

HERE = Path(__file__).parent
FILES = sorted((HERE / "golden").glob("*.yaml"))
LIBRARIES = sorted(path for path in (HERE / "libraries").iterdir() if path.is_dir() and path.name != "sound")


def messages(path: Path, words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lint as somebody who stands in the folder does, and compare with what was agreed."""
    monkeypatch.chdir(path.parent)
    said = "".join(f"{problem}\n" for problem in lint([Path(path.name)], words))
    golden = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(said)
    assert said
    assert said == golden.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_mistake_in_a_runbook_is_told_with_its_place(
    path: Path, words: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages(path, words, monkeypatch)


@pytest.mark.parametrize("path", LIBRARIES, ids=lambda path: path.name)
def test_a_mistake_in_a_library_is_told_with_its_place(
    path: Path, words: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages(path, words, monkeypatch)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_runbook_with_a_mistake_does_not_load(path: Path, words: Vocabulary) -> None:
    with pytest.raises(RunbookErrors) as raised:
        load(path, words)
    assert [problem.what for problem in raised.value.problems] == [problem.what for problem in lint([path], words)]


def test_no_message_lost_its_case() -> None:
    cases = {path.stem for path in FILES}, {path.name for path in LIBRARIES}
    texts = tuple({path.stem for path in (HERE / folder).glob("*.txt")} for folder in ("golden", "libraries"))
    assert texts == cases


@pytest.mark.parametrize("path", sorted(HERE.glob("*/*.txt")), ids=lambda path: path.stem)
def test_a_message_has_its_place_and_says_what_to_do_instead(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert re.fullmatch(r"[^:]+:[1-9]\d*:[1-9]\d*: [^;]+; .+", line)
