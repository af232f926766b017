"""A world that is played back: facts from a recorded world, hands that write acts down, and time that passes at once.

A process that is cut off is played by `Process`: from that moment on neither its store nor its hands do anything.
"""

import copy
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import SIGHTINGS
from diagnostics.model import Scope, Subject
from diagnostics.scan import gather
from diagnostics.sources.recorded import Recording, World
from runbooks.actions import ActFailed, ActStopped, OutcomeUnknown
from runbooks.execution import Entry, Lease
from runbooks.hands import Hands
from runbooks.situation import Planned
from runbooks.standing import Admission, Standing
from runbooks.store import Store
from runbooks.tables import metadata
from runbooks.testing import changes as edits
from runbooks.testing.cases import After, Case

CLUSTER = "recorded"
Moment = Literal["its intent", "its act", "its outcome"]
MOMENTS: tuple[Moment, ...] = ("its intent", "its act", "its outcome")


class Killed(BaseException):
    """The process is gone in the middle of it, as by kill -9: nothing that handles errors may see it."""


@dataclass(frozen=True)
class Cut:
    """Where a process is cut off: right after an act's intent was written, after the act, or after its outcome was."""

    step: str
    moment: Moment

    def __str__(self) -> str:
        return f"cut after {self.moment} of {self.step}"


class Process:
    """One process. It dies at its cut, if it has one, and from then on does nothing."""

    def __init__(self, cut: Cut | None = None) -> None:
        self.cut = cut
        self.dead = False
        self.acting = ""

    def live(self) -> None:
        """Nothing happens in a dead process."""
        if self.dead:
            raise Killed

    def passes(self, step: str, moment: Moment) -> None:
        """Pass a moment of a step, or die at it."""
        if self.cut == Cut(step, moment):
            self.dead = True
        self.live()


class Database:
    """The state database of one case, in memory, on one connection."""

    def __init__(self) -> None:
        self.engine: Engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )  # fmt: skip
        event.listen(self.engine, "connect", _by_hand)
        event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        metadata.create_all(self.engine)
        self.lock = threading.RLock()


def _by_hand(connection: Any, _record: object) -> None:
    # The driver's own transactions would end at a savepoint.
    connection.isolation_level = None


class ReplayStore(Store):
    """The store as one process has it, with what the case says of how things stand."""

    def __init__(self, database: Database, process: Process, case: Case, now: Callable[[], datetime]) -> None:
        super().__init__(database.engine, now)
        self._lock = database.lock
        self._process = process
        self._case = case

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction of a process that lives."""
        self._process.live()
        with self._lock, super().write() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One look of a process that lives."""
        self._process.live()
        with self._lock, super().read() as connection:
            yield connection

    def intend(
        self, lease: Lease, step: str, act: Planned, seen: Sequence[Mapping[str, Any]],
        insist_still: Callable[[Connection], None] = lambda _: None,
    ) -> Entry:  # fmt: skip
        """Write down an intent; the hands then know which step they act for."""
        entry = super().intend(lease, step, act, seen, insist_still)
        self._process.acting = step
        self._process.passes(step, "its intent")
        return entry

    def conclude(self, lease: Lease, entry: Entry, outcome: str, said: str | None) -> None:
        """Write down an outcome."""
        super().conclude(lease, entry, outcome, said)
        self._process.passes(entry.step, "its outcome")

    def standing(self, cluster: str, runbook: str, execution: str, within: timedelta) -> Standing:
        """How things stand, with what the case says beside."""
        found, told = super().standing(cluster, runbook, execution, within), self._case.standing
        return msgspec.structs.replace(
            found, frozen=told.frozen or found.frozen, begun=(*told.begun, *found.begun),
            held={**{each.key: each.execution for each in told.held}, **found.held}, fenced=(*told.fenced, *found.fenced),
        )  # fmt: skip


@dataclass(frozen=True)
class Applied:
    """An act that was done: for which step, and in which words."""

    step: str
    says: str


class Replay:
    """The world of one case. It moves on when acts are done, and as time passes."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.process = Process()
        self.applied: list[Applied] = []
        self._document = copy.deepcopy(case.world)
        begun = self._world()
        self._clock = begun.taken_at
        self._sightings = begun.sightings
        self._left = list(case.after)
        self._due: list[tuple[datetime, After]] = []

    def _world(self) -> World:
        return msgspec.convert(self._document, World, strict=False)

    def now(self) -> datetime:
        """The time in this world."""
        return self._clock

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once, and with it what is due."""
        self._clock += timedelta(seconds=seconds)
        for entry in [entry for entry in self._due if entry[0] <= self._clock]:
            self._due.remove(entry)
            edits.make(self._document, entry[1].changes)

    async def look(self, reads: Sequence[Read[Any]], subject: Subject | None) -> Snapshot:
        """Fresh facts about a subject. What is sighted is kept for the next look."""
        self.process.live()
        scope = Scope(CLUSTER, subject=subject)
        snapshot = await gather([Recording(self._world())], reads, scope, self._sightings, self._clock)
        sighted = snapshot.seen(SIGHTINGS)
        if sighted is not None:
            self._sightings = tuple(sighted)
        return snapshot

    @asynccontextmanager
    async def hands(self, requester: str) -> AsyncIterator[Hands]:  # noqa: ARG002 - the same for everybody
        """Hands that write down what they do."""
        yield _Hands(self)

    def happened(self, step: str, *, before: bool = False) -> After | None:
        """A step has begun, or it or its act is done: the world moves on. How it came out is told where the case says so."""
        mine = [each for each in self._left if each.step == step and each.before is before]
        if not mine:
            return None
        # What comes later belongs to the attempt before it.
        later = list(takewhile(lambda each: bool(each.delay), mine[1:]))
        for each in (mine[0], *later):
            self._left.remove(each)
            if each.delay:
                self._due.append((self._clock + each.delay, each))
            else:
                edits.make(self._document, each.changes)
        return mine[0]


class _Hands:
    """Does nothing but move the world on."""

    def __init__(self, world: Replay) -> None:
        self._world = world

    async def admission(self, act: Planned) -> Admission:
        """What the case says that the API server says; a yes where it says nothing."""
        return self._world.case.admission.get(act.action, Admission())

    async def apply(self, act: Planned) -> None:
        """Write an act down, and move the world on."""
        process = self._world.process
        process.live()
        after = self._world.happened(process.acting)
        if after is not None and after.outcome == "failed":
            raise ActFailed(after.said)
        self._world.applied.append(Applied(process.acting, act.says))
        process.passes(process.acting, "its act")
        if after is not None and after.outcome == "stopped":
            raise ActStopped(after.said)
        if after is not None and after.outcome == "unanswered":
            raise OutcomeUnknown(after.said)
