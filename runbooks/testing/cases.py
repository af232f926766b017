"""Reads the cases of a runbook. Every mistake is a line `FILE:LINE:COLUMN: what; what instead`, as for runbooks.

A case that is `like` another one of its folder (or of another version's: `1.0.0/allowed_x`) begins with all of that
one's world, parameters and words, and says only what is different.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from diagnostics.sources.recorded import World
from runbooks.execution import State
from runbooks.format import marks
from runbooks.format.marks import Node, Problem
from runbooks.format.wording import instead
from runbooks.loader import CASES
from runbooks.model import Runbook, duration
from runbooks.parameters import BadParametersError, accept_parameters
from runbooks.standing import Admission
from runbooks.testing import changes as edits
from runbooks.testing.changes import BadChange, Change, Json, plain
from runbooks.testing.names import SUFFIX, BadName, Named, Sort, act_steps, all_steps, interruptible, read_name
from runbooks.testing.told import Expect, StandingTold, Word

T = TypeVar("T")
_DEEPEST = 40  # a pod's template in a Deployment in a world
_FIELDS = ("why", "like", "params", "world", "changes", "after", "says", "standing", "admission", "expect")
MOMENTS = ("request", "approval")
"""Moments beside the steps after which the world may change: the plan was asked for, and it was approved."""


class CaseErrors(Exception):
    """The mistakes of a case, in the order of their places."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True)
class After:
    """How the world moves on once a step is done. Several of one step are for its attempts, one after the other;
    but one with a delay belongs to the attempt before it.

    `before` the step instead: it has just begun, and what was approved was judged for the last time before it. `outcome` and `said` tell how an act comes out that does not simply succeed; `delay` how much later the world changes.
    """

    step: str
    changes: tuple[Change, ...] = ()
    delay: timedelta = timedelta(0)
    outcome: Literal["done", "failed", "stopped", "unanswered"] = "done"
    said: str = ""
    before: bool = False


@dataclass(frozen=True)
class Case:
    """One case of one runbook."""

    path: Path
    named: Named
    why: str
    params: Mapping[str, str]
    world: Json
    after: tuple[After, ...] = ()
    says: tuple[Word, ...] = ()
    standing: StandingTold = field(default=StandingTold())
    admission: Mapping[str, Admission] = field(default_factory=dict)
    expect: Expect = field(default=Expect())

    @property
    def name(self) -> str:
        """The case's name."""
        return self.path.stem


def load_case(path: Path, runbook: Runbook) -> Case:
    """Read one case.

    Raises:
        CaseErrors: all its mistakes.
    """
    return _load(path, runbook, ())


def _load(path: Path, runbook: Runbook, likes: Sequence[Path]) -> Case:
    root, problems = _nodes(path)
    try:
        named = read_name(path.stem, runbook)
    except BadName as error:
        raise CaseErrors([*problems, root.problem(str(error))]) from None
    problems += [
        key.problem(f"a case has no field '{name}'; {instead(name, _FIELDS)}")
        for name, key in root.keys.items() if name not in _FIELDS
    ]  # fmt: skip
    if not root.at("why").text.strip():
        problems.append(root.at("why").problem("say in a sentence what this case shows, as why: ..."))
    base = _base(path, root, runbook, likes)
    made = _Reader(root, runbook, problems).case(path, named, base)
    if problems or made is None:
        raise CaseErrors(problems)
    return made


def _nodes(path: Path) -> tuple[Node, list[Problem]]:
    try:
        content = path.read_bytes()[: marks.MAX_BYTES + 1]
        root, problems = _parsed(content, str(path))
    except OSError as error:
        raise CaseErrors([Problem(str(path), 1, 1, f"this case cannot be read: {error.strerror}")]) from None
    except marks.UnreadableError as error:
        raise CaseErrors(error.problems) from None
    if not isinstance(root.value, dict):
        raise CaseErrors([root.problem("a case is a mapping; write why:, params:, world: and expect:")])
    # What the API gives may be null, so that this is no mistake in a case.
    empty = {(node.line, node.column) for node in root.walk() if node.value is None}
    return root, [problem for problem in problems if (problem.line, problem.column) not in empty]


@lru_cache(maxsize=64)
def _parsed(content: bytes, path: str) -> tuple[Node, list[Problem]]:
    """A file's nodes; remembered, because many cases are like one."""
    return marks.read(content, path, _DEEPEST)


def _base(path: Path, root: Node, runbook: Runbook, likes: Sequence[Path]) -> Case | None:
    """The case that this one is like."""
    like = root.at("like")
    if "like" not in root.fields:
        return None
    version, _, name = like.text.rpartition("/")
    folder = path.parent.with_name(version + CASES) if version else path.parent
    other = folder / f"{name}{SUFFIX}"
    if other == path or other in likes:
        raise CaseErrors(
            [like.problem("these cases are like each other in a circle; let one of them have its own world")]
        )
    if not other.is_file():
        names = [found.stem for found in folder.glob(f"*{SUFFIX}")]
        raise CaseErrors([like.problem(f"there is no case '{like.text}' to be like; {instead(name, names)}")])
    try:
        return _load(other, runbook, (*likes, path))
    except CaseErrors as errors:
        raise CaseErrors([like.problem("the case that this one is like has mistakes"), *errors.problems]) from None


class _Reader:
    """Reads the parts of one case, and collects what is wrong with them."""

    def __init__(self, root: Node, runbook: Runbook, problems: list[Problem]) -> None:
        self._root = root
        self._runbook = runbook
        self._problems = problems

    def case(self, path: Path, named: Named, base: Case | None) -> Case | None:
        """The case; None where it has no world to be played in."""
        world = self._world(base)
        if world is None:
            return None
        begun = base or Case(path, named, "", {}, {})
        standing = self._part("standing", StandingTold) if "standing" in self._root.fields else begun.standing
        return replace(
            begun, path=path, named=named, why=self._root.at("why").text, world=world, params=self._params(begun),
            after=self._after() if "after" in self._root.fields else begun.after,
            says=self._says() if "says" in self._root.fields else begun.says,
            standing=standing or StandingTold(), admission={**begun.admission, **self._admission()},
            expect=self._expect(named, base),
        )  # fmt: skip

    def _world(self, base: Case | None) -> Json | None:
        told = self._root.at("world")
        if base is None and "world" not in self._root.fields:
            self._problems.append(self._root.problem("this case has no world; write world:, or like: another case"))
            return None
        if base is not None and "world" in self._root.fields:
            self._problems.append(
                told.problem("this case has the world of the one that it is like; write changes: to it")
            )
            return None
        world = copy.deepcopy(base.world) if base is not None else {**plain(told), "why": self._root.at("why").text}
        try:
            edits.make(world, self._changes(self._root))
        except BadChange as error:
            self._problems.append(error.problem)
        self._convert(world, World, told if base is None else self._root.at("changes"))
        return world

    def _params(self, base: Case) -> Mapping[str, str]:
        told = self._root.at("params")
        values = {
            **base.params,
            **{name: "" if node.value is None else str(node.value) for name, node in told.fields.items()},
        }
        try:
            return accept_parameters(self._runbook, {name: value for name, value in values.items() if value})
        except BadParametersError as error:
            self._problems += [told.problem(reason) for reason in error.reasons]
            return {}

    def _changes(self, node: Node) -> tuple[Change, ...]:
        made = []
        for each in node.at("changes").items:
            try:
                made.append(edits.read_change(each))
            except BadChange as error:
                self._problems.append(error.problem)
        return tuple(made)

    def _after(self) -> tuple[After, ...]:
        known = (*MOMENTS, *(step.id for step in all_steps(self._runbook)), *interruptible(self._runbook))
        return tuple(after for node in self._root.at("after").items if (after := self._one_after(node, known)))

    def _one_after(self, node: Node, known: Sequence[str]) -> After | None:
        fields = ("step", "before", "changes", "in", "failed", "stopped", "unanswered")
        for name in node.fields:
            if name not in fields:
                self._problems.append(node.key(name).problem(f"there is no '{name}' here; {instead(name, fields)}"))
        word = "before" if "before" in node.fields else "step"
        step = node.at(word).text
        if step not in known:
            what = f"{self._runbook.name} has no step '{step}'; {instead(step, known)}"
            self._problems.append(node.at(word).problem(what))
            return None
        delay = timedelta(0)
        if "in" in node.fields:
            try:
                delay = duration(node.at("in").value)
            except ValueError as error:
                self._problems.append(node.at("in").problem(str(error)))
        after = After(step, self._changes(node), delay, before=word == "before")
        for outcome in ("failed", "stopped", "unanswered"):
            if outcome in node.fields:
                if step not in interruptible(self._runbook):
                    self._problems.append(
                        node.key(outcome).problem(f"step '{step}' does not act, so that it cannot be this")
                    )
                after = replace(after, outcome=outcome, said=node.at(outcome).text)
        return after

    def _says(self) -> tuple[Word, ...]:
        words = self._part("says", tuple[Word, ...]) or ()
        known = [step.id for step in all_steps(self._runbook)]
        for word, node in zip(words, self._root.at("says").items, strict=False):
            if word.step not in known:
                what = f"{self._runbook.name} has no step '{word.step}'; {instead(word.step, known)}"
                self._problems.append(node.at("step").problem(what))
        return words

    def _admission(self) -> Mapping[str, Admission]:
        known = {str(step.act) for step in act_steps(self._runbook).values()}
        told = self._root.at("admission")
        self._problems += [
            key.problem(f"{self._runbook.name} has no action '{name}'; {instead(name, known)}")
            for name, key in told.keys.items() if name not in known
        ]  # fmt: skip
        return self._part("admission", dict[str, Admission]) or {} if "admission" in self._root.fields else {}

    def _expect(self, named: Named, base: Case | None) -> Expect:
        """What is expected: as the name says, then as the case says; an allowed one like another also as that one says."""
        own = (self._part("expect", Expect) if "expect" in self._root.fields else None) or Expect()
        told = {name for name in Expect.__struct_fields__ if name in self._root.at("expect").fields}
        expected = base.expect if base is not None and _goes_on(base.named, named) else Expect()
        expected = msgspec.structs.replace(expected, **{name: getattr(own, name) for name in told})
        if named.sort is Sort.REFUSED:
            expected = self._refused(named, expected)
        elif expected.ends is None:
            expected = msgspec.structs.replace(expected, plan="allowed", ends=State.DONE)
        if named.sort is not Sort.REFUSED and expected.plan == "refused":
            self._problems.append(self._root.at("expect").problem("a plan that is refused has a case refused_<guard>"))
        return msgspec.structs.replace(expected, plan=expected.plan or "allowed")

    def _refused(self, named: Named, expected: Expect) -> Expect:
        by = expected.refused_by or (named.about,)
        if named.about not in by:
            what = f"the case's name says that {named.about} refuses; name it here too"
            self._problems.append(self._root.at("expect").at("refused_by").problem(what))
        ends = expected.ends or (State.FAILED if expected.plan == "allowed" else None)
        return msgspec.structs.replace(expected, plan=expected.plan or "refused", refused_by=by, ends=ends)

    def _part(self, name: str, kind: type[T]) -> T | None:
        return self._convert(plain(self._root.at(name)), kind, self._root.at(name))

    def _convert(self, value: Any, kind: type[T], node: Node) -> T | None:
        try:
            return msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as error:
            said, _, path = str(error).partition(" - at `")
            place = _at(node, path.rstrip("`"))
            self._problems.append(
                place.problem(f"{said[:1].lower()}{said[1:]}{f' at {path[1:-1]}' if path[1:-1] else ''}")
            )
            return None


def _goes_on(base: Named, own: Named) -> bool:
    """Whether what is expected of the one case is expected of the other too."""
    return Sort.REFUSED not in (base.sort, own.sort)


def _at(node: Node, path: str) -> Node:
    """The node at a path as msgspec writes it (`$.a[0].b`), as far as it leads."""
    for part in path.replace("[", ".[").split(".")[1:]:
        if part.startswith("["):
            number = part.strip("[]")
            if not number.isdigit() or int(number) >= len(node.items):
                return node
            node = node.items[int(number)]
        elif part in node.fields:
            node = node.fields[part]
        else:
            return node
    return node
