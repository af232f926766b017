"""Deployments that do not get on: their rollout passed its deadline, their pods cannot be made, or do not serve.

Meaning: the newest ReplicaSet's pods do not become available: see its pod's image, crash, node or volume, or a quota.
Impact: an old revision serves with what is left of it; once that fails too, nothing does.
Mitigation: mend what the chain ends with, or roll back. A rollout that is paused is not stalled; it is told after a day (`info`).
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.holders import LEASES, NODES
from diagnostics.facts.kubernetes import DEPLOYMENTS, PODS, REPLICA_SETS
from diagnostics.facts.resources import Deployment
from diagnostics.facts.workloads import WORKLOAD_PODS
from diagnostics.model import Finding, Severity, Unseen, lasting
from diagnostics.rollouts.holdups import is_unwell
from diagnostics.rollouts.progress import MOMENT, Behind, behind_deployment, deployment_link, paused_since

PAUSED_LONG = timedelta(hours=24)


def _may_be_stalled(one: Deployment) -> bool:
    return one.is_wanted and (bool(one.spec.paused) or not one.is_complete)


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each. One that was scaled to 0, or is being deleted, has nothing to wait for."""
    listed = snapshot.seen(DEPLOYMENTS)
    for one in filter(_may_be_stalled, listed.full if listed else ()):
        if one.spec.paused:
            yield from _paused(one, snapshot)
        elif not one.is_observed:
            yield from _unobserved(one, snapshot)
        elif isinstance(behind := behind_deployment(one, snapshot), Unseen):
            yield behind
        elif behind is not None:
            yield _stalled(one, behind, snapshot)


def _stalled(one: Deployment, behind: Behind, snapshot: Snapshot) -> Finding:
    available = one.status.available_replicas or 0
    age = f" for {lasting(snapshot.taken_at - behind.since)}" if behind.since else ""
    return Finding(
        subject=one.subject,
        summary=f"{one.metadata.namespace}/{one.metadata.name} {behind.says}{age}, {available} of {one.replicas} pods "
        f"are available: {behind.why or 'why was not seen'}",
        since=behind.since,
        chain=(deployment_link(one, behind.says), *behind.links),
        unseen=behind.unseen,
        severity=Severity.WARNING if available else Severity.CRITICAL,
    )


def _paused(one: Deployment, snapshot: Snapshot) -> Iterator[Finding]:
    since, at_most = paused_since(one)
    if at_most is not None and snapshot.taken_at - at_most > PAUSED_LONG:
        age = f"for {lasting(snapshot.taken_at - since)}" if since else "nobody knows since when"
        yield _info(one, "is paused", f", {age}: no change of its template is rolled out before it is resumed", since)


def _unobserved(one: Deployment, snapshot: Snapshot) -> Iterator[Finding]:
    """Nothing tells when its spec was changed, but for one that was never observed at all."""
    made, seen = one.metadata.creation_timestamp, one.status.observed_generation
    if made is None or snapshot.taken_at - made > MOMENT:
        says = f"has generation {one.metadata.generation}, and its controller has looked at {seen or 'none'}"
        yield _info(one, says, ": look again; if it stays so, the kube-controller-manager does not work", None)


def _info(one: Deployment, says: str, more: str, since: datetime | None) -> Finding:
    name = f"{one.metadata.namespace}/{one.metadata.name}"
    return Finding(
        one.subject, f"{name} {says}{more}", None, since, (deployment_link(one, says),), severity=Severity.INFO
    )


CHECK = Check(
    find,
    reads=(
        Read(DEPLOYMENTS, where=_may_be_stalled), Read(REPLICA_SETS, where=lambda each: each.is_behind, optional=True),
        Read(PODS, where=is_unwell, optional=True), *(Read(kind, optional=True) for kind in (WORKLOAD_PODS, NODES, LEASES)),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
