"""The checks: one module each, found by its path. `area/bad_state_plural` is its id, its docstring its documentation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from diagnostics.facts import Read, Snapshot
from diagnostics.model import Finding, Severity, Unseen


@dataclass(frozen=True)
class Check:
    """What a check module declares.

    `find` is pure: it judges the snapshot it is given, which holds just the facts of `reads`, and knows no other time
    than the snapshot's. `severity` is that of its findings where they do not say otherwise. One that is `of_the_whole`
    judges a cluster by all that is in it, so that a look at one thing leaves it out.
    """

    find: Callable[[Snapshot], Iterator[Finding | Unseen]]
    reads: tuple[Read, ...]  # type: ignore[type-arg]
    severity: Severity
    of_the_whole: bool = False
