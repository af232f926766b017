"""The configuration: where it is looked for, and what it comes to."""

import os
from pathlib import Path
from typing import Any, cast

import pytest

from bot import rereading as reading_anew
from bot import settings
from bot.rereading import Rereading
from bot.settings import PersonSettings, Settings, SettingsError
from bot.slack.desk import Desk


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


# --- What could never work


@pytest.mark.parametrize(
    ("words", "place", "move"),
    [
        ("slack: {channel: '#ops'}", "slack.channel: ", "open the channel's details"),
        ("slack: {channel: ops}", "slack.channel: ", "such as C024BE7LR"),
        ("schedules: {m: {cron: '0 8 * * *', channel: U024BE7LH}}", "schedules.m.channel: ", "such as C024BE7LR"),
        ("slack: {api_url: slack.com/api}", "slack.api_url: ", "https://slack.com/api/"),
        ("slack: {api_url: 'https://'}", "slack.api_url: ", "https://slack.com/api/"),
        ("people: {alice: {roles: [viewer]}}", "people: 'alice' is no id", "Copy member ID"),
        ("people: {'@alice': {roles: [viewer]}}", "people: '@alice' is no id", "`cli:` and a login"),
        ("people: {'cli:': {roles: [viewer]}}", "people: 'cli:' is no id", "`cli:` and a login"),
        ("people: {U024BE7LH: {roles: [viewer], also: [bob]}}", "people: 'bob' is no id", "Copy member ID"),
        ("people: {C024BE7LR: {roles: [viewer]}}", "people: 'C024BE7LR' is no id", "Copy member ID"),
        (
            "people: {U024BE7LH: {roles: [approver], clusters: [eats]}}",
            "people.U024BE7LH.clusters: ",
            "which has default",
        ),
        (
            "groups: {S0614TZR7: {roles: [viewer], clusters: [eats]}}",
            "groups.S0614TZR7.clusters: ",
            "which has default",
        ),
        (
            "people: {U024BE7LH: {roles: [viewer], namespaces: ['team-*']}}",
            "people.U024BE7LH.namespaces.0: ",
            "a pattern",
        ),
        ("clusters: {a: {namespaces: [Search]}}", "clusters.a.namespaces.0: ", "kubectl get namespaces"),
        ("schedules: {m: {every: 1h, namespaces: ['']}}", "schedules.m.namespaces.0: ", "kubectl get namespaces"),
        ("slack: {mode: http}\nhttp: null", "`slack.mode` is http", "set `http`"),
        ("people: {}\nlimits: []\npeople: {}", "unstick.yaml:3:1: ", "'people' stands there twice"),
        (
            "people: {U0BOB: {roles: [viewer]}, U0BOB: {roles: [admin]}}",
            "unstick.yaml:1:36: ",
            "'U0BOB' stands there twice",
        ),
    ],
)
def test_what_can_never_work_is_refused_with_its_place_and_the_next_move(
    home: Path, words: str, place: str, move: str
) -> None:
    Path("unstick.yaml").write_text(words)
    with pytest.raises(SettingsError) as refused:
        settings.load(None)
    assert place in str(refused.value)
    assert move in str(refused.value)


def test_ids_as_slack_gives_them_are_taken(home: Path) -> None:
    people = {"U024BE7LH": {"roles": ["viewer"], "also": ["cli:alice@ad.example"]}, "W012A3CDE": {"roles": ["viewer"]}}
    read = Settings.model_validate({"people": people, "slack": {"channel": "G012A3CDE", "api_url": "http://[::1]:8/"}})
    assert (list(read.people), read.slack.channel) == (list(people), "G012A3CDE")


# --- Read anew


APPROVER, VIEWER = "people: {U0BOB: {roles: [approver]}}\n", "people: {U0BOB: {roles: [viewer]}}\n"


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A ConfigMap as the kubelet mounts it: the file is a link into a folder that is itself a link."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "unstick.yaml").symlink_to("..data/unstick.yaml")
    mount(folder / "unstick.yaml", APPROVER)
    return folder / "unstick.yaml"


def mount(file: Path, text: str) -> None:
    """What the kubelet does when a ConfigMap has changed."""
    version = file.parent / f"..version{len(list(file.parent.iterdir()))}"
    version.mkdir()
    (version / file.name).write_text(text)
    (file.parent / "..next").symlink_to(version.name)
    (file.parent / "..next").replace(file.parent / "..data")


def rereading(file: Path) -> Rereading:
    return Rereading(file, settings.load(str(file)))


def roles(now: Rereading) -> tuple[str, ...]:
    return now().people["U0BOB"].roles


def test_a_changed_config_map_holds_from_the_next_question_on(mounted: Path) -> None:
    now = rereading(mounted)
    assert roles(now) == ("approver",)
    mount(mounted, VIEWER)
    assert roles(now) == ("viewer",)


def test_what_changed_before_the_first_question_is_met(mounted: Path) -> None:
    now = rereading(mounted)
    mount(mounted, VIEWER)
    assert roles(now) == ("viewer",)


def test_a_file_that_did_not_change_is_not_read_again(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, real, read = rereading(mounted), settings.load, list[str | None]()

    def load(path: str | None) -> Settings:
        read.append(path)
        return real(path)

    monkeypatch.setattr(reading_anew, "load", load)
    assert [roles(now) for _ in range(5)] == [("approver",)] * 5
    assert len(read) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [("people: {", "not valid YAML"), ("peple: {}", "peple: there is no such setting"), ("", "is empty"),
     ("people: {}\nchange_freezes: {never: {cron: 0 0 31 2 *, lasts: 1h}}\n", "change_freezes.never"),
     (None, "cannot be read")],
)  # fmt: skip
def test_a_file_that_is_away_or_wrong_changes_nothing_and_is_said_once_in_a_sentence(
    mounted: Path, text: str | None, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = rereading(mounted)
    if text is None:
        (mounted.parent / "..data").unlink()
    else:
        mount(mounted, text)
    assert [roles(now) for _ in range(3)] == [("approver",)] * 3
    [record] = caplog.records
    assert says in record.getMessage()
    assert "stays as it was" in record.getMessage()
    assert record.exc_info is None
    mount(mounted, VIEWER)
    assert roles(now) == ("viewer",)
    assert "was read anew" in caplog.records[-1].getMessage()


def test_a_file_that_is_being_written_is_not_believed_yet(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, real = rereading(mounted), settings.load
    assert roles(now) == ("approver",)

    def half_written(path: str | None) -> Settings:
        monkeypatch.setattr(reading_anew, "load", real)
        mount(mounted, APPROVER)
        return Settings()

    monkeypatch.setattr(reading_anew, "load", half_written)
    mount(mounted, VIEWER)
    assert roles(now) == ("approver",)
    mount(mounted, VIEWER)
    assert roles(now) == ("viewer",)


def test_people_and_the_quorum_hold_as_the_file_says_now_and_all_else_as_at_the_start() -> None:
    start = Settings(people={"U0BOB": PersonSettings(roles=("approver",))}, runbooks=("/start",))
    told = Settings(people={"U0EVE": PersonSettings(roles=("approver",))}, unknown_people="nobody", critical_quorum=2,
                    runbooks=("/now",))  # fmt: skip
    nothing = cast(Any, None)
    desk = Desk(start, nothing, nothing, nothing, nothing, people=lambda: told)
    assert desk.person("U0BOB").roles == frozenset()
    assert desk.person("U0EVE").roles == {"approver"}
    assert (desk.now().critical_quorum, desk.now().runbooks) == (2, ("/start",))
    assert Desk(start, nothing, nothing, nothing, nothing).now() is start


def test_limits_and_change_freezes_hold_as_the_file_says_now(mounted: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Both may be loosened and tightened, and none may vanish by a slip: the defaults would take their place."""
    limit = "limits: [{{per: node, acts: {acts}, within: 1h}}]\n"
    freeze = "change_freezes: {{{name}: {{cron: 0 18 * * 5, lasts: 62h}}}}\n"
    nothing = cast(Any, None)
    mount(mounted, APPROVER + limit.format(acts=2) + freeze.format(name="weekend"))
    start = settings.load(str(mounted))
    desk = Desk(start, nothing, nothing, nothing, nothing, people=Rereading(mounted, start))

    mount(mounted, APPROVER + limit.format(acts=9) + freeze.format(name="launch"))
    assert [each.acts for each in desk.now().limits] == [9]
    assert list(desk.now().change_freezes) == ["launch"]
    assert "how much, and when not, is as it says now" in caplog.text

    mount(mounted, APPROVER)
    assert [each.acts for each in desk.now().limits] == [9]
    assert list(desk.now().change_freezes) == ["launch"]
    assert "does not say change_freezes and limits any more" in caplog.text

    mount(mounted, APPROVER + limit.format(acts=9) + "change_freezes: {}\n")
    assert not desk.now().change_freezes


def test_a_file_that_is_written_in_place_counts_once_it_has_stood_still(tmp_path: Path) -> None:
    file = tmp_path / "unstick.yaml"
    file.write_text(APPROVER)
    now = rereading(file)
    assert roles(now) == ("approver",)
    file.write_text(VIEWER)  # perhaps more of it is to come
    assert roles(now) == ("approver",)
    long_ago = file.stat().st_mtime - reading_anew.STEADY - 1
    os.utime(file, (long_ago, long_ago))
    assert roles(now) == ("viewer",)


@pytest.mark.parametrize("text", ["# nothing\n", "\n", "state: /tmp/x.db\n"])
def test_a_file_that_does_not_name_people_any_more_changes_nothing(
    mounted: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = rereading(mounted)
    mount(mounted, text)
    assert roles(now) == ("approver",)
    assert "does not say people any more" in caplog.text


def test_who_is_unknown_may_not_look_by_a_line_that_is_lost(mounted: Path, caplog: pytest.LogCaptureFixture) -> None:
    mount(mounted, f"unknown_people: nobody\n{APPROVER}")
    now = rereading(mounted)
    mount(mounted, APPROVER)
    assert now().unknown_people == "nobody"
    assert "does not say unknown_people any more" in caplog.text
    mount(mounted, f"unknown_people: viewer\n{APPROVER}")
    assert now().unknown_people == "viewer"


def test_what_is_merged_by_an_alias_may_be_said_otherwise(home: Path) -> None:
    Path("unstick.yaml").write_text(
        "people:\n  U0ALICE: &team {roles: [responder], namespaces: [search]}\n"
        "  U0BOB: &more {<<: *team, roles: [approver]}\n  U0DORA: {<<: *more, roles: [admin]}\n"
    )
    people = settings.load(None).people
    assert [people[name].roles for name in ("U0ALICE", "U0BOB", "U0DORA")] == [
        ("responder",),
        ("approver",),
        ("admin",),
    ]
    assert people["U0DORA"].namespaces == ("search",)


@pytest.mark.parametrize("text", ["people: {U0BOB: 2026-99-99}", "[" * 3000])
def test_what_yaml_itself_stumbles_over_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "unstick.yaml").write_text(text)
    with pytest.raises(SettingsError, match="not valid YAML"):
        settings.load(str(tmp_path / "unstick.yaml"))
