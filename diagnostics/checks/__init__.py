"""The checks: one module each, found by its path. `area/bad_state_plural` is its id, its docstring its documentation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from diagnostics.facts import Read, Snapshot
from diagnostics.model import Finding, Severity, Unseen


@dataclass(frozen=True)
class Check:
    """What a check module declares.

    `find` is pure: it judges the snapshot it is given, which holds just the facts of `reads`, and knows no other time
    than the snapshot's. `severity` is that of its findings where they do not say otherwise.
    """

    find: Callable[[Snapshot], Iterator[Finding | Unseen]]
    reads: tuple[Read, ...]  # type: ignore[type-arg]
    severity: Severity
