"""The engine's own guards: permissions, dry runs, freezes, limits, other executions."""

from datetime import timedelta
from typing import Any

import pytest

from runbooks.guards import Answer, Ruling, all_guards
from runbooks.model import Risk
from runbooks.situation import Planned
from runbooks.standing import ADMISSIONS, STANDING, Admission, Begun, Limit, Standing, hold_key
from tests.runbooks.hand_made import NOW, Incident

INCIDENT = Incident()
NODE, POD = INCIDENT.nodes[0].subject, INCIDENT.pods[1].subject
CORDON = Planned("kubernetes.cordon", "cordon node1", (NODE,), {}, Risk.LOW)
DELETE = Planned("kubernetes.delete_pod", "delete new", (POD,), {}, Risk.LOW)
WORD = Planned("attest", "node1 is off", (NODE,), {"attests": "node_is_off"}, Risk.READ)
HOUR = timedelta(hours=1)


def judge(name: str, standing: Standing | None = None, admission: Admission | None = None, **how: Any) -> Ruling:
    """Judge one guard of an act on node1."""
    incident = Incident()
    incident.standing = standing or Standing("a/b")
    incident.admission = admission or Admission()
    return all_guards()[name].judge(incident.situation(**{"act": CORDON, **how}))


def begun(minutes: float, *, runbook: str = "a/b", node: str = "node1", namespace: str = "search") -> Begun:
    """An act so long ago."""
    when = NOW - timedelta(minutes=minutes)
    return Begun(when, "ex-1", runbook, frozenset({namespace}), frozenset({node}))


@pytest.mark.parametrize("name", ["kubernetes_permits", "server_dry_run_accepts"])
def test_what_the_api_server_was_not_asked_is_not_known(name: str) -> None:
    dark = judge(name, admission=Admission(unseen="nobody answered"))
    assert (dark.answer, dark.reasons) == (Answer.UNKNOWN, ("nobody answered",))
    assert judge(name, act=None).answer is Answer.UNKNOWN
    snapshot = INCIDENT.snapshot()
    for facts in ({}, {ADMISSIONS.name: {}}):
        situation = INCIDENT.situation(act=CORDON)
        object.__setattr__(situation, "snapshot", type(snapshot)("here", NOW, snapshot.scope, facts))
        assert all_guards()[name].judge(situation).answer is Answer.UNKNOWN


def test_every_permission_that_is_missing_is_named() -> None:
    assert judge("kubernetes_permits").allowed
    ruling = judge("kubernetes_permits", admission=Admission(denied=("patch nodes", "delete pods in namespace search")))
    assert ruling.answer is Answer.REFUSED
    assert [reason.partition(" may not ")[2] for reason in ruling.reasons] == [
        "patch nodes: grant it in RBAC", "delete pods in namespace search: grant it in RBAC",
    ]  # fmt: skip


def test_a_dry_run_that_the_server_refuses_refuses_in_its_words() -> None:
    assert judge("server_dry_run_accepts").allowed
    ruling = judge("server_dry_run_accepts", admission=Admission(refused="the webhook says no"))
    assert (ruling.answer, "the webhook says no" in ruling.reasons[0]) == (Answer.REFUSED, True)


@pytest.mark.parametrize("name", ["outside_change_freeze", "within_blast_radius", "not_already_running"])
def test_without_the_state_database_nothing_is_known(name: str) -> None:
    situation = INCIDENT.situation(act=CORDON)
    object.__setattr__(situation, "snapshot", type(situation.snapshot)("here", NOW, situation.snapshot.scope, {}))
    assert all_guards()[name].judge(situation).answer is Answer.UNKNOWN


def test_a_freeze_stops_what_has_begun_and_a_window_only_what_has_not() -> None:
    frozen, closed = Standing("a/b", frozen="stopped by bob"), Standing("a/b", closed=("the weekend holds",))
    assert judge("outside_change_freeze").allowed
    assert judge("outside_change_freeze", frozen, done=(DELETE,)).reasons == ("stopped by bob",)
    assert judge("outside_change_freeze", closed).reasons == ("the weekend holds",)
    assert judge("outside_change_freeze", closed, done=(WORD,)).answer is Answer.REFUSED, "a word is no act"
    assert judge("outside_change_freeze", closed, done=(DELETE,)).allowed


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (Limit("cluster", 2, HOUR), "act 3 within 60 min for this cluster, and the limit is 2"),
        (Limit("node", 2, HOUR), "act 3 within 60 min for node node1"),
        (Limit("runbook", 2, HOUR), "act 3 within 60 min for runbook a/b"),
    ],
)
def test_one_act_too_many_is_refused_with_its_number(limit: Limit, told: str) -> None:
    standing = Standing("a/b", limits=(limit,), begun=(begun(59), begun(1)))
    ruling = judge("within_blast_radius", standing)
    assert ruling.answer is Answer.REFUSED
    assert told in ruling.reasons[0]
    aged = Standing("a/b", limits=(limit,), begun=(begun(60), begun(1)))
    assert judge("within_blast_radius", aged).allowed, "an act of an hour ago does not count any more"


def test_acts_elsewhere_do_not_count_for_a_namespace_a_node_or_a_runbook() -> None:
    elsewhere = (begun(1, runbook="c/d", node="node2", namespace="shop"),) * 9
    for per in ("namespace", "node", "runbook"):
        assert judge("within_blast_radius", Standing("a/b", limits=(Limit(per, 2, HOUR),), begun=elsewhere)).allowed
    full = Standing("a/b", limits=(Limit("namespace", 1, HOUR),), begun=(begun(1),))
    assert judge("within_blast_radius", full, act=DELETE).answer is Answer.REFUSED
    assert judge("within_blast_radius", full, act=CORDON).allowed, "a node is in no namespace"


def test_what_the_same_plan_does_before_counts_and_a_word_does_not() -> None:
    limit = Standing("a/b", limits=(Limit("cluster", 1, HOUR),))
    assert judge("within_blast_radius", limit).allowed
    assert judge("within_blast_radius", limit, expected=(WORD,)).allowed
    assert judge("within_blast_radius", limit, expected=(DELETE,)).answer is Answer.REFUSED


def test_what_another_execution_works_on_is_left_to_it() -> None:
    busy = Standing("a/b", held={hold_key(NODE): "ex-7"})
    assert judge("not_already_running").allowed
    ruling = judge("not_already_running", busy)
    assert (ruling.answer, ruling.reasons) == (Answer.REFUSED, ("ex-7 works on Node node1: let it end, or cancel it",))
    assert judge("not_already_running", busy, act=DELETE).allowed
    assert STANDING.name == "engine.standing"
