"""What provisions, attaches and mounts: CSI drivers and their node plugins, classes, and ceph-csi's own configuration.

Which driver a plugin pod serves is told by where it mounts its socket from: a folder `.../plugins/DRIVER` of the node,
from which the kubelet registers it (https://kubernetes-csi.github.io/docs/deploying.html).
"""

from collections.abc import Iterable, Iterator

from diagnostics.facts import Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.images import CEPHFS_DRIVER, RBD_DRIVER, is_driver
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources import (
    ConfigMap,
    CSIDriver,
    CSINode,
    Pod,
    PodSpec,
    Secret,
    StorageClass,
    pod_row,
)
from diagnostics.facts.resources.workloads import PodTemplate
from diagnostics.facts.workloads import DAEMON_SETS as DAEMON_SETS

MOST_OBJECTS = 50  # of single objects that a scan asks for by name (ConfigMaps, Secrets): more is another trouble
_PLUGINS = "/plugins/"
_CEPH_CSI_CONFIG = (
    "csi-config",
    "csi-mapping-config",
)  # Rook keeps the mapping of clusterIDs in a ConfigMap of its own


def drivers_of(spec: PodSpec) -> frozenset[str]:
    """The CSI drivers that a pod with this spec serves as a node plugin; none for any other pod."""
    found: set[str] = set()
    for volume in spec.volumes or ():
        path = str((volume.host_path or {}).get("path") or "")
        _, here, rest = path.partition(_PLUGINS)
        name = rest.strip("/").partition("/")[0]
        if here and "." in name and not name.startswith("kubernetes.io"):
            found.add(name)
    return frozenset(found)


def is_node_plugin(pod: Pod) -> bool:
    """Whether a pod is a CSI driver's node plugin."""
    owner = pod.metadata.controller
    return owner is not None and owner.kind == "DaemonSet" and bool(drivers_of(pod.spec))


def node_plugins(snapshot: Snapshot) -> Iterator[Pod]:
    """The node plugin pods that were read, each once."""
    seen: set[str] = set()
    for kind in (k8s.PODS, PLUGIN_PODS):
        pods = snapshot.seen(kind)
        for pod in pods.index("node plugin", is_node_plugin).get(True, ()) if pods else ():
            if pod.metadata.uid not in seen:
                seen.add(pod.metadata.uid)
                yield pod


def _drivers_in_use(snapshot: Snapshot) -> dict[str, None]:
    """The drivers that the volumes in the snapshot, and the pods' own inline volumes, name."""
    volumes, pods = snapshot.seen(k8s.VOLUMES), snapshot.seen(k8s.PODS)
    used = {v.spec.csi.driver: None for v in (volumes.full if volumes else ()) if v.spec.csi}
    for pod in pods.full if pods else ():
        used |= {entry.csi.driver: None for entry in pod.spec.volumes or () if entry.csi and entry.csi.driver}
    return used


def _csi_drivers(snapshot: Snapshot) -> Iterable[Get | List]:
    if snapshot.scope.subject is None:
        return (List(),)
    return {Get(driver): None for driver in _drivers_in_use(snapshot)}


def _csi_nodes(snapshot: Snapshot) -> Iterable[Get | List]:
    if snapshot.scope.subject is None:
        return (List(),)
    if not _drivers_in_use(snapshot):
        return ()
    pods = snapshot.seen(k8s.PODS)
    return {Get(pod.spec.node_name): None for pod in (pods.full if pods else ()) if pod.spec.node_name}


def _plugin_pods(snapshot: Snapshot) -> Iterable[Get | List]:
    """Around one pod: what else runs on its node. A scan of everything has all pods already."""
    pods = snapshot.seen(k8s.PODS)
    if snapshot.scope.subject is None or not _drivers_in_use(snapshot):
        return ()
    nodes = {pod.spec.node_name: None for pod in (pods.full if pods else ()) if pod.spec.node_name}
    return [List(None, f"spec.nodeName={node}") for node in nodes]


def _storage_classes(snapshot: Snapshot) -> Iterable[Get | List]:
    if snapshot.scope.subject is None:
        return (List(),)
    claims = snapshot.seen(k8s.CLAIMS)
    names = (claim.spec.storage_class_name for claim in (claims.full if claims else ()))
    return {Get(name): None for name in names if name}


def config_maps_of(pod: Pod | PodTemplate) -> Iterator[tuple[str, bool]]:
    """The ConfigMaps that a pod mounts, and whether each is optional."""
    for entry in pod.spec.volumes or ():
        if entry.config_map and entry.config_map.name:
            yield entry.config_map.name, bool(entry.config_map.optional)
        yield from _projected(entry.projected, "configMap")


def secrets_of(pod: Pod) -> Iterator[tuple[str, bool]]:
    """The Secrets that a pod mounts, and whether each is optional."""
    for entry in pod.spec.volumes or ():
        if entry.secret and entry.secret.secret_name:
            yield entry.secret.secret_name, bool(entry.secret.optional)
        yield from _projected(entry.projected, "secret")


def _projected(projected: dict[str, object] | None, what: str) -> Iterator[tuple[str, bool]]:
    sources = (projected or {}).get("sources")
    for source in sources if isinstance(sources, list) else ():
        named = source.get(what) if isinstance(source, dict) else None
        if isinstance(named, dict) and named.get("name"):
            yield str(named["name"]), bool(named.get("optional"))


def _config_maps(snapshot: Snapshot) -> Iterable[Get | List]:
    pods = snapshot.seen(k8s.PODS)
    wanted: dict[Get, None] = {}
    for pod in pods.full if pods else ():
        if pod.is_creating:
            wanted |= {Get(name, pod.metadata.namespace): None for name, _ in config_maps_of(pod)}
    return list(wanted)[:MOST_OBJECTS]


def is_ceph_csi(driver: str) -> bool:
    """Whether a driver is one of ceph-csi's (RBD or CephFS), whatever prefix it was installed with."""
    return any(is_driver(driver, name) for name in (RBD_DRIVER, CEPHFS_DRIVER))


def csi_config_maps_of(pod: Pod | PodTemplate) -> tuple[str, ...]:
    """The ConfigMaps with ceph-csi's configuration that a node plugin mounts.

    By their names, or by that of the pod's volume, which ceph-csi's manifests and charts call `ceph-csi-config` too.
    """
    named = [name for name, _ in config_maps_of(pod) if name.endswith(_CEPH_CSI_CONFIG)]
    for entry in pod.spec.volumes or ():
        if entry.config_map and entry.config_map.name and entry.name.endswith(_CEPH_CSI_CONFIG):
            named.append(entry.config_map.name)
    return tuple(dict.fromkeys(named))


def _csi_config(snapshot: Snapshot) -> Iterable[Get | List]:
    wanted: dict[Get, None] = {}
    for pod in node_plugins(snapshot):
        if any(is_ceph_csi(driver) for driver in drivers_of(pod.spec)):
            wanted |= {Get(name, pod.metadata.namespace): None for name in csi_config_maps_of(pod)}
    return list(wanted)[:MOST_OBJECTS]


def _secrets(snapshot: Snapshot) -> Iterable[Get | List]:
    """The Secrets that Ceph volumes name for their node plugin, and those that waiting pods mount."""
    volumes, pods = snapshot.seen(k8s.VOLUMES), snapshot.seen(k8s.PODS)
    wanted: dict[Get, None] = {}
    for pod in pods.full if pods else ():
        if pod.is_creating:
            wanted |= {Get(name, pod.metadata.namespace): None for name, _ in secrets_of(pod)}
    for volume in volumes.full if volumes else ():
        ref = volume.spec.csi.node_stage_secret_ref if volume.spec.csi else None
        ceph = volume.spec.csi and is_ceph_csi(volume.spec.csi.driver)
        if ceph and ref and ref.name and ref.namespace:
            wanted[Get(ref.name, ref.namespace)] = None
    return list(wanted)[:MOST_OBJECTS]


CSI_DRIVERS: Resource[CSIDriver] = Resource(
    "csidrivers", (k8s.PODS, k8s.VOLUMES), group="storage.k8s.io", plural="csidrivers", struct=CSIDriver,
    requests=_csi_drivers,
)  # fmt: skip
CSI_NODES: Resource[CSINode] = Resource(
    "csinodes", (k8s.PODS, k8s.VOLUMES), group="storage.k8s.io", plural="csinodes", struct=CSINode,
    requests=_csi_nodes,
)  # fmt: skip
PLUGIN_PODS: Resource[Pod] = Resource(
    "pods beside the pod", (k8s.PODS, k8s.VOLUMES), plural="pods", struct=Pod, row=pod_row, requests=_plugin_pods
)
STORAGE_CLASSES: Resource[StorageClass] = Resource(
    "storageclasses", (k8s.CLAIMS,), group="storage.k8s.io", plural="storageclasses", struct=StorageClass,
    requests=_storage_classes,
)  # fmt: skip
CONFIG_MAPS: Resource[ConfigMap] = Resource(
    "configmaps", (k8s.PODS,), plural="configmaps", struct=ConfigMap, requests=_config_maps, verbs="get"
)
CSI_CONFIG: Resource[ConfigMap] = Resource(
    "configmaps of ceph-csi", (k8s.PODS, PLUGIN_PODS), plural="configmaps", struct=ConfigMap, requests=_csi_config,
    verbs="get",
)  # fmt: skip
# Names of keys, never data; and only where somebody has granted it: nobody has to.
SECRETS: Resource[Secret] = Resource(
    "secrets", (k8s.PODS, k8s.VOLUMES), plural="secrets", struct=Secret, requests=_secrets, verbs="get",
    granted_by_choice=True,
)  # fmt: skip
