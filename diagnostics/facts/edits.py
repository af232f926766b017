"""What tells when the things around one trouble were changed, and by whom: read for `why` alone, once a chain is known.

All of it is asked for by name, or by one workload's selector. Of everything but workloads only the metadata is asked for.
"""

from collections.abc import Callable, Iterable

from diagnostics.facts import Kind, Snapshot, holders
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources import Event
from diagnostics.facts.resources.edits import Edited, EditedWorkload, ImageRevision, ImageSet
from diagnostics.model import Subject

MOST_OF_A_KIND = 8  # objects of one kind that are asked for: a timeline of a dozen lines needs no more
# In every namespace, and mounted into every pod: the cluster's own, which nobody edits.
ROOT_CA = "kube-root-ca.crt"

ON_CHAIN: Kind[tuple[Subject, ...]] = Kind("subjects of the chain")


def on_chain(snapshot: Snapshot, kind: str) -> tuple[Subject, ...]:
    """The things of a kind on the chain and beside it, nearest to the symptom first, however many there are."""
    return tuple(each for each in snapshot.seen(ON_CHAIN) or () if each.kind == kind)


def _named(kind: str) -> Callable[[Snapshot], Iterable[Get | List]]:
    def requests(snapshot: Snapshot) -> Iterable[Get | List]:
        return [Get(each.name, each.namespace) for each in on_chain(snapshot, kind)][:MOST_OF_A_KIND]

    return requests


def workloads(snapshot: Snapshot) -> tuple[EditedWorkload, ...]:
    """The workloads of the chain, as far as they were read."""
    listings = (snapshot.seen(kind) for kind in (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS))
    return tuple(one for listing in listings if listing for one in listing.full)


def _revisions_of(*kinds: str) -> Callable[[Snapshot], Iterable[Get | List]]:
    def requests(snapshot: Snapshot) -> Iterable[Get | List]:
        """A selector without words would take in every revision of the namespace."""
        return [
            List(one.metadata.namespace, labels=str(one.spec.selector)) for one in workloads(snapshot)
            if one.kind in kinds and str(one.spec.selector)
        ]  # fmt: skip

    return requests


def config_names(snapshot: Snapshot, kind: str) -> tuple[tuple[str | None, str], ...]:
    """The ConfigMaps or Secrets (namespace, name) of the chain: what pods mount, and what feeds their environment."""
    named = [(each.namespace, each.name) for each in on_chain(snapshot, kind)]
    for one in workloads(snapshot):
        template = one.spec.template
        names = template.config_maps if kind == "ConfigMap" else template.secrets
        named += [(one.metadata.namespace, name) for name in names]
    return tuple(pair for pair in dict.fromkeys(named) if pair[1] != ROOT_CA)


def _configuration(kind: str) -> Callable[[Snapshot], Iterable[Get | List]]:
    def requests(snapshot: Snapshot) -> Iterable[Get | List]:
        return [Get(name, namespace) for namespace, name in config_names(snapshot, kind)][:MOST_OF_A_KIND]

    return requests


def _cordoned(snapshot: Snapshot) -> Iterable[Get | List]:
    """Of nodes only a cordon has a writer that matters: all else in them is the kubelet's and the controllers'."""
    names = {each.name for each in on_chain(snapshot, "Node")}
    nodes = snapshot.seen(holders.NODES)
    cordoned = [node.metadata.name for node in (nodes.full if nodes else ()) if node.spec.unschedulable]
    return [Get(name) for name in cordoned if name in names][:MOST_OF_A_KIND]


def _node_events(snapshot: Snapshot) -> Iterable[Get | List]:
    """Events about nodes lie in `default`; kubelets give the node's name as its UID there."""
    nodes = on_chain(snapshot, "Node")[:MOST_OF_A_KIND]
    return [List("default", f"involvedObject.name={each.name}") for each in nodes]


DEPLOYMENTS: Resource[EditedWorkload] = Resource(
    "deployments and who edited them", group="apps", plural="deployments", struct=EditedWorkload,
    requests=_named("Deployment"), verbs="get",
)  # fmt: skip
STATEFUL_SETS: Resource[EditedWorkload] = Resource(
    "statefulsets and who edited them", group="apps", plural="statefulsets", struct=EditedWorkload,
    requests=_named("StatefulSet"), verbs="get",
)  # fmt: skip
DAEMON_SETS: Resource[EditedWorkload] = Resource(
    "daemonsets and who edited them", group="apps", plural="daemonsets", struct=EditedWorkload,
    requests=_named("DaemonSet"), verbs="get",
)  # fmt: skip
IMAGE_SETS: Resource[ImageSet] = Resource(
    "replicasets and their images", (DEPLOYMENTS,), group="apps", plural="replicasets", struct=ImageSet,
    requests=_revisions_of("Deployment"), verbs="list",
)  # fmt: skip
IMAGE_REVISIONS: Resource[ImageRevision] = Resource(
    "controllerrevisions and their images", (STATEFUL_SETS, DAEMON_SETS), group="apps", plural="controllerrevisions",
    struct=ImageRevision, requests=_revisions_of("StatefulSet", "DaemonSet"), verbs="list",
)  # fmt: skip
NODES: Resource[Edited] = Resource(
    "nodes and who cordoned them", plural="nodes", struct=Edited, requests=_cordoned, verbs="get", metadata_only=True
)
NODE_EVENTS: Resource[Event] = Resource(
    "events of the nodes", plural="events", struct=Event, requests=_node_events, verbs="list"
)
CLAIMS: Resource[Edited] = Resource(
    "persistentvolumeclaims and who edited them", plural="persistentvolumeclaims", struct=Edited,
    requests=_named("PersistentVolumeClaim"), verbs="get", metadata_only=True,
)  # fmt: skip
VOLUMES: Resource[Edited] = Resource(
    "persistentvolumes and who edited them", plural="persistentvolumes", struct=Edited,
    requests=_named("PersistentVolume"), verbs="get", metadata_only=True,
)  # fmt: skip
CLASSES: Resource[Edited] = Resource(
    "storageclasses and who edited them", group="storage.k8s.io", plural="storageclasses", struct=Edited,
    requests=_named("StorageClass"), verbs="get", metadata_only=True,
)  # fmt: skip
DRIVERS: Resource[Edited] = Resource(
    "csidrivers and who edited them", group="storage.k8s.io", plural="csidrivers", struct=Edited,
    requests=_named("CSIDriver"), verbs="get", metadata_only=True,
)  # fmt: skip
CONFIG_MAPS: Resource[Edited] = Resource(
    "configmaps and who edited them", (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS), plural="configmaps", struct=Edited,
    requests=_configuration("ConfigMap"), verbs="get", metadata_only=True,
)  # fmt: skip
SECRETS: Resource[Edited] = Resource(
    "secrets and who edited them", (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS), plural="secrets", struct=Edited,
    requests=_configuration("Secret"), verbs="get", granted_by_choice=True,
)  # fmt: skip
