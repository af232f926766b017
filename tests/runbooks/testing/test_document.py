"""The example in docs/runbook-cases.md is a case as it stands, and comes out as it says."""

import re
from pathlib import Path

from runbooks.catalog import Library
from runbooks.testing.cases import load_case
from runbooks.testing.runner import judged
from runbooks.vocabulary import vocabulary

DOCUMENT = Path(__file__).parents[3] / "docs" / "runbook-cases.md"


async def test_the_documents_example_is_played(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    path = tmp_path / "allowed_example.yaml"
    path.write_text(example)
    book = Library.load(vocabulary()).find("nodes/uncordon@1.0.0")
    case = load_case(path, book)
    assert case.expect.applied == ("uncordon",)
    assert await judged(case, book) == []
