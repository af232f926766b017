"""Make all pods of a workload anew, as `kubectl rollout restart` does: by an annotation of its template.

The annotation names the template that it restarts, not the time: the same plan has the same effect, and each restart
another one than the last.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from diagnostics.facts.resources.rollouts import Template
from diagnostics.facts.rollouts import bare, sha256
from runbooks import rollouts
from runbooks.actions import Action, Clients
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.actions.templates import TEMPLATE, WORKLOAD_WRITES, annotate, is_there, read_first, tested
from runbooks.guards.rollouts import WORKLOAD_READS
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation

ANNOTATION = "unstick.dev/restarted-after"


def _value(template: str) -> str:
    return f"template-{template[:16]}"


def _annotated(template: Mapping[str, Any], value: str) -> Template:
    """The template with the annotation, as the API server will have it."""
    made = deepcopy(bare(template))
    meta = made.setdefault("metadata", {})
    meta["annotations"] = {**(meta.get("annotations") or {}), ANNOTATION: value}
    return made


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:  # noqa: ARG001 - the situation names the workload
    """Plan to annotate the template.

    Raises:
        CannotPlan: there is no such workload, or it could not be read.
    """
    found = rollouts.workload(situation)
    now = sha256(found.spec.template)
    after = sha256(_annotated(found.spec.template, _value(now)))
    tool = rollouts.tool_behind(found)
    kept = f"{tool} leaves the annotation alone: it is not in Git, and has a field manager of its own"
    return Planned(
        action="rollouts.restart",
        says=f"make all pods of {found.subject} anew, by its own strategy ({found.way.type})",
        targets=(found.subject,),
        effect={"from": {"template": now}, "to": {"template": after}, "annotation": {ANNOTATION: _value(now)}},
        risk=Risk.HIGH,
        shows=(kept,) if tool else (),
    )


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the patch."""
    await _patch(planned, clients, dry=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Annotate the template; the controller does the rest."""
    await _patch(planned, clients, dry=False)


async def _patch(planned: Planned, clients: Clients, *, dry: bool) -> None:
    api, target = clients.api(), planned.targets[0]
    found = await read_first(api, target, dry=dry)
    if is_there(found, planned.effect):
        return
    [(name, value)] = planned.effect["annotation"].items()
    operations = (tested(found), *annotate(found["spec"]["template"], f"{TEMPLATE}/metadata", name, value))
    with telling_outcome("restart the rollout", dry=dry):
        await api.patch_json(target, operations, dry_run=dry)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the template has the annotation; None where the workload was not seen."""
    try:
        found = rollouts.workload(situation)
    except CannotPlan as error:
        return None if error.unknown else False
    annotations = (found.spec.template.get("metadata") or {}).get("annotations") or {}
    return found.subject == planned.targets[0] and planned.effect["annotation"].items() <= annotations.items()


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"workload": "workload"},
    required=frozenset({"workload"}),
    undo="pods that were replaced do not come back; the new ones are made from the same template",
    reads=WORKLOAD_READS,
    writes=(
        *WORKLOAD_WRITES,
    ),
    guards=(
        "object_unchanged", "no_newer_rollout", "rollout_is_not_paused", "replaces_its_pods", "no_operator_owns_it",
        "is_no_csi_node_plugin",
    ),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)  # fmt: skip
