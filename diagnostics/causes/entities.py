"""Cuts the names out of a message: image, pool, volume, node, driver and so on, exactly as they are written.

A name is taken only where the words around it say what it is. Each kind has its own patterns, tried in order; the first
that matches wins. All repeats are bounded.
"""

import re
from collections.abc import Mapping

_NAME = r"[A-Za-z0-9][\w.-]{0,252}"
_PATH = rf"{_NAME}(?:/{_NAME}){{0,2}}"
_QUOTED = r"[\"']([^\"'\s]{1,253})[\"']"
_SPEC = rf"({_NAME})/({_NAME})(?:/({_NAME}))?"

_PATTERNS: Mapping[str, tuple[re.Pattern[str], ...]] = {
    kind: tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
    for kind, patterns in {
        "volume": (
            rf"\(spec\.Name: {_QUOTED}\)",
            rf"\bfor volume {_QUOTED}",
            rf"\bfor volume ({_NAME})\b",
            rf"\battachment for ({_NAME}) failed",
            rf"given Volume(?: ?ID| ?name)?:? ?=?[\"']?({_NAME}) ",
            rf"\bvolume(?: ID)? {_QUOTED}",
            rf"unmounted volumes=\[({_NAME})",
            rf"unattached/unmounted volumes=\[({_NAME})",
            rf"volumeMount {_QUOTED}",
            r"\bvolume ((?:pvc|vol|csi-vol|pv)-[\w.-]{1,250})",
        ),
        "node": (
            rf"\bCSINode ({_NAME}) does not",
            rf"csinodes?(?:\.storage\.k8s\.io)? {_QUOTED} not found",
            rf"\b(?:to|from|on|at|between) node:? {_QUOTED}",
            rf"\bnode {_QUOTED}",
            rf"system:node:({_NAME})",
            rf"\b(?:attached|attach|published) (?:to|at|on) node:? ({_NAME})",
            rf"\bon node ({_NAME})",
        ),
        "driver": (
            rf"\bdriver name ({_NAME}) not found",
            rf"\bnot supported by driver ({_NAME})",
            rf"does not contain (?:the )?driver ({_NAME})",
            rf"external-attacher of ({_NAME}) CSI driver",
            rf"CSI plugin (?:kubernetes\.io/csi/)?({_NAME})",
            rf"\bdriver {_QUOTED}",
            rf"/kubernetes\.io/csi/({_NAME}\.[\w.-]{{1,200}})/",
            rf"/plugins/({_NAME}\.[\w.-]{{1,200}})/csi\.sock",
        ),
        "configmap": (
            rf"\bconfigmaps? {_QUOTED}",
            rf"\bin ConfigMap (?:{_NAME}/)({_NAME})",
            r"object \"[^\"\s]{1,253}\"/\"(kube-root-ca\.crt|openshift-service-ca\.crt)\"",
        ),
        "secret": (
            rf"\bsecrets? {_QUOTED}",
            rf"\bin Secret (?:{_NAME}/)({_NAME})",
            rf"find the secret ({_NAME}) in the namespace",
        ),
        "key": (
            rf"non-existent (?:secret|config) key: ({_NAME})",
            rf"couldn't find key ({_NAME}) in",
        ),
        "pvc": (
            rf"\bpersistentvolumeclaims? {_QUOTED}",
            rf"\bPVC (?:{_NAME}/)({_NAME})",
        ),
        "pod": (
            rf"\b(?:network )?for pod \"({_NAME})\"(?!/)",
            r"\bfor pod \"?([a-z0-9.-]{1,253})_[a-z0-9.-]{1,63}\([0-9a-f-]{8,36}\)",
            rf"\bobjects for pod [a-z0-9-]{{1,63}}/({_NAME})",
        ),
        "object": (r"object \"[^\"\s]{1,253}\"/\"([^\"\s]{1,253})\" not registered",),
        "storageclass": (rf"\bStorageClass {_QUOTED}", rf"storageclass(?:\.storage\.k8s\.io)? {_QUOTED} not found"),
        "clusterid": (
            rf"cluster ?ID:? \(({_NAME})\)",
            rf"configuration for cluster ID:? \(?({_NAME})",
        ),
        "monitors": (r"(?:\[|\s)-m (\S{1,1000}?)[\s\]]",),
    }.items()
}

# Namespaces only where the text calls them so, by its own grammar.
_NAMESPACE = re.compile(
    r"object \"([^\"\s]{1,253})\"/\"[^\"\s]{1,253}\" not registered|\bobjects for pod ([a-z0-9-]{1,63})/"
    r"|in the namespace ([a-z0-9-]{1,63})\b|find key \S{1,253} in (?:ConfigMap|Secret) ([a-z0-9-]{1,63})/"
)

_IMAGE = (
    rf"\brbd image (?:spec )?[\"']?({_PATH})[\"']? (?:is|has|not)",
    rf"\bimage ({_PATH}) (?:is (?:still|locked|not primary|being)|has \d{{1,6}} snapshots)",
    rf"failed to (?:lock|map|unlock|unmap) image ({_PATH})",
    rf"error opening image ({_PATH})",
    rf"\bimage [\"']?({_PATH})[\"']?:? (?:not found|does not exist)",
    rf"flatten (?:is in progress for image |image [\"']?)?({_NAME}/{_PATH}|csi-[\w-]{{1,100}})",
    rf"\bmap ({_NAME}/{_PATH})",
    rf"\bfeature disable ({_NAME}/{_PATH})",
    rf"\battach volume ({_NAME}/{_PATH})",
)
_IMAGES = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _IMAGE)
_POOL = re.compile(
    rf"\bopening (?:default )?pool [\"']?({_NAME})|\bpool \(({_NAME})\)|\bpool [\"']({_NAME})[\"']|--pool[ =]({_NAME})",
    re.IGNORECASE,
)
_CEPH_WORDS = ("rbd", "ceph", "csi-vol", "rados", "pool", "still being used")


def names(text: str, message: str) -> dict[str, str]:
    """The names in a readable text, by kind. Each is a piece of `message` itself, which a test demands."""
    found = {kind: name for kind, patterns in _PATTERNS.items() if (name := _cut(patterns, text))}
    if found.get("object") == found.get("configmap"):
        found.pop("object", None)
    if namespace := _cut((_NAMESPACE,), text):
        found["namespace"] = namespace
    lower = text.lower()
    if any(word in lower for word in _CEPH_WORDS):
        found |= _ceph(text)
    return {kind: name for kind, name in found.items() if name in message}


def _ceph(text: str) -> dict[str, str]:
    """Pool, RADOS namespace and image, from `image`, `pool/image` or `pool/namespace/image`."""
    if spec := _cut(_IMAGES, text):
        pool, *namespace, image = spec.split("/") if "/" in spec else ("", spec)
        named = {"pool": pool, "image": image, "namespace": "".join(namespace)}
        return {kind: name for kind, name in named.items() if name}
    pool = _cut((_POOL,), text)
    return {"pool": pool} if pool else {}


def _cut(patterns: tuple[re.Pattern[str], ...], text: str) -> str:
    for pattern in patterns:
        if match := pattern.search(text):
            return next(group for group in match.groups() if group).rstrip(".,:;")
    return ""
