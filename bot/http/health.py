"""Whether the bot lives, and whether it can do its work: what is degraded, and why.

`/healthz` fails only where a restart would help: a loop that stands still. `/readyz` fails where this replica cannot take
what people ask of it. What is merely away (Slack, a cluster) is told in the body, and no reason to take anything out of
service: a restart would bring none of it back.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
from aiohttp import web

State = Literal["ok", "degraded", "down"]
PATIENCE = 2.0  # seconds for one part to tell how it stands
STALLED = 30.0  # seconds without a turn of a loop


class Part(msgspec.Struct, frozen=True):
    """How one part stands: `down` parts keep the replica from being ready. `why` is a sentence, unless it is `ok`."""

    state: State
    why: str = ""


OK = Part("ok")
Look = Callable[[], Part]


class Pulse:
    """Whether a loop turns: it is touched by the loop, and looked at from another."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._touched = now()

    def touch(self) -> None:
        """The loop has turned."""
        self._touched = self._now()

    @property
    def stands_still(self) -> float | None:
        """For how many seconds it has not turned, where that is too long."""
        still = self._now() - self._touched
        return still if still > STALLED else None


class Health:
    """What `/healthz` and `/readyz` answer. `parts` are looked at in threads: they may ask the store."""

    def __init__(self, parts: Mapping[str, Look], pulses: Mapping[str, Pulse]) -> None:
        self._parts = parts
        self._pulses = pulses

    async def healthz(self, _request: web.Request) -> web.Response:
        """200 while all loops turn, else 503 with which one does not."""
        still = {name: seconds for name, pulse in self._pulses.items() if (seconds := pulse.stands_still) is not None}
        if still:
            said = "; ".join(f"the {name} loop has stood still for {seconds:.0f} s" for name, seconds in still.items())
            return web.Response(status=503, text=f"{said}\n")
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 while nothing is down, else 503; the body says of every part how it stands and why."""
        parts = await self.parts()
        ready = all(part.state != "down" for part in parts.values())
        body = msgspec.json.encode({"ready": ready, "degraded": _named(parts), "parts": parts})
        return web.Response(status=200 if ready else 503, body=body, content_type="application/json")

    async def parts(self) -> dict[str, Part]:
        """How every part stands."""
        told = await asyncio.gather(*(self._told(look) for look in self._parts.values()))
        return dict(zip(self._parts, told, strict=True))

    async def _told(self, look: Look) -> Part:
        try:
            return await asyncio.wait_for(asyncio.to_thread(look), PATIENCE)
        except TimeoutError:
            return Part("down", f"it did not answer within {PATIENCE:g} s")
        except Exception as error:  # noqa: BLE001 - whatever one part dies of, the others are told
            return Part("down", (str(error).splitlines() or [""])[0] or type(error).__name__)


def _named(parts: Mapping[str, Part]) -> Iterable[str]:
    return [f"{name}: {part.why}" for name, part in parts.items() if part.state != "ok"]
