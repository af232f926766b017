"""What takes the place of a deprecated runbook: that it is there, and that the way to it does not come back.

A successor is named by id (then it is the newest release of that id) or as id@version. It may itself be deprecated, as
long as the chain ends.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runbooks.format.marks import Node, Problem
from runbooks.format.wording import instead
from runbooks.model import Runbook, RunbookStatus, semver

_Versions = Mapping[str, Sequence[Runbook]]


def by_id(runbooks: Iterable[Runbook]) -> dict[str, tuple[Runbook, ...]]:
    """The versions of each runbook, the oldest first; the ids in order."""
    found: defaultdict[str, list[Runbook]] = defaultdict(list)
    for runbook in runbooks:
        found[runbook.id].append(runbook)
    return {
        name: tuple(sorted(versions, key=lambda runbook: semver(runbook.version)))
        for name, versions in sorted(found.items())
    }


def newest_release(versions: Sequence[Runbook]) -> Runbook | None:
    """The last of these versions that is no preview, deprecated or not; None where all are previews."""
    return next((runbook for runbook in reversed(versions) if runbook.status is not RunbookStatus.PREVIEW), None)


def unknown(runbooks: Iterable[Runbook], places: Mapping[str, Node]) -> Iterator[Problem]:
    """Successors that are not there. `places` has where each deprecated version names its own, by `id@version`."""
    versions = by_id(runbooks)
    for place in places.values():
        runbook_id, _, _ = place.text.partition("@")
        if runbook_id not in versions:
            yield place.problem(f"there is no runbook '{runbook_id}'; {instead(runbook_id, versions)}")
        elif _meant(place.text, versions) is None:
            there = [runbook.name for runbook in versions[runbook_id]]
            yield place.problem(f"'{place.text}' is no release that could be used; {instead(place.text, there)}")


def cycles(runbooks: Iterable[Runbook], places: Mapping[str, Node]) -> Iterator[Problem]:
    """Deprecated versions whose successors lead back to them."""
    versions = by_id(runbooks)
    for runbook in (each for several in versions.values() for each in several):
        place = places.get(runbook.name)
        if place is None:
            continue
        way = _way_back(runbook, versions)
        if way:
            what = f"the successors of {runbook.name} lead back to it ({' -> '.join(way)})"
            yield place.problem(f"{what}; name one that is not deprecated")


def _way_back(start: Runbook, versions: _Versions) -> list[str]:
    """The names from a version through its successors back to it; nothing where they end or turn elsewhere."""
    way = [start.name]
    following = _next(start, versions)
    while following is not None and following.name not in way:
        way.append(following.name)
        following = _next(following, versions)
    return [*way, start.name] if following is not None and following.name == start.name else []


def _next(runbook: Runbook, versions: _Versions) -> Runbook | None:
    deprecated = runbook.status is RunbookStatus.DEPRECATED and runbook.successor
    return _meant(runbook.successor or "", versions) if deprecated else None


def _meant(successor: str, versions: _Versions) -> Runbook | None:
    runbook_id, at, version = successor.partition("@")
    several = versions.get(runbook_id, ())
    if at:
        return next((runbook for runbook in several if runbook.version == version), None)
    return newest_release(several)
