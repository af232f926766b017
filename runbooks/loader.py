"""From a YAML file to a Runbook, or to all of its mistakes: each one a line `FILE:LINE:COLUMN: what; what instead`.

A file with any mistake gives no runbook at all. The names that it may use come from the caller's Vocabulary, so this
knows neither the engine nor the checks.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from runbooks.format import marks, placeholders, releases, rules, short_forms, wording
from runbooks.format.marks import Node, Problem
from runbooks.format.releases import Lock
from runbooks.model import Runbook, Vocabulary

__all__ = ["NoSuchPathError", "Problem", "RunbookErrors", "lint", "load", "parse", "read_all"]

MAX_FILES = 2000
_SUFFIXES = (".yaml", ".yml")


class RunbookErrors(Exception):
    """The mistakes of one or more runbooks, in the order of their places."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NoSuchPathError(LookupError):
    """A file or folder was named that is not there."""


def parse(content: bytes, source: str, vocabulary: Vocabulary) -> Runbook:
    """Make a runbook of a file's bytes; `source` names it in messages. Raises RunbookErrors with every mistake."""
    root, problems = _nodes(content, source)
    return _runbook(root, problems, content, source, vocabulary)


def load(path: Path, vocabulary: Vocabulary) -> Runbook:
    """Load one file; in a library, its place and its release are judged too. Raises RunbookErrors, NoSuchPathError."""
    folder = releases.library_of(path)
    return _load(path, vocabulary, releases.read_lock(folder) if folder else None)


def lint(paths: Sequence[Path], vocabulary: Vocabulary) -> list[Problem]:
    """All mistakes in the files, and in the YAML files below the folders. Raises NoSuchPathError."""
    return read_all(paths, vocabulary)[1]


def read_all(paths: Sequence[Path], vocabulary: Vocabulary) -> tuple[list[Runbook], list[Problem]]:
    """Every sound runbook of these files and folders, and every mistake of the others. Raises NoSuchPathError."""
    runbooks: list[Runbook] = []
    problems: set[Problem] = set()
    locks: dict[Path, Lock] = {}
    for path in paths:
        for file in _files(path, problems):
            folder = releases.library_of(file)
            if folder and folder not in locks:
                locks[folder] = releases.read_lock(folder)
            try:
                runbooks.append(_load(file, vocabulary, locks[folder] if folder else None))
            except RunbookErrors as errors:
                problems.update(errors.problems)
        if (path / releases.LOCK).is_file():
            locks.setdefault(path.absolute(), releases.read_lock(path.absolute()))
    problems.update(releases.all_problems(locks.values()))
    return runbooks, sorted(problems)


def _load(path: Path, vocabulary: Vocabulary, lock: Lock | None) -> Runbook:
    content = _content(path)
    root, problems = _nodes(content, str(path))
    if lock is not None:
        problems += releases.judge(root, content, path, lock)
    return _runbook(root, problems, content, str(path), vocabulary)


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
    """The file itself, or the YAML files below a folder; hidden ones are a ConfigMap's own copies and are left out."""
    if not path.is_dir():
        yield path
        return
    found = 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.endswith(_SUFFIXES) or name.startswith("."):
                continue
            found += 1
            if found > MAX_FILES:
                what = f"more than {MAX_FILES} YAML files lie below; name a folder that holds runbooks only"
                problems.add(Problem(str(path), 1, 1, what))
                return
            yield Path(folder) / name
    if not found and not (path / releases.LOCK).is_file():
        problems.add(Problem(str(path), 1, 1, "no YAML file lies below this folder; name one that holds runbooks"))
