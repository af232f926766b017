"""Plans, requests, approvals and executions of one cluster: who may do what, and whether it is still what was approved.

Invariant: nothing is run that was not approved as it is now. Every refusal goes on record with all its reasons.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, NoReturn

import msgspec
from sqlalchemy import Connection

from runbooks import approval as approvals
from runbooks import judging
from runbooks import plan as plans
from runbooks.approval import Approval, Decision, Person
from runbooks.database import StoreError
from runbooks.events import StepEvent
from runbooks.execution import HELD, NOT_BEGUN, AlreadyOpen, Execution, Lease, LostLease, State
from runbooks.governance import standing_of
from runbooks.model import Runbook
from runbooks.owner import has_died, this_process
from runbooks.parameters import subject_of
from runbooks.plan import PLAN_LASTS, Plan
from runbooks.run import Run
from runbooks.standing import ADMISSIONS, STANDING, Rules, Standing, key_of
from runbooks.store import Store
from runbooks.verifying import BETWEEN_LOOKS, LOOKS, World


class Refusal(Exception):
    """A request, an approval or a run is not allowed: all reasons."""

    def __init__(self, what: str, reasons: Sequence[str]) -> None:
        super().__init__(f"{what}: {'; '.join(reasons)}")
        self.what = what
        self.reasons = tuple(reasons)


Finder = Callable[[str], Runbook]
# A lease lasts a minute: a runner that cannot renew it twice in a row still stops in time.
RENEW = 20.0


class Engine:
    """Plans, approvals and executions of one cluster. `who` tells what somebody may do now, by any of their ids."""

    def __init__(
        self, cluster: str, world: World, store: Store, find: Finder, who: Callable[[str], Person],
        rules: Callable[[], Rules] = Rules,
    ) -> None:  # fmt: skip
        self.cluster = cluster
        self.world = world
        self.store = store
        self.find = find
        self.who = who
        self.rules = rules

    @property
    def quorum(self) -> int:
        """How many approvers a critical plan needs now."""
        return self.rules().quorum

    async def plan(self, runbook: Runbook, params: dict[str, str], person: Person) -> Plan:
        """Make a plan from fresh facts."""
        await asyncio.to_thread(self.store.interrupted, has_died)  # so that no dead runner's stands in the way
        expires = self.world.now().replace(microsecond=0) + PLAN_LASTS
        return await self._made(runbook, params, person.id, expires, "")

    async def _made(
        self, runbook: Runbook, params: dict[str, str], requester: str, expires: datetime, execution: str
    ) -> Plan:
        async with self.world.hands(requester) as hands:
            for _ in range(LOOKS):
                snapshot = await self.world.look(judging.reads_of(runbook), subject_of(params))
                standing = await asyncio.to_thread(self._standing, runbook.id, execution)
                snapshot = snapshot.with_fact(STANDING, standing)
                # What would be done is known first, and then what the API server says to it.
                draft = plans.make(self.cluster, runbook, params, snapshot, requester, expires)
                admissions = {key_of(act): await hands.admission(act) for act in draft.acts}
                snapshot = snapshot.with_fact(ADMISSIONS, admissions)
                plan = plans.make(self.cluster, runbook, params, snapshot, requester, expires)
                if not plan.may_pass:
                    break
                await self.world.sleep(BETWEEN_LOOKS)
        return plan

    def _standing(self, runbook: str, execution: str, connection: Connection | None = None) -> Standing:
        """How things stand around a runbook, within a transaction if there is one. Blocks."""
        rules = self.rules()
        if connection is None:
            found = self.store.standing(self.cluster, runbook, execution, rules.longest)
        else:
            now = self.store.now()
            found = standing_of(connection, now, self.cluster, runbook, execution, rules.longest)
        closed = rules.closed(runbook, self.world.now())
        return msgspec.structs.replace(found, closed=closed, limits=rules.limits)

    async def request(
        self, plan: Plan, person: Person, besides: Sequence[str] = (),
        also: Callable[[Connection, Execution], None] | None = None,
    ) -> Execution:  # fmt: skip
        """Ask for a plan to be run. `besides` are reasons of the caller's own why not, such as a plan that was asked for.

        `also` is done in the transaction that keeps the execution; what it raises undoes that, and comes out of here.

        Raises:
            Refusal: the person may not, a guard does not allow it, or another execution does the same; with all reasons.
        """
        reasons = [*besides, *self.not_ours(plan), *approvals.may_request(plan, person), *plan.refusals]
        if self.world.now() >= plan.expires:
            reasons.append(f"the plan expired at {plan.expires:%H:%M:%S} UTC: plan it anew")
        what = f"{plan.runbook}@{plan.version}"
        detail = {"runbook": what, "params": plan.params}
        if reasons:
            await self.refuse("refused", f"{what} is refused", person, "", reasons, **detail)
        await asyncio.to_thread(self.store.interrupted, has_died)  # so that no dead runner's stands in the way
        try:
            made = await asyncio.to_thread(self.store.create, plan, also)
        except AlreadyOpen as other:
            await self.refuse("refused", f"{what} is refused", person, "", [str(other)], **detail)
        return made

    async def approve(self, execution: Execution, person: Person, confirmed: str | None = None) -> Decision:
        """Approve an execution: the person's right first, then the plan anew from fresh facts.

        Raises:
            Refusal: the approval does not count, or what was asked for is not what would be done now.
        """
        execution = await asyncio.to_thread(self.store.get, execution.id)
        plan, now = execution.plan, self.world.now()
        approval = Approval(person, plan.hash, confirmed, now)
        reasons = [*self.not_ours(plan), *approvals.may_approve(plan, approval, now)]
        if execution.state is not State.WAITING:
            reasons.append(f"{execution.id} is {execution.state}: there is nothing to approve")
        verdicts: dict[str, str] = {}
        if not reasons:
            reasons = await self._void_if_changed(execution, verdicts)
        what = f"the approval of {execution.id} is refused"
        if reasons:
            await asyncio.to_thread(self.store.expire, self.world.now())
            await self.refuse("approval refused", what, person, execution.id, reasons)
        try:
            await asyncio.to_thread(self.store.approve, execution.id, approval, verdicts)
        except LostLease as lost:
            await self.refuse("approval refused", what, person, execution.id, [str(lost)])
        decision = await self._decision(execution)
        if decision.allowed:
            await self._move_on(execution, State.APPROVED, person, (State.WAITING,), "approval")
        return decision

    async def _decision(self, execution: Execution) -> Decision:
        """Whether an execution may be run now, by the roles that its approvers have now."""
        given = await asyncio.to_thread(self.store.approvals, execution.id)
        words = await asyncio.to_thread(self.store.statements, execution.id)
        when = approvals.counts_at(execution.plan, words, self.world.now())
        return approvals.decide(execution.plan, approvals.anew(given, self.who), when, self.quorum)

    async def deny(self, execution: Execution, person: Person, why: str) -> None:
        """Deny an execution. An approver may, and the requester may take the request back.

        Raises:
            Refusal: the person may not, or it has begun already.
        """
        execution = await asyncio.to_thread(self.store.get, execution.id)
        reasons = list(approvals.may_deny(execution.plan, person))
        if execution.state not in NOT_BEGUN:
            reasons.append(f"{execution.id} is {execution.state}: there is nothing to deny")
        elif await asyncio.to_thread(self.store.entries, execution.id):
            reasons.append(f"{execution.id} has begun to act: cancel it instead")
        if reasons:
            what = f"the denial of {execution.id} is refused"
            await self.refuse("denial refused", what, person, execution.id, reasons)
        await self._move_on(execution, State.DENIED, person, NOT_BEGUN, "denial", why)

    async def _move_on(
        self, execution: Execution, to: State, person: Person, only_from: Sequence[State], what: str, why: str = ""
    ) -> None:
        """Change the state that was looked at, and no other: somebody else may have gone on with it meanwhile."""
        event = "may run" if to is State.APPROVED else None  # the approvals themselves have rows of their own
        try:
            await asyncio.to_thread(
                lambda: self.store.move(execution.id, to, person.id, why, only_from=only_from, event=event)
            )
        except LostLease:
            now = await asyncio.to_thread(self.store.get, execution.id)
            if now.state is not to:
                reasons = [f"{execution.id} is {now.state} by now"]
                await self.refuse(
                    f"{what} refused", f"the {what} of {execution.id} is refused", person, now.id, reasons
                )

    async def refuse(
        self, event: str, what: str, person: Person, execution: str, reasons: Sequence[str], **detail: Any
    ) -> NoReturn:
        """Put a refusal on record, and raise it."""
        await asyncio.to_thread(self.store.record, event, person.id, execution, {**detail, "reasons": list(reasons)})
        raise Refusal(what, reasons)

    def not_ours(self, plan: Plan) -> list[str]:
        """Why a plan is none of this engine's: it is for another cluster, or is not what was made.

        Objects of the same name in another cluster are none of its business, and a row that somebody edited is no plan.
        """
        reasons = []
        if plan.cluster != self.cluster:
            reasons.append(f"the plan is for cluster {plan.cluster}, not for {self.cluster}")
        if plans.digest(plan) != plan.hash:
            reasons.append("the plan is not the one that was made: its hash does not fit")
        return reasons

    async def _void_if_changed(self, execution: Execution, verdicts: dict[str, str] | None = None) -> list[str]:
        """Why what was asked for is not what would be done now: the plan made anew must have the same hash.

        `verdicts` takes what the guards said now.
        """
        plan = execution.plan
        if replaced := await self._void_if_replaced(execution):
            return replaced
        runbook = self.find(f"{plan.runbook}@{plan.version}")
        now = await self._made(runbook, plan.params, plan.requester, plan.expires, execution.id)
        if verdicts is not None:
            verdicts |= now.verdicts
        if now.refusals:  # what could not be seen just now has not changed: that is refused, and may be tried again
            return await self._void(execution, list(now.refusals)) if now.is_refused else list(now.refusals)
        return await self._void(execution, list(plans.differences(plan, now)))

    async def _void_if_replaced(self, execution: Execution) -> list[str]:
        """Why the runbook is not the file that the plan was made from."""
        plan = execution.plan
        name = f"{plan.runbook}@{plan.version}"
        try:
            runbook = self.find(name)
        except LookupError as error:
            return await self._void(execution, [str(error)])
        if runbook.sha256 == plan.sha256:
            return []
        return await self._void(execution, [f"{name} is not the file that the plan was made from: plan it anew"])

    async def _void(self, execution: Execution, reasons: list[str]) -> list[str]:
        """End an execution that nobody runs, for these reasons, if there are any."""
        if reasons:
            waits = (*NOT_BEGUN, *HELD)
            with suppress(LostLease):
                await asyncio.to_thread(
                    lambda: self.store.move(execution.id, State.VOID, "engine", "; ".join(reasons), only_from=waits)
                )
        return reasons

    async def run(self, execution_id: str, person: Person) -> AsyncGenerator[StepEvent]:
        """Run an approved execution, or go on with an interrupted one, to its end.

        Whoever stops listening stops the run after the act that is under way; it may then be gone on with.

        Raises:
            Refusal: the person may not, it is not approved, or what was approved is not what would be done now.
        """
        await asyncio.to_thread(self.store.interrupted, has_died)
        execution = await asyncio.to_thread(self.store.get, execution_id)
        tried = await asyncio.to_thread(self.store.entries, execution_id)
        await self._may_run(execution, person, begun=bool(tried))
        what = f"{execution_id} cannot be run"
        try:
            lease = await asyncio.to_thread(
                lambda: self.store.take(execution_id, this_process(), person.id, gone=has_died, seen=execution.state)
            )
        except LostLease as lost:
            await self.refuse("run refused", what, person, execution_id, [str(lost)])
        keeper = asyncio.create_task(self._keep(lease))
        try:
            # Looking took a while: an approval may have been taken back or run out since. From here on nobody can.
            decision = await self._decision(execution)
            if not tried and not decision.allowed:
                await asyncio.to_thread(self.store.leave, lease)
                await self.refuse("run refused", what, person, execution_id, decision.reasons)
            barred = decision.reasons
            runbook = self.find(f"{execution.plan.runbook}@{execution.plan.version}")
            run = Run(
                self.store, self.world, runbook, execution, lease, person, keeper, barred,
                lambda connection=None: self._standing(execution.plan.runbook, execution.id, connection), self.who,
            )  # fmt: skip
            async with aclosing(run.steps()) as events:
                async for event in events:
                    yield event
        finally:
            keeper.cancel()
            with suppress(LostLease, StoreError):  # it has ended, or the database is away and the lease will run out
                await asyncio.to_thread(self.store.leave, lease)

    async def _may_run(self, execution: Execution, person: Person, *, begun: bool) -> None:
        """Insist that a person may run an execution."""
        reasons = [*self.not_ours(execution.plan), *approvals.may_run(execution.plan, person, begun=begun)]
        decision = await self._decision(execution)
        if execution.state not in (*NOT_BEGUN, *HELD):
            reasons.append(f"{execution.id} is {execution.state}")
        elif not begun:
            if decision.waiting and not reasons:
                await self._to_waiting(execution, decision)
            reasons.extend(decision.reasons)
            await asyncio.to_thread(self.store.expire, self.world.now())
        if not reasons:
            reasons = await (self._void_if_replaced(execution) if begun else self._void_if_changed(execution))
        if reasons:
            await self.refuse("run refused", f"{execution.id} cannot be run", person, execution.id, reasons)

    async def waits_again(self, execution: Execution) -> None:
        """Leave an execution waiting for approval, where those that it has are not enough any more."""
        decision = await self._decision(execution)
        if decision.waiting:
            await self._to_waiting(execution, decision)

    async def _to_waiting(self, execution: Execution, decision: Decision) -> None:
        """An approval that does not count any more leaves an execution waiting, so that another one can be given."""
        why, begins = "; ".join(decision.reasons), (State.APPROVED, State.PAUSED, State.ASKING)
        with suppress(LostLease):
            await asyncio.to_thread(
                lambda: self.store.move(execution.id, State.WAITING, "engine", why, only_from=begins)
            )

    async def _keep(self, lease: Lease) -> str:
        """Renew a lease until that fails, and say why it did."""
        while True:
            await asyncio.sleep(RENEW)
            try:
                await asyncio.to_thread(self.store.renew, lease)
            except (LostLease, StoreError) as error:
                return str(error)


__all__ = ["Engine", "Refusal", "World", "has_died", "this_process"]
