"""What the engine itself knows when an act is judged: freezes, limits, other executions, permissions, dry runs.

These facts come from the state database and from asking the API server, not from a source: the engine puts them into
the snapshot, and guards read them like any other fact. Values alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from diagnostics.facts import Kind
from diagnostics.model import Subject
from runbooks.situation import Planned


class Limit(msgspec.Struct, frozen=True):
    """At most so many acts within this time: in the cluster, in one namespace, on one node, or by one runbook."""

    per: Literal["cluster", "namespace", "node", "runbook"]
    acts: int
    within: timedelta


@dataclass(frozen=True)
class Rules:
    """What a team has set: how many approve what is critical, how much may be done, and when nothing is to be done.

    `closed` gives the change freezes that hold for a runbook at a moment, a sentence each.
    """

    quorum: int = 1
    limits: tuple[Limit, ...] = ()
    closed: Callable[[str, datetime], tuple[str, ...]] = lambda _runbook, _when: ()

    @property
    def longest(self) -> timedelta:
        """How far back acts matter."""
        return max((limit.within for limit in self.limits), default=timedelta(0))


class Begun(msgspec.Struct, frozen=True):
    """An act that was begun a while ago, whatever became of it."""

    at: datetime
    execution: str
    runbook: str
    namespaces: frozenset[str]
    nodes: frozenset[str]


class FencedByUs(msgspec.Struct, frozen=True):
    """A fence that an execution set, or began to set, and the node that it was set on as it was then ("" where no node was known)."""

    entry: str
    fsid: str
    node_uid: str
    boot_id: str
    system_uuid: str
    at: datetime


class Standing(msgspec.Struct, frozen=True):
    """How things stand around an execution.

    `frozen` tells who stopped everything and why; `closed` are the change freezes that hold now, a sentence each;
    `held` maps whatever another execution works on (`hold_key`) to that execution; `fenced` are the fences that executions
    have set.
    """

    runbook: str
    frozen: str | None = None
    closed: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    begun: tuple[Begun, ...] = ()
    held: Mapping[str, str] = {}
    fenced: tuple[FencedByUs, ...] = ()


class Admission(msgspec.Struct, frozen=True):
    """What the API server says to one act. `unseen` tells why that could not be asked."""

    denied: tuple[str, ...] = ()
    refused: str | None = None
    unseen: str | None = None


STANDING: Kind[Standing] = Kind("engine.standing")
ADMISSIONS: Kind[Mapping[str, Admission]] = Kind("engine.admissions")


def hold_key(target: Subject) -> str:
    """What a target is held under: an image's UID may be long, and a kind without UIDs goes by its name."""
    known_by = target.uid or f"{target.namespace}/{target.name}"
    return hashlib.sha256(f"{target.kind} {known_by}".encode()).hexdigest()


def key_of(act: Planned) -> str:
    """What the answers to an act are kept under: the same act has the same key."""
    return hashlib.sha256(msgspec.json.encode(act, order="sorted")).hexdigest()
