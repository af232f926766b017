"""The health report: what changed between two looks at a cluster. Pure: nothing here reads, keeps or shows.

It must never call resolved what this look could not judge: such a finding is carried on until a look can.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec

from diagnostics.model import Finding, Outcome, Severity, Status, Subject, quoted
from diagnostics.scan import Report

MOST_CARRIED = 500
_NOT_RUN = "the check was not run this time"


class Trouble(msgspec.Struct, frozen=True):
    """A finding of one check, as far as the next report needs it.

    `within` are the namespaces that were looked at when it was last found (none: all). `note` says what changed about
    it, or why it could not be judged.
    """

    id: str
    check: str
    subject: Subject
    summary: str
    severity: Severity
    cause: str | None
    first_seen: datetime
    within: tuple[str, ...] = ()
    note: str = ""


class Blind(msgspec.Struct, frozen=True):
    """A check that could not look, and why; `partly` where it could not see all that it looks at."""

    check: str
    reason: str
    partly: bool = False


class AreaCount(msgspec.Struct, frozen=True):
    """What a report found in one area of checks, by severity, and how many of its checks could not look.

    `partly`: only some of the area's checks were to run, so that its count says nothing beside those of whole looks.
    """

    area: str
    critical: int = 0
    warning: int = 0
    info: int = 0
    blind: int = 0
    partly: bool = False

    @property
    def found(self) -> int:
        """All findings."""
        return self.critical + self.warning + self.info


class LockCount(msgspec.Struct, frozen=True):
    """The RBD locks that were seen: how many of each verdict, in how many images of how many pools.

    `worth_a_look` are the rows of those that are not in order, each a sentence; `unread` says which pools could not be
    read, and why.
    """

    verdicts: dict[str, int]
    images: int
    pools: int
    worth_a_look: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def locks(self) -> int:
        """All locks."""
        return sum(self.verdicts.values())


class HealthReport(msgspec.Struct, frozen=True):
    """The health of a cluster, compared with an earlier report (taken at `since`; None: there was none).

    `newly_unseen` are checks that could look the last time and could not now. A finding is in one of `new`, `changed` (worse, or for another cause), `still`, `resolved` and `unjudged`.
    `forgotten` counts those that were carried unjudged and are not any more. `checks` counts the checks that looked at
    all they look at, `scanned` what was read of each kind. `namespaces` are those that were looked at (none: all).
    """

    cluster: str
    taken_at: datetime
    since: datetime | None
    new: tuple[Trouble, ...]
    changed: tuple[Trouble, ...]
    still: tuple[Trouble, ...]
    resolved: tuple[Trouble, ...]
    unjudged: tuple[Trouble, ...]
    unseen: tuple[Blind, ...]
    skipped: tuple[Blind, ...]
    checks: int
    scanned: dict[str, int]
    forgotten: int = 0
    namespaces: tuple[str, ...] = ()
    areas: tuple[AreaCount, ...] = ()
    locks: LockCount | None = None
    newly_unseen: tuple[str, ...] = ()

    @property
    def is_news(self) -> bool:
        """Whether it tells anything that the last one did not."""
        return bool(self.since is None or self.new or self.changed or self.resolved or self.newly_unseen)

    @property
    def found(self) -> tuple[Trouble, ...]:
        """What was found in this look."""
        return (*self.new, *self.changed, *self.still)

    @property
    def nothing_stuck(self) -> bool:
        """Whether all that is configured was looked at, something was, and nothing was found."""
        return self.checks > 0 and not (self.found or self.unjudged or self.unseen or self.forgotten)


def health(
    last: HealthReport | None, report: Report, locks: LockCount | None = None, partly: Collection[str] = ()
) -> HealthReport:
    """Compare a look at a cluster with the last report about the same cluster. `locks` are those that the look saw.

    `partly` are the areas of which not all checks were to run.

    A finding keeps its id over looks (`finding_id`). Where a check finds the same thing under another id, the chain
    behind it reads otherwise now, perhaps only because less could be seen: that is neither new nor resolved.
    """
    scope = report.snapshot.scope
    last = last if last is not None and last.cluster == scope.cluster else None
    before = {trouble.id: trouble for trouble in (*last.found, *last.unjudged)} if last else {}
    seen = [_trouble(o.check, f, report.taken_at, scope.namespaces) for o in report.outcomes for f in o.findings]
    new, changed, still = _compared(before, seen)
    resolved, unjudged = _gone(before.values(), {o.check: o for o in report.outcomes}, scope.namespaces)
    carried = sorted(unjudged, key=lambda t: (t.severity.rank, t.first_seen), reverse=True)[:MOST_CARRIED]
    unseen = [
        Blind(o.check, o.reason or "it says no reason", partly=o.status is not Status.UNKNOWN)
        for o in report.outcomes if o.status is Status.UNKNOWN or (o.status is not Status.SKIPPED and o.reason)
    ]  # fmt: skip
    skipped = [Blind(o.check, o.reason or "it says no reason") for o in report.outcomes if o.status is Status.SKIPPED]
    return HealthReport(
        cluster=scope.cluster, taken_at=report.taken_at, since=last.taken_at if last else None,
        new=_worst_first(new), changed=_worst_first(changed), still=_worst_first(still),
        resolved=_worst_first(resolved), unjudged=tuple(carried), forgotten=len(unjudged) - len(carried),
        unseen=tuple(unseen), skipped=tuple(skipped), checks=len(report.outcomes) - len(unseen) - len(skipped),
        scanned=report.scanned, namespaces=scope.namespaces, areas=_areas(report.outcomes, partly), locks=locks,
        newly_unseen=tuple(sorted({b.check for b in unseen} - {b.check for b in last.unseen})) if last else (),
    )  # fmt: skip


def area_of(check: str) -> str:
    """The area of a check, by its id."""
    return check.partition("/")[0]


def _areas(outcomes: Iterable[Outcome], partly: Collection[str]) -> tuple[AreaCount, ...]:
    """The areas that were looked at, by name."""
    counts: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        if outcome.status is Status.SKIPPED:
            continue
        counted = counts.setdefault(area_of(outcome.check), {})
        if outcome.status is Status.UNKNOWN:
            counted["blind"] = counted.get("blind", 0) + 1
        for finding in outcome.findings:
            severity = (finding.severity or Severity.INFO).value
            counted[severity] = counted.get(severity, 0) + 1
    return tuple(AreaCount(area, **counts[area], partly=area in partly) for area in sorted(counts))


def _trouble(check: str, finding: Finding, now: datetime, within: tuple[str, ...]) -> Trouble:
    severity = finding.severity or Severity.INFO
    return Trouble(finding.id, check, finding.subject, finding.summary, severity, finding.cause, now, within)


def _worst_first(troubles: Iterable[Trouble]) -> tuple[Trouble, ...]:
    return tuple(sorted(troubles, key=lambda trouble: (-trouble.severity.rank, trouble.first_seen)))


def _compared(
    before: dict[str, Trouble], seen: Iterable[Trouble]
) -> tuple[list[Trouble], list[Trouble], list[Trouble]]:
    """What is new, changed, and as before. What of `before` is met again is taken out of it."""
    new: list[Trouble] = []
    changed: list[Trouble] = []
    still: list[Trouble] = []
    about: dict[tuple[str, str, str], list[Trouble]] = {}
    for each in before.values():
        about.setdefault(_about(each), []).append(each)
    # One thing can have several findings of one check: those that kept their ids are met first.
    for trouble in sorted(seen, key=lambda t: t.id not in before):
        others = about.get(_about(trouble), ())
        same = before.get(trouble.id) or next((each for each in others if each.id in before), None)
        if same is None:
            new.append(trouble)
            continue
        del before[same.id]
        note = _what_changed(same, trouble)
        kept = msgspec.structs.replace(trouble, first_seen=same.first_seen, note=note)
        (changed if note else still).append(kept)
    return new, changed, still


def _about(trouble: Trouble) -> tuple[str, str, str]:
    subject = trouble.subject
    return trouble.check, subject.kind, subject.uid or f"{subject.namespace}/{subject.name}"


def _what_changed(before: Trouble, now: Trouble) -> str:
    notes = []
    if now.severity.rank > before.severity.rank:
        notes.append(f"worse: it was {before.severity}")
    if now.cause != before.cause:
        notes.append(f"its cause read {before.cause or 'unknown'} before")
    return "; ".join(notes)


def _gone(
    before: Iterable[Trouble], outcomes: dict[str, Outcome], namespaces: tuple[str, ...]
) -> tuple[list[Trouble], list[Trouble]]:
    """Of what was not met again, what is resolved, and what could not be judged."""
    resolved: list[Trouble] = []
    unjudged: list[Trouble] = []
    for trouble in before:
        why = _not_judged(trouble, outcomes.get(trouble.check), namespaces)
        (unjudged if why else resolved).append(msgspec.structs.replace(trouble, note=why))
    return resolved, unjudged


def _not_judged(trouble: Trouble, outcome: Outcome | None, namespaces: tuple[str, ...]) -> str:
    """Why this look could not have seen the trouble; empty if it would have."""
    if outcome is None:
        return _NOT_RUN
    if outcome.status in (Status.UNKNOWN, Status.SKIPPED) or outcome.reason:
        return outcome.reason or "the check could not look"
    covers = not namespaces or (trouble.within and set(trouble.within) <= set(namespaces))
    if not covers and trouble.subject.namespace not in namespaces:
        return f"only {quoted(namespaces)} was looked at this time"
    return ""
