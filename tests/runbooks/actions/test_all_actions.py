"""What holds for every action: it declares what it reads, writes and needs, and its guards exist."""

from dataclasses import replace
from typing import Any

import pytest

from runbooks.actions import Action, all_actions
from runbooks.guards import all_guards
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Situation
from tests.runbooks.hand_made import Incident

WITH = {"image": "mioss/index", "locker": "", "node": "node1", "pod": "search/new", "for": "157784760s"}


def planned(action: Action, situation: Situation) -> Any:
    try:
        return action.plan(situation, WITH)
    except CannotPlan as error:
        return error.reasons


@pytest.mark.parametrize("name", all_actions())
def test_an_action_plans_and_judges_by_nothing_but_what_it_declares_to_read(name: str) -> None:
    action, situation = all_actions()[name], Incident().situation()
    declared = replace(situation, snapshot=situation.snapshot.only(action.reads))
    assert planned(action, declared) == planned(action, situation)
    act = action.plan(situation, WITH)
    assert action.done(act, declared) == action.done(act, situation)
    assert action.done(act, declared) is not None


@pytest.mark.parametrize("name", all_actions())
def test_an_action_changes_something_declares_it_and_is_never_without_guards(name: str) -> None:
    action = all_actions()[name]
    assert action.risk is not Risk.READ
    assert bool(action.writes) != bool(action.ceph_caps)
    assert action.required <= action.parameters
    assert action.guards
    assert set(action.guards) <= set(all_guards())
    assert not action.lifts_fence
    act = action.plan(Incident().situation(), WITH)
    assert (act.action, act.risk.rank >= action.risk.rank) == (name, True)
    assert all(target.uid for target in act.targets), "an act without UIDs could hit another object of the same name"


def test_only_fencing_and_breaking_go_to_ceph() -> None:
    assert [name for name, action in all_actions().items() if action.ceph_caps] == ["ceph.break_lock", "ceph.fence"]
