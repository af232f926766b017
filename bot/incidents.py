"""What an incident is: one root cause, however many symptoms it has. Data only; who shows it is no business of it."""

import hashlib
from datetime import datetime
from enum import StrEnum

import msgspec

from diagnostics.model import Change, Finding, Status, Subject
from runbooks.offers import Offer


class Answer(msgspec.Struct, frozen=True):
    """Why one thing is stuck; or that it is not, or that this could not be seen. `looked` is when that was so.

    `starting`: it is not stuck so far, and that it is well is not known yet either. `beside` is what else was found of
    the things on its way, each a sentence: the fault in a design that let it come to this.
    """

    status: Status
    finding: Finding
    offers: tuple[Offer, ...]
    changes: tuple[Change, ...]
    looked: datetime | None = None
    starting: bool = False
    beside: tuple[str, ...] = ()


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    RESOLVED = "resolved"


class Incident(msgspec.Struct, frozen=True):
    """One trouble, as it was last found (`answer`), and the message in `channel` that tells of it.

    `subjects` are all that wait for its root while it is open, `subject` the one of them that it is told by, `evidence`
    the message with the proofs, once somebody wanted to see them. `note` says how it was resolved. `updated` is when
    anything of it changed last: what `answer` holds may be older.
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

    @property
    def others(self) -> tuple[Subject, ...]:
        """What else waits for the same root."""
        return tuple(each for each in self.subjects if not same(each, self.subject))


def incident_key(cluster: str, finding: Finding) -> str:
    """What makes two findings one incident: the cluster, the root of the trouble, and its cause.

    Forty pods that wait for one dead node are one incident.
    """
    root = finding.root or finding.subject
    return _digest(cluster, root.kind, root.uid or f"{root.namespace}/{root.name}", finding.cause or "")


def subject_key(cluster: str, subject: Subject) -> str:
    """What makes two looks at one thing the same: its name, which a pod that replaces another may have from it."""
    return _digest(cluster, subject.kind, f"{subject.namespace}/{subject.name}")


def same(one: Subject, other: Subject) -> bool:
    """Whether both are called the same."""
    return str(one) == str(other)


def _digest(*words: str) -> str:
    return hashlib.sha256("\x00".join(words).encode()).hexdigest()
