"""The Lease by which replicas agree on a leader, as its API server has it. Nothing else may be written from here.

Every write names the version that it was made from, so that of two who write at the same time one is refused. The Lease's
times are for people: nobody's clock is compared with another's.
https://kubernetes.io/docs/concepts/architecture/leases/
"""

import asyncio
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from bot.settings import LeaderSettings, SettingsError
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import IN_CLUSTER_TOKEN, Access, Api, KubernetesError, refusal

TOKEN = "unstick.dev/token"  # noqa: S105 - the name of an annotation
"""The annotation that holds the fencing token of whoever took the Lease last."""
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
_JSON = "application/json"
_MOST_DIGITS = 9  # more than these were never given out: the database counts in 32 bits


class Conflict(Exception):
    """The Lease is not any more what the write was made from: read it again."""


class Claim(msgspec.Struct, frozen=True):
    """What is to be in the Lease: who holds it (nobody: ""), with which token, for how many seconds, and since when."""

    holder: str
    token: int
    lasts: float
    at: datetime


class Lease(msgspec.Struct, frozen=True):
    """The Lease as it was read: its holder ("": nobody), the highest token that it has seen, and its length in seconds.

    `version` is another one after every write, whoever's. `whole` is the object.
    """

    holder: str
    token: int
    lasts: float
    version: str
    whole: dict[str, Any]


class LeaseApi(Protocol):
    """One Lease. Every request ends within its `timeout` in seconds."""

    async def read(self, timeout: float) -> Lease | None:
        """The Lease as it is now; None where there is none.

        Raises:
            CouldNotLook: no answer, or a refusal.
        """
        ...

    async def write(self, before: Lease | None, claim: Claim, timeout: float) -> Lease:
        """Put a claim into the Lease as it was `before`, or create it where there was none.

        Raises:
            Conflict: it is not any more as it was before.
            CouldNotLook: a refusal, or no answer: it may have been written.
        """
        ...


class KubernetesLease(Api):
    """The Lease on an API server. Open it with `async with`; one request at a time."""

    def __init__(self, access: Access, namespace: str, name: str) -> None:
        super().__init__(access)
        self._what = f"the Lease {name} in the namespace {namespace}"
        self._namespace, self._name = namespace, name
        self._all = _LEASES.format(quote(namespace, safe=""))
        self._one = f"{self._all}/{quote(name, safe='')}"

    async def read(self, timeout: float) -> Lease | None:
        """As `LeaseApi.read`."""
        self.timeout = max(round(timeout, 1), 0.1)
        try:
            async with asyncio.timeout(timeout):
                return _parsed(await self._request("GET", self._one))
        except TimeoutError as error:
            raise CouldNotLook(self._unreachable(error), unreachable=True) from None
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise self._refused(error, "read") from None

    async def write(self, before: Lease | None, claim: Claim, timeout: float) -> Lease:
        """As `LeaseApi.write`."""
        self.timeout = max(round(timeout, 1), 0.1)  # as it is said; the bound is exact
        body = written(before, claim, self._name)
        try:
            async with asyncio.timeout(timeout):
                if before is None:
                    return _parsed(await self._request("POST", self._all, None, body, _JSON))
                return _parsed(await self._request("PUT", self._one, None, body, _JSON))
        except TimeoutError as error:
            raise CouldNotLook(self._unreachable(error), unreachable=True) from None
        except KubernetesError as error:
            if error.status == 409 or (error.status == 404 and before is not None):
                raise Conflict(f"{self._what} was changed: {error.message}") from None
            raise self._refused(error, "write") from None

    def _refused(self, error: KubernetesError, doing: str) -> CouldNotLook:
        if error.status == 403:
            rights = "get, create and update on leases of coordination.k8s.io"
            return CouldNotLook(f"Not allowed to {doing} {self._what}: grant {rights} there to this account.")
        if error.status == 404:
            return CouldNotLook(
                f"There is no namespace {self._namespace} for the Lease: create it, or name another as leader.namespace."
            )
        return CouldNotLook(refusal(error, f"{doing} {self._what}"))


def lease_of(words: LeaderSettings) -> KubernetesLease:
    """The Lease that the configuration names.

    Raises:
        SettingsError: it names no namespace, and this is no pod, which would have one.
    """
    own = IN_CLUSTER_TOKEN.with_name("namespace")
    namespace = words.namespace or (_text(own) if words.kubeconfig is None else "")
    if not namespace:
        raise SettingsError("leader.namespace: outside of a pod there is none by itself; name the one of the Lease.")
    return KubernetesLease(Access(words.kubeconfig, words.context), namespace, words.lease)


def written(before: Lease | None, claim: Claim, name: str) -> dict[str, Any]:
    """The object to send: what others have put into it stays, and its version and UID bind the write to it."""
    new: dict[str, Any] = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}}
    whole = before.whole if before else new
    meta, spec = whole["metadata"], dict(whole.get("spec") or {})
    at = claim.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    same = before is not None and before.holder == claim.holder and before.token == claim.token
    spec |= {
        "holderIdentity": claim.holder,
        "leaseDurationSeconds": max(math.ceil(claim.lasts), 1),
        "renewTime": at,
    }
    if not same and claim.holder:
        spec |= {"acquireTime": at, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (before is not None)}
    annotations = (meta.get("annotations") or {}) | {TOKEN: str(claim.token)}
    return {**whole, "metadata": {**meta, "annotations": annotations}, "spec": spec}


class _Meta(msgspec.Struct, rename="camel"):
    uid: str
    resource_version: str
    annotations: dict[str, str] | None = None


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None


class _Object(msgspec.Struct):
    metadata: _Meta
    spec: _Spec | None = None


def _parsed(body: bytes) -> Lease:
    try:
        whole = msgspec.json.decode(body, type=dict[str, Any])
        read = msgspec.convert(whole, _Object)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CouldNotLook("What answered for the Kubernetes API sent no Lease: check what is in between.") from None
    spec, token = read.spec or _Spec(), (read.metadata.annotations or {}).get(TOKEN, "")
    known = token.isascii() and token.isdecimal() and len(token) <= _MOST_DIGITS
    return Lease(
        spec.holder_identity or "", int(token) if known else 0, float(spec.lease_duration_seconds or 0),
        f"{read.metadata.uid}/{read.metadata.resource_version}", whole,
    )  # fmt: skip


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
