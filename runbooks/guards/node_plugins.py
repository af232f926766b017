"""The guard of a pod that serves a CSI driver on its node: others' volumes may hang on its processes."""

from diagnostics.facts import Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS
from diagnostics.facts.holders import CLAIM_USERS
from runbooks.guards import Ruling, allowed, guard, refused
from runbooks.rollouts import PLUGINS
from runbooks.situation import Situation


@guard(Read(k8s.PODS), Read(LOCKS), Read(k8s.VOLUMES), Read(CLAIM_USERS))
def pod_is_no_csi_node_plugin(situation: Situation) -> Ruling:
    """The pod serves no CSI driver on its node: ending such a one may stop the I/O of the volumes that are mounted there."""
    pod = situation.pod()
    if pod is None:
        return refused(f"there is no pod {situation.params.get('pod')}")
    paths = (str((volume.host_path or {}).get("path") or "") for volume in pod.spec.volumes or ())
    if any(PLUGINS in path for path in paths):
        return refused(
            f"{pod.subject} is a CSI node plugin: without it the volumes end that rbd-nbd or ceph-fuse serve from it; "
            "drain its node first, and replace it by hand"
        )
    return allowed(f"{pod.subject} is no CSI node plugin")
