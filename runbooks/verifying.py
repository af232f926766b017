"""Looks at the world anew for a running execution, and waits, with a bound, for what should come.

Nothing here changes anything.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

from diagnostics.catalog import all_checks
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.holders import BESIDE_POD, NODES
from diagnostics.facts.resources import Pod
from diagnostics.model import Status, Subject
from diagnostics.scan import judged
from runbooks import judging
from runbooks.approval import Person
from runbooks.events import Say
from runbooks.execution import Execution, Lease, LostLease, State, Statement
from runbooks.guards import Answer
from runbooks.hands import Hands
from runbooks.model import CheckBecomes, GuardCall, Runbook
from runbooks.parameters import subject_of
from runbooks.situation import CannotPlan, Planned, Situation
from runbooks.standing import ADMISSIONS, STANDING, Admission, Standing, key_of
from runbooks.store import Store

POLL = 2.0
# The waiting kubelet's own tries open the image for moments. A refusal is looked at again, never overruled.
LOOKS = 3
BETWEEN_LOOKS = 1.0


class World(Protocol):
    """What the engine needs of one cluster: fresh facts, hands to act with, and the time."""

    async def look(self, reads: Sequence[Read[Any]], subject: Subject | None) -> Snapshot:
        """Fresh facts about a subject."""
        ...

    def hands(self, requester: str) -> AbstractAsyncContextManager[Hands]:
        """What acts, for the person who asked. Never raises for want of a connection: such hands tell why."""
        ...

    def now(self) -> datetime:
        """The time."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Stop(Exception):
    """The run ends here, in this state, for this reason."""

    def __init__(self, state: State, say: Say, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.say = say
        self.reason = reason


class Pass:
    """One pass through an execution: what it works with, and fresh situations to judge."""

    def __init__(
        self, store: Store, world: World, runbook: Runbook, execution: Execution, lease: Lease, person: Person,
        keeper: "asyncio.Task[str]", barred: Sequence[str], standing: Callable[..., Standing],
        who: Callable[[str], Person],
    ) -> None:  # fmt: skip
        """`keeper` renews the lease and ends, with the reason, only when that fails; `barred`: why no act may begin.

        `standing` takes a transaction to look in, or none; `who` tells what somebody may do now.
        """
        self.store = store
        self.world = world
        self.runbook = runbook
        self.execution = execution
        self.plan = execution.plan
        self.lease = lease
        self.person = person
        self.keeper = keeper
        self.barred = barred
        self.standing = standing
        self.who = who
        self.resumed = False
        self.unsettled = False
        self.statements: tuple[Statement, ...] = ()
        self.done: list[Planned] = []

    def still_ours(self) -> None:
        """Stop at once when the lease could not be kept.

        Raises:
            LostLease: it could not.
        """
        if self.keeper.done():
            raise LostLease(self.keeper.result())

    async def heed(self) -> None:
        """Stop where a person wants that. Never between an act's intent and its outcome, be it an earlier pass's.

        Raises:
            Stop: the execution is to be paused or cancelled.
            LostLease: the lease could not be kept.
        """
        self.still_ours()
        if self.unsettled:
            return
        held = await asyncio.to_thread(self.store.get, self.execution.id)
        if held.wanted == "cancel":
            raise Stop(State.CANCELLED, Say.REFUSED, held.reason)
        if held.wanted == "pause":
            raise Stop(State.PAUSED, Say.REFUSED, f"{held.reason}; go on with it by running it again")

    async def situation(
        self, act: Planned | None = None, admission: Admission | None = None, *, heeding: bool = True
    ) -> Situation:
        """A fresh situation. With an admission also what guards need to know of the engine itself.

        Without `heeding` nobody stops it: what became of an act is found out first.
        """
        if heeding:
            await self.heed()
        else:
            self.still_ours()
        snapshot = await self.world.look(judging.reads_of(self.runbook), subject_of(self.plan.params))
        snapshot = snapshot.with_fact(STANDING, await asyncio.to_thread(self.standing))
        if act is not None and admission is not None:
            snapshot = snapshot.with_fact(ADMISSIONS, {key_of(act): admission})
        return Situation(snapshot, self.plan.params, act=act, done=tuple(self.done))

    async def until(self, call: GuardCall, within: timedelta, act: Planned | None) -> str:
        """Judge a guard until it allows or the time is over. What an act brought and nobody can see is in doubt."""
        deadline = self.world.now() + within
        while True:
            ruling = judging.judge(call, await self.situation(act))
            if ruling.allowed:
                return "; ".join(ruling.reasons)
            if self.world.now() >= deadline:
                why = "; ".join(ruling.reasons)
                if act is not None and ruling.answer is Answer.UNKNOWN:
                    raise Stop(State.IN_DOUBT, Say.IN_DOUBT, f"whether {call.name} holds cannot be seen now: {why}")
                raise Stop(State.FAILED, Say.FAILED, f"{call.name} does not hold: {why}")
            await self.world.sleep(POLL)

    async def check_becomes(self, verify: CheckBecomes, within: timedelta) -> str:
        """Judge a check until it comes to what it should, or the time is over."""
        deadline = self.world.now() + within
        listed = next(listed for listed in all_checks() if listed.id == verify.check)
        while True:
            outcome = judged(listed, (await self.situation()).snapshot)
            if outcome.status is Status(verify.becomes):
                return f"{verify.check} is {verify.becomes}"
            if self.world.now() >= deadline:
                why = outcome.reason or "; ".join(f.summary for f in outcome.findings)
                if outcome.status is Status.UNKNOWN:
                    raise Stop(State.IN_DOUBT, Say.IN_DOUBT, f"{verify.check} cannot be judged now: {why}")
                raise Stop(State.FAILED, Say.FAILED, f"{verify.check} is {outcome.status}, not {verify.becomes}: {why}")
            await self.world.sleep(POLL)

    async def running(self, within: timedelta, deleted: Planned | None = None) -> str:
        """Wait until the runbook's pod runs, or (once it was `deleted`) what its owner made in its place."""
        deadline = self.world.now() + within
        while True:
            unseen = ""
            try:
                if pod := _runs(await self.situation(), deleted):
                    return f"{pod.metadata.namespace}/{pod.metadata.name} is Running on {pod.spec.node_name}"
            except CannotPlan as error:
                unseen = f": {error}"
            if self.world.now() >= deadline:
                which = "no pod of the volume" if "image" in self.plan.params else "no such pod"
                what = f"{which} was seen Running within {within.total_seconds():g} s{unseen}"
                if unseen and deleted is not None:  # what a deletion brought cannot be seen
                    raise Stop(State.IN_DOUBT, Say.IN_DOUBT, what)
                raise Stop(State.FAILED, Say.FAILED, what)
            await self.world.sleep(POLL)


def _runs(situation: Situation, deleted: Planned | None) -> Pod | None:
    """A pod that counts and runs on a Ready node; what another node is said to run is hearsay, the old one's too."""
    nodes = situation.snapshot.seen(NODES)
    ready = {n.metadata.name for n in (nodes.full if nodes else ()) if n.is_ready} - {situation.params.get("node", "")}
    gone = {target.uid for target in deleted.targets} if deleted else set()
    for pod in _that_count(situation, deleted):
        meta = pod.metadata
        counts = meta.uid not in gone and meta.deletion_timestamp is None and pod.spec.node_name in ready
        if counts and pod.status.phase == "Running":
            return pod
    return None


def _that_count(situation: Situation, deleted: Planned | None) -> Sequence[Pod]:
    """With an image, the users of its volume; else the pod of that name, and those of the deleted one's owner."""
    if "image" in situation.params:
        return situation.users()
    owner = deleted.effect.get("owner") if deleted else None
    return [
        pod for pod in situation.listed(BESIDE_POD)
        if f"{pod.metadata.namespace}/{pod.metadata.name}" == situation.params.get("pod")
        or (owner and pod.metadata.controller is not None and pod.metadata.controller.uid == owner)
    ]  # fmt: skip
