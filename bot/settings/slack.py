"""How the bot is reached and heard: Slack, HTTP, and what it does by itself."""

import re
from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator, model_validator

from bot.settings.words import ChannelId, Length, Namespace, Words


class SlackSettings(Words):
    """Where in Slack. The secrets come from the environment: SLACK_BOT_TOKEN, and SLACK_APP_TOKEN or SLACK_SIGNING_SECRET."""

    mode: Literal["socket", "http"] = "socket"
    """How Slack reaches the bot: `socket` (Socket Mode, with SLACK_APP_TOKEN), or `http` (signed requests to
    `/slack/events` at `http.port`, with SLACK_SIGNING_SECRET)."""
    connections: int = Field(default=2, ge=1, le=10)
    """How many sockets each replica keeps open; Slack allows 10 for the whole app."""
    channel: ChannelId | None = None
    """The id of the channel for incidents and scheduled reports that name none of their own, as C024BE7LR."""
    channels: tuple[ChannelId, ...] = ()
    """The channels in which the bot may be used; none named: wherever it is asked."""
    direct_messages: bool = False
    """Whether it may be asked for a diagnosis in a direct message; nothing is ever changed from there."""
    api_url: str = "https://slack.com/api/"
    """Where Slack's Web API is; another one for a proxy or a stand-in."""

    @field_validator("api_url")
    @classmethod
    def _api_url_is_of_the_web(cls, url: str) -> str:
        if not re.match(r"https?://[^/\s]+", url):
            raise ValueError("it is no address on the web: write it as https://slack.com/api/, or leave it out")
        return url


class HttpSettings(Words):
    """The bot's own HTTP server: health, metrics, Alertmanager's webhook, and Slack in its HTTP mode."""

    host: str = "127.0.0.1"
    """The address to listen on; `0.0.0.0` for all."""
    port: int = Field(default=8080, ge=0, le=65535)
    """The port; 0 for any that is free."""


class WatchSettings(Words):
    """What opens incidents by itself, as it happens."""

    enabled: bool = True
    """Whether pods and their warnings are watched; the channel of the cluster is told of what is found."""
    grace: Length = timedelta(seconds=60)
    """How long a pod may take to start before anybody is told: ordinary starts warn, too."""


class LeaderSettings(Words):
    """The Lease by which several replicas agree on who watches and fires the schedules."""

    lease: str = "unstick"
    """The name of the Lease."""
    namespace: str | None = None
    """Its namespace; without one, that of the pod."""
    kubeconfig: str | None = None
    """The kubeconfig of the cluster that it is in; without one, the pod's own account."""
    context: str | None = None
    """The context."""
    lasts: Length = timedelta(seconds=10)
    """How long a leader that is silent stays the leader."""

    @model_validator(mode="after")
    def _long_enough(self) -> "LeaderSettings":
        if self.lasts < timedelta(seconds=3):
            raise ValueError("lasts: a Lease of less than 3s is lost to every hiccup; write 10s")
        return self


class ScheduleSettings(Words):
    """A health report that is made and posted by itself: by `cron`, or `every` so often."""

    cron: str | None = None
    """When, as in a crontab: minute, hour, day of the month, month, day of the week."""
    every: Length | None = None
    """How often, as 30m or 6h, counted from midnight UTC of 1 January 1970, so that a restart changes nothing."""
    timezone: str = "UTC"
    """The time zone of `cron`, as Europe/Berlin."""
    channel: ChannelId | None = None
    """The channel to post it in; without one, the cluster's, then `slack.channel`."""
    cluster: str | None = None
    """The cluster to look at; without one, the default one."""
    namespaces: tuple[Namespace, ...] = ()
    """The namespaces to look at; none named: all."""
    areas: tuple[str, ...] = ()
    """The areas of checks to run; neither these nor `checks` named: all."""
    checks: tuple[str, ...] = ()
    """Single checks to run."""
    only_if_changed: bool = False
    """Whether it is kept quiet while nothing is new, worse, resolved or newly unseen since the last one that was posted."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "ScheduleSettings":
        if (self.cron is None) == (self.every is None):
            raise ValueError("name either `cron` or `every`")
        if self.every is not None and self.every < timedelta(minutes=1):
            raise ValueError("every: a report more often than once a minute is noise; write 1m or more")
        return self
