"""What a sound file becomes, and what the loader does with files that are no runbooks at all."""

import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.loader import NoSuchPathError, RunbookErrors, lint, load, parse, read_all
from runbooks.model import CheckBecomes, GuardCall, Replacement, Risk, Vocabulary

HERE = Path(__file__).parent
SOUND = (HERE / "sound.yaml").read_bytes()
NOBODY = Vocabulary(checks=frozenset(), guards={}, actions={})


def test_a_runbook_is_bound_to_the_bytes_of_its_file(words: Vocabulary) -> None:
    path = HERE / "sound.yaml"
    runbook = load(path, words)
    assert runbook.sha256 == hashlib.sha256(SOUND).hexdigest()
    assert runbook.source == str(path)
    assert parse(SOUND + b"\n", "x", words).sha256 != runbook.sha256


def test_the_short_forms_mean_what_the_long_ones_do(words: Vocabulary) -> None:
    runbook = parse(SOUND, "x", words)
    unlock = runbook.steps[1]
    assert runbook.parameters["image"].kind == "rbd_image"
    assert runbook.parameters["image"].required
    assert unlock.require == (GuardCall(name="lock_unchanged"), GuardCall(name="younger_than", args={"limit": "5m"}))
    assert unlock.verify == CheckBecomes(check="ceph/locks_stale", becomes="ok")
    assert unlock.with_ == {"image": "{{image}}"}
    assert runbook.steps[3].prove == GuardCall(name="image_is_watched")


def test_an_otherwise_is_an_act_that_goes_by_the_name_of_its_step(words: Vocabulary) -> None:
    retry = parse(SOUND, "x", words).steps[2]
    assert retry.kind == "wait"
    assert retry.wait == {"pod": "Running"}
    assert retry.within == timedelta(minutes=3)
    assert retry.otherwise is not None
    assert retry.otherwise.id == "retry.otherwise"
    assert retry.otherwise.verify == Replacement(replacement="Running", within=timedelta(minutes=3))
    assert retry.acts == (retry.otherwise,)


def test_every_step_knows_its_kind(words: Vocabulary) -> None:
    kinds = [step.kind for step in parse(SOUND, "x", words).steps]
    assert kinds == ["check", "act", "wait", "prove", "manual", "note"]


def test_a_runbook_may_raise_a_risk(words: Vocabulary) -> None:
    raised = SOUND.replace(
        b"    undo: none\n    because: the holder", b"    risk: critical\n    undo: none\n    because: x"
    )
    assert parse(raised, "x", words).steps[1].risk is Risk.CRITICAL


def test_words_that_other_readers_guess_at_stay_text(words: Vocabulary) -> None:
    for word in ("no", "on", "3:20", "2024-01-01", "0x1F", "1e3", "<<"):
        content = SOUND.replace(b"owner: storage on-call", f"owner: {word}".encode())
        assert parse(content, "x", words).owner == word


def test_a_cause_can_be_answered_too(words: Vocabulary) -> None:
    content = SOUND.replace(b"[ceph/locks_stale]", b"[ceph/locks_stale, rbd-image-locked]")
    assert parse(content, "x", words).answers == ("ceph/locks_stale", "rbd-image-locked")


def test_an_apostrophe_does_not_count_as_a_quote(words: Vocabulary) -> None:
    content = SOUND.replace(b"note: The fence of", b"note: Don't lift the image's fence of")
    assert parse(content, "x", words).steps[-1].note == "Don't lift the image's fence of {{image}} stays."


def test_a_file_that_is_too_large_is_refused_before_it_is_read(words: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(SOUND + b"# padding\n" * 30_000)
    (problem,) = lint([path], words)
    assert problem.what == "the file is larger than 256 KiB; split it, or move prose out of it"


def test_a_path_that_is_not_there_is_said(words: Vocabulary, tmp_path: Path) -> None:
    with pytest.raises(NoSuchPathError, match=r"there is no file .*gone\.yaml; name a runbook's YAML file"):
        lint([tmp_path / "gone.yaml"], words)


def test_a_pipe_is_not_waited_for(words: Vocabulary, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(NoSuchPathError):
        load(tmp_path / "pipe.yaml", words)


def test_a_folder_without_runbooks_is_a_mistake(words: Vocabulary, tmp_path: Path) -> None:
    (problem,) = lint([tmp_path], words)
    assert str(problem) == f"{tmp_path}:1:1: no YAML file lies below this folder; name one that holds runbooks"


def test_the_mistakes_of_all_files_below_a_folder_are_told(words: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.yaml").write_bytes(SOUND.replace(b"version: 1.0.0", b"version: 1"))
    (tmp_path / "deep" / "er" / "b.yml").write_bytes(SOUND.replace(b"becomes: found", b"becomes: gone"))
    (tmp_path / "notes.txt").write_text("no runbook")
    assert [(Path(problem.path).name, problem.line) for problem in lint([tmp_path], words)] == [
        ("a.yaml", 2),
        ("b.yml", 16),
    ]


def mounted(folder: Path, *names: str, content: bytes = SOUND) -> Path:
    """What the kubelet makes of a ConfigMap: each name links into `..data`, which links to a copy of all."""
    copies = folder / "..2026_01_01"
    for name in names:
        (copies / name).parent.mkdir(parents=True, exist_ok=True)
        (copies / name).write_bytes(content)
        top = Path(name).parts[0]
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")
    (folder / "..data").symlink_to(copies.name)
    return folder


def test_a_mounted_configmap_is_read_once(words: Vocabulary, tmp_path: Path) -> None:
    folder = mounted(tmp_path, "own.yaml", content=SOUND.replace(b"version: 1.0.0", b"version: 1"))
    assert [Path(problem.path) for problem in lint([folder], words)] == [folder / "own.yaml"]


def test_the_folders_of_a_mounted_configmap_are_read_too(words: Vocabulary, tmp_path: Path) -> None:
    """`items` with a path of several parts make links to folders."""
    folder = mounted(tmp_path, "shop/own.yaml", "own.yml")
    assert [book.source for book in read_all([folder], words).runbooks] == [
        str(folder / "own.yml"), str(folder / "shop" / "own.yaml"),
    ]  # fmt: skip


def test_a_mount_that_is_itself_a_link_may_be_named(words: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    mounted(tmp_path / "real", "own.yaml")
    (tmp_path / "link").symlink_to("real")
    assert len(read_all([tmp_path / "link"], words).runbooks) == 1


@pytest.mark.parametrize("target", ["../secret.yaml", "../elsewhere"])
def test_a_link_that_leads_out_of_its_folder_is_not_followed(words: Vocabulary, tmp_path: Path, target: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    for path in (tmp_path / "secret.yaml", tmp_path / "elsewhere" / "deep.yaml"):
        path.write_text("password: hush")
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "a.yaml").symlink_to(target)
    (folder / "fine.yaml").write_bytes(SOUND)
    found = read_all([folder], words)
    assert [book.source for book in found.runbooks] == [str(folder / "fine.yaml")]
    (problem,) = found.problems
    assert str(problem) == (
        f"{folder}/a.yaml:1:1: this link leads out of {folder} and is not followed; put the file itself here"
    )


def test_a_lock_that_leads_out_of_its_folder_is_not_read(words: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password: hush")
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "versions.lock").symlink_to("../secret")
    (problem,) = lint([folder], words)
    assert problem.what == "this link leads out of its folder and is not followed; put the file itself here"


def test_links_in_a_circle_end(words: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "own.yaml").write_bytes(SOUND)
    (tmp_path / "same.yaml").symlink_to("own.yaml")
    assert [book.source for book in read_all([tmp_path], words).runbooks] == [str(tmp_path / "own.yaml")]


def test_a_folder_that_cannot_be_read_is_said(
    words: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("runbooks.loader.os.listdir", refuse)  # root may read whatever the mode says
    (problem,) = lint([tmp_path], words)
    assert str(problem).startswith(f"{tmp_path}:1:1: this folder cannot be read: Permission denied; make it readable")


def test_a_name_with_two_dots_is_hidden(words: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "..own.yaml").write_bytes(SOUND)
    (problem,) = lint([tmp_path], words)
    assert "no YAML file lies below this folder" in problem.what


def test_a_place_counts_characters_not_bytes(words: Vocabulary) -> None:
    content = SOUND.replace(b"answers: [ceph/locks_stale]", "answers: [ceph/locks_stale, 'größe/ü']".encode())
    with pytest.raises(RunbookErrors) as raised:
        parse(content, "x", words)
    assert [(problem.line, problem.column) for problem in raised.value.problems] == [(9, 29)]


@given(st.binary(max_size=200))
def test_no_bytes_at_all_surprise_the_loader(content: bytes) -> None:
    with pytest.raises(RunbookErrors):
        parse(content, "x", NOBODY)


_LINES = SOUND.decode().splitlines()
_PIECES = ["", "- ", "null", "[]", "{}", "[a, b]", "{a: 1}", "1.5", "'", '"', "{{image}}", "{{", "true", "&a x", "x: y"]


@given(st.integers(0, len(_LINES) - 1), st.sampled_from(_PIECES), st.booleans())
def test_a_damaged_line_is_either_still_sound_or_told_in_place(number: int, piece: str, as_value: bool) -> None:
    words = Vocabulary(checks=frozenset({"ceph/locks_stale"}), guards={}, actions={}, causes=frozenset())
    line = _LINES[number]
    damaged = f"{line.partition(':')[0]}: {piece}" if as_value else line + piece
    content = "\n".join([*_LINES[:number], damaged, *_LINES[number + 1 :]]).encode()
    with pytest.raises(RunbookErrors) as raised:  # at the least, the guards and actions are unknown
        parse(content, "x", words)
    lines = content.count(b"\n") + 2
    assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in raised.value.problems)
    assert "\n" not in "".join(problem.what for problem in raised.value.problems)
