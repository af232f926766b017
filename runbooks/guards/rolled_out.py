"""Guards that verify a rollout after it was changed: has the controller taken it up, and has it been completed."""

from collections.abc import Iterator

from diagnostics.facts import Read
from diagnostics.facts import rollouts as facts
from diagnostics.facts.resources.rollouts import RolledOut
from diagnostics.facts.workloads import WORKLOAD_PODS
from runbooks import rollouts
from runbooks.guards import Ruling, allowed, guard, refused
from runbooks.guards.rollouts import WORKLOAD_READS, back_to, broken_pods, waits_for_broken_pods
from runbooks.situation import Planned, Situation


@guard(*WORKLOAD_READS)
def rollout_is_complete(situation: Situation) -> Ruling:
    """All pods of the workload are of its newest template and available, and it is the template that was set here."""
    found = rollouts.workload(situation)
    act = _setting(situation, found)
    if act is not None and facts.sha256(found.spec.template) != act.effect["to"]["template"]:
        return refused(f"{found.subject} has been changed by a newer rollout meanwhile: look what it is about")
    if found.spec.paused:
        return refused(f"{found.subject} is paused: nothing is rolled out until it is resumed")
    lacking = list(_lacking(found))
    return refused(*lacking) if lacking else allowed(f"the rollout of {found.subject} is complete")


def _setting(situation: Situation, found: RolledOut) -> Planned | None:
    """The last act on the workload that set its template: the one that is verified, or one done before."""
    acts = (*situation.done, *((situation.act,) if situation.act is not None else ()))
    return next((act for act in reversed(acts) if found.subject in act.targets and "to" in act.effect), None)


def _lacking(found: RolledOut) -> Iterator[str]:
    """What a rollout lacks, in the words of `kubectl rollout status`. Deadlines are said as soon as they are over."""
    if not found.is_observed:
        yield f"the controller has not looked at the newest spec of {found.subject} yet"
        return
    for condition in found.status.conditions or ():
        if (condition.type, condition.reason) == ("Progressing", "ProgressDeadlineExceeded"):
            yield f"{found.subject} makes no progress: {condition.message or condition.reason}"
    yield from {"Deployment": _deployment, "StatefulSet": _stateful_set, "DaemonSet": _daemon_set}[found.kind](found)


def _deployment(found: RolledOut) -> Iterator[str]:
    status, wanted = found.status, found.replicas
    updated = status.updated_replicas or 0
    if updated < wanted:
        yield f"{updated} of {wanted} pods are of the newest revision"
    if (status.replicas or 0) > updated:
        yield f"{(status.replicas or 0) - updated} old pods are still there"
    if (status.available_replicas or 0) < updated:
        yield f"{status.available_replicas or 0} of {updated} new pods are available"


def _stateful_set(found: RolledOut) -> Iterator[str]:
    status, wanted = found.status, found.replicas
    due = max(0, wanted - found.partition)
    if (status.ready_replicas or 0) < wanted:
        yield f"{status.ready_replicas or 0} of {wanted} pods are Ready"
    if status.update_revision != status.current_revision and (
        (status.updated_replicas or 0) < due or not found.partition
    ):
        yield f"{status.updated_replicas or 0} of {due} pods are of revision {status.update_revision}"


def _daemon_set(found: RolledOut) -> Iterator[str]:
    status, wanted = found.status, found.status.desired_number_scheduled or 0
    if (status.updated_number_scheduled or 0) < wanted:
        yield f"{status.updated_number_scheduled or 0} of {wanted} nodes have a pod of the newest revision"
    if (status.number_available or 0) < wanted:
        yield f"{status.number_available or 0} of {wanted} pods are available"


@guard(*WORKLOAD_READS, Read(WORKLOAD_PODS))
def rollout_is_complete_or_held_up(situation: Situation) -> Ruling:
    """The rollout is complete, or broken pods of another revision hold it up and have to be deleted first."""
    complete = rollout_is_complete.judge(situation)
    if complete.allowed:
        return complete
    found, act = rollouts.workload(situation), rollouts.act_of(situation)
    back = back_to(act)
    is_set = found.is_observed and facts.sha256(found.spec.template) == act.effect["to"]["template"]
    waiting = broken_pods(situation, back) if back is not None and is_set and waits_for_broken_pods(found) else ()
    if names := [pod.metadata.name for pod in waiting]:
        return allowed(f"{found.subject} has the template, and waits for {', '.join(names)}")
    return complete


@guard(*WORKLOAD_READS)
def strategy_is_set(situation: Situation) -> Ruling:
    """The Deployment has the strategy that the act sets."""
    act, found = rollouts.act_of(situation), rollouts.workload(situation)
    if found.way.type != act.effect["strategy"]["type"]:
        return refused(f"{found.subject} has strategy {found.way.type}")
    return allowed(f"{found.subject} has strategy {found.way.type}")
