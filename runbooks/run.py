"""One pass through an approved plan, and nothing but it: judge again, write the intent, act, verify, write the outcome.

Invariant: nothing acts that is not in the approved plan; no act without a journaled intent; an intent whose outcome is
missing is verified against the cluster before anything else, and never repeated blindly.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from datetime import datetime, timedelta
from typing import Any, Protocol

from diagnostics.catalog import all_checks
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.holders import NODES
from diagnostics.facts.resources import Pod
from diagnostics.model import Status, Subject
from diagnostics.scan import judged
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import NoSuchConfiguration
from runbooks import plan as plans
from runbooks.actions import ActFailed, Clients, OutcomeUnknown, all_actions
from runbooks.approval import Person
from runbooks.events import Say, StepEvent
from runbooks.guards import Answer, Ruling
from runbooks.model import CheckBecomes, GuardCall, Replacement, Runbook, Step, fill_in
from runbooks.plan import PlannedStep
from runbooks.situation import CannotPlan, Planned, Situation
from runbooks.store import Entry, Execution, Lease, LostLease, State, Store

POLL = 2.0
# The waiting kubelet's own tries open the image for moments. A refusal is looked at again, never overruled.
LOOKS = 3
BETWEEN_LOOKS = 1.0


class World(Protocol):
    """What the engine needs of one cluster: fresh facts, connections to write with, and the time."""

    async def look(self, reads: Sequence[Read[Any]], subject: Subject | None) -> Snapshot:
        """Fresh facts about a subject."""
        ...

    def clients(self) -> AbstractAsyncContextManager[Clients]:
        """The connections that write."""
        ...

    def now(self) -> datetime:
        """The time."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


def subject_of(params: dict[str, str]) -> Subject | None:
    """What a runbook's facts are gathered around: its image, else its pod or node."""
    if image := params.get("image"):
        return Subject("RBDImage", None, image, "")
    if pod := params.get("pod"):
        namespace, _, name = pod.partition("/")
        return Subject("Pod", namespace, name, "")
    return Subject("Node", None, params["node"], "") if "node" in params else None


def _judge(calls: Sequence[GuardCall], situation: Situation) -> list[tuple[str, Ruling]]:
    return [(call.name, plans.judge(call, situation)) for call in calls]


class Stop(Exception):
    """The run ends here, in this state, for this reason."""

    def __init__(self, state: State, say: Say, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.say = say
        self.reason = reason


class Run:
    """One pass through the steps of one execution."""

    def __init__(
        self, store: Store, world: World, runbook: Runbook, execution: Execution, lease: Lease, person: Person,
        keeper: "asyncio.Task[str]", barred: Sequence[str],
    ) -> None:  # fmt: skip
        """`keeper` renews the lease and ends, with the reason, only when that fails; `barred`: why no act may begin."""
        self.store = store
        self.world = world
        self.runbook = runbook
        self.execution = execution
        self.plan = execution.plan
        self.lease = lease
        self.person = person
        self.keeper = keeper
        self.barred = barred
        self.resumed = False
        self.before_acts = True
        self.done: list[Planned] = []

    async def steps(self) -> AsyncGenerator[StepEvent]:
        """Go through the steps; the last event says how it ended."""
        try:
            self.resumed = bool(await asyncio.to_thread(self.store.entries, self.execution.id))
            async with aclosing(self._through()) as events:
                async for event in events:
                    yield event
        except LostLease as lost:
            yield StepEvent("", Say.ENDED, f"stopped: {lost}")

    async def _through(self) -> AsyncGenerator[StepEvent]:
        current = ""
        try:
            for step, planned in zip(self.runbook.steps, self.plan.steps, strict=True):
                current = step.id
                self.before_acts = self.before_acts and not planned.acts
                async with aclosing(self._step(step, planned)) as events:
                    async for event in events:
                        yield event
            await self._move(State.DONE, "")
            yield StepEvent("", Say.ENDED, "done")
        except Stop as stop:
            await self._move(stop.state, stop.reason)
            for note in self._notes_that_stand(current):
                yield note
            yield StepEvent(current, stop.say, stop.reason)
            yield StepEvent("", Say.ENDED, f"{stop.state}: {stop.reason}")

    def _notes_that_stand(self, current: str) -> list[StepEvent]:
        """What to know of acts that were done before the run broke off: a fence stays, whatever came after it."""
        ids = [step.id for step in self.runbook.steps]
        fenced = any(act.action == "ceph.fence" for act in self.done)
        rest = self.runbook.steps[ids.index(current) + 1 :] if fenced and current in ids else ()
        planned = {step.id: step for step in self.plan.steps}
        said = [StepEvent("", Say.NOTE, "done before that, and it stands: " + "; ".join(act.says for act in self.done))]
        notes = [step for step in rest if step.note is not None and planned[step.id].skipped is None]
        return said[: len(self.done)] + [
            StepEvent(step.id, Say.NOTE, fill_in(step.note or "", self.plan.params)) for step in notes
        ]

    async def _move(self, state: State, reason: str) -> None:
        await asyncio.to_thread(
            lambda: self.store.move(self.execution.id, state, self.person.id, reason, lease=self.lease)
        )

    async def _step(self, step: Step, planned: PlannedStep) -> AsyncGenerator[StepEvent]:
        if planned.skipped is not None:
            yield StepEvent(step.id, Say.SKIPPED, planned.skipped)
            return
        if step.note is not None:
            yield StepEvent(step.id, Say.NOTE, fill_in(step.note, self.plan.params))
            return
        yield StepEvent(step.id, Say.BEGUN, planned.says)
        if step.check is not None:
            said = await self._check(step)
        elif step.prove is not None:
            said = await self._until(step.prove, step.within or timedelta(0), None)
        elif step.wait is not None:
            said = ""
            async with aclosing(self._wait(step, planned)) as events:
                async for event in events:
                    yield event
        elif step.manual is not None:
            raise Stop(State.FAILED, Say.NOTE, f"by hand: {fill_in(step.manual, self.plan.params)}")
        else:
            said = await self._act(step, planned)
        if said:
            yield StepEvent(step.id, Say.DONE, said)

    async def _situation(self, act: Planned | None = None) -> Situation:
        self._still_ours()
        snapshot = await self.world.look(plans.reads_of(self.runbook), subject_of(self.plan.params))
        return Situation(snapshot, self.plan.params, act=act, done=tuple(self.done))

    def _still_ours(self) -> None:
        """Stop at once when the lease could not be kept.

        Raises:
            LostLease: it could not.
        """
        if self.keeper.done():
            raise LostLease(self.keeper.result())

    async def _check(self, step: Step) -> str:
        """Judge a check anew. Those before the first act have served their purpose once the execution has acted."""
        if self.resumed and self.before_acts:
            return "looked at before the first act"
        situation = await self._situation()
        listed = next(listed for listed in all_checks() if listed.id == step.check)
        outcome = judged(listed, situation.snapshot)
        if outcome.status != step.becomes:
            why = outcome.reason or "nothing was found"
            raise Stop(State.FAILED, Say.REFUSED, f"{listed.id} is {outcome.status}, not {step.becomes}: {why}")
        return outcome.findings[0].summary if outcome.findings else f"{listed.id} is {outcome.status}"

    async def _act(self, step: Step, planned: PlannedStep) -> str:
        act = planned.act
        if act is None:
            raise Stop(State.FAILED, Say.REFUSED, f"step {step.id} is not in the approved plan")
        if said := await self._settled(step, planned, act):
            return said
        for _ in range(LOOKS):
            situation = await self._situation(act)
            rulings = _judge(plans.required(step), situation)
            if any(r.answer is Answer.UNKNOWN for _, r in rulings) or all(r.allowed for _, r in rulings):
                break
            await self.world.sleep(BETWEEN_LOOKS)
        conditions = _judge(step.when, situation)
        if any(r.answer is Answer.REFUSED for _, r in conditions) and not any(
            r.answer is Answer.UNKNOWN for _, r in conditions
        ):
            return "not needed any more: " + "; ".join(reason for _, r in conditions for reason in r.reasons)
        self._in_time()
        everything = (*conditions, *rulings)
        if bad := [f"{name}: {reason}" for name, r in everything if not r.allowed for reason in r.reasons]:
            raise Stop(State.FAILED, Say.REFUSED, "; ".join(bad))
        self._as_approved(planned, rulings)
        return await self._do(step, act, everything)

    def _in_time(self) -> None:
        """Refuse to begin an act for which the approval is over.

        A run that began in time may take as long as it takes. One that was interrupted may be gone on with later, but
        then it only settles what was begun: nobody has approved the rest for that time. The same is so where those who
        approved it may not do so any more.
        """
        if self.resumed and self.world.now() >= self.plan.expires:
            reason = f"the approval expired at {self.plan.expires:%H:%M:%S} UTC, before this act began: ask for it anew"
            raise Stop(State.VOID, Say.REFUSED, reason)
        if self.barred:
            raise Stop(State.VOID, Say.REFUSED, f"before this act began: {'; '.join(self.barred)}: ask for it anew")

    def _as_approved(self, planned: PlannedStep, rulings: Sequence[tuple[str, Ruling]]) -> None:
        """Refuse an act that guards allow for other facts than those that were approved."""
        changed = [
            f"{name}: {what}" for name, ruling in rulings
            for what in plans.changes_of(self.plan.basis.get(plans.basis_key(planned.id, name), {}), ruling.basis)
        ]  # fmt: skip
        if changed:
            raise Stop(State.VOID, Say.REFUSED, "; ".join(changed))

    async def _settled(self, step: Step, planned: PlannedStep, act: Planned) -> str | None:
        """What an earlier attempt at this act came to: what is done already is said, and not done again.

        An attempt without an outcome is in doubt. It may still land until its time-out has passed, so that is waited
        for; then fresh facts tell. What they show as not done may be tried again, behind the same guards.
        """
        entries = await asyncio.to_thread(self.store.entries, self.execution.id)
        last = next((entry for entry in reversed(entries) if entry.step == planned.id), None)
        if last is None or last.outcome not in (None, "done"):
            return None
        if last.outcome is None:
            # When its last request was sent is not known: only that none is sent from now on.
            if settles := all_actions()[act.action].settles:
                await self.world.sleep(settles)
            verdict = all_actions()[act.action].done(act, await self._situation(act))
            if verdict is None:
                what = f"whether step {step.id} was done cannot be seen now: look again later"
                raise Stop(State.IN_DOUBT, Say.IN_DOUBT, what)
            if not verdict:
                await self._conclude(last, "not done", "in doubt after an interruption; verified: not done")
                return None
            await self._conclude(last, "done", None)
        self.done.append(act)
        if last.said is not None:
            return last.said or "done before"
        return f"in doubt after an interruption; verified: done; {await self._verified(step, act, last)}"

    async def _do(self, step: Step, act: Planned, rulings: Sequence[tuple[str, Ruling]]) -> str:
        action = all_actions()[act.action]
        async with AsyncExitStack() as stack:
            try:
                clients = await stack.enter_async_context(self.world.clients())
                if action.dry_run is not None:
                    await action.dry_run(act, clients)
            except ActFailed as error:
                raise Stop(State.FAILED, Say.REFUSED, f"the server would not accept it: {error}") from None
            except (CouldNotLook, NoSuchConfiguration) as error:
                raise Stop(State.FAILED, Say.FAILED, f"nothing was changed: {error}") from None
            self._still_ours()
            seen = [{"guard": name, "answer": r.answer, "reasons": list(r.reasons)} for name, r in rulings]
            entry = await asyncio.to_thread(self.store.intend, self.lease, step.id, act, seen)
            try:
                async with asyncio.timeout(step.timeout.total_seconds()):
                    await action.apply(act, clients)
            except ActFailed as error:
                await self._conclude(entry, "failed", str(error))
                raise Stop(State.FAILED, Say.FAILED, str(error)) from None
            except (OutcomeUnknown, TimeoutError) as error:
                what = str(error) or f"no answer within {step.timeout.total_seconds():g} s"
                raise Stop(State.IN_DOUBT, Say.IN_DOUBT, what) from None
            await self._conclude(entry, "done", None)
        self.done.append(act)
        return f"{act.says}: {await self._verified(step, act, entry)}"

    async def _verified(self, step: Step, act: Planned, entry: Entry) -> str:
        """Verify an act that was done, and write down what that came to, apart from the act's own outcome.

        Raises:
            Stop: it does not hold; or whether it does could not be seen, and then it can be looked at later.
        """
        try:
            said = await self._verify(step, act)
        except Stop as stop:
            if stop.state is State.FAILED:
                await self._note_verified(entry, stop.reason, holds=False)
            raise
        await self._note_verified(entry, said, holds=True)
        return said

    async def _note_verified(self, entry: Entry, said: str, *, holds: bool) -> None:
        await asyncio.to_thread(lambda: self.store.verified(self.lease, entry, said, holds=holds))

    async def _conclude(self, entry: Entry, outcome: str, said: str | None) -> None:
        await asyncio.to_thread(self.store.conclude, self.lease, entry, outcome, said)

    async def _verify(self, step: Step, act: Planned) -> str:
        verify, within = step.verify, step.timeout
        if isinstance(verify, GuardCall):
            return await self._until(verify, within, act)
        if isinstance(verify, CheckBecomes):
            return await self._check_becomes(verify, within)
        if isinstance(verify, Replacement):
            return await self._running(verify.within, besides=frozenset(target.uid for target in act.targets))
        return "done"

    async def _until(self, call: GuardCall, within: timedelta, act: Planned | None) -> str:
        """Judge a guard until it allows or the time is over. What an act brought and nobody can see is in doubt."""
        deadline = self.world.now() + within
        while True:
            ruling = plans.judge(call, await self._situation(act))
            if ruling.allowed:
                return "; ".join(ruling.reasons)
            if self.world.now() >= deadline:
                why = "; ".join(ruling.reasons)
                if act is not None and ruling.answer is Answer.UNKNOWN:
                    raise Stop(State.IN_DOUBT, Say.IN_DOUBT, f"whether {call.name} holds cannot be seen now: {why}")
                raise Stop(State.FAILED, Say.FAILED, f"{call.name} does not hold: {why}")
            await self.world.sleep(POLL)

    async def _check_becomes(self, verify: CheckBecomes, within: timedelta) -> str:
        deadline = self.world.now() + within
        listed = next(listed for listed in all_checks() if listed.id == verify.check)
        while True:
            outcome = judged(listed, (await self._situation()).snapshot)
            if outcome.status is Status(verify.becomes):
                return f"{verify.check} is {verify.becomes}"
            if self.world.now() >= deadline:
                why = outcome.reason or "; ".join(f.summary for f in outcome.findings)
                if outcome.status is Status.UNKNOWN:
                    raise Stop(State.IN_DOUBT, Say.IN_DOUBT, f"{verify.check} cannot be judged now: {why}")
                raise Stop(State.FAILED, Say.FAILED, f"{verify.check} is {outcome.status}, not {verify.becomes}: {why}")
            await self.world.sleep(POLL)

    async def _wait(self, step: Step, planned: PlannedStep) -> AsyncGenerator[StepEvent]:
        """Wait for the pod; when it does not come in time, do what the plan holds ready."""
        otherwise, held = step.otherwise, planned.otherwise
        if otherwise and held and held.act and (said := await self._settled(otherwise, held, held.act)):
            yield StepEvent(step.id, Say.DONE, said)  # an interrupted run had waited in vain already
            return
        try:
            said = await self._running(step.within or timedelta(0))
        except Stop as stop:
            if otherwise is None or held is None:
                raise
            if held.skipped is not None:
                raise Stop(stop.state, stop.say, f"{stop.reason}; {held.skipped}") from None
            yield StepEvent(otherwise.id, Say.BEGUN, f"{stop.reason}: {held.says}")
            said = await self._act(otherwise, held)
        yield StepEvent(step.id, Say.DONE, said)

    async def _running(self, within: timedelta, besides: frozenset[str] = frozenset()) -> str:
        """Wait until a pod that uses the volume runs: the waiting one, or (with `besides`) its replacement."""
        deadline = self.world.now() + within
        while True:
            unseen = ""
            try:
                if pod := _runs(await self._situation(), besides):
                    return f"{pod.metadata.namespace}/{pod.metadata.name} is Running on {pod.spec.node_name}"
            except CannotPlan as error:
                unseen = f": {error}"
            if self.world.now() >= deadline:
                what = f"no pod of the volume was seen Running within {within.total_seconds():g} s{unseen}"
                if unseen and besides:  # what a deletion brought cannot be seen
                    raise Stop(State.IN_DOUBT, Say.IN_DOUBT, what)
                raise Stop(State.FAILED, Say.FAILED, what)
            await self.world.sleep(POLL)


def _runs(situation: Situation, besides: frozenset[str]) -> Pod | None:
    """A pod of the volume that runs on a Ready node; what another node is said to run is hearsay, the old one's too."""
    nodes = situation.snapshot.seen(NODES)
    ready = {n.metadata.name for n in (nodes.full if nodes else ()) if n.is_ready} - {situation.params.get("node", "")}
    for pod in situation.users():
        meta = pod.metadata
        counts = meta.uid not in besides and meta.deletion_timestamp is None and pod.spec.node_name in ready
        if counts and pod.status.phase == "Running":
            return pod
    return None
