"""Joins facts into one causal chain: event -> pod -> PVC -> PV -> attachment or CSI -> image -> lock -> client -> node.

Every link says what is so and shows where it was read. A chain ends where proof ends; it never guesses further.
"""

import msgspec

from diagnostics.chain.events import telling_event
from diagnostics.chain.locks import lock_links, locked_by_name, volume_links
from diagnostics.chain.pods import from_pod
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, SIGHTINGS
from diagnostics.facts.csi import CONFIG_MAPS, CSI_DRIVERS, CSI_NODES, PLUGIN_PODS, SECRETS, is_node_plugin
from diagnostics.facts.holders import CLAIM_USERS, LEASES, NODES, PODS_AT
from diagnostics.facts.kubernetes import ATTACHMENTS, CLAIMS, EVENTS, PODS, REPLICA_SETS, VOLUMES
from diagnostics.facts.resources import Pod
from diagnostics.model import Finding, Link, Subject

__all__ = ["READS", "explain", "telling_event"]

READS = (
    Read(PODS, where=lambda pod: pod.is_creating or is_node_plugin(pod)), Read(EVENTS), Read(CLAIMS), Read(VOLUMES),
    Read(ATTACHMENTS), Read(CSI_DRIVERS), Read(CSI_NODES), Read(PLUGIN_PODS), Read(CONFIG_MAPS), Read(SECRETS), Read(LOCKS), Read(OSDMAP),
    Read(SESSIONS), Read(SIGHTINGS), Read(NODES), Read(PODS_AT), Read(LEASES), Read(CLAIM_USERS),
    Read(REPLICA_SETS, where=lambda each: each.is_behind),
)  # fmt: skip
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})


def explain(finding: Finding, snapshot: Snapshot) -> Finding:
    """Complete a finding: its chain from symptom to root, the cause that the whole chain proves, what stayed unseen.

    A pod's chain is made here, as is that of a locked image; any other finding brings its own, and one of a pod that
    does not end. A workload's chain that ends with a pod in ContainerCreating goes on with what that pod waits for.
    """
    unseen: list[str] = list(finding.unseen)
    cause = finding.cause
    pod = _pod(finding.subject, snapshot)
    if pod is not None and not (finding.chain and pod.metadata.deletion_timestamp):
        links, cause = from_pod(pod, finding.cause, snapshot, unseen)
    elif finding.chain:
        links, cause = _followed(finding, snapshot, unseen)
    elif finding.subject.kind == "RBDImage" and (image := locked_by_name(finding.subject.name, snapshot)):
        links = [*volume_links(image, snapshot), *lock_links(image, snapshot, unseen)]
    else:
        links = []
    root = _root(links)
    return msgspec.structs.replace(
        finding, chain=tuple(links), cause=cause, root=root, unseen=tuple(dict.fromkeys(unseen))
    )


def _followed(finding: Finding, snapshot: Snapshot, unseen: list[str]) -> tuple[list[Link], str | None]:
    """A chain with what its last pod waits for, where the check knew no cause of its own."""
    follows = finding.cause is None and finding.subject.kind in _WORKLOADS
    pod = _pod(finding.chain[-1].subject, snapshot) if follows else None
    if pod is None or not pod.is_creating or pod.metadata.deletion_timestamp is not None:
        return list(finding.chain), finding.cause
    links, cause = from_pod(pod, finding.cause, snapshot, unseen)
    return [*finding.chain[:-1], *links], cause


def _root(links: list[Link]) -> Subject | None:
    return links[-1].subject if links else None


def _pod(subject: Subject, snapshot: Snapshot) -> Pod | None:
    if subject.kind != "Pod":
        return None
    pods = snapshot.seen(PODS)
    by_uid = pods.index("uid", lambda pod: pod.metadata.uid) if pods else {}
    return next(iter(by_uid.get(subject.uid, ())), None)
