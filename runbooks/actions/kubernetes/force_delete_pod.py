"""Remove the pods of a volume that hang in Terminating on a fenced node: nobody is left there to end them.

A forced deletion tells the cluster that the pod has ended without anybody having seen it: it is safe only behind a
fence of every volume that the pod could still write to.
"""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts import Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.holders import CLAIM_USERS
from runbooks.actions import Action, Clients, Write
from runbooks.actions.outcomes import telling_outcome
from runbooks.guards.kubernetes import old_pods
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:  # noqa: ARG001 - the pods are the situation's
    """Plan to remove the old pods.

    Raises:
        CannotPlan: there are none.
    """
    pods = old_pods(situation)
    if not pods:
        raise CannotPlan("no pod of the volume hangs in Terminating on the node")
    names = ", ".join(f"{p.metadata.namespace}/{p.metadata.name}" for p in pods)
    return Planned(
        action="kubernetes.force_delete_pod",
        says=f"remove the old pod {names} by force, by its UID",
        targets=tuple(pod.subject for pod in pods),
        effect={"grace_seconds": 0},
        risk=Risk.HIGH,
    )


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the deletions."""
    with telling_outcome("force-delete the old pod", dry=True, gone_is_done=True):
        for target in planned.targets:
            await clients.api().delete(target, grace_seconds=0, dry_run=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Remove the pods at once."""
    with telling_outcome("force-delete the old pod", gone_is_done=True):
        for target in planned.targets:
            await clients.api().delete(target, grace_seconds=0, dry_run=False)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether all of them are gone; None where pods were not seen."""
    try:
        left = {p.metadata.uid for p in situation.pods()}
    except CannotPlan:
        return None
    return not any(target.uid in left for target in planned.targets)


ACTION = Action(
    risk=Risk.HIGH,
    parameters=frozenset({"image", "node"}),
    required=frozenset({"node"}),
    reads=(Read(k8s.VOLUMES), Read(CLAIM_USERS)),
    writes=(Write("", "pods", "delete"),),
    guards=("object_unchanged", "every_ceph_volume_of_pod_is_fenced"),
    plan=plan,
    apply=apply,
    done=done,
    dry_run=dry_run,
)
