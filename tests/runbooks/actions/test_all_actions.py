"""What holds for every action: it declares what it reads, writes and needs, and its guards exist.

Each has an example, in `examples/`, of a situation in which it can be planned.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from runbooks.actions import Action, Undo, all_actions
from runbooks.guards import all_guards
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Situation
from tests.runbooks.actions import examples
from tests.runbooks.hand_made import Incident

Arguments = Mapping[str, Any]
WITH = {"image": "mioss/index", "locker": "", "node": "node1", "pod": "search/new", "for": "157784760s"}
OF_THE_INCIDENT = ("ceph.break_lock", "ceph.fence", "kubernetes.cordon", "kubernetes.delete_pod")
EXAMPLES: dict[str, tuple[Situation, Arguments]] = {name: (Incident().situation(), WITH) for name in OF_THE_INCIDENT}
for _entry in pkgutil.iter_modules(examples.__path__):
    EXAMPLES |= importlib.import_module(f"{examples.__name__}.{_entry.name}").EXAMPLES


def planned(action: Action, situation: Situation, arguments: Arguments) -> Any:
    try:
        return action.plan(situation, arguments)
    except CannotPlan as error:
        return error.reasons


def test_every_action_has_an_example() -> None:
    assert sorted(EXAMPLES) == sorted(all_actions())


@pytest.mark.parametrize("name", all_actions())
def test_an_action_plans_and_judges_by_nothing_but_what_it_declares_to_read(name: str) -> None:
    action, (situation, arguments) = all_actions()[name], EXAMPLES[name]
    declared = replace(situation, snapshot=situation.snapshot.only(action.reads))
    assert planned(action, declared, arguments) == planned(action, situation, arguments)
    act = action.plan(situation, arguments)
    assert action.done(act, declared) == action.done(act, situation)
    assert action.done(act, declared) is not None


@pytest.mark.parametrize("name", all_actions())
def test_an_action_changes_something_declares_it_and_is_never_without_guards(name: str) -> None:
    action, (situation, arguments) = all_actions()[name], EXAMPLES[name]
    assert action.risk is not Risk.READ
    assert bool(action.writes) != bool(action.ceph_caps)
    assert action.settles >= 5, "what was sent may land after whoever sent it has died"
    assert action.required <= set(action.parameters)
    assert action.guards
    assert set(action.guards) <= set(all_guards())
    act = action.plan(situation, arguments)
    assert (act.action, act.risk.rank >= action.risk.rank) == (name, True)
    assert all(target.uid for target in act.targets), "an act without UIDs could hit another object of the same name"
    kinds = {target.kind for target in act.targets}
    assert not action.writes or {write.kind for write in action.writes} & kinds, "no permission would be asked for"


@pytest.mark.parametrize("name", all_actions())
def test_what_takes_an_act_back_is_an_action_on_the_same_things_or_there_is_a_reason_why_nothing_does(
    name: str,
) -> None:
    action, (situation, arguments) = all_actions()[name], EXAMPLES[name]
    if not isinstance(action.undo, Undo):
        assert len(action.undo) > 10
        return
    act = action.plan(situation, arguments)
    back = action.undo.plan(act)
    assert back.action == action.undo.action in all_actions()
    assert back.targets[0] == act.targets[0]
    assert not all_actions()[back.action].lifts_fence, "a fence is never lifted to take something back"


def test_only_what_is_done_to_ceph_goes_there() -> None:
    assert [name for name, action in all_actions().items() if action.ceph_caps] == [
        name for name in sorted(all_actions()) if name.startswith("ceph.")
    ]
    assert [name for name, action in all_actions().items() if action.lifts_fence] == ["ceph.unfence"]
