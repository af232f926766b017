"""Take all pods off a node through the Eviction API, which holds to their disruption budgets. Nothing is ever deleted.

One act for the whole node: what a budget holds up is tried again until the time is over, and then the act stops with
what is left. A second attempt evicts just that: each eviction is bound to the UID of a pod of the plan.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from diagnostics.facts import Read
from diagnostics.facts.disruption import ALL_NODES, BUDGETS, LABELLED_PODS, NODE_OSDMAP, PLACED_VOLUMES
from diagnostics.facts.holders import NODES
from diagnostics.facts.resources.disruption import Budget, LabelledPod
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import KubernetesError, refusal
from runbooks.actions import ActFailed, Action, ActStopped, Clients, Write
from runbooks.actions.kubernetes_api import WritingApi
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.guards.drains import ALSO, drained_node, pods_there, some, temporary_volumes, to_evict, waived
from runbooks.guards.evictions import budgets_by_pod
from runbooks.model import Risk, duration
from runbooks.situation import CannotPlan, Planned, Situation

# As long as kubectl waits between two tries at a pod that a budget holds up.
BETWEEN_TRIES = 5.0
_FOR = "10m"
# The step that does this must have a longer time-out, or the act is cut off before it can say what holds it up.
_LONGEST = 900
_GONE = (404, 409)  # nothing of that name, or another pod of that name: the one that was planned is not there any more
_HELD_UP = 429


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:
    """Plan to evict every pod that does not belong to the node itself.

    Raises:
        CannotPlan: there is no such node, an argument is none, or pods or budgets could not be read.
    """
    node, also, seconds = drained_node(situation), _also(arguments.get("also")), _seconds(arguments.get("for"))
    pods = sorted(to_evict(situation), key=lambda pod: pod.named)
    known = budgets_by_pod(situation)
    budgets = {pod.named: known[pod.metadata.uid][1] for pod in pods}
    return Planned(
        action="kubernetes.drain",
        says=f"evict from node {node.metadata.name}: {some([pod.named for pod in pods]) or 'no pod'}",
        targets=(node.subject, *(pod.subject for pod in pods)),
        effect={
            "also": also,
            "for_seconds": seconds,
            "budgets": {name: [budget.named for budget in own] for name, own in budgets.items() if own},
        },
        risk=Risk.HIGH,
        dies=tuple(f"{pod.named} (no controller)" for pod in pods if pod.metadata.controller is None),
        shows=(*(_waiver(word, pods, situation) for word in also), *(_line(pod, budgets[pod.named]) for pod in pods)),
    )


def _also(text: object) -> list[str]:
    words = sorted({word.strip().lower() for word in str(text or "").split(",") if word.strip()})
    if bad := [word for word in words if word not in ALSO]:
        raise CannotPlan(f"`also` cannot name {', '.join(bad)}: it takes {', '.join(ALSO)}, with commas between")
    return words


def _waiver(word: str, pods: Sequence[LabelledPod], situation: Situation) -> str:
    return f"`{word}` was named in `also`: {'; '.join(waived(word, pods, situation)) or 'nothing here needs it'}"


def _seconds(text: object) -> int:
    seconds = int(duration(text or _FOR).total_seconds())
    if seconds > _LONGEST:
        raise CannotPlan(f"budgets are waited for {_LONGEST // 60} minutes at most: say less, and try again later")
    return seconds


def _line(pod: LabelledPod, budgets: Sequence[Budget]) -> str:
    owner = pod.metadata.controller
    told = [f"of {owner.kind} {owner.name}" if owner else "nobody makes it again"]
    told += [f"PodDisruptionBudget {budget.named}" for budget in budgets]
    told += [f"loses {volume}" for volume in temporary_volumes(pod)]
    return f"{pod.named}: {', '.join(told)}"


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would take the evictions. One that a budget holds up just now is no refusal."""
    for pod in _pods(planned):
        with telling_outcome(f"evict pod {_named(pod)}", dry=True):
            await _evicted(clients.api(), pod, dry_run=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Evict the pods that are left.

    Raises:
        ActStopped: the time is over, or the server refused one of them; the others are evicted.
        OutcomeUnknown: no answer came to an eviction, or one that does not say whether it was done.
    """
    await evict_all(planned, clients.api())


async def evict_all(
    planned: Planned, api: WritingApi, *, clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:  # fmt: skip
    """Go round the pods that are left until none is, or the act's time is over. Raises as `apply` does."""
    pods = _pods(planned)
    left = dict.fromkeys(pods, "")
    end = clock() + planned.effect["for_seconds"]
    while True:
        for pod in tuple(left):
            try:
                with telling_outcome(f"evict pod {_named(pod)}"):
                    left[pod] = await _evicted(api, pod, dry_run=False) or ""
            except (ActFailed, CouldNotLook) as error:
                raise ActStopped(f"{_count(pods, left)} are evicted, and there it stopped: {error}") from None
            if not left[pod]:
                del left[pod]
        if not left:
            return
        if clock() >= end:
            raise ActStopped(f"{_count(pods, left)} are evicted; {_held_up(planned, left)}")
        await sleep(BETWEEN_TRIES)


async def _evicted(api: WritingApi, pod: Subject, *, dry_run: bool) -> str | None:
    """Evict a pod; gives why it cannot be just now. None: it is going, or is not there any more.

    It is looked at first: for another pod of its name the server would ask that one's budget, before its UID.
    """
    try:
        found = await api.read(pod)
    except KubernetesError as error:
        if error.status in _GONE:
            return None
        raise ActFailed(f"{refusal(error, f'look at pod {_named(pod)}')} Nothing was sent.") from None
    except CouldNotLook as error:
        raise ActFailed(f"{error.reason} Nothing was sent.") from None
    if found["metadata"].get("deletionTimestamp") is not None:
        return None  # it is going: a second eviction would take from its budget a second time
    try:
        await api.evict(pod, dry_run=dry_run)
    except KubernetesError as error:
        if error.status == _HELD_UP:
            return error.message or "the server allows no eviction now"
        if error.status not in _GONE:
            raise
    return None


def _held_up(planned: Planned, left: Mapping[Subject, str]) -> str:
    """Which pods are held up, by what, and what to do."""
    told = []
    for pod, why in left.items():
        by = " and ".join(f"PodDisruptionBudget {name}" for name in planned.effect["budgets"].get(_named(pod), ()))
        told.append(f"{_named(pod)} is held up by {by or 'the server'} ({why.rstrip('.')})")
    return f"{'; '.join(told)}: see why the budget's other pods are not Ready, or loosen it, and try again"


def _count(pods: Sequence[Subject], left: Mapping[Subject, str]) -> str:
    return f"{len(pods) - len(left)} of {len(pods)} pods"


def _pods(planned: Planned) -> tuple[Subject, ...]:
    return tuple(target for target in planned.targets if target.kind == "Pod")


def _named(pod: Subject) -> str:
    return f"{pod.namespace}/{pod.name}"


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether each pod of the plan is gone or going; None where the pods were not seen."""
    try:
        left = {pod.metadata.uid for pod in pods_there(situation) if not pod.is_going}
    except CannotPlan:
        return None
    return not any(pod.uid in left for pod in _pods(planned))


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"node": "node", "also": "string", "for": "duration"},
    undo="an evicted pod does not come back; its owner makes a new one on another node",
    required=frozenset({"node"}),
    reads=tuple(
        Read(kind) for kind in (NODES, ALL_NODES, LABELLED_PODS, BUDGETS, PLACED_VOLUMES, NODE_OSDMAP)
    ),
    writes=(Write("", "pods", "get", "Pod"), Write("", "pods/eviction", "create", "Pod")),
    guards=(
        "node_is_ready", "node_takes_no_new_pods", "one_node_at_a_time", "pods_are_those_that_were_planned",
        "drain_loses_nothing", "pdb_can_allow", "node_carries_no_ceph_daemon",
    ),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)  # fmt: skip
