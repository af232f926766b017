"""Guards of evictions: what a pod's disruption budgets say, and whether it can be evicted at all."""

from collections.abc import Iterator

from diagnostics.facts import Read
from diagnostics.facts.disruption import BUDGETS, LABELLED_PODS, budgets_of
from diagnostics.facts.resources.disruption import Budget, LabelledPod
from runbooks.guards import Ruling, allowed, guard, refused
from runbooks.situation import CannotPlan, Situation


def budgets_by_pod(situation: Situation) -> dict[str, tuple[LabelledPod, tuple[Budget, ...]]]:
    """Each pod that was read, by UID, with the budgets that protect it.

    Raises:
        CannotPlan: pods or budgets could not be read.
    """
    pods, budgets = situation.listed(LABELLED_PODS), situation.listed(BUDGETS)
    return {pod.metadata.uid: (pod, budgets_of(pod, budgets)) for pod in pods}


def _protected(situation: Situation) -> list[tuple[LabelledPod, tuple[Budget, ...]]]:
    """The act's pods that are there, with their budgets.

    Budgets do not count for a pod that has not started, has ended or is going: the API evicts those at once.
    https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
    """
    if situation.act is None:
        raise CannotPlan("there is no act to judge", unknown=True)
    known = budgets_by_pod(situation)
    found = [known[target.uid] for target in situation.act.targets if target.uid in known]
    return [(pod, own) for pod, own in found if pod.status.phase == "Running" and not pod.is_going]


def _counts_for(budget: Budget, pod: LabelledPod) -> bool:
    """Whether the API asks a budget about a pod: not about one that is not Ready, if the budget's policy or its healthy
    pods let it go.

    https://kubernetes.io/docs/tasks/run-application/configure-pdb/#unhealthy-pod-eviction-policy
    """
    if pod.is_ready:
        return True
    status = budget.status
    has_enough = status.current_healthy >= status.desired_healthy > 0
    return budget.spec.unhealthy_pod_eviction_policy != "AlwaysAllow" and not has_enough


def _can_never(protected: list[tuple[LabelledPod, tuple[Budget, ...]]]) -> Iterator[str]:
    """Why a budget will not allow it, however healthy its pods become."""
    for pod, own in protected:
        if len(own) > 1:
            names = ", ".join(budget.named for budget in own)
            yield f"{pod.named} has more than one PodDisruptionBudget ({names}), and the API evicts no such pod: delete one"
        for budget in own:
            if budget.never_allows and _counts_for(budget, pod):
                yield (
                    f"PodDisruptionBudget {budget.named} never allows that {pod.named} goes: it demands every pod; "
                    "loosen it, or add a replica"
                )


def _not_now(protected: list[tuple[LabelledPod, tuple[Budget, ...]]]) -> list[str]:
    """The budgets that allow no eviction just now."""
    return [
        f"PodDisruptionBudget {budget.named} allows no eviction of {pod.named} just now"
        for pod, own in protected for budget in own
        if budget.status.disruptions_allowed == 0 and _counts_for(budget, pod)
    ]  # fmt: skip


@guard(Read(LABELLED_PODS), Read(BUDGETS))
def pdb_allows(situation: Situation) -> Ruling:
    """The disruption budgets of the pods allow their eviction now."""
    protected = _protected(situation)
    never = list(_can_never(protected))
    if never:
        return refused(*never)
    if held := _not_now(protected):
        return refused(*(f"{why}: wait until its other pods are Ready" for why in held))
    return allowed("no PodDisruptionBudget holds it up")


@guard(Read(LABELLED_PODS), Read(BUDGETS))
def pdb_can_allow(situation: Situation) -> Ruling:
    """No disruption budget of the pods forbids their eviction for good; one that holds it up just now is waited for."""
    protected = _protected(situation)
    never = list(_can_never(protected))
    if never:
        return refused(*never)
    held = _not_now(protected)
    return allowed(f"{'; '.join(held)}: that is waited for" if held else "no PodDisruptionBudget holds it up")


@guard(Read(LABELLED_PODS))
def pod_is_not_static(situation: Situation) -> Ruling:
    """The pod is not a mirror of a static pod: its kubelet runs that whatever the API says."""
    pod = situation.one(LABELLED_PODS, situation.params.get("pod", ""))
    if pod is None:
        return refused(f"there is no pod {situation.params.get('pod')}")
    owner = pod.metadata.controller
    if owner is not None and owner.kind == "Node":
        return refused(f"{pod.named} is static: change its manifest on node {owner.name} instead")
    return allowed(f"{pod.named} is not static")


@guard(Read(LABELLED_PODS))
def evicted_pod_is_gone(situation: Situation) -> Ruling:
    """The pods that the act evicts are not there any more, by UID."""
    if situation.act is None:
        raise CannotPlan("there is no act whose pods could be gone", unknown=True)
    wanted = {target.uid for target in situation.act.targets}
    left = [pod.named for pod in situation.listed(LABELLED_PODS) if pod.metadata.uid in wanted]
    return refused(f"still there: {', '.join(left)}") if left else allowed("gone")
