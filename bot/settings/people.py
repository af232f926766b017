"""Who may do what, how much of it, and when not."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from bot.settings.words import Length, Namespace, Words

Role = Literal["viewer", "responder", "approver", "admin"]


class GrantSettings(Words):
    """Roles, and where they hold."""

    roles: tuple[Role, ...]
    """viewer looks, responder asks and runs what is low, approver approves, admin sets policy."""
    namespaces: tuple[Namespace, ...] = ()
    """Where the roles hold; none named: everywhere."""
    clusters: tuple[str, ...] = ()
    """In which clusters the roles hold; none named: in all."""


class PersonSettings(GrantSettings):
    """What a person may do, and in which namespaces and clusters."""

    also: tuple[str, ...] = ()
    """Other ids of the same person, as `cli:alice` of a Slack user: nobody approves their own request elsewhere."""
    kubernetes_user: str | None = None
    """The user to impersonate for this person, where a cluster impersonates at all."""


class GroupSettings(GrantSettings):
    """What the members of a Slack user group may do, who are not named under `people` themselves.

    Of several groups that somebody is in, the first one here counts, and only that.
    """


class LimitSettings(Words):
    """At most so many acts within a time, so that nothing runs away."""

    per: Literal["cluster", "namespace", "node", "runbook"]
    """What the acts are counted for: the whole cluster, each namespace, each node, or each runbook."""
    acts: int = Field(ge=1)
    """How many acts may be begun."""
    within: Length
    """Within which time, as 30m or 1h."""


class ChangeFreezeSettings(Words):
    """A time in which nothing new is begun, such as a weekend. What has begun to act is finished."""

    cron: str
    """When it begins, as in a crontab."""
    lasts: Length
    """How long it holds, as 62h."""
    timezone: str = "UTC"
    """The time zone of `cron`."""
    exempt: tuple[str, ...] = ()
    """The ids of runbooks that may be run all the same."""


LIMITS = (
    LimitSettings(per="cluster", acts=300, within=timedelta(hours=1)),
    LimitSettings(per="runbook", acts=200, within=timedelta(hours=1)),
    LimitSettings(per="namespace", acts=150, within=timedelta(hours=1)),
    LimitSettings(per="node", acts=100, within=timedelta(hours=1)),
)
