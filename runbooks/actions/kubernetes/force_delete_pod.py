"""Remove pods that hang in Terminating on a dead node: nobody is left there to end them.

A forced deletion tells the cluster that the pod has ended without anybody having seen it: it is safe only behind a
fence of every volume on Ceph that the pod could still write to, and, as to other storage, once a person attests that the
node is off.
"""

from collections.abc import Mapping
from typing import Any

from runbooks.actions import ActFailed, Action, ActStopped, Clients, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.guards import Answer
from runbooks.guards.dead_nodes import ATTACHMENT_READS, STOP_READS, attested_off, doomed_pods, not_behind_fence, there
from runbooks.guards.kubernetes import pod_is_gone
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:  # noqa: ARG001 - the pods are the situation's
    """Plan to remove the old pods. It is critical where it rests on a person's word that they write no more.

    Raises:
        CannotPlan: there are none.
    """
    pods = doomed_pods(situation)
    if not pods:
        raise CannotPlan("no pod of the volume hangs in Terminating on the node")
    names = ", ".join(f"{p.metadata.namespace}/{p.metadata.name}" for p in pods)
    node = there(situation)
    by_word = attested_off(situation, node) and not _is_behind_fence(situation)
    return Planned(
        action="kubernetes.force_delete_pod",
        says=f"remove the old pod {names} by force, by its UID",
        targets=(*(pod.subject for pod in pods), *((node.subject,) if by_word else ())),
        effect={"grace_seconds": 0},
        risk=Risk.CRITICAL if by_word else Risk.HIGH,
    )


def _is_behind_fence(situation: Situation) -> bool:
    try:
        return not not_behind_fence(situation, there(situation))
    except CannotPlan:
        return False


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would accept the deletions."""
    with telling_outcome("force-delete the old pod", dry=True, gone_is_done=True):
        for target in _pods(planned):
            await clients.api().delete(target, grace_seconds=0, dry_run=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Remove the pods at once; one that is gone already does not keep the others.

    Raises:
        ActStopped: some were deleted, and then one was refused.
    """
    deleted: list[str] = []
    for target in _pods(planned):
        try:
            with telling_outcome("force-delete the old pod", gone_is_done=True):
                await clients.api().delete(target, grace_seconds=0, dry_run=False)
        except ActFailed as error:
            if deleted:
                raise ActStopped(f"{', '.join(deleted)} deleted; then: {error}") from None
            raise
        deleted.append(target.name)


def _pods(planned: Planned) -> list[Any]:
    return [target for target in planned.targets if target.kind == "Pod"]


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether all of them are gone; None where pods were not seen."""
    ruling = pod_is_gone.judge(Situation(situation.snapshot, situation.params, act=planned))
    return None if ruling.answer is Answer.UNKNOWN else ruling.allowed


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"image": "rbd_image", "node": "node", "pod": "pod"},
    undo="a deleted pod does not come back",
    reads=(*pod_is_gone.reads, *ATTACHMENT_READS, *STOP_READS),
    writes=(Write("", "pods", "delete", "Pod"),),
    guards=("object_unchanged", "every_ceph_volume_of_pod_is_fenced"),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
