"""One look: each source asked once for each kind, what depends on what, and what becomes of what was not seen."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from diagnostics.catalog import Listed, all_checks
from diagnostics.checks import Check
from diagnostics.facts import Kind, NotSeen, Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS, STATUS, Sighting
from diagnostics.facts.kubernetes import CLAIMS, EVENTS, PODS, VOLUMES, Listing
from diagnostics.facts.resources import Meta, Pod, PodStatus
from diagnostics.model import Finding, Scope, Severity, Status, Subject, Unseen, finding_id
from diagnostics.scan import Report, gather, judged, scan
from diagnostics.sources import CouldNotLook
from tests.diagnostics.recorded import Gap, Recording, but, load

INCIDENT = load(Path(__file__).parent / "incident.yaml")
NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
SCOPE = Scope("c")
FINDING_IT = {
    "ceph/locks_blocking_pods", "ceph/locks_stale", "nodes/not_ready", "storage/mounts_failing",
    "storage/pods_stuck_creating",
}  # fmt: skip
# The recorded incident has no `ceph status`: whoever needs it could not look.
NOT_RECORDED = {
    listed.id for listed in all_checks() if any(r.kind is STATUS and not r.optional for r in listed.check.reads)
}
NODE = Subject("Node", None, "node1", "uid-node1")

A: Kind[str] = Kind("a")
B: Kind[str] = Kind("b")
AFTER_BOTH: Kind[str] = Kind("after both", after=(A, B))


class Fake:
    """A source of made-up kinds: each answer is a value, or what is raised instead."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("_", " "): answer for name, answer in answers.items()}
        self.asked: list[str] = []
        self.kept: dict[str, Callable[[Any], bool] | None] = {}

    def provides(self, kind: Kind[Any]) -> bool:
        return kind.name in self.answers

    async def fetch(self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None) -> Any:
        self.asked.append(kind.name)
        self.kept[kind.name] = keep
        answer = self.answers[kind.name]
        if callable(answer):
            answer = await answer(earlier)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def gathered(*kinds: Kind[Any], source: Fake, scope: Scope = SCOPE) -> Snapshot:
    return await gather([source], [Read(kind) for kind in kinds], scope, (), NOW)


async def test_each_kind_is_read_once_and_after_what_it_depends_on() -> None:
    source = Fake(a="A", b="B", after_both="C")
    seen = await gather([source], [Read(AFTER_BOTH), Read(A), Read(AFTER_BOTH)], SCOPE, (), NOW)
    assert (sorted(source.asked), source.asked[-1]) == (["a", "after both", "b"], "after both")
    assert [seen[kind] for kind in (A, B, AFTER_BOTH)] == ["A", "B", "C"]


async def test_a_kind_sees_what_was_read_before_it() -> None:
    async def told(earlier: Snapshot) -> str:
        return f"{earlier[A]} and {earlier[B]}"

    seen = await gathered(AFTER_BOTH, source=Fake(a="A", b=CouldNotLook("no"), after_both=told))
    assert seen[AFTER_BOTH] == "A and NotSeen(reason='no', configured=True)"


async def test_kinds_that_do_not_depend_on_each_other_are_read_at_the_same_time() -> None:
    both = asyncio.Barrier(2)

    async def meet(_: Snapshot) -> str:
        await both.wait()  # ends only once the other one is being read too
        return "met"

    seen = await asyncio.wait_for(gathered(A, B, source=Fake(a=meet, b=meet)), timeout=5)
    assert (seen[A], seen[B]) == ("met", "met")


async def test_a_refusal_blinds_one_kind_only() -> None:
    source = Fake(a=CouldNotLook("forbidden"), b="B", after_both="C")
    seen = await gathered(AFTER_BOTH, source=source)
    assert (seen[A], seen[B], seen[AFTER_BOTH]) == (NotSeen("forbidden"), "B", "C")
    assert seen.seen(A) is None


async def test_a_source_that_cannot_be_reached_is_asked_once_only() -> None:
    source = Fake(a=CouldNotLook("no route", unreachable=True), after_a="never", after_that="never")
    after: Kind[str] = Kind("after a", after=(A,))
    last: Kind[str] = Kind("after that", after=(after,))
    other = Fake(b="B")
    seen = await gather([source, other], [Read(last), Read(B)], SCOPE, (), NOW)
    assert source.asked == ["a"]
    assert {seen[A], seen[after], seen[last]} == {NotSeen("no route")}
    assert seen[B] == "B", "another source is not to blame"


async def test_what_nobody_provides_is_not_configured_and_never_empty() -> None:
    seen = await gathered(LOCKS, source=Fake(a="A"))
    assert seen[LOCKS] == NotSeen("no Ceph is configured", configured=False)
    assert seen[PODS] == NotSeen("no Kubernetes is configured", configured=False)
    assert seen[EVENTS] == NotSeen("events was not read"), "nobody asked for events"


async def test_an_unexpected_error_ends_the_look_instead_of_hanging_it() -> None:
    source = Fake(a=ZeroDivisionError("a bug"), b="B", after_both="C")
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(gathered(AFTER_BOTH, source=source), timeout=5)


async def test_a_scan_keeps_what_any_read_wants_in_full_and_a_look_at_one_subject_keeps_all() -> None:
    reads = [Read(A, where=lambda x: x == 1), Read(A, where=lambda x: x == 2), Read(B, where=lambda x: x == 1), Read(B)]
    source = Fake(a="A", b="B")
    await gather([source], reads, SCOPE, (), NOW)
    keep = source.kept["a"]
    assert keep is not None
    assert [keep(x) for x in (1, 2, 3)] == [True, True, False]
    assert source.kept["b"] is None, "one read wants everything"
    await gather([source], reads, Scope("c", subject=NODE), (), NOW)
    assert source.kept["a"] is None


async def test_sightings_are_kept_when_ceph_could_not_be_looked_at_and_need_sessions_and_map_otherwise() -> None:
    before = (Sighting("f", "p/i", "client.1/x", NOW - timedelta(minutes=5)),)
    blind = await gather([], [Read(SIGHTINGS)], SCOPE, before, NOW)
    assert blind[SIGHTINGS] == before
    source = Recording(INCIDENT)
    await gather([source], [Read(SIGHTINGS)], SCOPE, (), NOW)
    assert {LOCKS.name, SESSIONS.name, OSDMAP.name} <= set(source.asked)


# --- Judging


def listed(*items: Finding | Unseen, reads: tuple[Read[Any], ...] = (Read(A),)) -> Listed:
    def find(_: Snapshot) -> Iterator[Finding | Unseen]:
        yield from items

    return Listed("area/things_bad", "doc", Check(find, reads, Severity.WARNING))


def snapshot(**facts: Any) -> Snapshot:
    return Snapshot("c", NOW, SCOPE, facts)


BAD = Finding(NODE, "it is bad", "some-cause")


def test_nothing_found_is_ok() -> None:
    outcome = judged(listed(), snapshot(a="A"))
    assert (outcome.status, outcome.reason, outcome.findings) == (Status.OK, None, ())


def test_a_finding_is_completed_with_id_and_severity() -> None:
    (found,) = judged(listed(BAD), snapshot(a="A")).findings
    assert (found.severity, found.id) == (Severity.WARNING, finding_id("area/things_bad", NODE, "some-cause"))
    loud = Finding(NODE, "worse", severity=Severity.CRITICAL)
    assert judged(listed(loud), snapshot(a="A")).findings[0].severity is Severity.CRITICAL


def test_nothing_found_but_something_unseen_is_unknown_and_says_each_reason_once() -> None:
    blind = (Unseen("pool x", "refused"), Unseen("pool y", "down"), Unseen("pool x", "refused"))
    outcome = judged(listed(*blind), snapshot(a="A"))
    assert (outcome.status, outcome.reason) == (Status.UNKNOWN, "pool x: refused; pool y: down")


def test_found_beside_something_unseen_stays_found_with_a_reason() -> None:
    outcome = judged(listed(BAD, Unseen("pool x", "refused")), snapshot(a="A"))
    assert (outcome.status, outcome.reason, len(outcome.findings)) == (Status.FOUND, "pool x: refused", 1)


@pytest.mark.parametrize(
    ("facts", "status", "reason"),
    [
        ({"a": NotSeen("down"), "b": "B"}, Status.UNKNOWN, "down"),
        ({"b": "B"}, Status.UNKNOWN, "a was not read"),
        ({"a": NotSeen("none here", configured=False), "b": "B"}, Status.SKIPPED, "none here"),
        ({"a": NotSeen("none", configured=False), "b": NotSeen("none", configured=False)}, Status.SKIPPED, "none"),
        ({"a": NotSeen("none here", configured=False), "b": NotSeen("down")}, Status.UNKNOWN, "down"),
    ],
)
def test_a_check_without_what_it_needs_is_unknown_or_skipped_and_is_not_asked(
    facts: dict[str, Any], status: Status, reason: str
) -> None:
    outcome = judged(listed(BAD, reads=(Read(A), Read(B))), snapshot(**facts))
    assert (outcome.status, outcome.reason, outcome.findings) == (status, reason, ())


def test_a_check_without_what_is_optional_judges_all_the_same() -> None:
    outcome = judged(listed(BAD, reads=(Read(A), Read(B, optional=True))), snapshot(a="A", b=NotSeen("down")))
    assert outcome.status is Status.FOUND


def test_a_check_cannot_judge_what_it_does_not_declare() -> None:
    seen: list[Any] = []

    def find(given: Snapshot) -> Iterator[Finding | Unseen]:
        seen.append(given[B])
        return iter(())

    judged(Listed("a/b", "doc", Check(find, (Read(A),), Severity.INFO)), snapshot(a="A", b="B"))
    assert seen == [NotSeen("b was not read")]


# --- A whole scan


async def test_a_scan_of_the_incident_finds_it_in_every_check_and_counts_what_it_read() -> None:
    report = await scan([Recording(INCIDENT)], all_checks(), SCOPE, INCIDENT.sightings, NOW)
    per = {outcome.check: outcome.status for outcome in report.outcomes}
    assert {check for check, status in per.items() if status is Status.FOUND} == FINDING_IT
    assert {per[check] for check in per.keys() - FINDING_IT - NOT_RECORDED} == {Status.OK}
    assert {per[check] for check in NOT_RECORDED} == {Status.UNKNOWN}
    assert {finding.root and finding.root.name for finding in report.findings} == {"node1"}
    assert {finding.cause for finding in report.findings} == {"rbd-image-locked", None}
    assert [f.subject for f in report.findings if f.cause is None] == [NODE], "that it is not Ready is told by itself"
    assert [f.severity for f in report.findings] == [*[Severity.CRITICAL] * 2, *[Severity.WARNING] * 3]
    assert (report.scanned["pods"], report.scanned["events"], report.scanned["rbd images"]) == (1, 2, 3)
    assert [s.first_seen for s in report.sightings] == [NOW - timedelta(minutes=1)]
    assert (report.taken_at, report.snapshot.cluster) == (NOW, "c")


async def test_the_first_scan_leaves_a_sighting_that_makes_the_second_one_certain() -> None:
    first = await scan([Recording(INCIDENT)], all_checks(), SCOPE, (), NOW)
    stale = {o.check: o for o in first.outcomes}["ceph/locks_stale"]
    assert stale.status is Status.UNKNOWN
    assert stale.reason is not None
    assert "look again after 30 s" in stale.reason
    later = await scan([Recording(INCIDENT)], all_checks(), SCOPE, first.sightings, NOW + timedelta(seconds=31))
    assert {o.check: o.status for o in later.outcomes}["ceph/locks_stale"] is Status.FOUND


@pytest.mark.parametrize("kind", [PODS, CLAIMS, VOLUMES, EVENTS, LOCKS, SESSIONS, OSDMAP])
async def test_whatever_is_hidden_no_check_that_found_something_turns_ok(kind: Kind[Any]) -> None:
    """The incident is there: a scan may find it or say that it could not look, but never that all is well."""
    world = but(INCIDENT, unseen={kind.name: Gap("hidden")})
    report = await scan([Recording(world)], all_checks(), SCOPE, INCIDENT.sightings, NOW)
    per = {outcome.check: outcome.status for outcome in report.outcomes}
    assert {per[check] for check in FINDING_IT} <= {Status.FOUND, Status.UNKNOWN}
    assert all(outcome.reason for outcome in report.outcomes if outcome.status is Status.UNKNOWN)


def test_a_reason_is_told_once_with_the_first_things_that_it_hides_however_many_these_are() -> None:
    def find(_: Snapshot) -> Iterator[Finding | Unseen]:
        yield from (Unseen(f"image i{number}", "no answer") for number in range(10_000))
        yield from (Unseen("x", f"reason {number}") for number in range(100))

    outcome = judged(Listed("a/b", "doc", Check(find, (), Severity.INFO)), snapshot())
    assert outcome.status is Status.UNKNOWN
    assert outcome.reason is not None
    assert outcome.reason.startswith(
        "image i0, image i1, image i2, image i3, image i4 and 9995 more: no answer; x: reason 0;"
    )
    assert outcome.reason.endswith("x: reason 18 and 81 more reasons")


def test_what_nobody_has_to_grant_is_told_and_leaves_a_check_ok() -> None:
    def find(_: Snapshot) -> Iterator[Finding | Unseen]:
        yield Unseen("Secret a/b", "not granted", by_choice=True)

    outcome = judged(Listed("a/b", "doc", Check(find, (), Severity.INFO)), snapshot())
    assert (outcome.status, outcome.reason) == (Status.OK, "Secret a/b: not granted")


def test_findings_of_a_report_come_worst_first_and_those_without_severity_last() -> None:
    ranks = [Severity.INFO, Severity.CRITICAL, None, Severity.WARNING]
    outcome = judged(listed(), snapshot(a="A"))
    findings = tuple(Finding(NODE, str(rank), severity=rank) for rank in ranks)
    report = Report(NOW, (type(outcome)("a/b", Status.FOUND, None, findings),), {}, (), snapshot())
    assert [f.severity for f in report.findings[:2]] == [Severity.CRITICAL, Severity.WARNING]


async def test_only_waiting_pods_are_kept_in_full_and_every_pod_as_a_row() -> None:
    running = {"metadata": {"name": "runs", "namespace": "search", "uid": "r"}, "status": {"phase": "Running"}}
    world = but(INCIDENT, kubernetes={**INCIDENT.kubernetes, "pods": [*INCIDENT.kubernetes["pods"], running]})
    report = await scan([Recording(world)], all_checks(), SCOPE, (), NOW)
    pods = report.snapshot.seen(PODS)
    assert isinstance(pods, Listing)
    assert [pod.metadata.name for pod in pods.full] == ["index-api-q4z8m"]
    assert [row.name for row in pods.rows] == ["index-api-q4z8m", "runs"]
    assert not Pod(Meta("x"), status=PodStatus(phase="Running")).is_creating
