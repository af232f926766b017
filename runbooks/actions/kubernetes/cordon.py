"""Cordon a node, so that no pod comes back to it while its volumes are taken away."""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts import Read
from diagnostics.facts.holders import NODES
from runbooks.actions import Action, Clients, Undo, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
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
    return Planned(
        action="kubernetes.cordon",
        says=f"cordon node {node.metadata.name}",
        targets=(node.subject,),
        effect={"unschedulable": True},
        risk=Risk.LOW,
    )


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the patch."""
    with telling_outcome("cordon the node", dry=True):
        await clients.api().patch(planned.targets[0], {"spec": planned.effect}, dry_run=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Mark the node unschedulable."""
    with telling_outcome("cordon the node"):
        await clients.api().patch(planned.targets[0], {"spec": planned.effect}, dry_run=False)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the very node is unschedulable; None where nodes were not seen."""
    nodes = situation.snapshot.seen(NODES)
    if nodes is None:
        return None
    uid = planned.targets[0].uid
    return any(n.metadata.uid == uid and bool(n.spec.unschedulable) for n in nodes.full)


def _uncordon(planned: Planned) -> Planned:
    node = planned.targets[0]
    return Planned("kubernetes.uncordon", f"uncordon node {node.name}", (node,), {"unschedulable": None}, Risk.LOW)


ACTION = Action(
    risk=Risk.LOW,
    parameters={"node": "node"},
    undo=Undo("kubernetes.uncordon", _uncordon),
    required=frozenset({"node"}),
    reads=(Read(NODES),),
    writes=(Write("", "nodes", "patch", "Node"),),
    guards=("object_unchanged",),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
