"""Writing to Kubernetes: patches, deletions and permission reviews, each bounded in time and bound to a UID."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from diagnostics.model import Subject
from diagnostics.sources.kubernetes.api import Api

_PLURAL = {"Pod": "pods", "Node": "nodes"}
_ALL = {"dryRun": "All"}


class WritingApi(Api):
    """An API connection that may also change things. Only actions hold one."""

    async def patch(self, target: Subject, patch: Mapping[str, Any], *, dry_run: bool) -> None:
        """Merge-patch an object. The UID in the patch makes the server refuse another object of the same name.

        Raises:
            KubernetesError: refused (409: it is another object, or was changed).
            CouldNotLook: no answer; it may have been done.
        """
        body = {**patch, "metadata": {**patch.get("metadata", {}), "uid": target.uid}}
        query = {"fieldManager": "unstick", **(_ALL if dry_run else {})}
        await self._request("PATCH", _path(target), query, body, "application/merge-patch+json")

    async def delete(self, target: Subject, *, grace_seconds: int | None, dry_run: bool) -> None:
        """Delete an object by UID; `grace_seconds` 0 removes a pod without waiting for its kubelet.

        Raises:
            KubernetesError: refused (404: gone already, 409: it is another object).
            CouldNotLook: no answer; it may have been done.
        """
        body: dict[str, Any] = {
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": target.uid},
        }  # fmt: skip
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        if dry_run:
            body["dryRun"] = ["All"]
        await self._request("DELETE", _path(target), None, body, "application/json")

    async def permitted(self, group: str, resource: str, verb: str, namespace: str | None, name: str) -> bool:
        """Ask the server whether this identity may do something (SelfSubjectAccessReview)."""
        attributes = {"group": group, "resource": resource, "verb": verb, "name": name}
        if namespace:
            attributes["namespace"] = namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }  # fmt: skip
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._request("POST", path, None, review, "application/json")
        return bool(msgspec.json.decode(answer, type=_Review).status.allowed)


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


def _path(target: Subject) -> str:
    plural = _PLURAL[target.kind]
    name = quote(target.name, safe="")
    if target.namespace:
        return f"/api/v1/namespaces/{quote(target.namespace, safe='')}/{plural}/{name}"
    return f"/api/v1/{plural}/{name}"
