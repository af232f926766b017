"""One short timeline of what changed around a finding, oldest first, from facts and from what Unstick did itself. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from diagnostics.changes.around import pods
from diagnostics.changes.nodes import of_nodes, undated_cordons
from diagnostics.changes.revisions import revised
from diagnostics.changes.storage import of_storage
from diagnostics.changes.writers import edited
from diagnostics.facts import NotSeen, Snapshot, edits
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.edits import MOST_OF_A_KIND, config_names, on_chain
from diagnostics.facts.holders import NODES
from diagnostics.facts.kubernetes import Resource
from diagnostics.model import Change, Finding, Subject, lasting

LATELY = timedelta(hours=24)  # before it broke: what changed longer before hardly broke it
MOST = 12  # entries: what is read at a glance, at 3 a.m.
_MOST_AFTER = 4  # of them such as came after it broke, where there are more: causes come before effects
_MOST_NAMED = 3
_AHEAD = timedelta(minutes=5)  # the API server's clock may be ahead of ours; what is edited now must not be missed

# Which facts tell of which things, for what is said where they could not be read.
_TELLS: tuple[tuple[str, Resource[object]], ...] = (
    ("Deployment", edits.DEPLOYMENTS), ("Deployment", edits.IMAGE_SETS), ("StatefulSet", edits.STATEFUL_SETS),
    ("StatefulSet", edits.IMAGE_REVISIONS), ("DaemonSet", edits.DAEMON_SETS), ("DaemonSet", edits.IMAGE_REVISIONS),
    ("Node", NODES), ("Node", edits.NODES), ("Node", edits.NODE_EVENTS), ("PersistentVolumeClaim", edits.CLAIMS),
    ("PersistentVolume", edits.VOLUMES), ("StorageClass", edits.CLASSES), ("CSIDriver", edits.DRIVERS),
    ("ConfigMap", edits.CONFIG_MAPS), ("Secret", edits.SECRETS),
)  # fmt: skip


class Timeline(msgspec.Struct, frozen=True):
    """What changed, oldest first; and what could not be seen of it, or is left out, each a sentence."""

    changes: tuple[Change, ...] = ()
    unseen: tuple[str, ...] = ()


def began(finding: Finding, snapshot: Snapshot) -> datetime:
    """From when on changes count: some time before it broke, or before now where nobody knows when that was."""
    return (finding.since or snapshot.taken_at) - LATELY


def done(when: datetime, targets: Sequence[Subject], says: str, subjects: Sequence[Subject]) -> Change:
    """Something that was done to several things, told of the one of them that lies around the finding."""
    names = {str(each) for each in subjects}
    return Change(when, next((each for each in targets if str(each) in names), targets[0]), says)


def timeline(finding: Finding, snapshot: Snapshot, acts: Iterable[Change] = ()) -> Timeline:
    """What changed lately around a finding. `acts` are what Unstick did there; what came before it broke says how long.

    The snapshot is one of `look`: it holds what lies around the finding, and who edited it.
    """
    every = (*_seen(snapshot), *acts)
    start = began(finding, snapshot)
    lately = {
        (change.when, str(change.subject), change.says): change
        for change in every if start <= change.when <= snapshot.taken_at + _AHEAD
    }  # fmt: skip
    ordered = sorted(lately.values(), key=lambda change: change.when)
    shown = _most_telling(ordered, finding.since)
    unseen = [*_unseen(snapshot), *undated_cordons(snapshot)]
    if left := len(ordered) - len(shown):
        unseen.append(f"{left} more changes are left out: those longest before it broke, and the first ones after it")
    return Timeline(tuple(_dated(change, finding.since) for change in shown), tuple(dict.fromkeys(unseen)))


def _seen(snapshot: Snapshot) -> Iterator[Change]:
    yield from of_nodes(snapshot)
    yield from of_storage(snapshot)
    revisions = list(revised(snapshot))
    yield from revisions
    yield from _of_pods(snapshot, {change.subject.uid for change in revisions})
    for kind, resource in (("ConfigMap", edits.CONFIG_MAPS), ("Secret", edits.SECRETS)):
        seen = snapshot.seen(resource)
        for each in seen.full if seen else ():
            yield from edited(
                each.metadata, Subject(kind, each.metadata.namespace, each.metadata.name, each.metadata.uid)
            )


def _of_pods(snapshot: Snapshot, told: set[str]) -> Iterator[Change]:
    """The pods of the chain, and what owns them where no revision tells of that."""
    known = pods(snapshot)
    for pod in (known[each.uid] for each in on_chain(snapshot, "Pod") if each.uid in known):
        owner = pod.metadata.controller
        if pod.metadata.creation_timestamp:
            by = f" by {owner.kind} {owner.name}" if owner else ""
            yield Change(pod.metadata.creation_timestamp, pod.subject, f"created{by}")
        if pod.metadata.deletion_timestamp:
            yield Change(pod.metadata.deletion_timestamp, pod.subject, "Terminating")
    sets = snapshot.seen(k8s.REPLICA_SETS)
    ours = {each.uid for each in on_chain(snapshot, "ReplicaSet")} - told
    for each in sets.full if sets else ():
        if each.metadata.uid in ours and each.metadata.creation_timestamp:
            yield Change(each.metadata.creation_timestamp, each.subject, "created")


def _most_telling(ordered: list[Change], since: datetime | None) -> list[Change]:
    """The last ones before it broke and the last ones after it, as many as there is room for."""
    if since is None or len(ordered) <= MOST:
        return ordered[-MOST:]
    before = [change for change in ordered if change.when <= since]
    after = [change for change in ordered if change.when > since]
    room = min(len(after), max(MOST - len(before), _MOST_AFTER))
    return [*before[-(MOST - room) :], *after[len(after) - room :]]


def _dated(change: Change, since: datetime | None) -> Change:
    """A change with how long before the trouble it came; what came with or after it says nothing of that."""
    if since is None or since - change.when < timedelta(seconds=1):
        return change
    return msgspec.structs.replace(change, says=f"{change.says} ({lasting(since - change.when)} before it broke)")


def _unseen(snapshot: Snapshot) -> Iterator[str]:
    """What the timeline could not see: of the things around the finding only."""
    names = {kind: [each.name for each in on_chain(snapshot, kind)] for kind, _ in _TELLS}
    names |= {kind: [name for _, name in config_names(snapshot, kind)] for kind in ("ConfigMap", "Secret")}
    for kind, resource in _TELLS:
        seen = snapshot[resource]
        led_there = not any(isinstance(snapshot[each], NotSeen) for each in resource.after)  # else that is said already
        if names[kind] and led_there and isinstance(seen, NotSeen):
            yield f"changes of {kind} {_some(names[kind])}: {seen.reason}"
    for kind, all_names in names.items():
        if (more := len(all_names) - MOST_OF_A_KIND) > 0:
            yield f"changes of {more} more {kind}s than were asked for"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
