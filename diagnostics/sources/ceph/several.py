"""Several Ceph clusters of one Kubernetes cluster: each is looked at by itself, and sees the volumes that lie in it.

A **view** is what one Ceph is looked at with: the Kubernetes objects, each volume marked with whether it lies there, and
that Ceph's own facts. Kubernetes is asked once for all views of a look. What one Ceph does not answer holds up, and
hides, nothing of another's.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts.ceph import OsdMap
from diagnostics.facts.disruption import NODE_OSDMAP
from diagnostics.facts.images import is_ceph
from diagnostics.facts.kubernetes import Get, List, Listing, Resource
from diagnostics.facts.resources import Pod, PodVolume, Volume, Whereabouts
from diagnostics.facts.whereabouts import (
    CEPHS,
    PLUGIN_CONFIG,
    PLUGIN_SETS,
    Cephs,
    Identity,
    Placed,
    Said,
    configs_by_driver,
    decide,
    is_proved,
    said_of,
    why_no_config,
)
from diagnostics.model import Scope, quoted
from diagnostics.sources import CouldNotLook, Source
from diagnostics.sources.ceph.source import CephSource

V = TypeVar("V", Volume, PodVolume)
IDENTIFYING = 20.0
"""Seconds that a Ceph may take to say which one it is; a connection gives up after 5 by itself."""
MOMENT = 1.0
"""Seconds that one which is well needs at most."""


class CephGroup:
    """The Ceph clusters of one Kubernetes cluster, by their names in the configuration.

    As a source it answers nothing: who looks chooses a view first (`Look`), or looks at all of them.
    """

    def __init__(self, members: Mapping[str, CephSource]) -> None:
        self.members = dict(members)

    def provides(self, kind: Kind[Any]) -> bool:
        """Whether a Ceph is read for that kind of fact."""
        return any(member.provides(kind) for member in self.members.values())

    async def fetch(
        self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None  # noqa: ARG002
    ) -> Any:  # fmt: skip
        """Answer nothing.

        Raises:
            CouldNotLook: always.
        """
        raise CouldNotLook(
            f"several Ceph clusters are configured ({quoted(list(self.members))}): which one is not said"
        )

    async def aclose(self) -> None:
        """End all connections, at the same time: one that hangs keeps no other open."""
        await asyncio.gather(*(member.aclose() for member in self.members.values()), return_exceptions=True)


class Look:
    """One look at several Ceph clusters, to be entered with `async with`. What it reads of Kubernetes it reads once."""

    def __init__(self, sources: Sequence[Source], group: CephGroup, scope: Scope, now: datetime) -> None:
        self.members = group.members
        self._scope = scope
        self._others = [_Once(source) for source in sources if source is not group]
        self._nothing = Snapshot(scope.cluster, now, Scope(scope.cluster))
        self._identifying: dict[str, asyncio.Task[Identity | NotSeen]] = {}
        self._daemons: asyncio.Task[OsdMap | NotSeen] | None = None
        self._configuring: asyncio.Task[Snapshot] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._identifying.values(), *filter(None, (self._daemons, self._configuring))]
        tasks += [task for source in self._others for task in source.asked.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def view(self, name: str | None, blind: NotSeen | None = None) -> list[Source]:
        """What the Ceph of that name is looked at with; for None its facts are not seen, for the reason `blind`."""
        placing: list[Source] = [_Placing(source, self, name) for source in self._others]
        return [*placing, _Member(self, name, blind or NotSeen("no Ceph was chosen"))]

    async def identities(self) -> dict[str, Identity | NotSeen]:
        """What each Ceph says of itself. Around one subject nobody waits long for one that may not matter."""
        asked = {name: self._identity(name) for name in self.members}
        await asyncio.wait(asked.values(), timeout=None if self._scope.subject is None else MOMENT)
        return {name: task.result() if task.done() else _NOT_YET for name, task in asked.items()}

    def _identity(self, name: str) -> "asyncio.Task[Identity | NotSeen]":
        if name not in self._identifying:
            self._identifying[name] = asyncio.create_task(_identify(self.members[name]))
        return self._identifying[name]

    async def osd_map_of_all(self) -> OsdMap | NotSeen:
        """The fences and daemons of all Ceph clusters together; not seen where one of them is not."""
        if self._daemons is None:
            self._daemons = asyncio.create_task(self._read_osd_maps())
        return await asyncio.shield(self._daemons)

    async def osd_maps(self) -> dict[str, OsdMap | NotSeen]:
        """The OSD map of each Ceph."""

        async def read(name: str) -> OsdMap | NotSeen:
            try:
                found: OsdMap = await self.members[name].fetch(NODE_OSDMAP, self._nothing)
            except CouldNotLook as error:
                return NotSeen(of_ceph(name, error.reason), error.configured)
            return found

        return dict(zip(self.members, await asyncio.gather(*map(read, self.members)), strict=True))

    async def _read_osd_maps(self) -> OsdMap | NotSeen:
        read = await self.osd_maps()
        if unseen := [one for one in read.values() if isinstance(one, NotSeen)]:
            return NotSeen("; ".join(one.reason for one in unseen))
        first, *rest = (one for one in read.values() if isinstance(one, OsdMap))
        every = (first, *rest)
        return msgspec.structs.replace(
            first,
            flags=frozenset(flag for one in every for flag in one.flags),
            fences=tuple(fence for one in every for fence in one.fences),
            daemons=tuple(dict.fromkeys(daemon for one in every for daemon in one.daemons)),
            own_ips=tuple(dict.fromkeys(ip for one in every for ip in one.own_ips)),
            health=max((one.health for one in every), key=_HEALTHS.index),
            others=frozenset(one.fsid for one in rest),
        )

    async def place(self, volumes: Sequence[Volume | PodVolume]) -> list[Placed]:
        """The Ceph that each volume lies in. Whoever does not answer is waited for only where nothing else proves it."""
        config = await self._config() if any(isinstance(v, Volume) and v.spec.csi for v in volumes) else self._nothing
        configs, blind = configs_by_driver(config), why_no_config(config)
        said: list[Said] = [said_of(volume, configs, blind) for volume in volumes]
        distinct = set(said)  # thousands of volumes say the same few things
        asked = {name: self._identity(name) for name in self.members}
        while True:
            known = {name: task.result() for name, task in asked.items() if task.done()}
            left = [task for task in asked.values() if not task.done()]
            if not left or all(is_proved(one, known) for one in distinct):
                break
            await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        told = {name: known.get(name, _NOT_YET) for name in asked}
        decided = {one: decide(one, told) for one in distinct}
        return [decided[one] for one in said]

    async def _config(self) -> Snapshot:
        """ceph-csi's configuration, by which clusterIDs lead to monitors."""
        if self._configuring is None:
            self._configuring = asyncio.create_task(self._read_config())
        return await asyncio.shield(self._configuring)

    async def _read_config(self) -> Snapshot:
        snapshot = self._nothing
        for kind in (PLUGIN_SETS, PLUGIN_CONFIG):
            source = next((source for source in self._others if source.provides(kind)), None)
            try:
                found: Any = await source.fetch(kind, snapshot) if source else NotSeen("no Kubernetes is configured")
            except CouldNotLook as error:
                found = NotSeen(error.reason, error.configured)
            snapshot = snapshot.with_fact(kind, found)
        return snapshot


_NOT_YET = NotSeen("it has not answered yet")
_HEALTHS = ("HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR")


def of_ceph(name: str, reason: str) -> str:
    """A reason with the name of the Ceph that gave it."""
    return reason if reason.startswith(f"Ceph {name}: ") else f"Ceph {name}: {reason}"


async def _identify(member: CephSource) -> Identity | NotSeen:
    try:
        return await asyncio.wait_for(member.identity(), IDENTIFYING)
    except CouldNotLook as error:
        return NotSeen(error.reason, error.configured)
    except TimeoutError:
        return NotSeen(f"it did not say within {IDENTIFYING:g} s which cluster it is: check `ceph -s`")


class _Once:
    """A source that answers the same requests once, however many views ask."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.asked: dict[tuple[str, tuple[Get | List, ...], bool], asyncio.Task[Any]] = {}

    def provides(self, kind: Kind[Any]) -> bool:
        return self._source.provides(kind)

    async def fetch(self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None) -> Any:
        requests = tuple(kind.requests(earlier)) if isinstance(kind, Resource) else ()
        if not requests:  # then nothing is asked, and what it says depends on what was seen before
            return await self._source.fetch(kind, earlier, keep)
        key = (kind.name, requests, keep is None)
        if key not in self.asked:
            self.asked[key] = asyncio.create_task(self._source.fetch(kind, earlier, keep))
        return await asyncio.shield(self.asked[key])


class _Placing:
    """Kubernetes in the view of one Ceph: each volume says whether it lies there."""

    def __init__(self, source: Source, look: Look, name: str | None) -> None:
        self._source = source
        self._look = look
        self._name = name

    def provides(self, kind: Kind[Any]) -> bool:
        return self._source.provides(kind)

    async def fetch(self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None) -> Any:
        found = await self._source.fetch(kind, earlier, keep)
        if not isinstance(found, Listing) or not isinstance(kind, Resource):
            return found
        if kind.struct is Volume:
            return await self._of_volumes(found)
        return await self._of_pods(found) if kind.struct is Pod else found

    async def _of_volumes(self, listing: Listing[Volume]) -> Listing[Volume]:
        marked = await self._marked([volume for volume in listing.full if is_ceph(volume)])
        full = tuple(marked.get(id(volume), volume) for volume in listing.full)
        return Listing(full, listing.rows, listing.scanned) if marked else listing

    async def _of_pods(self, listing: Listing[Pod]) -> Listing[Pod]:
        """Of what pods name themselves, only in-tree volumes say which Ceph they are of."""
        own = [entry for pod in listing.full for entry in pod.spec.volumes or () if entry.rbd or entry.cephfs]
        marked = await self._marked(own)
        full = tuple(_with_volumes(pod, marked) for pod in listing.full)
        return Listing(full, listing.rows, listing.scanned) if marked else listing

    async def _marked(self, volumes: Sequence[V]) -> dict[int, V]:
        if not volumes:
            return {}
        placed = await self._look.place(volumes)
        return {
            id(volume): msgspec.structs.replace(
                volume, whereabouts=Whereabouts(one.ceph, bool(one.ceph) and one.ceph == self._name, one.says)
            )
            for volume, one in zip(volumes, placed, strict=True)
        }


def _with_volumes(pod: Pod, marked: Mapping[int, PodVolume]) -> Pod:
    entries = pod.spec.volumes or ()
    if not any(id(entry) in marked for entry in entries):
        return pod
    volumes = tuple(marked.get(id(entry), entry) for entry in entries)
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, volumes=volumes))


class _Member:
    """One Ceph in its own view: what it cannot say is told with its name."""

    def __init__(self, look: Look, name: str | None, blind: NotSeen) -> None:
        self._look = look
        self._name = name
        self._blind = blind

    def provides(self, kind: Kind[Any]) -> bool:
        return kind is CEPHS or any(member.provides(kind) for member in self._look.members.values())

    async def fetch(self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None) -> Any:
        if kind is CEPHS:
            return Cephs(await self._look.identities())
        if kind is NODE_OSDMAP:
            found = await self._look.osd_map_of_all()
            if isinstance(found, NotSeen):
                raise CouldNotLook(found.reason, configured=found.configured)
            return found
        if self._name is None:
            raise CouldNotLook(self._blind.reason, configured=self._blind.configured)
        try:
            return await self._look.members[self._name].fetch(kind, earlier, keep)
        except CouldNotLook as error:
            reason = of_ceph(self._name, error.reason) if error.configured else error.reason
            raise CouldNotLook(reason, configured=error.configured, unreachable=error.unreachable) from None
