"""Alertmanager's webhook (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config), version 4.

A group of alerts is kept before it is answered with 200: Alertmanager tries again what is answered with 5xx, and only that.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal

import msgspec
from aiohttp import web

from bot.settings import Settings, SettingsError
from bot.store.alerts import Alert
from bot.work import Busy
from runbooks.database import StoreError

_log = logging.getLogger("unstick.alerts")
MOST = 200  # alerts of a group that are kept
PATIENCE = 10.0  # seconds for the state database; Alertmanager waits as long as its receiver says
LONGEST = 1000  # characters of a label or an annotation


class _Alert(msgspec.Struct):
    status: Literal["firing", "resolved"]
    starts_at: datetime = msgspec.field(name="startsAt")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    fingerprint: str = ""


class _Group(msgspec.Struct):
    version: str
    group_key: str = msgspec.field(name="groupKey")
    alerts: list[_Alert]
    common_labels: dict[str, str] = msgspec.field(name="commonLabels", default_factory=dict)
    truncated: int = msgspec.field(name="truncatedAlerts", default=0)


class Told(msgspec.Struct, frozen=True):
    """What Alertmanager told: a group of alerts of a cluster, for a channel."""

    key: str
    cluster: str
    channel: str
    alerts: tuple[Alert, ...]
    truncated: int


Take = Callable[[Told], Awaitable[None]]


class Webhook:
    """Takes groups of alerts from whoever knows the token."""

    def __init__(self, settings: Settings, token: str, take: Take) -> None:
        self._settings = settings
        self._token = token
        self._take = take

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one notification. `?cluster=NAME` or the label `cluster` names the cluster; else it is the default one."""
        if not self._token:
            return _no(404, "No alerts are taken here: set ALERTMANAGER_TOKEN.")
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            _log.warning("alerts without the right token were not taken")
            return _no(401, "The token is not the one in ALERTMANAGER_TOKEN.")
        try:
            group = msgspec.json.decode(await request.read(), type=_Group)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _no(400, f"This is no notification of Alertmanager's webhook: {error}")
        if group.version != "4":
            return _no(400, f"This is version {group.version[:20]!r} of Alertmanager's webhook; 4 is understood.")
        try:
            told = self._told(group, request.query.get("cluster"))
        except SettingsError as error:
            return _no(400, str(error))
        try:
            await asyncio.wait_for(self._take(told), PATIENCE)
        except (StoreError, Busy, TimeoutError) as error:
            return _no(503, f"The alerts cannot be kept just now: {error or 'the state database is slow'}")
        return web.Response(text="ok\n")

    def _told(self, group: _Group, named: str | None) -> Told:
        settings = self._settings
        label = group.common_labels.get("cluster")
        cluster, _ = settings.cluster(named or (label if label in settings.clusters else None))
        channel = settings.channel_of(cluster)
        if channel is None:
            raise SettingsError(f"There is no channel for {cluster}: set clusters.{cluster}.channel or slack.channel.")
        firing_first = sorted(group.alerts, key=lambda alert: (alert.status != "firing", alert.starts_at))
        kept = tuple(
            Alert(each.status, _short(each.labels), _short(each.annotations), each.starts_at, each.fingerprint[:64])
            for each in firing_first[:MOST]
        )
        key = hashlib.sha256(f"{cluster}\x00{group.group_key}".encode()).hexdigest()
        return Told(key, cluster, channel, kept, group.truncated + max(0, len(group.alerts) - MOST))


def _short(texts: dict[str, str]) -> dict[str, str]:
    return {name[:LONGEST]: text[:LONGEST] for name, text in texts.items()}


def _no(status: int, why: str) -> web.Response:
    return web.Response(status=status, text=f"{why}\n")
