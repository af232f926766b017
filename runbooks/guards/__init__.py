"""Guards: named, pure predicates over fresh facts. A guard allows, refuses, or cannot know; and `unknown` refuses.

Runbooks choose guards by name; there is no expression language that could turn a typo into a yes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from diagnostics.facts import Read
from runbooks.situation import CannotPlan, Situation


class Answer(StrEnum):
    """What a guard comes to."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Ruling:
    """A guard's answer with all its reasons. `basis` names the facts that it rests on: no times, no counts.

    An approval is bound to the basis: when it changes, the approval is void, and the difference says why.
    """

    answer: Answer
    reasons: tuple[str, ...]
    basis: dict[str, str] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        """Whether it allows. Neither a refusal nor not knowing does."""
        return self.answer is Answer.ALLOWED


def allowed(why: str, **basis: str) -> Ruling:
    """It may be done."""
    return Ruling(Answer.ALLOWED, (why,), basis)


def refused(*reasons: str) -> Ruling:
    """It must not be done."""
    return Ruling(Answer.REFUSED, reasons)


def unknown(*reasons: str) -> Ruling:
    """It cannot be known from what was seen, and so must not be done."""
    return Ruling(Answer.UNKNOWN, reasons)


@dataclass(frozen=True)
class Guard:
    """A named predicate, the facts that it reads, and the arguments that a runbook may give it."""

    name: str
    doc: str
    reads: tuple[Read[Any], ...]
    predicate: Callable[..., Ruling]
    arguments: frozenset[str] = frozenset()

    def judge(self, situation: Situation, **arguments: Any) -> Ruling:
        """Judge a situation; facts that could not be read make it unknown."""
        try:
            return self.predicate(situation, **arguments)
        except CannotPlan as error:
            return unknown(*error.reasons) if error.unknown else refused(*error.reasons)


def guard(*reads: Read[Any], arguments: frozenset[str] = frozenset()) -> Callable[[Callable[..., Ruling]], Guard]:
    """Make a guard of a function: its name is the function's, its documentation the docstring."""

    def made(predicate: Callable[..., Ruling]) -> Guard:
        return Guard(predicate.__name__, (predicate.__doc__ or "").strip(), reads, predicate, arguments)

    return made


@cache
def all_guards() -> dict[str, Guard]:
    """Every guard by name: whatever the modules of this package declare."""
    found: dict[str, Guard] = {}
    for entry in iter_modules(__path__):
        module = import_module(f"{__name__}.{entry.name}")
        for value in vars(module).values():
            if isinstance(value, Guard):
                if value.name in found and found[value.name] is not value:
                    raise RuntimeError(f"two guards are named {value.name}")
                found[value.name] = value
    return found
