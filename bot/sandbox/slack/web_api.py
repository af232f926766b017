"""The Web API's door: HTTP in, faults and tokens first, then the method; every call is written down.

It decides nothing about messages or modals; what a method does stands in `methods`.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from aiohttp import web

from bot.sandbox.slack.faults import Fault, Faults
from bot.sandbox.slack.methods import Methods
from bot.sandbox.slack.methods.response_urls import ResponseUrls
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.socket_mode import SocketMode
from bot.sandbox.slack.state import Object
from bot.sandbox.slack.transport.pacing import Pace

LARGEST_BODY = 1024 * 1024
LARGEST_FILE = 32 * 1024 * 1024
_JSON_ARGUMENTS = ("blocks", "metadata", "view", "attachments", "files")


class Call(NamedTuple):
    """Something the bot asked of Slack: `answer` is "ok", an error code, or what happened instead (http_503, dropped, lost)."""

    method: str
    arguments: Object
    answer: str


class WebApi:
    """Answers `/api/METHOD`, `/actions/...` (response URLs), `/upload/v1/...` (files) and `/link` (sockets).

    Attributes:
        pace: holds the app to Slack's limits; None lets it call as fast as it likes.
    """

    def __init__(
        self, methods: Methods, urls: ResponseUrls, sockets: SocketMode, faults: Faults,
        tokens: tuple[str, str], changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._methods, self._urls, self._sockets, self._faults = methods, urls, sockets, faults
        self._bot_token, self._app_token = tokens
        self._changed = changed
        self.calls: list[Call] = []
        self.pace: Pace | None = None

    def application(self) -> web.Application:
        """What is to be served."""
        app = web.Application(client_max_size=LARGEST_FILE, middlewares=[self._unless_down])
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_post("/actions/{path:.+}", self._response_url)
        app.router.add_post("/upload/v1/{secret}", self._upload)
        app.router.add_get("/link", self._sockets.serve)
        return app

    @web.middleware
    async def _unless_down(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self._faults.silent and request.path != "/link":
            await self._faults.until_speaking()
        elif not self._faults.down:
            answer: web.StreamResponse = await handler(request)
            return answer
        if request.match_info.get("method"):
            self.calls.append(Call(request.match_info["method"], {}, "dropped"))
            self._changed()
        return _cut(request)

    async def _api(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        given: Object = {}
        fault: Fault | None = None
        try:
            given, token = await _arguments(request)
            fault = self._faults.next_for(method)
            if fault is not None and (broken := await _befallen(fault)):
                return self._told(method, given, _named(fault), broken)
            if self.pace is not None and (seconds := self.pace.wait(method, given)):
                return self._told(method, given, "ratelimited", _limited(seconds))
            response = self._answer(method, given, token, request)
        except Refused as refused:
            response = self._told(method, given, refused.code, web.json_response(_refusal(refused)))
        if fault is not None and fault.kind == "lose":
            self.calls[-1] = self.calls[-1]._replace(answer="lost")
            return _cut(request)
        return response

    def _answer(self, method: str, given: Object, token: str | None, request: web.Request) -> web.Response:
        if method == "api.test":
            wanted = {"ok": False, "error": given["error"]} if "error" in given else {"ok": True}
            return self._told(method, given, given.get("error", "ok"), web.json_response({**wanted, "args": given}))
        if method == "apps.connections.open":
            self._check_token(token, self._app_token, self._bot_token, self._faults.refuse_app_token)
            url = f"ws://{request.host}/link?ticket={self._sockets.ticket()}&app_id=sandbox"
            return self._told(method, given, "ok", web.json_response({"ok": True, "url": url}))
        if method not in self._methods.known:
            raise Refused("unknown_method")
        self._check_token(token, self._bot_token, self._app_token, self._faults.refuse_bot_token)
        answer = self._methods.call(method, given)
        return self._told(method, given, "ok", web.json_response({"ok": True, **answer}))

    def _check_token(self, token: str | None, wanted: str, other: str, refuse: bool | str) -> None:
        if not token:
            raise Refused("not_authed")
        if token == other:
            raise Refused("not_allowed_token_type")
        if token != wanted:
            raise Refused("invalid_auth")
        if refuse:
            raise Refused(refuse if isinstance(refuse, str) else "invalid_auth")

    async def _response_url(self, request: web.Request) -> web.Response:
        """A response URL takes JSON only and answers `{"ok": true}`, or 404 once it is used up or too old."""
        given: Object = {}
        try:
            given = _json_object(await request.text())
            fault = self._faults.next_for("response_url")
            if fault is not None and (broken := await _befallen(fault)):
                return self._told("response_url", given, _named(fault), broken)
            self._urls.use(request.match_info["path"], given)
            if fault is not None and fault.kind == "lose":
                self.calls.append(Call("response_url", given, "lost"))
                return _cut(request)
        except Refused as refused:
            status = 404 if refused.code.endswith("_url") else 400
            body = {"ok": False, "error": refused.code}
            return self._told("response_url", given, refused.code, web.json_response(body, status=status))
        return self._told("response_url", given, "ok", web.json_response({"ok": True}))

    async def _upload(self, request: web.Request) -> web.Response:
        """An upload address takes raw bytes or a form with one file, without a token: the address is the secret."""
        fault = self._faults.next_for("upload")
        if fault is not None and (broken := await _befallen(fault)):
            return self._told("upload", {}, _named(fault), broken)
        content = await _posted_file(request)
        status = self._methods.files.take(request.match_info["secret"], content)
        if fault is not None and fault.kind == "lose":
            self.calls.append(Call("upload", {"length": len(content)}, "lost"))
            return _cut(request)
        said = f"OK - {len(content)}" if status == 200 else "the upload is unknown, over, or of another length"
        answer = "ok" if status == 200 else f"http_{status}"
        return self._told("upload", {"length": len(content)}, answer, web.Response(status=status, text=said))

    def _told(self, method: str, given: Object, answer: str, response: web.Response) -> web.Response:
        self.calls.append(Call(method, _plain(given), answer))
        self._changed()
        return response


async def _befallen(fault: Fault) -> web.Response | None:
    """What a fault makes of a call: another answer, or only a later one."""
    if fault.kind == "hang":
        await asyncio.sleep(fault.seconds)
        return None
    if fault.kind == "lose":
        return None
    if fault.kind == "fail":
        return web.json_response({"ok": False, "error": fault.code})
    if fault.kind == "server_error":
        return web.Response(status=503, text="upstream connect error")
    return _limited(fault.retry_after)


def _limited(seconds: int) -> web.Response:
    body = {"ok": False, "error": "ratelimited"}
    return web.json_response(body, status=429, headers={"Retry-After": str(seconds)})


def _refusal(refused: Refused) -> Object:
    body: Object = {"ok": False, "error": refused.code, **refused.more}
    if refused.messages:
        body["response_metadata"] = {"messages": list(refused.messages)}
    if refused.code == "invalid_blocks":
        body["errors"] = [message.removeprefix("[ERROR] ") for message in refused.messages]
    return body


def _named(fault: Fault) -> str:
    return {"fail": fault.code, "rate_limit": "ratelimited", "server_error": "http_503"}[fault.kind]


def _cut(request: web.Request) -> web.Response:
    """End the connection; the response goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _posted_file(request: web.Request) -> bytes:
    """The bytes of a file: the body itself, or the one file of a form."""
    if request.content_type != "multipart/form-data":
        return await request.read()
    for value in (await request.post()).values():
        if isinstance(value, web.FileField):
            return value.file.read()
    return b""


async def _arguments(request: web.Request) -> tuple[Object, str | None]:
    """The arguments and the token: from the header, the query or a form, as Slack takes them; never from JSON."""
    if (request.content_length or 0) > LARGEST_BODY:
        raise web.HTTPRequestEntityTooLarge(LARGEST_BODY, request.content_length or 0)
    given: Object = dict(request.query)
    if request.content_type == "application/json":
        given |= {k: v for k, v in _json_object(await request.text() or "{}").items() if k != "token"}
    elif request.content_type == "application/x-www-form-urlencoded":
        given |= dict(parse_qsl(await request.text(), keep_blank_values=True))
    elif request.content_type == "multipart/form-data":
        given |= {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    elif request.body_exists and await request.read():
        raise Refused("invalid_post_type")
    asked = given.pop("token", None)
    header = request.headers.get("Authorization", "")
    scheme, _, bearer = header.partition(" ")
    return given, bearer.strip() if scheme.lower() == "bearer" else asked


def _json_object(body: str) -> Object:
    try:
        given = json.loads(body)
    except ValueError:
        raise Refused("invalid_json") from None
    if not isinstance(given, dict):
        raise Refused("json_not_object")
    return given


def _plain(given: Object) -> Object:
    """Arguments as data, JSON in them decoded, to be compared by whoever reads the calls."""
    plain = dict(given)
    for name in _JSON_ARGUMENTS:
        if isinstance(plain.get(name), str):
            try:
                plain[name] = json.loads(plain[name])
            except ValueError:
                continue
    return plain
