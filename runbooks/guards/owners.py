"""The guard that a pod which is taken away comes back: somebody must be there who makes it again."""

from collections.abc import Mapping
from typing import Any

from diagnostics.facts import NotSeen, Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS
from diagnostics.facts.holders import CLAIM_USERS, OWNING_REPLICA_SETS, OWNING_STATEFUL_SETS
from diagnostics.facts.kubernetes import Resource
from diagnostics.facts.resources import Job
from diagnostics.facts.workloads import DAEMON_SETS, JOBS, STATEFUL_SETS
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.situation import Situation

_BACKOFF_LIMIT = 6  # what the API fills in
_OF_CLAIMS: Mapping[str, Resource[Any]] = {"ReplicaSet": OWNING_REPLICA_SETS, "StatefulSet": OWNING_STATEFUL_SETS}
_OF_POD: Mapping[str, Resource[Any]] = {
    "ReplicaSet": k8s.REPLICA_SETS, "StatefulSet": STATEFUL_SETS, "DaemonSet": DAEMON_SETS, "Job": JOBS,
}  # fmt: skip
_READS = (
    k8s.PODS, LOCKS, k8s.VOLUMES, CLAIM_USERS, OWNING_REPLICA_SETS, OWNING_STATEFUL_SETS, k8s.REPLICA_SETS, STATEFUL_SETS,
    DAEMON_SETS, JOBS,
)  # fmt: skip


@guard(*(Read(kind) for kind in _READS))
def owner_will_recreate_pod(situation: Situation) -> Ruling:
    """The pod has an owner that is there, is not being deleted, and wants at least one replica (a Job: is not over)."""
    pod, of_claims = situation.pod(), "image" in situation.params
    if pod is None:
        where = "among the volume's users" if of_claims else "there any more"
        return refused(f"pod {situation.params.get('pod')} is not {where}")
    owner = pod.metadata.controller
    if owner is None:
        return refused(f"{pod.subject} has no owner: nobody would make it again")
    kinds = _OF_CLAIMS if of_claims else _OF_POD
    if owner.kind not in kinds:
        return refused(f"{pod.subject} belongs to {owner.kind} {owner.name}, which is not known to make it again")
    seen = situation.snapshot[kinds[owner.kind]]
    if isinstance(seen, NotSeen):
        return unknown(f"{owner.kind} {owner.name} could not be read: {seen.reason}")
    found = next((w for w in seen.full if w.metadata.uid == owner.uid), None)
    if found is None or found.metadata.deletion_timestamp is not None or not _wants_pods(owner.kind, found):
        return refused(f"{owner.kind} {owner.name} is gone, being deleted, or wants no pods")
    if isinstance(found, Job) and _is_at_its_limit(found):
        return refused(
            f"Job {owner.name} fails for good once this pod is taken away: its backoffLimit lets no further pod fail"
        )
    return allowed(f"{owner.kind} {owner.name} makes it again", owner=f"{owner.kind}/{owner.name}={owner.uid}")


def _is_at_its_limit(job: Job) -> bool:
    """Whether one more pod that fails ends the Job. A pod that is taken away counts as failed.

    A podFailurePolicy may leave it out; that is not looked at. https://kubernetes.io/docs/concepts/workloads/controllers/job/
    """
    limit = _BACKOFF_LIMIT if job.spec.backoff_limit is None else job.spec.backoff_limit
    return (job.status.failed or 0) >= limit


def _wants_pods(kind: str, owner: Any) -> bool:
    if isinstance(owner, Job):
        return not (owner.spec.suspend or owner.failure or owner.is_complete)
    return kind == "DaemonSet" or bool(owner.spec.replicas)
