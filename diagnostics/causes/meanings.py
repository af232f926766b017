"""What each cause means, in one sentence. The slugs are a contract: runbooks, reports and users' filters name them."""

from collections.abc import Mapping
from types import MappingProxyType

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "rbd-image-locked": "Somebody holds the image's advisory lock, or the text only says so while the key is wrong:"
        " look at the lock first.",
        "rbd-advisory-lock-blocks-exclusive": "A client waits without an error on an image with exclusive-lock, because"
        " an advisory lock is in its way; only the lock shows it, no message does.",
        "rbd-image-in-use": "Some client still watches the image, so it is not mapped a second time.",
        "rbd-lock-takeover-denied": "The new owner may not blocklist the dead one (errno 13): its cephx caps lack that.",
        "rbd-client-blocklisted": "The node's own Ceph client is on the blocklist (errno 108): its I/O is refused.",
        "rbd-map-timeout": "The node does not reach Ceph's monitors or OSDs, or an old kernel was given a msgr2 port.",
        "rbd-feature-unsupported": "The image has features that the kernel or the mounter lacks, or that do not exist.",
        "kernel-module-missing": "The node's kernel has no rbd, nbd or ceph module, or cannot load it.",
        "client-binary-missing": "A program that mounts (rbd, mount.nfs, ...) is not installed where it is run.",
        "ceph-object-missing": "The pool, the image, the subvolume or the RADOS namespace does not exist.",
        "ceph-auth-failed": "Ceph does not accept the client: wrong user, key or caps, or no configuration was found.",
        "csi-config-invalid": "ceph-csi's own configuration does not fit: clusterID, monitors or fields of its secret.",
        "rbd-mirror-not-primary": "The image is the secondary of a mirror and cannot be written here.",
        "rbd-snapshot-pressure": "The image has too many snapshots, or is being flattened to get rid of them.",
        "cephfs-unavailable": "CephFS does not serve this client: no MDS is up, or the session was rejected.",
        "csi-driver-not-registered": "The CSI driver is not there for this node: its node plugin is not registered, or"
        " the CSIDriver object is missing.",
        "csi-operation-in-flight": "An earlier call for the same volume has not come back; that first call is the cause.",
        "csi-rpc-timeout": "The CSI driver's node or controller plugin did not answer in time.",
        "multi-attach": "The volume is still attached to another node, or used by a pod there.",
        "attach-stuck": "Nobody completes the VolumeAttachment: the attacher is absent, hangs or lacks permission.",
        "attach-limit-exceeded": "The node has as many volumes as it can hold.",
        "pvc-unbound": "The claim has no volume: it is not bound, or does not exist.",
        "mount-timeout-umbrella": "The kubelet only says that it waited in vain; a sibling event tells the cause.",
        "filesystem-mount-failed": "The filesystem could not be mounted or made: type, option, superblock or UUID.",
        "filesystem-corrupt": "The filesystem is damaged, and the check did not repair it.",
        "stale-file-handle": "The remote filesystem behind the mount went away.",
        "mount-busy": "The device or the mount point is in use, or an unmount does not succeed.",
        "host-path-invalid": "A path on the node is missing or is of another type than the volume wants.",
        "subpath-failed": "The subPath of a volume could not be prepared, or is not there.",
        "volume-expand-failed": "The volume or its filesystem was not grown.",
        "configmap-missing": "The ConfigMap was not found; the kubelet's cache can be old, so look whether it exists.",
        "secret-missing": "The Secret was not found.",
        "secret-key-missing": "The Secret or ConfigMap exists, but has no such key.",
        "kubelet-cache-sync": "The kubelet has not seen the object yet; this usually passes by itself.",
        "service-account-token-failed": "The kubelet could not fetch the pod's service account token.",
        "secrets-store-failed": "The secrets-store driver's provider is missing, or refused to give the secret.",
        "cni-ip-exhausted": "The network plugin has no free address for the pod.",
        "cni-not-ready": "The network plugin is not installed on the node, or its daemon does not run.",
        "cni-apiserver-refused": "The network plugin does not reach the API server, or is not accepted by it.",
        "container-runtime-stuck": "The container runtime hangs: time-outs, reserved names, leaked mounts.",
        "unknown": "Nothing known matches; the message itself is all there is.",
    }
)
