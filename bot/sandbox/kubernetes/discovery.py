"""What the API server says about itself: its version, its groups and their resources."""

from bot.sandbox.kubernetes.resources import RESOURCES, Object, Resource

VERSION: Object = {
    "major": "1", "minor": "21", "gitVersion": "v1.21.14", "gitCommit": "", "gitTreeState": "sandbox",
    "buildDate": "", "goVersion": "", "compiler": "", "platform": "linux/amd64",
}  # fmt: skip
"""1.21 has policy/v1 and still mounts in-tree `rbd` volumes."""

_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def groups() -> Object:
    """The answer to `/apis`."""
    named = dict.fromkeys(resource.group for resource in RESOURCES if resource.group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in named]}


def group(name: str) -> Object | None:
    """The answer to `/apis/GROUP`, None where there is no such group."""
    known = any(resource.group == name for resource in RESOURCES if resource.group)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)} if known else None


def resources(group_version: str) -> Object | None:
    """The answer to `/api/v1` or `/apis/GROUP/VERSION`, None where there is none."""
    served = [resource for resource in RESOURCES if resource.group_version == group_version]
    if not served:
        return None
    listed = [entry for resource in served for entry in _entries(resource)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _group(name: str) -> Object:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _entries(resource: Resource) -> list[Object]:
    entry: Object = {"name": resource.plural, "singularName": "", "namespaced": resource.namespaced}
    entry |= {"kind": resource.kind, "verbs": ["create"] if resource.creatable_only else _VERBS}
    status = {**entry, "name": f"{resource.plural}/status", "verbs": ["get", "patch", "update"]}
    return [entry, status] if resource.has_status else [entry]
