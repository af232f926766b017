"""Who may ask, approve and run: every refusal, all reasons at once, and how many approvals a plan takes."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from diagnostics.model import Subject
from runbooks.approval import Approval, Person, decide, may_approve, may_request, may_run
from runbooks.model import Risk
from runbooks.plan import Plan, PlannedStep
from runbooks.situation import Planned
from tests.runbooks.hand_made import NOW

ALICE = Person("cli:alice", frozenset({"responder"}))
BOB = Person("cli:bob", frozenset({"approver"}))
CAROL = Person("cli:carol", frozenset({"approver"}))


def plan(risk: Risk = Risk.CRITICAL, dies: tuple[str, ...] = ()) -> Plan:
    """Alice's plan to do something to node1 and to a pod in `search`, good for 15 minutes."""
    targets = (Subject("Node", None, "node1", "u1"), Subject("Pod", "search", "old", "u2"))
    acts = (PlannedStep("s", "act", "", Planned("a.b", "", targets, {}, risk, dies)),) if risk is not Risk.READ else ()
    return Plan("here", "a/b", "1.0.0", "f", {"node": "node1"}, acts, {}, ALICE.id, NOW + timedelta(minutes=15), "h")


def yes(person: Person = BOB, confirmed: str | None = "node1", plan_hash: str = "h") -> Approval:
    return Approval(person, plan_hash, confirmed, NOW)


def test_a_responder_asks_and_an_approver_approves() -> None:
    assert may_request(plan(), ALICE) == ()
    assert may_approve(plan(), yes(), NOW) == ()
    assert may_run(plan(), ALICE) == may_run(plan(), BOB) == ()


@pytest.mark.parametrize(
    ("approval", "when", "says"),
    [
        (yes(Person("cli:v", frozenset({"viewer"}))), NOW, "has not the role approver"),
        (yes(Person("cli:a", frozenset({"admin", "responder"}))), NOW, "has not the role approver"),
        (yes(Person(ALICE.id, frozenset({"approver", "responder"}))), NOW, "asked for this plan"),
        (yes(plan_hash="another"), NOW, "for another plan"),
        (yes(), NOW + timedelta(minutes=15), "expired"),
        (yes(confirmed=None), NOW, "nothing was typed"),
        (yes(confirmed=""), NOW, "nothing was typed"),
        (yes(confirmed="node2"), NOW, "not 'node2'"),
        (yes(confirmed="NODE1"), NOW, "not 'NODE1'"),
        (yes(Person("cli:b", frozenset({"approver"}), frozenset({"shop"}))), NOW, "no role in namespace search"),
    ],
)
def test_an_approval_that_does_not_count_says_why(approval: Approval, when: Any, says: str) -> None:
    [reason] = may_approve(plan(), approval, when)
    assert says in reason
    assert not decide(plan(), [approval], when).allowed


def test_all_reasons_are_given_at_once() -> None:
    bad = yes(Person(ALICE.id, frozenset(), frozenset({"shop"})), None, "another")
    assert len(may_approve(plan(), bad, NOW + timedelta(hours=1))) == 6


def test_until_the_last_moment_an_approval_counts() -> None:
    assert may_approve(plan(), yes(), NOW + timedelta(minutes=15) - timedelta(microseconds=1)) == ()


def test_an_approver_answers_for_the_namespaces_of_the_pods_that_die_too() -> None:
    costly = plan(dies=("search/old", "billing/ledger-0", "the client at 10.0.0.1:0/7, with all its images"))
    here = Person("cli:b", frozenset({"approver"}), frozenset({"search"}))
    assert may_approve(costly, yes(here), NOW) == ("cli:b has no role in namespace billing",)
    both = msgspec.structs.replace(here, namespaces=frozenset({"search", "billing"}))
    assert may_approve(costly, yes(both), NOW) == ()
    assert may_request(costly, msgspec.structs.replace(ALICE, namespaces=frozenset({"search"}))) == ()


def test_only_a_critical_plan_is_confirmed_by_typing() -> None:
    assert may_approve(plan(Risk.HIGH), yes(confirmed=None), NOW) == ()


@pytest.mark.parametrize(
    ("person", "says"),
    [
        (Person(ALICE.id, frozenset({"viewer"})), "has not the role responder"),
        (Person(ALICE.id, frozenset({"approver", "admin"})), "has not the role responder"),
        (Person(ALICE.id, frozenset({"responder"}), frozenset({"shop"})), "no role in namespace search"),
        (BOB, "made for cli:alice, not for cli:bob"),
    ],
)
def test_a_request_that_is_not_allowed_says_why(person: Person, says: str) -> None:
    assert any(says in reason for reason in may_request(plan(), person))


def test_a_viewer_may_ask_for_a_plan_that_only_reads_and_nobody_unknown_may() -> None:
    assert may_request(plan(Risk.READ), Person(ALICE.id, frozenset({"viewer"}))) == ()
    assert may_request(plan(Risk.READ), Person(ALICE.id)) == ("cli:alice is not known here",)


@pytest.mark.parametrize(
    ("person", "says"),
    [
        (Person("cli:v", frozenset({"viewer", "admin"})), "neither the role responder nor approver"),
        (Person("cli:r", frozenset({"responder"}), frozenset({"shop"})), "no role in namespace search"),
    ],
)
def test_a_run_that_is_not_allowed_says_why(person: Person, says: str) -> None:
    [reason] = may_run(plan(), person)
    assert says in reason


@pytest.mark.parametrize(("risk", "needed"), [(Risk.READ, 0), (Risk.LOW, 0), (Risk.HIGH, 1), (Risk.CRITICAL, 2)])
def test_the_risk_says_how_many_approvals_a_plan_takes_and_only_a_critical_one_takes_the_quorum(
    risk: Risk, needed: int
) -> None:
    given = [yes(), yes(CAROL)]
    for number in range(3):
        decision = decide(plan(risk), given[:number], NOW, quorum=2)
        assert decision.allowed is (number >= needed)
        assert decision.waiting is (number < needed)


def test_the_same_person_twice_is_one_approval() -> None:
    decision = decide(plan(), [yes(), yes()], NOW, quorum=2)
    assert (decision.allowed, decision.waiting) == (False, True)
    assert decision.reasons == ("1 more approval of another person is needed",)


def test_approvals_that_do_not_count_are_not_counted() -> None:
    assert not decide(plan(), [yes(ALICE), yes(CAROL, "node2"), yes(plan_hash="x")], NOW).allowed
    assert decide(plan(), [yes(ALICE), yes()], NOW).allowed


@pytest.mark.parametrize("risk", list(Risk))
def test_an_expired_plan_is_not_run_whatever_its_risk_and_does_not_wait_for_more(risk: Risk) -> None:
    decision = decide(plan(risk), [yes(), yes(CAROL)], NOW + timedelta(minutes=15))
    assert (decision.allowed, decision.waiting) == (False, False)
    assert "expired" in decision.reasons[0]
