"""The people of the simulated world: processes on nodes that lock images, open them, write, hang and die.

They fail as real ones do, with Ceph's errno, and never behave better: a frozen one that is let go writes on.
"""

from collections import Counter

from bot.sandbox.ceph import object_locks
from bot.sandbox.ceph.state import ClusterState, Instance, Watch
from diagnostics.facts.ceph import Address
from diagnostics.facts.images import parse_spec
from diagnostics.sources.ceph.cls_lock import RBD_LOCK, LockKind, LockRequest


class SimulatedClient:
    """One process. What Ceph sees of it: its number, its address, its session, its watches, its locks.

    Its methods raise RadosError where Ceph would refuse, and RuntimeError where the process could not even ask.
    """

    def __init__(self, cluster: ClusterState, instance: Instance) -> None:
        self._cluster = cluster
        self._instance = instance
        self.writes: Counter[str] = Counter()

    @property
    def id(self) -> str:
        """`client.N`."""
        return self._instance.client

    @property
    def address(self) -> Address:
        """The address that Ceph sees."""
        return self._instance.address

    @property
    def fenced(self) -> bool:
        """Whether the blocklist covers it now."""
        return self._cluster.is_fenced(self._instance)

    def lock_advisory(self, image: str, cookie: str) -> None:
        """Take the lock as `rbd lock add` does.

        Raises:
            RadosError: errno 16, somebody holds it; 108, fenced.
        """
        self._lock(image, cookie, "")

    def lock_managed(self, image: str) -> None:
        """Open an image and take its lock as librbd does by itself before the first write.

        Raises:
            RadosError: errno 16, somebody holds it; 108, fenced.
        """
        self._lock(image, f"auto {self._watch(image).cookie}", "internal")

    def open(self, image: str) -> None:
        """Open an image for writing: from now on the process watches its header.

        Raises:
            RadosError: errno 2, there is no such image; 108, fenced.
        """
        self._watch(image)

    def write(self, image: str) -> None:
        """Write a block. The lock is not asked: it is advisory.

        Raises:
            RadosError: errno 108, fenced.
        """
        with self._cluster.lock:
            self._header(image)
            self.writes[image] += 1

    def close(self) -> None:
        """End in order: the watches and the session go at once, the locks stay."""
        with self._cluster.lock:
            self._instance.gone = True
            self._cluster.watches[:] = [w for w in self._cluster.watches if w.instance is not self._instance]

    def kill(self) -> None:
        """Die: the session goes at once, the watches after 30 s, the locks never."""
        with self._cluster.lock:
            self._instance.gone = True
            self._instance.silent_since = self._instance.silent_since or self._cluster.now()

    def freeze(self) -> None:
        """Stop answering, as a hung node does: the watches go after 30 s, the session after 300 s."""
        self._instance.silent_since = self._instance.silent_since or self._cluster.now()

    def thaw(self) -> None:
        """Go on as if nothing had happened: watching and writing, unless it was fenced meanwhile."""
        if not self._instance.gone:
            self._instance.silent_since = None

    def _watch(self, image: str) -> Watch:
        """The watch of this process on the image, which it gets by opening it."""
        with self._cluster.lock:
            where, watches = self._header(image), self._cluster.watches
            held = next((w for w in watches if w.instance is self._instance and w.where == where), None)
            if held is None:
                held = Watch(self._instance, where, 94_000_000_000_000 + self._instance.number + len(watches))
                watches.append(held)
            return held

    def _header(self, image: str) -> tuple[str, str, str]:
        """The header of an image that this process is about to touch."""
        if self._instance.gone or self._instance.silent_since is not None:
            raise RuntimeError(f"{self.id} is dead or frozen: it can do nothing")
        self._cluster.refuse_if_fenced(self._instance)
        spec = parse_spec(image)
        return spec.pool, spec.namespace, self._cluster.header(spec)

    def _lock(self, image: str, cookie: str, tag: str) -> None:
        with self._cluster.lock:
            header = self._cluster.object(*self._header(image))
            request = LockRequest(RBD_LOCK, LockKind.EXCLUSIVE, cookie, tag)
            object_locks.take(header, request, self._instance)
