"""The runbooks there are: the built-in library, and a team's own folders beside it, several versions side by side.

A library with a single mistake does not load: half of a library would offer the wrong version without a word.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from runbooks.format import successors
from runbooks.format.marks import Problem
from runbooks.format.wording import instead
from runbooks.loader import RunbookErrors, read_all
from runbooks.model import Runbook, RunbookStatus, Vocabulary
from runbooks.testing.coverage import lacking


class NoSuchRunbookError(LookupError):
    """A runbook or a version was named that the library does not have."""


class BadPinError(NoSuchRunbookError):
    """A pin names a runbook or a version that the library does not have."""


def built_in_folder() -> Path:
    """Where the built-in runbooks lie: beside this package's code, in a checkout and in a wheel alike."""
    return Path(str(files("runbooks").joinpath("library")))


class Library:
    """Every runbook by id, each with its versions in order. `pins` has the version that an id alone means."""

    def __init__(self, runbooks: Iterable[Runbook], pins: Mapping[str, str] | None = None) -> None:
        """Raises BadPinError: a pin names what is not there."""
        self._by_id = successors.by_id(runbooks)
        self._pins = {name: self._pinned(name, version) for name, version in (pins or {}).items()}

    @classmethod
    def load(
        cls, vocabulary: Vocabulary, extra_folders: Sequence[Path] = (), pins: Mapping[str, str] | None = None
    ) -> "Library":
        """Read the built-in library and these folders.

        Raises:
            RunbookErrors: all their mistakes; a release of the built-in library without cases of its own is one.
            NoSuchPathError: one of the folders is not there.
            BadPinError: a pin names what is not there.
        """
        built_in = read_all([built_in_folder()], vocabulary)
        own = read_all(extra_folders, vocabulary)
        runbooks = [*built_in.runbooks, *own.runbooks]
        places = {**built_in.successors, **own.successors}
        problems = {*built_in.problems, *own.problems, *_repeated(runbooks)}
        problems |= {*successors.unknown(runbooks, places), *successors.cycles(runbooks, places)}
        # A release that nobody has tried against its guards and its crashes is not offered to anybody.
        released = (book for book in built_in.runbooks if book.status is not RunbookStatus.PREVIEW)
        problems |= {problem for book in released for problem in lacking(book)}
        if problems:
            raise RunbookErrors(problems)
        return cls(runbooks, pins)

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
        """The runbook `id@version`; for `id` alone the pinned version, else the newest release.

        A deprecated version is found only by `id@version`, and an older one never comes back in its place.

        Raises:
            NoSuchRunbookError: there is none.
        """
        runbook_id, at, version = name.partition("@")
        versions = self.versions(runbook_id)
        found = _of_version(versions, version) if at else self._meant(runbook_id)
        if found is None:
            raise NoSuchRunbookError(
                f"{runbook_id} has no version '{version}'; it has {_listed(versions)}" if at else self._why(runbook_id)
            )
        return found

    def answering(self, check_id: str, cause: str | None = None) -> tuple[Runbook, ...]:
        """The runbooks that answer a check or a cause, each in the version that its id alone means, by id."""
        meant = (self._meant(runbook_id) for runbook_id in self._by_id)
        asked = {check_id, cause}
        return tuple(runbook for runbook in meant if runbook is not None and not asked.isdisjoint(runbook.answers))

    def is_pinned(self, runbook: Runbook) -> bool:
        """Whether the configuration says that this version is meant by its id alone."""
        return self._pins.get(runbook.id) == runbook

    def is_latest(self, runbook: Runbook) -> bool:
        """Whether this version is the newest release of its id, and not deprecated."""
        return _latest(self._by_id[runbook.id]) == runbook

    def _pinned(self, runbook_id: str, version: str) -> Runbook:
        try:
            versions = self.versions(runbook_id)
        except NoSuchRunbookError as error:
            raise BadPinError(f"pins: {error}") from None
        found = _of_version(versions, version)
        if found is None:
            raise BadPinError(f"pins: {runbook_id} has no version '{version}'; it has {_listed(versions)}")
        return found

    def _meant(self, runbook_id: str) -> Runbook | None:
        pinned = self._pins.get(runbook_id)
        if pinned is None:
            return _latest(self._by_id[runbook_id])
        return None if pinned.status is RunbookStatus.DEPRECATED else pinned

    def _why(self, runbook_id: str) -> str:
        """Why an id alone means nothing, and what to write."""
        versions = self._by_id[runbook_id]
        named = f"name one as {runbook_id}@VERSION: {_listed(versions)}"
        pinned, newest = self._pins.get(runbook_id), successors.newest_release(versions)
        if pinned is not None:
            return (
                f"{runbook_id} is pinned to {pinned.version}, which is deprecated; use {pinned.successor}, or {named}"
            )
        if newest is not None:
            return f"{newest.name}, the newest release, is deprecated; use {newest.successor}, or {named}"
        return f"{runbook_id} has no stable version; {named}"


def lint(paths: Sequence[Path], vocabulary: Vocabulary) -> list[Problem]:
    """All mistakes of these files and folders, as they would lie beside the built-in library. Raises NoSuchPathError."""
    named = read_all(paths, vocabulary)
    same = {Path(runbook.source).resolve() for runbook in named.runbooks}
    beside = read_all([built_in_folder()], vocabulary).runbooks
    runbooks = [*(book for book in beside if Path(book.source).resolve() not in same), *named.runbooks]
    problems = {*named.problems, *_repeated(runbooks)}
    problems |= {*successors.unknown(runbooks, named.successors), *successors.cycles(runbooks, named.successors)}
    return sorted(problems)


def _repeated(runbooks: Iterable[Runbook]) -> Iterator[Problem]:
    first: dict[str, Runbook] = {}
    for runbook in runbooks:
        other = first.setdefault(runbook.name, runbook)
        if other is not runbook:
            what = f"{runbook.name} is already in {other.source}; give this one another id or version"
            yield Problem(runbook.source, 1, 1, what)


def _of_version(versions: Sequence[Runbook], version: str) -> Runbook | None:
    return next((runbook for runbook in versions if runbook.version == version), None)


def _latest(versions: Sequence[Runbook]) -> Runbook | None:
    newest = successors.newest_release(versions)
    return None if newest is None or newest.status is RunbookStatus.DEPRECATED else newest


def _listed(versions: Sequence[Runbook]) -> str:
    return ", ".join(f"{runbook.version} ({runbook.status})" for runbook in versions)
