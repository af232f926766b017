"""Hold a Deployment's rollout where it is: no pod is replaced until it is resumed. What runs goes on running."""

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
    """Plan to pause it.

    Raises:
        CannotPlan: it is no Deployment, is not there, or could not be read.
    """
    found = rollouts.workload(situation)
    if found.kind != "Deployment":
        raise CannotPlan(f"only a Deployment's rollout can be paused, and {found.subject} is none")
    return PAUSE.plan(found.subject)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the very Deployment is paused; None where it was not seen."""
    try:
        found = rollouts.workload(situation)
    except CannotPlan as error:
        return None if error.unknown else False
    return found.subject == planned.targets[0] and bool(found.spec.paused)


ACTION = Action(
    risk=Risk.LOW,
    parameters={"workload": "workload"},
    required=frozenset({"workload"}),
    undo=RESUME.as_undo(),
    reads=WORKLOAD_READS,
    writes=(Write("apps", "deployments", "patch", "Deployment"),),
    guards=("object_unchanged", "rollout_is_not_paused", "no_operator_owns_it"),
    plan=plan,
    apply=PAUSE.apply,
    done=done,
    settles=SETTLES,
    dry_run=PAUSE.dry_run,
)
