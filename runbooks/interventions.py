"""What people may do to an execution besides approving and running it: say a word, decide a doubt, pause, cancel, freeze.

Every refusal goes on record with all its reasons, and so does every word.
"""

import asyncio

from runbooks import approval as approvals
from runbooks.approval import Person
from runbooks.engine import Engine
from runbooks.execution import HELD, NOT_BEGUN, Execution, LostLease, Said, State
from runbooks.model import Step
from runbooks.owner import has_died


class Interventions:
    """The interventions of people in the executions of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store

    async def say(
        self, execution: Execution, person: Person, kind: Said, said: str = "", confirmed: str | None = None,
        step: str | None = None,
    ) -> Execution:  # fmt: skip
        """Say a word on the step that waits for one: done by hand, attested, try again, skip.

        An attestation is confirmed by typing the name of what it is about. `step` is the one that the person means: a
        word on it never counts for another step that waits by now.

        Raises:
            Refusal: the person may not, or the step does not wait for such a word.
        """
        execution = await asyncio.to_thread(self._store.get, execution.id)
        reasons = [
            *self._engine.not_ours(execution.plan),
            *approvals.may_say(execution.plan, person, kind, said),
            *self._fits(execution, kind, confirmed),
        ]
        if step is not None and execution.asking is not None and step != execution.asking:
            reasons.append(f"this is a word on step {step}, and step {execution.asking} waits for one by now")
        what = f"the word on {execution.id} is refused"
        if reasons or execution.asking is None:
            await self._engine.refuse("word refused", what, person, execution.id, reasons, kind=kind)
        try:
            await asyncio.to_thread(self._store.say, execution.id, execution.asking or "", kind, person.id, said)
        except LostLease as lost:
            await self._engine.refuse("word refused", what, person, execution.id, [str(lost)], kind=kind)
        return await asyncio.to_thread(self._store.get, execution.id)

    def _fits(self, execution: Execution, kind: Said, confirmed: str | None) -> list[str]:
        """Why a word is not what the step waits for."""
        if execution.state is not State.ASKING:
            return [f"{execution.id} is {execution.state}: no step of it waits for anybody's word"]
        plan = execution.plan
        if self._engine.world.now() >= plan.expires + approvals.WORD_KEEPS:
            return [
                f"its approval expired at {plan.expires:%H:%M:%S} UTC, too long ago: cancel it, and ask for it anew"
            ]
        try:
            book = self._engine.find(f"{plan.runbook}@{plan.version}")
        except LookupError as error:
            return [str(error)]
        step = next((step for step in book.steps if step.id == execution.asking), None)
        planned = next((step for step in plan.steps if step.id == execution.asking), None)
        if step is None or planned is None:
            return [f"{plan.runbook}@{plan.version} has no step {execution.asking} any more"]
        if kind is Said.SKIP:
            return []
        wanted = _wanted(step)
        if kind is not wanted:
            return [f"step {step.id} waits for {_WORDS[wanted]}, not for {_WORDS[kind]}"]
        if kind is Said.ATTESTED and planned.attest is not None:
            name = planned.attest.targets[0].name
            if confirmed != name:
                typed = f"not {confirmed!r}" if confirmed else "nothing was typed"
                return [f"an attestation is confirmed by typing {name!r} (--confirm); {typed}"]
        return []

    async def decide(self, execution: Execution, person: Person, *, done: bool, why: str) -> Execution:
        """Say what became of an act that is in doubt and cannot be seen. The execution may then be gone on with.

        Raises:
            Refusal: the person may not, or nothing is in doubt.
        """
        execution = await asyncio.to_thread(self._store.get, execution.id)
        reasons = [*self._engine.not_ours(execution.plan), *approvals.may_decide(execution.plan, person, why)]
        what = f"the decision on {execution.id} is refused"
        if reasons:
            await self._engine.refuse("decision refused", what, person, execution.id, reasons)
        try:
            outcome = "done" if done else "not done"
            await asyncio.to_thread(self._store.decide, execution.id, outcome, person.id, why)
        except LostLease as lost:
            await self._engine.refuse("decision refused", what, person, execution.id, [str(lost)])
        return await asyncio.to_thread(self._store.get, execution.id)

    async def pause(self, execution: Execution, person: Person) -> None:
        """Stop an execution after the act that is under way; it may be gone on with by running it again.

        Raises:
            Refusal: the person may not, or it does not run.
        """
        await self._halt(execution, person, "pause", State.PAUSED, "")

    async def cancel(self, execution: Execution, person: Person, why: str = "") -> None:
        """End an execution: at once where nobody runs it, else after the act that is under way. What was done stands.

        Raises:
            Refusal: the person may not, or it has ended.
        """
        await self._halt(execution, person, "cancel", State.CANCELLED, why)

    async def _halt(self, execution: Execution, person: Person, what: str, to: State, why: str) -> None:
        await asyncio.to_thread(self._store.interrupted, has_died)  # a dead runner heeds nobody
        execution = await asyncio.to_thread(self._store.get, execution.id)
        reasons = list(approvals.may_halt(execution.plan, person))
        entries = await asyncio.to_thread(self._store.entries, execution.id)
        if execution.state is State.IN_DOUBT and any(entry.outcome is None for entry in entries):
            reasons.append("an act of it is in doubt: run it again to find out, or have an admin decide")
        allowed = (*NOT_BEGUN, *HELD) if to is State.CANCELLED else (State.APPROVED,)
        if execution.state is not State.RUNNING and execution.state not in allowed:
            reasons.append(f"{execution.id} is {execution.state}: there is nothing to {what}")
        refused = f"the wish to {what} {execution.id} is refused"
        if reasons:
            await self._engine.refuse(f"{what} refused", refused, person, execution.id, reasons)
        try:
            if execution.state is State.RUNNING:
                await asyncio.to_thread(self._store.want, execution.id, what, person.id, why)
            else:
                said = why or f"{to} by {person.id}"
                await asyncio.to_thread(
                    lambda: self._store.move(execution.id, to, person.id, said, only_from=(execution.state,))
                )
        except LostLease as lost:
            await self._engine.refuse(f"{what} refused", refused, person, execution.id, [str(lost)])

    async def withdraw(self, execution: Execution, person: Person) -> None:
        """Take one's own approval back, as long as nothing was begun.

        Raises:
            Refusal: there is none, or the execution has begun.
        """
        execution = await asyncio.to_thread(self._store.get, execution.id)
        begun = await asyncio.to_thread(self._store.entries, execution.id)
        what = f"taking back the approval of {execution.id} is refused"
        if execution.state not in NOT_BEGUN or begun:
            reasons = [f"{execution.id} is {execution.state}: cancel it instead"]
            await self._engine.refuse("withdrawal refused", what, person, execution.id, reasons)
        if not await asyncio.to_thread(self._store.withdraw, execution.id, person.ids, person.id):
            reasons = [f"{person.id} has not approved it"]
            await self._engine.refuse("withdrawal refused", what, person, execution.id, reasons)
        await self._engine.waits_again(execution)

    async def freeze(self, person: Person, why: str) -> None:
        """Stop every act in the cluster, from the next one on.

        Raises:
            Refusal: the person may not.
        """
        if not any(map(person.may, ("responder", "approver", "admin"))):
            reasons = [f"{person.id} has none of the roles responder, approver and admin{person.rule}"]
            await self._engine.refuse("freeze refused", "the freeze is refused", person, "", reasons)
        await asyncio.to_thread(self._store.freeze, self._engine.cluster, person.id, why or "no reason given")

    async def thaw(self, person: Person) -> bool:
        """Let acts go on; False where nothing was frozen. Whoever stopped everything, an approver or admin lets it go on.

        Raises:
            Refusal: the person may not.
        """
        if not any(map(person.may, ("approver", "admin"))):
            reasons = [f"{person.id} has neither the role approver nor admin{person.rule}"]
            await self._engine.refuse("thaw refused", "the thaw is refused", person, "", reasons)
        return await asyncio.to_thread(self._store.thaw, self._engine.cluster, person.id)


_WORDS = {
    Said.DONE: "the word that it was done by hand", Said.ATTESTED: "an attestation",
    Said.RETRY: "the word to try it again", Said.SKIP: "the word to skip it",
}  # fmt: skip


def _wanted(step: Step) -> Said:
    """What kind of word a step waits for; one that failed waits for the word to try it again."""
    if step.attest is not None:
        return Said.ATTESTED
    return Said.DONE if step.manual is not None else Said.RETRY
