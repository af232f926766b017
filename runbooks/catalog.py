"""The runbooks there are: the built-in library, and a team's own folders beside it, several versions side by side.

A library with a single mistake does not load: half of a library would offer the wrong version without a word.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from runbooks.format.marks import Problem
from runbooks.format.wording import instead
from runbooks.loader import RunbookErrors, read_all
from runbooks.model import Runbook, RunbookStatus, Vocabulary, semver


class NoSuchRunbookError(LookupError):
    """A runbook or a version was named that the library does not have."""


def built_in_folder() -> Path:
    """Where the built-in runbooks lie: beside this package's code, in a checkout and in a wheel alike."""
    return Path(str(files("runbooks").joinpath("library")))


class Library:
    """Every runbook by id, each with its versions in order."""

    def __init__(self, runbooks: Iterable[Runbook]) -> None:
        by_id: defaultdict[str, list[Runbook]] = defaultdict(list)
        for runbook in runbooks:
            by_id[runbook.id].append(runbook)
        self._by_id = {
            name: tuple(sorted(versions, key=lambda runbook: semver(runbook.version)))
            for name, versions in sorted(by_id.items())
        }

    @classmethod
    def load(cls, vocabulary: Vocabulary, extra_folders: Sequence[Path] = ()) -> "Library":
        """Read the built-in library and these folders. Raises RunbookErrors with all mistakes, NoSuchPathError."""
        runbooks, problems = read_all([built_in_folder(), *extra_folders], vocabulary)
        first: dict[str, Runbook] = {}
        for runbook in runbooks:
            other = first.setdefault(runbook.name, runbook)
            if other is not runbook:
                what = f"{runbook.name} is already in {other.source}; give this one another id or version"
                problems.append(Problem(runbook.source, 1, 1, what))
        if problems:
            raise RunbookErrors(problems)
        return cls(runbooks)

    def all(self) -> tuple[Runbook, ...]:
        """Every version of every runbook, by id, then by version."""
        return tuple(runbook for versions in self._by_id.values() for runbook in versions)

    def versions(self, runbook_id: str) -> tuple[Runbook, ...]:
        """The versions of one runbook, the oldest first. Raises NoSuchRunbookError."""
        versions = self._by_id.get(runbook_id)
        if versions is None:
            raise NoSuchRunbookError(f"there is no runbook '{runbook_id}'; {instead(runbook_id, self._by_id)}")
        return versions

    def find(self, name: str) -> Runbook:
        """The runbook `id@version`; for `id` alone its latest stable version. Raises NoSuchRunbookError."""
        runbook_id, at, version = name.partition("@")
        versions = self.versions(runbook_id)
        if at:
            found = next((runbook for runbook in versions if runbook.version == version), None)
            what = f"{runbook_id} has no version '{version}'; it has {_listed(versions)}"
        else:
            found = _latest_stable(versions)
            what = f"{runbook_id} has no stable version; name one as {runbook_id}@VERSION: {_listed(versions)}"
        if found is None:
            raise NoSuchRunbookError(what)
        return found

    def answering(self, check_id: str, cause: str | None = None) -> tuple[Runbook, ...]:
        """The runbooks that answer a check or a cause, each in its latest stable version, by id."""
        latest = (_latest_stable(versions) for versions in self._by_id.values())
        asked = {check_id, cause}
        return tuple(runbook for runbook in latest if runbook is not None and not asked.isdisjoint(runbook.answers))


def _latest_stable(versions: Sequence[Runbook]) -> Runbook | None:
    return next((runbook for runbook in reversed(versions) if runbook.status is RunbookStatus.STABLE), None)


def _listed(versions: Sequence[Runbook]) -> str:
    return ", ".join(f"{runbook.version} ({runbook.status})" for runbook in versions)
