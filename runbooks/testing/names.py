"""What the name of a case says: `allowed_*`, `refused_<guard>*`, `interrupted_after_<step>*`."""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from runbooks.acting import UNDONE
from runbooks.format.wording import instead
from runbooks.judging import guards_of, required
from runbooks.loader import CASES
from runbooks.model import GuardCall, Runbook, Step

SUFFIX = ".yaml"
_NAME = re.compile(r"[a-z0-9_]+")


class Sort(StrEnum):
    """What a case shows."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted_after"


class Named(msgspec.Struct, frozen=True):
    """What a case's name says: its sort, and the guard or the step that it is about ("" for `allowed_`)."""

    sort: Sort
    about: str


class BadName(ValueError):
    """A name that says nothing about its runbook: what to write instead."""


def folder_of(runbook: Runbook) -> Path:
    """Where a runbook's cases lie: beside its file."""
    source = Path(runbook.source)
    return source.with_name(source.stem + CASES)


def cases_of(runbook: Runbook) -> tuple[Path, ...]:
    """The files of a runbook's cases, by name."""
    folder = folder_of(runbook)
    return tuple(sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")))


def read_name(name: str, runbook: Runbook) -> Named:
    """What a case's name says of this runbook.

    Raises:
        BadName: it names no guard or step of it, or is no name of a case at all.
    """
    if not _NAME.fullmatch(name):
        raise BadName("a case is named in small letters, digits and _")
    if name.startswith("allowed_"):
        return Named(Sort.ALLOWED, "")
    if name.startswith("refused_"):
        return Named(Sort.REFUSED, _about(name.removeprefix("refused_"), refusing(runbook), "guard", runbook))
    if name.startswith("interrupted_after_"):
        about = _about(name.removeprefix("interrupted_after_"), interruptible(runbook), "act step", runbook)
        return Named(Sort.INTERRUPTED, about)
    raise BadName("a case is named allowed_*, refused_<guard>* or interrupted_after_<step>*")


def slug(name: str) -> str:
    """A guard, check or step as it stands in a file's name."""
    return re.sub(r"[/.]", "_", name)


def _about(rest: str, known: Iterable[str], what: str, runbook: Runbook) -> str:
    """The longest known name that the rest of a case's name begins with."""
    by_slug = {slug(name): name for name in known}
    fitting = [each for each in by_slug if rest == each or rest.startswith(f"{each}_")]
    if not fitting:
        raise BadName(f"{runbook.name} has no {what} '{rest}'; {instead(rest, by_slug)}")
    return by_slug[max(fitting, key=len)]


def all_steps(runbook: Runbook) -> Iterator[Step]:
    """Every step, those that follow a wait in vain too."""
    for step in runbook.steps:
        yield step
        if step.otherwise is not None:
            yield step.otherwise


def refusing(runbook: Runbook) -> tuple[str, ...]:
    """All that can refuse a plan of a runbook: guards, checks before the first act, actions that cannot be planned."""
    found: dict[str, None] = {}
    for step in all_steps(runbook):
        calls: list[GuardCall] = [*step.when, *(required(step) if step.act else step.require)]
        calls += [call for call in (step.prove, step.verify) if isinstance(call, GuardCall)]
        found |= {call.name: None for call in calls}
        found |= {name: None for name in (step.check, step.act) if name is not None}
        if step.attest is not None:
            found["attest"] = None
        if step.act is not None and step.undo not in (None, "none"):
            found |= {call.name: None for call in guards_of(str(step.undo))}
    return tuple(found)


def act_steps(runbook: Runbook) -> Mapping[str, Step]:
    """The steps that act, by the names that the journal has for them."""
    return {step.id: step for step in all_steps(runbook) if step.act is not None}


def interruptible(runbook: Runbook) -> tuple[str, ...]:
    """The steps whose act can be cut off, and those that take one back."""
    steps = act_steps(runbook)
    undone = (f"{name}{UNDONE}" for name, step in steps.items() if step.undo not in (None, "none"))
    return (*steps, *undone)
