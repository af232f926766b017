"""Guards of taking all pods off a node: nothing may be lost by it that nobody named, and one node at a time.

What a person names in `also` is allowed for this one plan, because only a person can know that it may be lost.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from diagnostics.facts import NotSeen, Read
from diagnostics.facts.ceph import Daemon
from diagnostics.facts.disruption import ALL_NODES, LABELLED_PODS, NODE_OSDMAP, PLACED_VOLUMES
from diagnostics.facts.holders import NODES
from diagnostics.facts.resources import Node
from diagnostics.facts.resources.disruption import LabelledPod
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.situation import CannotPlan, Planned, Situation
from runbooks.standing import STANDING, hold_key

ALSO = {
    "unmanaged": "pods that no controller makes again",
    "emptydir": "emptyDir and ephemeral volumes with what is in them",
    "local": "local and hostPath volumes, which do not go with their pods",
    "ceph": "Ceph's daemons there: `ceph osd ok-to-stop` was asked, and agreed",
    "others_down": "other nodes that are cordoned or not Ready",
}
"""What a person may name, and what is then no reason to refuse."""
_MOST_NAMED = 5


def drained_act(situation: Situation) -> Planned:
    """The act that takes the pods away.

    Raises:
        CannotPlan: there is none to judge.
    """
    if situation.act is None:
        raise CannotPlan("there is no act to judge", unknown=True)
    return situation.act


def drained_node(situation: Situation) -> Node:
    """The node of the runbook.

    Raises:
        CannotPlan: there is none, or it could not be read.
    """
    node = situation.node()
    if node is None:
        raise CannotPlan(f"there is no node {situation.params.get('node')}")
    return node


def pods_there(situation: Situation) -> tuple[LabelledPod, ...]:
    """All pods on the node.

    Raises:
        CannotPlan: they could not be read, or facts were gathered around something else: then nobody looked.
    """
    name, subject = situation.params.get("node"), situation.snapshot.scope.subject
    if subject is None or (subject.kind, subject.name) != ("Node", name):
        raise CannotPlan(
            f"the pods on node {name} were not looked for: a runbook that drains is told a node alone", unknown=True
        )
    return tuple(pod for pod in situation.listed(LABELLED_PODS) if pod.spec.node_name == name)


def to_evict(situation: Situation) -> tuple[LabelledPod, ...]:
    """The pods that a drain has to evict: those that stay, and those that are going already, are none of them."""
    return tuple(pod for pod in pods_there(situation) if not pod.stays and not pod.is_going)


def _named(situation: Situation, word: str) -> bool:
    return word in drained_act(situation).effect.get("also", ())


def _planned_pods(situation: Situation) -> Iterator[LabelledPod]:
    """The act's pods that are still there."""
    uids = {target.uid for target in drained_act(situation).targets}
    return (pod for pod in pods_there(situation) if pod.metadata.uid in uids)


@guard(Read(NODES))
def node_is_ready(situation: Situation) -> Ruling:
    """The node's kubelet reports Ready: it ends the pods that are taken away, and says when they are gone."""
    node = drained_node(situation)
    if not node.is_ready:
        return refused(
            f"node {node.metadata.name} is not Ready: nobody there would end its pods; find out whether it is down"
        )
    return allowed(f"node {node.metadata.name} is Ready", node=f"{node.metadata.name}={node.metadata.uid}")


@guard(Read(NODES))
def node_takes_no_new_pods(situation: Situation) -> Ruling:
    """The node is cordoned, or the same plan cordons it before."""
    node = drained_node(situation)
    coming = any(
        act.action == "kubernetes.cordon" and node.subject in act.targets for act in situation.expected
    )  # fmt: skip
    if not node.spec.unschedulable and not coming:
        return refused(f"node {node.metadata.name} is not cordoned: cordon it first, or its pods come back to it")
    return allowed(f"no new pod is scheduled to {node.metadata.name}")


@guard(Read(NODES), Read(LABELLED_PODS))
def pods_are_those_that_were_planned(situation: Situation) -> Ruling:
    """The node is the same one, and each pod that would have to go is one of the plan's, by UID; those gone are gone."""
    act, node = drained_act(situation), drained_node(situation)
    uids = {target.uid for target in act.targets}
    if node.metadata.uid not in uids:
        return refused(f"node {node.metadata.name} is another one now: plan it anew")
    others = [pod.named for pod in to_evict(situation) if pod.metadata.uid not in uids]
    if others:
        return refused(f"{some(others)} came to {node.metadata.name} after the plan was made: plan it anew")
    planned = ", ".join(f"{t.namespace}/{t.name}={t.uid}" for t in act.targets if t.kind == "Pod")
    return allowed("the same node, and no pod on it but those of the plan", node=node.metadata.uid, pods=planned)


@guard(Read(LABELLED_PODS), Read(PLACED_VOLUMES))
def drain_loses_nothing(situation: Situation) -> Ruling:
    """No pod goes for good, and no data that lies on the node, unless a person named that in `also`."""
    pods, lost = tuple(_planned_pods(situation)), []
    if not _named(situation, "unmanaged"):
        lost += [f"{one} (name `unmanaged` in `also` to evict it)" for one in _unmanaged(pods)]
    if not _named(situation, "emptydir"):
        lost += [f"{one} (name `emptydir` in `also` if that may go)" for one in _thrown_away(pods)]
    if not _named(situation, "local"):
        lost += [f"{one} (name `local` in `also` if it can do without)" for one in _left_behind(pods, situation)]
    return refused(*lost) if lost else allowed("nothing is lost that was not named")


def waived(word: str, pods: Sequence[LabelledPod], situation: Situation) -> tuple[str, ...]:
    """What a word in `also` lets pass, a clause each; empty where nothing here needs it.

    Raises:
        CannotPlan: what it may cover could not be read.
    """
    covers: dict[str, Callable[[], Iterable[str]]] = {
        "unmanaged": lambda: _unmanaged(pods),
        "emptydir": lambda: _thrown_away(pods),
        "local": lambda: _left_behind(pods, situation),
        "ceph": lambda: (f"{daemon.name} is up at {where}" for daemon, where in _daemons_there(situation)),
        "others_down": lambda: (f"node {name} is cordoned or not Ready" for name in _others_down(situation)),
    }
    return tuple(covers[word]())


def _unmanaged(pods: Sequence[LabelledPod]) -> Iterator[str]:
    return (f"{pod.named} has no controller: nobody makes it again" for pod in pods if pod.metadata.controller is None)


def _thrown_away(pods: Sequence[LabelledPod]) -> Iterator[str]:
    return (f"{pod.named} loses what is in {', '.join(thrown)}" for pod in pods if (thrown := temporary_volumes(pod)))


def _left_behind(pods: Sequence[LabelledPod], situation: Situation) -> Iterator[str]:
    found = ((pod, what) for pod in pods for what in _local_volumes(pod, situation))
    return (f"{pod.named} uses {what}, which stays on the node" for pod, what in found)


def temporary_volumes(pod: LabelledPod) -> tuple[str, ...]:
    """A pod's volumes that end with it: `emptyDir cache`. A generic ephemeral volume's claim is deleted with its pod."""
    return tuple(
        f"{'emptyDir' if entry.empty_dir is not None else 'ephemeral volume'} {entry.name}"
        for entry in pod.spec.volumes or () if entry.empty_dir is not None or entry.ephemeral is not None
    )  # fmt: skip


def _local_volumes(pod: LabelledPod, situation: Situation) -> Iterator[str]:
    """What a pod mounts from this very machine.

    Raises:
        CannotPlan: the volumes of its claims could not be read.
    """
    for entry in pod.spec.volumes or ():
        if entry.host_path is not None:
            yield f"hostPath {entry.host_path.get('path', entry.name)}"
    for volume in situation.listed(PLACED_VOLUMES) if pod.claims else ():
        ref = volume.spec.claim_ref
        mine = ref is not None and ref.namespace == pod.metadata.namespace and ref.name in pod.claims
        if mine and volume.is_local:
            yield f"local volume {volume.metadata.name}"


@guard(Read(NODES), Read(ALL_NODES), Read(STANDING))
def one_node_at_a_time(situation: Situation) -> Ruling:
    """No other node is being worked on, cordoned or not Ready, and some other node can take the pods."""
    others, standing = _others(situation), situation.snapshot[STANDING]
    if isinstance(standing, NotSeen):
        return unknown("what other executions work on was not read")
    busy = [
        f"{standing.held[hold_key(other.subject)]} works on node {other.metadata.name}: one node at a time"
        for other in others if hold_key(other.subject) in standing.held
    ]  # fmt: skip
    if busy:
        return refused(*busy)
    down = _others_down(situation)
    if len(down) == len(others):
        return refused("no other node is Ready and schedulable: the pods would have nowhere to go")
    if down and not _named(situation, "others_down"):
        return refused(
            f"{some(down)} cordoned or not Ready: bring them back first "
            "(or name `others_down` in `also`, if the rest can take the pods)"
        )
    return allowed("the other nodes can take the pods, and nobody works on one of them")


def _others(situation: Situation) -> list[Node]:
    node = drained_node(situation)
    return [other for other in situation.listed(ALL_NODES) if other.metadata.uid != node.metadata.uid]


def _others_down(situation: Situation) -> list[str]:
    return [other.metadata.name for other in _others(situation) if other.spec.unschedulable or not other.is_ready]


@guard(Read(NODES), Read(NODE_OSDMAP), Read(LABELLED_PODS))
def node_carries_no_ceph_daemon(situation: Situation) -> Ruling:
    """No Ceph daemon runs on the node: drained nodes are rebooted, and Ceph must agree to that first.

    A daemon has an address of the node, or, in a pod network as Rook's, that of a pod there.
    """
    node, osdmap = drained_node(situation), situation.snapshot[NODE_OSDMAP]
    there = _daemons_there(situation)
    if isinstance(osdmap, NotSeen):
        return allowed("no Ceph is configured: whether a daemon of one runs there was not looked at")
    if there and not _named(situation, "ceph"):
        return refused(
            *(f"{daemon.name} is up at {where}, on this node: {_ask_ceph(daemon)}" for daemon, where in there)
        )
    return allowed(f"no Ceph daemon is up on {node.metadata.name}, or it was named")


def _daemons_there(situation: Situation) -> list[tuple[Daemon, str]]:
    """Ceph's daemons on the node, each with its address and whose that is; none where no Ceph is asked.

    Raises:
        CannotPlan: the node, its pods or the daemons could not be read.
    """
    node, osdmap = drained_node(situation), situation.snapshot[NODE_OSDMAP]
    if isinstance(osdmap, NotSeen):
        if osdmap.configured:
            raise CannotPlan(
                f"whether Ceph's daemons run on {node.metadata.name} is not known: {osdmap.reason}", unknown=True
            )
        return []
    # An address of a pod that has ended may be another's by now.
    pods = [pod for pod in pods_there(situation) if pod.may_be_running]
    at = {ip: f"{ip} (pod {pod.named})" for pod in pods for ip in pod.status.ips} | {ip: ip for ip in node.ips}
    return [(daemon, at[daemon.ip]) for daemon in osdmap.daemons if daemon.ip in at]


def _ask_ceph(daemon: Daemon) -> str:
    kind, _, name = daemon.name.partition(".")
    if kind == "mgr":
        return "`ceph mgr fail` moves it away; then name `ceph` in `also`"
    return f"`ceph {kind} ok-to-stop {name}` must agree; then name `ceph` in `also`"


@guard(Read(LABELLED_PODS))
def node_is_drained(situation: Situation) -> Ruling:
    """No pod is left on the node but those of DaemonSets, its kubelet's own, and those that have ended."""
    left = [pod.named for pod in pods_there(situation) if not pod.stays]
    if left:
        return refused(f"still on {situation.params.get('node')}: {some(left)}")
    return allowed(f"no pod is left on {situation.params.get('node')} that a drain takes away")


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
