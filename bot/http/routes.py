"""What is answered at which path."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from bot.http.alertmanager import Webhook
from bot.http.health import Health
from bot.http.server import Handler
from bot.metrics import CONTENT_TYPE, Metrics
from bot.slack.http_mode import SlackByHttp


def routes(
    health: Health, metrics: Metrics, alerts: Webhook, slack: SlackByHttp | None, known: Callable[[], bool]
) -> dict[str, Handler]:
    """The handlers by method and path. `slack` is None in Socket Mode; `known` tells whether Slack has said who we are."""

    async def measured(_: web.Request) -> web.Response:
        return web.Response(body=await asyncio.to_thread(metrics.text), headers={"Content-Type": CONTENT_TYPE})

    found: dict[str, Handler] = {
        "GET /healthz": health.healthz,
        "GET /readyz": health.readyz,
        "GET /metrics": measured,
        "POST /alertmanager": alerts.handle,
    }
    if slack is not None:

        async def taken(request: web.Request) -> web.Response:
            if not known():
                return web.Response(status=503, text="Slack has not told yet who this bot is: try again.\n")
            return await slack.handle(request)

        found["POST /slack/events"] = taken
    return found
