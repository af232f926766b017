"""Plays every case of every built-in runbook, and counts what each cut of each interrupted one did."""

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from runbooks.catalog import built_in_folder
from runbooks.loader import read_all
from runbooks.model import Runbook
from runbooks.testing.cases import load_case
from runbooks.testing.coverage import lacking
from runbooks.testing.names import Sort, cases_of, read_name
from runbooks.testing.playing import play
from runbooks.testing.replay import MOMENTS, Cut, Moment
from runbooks.testing.runner import judged
from runbooks.vocabulary import vocabulary


@cache
def books() -> dict[str, Runbook]:
    """Every built-in runbook."""
    return {book.name: book for book in read_all([built_in_folder()], vocabulary()).runbooks}


CASES = [(book.name, path) for book in books().values() for path in cases_of(book)]
INTERRUPTED = [
    (name, path) for name, path in CASES if read_name(path.stem, books()[name]).sort is Sort.INTERRUPTED
]  # fmt: skip


def told(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("name", "path"), CASES, ids=told)
async def test_a_built_in_case_comes_out_as_expected(name: str, path: Path) -> None:
    differences = await judged(load_case(path, books()[name]), books()[name])
    assert not differences, "\n" + "\n".join(differences)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("name", "path"), INTERRUPTED, ids=told)
async def test_wherever_a_run_is_cut_off_each_act_is_done_once_and_none_is_left_open(
    name: str, path: Path, moment: Moment
) -> None:
    book = books()[name]
    case = load_case(path, book)
    played = await play(case, book, Cut(case.named.about, moment))
    assert played.cut
    assert set(Counter(played.applied).values()) <= {1}
    assert played.ends in (case.expect.ends, *case.expect.may_end)
    if played.ends is case.expect.ends:
        assert played.applied == (await play(case, book)).applied
    assert not played.unfinished
    assert played.fault is None


@pytest.mark.parametrize("name", books())
def test_a_built_in_runbook_lacks_no_case(name: str) -> None:
    assert not [str(problem) for problem in lacking(books()[name])]
