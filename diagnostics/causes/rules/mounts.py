"""Causes that mount and umount tell: a helper that is missing, a server that went away, a device or a target in use.

`mount: wrong fs type` is written for many faults, a missing helper among them, so the helpers stand before the disks.
"""

from diagnostics.causes.model import Rule, either

_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "glusterfs", "efs", "fuse", "lustre", "beegfs", "juicefs")

REMOTE = (
    Rule(
        cause="stale-file-handle",
        why="The server or the FUSE process behind the mount went away, and the mount stayed.",
        pattern=either(
            r"stale (?:nfs )?(?:file )?handle",
            r"transport endpoint is not connected",
            r"\bestale\b",
            r"err(?:no|or) 116\b",
            r"nfs: server \S{1,253} not responding",
        ),
    ),
    Rule(
        cause="stale-file-handle",
        why="The mount is there, but the server behind it is down.",
        likely=True,
        about="volume",
        says=("host is down", "corrupted mount point", "mount point is corrupted"),
    ),
    Rule(
        cause="stale-file-handle",
        why="The mount point exists but cannot be looked at, so it was to be made anew: what was mounted there went away.",
        likely=True,
        says=("mkdir ",),
        pattern=either(
            r"/volumes/kubernetes\.io~csi/[^/\s]{1,253}/mount['\"]?: file exists",
            r"/volumes/kubernetes\.io~(?:nfs|cephfs|glusterfs|azure-file|cifs)/[^/\s]{1,253}['\"]?: file exists",
            r"/globalmount(?:/[^/\s]{1,253})?['\"]?: file exists",
        ),
    ),
    Rule(
        cause="client-binary-missing",
        why="The mount helper for this network filesystem is not installed on the node, so mount takes the source for a disk.",
        fstype=_REMOTE,
        says=("helper program", "unknown filesystem type"),
        never=("incorrect mount option",),
    ),
    Rule(
        cause="client-binary-missing",
        why="mount asks for the helper of a network filesystem.",
        says=("you might need a /sbin/mount.", "need a /sbin/mount."),
    ),
    Rule(
        cause="client-binary-missing",
        why="mount does not know this network filesystem, because its client is not installed.",
        pattern=either(
            r"unknown filesystem type [\"']?(?:nfs4?|cifs|smb3|glusterfs|efs|fuse\S{0,30}|lustre|beegfs)\b",
        ),
    ),
    Rule(
        cause="client-binary-missing",
        why="A program that the mount needs is not there, or cannot run, where the plugin looked for it.",
        about="volume",
        pattern=either(
            r"executable file not found in \$path",
            r"fork/exec /(?:usr/)?s?bin/\S{1,40} (?:no such file|invalid argument|permission denied|exec format)",
            r"command not found",
            r"can't execute '",
            r"\bexec failed: \(2\) no such file",
            r"failed to execute \S{1,60} no such file",
            r"(?:iscsiadm|rbd|rbd-nbd|mount\.\w{2,12}): not found",
        ),
        never=("oci runtime", "container_linux.go", "runc create"),
    ),
    Rule(
        cause="client-binary-missing",
        why="A program that mounts or makes filesystems is missing where it was looked for.",
        pattern=either(
            r"exec: \"(?:rbd|ceph|mount|umount|mkfs|mke2fs|fsck|iscsiadm|multipath|blkid|lsblk|cryptsetup|resize2fs|xfs_|nfs)"
            r"[\w.-]{0,40}\": executable file not found",
        ),
        never=("oci runtime", "container_linux.go", "runc create"),
    ),
    Rule(
        cause="client-binary-missing",
        why="A mount helper is missing on the node.",
        pattern=either(
            r"(?:mount\.(?:nfs4?|cifs|glusterfs|ceph|efs)|rbd-nbd|ceph-fuse|iscsiadm|nfs-common|nfs-utils|/usr/bin/rbd)\"?:? (?:command |executable |is )?(?:not found|no such file|not installed|must be installed|missing)",
        ),
    ),
)

BUSY = (
    Rule(
        cause="mount-busy",
        why="The device or the mount point is in use already.",
        pattern=either(
            r"already mounted (?:or|on|at) ",
            r"mount point busy",
            r"(?:target|device) is busy",
            r"device or resource busy",
            r"resource busy",
            r"(?:is )?apparently in use by the system",
            r"getdevicemountrefs check failed",
            r"still mounted (?:by|on|at)",
            r"device is still (?:in use|mounted|open)",
        ),
        never=("sandbox", "cgroup"),
    ),
    Rule(
        cause="mount-busy",
        why="An unmount did not succeed.",
        about="volume",
        pattern=either(
            r"u(?:n)?mount failed",
            r"failed to u(?:n)?mount",
            r"error (?:while )?u(?:n)?mounting",
        ),
        never=("list of registered", "deadline", "sandbox"),
    ),
    Rule(
        cause="mount-busy",
        why="Volumes of a pod that is gone are still mounted on the node.",
        likely=True,
        pattern=either(
            r"orphaned pod \S{1,80} found, but (?:error|volume|failed)",
        ),
    ),
    Rule(
        cause="mount-busy",
        why="The kubelet could not take the volume down.",
        likely=True,
        operation=("unmount", "unmapvolume", "unmapdevice"),
        says=("fail", "error"),
        never=("list of registered", "deadline", "failed to open volume data file", "vol_data.json"),
    ),
    Rule(
        cause="mount-busy",
        why="The mount program ended with status 255 and no output, which a busy device leads to; read the plugin's log.",
        likely=True,
        exit_status=(255,),
        pattern=either(
            r"mount failed: exit status 255\W{0,3}$",
        ),
    ),
)
