"""What the store keeps of a plan that was asked for: the execution, its journal, and the right to run it.

Values alone: nothing here reads or writes.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from runbooks.plan import Plan
from runbooks.situation import Planned


class LostLease(Exception):
    """Somebody else runs the execution now: whoever gets this must stop at once."""


class State(StrEnum):
    """Where an execution stands.

    `asking`: a step waits for a person's word (done by hand, an attestation, or what to do about a failure).
    """

    WAITING = "waiting"
    APPROVED = "approved"
    RUNNING = "running"
    ASKING = "asking"
    PAUSED = "paused"
    IN_DOUBT = "in_doubt"
    DONE = "done"
    FAILED = "failed"
    DENIED = "denied"
    CANCELLED = "cancelled"
    VOID = "void"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.DONE, State.FAILED, State.DENIED, State.CANCELLED, State.VOID)


OPEN = tuple(state for state in State if not state.ended)
# Nobody runs it. One that was interrupted between two acts is approved, too: its journal tells.
NOT_BEGUN = (State.WAITING, State.APPROVED)
# A person may set it going again: it waits for a word, was paused, or an act of it is in doubt.
HELD = (State.ASKING, State.PAUSED, State.IN_DOUBT)


class AlreadyOpen(Exception):
    """Another execution that has not ended does the same to the same things."""

    def __init__(self, execution: str, state: State) -> None:
        super().__init__(f"{execution} does the same and is {state}: it comes first")
        self.execution = execution
        self.state = state


class Execution(msgspec.Struct, frozen=True):
    """A plan that was asked for, and what became of it."""

    id: str
    plan: Plan
    state: State
    reason: str
    created: datetime
    ended: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    fencing_token: int
    wanted: str | None = None
    asking: str | None = None


class Said(StrEnum):
    """What a person may say of a step that waits for them."""

    DONE = "done"
    ATTESTED = "attested"
    RETRY = "retry"
    SKIP = "skip"


class Statement(msgspec.Struct, frozen=True):
    """What somebody said of a step, and when."""

    step: str
    kind: Said
    person: str
    said: str
    at: datetime


class Freeze(msgspec.Struct, frozen=True):
    """Who stopped everything in a cluster, why and when."""

    cluster: str
    person: str
    why: str
    at: datetime


class Entry(msgspec.Struct, frozen=True):
    """One journaled act: intended, and (unless the process died in between) with its outcome.

    `outcome` is `done`, `not done` (verified after an interruption), `failed`, or `stopped` (a part of it was done).
    `said` of an act that is done is what its verification came to; None: it has not been verified.
    """

    step: str
    attempt: int
    act: Planned
    intended: datetime
    outcome: str | None
    said: str | None


class Act(msgspec.Struct, frozen=True):
    """One journaled act with whose it was: the runbook as `id@version`, and who asked for the execution."""

    execution: str
    runbook: str
    requester: str
    when: datetime
    act: Planned
    outcome: str | None

    @property
    def says(self) -> str | None:
        """What it did, in a sentence; None where it is known that nothing was done."""
        became = {"done": "", "unverified": " (not verified)", "stopped": " (a part of it)", "failed": " (it failed)",
                  None: " (what became of it is not known yet)"}  # fmt: skip
        if self.outcome not in became:
            return None
        return f"Unstick: {self.act.says}{became[self.outcome]}; {self.runbook}, {self.execution}, for {self.requester}"


class Lease(msgspec.Struct, frozen=True):
    """The right to run an execution: the token goes into every write."""

    execution: str
    owner: str
    token: int
