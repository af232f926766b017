"""Each built-in runbook in a world that breaks: the database or the API server is cut off after every step.

A runbook is played with the case of it that does most. It is cut at each of its writes to the database, at each of its
looks and at each of its acts, stays cut off to the end of that pass, and then comes back. Nothing is done twice, no
outcome is lost, and whatever state it comes to says in a sentence what it waits for, or why it ended.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import pytest
from sqlalchemy import Connection, Engine, delete, event

from bot.diagnose import library
from bot.store import open_state
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.model import Subject
from runbooks.actions import OutcomeUnknown
from runbooks.catalog import built_in_folder
from runbooks.database import StoreError
from runbooks.engine import Engine as RunbookEngine
from runbooks.engine import Refusal
from runbooks.execution import NOT_BEGUN, Entry, Execution, State
from runbooks.hands import Hands
from runbooks.model import Runbook
from runbooks.situation import Planned
from runbooks.standing import Admission
from runbooks.store import LEASE
from runbooks.tables import metadata
from runbooks.testing import playing
from runbooks.testing.cases import Case, load_case
from runbooks.testing.names import cases_of
from runbooks.testing.replay import Process
from tests.lab.databases import BOTH

What = Literal[
    "a write is not done",
    "the answer to a write is lost",
    "looks",
    "an act is not done",
    "the answer to an act is lost",
]
DATABASE: tuple[What, ...] = ("a write is not done", "the answer to a write is lost")
SERVER: tuple[What, ...] = ("looks", "an act is not done", "the answer to an act is lost")
NO_DATABASE = "The state database cannot be written: connection refused; check its server and rights."
NO_SERVER = "The Kubernetes API did not answer."
MAY_GO_ON = (State.APPROVED, State.IN_DOUBT)
MOST_LOOKS = 4  # a wait looks over and over, and each time it is the same
EVERY_ANSWER = 5  # an answer that is lost leaves almost what the next write does that is not done


@dataclass
class Surroundings:
    """What is around the engine, and where it breaks: the `at`-th time that something is done while it runs."""

    what: What | None = None
    at: int = 0
    armed: bool = False
    broke: bool = False
    database_is_away: bool = False
    server_is_away: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def breaks(self, kind: str, *what: What) -> bool:
        """Count one more of this kind; whether this is where it breaks."""
        if not self.armed:
            return False
        with self.lock:
            number = self.counts[kind]
            self.counts[kind] += 1
        breaks = self.what in what and number == self.at
        self.broke = self.broke or breaks
        return breaks

    def come_back(self) -> None:
        """Everything answers again, and breaks no more."""
        self.armed = self.database_is_away = self.server_is_away = False


class BrokenHands:
    """Hands whose server may not answer."""

    def __init__(self, hands: Hands, around: Surroundings) -> None:
        self._hands = hands
        self._around = around

    async def admission(self, act: Planned) -> Admission:
        """What the server says, or that it says nothing."""
        return Admission(unseen=NO_SERVER) if self._around.server_is_away else await self._hands.admission(act)

    async def apply(self, act: Planned) -> None:
        """Do it; the server may be cut off before it has it, or before it says so."""
        around = self._around
        breaks = around.breaks("acts", *SERVER[1:])
        around.server_is_away = around.server_is_away or breaks
        if not breaks or around.what == "the answer to an act is lost":
            await self._hands.apply(act)
        if breaks:
            raise OutcomeUnknown(f"{NO_SERVER} Whether it was done is not known.")


class Play(playing._Play):
    """A case that is played in breaking surroundings. `stood` is where it stood when they came back."""

    def __init__(self, case: Case, runbook: Runbook, around: Surroundings) -> None:
        self.around = around
        self.stood: tuple[State, str] | None = None
        super().__init__(case, runbook, None)
        look, hands = self.world.look, self.world.hands

        async def blind(reads: Sequence[Read[Any]], subject: Subject | None) -> Snapshot:
            around.server_is_away = around.server_is_away or around.breaks("looks", "looks")
            seen = await look(reads, subject)
            for read in reads if around.server_is_away else ():
                seen = seen.with_fact(read.kind, NotSeen(NO_SERVER))
            return seen

        @asynccontextmanager
        async def broken(requester: str) -> AsyncIterator[Hands]:
            async with hands(requester) as own:
                yield BrokenHands(own, around)

        self.world.look, self.world.hands = blind, broken  # type: ignore[method-assign]

    def _engine(self, process: Process) -> RunbookEngine:
        engine = super()._engine(process)
        write, read, around = engine.store.write, engine.store.read, self.around

        @contextmanager
        def writing() -> Iterator[Connection]:
            breaks = around.breaks("writes", *DATABASE)
            if around.database_is_away or (breaks and around.what == DATABASE[0]):
                around.database_is_away = True
                raise StoreError(NO_DATABASE)
            with write() as connection:
                yield connection
            if breaks:
                around.database_is_away = True
                raise StoreError(NO_DATABASE)

        @contextmanager
        def reading() -> Iterator[Connection]:
            if around.database_is_away:
                raise StoreError(NO_DATABASE)
            with read() as connection:
                yield connection

        engine.store.write, engine.store.read = writing, reading  # type: ignore[method-assign]
        return engine

    async def _run(self, execution: Execution, played: playing.Played) -> Refusal | None:
        """Pass after pass until it breaks; once the lease has run out, others to the end."""
        self.around.armed = True
        while True:
            refusal = await self._broken_pass(execution)
            now = self.engine.store.get(execution.id) if not self.around.database_is_away else None
            if self.around.broke or now is None or not await self._heard(now):
                break
        self.around.come_back()
        now = self.engine.store.get(execution.id)
        self.stood = (now.state, now.reason or ("; ".join(refusal.reasons) if refusal else ""))
        if now.state.ended:
            return None
        await self.world.sleep(LEASE.total_seconds() + 1)
        await self._answered(now)
        return await super()._run(execution, played)

    async def _heard(self, now: Execution) -> bool:
        """Let people say their word; only the engine's own writes are cut."""
        self.around.armed = False
        said = await self._answered(now)
        self.around.armed = True
        return said

    async def _broken_pass(self, execution: Execution) -> Refusal | None:
        broken = None
        try:
            await self._pass(execution)
        except StoreError as error:
            broken = str(error)
        except Refusal as refused:
            return refused
        assert broken in (None, NO_DATABASE)
        return None

    def entries(self) -> tuple[Entry, ...]:
        """All that the journal holds."""
        [execution] = self.engine.store.history()
        return self.engine.store.entries(execution.id)


@dataclass
class Shelf:
    """Where the plays of one test keep their state: emptied before each."""

    engine: Engine
    lock: threading.RLock = field(default_factory=threading.RLock)

    def empty(self) -> None:
        """Nothing is kept from the last play."""
        with self.engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))


@pytest.fixture(params=BOTH)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the two databases."""
    return str(request.param)


@pytest.fixture
def shelf(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A real database, in place of the one in memory that cases are played on."""
    made = Shelf(open_state(database).runbooks.engine)
    if made.engine.dialect.name == "sqlite":  # no power is cut here, and waiting for the disk takes longest
        made.engine.dispose()
        event.listen(made.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    monkeypatch.setattr(playing, "Database", lambda: made)
    monkeypatch.setattr(made.engine, "dispose", lambda: None)
    yield made
    monkeypatch.undo()
    made.engine.dispose()


@cache
def built_in() -> dict[str, Runbook]:
    """The released runbooks that change something, by name."""
    found = (book for book in library().all() if book.source.startswith(str(built_in_folder())))
    return {book.name: book for book in found if any(s.act or s.otherwise for s in book.steps)}


_CASES: dict[str, Case] = {}


def case_of(name: str, shelf: Shelf) -> Case:
    """The allowed case that does most."""

    def acts(case: Case) -> int:
        shelf.empty()
        return len(asyncio.run(playing.play(case, built_in()[name])).applied)

    book = built_in()[name]
    if name not in _CASES:
        allowed = (path for path in cases_of(book) if path.stem.startswith("allowed_"))
        _CASES[name] = max((load_case(path, book) for path in allowed), key=acts)
    return _CASES[name]


def played(name: str, shelf: Shelf, around: Surroundings) -> tuple[Play, playing.Played]:
    """Play the case of a runbook."""
    case = case_of(name, shelf)
    shelf.empty()
    play = Play(case, built_in()[name], around)
    return play, asyncio.run(play.play())


def readable(state: State, reason: str) -> bool:
    """Whether a person knows where it stands: it is done or has not begun, or it says in words what is the matter."""
    return state in (State.DONE, *NOT_BEGUN) or len(reason.split()) >= 3


def judge(at: str, play: Play, came: playing.Played, whole: playing.Played) -> None:
    """Nothing twice, nothing lost, and words for wherever it stood and stands."""
    assert play.stood is not None, at
    state, reason = play.stood
    # A run whose database went away cannot say so: its lease runs out, and then it is interrupted.
    assert state is State.RUNNING or readable(state, reason), f"{at}: {state}: {reason!r}"
    assert came.ends is not None, at
    assert readable(came.ends, came.reason), f"{at}: {came.ends}: {came.reason!r}"
    assert came.ends not in (State.RUNNING, *MAY_GO_ON), f"{at}: stuck: {came.ends}: {came.reason}"
    often, most = Counter(act.says for act in came.applied), Counter(act.says for act in whole.applied)
    assert not often - most, f"{at}: done twice: {often - most}"
    entries = play.entries()
    assert all(entry.outcome for entry in entries), f"{at}: outcomes are lost: {entries}"
    done = [entry.act.says for entry in entries if entry.outcome in ("done", "unverified", "stopped")]
    # An act that stops halfway may be in the world twice, a part each time, and is done once.
    assert set(done) == set(often), f"{at}: the journal says {done}, and what was done is {often}"
    assert not Counter(done) - often, f"{at}: the journal says {done}, and what was done is {often}"
    assert came.fault is None, f"{at}: {came.fault}"


def cuts(name: str, shelf: Shelf, kinds: Sequence[What], counted: Callable[[What], str]) -> list[str]:
    """Cut at each of everything; gives where each play stood and ended."""
    around = Surroundings()
    _, whole = played(name, shelf, around)
    assert whole.ends is not None, whole.plan.refusals
    assert whole.applied, "nothing is done: the cuts would prove nothing"
    told = []
    for what in kinds:
        number = around.counts[counted(what)]
        assert number, f"{name} was to be cut where {what}, and there is none"
        every = max(1, number // MOST_LOOKS) if what == "looks" else EVERY_ANSWER if what == DATABASE[1] else 1
        for at in range(0, number, every):
            where = f"{name}: {what}, number {at + 1} of {number}"
            play, came = played(name, shelf, Surroundings(what, at))
            judge(where, play, came, whole)
            told.append(f"{where}: {play.stood}, {came.ends} {came.reason}")
            if what in DATABASE:
                assert came.ends in (whole.ends, State.VOID), f"{where}: {came.ends}: {came.reason}"
    return told


@pytest.mark.parametrize("name", sorted(built_in()))
def test_a_database_that_is_cut_off_at_any_write_costs_nothing(name: str, shelf: Shelf) -> None:
    cuts(name, shelf, DATABASE, lambda _: "writes")


@pytest.mark.parametrize("name", sorted(built_in()))
def test_an_api_server_that_is_cut_off_at_any_look_or_act_leaves_a_state_that_says_so(name: str, shelf: Shelf) -> None:
    cuts(name, shelf, SERVER, lambda what: "looks" if what == "looks" else "acts")
