"""Delete a waiting pod by UID, so that its owner makes a new one at once instead of after the kubelet's back-off."""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts import Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.holders import CLAIM_USERS
from runbooks.actions import Action, Clients, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:
    """Plan to delete the runbook's pod.

    Raises:
        CannotPlan: it is not there.
    """
    pod = situation.pod()
    if pod is None:
        raise CannotPlan(f"pod {arguments.get('pod')} is not there, or not among the volume's users")
    owner = pod.metadata.controller
    return Planned(
        action="kubernetes.delete_pod",
        says=f"delete pod {pod.metadata.namespace}/{pod.metadata.name}, if it does not start by itself",
        targets=(pod.subject,),
        effect={"grace_seconds": None, **({"owner": owner.uid} if owner else {})},
        risk=Risk.LOW,
    )


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the deletion."""
    with telling_outcome("delete the pod", dry=True, gone_is_done=True):
        await clients.api().delete(planned.targets[0], grace_seconds=None, dry_run=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Delete the pod; its kubelet ends it in its own time."""
    with telling_outcome("delete the pod", gone_is_done=True):
        await clients.api().delete(planned.targets[0], grace_seconds=None, dry_run=False)


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the pod is gone or going; None where pods were not seen."""
    try:
        pods = situation.pods() if "image" in situation.params else situation.listed(k8s.PODS)
        left = [p for p in pods if p.metadata.uid == planned.targets[0].uid]
    except CannotPlan:
        return None
    return all(p.metadata.deletion_timestamp is not None for p in left)


ACTION = Action(
    risk=Risk.LOW,
    parameters={"pod": "pod"},
    undo="a deleted pod does not come back; its owner makes a new one",
    required=frozenset({"pod"}),
    reads=(Read(k8s.VOLUMES), Read(CLAIM_USERS), Read(k8s.PODS)),
    writes=(Write("", "pods", "delete", "Pod"),),
    guards=("object_unchanged", "owner_will_recreate_pod", "pod_still_waits", "pod_is_no_csi_node_plugin"),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
