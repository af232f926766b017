"""Let a paused Deployment's rollout go on."""

from collections.abc import Mapping
from typing import Any

from runbooks import rollouts
from runbooks.actions import Action, Clients, Undo, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.guards.rollouts import WORKLOAD_READS
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:  # noqa: ARG001 - the situation names the workload
    """Plan to resume it.

    Raises:
        CannotPlan: it is no Deployment, is not there, or could not be read.
    """
    found = rollouts.workload(situation)
    if found.kind != "Deployment":
        raise CannotPlan(f"only a Deployment's rollout can be resumed, and {found.subject} is none")
    return Planned("rollouts.resume", f"resume {found.subject}", (found.subject,), {"paused": None}, Risk.LOW)


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the patch."""
    with telling_outcome("resume the rollout", dry=True):
        await clients.api().patch(planned.targets[0], {"spec": planned.effect}, dry_run=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Resume it."""
    with telling_outcome("resume the rollout"):
        await clients.api().patch(planned.targets[0], {"spec": planned.effect}, dry_run=False)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the very Deployment is not paused; None where it was not seen."""
    try:
        found = rollouts.workload(situation)
    except CannotPlan as error:
        return None if error.unknown else False
    return found.subject == planned.targets[0] and not found.spec.paused


def _pause(planned: Planned) -> Planned:
    target = planned.targets[0]
    return Planned("rollouts.pause", f"pause {target}", (target,), {"paused": True}, Risk.LOW)


ACTION = Action(
    risk=Risk.LOW,
    parameters={"workload": "workload"},
    required=frozenset({"workload"}),
    undo=Undo("rollouts.pause", _pause),
    reads=WORKLOAD_READS,
    writes=(Write("apps", "deployments", "patch", "Deployment"),),
    guards=("object_unchanged", "rollout_is_paused", "no_operator_owns_it"),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
