"""Give a Deployment the strategy Recreate, so that its old pod ends before the new one starts; or take that back.

The strategy that it had is in the plan, and is tested by the server before it is replaced.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from diagnostics.facts import Read
from diagnostics.facts.rollouts import TEMPLATE_CLAIMS
from runbooks import rollouts
from runbooks.actions import Action, Clients, Undo, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.guards.rollouts import WORKLOAD_READS
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation

_NAME = "rollouts.set_strategy"
RECREATE = "Recreate"


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:
    """Plan to set strategy Recreate.

    Raises:
        CannotPlan: another strategy is wanted, it is no Deployment, is not there, or could not be read.
    """
    found = rollouts.workload(situation)
    if found.kind != "Deployment" or arguments.get("strategy") != RECREATE:
        raise CannotPlan(f"strategy Recreate is all that can be set, and on a Deployment: {found.subject} is looked at")
    was = msgspec.to_builtins(found.way)
    numbers = {name: value for name, value in (was.get("rollingUpdate") or {}).items() if value is not None}
    old = {"type": was["type"], **({"rollingUpdate": numbers} if numbers else {})}
    return Planned(
        action=_NAME,
        says=f"set strategy {RECREATE} on {found.subject}: its old pods end before new ones start",
        targets=(found.subject,),
        effect={"strategy": {"type": RECREATE}, "was": old},
        risk=Risk.HIGH,
        shows=(f"strategy {_told(old)}, then {RECREATE}",),
    )


def _told(strategy: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in sorted(strategy.get("rollingUpdate", {}).items()))
    return f"{strategy['type']} ({numbers})" if numbers else str(strategy["type"])


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the patch."""
    await _patch(planned, clients, dry=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Set the strategy."""
    await _patch(planned, clients, dry=False)


async def _patch(planned: Planned, clients: Clients, *, dry: bool) -> None:
    operations = (
        {"op": "test", "path": "/spec/strategy", "value": planned.effect["was"]},
        {"op": "replace", "path": "/spec/strategy", "value": planned.effect["strategy"]},
    )
    with telling_outcome("set the strategy", dry=dry):
        await clients.api().patch_json(planned.targets[0], operations, dry_run=dry)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the very Deployment has the strategy; None where it was not seen."""
    try:
        found = rollouts.workload(situation)
    except CannotPlan as error:
        return None if error.unknown else False
    return found.subject == planned.targets[0] and found.way.type == planned.effect["strategy"]["type"]


def _back(planned: Planned) -> Planned:
    target, effect = planned.targets[0], planned.effect
    return Planned(
        action=_NAME,
        says=f"put {target} back to strategy {_told(effect['was'])}",
        targets=(target,),
        effect={"strategy": effect["was"], "was": effect["strategy"]},
        risk=Risk.HIGH,
    )


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"workload": "workload", "strategy": "enum"},
    required=frozenset({"workload", "strategy"}),
    undo=Undo(_NAME, _back),
    reads=(*WORKLOAD_READS, Read(TEMPLATE_CLAIMS)),
    writes=(Write("apps", "deployments", "patch", "Deployment"),),
    guards=("object_unchanged", "no_operator_owns_it", "nothing_would_put_it_back"),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
