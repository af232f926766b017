"""The Lease on an API server: what the election rests on, on the sandbox's API server and on a real one."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml

from bot.leader import Elector, Leadership
from bot.lease import TOKEN, Claim, Conflict, KubernetesLease, Lease
from bot.sandbox.kubernetes.access import EVERYTHING
from bot.sandbox.kubernetes.server import ApiServer
from bot.store.leaders import Deposed
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import Access
from tests.bot.election import Database
from tests.contract.test_api_server_contract import Api, _real_parts, _simulated_parts, real

__all__ = ["real"]
T0 = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
RIGHTS = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
IN_TIME = 5.0


@dataclass
class World:
    """An API server, and how to reach it as somebody."""

    http: Api
    kubeconfig: Callable[[str], Path]
    grant: Callable[[str, Sequence[Mapping[str, Sequence[str]]]], None]
    stack: AsyncExitStack

    async def lease(self, user: str = "leader", namespace: str | None = None, name: str = "unstick") -> KubernetesLease:
        access = Access(str(self.kubeconfig(user)))
        return await self.stack.enter_async_context(KubernetesLease(access, namespace or self.http.namespace, name))

    async def delete(self) -> None:
        assert (await self.http("DELETE", f"{self.http.leases}/unstick")).code == 200


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.real)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)))
        if request.param == "real":
            parts = _real_parts(cluster := request.getfixturevalue("real"))
            kubeconfig = cluster.kubeconfig
        else:
            tokens = {user: secrets.token_hex(8) for user in ("admin", "leader", "nobody")}
            rules = {"admin": [EVERYTHING]}
            server = await stack.enter_async_context(ApiServer(lambda: datetime.now(UTC), tokens, rules))
            parts = _simulated_parts(server)

            def kubeconfig(user: str) -> Path:
                path = tmp_path / user
                path.write_text(yaml.safe_dump(server.kubeconfig(user)))
                return path

        api = Api(*parts, http)
        assert (await api("POST", "/api/v1/namespaces", {"metadata": {"name": api.namespace}})).code == 201
        api.grant("leader", [RIGHTS])
        yield World(api, kubeconfig, api.grant, stack)
        await api("DELETE", f"/api/v1/namespaces/{api.namespace}")


def claim(holder: str, token: int) -> Claim:
    return Claim(holder, token, 10.0, datetime.now(UTC))


def of(lease: Lease | None) -> tuple[str, int, float] | None:
    return (lease.holder, lease.token, lease.lasts) if lease else None


async def test_a_lease_is_created_renewed_taken_and_released(world: World) -> None:
    lease = await world.lease()
    assert await lease.read(IN_TIME) is None
    made = await lease.write(None, claim("a", 1), IN_TIME)
    assert of(made) == of(await lease.read(IN_TIME)) == ("a", 1, 10.0)
    renewed = await lease.write(made, claim("a", 1), IN_TIME)
    assert renewed.version != made.version
    taken = await lease.write(renewed, claim("b", 2), IN_TIME)
    assert of(taken) == ("b", 2, 10.0)
    free = await lease.write(taken, Claim("", 2, 0.5, T0), IN_TIME)
    assert of(free) == of(await lease.read(IN_TIME)) == ("", 2, 1.0)
    spec = (await world.http("GET", f"{world.http.leases}/unstick")).body["spec"]
    assert spec["leaseTransitions"] == 1
    assert spec["renewTime"] == "2026-03-03T08:00:00.000000Z"
    assert of(await lease.write(free, claim("a", 3), IN_TIME)) == ("a", 3, 10.0)


async def test_of_two_who_write_from_the_same_version_one_is_refused(world: World) -> None:
    first, second = await world.lease(), await world.lease()
    await first.write(None, claim("a", 1), IN_TIME)
    with pytest.raises(Conflict):
        await second.write(None, claim("b", 2), IN_TIME)
    seen = [await first.read(IN_TIME), await second.read(IN_TIME)]
    said = await asyncio.gather(
        first.write(seen[0], claim("a", 1), IN_TIME), second.write(seen[1], claim("b", 2), IN_TIME),
        return_exceptions=True,
    )  # fmt: skip
    assert sorted(type(each).__name__ for each in said) == ["Conflict", "Lease"]


async def test_a_lease_that_is_gone_or_another_one_is_a_conflict_and_is_never_made_again_by_a_renewal(
    world: World,
) -> None:
    lease = await world.lease()
    first = await lease.write(None, claim("a", 1), IN_TIME)
    await world.delete()
    with pytest.raises(Conflict):
        await lease.write(first, claim("a", 1), IN_TIME)
    assert await lease.read(IN_TIME) is None
    await lease.write(None, claim("b", 2), IN_TIME)
    with pytest.raises(Conflict):
        await lease.write(first, claim("a", 1), IN_TIME)
    assert of(await lease.read(IN_TIME)) == ("b", 2, 10.0)


async def test_what_others_put_into_the_lease_stays_and_their_nonsense_is_no_token(world: World) -> None:
    lease = await world.lease()
    await lease.write(None, claim("a", 7), IN_TIME)
    path = f"{world.http.leases}/unstick"
    for nonsense in ("", "seven", "-1", "9" * 30, "²"):
        marks = {"metadata": {"annotations": {TOKEN: nonsense, "team": "x"}, "labels": {"app": "y"}}}
        assert (await world.http("PATCH", path, marks, kind="application/merge-patch+json")).code == 200
        found = await lease.read(IN_TIME)
        assert of(found) == ("a", 0, 10.0)
    again = await lease.write(found, claim("a", 8), IN_TIME)
    meta = again.whole["metadata"]
    assert (meta["annotations"], meta["labels"]) == ({TOKEN: "8", "team": "x"}, {"app": "y"})


async def test_a_lease_that_somebody_made_empty_can_be_taken(world: World) -> None:
    assert (await world.http("POST", world.http.leases, {"metadata": {"name": "unstick"}})).code == 201
    lease = await world.lease()
    found = await lease.read(IN_TIME)
    assert of(found) == ("", 0, 0.0)
    assert of(await lease.write(found, claim("a", 1), IN_TIME)) == ("a", 1, 10.0)


async def test_a_missing_right_is_one_sentence_with_what_to_grant(world: World) -> None:
    world.grant("nobody", [])
    lease = await world.lease("nobody")
    what = f"the Lease unstick in the namespace {world.http.namespace}"
    rights = "grant get, create and update on leases of coordination.k8s.io there to this account."
    with pytest.raises(CouldNotLook) as refused:
        await lease.read(IN_TIME)
    assert str(refused.value) == f"Not allowed to read {what}: {rights}"
    with pytest.raises(CouldNotLook) as refused:
        await lease.write(None, claim("a", 1), IN_TIME)
    assert str(refused.value) == f"Not allowed to write {what}: {rights}"


async def test_a_namespace_that_is_not_there_is_one_sentence(world: World) -> None:
    lease = await world.lease(namespace="no-such-place")
    assert await lease.read(IN_TIME) is None
    with pytest.raises(CouldNotLook, match=r"There is no namespace no-such-place for the Lease: create it, or name"):
        await lease.write(None, claim("a", 1), IN_TIME)


async def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config: dict[str, Any] = {
            "clusters": [{"name": "x", "cluster": {"server": url}}], "users": [{"name": "x", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "current-context": "x",
        }  # fmt: skip
        (tmp_path / "silent").write_text(yaml.safe_dump(config))
        async with KubernetesLease(Access(str(tmp_path / "silent")), "n", "l") as lease:
            for ask in (lambda: lease.read(0.2), lambda: lease.write(None, claim("a", 1), 0.2)):
                began = asyncio.get_running_loop().time()
                with pytest.raises(CouldNotLook, match=r"did not answer within 0\.2 s"):
                    await ask()
                assert asyncio.get_running_loop().time() - began < 2


async def test_what_is_no_lease_is_one_sentence(tmp_path: Path) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html")
        writer.close()

    async with await asyncio.start_server(answers, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = {
            "clusters": [{"name": "x", "cluster": {"server": url}}], "users": [{"name": "x", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "current-context": "x",
        }  # fmt: skip
        (tmp_path / "strange").write_text(msgspec.json.encode(config).decode())
        async with KubernetesLease(Access(str(tmp_path / "strange")), "n", "l") as lease:
            with pytest.raises(CouldNotLook, match="sent no Lease: check what is in between"):
                await lease.read(IN_TIME)


# --- Elections


class Process:
    """An elector on the server, whose leader writes as often as it can."""

    def __init__(self, name: str, lease: KubernetesLease, database: Database) -> None:
        self.written: list[tuple[float, int]] = []
        self.database = database
        self.elector = Elector(lease, database.leaders, name, timedelta(seconds=2), in_thread=self._inline)
        self.task = asyncio.create_task(self.elector.run(self._lead))

    async def _inline(self, call: Callable[..., Any], /, *args: Any) -> Any:
        await asyncio.sleep(0)
        return call(*args)  # one connection in memory, which threads must not share

    async def _lead(self, leadership: Leadership) -> None:
        while True:
            with self.database.leaders.write() as connection:
                self.database.leaders.insist(connection, leadership)
            self.written.append((asyncio.get_running_loop().time(), leadership.token))
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def leading(*processes: Process, within: float = 8.0) -> Process:
    async with asyncio.timeout(within):
        while not (found := [each for each in processes if each.elector.leading]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    (one,) = found
    return one


async def test_an_election_survives_a_stop_a_death_and_a_lease_that_is_deleted(world: World) -> None:
    database = Database()
    processes = {name: Process(name, await world.lease(), database) for name in ("a", "b", "c")}
    first = await leading(*processes.values())
    await asyncio.sleep(2.5)  # longer than the Lease lasts
    assert first.elector.leading
    await first.stop()
    others = [each for each in processes.values() if each is not first]
    second = await leading(*others, within=2.0)
    await world.delete()
    async with asyncio.timeout(8):
        while second.elector.leading and second.elector.leading.token == second.written[0][1]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    third = await leading(*others)
    third.task.cancel()  # what it does is cut; the Lease of one that is killed is not released
    third.elector._release = third.elector._retire  # type: ignore[method-assign]
    await asyncio.gather(third.task, return_exceptions=True)
    (left,) = (each for each in others if each is not third)
    assert await leading(left) is left
    await asyncio.sleep(0.1)
    await left.stop()
    written = sorted((at, token) for each in processes.values() for at, token in each.written)
    tokens = [token for _, token in written]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) >= 4
    database.engine.dispose()


async def test_a_process_that_stood_still_is_refused(world: World) -> None:
    database = Database()
    first = Process("a", await world.lease(), database)
    await leading(first)
    held = first.elector.leading
    assert held is not None
    renewing, go_on = first.elector._lease, asyncio.Event()

    class Standing:
        async def read(self, timeout: float) -> Lease | None:
            await go_on.wait()
            return await renewing.read(timeout)

        async def write(self, before: Lease | None, wanted: Claim, timeout: float) -> Lease:
            await go_on.wait()
            return await renewing.write(before, wanted, timeout)

    first.elector._lease = Standing()
    second = Process("b", await world.lease(), database)
    await leading(second)
    with pytest.raises(Deposed, match="by the database b leads"), database.leaders.write() as connection:
        database.leaders.insist(connection, held)
    go_on.set()
    await asyncio.sleep(1)
    assert first.elector.leading is None
    assert second.elector.leading
    for each in (first, second):
        await each.stop()
    database.engine.dispose()
