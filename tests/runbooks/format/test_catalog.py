"""The library: several versions side by side, a team's own folder, and the runbook for the stale lock itself."""

import shutil
from pathlib import Path

import pytest

from runbooks import catalog
from runbooks.catalog import Library, NoSuchRunbookError, built_in_folder
from runbooks.loader import NoSuchPathError, RunbookErrors, load
from runbooks.model import CheckBecomes, GuardCall, Runbook, Vocabulary
from runbooks.vocabulary import vocabulary

LIBRARIES = Path(__file__).parent / "libraries"
SOUND = Path(__file__).parent / "sound.yaml"


@pytest.fixture
def library(words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(catalog, "built_in_folder", lambda: LIBRARIES / "sound")
    return Library.load(words)


@pytest.fixture
def stale_lock() -> Runbook:
    return Library.load(vocabulary()).find("ceph/stale_rbd_lock")


def test_versions_stand_side_by_side_the_oldest_first(library: Library) -> None:
    versions = [runbook.version for runbook in library.versions("ceph/free_image")]
    assert versions == ["1.0.0", "1.9.0", "1.10.0", "2.0.0"]
    assert [runbook.version for runbook in library.all()] == versions


def test_an_id_alone_means_its_latest_stable_version(library: Library) -> None:
    assert library.find("ceph/free_image").version == "1.10.0"
    assert [runbook.version for runbook in library.answering("ceph/locks_stale")] == ["1.10.0"]
    assert library.answering("ceph/locks_blocking_pods") == ()


def test_a_version_can_be_named_a_preview_too(library: Library) -> None:
    assert library.find("ceph/free_image@2.0.0").status == "preview"


def test_a_runbook_that_is_not_there_is_told_with_what_there_is(library: Library) -> None:
    with pytest.raises(
        NoSuchRunbookError, match=r"^there is no runbook 'ceph/free_imag'; did you mean 'ceph/free_image'\?$"
    ):
        library.find("ceph/free_imag")
    with pytest.raises(NoSuchRunbookError, match=r"^there is no runbook 'nodes/drain'; write one of: ceph/free_image$"):
        library.versions("nodes/drain")
    with pytest.raises(
        NoSuchRunbookError, match=r"has no version '3'; it has 1\.0\.0 \(stable\), .* 2\.0\.0 \(preview\)$"
    ):
        library.find("ceph/free_image@3")


def test_without_a_stable_version_one_must_be_named(library: Library) -> None:
    previews = Library([library.find("ceph/free_image@2.0.0")])
    with pytest.raises(
        NoSuchRunbookError, match=r"has no stable version; name one as ceph/free_image@VERSION: 2\.0\.0"
    ):
        previews.find("ceph/free_image")
    assert previews.answering("ceph/locks_stale") == ()


def test_own_runbooks_lie_beside_the_built_in_ones(library: Library, words: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(SOUND.read_text().replace("ceph/free_image", "shop/free_image"))
    both = Library.load(words, [tmp_path])
    assert both.find("shop/free_image").source == str(tmp_path / "own.yaml")
    assert both.find("ceph/free_image").version == "1.10.0"


def test_own_runbooks_cannot_replace_a_built_in_version(library: Library, words: Vocabulary, tmp_path: Path) -> None:
    shutil.copy(SOUND, tmp_path / "own.yaml")
    with pytest.raises(
        RunbookErrors, match=r"own\.yaml:1:1: ceph/free_image@1\.0\.0 is already in .*1\.0\.0\.yaml; give"
    ):
        Library.load(words, [tmp_path])


def test_a_library_with_one_mistake_does_not_load(library: Library, words: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("id: shop/free_image\n")
    with pytest.raises(RunbookErrors, match="the field 'steps' is missing"):
        Library.load(words, [tmp_path])
    with pytest.raises(NoSuchPathError, match="gone"):
        Library.load(words, [tmp_path / "gone"])


def test_a_release_that_is_edited_stops_the_library(words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "built_in_folder", lambda: LIBRARIES / "tampered")
    with pytest.raises(RunbookErrors, match="was changed after its release"):
        Library.load(words)


def test_a_release_is_judged_wherever_one_stands(words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(LIBRARIES / "tampered" / "ceph" / "free_image")
    with pytest.raises(RunbookErrors, match="was changed after its release"):
        load(Path("1.0.0.yaml"), words)


def test_every_built_in_runbook_is_recorded_as_it_is() -> None:
    assert (built_in_folder() / "versions.lock").is_file()
    assert {runbook.name for runbook in Library.load(vocabulary()).all()} == {
        "ceph/stale_rbd_lock@1.0.0", "storage/missing_config@1.0.0", "storage/unbound_claim@1.0.0",
        "storage/unregistered_csi_driver@1.0.0",
    }  # fmt: skip


def test_a_stale_lock_is_freed_in_the_only_safe_order(stale_lock: Runbook) -> None:
    acts = [act.act for step in stale_lock.steps for act in step.acts]
    assert [step.id for step in stale_lock.steps] == [
        "look",
        "cordon",
        "fence",
        "unlock",
        "clear",
        "retry",
        "settle",
        "unfence",
    ]
    assert acts == [
        "kubernetes.cordon",
        "ceph.fence",
        "ceph.break_lock",
        "kubernetes.force_delete_pod",
        "kubernetes.delete_pod",
    ]


def test_a_lock_is_broken_only_under_a_fence_that_was_seen(stale_lock: Runbook) -> None:
    steps = {step.id: step for step in stale_lock.steps}
    assert steps["fence"].verify == GuardCall(name="fence_covers_every_address")
    assert steps["fence"].with_["for"] == "157784760s"
    assert not steps["fence"].when
    assert not steps["fence"].given, "neither a missing node nor a guard may skip the fence"
    assert {call.name for call in steps["unlock"].require} == {
        "fence_covers_every_address",
        "image_has_no_watcher",
        "lock_unchanged",
    }
    assert steps["unlock"].verify == CheckBecomes(check="ceph/locks_stale", becomes="ok")


def test_nothing_in_it_is_undone_by_lifting_a_fence(stale_lock: Runbook) -> None:
    for step in stale_lock.steps:
        for act in step.acts:
            assert act.undo == "none"
            assert act.because
