"""The configuration: one YAML file, validated as a whole before anything else happens.

It names clusters (each with its Kubernetes, its Ceph and the identities to use there) and people with their roles.
Without a file there is one cluster, `default`, reached the way kubectl and ceph reach it. Who may do what,
how much, and when not, is read anew while the bot serves (`bot.rereading`); all else is read once.
"""

import os
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from bot.settings.clusters import CephSettings, ClusterSettings, KubernetesSettings
from bot.settings.people import (
    LIMITS,
    ChangeFreezeSettings,
    GrantSettings,
    GroupSettings,
    LimitSettings,
    PersonSettings,
    Role,
)
from bot.settings.reading import parsed
from bot.settings.slack import (
    HttpSettings,
    LeaderSettings,
    ScheduleSettings,
    SlackSettings,
    WatchSettings,
)
from bot.settings.words import PERSON, GroupId, Words

__all__ = [
    "CephSettings", "ChangeFreezeSettings", "ClusterSettings", "GrantSettings", "GroupSettings", "HttpSettings",
    "KubernetesSettings", "LeaderSettings", "LimitSettings", "PersonSettings", "Role", "ScheduleSettings", "Settings",
    "SettingsError", "SlackSettings", "WatchSettings", "ceph_conf", "file_of", "load", "state_folder",
]  # fmt: skip
CEPH_CONF = Path("/etc/ceph/ceph.conf")
_WORDS = {
    "extra_forbidden": "there is no such setting; docs/reference.md has them all",
    "too_short": "name at least one",
    "missing": "it is missing",
}


class SettingsError(Exception):
    """The configuration cannot be used: one sentence a mistake, each with the place."""


class Settings(Words):
    """The whole configuration.

    While `unstick serve` runs, `people`, `groups`, `unknown_people`, `critical_quorum`, `limits` and `change_freezes`
    hold as the file says now, from the next decision on; all else takes a restart.
    """

    clusters: dict[str, ClusterSettings] = Field(default_factory=lambda: {"default": ClusterSettings()}, min_length=1)
    """The clusters by name."""
    default_cluster: str | None = None
    """The cluster that is meant where none is named; a single one always is."""
    people: dict[str, PersonSettings] = Field(default_factory=dict)
    """Who may do what, by id: a Slack user's, as U024BE7LH, or `cli:` and a login."""
    groups: dict[GroupId, GroupSettings] = Field(default_factory=dict)
    """Who may do what, by the id of a Slack user group; whoever is named under `people` has only what stands there."""
    unknown_people: Literal["viewer", "nobody"] = "viewer"
    """What all others may do: look, or nothing."""
    state: str | None = None
    """A path, or the address of a database, for sightings, executions and the audit log;
    without one, $XDG_STATE_HOME/unstick/state.db."""
    critical_quorum: int = Field(default=1, ge=1, le=10)
    """How many approvers a critical plan needs, none of them its requester."""
    limits: tuple[LimitSettings, ...] = LIMITS
    """How much may be done at most; what is named here takes the place of all defaults."""
    change_freezes: dict[str, ChangeFreezeSettings] = Field(default_factory=dict)
    """When nothing new is begun, by name."""
    runbooks: tuple[str, ...] = ()
    """Folders with runbooks of your own, beside the built-in ones."""
    pins: dict[str, str] = Field(default_factory=dict)
    """The version that a runbook's id alone means, and that is offered, as `ceph/stale_rbd_lock: 1.0.0`;
    without one, the newest release."""
    slack: SlackSettings = SlackSettings()
    """Where in Slack `unstick serve` works."""
    http: HttpSettings | None = HttpSettings()
    """The bot's own HTTP server; `null` for none."""
    watch: WatchSettings = WatchSettings()
    """What opens incidents by itself."""
    leader: LeaderSettings | None = LeaderSettings()
    """How several replicas on PostgreSQL agree; `null` where there is never more than one. With SQLite there is none."""
    schedules: dict[str, ScheduleSettings] = Field(default_factory=dict)
    """Health reports by name."""

    def cluster(self, name: str | None) -> tuple[str, ClusterSettings]:
        """The cluster of that name, or the default one.

        Raises:
            SettingsError: there is no such cluster, or there are several and none was chosen.
        """
        chosen = name or self.default_cluster or (next(iter(self.clusters)) if len(self.clusters) == 1 else None)
        known = ", ".join(sorted(self.clusters))
        if chosen is None:
            raise SettingsError(f"The configuration has several clusters ({known}): choose one with --cluster.")
        if chosen not in self.clusters:
            raise SettingsError(f"There is no cluster {chosen!r} in the configuration: it has {known}.")
        return chosen, self.clusters[chosen]

    @model_validator(mode="after")
    def _each_id_can_be_somebodys(self) -> "Settings":
        """A name or an address would never match whoever clicks, and that person would have no role, silently."""
        ids = [*self.people, *(other for words in self.people.values() for other in words.also)]
        if wrong := [each for each in ids if not PERSON.fullmatch(each)]:
            raise ValueError(
                f"people: {', '.join(map(repr, wrong))} is no id: write a Slack user's, such as U024BE7LH (in the profile: "
                "Copy member ID), or `cli:` and a login"
            )
        return self

    @model_validator(mode="after")
    def _each_id_is_one_persons(self) -> "Settings":
        """Two entries for one id would leave open whose roles count, and who may not approve whose request."""
        ids = [*self.people, *(other for words in self.people.values() for other in words.also)]
        if twice := sorted({each for each in ids if ids.count(each) > 1}):
            raise ValueError(f"people: {', '.join(twice)} stands there more than once; name each id once")
        return self

    @model_validator(mode="after")
    def _each_channel_means_one_cluster(self) -> "Settings":
        named = [each for words in self.clusters.values() for each in {words.channel, *words.channels} if each]
        if twice := sorted({each for each in named if named.count(each) > 1}):
            raise ValueError(f"clusters: {', '.join(twice)} belongs to more than one of them; name each channel once")
        return self

    def of_channel(self, channel: str) -> str | None:
        """The cluster that is meant in a channel where none is named; None: the default one."""
        owners = (n for n, words in self.clusters.items() if channel == words.channel or channel in words.channels)
        return next(owners, None)

    def channel_of(self, cluster: str) -> str | None:
        """The channel in which a cluster's incidents are told."""
        return self.clusters[cluster].channel or self.slack.channel

    @property
    def state_url(self) -> str:
        """The database that keeps sightings, executions and the audit log."""
        if self.state and "://" in self.state:
            return self.state
        path = Path(self.state).expanduser() if self.state else state_folder() / "state.db"
        return f"sqlite:///{path.absolute()}"


def state_folder() -> Path:
    """`$XDG_STATE_HOME/unstick`, by default below ~/.local/state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "unstick"


def _is_ours(path: Path) -> bool:
    """Whether a file of the current folder may say who has which role: nobody else can have put it there."""
    try:
        found = [path.stat(), path.absolute().parent.stat()]
    except OSError:
        return False
    return all(entry.st_uid in (0, os.getuid()) and not entry.st_mode & 0o002 for entry in found)


def _candidates() -> tuple[Path, ...]:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    here = (Path("unstick.yaml"),) if _is_ours(Path("unstick.yaml")) else ()
    return (*here, home / "unstick" / "unstick.yaml", Path("/etc/unstick/unstick.yaml"))


def file_of(path: str | None) -> Path | None:
    """Which file is the configuration: the named one, $UNSTICK_CONFIG, or the first that exists of the usual places."""
    named = path or os.environ.get("UNSTICK_CONFIG")
    return Path(named) if named else next((c for c in _candidates() if c.is_file()), None)


def load(path: str | None) -> Settings:
    """Read the configuration (`file_of`).

    Raises:
        SettingsError: a named file is missing, or the file is malformed.
    """
    file = file_of(path)
    if file is None:
        return Settings()
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(
            f"The configuration {file} cannot be read ({reason}): correct --config or UNSTICK_CONFIG."
        ) from None
    try:
        document = parsed(text) or {}
    except (ValueError, RecursionError) as error:  # a date that is none, or brackets without end
        raise SettingsError(f"{file}: not valid YAML: {str(error) or type(error).__name__}; correct it.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise SettingsError(f"{file}{where}: not valid YAML: {what}; correct it.") from None
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        raise SettingsError(f"The configuration {file} is wrong: {_mistakes(error)}.") from None
    if settings.default_cluster and settings.default_cluster not in settings.clusters:
        raise SettingsError(f"{file}: default_cluster names {settings.default_cluster!r}, which is not among clusters.")
    if stray := _strays(settings):
        raise SettingsError(f"The configuration {file} is wrong: {'; '.join(stray)}.")
    return settings


def _strays(settings: Settings) -> list[str]:
    """What names something that is not there: it would be overlooked, and somebody would wonder at 3 a.m."""
    known = ", ".join(sorted(settings.clusters))
    found = [
        f"{place}.{name}.clusters: there is no cluster {each!r} among clusters, which has {known}"
        for place, grants in (("people", settings.people), ("groups", settings.groups))
        for name, words in grants.items()
        for each in words.clusters
        if each not in settings.clusters
    ]
    if settings.slack.mode == "http" and settings.http is None:
        found.append("`slack.mode` is http, and `http` is null: nothing would listen; set `http`")
    return found


def _mistakes(error: ValidationError) -> str:
    """Every mistake with its place. What was written there is not repeated: it may be a secret."""
    said = []
    for one in error.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in one["loc"])
        what = _WORDS.get(one["type"], one["msg"].removeprefix("Value error, "))
        if not where and one["type"] != "value_error":
            what = "it must be a mapping such as `clusters: ...`"
        said.append(f"{where}: {what}" if where else what)
    return "; ".join(said)


def ceph_conf(settings: CephSettings | None, override: str | None, *, guess: bool = True) -> CephSettings | None:
    """Which Ceph to use: --ceph-conf, then the configuration, then $CEPH_CONF, then /etc/ceph/ceph.conf if it is there.

    Without `guess` the last two are left out: a cluster that is configured without Ceph has none, and a lock of some
    other Ceph is no business of its pods.
    """
    if override:
        # It is another cluster, perhaps: what is read there must not be acted on with the file's `remediate_conf`.
        return (settings or CephSettings(conf=override)).model_copy(update={"conf": override, "remediate_conf": None})
    if settings or not guess:
        return settings
    if from_environment := os.environ.get("CEPH_CONF"):
        return CephSettings(conf=from_environment)
    return CephSettings(conf=str(CEPH_CONF)) if CEPH_CONF.is_file() else None
