"""A kind that servers of different ages serve in different versions: the first that is there is read, and told apart from none."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from diagnostics.facts import Snapshot
from diagnostics.facts.disruption import BUDGETS
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources.disruption import Budget
from diagnostics.model import Scope
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import Access, Api
from diagnostics.sources.kubernetes.source import KubernetesSource

SCAN = Snapshot("c", datetime(2026, 3, 1, tzinfo=UTC), Scope("c"))
NEW, OLD = "/apis/policy/v1", "/apis/policy/v1beta1"
LISTED: Resource[Budget] = Resource(
    "budgets", group="policy", plural="poddisruptionbudgets", struct=Budget, older=("v1beta1",),
    requests=lambda _: [List("shop")],
)  # fmt: skip
ONE: Resource[Budget] = Resource(
    "one budget", group="policy", plural="poddisruptionbudgets", struct=Budget, older=("v1beta1",),
    requests=lambda _: [Get("web", "shop")],
)  # fmt: skip
WEB = {"metadata": {"name": "web", "namespace": "shop"}}


@asynccontextmanager
async def serving(
    answers: Mapping[str, tuple[int, Any]], folder: Path
) -> AsyncIterator[tuple[KubernetesSource, list[str]]]:
    """A source whose server knows just these paths, and the paths that it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        status, body = answers.get(request.path, (404, {"message": "404 page not found"}))
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        path = folder / "kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "clusters": [
                        {"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}
                    ],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "c",
                }
            )
        )  # fmt: skip
        async with Api(Access(str(path)), 5) as api:
            yield KubernetesSource(api), asked
    finally:
        await runner.cleanup()


def at(version: str, name: str = "") -> str:
    return f"{version}/namespaces/shop/poddisruptionbudgets{name}"


@pytest.mark.parametrize("version", [NEW, OLD])
async def test_a_list_is_read_in_the_version_that_the_server_serves(version: str, tmp_path: Path) -> None:
    async with serving({at(version): (200, {"metadata": {}, "items": [WEB]})}, tmp_path) as (source, asked):
        found = await source.fetch(LISTED, SCAN)
    assert [budget.named for budget in found.full] == ["shop/web"]
    assert asked == [at(NEW), at(OLD)][: 1 if version == NEW else 2]


@pytest.mark.parametrize("version", [NEW, OLD])
async def test_one_object_is_read_in_either_version(version: str, tmp_path: Path) -> None:
    async with serving({at(version, "/web"): (200, WEB)}, tmp_path) as (source, _):
        found = await source.fetch(ONE, SCAN)
    assert [budget.named for budget in found.full] == ["shop/web"]


async def test_an_object_that_no_version_has_is_not_there(tmp_path: Path) -> None:
    async with serving({}, tmp_path) as (source, asked):
        assert (await source.fetch(ONE, SCAN)).full == ()
    assert asked == [at(NEW, "/web"), at(OLD, "/web")]


async def test_a_list_that_no_version_has_could_not_be_read(tmp_path: Path) -> None:
    async with serving({}, tmp_path) as (source, _):
        with pytest.raises(CouldNotLook, match="list poddisruptionbudgets in namespace shop"):
            await source.fetch(LISTED, SCAN)


async def test_a_refusal_is_not_taken_for_another_version(tmp_path: Path) -> None:
    both = {at(NEW): (403, {"message": "forbidden"}), at(OLD): (200, {"metadata": {}, "items": [WEB]})}
    async with serving(both, tmp_path) as (source, asked):
        with pytest.raises(CouldNotLook, match="RBAC"):
            await source.fetch(LISTED, SCAN)
    assert asked == [at(NEW)]


def test_budgets_are_read_in_both_versions_that_servers_have_had() -> None:
    assert BUDGETS.paths == (NEW, OLD)
