"""A connection to one Kubernetes API server, and the sentences for all that can go wrong with it.

The official client does configuration, authentication and transport; its typed models are never used for reading
(95 times the CPU of decoding into our own structs, and they reject answers that real servers give).
"""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration

from diagnostics.facts.resources.redaction import HIDDEN, redacted
from diagnostics.sources import CouldNotLook

# https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_LONGEST = 500  # characters of the server's own words that are passed on
_LARGEST_REFUSAL = 64 * 1024  # bytes of an error's body that are read where it is not known to end
_WHOLE_VALUE = re.compile(r'(Invalid value: "?)[&*\w.\[\] ]{0,100}\{.*[}\]]', re.DOTALL)
_ENV_VALUE = re.compile(r'(?i)(\bvalue"?:)"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
IN_CLUSTER_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class NoSuchConfiguration(Exception):
    """A kubeconfig or context that was named does not exist or does not parse: one sentence for the user."""


class KubernetesError(Exception):
    """The API server said no. `status` is the HTTP status, `message` its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (HTTP {status})")
        self.status = status
        self.message = message


class Silent(Exception):
    """A stream that is open has brought nothing for too long: whether it still lives is not known."""


class Access(msgspec.Struct, frozen=True):
    """How to reach a cluster: a kubeconfig (None: $KUBECONFIG, ~/.kube/config, or the pod's own account) and a context.

    `named` says that a person named the file or the context, so that its absence is that person's mistake.
    """

    kubeconfig: str | None = None
    context: str | None = None


class _Status(msgspec.Struct):
    """The part of a Kubernetes Status body that matters."""

    message: str = ""


async def configure(access: Access) -> Configuration:
    """Load the configuration of a cluster.

    Raises:
        NoSuchConfiguration: a named file or context is missing or malformed.
        CouldNotLook: nothing is configured at all.
    """
    configuration = Configuration()
    named = access.kubeconfig or os.environ.get("KUBECONFIG")
    path = named or str(Path("~/.kube/config").expanduser())
    exists = [part for part in path.split(os.pathsep) if Path(part).expanduser().is_file()]
    if not exists:
        if named:
            raise NoSuchConfiguration(
                f"The kubeconfig {named} does not exist: correct KUBECONFIG, or `kubeconfig:` in unstick.yaml."
            )
        if access.context:
            raise NoSuchConfiguration(
                f"There is no kubeconfig to look the context {access.context} up in: set KUBECONFIG."
            )
        if IN_CLUSTER_TOKEN.exists():
            return _in_cluster(configuration)
        raise CouldNotLook("No Kubernetes is configured: set KUBECONFIG, or run inside a cluster.", configured=False)
    try:
        await kube_config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=path,
            context=access.context or _current_context(exists),
            client_configuration=configuration,
            persist_config=False,
        )
    except kube_config.ConfigException as error:
        what = str(error).removeprefix("Invalid kube-config. ")
        raise NoSuchConfiguration(f"The kubeconfig {path} cannot be used: {what}") from None
    except Exception as error:  # noqa: BLE001 - the loader raises whatever its YAML and certificate readers raise
        raise NoSuchConfiguration(f"The kubeconfig {path} does not parse: {_first_line(error)}") from None
    return configuration


def _current_context(paths: Sequence[str]) -> str | None:
    """The context that kubectl would take from several files: the first that is set. (The client's loader takes the
    last, which may be another cluster.) None leaves it to the loader, which also says what is wrong with a file."""
    for path in paths if len(paths) > 1 else ():
        try:
            content = yaml.safe_load(Path(path).expanduser().read_text())
        except (OSError, ValueError, yaml.YAMLError):
            return None
        if isinstance(content, dict) and (context := content.get("current-context")):
            return str(context)
    return None


def _in_cluster(configuration: Configuration) -> Configuration:
    try:
        kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except kube_config.ConfigException as error:
        raise CouldNotLook(
            f"The pod's own service account cannot be used ({_first_line(error)}): mount its token, or set KUBECONFIG."
        ) from None
    return configuration


class Api:
    """GET requests to one API server, each bounded in time. Open it with `async with`."""

    def __init__(self, access: Access, timeout: float = 15.0) -> None:
        """`timeout` is in seconds, per request."""
        self.access = access
        self.timeout = timeout
        self._client: ApiClient | None = None
        self._headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        configuration = await configure(self.access)
        try:
            self._client = ApiClient(configuration)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise NoSuchConfiguration(
                f"The certificates for {configuration.host} cannot be used ({_first_line(error)}): correct the kubeconfig."
            ) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client:
            await self._client.close()  # type: ignore[no-untyped-call]

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._client.configuration.host) if self._client else ""

    async def get(self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False) -> bytes:
        """GET a path and return the body as it came, or (of one object) its metadata alone: no content is sent then.

        Raises:
            KubernetesError: the server answered with an error.
            CouldNotLook: the server could not be reached, or did not answer in time.
        """
        return await self._request("GET", path, query, accept=METADATA_ONLY if metadata_only else "application/json")

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, silence: float
    ) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
        """GET a path whose answer goes on for as long as the server likes, as that of a watch does.

        Inside `async with` the answer has begun: each call of what it gives returns what came next, b"" at the end.
        `silence` is how many seconds nothing may come.

        Raises:
            KubernetesError: the server answered with an error.
            CouldNotLook: the server could not be reached, or the connection broke; also while reading.
            Silent: nothing came for that long; only while reading.
        """
        lasting = aiohttp.ClientTimeout(total=None, sock_connect=self.timeout)
        try:
            async with asyncio.timeout(self.timeout):
                response: aiohttp.ClientResponse = (await self._send("GET", path, query, timeout=lasting)).response
        except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError) as error:
            raise CouldNotLook(self._unreachable(error), unreachable=True) from None

        async def piece() -> bytes:
            try:
                async with asyncio.timeout(silence):
                    return await response.content.readany()
            except TimeoutError:
                raise Silent from None
            except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
                raise CouldNotLook(self._unreachable(error), unreachable=True) from None

        try:
            if response.status >= 400:
                said = await _within(self.timeout, response.content.read(_LARGEST_REFUSAL))
                raise KubernetesError(response.status, _message(said) or str(response.reason))
            yield piece
        finally:
            # What has not been read yet is not waited for, nor is a farewell: the peer may be gone.
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()
            response.close()

    async def _request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, media: str = "",
        accept: str = "application/json",
    ) -> bytes:  # fmt: skip
        try:
            response = await self._send(method, path, query, body, media, accept)
            data = bytes(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError) as error:
            raise CouldNotLook(self._unreachable(error), unreachable=True) from None
        if response.status >= 400:
            raise KubernetesError(response.status, _message(data) or str(response.reason))
        return data

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, media: str = "",
        accept: str = "application/json", timeout: aiohttp.ClientTimeout | float | None = None,
    ) -> Any:  # fmt: skip
        assert self._client is not None, "an Api is used inside `async with`"
        headers = {"Accept": accept, **self._headers, **({"Content-Type": media} if media else {})}
        request = await self._client.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        return await self._client.call_api(*request, _request_timeout=timeout or self.timeout, _preload_content=False)

    def _unreachable(self, error: BaseException) -> str:
        if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
            return f"The Kubernetes API at {self.server} did not answer within {self.timeout:g} s: check it and the network."
        if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
            return f"The certificate of the Kubernetes API at {self.server} is not trusted: check the kubeconfig's CA."
        return (
            f"The Kubernetes API at {self.server} cannot be reached ({_first_line(error)}): check it and the network."
        )


def refusal(error: KubernetesError, doing: str) -> str:
    """One sentence about an answer that was an error, with the next move. `doing` is like `list pods`."""
    said = _without_values(error.message)
    if error.status == 401:
        return f"The Kubernetes API refused the credentials when asked to {doing}: renew the token or the kubeconfig."
    if error.status == 403:
        return f"Not allowed to {doing}: {said}; grant it in RBAC."
    if error.status == 410:
        return f"The list changed too fast to {doing}: try again."
    return f"The Kubernetes API could not {doing}: {said} (HTTP {error.status})."


def _without_values(message: str) -> str:
    """The server's own words without what it quotes of an object: that may hold secrets, and be long.

    What is not valid is printed whole, as Go prints it (`Value:"x"`) or as JSON (`"value":"x"`).
    """
    text = redacted(_ENV_VALUE.sub(rf'\1"{HIDDEN}"', _WHOLE_VALUE.sub(rf"\1{HIDDEN}", message)))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


async def _within(seconds: float, reading: Awaitable[bytes]) -> bytes:
    """What was read in that time; b"" where it was not: the status alone tells enough."""
    try:
        async with asyncio.timeout(seconds):
            return await reading
    except (aiohttp.ClientError, OSError, TimeoutError):
        return b""


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Status).message
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return body[:200].decode("utf-8", "replace").strip()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".") or type(error).__name__
