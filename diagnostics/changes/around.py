"""The things whose changes matter to a finding: its chain, and what made, configures or carries the pods on it."""

from collections.abc import Iterator

from diagnostics.facts import Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.csi import CSI_CONFIG, PLUGIN_PODS, config_maps_of, secrets_of
from diagnostics.facts.holders import CLAIM_USERS, NODES, PODS_AT
from diagnostics.facts.resources import Attachment, Pod
from diagnostics.facts.workloads import WORKLOAD_PODS
from diagnostics.model import Finding, Subject

_POD_KINDS = (k8s.PODS, CLAIM_USERS, PLUGIN_PODS, PODS_AT, WORKLOAD_PODS)


def around(finding: Finding, snapshot: Snapshot) -> tuple[Subject, ...]:
    """The subjects of the chain, symptom first, and what lies beside them, each once."""
    found = dict.fromkeys((finding.subject, *(link.subject for link in finding.chain)))
    for subject in tuple(found):
        beside = {"Pod": _of_pod, "ReplicaSet": _of_replica_set, "PersistentVolume": _of_volume}.get(subject.kind)
        found |= dict.fromkeys(beside(subject, snapshot) if beside else ())
    if (ceph := snapshot.seen(CSI_CONFIG)) and any(each.kind == "PersistentVolume" for each in found):
        found |= {Subject("ConfigMap", each.metadata.namespace, each.metadata.name, ""): None for each in ceph.full}
    return _each_once(found)


def _each_once(found: dict[Subject, None]) -> tuple[Subject, ...]:
    """Two ways may lead to one thing, only one of which knows its UID."""
    by_name: dict[str, Subject] = {}
    for subject in found:
        known = by_name.get(str(subject))
        if known is None or (subject.uid and not known.uid):
            by_name[str(subject)] = subject
    return tuple(by_name.values())


def pods(snapshot: Snapshot) -> dict[str, Pod]:
    """The pods that were read in full, by UID."""
    listings = (snapshot.seen(kind) for kind in _POD_KINDS)
    return {pod.metadata.uid: pod for listing in listings if listing for pod in listing.full}


def _of_pod(subject: Subject, snapshot: Snapshot) -> Iterator[Subject]:
    pod = pods(snapshot).get(subject.uid)
    if pod is None:
        return
    namespace = pod.metadata.namespace
    if (owner := pod.metadata.controller) is not None and owner.kind != "Node":  # a kubelet's own pod is its mirror
        own = Subject(owner.kind, namespace, owner.name, owner.uid)
        yield own
        if own.kind == "ReplicaSet":
            yield from _of_replica_set(own, snapshot)
    for name, _ in config_maps_of(pod):
        yield Subject("ConfigMap", namespace, name, "")
    for name, _ in secrets_of(pod):
        yield Subject("Secret", namespace, name, "")
    nodes = snapshot.seen(NODES)
    for node in nodes.full if nodes else ():
        if node.metadata.name == pod.spec.node_name:
            yield node.subject


def _of_replica_set(subject: Subject, snapshot: Snapshot) -> Iterator[Subject]:
    sets = snapshot.seen(k8s.REPLICA_SETS)
    for each in sets.full if sets else ():
        owner = each.metadata.controller
        if each.metadata.uid == subject.uid and owner is not None and owner.kind == "Deployment":
            yield Subject("Deployment", each.metadata.namespace, owner.name, owner.uid)


def _of_volume(subject: Subject, snapshot: Snapshot) -> Iterator[Subject]:
    volumes = snapshot.seen(k8s.VOLUMES)
    for volume in volumes.full if volumes else ():
        if volume.metadata.name != subject.name:
            continue
        spec = volume.spec
        if spec.storage_class_name:
            yield Subject("StorageClass", None, spec.storage_class_name, "")
        if spec.csi is not None:
            yield Subject("CSIDriver", None, spec.csi.driver, "")
            if (ref := spec.csi.node_stage_secret_ref) is not None and ref.name and ref.namespace:
                yield Subject("Secret", ref.namespace, ref.name, "")
        for attachment in attachments(snapshot):
            if attachment.spec.source.persistent_volume_name == subject.name:
                yield attachment.subject


def attachments(snapshot: Snapshot) -> tuple[Attachment, ...]:
    """The VolumeAttachments that were read."""
    seen = snapshot.seen(k8s.ATTACHMENTS)
    return seen.full if seen else ()
