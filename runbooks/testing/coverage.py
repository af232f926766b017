"""What cases a runbook lacks. A built-in one without them does not load; for a team's own the first is recommended.

Only names are looked at here: that the cases hold is for `unstick runbook test` to show.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from runbooks.actions import all_actions
from runbooks.format.marks import Problem
from runbooks.model import Runbook
from runbooks.testing.names import BadName, Named, Sort, act_steps, cases_of, folder_of, read_name, slug


def lacking(runbook: Runbook) -> Iterator[Problem]:
    """What a built-in runbook lacks: a case that is allowed, one for each guard that refuses and each act cut off.

    The guards are those that the runbook requires and its actions insist on; those of the engine are its own matter. A
    runbook that does nothing has none, and shows with a second case how it ends otherwise.
    """
    named, problems = _named(runbook)
    yield from problems
    sorts = [each.sort for each in named]
    if Sort.ALLOWED not in sorts:
        yield _problem(runbook, "allowed_NAME.yaml", "that it is allowed and comes to its end")
    acts = act_steps(runbook)
    if not acts and len(named) < 2 and not problems:
        yield _problem(runbook, "allowed_but_NAME.yaml", "how it ends where all does not go well")
    refused = {each.about for each in named if each.sort is Sort.REFUSED}
    for guard in _guards(runbook):
        if guard not in refused:
            yield _problem(runbook, f"refused_{slug(guard)}.yaml", f"that guard {guard} refuses")
    cut = {each.about for each in named if each.sort is Sort.INTERRUPTED}
    for step in acts:
        if step not in cut:
            yield _problem(
                runbook, f"interrupted_after_{slug(step)}.yaml", f"what becomes of step {step} after a crash"
            )


def recommended(runbook: Runbook) -> Iterator[Problem]:
    """What a team's own runbook should have: one case at least, and none whose name says nothing about it."""
    named, problems = _named(runbook)
    yield from problems
    if not any(each.sort is Sort.ALLOWED for each in named):
        yield _problem(runbook, "allowed_NAME.yaml", "that it is allowed and comes to its end")


def _named(runbook: Runbook) -> tuple[list[Named], list[Problem]]:
    named, problems = [], []
    for path in cases_of(runbook):
        try:
            named.append(read_name(path.stem, runbook))
        except BadName as error:
            problems.append(Problem(str(path), 1, 1, str(error)))
    return named, problems


def _guards(runbook: Runbook) -> Iterable[str]:
    """The guards of the acts: required, or always taken by their actions."""
    found: dict[str, None] = {}
    for step in act_steps(runbook).values():
        action = all_actions().get(str(step.act))
        found |= {call.name: None for call in step.require}
        found |= dict.fromkeys(action.guards if action is not None else ())
    return found


def _problem(runbook: Runbook, file: str, what: str) -> Problem:
    where = Path(folder_of(runbook).name) / file
    return Problem(runbook.source, 1, 1, f"{runbook.name} has no case that shows {what}; write {where} beside it")
