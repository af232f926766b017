"""The sandbox's cluster as a test wants it: looks and acts that are held until they are let go, and every act counted."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import count
from typing import Any

import pytest

from bot.sandbox.slack import Person, Reply
from bot.wiring import Target
from diagnostics.model import Subject
from diagnostics.sources import Source
from runbooks.actions import Clients
from tests.bot.scenarios.office import PATIENCE

# For `pytestmark`: every test of a module over Socket Mode, and over signed HTTP.
over_both = pytest.mark.parametrize("transport", ["socket", "http"])
_again = count()
# What a run does to the cluster, in this order.
ACTS = ["patch Node node1", "osd blocklist add", "break_lock index-api-image.rbd", "delete Pod"]


async def again(person: Person, what: Reply) -> Reply:
    """Send the same click or window once more, as another request: to the letter the same is refused by HTTP anyway."""
    return await person.replay({**what.payload, "again": next(_again)})


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that tells nobody when it comes: a row in the store, or what another thread does."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


class Gate:
    """Holds whoever passes, in a thread or on any loop, until it is opened; a test waits for who stands there."""

    def __init__(self) -> None:
        self._arrived = threading.Semaphore(0)
        self._open = threading.Event()

    def open(self) -> None:
        """Let all pass, now and later."""
        self._open.set()

    def blocks(self) -> None:
        """Pass, in a thread that can do nothing else meanwhile."""
        self._arrived.release()
        assert self._open.wait(PATIENCE), "nobody opened the gate"

    async def holds(self) -> None:
        """Pass, on a loop that goes on with other things; whoever waits here can be cancelled."""
        self._arrived.release()
        await until(self._open.is_set)

    async def arrived(self, count: int = 1) -> None:
        """Wait until so many more have come."""
        for _ in range(count):
            assert await asyncio.to_thread(self._arrived.acquire, timeout=PATIENCE), "nobody came to the gate"


@dataclass
class Hand:
    """What the bot does with a cluster: `did` are its acts. `look` and `acts` hold, by the name that an act begins with.

    `after` holds as well, once the act is done and before its caller hears of it.
    """

    did: list[str] = field(default_factory=list)
    look: Callable[[], Any] | None = None
    acts: dict[str, Gate] = field(default_factory=dict)
    after: dict[str, Gate] = field(default_factory=dict)

    def on(self, target: Target) -> Callable[[str | None], Target]:
        """A cluster in this hand, as a server asks for it."""
        kept = {each.name: getattr(target, each.name) for each in fields(target)}
        handled = _Handled(**kept, hand=self)
        return lambda _: handled

    def gate(self, gates: Mapping[str, Gate], what: str) -> Gate | None:
        """The gate that an act has to pass."""
        return next((gate for name, gate in gates.items() if what.startswith(name)), None)


@dataclass(frozen=True)
class _Handled(Target):
    hand: Hand = field(default_factory=Hand)

    @asynccontextmanager
    async def sources(self) -> AsyncIterator[list[Source]]:
        if self.hand.look is not None:
            await self.hand.look()
        async with super().sources() as sources:
            yield sources

    @asynccontextmanager
    async def clients(self, requester: str) -> AsyncIterator[Clients]:
        async with super().clients(requester) as made:
            api: Any = _Api(made.kubernetes, self.hand)
            yield Clients(api, lambda: _Rados(made.ceph(), self.hand))


class _Api:
    def __init__(self, api: Any, hand: Hand) -> None:
        self._api = api
        self._hand = hand

    async def patch(self, target: Subject, patch: Mapping[str, Any], *, dry_run: bool) -> None:
        await self._do(f"patch {target.kind} {target.name}", partial(self._api.patch, target, patch), dry_run)

    async def delete(self, target: Subject, *, grace_seconds: int | None, dry_run: bool) -> None:
        call = partial(self._api.delete, target, grace_seconds=grace_seconds)
        await self._do(f"delete {target.kind} {target.name}", call, dry_run)

    async def permitted(self, *asked: Any) -> bool:
        return bool(await self._api.permitted(*asked))

    async def _do(self, what: str, call: Callable[..., Any], dry_run: bool) -> None:
        if not dry_run and (gate := self._hand.gate(self._hand.acts, what)):
            await gate.holds()
        await call(dry_run=dry_run)
        if not dry_run:
            self._hand.did.append(what)
            if gate := self._hand.gate(self._hand.after, what):
                await gate.holds()


class _Rados:
    def __init__(self, rados: Any, hand: Hand) -> None:
        self._rados = rados
        self._hand = hand

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rados, name)

    def mon(self, command: Mapping[str, object], mon: str | None = None) -> bytes:
        return self._do(f"{command['prefix']} {command.get('blocklistop')}", partial(self._rados.mon, command, mon))

    def execute(self, pool: str, namespace: str, oid: str, cls: str, method: str, data: bytes) -> bytes:
        call = partial(self._rados.execute, pool, namespace, oid, cls, method, data)
        return self._do(f"{method} {oid}", call)

    def _do(self, what: str, call: Callable[[], bytes]) -> bytes:
        if gate := self._hand.gate(self._hand.acts, what):
            gate.blocks()
        answer = call()
        self._hand.did.append(what)
        if gate := self._hand.gate(self._hand.after, what):
            gate.blocks()
        return answer
