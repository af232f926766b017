"""The source of Kubernetes facts over HTTP: pages, refusals, nonsense, silence. Nothing of it may pass for an empty list."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from bot.sandbox.kubernetes.access import Rule
from bot.sandbox.kubernetes.server import ApiServer
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.holders import LEASES
from diagnostics.facts.kubernetes import (
    ATTACHMENTS,
    CLAIMS,
    EVENTS,
    PODS,
    REPLICA_SETS,
    VOLUMES,
    Get,
    List,
    Listing,
    Resource,
)
from diagnostics.facts.resources import Claim, Event, Pod, pod_row
from diagnostics.model import Scope, Subject
from diagnostics.scan import gather
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes import source as source_module
from diagnostics.sources.kubernetes.api import Access, Api
from diagnostics.sources.kubernetes.source import IN_FLIGHT, PAGE, KubernetesSource

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
SCAN = Snapshot("c", NOW, Scope("c"))
BRIEF = 0.2  # seconds: a server on loopback that has not answered by then does not mean to
Json = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def pod(name: str, phase: str = "Running", namespace: str = "search") -> Json:
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": "node1"}, "status": {"phase": phase},
    }  # fmt: skip


def claim(name: str) -> Json:
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "search"},
        "spec": {"volumeName": f"pv-{name}"}, "status": {"phase": "Bound"},
    }  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    reader = Rule(("get", "list"), ("",), ("pods",), namespace="search")
    async with ApiServer(lambda: NOW, {"admin": "open", "reader": "ajar"}) as made:
        made.access.grant("reader", [reader])
        yield made


@asynccontextmanager
async def source_of(config: Json, folder: Path, timeout: float = 5) -> AsyncIterator[KubernetesSource]:
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    async with Api(Access(str(path)), timeout) as api:
        yield KubernetesSource(api)


@pytest.fixture
async def admin(server: ApiServer, tmp_path: Path) -> AsyncIterator[KubernetesSource]:
    async with source_of(server.kubeconfig("admin"), tmp_path) as source:
        yield source


def kubeconfig(url: str) -> Json:
    return {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }


@asynccontextmanager
async def answering(answer: Answer, folder: Path, timeout: float = 5) -> AsyncIterator[KubernetesSource]:
    """A source whose server answers every request with this."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with source_of(kubeconfig(url), folder, timeout) as source:
            yield source
    finally:
        await runner.cleanup()


def body(text: str | bytes, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        data = text.encode() if isinstance(text, str) else text
        return web.Response(status=status, body=data, content_type="application/json")

    return answer


def about_pod(name: str = "p", **facts: Any) -> Snapshot:
    return Snapshot("c", NOW, Scope("c", subject=Subject("Pod", "search", name, "")), facts)


async def could_not(source: KubernetesSource, kind: Resource[Any] = PODS, seen: Snapshot = SCAN) -> CouldNotLook:
    with pytest.raises(CouldNotLook) as caught:
        await source.fetch(kind, seen)
    assert caught.value.configured
    assert caught.value.reason.endswith(".")
    assert "\n" not in caught.value.reason
    return caught.value


# --- What is there


async def test_a_long_list_is_read_page_by_page_and_each_object_counts_once(
    server: ApiServer, admin: KubernetesSource
) -> None:
    assert PAGE == 500
    server.registry.load(pod(f"p{number:04}") for number in range(2 * PAGE + 7))
    found = await admin.fetch(PODS, SCAN)
    assert [item.metadata.name for item in found.full] == [f"p{number:04}" for number in range(2 * PAGE + 7)]
    assert (found.scanned, len(found.rows)) == (2 * PAGE + 7, 2 * PAGE + 7)


async def test_only_what_matters_is_kept_in_full_and_every_pod_as_a_row(
    server: ApiServer, admin: KubernetesSource
) -> None:
    server.registry.load([pod("waits", "Pending"), pod("runs"), pod("ends", "Succeeded")])
    found = await admin.fetch(PODS, SCAN, lambda item: item.status.phase == "Pending")
    assert [item.metadata.name for item in found.full] == ["waits"]
    assert [row.name for row in found.rows] == ["ends", "runs", "waits"]
    assert found.rows == tuple(pod_row(item) for item in (await admin.fetch(PODS, SCAN)).full)
    assert found.scanned == 3


async def test_a_namespace_and_a_selector_narrow_a_list(server: ApiServer, admin: KubernetesSource) -> None:
    server.registry.load([pod("a"), pod("b", namespace="billing"), pod("c", "Pending", "billing")])
    both = Snapshot("c", NOW, Scope("c", ("search", "billing")))
    assert [item.metadata.name for item in (await admin.fetch(PODS, both)).full] == ["a", "b", "c"]
    selected: Resource[Pod] = Resource(
        "some pods", plural="pods", struct=Pod, requests=lambda _: [List("billing", "status.phase=Pending")]
    )
    assert [item.metadata.name for item in (await admin.fetch(selected, SCAN)).full] == ["c"]


async def test_an_object_is_read_by_its_name_and_one_that_is_not_there_is_an_empty_answer(
    server: ApiServer, admin: KubernetesSource
) -> None:
    server.registry.load([pod("p")])
    found = await admin.fetch(PODS, about_pod("p"))
    assert ([item.metadata.name for item in found.full], len(found.rows), found.scanned) == (["p"], 1, 1)
    assert await admin.fetch(PODS, about_pod("gone")) == Listing(())


async def test_a_name_cannot_lead_out_of_its_path(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.json_response({"message": "no"}, status=404)

    odd: Resource[Pod] = Resource("x", plural="pods", struct=Pod, requests=lambda _: [Get("../../x?y", "n/s")])
    async with answering(answer, tmp_path) as source:
        assert await source.fetch(odd, SCAN) == Listing(())
    assert asked == ["/api/v1/namespaces/n%2Fs/pods/..%2F..%2Fx%3Fy"]


async def test_every_kind_says_where_it_lies() -> None:
    assert (PODS.path, VOLUMES.path) == ("/api/v1", "/api/v1")
    assert (REPLICA_SETS.path, LEASES.path) == ("/apis/apps/v1", "/apis/coordination.k8s.io/v1")
    assert ATTACHMENTS.path == "/apis/storage.k8s.io/v1"


async def test_nulls_where_a_real_server_writes_them_are_read(tmp_path: Path) -> None:
    event = '{"metadata":{"name":"e"},"involvedObject":null,"message":null,"eventTime":null,"series":null}'
    async with answering(body('{"metadata":{"continue":null},"items":[' + event + "]}"), tmp_path) as source:
        (found,) = (await source.fetch(EVENTS, SCAN)).full
    assert isinstance(found, Event)
    assert found.about.uid == ""


async def test_an_empty_list_may_be_null(tmp_path: Path) -> None:
    async with answering(body('{"metadata":{},"items":null}'), tmp_path) as source:
        assert await source.fetch(PODS, SCAN) == Listing(())


# --- What is refused


async def test_a_refusal_names_what_may_not_be_read_and_where_to_grant_it(server: ApiServer, tmp_path: Path) -> None:
    async with source_of(server.kubeconfig("reader"), tmp_path) as source:
        assert await source.fetch(PODS, Snapshot("c", NOW, Scope("c", ("search",)))) == Listing(())
        everywhere = await could_not(source)
        elsewhere = await could_not(source, PODS, Snapshot("c", NOW, Scope("c", ("billing",))))
        named = await could_not(source, CLAIMS, Snapshot("c", NOW, Scope("c", subject=Subject(
            "PersistentVolumeClaim", "search", "data", "",
        ))))  # fmt: skip
    assert everywhere.reason.startswith("Not allowed to list pods in all namespaces: pods is forbidden")
    assert elsewhere.reason.startswith("Not allowed to list pods in namespace billing: ")
    assert named.reason.startswith("Not allowed to read persistentvolumeclaims/data: ")
    assert all(error.reason.endswith("grant it in RBAC.") for error in (everywhere, elsewhere, named))
    assert not everywhere.unreachable, "one refusal says nothing of other kinds"


async def test_one_namespace_that_is_refused_is_not_left_out_of_the_rest(server: ApiServer, tmp_path: Path) -> None:
    server.registry.load([pod("seen")])
    async with source_of(server.kubeconfig("reader"), tmp_path) as source:
        error = await could_not(source, PODS, Snapshot("c", NOW, Scope("c", ("search", "billing"))))
    assert "billing" in error.reason


async def test_a_token_that_is_refused_is_to_be_renewed(server: ApiServer, tmp_path: Path) -> None:
    config = server.kubeconfig("admin")
    config["users"][0]["user"]["token"] = "stolen-and-revoked"
    async with source_of(config, tmp_path) as source:
        error = await could_not(source)
    assert "refused the credentials when asked to list pods in all namespaces: renew the token" in error.reason
    assert "stolen-and-revoked" not in error.reason


async def test_a_list_that_expires_between_two_pages_is_not_cut_short(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        if "continue" in request.query:
            return web.json_response({"message": "too old"}, status=410)
        return web.json_response({"metadata": {"continue": "next"}, "items": [pod("p")]})

    async with answering(answer, tmp_path) as source:
        assert "try again" in (await could_not(source)).reason


async def test_a_resource_that_the_server_does_not_know_is_not_an_empty_list(admin: KubernetesSource) -> None:
    unknown: Resource[Pod] = Resource("x", group="apps", plural="gadgets", struct=Pod)
    assert "HTTP 404" in (await could_not(admin, unknown)).reason


# --- What makes no sense


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>Log in first</html>",
        "{",
        "[]",
        "null",
        '"pods"',
        '{"kind":"Status","metadata":{},"status":"Failure"}',
        '{"metadata":{}}',
        '{"items":[]}',
        '{"metadata":{},"items":{}}',
        '{"metadata":{},"items":[null]}',
        '{"metadata":{},"items":[{"spec":{}}]}',
        '{"metadata":{},"items":[{"metadata":{"name":7}}]}',
        '{"metadata":{"continue":5},"items":[]}',
        b"\xff\xfe",
        '{"metadata":{},"items":[{"metadata":{"name":"p","creationTimestamp":"yesterday"}}]}',
    ],
)
async def test_an_answer_that_is_no_list_of_pods_is_never_an_empty_one(tmp_path: Path, text: str | bytes) -> None:
    async with answering(body(text), tmp_path) as source:
        error = await could_not(source)
    assert "The answer for pods from http://127.0.0.1:" in error.reason
    assert "is malformed" in error.reason


async def test_an_answer_that_is_no_object_is_not_its_absence(tmp_path: Path) -> None:
    async with answering(body("{}"), tmp_path) as source:
        assert "is malformed" in (await could_not(source, PODS, about_pod())).reason


async def test_an_error_that_is_no_status_is_told_in_its_own_words(tmp_path: Path) -> None:
    async with answering(body("upstream is down" * 99, 503), tmp_path) as source:
        error = await could_not(source)
    assert "upstream is down" in error.reason
    assert "(HTTP 503)" in error.reason
    assert len(error.reason) < 400


async def test_a_list_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MAX_PAGES", 3)
    asked = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"metadata": {"continue": "again"}, "items": []})

    async with answering(answer, tmp_path) as source:
        assert "did not end" in (await could_not(source)).reason
    assert asked == 3


# --- What does not answer


async def test_a_closed_port_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with source_of(kubeconfig(url), tmp_path) as source:
        error = await could_not(source)
    assert error.unreachable
    assert f"The Kubernetes API at {url} cannot be reached" in error.reason
    assert error.reason.endswith("check it and the network.")


async def test_an_address_that_is_none_is_unreachable(tmp_path: Path) -> None:
    async with source_of(kubeconfig("http://"), tmp_path) as source:
        assert (await could_not(source)).unreachable


@pytest.mark.parametrize("silent_from", ["the start", "the middle"])
async def test_a_server_that_never_answers_is_waited_for_only_so_long(tmp_path: Path, silent_from: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if silent_from == "the middle":
            await response.prepare(request)
            await response.write(b'{"metadata":{},"items":[')
        await asyncio.Event().wait()
        return response

    async with answering(answer, tmp_path, BRIEF) as source:
        began = time.monotonic()
        error = await could_not(source)
        assert time.monotonic() - began < 10 * BRIEF
    assert error.unreachable
    assert f"did not answer within {BRIEF:g} s" in error.reason


async def test_a_connection_that_breaks_off_is_unreachable(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with answering(answer, tmp_path) as source:
        assert (await could_not(source)).unreachable


async def test_a_server_that_speaks_plainly_where_tls_is_expected_is_unreachable(
    server: ApiServer, tmp_path: Path
) -> None:
    async with source_of(kubeconfig(server.url.replace("http:", "https:")), tmp_path) as source:
        assert (await could_not(source)).unreachable


# --- What depends on what


async def test_what_would_have_led_on_but_was_not_seen_leads_to_unknown_not_to_nothing(tmp_path: Path) -> None:
    async with answering(body("{}"), tmp_path) as source:
        blind = await could_not_without_asking(source, CLAIMS, about_pod(pods=NotSeen("forbidden")))
        no_claim = await source.fetch(VOLUMES, about_pod(persistentvolumeclaims=Listing(())))
    assert "pods could not be read: forbidden" in blind.reason
    assert no_claim == Listing(()), "a pod without claims has no volumes, and that is known"


async def could_not_without_asking(source: KubernetesSource, kind: Resource[Any], seen: Snapshot) -> CouldNotLook:
    with pytest.raises(CouldNotLook) as caught:
        await source.fetch(kind, seen)
    return caught.value


async def test_what_nobody_configured_stays_unconfigured(tmp_path: Path) -> None:
    none = {"nodes": Listing(()), "pods at the lockers' addresses": Listing(())}
    seen = about_pod(**none, **{"ceph.locks": NotSeen("no Ceph is configured", configured=False)})
    async with answering(body("{}"), tmp_path) as source:
        assert not (await could_not_without_asking(source, LEASES, seen)).configured


# --- Through a whole look


async def test_a_server_that_cannot_be_reached_costs_one_time_out_not_one_for_each_kind(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        await asyncio.Event().wait()
        return web.Response()

    async with answering(answer, tmp_path, BRIEF) as source:
        seen = await gather([source], [Read(EVENTS), Read(VOLUMES)], SCAN.scope, (), NOW)
    assert asked == ["/api/v1/pods"]
    for kind in (PODS, CLAIMS, EVENTS, VOLUMES):
        blind = seen[kind]
        assert isinstance(blind, NotSeen)
        assert "did not answer within" in blind.reason


async def test_one_kind_that_is_forbidden_leaves_the_others_seen(server: ApiServer, tmp_path: Path) -> None:
    server.registry.load([pod("p"), claim("data")])
    server.access.grant("reader", [Rule(("get", "list"), ("",), ("pods", "persistentvolumeclaims"))])
    async with source_of(server.kubeconfig("reader"), tmp_path) as source:
        seen = await gather([source], [Read(PODS), Read(CLAIMS), Read(VOLUMES), Read(EVENTS)], SCAN.scope, (), NOW)
    claims = seen.seen(CLAIMS)
    assert claims is not None
    assert [type(item) for item in claims.full] == [Claim]
    blind = [seen[kind] for kind in (VOLUMES, EVENTS)]
    assert all(isinstance(fact, NotSeen) and fact.configured and "grant it in RBAC" in fact.reason for fact in blind)


async def test_requests_run_together_but_never_too_many_at_once(tmp_path: Path) -> None:
    running, most = 0, 0
    crowded = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == IN_FLIGHT:
            crowded.set()
        await crowded.wait()  # nobody is answered before as many as may be asked have been
        running -= 1
        return web.json_response({"metadata": {}, "items": []})

    many: Resource[Pod] = Resource(
        "many", plural="pods", struct=Pod, requests=lambda _: [List(f"n{number}") for number in range(3 * IN_FLIGHT)]
    )
    async with answering(answer, tmp_path) as source:
        assert await source.fetch(many, SCAN) == Listing(())
    assert most == IN_FLIGHT
