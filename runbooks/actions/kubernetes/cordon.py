"""Cordon a node, so that no pod comes back to it while its volumes are taken away."""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts import Read
from diagnostics.facts.holders import NODES
from runbooks.actions import Action, Write
from runbooks.actions.outcomes import SETTLES
from runbooks.actions.switches import CORDON, UNCORDON
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:
    """Plan to mark the node unschedulable.

    Raises:
        CannotPlan: there is no such node.
    """
    node = situation.node()
    if node is None:
        raise CannotPlan(f"there is no node {arguments.get('node')}")
    return CORDON.plan(node.subject)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the very node is unschedulable; None where nodes were not seen."""
    nodes = situation.snapshot.seen(NODES)
    if nodes is None:
        return None
    uid = planned.targets[0].uid
    return any(n.metadata.uid == uid and bool(n.spec.unschedulable) for n in nodes.full)


ACTION = Action(
    risk=Risk.LOW,
    parameters={"node": "node"},
    undo=UNCORDON.as_undo(),
    required=frozenset({"node"}),
    reads=(Read(NODES),),
    writes=(Write("", "nodes", "patch", "Node"),),
    guards=("object_unchanged",),
    plan=plan,
    apply=CORDON.apply,
    done=done,
    settles=SETTLES,
    dry_run=CORDON.dry_run,
)
