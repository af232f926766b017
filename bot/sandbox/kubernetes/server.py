"""The API server's door: HTTP on a loopback port, bearer tokens, RBAC, and JSON as a real API server writes it.

It carries requests to the registry and decides nothing itself but who may ask. It serves one process's sandbox: never
bind it to anything but loopback.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import msgspec
from aiohttp import web

from bot.sandbox.kubernetes import discovery, refusals
from bot.sandbox.kubernetes.access import EVERYTHING, Access, Request, Rule
from bot.sandbox.kubernetes.listing import page
from bot.sandbox.kubernetes.refusals import Refused
from bot.sandbox.kubernetes.registry import Registry
from bot.sandbox.kubernetes.resources import BY_NAME, PODS, Object, Resource
from bot.sandbox.kubernetes.validation import is_dry
from bot.sandbox.kubernetes.watching import watch

LARGEST_BODY = 3 * 1024 * 1024
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

_AS_METADATA = "as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class ApiServer:
    """An API server for one sandbox cluster: `async with ApiServer(now=clock, tokens={"diagnose": "..."}) as api`.

    Args:
        now: the cluster's clock, in UTC.
        tokens: each user's bearer token, by user name.
        rules: what each user may do; without any, everybody with a token may do everything.
        port: 0 chooses a free one.
    """

    def __init__(
        self, now: Callable[[], datetime], tokens: Mapping[str, str],
        rules: Mapping[str, Sequence[Rule]] | None = None, port: int = 0,
    ) -> None:  # fmt: skip
        self.registry = Registry(now)
        self.access = Access(tokens, rules if rules is not None else dict.fromkeys(tokens, (EVERYTHING,)))
        self.closing = False
        self._port = port
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closing = True
        self.registry.store.wake()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self._port}"

    def kubeconfig(self, user: str, context: str = "sandbox") -> Object:
        """A kubeconfig for one of the users, ready to be written as YAML."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": {"server": self.url}}],
            "users": [{"name": user, "user": {"token": self.access.tokens[user]}}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
            "current-context": context,
        }

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = parse(request)
            user = self.access.user(request.headers.get("Authorization"))
            self.access.check(user, wanted)
            if wanted.resource is None:
                return _about(wanted.path)
            if discovery.resources(_group_version(request)) is None:
                return web.Response(status=404, text="404 page not found")
            resource = _resource(request, wanted)
            if wanted.verb == "watch":
                return await watch(self.registry.store, resource, wanted.namespace, request, lambda: self.closing)
            body = await _body(request)
            return _json(*self._act(resource, wanted, user, request, body))
        except Refused as refused:
            return _json(refused.code, refused.status)

    def _act(
        self, resource: Resource, wanted: Request, user: str, request: web.Request, body: Any
    ) -> tuple[int, Object]:
        """Carry out one request: the status code and the body of its answer."""
        registry, query = self.registry, request.query
        at = (resource, wanted.namespace if resource.namespaced else None)
        dry = is_dry(query.getall("dryRun", []))
        if resource.creatable_only:
            return 201, self._review(user, body)
        if wanted.subresource in ("binding", "eviction"):
            return 201, self._post_to_pod(wanted, body, dry)
        if wanted.verb == "list":
            return 200, page(registry.store, *at, query)
        if wanted.verb == "get":
            stored = registry.get(*at, wanted.name)
            return 200, _metadata_of(stored) if _AS_METADATA in request.headers.get("Accept", "") else resource.whole(
                stored
            )
        if wanted.verb == "create":
            return 201, resource.whole(registry.create(*at, body, dry_run=dry))
        if wanted.verb == "delete":
            return 200, registry.delete(*at, wanted.name, _delete_options(query, body))
        if wanted.verb == "update":
            changed = registry.update(*at, wanted.name, body, subresource=wanted.subresource, dry_run=dry)
        else:
            changed = registry.patch(
                *at, wanted.name, body, content_type=request.content_type, subresource=wanted.subresource, dry_run=dry
            )
        return 200, resource.whole(changed)

    def _post_to_pod(self, wanted: Request, body: Any, dry: bool) -> Object:
        namespace, name = str(wanted.namespace), wanted.name
        body = body if isinstance(body, dict) else {}
        if wanted.subresource == "binding":
            self.registry.bind(namespace, name, str(body.get("target", {}).get("name", "")), dry_run=dry)
        else:
            options = dict(body.get("deleteOptions") or {}) | ({"dryRun": ["All"]} if dry else {})
            self.registry.delete(PODS, namespace, name, options)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def _review(self, user: str, body: Any) -> Object:
        """Answer a SelfSubjectAccessReview: what the asking user may do."""
        spec = (body.get("spec") if isinstance(body, dict) else None) or {}
        asked, path = spec.get("resourceAttributes") or {}, spec.get("nonResourceAttributes") or {}
        if bool(asked) == bool(path):
            message = (
                '.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: "null": exactly one '
                "of nonResourceAttributes or resourceAttributes must be specified"
            )
            raise Refused(422, "Invalid", message, {"group": "authorization.k8s.io"})
        if asked:
            wanted = Request(
                asked.get("verb", ""), asked.get("group", ""), asked.get("resource", ""),
                asked.get("subresource", ""), asked.get("namespace") or None, asked.get("name", ""),
            )  # fmt: skip
        else:
            wanted = Request(path.get("verb", ""), path=path.get("path", ""))
        return {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {"creationTimestamp": None},
            "spec": spec,
            "status": {"allowed": self.access.allows(user, wanted)},
        }


def _metadata_of(stored: Object) -> Object:
    """An object as those see it who ask for its metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": stored["metadata"]}


def parse(request: web.Request) -> Request:
    """What a request wants, from its method and path alone: RBAC judges before it is known whether that exists."""
    path = request.path.rstrip("/") or "/"
    parts = path.split("/")[1:]
    verb = "get" if request.method in ("GET", "HEAD") else _VERBS.get(request.method, request.method.lower())
    rest = parts[2:] if parts[0] == "api" else parts[3:] if parts[0] == "apis" else []
    if not rest:
        return Request(verb, path=path)
    group = parts[1] if parts[0] == "apis" else ""
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    resource, name, subresource = (*rest, "", "")[:3]
    if len(rest) > 3:
        raise refusals.no_such_resource()
    if verb == "get" and not name:
        verb = "watch" if request.query.get("watch", "").lower() in ("1", "true") else "list"
    if verb == "delete" and not name:
        verb = "deletecollection"
    return Request(verb, group, resource, subresource, namespace, name, path)


def _group_version(request: web.Request) -> str:
    parts = request.path.split("/")
    return parts[2] if parts[1] == "api" else f"{parts[2]}/{parts[3]}"


def _resource(request: web.Request, wanted: Request) -> Resource:
    resource = BY_NAME.get((_group_version(request), str(wanted.resource)))
    if resource is None or (wanted.namespace and not resource.namespaced and resource.plural != "namespaces"):
        raise refusals.no_such_resource()
    subresources = ("", *(("status",) if resource.has_status else ()))
    subresources += ("binding", "eviction") if resource is PODS else ()
    if wanted.subresource not in subresources:
        raise refusals.no_such_resource()
    if not _is_served(resource, wanted):
        raise refusals.method_not_allowed()
    return resource


def _is_served(resource: Resource, wanted: Request) -> bool:
    if resource.creatable_only or wanted.subresource in ("binding", "eviction"):
        return wanted.verb == "create"
    if wanted.verb == "create":
        return not wanted.name and bool(wanted.namespace) == resource.namespaced
    if wanted.verb in ("list", "watch"):
        return True
    verbs = ("get", "update", "patch") if wanted.subresource else ("get", "update", "patch", "delete")
    return bool(wanted.name) and wanted.verb in verbs and (not resource.namespaced or wanted.namespace is not None)


def _delete_options(query: Mapping[str, str], body: Any) -> Object:
    """DeleteOptions from the body, or from the query where the body has none."""
    options = dict(body) if isinstance(body, dict) else {}
    for name in ("gracePeriodSeconds", "propagationPolicy", "dryRun"):
        if name in query:
            options.setdefault(name, query[name])
    return options


async def _body(request: web.Request) -> Any:
    raw = await request.read()
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError as error:
        raise refusals.bad_request(f"couldn't get version/kind; json parse error: {error}") from None


def _about(path: str) -> web.Response:
    if path in ("/healthz", "/livez", "/readyz"):
        return web.Response(text="ok")
    parts = path.split("/")[1:]
    answer: Object | None = None
    if path == "/version":
        answer = discovery.VERSION
    elif path == "/api":
        answer = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    elif path == "/apis":
        answer = discovery.groups()
    elif parts[0] == "api" or len(parts) == 3:
        answer = discovery.resources("/".join(parts[1:]))
    elif parts[0] == "apis":
        answer = discovery.group(parts[1])
    return _json(200, answer) if answer is not None else web.Response(status=404, text="404 page not found")


def _json(code: int, body: Object) -> web.Response:
    return web.Response(status=code, body=msgspec.json.encode(body), content_type="application/json")
