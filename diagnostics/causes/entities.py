"""Cuts the names out of a message: image, pool, volume, node, driver and so on, exactly as they are written.

A name is taken only where the words around it say what it is. A pattern's groups are named after the kinds; patterns are
tried in order, and the first name of a kind stays. All repeats are bounded, and a name holds only what can be printed.
"""

import re

_NAME = r"[A-Za-z0-9][\w.-]{0,252}"
_LABEL = r"[a-z0-9][a-z0-9-]{0,62}"
_UID = r"[0-9a-f][0-9a-f-]{7,35}"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-"
_DOTTED = r"[A-Za-z0-9][\w-]{0,62}\.[\w.-]{1,200}"
_PATH = rf"[.]?{_NAME}(?:/{_NAME}){{0,2}}"
"""pool/namespace/image, or less of it; Ceph's own pools begin with a dot (`.mgr`)."""
_BARE = r"(?!(?:already|in|is|was|has|with|to|from|name|id|and|or|failed|the|not)\b)"
"""Not one of the words that follow where a message leaves the name out."""


def _is(kind: str, what: str = _NAME) -> str:
    return rf"(?P<{kind}>{what})"


def _quoted(kind: str, what: str = r"[^\"'\s]{1,253}") -> str:
    return rf"[\"']{_is(kind, what)}[\"']"


def _in_namespace(kind: str) -> str:
    return rf"{_is('namespace', _LABEL)}/{_is(kind)}"


_VOLUME = (
    rf"spec\.Name: {_quoted('volume')}",
    rf"\bfor volume {_quoted('volume')}",
    rf"\bfor volume {_BARE}{_is('volume')}\b",
    rf"\battachment for {_is('volume')} failed",
    rf"given Volume(?: ?ID| ?name)?:? ?=?[\"']?{_BARE}{_is('volume')}[\"' ]",
    rf"\bvolume(?: ID)? {_quoted('volume')}",
    rf"unmounted volumes=\[{_is('volume')}",
    rf"volumeMount {_quoted('volume')}",
    rf"\bvolume {_is('volume', '(?:pvc|vol|csi-vol|pv)-[A-Za-z0-9_.-]{1,250}')}",
)
_NODE = (
    rf"\bCSINode {_is('node')} does not",
    rf"csinodes?(?:\.storage\.k8s\.io)? {_quoted('node')} not found",
    rf"\b(?:to|from|on|at|between) node:? {_quoted('node')}",
    rf"\bnode:? {_quoted('node')}",
    rf"system:node:{_is('node')}",
    rf"\b(?:attached|attach|published|publish) (?:to|at|on) (?:the )?node:? {_is('node')}",
    rf"\b(?:on|for) (?:the )?node {_BARE}{_is('node')}",
    rf"\bassigned {_LABEL}/{_NAME} to (?:node )?{_is('node')}",
    rf"\b(?:Warning|Normal) \w{{1,40}} [^\"']{{1,60}} kubelet, {_is('node')} ",
    rf"\{{kubelet {_is('node')}\}}",
    rf"\b[A-Z][a-z]{{2}} {{1,2}}\d{{1,2}} \d\d:\d\d:\d\d (?!localhost ){_is('node')} (?:kernel|kubelet|containerd|crio|dockerd|k3s|rke2)\b",
)
_DRIVER = (
    rf"\bdriver name {_is('driver')} not (?:found|registered)",
    rf"\bnot supported by driver {_is('driver')}",
    rf"does not contain (?:the )?driver {_is('driver')}",
    rf"external-attacher of {_is('driver')} CSI driver",
    rf"external.(?:provisioner|attacher|resizer|snapshotter) {_quoted('driver')}",
    rf"\bby resizer {_quoted('driver')}",
    rf"csidrivers?(?:\.storage\.k8s\.io)? {_quoted('driver')}",
    rf"external-(?:provisioner|attacher|resizer|snapshotter) {_is('driver', _DOTTED)} ",
    rf"CSI plugin (?:kubernetes\.io/csi/)?{_is('driver')}",
    rf"\bdriver {_quoted('driver', _DOTTED)}",
    rf"\bdriver {_is('driver', _DOTTED)} (?:is |was )?not\b",
    rf"/kubernetes\.io/csi/{_is('driver', _DOTTED)}/",
    rf"\bkubernetes\.io/csi/{_is('driver', _DOTTED)}\^",
    rf"/plugins/{_is('driver', _DOTTED)}/csi\.sock",
)
_OBJECT = (
    rf"\bin ConfigMap {_in_namespace('configmap')}",
    rf"\bget configMap {_in_namespace('configmap')}",
    rf"\bconfigmaps? {_quoted('configmap')}",
    rf"object \"{_is('namespace', _LABEL)}\"/\"{_is('configmap', '(?:kube-root|openshift-service)-ca[.]crt')}\"",
    rf"\bin Secret {_in_namespace('secret')}",
    rf"\b(?:get secret|SecretRef) {_in_namespace('secret')}",
    rf"\bsecrets? from \[\"{_is('namespace', _LABEL)}\"/\"{_is('secret')}\"",
    rf"\bsecret {_is('secret')} in (?:the )?namespace {_is('namespace', _LABEL)}",
    rf"\bsecrets? {_quoted('secret')}",
    rf"object \"{_is('namespace', _LABEL)}\"/\"{_is('object')}\" not registered",
    rf"non-existent (?:secret|config) key: {_is('key')}",
    rf"couldn't find key {_is('key')} in",
    rf"\bpersistentvolumeclaims? {_quoted('pvc')}",
    rf"\bPVC {_in_namespace('pvc')}",
    rf"\bclaim \"?{_in_namespace('pvc')}",
    rf"\bexpanding volume \"{_in_namespace('pvc')}\"",
    rf"\bStorageClass {_quoted('storageclass')}",
    rf"storageclass(?:es)?(?:\.storage\.k8s\.io)? {_quoted('storageclass')} not found",
    rf"\bin (?:the )?namespace \"?{_is('namespace', _LABEL)}\b",
)
_POD = (
    rf"\bpod=\"{_in_namespace('pod')}\"",
    rf"\bpod \"{_is('pod')}_{_is('namespace', _LABEL)}(?:\({_UID}\))?\"",
    rf"\bfor pod {_is('pod')}_{_is('namespace', _LABEL)}\({_UID}\)",
    rf"\(\"{_is('pod')}_{_is('namespace', _LABEL)}\({_UID}\)\"\)",
    # Kubelets up to 1.8 wrote name and namespace in either order, so only a namespace that is known by name tells which.
    rf"\bfor pod \"(?P<namespace>default|kube-system)\"/\"{_is('pod')}\"",
    rf"\bfor pod \"{_is('pod')}\"/\"(?P<namespace>default|kube-system)\"",
    rf"\battach or mount for pod \"{_is('namespace', _LABEL)}\"/\"{_is('pod')}\"",
    rf"\bnetwork for pod \"{_is('pod')}\"",
    rf"\bpod \"{_is('pod', f'(?!{_UUID})[A-Za-z0-9][A-Za-z0-9.-]{{0,252}}')}\" \(UID:",
    rf"\bfor pod \"{_is('pod')}\"(?!/)",
    rf"\b(?:objects )?for pod {_in_namespace('pod')}",
    rf"\badding pod {_is('namespace', _LABEL)}_{_is('pod', '[a-z0-9][a-z0-9.-]{0,252}')} to ",
    rf"\bassigned {_in_namespace('pod')} to ",
    rf"\b(?:Created|Deleted) pod: {_is('pod')}",
    rf"\balready used by pod\(s\) {_is('pod')}",
    rf"\bk8s_POD_{_is('pod', '[a-z0-9.-]{1,253}')}_{_is('namespace', _LABEL)}_{_UID}_\d",
    rf"(?:(?<![\w.-])|_){_is('pod', '[a-z0-9][a-z0-9.-]{0,252}')}_{_is('namespace', _LABEL)}_{_UID}_\d",
    rf": \[{_in_namespace('pod')}(?:/{_UID})?(?::[\w./-]{{1,250}})?\]",
)
_REFERENCE = (
    rf"Kind:\"PersistentVolumeClaim\", Namespace:\"{_is('namespace', _LABEL)}\", Name:\"{_is('pvc')}\"",
    rf"Kind:\"Pod\", Namespace:\"{_is('namespace', _LABEL)}\", Name:\"{_is('pod')}\"",
)
_REST = (
    rf"cluster ?ID:? ?[\"'(]{_is('clusterid')}",
    rf"configuration for cluster ID:? {_is('clusterid')}",
    r"(?:\[|\s)-m (?P<monitors>\S{1,1000}?)[\s\]]",
)
_IMAGE = (
    rf"\brbd image (?:spec )?[\"']?{_is('spec', _PATH)}[\"']? (?:is|has|not)",
    rf"\bon image:? {_is('spec', f'{_NAME}/{_PATH}')}",
    rf"\bimage {_is('spec', _PATH)} (?:is (?:still|locked|not primary|being)|has \d{{1,6}} snapshots)",
    rf"\brbd: image {_is('spec', _PATH)}: ",
    rf"failed to (?:lock|map|unlock|unmap) image {_is('spec', _PATH)}",
    rf"error opening (?:image )?(?!default |pool |image |the ){_is('spec', _PATH)}: \(",
    rf"\bimage [\"']?{_is('spec', _PATH)}[\"']?:? (?:not found|does not exist)",
    rf"\bimage not found: {_is('spec', _PATH)}(?=$|[\"'),\]}}])",
    rf"flatten (?:is in progress for image |(?:rbd )?image [\"']?)?{_is('spec', f'{_NAME}/{_PATH}|csi-[A-Za-z0-9-]{{1,100}}')}",
    rf"\b(?:un)?map {_is('spec', f'{_NAME}/{_PATH}')}",
    rf"\bfeature disable {_is('spec', f'{_NAME}/{_PATH}')}",
    rf"\battach volume {_is('spec', f'{_NAME}/{_PATH}')}",
    rf"\b(?:remove|delete|resize|create|clone|deleting|removing) (?:the )?(?:rbd )?image [\"']?{_is('spec', _PATH)}",
    rf"\bkubernetes\.io/rbd/(?:\[[0-9a-fA-F.:, \[\]]{{1,400}}\]|{_is('pool')}):{_is('image')}",
)
_CSI_IMAGE = (rf"(?<![\w/.-]){_is('spec', f'[.]?(?:{_NAME}/){{0,2}}csi-vol-[0-9a-f-]{{36}}')}\b",)
"""ceph-csi's own names; CephFS has subvolumes of the same form, so these are images only where the text speaks of rbd."""
_POOL = (
    rf"\bopening (?:default )?pool [\"']?{_is('pool')}",
    rf"\bpool \({_is('pool')}\)",
    rf"\bpool [\"']{_is('pool')}[\"']",
    rf"--pool[ =]{_is('pool')}",
    rf"\bin pool {_BARE}{_is('pool')}",
    rf"\bpool {_BARE}{_is('pool')} (?:does not exist|not found)",
)
_CEPH_WORDS = ("rbd", "ceph", "csi-vol", "rados", "pool", "still being used")


def _compiled(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE | re.ASCII) for pattern in patterns)


_PATTERNS = _compiled(*_VOLUME, *_NODE, *_DRIVER, *_POD, *_OBJECT, *_REFERENCE, *_REST)
_IMAGES = _compiled(*_IMAGE)
_CSI_IMAGES = _compiled(*_CSI_IMAGE)
_POOLS = _compiled(*_POOL)


def names(text: str, message: str) -> dict[str, str]:
    """The names in a readable text, by kind. Each is a piece of `message` itself, which a test demands."""
    found = _cut(_PATTERNS, text)
    if found.get("object") == found.get("configmap"):
        found.pop("object", None)
    lower = text.lower()
    if any(word in lower for word in _CEPH_WORDS):
        found |= _ceph(text, _IMAGES + _CSI_IMAGES if "rbd" in lower else _IMAGES)
    return {kind: name for kind, name in found.items() if name and name in message and name.isprintable()}


def _ceph(text: str, images: tuple[re.Pattern[str], ...]) -> dict[str, str]:
    """Pool, RADOS namespace and image, from `image`, `pool/image` or `pool/namespace/image`."""
    for pattern in images:
        if match := pattern.search(text):
            return _parts(match)
    return _cut(_POOLS, text)


def _parts(match: re.Match[str]) -> dict[str, str]:
    named = _named(match)
    if spec := named.pop("spec", ""):
        *place, image = spec.split("/")
        named = {"image": image} | dict(zip(("pool", "namespace"), place, strict=False))
    return named


def _cut(patterns: tuple[re.Pattern[str], ...], text: str) -> dict[str, str]:
    """What each pattern's first match names; a kind that an earlier pattern named is not named again."""
    found: dict[str, str] = {}
    for pattern in patterns:
        if not found.keys() >= pattern.groupindex.keys() and (match := pattern.search(text)):
            found = _named(match) | found
    return found


def _named(match: re.Match[str]) -> dict[str, str]:
    """The groups that took part. Punctuation behind a bare name is the sentence's; behind a quoted one it is the name's."""
    found = {}
    for kind, name in match.groupdict().items():
        if name:
            quoted = match.string[match.end(kind) : match.end(kind) + 1] in {'"', "'"}
            found[kind] = name if quoted else name.rstrip(".,:;")
    return found
