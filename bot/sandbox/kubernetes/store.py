"""What the API server remembers: objects, revisions, the latest changes, and lists that are being read in pages.

A stored object is never changed in place, only replaced, so that pages and watches see what was true at their
revision. Everything here is bounded. It must only be used from the event loop's own thread.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.sandbox.kubernetes.resources import Object, Resource

CHANGES_KEPT = 5_000
LISTS_KEPT = 64


class Forgotten(Exception):
    """The revision asked for lies before what is remembered. `oldest` is the first that is."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"nothing is remembered from before revision {oldest}")
        self.oldest = oldest


@dataclass(frozen=True)
class Change:
    """One write: the object as it is now (for a deletion: as it was last) and as it was before."""

    revision: int
    resource: Resource
    before: Object | None
    after: Object | None


def key_of(stored: Object) -> str:
    """The key that lists are ordered by: `namespace/name`, or the name alone."""
    meta = stored["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


class Store:
    """All objects of one cluster, by resource and key."""

    def __init__(self) -> None:
        self.revision = 1
        self._objects: dict[Resource, dict[str, Object]] = {}
        self._changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self._lists: OrderedDict[tuple[Resource, int], Sequence[Object]] = OrderedDict()
        self._written = asyncio.Event()

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """The stored object, or None. Callers must not change it."""
        return self._objects.get(resource, {}).get(f"{namespace}/{name}" if namespace else name)

    def all(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """All objects of a resource, or those of one namespace, in the order of their keys."""
        found = self._objects.get(resource, {})
        return [
            found[key]
            for key in sorted(found)
            if namespace is None or found[key]["metadata"].get("namespace") == namespace
        ]

    def keep_list(self, resource: Resource) -> None:
        """Remember the resource as it is now, so that a list begun at this revision can be read to its end."""
        self._lists[resource, self.revision] = self.all(resource)
        while len(self._lists) > LISTS_KEPT:
            self._lists.popitem(last=False)

    def kept_list(self, resource: Resource, revision: int) -> Sequence[Object] | None:
        """The resource as it was when a list was begun at that revision; None where that is forgotten."""
        return self._lists.get((resource, revision))

    def forget_lists(self) -> None:
        """Forget all lists that are being read, as etcd's compaction does every few minutes."""
        self._lists.clear()

    def put(self, resource: Resource, changed: Object) -> Object:
        """Store an object under a new resourceVersion and return it as stored."""
        stored = {**changed, "metadata": {**changed["metadata"], "resourceVersion": str(self.revision + 1)}}
        kept = self._objects.setdefault(resource, {})
        before = kept.get(key_of(stored))
        kept[key_of(stored)] = stored
        self._record(resource, before, stored)
        return stored

    def remove(self, resource: Resource, last: Object) -> Object:
        """Remove an object; `last` is how it is shown to those who still hear of it."""
        before = self._objects[resource].pop(key_of(last))
        shown = {**last, "metadata": {**last["metadata"], "resourceVersion": str(self.revision + 1)}}
        self._record(resource, before, None)
        return shown

    def since(self, revision: int) -> list[Change]:
        """All changes after a revision.

        Raises:
            Forgotten: some of them are not remembered any more.
        """
        oldest = self._changes[0].revision if self._changes else self.revision + 1
        if revision + 1 < oldest:
            raise Forgotten(oldest)
        return [change for change in self._changes if change.revision > revision]

    async def written(self, revision: int, closing: Callable[[], bool]) -> None:
        """Wait until something is written after a revision, or until `closing` and a `wake`."""
        while self.revision <= revision and not closing():
            await self._written.wait()

    def wake(self) -> None:
        """Let all who wait for a write look again."""
        self._written.set()
        self._written = asyncio.Event()

    def _record(self, resource: Resource, before: Object | None, after: Object | None) -> None:
        self.revision += 1
        self._changes.append(Change(self.revision, resource, before, after))
        self.wake()
