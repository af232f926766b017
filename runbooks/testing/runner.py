"""Judges cases: what each came to against what its name and its `expect` say, as a difference that people can read."""

import difflib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from runbooks.execution import State
from runbooks.model import Runbook
from runbooks.testing.cases import Case, CaseErrors, load_case
from runbooks.testing.changes import BadChange
from runbooks.testing.names import Sort, cases_of
from runbooks.testing.playing import Played, play
from runbooks.testing.replay import MOMENTS, Cut


@dataclass(frozen=True)
class Result:
    """What became of one case. `differences` has a line for each thing that came out otherwise; none: it is as it should."""

    runbook: str
    case: str
    path: str
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether it came out as expected."""
        return not self.differences


async def run_cases(runbook: Runbook) -> AsyncIterator[Result]:
    """Run all cases of a runbook, one after the other."""
    for path in cases_of(runbook):
        try:
            differences = tuple(await judged(load_case(path, runbook), runbook))
        except CaseErrors as errors:
            differences = tuple(str(problem) for problem in errors.problems)
        except BadChange as error:
            differences = (str(error.problem),)
        except msgspec.ValidationError as error:
            differences = (f"{path}: an object of its world is none that Kubernetes or Ceph would give: {error}",)
        yield Result(runbook.name, path.stem, str(path), differences)


async def judged(case: Case, runbook: Runbook) -> list[str]:
    """What came out otherwise than a case expects.

    Raises:
        BadChange: the world cannot change as the case says.
    """
    played = await play(case, runbook)
    differences = list(_differences(case, played))
    if case.named.sort is Sort.INTERRUPTED and not differences:
        for moment in MOMENTS:
            cut = Cut(case.named.about, moment)
            differences += [f"{cut}: {line}" for line in _of_cut(case, await play(case, runbook, cut), played)]
    return differences


def _of_cut(case: Case, cut: Played, whole: Played) -> Iterator[str]:
    """What an interrupted run came to that the same run without the interruption did not."""
    if not cut.cut:
        yield f"the run never came to step {case.named.about}"
        return
    acts, wanted = ([f"{act.step}: {act.says}" for act in each.applied] for each in (cut, whole))
    if cut.ends in case.expect.may_end:
        yield from (f"applied: {act} was not to be done again" for act in _beyond(acts, wanted))
    else:
        yield from _differences(case, cut)
        yield from _list("applied", wanted, acts)
    if cut.fault is not None:
        yield f"the audit log is broken: {cut.fault}"
    if cut.unfinished:
        yield f"acts were left without an outcome: {', '.join(cut.unfinished)}"


def _beyond(acts: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """The acts that were done more often than wanted, or out of order."""
    left = iter(wanted)
    return (act for act in acts if act not in left)


def _differences(case: Case, played: Played) -> Iterator[str]:
    expect, plan = case.expect, played.plan
    came = "refused" if plan.refusals else "allowed"
    if expect.plan is not None and expect.plan != came:
        yield _line("plan", expect.plan, came)
        yield from (f"  {reason}" for reason in plan.refusals)
        return
    if expect.refused_by is not None:
        yield from _refused_by(case, played)
    said = "; ".join((*plan.refusals, played.reason))
    yield from (f"reasons: {wanted!r} is not said; said was: {said}" for wanted in expect.reasons if wanted not in said)
    if expect.risk is not None and expect.risk is not plan.risk:
        yield _line("risk", expect.risk, plan.risk)
    if expect.acts is not None:
        yield from _list("acts", expect.acts, [act.says for act in plan.acts])
    if expect.skipped is not None:
        yield from _list("skipped", expect.skipped, [step.id for step in plan.steps if step.skipped is not None])
    if expect.plan == "allowed" and expect.ends is not played.ends:
        yield _line("ends", expect.ends or State.DONE, played.ends) + (f": {played.reason}" if played.reason else "")
    if expect.applied is not None:
        yield from _list("applied", expect.applied, _in_words_of(expect.applied, played))


def _in_words_of(expected: Sequence[str], played: Played) -> list[str]:
    """The acts that were done, each by its step where that is how the case names it, else in its own words."""
    named = dict(enumerate(expected))
    return [act.step if named.get(at) == act.step else act.says for at, act in enumerate(played.applied)]


def _refused_by(case: Case, played: Played) -> Iterator[str]:
    """Of a refused plan exactly these refuse; a run that was refused on its way names them in its reason."""
    wanted = case.expect.refused_by or ()
    if case.expect.plan == "allowed":
        unnamed = [name for name in wanted if f"{name}: " not in f"{played.reason} "]
        yield from (f"refused_by: {name} did not stop the run; it ended with: {played.reason}" for name in unnamed)
        return
    if set(wanted) != set(played.refused_by):
        yield _line("refused_by", ", ".join(sorted(wanted)), ", ".join(sorted(played.refused_by)))
        yield from (f"  {reason}" for reason in played.plan.refusals)


def _line(what: str, expected: object, came: object) -> str:
    return f"{what}: expected {expected}, came out {came}"


def _list(what: str, expected: Sequence[str], came: Sequence[str]) -> Iterator[str]:
    """A difference of two lists, a line each: `-` was expected, `+` came out."""
    if list(expected) == list(came):
        return
    yield f"{what}: not as expected (- expected, + came out)"
    for line in difflib.ndiff(list(expected), list(came)):
        if not line.startswith("?"):
            yield f"  {line}"
