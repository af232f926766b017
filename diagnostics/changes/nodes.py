"""What changed of the chain's nodes: conditions, cordons, taints, reboots, and nodes that are new."""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.changes.writers import by
from diagnostics.facts import Snapshot, edits
from diagnostics.facts.edits import on_chain
from diagnostics.facts.holders import NODES
from diagnostics.facts.resources import Condition, Node
from diagnostics.facts.resources.edits import Edit
from diagnostics.model import Change

# https://kubernetes.io/docs/reference/labels-annotations-taints/: set along with the conditions, or with the cordon.
_OF_CONDITIONS = "node.kubernetes.io/"
_CORDONED = "node.kubernetes.io/unschedulable"
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"  # the one of these that a person sets
_TOGETHER = timedelta(seconds=10)


def of_nodes(snapshot: Snapshot) -> Iterator[Change]:
    """The changes of the nodes that the chain names or its pods run on."""
    names = {each.name for each in on_chain(snapshot, "Node")}
    nodes = snapshot.seen(NODES)
    for node in nodes.full if nodes else ():
        if node.metadata.name in names:
            if node.metadata.creation_timestamp:
                yield Change(node.metadata.creation_timestamp, node.subject, "joined the cluster")
            yield from _conditions(node)
            yield from _cordon(node, snapshot)
            yield from _taints(node)
            yield from _reboots(node, snapshot)


def _conditions(node: Node) -> Iterator[Change]:
    """Its conditions' transitions. A node that falls silent, or comes back, moves all of them with Ready: said once."""
    ready = node.ready
    if ready and ready.last_transition_time:
        yield Change(ready.last_transition_time, node.subject, _became(ready))
    for each in node.status.conditions or ():
        when = each.last_transition_time
        if each.type == "Ready" or when is None:
            continue
        with_ready = bool(ready and ready.last_transition_time and abs(when - ready.last_transition_time) <= _TOGETHER)
        made = node.metadata.creation_timestamp
        if each.status == "True" or not (with_ready or (made and abs(when - made) <= 6 * _TOGETHER)):
            yield Change(when, node.subject, _became(each))


def _became(condition: Condition) -> str:
    return f"{condition.type} became {condition.status}" + (f" ({condition.reason})" if condition.reason else "")


def _cordon(node: Node, snapshot: Snapshot) -> Iterator[Change]:
    if not node.spec.unschedulable:
        return
    writer = cordoner(node, snapshot)
    taints = [t.time_added for t in node.spec.taints or () if t.key == _CORDONED and t.time_added]
    when = taints[0] if taints else writer.time if writer else None
    if when is not None:
        yield Change(when, node.subject, f"cordoned{by(writer.manager if writer else None)}")


def cordoner(node: Node, snapshot: Snapshot) -> Edit | None:
    """The writing that cordoned a node, as far as its writers were read."""
    seen = snapshot.seen(edits.NODES)
    found = [one for one in (seen.full if seen else ()) if one.metadata.name == node.metadata.name]
    writers = [each for one in found for each in one.metadata.managed_fields or ()]
    return next((each for each in writers if each.owns("spec", "unschedulable")), None)


def undated_cordons(snapshot: Snapshot) -> Iterator[str]:
    """The chain's cordoned nodes of which nothing says since when."""
    names = {each.name for each in on_chain(snapshot, "Node")}
    nodes = snapshot.seen(NODES)
    for node in nodes.full if nodes else ():
        if node.metadata.name in names and node.spec.unschedulable and not any(True for _ in _cordon(node, snapshot)):
            yield f"node {node.metadata.name} is cordoned, and nothing says since when"


def _taints(node: Node) -> Iterator[Change]:
    for taint in node.spec.taints or ():
        told_otherwise = taint.key.startswith(_OF_CONDITIONS) and taint.key != _OUT_OF_SERVICE
        if taint.time_added and not told_otherwise:
            yield Change(taint.time_added, node.subject, f"tainted {taint.key}:{taint.effect}")


def _reboots(node: Node, snapshot: Snapshot) -> Iterator[Change]:
    """Kubelets tell of a new boot id in an event; API servers keep events for an hour by default."""
    seen = snapshot.seen(edits.NODE_EVENTS)
    for event in seen.full if seen else ():
        about = event.about
        if about.kind == "Node" and about.name == node.metadata.name and event.reason == "Rebooted" and event.last_seen:
            yield Change(event.last_seen, node.subject, "rebooted")
