"""Plans: the same facts make the same hash, and each thing that an approval binds makes another one."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from bot.diagnose import library
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS, SESSIONS, Daemon
from diagnostics.facts.holders import CLAIM_USERS, NODES
from diagnostics.model import Subject
from runbooks.guards import Answer
from runbooks.judging import reads_of
from runbooks.model import GuardCall, Risk, Runbook, Step
from runbooks.plan import PLAN_LASTS, Plan, PlannedStep, basis_key, differences, digest, make
from tests.runbooks.hand_made import NOW, PARAMS, Incident, node, pod

BOOK = library().find("ceph/stale_rbd_lock@1.0.0")


def down() -> Incident:
    """The incident before anybody cordoned the node."""
    return Incident(nodes=[node("node1", "10.0.0.1", ready="Unknown"), node("node2", "10.0.0.2")])


def planned(
    incident: Incident | None = None, book: Runbook = BOOK, requester: str = "cli:alice", **params: str
) -> Plan:
    """A plan from hand-made facts; a parameter given as "" is left out."""
    given = {name: value for name, value in {**PARAMS, **params}.items() if value}
    return make("here", book, given, (incident or down()).snapshot(), requester, NOW + PLAN_LASTS)


def step_of(plan: Plan, name: str) -> PlannedStep:
    return next(step for step in plan.steps if step.id == name)


def test_the_incident_makes_a_critical_plan_that_lists_its_acts_targets_and_who_pays() -> None:
    plan = planned()
    assert plan.refusals == ()
    assert [act.action for act in plan.acts] == [
        "kubernetes.cordon", "ceph.fence", "ceph.break_lock", "kubernetes.force_delete_pod", "kubernetes.delete_pod",
    ]  # fmt: skip
    assert (plan.risk, plan.confirmation) == (Risk.CRITICAL, "node1")
    assert {"uid-node1", "uid-old", "uid-new"} <= {target.uid for target in plan.targets}
    assert len(plan.targets) == len(set(plan.targets))
    assert plan.namespaces == plan.who_pays == frozenset({"search"})


def test_the_same_facts_make_the_same_hash_at_another_moment() -> None:
    plan = planned()
    later = down()
    later.first_seen = timedelta(hours=2)
    again = planned(later)
    assert again.steps != plan.steps, "the reasons tell times, and are shown"
    assert (again.hash, differences(plan, again)) == (plan.hash, ())


def test_a_plan_survives_the_store_unchanged() -> None:
    plan = planned()
    kept = msgspec.convert(msgspec.json.decode(msgspec.json.encode(plan)), Plan)
    assert digest(kept) == plan.hash
    assert differences(kept, planned()) == ()


def with_pods(*pods: Any) -> Incident:
    incident = down()
    incident.pods = list(pods)
    return incident


def with_old(old: Any) -> Incident:
    incident = with_pods(old, NEW)
    incident.on_node = [old]
    return incident


def with_on_node(*pods: Any) -> Incident:
    incident = down()
    incident.on_node = [*incident.on_node, *pods]
    return incident


def with_nodes(*nodes: Any) -> Incident:
    incident = down()
    incident.nodes = list(nodes)
    return incident


OLD, NEW = pod("old", "node1", terminating=True), pod("new", "node2", phase="Pending")
BOUND: dict[str, tuple[Plan, str]] = {
    "runbook's file": (planned(book=BOOK.model_copy(update={"sha256": "f" * 64})), "the runbook is now"),
    "version": (planned(book=BOOK.model_copy(update={"version": "1.0.1"})), "stale_rbd_lock@1.0.1"),
    "parameters": (planned(pod=""), "params was"),
    "requester": (planned(requester="cli:mallory"), "requester was cli:alice, is cli:mallory"),
    "target's UID": (planned(with_pods(OLD, pod("new", "node2", phase="Pending", uid="x"))), "was uid-new, is x"),
    "old pod's UID": (planned(with_old(pod("old", "node1", terminating=True, uid="y"))), "was uid-old, is y"),
    "node's UID": (
        planned(with_nodes(node("node1", "10.0.0.1", ready="Unknown", uid="z"), node("node2", "10.0.0.2"))),
        "Node node1 was uid-node1, is z",
    ),
    "who uses the volume": (planned(with_pods(OLD, NEW, pod("more", None, phase="Pending", containers=[]))), "users was"),
    "who dies": (planned(with_on_node(pod("third", "node1"))), "dies was search/old, is search/old, search/third"),
    "what is fenced": (
        planned(with_nodes(node("node1", "10.0.0.1", ready="Unknown", ips=("10.5.0.1",)), node("node2", "10.0.0.2"))),
        "entries",
    ),
    "steps": (planned(Incident(nodes=[node("node1", "10.0.0.1", cordoned=True), node("node2", "10.0.0.2")])), "acts were"),
}  # fmt: skip


@pytest.mark.parametrize(("other", "says"), BOUND.values(), ids=BOUND)
def test_each_bound_thing_changes_the_hash_and_the_difference_says_what(other: Plan, says: str) -> None:
    plan = planned()
    assert other.hash != plan.hash
    told = differences(plan, other)
    assert any(says in clause for clause in told) or says in " ".join(other.refusals), told


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"expires": NOW}, "expires was"),
        ({"cluster": "there"}, "cluster was here, is there"),
        ({"basis": {}}, "is not there"),
        ({"runbook": "ceph/other"}, "the runbook is now ceph/other@"),
    ],
)
def test_time_place_and_basis_are_bound_too(changed: dict[str, Any], says: str) -> None:
    plan = planned()
    other = msgspec.structs.replace(plan, **changed)
    other = msgspec.structs.replace(other, hash=digest(other))
    assert other.hash != plan.hash
    assert any(says in clause for clause in differences(plan, other))


def test_an_act_is_bound_with_all_of_its_effect() -> None:
    plan = planned()
    fence = step_of(plan, "fence")
    assert fence.act is not None
    for changed in ({"effect": {**fence.act.effect, "seconds": 1}}, {"dies": ()}, {"risk": Risk.LOW}):
        act = msgspec.structs.replace(fence.act, **changed)
        steps = tuple(msgspec.structs.replace(s, act=act) if s.id == "fence" else s for s in plan.steps)
        assert digest(msgspec.structs.replace(plan, steps=steps)) != plan.hash


def test_a_step_that_is_skipped_is_bound_as_skipped() -> None:
    plan = planned()
    steps = tuple(msgspec.structs.replace(s, skipped="why not") if s.id == "settle" else s for s in plan.steps)
    other = msgspec.structs.replace(plan, steps=steps)
    other = msgspec.structs.replace(other, hash=digest(other))
    assert other.hash != plan.hash
    assert differences(plan, other) == ("its steps changed",)


def test_the_basis_of_a_guard_that_several_steps_ask_is_kept_for_each_of_them() -> None:
    basis = planned().basis
    assert basis[basis_key("cordon", "object_unchanged")] == {"Node node1": "uid-node1"}
    assert basis[basis_key("clear", "object_unchanged")] == {"Pod search/old": "uid-old"}
    assert basis[basis_key("retry.otherwise", "object_unchanged")] == {"Pod search/new": "uid-new"}


def test_a_basis_holds_no_times_and_no_counts() -> None:
    later = down()
    later.leases = [
        type(later.leases[0])(later.leases[0].metadata, type(later.leases[0].spec)(NOW - timedelta(hours=9)))
    ]
    assert planned(later).basis == planned().basis
    assert not any(str(NOW.year) in value for facts in planned().basis.values() for value in facts.values())


# Steps that are left out, and steps that are refused.


def test_a_step_without_its_optional_parameter_is_skipped_and_never_acts() -> None:
    incident = Incident()
    plan = planned(incident, node="", pod="")
    skipped = {step.id: step.skipped for step in plan.steps if step.skipped}
    assert skipped == {
        "cordon": "node was not given", "clear": "node was not given", "retry": "pod was not given",
        "settle": "pod was not given", "unfence": "node was not given",
    }  # fmt: skip
    assert [act.action for act in plan.acts] == ["ceph.fence", "ceph.break_lock"]
    assert all(step.act is None or step.id in ("fence", "unlock") for step in plan.steps)


def test_a_step_whose_condition_refuses_is_skipped_and_one_whose_condition_is_unknown_is_not() -> None:
    up = with_nodes(node("node1", "10.0.0.1"), node("node2", "10.0.0.2"))
    assert "is not down" in (step_of(planned(up), "cordon").skipped or "")
    dark = down()
    dark.leases = []
    plan = planned(dark)
    assert step_of(plan, "cordon").skipped is None
    assert any(reason.startswith("node_is_down: ") for reason in plan.refusals)


def test_a_refused_plan_lists_every_reason_of_every_guard() -> None:
    incident = down()
    incident.exclusive, incident.flags = False, frozenset({"pausewr"})
    incident.pods = [pod("old", "node2"), pod("new", "node2", phase="Pending", owner=None)]
    reasons = planned(incident).refusals
    for told in ("pausewr", "pod search/old is bound to node2", "pod search/old on node2 uses"):
        assert any(told in reason for reason in reasons), reasons
    fallback = step_of(planned(incident), "retry").otherwise
    assert fallback is not None
    assert "has no owner" in (fallback.skipped or ""), "what may follow a wait in vain is left out, and says why"
    assert len(reasons) == len(set(reasons))


def test_reasons_that_an_act_cannot_be_planned_are_told_once() -> None:
    incident = down()
    incident.flags = frozenset({"full"})
    assert sum("full flag" in reason for reason in planned(incident).refusals) == 1


def test_what_cannot_be_planned_is_in_no_plan_but_shows_why() -> None:
    plan = planned(with_pods(OLD))
    assert step_of(plan, "retry").otherwise is not None
    assert "kubernetes.delete_pod" not in [act.action for act in plan.acts]
    assert any("search/new" in reason for reason in plan.refusals)


@pytest.mark.parametrize("kind", [LOCKS, SESSIONS, NODES, CLAIM_USERS, k8s.VOLUMES], ids=lambda kind: kind.name)
def test_a_plan_from_facts_that_were_not_seen_is_refused_and_acts_on_nothing_of_them(kind: Any) -> None:
    incident = down()
    incident.unseen = {kind: "nobody answered"}
    plan = planned(incident)
    assert any("nobody answered" in reason for reason in plan.refusals)
    assert not plan.may_pass
    assert "ceph.fence" not in [act.action for act in plan.acts]


def test_a_first_look_refuses_until_the_second() -> None:
    incident = down()
    incident.first_seen = timedelta(seconds=10)
    assert any("look again after 30 s" in reason for reason in planned(incident).refusals)


# Refused, or just not seen.


def test_a_refusal_may_pass_with_another_look_only_if_nothing_was_unseen() -> None:
    incident = down()
    incident.exclusive = False
    assert planned(incident).may_pass
    assert planned(incident).is_refused
    incident.silent = {"b": "no answer"}
    assert not planned(incident).may_pass
    assert not planned().may_pass


def test_what_was_only_not_seen_does_not_speak_against_the_plan_although_later_steps_are_refused_for_it() -> None:
    incident = down()
    incident.silent = {"b": "no answer"}
    plan = planned(incident)
    assert any(ruling.answer is Answer.REFUSED for step in plan.steps for ruling in step.rulings)
    assert plan.refusals
    assert not plan.is_refused


# Risk and confirmation.


def judged(*steps: tuple[str, Risk]) -> Plan:
    """A plan with acts of these risks."""
    from runbooks.situation import Planned

    made = tuple(
        PlannedStep(
            f"s{n}", "act", "", Planned("kubernetes.cordon", "", (Subject(kind, None, f"t{n}", "u"),), {}, risk)
        )
        for n, (kind, risk) in enumerate(steps)
    )
    return Plan("here", "a/b", "1.0.0", "", {"image": "p/i"}, made, {}, "cli:alice", NOW)


def test_a_plans_risk_is_its_highest_steps_and_a_plan_without_acts_only_reads() -> None:
    assert judged().risk is Risk.READ
    assert judged(("Pod", Risk.LOW), ("Pod", Risk.HIGH), ("Pod", Risk.LOW)).risk is Risk.HIGH
    skipped = msgspec.structs.replace(judged(("Node", Risk.CRITICAL)).steps[0], skipped="no")
    assert msgspec.structs.replace(judged(), steps=(skipped,)).risk is Risk.READ


def test_only_a_critical_plan_is_confirmed_by_typing_the_name_of_what_is_fenced() -> None:
    assert judged(("Node", Risk.HIGH)).confirmation is None
    assert judged(("Pod", Risk.LOW), ("Node", Risk.CRITICAL)).confirmation == "t1"
    assert judged(("RBDImage", Risk.CRITICAL)).confirmation == "p/i"
    assert planned(Incident(), node="").confirmation == "node1", "the node that dies, also where nobody named it"


def test_a_runbook_raises_a_steps_risk_and_never_lowers_it() -> None:
    def with_risk(risk: Risk) -> Plan:
        steps = tuple(s.model_copy(update={"risk": risk}) if s.act else s for s in BOOK.steps)
        return planned(book=BOOK.model_copy(update={"steps": steps}))

    raised, lowered = with_risk(Risk.CRITICAL), with_risk(Risk.LOW)
    assert {act.risk for act in raised.acts if act.action == "kubernetes.cordon"} == {Risk.CRITICAL}
    assert [act.risk for act in lowered.acts] == [act.risk for act in planned(
        book=BOOK.model_copy(update={"steps": tuple(s.model_copy(update={"risk": None}) for s in BOOK.steps)})
    ).acts]  # fmt: skip


# An action's own guards.


def test_an_actions_own_guards_are_judged_whatever_the_runbook_names() -> None:
    steps = tuple(s.model_copy(update={"require": ()}) for s in BOOK.steps)
    bare = BOOK.model_copy(update={"steps": steps})
    plan = planned(book=bare)
    assert {r.guard for r in step_of(plan, "fence").rulings} >= {
        "lock_is_breakable", "fence_scope_is_safe", "no_pod_outside_the_fence_uses_volume",
    }  # fmt: skip
    assert {r.guard for r in step_of(plan, "unlock").rulings} >= {"fence_covers_every_address", "lock_unchanged"}
    assert {read.kind.name for read in reads_of(bare)} >= {read.kind.name for read in reads_of(BOOK)}


def test_a_runbook_that_breaks_a_lock_without_a_fence_is_refused() -> None:
    unlock = next(step for step in BOOK.steps if step.id == "unlock").model_copy(update={"require": ()})
    plan = planned(book=BOOK.model_copy(update={"steps": (unlock,)}))
    assert any("this plan fenced nothing" in reason for reason in plan.refusals)


def test_what_only_follows_a_wait_in_vain_is_not_counted_on_by_later_steps() -> None:
    fence = next(step for step in BOOK.steps if step.id == "fence")
    unlock = next(step for step in BOOK.steps if step.id == "unlock")
    held = fence.model_copy(update={"id": "wait.otherwise"})
    wait = Step.model_validate({"id": "wait", "wait": {"pod": "Running"}, "within": "1m"}).model_copy(
        update={"otherwise": held}
    )
    plan = planned(Incident(), book=BOOK.model_copy(update={"steps": (wait, unlock)}))
    assert any("fence_covers_every_address" in reason for reason in plan.refusals)


# Checks while planning.


def test_a_check_before_any_act_is_judged_while_planning_and_one_after_an_act_is_not() -> None:
    look, cordon, *rest = BOOK.steps
    plan = planned(
        book=BOOK.model_copy(update={"steps": (look, cordon, look.model_copy(update={"id": "again"}), *rest)})
    )
    assert [ruling.guard for ruling in step_of(plan, "look").rulings] == ["ceph/locks_stale"]
    assert step_of(plan, "again").rulings == ()
    assert any("it is ok, not found" in r for r in planned(Incident(locked=False)).refusals)


def test_waits_and_replacements_read_pods_and_nodes_by_themselves() -> None:
    wait = Step.model_validate({"id": "w", "wait": {"pod": "Running"}, "within": "1m"})
    names = {read.kind.name for read in reads_of(BOOK.model_copy(update={"steps": (wait,)}))}
    assert {CLAIM_USERS.name, NODES.name, k8s.VOLUMES.name} <= names
    prove = Step.model_validate({"id": "p", "prove": GuardCall(name="node_is_down")})
    assert NODES.name in {read.kind.name for read in reads_of(BOOK.model_copy(update={"steps": (prove,)}))}


def test_a_daemon_at_the_nodes_address_is_in_no_plan() -> None:
    incident = down()
    incident.daemons = (*incident.daemons, Daemon("mgr.x", "10.0.0.1"))
    plan = planned(incident)
    assert not any(act.action == "ceph.fence" for act in plan.acts)
    assert any("mgr.x is up at 10.0.0.1" in reason for reason in plan.refusals)
