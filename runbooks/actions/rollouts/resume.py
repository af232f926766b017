"""Let a paused Deployment's rollout go on."""

from collections.abc import Mapping
from typing import Any

from runbooks import rollouts
from runbooks.actions import Action, Write
from runbooks.actions.outcomes import SETTLES
from runbooks.actions.switches import PAUSE, RESUME
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
    return RESUME.plan(found.subject)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the very Deployment is not paused; None where it was not seen."""
    try:
        found = rollouts.workload(situation)
    except CannotPlan as error:
        return None if error.unknown else False
    return found.subject == planned.targets[0] and not found.spec.paused


ACTION = Action(
    risk=Risk.LOW,
    parameters={"workload": "workload"},
    required=frozenset({"workload"}),
    undo=PAUSE.as_undo(),
    reads=WORKLOAD_READS,
    writes=(Write("apps", "deployments", "patch", "Deployment"),),
    guards=("object_unchanged", "rollout_is_paused", "no_operator_owns_it"),
    plan=plan,
    apply=RESUME.apply,
    done=done,
    settles=SETTLES,
    dry_run=RESUME.dry_run,
)
