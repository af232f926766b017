"""What only the sandbox's API server has: bounds, a kubeconfig, an end. The rest is in the contract."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import pytest
from kubernetes.aio import client, config

from bot.sandbox.kubernetes import incident, store
from bot.sandbox.kubernetes.access import Rule
from bot.sandbox.kubernetes.listing import page
from bot.sandbox.kubernetes.resources import BY_NAME, SECRETS
from bot.sandbox.kubernetes.server import ApiServer
from diagnostics.facts import holders
from diagnostics.facts import kubernetes as k8s

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
MAPS = BY_NAME["v1", "configmaps"]
MAPS_PATH = "/api/v1/namespaces/search/configmaps"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    reader = Rule(("get", "list"), ("",), ("pods",), namespace="search")
    async with ApiServer(lambda: NOW, {"admin": "open", "reader": "ajar"}) as server:
        server.access.grant("reader", [reader])
        server.registry.load(incident.objects(NOW))
        yield server


@pytest.fixture
async def http(api: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": "Bearer open"}
    async with aiohttp.ClientSession(api.url, headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def test_the_official_client_connects_with_the_kubeconfig(api: ApiServer) -> None:
    connection = await config.new_client_from_config_dict(api.kubeconfig("reader"))
    async with connection:
        pods = await client.CoreV1Api(connection).list_namespaced_pod("search")
        assert [pod.metadata.name for pod in pods.items] == [incident.STUCK_POD, incident.OLD_POD]
        with pytest.raises(client.ApiException, match="pods is forbidden"):
            await client.CoreV1Api(connection).list_namespaced_pod("billing")


async def test_every_declared_read_is_served_and_decodes(http: aiohttp.ClientSession) -> None:
    kinds = [kind for module in (k8s, holders) for kind in vars(module).values() if isinstance(kind, k8s.Resource)]
    read = set()
    for kind in kinds:
        async with http.get(f"{kind.path}/{kind.plural}") as answer:
            assert answer.status == 200, kind.name
            if msgspec.convert(json.loads(await answer.read())["items"], list[kind.struct]):
                read.add(kind.plural)
    assert read >= {"pods", "persistentvolumeclaims", "persistentvolumes", "events", "nodes", "leases"}


async def test_a_list_that_is_forgotten_can_be_continued_only_knowingly(
    api: ApiServer, http: aiohttp.ClientSession
) -> None:
    for number in range(4):
        api.registry.create(MAPS, "search", {"metadata": {"name": f"m{number}"}})
    first = await _json(http, limit="2")
    api.registry.delete(MAPS, "search", "m3")
    api.registry.store.forget_lists()
    expired = await _json(http, limit="2", continue_=first["metadata"]["continue"])
    assert (expired["code"], expired["reason"]) == (410, "Expired")
    assert expired["message"].startswith("The provided continue parameter is too old")
    rest = await _json(http, limit="2", continue_=expired["metadata"]["continue"])
    assert [item["metadata"]["name"] for item in rest["items"]] == ["m2"]


async def test_only_so_many_lists_are_remembered(api: ApiServer, http: aiohttp.ClientSession) -> None:
    for number in range(2):
        api.registry.create(MAPS, "search", {"metadata": {"name": f"m{number}"}})
    first = await _json(http, limit="1")
    for number in range(store.LISTS_KEPT):
        api.registry.patch(MAPS, "search", "m0", {"data": {"n": str(number)}})
        page(api.registry.store, MAPS, None, {"limit": "1"})
    assert (await _json(http, limit="1", continue_=first["metadata"]["continue"]))["code"] == 410


async def test_a_watch_from_before_what_is_remembered_is_told_so(
    api: ApiServer, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.registry.create(MAPS, "search", {"metadata": {"name": "m"}})
    for number in range(store.CHANGES_KEPT):
        api.registry.patch(MAPS, "search", "m", {"data": {"n": str(number)}})
    async with http.get(MAPS_PATH, params={"watch": "1", "resourceVersion": "5"}) as answer:
        event = json.loads(await answer.text())
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 5 (")


async def test_a_watch_hears_at_once_of_what_happens_later(api: ApiServer, http: aiohttp.ClientSession) -> None:
    params = {"watch": "1", "resourceVersion": str(api.registry.store.revision)}
    async with http.get(MAPS_PATH, params=params) as answer:
        api.registry.create(MAPS, "search", {"metadata": {"name": "m"}})
        event = json.loads(await asyncio.wait_for(answer.content.readline(), timeout=5))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "m")


async def test_closing_the_server_ends_its_watches() -> None:
    server = ApiServer(lambda: NOW, {"admin": "open"})
    headers = {"Authorization": "Bearer open"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with server:
            answer = await session.get(server.url + "/api/v1/pods", params={"watch": "1"})
            began = time.monotonic()
        assert await answer.read() == b""
        assert time.monotonic() - began < 1
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(server.url + "/readyz")


async def test_nothing_of_a_secret_is_kept_but_its_name(api: ApiServer, http: aiohttp.ClientSession) -> None:
    path, body = "/api/v1/namespaces/search/secrets", {"data": {"key": "aHVzaA=="}, "stringData": {"key": "hush"}}
    await http.post(path, json={"metadata": {"name": "s"}, **body})
    await http.patch(f"{path}/s", json=body, headers={"Content-Type": "application/merge-patch+json"})
    await http.put(f"{path}/s", json={"metadata": {"name": "s"}, **body})
    api.registry.load(
        [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t", "namespace": "search"}, **body}]
    )
    async with http.get(path) as answer:
        text = await answer.text()
    assert [item["metadata"]["name"] for item in json.loads(text)["items"]] == ["ceph-admin-key", "s", "t"]
    assert "hush" not in text
    assert "aHVzaA==" not in text
    assert all(not {"data", "stringData"} & set(kept) for kept in api.registry.store.all(SECRETS))


async def test_a_body_that_is_not_json_or_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post(MAPS_PATH, data=b"{bad") as answer:
        assert (answer.status, (await answer.json())["reason"]) == (400, "BadRequest")
    async with http.post(MAPS_PATH, data=b"[1]") as answer:
        assert answer.status == 400
    async with http.post(MAPS_PATH, data=io.BytesIO(b" " * (4 * 1024 * 1024))) as answer:
        assert answer.status == 413


async def test_a_patch_of_any_shape_is_refused_and_never_an_internal_error(
    api: ApiServer, http: aiohttp.ClientSession
) -> None:
    api.registry.create(MAPS, "search", {"metadata": {"name": "m"}, "data": {"a": "1"}})
    shapes: list[Any] = [[1], [{}], [{"op": "add"}], [{"op": "zap", "path": "/a"}], [{"op": "add", "path": "a"}]]
    shapes += [[{"op": "add", "path": "/data/a/b", "value": 1}], [{"op": "move", "path": "/data/b"}], "x", None, 7]
    for shape in shapes:
        headers = {"Content-Type": "application/json-patch+json"}
        async with http.patch(f"{MAPS_PATH}/m", data=json.dumps(shape), headers=headers) as answer:
            assert answer.status in (400, 422), shape
    for shape in ([1], "x", {"metadata": 7}, {"metadata": None}):
        for kind in ("merge-patch", "strategic-merge-patch"):
            headers = {"Content-Type": f"application/{kind}+json"}
            async with http.patch(f"{MAPS_PATH}/m", data=json.dumps(shape), headers=headers) as answer:
                assert answer.status in (200, 400, 422), shape
    assert api.registry.get(MAPS, "search", "m")["data"] == {"a": "1"}


async def test_an_anonymous_request_may_only_ask_for_health_and_version(api: ApiServer) -> None:
    async with aiohttp.ClientSession(api.url) as session:
        assert [(await session.get(path)).status for path in ("/readyz", "/version")] == [200, 200]
        refused = await session.get("/api/v1/pods")
        assert refused.status == 403
        assert 'User "system:anonymous" cannot list resource "pods"' in (await refused.json())["message"]


async def _json(http: aiohttp.ClientSession, **query: str) -> Any:
    params = {name.rstrip("_"): value for name, value in query.items()}
    async with http.get(MAPS_PATH, params=params) as answer:
        return await answer.json()
