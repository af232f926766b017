"""StatefulSets that wait for one of their pods, or cannot make one.

Meaning: pods are made and replaced one after the other; the one whose turn it is does not become Ready, or cannot be made.
Impact: the others stay at the older revision, or are not there. In order (OrderedReady) even a corrected template does not
reach a broken pod: it is not replaced while it is not Ready.
Mitigation: mend what the chain ends with. After a rollback delete the broken pod, so that it is made from the template again.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.holders import LEASES, NODES
from diagnostics.facts.kubernetes import EVENTS, PODS
from diagnostics.facts.resources import StatefulSet
from diagnostics.facts.workloads import STATEFUL_SETS, WORKLOAD_PODS
from diagnostics.model import Finding, Severity, Unseen, lasting
from diagnostics.rollouts.holdups import is_unwell
from diagnostics.rollouts.progress import Behind, behind_stateful_set, stateful_set_link


def _may_be_stuck(one: StatefulSet) -> bool:
    wanted = one.metadata.deletion_timestamp is None and one.replicas > 0
    return wanted and one.is_behind


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each. With OnDelete a person replaces the pods: only one that cannot be made counts there."""
    listed, events = snapshot.seen(STATEFUL_SETS), snapshot[EVENTS]
    for one in filter(_may_be_stuck, listed.full if listed else ()):
        behind = behind_stateful_set(one, snapshot)
        if isinstance(behind, Unseen):
            yield behind
        elif behind is not None:
            yield _finding(one, behind, snapshot)
        elif one.status.replicas < one.replicas and isinstance(events, NotSeen):
            yield Unseen(str(one.subject), f"whether its pods cannot be made: {events.reason}")


def _finding(one: StatefulSet, behind: Behind, snapshot: Snapshot) -> Finding:
    ready = one.status.ready_replicas or 0
    age = f" for {lasting(snapshot.taken_at - behind.since)}" if behind.since else ""
    return Finding(
        subject=one.subject,
        summary=f"{one.metadata.namespace}/{one.metadata.name} {behind.says}{age}, {ready} of {one.replicas} pods are "
        f"Ready: {behind.why}",
        since=behind.since,
        chain=(stateful_set_link(one, behind.says), *behind.links),
        unseen=behind.unseen,
        severity=Severity.WARNING if ready else Severity.CRITICAL,
    )


CHECK = Check(
    find,
    reads=(
        Read(STATEFUL_SETS, where=_may_be_stuck), Read(PODS, where=is_unwell, optional=True),
        Read(WORKLOAD_PODS, optional=True), Read(EVENTS, optional=True), Read(NODES, optional=True),
        Read(LEASES, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
