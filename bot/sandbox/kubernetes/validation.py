"""What an API server refuses to take: the wrong kind, bad names, forbidden changes, preconditions that do not hold.

Pure. Every function raises `Refused` in the real server's words, or lets the object pass.
"""

import re
from collections.abc import Mapping
from typing import Any

from bot.sandbox.kubernetes.refusals import bad_request, conflict, invalid
from bot.sandbox.kubernetes.resources import PODS, Object, Resource

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_POD_RULE = (
    "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, "
    "`spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)"
)


def is_dry(asked: Any) -> bool:
    """Whether `dryRun` asks for a dry run; only `All` is known.

    Raises:
        Refused: 422 for another word.
    """
    words = [asked] if isinstance(asked, str) and asked else list(asked or ())
    if any(word != "All" for word in words):
        listed = ", ".join(f'"{word}"' for word in words)
        why = f'Unsupported value: []string{{{listed}}}: supported values: "All"'
        owner = Resource("options", "CreateOptions", "meta.k8s.io")
        raise invalid(owner, "", ("dryRun", "FieldValueNotSupported", why))
    return bool(words)


def expect(resource: Resource, given: Any) -> Object:
    """The object, if it is one of this resource, as far as its shape can be told."""
    if not isinstance(given, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
    for part in ("metadata", "spec", "status"):
        if not isinstance(given.get(part) or {}, dict):
            raise bad_request(f"json: cannot unmarshal into Go struct field {resource.kind}.{part}")
    kind, version = given.get("kind") or resource.kind, given.get("apiVersion") or resource.group_version
    if (kind, version) != (resource.kind, resource.group_version):
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {resource.kind}')
    return given


def check_name(resource: Resource, name: str) -> None:
    """Refuse a name that is missing or breaks the rules."""
    if not name:
        why = "Required value: name or generateName is required"
        raise invalid(resource, "", ("metadata.name", "FieldValueRequired", why))
    if not _NAME.fullmatch(name) or len(name) > 253:
        why = f'Invalid value: "{name}": {_NAME_RULE}'
        raise invalid(resource, name, ("metadata.name", "FieldValueInvalid", why))


def check_pod_update(before: Object, after: Object) -> None:
    """Refuse an update of a pod that changes more of its spec than Kubernetes lets anybody change."""

    def fixed(pod: Object) -> Object:
        spec = {k: v for k, v in pod["spec"].items() if k not in ("tolerations", "activeDeadlineSeconds")}
        for kind in ("containers", "initContainers"):
            spec[kind] = [{**c, "image": None} for c in spec.get(kind) or ()]
        return spec

    if fixed(before) != fixed(after):
        why = f"Forbidden: {_POD_RULE}"
        raise invalid(PODS, before["metadata"]["name"], ("spec", "FieldValueForbidden", why))


def check_preconditions(resource: Resource, before: Object, wanted: Mapping[str, Any]) -> None:
    """Refuse a deletion whose preconditions do not hold."""
    meta = before["metadata"]
    if wanted.get("uid") and wanted["uid"] != meta["uid"]:
        why = (
            f"the UID in the precondition ({wanted['uid']}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(resource, meta["name"], why, resource.kind)
    if wanted.get("resourceVersion") and wanted["resourceVersion"] != meta["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({wanted['resourceVersion']}) does not match the "
            f"ResourceVersion in record ({meta['resourceVersion']}). The object might have been modified"
        )
        raise conflict(resource, meta["name"], why, resource.kind)
