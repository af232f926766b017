"""A real Ceph beside one whose monitors never answer: the first one's answers come whole, and in the time-out of one."""

import shutil
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from diagnostics.catalog import chosen
from diagnostics.facts import NotSeen, Read
from diagnostics.facts.ceph import ALL_LOCKS, LOCKS, OSDMAP
from diagnostics.model import Scope, Status, Subject
from diagnostics.several import gather, gather_each, scan
from diagnostics.sources import Source
from diagnostics.sources.ceph.librados import LibRados, Timeouts
from diagnostics.sources.ceph.several import CephGroup
from diagnostics.sources.ceph.source import CephSource
from diagnostics.sources.recorded import Recording, World
from tests.lab.ceph import Ceph
from tests.lab.clients import add_lock

POOL, IMAGE = "several", "data"
SHORT = Timeouts(mount=4)
SLACK = 4.0
"""Seconds that connecting to the real one, reading it, and a loaded machine may add."""
SCOPE = Scope("lab")
POD = {
    "metadata": {"name": "web-0", "namespace": "shop", "uid": "uid-web-0"},
    "spec": {"nodeName": "n1", "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
    "status": {"phase": "Pending", "startTime": "2026-01-01T00:00:00Z"},
}  # fmt: skip
CLAIM = {
    "metadata": {"name": "data", "namespace": "shop", "uid": "uid-claim"},
    "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"},
}  # fmt: skip


@pytest.fixture(scope="module")
def locked(ceph: Ceph) -> Ceph:
    """The real one, with an image that is locked."""
    ceph.create_pool(POOL)
    ceph.create_image(f"{POOL}/{IMAGE}", format=2)
    add_lock(ceph, f"{POOL}/{IMAGE}", "kubelet_lock_magic_n0", "127.0.0.41")
    return ceph


@pytest.fixture(scope="module")
def silent(ceph: Ceph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ceph.conf of a monitor that accepts connections and says nothing."""
    folder = tmp_path_factory.mktemp("silent")
    shutil.copy(ceph.conf, folder / "real.conf")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        port = listening.getsockname()[1]
        lines = [line for line in Path(ceph.conf).read_text().splitlines() if not line.strip().startswith(("mon host", "mon_host", "fsid"))]  # fmt: skip
        conf = folder / "silent.conf"
        at = lines.index("[global]") + 1
        conf.write_text("\n".join([*lines[:at], f"mon host = [v2:127.0.0.1:{port}]", *lines[at:]]) + "\n")
        yield conf


class Sources:
    """The Kubernetes objects, and both Ceph clusters."""

    def __init__(self, real: Ceph, silent: Path, monitors: list[str]) -> None:
        def member(conf: Any) -> CephSource:
            return CephSource(LibRados(conf, real.user, SHORT).connect, [POOL])

        volume = {
            "metadata": {"name": "pv", "uid": "uid-pv"},
            "spec": {
                "rbd": {"monitors": monitors, "pool": POOL, "image": IMAGE},
                "claimRef": {"name": "data", "namespace": "shop", "uid": "uid-claim"},
            },
            "status": {"phase": "Bound"},
        }
        objects = {"pods": [POD], "persistentvolumeclaims": [CLAIM], "persistentvolumes": [volume]}
        kubernetes = Recording(World("a pod that waits for the locked image", datetime.now(UTC), objects))
        self.group = CephGroup({"silent": member(silent), "real": member(real.conf)})
        self.both: list[Source] = [kubernetes, self.group]


def monitors_of(ceph: Ceph) -> list[str]:
    """The addresses of the real one's monitor as a volume would name them."""
    rados = LibRados(ceph.conf, ceph.user).connect()
    try:
        from diagnostics.sources.ceph.mon_answers import read_monmap

        fsid, addresses = read_monmap(rados.mon({"prefix": "mon dump"}))
        assert fsid == ceph.fsid == rados.fsid
        return [f"{ip}:{port}" for ip, port in sorted(addresses) if port]
    finally:
        rados.close()


async def test_locks_of_the_one_come_whole_in_the_time_out_of_the_other(locked: Ceph, silent: Path) -> None:
    sources = Sources(locked, silent, monitors_of(locked))
    began = time.monotonic()
    looks = await gather_each(
        sources.both, [Read(LOCKS), Read(OSDMAP)], Scope("lab", subject=ALL_LOCKS), (), datetime.now(UTC)
    )
    took = time.monotonic() - began
    await sources.group.aclose()
    locks = looks["real"].seen(LOCKS)
    assert locks is not None
    assert (locks.fsid, [image.image.spec for image in locks.images], locks.problems) == (locked.fsid, [f"{POOL}/{IMAGE}"], ())  # fmt: skip
    unseen = looks["silent"][LOCKS]
    assert isinstance(unseen, NotSeen)
    assert unseen.reason.startswith("Ceph silent: Ceph could not be asked: no monitor of")
    assert took < SHORT.mount + SLACK, f"it took {took:.1f} s"


async def test_a_scan_finds_the_lock_by_the_volumes_monitors_and_names_the_silent_one(
    locked: Ceph, silent: Path
) -> None:
    sources = Sources(locked, silent, monitors_of(locked))
    checks = chosen(ids=("ceph/locks_blocking_pods", "ceph/osds_down"))
    began = time.monotonic()
    report = await scan(sources.both, checks, SCOPE, (), datetime.now(UTC))
    took = time.monotonic() - began
    await sources.group.aclose()
    blocking, osds = report.outcomes
    assert blocking.status is Status.FOUND, blocking
    [finding] = blocking.findings
    assert f"{locked.fsid}/{POOL}//{IMAGE}" in [link.subject.uid for link in finding.chain]
    assert osds.status is Status.UNKNOWN
    assert (osds.reason or "").startswith("Ceph silent: Ceph could not be asked")
    assert took < SHORT.mount + SLACK, f"it took {took:.1f} s"


async def test_what_a_runbook_is_judged_by_waits_for_nobody_where_the_volume_is_proved(
    locked: Ceph, silent: Path
) -> None:
    image = Scope("lab", subject=Subject("RBDImage", None, f"{POOL}/{IMAGE}", ""))
    sources = Sources(locked, silent, monitors_of(locked))
    began = time.monotonic()
    snapshot = await gather(sources.both, [Read(LOCKS)], image, (), datetime.now(UTC))
    took = time.monotonic() - began
    locks = snapshot.seen(LOCKS)
    assert locks is not None
    assert locks.fsid == locked.fsid
    assert took < SHORT.mount, f"it took {took:.1f} s: it waited for the silent one"
    await sources.group.aclose()

    nobody = Sources(locked, silent, ["10.99.0.1:6789"])
    unseen = (await gather(nobody.both, [Read(LOCKS)], image, (), datetime.now(UTC)))[LOCKS]
    await nobody.group.aclose()
    assert isinstance(unseen, NotSeen)
    assert "silent: Ceph could not be asked" in unseen.reason
    assert "which is none of those configured" in unseen.reason
