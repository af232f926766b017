"""A request URL on loopback for a real app, and the smallest button and modal."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Object = dict[str, Any]
Handler = Callable[[web.Request], Any]


def button(text: str, action_id: str) -> Object:
    return {"type": "button", "text": {"type": "plain_text", "text": text}, "action_id": action_id}


def form() -> Object:
    element = {"type": "plain_text_input", "action_id": "typed"}
    label = {"type": "plain_text", "text": "Node"}
    return {
        "type": "modal", "callback_id": "approve", "title": {"type": "plain_text", "text": "Approve"},
        "submit": {"type": "plain_text", "text": "Approve"},
        "blocks": [{"type": "input", "block_id": "node", "label": label, "element": element}],
    }  # fmt: skip


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """A request URL on loopback."""
    served = web.Application()
    served.router.add_post("/slack/events", handler)
    runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    finally:
        await runner.cleanup()
