"""What changed from one version of a runbook to another, in words: steps, guards, risks, parameters, answers.

The words say what matters for trust; the texts themselves, compared line by line, say the rest.
"""

import difflib
from collections.abc import Iterator

from runbooks.model import GuardCall, Risk, Runbook, Step, Vocabulary


def changes(old: Runbook, new: Runbook, words: Vocabulary) -> tuple[str, ...]:
    """Each structural change as a few words; empty where only texts, times or arguments differ."""
    return (*_steps(old, new, words), *_parameters(old, new), *_answers(old, new))


def unified(old: Runbook, new: Runbook, old_text: str, new_text: str) -> list[str]:
    """The lines of a unified diff of both files."""
    lines = old_text.splitlines(), new_text.splitlines()
    return list(difflib.unified_diff(*lines, fromfile=old.name, tofile=new.name, lineterm=""))


def _steps(old: Runbook, new: Runbook, words: Vocabulary) -> Iterator[str]:
    before, after = _by_id(old), _by_id(new)
    yield from (f"step {name} removed" for name in before if name not in after)
    yield from (f"step {name} added ({_does(step)})" for name, step in after.items() if name not in before)
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        yield "steps in another order"
    for name in kept:
        yield from _step(name, before[name], after[name], words)


def _step(name: str, old: Step, new: Step, words: Vocabulary) -> Iterator[str]:
    if _does(old) != _does(new):
        yield f"step {name}: {_does(old)} became {_does(new)}"
    before, after = _guards(old), _guards(new)
    yield from (f"step {name}: guard {guard} removed" for guard in before if guard not in after)
    yield from (f"step {name}: guard {guard} added" for guard in after if guard not in before)
    risks = _risk(old, words), _risk(new, words)
    if risks[0] is not risks[1]:
        yield f"step {name}: risk {'raised' if risks[1].rank > risks[0].rank else 'lowered'} to {risks[1]}"
    for field in ("undo", "on_failure"):
        if getattr(old, field) != getattr(new, field):
            yield f"step {name}: {field} {getattr(old, field) or 'none'} became {getattr(new, field) or 'none'}"


def _parameters(old: Runbook, new: Runbook) -> Iterator[str]:
    before, after = old.parameters, new.parameters
    yield from (f"parameter {name} removed" for name in before if name not in after)
    for name, parameter in after.items():
        needed = "required" if parameter.must_be_given else "optional"
        known = before.get(name)
        if known is None:
            yield f"parameter {name} added ({parameter.kind}, {needed})"
        elif known.kind != parameter.kind:
            yield f"parameter {name}: {known.kind} became {parameter.kind}"
        elif known.must_be_given is not parameter.must_be_given:
            yield f"parameter {name} is {needed} now"


def _answers(old: Runbook, new: Runbook) -> Iterator[str]:
    yield from (f"no longer answers {answer}" for answer in old.answers if answer not in new.answers)
    yield from (f"answers {answer}" for answer in new.answers if answer not in old.answers)


def _by_id(runbook: Runbook) -> dict[str, Step]:
    found = {}
    for step in runbook.steps:
        found[step.id] = step
        if step.otherwise is not None:
            found[step.otherwise.id] = step.otherwise
    return found


def _does(step: Step) -> str:
    proved = step.prove.name if step.prove else None
    named = step.act or step.check or proved or step.attest
    return f"{step.kind} {named}" if named else step.kind


def _guards(step: Step) -> list[str]:
    calls = [*step.when, *step.require, *([step.verify] if isinstance(step.verify, GuardCall) else [])]
    return list(dict.fromkeys(call.name for call in calls))


def _risk(step: Step, words: Vocabulary) -> Risk:
    """What the step's risk is at the least: the action's own, or what the runbook raises it to."""
    action = words.actions.get(step.act or "")
    own = action.risk if action else Risk.READ
    return max(own, step.risk or own, key=lambda risk: risk.rank)
