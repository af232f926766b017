"""A connection to the simulated Ceph: the Rados protocol, with the caps of one identity.

It is in librados' place and nothing else: whatever Unstick does to it, it could have done to a real cluster.
"""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum

from bot.sandbox.ceph import monitors, object_locks
from bot.sandbox.ceph.state import ETIMEDOUT, ClusterState, Instance, RadosObject
from diagnostics.facts.ceph import ImageSpec
from diagnostics.sources.ceph.rados import RadosError

EPERM, ENOTCONN = 1, 107


class Caps(StrEnum):
    """What an identity may do, after the two that Unstick is given, and an administrator."""

    DIAGNOSE = "diagnose"
    REMEDIATE = "remediate"
    ALL = "all"


class SimulatedRados:
    """See the Rados protocol."""

    def __init__(self, cluster: ClusterState, instance: Instance, caps: Caps) -> None:
        self._cluster = cluster
        self._instance = instance
        self._caps = caps

    @property
    def fsid(self) -> str:
        """The cluster's id."""
        return self._cluster.fsid

    @property
    def client(self) -> str:
        """Our own client: `client.N`."""
        return self._instance.client

    def own_ips(self) -> tuple[str, ...]:
        """The IP that this connection was made from."""
        return (self._instance.address.ip,)

    def pools(self) -> tuple[str, ...]:
        """Names of all pools."""
        self._alive()
        return tuple(self._cluster.pools)

    def omap(self, pool: str, namespace: str, oid: str, prefix: str) -> dict[str, bytes]:
        """All omap entries of an object whose keys begin with `prefix`."""
        with self._cluster.lock:
            entries = self._object(pool, namespace, oid).omap
            return {key: value for key, value in sorted(entries.items()) if key.startswith(prefix)}

    def read(self, pool: str, namespace: str, oid: str) -> bytes:
        """The data of an object."""
        with self._cluster.lock:
            return self._object(pool, namespace, oid).data

    def execute(self, pool: str, namespace: str, oid: str, cls: str, method: str, data: bytes) -> bytes:
        """Call a method of the only object class that there is."""
        with self._cluster.lock:
            may_write = self._caps is not Caps.DIAGNOSE
            if cls != "lock" or (method in object_locks.WRITING and not may_write):
                raise RadosError(EPERM, f"{cls}.{method} on {oid} failed")
            reply = object_locks.call(self._object(pool, namespace, oid), method, data, self._instance)
            return reply[: self._cluster.cut_replies]

    def execute_each(
        self, pool: str, namespace: str, oids: Sequence[str], cls: str, method: str, data: bytes
    ) -> list[bytes | RadosError]:
        """The same call on many objects."""
        answers: list[bytes | RadosError] = []
        for oid in oids:
            try:
                answers.append(self.execute(pool, namespace, oid, cls, method, data))
            except RadosError as error:
                answers.append(error)
        return answers

    def watchers(self, pool: str, namespace: str, image: str, image_id: str | None = None) -> list[tuple[int, str]]:
        """Who watches an image's header."""
        with self._cluster.lock:
            self._alive()
            header = self._cluster.header(ImageSpec(pool, namespace, image), image_id)
            self._object(pool, namespace, header)
            watches = self._cluster.watches_on((pool, namespace, header))
            return [(watch.instance.number, str(watch.instance.address)) for watch in watches]

    def mon(self, command: Mapping[str, object], mon: str | None = None) -> bytes:
        """Send a command to the monitors, or to the one named `mon`."""
        self._alive()
        answering = set(self._cluster.mons) - self._cluster.silent_mons
        if (mon in self._cluster.silent_mons) if mon else not answering:
            raise RadosError(ETIMEDOUT, f"the monitor command {command.get('prefix')!r} got no answer")
        sent = json.loads(json.dumps(command))  # only what survives the wire is seen: 60 is not 60.0 there either
        with self._cluster.lock:
            answer = monitors.command(self._cluster, sent, mon, self._may)
        return json.dumps(answer).encode() if answer is not None else b""

    def wait_for_map(self) -> None:
        """Nothing to wait for: everybody sees the same map."""
        self._alive()
        if self._cluster.silent_mons >= set(self._cluster.mons):
            raise RadosError(ETIMEDOUT, "waiting for the newest OSD map got no answer")

    def close(self) -> None:
        """End the connection."""
        self._instance.gone = True

    def _alive(self) -> None:
        if self._instance.gone:
            raise RadosError(ENOTCONN, "the connection to Ceph is not open")

    def _object(self, pool: str, namespace: str, oid: str) -> RadosObject:
        self._alive()
        self._cluster.refuse_if_fenced(self._instance)
        return self._cluster.object(pool, namespace, oid)

    def _may(self, command: Mapping[str, object]) -> bool:
        """Whether the caps allow a command. `profile rbd` lets one fence `ip:port/nonce`, not a bare IP."""
        prefix = command["prefix"]
        if self._caps is Caps.ALL:
            return True
        if self._caps is Caps.DIAGNOSE:
            return prefix != "osd blocklist"
        if prefix == "osd blocklist":
            lifts, ranged = command.get("blocklistop") == "rm", command.get("range") == "range"
            return lifts or ranged or monitors.is_whole(str(command.get("addr")))
        return prefix not in ("mgr dump", "fs dump")
