"""Carries out the requests that a kind of Kubernetes fact asks for, and decodes each page once.

Lists come in pages of 500; of a page only what matters is kept in full, so that a scan of 150,000 pods stays small.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import quote

import msgspec

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts.kubernetes import Get, List, Listing, Resource
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import Api, KubernetesError, refusal

PAGE = 500  # objects a page: what the measurements in ARCHITECTURE.md used
MAX_PAGES = 2_000  # a million objects: past that something hands out continue tokens for ever
IN_FLIGHT = 8  # requests at once, so that a diagnosis never crowds out the cluster's own clients


class _ListMeta(msgspec.Struct):
    """Where a list goes on."""

    continue_: str | None = msgspec.field(name="continue", default=None)


@cache
def _page_of(struct: type[Any]) -> type[Any]:
    """The shape of one page of a list of such objects. Without `items` (null for none) it is no list, not an empty one."""
    return msgspec.defstruct("Page", [("metadata", _ListMeta), ("items", list[struct] | None)])  # type: ignore[valid-type]


class KubernetesSource:
    """Reads Kubernetes facts through one API connection."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._decoders: dict[type, msgspec.json.Decoder[Any]] = {}

    def provides(self, kind: Kind[Any]) -> bool:
        """Whether this is a Kubernetes resource."""
        return isinstance(kind, Resource)

    async def fetch(
        self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None
    ) -> Listing[Any]:
        """Read a resource by the requests it declares. `keep` says what a scan of everything needs in full.

        Raises:
            CouldNotLook: the server cannot be reached, or refuses, or does not know the resource.
        """
        assert isinstance(kind, Resource)
        requests = list(kind.requests(earlier))
        if not requests:
            _nothing_to_ask(kind, earlier)
        answers = await asyncio.gather(*(self._answer(kind, request, keep) for request in requests))
        full = tuple(item for listing in answers for item in listing.full)
        rows = tuple(row for listing in answers for row in listing.rows)
        return Listing(full, rows, sum(listing.scanned for listing in answers))

    async def _answer(
        self, kind: Resource[Any], request: Get | List, keep: Callable[[Any], bool] | None
    ) -> Listing[Any]:
        async with self._slots:
            if isinstance(request, List):
                return await self._list(kind, request, keep)
            found = await self._get(kind, request)
        if found is None:
            return Listing(())
        return Listing((found,), (kind.row(found),) if kind.row else (), 1)

    async def _get(self, kind: Resource[Any], request: Get) -> Any:
        for collection in _collections(kind, request.namespace):
            path = f"{collection}/{quote(request.name, safe='')}"
            try:
                body = await self._api.get(path, metadata_only=kind.granted_by_choice or kind.metadata_only)
                return self._decode(body, kind.struct, kind)
            except KubernetesError as error:
                if error.status == 404:  # no such object, or no such version: only the others tell
                    continue
                chosen = error.status == 403 and kind.granted_by_choice
                what = refusal(error, f"read {kind.plural}/{request.name}")
                raise CouldNotLook(what, configured=not chosen) from None
        return None

    async def _list(self, kind: Resource[Any], request: List, keep: Callable[[Any], bool] | None) -> Listing[Any]:
        assert not kind.granted_by_choice, "what is granted by choice is asked for by name"
        assert not kind.metadata_only, "metadata alone is asked for by name"
        page_type = _page_of(kind.struct)  # type: ignore[arg-type]
        query = {"limit": str(PAGE)}
        if request.fields:
            query["fieldSelector"] = request.fields
        if request.labels:
            query["labelSelector"] = request.labels
        full: list[Any] = []
        rows: list[Any] = []
        scanned = 0
        path, *older = _collections(kind, request.namespace)
        for _ in range(MAX_PAGES):
            try:
                page = self._decode(await self._api.get(path, query), page_type, kind)
            except KubernetesError as error:
                if error.status == 404 and older:  # a list is always there where its version is served
                    path = older.pop(0)
                    continue
                where = f"in namespace {request.namespace}" if request.namespace else "in all namespaces"
                raise CouldNotLook(refusal(error, f"list {kind.plural} {where}")) from None
            items = page.items or []
            scanned += len(items)
            full.extend(item for item in items if keep is None or keep(item))
            rows.extend(kind.row(item) for item in items if kind.row)
            if not page.metadata.continue_:
                return Listing(tuple(full), tuple(rows), scanned)
            query["continue"] = page.metadata.continue_
        raise CouldNotLook(f"The list of {kind.plural} did not end after {MAX_PAGES * PAGE} objects: report this.")

    def _decode(self, data: bytes, into: type[Any], kind: Resource[Any]) -> Any:
        decoder = self._decoders.setdefault(into, msgspec.json.Decoder(into, strict=False))
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise CouldNotLook(
                f"The answer for {kind.plural} from {self._api.server} is malformed ({error}): "
                "check that this address is a Kubernetes API."
            ) from None


def _nothing_to_ask(kind: Resource[Any], earlier: Snapshot) -> None:
    """Tell "there is none" from "what would have led there was not seen".

    Raises:
        CouldNotLook: a kind that narrows this one could not be read.
    """
    for needed in kind.after:
        if isinstance(unseen := earlier[needed], NotSeen):
            raise CouldNotLook(
                f"which {kind.name} to read is not known, because {needed.name} could not be read: {unseen.reason}",
                configured=unseen.configured,
            )


def _collections(kind: Resource[Any], namespace: str | None) -> list[str]:
    """Where the objects of a kind lie, in each version that a server may serve."""
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return [f"{path}{within}/{kind.plural}" for path in kind.paths]
