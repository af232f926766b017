"""The verbs that tests and the stand-in kubelet use on Kubernetes objects, as plain JSON, for any kind.

It finds out by discovery where a kind lives. It acts as whoever the kubeconfig says, in the lab the administrator; it
is never what Unstick itself reads with.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import config

from tests.lab.errors import LabError

Object = dict[str, Any]

TIMEOUT = 30.0  # seconds, for each request


class ApiError(LabError):
    """The API server refused a request; `code` is its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Objects:
    """The objects of one cluster, as one user. Threads may share it."""

    def __init__(self, kubeconfig: Path) -> None:
        client = config.new_client_from_config(config_file=str(kubeconfig))  # type: ignore[no-untyped-call]
        self.host: str = client.configuration.host
        self._client = client
        self._http = client.rest_client.pool_manager
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self._searching = threading.Lock()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> str:
        """Make one request and return the body of the answer.

        Raises:
            ApiError: the API server refused it.
            LabError: the API server cannot be reached.
        """
        headers = {"Accept": "application/json", "Content-Type": content_type}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = self._http.request(
                method,
                f"{self.host}{path}{'?' + urlencode(query) if query else ''}",
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=TIMEOUT,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise LabError(f"{method} {path}: the API server at {self.host} does not answer ({error})") from error
        text: str = answer.data.decode()
        if answer.status >= 400:
            raise ApiError(answer.status, f"{method} {path} answered {answer.status}: {text[:500]}")
        return text

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """Return one object.

        Raises:
            ApiError: with code 404 when there is none.
        """
        return self._json("GET", self.path(kind, name, namespace))

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return one object, or None when there is none."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def items(self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        """Return the objects of a kind, of all namespaces unless one is named, by label and field selectors."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        found: list[Object] = self._json("GET", self.path(kind, None, namespace), query=query)["items"]
        return found

    def create(self, manifest: Object) -> Object:
        """Create one object; the only way to use generateName."""
        metadata = manifest["metadata"]
        path = self.path(manifest["kind"], None, metadata.get("namespace"), manifest["apiVersion"])
        return self._json("POST", path, manifest)

    def apply(self, manifest: Object | Sequence[Object]) -> list[Object]:
        """Create or change objects, by server-side apply, in the order given; return what the server made of them."""
        manifests: Sequence[Object] = [manifest] if isinstance(manifest, dict) else manifest
        query = {"fieldManager": "unstick-lab", "force": "true"}
        done = []
        for one in manifests:
            metadata = one["metadata"]
            path = self.path(one["kind"], metadata["name"], metadata.get("namespace"), one["apiVersion"])
            done.append(self._json("PATCH", path, one, query, "application/apply-patch+yaml"))
        return done

    def patch(
        self,
        kind: str,
        name: str,
        body: Object | Sequence[Object],
        namespace: str | None = None,
        *,
        subresource: str = "",
        strategic: bool = False,
    ) -> Object:
        """Patch one object: with a JSON patch if `body` is a list, else with a merge patch, strategic or not."""
        how = "strategic-merge-patch" if strategic else "merge-patch" if isinstance(body, dict) else "json-patch"
        path = self.path(kind, name, namespace) + (f"/{subresource}" if subresource else "")
        return self._json("PATCH", path, body, content_type=f"application/{how}+json")

    def delete(self, kind: str, name: str, namespace: str | None = None, grace: int | None = None) -> None:
        """Ask for the deletion of one object, after `grace` seconds if given; nothing happens if it is absent."""
        query = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        try:
            self.request("DELETE", self.path(kind, name, namespace), query=query)
        except ApiError as error:
            if error.code != 404:
                raise

    def path(self, kind: str, name: str | None, namespace: str | None, api_version: str | None = None) -> str:
        """Return the URL path of an object, or of a list without `name`.

        Raises:
            LabError: the cluster knows no such kind.
        """
        for version in [api_version] if api_version else self._versions():
            known = self._known(version)
            if kind in known:
                plural, namespaced = known[kind]
                where = f"/namespaces/{namespace}" if namespaced and namespace else ""
                root = "/api" if "/" not in version else "/apis"
                return f"{root}/{version}{where}/{plural}{f'/{name}' if name else ''}"
        raise LabError(f"the cluster at {self.host} knows no kind {kind!r} in {api_version or 'any API group'}")

    def _json(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        answer: Object = json.loads(self.request(method, path, body, query, content_type))
        return answer

    def _versions(self) -> Iterator[str]:
        """The API versions in which a bare kind is looked for: the core's first, as kubectl does."""
        yield "v1"
        for group in self._json("GET", "/apis")["groups"]:
            yield group["preferredVersion"]["groupVersion"]

    def _known(self, version: str) -> dict[str, tuple[str, bool]]:
        with self._searching:
            if version not in self._kinds:
                root = "/api" if "/" not in version else "/apis"
                resources = self._json("GET", f"{root}/{version}")["resources"]
                self._kinds[version] = {
                    resource["kind"]: (resource["name"], resource["namespaced"])
                    for resource in resources
                    if "/" not in resource["name"]
                }
            return self._kinds[version]
