"""The HTTP server answers with what is so, tells nobody of its insides, and is bounded."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

import bot.http.server as server_module
from bot.http.health import OK, Health, Part, Pulse
from bot.http.server import LARGEST, CannotListen, HttpServer
from bot.settings import HttpSettings

ANY_PORT = HttpSettings(port=0)


@asynccontextmanager
async def serving(**routes: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    server = HttpServer(ANY_PORT, {f"GET /{name}": handler for name, handler in routes.items()} | {"POST /echo": echo})
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


async def test_it_is_healthy_while_every_loop_turns_and_says_which_does_not() -> None:
    clock = Clock()
    edge, work = Pulse(clock), Pulse(clock)
    health = Health({}, {"edge": edge, "work": work})
    async with serving(healthz=health.healthz) as url:
        assert await get(f"{url}/healthz") == (200, "ok\n")
        clock.at = 29
        edge.touch()
        clock.at = 31
        assert await get(f"{url}/healthz") == (503, "the work loop has stood still for 31 s\n")
        work.touch()
        assert (await get(f"{url}/healthz"))[0] == 200


async def test_it_is_ready_though_something_is_degraded_and_says_what() -> None:
    parts = {"slack": Part("degraded", "Slack is away"), "store": OK}
    health = Health({name: lambda part=part: part for name, part in parts.items()}, {})
    async with serving(readyz=health.readyz) as url:
        status, body = await get(f"{url}/readyz")
    assert status == 200
    assert '"degraded":["slack: Slack is away"]' in body
    assert '"ready":true' in body


async def test_it_is_not_ready_where_a_part_is_down_or_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("bot.http.health.PATIENCE", 0.05)

    def silent() -> Part:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        return OK

    def broken() -> Part:
        raise OSError("the disk is full\nand more")

    async with serving(readyz=Health({"store": silent, "disk": broken}, {}).readyz) as url:
        status, body = await get(f"{url}/readyz")
        gate.set()
    assert status == 503
    assert "store: it did not answer within 0.05 s" in body
    assert "disk: the disk is full" in body
    assert "and more" not in body


async def test_an_error_tells_nothing_of_itself() -> None:
    async def fails(_: web.Request) -> web.Response:
        raise KeyError("xoxb-secret")

    async with serving(broken=fails) as url:
        status, body = await get(f"{url}/broken")
    assert status == 500
    assert "xoxb" not in body


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with serving() as url, aiohttp.ClientSession() as session:
        async with session.post(f"{url}/echo", data=io.BytesIO(b"x" * LARGEST)) as answer:
            assert answer.status == 200
        async with session.post(f"{url}/echo", data=io.BytesIO(b"x" * (LARGEST + 1))) as answer:
            assert answer.status == 413


async def test_a_client_that_does_not_go_on_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.http.server.READING", 0.05)
    async with serving() as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        async with asyncio.timeout(5):
            assert b"408" in await reader.readline()
        writer.close()


async def test_an_address_that_is_taken_is_told_in_a_sentence() -> None:
    async with serving() as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(CannotListen, match=f"Cannot listen on 127.0.0.1:{port} .*set http.host and http.port"):
            await HttpServer(HttpSettings(port=port), {}).start()


async def test_who_sends_its_headers_bit_by_bit_is_not_listened_to_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "KEEPALIVE", 0.2)
    async with serving() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nX-More: ")
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                assert await reader.read(10) == b""
        assert reader.at_eof()
        writer.close()


async def test_who_leaves_in_the_middle_of_a_body_is_no_mistake_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nabc")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert await get(f"{url}/nothing") == (404, "404: Not Found")
    assert "failed" not in caplog.text


async def test_head_is_answered_like_get_and_another_method_is_refused() -> None:
    async with serving(healthz=Health({}, {}).healthz) as url, aiohttp.ClientSession() as session:
        async with session.head(f"{url}/healthz") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        for method in ("OPTIONS", "PUT", "DELETE", "TRACE"):
            async with session.request(method, f"{url}/healthz") as answer:
                assert answer.status == 405
        async with session.head(f"{url}/echo") as answer:
            assert answer.status == 405
