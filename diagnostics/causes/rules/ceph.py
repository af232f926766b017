"""Causes that Ceph names in words: the in-tree rbd plugin, ceph-csi 1 to 3, rook's old agent, the rbd command, the kernel.

Ceph prints several lines for one failure, and harmless ones among them (a missing keyring, "sysfs write failed"): what
names the fault stands before what only goes with it. A bare errno is judged in `ceph_errno`, after all words.
"""

from diagnostics.causes.model import Rule, either

CEPH_WORDS = ("rbd", "rados", "ceph", "csi-vol", "mon_host", "monclient")

LOCKS = (
    Rule(
        cause="rbd-image-locked",
        why="The plugin saw another locker on the image; older kubelets say so of their own lock and of a wrong key too.",
        likely=True,
        says=(
            "is locked by other nodes",
            "is locked by another node",
        ),
    ),
    Rule(
        cause="rbd-image-locked",
        why="The rbd command was refused the image's lock, because somebody else holds it.",
        pattern=either(
            r"unable to get exclusive lock",
            r"lock is already held by someone else",
            r"\brbd: locking failed",
            r"\block add [^;:]{1,300} failed",
            r"image is (?:already )?locked by",
        ),
    ),
    Rule(
        cause="rbd-image-locked",
        why="Taking the lock failed, and the plugin guesses that another node holds it: a wrong key, user or monitor"
        " address gives the same text.",
        likely=True,
        says=("maybe locked by other nodes", "failed to lock image"),
    ),
    Rule(
        cause="rbd-lock-takeover-denied",
        why="The client found the old owner dead and was not allowed to blocklist it (errno 13).",
        pattern=either(
            r"(?:failed|unable) to b(?:lock|lack)list [^;:]{1,100}: -(?:13|1)\b",
            r"(?:failed|unable) to b(?:lock|lack)list [^;]{0,200}(?:permission denied|operation not permitted)",
            r"osd b(?:lock|lack)list\b[^;]{0,300}access denied",
            r"(?:failed|unable) to (?:acquire|break|get)[^:]{0,40} lock: (?:-13\b|\(13\))",
            r"(?:releasing|removing|breaking) (?:the )?lock failed: \((?:13|1)\)",
        ),
    ),
    Rule(
        cause="rbd-client-blocklisted",
        why="Ceph refuses this client because it is on the blocklist (errno 108).",
        pattern=either(
            r"\(108\) cannot send",
            r"exit status 108\b",
            r"ret=-108\b",
            r"cannot send after transport endpoint shutdown",
            r"mount error 108\b",
            r"(?:result|error|watch|lock): ?-108\b",
            r"result -108\b",
            r"\beblocklisted\b",
        ),
    ),
    Rule(
        cause="rbd-client-blocklisted",
        why="The client, or its session, is said to be on the blocklist.",
        likely=True,
        pattern=either(
            r"evicting \(and b(?:lock|lack)listing\)",
            r"\(b(?:lock|lack)listed\)",
            r"(?:client|we|session|node|instance|mount|kernel)\S{0,60} (?:is |was |has been |are |were |got |been )?b(?:lock|lack)listed",
        ),
        never=("not blocklisted", "not blacklisted", "no ip is"),
    ),
    Rule(
        cause="rbd-mirror-not-primary",
        why="The image is mirrored, and its primary is elsewhere.",
        says=(
            "is not primary",
            "non-primary",
            "nonprimary",
            "is not the primary",
            "image is mirror secondary",
            "is a mirror secondary",
            "secondary image",
            "is demoted",
        ),
        also=(*CEPH_WORDS, "image", "mirror"),
        never=("mongo", "postgres", "mysql", "not primary and slaveok"),
    ),
    Rule(
        cause="rbd-image-in-use",
        why="A client watches the image: a node may still have it mapped, or a mirror daemon watches it.",
        says=("is still being used", "image has watchers", "still has watchers", "watchers - not removing"),
        never=("volume attachment",),
    ),
    Rule(
        cause="rbd-snapshot-pressure",
        why="The image is being flattened, or must be before it can be used.",
        says=(
            "flatten in progress",
            "flatten is in progress",
            "flattening is in progress",
            "flattening in progress",
            "task add flatten",
            "failed to flatten",
            "pending flatten",
            "flatten pending",
        ),
        never=("command succeeded",),
    ),
    Rule(
        cause="rbd-snapshot-pressure",
        why="The image has as many snapshots, or as deep a chain of clones, as is allowed.",
        pattern=either(
            r"image \S{1,300} has \d{1,6} snapshots",
            r"snapshots count \d{1,6} on image",
            r"maximum number of snapshots",
            r"maxsnapshotsonimage",
            r"clone depth \S{0,20} ?(?:limit|reached|exceed)",
            r"reached configured (?:hard|soft) limit",
            r"max snapshots? (?:limit )?reached",
        ),
    ),
)

IMAGE = (
    Rule(
        cause="rbd-feature-unsupported",
        why="The image's features do not fit the kernel or the mounter that is to map it, or do not exist.",
        pattern=either(
            r"feature set mismatch",
            r"image uses unsupported features",
            r"features? (?:\S{1,60} )?(?:is |are )?unsupported by the kernel",
            r"does not support required features",
            r"(?:invalid|unsupported|unknown) (?:image )?feature",
            r"(?:missing|invalid|unsupported)[^;:]{0,60} image ?features?\b",
            r"feature \S{1,60} requires",
            r"requires feature",
            r"required image features",
            r"mismatching feature set",
        ),
        also=(*CEPH_WORDS, "image", "rpc error", "kernel"),
        never=("superblock", "xfs", "ext4", "feature gate"),
    ),
    Rule(
        cause="kernel-module-missing",
        why="The node's kernel does not have, or cannot load, the module that this mount needs.",
        says=(
            "modprobe",
            "modinfo: ",
            "kernel module",
            "could not open moddep file",
            "can't change directory to '/lib/modules'",
            "could not insert module",
            "could not insert 'rbd'",
            "kmod_module_insert",
            "driver tcp is not loaded",
            "kmod error",
        ),
        also=(
            *("fail", "error", "fatal", "not found", "no such", "exit status", "unable", "not loaded"),
            *("cannot", "could not", "can't"),
        ),
        never=("iptables", "ip_tables", "xt_", "br_netfilter", "overlay", "ipvs", "command succeeded", "nvidia"),
    ),
    Rule(
        cause="kernel-module-missing",
        why="The kernel's own folder of the rbd or nbd module is not there, so the module is not loaded on this node.",
        pattern=either(
            r"/sys/(?:bus/rbd/(?:supported_features|add|remove)\w{0,20}|module/(?:rbd|nbd|ceph|libceph)\b\S{0,60})\W{1,4}no such file",
        ),
    ),
    Rule(
        cause="kernel-module-missing",
        why="The node's kernel cannot mount Ceph's filesystem.",
        says=(
            "ceph filesystem not supported by the system",
            "unknown filesystem type 'ceph'",
            'unknown filesystem type "ceph"',
            "mount error 19 = no such device",
        ),
    ),
    Rule(
        cause="host-path-invalid",
        why="The node plugin does not see the host's /dev, so the mapped device is not there for it.",
        says=("is host /dev mounted", "' is not a block device"),
        also=CEPH_WORDS,
    ),
    Rule(
        cause="rbd-map-timeout",
        why="The kernel was given monitor addresses that it cannot use: a msgr2 port without a fitting ms_mode.",
        says=(
            "ms_mode mismatch",
            "failed to get mon address",
            "missing mon address",
            "no usable mon address",
            "unable to parse mon",
        ),
        also=CEPH_WORDS,
    ),
    Rule(
        cause="rbd-map-timeout",
        why="The node's kernel does not know ms_mode, so it cannot speak to monitors on their msgr2 port.",
        likely=True,
        pattern=either(
            r"(?:bad|unknown|invalid|unrecognized)[^;]{0,40}\bms_mode",
            r"\bms_mode\S{0,40} [^;]{0,40}(?:invalid|unknown)",
        ),
    ),
)
