"""Causes that Ceph tells only by an errno or an exit status. Several faults share one, so most of these are likely, not certain.

They must stand behind everything that Ceph says in words, and never read an errno that another program printed.
"""

from diagnostics.causes.model import Rule, either
from diagnostics.causes.rules.ceph import CEPH_WORDS

ERRNO = (
    Rule(
        cause="ceph-auth-failed",
        why="A ceph command ended with status 13 or 1: the user or its caps do not fit.",
        command=("ceph", "rados", "ceph-fuse"),
        exit_status=(1, 13),
        also=(" fs ", "(1) operation", "(13) permission", "exit status 13", "osd ", "auth "),
        never=("(2) no such", "timed out", "timeout"),
    ),
    Rule(
        cause="rbd-lock-takeover-denied",
        why="Mapping failed with errno 13, as it does when the client may not blocklist a dead lock owner; wrong caps on"
        " the pool look the same, and the node's dmesg tells which.",
        likely=True,
        pattern=either(
            r"map failed: \(13\) permission",
            r"\(exit status 13\) occurred while running rbd",
            r"map (?:failed|error) exit status 13\b",
        ),
        never=("couldn't connect", "authenticat", "error opening", "rados:"),
    ),
    Rule(
        cause="rbd-map-timeout",
        why="Ceph's monitors or OSDs did not answer in time.",
        pattern=either(
            r"\(110\) connection timed out",
            r"ret=-110\b",
            r"exit status 110\b",
            r"map failed: \((?:5|101|107|111|112|113)\) [a-z]",
            r"cluster: \((?:101|110|111|112|113)\)",
            r"(?:rados|rbd): ret=-(?:101|107|111|112|113)\b",
            r"timed out trying to connect to the cluster",
            r"authenticate timed out",
            r"rados timed out",
            r"\(exit status 5\) occurred while running rbd",
            r"map (?:failed|error) exit status 5\b",
            r"\[errno (?:110|111|113)\]",
        ),
        also=CEPH_WORDS,
        never=("mount error", "ceph mount failed"),
    ),
    Rule(
        cause="rbd-map-timeout",
        why="A Ceph command did not come back in time, which it does when monitors or OSDs cannot be reached.",
        likely=True,
        pattern=either(
            r"(?:timeout|deadline exceeded|signal: killed)[^:]{0,60} occurred while running (?:rbd|ceph|rados)",
            r"(?:rbd|ceph|rados) (?:command|map) (?:has )?(?:timed out|timeout)",
            r"could not map image[^;]{0,100} time(?:d )?out",
            r"time(?:d )?out waiting for (?:the )?(?:process|command) (?:rbd|ceph|rados)\b",
            r"libceph: (?:mon|osd)\d{1,5} \S{1,80} (?:socket (?:closed|error)|connect error|connection failed|session lost)",
            r"libceph: connect \S{1,80} error -\d",
        ),
    ),
    Rule(
        cause="rbd-mirror-not-primary",
        why="The image may only be read here (errno 30), as a mirror's secondary is.",
        likely=True,
        pattern=either(
            r"map failed: \(30\) read-only",
            r"(?:rados|rbd): ret=-30\b",
            r"map (?:failed|error) exit status 30\b",
            r"\(exit status 30\) occurred while running rbd",
        ),
    ),
    Rule(
        cause="rbd-feature-unsupported",
        why="Mapping ended with errno 6, which the kernel gives for features that it does not know.",
        likely=True,
        pattern=either(
            r"map failed: \(6\) no such device",
            r"map (?:failed|error) exit status 6\b",
            r"\(exit status 6\) occurred while running rbd",
        ),
    ),
    Rule(
        cause="rbd-feature-unsupported",
        why="ceph-csi passed on the mapping command's status 2 without its output; features that the mounter does not"
        " know are the usual reason, so read the node plugin's log.",
        likely=True,
        code="internal",
        operation=("mapvolume", "mountvolume.mountdevice"),
        inner=("exit status 2", "exit status 6"),
    ),
    Rule(
        cause="rbd-image-in-use",
        why="librbd or the OSD answered with errno 16: a client still has the image open.",
        likely=True,
        pattern=either(r"(?:rados|rbd): ret=-16\b"),
    ),
    Rule(
        cause="mount-busy",
        why="The mapped device is still in use, so it can be neither mapped nor unmapped.",
        likely=True,
        pattern=either(
            r"map failed: \(16\)",
            r"\(exit status 16\) occurred while running rbd",
        ),
        also=CEPH_WORDS,
    ),
    Rule(
        cause="ceph-auth-failed",
        why="The monitors refused the client (errno 1), or it found neither its key nor a configuration.",
        likely=True,
        pattern=either(
            r"map failed: \(1\) operation not permitted",
            r"map (?:failed|error) exit status 1\b",
            r"couldn't connect to the cluster",
            r"error connecting to the cluster",
            r"conf_read_file failed",
            r"\(exit status 1\) occurred while running rbd",
        ),
        also=CEPH_WORDS,
    ),
    Rule(
        cause="ceph-object-missing",
        why="Ceph answered with errno 2, which means that the image or its pool is not there.",
        likely=True,
        pattern=either(
            r"map failed: \(2\) no such file",
            r"map (?:failed|error) exit status 2\b",
            r"(?:rados|rbd): ret=-2\b",
        ),
        also=CEPH_WORDS,
    ),
    Rule(
        cause="ceph-auth-failed",
        why="The client found no keyring, or no configuration.",
        likely=True,
        says=(
            "unable to find a keyring",
            "no keyring found",
            "errors while parsing config file",
            "parse_file: cannot open",
        ),
        also=CEPH_WORDS,
    ),
    Rule(
        cause="cephfs-unavailable",
        why="Mounting CephFS ended with an errno that its monitors or MDS give: refused, or out of reach.",
        likely=True,
        pattern=either(
            r"(?:mount error:? ?\(?|ceph mount failed with \()(?:13|1|5|101|107|110|111|112|113)\)? ?[=:a-z]",
        ),
        also=("-t ceph", "ceph-mon", "mds_namespace", "mount.ceph", "cephfs", "ceph mount failed", "ceph-fuse"),
    ),
    Rule(
        cause="ceph-object-missing",
        why="Mounting CephFS ended with errno 2: the path or the filesystem is not there.",
        likely=True,
        pattern=either(
            r"(?:mount error:? ?\(?|ceph mount failed with \()2\)? ?(?:= |: )?no such file",
        ),
        also=("-t ceph", "ceph"),
    ),
    Rule(
        cause="cephfs-unavailable",
        why="Mounting CephFS failed, and all that is told is that no monitors were found by name; which is said even where"
        " they were given, so read dmesg on the node.",
        likely=True,
        says=("failed for service _ceph-mon", "monitor info from dns srv"),
        also=("-t ceph", "mount.ceph"),
    ),
)
