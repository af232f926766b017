"""The two Cephs of the Rados contract: the sandbox's simulated one, and a real one that the lab starts.

Each offers the same few things that a test needs done to it from outside; what is tested goes through `rados` alone.
"""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from bot.sandbox.ceph import Caps, SimulatedClient, SimulatedCluster
from diagnostics.facts.ceph import Address
from diagnostics.sources.ceph import librados
from diagnostics.sources.ceph.rados import Rados, RadosError
from tests.lab.ceph import Ceph
from tests.lab.clients import Client, add_lock, lockers
from tests.lab.waiting import until

POOL = "contract"
CAPS = {
    "diagnose": {"mon": "allow r, allow command sessions", "osd": "profile rbd-read-only"},
    "remediate": {
        "mon": 'profile rbd, allow command sessions, allow command "osd blocklist" with blocklistop=rm',
        "osd": "profile rbd",
    },
}
_numbers = itertools.count(1)


class Writer(Protocol):
    """A process elsewhere that has an image open and writes to it."""

    @property
    def id(self) -> str: ...

    def refused_with(self) -> int:
        """Wait until a write of it fails, and return the errno."""
        ...

    def kill(self) -> None: ...


class CephWorld(Protocol):
    """A Ceph under test: `rados` is the connection that the contract is about, with everything allowed."""

    rados: Rados

    def connect(self, identity: str) -> Rados: ...

    def create_image(self, spec: str, format: int) -> None: ...  # noqa: A002 - rbd's own word

    def create_namespace(self, namespace: str) -> None: ...

    def trash(self, spec: str) -> None: ...

    def lock(self, spec: str, cookie: str, ip: str) -> tuple[str, str]:
        """Take the advisory lock with a process that ends; return its client and its address."""
        ...

    def writer(self, spec: str, ip: str) -> Writer: ...

    def put(self, oid: str, data: bytes, omap: Mapping[str, bytes]) -> None: ...

    def osds_down(self) -> None:
        """Let every OSD fall silent, and be marked down."""
        ...

    def eventually(self, what: str, ask: Callable[[], object]) -> None: ...


def unique(word: str) -> str:
    """A name that no other test of this run uses."""
    return f"{word}-{next(_numbers)}"


class SimulatedWriter:
    def __init__(self, client: SimulatedClient, spec: str) -> None:
        self._client, self._spec = client, spec
        client.open(spec)

    @property
    def id(self) -> str:
        return self._client.id

    def refused_with(self) -> int:
        with pytest.raises(RadosError) as raised:
            self._client.write(self._spec)
        return raised.value.errno

    def kill(self) -> None:
        self._client.kill()


class SimulatedWorld:
    def __init__(self) -> None:
        self.later = timedelta()
        self.cluster = SimulatedCluster(lambda: datetime.now(UTC) + self.later, mons={"a": "10.47.1.11"})
        self.cluster.create_pool(POOL)
        self.rados: Rados = self.cluster.connect()

    def connect(self, identity: str) -> Rados:
        return self.cluster.connect(f"client.{identity}", caps=Caps(identity))

    def create_image(self, spec: str, format: int) -> None:  # noqa: A002 - rbd's own word
        self.cluster.create_image(spec, format)

    def create_namespace(self, namespace: str) -> None:
        self.cluster.create_namespace(POOL, namespace)

    def trash(self, spec: str) -> None:
        self.cluster.trash(spec)

    def lock(self, spec: str, cookie: str, ip: str) -> tuple[str, str]:
        command = self.cluster.client(ip)
        command.lock_advisory(spec, cookie)
        command.close()
        return command.id, str(command.address)

    def writer(self, spec: str, ip: str) -> Writer:
        return SimulatedWriter(self.cluster.client(ip), spec)

    def put(self, oid: str, data: bytes, omap: Mapping[str, bytes]) -> None:
        made = self.cluster.put(POOL, "", oid)
        made.data = data
        made.omap.update(omap)

    def osds_down(self) -> None:
        self.cluster.down = {number: self.cluster.now() for number in self.cluster.osds}

    def eventually(self, what: str, ask: Callable[[], object]) -> None:
        if not ask():
            self.later += timedelta(minutes=1)
        assert ask(), f"{what} did not happen at once, nor after a minute"


class RealWriter:
    def __init__(self, client: Client) -> None:
        self._client = client
        client.wait_for_writes(1)

    @property
    def id(self) -> str:
        return self._client.id

    def refused_with(self) -> int:
        return int(self._client.wait_for("error")["errno"])

    def kill(self) -> None:
        self._client.kill()


class RealWorld:
    def __init__(self, ceph: Ceph, rados: Rados) -> None:
        self.ceph, self.rados = ceph, rados
        self._clients: list[Client] = []
        self._connections: list[Rados] = []

    def connect(self, identity: str) -> Rados:
        conf, user = self.ceph.identity(unique(f"contract-{identity}"), CAPS[identity])
        self._connections.append(librados.connect(conf, user))
        return self._connections[-1]

    def create_image(self, spec: str, format: int) -> None:  # noqa: A002 - rbd's own word
        self.ceph.create_image(spec, format)

    def create_namespace(self, namespace: str) -> None:
        self.ceph.run("rbd", "namespace", "create", f"{POOL}/{namespace}")

    def trash(self, spec: str) -> None:
        self.ceph.run("rbd", "trash", "mv", spec)

    def lock(self, spec: str, cookie: str, ip: str) -> tuple[str, str]:
        add_lock(self.ceph, spec, cookie, ip)
        (row,) = (row for row in lockers(self.ceph, spec) if row["id"] == cookie)
        return row["locker"], row["address"]

    def writer(self, spec: str, ip: str) -> Writer:
        client = Client(self.ceph, spec, "writer", address=ip, life=120).start()
        self._clients.append(client)
        return RealWriter(client)

    def put(self, oid: str, data: bytes, omap: Mapping[str, bytes]) -> None:
        import rados

        with (
            rados.Rados(conffile=str(self.ceph.conf), conf=librados.Timeouts().conf) as cluster,
            cluster.open_ioctx(POOL) as ioctx,
            rados.WriteOpCtx() as operation,
        ):
            ioctx.write_full(oid, data)
            if omap:
                ioctx.set_omap(operation, tuple(omap), tuple(omap.values()))
                ioctx.operate_write_op(operation, oid)

    def osds_down(self) -> None:
        self.ceph.osd_stop()
        self.ceph.run("ceph", "osd", "down", "0")

    def eventually(self, what: str, ask: Callable[[], object]) -> None:
        until(what, ask, timeout=20)

    def end(self) -> None:
        for client in self._clients:
            client.stop()
        for connection in self._connections:
            connection.close()


@pytest.fixture(scope="session")
def contract_ceph() -> Iterator[Ceph]:
    """A real Ceph with the contract's pool."""
    folder = Path(tempfile.mkdtemp(prefix="unstick-"))
    try:
        with Ceph(folder / "ceph") as ceph:
            ceph.create_pool(POOL)
            yield ceph
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def contract_rados(contract_ceph: Ceph) -> Iterator[Rados]:
    """One connection to it."""
    connection = librados.connect(contract_ceph.conf)
    yield connection
    connection.close()


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.real)])
def world(request: pytest.FixtureRequest) -> Iterator[CephWorld]:
    """Each of the two Cephs in turn."""
    if request.param == "simulated":
        yield SimulatedWorld()
        return
    real = RealWorld(request.getfixturevalue("contract_ceph"), request.getfixturevalue("contract_rados"))
    try:
        yield real
    finally:
        real.end()


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.real)])
def managed(request: pytest.FixtureRequest) -> Iterator[CephWorld]:
    """Each of the two Cephs in turn, alone, with a manager that has counted; what becomes of it harms no other test."""
    if request.param == "simulated":
        yield SimulatedWorld()
        return
    folder = Path(tempfile.mkdtemp(prefix="unstick-"))
    try:
        with Ceph(folder / "ceph") as ceph:
            ceph.create_pool(POOL)
            ceph.mgr_start()
            connection = librados.connect(ceph.conf)
            yield RealWorld(ceph, connection)
            connection.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fences(world: CephWorld) -> Iterator[Callable[[str], str]]:
    """Fence an address for the length of a test; returns the entry that the OSD map then has."""
    added: list[str] = []

    def fence(address: str) -> str:
        world.rados.mon({"prefix": "osd blocklist", "blocklistop": "add", "addr": address, "expire": 300.0})
        entry = str(Address.parse(address if "/" in address else f"{address}:0/0"))
        added.append(entry)
        return entry

    yield fence
    for entry in added:
        world.rados.mon({"prefix": "osd blocklist", "blocklistop": "rm", "addr": entry})
