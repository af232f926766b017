"""Why a pod's sandbox gets no network: CNI plugins, their daemons, and the API server behind them.

Addresses first (a full range is reported through every plugin's error), then the API server, then the plugin itself.
A plugin's error that says nothing known must stay unknown: it may be the pod's own fault.
"""

from diagnostics.causes.model import Rule, either

_API = r"(?:/api/|/apis/|:443\b|:6443\b|:8443\b|kubernetes\.default)"
_REFUSED = (
    "i/o timeout",
    "connection refused",
    "no route to host",
    "network is unreachable",
    "connection reset",
    "tls handshake",
    "unexpected eof",
    "deadline exceeded",
    "service unavailable",
    "timed out",
    "timeout",
)
_LOOPBACK = r"(?:127\.0\.0\.1|localhost|\[::1\])"

NETWORK = (
    Rule(
        cause="cni-ip-exhausted",
        why="The network plugin has no free address on this node or in this range.",
        about="sandbox",
        pattern=either(
            r"(?<!has )\b(?:no|not enough|insufficient|out of|run out of)(?: more| free| available| usable| unused| sufficient| allocatable){0,2} (?:ipv?[46]? ?)?(?:ips?|address(?:es)?|ip address(?:es)?|affine blocks)\b",
            r"(?:ranges?|cidrs?|pools?|subnets?|ipam|prefix(?:es)?|ips|addresses)\b[^;:]{0,40} (?:is|are|has been|have been) (?:full|exhausted|depleted)",
            r"(?:ip|address|ipam|pool|subnet|cidr)\w{0,10}(?: \w{1,10})? ?exhaust",
            r"(?:assigned|allocated)(?: only)? 0\b",
        ),
    ),
    Rule(
        cause="cni-ip-exhausted",
        why="The network plugin has no free address on this node or in this range.",
        says=(
            "no ip addresses available in range set",
            "failed to assign an ip address to container",
            "assigned 0 out of 1 requested ipv",
            "could not allocate ip in range",
            "postipamfailure range is full",
            "insufficientfreeaddresses",
            "insufficientcidrblocks",
            "noavailableaddress",
            "ipnotenough",
        ),
    ),
    Rule(
        cause="cni-ip-exhausted",
        why="The network plugin's daemon has no free address in this range.",
        pattern=either(
            r"\bno (?:free |more |available )?ips?(?: address(?:es)?)? (?:is |are )?(?:available|left)"
            r" (?:in|on|for) (?:the |this )?(?:prefix|subnet|range|pool|cidr|network|node|eni)",
        ),
    ),
    Rule(
        cause="cni-apiserver-refused",
        why="The API server does not accept the network plugin: its token or certificate has expired or is wrong.",
        about="sandbox",
        pattern=either(
            r"(?:[:=\"] ?|is |error=)unauthorized",
            r"x509: certificate",
            r"provide credentials",
            r"cannot (?:get|list|patch|update|create) resource",
            r"is forbidden: user",
            r"invalid bearer token",
            r"token (?:has|is) expired",
        ),
        never=("exceeded quota", "registry", "no relationship found"),
    ),
    Rule(
        cause="cni-apiserver-refused",
        why="The network plugin does not reach the API server from this node.",
        about="sandbox",
        pattern=either(rf"https?://\S{{0,300}}{_API}"),
        also=_REFUSED,
        never=("dial unix",),
    ),
    Rule(
        cause="cni-apiserver-refused",
        why="The network plugin could not ask the API server about the pod.",
        likely=True,
        about="sandbox",
        says=(
            "error getting clusterinformation",
            "error getting pod: ",
            "failed to query the pod",
            "lookup kubernetes",
            "etcd cluster is unavailable or misconfigured",
            "the server was unable to return a response",
            "the server is currently unable to handle the request",
            "etcdserver: request timed out",
        ),
    ),
    Rule(
        cause="cni-apiserver-refused",
        why="The network plugin could not read the pod or the node from the API server: its connection was refused.",
        likely=True,
        about="sandbox",
        pattern=either(
            r"failed to (?:get|fetch|read|query|list|patch|update) (?:the )?(?:pod|node)(?:'s)? "
            r"(?:annotations?|info(?:rmation)?|ips?|cidrs?|networks?|spec|object|labels?)\b",
        ),
        also=("connection refused", "connection reset", "no route to host", "network is unreachable"),
        never=("dial unix", "127.0.0.1", "localhost", "[::1]"),
    ),
    Rule(
        cause="cni-not-ready",
        why="The network plugin's daemon has not left what the plugin needs on this node: it is not running.",
        says=(
            "/run/flannel/subnet.env",
            "loadflannelsubnetenv failed",
            "/var/lib/calico/nodename",
            "check that the calico/node container is running",
            "unable to connect to cilium",
            "is cilium running",
            "is the agent running?",
            "127.0.0.1:50051",
            "127.0.0.1:6784",
            "addnetwork grpc call",
            "delnetwork grpc call",
        ),
    ),
    Rule(
        cause="cni-not-ready",
        why="The network plugin's daemon on this node does not answer.",
        about="sandbox",
        pattern=either(
            r"dial unix(?: |:/)\S{1,250} connect: (?:connection refused|no such file)",
            rf"dial tcp {_LOOPBACK}:\d{{1,5}}: (?:(?:connect|getsockopt): connection refused|i/o timeout)",
        ),
        never=("containerd.sock", "crio.sock", "dockershim.sock", "docker.sock", "cri-dockerd.sock"),
    ),
    Rule(
        cause="cni-not-ready",
        why="The node has no working network plugin: not installed, not configured or not initialised.",
        says=(
            "cni plugin not initialized",
            "cni config uninitialized",
            "network plugin is not ready",
            "has your network provider started",
            "failed to load cni config",
            "netplugin failed",
            "panicked during",
            "networkpluginnotready",
            "network plugin not ready",
            "networkready=false",
            "failed to find network info for sandbox",
            "does not have netconfig",
            "lack of podcidr",
            "no podcidr for node",
        ),
    ),
    Rule(
        cause="cni-not-ready",
        why="The node has no configuration of a network plugin, so none is installed there, or its daemon has not written it.",
        pattern=either(
            r"\bno (?:valid )?(?:cni )?(?:networks?|network config\w{0,10}|configuration files?)(?: was)?(?: found)? in /etc"
        ),
    ),
    Rule(
        cause="cni-not-ready",
        why="The network plugin's daemon answered with an error of its own; its log tells more.",
        likely=True,
        about="sandbox",
        pattern=either(r"\[(?:put|post|get|delete|patch) /\S{1,100}\]\[[45]\d\d\]"),
    ),
    Rule(
        cause="cni-not-ready",
        why="The network plugin's program is missing on the node.",
        about="sandbox",
        pattern=either(
            r"could not find \"[^\"]{1,80}\" plugin",
            r"(?:failed to|could not|cannot) find (?:the )?plugin \"?[^\"]{1,80}\"? in path",
            r"/opt/cni/bin/\S{1,80} (?:no such file|permission denied|exec format|text file busy|input/output)",
            r"exec: \"?\S{0,80}cni\S{0,80} (?:no such file|executable)",
        ),
    ),
    Rule(
        cause="cni-not-ready",
        why="The plugin found the node's bridge with another network's address, left by an earlier network plugin.",
        likely=True,
        about="sandbox",
        says=("already has an ip address different from",),
    ),
    Rule(
        cause="cni-not-ready",
        why="The network plugin failed or crashed while it set up the pod; its daemon's log tells more.",
        likely=True,
        about="sandbox",
        says=(
            "networkplugin cni",
            "network for sandbox",
            "plugin type=",
            "cni network",
            "cni request failed",
            "network for pod",
            "pod to network",
            "to cni network",
        ),
        also=(
            "connection refused",
            "signal: ",
            "unexpected end of json",
            "no such file or directory",
            "context deadline exceeded",
            "timed out",
            "request failed with status",
            "timeout exceeded",
            ": eof",
        ),
        never=("is reserved for",),
    ),
)
