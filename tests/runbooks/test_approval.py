"""Who may ask, approve and run: every refusal, all reasons at once, and how many approvals a plan takes."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from diagnostics.model import Subject
from runbooks.approval import Approval, Person, anew, decide, may_approve, may_deny, may_request, may_run
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
        (yes(Person("cli:v", frozenset({"viewer"}))), NOW, "does not have the role approver"),
        (yes(Person("cli:a", frozenset({"admin", "responder"}))), NOW, "does not have the role approver"),
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


def test_a_requester_is_known_by_every_id() -> None:
    alice = Person("U0ALICE", frozenset({"responder", "approver"}), also=frozenset({ALICE.id}))
    assert may_approve(plan(), yes(alice), NOW) == (
        "U0ALICE asked for this plan and cannot approve it: another approver must",
    )
    assert may_request(plan(), alice) == may_deny(plan(), alice) == ()
    assert not decide(plan(), [yes(alice)], NOW).allowed


def test_a_quorum_counts_humans_and_not_their_ids() -> None:
    bob = msgspec.structs.replace(BOB, also=frozenset({"U0BOB"}))
    again = Person("U0BOB", BOB.roles, also=frozenset({BOB.id}))
    one_sided = Person("U1BOB", BOB.roles, also=frozenset({"U0BOB"}))
    assert not decide(plan(), [yes(bob), yes(again), yes(one_sided)], NOW, quorum=2).allowed
    assert not decide(plan(), [yes(BOB), yes(one_sided), yes(again)], NOW, quorum=3).allowed
    assert decide(plan(), [yes(bob), yes(again), yes(CAROL)], NOW, quorum=2).allowed


def test_an_approval_counts_by_what_its_giver_may_do_now() -> None:
    now = {BOB.id: Person(BOB.id, frozenset({"viewer"})), CAROL.id: Person("U0CAROL", CAROL.roles)}
    given = anew([yes(), yes(CAROL)], now.__getitem__)
    assert [one.person.id for one in given] == [BOB.id, "U0CAROL"]
    assert decide(plan(), given, NOW).allowed
    decision = decide(plan(), given[:1], NOW)
    assert (decision.allowed, decision.waiting) == (False, True)
    assert decision.reasons == (
        "1 more approval of another person is needed",
        "the approval of cli:bob does not count: cli:bob does not have the role approver",
    )


@pytest.mark.parametrize(
    ("person", "says"),
    [
        (BOB, ()),
        (Person(BOB.id, BOB.roles, frozenset({"search"})), ()),
        (Person(BOB.id, BOB.roles, frozenset({"media"})), ("cli:bob has no role in namespace search",)),
        (Person("cli:v", frozenset({"responder", "admin"})), ("cli:v does not have the role approver",)),
        (Person(ALICE.id), ()),
        (Person(ALICE.id, frozenset({"approver"}), frozenset({"media"})), ()),
    ],
)
def test_an_approver_of_its_namespaces_denies_a_plan_and_its_requester_always_may(
    person: Person, says: tuple[str, ...]
) -> None:
    assert may_deny(plan(), person) == says


def test_only_its_requester_starts_a_plan_of_low_risk_and_others_may_go_on_with_it() -> None:
    assert may_run(plan(Risk.LOW), BOB) == ("cli:alice asked for this plan of risk low, and only they may start it",)
    assert may_run(plan(Risk.LOW), BOB, begun=True) == may_run(plan(Risk.LOW), ALICE) == ()
    assert may_run(plan(Risk.LOW), Person("U0ALICE", ALICE.roles, also=frozenset({ALICE.id}))) == ()
    assert may_run(plan(Risk.READ), BOB) == ()


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
        (Person(ALICE.id, frozenset({"viewer"})), "does not have the role responder"),
        (Person(ALICE.id, frozenset({"approver", "admin"})), "does not have the role responder"),
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
