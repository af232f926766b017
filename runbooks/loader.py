"""From a YAML file to a Runbook, or to all of its mistakes: each one a line `FILE:LINE:COLUMN: what; what instead`.

A file with any mistake gives no runbook at all. The names that it may use come from the caller's Vocabulary, so this
knows neither the engine nor the checks.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from runbooks.format import marks, placeholders, releases, rules, short_forms, successors, wording
from runbooks.format.marks import Node, Problem
from runbooks.format.releases import Lock
from runbooks.model import Runbook, RunbookStatus, Vocabulary

__all__ = ["Found", "NoSuchPathError", "Problem", "RunbookErrors", "lint", "load", "parse", "read_all"]

MAX_FILES = 2000
CASES = ".cases"
"""What the name of a folder ends in that holds the cases of the runbook beside it: those are no runbooks."""
_SUFFIXES = (".yaml", ".yml")


class RunbookErrors(Exception):
    """The mistakes of one or more runbooks, in the order of their places."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NoSuchPathError(LookupError):
    """A file or folder was named that is not there."""


@dataclass(frozen=True)
class Found:
    """The sound runbooks of some files, the mistakes of the others, and where each deprecated one names its successor."""

    runbooks: Sequence[Runbook]
    problems: Sequence[Problem]
    successors: Mapping[str, Node]


def parse(content: bytes, source: str, vocabulary: Vocabulary) -> Runbook:
    """Make a runbook of a file's bytes; `source` names it in messages. Raises RunbookErrors with every mistake."""
    return _sound(content, source, vocabulary)[0]


def load(path: Path, vocabulary: Vocabulary) -> Runbook:
    """Load one file; in a library, its place and its release are judged too. Raises RunbookErrors, NoSuchPathError."""
    folder = releases.library_of(path)
    return _load(path, vocabulary, releases.read_lock(folder) if folder else None)[0]


def lint(paths: Sequence[Path], vocabulary: Vocabulary) -> list[Problem]:
    """All mistakes in the files, and in the YAML files below the folders. Raises NoSuchPathError."""
    return list(read_all(paths, vocabulary).problems)


def read_all(paths: Sequence[Path], vocabulary: Vocabulary) -> Found:
    """Every sound runbook of these files and folders, and every mistake of the others. Raises NoSuchPathError."""
    runbooks: list[Runbook] = []
    places: dict[str, Node] = {}
    problems: set[Problem] = set()
    locks: dict[Path, Lock] = {}
    for path in paths:
        for file in _files(path, problems):
            folder = releases.library_of(file)
            if folder and folder not in locks:
                locks[folder] = releases.read_lock(folder)
            try:
                runbook, successor = _load(file, vocabulary, locks[folder] if folder else None)
            except RunbookErrors as errors:
                problems.update(errors.problems)
                continue
            runbooks.append(runbook)
            if successor is not None:
                places[runbook.name] = successor
        if (path / releases.LOCK).is_file():
            locks.setdefault(path.absolute(), releases.read_lock(path.absolute()))
    problems.update(releases.all_problems(locks.values()))
    problems.update(successors.cycles(runbooks, places))
    return Found(runbooks, sorted(problems), places)


def _load(path: Path, vocabulary: Vocabulary, lock: Lock | None) -> tuple[Runbook, Node | None]:
    """The runbook, and where its successor is named: in the file, or in the lock, which can deprecate a release."""
    content = _content(path)
    try:
        runbook, root = _sound(content, str(path), vocabulary)
    except RunbookErrors as errors:
        root = _nodes(content, str(path))[0]  # raises the same errors where the file is no YAML
        raise RunbookErrors({*errors.problems, *_unlike_its_release(root, content, path, lock)}) from None
    if problems := [*_unlike_its_release(root, content, path, lock)]:
        raise RunbookErrors(problems)
    recorded = lock.releases.get(runbook.name) if lock else None
    if recorded is None or recorded.successor is None:
        return runbook, root.fields.get("successor")
    deprecated = {"status": RunbookStatus.DEPRECATED, "successor": recorded.successor.text}
    return runbook.model_copy(update=deprecated), recorded.successor


def _unlike_its_release(root: Node, content: bytes, path: Path, lock: Lock | None) -> Iterable[Problem]:
    return releases.judge(root, content, path, lock) if lock is not None else ()


@lru_cache(maxsize=256)
def _sound(content: bytes, source: str, vocabulary: Vocabulary) -> tuple[Runbook, Node]:
    """A runbook with its nodes; remembered, because the library is read for every look and its files hardly change."""
    root, problems = _nodes(content, source)
    return _runbook(root, problems, content, source, vocabulary), root


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise NoSuchPathError(f"there is no file {path}; name a runbook's YAML file or a folder that holds some")
    try:
        with path.open("rb") as file:
            return file.read(marks.MAX_BYTES + 1)
    except OSError as error:
        what = f"this file cannot be read: {error.strerror}; make it readable for this user"
        raise RunbookErrors([Problem(str(path), 1, 1, what)]) from None


def _nodes(content: bytes, source: str) -> tuple[Node, list[Problem]]:
    try:
        root, problems = marks.read(content, source)
    except marks.UnreadableError as error:
        raise RunbookErrors(error.problems) from None
    if not isinstance(root.value, dict):
        what = "a runbook is a mapping; write fields such as id: area/situation, each on its own line"
        raise RunbookErrors([root.problem(what)])
    return root, problems


def _runbook(root: Node, problems: list[Problem], content: bytes, source: str, vocabulary: Vocabulary) -> Runbook:
    """Judge the shape and the rules, whatever the other found, so that one look shows every mistake."""
    full = short_forms.written_out(root)
    problems = [*problems, *rules.judge(full, vocabulary), *placeholders.judge(full)]
    try:
        runbook = Runbook.model_validate(full.plain(), by_alias=True, by_name=False)
    except ValidationError as error:
        said = {(problem.line, problem.column) for problem in problems}
        told = wording.told(error, full)
        raise RunbookErrors({*problems, *(p for p in told if (p.line, p.column) not in said)}) from None
    for hidden in ("sha256", "source"):
        if hidden in root.fields:
            problems.append(root.key(hidden).problem(f"'{hidden}' is worked out, never written; leave it out"))
    if problems:
        raise RunbookErrors(set(problems))
    return runbook.model_copy(update={"sha256": releases.sha256(content), "source": source})


def _files(path: Path, problems: set[Problem]) -> Iterator[Path]:
    """The file itself, or the YAML files below a folder, each once."""
    if not path.is_dir():
        yield path
        return
    found, before = 0, len(problems)
    root = os.path.realpath(path)
    for file in _below(path, Path(root), {root}, problems):
        found += 1
        if found > MAX_FILES:
            what = f"more than {MAX_FILES} YAML files lie below; name a folder that holds runbooks only"
            problems.add(Problem(str(path), 1, 1, what))
            return
        yield file
    if not (found or len(problems) > before or (path / releases.LOCK).is_file()):
        problems.add(Problem(str(path), 1, 1, "no YAML file lies below this folder; name one that holds runbooks"))


def _below(folder: Path, root: Path, seen: set[str], problems: set[Problem]) -> Iterator[Path]:
    """Links are followed only within the folder that was named: a mounted ConfigMap is made of such.

    Its files, and the folders of its items, are links into a hidden folder (`..data`) that is exchanged as a whole; what
    is hidden is its own copy and is left out. See "Mounted ConfigMaps are updated automatically" of Kubernetes' docs and
    pkg/volume/util/atomic_writer.go.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        what = f"this folder cannot be read: {error.strerror}; make it readable for this user, or name another"
        problems.add(Problem(str(folder), 1, 1, what))
        return
    for name in names:
        entry = folder / name
        is_folder = entry.is_dir()
        if name.startswith(".") or not (is_folder or name.endswith(_SUFFIXES)) or (is_folder and name.endswith(CASES)):
            continue
        real = os.path.realpath(entry)
        if not Path(real).is_relative_to(root):
            what = f"this link leads out of {root} and is not followed; put the file itself here"
            problems.add(Problem(str(entry), 1, 1, what))
        elif real not in seen:
            seen.add(real)
            if is_folder:
                yield from _below(entry, root, seen, problems)
            else:
                yield entry
