"""Plays one case with the real engine: plan, request, approval, run; cut off where it is to be, and gone on with."""

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from runbooks.approval import Person
from runbooks.engine import Engine, Refusal
from runbooks.events import Say
from runbooks.execution import Execution, Said, State
from runbooks.guards import Answer
from runbooks.interventions import Interventions
from runbooks.model import Risk, Runbook
from runbooks.plan import Plan, PlannedStep
from runbooks.standing import Rules
from runbooks.store import LEASE
from runbooks.testing.cases import MOMENTS, Case
from runbooks.testing.replay import CLUSTER, Applied, Cut, Database, Killed, Process, Replay, ReplayStore
from runbooks.testing.told import Word

REQUESTER = Person("case:requester", frozenset({"responder"}))
APPROVER = Person("case:approver", frozenset({"approver"}))
ADMIN = Person("case:admin", frozenset({"admin", "responder"}))
_MOST_PASSES = 20  # a case in which nobody gets any further ends
_PEOPLE = {person.id: person for person in (REQUESTER, APPROVER, ADMIN)}


@dataclass
class Played:
    """What a case came to. `ends` and `reason` are None and "" where the plan was refused.

    `unfinished` are steps whose act was left without an outcome, `cut` says that the process was cut off, and `fault` is
    the first place where the audit log is broken.
    """

    plan: Plan
    ends: State | None = None
    reason: str = ""
    applied: list[Applied] = field(default_factory=list)
    unfinished: tuple[str, ...] = ()
    cut: bool = False
    fault: str | None = None

    @property
    def refused_by(self) -> tuple[str, ...]:
        """All that do not allow the plan, each once, in order."""
        return tuple(dict.fromkeys(name for step in self.plan.steps for name in _refusing(step)))


def _refusing(step: PlannedStep) -> Iterator[str]:
    if step.skipped is None:
        yield from (ruling.guard for ruling in step.rulings if ruling.answer is not Answer.ALLOWED)
    if step.otherwise is not None:
        yield from _refusing(step.otherwise)


class _Play:
    """One case under way."""

    def __init__(self, case: Case, runbook: Runbook, cut: Cut | None) -> None:
        self.case = case
        self.runbook = runbook
        self.world = Replay(case)
        self.database = Database()
        self.words = list(case.says)
        self.engine = self._engine(Process(cut))

    def _engine(self, process: Process) -> Engine:
        self.world.process = process
        store = ReplayStore(self.database, process, self.case, self.world.now)
        told = self.case.standing
        rules = Rules(limits=tuple(each.limit for each in told.limits), closed=lambda *_: told.closed)
        return Engine(CLUSTER, self.world, store, lambda _: self.runbook, _PEOPLE.__getitem__, lambda: rules)

    async def play(self) -> Played:
        """Play it to its end."""
        try:
            plan = await self.engine.plan(self.runbook, dict(self.case.params), REQUESTER)
            played = Played(plan)
            if not plan.refusals:
                await self._carried_out(played)
            played.applied = self.world.applied
            return played
        finally:
            self.database.engine.dispose()

    async def _carried_out(self, played: Played) -> None:
        execution = await self.engine.request(played.plan, REQUESTER)
        refusal = await self._approved(execution)
        if refusal is None:
            refusal = await self._run(execution, played)
        store = self.engine.store
        ended = store.get(execution.id)
        played.ends = ended.state
        played.reason = ended.reason or ("; ".join(refusal.reasons) if refusal else "")
        played.fault = store.audit_fault()
        played.unfinished = tuple(entry.step for entry in store.entries(execution.id) if entry.outcome is None)

    async def _approved(self, execution: Execution) -> Refusal | None:
        try:
            self.world.happened(MOMENTS[0])
            if execution.plan.risk in (Risk.HIGH, Risk.CRITICAL):
                await self.engine.approve(execution, APPROVER, execution.plan.confirmation)
            self.world.happened(MOMENTS[1])
        except Refusal as refusal:
            return refusal
        return None

    async def _run(self, execution: Execution, played: Played) -> Refusal | None:
        for _ in range(_MOST_PASSES):
            try:
                await self._pass(execution)
            except Killed:
                played.cut = True
                self.engine = self._engine(Process())
                # Its owner's process still lives, in which it was played: only the lease tells that it is gone.
                await self.world.sleep((LEASE + timedelta(seconds=1)).total_seconds())
                continue
            except Refusal as refusal:
                return refusal
            if not await self._answered(self.engine.store.get(execution.id)):
                return None
        return None

    async def _pass(self, execution: Execution) -> None:
        acting = {step.id for step in self.runbook.steps if step.act is not None}
        async with aclosing(self.engine.run(execution.id, REQUESTER)) as events:
            async for event in events:
                if event.say is Say.BEGUN:
                    self.world.happened(event.step, before=True)
                elif event.step not in acting and event.say in (Say.DONE, Say.NOTE, Say.SKIPPED):
                    self.world.happened(event.step)

    async def _answered(self, execution: Execution) -> bool:
        """Say the next word of the case, where the execution waits for one."""
        word = self.words[0] if self.words else None
        if word is None or not _fits(word, execution):
            return False
        self.words.pop(0)
        people = Interventions(self.engine)
        if word.word in ("was_done", "was_not_done"):
            await people.decide(execution, ADMIN, done=word.word == "was_done", why=word.said)
            return True
        confirmed = word.confirmed or _target(execution, word.step)
        await people.say(execution, ADMIN, Said(word.word), word.said, confirmed)
        return True


def _fits(word: Word, execution: Execution) -> bool:
    if word.word in ("was_done", "was_not_done"):
        return execution.state is State.IN_DOUBT
    return execution.state is State.ASKING and execution.asking == word.step


def _target(execution: Execution, step: str) -> str | None:
    """The name that an attestation is confirmed with."""
    attests = (planned.attest for planned in execution.plan.steps if planned.id == step)
    return next((attest.targets[0].name for attest in attests if attest is not None), None)


async def play(case: Case, runbook: Runbook, cut: Cut | None = None) -> Played:
    """Play a case. A cut process is taken over by a fresh one, once its lease has run out.

    Raises:
        BadChange: the world cannot change as the case says.
    """
    return await _Play(case, runbook, cut).play()
