"""One HTTP server for everything that comes by HTTP. It has no state; what it is asked for is looked up or kept elsewhere."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

from aiohttp import web

from bot.settings import HttpSettings

_log = logging.getLogger("unstick.http")
LARGEST = 1 << 20  # bytes of a request's body: Slack's are far below, and Alertmanager's groups can be bounded there
READING = 5.0  # seconds for a client to send its request
# Seconds for a connection to stand without a whole request: longer than balancers keep theirs, so that they end them.
KEEPALIVE = 75.0
_ENDING = 2.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CannotListen(Exception):
    """The address is taken, or none of this machine's: one sentence."""


class HttpServer:
    """Listens from `start` to `stop`. `routes` are by method and path, as `GET /healthz`."""

    def __init__(self, settings: HttpSettings, routes: Mapping[str, Handler]) -> None:
        self._settings = settings
        app = web.Application(client_max_size=LARGEST, middlewares=[_bounded])
        for name, handler in routes.items():
            method, _, path = name.partition(" ")
            # Some balancers ask with HEAD whether anybody is there.
            if method == "GET":
                app.router.add_get(path, handler)
            else:
                app.router.add_route(method, path, handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_ENDING, keepalive_timeout=KEEPALIVE)

    @property
    def listens(self) -> bool:
        """Whether it can be reached."""
        return bool(self._runner.addresses)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> Self:
        """Begin to listen.

        Raises:
            CannotListen: the address cannot be used.
        """
        await self._runner.setup()
        where = f"{self._settings.host}:{self._settings.port}"
        try:
            await web.TCPSite(self._runner, self._settings.host, self._settings.port).start()
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or type(error).__name__
            raise CannotListen(f"Cannot listen on {where} ({reason}): set http.host and http.port.") from None
        _log.info("listening on http://%s:%d", self._settings.host, self.port)
        return self

    async def stop(self) -> None:
        """End; what is under way gets a moment."""
        await self._runner.cleanup()


@web.middleware
async def _bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the body within a bound of time, and answer what nobody foresaw without telling what it was."""
    try:
        await _read(request)
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:  # noqa: BLE001 - what nobody foresaw is logged whole, and told to nobody
        _log.exception("a request to %s failed", request.path)
        raise web.HTTPInternalServerError(text="Unstick failed at this: its log has the details.") from None


async def _read(request: web.Request) -> None:
    """Read the body; it is kept with the request."""
    try:
        async with asyncio.timeout(READING):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The request did not come in time.") from None
    except (web.RequestPayloadError, ConnectionError):  # it is not encoded as it says, or whoever sent it is gone
        raise web.HTTPBadRequest(text="The request cannot be read.") from None
