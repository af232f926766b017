"""Delete the pods for which an OrderedReady StatefulSet that was taken back waits for ever.

Its controller replaces no pod before the broken one is Ready, and the broken one is never Ready: Kubernetes calls that
forced rollback, and leaves the deletion to people. The kubelet ends the pods in their own time; nothing is forced.
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
"""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts import Read
from diagnostics.facts.workloads import WORKLOAD_PODS
from runbooks import rollouts
from runbooks.actions import ActFailed, Action, ActStopped, Clients, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.guards.rollouts import WORKLOAD_READS, broken_pods, gone_back_to
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:  # noqa: ARG001 - the situation names the workload
    """Plan to delete the pods that are not Ready and not of the revision that the same plan goes back to.

    Raises:
        CannotPlan: there are none, or nothing in the plan goes back to a revision.
    """
    back, found = gone_back_to(situation), rollouts.workload(situation)
    pods = broken_pods(situation, back) if back is not None else ()
    if not pods:
        raise CannotPlan(f"no broken pod of another revision than the one gone back to holds up {found.subject}")
    names = ", ".join(pod.metadata.name for pod in pods)
    return Planned(
        action="rollouts.delete_broken_pods",
        says=f"delete the broken pods of {found.subject} that hold it up: {names}",
        targets=tuple(pod.subject for pod in pods),
        effect=dict(back or {}),
        risk=Risk.LOW,
    )


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the deletions."""
    with telling_outcome("delete the broken pods", dry=True, gone_is_done=True):
        for target in planned.targets:
            await clients.api().delete(target, grace_seconds=None, dry_run=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Delete the pods, the last one first, as the controller would.

    Raises:
        ActStopped: some were deleted, and then one was refused.
    """
    deleted: list[str] = []
    for target in sorted(planned.targets, key=lambda pod: rollouts.ordinal(pod.name), reverse=True):
        try:
            with telling_outcome(f"delete {target}", gone_is_done=True):
                await clients.api().delete(target, grace_seconds=None, dry_run=False)
        except ActFailed as error:
            if deleted:
                raise ActStopped(f"{', '.join(deleted)} deleted; then: {error}") from None
            raise
        deleted.append(target.name)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether all of them are gone or going; None where pods were not seen."""
    wanted = {target.uid for target in planned.targets}
    try:
        pods = rollouts.pods(rollouts.workload(situation), situation)
    except CannotPlan:
        return None
    return all(pod.metadata.deletion_timestamp is not None for pod in pods if pod.metadata.uid in wanted)


ACTION = Action(
    risk=Risk.LOW,
    parameters={"workload": "workload"},
    required=frozenset({"workload"}),
    undo="a deleted pod does not come back; the StatefulSet makes it again from the revision that is wanted",
    reads=(*WORKLOAD_READS, Read(WORKLOAD_PODS)),
    writes=(Write("", "pods", "delete", "Pod"),),
    guards=("object_unchanged", "broken_pods_hold_up_the_rollout", "workload_will_recreate_pods"),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
