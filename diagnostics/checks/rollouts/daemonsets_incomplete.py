"""DaemonSets whose pods do not serve on nodes that are Ready, or cannot be made there.

Meaning: on those nodes the pod crashes, hangs, does not start, or a quota or a webhook refuses it; an update waits for it.
Impact: what it does for a node (network, storage, logs) is not done there; other nodes may stay at the older revision.
Mitigation: mend what the chain ends with, or roll back. A node that is not Ready is the node's own trouble (nodes/not_ready).
"""

from collections.abc import Iterator
from datetime import datetime

from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.csi import drivers_of
from diagnostics.facts.holders import LEASES, NODES
from diagnostics.facts.kubernetes import EVENTS, PODS
from diagnostics.facts.plugins import daemon_set_link
from diagnostics.facts.resources import DaemonSet
from diagnostics.facts.workloads import DAEMON_SETS, WORKLOAD_PODS
from diagnostics.model import Finding, Link, Severity, Unseen, lasting, quoted
from diagnostics.rollouts.holdups import holdup_of, is_unwell, late_holdups, not_made, told_together, unwell_pods


def _is_incomplete(one: DaemonSet) -> bool:
    """A node plugin that is not being updated is left to storage/csi_node_plugins_down."""
    here = one.is_updating or not drivers_of(one.spec.template.spec)
    return one.metadata.deletion_timestamp is None and one.is_behind and here


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each, of the namespaces that are looked at."""
    listed, scope, events = snapshot.seen(DAEMON_SETS), snapshot.scope.namespaces, snapshot[EVENTS]
    for one in filter(_is_incomplete, listed.full if listed else ()):
        if scope and one.metadata.namespace not in scope:
            continue
        pods, told = unwell_pods(one.metadata.uid, snapshot), not_made(one.subject, snapshot)
        if isinstance(pods, NotSeen):
            yield Unseen(str(one.subject), f"which of its pods do not serve: {pods.reason}")
            continue
        held = [each for each in late_holdups(pods, snapshot) if each.node is None]
        away = sorted({each for pod in pods if (each := holdup_of(pod, snapshot).node)})
        missing = one.status.current_number_scheduled < one.status.desired_number_scheduled or not one.is_observed
        if missing and told is not None:
            yield _finding(one, f"pods of it cannot be made: {told.why}", told.since, (told.link,), away, snapshot)
        elif held:
            since = min((each.since for each in held if each.since), default=None)
            yield _finding(one, told_together(held), since, held[0].links, away, snapshot)
        elif missing and isinstance(events, NotSeen):
            yield Unseen(str(one.subject), f"whether its pods cannot be made: {events.reason}")


def _finding(
    one: DaemonSet, why: str, since: datetime | None, links: tuple[Link, ...], away: list[str], snapshot: Snapshot
) -> Finding:
    status, meta = one.status, one.metadata
    available, desired = status.number_available or 0, status.desired_number_scheduled
    age = f" for {lasting(snapshot.taken_at - since)}" if since else ""
    says = f"serves on {available} of {desired} nodes" if one.is_observed else "was not brought to its newest spec"
    beside = f" (not its fault: {quoted(away)} not Ready)" if away else ""
    return Finding(
        subject=one.subject,
        summary=f"{meta.namespace}/{meta.name} {says}{age}: {why}{beside}",
        since=since,
        chain=(daemon_set_link(one, says), *links),
        severity=Severity.WARNING if available else Severity.CRITICAL,
    )


CHECK = Check(
    find,
    reads=(
        Read(DAEMON_SETS, where=_is_incomplete), Read(NODES), Read(PODS, where=is_unwell, optional=True),
        Read(WORKLOAD_PODS, optional=True), Read(EVENTS, optional=True), Read(LEASES, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
