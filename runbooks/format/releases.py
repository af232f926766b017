"""Released versions never change: `versions.lock` holds the sha256 of each, and this compares the files with it.

A folder that holds a `versions.lock` is a library: a runbook lies there at `<area>/<situation>/<version>.yaml`, and
what is stable or deprecated is recorded. A preview may change until it is recorded. Nothing here writes: a release is
added by hand, with the line that the error shows, so that the addition is seen in review. A release is deprecated in
its line too, because its file no longer changes: two spaces and `deprecated: ` with the successor's id or id@version.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runbooks.format.marks import Node, Problem
from runbooks.model import semver

LOCK = "versions.lock"
_LEVELS_UP = 4
_MAX_LOCK_BYTES = 4 * 1024 * 1024
_PLACE = re.compile(r"([^/]+/[^/]+)/([^/]+)\.yaml")
_ID, _VERSION = r"[a-z0-9_]+/[a-z0-9_]+", r"[0-9]+\.[0-9]+\.[0-9]+"
_LINE = re.compile(rf"([0-9a-f]{{64}})  ({_ID})@({_VERSION})(?:  deprecated: ({_ID}(?:@{_VERSION})?))?")


@dataclass(frozen=True)
class Recorded:
    """One line of `versions.lock`: a release, its sha256, and where that is written.

    `successor` is what to use instead of a deprecated one, and the place of that word.
    """

    sha256: str
    line: int
    successor: Node | None = None


@dataclass(frozen=True)
class Lock:
    """The releases of one library by `id@version`, and what is wrong with the file that names them."""

    folder: Path
    releases: Mapping[str, Recorded]
    problems: tuple[Problem, ...]

    @property
    def path(self) -> str:
        """The lock file, as messages name it: from the working directory where it lies below."""
        return _shown(self.folder / LOCK)


def sha256(content: bytes) -> str:
    """The fingerprint of a file, over its bytes."""
    return hashlib.sha256(content).hexdigest()


def library_of(path: Path) -> Path | None:
    """The library (absolute) that a file lies in: the nearest folder above it with a `versions.lock`, or None.

    It looks a level further than a file of a library lies, so that a misplaced one is noticed.
    """
    return next((folder for folder in path.absolute().parents[:_LEVELS_UP] if (folder / LOCK).is_file()), None)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def read_lock(folder: Path) -> Lock:
    """Read a library's releases. A line that cannot be read is a problem, never skipped over."""
    path = _shown(folder / LOCK)
    if not (folder / LOCK).resolve().is_relative_to(folder.resolve()):
        what = "this link leads out of its folder and is not followed; put the file itself here"
        return Lock(folder, {}, (Problem(path, 1, 1, what),))
    try:
        with (folder / LOCK).open("rb") as file:
            lines = file.read(_MAX_LOCK_BYTES).decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        return Lock(folder, {}, (Problem(path, 1, 1, f"this file cannot be read: {error.strerror}"),))
    releases: dict[str, Recorded] = {}
    problems = []
    order: list[tuple[str, tuple[int, int, int]]] = []
    for number, line in enumerate(lines, start=1):
        what = ""
        parts = _LINE.fullmatch(line)
        if parts is None:
            what = (
                f"{line[:100]!r} is no release; write its sha256, two spaces, and id@version; for a deprecated one, two "
                "spaces more, and deprecated: its successor"
            )
        elif (name := f"{parts[2]}@{parts[3]}") in releases:
            what = f"{name} is already in line {releases[name].line}; keep the line whose sha256 was released"
        else:
            successor = Node(path, number, parts.start(4) + 1, parts[4]) if parts[4] else None
            releases[name] = Recorded(parts[1], number, successor)
            place = (parts[2], semver(parts[3]))
            if order and place < order[-1]:
                what = f"{name} is out of order; sort the lines by id, then by version"
            order.append(place)
        if what:
            problems.append(Problem(path, number, 1, what))
    return Lock(folder, releases, tuple(problems))


def judge(root: Node, content: bytes, path: Path, lock: Lock) -> Iterator[Problem]:
    """Whether a file of a library lies where its id and version say, and is what was released."""
    place = _PLACE.fullmatch(path.absolute().relative_to(lock.folder).as_posix())
    where = f"{root.at('id').text or 'area/situation'}/{root.at('version').text or '1.0.0'}.yaml"
    if place is None:
        yield root.key("id").problem(
            f"a runbook lies at area/situation/version.yaml in its library; move it to {where}"
        )
        return
    runbook_id, version = place.groups()
    for field, wanted in (("id", runbook_id), ("version", version)):
        said = root.at(field)
        if said.text and said.text != wanted:
            yield said.problem(f"{field} '{said.text}' does not match its place; write {wanted}, or move it to {where}")
    name = f"{runbook_id}@{version}"
    recorded = lock.releases.get(name)
    now = sha256(content)
    if recorded is None and root.at("status").text in ("stable", "deprecated"):
        what = f"{name} is not recorded as released; add this line to {lock.path}, in order: {now}  {name}"
        yield root.at("version").problem(what)
    if recorded is not None and recorded.sha256 != now:
        what = (
            f"{name} was changed after its release (its sha256 is {now[:12]}..., {lock.path}:{recorded.line} says "
            f"{recorded.sha256[:12]}...); take the change back, and release it as a new version"
        )
        yield root.at("version").problem(what)


def missing_files(lock: Lock) -> Iterator[Problem]:
    """Releases whose file is gone: somebody's plan or history may still name them."""
    for name, recorded in lock.releases.items():
        place = f"{name.replace('@', '/')}.yaml"
        if not (lock.folder / place).is_file():
            what = f"{name} was released, but {place} is not there; bring the file back"
            yield Problem(lock.path, recorded.line, 1, what)


def all_problems(locks: Iterable[Lock]) -> Iterator[Problem]:
    """What is wrong with the lock files themselves."""
    for lock in locks:
        yield from lock.problems
        yield from missing_files(lock)
