"""Writing to Kubernetes: patches, deletions, evictions, creations and permission reviews, each bounded in time.

Whatever names an existing object is bound to its UID, so that the server refuses another object of the same name.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import Access, Api, KubernetesError, refusal

_PLACES = {
    "Pod": ("/api/v1", "pods"), "Node": ("/api/v1", "nodes"),
    "Deployment": ("/apis/apps/v1", "deployments"), "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"), "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "ControllerRevision": ("/apis/apps/v1", "controllerrevisions"), "Job": ("/apis/batch/v1", "jobs"),
    "VolumeAttachment": ("/apis/storage.k8s.io/v1", "volumeattachments"),
}  # fmt: skip
"""Where the objects of a kind lie: API path and plural."""
_MANAGER = "unstick"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


class WritingApi(Api):
    """An API connection that may also change things. Only actions hold one.

    With `impersonate`, the server takes every request for that user's: its own RBAC decides, and its own audit log names
    the person who asked.
    """

    def __init__(self, access: Access, timeout: float = 15.0, *, impersonate: str | None = None) -> None:
        super().__init__(access, timeout)
        self._headers = {"Impersonate-User": impersonate} if impersonate else {}

    async def read(self, target: Subject) -> dict[str, Any]:
        """An object as it is now, of that UID: what an act puts back or copies is never kept in a plan.

        Raises:
            KubernetesError: refused; 404 where there is none, 409 where it is another object of that name.
            CouldNotLook: no answer.
        """
        found: dict[str, Any] = msgspec.json.decode(await self._request("GET", path_of(target)))
        if found.get("metadata", {}).get("uid") != target.uid:
            raise KubernetesError(409, f"{target} is another object by now")
        return found

    async def patch(
        self, target: Subject, patch: Mapping[str, Any], *, dry_run: bool, media: str = MERGE
    ) -> None:  # fmt: skip
        """Merge-patch an object (`media`: MERGE or STRATEGIC). The UID in the patch binds it to the very object.

        Raises:
            KubernetesError: refused (409: it is another object, or was changed).
            CouldNotLook: no answer; it may have been done.
        """
        body = {**patch, "metadata": {**patch.get("metadata", {}), "uid": target.uid}}
        await self._request("PATCH", path_of(target), _query(dry_run), body, media)

    async def patch_json(self, target: Subject, operations: Sequence[Mapping[str, Any]], *, dry_run: bool) -> None:
        """JSON-patch an object; its UID is tested first, so that nothing is done to another one.

        Raises:
            KubernetesError: refused (422: a test failed).
            CouldNotLook: no answer; it may have been done.
        """
        body = [{"op": "test", "path": "/metadata/uid", "value": target.uid}, *operations]
        await self._request("PATCH", path_of(target), _query(dry_run), body, JSON_PATCH)

    async def delete(
        self, target: Subject, *, grace_seconds: int | None, dry_run: bool, propagation: str | None = None
    ) -> None:
        """Delete an object by UID; `grace_seconds` 0 removes a pod without waiting for its kubelet.

        Raises:
            KubernetesError: refused (404: gone already, 409: it is another object).
            CouldNotLook: no answer; it may have been done.
        """
        body = _delete_options(target, grace_seconds, dry_run)
        if propagation is not None:
            body["propagationPolicy"] = propagation
        await self._request("DELETE", path_of(target), None, body, "application/json")

    async def evict(self, pod: Subject, *, dry_run: bool) -> None:
        """Evict a pod by UID: the server holds to its PodDisruptionBudgets.

        Servers before 1.22 know evictions as v1beta1 alone; later ones take the body of either version.
        https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/

        Raises:
            KubernetesError: refused (429: a budget does not allow it now, 404: gone already).
            CouldNotLook: no answer; it may have been done.
        """
        body = {
            "apiVersion": "policy/v1beta1", "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": _delete_options(pod, None, dry_run),
        }  # fmt: skip
        # In the URL too: the server's audit log keeps no body of an eviction, and would not tell a dry run from another.
        query = {"dryRun": "All"} if dry_run else None
        await self._request("POST", f"{path_of(pod)}/eviction", query, body, "application/json")

    async def create(self, kind: str, namespace: str, manifest: Mapping[str, Any], *, dry_run: bool) -> None:
        """Create an object, whose name makes a second attempt fail (409) instead of making a second one.

        Raises:
            KubernetesError: refused (409: there is one of that name).
            CouldNotLook: no answer; it may have been done.
        """
        group, plural = _PLACES[kind]
        path = f"{group}/namespaces/{quote(namespace, safe='')}/{plural}"
        await self._request("POST", path, _query(dry_run), manifest, "application/json")

    async def permitted(self, group: str, resource: str, verb: str, namespace: str | None, name: str) -> bool:
        """Ask the server whether this identity may do something (SelfSubjectAccessReview).

        `resource` may name a subresource as RBAC does: `pods/eviction`.

        Raises:
            CouldNotLook: no answer, or not to this identity (it may not impersonate whom it acts as).
        """
        plural, _, sub = resource.partition("/")
        attributes = {"group": group, "resource": plural, "subresource": sub, "verb": verb, "name": name}
        if namespace:
            attributes["namespace"] = namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }  # fmt: skip
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        try:
            answer = await self._request("POST", path, None, review, "application/json")
        except KubernetesError as error:
            raise CouldNotLook(refusal(error, f"ask whether it may {verb} {resource}")) from None
        return bool(msgspec.json.decode(answer, type=_Review).status.allowed)


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


def _query(dry_run: bool) -> dict[str, str]:
    return {"fieldManager": _MANAGER, **({"dryRun": "All"} if dry_run else {})}


def _delete_options(target: Subject, grace_seconds: int | None, dry_run: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": target.uid}}
    if grace_seconds is not None:
        body["gracePeriodSeconds"] = grace_seconds
    if dry_run:
        body["dryRun"] = ["All"]
    return body


def path_of(target: Subject) -> str:
    """The API path of an object."""
    group, plural = _PLACES[target.kind]
    name = quote(target.name, safe="")
    if target.namespace:
        return f"{group}/namespaces/{quote(target.namespace, safe='')}/{plural}/{name}"
    return f"{group}/{plural}/{name}"
