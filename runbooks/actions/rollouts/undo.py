"""Take a Deployment, StatefulSet or DaemonSet back to one of its revisions, as `kubectl rollout undo` does.

The revision's template replaces the current one, and `kubernetes.io/change-cause` says so. A Deployment's controller
copies that into its history; the other two keep a revision's annotations as they were first made, so it is written
there too.
"""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts.rollouts import Revision, bare, sha256
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import KubernetesError, refusal
from runbooks import rollouts, template_diff
from runbooks.actions import ActFailed, Action, ActStopped, Clients, Undo, Write
from runbooks.actions.outcomes import SETTLES, refused, telling_outcome
from runbooks.actions.templates import TEMPLATE, WORKLOAD_WRITES, annotate, is_there, read_first, tested
from runbooks.guards.rollouts import REVISION_READS
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation

CAUSE = "kubernetes.io/change-cause"
_DOING = "take the rollout back"


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:
    """Plan to go back to `revision`; without one, to the newest that differs from what runs.

    Raises:
        CannotPlan: there is no such workload or revision, or they could not be read.
    """
    found = rollouts.workload(situation)
    kept = rollouts.revisions(found, situation)
    now = sha256(found.spec.template)
    chosen = _chosen(kept, arguments.get("revision"), now)
    if chosen is None:
        numbers = ", ".join(str(one.number) for one in kept) or "none"
        wanted = f"no revision {arguments['revision']}" if arguments.get("revision") else "no revision that differs"
        raise CannotPlan(f"{found.subject} keeps {wanted}; it keeps {numbers}")
    current = next((one for one in reversed(kept) if one.sha256 == now), None)
    return Planned(
        action=rollouts.UNDO,
        says=f"take {found.subject} back to revision {chosen.number}",
        targets=(found.subject, chosen.keeper),
        effect={
            "to": _named(chosen),
            "from": _named(current) if current else {"revision": None, "template": now, "keeper": None},
            "cause": f"Undone by Unstick to revision {chosen.number}",
        },
        risk=Risk.HIGH,
        shows=template_diff.lines(bare(found.spec.template), chosen.template),
    )


def _chosen(kept: tuple[Revision, ...], wanted: Any, now: str) -> Revision | None:
    if wanted is not None:
        return next((one for one in kept if str(one.number) == str(wanted)), None)
    return next((one for one in reversed(kept) if one.sha256 != now), None)


def _named(revision: Revision) -> dict[str, Any]:
    keeper = {"kind": revision.keeper.kind, "name": revision.keeper.name, "uid": revision.keeper.uid}
    return {"revision": revision.number, "template": revision.sha256, "keeper": keeper}


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the patch."""
    await _patch(planned, clients, dry=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Put the revision's template in place, and write the cause into the history.

    Raises:
        ActStopped: the workload was taken back, and the cause could not be written.
    """
    await _patch(planned, clients, dry=False)
    keeper = planned.targets[1]
    if keeper.kind != "ControllerRevision":
        return
    cause = {"metadata": {"annotations": {CAUSE: planned.effect["cause"]}}}
    try:
        await clients.api().patch(keeper, cause, dry_run=False)
    except KubernetesError as error:
        maybe = "" if refused(error) else " It may have been done all the same."
        raise ActStopped(f"It was taken back; {refusal(error, 'write the cause into its history')}{maybe}") from None
    except CouldNotLook as error:
        raise ActStopped(f"It was taken back; whether its history says why is not known: {error.reason}") from None


async def _patch(planned: Planned, clients: Clients, *, dry: bool) -> None:
    if len(planned.targets) < 2:  # the undo of an act that left a template which no revision keeps
        raise ActFailed("Nothing was changed: no revision keeps the template to go back to.")
    api, (target, keeper), effect = clients.api(), planned.targets, planned.effect
    found, kept = await read_first(api, target, dry=dry), await read_first(api, keeper, dry=dry)
    source = kept["data"]["spec"] if keeper.kind == "ControllerRevision" else kept["spec"]
    if sha256(source["template"]) != effect["to"]["template"]:
        raise ActFailed(f"Nothing was changed: {keeper} keeps another template by now: plan anew.")
    if is_there(found, effect):
        return
    operations = (
        tested(found),
        {"op": "replace", "path": TEMPLATE, "value": bare(source["template"])},
        *annotate(found, "/metadata", CAUSE, effect["cause"]),
    )
    with telling_outcome(_DOING, dry=dry):
        await api.patch_json(target, operations, dry_run=dry)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the workload has the revision's template; None where it was not seen.

    One that got a third template has been taken back, and then changed again, if the cause still says so.
    """
    try:
        found = rollouts.workload(situation)
    except CannotPlan as error:
        return None if error.unknown else False
    if found.subject != planned.targets[0]:
        return False
    now, effect = sha256(found.spec.template), planned.effect
    third = now != effect["from"]["template"]
    return bool(now == effect["to"]["template"] or (third and found.metadata.change_cause == effect["cause"]))


def _back(planned: Planned) -> Planned:
    """The act that goes back to what was left: only where a revision keeps that."""
    target, effect = planned.targets[0], planned.effect
    left = effect["from"]
    keeper = left["keeper"]
    number = left["revision"] if keeper else "that no revision keeps"
    kept_by = (Subject(keeper["kind"], target.namespace, keeper["name"], keeper["uid"]),) if keeper else ()
    return Planned(
        action=rollouts.UNDO,
        says=f"put {target} back to revision {number}",
        targets=(target, *kept_by),
        effect={"to": left, "from": effect["to"], "cause": f"Put back by Unstick to revision {number}"},
        risk=Risk.HIGH,
    )


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"workload": "workload", "revision": "int"},
    required=frozenset({"workload"}),
    undo=Undo(rollouts.UNDO, _back),
    reads=REVISION_READS,
    writes=(
        *WORKLOAD_WRITES,
        Write("apps", "replicasets", "get", "ReplicaSet"),
        Write("apps", "controllerrevisions", "get", "ControllerRevision"),
        Write("apps", "controllerrevisions", "patch", "ControllerRevision"),
    ),
    guards=(
        "object_unchanged", "no_newer_rollout", "revision_exists_and_differs", "rollout_is_not_paused",
        "replaces_its_pods", "no_operator_owns_it", "nothing_would_put_it_back", "is_no_csi_node_plugin",
    ),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)  # fmt: skip
