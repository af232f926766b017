"""The library: several versions side by side, a team's own folder, and the runbook for the stale lock itself."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbooks import catalog
from runbooks.catalog import BadPinError, Library, NoSuchRunbookError, built_in_folder
from runbooks.format import releases
from runbooks.loader import NoSuchPathError, RunbookErrors, load
from runbooks.model import CheckBecomes, GuardCall, Runbook, Vocabulary
from runbooks.vocabulary import vocabulary

LIBRARIES = Path(__file__).parent / "libraries"
SOUND = Path(__file__).parent / "sound.yaml"


@pytest.fixture(autouse=True)
def samples_need_no_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """These libraries are samples of the format; what cases a release needs is tested in tests/runbooks/testing."""
    monkeypatch.setattr(catalog, "lacking", lambda _: ())


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


def deprecating(tmp_path: Path, **successors: str) -> Path:
    """A copy of the sound library in whose lock these versions (`v1_10_0`) are deprecated."""
    folder = tmp_path / "library"
    shutil.copytree(LIBRARIES / "sound", folder)
    lock = (folder / "versions.lock").read_text()
    for version, successor in successors.items():
        name = f"ceph/free_image@{version.removeprefix('v').replace('_', '.')}"
        assert f"  {name}\n" in lock
        lock = lock.replace(f"  {name}\n", f"  {name}  deprecated: {successor}\n")
    (folder / "versions.lock").write_text(lock)
    return folder


@pytest.fixture
def load_from(words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Library]:
    def load_it(folder: Path, **more: Any) -> Library:
        monkeypatch.setattr(catalog, "built_in_folder", lambda: folder)
        return Library.load(words, **more)

    return load_it


def test_the_lock_deprecates_a_release_whose_file_stays_as_it_is(
    load_from: Callable[..., Library], words: Vocabulary, tmp_path: Path
) -> None:
    library = load_from(deprecating(tmp_path, v1_0_0="ceph/free_image"))
    old = library.find("ceph/free_image@1.0.0")
    assert (old.status, old.successor) == ("deprecated", "ceph/free_image")
    assert old.deprecation == "ceph/free_image@1.0.0 is deprecated: use ceph/free_image instead."
    assert old.sha256 == hashlib.sha256(Path(old.source).read_bytes()).hexdigest()
    assert library.find("ceph/free_image").version == "1.10.0"
    assert library.find("ceph/free_image").deprecation is None
    assert load(Path(old.source), words).status == "deprecated"


def test_no_older_version_comes_back_where_the_newest_release_is_deprecated(
    load_from: Callable[..., Library], tmp_path: Path
) -> None:
    library = load_from(deprecating(tmp_path, v1_10_0="ceph/free_image@1.9.0"))
    with pytest.raises(
        NoSuchRunbookError, match=r"^ceph/free_image@1\.10\.0, the newest release, is deprecated; use ceph/"
    ):
        library.find("ceph/free_image")
    assert library.answering("ceph/locks_stale") == ()
    assert library.find("ceph/free_image@1.10.0").version == "1.10.0"
    assert not any(library.is_latest(runbook) for runbook in library.all())


def test_a_pin_is_what_an_id_alone_means_and_what_is_offered(load_from: Callable[..., Library]) -> None:
    library = load_from(LIBRARIES / "sound", pins={"ceph/free_image": "1.9.0"})
    assert library.find("ceph/free_image").version == "1.9.0"
    assert [runbook.version for runbook in library.answering("ceph/locks_stale")] == ["1.9.0"]
    assert library.find("ceph/free_image@1.10.0").version == "1.10.0"
    marked = [(runbook.version, library.is_pinned(runbook), library.is_latest(runbook)) for runbook in library.all()]
    assert marked == [("1.0.0", False, False), ("1.9.0", True, False), ("1.10.0", False, True), ("2.0.0", False, False)]


def test_a_preview_can_be_pinned(load_from: Callable[..., Library]) -> None:
    assert load_from(LIBRARIES / "sound", pins={"ceph/free_image": "2.0.0"}).find("ceph/free_image").version == "2.0.0"


def test_a_pin_to_a_deprecated_version_offers_nothing_and_says_why(
    load_from: Callable[..., Library], tmp_path: Path
) -> None:
    folder = deprecating(tmp_path, v1_9_0="ceph/free_image@1.10.0")
    library = load_from(folder, pins={"ceph/free_image": "1.9.0"})
    assert library.answering("ceph/locks_stale") == ()
    with pytest.raises(
        NoSuchRunbookError, match=r"is pinned to 1\.9\.0, which is deprecated; use ceph/free_image@1\.10\.0"
    ):
        library.find("ceph/free_image")


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ({"ceph/free_image": "1.9.1"}, r"^pins: ceph/free_image has no version '1\.9\.1'; it has 1\.0\.0 \(stable\), "),
        (
            {"ceph/free_imag": "1.9.0"},
            r"^pins: there is no runbook 'ceph/free_imag'; did you mean 'ceph/free_image'\?$",
        ),
    ],
)
def test_a_pin_to_what_is_not_there_does_not_load(
    load_from: Callable[..., Library], pins: dict[str, str], said: str
) -> None:
    with pytest.raises(BadPinError, match=said):
        load_from(LIBRARIES / "sound", pins=pins)


@pytest.mark.parametrize(
    ("successor", "said"),
    [
        ("nodes/drain", "there is no runbook 'nodes/drain'; write one of: ceph/free_image"),
        ("ceph/free_image@3.0.0", "'ceph/free_image@3.0.0' is no release that could be used; did you mean"),
    ],
)
def test_a_successor_must_be_there(
    load_from: Callable[..., Library], tmp_path: Path, successor: str, said: str
) -> None:
    with pytest.raises(RunbookErrors, match=re.escape(said)) as raised:
        load_from(deprecating(tmp_path, v1_0_0=successor))
    assert [(p.path, p.line) for p in raised.value.problems] == [(str(tmp_path / "library" / "versions.lock"), 1)]


def test_a_chain_of_successors_that_ends_is_sound(load_from: Callable[..., Library], tmp_path: Path) -> None:
    folder = deprecating(tmp_path, v1_0_0="ceph/free_image@1.9.0", v1_9_0="ceph/free_image")
    assert load_from(folder).find("ceph/free_image").version == "1.10.0"


def test_a_cycle_through_own_and_built_in_runbooks_is_found(
    load_from: Callable[..., Library], words: Vocabulary, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    text = SOUND.read_text().replace("ceph/free_image", "shop/free_image")
    (own / "own.yaml").write_text(text.replace("stable", "deprecated\nsuccessor: ceph/free_image@1.0.0", 1))
    folder = deprecating(tmp_path, v1_0_0="shop/free_image")
    with pytest.raises(RunbookErrors, match="lead back to it") as raised:
        load_from(folder, extra_folders=[own])
    assert [(Path(p.path).name, p.line, p.column) for p in raised.value.problems] == [
        ("versions.lock", 1, 102), ("own.yaml", 4, 12),
    ]  # fmt: skip
    problems = catalog.lint([own], words)
    assert [(Path(p.path).name, p.line, p.column) for p in problems] == [("own.yaml", 4, 12)]


def test_own_runbooks_are_linted_as_they_would_lie_beside_the_built_in_ones(
    library: Library, words: Vocabulary, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    shutil.copy(SOUND, own)
    (problem,) = catalog.lint([own], words)
    assert problem.what.startswith("ceph/free_image@1.0.0 is already in ")
    own.write_text(SOUND.read_text().replace("ceph/free_image", "shop/free_image"))
    assert catalog.lint([own], words) == []
    assert catalog.lint([Path(library.find("ceph/free_image@1.0.0").source)], words) == [], "it is no copy of itself"


def test_a_release_that_is_edited_stops_the_library(words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "built_in_folder", lambda: LIBRARIES / "tampered")
    with pytest.raises(RunbookErrors, match="was changed after its release"):
        Library.load(words)


def test_a_release_is_judged_wherever_one_stands(words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(LIBRARIES / "tampered" / "ceph" / "free_image")
    with pytest.raises(RunbookErrors, match="was changed after its release"):
        load(Path("1.0.0.yaml"), words)


def test_every_built_in_runbook_is_recorded_as_it_is() -> None:
    """A preview may be recorded later; what is offered is what was released."""
    books = Library.load(vocabulary()).all()
    recorded = releases.read_lock(built_in_folder()).releases
    assert {book.name for book in books if book.status != "preview"} == recorded.keys()
    assert {book.name: book.sha256 for book in books if book.name in recorded} == {
        name: release.sha256 for name, release in recorded.items()
    }
    assert "ceph/stale_rbd_lock@1.0.0" in recorded


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
