"""How far Deployments and StatefulSets have come, since when they do not get on, and which pod is why. Pure.

A workload's own conditions are believed where there are some; else the pods tell, after as long as a rollout may take.
"""

from datetime import datetime, timedelta

import msgspec

from diagnostics.attachments.links import cut
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.kubernetes import REPLICA_SETS
from diagnostics.facts.resources import Deployment, Pod, ReplicaSet, StatefulSet
from diagnostics.facts.workloads import owned_pods
from diagnostics.model import Evidence, Link, Unseen
from diagnostics.rollouts.holdups import (
    Holdup,
    holdup_of,
    is_late,
    not_made,
    since_when_unwell,
    unwell_pods,
)

MOMENT = timedelta(seconds=60)  # a controller looks at a change within seconds


class Behind(msgspec.Struct, frozen=True):
    """What a workload does not get done (`says`), since when, `why`, and the links from it to the root."""

    says: str
    why: str | None
    since: datetime | None
    links: tuple[Link, ...] = ()
    unseen: tuple[str, ...] = ()


def deployment_link(one: Deployment, says: str) -> Link:
    """The link that tells of a Deployment, its counts and its conditions."""
    status, meta = one.status, one.metadata
    counts = (
        f"replicas {one.replicas}, updatedReplicas {status.updated_replicas or 0}, "
        f"availableReplicas {status.available_replicas or 0}"
    )
    words = ("Progressing", "ReplicaFailure")
    told = [f"{c.type}={c.status} {c.reason or ''}".rstrip() for word in words if (c := one.condition(word))]
    proof = Evidence(f"GET deployments {meta.namespace}/{meta.name}", "; ".join([counts, *told]))
    return Link(one.subject, says, (proof,))


def paused_since(one: Deployment) -> tuple[datetime | None, datetime | None]:
    """Since when a Deployment is paused, and the moment before which it was not: the first is None where nothing tells.

    A rollout that timed out before it was paused keeps that condition.
    """
    told, made = one.condition("Progressing"), one.metadata.creation_timestamp
    moment = told.last_transition_time if told else None
    return (moment if told and told.reason == "DeploymentPaused" else None), moment or made


def behind_deployment(one: Deployment, snapshot: Snapshot) -> Behind | Unseen | None:
    """What a Deployment does not get done; None while it is well, or has time left."""
    progressing, failure = one.condition("Progressing"), one.condition("ReplicaFailure")
    failed = failure if failure is not None and failure.status == "True" else None
    timed_out = progressing is not None and progressing.reason == "ProgressDeadlineExceeded"
    for condition in (progressing if progressing and progressing.status == "False" else None, failed):
        since = condition.last_transition_time if condition else None
        at_once = condition is progressing and timed_out
        if condition is not None and (at_once or since is None or snapshot.taken_at - since > MOMENT):
            says = f"made no progress within {one.deadline} s" if at_once else "cannot make its pods"
            reason = (failed or condition).message if failed or not at_once else None
            return _explained(one, says, since, f"{cut(reason)}" if reason else None, snapshot)
    if progressing is not None and progressing.reason != "NewReplicaSetAvailable":
        return None  # its controller counts the time
    return _not_available(one, snapshot)


def _not_available(one: Deployment, snapshot: Snapshot) -> Behind | Unseen | None:
    """A Deployment that was complete, or has no deadline, and whose pods have not been available for longer than that."""
    late, available = timedelta(seconds=one.deadline), one.condition("Available")
    since = available.last_transition_time if available and available.status == "False" else None
    newest = newest_replica_set(one, snapshot)
    if since is None:
        pods = unwell_pods(newest.metadata.uid, snapshot) if isinstance(newest, ReplicaSet) else newest
        if isinstance(pods, NotSeen):
            return Unseen(str(one.subject), f"since when its pods are not available: {pods.reason}")
        left = [
            each for pod in pods or () if pod.metadata.deletion_timestamp is None and (each := since_when_unwell(pod))
        ]
        since = min(left, default=None)
    if since is None or snapshot.taken_at - since <= late:
        return None
    return _explained(one, "lacks pods", since, None, snapshot)


def newest_replica_set(one: Deployment, snapshot: Snapshot) -> ReplicaSet | NotSeen | None:
    """The ReplicaSet of the Deployment's newest revision, while that lacks pods: a scan keeps no others."""
    sets = snapshot[REPLICA_SETS]
    if isinstance(sets, NotSeen):
        return sets
    owned = sets.index("owner", lambda each: each.metadata.controller.uid if each.metadata.controller else "")
    mine = [each for each in owned.get(one.metadata.uid, ()) if each.is_behind]
    revision = one.metadata.revision
    return max(
        (each for each in mine if revision is None or each.metadata.revision == revision),
        key=lambda each: each.metadata.revision or 0, default=None,
    )  # fmt: skip


def _explained(one: Deployment, says: str, since: datetime | None, reason: str | None, snapshot: Snapshot) -> Behind:
    newest = newest_replica_set(one, snapshot)
    if isinstance(newest, NotSeen):
        return Behind(says, reason, since, (), (f"its newest ReplicaSet: {newest.reason}",))
    if newest is None:
        held = [holdup_of(pod, snapshot) for pod in _leaving(one, snapshot)] if reason is None else []
        why = f"none is made before its old pods are gone: {told(held[0], len(held))}" if held else reason
        return Behind(says, why, since, held[0].links if held else ())
    if reason is not None:
        return Behind(says, reason, since, (_replica_set_link(newest, f"cannot make its pods: {reason}"),))
    link, pods = _replica_set_link(newest, "is its newest revision"), unwell_pods(newest.metadata.uid, snapshot)
    if isinstance(pods, NotSeen):
        return Behind(says, None, since, (link,), (f"its pods: {pods.reason}",))
    holdups = sorted((holdup_of(pod, snapshot) for pod in pods), key=lambda each: -each.rank)
    if not holdups:
        return Behind(says, None, since, (link,), ("which of its pods are not available",))
    return Behind(says, told(holdups[0], len(holdups)), since, (link, *holdups[0].links))


def _leaving(one: Deployment, snapshot: Snapshot) -> list[Pod]:
    """Pods of older revisions that should be gone: with Recreate no other is made before they are.

    Their ReplicaSets keep no pods any more and were not kept; their names are the Deployment's and the template's hash.
    """
    pods, meta = owned_pods(snapshot), one.metadata
    late = [] if isinstance(pods, NotSeen) else [
        pod for pod in pods.full
        if pod.metadata.namespace == meta.namespace and pod.metadata.deletion_timestamp and is_late(pod, snapshot)
    ]  # fmt: skip
    return [
        pod for pod in late
        if (owner := pod.metadata.controller) and (labels := pod.metadata.labels)
        and owner.kind == "ReplicaSet" and owner.name == f"{meta.name}-{labels.template_hash}"
    ]  # fmt: skip


def told(worst: Holdup, number: int) -> str:
    """One held-up pod in a sentence, and how many others there are."""
    more = f" (and {number - 1} more)" if number > 1 else ""
    return f"{worst.pod.metadata.name} {worst.says}{more}"


def _replica_set_link(one: ReplicaSet, says: str) -> Link:
    meta, status = one.metadata, one.status
    text = (
        f"revision {meta.revision or '(none)'}, replicas {one.replicas}, status.replicas {status.replicas}, "
        f"availableReplicas {status.available_replicas or 0}"
    )
    return Link(one.subject, says, (Evidence(f"GET replicasets {meta.namespace}/{meta.name}", text),))


def stateful_set_link(one: StatefulSet, says: str) -> Link:
    """The link that tells of a StatefulSet, its counts and its revisions."""
    meta, status = one.metadata, one.status
    text = (
        f"replicas {one.replicas}, status.replicas {status.replicas}, readyReplicas {status.ready_replicas or 0}, "
        f"updatedReplicas {status.updated_replicas or 0}, currentRevision {status.current_revision or '(none)'}, "
        f"updateRevision {status.update_revision or '(none)'}"
    )
    return Link(one.subject, says, (Evidence(f"GET statefulsets {meta.namespace}/{meta.name}", text),))


def behind_stateful_set(one: StatefulSet, snapshot: Snapshot) -> Behind | Unseen | None:
    """What a StatefulSet does not get done; None while it is well, has time left, or waits for a person (OnDelete)."""
    pods = unwell_pods(one.metadata.uid, snapshot)
    # The name of one that is Terminating is still taken: it hangs, and that is another check's to tell.
    leaving = [] if isinstance(pods, NotSeen) else [pod for pod in pods if pod.metadata.deletion_timestamp]
    missing = one.status.replicas + len(leaving) < one.replicas
    if isinstance(pods, NotSeen):
        if not missing and one.spec.update_strategy.type == "OnDelete":
            return None
        return Unseen(str(one.subject), f"which of its pods holds it up: {pods.reason}")
    pod = _blocking(one, pods)
    if pod is None:
        return _not_made(one, snapshot) if missing and not pods else None
    revision = pod.metadata.labels.revision_hash if pod.metadata.labels else None
    older = _is_of_older(one, revision) and pod.metadata.deletion_timestamp is None and one.is_ordered
    if not is_late(pod, snapshot) or not (missing or _is_updating(one) or older):
        return None
    held = holdup_of(pod, snapshot)
    says = "is held up in its update" if _is_updating(one) or older else "does not make its other pods"
    stuck = f", and is of another revision than {one.status.update_revision}: it must be deleted to be replaced"
    why = f"{pod.metadata.name} {held.says}{stuck if older and held.node is None else ''}"
    return Behind(says, why, held.since, held.links)


def _is_updating(one: StatefulSet) -> bool:
    return one.is_updating and one.replicas > one.partition


def _is_of_older(one: StatefulSet, revision: str | None) -> bool:
    rolling = one.spec.update_strategy.type == "RollingUpdate"
    return rolling and one.partition == 0 and revision is not None and revision != one.status.update_revision


def _blocking(one: StatefulSet, pods: tuple[Pod, ...]) -> Pod | None:
    """The pod whose turn it is. In order the lowest that is not well; in parallel the highest of the new revision.

    In parallel one of an older revision is replaced when its turn comes, well or not.
    """
    by_ordinal = sorted(pods, key=_ordinal)
    if one.is_ordered:
        return by_ordinal[0] if by_ordinal else None
    turn = [
        pod for pod in by_ordinal
        if pod.metadata.deletion_timestamp is not None
        or pod.metadata.labels is None or pod.metadata.labels.revision_hash in (None, one.status.update_revision)
    ]  # fmt: skip
    return turn[-1] if turn and _is_updating(one) else None


def _ordinal(pod: Pod) -> int:
    number = pod.metadata.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _not_made(one: StatefulSet, snapshot: Snapshot) -> Behind | None:
    told = not_made(one.subject, snapshot)
    return Behind("cannot make its pods", told.why, told.since, (told.link,)) if told else None
