"""Alertmanager's webhook: only with the token, only what is understood, and nothing answered well that is not kept."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from bot.http.alertmanager import Told, Webhook
from bot.http.server import HttpServer
from bot.settings import ClusterSettings, HttpSettings, Settings, SlackSettings
from runbooks.database import StoreError

TOKEN = "a-token-of-alertmanager"
ALERT = {
    "status": "firing",
    "labels": {"alertname": "KubePodNotReady", "namespace": "search", "pod": "index-api-0", "severity": "warning"},
    "annotations": {"summary": "Pod has been in a non-ready state for more than 15 minutes."},
    "startsAt": "2026-11-20T03:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus.example/graph",
    "fingerprint": "f1",
}
GROUP = {
    "version": "4",
    "groupKey": '{}:{alertname="KubePodNotReady"}',
    "truncatedAlerts": 2,
    "status": "firing",
    "receiver": "unstick",
    "groupLabels": {"alertname": "KubePodNotReady"},
    "commonLabels": {"alertname": "KubePodNotReady", "cluster": "prod"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example",
    "alerts": [ALERT],
}
SETTINGS = Settings(
    clusters={"prod": ClusterSettings(channel="C0PROD"), "dev": ClusterSettings()},
    default_cluster="dev",
    slack=SlackSettings(channel="C0ALL"),
)


class Desk:
    def __init__(self, fails: Exception | None = None) -> None:
        self.told: list[Told] = []
        self.fails = fails

    async def take(self, told: Told) -> None:
        if self.fails:
            raise self.fails
        self.told.append(told)


@asynccontextmanager
async def listening(desk: Desk, token: str = TOKEN, settings: Settings = SETTINGS) -> AsyncIterator[str]:
    webhook = Webhook(settings, token, desk.take)
    server = HttpServer(HttpSettings(port=0), {"POST /alertmanager": webhook.handle})
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}/alertmanager"
    finally:
        await server.stop()


async def post(url: str, body: Any, token: str | None = TOKEN) -> tuple[int, str]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_a_group_is_taken_for_the_cluster_of_its_label() -> None:
    desk = Desk()
    async with listening(desk) as url:
        assert await post(url, GROUP) == (200, "ok\n")
    (told,) = desk.told
    assert (told.cluster, told.channel, told.truncated) == ("prod", "C0PROD", 2)
    assert told.alerts[0].labels["pod"] == "index-api-0"
    assert told.alerts[0].firing


async def test_the_same_group_has_the_same_key_and_that_of_another_cluster_another() -> None:
    desk = Desk()
    async with listening(desk) as url:
        for query in ("", "", "?cluster=dev"):
            await post(f"{url}{query}", GROUP)
    first, second, other = desk.told
    assert first.key == second.key != other.key
    assert (other.cluster, other.channel) == ("dev", "C0ALL")


@pytest.mark.parametrize("token", [None, "", "a-token-of-alertmanageR", "Bearer"])
async def test_without_the_token_nothing_is_taken(token: str | None) -> None:
    desk = Desk()
    async with listening(desk) as url:
        status, _ = await post(url, GROUP, token)
    assert (status, desk.told) == (401, [])


async def test_where_no_token_is_set_nothing_is_taken_of_anybody() -> None:
    desk = Desk()
    async with listening(desk, token="") as url:
        assert (await post(url, GROUP, ""))[0] == 404
    assert desk.told == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "3"}, {"alerts": [{**ALERT, "status": "odd"}]}, {"alerts": "none"}, {"groupKey": None},
        {"alerts": [{**ALERT, "startsAt": "yesterday"}]}, {"alerts": [{**ALERT, "labels": {"pod": 1}}]},
    ],
    ids=["version", "status", "no-list", "no-key", "no-time", "no-text"],
)  # fmt: skip
async def test_what_is_not_understood_is_said_to_be(wrong: dict[str, Any]) -> None:
    desk = Desk()
    async with listening(desk) as url:
        status, said = await post(url, {**GROUP, **wrong})
    assert (status, desk.told) == (400, [])
    assert "webhook" in said


async def test_a_cluster_that_is_none_is_refused() -> None:
    desk = Desk()
    async with listening(desk) as url:
        status, said = await post(f"{url}?cluster=staging", GROUP)
    assert status == 400
    assert "There is no cluster 'staging'" in said


@pytest.mark.parametrize("error", [StoreError("The disk is full."), TimeoutError()], ids=["store", "slow"])
async def test_what_cannot_be_kept_is_to_be_sent_again(error: Exception) -> None:
    async with listening(Desk(fails=error)) as url:
        assert (await post(url, GROUP))[0] == 503


async def test_a_group_of_thousands_is_bounded_and_counted_and_what_fires_comes_first() -> None:
    desk = Desk()
    many = [
        {**copy.deepcopy(ALERT), "status": "resolved" if n % 2 else "firing", "fingerprint": str(n)}
        for n in range(1000)
    ]
    async with listening(desk) as url:
        assert (await post(url, {**GROUP, "alerts": many, "truncatedAlerts": 0}))[0] == 200
    (told,) = desk.told
    assert (len(told.alerts), told.truncated) == (200, 800)
    assert all(alert.firing for alert in told.alerts)


async def test_whatever_stands_in_the_header_of_the_token_is_refused_and_breaks_nothing() -> None:
    desk = Desk()
    async with listening(desk) as url:
        for given in (b"Bearer \xff\xfe", b"Bearer \xc3\xa9", b"\x80"):
            assert await raw(url, b"{}", given) == 401
    assert desk.told == []


async def raw(url: str, body: bytes, authorization: bytes, *more: bytes) -> int:
    """The status for a request whose headers no client library would write."""
    host, _, port = url.split("/")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        lines = [
            b"POST /alertmanager HTTP/1.1", b"Host: x", b"Connection: close", b"Authorization: " + authorization,
            b"Content-Length: %d" % len(body), *more, b"", body,
        ]  # fmt: skip
        writer.write(b"\r\n".join(lines))
        return int((await asyncio.wait_for(reader.readline(), 5)).split()[1])
    finally:
        writer.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"startsAt": "2026-11-20T03:00:00"},  # no zone: of what moment it is nobody knows
        {"startsAt": "0001-01-01T00:00:00+02:00"},
        {"startsAt": "9999-12-31T23:59:59-02:00"},
    ],
)
async def test_a_time_that_is_none_is_refused(wrong: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    async with listening(desk) as url:
        status, _ = await post(url, {**GROUP, "alerts": [{**ALERT, **wrong}, ALERT]})
    assert (status, desk.told) == (400, [])
    assert "alerts were not taken" in caplog.text, "Alertmanager never sends it again, so somebody must read of it here"


async def test_a_time_is_kept_in_utc() -> None:
    desk = Desk()
    async with listening(desk) as url:
        status, _ = await post(url, {**GROUP, "alerts": [{**ALERT, "startsAt": "2026-11-20T03:00:00.123456789+02:00"}]})
    assert status == 200
    assert desk.told[0].alerts[0].since == datetime(2026, 11, 20, 1, 0, 0, 123457, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (b'{"version": "4", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", ()),
        (b"no gzip", (b"Content-Encoding: gzip",)),
        (b"\xff\xfe", ()),
        (json.dumps({**GROUP, "alerts": []}).encode(), ()),
        (json.dumps({**GROUP, "truncatedAlerts": -1}).encode(), ()),
    ],
    ids=["nested", "gzip", "no text", "no alerts", "less than none"],
)
async def test_a_body_that_is_none_is_refused_and_breaks_nothing(body: bytes, more: tuple[bytes, ...]) -> None:
    desk = Desk()
    async with listening(desk) as url:
        assert await raw(url, body, f"Bearer {TOKEN}".encode(), *more) == 400
    assert desk.told == []


async def test_alerts_of_a_cluster_that_is_none_of_several_are_not_looked_for_in_another() -> None:
    desk, stray = Desk(), {**GROUP, "commonLabels": {"cluster": "attic"}}
    async with listening(desk) as url:
        status, said = await post(url, stray)
        assert status == 400
        assert "'attic'" in said
        assert "?cluster=NAME" in said
        assert (await post(f"{url}?cluster=prod", stray))[0] == 200
    mixed = [{**ALERT, "labels": {**ALERT["labels"], "cluster": each}} for each in ("prod", "attic", "dev", "prod")]
    async with listening(desk) as url:
        assert (await post(url, {**GROUP, "commonLabels": {}, "alerts": mixed}))[0] == 200
    assert [(told.cluster, len(told.alerts)) for told in desk.told[1:]] == [("prod", 2), ("dev", 1)]
    assert desk.told[1].key != desk.told[2].key
    del desk.told[1:]
    only = Settings(clusters={"one": ClusterSettings(channel="C0ONE")})
    async with listening(desk, settings=only) as url:
        assert (await post(url, stray))[0] == 200, "of a single one it can be no other"
    assert [told.cluster for told in desk.told] == ["prod", "one"]
