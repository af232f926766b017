"""The health report: what is new and gone since the last one, and that nothing is called gone that was not looked at."""

import asyncio
import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from bot import reports
from bot.diagnose import run_checks
from bot.reports import Blind, HealthReport, health
from bot.sandbox.kubernetes.access import Rule
from bot.sandbox.kubernetes.incident import IMAGES, POOL, STUCK_POD
from bot.sandbox.kubernetes.resources import PODS
from bot.sandbox.world import Sandbox
from bot.slack.blocks.report import report as report_blocks
from bot.store import State, open_state
from bot.wiring import Target
from diagnostics.catalog import chosen
from diagnostics.facts import Snapshot
from diagnostics.model import Finding, Outcome, Scope, Severity, Status, Subject, finding_id
from diagnostics.scan import Report
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.rados import Rados, RadosError

T0 = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
CHECK = "storage/pods_stuck_creating"
OTHER = "ceph/locks_stale"


def pod(name: str, namespace: str | None = "search") -> Subject:
    return Subject("Pod", namespace, name, f"uid-{name}")


def finding(
    name: str, cause: str | None = "x", severity: Severity = Severity.WARNING, namespace: str | None = "search",
    check: str = CHECK,
) -> Finding:  # fmt: skip
    subject = pod(name, namespace)
    return Finding(subject, f"{name} hangs", cause, severity=severity, id=finding_id(check, subject, cause))


def ok(check: str = CHECK, reason: str | None = None) -> Outcome:
    return Outcome(check, Status.OK, reason, ())


def found(*findings: Finding, check: str = CHECK, reason: str | None = None) -> Outcome:
    return Outcome(check, Status.FOUND, reason, findings)


def unknown(check: str = CHECK, reason: str = "pods are forbidden") -> Outcome:
    return Outcome(check, Status.UNKNOWN, reason, ())


def skipped(check: str = OTHER, reason: str = "no Ceph is configured") -> Outcome:
    return Outcome(check, Status.SKIPPED, reason, ())


@dataclass
class Looks:
    """Reports one after the other, each through JSON as the store keeps it, an hour apart."""

    last: HealthReport | None = None
    now: datetime = field(default=T0)

    def look(self, *outcomes: Outcome, cluster: str = "here", namespaces: tuple[str, ...] = ()) -> HealthReport:
        scope = Scope(cluster, namespaces)
        report = Report(self.now, outcomes, {"pods": 12}, (), Snapshot(cluster, self.now, scope, {}))
        made = health(self.last, report)
        self.last = msgspec.json.decode(msgspec.json.encode(made), type=HealthReport)
        assert self.last == made
        self.now += timedelta(hours=1)
        return made


def names(troubles: tuple[reports.Trouble, ...]) -> list[str]:
    return [trouble.subject.name for trouble in troubles]


def parts(report: HealthReport) -> dict[str, list[str]]:
    """The non-empty parts of a report that hold findings."""
    kinds = ("new", "changed", "still", "resolved", "unjudged")
    return {kind: told for kind in kinds if (told := names(getattr(report, kind)))}


def test_all_is_new_in_the_first_report() -> None:
    made = Looks().look(found(finding("a"), finding("b", severity=Severity.CRITICAL)), ok(OTHER))
    assert parts(made) == {"new": ["b", "a"]}
    assert made.since is None
    assert (made.checks, made.scanned) == (2, {"pods": 12})
    assert not made.nothing_stuck


def test_what_is_found_again_is_as_before_since_it_was_first_seen() -> None:
    looks = Looks()
    for _ in range(3):
        made = looks.look(found(finding("a")))
    assert parts(made) == {"still": ["a"]}
    assert made.still[0].first_seen == T0
    assert made.since == T0 + timedelta(hours=1)


def test_what_a_check_that_saw_everything_does_not_find_again_is_resolved_once() -> None:
    looks = Looks()
    looks.look(found(finding("a"), finding("b")))
    assert parts(looks.look(found(finding("b")))) == {"still": ["b"], "resolved": ["a"]}
    made = looks.look(ok())
    assert parts(made) == {"resolved": ["b"]}
    assert made.nothing_stuck
    assert parts(looks.look(ok())) == {}


def test_what_comes_back_after_it_was_resolved_is_new() -> None:
    looks = Looks()
    looks.look(found(finding("a")))
    looks.look(ok())
    made = looks.look(found(finding("a")))
    assert parts(made) == {"new": ["a"]}
    assert made.new[0].first_seen == T0 + timedelta(hours=2)


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        ((unknown(),), "pods are forbidden"),
        ((skipped(CHECK, "no Kubernetes is configured"),), "no Kubernetes is configured"),
        ((found(finding("b"), reason="pool p: it timed out"),), "pool p: it timed out"),
        ((ok(reason="pool p: it timed out"),), "pool p: it timed out"),
        ((ok(OTHER),), "the check was not run this time"),
        ((), "the check was not run this time"),
    ],
)
def test_what_could_not_be_judged_is_never_resolved_until_it_is_judged(outcomes: tuple[Outcome, ...], why: str) -> None:
    looks = Looks()
    looks.look(found(finding("a")))
    for _ in range(2):
        made = looks.look(*outcomes)
        assert made.resolved == ()
        assert [(t.subject.name, t.note, t.first_seen) for t in made.unjudged] == [("a", why, T0)]
        assert not made.nothing_stuck
    made = looks.look(found(finding("b")))
    assert names(made.resolved) == ["a"]
    assert made.unjudged == ()


def test_what_could_not_be_judged_and_is_found_again_is_as_before() -> None:
    looks = Looks()
    looks.look(found(finding("a")))
    looks.look(unknown())
    made = looks.look(found(finding("a")))
    assert parts(made) == {"still": ["a"]}
    assert (made.still[0].first_seen, made.still[0].note) == (T0, "")


def test_a_check_is_judged_by_its_own_outcome_only() -> None:
    looks = Looks()
    looks.look(found(finding("a")), found(finding("lock", check=OTHER), check=OTHER))
    made = looks.look(ok(), unknown(OTHER, "Ceph is silent"))
    assert parts(made) == {"resolved": ["a"], "unjudged": ["lock"]}


def test_a_severity_that_rose_is_a_change_and_one_that_fell_is_none() -> None:
    looks = Looks()
    looks.look(found(finding("a"), finding("b", severity=Severity.CRITICAL)))
    made = looks.look(found(finding("a", severity=Severity.CRITICAL), finding("b", severity=Severity.INFO)))
    assert parts(made) == {"changed": ["a"], "still": ["b"]}
    assert made.changed[0].note == "worse: it was warning"
    assert parts(looks.look(found(finding("a", severity=Severity.CRITICAL)))) == {"still": ["a"], "resolved": ["b"]}


def test_the_same_thing_under_another_cause_is_neither_new_nor_resolved() -> None:
    looks = Looks()
    looks.look(found(finding("a", cause="rbd-image-locked")))
    made = looks.look(found(finding("a", cause="mount-timeout"), reason="locks: Ceph is silent"))
    assert parts(made) == {"changed": ["a"]}
    assert made.changed[0].first_seen == T0
    assert made.changed[0].note == "its cause read rbd-image-locked before"


def test_thousands_of_findings_that_all_changed_are_compared_in_a_moment() -> None:
    looks, many = Looks(), range(6_000)
    looks.look(found(*(finding(f"old-{n}") for n in many)))
    began = time.process_time()
    made = looks.look(found(*(finding(f"new-{n}") for n in many)))
    assert time.process_time() - began < 3, "each against each other one would be 36 million comparisons"
    assert (len(made.new), len(made.resolved)) == (6_000, 6_000)


def test_a_second_finding_about_a_thing_whose_first_is_still_there_is_new() -> None:
    looks = Looks()
    looks.look(found(finding("a", cause="z")))
    made = looks.look(found(finding("a", cause="b"), finding("a", cause="z")))
    assert [(t.cause, t.note) for t in made.still] == [("z", "")]
    assert [t.cause for t in made.new] == ["b"]


def test_the_same_thing_found_by_another_check_is_another_finding() -> None:
    looks = Looks()
    looks.look(found(finding("a")), ok(OTHER))
    made = looks.look(ok(), found(finding("a", check=OTHER), check=OTHER))
    assert parts(made) == {"new": ["a"], "resolved": ["a"]}


def test_a_finding_outside_of_the_namespaces_that_were_looked_at_is_not_resolved() -> None:
    looks = Looks()
    looks.look(found(finding("a"), finding("b", namespace="web"), finding("node", namespace=None)))
    made = looks.look(ok(), namespaces=("web",))
    assert parts(made) == {"resolved": ["b"], "unjudged": ["a", "node"]}
    assert {t.note for t in made.unjudged} == {"only web was looked at this time"}
    made = looks.look(ok(), namespaces=("web",))
    assert parts(made) == {"unjudged": ["a", "node"]}, "it was found in a wider look, two reports ago"
    assert parts(looks.look(ok(), namespaces=("web", "search"))) == {"resolved": ["a"], "unjudged": ["node"]}
    assert parts(looks.look(ok())) == {"resolved": ["node"]}


def test_a_thing_of_no_namespace_is_judged_by_a_look_as_wide_as_the_one_that_found_it() -> None:
    looks = Looks()
    looks.look(found(finding("node", namespace=None)), namespaces=("web",))
    assert parts(looks.look(ok(), namespaces=("web", "search"))) == {"resolved": ["node"]}


def test_another_clusters_report_is_not_compared_with() -> None:
    looks = Looks()
    looks.look(found(finding("a")))
    made = looks.look(ok(), cluster="there")
    assert parts(made) == {}
    assert made.since is None


def test_what_could_not_be_looked_at_is_told_apart_from_what_is_not_configured() -> None:
    made = Looks().look(
        unknown(), skipped(), ok("a/b", "node n: no answer"), ok("a/c"), found(finding("x"), check="a/d")
    )
    assert made.unseen == (Blind(CHECK, "pods are forbidden"), Blind("a/b", "node n: no answer", partly=True))
    assert made.skipped == (Blind(OTHER, "no Ceph is configured"),)
    assert made.checks == 2


@pytest.mark.parametrize("outcomes", [(unknown(),), (skipped(),), (), (ok(), unknown(OTHER)), (ok(reason="x"),)])
def test_nothing_is_stuck_only_where_all_that_is_configured_was_looked_at(outcomes: tuple[Outcome, ...]) -> None:
    assert not Looks().look(*outcomes).nothing_stuck
    assert Looks().look(ok(), skipped()).nothing_stuck


def test_what_is_carried_unjudged_is_bounded_and_what_is_dropped_is_counted() -> None:
    looks = Looks()
    many = [finding(f"p{number}", severity=Severity.INFO) for number in range(reports.MOST_CARRIED)]
    looks.look(found(*many, finding("worst", severity=Severity.CRITICAL), finding("bad")))
    made = looks.look(unknown())
    assert len(made.unjudged) == reports.MOST_CARRIED
    assert names(made.unjudged)[:2] == ["worst", "bad"]
    assert made.forgotten == 2
    assert made.resolved == ()
    assert looks.look(ok()).forgotten == 0


# --- On the sandbox


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(f"sqlite:///{tmp_path}/state.db")
    yield opened
    opened.runbooks.engine.dispose()


def forbid(sandbox: Sandbox, resource: str) -> list[Rule]:
    """Take a right to read away; the answer is what was allowed before."""
    before = list(sandbox.api.access._rules["diagnose"])
    left = [Rule(r.verbs, r.groups, tuple(n for n in r.resources if n != resource)) for r in before]
    sandbox.api.access.grant("diagnose", left)
    return before


def break_the_lock(sandbox: Sandbox) -> None:
    """What the fix comes to: the dead node's lock goes, and the kubelet of the new one gets the image."""
    admin = sandbox.ceph.connect()
    where = (POOL, "", f"{IMAGES[0]}.rbd", "lock")
    (locker,) = cls_lock.decode_info(admin.execute(*where, "get_info", cls_lock.encode_get_info())).lockers
    request = cls_lock.BreakRequest(cls_lock.RBD_LOCK, locker.client, locker.cookie)
    admin.execute(*where, "break_lock", cls_lock.encode_break(request))
    admin.close()


async def looked(target: Target, state: State, *checks: str) -> HealthReport:
    """What a firing does: look, compare with the last report, keep this one."""
    found = await run_checks(target, state, chosen(ids=checks or (CHECK,)), ())
    last = await asyncio.to_thread(state.reports.last, "morning", "sandbox")
    made = health(last, found.report)
    await asyncio.to_thread(state.reports.keep, "morning", made)
    return made


async def test_a_pod_that_was_freed_is_unjudged_while_pods_are_forbidden_and_resolved_once_they_are_seen(
    tmp_path: Path, state: State
) -> None:
    async with Sandbox(tmp_path / "sandbox") as sandbox:
        first = await looked(sandbox.target, state)
        assert [trouble.subject.name for trouble in first.new] == [STUCK_POD]

        allowed = forbid(sandbox, "pods")
        break_the_lock(sandbox)
        await sandbox.sleep(180)
        blind = await looked(sandbox.target, state)
        assert parts(blind) == {"unjudged": [STUCK_POD]}
        assert "Not allowed to list pods" in blind.unjudged[0].note
        assert [unseen.check for unseen in blind.unseen] == [CHECK]
        told = report_blocks(blind, "morning")
        assert told.text == "Health of sandbox: 1 not judged; 1 check could not look"

        sandbox.api.access.grant("diagnose", allowed)
        seen = await looked(sandbox.target, state)
        assert parts(seen) == {"resolved": [STUCK_POD]}
        assert seen.nothing_stuck
        assert report_blocks(seen, "morning").text == "Health of sandbox: nothing is stuck, 1 resolved"


async def test_a_pod_that_hangs_in_terminating_is_not_resolved(tmp_path: Path, state: State) -> None:
    async with Sandbox(tmp_path / "sandbox") as sandbox:
        assert STUCK_POD in names((await looked(sandbox.target, state, CHECK)).new)
        leaving = copy.deepcopy(sandbox.api.registry.get(PODS, "search", STUCK_POD))
        leaving["metadata"] |= {"deletionTimestamp": "2026-03-03T03:10:00Z", "finalizers": ["x/y"]}
        sandbox.api.registry.store.put(PODS, leaving)
        made = await looked(sandbox.target, state, CHECK)
        assert STUCK_POD not in names(made.resolved)
        assert STUCK_POD in names(made.unjudged)
        assert "it is Terminating since" in made.unjudged[0].note


def test_a_report_knows_which_namespaces_it_looked_at() -> None:
    assert Looks().look(ok(), namespaces=("search",)).namespaces == ("search",)


async def test_a_pod_whose_lock_cannot_be_seen_this_time_is_neither_new_nor_resolved(
    tmp_path: Path, state: State
) -> None:
    def silent() -> Rados:
        raise RadosError(110, "no monitor answers")

    async with Sandbox(tmp_path / "sandbox") as sandbox:
        await looked(sandbox.target, state, CHECK, OTHER)
        await sandbox.sleep(35)
        stale = await looked(sandbox.target, state, CHECK, OTHER)
        assert OTHER in [trouble.check for trouble in stale.new], "the second look proves the lock stale"
        await sandbox.sleep(60)
        blind = await looked(replace(sandbox.target, connect_ceph=silent), state, CHECK, OTHER)
        assert (blind.new, blind.resolved) == ((), ())
        assert STUCK_POD in names((*blind.still, *blind.changed))
        assert [trouble.id for trouble in blind.unjudged] == [t.id for t in stale.new if t.check == OTHER]
        assert OTHER in [unseen.check for unseen in blind.unseen]
