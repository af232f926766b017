"""Facts for whoever takes pods away from a node: the pods there, their budgets, their local volumes, and other nodes.

They are read only for a look at one node or one pod: what a scan needs of them it has from elsewhere.
"""

from collections.abc import Iterable

from diagnostics.facts import Kind, Snapshot
from diagnostics.facts.ceph import OsdMap
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources import Node, pod_row
from diagnostics.facts.resources.disruption import Budget, LabelledPod, PlacedVolume


def _labelled_pods(snapshot: Snapshot) -> Iterable[Get | List]:
    subject = snapshot.scope.subject
    if subject is None or subject.kind not in ("Node", "Pod"):
        return ()
    if subject.kind == "Pod":
        return (Get(subject.name, subject.namespace),)
    return (List(None, f"spec.nodeName={subject.name}"),)


def _read(snapshot: Snapshot) -> tuple[LabelledPod, ...]:
    pods = snapshot.seen(LABELLED_PODS)
    return pods.full if pods else ()


def _budgets(snapshot: Snapshot) -> Iterable[Get | List]:
    return {List(pod.metadata.namespace): None for pod in _read(snapshot)}


def _placed_volumes(snapshot: Snapshot) -> Iterable[Get | List]:
    """A claim names its volume, but a volume names its claim too: one list takes less than two GETs for each."""
    return (List(),) if any(pod.claims for pod in _read(snapshot)) else ()


def _all_nodes(snapshot: Snapshot) -> Iterable[Get | List]:
    subject = snapshot.scope.subject
    return (List(),) if subject is not None and subject.kind == "Node" else ()


LABELLED_PODS: Resource[LabelledPod] = Resource(
    "pods with their labels", plural="pods", struct=LabelledPod, row=pod_row, requests=_labelled_pods
)
# v1beta1 is gone since 1.25, v1 is there since 1.21.
BUDGETS: Resource[Budget] = Resource(
    "poddisruptionbudgets", (LABELLED_PODS,), group="policy", plural="poddisruptionbudgets", struct=Budget,
    requests=_budgets, older=("v1beta1",),
)  # fmt: skip
PLACED_VOLUMES: Resource[PlacedVolume] = Resource(
    "persistentvolumes of the pods", (LABELLED_PODS,), plural="persistentvolumes", struct=PlacedVolume,
    requests=_placed_volumes,
)  # fmt: skip
ALL_NODES: Resource[Node] = Resource("nodes of the cluster", plural="nodes", struct=Node, requests=_all_nodes)

# The same map as OSDMAP, but read whether or not any volume lies on Ceph: a node may carry Ceph's own daemons.
NODE_OSDMAP: Kind[OsdMap] = Kind("ceph.osdmap of the node's daemons")


def budgets_of(pod: LabelledPod, budgets: Iterable[Budget]) -> tuple[Budget, ...]:
    """The budgets that protect a pod, by name. More than one, and the API refuses every eviction of it."""
    return tuple(sorted((one for one in budgets if one.protects(pod)), key=lambda one: one.named))
