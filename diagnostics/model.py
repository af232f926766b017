"""The words in which a diagnosis is told. Data only: nothing here reads, decides or prints."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How much a finding matters. Ordered by `rank`, because the command line compares them (`--fail-on`)."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Position in the order info < warning < critical."""
        return list(Severity).index(self)


class Status(StrEnum):
    """What became of a check. `unknown` (could not look) is never `ok`, and never a reason to act."""

    OK = "ok"
    FOUND = "found"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Subject(msgspec.Struct, frozen=True):
    """One thing that a sentence is about.

    `kind` is Kubernetes' own word (`Pod`), or `RBDImage`, `RBDLock`, `CephClient` on Ceph's side. An RBD image has the
    name `pool[/namespace]/image` and the uid `fsid/pool/namespace/image`. `uid` is "" where the thing has none.
    """

    kind: str
    namespace: str | None
    name: str
    uid: str

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"


class Evidence(msgspec.Struct, frozen=True):
    """Where a statement was read (`source`: a request, a command, an object) and the `text` that was found there."""

    source: str
    text: str


class Link(msgspec.Struct, frozen=True):
    """One link of a causal chain: what is said of a subject, and what proves it."""

    subject: Subject
    says: str
    evidence: tuple[Evidence, ...] = ()


class Unseen(msgspec.Struct, frozen=True):
    """A part that a check could not look at, and why: partial blindness is said, never swallowed.

    `by_choice`: nobody granted it, and nobody has to. It is told, but what was looked at may still be `ok`.
    """

    subject: str
    reason: str
    by_choice: bool = False


class Finding(msgspec.Struct, frozen=True):
    """Something bad, about one subject. The chain runs from the symptom to the root cause.

    Checks leave `id` and `severity` out where their own declaration says it all; the scan fills them in.
    """

    subject: Subject
    summary: str
    cause: str | None = None
    since: datetime | None = None
    chain: tuple[Link, ...] = ()
    root: Subject | None = None
    unseen: tuple[str, ...] = ()
    severity: Severity | None = None
    id: str = ""


def finding_id(check: str, subject: Subject, cause: str | None) -> str:
    """The stable id of a finding: the same trouble keeps it over scans and restarts (16 hexadecimal digits)."""
    key = "\x00".join((check, subject.kind, subject.uid or f"{subject.namespace}/{subject.name}", cause or ""))
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class Outcome(msgspec.Struct, frozen=True):
    """What one check came to. A `found` may carry a reason too: what else it could not see."""

    check: str
    status: Status
    reason: str | None
    findings: tuple[Finding, ...]


class Change(msgspec.Struct, frozen=True):
    """Something that changed on the way to the trouble: the first question of everybody on call."""

    when: datetime
    subject: Subject
    says: str


class Scope(msgspec.Struct, frozen=True):
    """What a diagnosis covers: a cluster, some namespaces (empty: all), or one subject (then only its surroundings)."""

    cluster: str
    namespaces: tuple[str, ...] = ()
    subject: Subject | None = None


def lasting(time: timedelta) -> str:
    """A duration for people, in the unit that says enough: `40 s`, `7 min`, `5 h`, `262 days`."""
    seconds = max(0, int(time.total_seconds()))
    minutes = seconds // 60
    if not minutes:
        return f"{seconds} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def quoted(names: Sequence[str]) -> str:
    """Join names for a sentence: `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
