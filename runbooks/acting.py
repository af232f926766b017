"""Does one act of an approved plan: judge again, write the intent, act, verify, write the outcome; or take it back.

Invariant: no act without a journaled intent; an intent whose outcome is missing is verified against the cluster before
anything else, and never repeated blindly.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection

from diagnostics.sources import CouldNotLook
from runbooks import judging
from runbooks import plan as plans
from runbooks.actions import ActFailed, ActStopped, OutcomeUnknown, all_actions
from runbooks.approval import counts_at
from runbooks.events import Say
from runbooks.execution import Entry, State
from runbooks.guards import Answer, Ruling
from runbooks.hands import Hands
from runbooks.model import CheckBecomes, GuardCall, Replacement, Step
from runbooks.plan import PlannedStep
from runbooks.situation import Planned, Situation
from runbooks.standing import STANDING
from runbooks.verifying import BETWEEN_LOOKS, LOOKS, POLL, Pass, Stop

_LIMIT = "within_blast_radius"
PASSES = frozenset({"outside_change_freeze", _LIMIT, "not_already_running"})
"""The guards whose refusal passes by itself: a freeze, a limit, another execution."""
UNDONE = ".undo"
"""What the journal's name of a step that was taken back ends in."""


def judge_all(calls: Sequence[GuardCall], situation: Situation) -> list[tuple[str, Ruling]]:
    """Every guard with its ruling."""
    return [(call.name, judging.judge(call, situation)) for call in calls]


class Acting(Pass):
    """The part of a pass that changes things."""

    async def act(self, step: Step, planned: PlannedStep) -> str:
        """Do the act of a step, unless it has been done.

        Raises:
            Stop: it must not be done, failed, or its outcome is not known.
        """
        act = planned.act
        if act is None:
            raise Stop(State.FAILED, Say.REFUSED, f"step {step.id} is not in the approved plan")
        if (said := await self.settled(step, planned.id, act)) is not None:
            return said
        async with self.world.hands(self.plan.requester) as hands:
            for _ in range(LOOKS):
                situation = await self.situation(act, await hands.admission(act))
                rulings = judge_all(judging.required(step), situation)
                if any(r.answer is Answer.UNKNOWN for _, r in rulings) or all(r.allowed for _, r in rulings):
                    break
                await self.world.sleep(BETWEEN_LOOKS)
            conditions = judge_all(step.when, situation)
            if any(r.answer is Answer.REFUSED for _, r in conditions) and not any(
                r.answer is Answer.UNKNOWN for _, r in conditions
            ):
                why = "not needed any more: " + "; ".join(reason for _, r in conditions for reason in r.reasons)
                detail = {"step": planned.id, "reasons": [why]}
                await asyncio.to_thread(self.store.record, "left out", self.person.id, self.execution.id, detail)
                return why
            self.in_time()
            everything = (*conditions, *rulings)
            self._allowed(everything)
            self._as_approved(planned, rulings)
            entry = await self._do(planned.id, situation, everything, hands, step.timeout)
        return f"{act.says}: {await self._verified(step, act, entry)}"

    def _allowed(self, rulings: Sequence[tuple[str, Ruling]]) -> None:
        """Refuse an act that not all guards allow. What only has to wait, such as for a thaw, is paused."""
        silent = ("it does not say why",)
        bad = [(name, reason) for name, r in rulings if not r.allowed for reason in r.reasons or silent]
        if not bad:
            return
        reason = "; ".join(f"{name}: {why}" for name, why in bad)
        if {name for name, _ in bad} <= PASSES:
            raise Stop(State.PAUSED, Say.REFUSED, reason)
        raise Stop(State.FAILED, Say.REFUSED, reason)

    def in_time(self) -> None:
        """Refuse to begin an act for which the approval is over.

        A run that began in time may take as long as it takes. One that was interrupted may be gone on with later, but
        then it only settles what was begun: nobody has approved the rest for that time. The same is so where those who
        approved it may not do so any more. A person's fresh word on a step keeps an approval alive for a while.
        """
        if self.resumed and counts_at(self.plan, self.statements, self.world.now()) >= self.plan.expires:
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

    async def last_entry(self, step: str) -> Entry | None:
        """The newest attempt at a step's act."""
        entries = await asyncio.to_thread(self.store.entries, self.execution.id)
        return next((entry for entry in reversed(entries) if entry.step == step), None)

    async def settled(self, step: Step, name: str, act: Planned) -> str | None:
        """What an earlier attempt at this act came to: what is done already is said, and not done again.

        An attempt without an outcome is in doubt. It may still land until its time-out has passed, so that is waited
        for; then fresh facts tell. What they show as not done may be tried again, behind the same guards.
        """
        last = await self.last_entry(name)
        if last is not None and last.outcome == "not done" and (settles := all_actions()[act.action].settles):
            await self.world.sleep(settles)  # a person may have said so, and what is on its way may land still
        if last is None or last.outcome not in (None, "done", "unverified"):
            return None
        if last.outcome is None and not await self._was_done(name, act, last):
            return None
        self.done.append(act)
        if last.outcome == "done" and last.said is not None:
            return last.said or "done before"
        what = "in doubt after an interruption; verified: done" if last.outcome is None else act.says
        return f"{what}; {await self._verified(step, act, last)}"

    async def _was_done(self, name: str, act: Planned, entry: Entry) -> bool:
        # When its last request was sent is not known: only that none is sent from now on.
        if settles := all_actions()[act.action].settles:
            await self.world.sleep(settles)
        verdict = all_actions()[act.action].done(act, await self.situation(act, heeding=False))
        if verdict is None:
            what = f"whether step {name} was done cannot be seen now: look again later"
            raise Stop(State.IN_DOUBT, Say.IN_DOUBT, what)
        self.unsettled = False
        if verdict:
            await self._conclude(entry, "done", None)
        else:
            await self._conclude(entry, "not done", "in doubt after an interruption; verified: not done")
        return verdict

    async def _do(
        self, name: str, situation: Situation, rulings: Sequence[tuple[str, Ruling]], hands: Hands, timeout: timedelta
    ) -> Entry:
        act = situation.act
        assert act is not None, "what is done has been judged"
        self.still_ours()
        seen = [{"guard": guard, "answer": r.answer, "reasons": list(r.reasons)} for guard, r in rulings]
        still = partial(self._still_allowed, situation, PASSES & {guard for guard, _ in rulings})
        entry = await asyncio.to_thread(self.store.intend, self.lease, name, act, seen, still)
        try:
            await self._apply(act, hands, timeout)
        except ActFailed as error:
            await self._conclude(entry, "failed", str(error))
            raise Stop(State.FAILED, Say.FAILED, str(error)) from None
        except ActStopped as error:
            await self._conclude(entry, "stopped", str(error))
            raise Stop(State.FAILED, Say.FAILED, str(error)) from None
        except (OutcomeUnknown, CouldNotLook, TimeoutError) as error:
            what = str(error) or f"no answer within {timeout.total_seconds():g} s"
            raise Stop(State.IN_DOUBT, Say.IN_DOUBT, what) from None
        await self._conclude(entry, "done", None)
        self.done.append(act)
        return entry

    def _still_allowed(self, situation: Situation, guards: frozenset[str], connection: Connection) -> None:
        """Judge within the intent's transaction what other people and executions may have changed a moment ago.

        Raises:
            Stop: a freeze, a limit or another execution keeps the act from being begun.
        """
        snapshot = situation.snapshot.with_fact(STANDING, self.standing(connection))
        now = replace(situation, snapshot=snapshot)
        self._allowed(judge_all([GuardCall(name=name) for name in sorted(guards)], now))

    async def _apply(self, act: Planned, hands: Hands, timeout: timedelta) -> None:
        """Do it, for as long as the lease is kept: after that another process may be at it.

        Raises:
            LostLease: the lease could not be kept meanwhile; whether it was done is not known.
            TimeoutError: it took too long.
        """
        doing = asyncio.create_task(hands.apply(act))
        try:
            await asyncio.wait(
                {doing, self.keeper}, timeout=timeout.total_seconds(), return_when=asyncio.FIRST_COMPLETED
            )
            if doing.done():
                doing.result()
                return
        finally:
            if not doing.done():
                doing.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await doing
        self.still_ours()
        raise TimeoutError

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
            return await self.until(verify, within, act)
        if isinstance(verify, CheckBecomes):
            return await self.check_becomes(verify, within)
        if isinstance(verify, Replacement):
            return await self.running(verify.within, deleted=act)
        return "done"

    async def take_back(self, step: Step, planned: PlannedStep) -> str:
        """Take back the act of a step that was done: behind the guards of the action that does it, and journaled.

        Raises:
            Stop: it must not be, failed, or its outcome is not known.
        """
        undoing = planned.undoing
        assert undoing is not None, "only what has something that takes it back is taken back"
        name = f"{planned.id}{UNDONE}"
        last = await self.last_entry(name)
        if last is not None and last.outcome is None:
            await self._was_done(name, undoing, last)
            last = await self.last_entry(name)
        if last is not None and last.outcome == "done":
            return f"taken back: {undoing.says}"
        async with self.world.hands(self.plan.requester) as hands:
            situation = await self.situation(undoing, await hands.admission(undoing))
            # A limit keeps things from running away; it must not keep them half done.
            guards = [call for call in judging.guards_of(undoing.action) if call.name != _LIMIT]
            rulings = judge_all(guards, situation)
            self.in_time()
            self._allowed(rulings)
            entry = await self._do(name, situation, rulings, hands, step.timeout)
        await self._seen_taken_back(undoing, entry, step.timeout)
        return f"taken back: {undoing.says}"

    async def _seen_taken_back(self, undoing: Planned, entry: Entry, within: timedelta) -> None:
        """Wait until fresh facts show that an act was taken back.

        Raises:
            Stop: they do not, or nothing can be seen.
        """
        deadline = self.world.now() + within
        while True:
            verdict = all_actions()[undoing.action].done(undoing, await self.situation(undoing))
            if verdict:
                await self._note_verified(entry, "taken back", holds=True)
                return
            if self.world.now() >= deadline:
                if verdict is None:
                    what = f"whether this was done cannot be seen now: {undoing.says}"
                    raise Stop(State.IN_DOUBT, Say.IN_DOUBT, what)
                reason = f"this was done and is not so: {undoing.says}"
                await self._note_verified(entry, reason, holds=False)
                raise Stop(State.FAILED, Say.FAILED, reason)
            await self.world.sleep(POLL)
