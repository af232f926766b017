"""The names that exist, and that the released runbooks use no others."""

import pytest

from diagnostics.catalog import all_checks
from runbooks.actions import all_actions
from runbooks.catalog import Library, built_in_folder
from runbooks.guards import all_guards
from runbooks.loader import lint
from runbooks.model import Risk, Runbook, Step
from runbooks.vocabulary import vocabulary

BOOKS = Library.load(vocabulary()).all()


def test_the_released_runbooks_are_sound() -> None:
    assert lint([built_in_folder()], vocabulary()) == []
    assert BOOKS


def test_the_vocabulary_is_what_there_is() -> None:
    words = vocabulary()
    assert set(words.guards) == set(all_guards())
    assert set(words.actions) == set(all_actions())
    assert words.checks == {listed.id for listed in all_checks()}
    assert "rbd-image-locked" in words.causes
    assert all(words.actions[name].risk is action.risk for name, action in all_actions().items())


def steps_of(book: Runbook) -> list[Step]:
    return [each for step in book.steps for each in (step, *([step.otherwise] if step.otherwise else []))]


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.name)
def test_a_released_runbook_breaks_no_lock_before_a_fence_is_seen_to_cover_it(book: Runbook) -> None:
    acts = [step for step in steps_of(book) if step.act]
    for number, step in enumerate(acts):
        if step.act != "ceph.break_lock":
            continue
        before = [earlier for earlier in acts[:number] if earlier.act == "ceph.fence"]
        assert before
        assert all(getattr(fence.verify, "name", "") == "fence_covers_every_address" for fence in before)
        assert {"fence_covers_every_address", "image_has_no_watcher", "lock_unchanged"} <= {
            c.name for c in step.require
        }


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.name)
def test_a_released_runbook_names_the_guards_that_its_actions_take_anyway(book: Runbook) -> None:
    """They are judged whether or not a runbook names them; a reader should not have to know that."""
    for step in steps_of(book):
        if step.act and step.act.startswith("ceph."):
            assert set(all_actions()[step.act].guards) <= {call.name for call in step.require}, step.id


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.name)
def test_no_undo_of_a_released_runbook_lifts_a_fence(book: Runbook) -> None:
    assert all(step.undo == "none" for step in steps_of(book) if step.act == "ceph.fence")
    lifting = {name for name, action in all_actions().items() if action.lifts_fence}
    assert not {step.undo for step in steps_of(book)} & lifting


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.name)
def test_the_waiting_pod_is_deleted_only_after_kubelet_had_three_minutes(book: Runbook) -> None:
    for step in book.steps:
        if step.otherwise and step.otherwise.act == "kubernetes.delete_pod":
            assert step.within is not None
            assert step.within.total_seconds() >= 180
        assert step.act != "kubernetes.delete_pod"


def test_fencing_and_breaking_are_at_least_of_high_risk() -> None:
    assert {all_actions()[name].risk for name in ("ceph.fence", "ceph.break_lock")} == {Risk.HIGH}
    assert all_actions()["kubernetes.force_delete_pod"].risk is Risk.HIGH
