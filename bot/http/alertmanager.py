"""Alertmanager's webhook (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config), version 4.

A group of alerts is kept before it is answered with 200: Alertmanager tries again what is answered with 5xx, and only that.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

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
    starts_at: Annotated[datetime, msgspec.Meta(tz=True)] = msgspec.field(name="startsAt")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    fingerprint: str = ""


class _Group(msgspec.Struct):
    version: str
    group_key: str = msgspec.field(name="groupKey")
    alerts: Annotated[list[_Alert], msgspec.Meta(min_length=1)]
    common_labels: dict[str, str] = msgspec.field(name="commonLabels", default_factory=dict)
    truncated: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="truncatedAlerts", default=0)


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
        """Answer one notification.

        `?cluster=NAME`, or of each alert the label `cluster`, names the cluster; else it is the default one.
        """
        if not self._token:
            return _no(404, "No alerts are taken here: set ALERTMANAGER_TOKEN.")
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(_bytes(given), _bytes(f"Bearer {self._token}")):
            _log.warning("alerts without the right token were not taken")
            return _no(401, "The token is not the one in ALERTMANAGER_TOKEN.")
        try:
            group = msgspec.json.decode(await request.read(), type=_Group)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _no(400, f"This is no notification of Alertmanager's webhook: {error}")
        if group.version != "4":
            return _no(400, f"This is version {group.version[:20]!r} of Alertmanager's webhook; 4 is understood.")
        try:
            told = self._told(group, request.query.get("cluster"))
        except (SettingsError, OverflowError) as error:
            return _no(400, str(error))
        try:
            async with asyncio.timeout(PATIENCE):
                for each in told:
                    await self._take(each)
        except (StoreError, Busy, TimeoutError) as error:
            return _no(503, f"The alerts cannot be kept just now: {error or 'the state database is slow'}")
        return web.Response(text="ok\n")

    def _told(self, group: _Group, named: str | None) -> list[Told]:
        """What a notification tells, for each cluster that it speaks of: Alertmanager groups as it is told to.

        Raises:
            SettingsError: it speaks of no cluster that there is, or one of them has no channel.
        """
        of_clusters: dict[str, list[_Alert]] = {}
        strays: list[str] = []
        for alert in group.alerts:
            label = alert.labels.get("cluster", group.common_labels.get("cluster"))
            if named is None and label is not None and self._is_stray(label):
                strays.append(label)
                continue
            cluster, _ = self._settings.cluster(named or (label if label in self._settings.clusters else None))
            of_clusters.setdefault(cluster, []).append(alert)
        if strays:
            why = (
                f"alerts of cluster {strays[0][:100]!r} are of none in the configuration, which has "
                f"{', '.join(sorted(self._settings.clusters))}: say which is meant with ?cluster=NAME in the webhook's address."
            )
            if not of_clusters:
                raise SettingsError(f"The {why}")
            _log.warning("of a group only some were taken: %s", why)
        return [self._of(cluster, alerts, group) for cluster, alerts in of_clusters.items()]

    def _is_stray(self, label: str) -> bool:
        """Whether alerts are of none of several clusters: a pod of that name in another one is not what is meant."""
        return len(self._settings.clusters) > 1 and label not in self._settings.clusters

    def _of(self, cluster: str, alerts: list[_Alert], group: _Group) -> Told:
        channel = self._settings.channel_of(cluster)
        if channel is None:
            raise SettingsError(f"There is no channel for {cluster}: set clusters.{cluster}.channel or slack.channel.")
        firing_first = sorted(alerts, key=lambda alert: (alert.status != "firing", alert.starts_at))
        kept = tuple(
            Alert(
                each.status, _short(each.labels), _short(each.annotations), each.starts_at.astimezone(UTC),
                each.fingerprint[:64],
            )
            for each in firing_first[:MOST]
        )  # fmt: skip
        key = hashlib.sha256(f"{cluster}\x00{group.group_key}".encode()).hexdigest()
        return Told(key, cluster, channel, kept, group.truncated + max(0, len(alerts) - MOST))


def _bytes(header: str) -> bytes:
    """A header as it came: what is no UTF-8 in it is kept as it is."""
    return header.encode(errors="surrogateescape")


def _short(texts: dict[str, str]) -> dict[str, str]:
    return {name[:LONGEST]: text[:LONGEST] for name, text in texts.items()}


def _no(status: int, why: str) -> web.Response:
    if status == 400:  # Alertmanager sends it never again, and nobody reads its log first
        _log.warning("alerts were not taken: %s", why)
    return web.Response(status=status, text=f"{why}\n")
