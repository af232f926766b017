"""The values that a run is told: checked by kind before anything is planned with them.

They end up in requests to Kubernetes and Ceph, in messages and in commands that people copy, so nothing unprintable and
nothing ambiguous passes. Whether the thing that a value names exists is for the guards to find out.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from diagnostics.model import Subject
from runbooks.format.wording import instead
from runbooks.model import Parameter, ParameterKind, Runbook, duration

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_INT = re.compile(r"-?[0-9]{1,18}")
_CLIENT = re.compile(r"client\.[0-9]{1,20}")
WORKLOADS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}
"""The kinds of a workload as a parameter names them, and as Kubernetes does."""
_LONGEST_TEXT = 1024
_LONGEST_SUBDOMAIN = 253

_SHAPES: Mapping[ParameterKind, str] = {
    "rbd_image": "pool/image or pool/namespace/image",
    "rbd_locker": "client.NUMBER/COOKIE, as client.24128/kubelet_lock_magic_node1",
    "node": "the node's name, as node-1.example",
    "pod": "namespace/name",
    "workload": "deployment, statefulset or daemonset, as deployment/NAMESPACE/NAME",
    "job": "namespace/name",
    "volume_attachment": "the VolumeAttachment's name",
    "namespace": "the namespace's name",
    "string": "text on one line",
    "int": "a whole number",
    "enum": "one of its values",
    "duration": "a number with a unit, as 90s, 3m or 2h",
}


class BadParametersError(ValueError):
    """The values do not fit the runbook; `reasons` has one sentence for each."""

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n".join(self.reasons))


def parse_parameters(runbook: Runbook, pairs: Iterable[str]) -> dict[str, str]:
    """Read `NAME=VALUE` pairs as the command line and Slack give them. Raises BadParametersError with all reasons."""
    values: dict[str, str] = {}
    reasons = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            reasons.append(f"{pair!r} is no parameter; write NAME=VALUE")
        elif name in values:
            reasons.append(f"parameter '{name}' is given twice; give it once")
        else:
            values[name] = value
    return _accepted(runbook, values, reasons)


def accept_parameters(runbook: Runbook, values: Mapping[str, str]) -> dict[str, str]:
    """Check values, as a finding gives them, and add the defaults. Raises BadParametersError with all reasons."""
    return _accepted(runbook, values, [])


def _accepted(runbook: Runbook, values: Mapping[str, str], reasons: list[str]) -> dict[str, str]:
    accepted = {}
    for name, value in values.items():
        parameter = runbook.parameters.get(name)
        if parameter is None:
            reasons.append(f"{runbook.name} has no parameter '{name}'; {instead(name, runbook.parameters)}")
        elif reason := reason_against(parameter, value):
            reasons.append(f"parameter '{name}': {reason}")
        else:
            accepted[name] = value
    for name, parameter in runbook.parameters.items():
        if name in values:
            continue
        if parameter.default is not None:
            accepted[name] = parameter.default
        elif parameter.must_be_given:
            reasons.append(f"parameter '{name}' is missing; give {name}={_shape(parameter)}")
    if reasons:
        raise BadParametersError(reasons)
    return accepted


def reason_against(parameter: Parameter, value: str) -> str | None:
    """Why the value cannot be of this kind, and what to write instead; None where it can."""
    if not value or len(value) > _LONGEST_TEXT:
        return f"its value is {'empty' if not value else 'too long'}; write {_shape(parameter)}"
    if not value.isprintable():
        return f"{value!r} has control characters; write {_shape(parameter)}"
    if parameter.kind == "enum" and value in parameter.values:
        return None
    if parameter.kind in _FITS and _FITS[parameter.kind](value):
        return None
    return f"{value!r} is no {parameter.kind}; write {_shape(parameter)}"


def _shape(parameter: Parameter) -> str:
    return " or ".join(parameter.values) if parameter.values else _SHAPES[parameter.kind]


def _is_image(value: str) -> bool:
    """RBD itself allows anything in a name but `/` and `@`; spaces around a part are a slip of the hand."""
    parts = value.split("/")
    return len(parts) in (2, 3) and all(part and part == part.strip() and "@" not in part for part in parts)


def _is_locker(value: str) -> bool:
    """`client.24128/cookie`: the cookie is the lock owner's own text and may hold further slashes and spaces."""
    client, _, cookie = value.partition("/")
    return bool(_CLIENT.fullmatch(client) and cookie.strip())


def _is_subdomain(value: str) -> bool:
    return len(value) <= _LONGEST_SUBDOMAIN and bool(_DNS_SUBDOMAIN.fullmatch(value))


def _is_namespace(value: str) -> bool:
    return bool(_DNS_LABEL.fullmatch(value))


def _is_pod(value: str) -> bool:
    namespace, _, name = value.partition("/")
    return _is_namespace(namespace) and _is_subdomain(name)


def _is_workload(value: str) -> bool:
    kind, _, name = value.partition("/")
    return kind in WORKLOADS and _is_pod(name)


def _is_duration(value: str) -> bool:
    try:
        duration(value)
    except ValueError:
        return False
    return True


_FITS: Mapping[ParameterKind, Callable[[str], bool]] = {
    "rbd_image": _is_image,
    "rbd_locker": _is_locker,
    "node": _is_subdomain,
    "pod": _is_pod,
    "workload": _is_workload,
    "job": _is_pod,
    "volume_attachment": _is_subdomain,
    "namespace": _is_namespace,
    "string": lambda value: bool(value.strip()),
    "int": lambda value: bool(_INT.fullmatch(value)),
    "duration": _is_duration,
}


def subject_of(params: dict[str, str]) -> Subject | None:
    """What a runbook's facts are gathered around: its image, else its pod, workload, job, attachment or node."""
    if image := params.get("image"):
        return Subject("RBDImage", None, image, "")
    if workload := params.get("workload"):
        kind, namespace, name = workload.split("/")
        return Subject(WORKLOADS[kind], namespace, name, "")
    for name, kind in (("pod", "Pod"), ("job", "Job")):
        if value := params.get(name):
            namespace, _, bare = value.partition("/")
            return Subject(kind, namespace, bare, "")
    for name, kind in (("volume_attachment", "VolumeAttachment"), ("node", "Node")):
        if value := params.get(name):
            return Subject(kind, None, value, "")
    return None
