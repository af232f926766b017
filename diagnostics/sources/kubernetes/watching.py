"""Follows the changes of a Kubernetes resource: lists it once, then watches it, for as long as somebody listens.

Nothing that it hears is kept but the resourceVersion that it goes on from. It must never end by itself, whatever the
server or the network does, nor take silence for health: how long nothing was heard, and why, can be asked at any time.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Generic, NoReturn, Protocol, TypeVar, Union
from urllib.parse import quote

import msgspec

from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import Api, KubernetesError, Silent, refusal

PAGE = 500
MAX_PAGES = 2_000
LASTS = (240.0, 300.0)
"""Seconds that a watch is asked to last, between these: not all of a server's watches are to begin anew at once."""
SILENCE = 90.0
"""Seconds after which a silent watch is begun anew. Since 1.20 a bookmark comes each minute, but for events none does."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the first new try and, as each wait is twice as long as the one before, before all later ones."""
CATCH_UP = timedelta(seconds=1)
"""How long a watch that was away takes to tell what happened meanwhile. Nothing marks where that ends."""
LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one change: etcd takes objects of 1.5 MB, as JSON they are larger."""


class Identity(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The part of an object's metadata that a watch needs; all its objects have it."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""


class Identified(Protocol):
    """What can be watched: anything with metadata."""

    @property
    def metadata(self) -> Identity:
        """Who it is."""
        ...


T = TypeVar("T", bound=Identified)
T_contra = TypeVar("T_contra", contravariant=True)


class Change(StrEnum):
    """What was heard of an object. LISTED: it is there. DELETED: gone, or no longer what the selector asks for."""

    LISTED = "LISTED"
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Listener(Protocol[T_contra]):
    """Who listens. Both are called in the order in which things happened, and must not wait."""

    def changed(self, change: Change, thing: T_contra) -> None:
        """An object was listed, or has changed."""
        ...

    def listed(self, namespace: str | None, uids: frozenset[str]) -> None:
        """A list has ended: of that namespace (None: of all), just these are there. What else was known has vanished."""
        ...


@dataclass(frozen=True)
class Watched(Generic[T]):
    """A resource to be watched: its API path (`/api/v1`), what to decode of each object, and a field selector.

    `kept` says that the listener keeps objects, so that after each list it is told what there is.
    """

    path: str
    plural: str
    struct: type[T]
    fields: str = ""
    kept: bool = True

    @property
    def group(self) -> str:
        """The API group, as RBAC names it: "" for the core's."""
        return self.path.split("/")[2] if self.path.startswith("/apis/") else ""


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str | None = msgspec.field(name="continue", default=None)


class _Marked(msgspec.Struct):
    metadata: Identity = Identity()


class _Said(msgspec.Struct):
    """The part of a Status that matters."""

    code: int = 0
    message: str = ""


class _Bookmark(msgspec.Struct, tag_field="type", tag="BOOKMARK"):
    object: _Marked


class _Error(msgspec.Struct, tag_field="type", tag="ERROR"):
    object: _Said


class _Expired(Exception):
    """What happened since the resourceVersion is not remembered any more, or the cluster's history is another one."""


@cache
def _page_decoder(struct: type[Any]) -> msgspec.json.Decoder[Any]:
    page = msgspec.defstruct("Page", [("metadata", _ListMeta), ("items", list[struct] | None)])  # type: ignore[valid-type]
    return msgspec.json.Decoder(page, strict=False)


@cache
def line_decoder(struct: type[Any]) -> msgspec.json.Decoder[Any]:
    """Decodes one line of a watch, told apart by its `type`; `change_of` gives a decoded line's change."""
    changes = tuple(
        msgspec.defstruct(word.title(), [("object", struct)], tag_field="type", tag=word.value)
        for word in (Change.ADDED, Change.MODIFIED, Change.DELETED)
    )
    return msgspec.json.Decoder(Union[(*changes, _Bookmark, _Error)], strict=False)


def change_of(line: Any) -> Change:
    """The change that a decoded line tells of.

    Raises:
        ValueError: it is a bookmark or an error.
    """
    return _CHANGES[type(line).__struct_config__.tag]


class _Changes(dict[Any, Change]):
    def __missing__(self, tag: Any) -> NoReturn:
        raise ValueError(f"{tag} is no change of an object")


_CHANGES = _Changes({str(word): word for word in Change})


class Stream(Generic[T]):
    """One resource of one namespace (None: of all), followed for ever by `follow`; it can be asked how it fares.

    Args:
        now: the time in UTC.
        pause: waits for some seconds.
        silence: seconds after which a silent watch is begun anew.
        lasts: between how many seconds a watch is asked to last.
        jitter: a number between two others, by chance.
    """

    def __init__(
        self, watched: Watched[T], namespace: str | None, listener: Listener[T], *, now: Callable[[], datetime],
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep, silence: float = SILENCE,
        lasts: tuple[float, float] = LASTS, jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:  # fmt: skip
        self.watched, self.namespace = watched, namespace
        self.revision = ""
        self.heard_at: datetime | None = None
        self.problem: str | None = None
        self.current_from: datetime | None = None
        self._listener = listener
        self._now, self._pause, self._jitter = now, pause, jitter
        self._silence, self._lasts = silence, lasts
        self._tries = 0
        self._heard_anything = False
        self._away_since: datetime | None = None

    @property
    def connected(self) -> bool:
        """Whether a watch is open now. Between two of them there are moments when none is."""
        return self.current_from is not None

    def is_current(self, now: datetime) -> bool:
        """Whether all that has happened was heard by now, as far as that can be known."""
        return self.current_from is not None and now >= self.current_from

    async def follow(self, api: Api) -> None:
        """List and watch for ever; go on where it was, if it was cut before.

        Raises:
            CouldNotLook: the credentials are refused: a new connection may have better ones.
        """
        while True:
            self._heard_anything, began = False, self._now()
            try:
                await self._once(api)
            except _Expired:
                self.revision = ""
                # Whoever expires again and again, whatever is heard in between, is not to be listed in a tight loop.
                self._heard_anything &= self._now() - began >= timedelta(seconds=LONGEST_WAIT)
            except CouldNotLook as error:
                self.problem = error.reason
            except KubernetesError as error:
                self.problem = self._refused(error)
                if error.status == 410:
                    self.revision = ""
                if error.status == 401:
                    raise CouldNotLook(self.problem) from None
            finally:
                self._lost()
            if self._heard_anything:
                self._tries = 0
            else:
                self._tries += 1
                longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._tries - 1, 10))
                await self._pause(self._jitter(longest / 2, longest))

    async def _once(self, api: Api) -> None:
        if not self.revision:
            await self._list(api)
        try:
            await self._watch(api)
        except Silent:
            await self._ask_whether_ahead(api)

    async def _list(self, api: Api) -> None:
        decoder, uids, query = _page_decoder(self.watched.struct), set(), self._selected({"limit": str(PAGE)})
        for _ in range(MAX_PAGES):
            page = self._decoded(decoder, await api.get(self._path, query))
            for thing in page.items or ():
                if self.watched.kept:
                    uids.add(thing.metadata.uid)
                self._listener.changed(Change.LISTED, thing)
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        else:
            raise CouldNotLook(f"The list of {self._what} did not end after {MAX_PAGES * PAGE} objects: report this.")
        if not page.metadata.resource_version:
            raise CouldNotLook(f"The list of {self._what} has no resourceVersion: check that it is a Kubernetes API.")
        if self.watched.kept:
            self._listener.listed(self.namespace, frozenset(uids))
        self.revision = page.metadata.resource_version
        self._away_since = None  # a list tells how it is, so that there is nothing to catch up with

    async def _watch(self, api: Api) -> None:
        query = self._selected(
            {
                "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": self.revision,
                "timeoutSeconds": str(round(self._jitter(*self._lasts))),
            }
        )  # fmt: skip
        decoder = line_decoder(self.watched.struct)
        began = self._now()
        async with api.stream(self._path, query, silence=self._silence) as read:
            self._opened(began)
            rest = b""
            while piece := await read():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line:
                        self._take(self._decoded(decoder, line))
                if len(rest) > LONGEST_LINE:
                    self._malformed("a line that does not end")
        # It has ended by itself. One that ends at once, without a word, is a fault and has to be waited out.
        self._heard_anything |= self._now() - began >= timedelta(seconds=1)

    def _take(self, line: Any) -> None:
        self.heard_at = self._now()
        if isinstance(line, _Error):
            if line.object.code == 410:
                raise _Expired
            raise KubernetesError(line.object.code, line.object.message)
        self._heard_anything = True
        revision = line.object.metadata.resource_version
        if isinstance(line, _Bookmark):
            if _is_older(revision, self.revision):  # the cluster was put back to an older state
                raise _Expired
        else:
            self._listener.changed(change_of(line), line.object)
        if revision and not _is_older(revision, self.revision):
            self.revision = revision

    async def _ask_whether_ahead(self, api: Api) -> None:
        """See that the server has come as far as we have: if it was restored from a backup, it stays silent for long.

        A page of one object, without a selector, because the server reads on until a selector has filled the page.
        """
        page = self._decoded(_page_decoder(_Marked), await api.get(self._path, {"limit": "1"}))
        if _is_older(page.metadata.resource_version, self.revision):
            raise _Expired
        self._heard_anything = True

    def _opened(self, began: datetime) -> None:
        now = self._now()
        was_away = self._away_since is not None and began - self._away_since >= CATCH_UP
        self.current_from = now + CATCH_UP if was_away else now
        self.heard_at, self.problem, self._away_since = now, None, None

    def _lost(self) -> None:
        if self.current_from is not None:
            self.current_from, self._away_since = None, self._now()

    def _decoded(self, decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            self._malformed(str(error))

    def _malformed(self, why: str) -> NoReturn:
        # Going on from here would only bring the same again.
        self.revision = ""
        self._heard_anything = False
        raise CouldNotLook(
            f"The answer about {self._what} is malformed ({why}): check that this address is a Kubernetes API."
        )

    def _refused(self, error: KubernetesError) -> str:
        doing = f"list and watch {self._what}"
        if error.status != 403:
            return refusal(error, doing)
        said = refusal(error, doing).rpartition("; ")[0]
        if self.namespace:
            return f"{said}; grant list and watch on {self.watched.plural} in a Role there."
        return f"{said}; grant list and watch on {self.watched.plural} in a ClusterRole, or name namespaces to watch."

    def _selected(self, query: dict[str, str]) -> dict[str, str]:
        return {**query, "fieldSelector": self.watched.fields} if self.watched.fields else query

    @property
    def _path(self) -> str:
        within = f"/namespaces/{quote(self.namespace, safe='')}" if self.namespace else ""
        return f"{self.watched.path}{within}/{self.watched.plural}"

    @property
    def _what(self) -> str:
        return f"{self.watched.plural} in {f'namespace {self.namespace}' if self.namespace else 'all namespaces'}"


def _is_older(one: str, other: str) -> bool:
    """Whether a resourceVersion is from before another one. Where they are no numbers, that cannot be told: False.

    (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions: those of one resource may be compared.)
    """
    return one.isdecimal() and other.isdecimal() and int(one) < int(other)
