"""Runs an approved plan, and nothing but it: judge again, write the intent, act, verify, write the outcome.

Invariant: nothing acts that is not in the approved plan; no act without a journaled intent; an intent whose outcome is
missing is verified against the cluster before anything else, and never repeated blindly.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from diagnostics.catalog import all_checks
from diagnostics.facts import Read, Snapshot
from diagnostics.model import Status, Subject
from diagnostics.scan import judged
from runbooks import approval as approvals
from runbooks import plan as plans
from runbooks.actions import ActFailed, Clients, OutcomeUnknown, all_actions
from runbooks.approval import Approval, Decision, Person
from runbooks.guards import Answer
from runbooks.model import CheckBecomes, GuardCall, Replacement, Runbook, Step, fill_in
from runbooks.plan import PLAN_LASTS, Judged, Plan, PlannedStep
from runbooks.situation import Planned, Situation
from runbooks.store import Entry, Execution, Lease, LostLease, State, Store


class Refusal(Exception):
    """A request, an approval or a run is not allowed: all reasons."""

    def __init__(self, what: str, reasons: Sequence[str]) -> None:
        super().__init__(f"{what}: {'; '.join(reasons)}")
        self.what = what
        self.reasons = tuple(reasons)


class Say(StrEnum):
    """What happened to a step."""

    BEGUN = "begun"
    DONE = "done"
    SKIPPED = "skipped"
    NOTE = "note"
    REFUSED = "refused"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    ENDED = "ended"


@dataclass(frozen=True)
class StepEvent:
    """Progress, for whoever shows it. `step` is "" for the execution as a whole."""

    step: str
    say: Say
    text: str


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


Finder = Callable[[str], Runbook]
POLL = 2.0
# The waiting kubelet's own tries open the image for moments. A refusal is looked at again, never overruled.
LOOKS = 3
BETWEEN_LOOKS = 1.0


def this_process() -> str:
    """An owner's name that tells later whether it still lives: host, pid and the start of that process."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def has_died(owner: str) -> bool:
    """Whether an owner was a process of this host that is no more. Of other hosts only their lease tells."""
    host, _, rest = owner.rpartition(":")
    host, _, pid = host.rpartition(":")
    return host == socket.gethostname() and pid.isdigit() and _started(int(pid)) != rest


def _started(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


class Engine:
    """Plans, approvals and executions of one cluster."""

    def __init__(self, cluster: str, world: World, store: Store, find: Finder, quorum: int = 1) -> None:
        self.cluster = cluster
        self.world = world
        self.store = store
        self.find = find
        self.quorum = quorum

    async def plan(self, runbook: Runbook, params: dict[str, str], person: Person) -> Plan:
        """Make a plan from fresh facts."""
        expires = self.world.now().replace(microsecond=0) + PLAN_LASTS
        return await self._made(runbook, params, person.id, expires)

    async def _made(self, runbook: Runbook, params: dict[str, str], requester: str, expires: datetime) -> Plan:
        for _ in range(LOOKS):
            snapshot = await self.world.look(plans.reads_of(runbook), subject_of(params))
            plan = plans.make(self.cluster, runbook, params, snapshot, requester, expires)
            if not plan.may_pass:
                break
            await self.world.sleep(BETWEEN_LOOKS)
        return plan

    async def request(self, plan: Plan, person: Person) -> Execution:
        """Ask for a plan to be run.

        Raises:
            Refusal: the person may not, or a guard does not allow it; with all reasons.
        """
        reasons = (*approvals.may_request(plan, person), *plan.refusals)
        if reasons:
            detail = {"runbook": f"{plan.runbook}@{plan.version}", "params": plan.params, "reasons": list(reasons)}
            await asyncio.to_thread(self.store.record, "refused", person.id, "", detail)
            raise Refusal(f"{plan.runbook}@{plan.version} is refused", reasons)
        return await asyncio.to_thread(self.store.create, plan)

    async def approve(self, execution: Execution, person: Person, confirmed: str | None = None) -> Decision:
        """Approve an execution: the person's right first, then the plan anew from fresh facts.

        Raises:
            Refusal: the approval does not count, or what was asked for is not what would be done now.
        """
        plan, now = execution.plan, self.world.now()
        approval = Approval(person, plan.hash, confirmed, now)
        reasons = list(approvals.may_approve(plan, approval, now))
        if execution.state is not State.WAITING:
            reasons.append(f"{execution.id} is {execution.state}: there is nothing to approve")
        if not reasons:
            reasons = await self._void_if_changed(execution)
        if reasons:
            await asyncio.to_thread(
                self.store.record, "approval refused", person.id, execution.id, {"reasons": reasons}
            )
            raise Refusal(f"the approval of {execution.id} is refused", reasons)
        await asyncio.to_thread(self.store.approve, execution.id, approval)
        given = await asyncio.to_thread(self.store.approvals, execution.id)
        decision = approvals.decide(plan, given, now, self.quorum)
        if decision.allowed:
            await asyncio.to_thread(self.store.move, execution.id, State.APPROVED, person.id)
        return decision

    async def deny(self, execution: Execution, person: Person, why: str) -> None:
        """Deny an execution. An approver may, and the requester may take the request back.

        Raises:
            Refusal: the person may not, or it has begun already.
        """
        reasons = []
        if person.id != execution.plan.requester and not person.may("approver"):
            reasons.append(f"{person.id} has not the role approver")
        if execution.state not in (State.WAITING, State.APPROVED):
            reasons.append(f"{execution.id} is {execution.state}: there is nothing to deny")
        if reasons:
            await asyncio.to_thread(self.store.record, "denial refused", person.id, execution.id, {"reasons": reasons})
            raise Refusal(f"the denial of {execution.id} is refused", reasons)
        await asyncio.to_thread(self.store.move, execution.id, State.DENIED, person.id, why)

    async def _void_if_changed(self, execution: Execution) -> list[str]:
        """Why what was asked for is not what would be done now: the plan made anew must have the same hash."""
        plan = execution.plan
        runbook = self.find(f"{plan.runbook}@{plan.version}")
        now = await self._made(runbook, plan.params, plan.requester, plan.expires)
        if now.refusals:
            return list(now.refusals)
        changed = list(plans.differences(plan, now))
        if changed:
            await asyncio.to_thread(self.store.move, execution.id, State.VOID, "engine", "; ".join(changed))
        return changed

    async def run(self, execution_id: str, person: Person) -> AsyncIterator[StepEvent]:
        """Run an approved execution, or go on with an interrupted one, to its end."""
        owner = this_process()
        await asyncio.to_thread(self.store.interrupted, has_died)
        execution = await asyncio.to_thread(self.store.get, execution_id)
        fresh = execution.state in (State.WAITING, State.APPROVED) and not self.store.entries(execution_id)
        await self._may_run(execution, person, fresh=fresh)
        lease = await asyncio.to_thread(lambda: self.store.take(execution_id, owner, gone=has_died))
        keeper = asyncio.create_task(self._keep(lease))
        try:
            async for event in Run(self, execution, lease, person).steps():
                yield event
        finally:
            keeper.cancel()

    async def _may_run(self, execution: Execution, person: Person, *, fresh: bool) -> None:
        given = await asyncio.to_thread(self.store.approvals, execution.id)
        reasons: list[str] = []
        if execution.state.ended or execution.state is State.RUNNING:
            reasons.append(f"{execution.id} is {execution.state}")
        elif fresh:
            reasons.extend(approvals.decide(execution.plan, given, self.world.now(), self.quorum).reasons)
        if not (person.may("responder") or person.may("approver")):
            reasons.append(f"{person.id} has neither the role responder nor approver")
        if not reasons and fresh:
            reasons = await self._void_if_changed(execution)
        if reasons:
            await asyncio.to_thread(self.store.record, "run refused", person.id, execution.id, {"reasons": reasons})
            raise Refusal(f"{execution.id} cannot be run", reasons)

    async def _keep(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(20)
            await asyncio.to_thread(self.store.renew, lease)


def subject_of(params: dict[str, str]) -> Subject | None:
    """What a runbook's facts are gathered around: its image, else its pod or node."""
    if image := params.get("image"):
        return Subject("RBDImage", None, image, "")
    if pod := params.get("pod"):
        namespace, _, name = pod.partition("/")
        return Subject("Pod", namespace, name, "")
    return Subject("Node", None, params["node"], "") if "node" in params else None


def _judge(calls: Sequence[GuardCall], situation: Situation) -> tuple[Judged, ...]:
    rulings = [(call.name, plans.judge(call, situation)) for call in calls]
    return tuple(Judged(name, ruling.answer, ruling.reasons) for name, ruling in rulings)


class Stop(Exception):
    """The run ends here, in this state, for this reason."""

    def __init__(self, state: State, say: Say, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.say = say
        self.reason = reason


class Run:
    """One pass through the steps of one execution."""

    def __init__(self, engine: Engine, execution: Execution, lease: Lease, person: Person) -> None:
        self.engine = engine
        self.store = engine.store
        self.world = engine.world
        self.execution = execution
        self.plan = execution.plan
        self.lease = lease
        self.person = person
        self.runbook = engine.find(f"{self.plan.runbook}@{self.plan.version}")
        self.done: list[Planned] = []

    async def steps(self) -> AsyncIterator[StepEvent]:
        """Go through the steps; the last event says how it ended."""
        current = ""
        try:
            if self.runbook.sha256 != self.plan.sha256:
                raise Stop(
                    State.VOID,
                    Say.REFUSED,
                    f"{self.plan.runbook}@{self.plan.version} is not the file that was approved",
                )
            for step, planned in zip(self.runbook.steps, self.plan.steps, strict=True):
                current = step.id
                async for event in self._step(step, planned):
                    yield event
            await self._move(State.DONE, "")
            yield StepEvent("", Say.ENDED, "done")
        except Stop as stop:
            await self._move(stop.state, stop.reason)
            yield StepEvent(current, stop.say, stop.reason)
            yield StepEvent("", Say.ENDED, f"{stop.state}: {stop.reason}")
        except LostLease as lost:
            yield StepEvent("", Say.ENDED, f"stopped: {lost}")

    async def _move(self, state: State, reason: str) -> None:
        await asyncio.to_thread(
            lambda: self.store.move(self.execution.id, state, self.person.id, reason, lease=self.lease)
        )

    async def _step(self, step: Step, planned: PlannedStep) -> AsyncIterator[StepEvent]:
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
            async for event in self._wait(step, planned):
                yield event
        elif step.manual is not None:
            raise Stop(State.FAILED, Say.NOTE, f"by hand: {fill_in(step.manual, self.plan.params)}")
        else:
            said = await self._act(step, planned)
        if said:
            yield StepEvent(step.id, Say.DONE, said)

    async def _situation(self, act: Planned | None = None) -> Situation:
        snapshot = await self.world.look(plans.reads_of(self.runbook), subject_of(self.plan.params))
        return Situation(snapshot, self.plan.params, act=act, done=tuple(self.done))

    async def _check(self, step: Step) -> str:
        """A check that comes before the first act; once the execution has acted, it has served its purpose."""
        if self.store.entries(self.execution.id):
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
            self.done.append(act)
            return said
        for _ in range(LOOKS):
            situation = await self._situation(act)
            rulings = _judge(step.require, situation)
            if any(r.answer is Answer.UNKNOWN for r in rulings) or all(r.answer is Answer.ALLOWED for r in rulings):
                break
            await self.world.sleep(BETWEEN_LOOKS)
        conditions = _judge(step.when, situation)
        if any(c.answer is Answer.REFUSED for c in conditions) and not any(
            c.answer is Answer.UNKNOWN for c in conditions
        ):
            return "not needed any more: " + "; ".join(reason for c in conditions for reason in c.reasons)
        everything = (*conditions, *rulings)
        bad = [f"{r.guard}: {reason}" for r in everything if r.answer is not Answer.ALLOWED for reason in r.reasons]
        if bad:
            raise Stop(State.FAILED, Say.REFUSED, "; ".join(bad))
        return await self._do(step, act, everything)

    async def _settled(self, step: Step, planned: PlannedStep, act: Planned) -> str | None:
        """What an earlier attempt at this act came to: what is done already is said, and not done again.

        An attempt without an outcome is in doubt. It may still land until its time-out has passed, so that is waited
        for; then fresh facts tell. What they show as not done may be tried again, behind the same guards.
        """
        tried = [entry for entry in self.store.entries(self.execution.id) if entry.step == planned.id]
        if not tried:
            return None
        last = tried[-1]
        if last.outcome == "done":
            return last.said or "done before"
        if last.outcome is not None:
            return None
        action = all_actions()[act.action]
        left = action.settles - (self.world.now() - last.intended).total_seconds()
        if left > 0:
            await self.world.sleep(left)
        verdict = action.done(act, await self._situation(act))
        if verdict is None:
            raise Stop(
                State.IN_DOUBT, Say.IN_DOUBT, f"whether step {step.id} was done cannot be seen now: look again later"
            )
        said = f"in doubt after an interruption; verified: {'done' if verdict else 'not done'}"
        await self._conclude(last, "done" if verdict else "not done", said)
        if not verdict:
            return None
        await self._verify(step, act)
        return said

    async def _do(self, step: Step, act: Planned, rulings: tuple[Judged, ...]) -> str:
        action = all_actions()[act.action]
        async with self.world.clients() as clients:
            try:
                if action.dry_run is not None:
                    await action.dry_run(act, clients)
            except ActFailed as error:
                raise Stop(State.FAILED, Say.REFUSED, f"the server would not accept it: {error}") from None
            seen = [{"guard": r.guard, "answer": r.answer, "reasons": list(r.reasons)} for r in rulings]
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
        self.done.append(act)
        said = await self._verify(step, act)
        await self._conclude(entry, "done", said)
        return f"{act.says}: {said}"

    async def _conclude(self, entry: Entry, outcome: str, said: str) -> None:
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
        """Judge a guard until it allows or the time is over."""
        deadline = self.world.now() + within
        while True:
            ruling = plans.judge(call, await self._situation(act))
            if ruling.allowed:
                return "; ".join(ruling.reasons)
            if self.world.now() >= deadline:
                raise Stop(State.FAILED, Say.FAILED, f"{call.name} does not hold: {'; '.join(ruling.reasons)}")
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
                raise Stop(State.FAILED, Say.FAILED, f"{verify.check} is {outcome.status}, not {verify.becomes}: {why}")
            await self.world.sleep(POLL)

    async def _wait(self, step: Step, planned: PlannedStep) -> AsyncIterator[StepEvent]:
        """Wait for the pod; when it does not come in time, do what the plan holds ready."""
        try:
            said = await self._running(step.within or timedelta(0))
        except Stop as stop:
            if step.otherwise is None or planned.otherwise is None:
                raise
            if planned.otherwise.skipped is not None:
                raise Stop(stop.state, stop.say, f"{stop.reason}; {planned.otherwise.skipped}") from None
            yield StepEvent(step.otherwise.id, Say.BEGUN, f"{stop.reason}: {planned.otherwise.says}")
            said = await self._act(step.otherwise, planned.otherwise)
        yield StepEvent(step.id, Say.DONE, said)

    async def _running(self, within: timedelta, besides: frozenset[str] = frozenset()) -> str:
        """Wait until a pod that uses the volume runs: the waiting one, or (with `besides`) its replacement."""
        deadline = self.world.now() + within
        while True:
            situation = await self._situation()
            node = self.plan.params.get("node")
            for pod in situation.users():
                meta = pod.metadata
                counts = meta.uid not in besides and meta.deletion_timestamp is None and pod.spec.node_name != node
                if counts and pod.status.phase == "Running":
                    return f"{meta.namespace}/{meta.name} is Running on {pod.spec.node_name}"
            if self.world.now() >= deadline:
                raise Stop(
                    State.FAILED, Say.FAILED, f"no pod of the volume got Running within {within.total_seconds():g} s"
                )
            await self.world.sleep(POLL)
