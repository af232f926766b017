"""What a case tells beside its world: what it expects, what people say, and how things stand around the execution."""

from typing import Literal

import msgspec

from diagnostics.model import Subject
from runbooks.execution import State
from runbooks.model import Risk, duration
from runbooks.standing import Begun, FencedByUs, Limit, hold_key


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Part of a case: a field that nobody knows is a mistake."""


class Expect(Closed, frozen=True):
    """What a case must come to. What is left out is not looked at.

    `refused_by` are all that do not allow; `reasons` are parts of what is said for it; `acts` and `applied` are the acts
    planned and done in order, in their own words (those done also by their steps' ids); `ends` is the state in which the execution is left. `may_end` are states
    in which an interrupted run may be left as well, with less done: an approval may run out while nobody runs it.
    """

    plan: Literal["allowed", "refused"] | None = None
    refused_by: tuple[str, ...] | None = None
    reasons: tuple[str, ...] = ()
    risk: Risk | None = None
    acts: tuple[str, ...] | None = None
    skipped: tuple[str, ...] | None = None
    ends: State | None = None
    applied: tuple[str, ...] | None = None
    may_end: tuple[State, ...] = ()


class Word(Closed, frozen=True):
    """What a person says when a step waits for them. `was_done` and `was_not_done` decide an act that is in doubt."""

    step: str
    word: Literal["done", "attested", "retry", "skip", "was_done", "was_not_done"]
    said: str = "as the case says"
    confirmed: str | None = None


class LimitTold(Closed, frozen=True):
    """A limit as a case writes it."""

    per: Literal["cluster", "namespace", "node", "runbook"]
    acts: int
    within: str

    @property
    def limit(self) -> Limit:
        """The limit."""
        return Limit(self.per, self.acts, duration(self.within))


class Held(Closed, frozen=True):
    """A thing that another execution works on."""

    kind: str
    name: str
    uid: str
    execution: str
    namespace: str | None = None

    @property
    def key(self) -> str:
        """What it is held under."""
        return hold_key(Subject(self.kind, self.namespace, self.name, self.uid))


class StandingTold(Closed, frozen=True):
    """How things stand around the execution: freezes, limits, acts done lately, what others work on, earlier fences."""

    frozen: str | None = None
    closed: tuple[str, ...] = ()
    limits: tuple[LimitTold, ...] = ()
    begun: tuple[Begun, ...] = ()
    held: tuple[Held, ...] = ()
    fenced: tuple[FencedByUs, ...] = ()
