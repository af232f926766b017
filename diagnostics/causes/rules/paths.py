"""Causes that are a path: one that a hostPath or local volume names, or the subPath of a volume.

A path inside the kubelet's own folder is never the user's hostPath; these rules must not say so.
"""

from diagnostics.causes.model import Rule, either

_GONE = (
    "no such file",
    "not a directory",
    "read-only file system",
    "file exists",
    "permission denied",
    "operation not permitted",
)
_USERS = r"/(?!var/lib/(?:kubelet|docker|containers|containerd)|run/containerd|var/snap|proc/|sys/fs/cgroup)\S{0,400}"

SUBPATH = (
    Rule(
        cause="subpath-failed",
        why="The kubelet could not prepare the subPath of a volume for the container.",
        pattern=either(
            r"failed to (?:prepare|create|resolve|evaluate) (?:the )?subpath",
            r"unable to (?:resolve|prepare) subpath",
            r"error preparing subpath",
            r"cannot create directory for subpath",
            r"subpath (?:\S{1,300} )?(?:is not|does not exist|not found)",
            r"fail\w{0,3} [^;]{0,60}volume subpath",
        ),
        never=("stale", "transport endpoint is not connected"),
    ),
    Rule(
        cause="subpath-failed",
        why="The runtime could not mount what the kubelet had prepared as a subPath: it is missing, or of another type.",
        says=("volume-subpaths",),
        also=("error mounting", "no such file", "not a directory", "fail", 'mounting "', "file exists", "deleted"),
        never=("stale",),
    ),
    Rule(
        cause="subpath-failed",
        why="A file was mounted over a directory or the reverse, as a subPath that does not exist leads to.",
        likely=True,
        says=("are you trying to mount a directory onto a file",),
        also=("/var/lib/kubelet", "kubernetes.io~", "volumes/"),
    ),
)

PATHS = (
    Rule(
        cause="host-path-invalid",
        why="The hostPath is not of the type that the volume asks for, or is not there.",
        says=("hostpath type check failed",),
    ),
    Rule(
        cause="host-path-invalid",
        why="The local volume's path does not exist where the kubelet looks for it.",
        about="volume",
        pattern=either(
            r"path \"[^\"]{1,1024}\" does not exist",
            r"special device /(?!dev/|var/lib/kubelet)\S{1,400} does not exist",
        ),
    ),
    Rule(
        cause="host-path-invalid",
        why="The path to be bound into the container is missing on the node, or cannot be made there.",
        says=("error while creating mount source path", "bind source path does not exist", "mounts denied"),
    ),
    Rule(
        cause="host-path-invalid",
        why="The runtime could not mount a path of the node into the container: it is missing there, or of another type.",
        likely=True,
        pattern=either(rf"mounting \"{_USERS}\" to rootfs"),
        also=_GONE,
        never=("create mountpoint for",),
    ),
    Rule(
        cause="host-path-invalid",
        why="The path lies on a mount of the node that is not shared, so mounts below it do not reach the container.",
        likely=True,
        pattern=either(
            r"path \S{1,400} is mounted on \S{1,400} but it is not a shared",
        ),
    ),
    Rule(
        cause="host-path-invalid",
        why="A path of the node that the volume points to is missing or of another type.",
        likely=True,
        pattern=either(
            rf"(?:^error: |\" ?: |createcontainerconfigerror: \"?)(?:stat|lstat|open|mkdir|readlink) {_USERS}: ",
            rf"failed to (?:mkdir|stat) \"{_USERS}\": ",
            rf"failed to create (?:the )?directory \"?{_USERS}: ",
        ),
        also=_GONE,
        never=("rpc error: code = deadline", "secrets store"),
    ),
    Rule(
        cause="host-path-invalid",
        why="A path of the node that the volume points to is missing or of another type.",
        likely=True,
        operation=("mountvolume.newmounter", "mapvolume.newblockvolumemapper", "mapvolume.evalhostsymlinks"),
        says=("no such file or directory", "not a directory", "is not a block device", "read-only file system"),
        never=("csi.sock", "secret", "configmap"),
    ),
)
