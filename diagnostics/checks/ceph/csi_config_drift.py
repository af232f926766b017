"""Where ceph-csi's configuration, volumes, classes, Secrets and nodes no longer fit Ceph, or each other.

Meaning: a clusterID, monitor, pool, RADOS namespace, key of a Secret or feature of an image is not what the other side has.
Impact: what is mounted goes on; the next mount, or the next volume, fails.
Mitigation: correct the side that is wrong: the finding names both. Change a Secret or ConfigMap in the tool that made it.
"""

from collections.abc import Iterator
from itertools import chain as one_after_another

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import FEATURES, LOCKS, OSDMAP, SESSIONS, SIGHTINGS, STATUS
from diagnostics.facts.csi import CSI_CONFIG, PLUGIN_PODS, SECRETS, STORAGE_CLASSES, is_node_plugin
from diagnostics.facts.csi_drift import in_cluster_ids, in_config, in_pools, in_secrets, unread_of_ceph
from diagnostics.facts.holders import CLAIM_USERS, NODES
from diagnostics.facts.krbd import in_features
from diagnostics.facts.kubernetes import PODS, VOLUMES
from diagnostics.facts.whereabouts import CEPHS
from diagnostics.model import Finding, Severity, Unseen

_LOOKS = (unread_of_ceph, in_config, in_cluster_ids, in_pools, in_secrets, in_features)


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each thing that does not fit; nothing where there is neither ceph-csi nor an RBD volume."""
    for found in one_after_another.from_iterable(look(snapshot) for look in _LOOKS):
        if isinstance(found, Unseen):
            yield found
        else:
            yield Finding(found.subject, found.says, found.cause, None, found.links, severity=found.severity)


_OPTIONAL = (
    STORAGE_CLASSES, PLUGIN_PODS, CSI_CONFIG, SECRETS, CLAIM_USERS, LOCKS, OSDMAP, STATUS, FEATURES, NODES, SESSIONS,
    SIGHTINGS, CEPHS,
)  # fmt: skip
CHECK = Check(
    find,
    reads=(
        Read(VOLUMES), Read(PODS, where=lambda pod: pod.is_creating or is_node_plugin(pod)),
        *(Read(kind, optional=True) for kind in _OPTIONAL),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
