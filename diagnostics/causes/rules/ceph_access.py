"""Why Ceph is not reached by the right name and key: configuration, missing pools and images, the MDS, credentials.

The configuration stands before the objects, and these before the credentials: each failure is also reported as the next.
"""

from diagnostics.causes.model import Rule, either
from diagnostics.causes.rules.ceph import CEPH_WORDS

ACCESS = (
    Rule(
        cause="csi-config-invalid",
        why="ceph-csi's configuration does not know this cluster, or lacks its monitors.",
        says=(
            "missing configuration for cluster id",
            "failed to fetch monitor list",
            "failed to fetch monitors",
            "empty monitor list",
            "fetching configuration for cluster id",
            "no matching clusterid",
            "missing configuration for kms",
            "provided secret is empty",
            "failed to fetch clusterid",
            "either clusterid or monitors",
            "monitors missing in volume id",
            "poolname missing in volume id",
            "/etc/ceph-csi-config",
        ),
    ),
    Rule(
        cause="csi-config-invalid",
        why="The cluster's id or its monitors are missing or wrong in the class, the volume or ceph-csi's configuration.",
        pattern=either(
            r"cluster ?id\b[^;]{0,60}(?:not found|missing|empty|not set|must be (?:set|provided)|unknown|not exist)",
            r"(?:missing|empty|invalid|unknown|no)[^;:]{0,40} cluster ?id\b",
            r"(?:empty|missing|invalid|no) monitors?\b",
        ),
        never=("grpc request", "etcd"),
    ),
    Rule(
        cause="csi-config-invalid",
        why="A parameter or a field that the driver needs is missing in the storage class or the Secret's layout.",
        pattern=either(
            r"missing required (?:parameter|field)",
            r"missing (?:id|key) field",
            r"missing '?(?:user|admin)(?:id|key)",
            r"provided secret is empty",
            r"no secrets? (?:is |are )?provided",
            r"secrets? (?:is |are )?(?:nil or empty|empty)",
            r"(?:pool|fsname|monitors?) (?:must be|not) set",
            r"failed to (?:find|fetch|get|parse) (?:the )?kms",
            r"\b(?:missing|no|unknown)[^;:]{0,40} kms\b",
            r"\bno kms\b",
            r"missing encryption passphrase",
            r"encryptionpassphrase",
            r"unmarshal failed",
            r"secrets? specified, both must be",
        ),
        about="volume",
        never=("secrets store", "secrets-store"),
    ),
    Rule(
        cause="csi-config-invalid",
        why="The driver calls a setting of its class or Secret invalid: one that must be there is not.",
        likely=True,
        code="invalidargument",
        pattern=either(
            r"(?:secrets?|credentials?|monitors?|\w{0,20}secret|clusterid|pool|fsname|kms\w{0,12})\b[^;:]{0,60}"
            r" (?:must|should|cannot|can't|could not) be",
            r"(?:secrets?|credentials?|monitors?|clusterid|pool|fsname) (?:is|are) (?:missing|required|empty|not set)",
            r"\b(?:missing|empty) (?:or empty )?(?:cluster ?id|(?:data ?)?pool|namespace|monitors?|fs ?name)\b",
        ),
    ),
    Rule(
        cause="csi-config-invalid",
        why="A field that ceph-csi needs is missing in its Secret or its class.",
        pattern=either(
            r"missing (?:id|key) field '?\S{1,40} in secrets?",
            r"missing required parameter (?:clusterid|pool|fsname|monitors)",
        ),
    ),
    Rule(
        cause="cephfs-unavailable",
        why="No metadata server of the filesystem serves this client.",
        says=(
            "no mds server is up",
            "no mds (metadata server) is up",
            "cluster is laggy",
            "cluster might be laggy",
            "rejected session",
            "reject session",
            "session rejected",
            "rejected by mds",
            "no mds is up",
            "mds0 hung",
            "mds0 reconnect denied",
            "filesystem is offline",
        ),
    ),
    Rule(
        cause="cephfs-unavailable",
        why="The node's kernel loses, or does not get, its connection to a metadata server.",
        likely=True,
        pattern=either(
            r"libceph: mds\d{1,5} \S{1,80} (?:socket (?:closed|error)|connect error|connection failed|session lost)"
        ),
    ),
    Rule(
        cause="ceph-object-missing",
        why="Ceph has no pool, image, filesystem or subvolume of that name.",
        says=(
            "pool not found",
            "rbd image not found",
            "image not found: rbd",
            "error opening pool",
            "error opening default pool",
            "could not find fs",
            "subvolume not found",
            "subvolume group not found",
            "not found in ceph cluster",
            "rados namespace not found",
            "error enoent: ",
        ),
        never=("exit status 13", "(13) permission"),
    ),
    Rule(
        cause="ceph-object-missing",
        why="Ceph has no pool, image, namespace or subvolume of that name (errno 2).",
        pattern=either(
            r"error opening (?:the )?(?:(?:image|pool|namespace) )?[^: ]{1,200}: \(2\) no such",
            r"(?:subvolume|subvolumegroup|subvolume group|namespace|snapshot|filesystem|file system|image|pool) '?\S{1,200} (?:does not exist|not found)",
            r"failed to (?:open|find|get|stat) (?:the )?(?:rbd )?(?:image|pool|iocontext)[^;]{0,200}(?:no such file|not found|ret=-2)",
            r"no such (?:pool|rbd image)",
            r"librbd::image::openrequest: failed to (?:retrieve|stat|find)",
        ),
        also=(*CEPH_WORDS, "subvolume"),
        never=(
            "connecting failed",
            "repository",
            "container image",
            "configmap",
            'secret "',
            'secrets "',
            "daemonset",
            "deployment",
        ),
    ),
    Rule(
        cause="ceph-auth-failed",
        why="Ceph did not let this user in: wrong name, key or caps.",
        pattern=either(
            r"rados: ret=-?(?:13|1)\b",
            r"connecting failed: rados: ret=-22\b",
            r"rbd: ret=-?(?:13|1)\b",
            r"rbd key for id",
            r"auth method '\S{1,10} error",
            r"handle_auth_bad_method",
            r"authentication failed",
            r"failed to authenticate",
            r"rados ?permission ?(?:denied|error)",
            r"\[errno (?:1|13|22)\]",
            r"connecting failed: rados: ret=-2\b",
            r"rados object not found \(error connecting",
            r"invalid (?:ceph )?key\b",
            r"failed to decode key",
            r"bad key",
        ),
        also=CEPH_WORDS,
        never=("nfs", "mount error", "cifs", "smb", "password authentication"),
    ),
    Rule(
        cause="ceph-auth-failed",
        why="The client was refused while it connected to the cluster (errno 1, 13 or 22): wrong name, key or caps.",
        pattern=either(
            r"connect(?:ing)? to (?:the )?(?:ceph )?cluster\b[^;()]{0,20}(?:permission denied|\((?:1|13|22)\) )",
            r"\[errno (?:1|13|22)\] [^;]{0,60}connecting to the cluster",
            r"\berror e(?:perm|acces): ",
        ),
    ),
)
