"""The Rados protocol: bytes in, bytes out. librados and the sandbox's simulated Ceph both speak it.

One contract test runs against both. All calls block and are bounded by the time-outs of the connection: call them in
worker threads. A time-out does not mean that a write was not done.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol


class RadosError(Exception):
    """A call that Ceph refused or did not answer. `errno` is positive (2 no such object, 13 denied, 110 time-out)."""

    def __init__(self, errno: int, what: str) -> None:
        super().__init__(f"{what} (errno {errno})")
        self.errno = errno
        self.what = what


class Rados(Protocol):
    """A connection to one Ceph cluster with one cephx identity."""

    @property
    def fsid(self) -> str:
        """The cluster's id."""
        ...

    @property
    def client(self) -> str:
        """Our own client: `client.N`."""
        ...

    def own_ips(self) -> tuple[str, ...]:
        """The IPs that Ceph sees us at."""
        ...

    def pools(self) -> tuple[str, ...]:
        """Names of all pools."""
        ...

    def omap(self, pool: str, namespace: str, oid: str, prefix: str) -> dict[str, bytes]:
        """All omap entries of an object whose keys begin with `prefix`.

        Raises:
            RadosError: errno 2 where the object does not exist.
        """
        ...

    def read(self, pool: str, namespace: str, oid: str) -> bytes:
        """The data of an object (small ones: directories and ids).

        Raises:
            RadosError: errno 2 where the object does not exist.
        """
        ...

    def execute(self, pool: str, namespace: str, oid: str, cls: str, method: str, data: bytes) -> bytes:
        """Call a method of an object class on the OSD.

        Raises:
            RadosError: whatever errno the method gave.
        """
        ...

    def execute_each(
        self, pool: str, namespace: str, oids: Sequence[str], cls: str, method: str, data: bytes
    ) -> list[bytes | RadosError]:
        """The same call on many objects, many at a time; one answer or error for each, in order."""
        ...

    def watchers(self, pool: str, namespace: str, image: str, image_id: str | None = None) -> list[tuple[int, str]]:
        """Who watches an image's header: (client number, address text). We ourselves never show up.

        An image in the trash has lost its name: `image_id` then finds it.

        Raises:
            RadosError: errno 2 where the image does not exist.
        """
        ...

    def mon(self, command: Mapping[str, object], mon: str | None = None) -> bytes:
        """Send a command to the monitors, or to the one named `mon`; the answer is what it prints (JSON).

        Raises:
            RadosError: refused (13), unknown command (22), no answer (110).
        """
        ...

    def wait_for_map(self) -> None:
        """Return once this client has the newest OSD map: what we write next is judged by it."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...
