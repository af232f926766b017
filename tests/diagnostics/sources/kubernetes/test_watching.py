"""Following a resource over HTTP: lists, watches, and all that can end one. Nothing may be lost, doubled or taken for calm."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from aiohttp import web

from bot.sandbox.kubernetes.access import EVERYTHING, Rule
from bot.sandbox.kubernetes.server import ApiServer
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes import watching
from diagnostics.sources.kubernetes.api import Access, Api
from diagnostics.sources.kubernetes.watching import LASTS, LONGEST_WAIT, Change, Identity, Stream, Watched, line_decoder

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
Json = dict[str, Any]
HANG, CUT = "hang", "cut"
BRIEF = 0.1  # seconds of silence that a test waits for


class Thing(msgspec.Struct):
    """Just who it is."""

    metadata: Identity


THINGS = Watched("/api/v1", "pods", Thing, "spec.nodeName!=")


def thing(name: str, revision: int) -> Json:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(revision)}}


def listed(revision: int, *names: str, more: str = "") -> Json:
    meta = {"resourceVersion": str(revision)} | ({"continue": more} if more else {})
    return {"kind": "PodList", "metadata": meta, "items": [thing(name, revision) for name in names]}


def line(word: str, name: str, revision: int) -> bytes:
    return json.dumps({"type": word, "object": {"kind": "Pod", **thing(name, revision)}}).encode() + b"\n"


def bookmark(revision: int) -> bytes:
    return line("BOOKMARK", "", revision)


def error(code: int, message: str = "too old resource version: 5 (900)") -> bytes:
    status = {"kind": "Status", "code": code, "message": message}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


class Server:
    """Answers lists and watches as a script says; when the script is at its end it hangs."""

    def __init__(self) -> None:
        self.lists: list[Json | int] = []
        self.watches: list[list[bytes | str] | int] = []
        self.asked: list[tuple[str, Json]] = []
        self.closing = asyncio.Event()

    @property
    def watched_from(self) -> list[str]:
        return [query["resourceVersion"] for kind, query in self.asked if kind == "watch"]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kind = "watch" if "watch" in request.query else "list"
        self.asked.append((kind, dict(request.query)))
        if kind == "list":
            answer = self.lists.pop(0) if self.lists else 500
            return refused(answer) if isinstance(answer, int) else web.json_response(answer)
        steps = self.watches.pop(0) if self.watches else [HANG]
        if isinstance(steps, int):
            return refused(steps)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for step in steps:
            if step == HANG:
                await self.closing.wait()
            elif step == CUT:
                assert request.transport is not None
                request.transport.abort()
            elif isinstance(step, bytes):
                await response.write(step)
                await asyncio.sleep(0.005)  # so that what is written apart may arrive apart
        return response


def refused(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "message": f"no, {code}", "code": code}, status=code)


class Heard:
    """A listener that notes everything, and knows which objects should be there."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.lists: list[frozenset[str]] = []

    def changed(self, change: Change, thing: Thing) -> None:
        self.changes.append((change.value, thing.metadata.name))

    def listed(self, namespace: str | None, uids: frozenset[str]) -> None:
        self.lists.append(uids)


class Follower:
    """A stream that follows a scripted server, with the pauses that it made."""

    def __init__(self, silence: float = 30) -> None:
        self.now = NOW
        self.heard, self.pauses = Heard(), list[float]()
        self.stream = Stream(
            THINGS, None, self.heard, now=lambda: self.now, pause=self._pause, silence=silence,
            jitter=max,
        )  # fmt: skip

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def following(self, api: Api) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.stream.follow(api))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - what is waited for happens in a server
            await asyncio.sleep(0.002)


def access(folder: Path, url: str, token: str) -> Access:
    """A kubeconfig for a server on loopback."""
    written = folder / "kubeconfig"
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    written.write_text(yaml.safe_dump(config))
    return Access(str(written))


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def api(server: Server, tmp_path: Path) -> AsyncIterator[Api]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Api(access(tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}", "t"), timeout=2) as opened:
            yield opened
    finally:
        server.closing.set()
        await runner.cleanup()


async def test_it_lists_in_pages_and_watches_from_there_on(server: Server, api: Api) -> None:
    server.lists = [listed(7, "a", more="next"), listed(7, "b")]
    server.watches = [[line("ADDED", "c", 8), line("MODIFIED", "a", 9), line("DELETED", "b", 10), HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: follower.stream.revision == "10")
        assert follower.stream.connected
    assert follower.heard.changes == [
        ("LISTED", "a"), ("LISTED", "b"), ("ADDED", "c"), ("MODIFIED", "a"), ("DELETED", "b")
    ]  # fmt: skip
    assert follower.heard.lists == [{"uid-a", "uid-b"}]
    (first, second, watch) = [query for _, query in server.asked]
    assert first == {"limit": "500", "fieldSelector": "spec.nodeName!="}
    assert second == {**first, "continue": "next"}
    assert LASTS[0] <= int(watch.pop("timeoutSeconds")) <= LASTS[1]
    assert watch == {
        "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "7", "fieldSelector": "spec.nodeName!="
    }  # fmt: skip
    assert not follower.stream.connected


async def test_lines_arrive_in_any_pieces(server: Server, api: Api) -> None:
    one, two, three = line("ADDED", "a", 2), line("ADDED", "b", 3), line("ADDED", "c", 4)
    server.lists = [listed(1)]
    server.watches = [[one[:9], one[9:] + two + three[:20], three[20:-1], b"\n", HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: follower.stream.revision == "4")
    assert follower.heard.changes == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


async def test_a_watch_that_ends_goes_on_from_the_last_object_or_bookmark(server: Server, api: Api) -> None:
    server.lists = [listed(1)]
    server.watches = [[line("ADDED", "a", 5)], [bookmark(40)], [line("MODIFIED", "a", 41), HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: follower.stream.revision == "41")
    assert server.watched_from == ["1", "5", "40"]
    assert follower.heard.changes == [("ADDED", "a"), ("MODIFIED", "a")]
    assert follower.pauses == [], "nothing was wrong"


async def test_a_connection_that_breaks_within_a_line_loses_and_doubles_nothing(server: Server, api: Api) -> None:
    server.lists = [listed(1)]
    whole, half = line("ADDED", "a", 5), line("ADDED", "b", 6)
    server.watches = [[whole, half[:30], CUT], [half, HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: follower.stream.revision == "6")
    assert server.watched_from == ["1", "5"]
    assert follower.heard.changes == [("ADDED", "a"), ("ADDED", "b")]


@pytest.mark.parametrize("how", [[error(410)], 410])
async def test_when_too_much_has_happened_all_is_listed_anew(server: Server, api: Api, how: Any) -> None:
    server.lists = [listed(1, "stays", "goes"), listed(900, "stays", "new")]
    server.watches = [[line("MODIFIED", "goes", 5)], how, [HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: len(server.watched_from) == 3 and follower.stream.connected)
    assert server.watched_from == ["1", "5", "900"]
    assert follower.heard.lists == [{"uid-stays", "uid-goes"}, {"uid-stays", "uid-new"}], (
        "so that one sees what vanished"
    )
    assert len(follower.pauses) <= 1


async def test_a_list_that_expires_between_its_pages_is_begun_anew(server: Server, api: Api) -> None:
    server.lists = [listed(1, "a", more="old"), 410, listed(3, "a", "b")]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: follower.stream.connected)
    assert follower.heard.lists == [{"uid-a", "uid-b"}]
    assert server.watched_from == ["3"]


async def test_faults_are_waited_out_longer_and_longer_and_forgotten_afterwards(server: Server, api: Api) -> None:
    server.lists = [500] * 9 + [listed(1)]
    server.watches = [503, [line("ADDED", "a", 2)], 500, [HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: follower.stream.connected and len(server.asked) == 14)
    assert follower.pauses[:10] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert follower.pauses[10:] == [0.5], "it heard something in between"
    assert max(follower.pauses) == LONGEST_WAIT


async def test_a_watch_that_ends_at_once_without_a_word_is_not_begun_in_a_tight_loop(server: Server, api: Api) -> None:
    server.lists = [listed(1)]
    server.watches = [[], [], [], [HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: len(server.watched_from) == 4)
    assert follower.pauses == [0.5, 1, 2]


async def test_what_expires_again_and_again_though_it_says_something_is_not_listed_in_a_tight_loop(
    server: Server, api: Api
) -> None:
    server.lists = [listed(number) for number in range(1, 6)]
    server.watches = [*([line("ADDED", f"a{number}", number + 1), error(410)] for number in range(1, 5)), [HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: len(server.watched_from) == 5)
    assert follower.pauses == [0.5, 1, 2, 4]


async def test_what_is_wrong_is_one_sentence_until_it_is_over(server: Server, api: Api) -> None:
    server.lists = [listed(1)]
    server.watches = [500, [HANG]]
    follower, problems = Follower(), list[str | None]()
    pause = follower._pause

    async def noting(seconds: float) -> None:
        problems.append(follower.stream.problem)
        await pause(seconds)

    follower.stream._pause = noting
    async with follower.following(api):
        await until(lambda: follower.stream.connected)
    assert problems == ["The Kubernetes API could not list and watch pods in all namespaces: no, 500 (HTTP 500)."]
    assert follower.stream.problem is None


async def test_a_silent_watch_is_begun_anew_where_it_was(server: Server, api: Api) -> None:
    server.lists = [listed(5), listed(6)]
    server.watches = [[HANG], [line("ADDED", "a", 6), HANG]]
    follower = Follower(silence=BRIEF)
    async with follower.following(api):
        await until(lambda: follower.stream.revision == "6")
    assert server.watched_from[:2] == ["5", "5"]
    assert server.asked[2] == ("list", {"limit": "1"}), "the server was asked how far it has come"
    assert len(follower.heard.lists) == 1, "nothing was listed anew"


async def test_a_server_that_was_put_back_to_an_older_state_is_listed_anew(server: Server, api: Api) -> None:
    server.lists = [listed(900, "a"), listed(20, "x"), listed(20, "b")]
    server.watches = [[HANG], [HANG]]
    follower = Follower(silence=BRIEF)
    async with follower.following(api):
        await until(lambda: len(server.watched_from) >= 2)
    assert server.watched_from[:2] == ["900", "20"]
    assert follower.heard.lists == [{"uid-a"}, {"uid-b"}]


async def test_a_bookmark_from_an_older_state_does_the_same(server: Server, api: Api) -> None:
    server.lists = [listed(900), listed(20)]
    server.watches = [[bookmark(20), HANG], [HANG]]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: len(server.watched_from) == 2)
    assert server.watched_from == ["900", "20"]


@pytest.mark.parametrize("junk", [b"<html>\n", b'{"type": "ADDED"}\n', b'{"type": "WHAT", "object": {}}\n', b"[" * 99])
async def test_nonsense_is_said_and_listed_anew(
    server: Server, api: Api, junk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LONGEST_LINE", 90)
    server.lists = [listed(1), listed(2)]
    server.watches = [[junk, HANG], [HANG]]
    follower, said = Follower(), list[str | None]()

    async def noting(_: float) -> None:
        said.append(follower.stream.problem)

    follower.stream._pause = noting
    async with follower.following(api):
        await until(lambda: len(server.watched_from) == 2)
    assert server.watched_from == ["1", "2"]
    assert said[0] is not None
    assert said[0].startswith("The answer about pods in all namespaces is malformed (")


async def test_a_list_without_items_or_version_is_no_empty_list(server: Server, api: Api) -> None:
    server.lists = [{"metadata": {"resourceVersion": "1"}}, {"metadata": {}, "items": []}, listed(3)]
    follower = Follower()
    async with follower.following(api):
        await until(lambda: follower.stream.connected)
    assert follower.heard.lists == [frozenset()]
    assert server.watched_from == ["3"]


async def test_it_knows_when_it_heard_something_and_when_it_sees_all_again(server: Server, api: Api) -> None:
    server.lists = [listed(1)]
    server.watches = [[line("ADDED", "a", 2)], 500, 500, [bookmark(3), HANG]]
    follower = Follower()
    stream = follower.stream
    assert (stream.heard_at, stream.is_current(NOW)) == (None, False)
    async with follower.following(api):
        await until(lambda: stream.revision == "3")
        assert stream.heard_at == follower.now == NOW + timedelta(seconds=1.5)
        assert not stream.is_current(follower.now), "what happened meanwhile may not have come yet"
        assert stream.is_current(follower.now + watching.CATCH_UP)


async def test_refused_credentials_end_it_so_that_others_can_be_tried(tmp_path: Path) -> None:
    async with (
        ApiServer(lambda: NOW, {"admin": "good"}) as server,
        Api(access(tmp_path, server.url, "stale")) as api,
    ):
        with pytest.raises(CouldNotLook, match="refused the credentials when asked to list and watch pods"):
            await Follower().stream.follow(api)


async def test_forbidden_says_what_to_grant_and_works_once_it_is(tmp_path: Path) -> None:
    granted = Rule.of({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    async with (
        ApiServer(lambda: NOW, {"reader": "t"}, {"reader": []}) as server,
        Api(access(tmp_path, server.url, "t")) as api,
    ):
        follower = Follower()
        async with follower.following(api):
            await until(lambda: follower.stream.problem)
            said = follower.stream.problem or ""
            server.access.grant("reader", [granted])
            await until(lambda: 'cannot watch resource "pods"' in (follower.stream.problem or ""))
            server.access.grant("reader", [EVERYTHING])
            await until(lambda: follower.stream.connected)
            assert follower.stream.problem is None
    assert said.startswith("Not allowed to list and watch pods in all namespaces: ")
    assert said.endswith("; grant list and watch on pods in a ClusterRole, or name namespaces to watch.")


async def test_an_unreachable_server_is_said_and_tried_again(tmp_path: Path) -> None:
    async with ApiServer(lambda: NOW, {"admin": "t"}) as server:
        gone = server.url
    async with Api(access(tmp_path, gone, "t"), timeout=1) as api:
        follower = Follower()
        async with follower.following(api):
            await until(lambda: len(follower.pauses) > 3)
    assert "cannot be reached" in (follower.stream.problem or "")


def test_of_an_object_only_what_is_named_is_kept() -> None:
    large = {"metadata": {"name": "a", "uid": "u", "managedFields": [{"f": "x" * 20_000}]}, "spec": {"x": "y" * 9_000}}
    decoded = line_decoder(Thing).decode(json.dumps({"type": "ADDED", "object": large}))
    assert len(msgspec.json.encode(decoded)) < 200
