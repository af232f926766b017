"""The difference of two pod templates, a line each, without any value that may be a secret. Pure.

A value is shown only where it is known to be harmless (`_SHOWN`). Of all else (the values of environment variables,
words of commands, annotations, headers, a volume driver's own options) it is only said that it changed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diagnostics.facts.resources.redaction import redacted

MOST_LINES = 40
_LONGEST = 120  # characters of one value or one name
HIDDEN = "(value not shown)"
_ABSENT = object()
Path = tuple[str, ...]

# The field by which the items of a list are told apart, as strategic merge patches do:
# https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.31/ (patch merge keys)
_KEYS = {"volumeMounts": "mountPath", "volumeDevices": "devicePath", "ports": "containerPort", "hostAliases": "ip"}
_CONTAINERS = {"containers": "container", "initContainers": "init container", "ephemeralContainers": "debug container"}
_WORDS = ("command", "args")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")

# Where values are shown: patterns of paths below the pod's spec, `*` for any one name and `**` for all that follow.
_OF_A_CONTAINER = (
    "image", "imagePullPolicy", "workingDir", "resources/**", "ports/**", "volumeMounts/**", "volumeDevices/**",
    "securityContext/**", "terminationMessagePolicy", "terminationMessagePath", "restartPolicy", "stdin", "tty",
    "env/*/valueFrom/secretKeyRef/*", "env/*/valueFrom/configMapKeyRef/*", "env/*/valueFrom/fieldRef/*",
    "env/*/valueFrom/resourceFieldRef/*", "envFrom/**",
    *(f"{probe}/{field}" for probe in _PROBES for field in (
        "initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold",
        "terminationGracePeriodSeconds", "httpGet/path", "httpGet/port", "httpGet/scheme", "tcpSocket/port", "grpc/port",
    )),
)  # fmt: skip
_OF_A_VOLUME = (
    "configMap/**", "secret/**", "persistentVolumeClaim/*", "emptyDir/*", "hostPath/*", "projected/**",
    "downwardAPI/**", "nfs/*", "csi/driver", "csi/readOnly", "csi/fsType", "rbd/image", "rbd/pool", "rbd/readOnly",
    *(f"ephemeral/volumeClaimTemplate/spec/{field}" for field in (
        "accessModes", "volumeMode", "storageClassName", "volumeName", "volumeAttributesClassName", "resources/requests/*",
        "resources/limits/*", "dataSource/kind", "dataSource/name", "dataSourceRef/kind", "dataSourceRef/name",
    )),
)  # fmt: skip
_OF_A_POD = (
    "restartPolicy", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "dnsPolicy", "nodeSelector/**",
    "serviceAccountName", "serviceAccount", "automountServiceAccountToken", "nodeName", "hostNetwork", "hostPID",
    "hostIPC", "shareProcessNamespace", "securityContext/**", "imagePullSecrets/**", "hostname", "subdomain",
    "affinity/**", "schedulerName", "tolerations/**", "hostAliases/**", "priorityClassName", "priority",
    "preemptionPolicy", "runtimeClassName", "enableServiceLinks", "topologySpreadConstraints/**", "readinessGates/**",
)  # fmt: skip
_SHOWN = tuple(
    tuple(pattern.split("/")) for pattern in (
        *(f"spec/{kind}/*/{field}" for kind in _CONTAINERS for field in _OF_A_CONTAINER),
        *(f"spec/volumes/*/{field}" for field in _OF_A_VOLUME),
        *(f"spec/{field}" for field in _OF_A_POD),
        "metadata/labels/*",
    )
)  # fmt: skip
# An option's name may be shown, for it is a program's own word; what it is set to may not (mysql takes `-pPASSWORD`).
_OPTION = re.compile(r"(--[A-Za-z][A-Za-z0-9_.-]{0,60}|-[A-Za-z])(?:[= ].*)?", re.DOTALL)


def lines(before: Mapping[str, Any], after: Mapping[str, Any], most: int = MOST_LINES) -> tuple[str, ...]:
    """What changes from one template to the other; past `most` lines it says how many more there are."""
    found = list(_differ((), dict(before), dict(after)))
    rest = len(found) - most
    return (*found[:most], f"and {rest} more lines") if rest > 0 else tuple(found)


def _differ(path: Path, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if path and path[-1] in _WORDS and path[1:2] and path[1] in _CONTAINERS:
        yield f"{_place(path)}: {_words(before, after)}"
        return
    if _is_item(path) and (before is _ABSENT or after is _ABSENT):
        there = after if before is _ABSENT else before
        yield f"{_place(path)}: {'added' if before is _ABSENT else 'removed'}{_in_short(path, there)}"
        return
    was, will = _fields(path, before), _fields(path, after)
    if was is None and will is None:
        yield f"{_place(path)}: {_change(path, before, after)}"
        return
    for name in sorted({*(was or {}), *(will or {})}):
        yield from _differ((*path, name), (was or {}).get(name, _ABSENT), (will or {}).get(name, _ABSENT))


def _is_item(path: Path) -> bool:
    """Whether a path names one of a list's things that are told of as a whole when they come or go."""
    return (len(path) == 3 and path[1] in (*_CONTAINERS, "volumes")) or (
        len(path) == 5 and path[3] in ("env", "volumeMounts")
    )


def _fields(path: Path, value: Any) -> Mapping[str, Any] | None:
    """What a value is made of, by name; None for one that is told of as a whole."""
    if isinstance(value, Mapping):
        return value or None
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    key = _KEYS.get(path[-1] if path else "", "name")
    names = [str(item.get(key)) if isinstance(item, Mapping) and key in item else None for item in value]
    if None in names or len(set(names)) != len(names):
        return {str(at): item for at, item in enumerate(value)} if isinstance(value[0], Mapping) else None
    return {str(name): item for name, item in zip(names, value, strict=True)}


def _in_short(path: Path, there: Any) -> str:
    if path[1] in _CONTAINERS and len(path) == 3 and isinstance(there, Mapping) and "image" in there:
        return f", image {_told(there['image'])}"
    if path[1] == "volumes" and isinstance(there, Mapping):
        kinds = [name for name in there if name != "name"]
        return f", {' '.join(kinds)}" if kinds else ""
    if len(path) == 5 and path[3] == "volumeMounts" and isinstance(there, Mapping):
        return f", of volume {_told(there.get('name'))}"
    if isinstance(there, Mapping) and isinstance(there.get("valueFrom"), Mapping):
        return f", from {' '.join(there['valueFrom'])}"
    return f" {HIDDEN}"


def _change(path: Path, before: Any, after: Any) -> str:
    shown = _may_be_shown(path) and all(_is_simple(value) for value in (before, after))
    if path[-2:] == ("httpGet", "path"):  # what follows a `?` may be a token
        before, after = (str(value).partition("?")[0] if value is not _ABSENT else value for value in (before, after))
    if not shown or before == after:
        return f"{_verb(before, after)} {HIDDEN}"
    if before is _ABSENT:
        return f"none before, then {_told(after)}"
    return f"{_told(before)}, then {'none' if after is _ABSENT else _told(after)}"


def _verb(before: Any, after: Any) -> str:
    return "added" if before is _ABSENT else "removed" if after is _ABSENT else "changed"


def _is_simple(value: Any) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(isinstance(item, str | int | float | bool) for item in value)
    return value is _ABSENT or value is None or value == {} or isinstance(value, str | int | float | bool)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value in ({}, []):
        return "empty"
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = "[" + ", ".join(str(item) for item in value) + "]"
    if value is None:
        return "none"
    return _cut(redacted(str(value)))


def _cut(text: str) -> str:
    safe = "".join(letter if letter.isprintable() else "?" for letter in text)
    return safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}…"


def _words(before: Any, after: Any) -> str:
    """What is said of a command: the names of the options that come or go, and never what they are set to."""
    was, will = _options(before), _options(after)
    said = [f"{name} added" for name in will if name not in was] + [
        f"{name} removed" for name in was if name not in will
    ]
    return "; ".join([*said, f"{_verb(before, after)} {HIDDEN}"])


def _options(value: Any) -> list[str]:
    words = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [hit[1] for word in words if isinstance(word, str) and (hit := _OPTION.fullmatch(word))]


def _may_be_shown(path: Path) -> bool:
    return any(_fits(path, pattern) for pattern in _SHOWN)


def _fits(path: Path, pattern: Path) -> bool:
    if pattern[-1] == "**":
        head = pattern[:-1]
        return len(path) >= len(head) and _fits(path[: len(head)], head)
    return len(path) == len(pattern) and all(want in ("*", name) for name, want in zip(path, pattern, strict=True))


def _place(path: Path) -> str:
    """A path as people say it: `container app: env DB_PASSWORD`."""
    names = [_cut(name) for name in path]
    if path[:1] == ("metadata",) and len(path) == 3:
        return f"{names[1].removesuffix('s')} {names[2]}"
    names = names[1:] if path[:1] == ("spec",) and len(path) > 1 else names
    if names[0] in _CONTAINERS and len(names) > 1:
        rest = names[2:]
        if rest[:1] == ["env"] and len(rest) > 1:
            rest = [f"env {rest[1]}", *(part for part in rest[2:] if part != "value")]
        if rest[:1] == ["volumeMounts"] and len(rest) > 1:
            rest = [f"mount {rest[1]}", *rest[2:]]
        return ": ".join([f"{_CONTAINERS[names[0]]} {names[1]}", *([".".join(rest)] if rest else [])])
    if names[0] == "volumes" and len(names) > 1:
        return ": ".join([f"volume {names[1]}", *([".".join(names[2:])] if names[2:] else [])])
    return ".".join(names)
