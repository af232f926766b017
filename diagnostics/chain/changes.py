"""What changed lately on the way to a trouble: the first question of everybody on call."""

from datetime import timedelta

from diagnostics.facts import Snapshot
from diagnostics.facts.holders import NODES
from diagnostics.facts.kubernetes import PODS, REPLICA_SETS
from diagnostics.model import Change, Finding, Subject

LATELY = timedelta(days=7)  # what changed longer ago hardly broke it just now


def changes(finding: Finding, snapshot: Snapshot) -> tuple[Change, ...]:
    """What changed lately on the chain's subjects, oldest first."""
    found: list[Change] = []
    for node in nodes.full if (nodes := snapshot.seen(NODES)) else ():
        on_chain = any(link.subject.uid == node.metadata.uid for link in finding.chain)
        if on_chain and node.ready and node.ready.last_transition_time:
            says = f"Ready became {node.ready.status}" + (f" ({node.ready.reason})" if node.ready.reason else "")
            found.append(Change(node.ready.last_transition_time, node.subject, says))
    pods = snapshot.seen(PODS)
    by_uid = pods.index("uid", lambda pod: pod.metadata.uid) if pods else {}
    pod = next(iter(by_uid.get(finding.subject.uid, ())), None)
    if pod is not None:
        owner = pod.metadata.controller
        if pod.metadata.creation_timestamp:
            by = f" by {owner.kind} {owner.name}" if owner else ""
            found.append(Change(pod.metadata.creation_timestamp, pod.subject, f"created{by}"))
        sets = snapshot.seen(REPLICA_SETS)
        for owner_set in sets.full if sets else ():
            made = owner_set.metadata.creation_timestamp
            subject = Subject(
                "ReplicaSet", owner_set.metadata.namespace, owner_set.metadata.name, owner_set.metadata.uid
            )
            if made and owner is not None and owner.uid == owner_set.metadata.uid:
                found.append(Change(made, subject, "created"))
    lately = (change for change in found if snapshot.taken_at - change.when <= LATELY)
    return tuple(sorted(lately, key=lambda change: change.when))
