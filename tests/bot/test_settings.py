"""The configuration: where it is looked for, and what it comes to."""

import os
from pathlib import Path

import pytest

from bot import settings
from bot.settings import Settings, SettingsError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("UNSTICK_CONFIG", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def written(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"clusters: {{{name}: {{}}}}\n")
    return path


def test_the_named_file_goes_before_the_environment_before_here_before_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.load(None) == Settings()
    written(home / ".config" / "unstick" / "unstick.yaml", "home")
    assert set(settings.load(None).clusters) == {"home"}
    written(Path("unstick.yaml"), "here")
    assert set(settings.load(None).clusters) == {"here"}
    monkeypatch.setenv("UNSTICK_CONFIG", str(written(home / "e.yaml", "environment")))
    assert set(settings.load(None).clusters) == {"environment"}
    assert set(settings.load(str(written(home / "n.yaml", "named"))).clusters) == {"named"}


def belonging_to(monkeypatch: pytest.MonkeyPatch, path: Path, owner: int) -> None:
    """Let a file or folder look as if it were this user's."""
    real, wanted = Path.stat, path.absolute()

    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = real(self, follow_symlinks=follow_symlinks)
        if self.absolute() != wanted:
            return found
        return os.stat_result((*found[:4], owner, *found[5:10]))

    monkeypatch.setattr(Path, "stat", stat)


@pytest.mark.parametrize("name", ["unstick.yaml", "."], ids=["the file", "its folder"])
@pytest.mark.parametrize(
    ("mode", "is_read"), [(0o600, True), (0o664, True), (0o666, False), (0o602, False), (0o1777, False)], ids=oct
)
def test_a_file_here_that_anybody_could_have_written_names_no_roles(
    home: Path, name: str, mode: int, is_read: bool
) -> None:
    written(Path("unstick.yaml"), "here")
    written(home / ".config" / "unstick" / "unstick.yaml", "home")
    Path(name).chmod(mode | (0o700 if name == "." else 0))
    assert set(settings.load(None).clusters) == ({"here"} if is_read else {"home"})


@pytest.mark.parametrize("name", ["unstick.yaml", "."], ids=["the file", "its folder"])
@pytest.mark.parametrize(("owner", "is_read"), [(1000, True), (0, True), (1001, False)], ids=["ours", "root", "other"])
def test_a_file_here_that_somebody_else_put_there_names_no_roles(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, owner: int, is_read: bool
) -> None:
    written(Path("unstick.yaml"), "here")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    for each in ("unstick.yaml", "."):
        belonging_to(monkeypatch, Path(each), 1000)
    belonging_to(monkeypatch, Path(name), owner)
    assert (settings.file_of(None) == Path("unstick.yaml")) is is_read
    assert (set(settings.load(None).clusters) == {"here"}) is is_read


def test_a_file_that_is_named_is_read_whoever_may_write_it(home: Path) -> None:
    written(Path("unstick.yaml"), "here").chmod(0o666)
    assert set(settings.load("unstick.yaml").clusters) == {"here"}


def test_a_file_that_the_environment_names_must_exist(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSTICK_CONFIG", str(home / "gone.yaml"))
    with pytest.raises(SettingsError, match=r"gone\.yaml"):
        settings.load(None)


def test_an_empty_file_is_the_defaults(home: Path) -> None:
    Path("unstick.yaml").write_text("# nothing yet\n")
    assert settings.load(None) == Settings()


def test_state_lies_in_the_state_home_unless_a_path_or_an_address_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings().state_url == f"sqlite:///{home}/.local/state/unstick/state.db"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib/x")
    assert Settings().state_url == "sqlite:////var/lib/x/unstick/state.db"
    assert Settings(state="~/s.db").state_url == f"sqlite:///{home}/s.db"
    assert Settings(state="postgresql://db/unstick").state_url == "postgresql://db/unstick"


def test_the_only_cluster_is_chosen_and_of_several_the_default(home: Path) -> None:
    assert Settings().cluster(None)[0] == "default"
    several = Settings.model_validate({"clusters": {"a": {}, "b": {}}, "default_cluster": "b"})
    assert several.cluster(None)[0] == "b"
    assert several.cluster("a")[0] == "a"
    with pytest.raises(SettingsError, match="'c'"):
        several.cluster("c")
