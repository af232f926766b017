"""Evict one pod by UID through the Eviction API, which holds to its disruption budget; its owner makes a new one."""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts import NotSeen, Read
from diagnostics.facts.disruption import LABELLED_PODS
from diagnostics.sources.kubernetes.api import KubernetesError
from runbooks.actions import ActFailed, Action, Clients, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.guards.drains import temporary_volumes
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation

_HELD_UP = 429


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:
    """Plan to evict the pod.

    Raises:
        CannotPlan: it is not there, or could not be read.
    """
    pod = situation.one(LABELLED_PODS, str(arguments.get("pod")))
    if pod is None:
        raise CannotPlan(f"there is no pod {arguments.get('pod')}")
    return Planned(
        action="kubernetes.evict_pod",
        says=f"evict pod {pod.named}",
        targets=(pod.subject,),
        effect={"grace_seconds": None},
        risk=Risk.HIGH,
        shows=tuple(f"{pod.named} loses {volume}" for volume in temporary_volumes(pod)),
    )


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would take the eviction."""
    await _evict(planned, clients, dry=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Evict the pod; its kubelet ends it in its own time."""
    await _evict(planned, clients, dry=False)


async def _evict(planned: Planned, clients: Clients, *, dry: bool) -> None:
    pod = planned.targets[0]
    with telling_outcome("evict the pod", dry=dry, gone_is_done=True):
        try:
            await clients.api().evict(pod, dry_run=dry)
        except KubernetesError as error:
            if error.status != _HELD_UP:
                raise
            why = f"{pod.namespace}/{pod.name} is held up: {error.message.rstrip('.')}; wait until its other pods are Ready"
            raise ActFailed(why) from None


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the pod is gone or going; None where it was not looked for."""
    seen = situation.snapshot[LABELLED_PODS]
    if isinstance(seen, NotSeen):
        return None
    return not any(pod.metadata.uid == planned.targets[0].uid and not pod.is_going for pod in seen.full)


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"pod": "pod"},
    undo="an evicted pod does not come back; its owner makes a new one",
    required=frozenset({"pod"}),
    reads=(Read(LABELLED_PODS),),
    writes=(Write("", "pods/eviction", "create", "Pod"),),
    guards=(
        "object_unchanged",
        "pod_is_not_static",
        "pod_is_no_csi_node_plugin",
        "owner_will_recreate_pod",
        "pdb_allows",
    ),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
