"""CSI node plugins: which drivers pods need on their nodes, what runs there, and where a DaemonSet's pods fail. Pure.

On a node that is not Ready nothing is said of its plugin: that is the node's own trouble.
"""

from datetime import datetime, timedelta

import msgspec

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.csi import CSI_NODES, DAEMON_SETS, PLUGIN_PODS, drivers_of, node_plugins
from diagnostics.facts.holders import NODES, volume_of
from diagnostics.facts.kubernetes import PODS
from diagnostics.facts.resources import ContainerStatus, DaemonSet, Pod
from diagnostics.facts.users import waiting_pods
from diagnostics.model import Evidence, Link, Unseen

GRACE = timedelta(seconds=60)  # a plugin that starts, or a pod that was just placed, takes seconds
STARTING = timedelta(minutes=5)  # a node that has just joined, and a plugin that pulls its images, take minutes


class Outage(msgspec.Struct, frozen=True):
    """What of a DaemonSet does not run: pods that are down, by their (Ready) nodes, and nodes without a pod.

    `unplaced` counts those without a pod; `bare` names the nodes that these can be. `pods` is empty where only the
    DaemonSet's own count tells.
    """

    pods: tuple[Pod, ...] = ()
    unplaced: int = 0
    bare: tuple[str, ...] = ()
    serving: int = 0
    since: datetime | None = None


def drivers_wanted(pod: Pod, snapshot: Snapshot) -> tuple[str, ...]:
    """The CSI drivers that a pod's volumes need on its node, as far as its claims and volumes were read."""
    found: dict[str, None] = {}
    for entry in pod.spec.volumes or ():
        if entry.csi and entry.csi.driver:
            found[entry.csi.driver] = None
        claim = entry.claim_name(pod.metadata.name)
        volume = volume_of(pod, claim, snapshot) if claim else None
        if volume is not None and volume.spec.csi:
            found[volume.spec.csi.driver] = None
    return tuple(found)


def unregistered(snapshot: Snapshot) -> dict[str, dict[str, list[Pod]]]:
    """By node, the drivers that its CSINode lacks, with the pods that have waited for them for longer than a moment."""
    nodes = snapshot.seen(CSI_NODES)
    there = {node.metadata.name: node.drivers for node in (nodes.full if nodes else ())}
    lacking: dict[str, dict[str, list[Pod]]] = {}
    for pod in waiting_pods(snapshot):
        name, since = pod.spec.node_name or "", pod.waiting_since
        if pod.metadata.deletion_timestamp is None and (since is None or snapshot.taken_at - since > GRACE):
            for driver in drivers_wanted(pod, snapshot):
                if driver not in there.get(name, frozenset()):
                    lacking.setdefault(name, {}).setdefault(driver, []).append(pod)
    return lacking


def plugin_links(driver: str, node: str, snapshot: Snapshot) -> tuple[tuple[Link, ...], str | None]:
    """The links to what should register a driver on a node: its plugin pod there, else its DaemonSet.

    With the reason why neither could be told, where that is so.
    """
    here = [pod for pod in node_plugins(snapshot) if pod.spec.node_name == node and driver in drivers_of(pod.spec)]
    if here:
        down = [pod for pod in here if not pod.is_ready]
        return tuple(pod_link(pod) for pod in down or here[:1]), None
    sets, pods = snapshot.seen(DAEMON_SETS), _all_pods_unseen(snapshot)
    found = [one for one in (sets.full if sets else ()) if driver in drivers_of(one.spec.template.spec)]
    if pods is not None:
        return tuple(daemon_set_link(one, "is its node plugin") for one in found), f"the plugin on {node}: {pods}"
    return tuple(daemon_set_link(one, f"has no pod on {node}") for one in found), None


def outage_of(daemon_set: DaemonSet, snapshot: Snapshot) -> Outage | Unseen | None:
    """What of a node plugin does not run; None where all does that should. A node that has just joined does not count."""
    nodes, status = snapshot.seen(NODES), daemon_set.status
    every = {node.metadata.name: node for node in (nodes.full if nodes else ())}
    ready = {
        name for name, node in every.items()
        if node.is_ready and not _is_young(node.metadata.creation_timestamp, snapshot)
    }  # fmt: skip
    missing = status.number_unavailable or 0
    if (blind := _all_pods_unseen(snapshot)) is not None:
        away = len(every) - len(ready)
        if missing > away:
            return Outage(unplaced=missing - away, serving=status.number_available or 0)
        return Unseen(str(daemon_set.subject), f"which of its nodes lack it: {blind}") if missing else None
    pods = [pod for pod in node_plugins(snapshot) if _is_of(pod, daemon_set)]
    serving = {pod.spec.node_name for pod in pods if pod.is_ready and pod.metadata.deletion_timestamp is None}
    late = tuple(
        pod for pod in pods if pod.spec.node_name in ready - serving and pod.may_be_running and _is_late(pod, snapshot)
    )
    began = [since for pod in late if (since := _since(pod))]
    going = [pod for pod in pods if pod.metadata.deletion_timestamp is not None or not pod.is_ready]
    changing = any(not _is_late(pod, snapshot) for pod in going)
    unplaced = 0 if changing else max(0, status.desired_number_scheduled - status.current_number_scheduled)
    bare = tuple(sorted(ready - {pod.spec.node_name for pod in pods})) if unplaced else ()
    if not late and not bare:
        return None
    return Outage(late, unplaced if bare else 0, bare, len(serving), min(began, default=None))


def pod_link(pod: Pod) -> Link:
    """The link that tells how a plugin pod is."""
    meta, since = pod.metadata, _since(pod)
    word = "Terminating" if meta.deletion_timestamp else "Ready" if pod.is_ready else "not Ready"
    says = f"on {pod.spec.node_name} is {word}{f' since {since:%Y-%m-%dT%H:%M:%SZ}' if since else ''}"
    text = f"phase {pod.status.phase}; {'Ready' if pod.is_ready else trouble_of(pod)}"
    return Link(pod.subject, says, (Evidence(f"GET pods {meta.namespace}/{meta.name}", text),))


def daemon_set_link(daemon_set: DaemonSet, says: str) -> Link:
    """The link that tells of a DaemonSet and its counts."""
    meta, status = daemon_set.metadata, daemon_set.status
    text = (
        f"desiredNumberScheduled {status.desired_number_scheduled}, currentNumberScheduled "
        f"{status.current_number_scheduled}, numberAvailable {status.number_available or 0}"
    )
    return Link(daemon_set.subject, says, (Evidence(f"GET daemonsets {meta.namespace}/{meta.name}", text),))


def trouble_of(pod: Pod) -> str:
    """Why a pod is not Ready: what a container waits for and how it ended, or the pod's phase."""
    if pod.metadata.deletion_timestamp is not None:
        return "Terminating"
    for status in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        if not status.ready and (told := _of_container(status)):
            return told
    return pod.status.reason or f"phase {pod.status.phase or '(none)'}"


def _of_container(status: ContainerStatus) -> str:
    state, last = status.state, status.last_state
    ended = (state.terminated if state else None) or (last.terminated if last else None)
    how = f"last ended with {ended.reason or 'no reason'}, exit code {ended.exit_code}" if ended else ""
    if state and state.waiting:
        word = state.waiting.reason or "waiting"
    elif state and state.terminated and status.restart_count == 0 and state.terminated.exit_code == 0:
        return ""  # an init container that has done its work
    else:
        word = "ended" if state and state.terminated else "runs, but is not ready"
    again = f"restarted {status.restart_count} times" if status.restart_count else ""
    return f"{status.name} {word}" + "".join(f", {part}" for part in (again, how) if part)


def _all_pods_unseen(snapshot: Snapshot) -> str | None:
    """Why not all plugin pods are known; None where they are: plugins run in namespaces of their own."""
    scope, kind = snapshot.scope, PODS if snapshot.scope.subject is None else PLUGIN_PODS
    pods = snapshot[kind]
    if isinstance(pods, NotSeen):
        return pods.reason
    return f"only the pods of {', '.join(scope.namespaces)} were read" if scope.namespaces else None


def _is_of(pod: Pod, daemon_set: DaemonSet) -> bool:
    owner = pod.metadata.controller
    return owner is not None and owner.uid == daemon_set.metadata.uid


def _since(pod: Pod) -> datetime | None:
    """When it was deleted, became Ready, or ceased to be so."""
    if pod.metadata.deletion_timestamp is not None:
        return pod.metadata.deletion_timestamp
    ready = (c.last_transition_time for c in pod.status.conditions or () if c.type == "Ready")
    return next(ready, None) or pod.status.start_time


def _is_late(pod: Pod, snapshot: Snapshot) -> bool:
    """Whether it should run by now, or be gone. While it pulls its images it has longer; a pull that failed has not."""
    since, starts = _since(pod), pod.metadata.deletion_timestamp is None and pod.is_creating
    return since is None or snapshot.taken_at - since > (STARTING if starts else GRACE)


def _is_young(made: datetime | None, snapshot: Snapshot) -> bool:
    return made is not None and snapshot.taken_at - made <= STARTING
