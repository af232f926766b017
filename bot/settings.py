"""The configuration: one YAML file, validated as a whole before anything else happens.

It names clusters (each with its Kubernetes, its Ceph and the identities to use there) and people with their roles.
Without a file there is one cluster, `default`, reached the way kubectl and ceph reach it.
"""

import os
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Role = Literal["viewer", "responder", "approver", "admin"]
CEPH_CONF = Path("/etc/ceph/ceph.conf")


class SettingsError(Exception):
    """The configuration cannot be used: one sentence a mistake, each with the place."""


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KubernetesSettings(_Words):
    """How to reach a cluster's API server, for reading and (where it differs) for writing."""

    kubeconfig: str | None = None
    context: str | None = None
    remediate_kubeconfig: str | None = None
    remediate_context: str | None = None


class CephSettings(_Words):
    """How to reach a Ceph cluster. `remediate_user` may fence and break locks; `user` should not be able to."""

    conf: str
    user: str = "client.admin"
    remediate_conf: str | None = None
    remediate_user: str | None = None
    pools: tuple[str, ...] = ()


class ClusterSettings(_Words):
    """One Kubernetes cluster and the Ceph cluster that its volumes lie in."""

    kubernetes: KubernetesSettings | None = KubernetesSettings()
    ceph: CephSettings | None = None


class PersonSettings(_Words):
    """What a person may do, and in which namespaces (none named: in all)."""

    roles: tuple[Role, ...]
    namespaces: tuple[str, ...] = ()


class Settings(_Words):
    """The whole configuration."""

    clusters: dict[str, ClusterSettings] = Field(default_factory=lambda: {"default": ClusterSettings()})
    default_cluster: str | None = None
    people: dict[str, PersonSettings] = Field(default_factory=dict)
    unknown_people: Literal["viewer", "nobody"] = "viewer"
    state: str | None = None
    critical_quorum: int = Field(default=1, ge=1, le=10)
    runbooks: tuple[str, ...] = ()

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


def _candidates() -> tuple[Path, ...]:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    return (Path("unstick.yaml"), home / "unstick" / "unstick.yaml", Path("/etc/unstick/unstick.yaml"))


def load(path: str | None) -> Settings:
    """Read the configuration: the named file, $UNSTICK_CONFIG, or the first that exists of the usual places.

    Raises:
        SettingsError: a named file is missing, or the file is malformed.
    """
    named = path or os.environ.get("UNSTICK_CONFIG")
    file = Path(named) if named else next((c for c in _candidates() if c.is_file()), None)
    if file is None:
        return Settings()
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"The configuration {file} cannot be read: {reason}.") from None
    try:
        settings = Settings.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SettingsError(f"{file}{where}: not valid YAML: {getattr(error, 'problem', error)}") from None
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"The configuration {file} is wrong at {places}.") from None
    if settings.default_cluster and settings.default_cluster not in settings.clusters:
        raise SettingsError(f"{file}: default_cluster names {settings.default_cluster!r}, which is not among clusters.")
    return settings


def ceph_conf(settings: CephSettings | None, override: str | None) -> CephSettings | None:
    """Which Ceph to use: --ceph-conf, then the configuration, then $CEPH_CONF, then /etc/ceph/ceph.conf if it is there."""
    if override:
        return (settings or CephSettings(conf=override)).model_copy(update={"conf": override})
    if settings:
        return settings
    if from_environment := os.environ.get("CEPH_CONF"):
        return CephSettings(conf=from_environment)
    return CephSettings(conf=str(CEPH_CONF)) if CEPH_CONF.is_file() else None
