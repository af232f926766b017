"""What an incident is: one root cause, however many symptoms it has. Data only; who shows it is no business of it."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from diagnostics.model import Change, Finding, Status, Subject
from runbooks.offers import Offer

UNSTICK = "unstick"  # who did what nobody asked for
# Within this the same trouble is the same incident again, in the same message.
REOPENS = timedelta(hours=24)
# Two automatic looks this far apart must find a thing well before it leaves its incident.
CLEAN = timedelta(seconds=20)
# An incident that came back so often within so long flaps: it stays open until all is well for a while, and is quiet.
FLAPS, FLAPS_WITHIN = 3, timedelta(hours=1)
FLAPPING_CLEAN = timedelta(minutes=30)


class Answer(msgspec.Struct, frozen=True):
    """Why one thing is stuck; or that it is not, or that this could not be seen. `looked` is when that was so.

    `starting`: it is not stuck so far, and that it is well is not known yet either. `beside` is what else was found of
    the things on its way, each a sentence: the fault in a design that let it come to this. `changes_unseen` says what the
    timeline of changes could not see; the finding rests on none of that.
    """

    status: Status
    finding: Finding
    offers: tuple[Offer, ...]
    changes: tuple[Change, ...]
    looked: datetime | None = None
    starting: bool = False
    beside: tuple[str, ...] = ()
    changes_unseen: tuple[str, ...] = ()


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    RESOLVED = "resolved"


class What(StrEnum):
    """What may happen to an incident."""

    OPENED = "opened"
    BACK = "back again"
    JOINED = "joined"
    LEFT = "left"
    ROOT = "root"
    ACKED = "acked"
    SNOOZED = "snoozed"
    UNSNOOZED = "snooze ended"
    RESOLVED = "resolved"


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to an incident: when, by whom (`UNSTICK` where nobody asked), and a sentence on it."""

    at: datetime
    who: str
    what: What
    says: str = ""


class Incident(msgspec.Struct, frozen=True):
    """One trouble, as it was last found (`answer`), and the message in `channel` that tells of it.

    `subjects` are all that wait for its root while it is open, `subject` the one of them that it is told by, `evidence`
    the message with the proofs, once somebody wanted to see them. `note` says how it was `resolved`. `updated` is when
    it was last looked at, or over: what `answer` holds may be older.

    `acked_by` took it on, until it comes back. While it is snoozed, nothing new is posted for it. `returns` counts
    how often it came back, `returned` are the last times of that, the oldest first. `well_since` is when everything
    that waits in it was seen well, where that is so and has not been seen for long enough.
    """

    id: str
    cluster: str
    subject: Subject
    answer: Answer
    state: IncidentState
    channel: str
    message: int
    opened: datetime
    updated: datetime
    note: str = ""
    evidence: int | None = None
    subjects: tuple[Subject, ...] = ()
    acked_by: str | None = None
    acked: datetime | None = None
    snoozed_by: str | None = None
    snoozed_until: datetime | None = None
    resolved: datetime | None = None
    returns: int = 0
    returned: tuple[datetime, ...] = ()
    well_since: datetime | None = None

    @property
    def others(self) -> tuple[Subject, ...]:
        """What else waits for the same root."""
        return tuple(each for each in self.subjects if not same(each, self.subject))

    @property
    def flapping(self) -> bool:
        """Whether it comes back so often that its coming and going is no news any more."""
        return self.state is IncidentState.OPEN and flaps(self.returned)

    @property
    def began(self) -> datetime:
        """When it was opened, or came back last."""
        return max((self.opened, *self.returned))

    def is_snoozed(self, now: datetime) -> bool:
        """Whether it is to be kept quiet."""
        return self.snoozed_until is not None and now < self.snoozed_until


def incident_key(cluster: str, finding: Finding) -> str:
    """What makes two findings one incident: the cluster, the root of the trouble, and its cause.

    Forty pods that wait for one dead node are one incident.
    """
    root = finding.root or finding.subject
    return _digest(cluster, root.kind, root.uid or f"{root.namespace}/{root.name}", finding.cause or "")


def subject_key(cluster: str, subject: Subject) -> str:
    """What makes two looks at one thing the same: its name, which a pod that replaces another may have from it."""
    return _digest(cluster, subject.kind, f"{subject.namespace}/{subject.name}")


def flaps(returned: Sequence[datetime]) -> bool:
    """Whether something that came back at these times, the oldest first, flaps."""
    last = returned[-FLAPS:]
    return len(last) == FLAPS and last[-1] - last[0] <= FLAPS_WITHIN


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `13th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def times(number: int) -> str:
    """`once`, `3 times`."""
    return "once" if number == 1 else f"{number} times"


def same(one: Subject, other: Subject) -> bool:
    """Whether both are called the same."""
    return str(one) == str(other)


def _digest(*words: str) -> str:
    return hashlib.sha256("\x00".join(words).encode()).hexdigest()
