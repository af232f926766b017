"""Causes told by the CSI machinery itself, whatever the storage behind it: registration, calls in flight, growth, time-outs.

The text of a driver comes from many hands; these rules must only use what the kubelet, the sidecars or the CSI
specification prescribe, or words that several drivers share.
"""

from diagnostics.causes.model import Rule, either

REGISTRATION = (
    Rule(
        cause="csi-driver-not-registered",
        why="The kubelet does not know this driver on the node now; an older error of its plugin (such as a denied"
        " blocklist) may be hidden behind this.",
        likely=True,
        says=("not found in the list of registered csi drivers", "csi driver is not registered"),
    ),
    Rule(
        cause="csi-driver-not-registered",
        why="The cluster has no CSIDriver object for this driver, so the kubelet does not know what it can do.",
        says=("no csidriver object",),
    ),
    Rule(
        cause="csi-driver-not-registered",
        why="The node's CSINode object does not list the driver, or does not exist, so its plugin is not registered there.",
        pattern=either(
            r"csinode (?:\S{1,253} )?does not contain (?:the )?driver",
            r"csinodes?(?:\.storage\.k8s\.io)? \"?[^\" ]{1,253}\"? not found",
            r"error getting csinode",
            r"has no nodeid annotation",
            r"cannot find nodeid for driver",
            r"no csi ?node(?: ?info)? for",
            r"no topology keys? found on csinode",
            r"driver \S{1,253} (?:is )?not (?:found|registered|installed) on (?:the )?node",
        ),
    ),
    Rule(
        cause="csi-driver-not-registered",
        why="The driver is not known where it is asked for, so its plugin is not registered there.",
        pattern=either(r"\bdriver name \S{1,253} (?:is |was )?not (?:found|registered|installed)\b"),
        also=("csi",),
    ),
    Rule(
        cause="csi-driver-not-registered",
        why="Nothing on the node, or in the cluster, answers for this kind of volume.",
        likely=True,
        pattern=either(
            r"no (?:csi|volume) plugin (?:matched|found)",
            r"failed to find plugin by spec",
            r"\.find\w{0,20}pluginbyspec failed",
            r"csidrivers?(?:\.storage\.k8s\.io)? \"[^\"]{1,253}\" not found",
        ),
    ),
    Rule(
        cause="csi-driver-not-registered",
        why="The driver's socket does not answer on the node, so its node plugin is not running there.",
        likely=True,
        about="volume",
        pattern=either(r"dial unix(?: |:/)\S{1,300}\.sock\S{0,4} (?:connect: )?(?:no such|connection ref)"),
        also=("csi", "plugin"),
        never=("secrets store", "secrets-store", "cni"),
    ),
)

EXPANSION = (
    Rule(
        cause="volume-expand-failed",
        why="Growing the volume or its filesystem failed.",
        about="growth",
        pattern=either(
            r"fail",
            r"error",
            r"unable",
            r"could not",
            r"cannot",
            r"not support",
            r"forbidden",
            r"denied",
            r"exit status",
        ),
    ),
    Rule(
        cause="volume-expand-failed",
        why="Growing the volume or its filesystem failed.",
        pattern=either(
            r"failed while expanding volume",
            r"expander\.nodeexpand",
            r"resize of device",
            r"error when resizing filesystem",
            r"(?:fail\w{0,3}|error|unable|could not|cannot|not) (?:to )?(?:be )?(?:resiz|expand)\w{0,4} (?:the )?(?:volume|pvc|filesystem|fs|disk|device|pv|claim)",
            r"resize (?:volume|filesystem) failed",
            r"only dynamically provisioned pvc can be resized",
            r"online (?:expansion|resiz\w{1,3}) is not (?:supported|allowed)",
            r"does not support (?:volume|node) expansion",
            r"(?:resize2fs|xfs_growfs)[^;]{0,200}(?:fail|error|denied|not found|unable|can't|cannot|couldn't|bad |is not a )",
            r"(?:fail|error)[^;]{0,80}(?:resize2fs|xfs_growfs)",
        ),
    ),
)

CALLS = (
    Rule(
        cause="csi-operation-in-flight",
        why="The driver still works on an earlier call for this volume; find the first call that did not return.",
        pattern=either(
            r"operation with (?:the )?given (?:volume|snapshot|name|target|group)[^,;]{0,300}(?:already exist|already in progress|is in progress)",
            r"there is (?:already an(?:other)?|another) \w{0,20} ?operation (?:pending|in progress|for|ongoing)",
            r"(?:request|operation) for volume \S{1,200} (?:is )?already in progress",
            r"operation (?:is )?already in progress for volume",
            r"volume \S{1,200} is already being (?:processed|staged|published|attached|created)",
            r"volume operation \S{0,80} ?already exists",
            r"operation with that name is already executing",
            r"operation[^;]{0,120} (?:is |has )?already in.?flight",
            r"operation (?:is )?pending for (?:the )?volume",
        ),
    ),
    Rule(
        cause="csi-operation-in-flight",
        why="The driver aborted the call because it still works on the volume.",
        likely=True,
        code="aborted",
        pattern=either(
            r"already exists",
            r"in progress",
            r"locked by another",
            r"another operation",
            r"pending",
            r"in.?flight",
            r"acquire\w{0,3} (?:\w{1,20} )?lock",
            r"lock is held",
            r"(?:volume )?\S{1,200} is (?:attaching|detaching|being (?:attached|detached|created|deleted))",
        ),
        never=("flatten",),
    ),
)

TIMEOUTS = (
    Rule(
        cause="csi-rpc-timeout",
        why="A call to the CSI driver ran into its deadline; the plugin's own log tells where it hangs.",
        about="volume",
        code="deadlineexceeded",
    ),
    Rule(
        cause="csi-rpc-timeout",
        why="A call for the volume ran into its deadline.",
        likely=True,
        about="volume",
        says=("context deadline exceeded", "context canceled", "code = canceled"),
        never=("unable to attach or mount volumes", "unable to mount volumes", "sandbox"),
    ),
    Rule(
        cause="csi-rpc-timeout",
        why="The CSI driver's process went away in the middle of the call.",
        likely=True,
        about="volume",
        code="unavailable",
        says=("transport is closing", "error reading from server: eof", "connection closed", "connection reset"),
    ),
)
