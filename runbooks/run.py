"""One pass through an approved plan, and nothing but it: step after step, until it ends or waits for a person.

Invariant: nothing acts that is not in the approved plan.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from diagnostics.catalog import all_checks
from diagnostics.scan import judged
from runbooks.acting import UNDONE, Acting
from runbooks.approval import may_say
from runbooks.events import Say, StepEvent
from runbooks.execution import LostLease, Said, State, Statement
from runbooks.model import GuardCall, Step, fill_in
from runbooks.plan import PLAN_LASTS, PlannedStep
from runbooks.situation import Planned
from runbooks.verifying import Stop


class Run(Acting):
    """One pass through the steps of one execution."""

    before_acts = True
    acted = False

    async def steps(self) -> AsyncGenerator[StepEvent]:
        """Go through the steps; the last event says how it ended."""
        try:
            entries = await asyncio.to_thread(self.store.entries, self.execution.id)
            self.resumed = bool(entries)
            self.unsettled = any(entry.outcome is None for entry in entries)
            self.acted = any(entry.outcome not in ("failed", "not done") for entry in entries)
            self.statements = await asyncio.to_thread(self.store.statements, self.execution.id)
            undone = next((entry.step.removesuffix(UNDONE) for entry in entries if entry.step.endswith(UNDONE)), None)
            async with aclosing(self._through(undone)) as events:
                async for event in events:
                    yield event
        except LostLease as lost:
            yield StepEvent("", Say.ENDED, f"stopped: {lost}")

    async def _through(self, undone: str | None) -> AsyncGenerator[StepEvent]:
        """`undone`: a step that an earlier pass began to take back; then only that is gone on with."""
        current = ""
        try:
            for step, planned in zip(self.runbook.steps, self.plan.steps, strict=True):
                if undone is not None:
                    break
                current = step.id
                self.before_acts = self.before_acts and not planned.acts
                async with aclosing(self._step(step, planned)) as events:
                    async for event in events:
                        yield event
            if undone is None:
                await self._move(State.DONE, "")
                yield StepEvent("", Say.ENDED, "done")
                return
            raise Stop(State.FAILED, Say.FAILED, "taking back what was done was interrupted")
        except Stop as stop:
            async with aclosing(self._stopped(stop, current, undoing=undone is not None)) as events:
                async for event in events:
                    yield event

    async def _stopped(self, stop: Stop, current: str, *, undoing: bool) -> AsyncGenerator[StepEvent]:
        """End the pass as the step that stopped it says: stop, take back what was done, or ask a person."""
        step = next((step for step in self.runbook.steps if step.id == current), None)
        failed = stop.state is State.FAILED
        if undoing or (failed and step is not None and step.on_failure == "undo"):
            yield StepEvent(current, stop.say, stop.reason)
            async with aclosing(self._take_back(stop)) as events:
                async for event in events:
                    yield event
            return
        if failed and step is not None and step.on_failure == "ask":
            reason = f"step {step.id}: {stop.reason}"
            await self._move(State.ASKING, reason, asking=step.id)
            yield StepEvent(current, stop.say, stop.reason)
            yield StepEvent("", Say.ENDED, f"asking: {reason}; try again, skip it or cancel")
            return
        await self._move(stop.state, stop.reason, asking=current if stop.state is State.ASKING else None)
        for note in self._notes_that_stand(current) if stop.state.ended else ():
            yield note
        yield StepEvent(current, stop.say, stop.reason)
        yield StepEvent("", Say.ENDED, f"{stop.state}: {stop.reason}")

    async def _take_back(self, failure: Stop) -> AsyncGenerator[StepEvent]:
        """Take back, newest first, what this execution did and what its plan can take back."""
        entries = await asyncio.to_thread(self.store.entries, self.execution.id)
        did = {entry.step: entry.act for entry in entries if entry.outcome in ("done", "unverified", "stopped")}
        self.done = [*self.done, *(act for act in did.values() if act not in self.done)]
        said = []
        try:
            for step, planned in reversed(list(zip(self.runbook.steps, self.plan.steps, strict=True))):
                if planned.id in did and planned.undoing is not None:
                    told = await self.take_back(step, planned)
                    said.append(told)
                    yield StepEvent(step.id, Say.DONE, told)
        except Stop as stop:
            waits = stop.state in (State.IN_DOUBT, State.PAUSED, State.CANCELLED)
            state = stop.state if waits else State.FAILED
            reason = f"{failure.reason}; and taking it back did not work: {stop.reason}"
            await self._move(state, reason)
            yield StepEvent("", Say.ENDED, f"{state}: {reason}")
            return
        reason = "; ".join((failure.reason, *said))
        await self._move(State.FAILED, reason)
        yield StepEvent("", Say.ENDED, f"failed: {reason}")

    def _notes_that_stand(self, current: str) -> list[StepEvent]:
        """What to know of acts that were done before the run broke off: a fence stays, whatever came after it."""
        ids = [step.id for step in self.runbook.steps]
        done = [act for act in self.done if act.action != "attest"]
        fenced = any(act.action == "ceph.fence" for act in done)
        rest = self.runbook.steps[ids.index(current) + 1 :] if fenced and current in ids else ()
        planned = {step.id: step for step in self.plan.steps}
        said = [StepEvent("", Say.NOTE, "done before that, and it stands: " + "; ".join(act.says for act in done))]
        notes = [step for step in rest if step.note is not None and planned[step.id].skipped is None]
        return said[: len(done)] + [
            StepEvent(step.id, Say.NOTE, fill_in(step.note or "", self.plan.params)) for step in notes
        ]

    async def _move(self, state: State, reason: str, asking: str | None = None) -> None:
        await asyncio.to_thread(
            lambda: self.store.move(
                self.execution.id, state, self.person.id, reason, lease=self.lease, asking=asking
            )
        )  # fmt: skip

    async def _step(self, step: Step, planned: PlannedStep) -> AsyncGenerator[StepEvent]:
        if planned.skipped is not None:
            yield StepEvent(step.id, Say.SKIPPED, planned.skipped)
            return
        if (word := self._word(step.id, Said.SKIP)) is not None:
            yield StepEvent(step.id, Say.SKIPPED, f"{word.person} said to skip it: {word.said}")
            return
        if step.note is not None:
            yield StepEvent(step.id, Say.NOTE, fill_in(step.note, self.plan.params))
            return
        yield StepEvent(step.id, Say.BEGUN, planned.says)
        await self.heed()
        said = ""
        if step.check is not None:
            said = await self._check(step)
        elif step.prove is not None:
            said = await self.until(step.prove, step.within or timedelta(0), None)
        elif step.wait is not None:
            async with aclosing(self._wait(step, planned)) as events:
                async for event in events:
                    yield event
        elif step.manual is not None:
            said = await self._manual(step)
        elif step.attest is not None:
            said = self._attested(step, planned.attest)
        else:
            said = await self.act(step, planned)
        if said:
            yield StepEvent(step.id, Say.DONE, said)

    def _word(self, step: str, kind: Said) -> Statement | None:
        """The last thing that a person said of a step, if it is of this kind, and they may still say so."""
        last = next((word for word in reversed(self.statements) if word.step == step), None)
        if last is None or last.kind is not kind:
            return None
        return None if may_say(self.plan, self.who(last.person), kind, last.said) else last

    async def _check(self, step: Step) -> str:
        """Judge a check anew. Those before the first act have served their purpose once the execution has acted."""
        if self.acted and self.before_acts:
            return "looked at before the first act"
        situation = await self.situation()
        listed = next(listed for listed in all_checks() if listed.id == step.check)
        outcome = judged(listed, situation.snapshot)
        if outcome.status != step.becomes:
            why = outcome.reason or "nothing was found"
            raise Stop(State.FAILED, Say.REFUSED, f"{listed.id} is {outcome.status}, not {step.becomes}: {why}")
        return outcome.findings[0].summary if outcome.findings else f"{listed.id} is {outcome.status}"

    async def _manual(self, step: Step) -> str:
        """Wait for a person to do what is written; what they say they did is verified where that can be."""
        word = self._word(step.id, Said.DONE)
        if word is None:
            raise Stop(State.ASKING, Say.NOTE, f"by hand: {fill_in(step.manual or '', self.plan.params)}")
        said = f"done by hand, says {word.person}" + (f": {word.said}" if word.said else "")
        if isinstance(step.verify, GuardCall):
            said += f"; {await self.until(step.verify, step.timeout, None)}"
        return said

    def _attested(self, step: Step, word: Planned | None) -> str:
        """Wait for a person's word; one that was given too long ago must be given again."""
        given = self._word(step.id, Said.ATTESTED)
        fresh = given is not None and timedelta(0) <= self.world.now() - given.at < PLAN_LASTS
        if word is None or given is None or not fresh:
            raise Stop(State.ASKING, Say.NOTE, word.says if word else "this plan attests nothing")
        self.done.append(word)
        return f"attested by {given.person} at {given.at:%H:%M:%S} UTC: {word.says}"

    async def _wait(self, step: Step, planned: PlannedStep) -> AsyncGenerator[StepEvent]:
        """Wait for the pod; when it does not come in time, do what the plan holds ready."""
        otherwise, held = step.otherwise, planned.otherwise
        if otherwise and held and held.act and (said := await self.settled(otherwise, held.id, held.act)) is not None:
            yield StepEvent(step.id, Say.DONE, said)  # an interrupted run had waited in vain already
            return
        try:
            said = await self.running(step.within or timedelta(0))
        except Stop as stop:
            if otherwise is None or held is None or stop.state is not State.FAILED:
                raise
            if held.skipped is not None:
                raise Stop(stop.state, stop.say, f"{stop.reason}; {held.skipped}") from None
            yield StepEvent(otherwise.id, Say.BEGUN, f"{stop.reason}: {held.says}")
            said = await self.act(otherwise, held)
        yield StepEvent(step.id, Say.DONE, said)
