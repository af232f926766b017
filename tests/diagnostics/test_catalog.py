"""Checks are found by their place in the tree, and one that explains nothing does not load."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diagnostics import checks
from diagnostics.catalog import all_checks, chosen
from diagnostics.facts import in_order
from diagnostics.facts.ceph import LOCKS, SIGHTINGS
from diagnostics.facts.kubernetes import CLAIMS, PODS, VOLUMES

GOOD = '"""Things are bad."""\nfrom diagnostics.checks import Check\nfrom diagnostics.model import Severity\n'
DECLARED = "CHECK = Check(lambda snapshot: iter(()), (), Severity.INFO)\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which a team adds an area of checks of its own."""
    monkeypatch.setattr(checks, "__path__", [*checks.__path__, str(tmp_path)])
    area = tmp_path / "zoo"
    area.mkdir()
    (area / "__init__.py").write_text('"""Checks of the zoo."""\n')
    yield area
    for name in [name for name in sys.modules if name.startswith("diagnostics.checks.zoo")]:
        del sys.modules[name]


def test_a_check_is_found_by_its_path_without_a_list_to_edit(folder: Path) -> None:
    (folder / "animals_loose.py").write_text(GOOD + DECLARED)
    (found,) = [listed for listed in all_checks.__wrapped__() if listed.area == "zoo"]
    assert (found.id, found.doc) == ("zoo/animals_loose", "Things are bad.")


@pytest.mark.parametrize("text", [GOOD, '"""Only words."""\nCHECK = 1\n', (GOOD + DECLARED).replace('"""', "# ")])
def test_a_module_that_declares_or_explains_nothing_does_not_load(folder: Path, text: str) -> None:
    (folder / "animals_loose.py").write_text(text)
    with pytest.raises(RuntimeError, match=r"diagnostics\.checks\.zoo\.animals_loose must declare CHECK and a docstr"):
        all_checks.__wrapped__()


def test_every_check_explains_its_meaning_its_impact_and_what_to_do() -> None:
    for listed in all_checks():
        for word in ("Meaning:", "Impact:", "Mitigation:"):
            assert word in listed.doc, listed.id
        assert listed.check.reads, listed.id


def test_every_fact_that_judges_a_lock_is_declared_with_all_that_can_show_life() -> None:
    for listed in all_checks():
        names = {read.kind.name for read in listed.check.reads}
        if LOCKS.name in names:
            assert {"ceph.osdmap", "ceph.sessions", "ceph.sightings", "nodes"} <= names, listed.id


def test_checks_are_chosen_by_area_and_by_id() -> None:
    ids = [listed.id for listed in all_checks()]
    assert [c.id for c in chosen()] == ids == sorted(ids)
    assert {c.area for c in chosen(areas=("ceph",))} == {"ceph"}
    assert [c.id for c in chosen(ids=("storage/mounts_failing",))] == ["storage/mounts_failing"]
    both = chosen(areas=("ceph",), ids=("storage/mounts_failing",))
    assert {c.id for c in both} == {c.id for c in chosen(areas=("ceph",))} | {"storage/mounts_failing"}


@pytest.mark.parametrize(
    ("areas", "ids", "name"),
    [(("no",), (), "no"), ((), ("ceph/no",), "ceph/no"), ((), ("locks_stale",), "locks_stale")],
)
def test_a_name_that_does_not_exist_is_told_and_never_means_nothing_to_do(
    areas: tuple[str, ...], ids: tuple[str, ...], name: str
) -> None:
    with pytest.raises(KeyError) as caught:
        chosen(areas, ids)
    assert caught.value.args == (name,)


def test_kinds_are_ordered_after_what_they_depend_on_each_once() -> None:
    names = [kind.name for kind in in_order((SIGHTINGS, VOLUMES, PODS))]
    assert names[:3] == [PODS.name, CLAIMS.name, VOLUMES.name]
    assert len(names) == len(set(names))
    assert names[-1] == SIGHTINGS.name
