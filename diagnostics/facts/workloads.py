"""Workloads beside Deployments: whole lists for a scan, one GET for a look at one of them or at a pod of it.

`WORKLOAD_PODS` are the pods of the one workload that is looked at, found by its own selector.
"""

from collections.abc import Callable, Iterable

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.kubernetes import Get, List, Listing, Resource, everywhere
from diagnostics.facts.resources import DaemonSet, Deployment, Job, Pod, StatefulSet, pod_row


def _of_kind(kind: str, scan: Callable[[Snapshot], Iterable[Get | List]]) -> Callable[[Snapshot], Iterable[Get | List]]:
    def requests(snapshot: Snapshot) -> Iterable[Get | List]:
        subject = snapshot.scope.subject
        if subject is None:
            return scan(snapshot)
        if subject.kind == kind:
            return (Get(subject.name, subject.namespace),)
        pods = snapshot.seen(k8s.PODS)
        owners = [(pod.metadata.namespace, pod.metadata.controller) for pod in (pods.full if pods else ())]
        return {Get(owner.name, ns): None for ns, owner in owners if owner is not None and owner.kind == kind}

    return requests


def _workload_pods(snapshot: Snapshot) -> Iterable[Get | List]:
    """A scan has all pods already, and a look at a pod that pod. A selector without words would take in every pod."""
    subject = snapshot.scope.subject
    if subject is None:
        return ()
    listings = (snapshot.seen(k8s.DEPLOYMENTS), snapshot.seen(STATEFUL_SETS), snapshot.seen(DAEMON_SETS))
    workloads: list[Deployment | StatefulSet | DaemonSet] = [one for each in listings if each for one in each.full]
    selectors = [str(one.spec.selector) for one in workloads if one.subject.kind == subject.kind]
    if (jobs := snapshot.seen(JOBS)) and subject.kind == "Job":
        selectors += [str(job.spec.selector or f"job-name={job.metadata.name}") for job in jobs.full]
    return [List(subject.namespace, labels=selector) for selector in selectors if selector]


STATEFUL_SETS: Resource[StatefulSet] = Resource(
    "statefulsets", (k8s.PODS,), group="apps", plural="statefulsets", struct=StatefulSet,
    requests=_of_kind("StatefulSet", everywhere),
)  # fmt: skip
# Of all namespaces, whatever a scan was asked for: node plugins run in namespaces of their own.
DAEMON_SETS: Resource[DaemonSet] = Resource(
    "daemonsets", (k8s.PODS,), group="apps", plural="daemonsets", struct=DaemonSet,
    requests=_of_kind("DaemonSet", lambda _: (List(),)),
)  # fmt: skip
JOBS: Resource[Job] = Resource(
    "jobs", (k8s.PODS,), group="batch", plural="jobs", struct=Job, requests=_of_kind("Job", everywhere)
)
WORKLOAD_PODS: Resource[Pod] = Resource(
    "pods of the workload", (k8s.DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, JOBS), plural="pods", struct=Pod,
    row=pod_row, requests=_workload_pods,
)  # fmt: skip


def owned_pods(snapshot: Snapshot) -> Listing[Pod] | NotSeen:
    """The pods among which a workload's own are: those of the scan, or those around the workload that is looked at."""
    subject = snapshot.scope.subject
    return snapshot[k8s.PODS if subject is None or subject.kind == "Pod" else WORKLOAD_PODS]


def pods_of(owner: str, snapshot: Snapshot) -> tuple[Pod, ...] | NotSeen:
    """The pods that an owner (its UID) manages, as far as they were read in full, by name."""
    if isinstance(pods := owned_pods(snapshot), NotSeen):
        return pods
    by_owner = pods.index("owner", lambda pod: pod.metadata.controller.uid if pod.metadata.controller else "")
    return tuple(sorted(by_owner.get(owner, ()), key=lambda pod: pod.metadata.name))
