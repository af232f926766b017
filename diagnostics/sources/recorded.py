"""A world that was written down: Kubernetes objects as the API gives them, Ceph facts as they were read, and gaps.

It is read through `gather`, by the requests that each kind declares, so that a recorded case fails when those are wrong.
A kind of Kubernetes object that a world does not mention has no objects; a gap is stated under `unseen`.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts.ceph import (
    FEATURES,
    LOCKS,
    NEIGHBOURS,
    OSDMAP,
    PLACEMENTS,
    SESSIONS,
    STATUS,
    ClusterStatus,
    ImageFeatures,
    Locks,
    OsdMap,
    Placements,
    Sessions,
    Sighting,
    VolumeWatchers,
)
from diagnostics.facts.holders import WATCHERS
from diagnostics.facts.kubernetes import Get, List, Listing, Resource
from diagnostics.model import Scope
from diagnostics.sources import CouldNotLook

Json = dict[str, Any]
_CEPH = {
    LOCKS.name: Locks, NEIGHBOURS.name: Locks, SESSIONS.name: Sessions, OSDMAP.name: OsdMap, STATUS.name: ClusterStatus,
    WATCHERS.name: VolumeWatchers, FEATURES.name: ImageFeatures, PLACEMENTS.name: Placements,
}  # fmt: skip
_EMPTY_WHERE_UNTOLD = (WATCHERS.name, FEATURES.name, PLACEMENTS.name)


class Gap(msgspec.Struct, forbid_unknown_fields=True):
    """Why something cannot be read. `configured` is False where there is nothing to look at."""

    reason: str
    configured: bool = True


class World(msgspec.Struct, forbid_unknown_fields=True):
    """What there is. `kubernetes` holds objects by plural, `ceph` and `unseen` are by the names of kinds.

    `why` says in a sentence what the world is about, for its reader.
    """

    why: str
    taken_at: datetime
    kubernetes: dict[str, list[Json]] = {}
    ceph: dict[str, Json] = {}
    unseen: dict[str, Gap] = {}
    sightings: tuple[Sighting, ...] = ()
    scope: Scope = Scope("recorded")


def load(path: Path) -> World:
    """Read a world from YAML."""
    return msgspec.convert(yaml.load(path.read_text(), yaml.CSafeLoader), World)


def but(world: World, **changes: Any) -> World:
    """A deep copy of a world with other fields."""
    return msgspec.structs.replace(copy.deepcopy(world), **changes)


class Recording:
    """A source that reads a world. `asked` lists the kinds that it was asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[str] = []

    def provides(self, kind: Kind[Any]) -> bool:
        """Whether the world can tell of this kind: all of Kubernetes, and Ceph where there is one."""
        return isinstance(kind, Resource) or (_plain(kind) in _CEPH and bool(self.world.ceph or self._gap(kind)))

    def _gap(self, kind: Kind[Any]) -> Gap | None:
        plural = kind.plural if isinstance(kind, Resource) else _plain(kind)
        return self.world.unseen.get(kind.name) or self.world.unseen.get(plural)

    def _told(self, kind: Kind[Any]) -> Json | None:
        """What the world tells of Ceph. Where it names no neighbours, its locks are all that there are."""
        told = self.world.ceph
        if kind is NEIGHBOURS and kind.name not in told:
            return told.get(LOCKS.name)
        return told.get(kind.name, told.get(_plain(kind), {} if kind.name in _EMPTY_WHERE_UNTOLD else None))

    async def fetch(self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None) -> Any:
        """Read a kind by the requests that it declares.

        Raises:
            CouldNotLook: it is hidden in this world, or the world does not tell of it.
        """
        self.asked.append(kind.name)
        if gap := self._gap(kind):
            raise CouldNotLook(gap.reason, configured=gap.configured)
        if not isinstance(kind, Resource):
            told = self._told(kind)
            if told is None:
                raise CouldNotLook(f"{kind.name} is not recorded in this world")
            return msgspec.convert(told, _CEPH[_plain(kind)], strict=False)
        requests = list(kind.requests(earlier))
        for needed in kind.after if not requests else ():  # as the real source: nothing to ask may be blindness too
            if isinstance(unseen := earlier[needed], NotSeen):
                raise CouldNotLook(unseen.reason, configured=unseen.configured)
        found = [item for request in requests for item in self._matching(kind, request)]
        objects = [msgspec.convert(item, kind.struct, strict=False) for item in found]
        full = tuple(item for item in objects if keep is None or keep(item))
        return Listing(full, tuple(kind.row(item) for item in objects) if kind.row else (), len(objects))

    def _matching(self, kind: Resource[Any], request: Get | List) -> Sequence[Json]:
        items = self.world.kubernetes.get(kind.plural, [])
        if request.namespace:
            items = [item for item in items if item["metadata"].get("namespace") == request.namespace]
        if isinstance(request, Get):
            return [item for item in items if item["metadata"]["name"] == request.name]
        for key, _, value in (each.partition("=") for each in (request.labels or "").split(",") if each):
            items = [item for item in items if (item["metadata"].get("labels") or {}).get(key) == value]
        path, _, value = (request.fields or "").partition("=")
        return [item for item in items if not path or _field(item, path.split(".")) == value]


def _plain(kind: Kind[Any]) -> str:
    """The name of the fact that a kind is a narrower reading of: `ceph.osdmap of the node's daemons` is an OSD map."""
    return kind.name.partition(" ")[0]


def _field(item: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = item
    for name in path:
        found = (found or {}).get(name)
    return found or ""
