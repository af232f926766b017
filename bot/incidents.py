"""What an incident is: one root cause, however many symptoms it has. Data only; who shows it is no business of it."""

import hashlib
from datetime import datetime
from enum import StrEnum

import msgspec

from diagnostics.model import Change, Finding, Status, Subject
from runbooks.offers import Offer


class Answer(msgspec.Struct, frozen=True):
    """Why one thing is stuck; or that it is not, or that this could not be seen."""

    status: Status
    finding: Finding
    offers: tuple[Offer, ...]
    changes: tuple[Change, ...]


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    RESOLVED = "resolved"


class Incident(msgspec.Struct, frozen=True):
    """One trouble, as it was last looked at (`answer`), and the message in `channel` that tells of it.

    `subject` is what somebody asked about, `evidence` the message with the proofs, once somebody wanted to see them.
    `note` says how it was resolved.
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


def incident_key(cluster: str, finding: Finding) -> str:
    """What makes two findings one incident: the cluster, the root of the trouble, and its cause.

    Forty pods that wait for one dead node are one incident.
    """
    root = finding.root or finding.subject
    return _digest(cluster, root.kind, root.uid or f"{root.namespace}/{root.name}", finding.cause or "")


def subject_key(cluster: str, subject: Subject) -> str:
    """What makes two looks at one thing the same: a second look may find a root that the first could not see."""
    return _digest(cluster, subject.kind, subject.uid or f"{subject.namespace}/{subject.name}")


def _digest(*words: str) -> str:
    return hashlib.sha256("\x00".join(words).encode()).hexdigest()
