"""The sandbox's incident with an engine in it, ready for a plan: two looks are done, and every write is counted.

A process that dies is played by `Process`: from then on neither its store nor its connections do anything any more.
"""

import asyncio
import copy
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, event

from bot.diagnose import library
from bot.remedy import LiveWorld
from bot.sandbox.kubernetes import incident
from bot.sandbox.kubernetes.resources import BY_NAME, NODES, PODS, Resource
from bot.sandbox.world import Sandbox
from bot.store import State, open_state
from diagnostics.facts import Read
from diagnostics.facts.ceph import ALL_LOCKS, LOCKS, SIGHTINGS
from diagnostics.facts.holders import NODES as NODE_FACTS
from diagnostics.facts.holders import PODS_AT
from diagnostics.model import Subject
from runbooks.actions import Clients
from runbooks.approval import Person
from runbooks.catalog import Library
from runbooks.engine import Engine
from runbooks.events import StepEvent
from runbooks.model import Runbook
from runbooks.plan import Plan
from runbooks.store import Execution, Store

IMAGE = f"{incident.POOL}/{incident.IMAGES[0]}"
POD = f"{incident.NAMESPACE}/{incident.STUCK_POD}"
ALICE = Person("cli:alice", frozenset({"responder"}))
BOB = Person("cli:bob", frozenset({"approver"}))
CAROL = Person("cli:carol", frozenset({"approver"}))
VOLUMES = BY_NAME["v1", "persistentvolumes"]
SECOND_LOOK = 35.0
LOOKED_AT = tuple(Read(kind) for kind in (LOCKS, SIGHTINGS, NODE_FACTS, PODS_AT))


class Killed(BaseException):
    """The process is gone in the middle of it, as by kill -9."""


class Gone(Exception):
    """The same in a worker thread: the store's next refusal turns it into the process's death."""


@dataclass
class Process:
    """One process: what it wrote to the world, and the moment at which it dies.

    The moments are those right after its writes, to the store and to the world: what is between two of them changes
    nothing. `on_write` is asked before each write to the world, and `then` after it; a request to Kubernetes whose
    description begins with `hangs` gets no answer.
    """

    dies_at: int | None = None
    moments: list[str] = field(default_factory=list)
    wrote: list[str] = field(default_factory=list)
    dead: bool = False
    on_write: Callable[[str], None] = lambda _: None
    then: Callable[[str], None] = lambda _: None
    hangs: str | None = None
    hanging: asyncio.Event | None = None

    def live(self) -> None:
        """Nothing happens in a dead process."""
        if self.dead:
            raise Killed

    def moment(self, what: str) -> None:
        """Pass a moment, or die at it."""
        self.live()
        if len(self.moments) == self.dies_at:
            self.dead = True
        self.moments.append(what)
        self.live()

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """A write to the world."""
        self.live()
        self.on_write(what)
        yield
        self.wrote.append(what)
        self.then(what)
        self.moment(what)


class MortalStore(Store):
    """The store of a process that may die."""

    def __init__(self, store: Store, process: Process) -> None:
        super().__init__(store.engine, store.now)
        self._process = process

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._process.live()
        with super().write() as connection:
            yield connection
        self._process.moment("the store")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._process.live()
        with super().read() as connection:
            yield connection


class _Api:
    """The writing API; dry runs write nothing."""

    def __init__(self, api: Any, process: Process) -> None:
        self._api = api
        self._process = process

    async def patch(self, target: Subject, patch: Mapping[str, Any], *, dry_run: bool) -> None:
        await self._send(f"patch {target.kind} {target.name}", dry_run)
        with self._process.writing(f"patch {target.kind} {target.name}") if not dry_run else nullcontext():
            await self._api.patch(target, patch, dry_run=dry_run)

    async def delete(self, target: Subject, *, grace_seconds: int | None, dry_run: bool) -> None:
        await self._send(f"delete {target.kind} {target.name}", dry_run)
        with self._process.writing(f"delete {target.kind} {target.name}") if not dry_run else nullcontext():
            await self._api.delete(target, grace_seconds=grace_seconds, dry_run=dry_run)

    async def permitted(self, *asked: Any) -> bool:
        self._process.live()
        return bool(await self._api.permitted(*asked))

    async def _send(self, what: str, dry_run: bool) -> None:
        self._process.live()
        if not dry_run and self._process.hangs and what.startswith(self._process.hangs):
            if self._process.hanging:
                self._process.hanging.set()
            await asyncio.Event().wait()


class _Rados:
    """The writing connection to Ceph, in its own thread."""

    def __init__(self, rados: Any, process: Process) -> None:
        self._rados = rados
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rados, name)

    def mon(self, command: Mapping[str, object], mon: str | None = None) -> bytes:
        what = f"{command['prefix']} {command.get('blocklistop')} {command.get('addr')}"
        return self._write(what, lambda: self._rados.mon(command, mon))

    def execute(self, pool: str, namespace: str, oid: str, cls: str, method: str, data: bytes) -> bytes:
        call = partial(self._rados.execute, pool, namespace, oid, cls, method, data)
        return self._write(f"{method} {oid}", call)

    def _write(self, what: str, call: Callable[[], bytes]) -> bytes:
        try:
            with self._process.writing(what):
                return call()
        except Killed:
            raise Gone from None


class World(LiveWorld):
    """The cluster as one process sees it. The connections behind `clients` are made once: that takes a while."""

    process: Process
    made: Clients

    @asynccontextmanager
    async def clients(self, requester: str) -> AsyncIterator[Clients]:
        api: Any = _Api(self.made.kubernetes, self.process)
        yield Clients(api, lambda: _Rados(self.made.ceph(), self.process))


@cache
def released() -> Library:
    """The runbooks that are released."""
    return library()


@dataclass
class Stage:
    """The sandbox, the state database, and an engine on both."""

    sandbox: Sandbox
    state: State
    sources: list[Any]
    clients: Clients
    locker: str
    books: dict[str, Runbook] = field(default_factory=dict)
    people: list[Person] = field(default_factory=lambda: [ALICE, BOB, CAROL])

    def __post_init__(self) -> None:
        self.process = Process()
        self.engine = self.engine_of(self.process)

    def find(self, name: str) -> Runbook:
        """The runbook of that name; `books` replaces released ones."""
        return self.books.get(name) or released().find(name)

    def who(self, name: str) -> Person:
        """What somebody may do now; `people` may change. Whom nobody knows may look."""
        return next((one for one in self.people if name in one.ids), Person(name, frozenset({"viewer"})))

    def engine_of(self, process: Process, cluster: str = "sandbox") -> Engine:
        """The engine of one process."""
        world = World(self.sandbox.target, self.state, self.sources)
        world.process, world.made = process, self.clients
        return Engine(cluster, world, MortalStore(self.state.runbooks, process), self.find, self.who)

    def params(self, **changed: str) -> dict[str, str]:
        """What the incident's finding offers; a parameter given as "" is left out."""
        offered = {"image": IMAGE, "locker": self.locker, "node": incident.DEAD_NODE, "pod": POD}
        return {name: value for name, value in {**offered, **changed}.items() if value}

    async def plan(self, **params: str) -> Plan:
        """A plan for alice."""
        return await self.engine.plan(self.find("ceph/stale_rbd_lock@1.0.0"), self.params(**params), ALICE)

    async def requested(self, **params: str) -> Execution:
        """Asked for by alice."""
        return await self.engine.request(await self.plan(**params), ALICE)

    async def approved(self, **params: str) -> Execution:
        """Asked for by alice, approved by bob."""
        execution = await self.requested(**params)
        decision = await self.engine.approve(execution, BOB, execution.plan.confirmation)
        assert decision.allowed
        return self.now(execution)

    def now(self, execution: Execution) -> Execution:
        """The execution as it stands."""
        return self.state.runbooks.get(execution.id)

    async def run(self, execution: Execution, engine: Engine | None = None) -> list[StepEvent]:
        """Run it to its end."""
        return [event async for event in (engine or self.engine).run(execution.id, BOB)]

    def journal(self, execution: Execution) -> list[tuple[str, int, str | None]]:
        """Steps, attempts and outcomes."""
        return [(e.step, e.attempt, e.outcome) for e in self.state.runbooks.entries(execution.id)]

    def audited(self) -> list[str]:
        """The events of the audit log, which is whole."""
        assert self.state.runbooks.audit_fault() is None
        return [row.event for row in self.state.runbooks.audit_rows()]

    def phases(self) -> list[str]:
        """The phases of the incident's pods."""
        return [pod["status"]["phase"] for pod in self.sandbox.api.registry.store.all(PODS, incident.NAMESPACE)]

    def lockers(self) -> list[str]:
        """Who holds the image's lock."""
        with self.sandbox.ceph.lock:
            held = self.sandbox.ceph.object(incident.POOL, "", f"{incident.IMAGES[0]}.rbd").locks.values()
            return [locker.name for info in held for locker in info.lockers]

    def change(self, resource: Resource, namespace: str | None, name: str, edit: Callable[[Any], object]) -> None:
        """Change a stored object behind everybody's back."""
        stored = copy.deepcopy(self.sandbox.api.registry.get(resource, namespace, name))
        edit(stored)
        self.sandbox.api.registry.store.put(resource, stored)

    def change_node(self, name: str, edit: Callable[[Any], object]) -> None:
        """Change a node."""
        self.change(NODES, None, name, edit)


def _hurry(connection: Any, _: object) -> None:
    # No power cut is played here, and waiting for the disk is most of what a write takes.
    connection.execute("PRAGMA synchronous=OFF")


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """Play the incident up to the moment in which a plan can be made."""
    context = cache(ssl.create_default_context)  # reading all certificates of the machine takes a while
    with patch.object(ssl, "create_default_context", lambda *_, **__: context()):
        async with (
            Sandbox(folder) as sandbox,
            sandbox.target.clients("cli:alice") as clients,
            sandbox.target.sources() as sources,
        ):
            state = open_state(f"sqlite:///{folder}/state.db", sandbox.clock.now)
            state.runbooks.engine.dispose()
            event.listen(state.runbooks.engine, "connect", _hurry)
            first = await LiveWorld(sandbox.target, state, sources).look(LOOKED_AT, ALL_LOCKS)
            await sandbox.sleep(SECOND_LOOK)
            locks = first.seen(LOCKS)
            assert locks is not None
            locker = next(i.lockers[0].name for i in locks.images if i.image.spec == IMAGE)
            yield Stage(sandbox, state, sources, clients, locker)
            state.runbooks.engine.dispose()
