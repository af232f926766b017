"""What reading the locks of a whole pool costs on a real Ceph, against the other ways to do it, in one run.

The pool has 10,000 real images (UNSTICK_BENCH_IMAGES for another number), one in a hundred of them locked. The ways
that read all of it take turns, so that what disturbs one disturbs the others; the slow ones read a sample.
"""

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from diagnostics.sources.ceph import cls_lock, rbd_objects
from diagnostics.sources.ceph.librados import LibRados
from diagnostics.sources.ceph.locks import LockReader
from tests.lab.ceph import Ceph

IMAGES = int(os.environ.get("UNSTICK_BENCH_IMAGES", "10000"))
LOCKED_OF = 100  # one image in so many
POOL = "bench"
TURNS = 7
IN_FLIGHT = 64
OPENED, COMMANDS = 300, 12  # samples of the slow ways
REQUEST = cls_lock.encode_get_info()
OURS, SEMAPHORE, OLDEST = (
    "unstick: list, ask, decode, open the locked",
    f"plain aio, a semaphore of {IN_FLIGHT}",
    f"plain aio, awaiting the oldest of {IN_FLIGHT}",
)
UNOPENED = "unstick without opening the locked"
THEN_OPENED = "that aio, then the locked opened in turn"
IMAGE, COMMAND = "rbd.Image and list_lockers", "the command rbd lock ls"


def name_of(number: int) -> str:
    return f"pvc-{number:05}"


@pytest.fixture(scope="module")
def ceph() -> Iterator[Ceph]:
    """A real Ceph, or a skip where its daemons or its bindings are not installed."""
    pytest.importorskip("rados", reason="Ceph's bindings (python3-rados) are not installed for this Python")
    pytest.importorskip("rbd", reason="Ceph's bindings (python3-rbd) are not installed for this Python")
    missing = [program for program in ("ceph-mon", "ceph-osd", "rbd", "setpriv") if not shutil.which(program)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: `make test-real` installs a Ceph")
    folder = Path(tempfile.mkdtemp(prefix="unstick-"))
    try:
        with Ceph(folder / "ceph") as cluster:
            cluster.create_pool(POOL)
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ioctx(ceph: Ceph) -> Iterator[Any]:
    """The pool, filled, over a connection with Ceph's own defaults: the other ways use it."""
    import rados
    import rbd

    with rados.Rados(conffile=str(ceph.conf)) as cluster, cluster.open_ioctx(POOL) as pool:

        def make(number: int) -> None:
            every = rbd.RBD_FEATURE_LAYERING
            managed = every | rbd.RBD_FEATURE_EXCLUSIVE_LOCK | rbd.RBD_FEATURE_OBJECT_MAP | rbd.RBD_FEATURE_FAST_DIFF
            rbd.RBD().create(
                pool, name_of(number), 1 << 24, old_format=False, features=every if number % 4 else managed
            )
            if number % LOCKED_OF == LOCKED_OF // 2:
                with rbd.Image(pool, name_of(number)) as image:
                    image.lock_exclusive(f"kubelet_lock_magic_node{number % 7}")

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(make, range(IMAGES)))
        yield pool


def headers(ioctx: Any) -> list[str]:
    """The headers of all images, by an omap walk of the directory."""
    import rados

    found: dict[str, bytes] = {}
    last = ""
    while True:
        with rados.ReadOpCtx() as operation:
            page, _ = ioctx.get_omap_vals(operation, last, "name_", 1000)
            ioctx.operate_read_op(operation, "rbd_directory")
            entries = dict(page)
        if not entries:
            return [f"rbd_header.{value[4:].decode()}" for value in found.values()]
        found |= entries
        last = max(entries)


def by_semaphore(ioctx: Any) -> dict[str, bytes]:
    """The loop as one writes it first: each callback makes room for the next call."""
    replies: dict[str, bytes] = {}
    room = threading.Semaphore(IN_FLIGHT)
    calls = []
    for oid in headers(ioctx):

        def done(_: Any, reply: bytes, oid: str = oid) -> None:
            replies[oid] = reply
            room.release()

        room.acquire()
        calls.append(ioctx.aio_execute(oid, "lock", "get_info", REQUEST, oncomplete=done))
    for call in calls:
        call.wait_for_complete_and_cb()
    return replies


def by_oldest(ioctx: Any) -> dict[str, bytes]:
    """The tightest loop that yields the replies (there is no way to them but the callback)."""
    replies: dict[str, bytes] = {}
    calls: deque[Any] = deque()
    for oid in headers(ioctx):

        def done(_: Any, reply: bytes, oid: str = oid) -> None:
            replies[oid] = reply

        if len(calls) >= IN_FLIGHT:
            calls.popleft().wait_for_complete_and_cb()
        calls.append(ioctx.aio_execute(oid, "lock", "get_info", REQUEST, oncomplete=done))
    for call in calls:
        call.wait_for_complete_and_cb()
    return replies


def then_opened(ioctx: Any) -> None:
    """The tightest loop made to find out as much as Unstick does: who watches what is locked."""
    import rbd

    for oid, reply in by_oldest(ioctx).items():
        if cls_lock.decode_info(reply).lockers:
            with rbd.Image(ioctx, image_id=oid.removeprefix("rbd_header."), read_only=True) as image:
                list(image.watchers_list())


class Unopened(LockReader):
    """The scan alone: what opening the locked images adds is the difference."""

    def _locked(self, found: Any, info: Any) -> Any:
        return found


def scanned(reader: LockReader) -> LockReader:
    reader.walk([POOL], [""])
    assert not reader.problems
    assert [pool.images for pool in reader.pools] == [IMAGES]
    return reader


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def sample(count: int) -> list[str]:
    """Names of images all over the pool, as many locked among them as elsewhere."""
    return [name_of(index * IMAGES // count) for index in range(min(count, IMAGES))]


def show(took: dict[str, list[float]], each: dict[str, list[float]], cpu: dict[str, float]) -> None:
    """Prints each way's time a pool and an image, the CPU time of its best turn in this process, and the ratios."""
    table = Table("way", "best", "median", "its CPU", "an image", "best ratio", "median ratio", box=None)
    table.title_justify = "left"
    table.title = f"locks of {IMAGES:,} images, {IMAGES // LOCKED_OF} of them locked (elapsed; {TURNS} turns)"
    each_of_ours = [one / IMAGES for one in took[OURS]]
    for way, runs in [*((way, [one / IMAGES for one in runs]) for way, runs in took.items()), *each.items()]:
        best, middle = min(runs), statistics.median(runs)
        whole = [best * IMAGES, middle * IMAGES, cpu[way]] if way in took else []
        table.add_row(
            way,
            *([f"{one * 1000:,.0f} ms" for one in whole] or [""] * 3),
            f"{middle * 1e6:,.0f} us",
            f"{best / min(each_of_ours):.2f}",
            f"{middle / statistics.median(each_of_ours):.2f}",
        )
    console = Console(width=120)
    console.print()
    console.print(table)
    for ours, way in ((OURS, SEMAPHORE), (OURS, OLDEST), (UNOPENED, OLDEST), (OURS, THEN_OPENED)):
        best, middle = min(took[ours]) / min(took[way]), statistics.median(took[ours]) / statistics.median(took[way])
        console.print(f"{ours} / {way}: {best:.2f} (of the medians: {middle:.2f})")


def bench_lock_scan(ceph: Ceph, ioctx: Any) -> None:
    import rbd

    rados = LibRados(ceph.conf).connect()
    try:
        reader = scanned(LockReader(rados))
        replies = by_oldest(ioctx)
        assert replies == by_semaphore(ioctx)
        held = {oid for oid, reply in replies.items() if cls_lock.decode_info(reply).lockers}
        assert {image.image.header for image in reader.images} == held
        assert all(image.watchers == () and image.pg for image in reader.images)
        assert len(held) == IMAGES // LOCKED_OF

        ways: dict[str, Callable[[], object]] = {
            OURS: lambda: scanned(LockReader(rados)),
            UNOPENED: lambda: scanned(Unopened(rados)),
            SEMAPHORE: lambda: by_semaphore(ioctx),
            OLDEST: lambda: by_oldest(ioctx),
            THEN_OPENED: lambda: then_opened(ioctx),
        }
        took: dict[str, list[float]] = {way: [] for way in ways}
        cpu: dict[str, float] = dict.fromkeys(ways, float("inf"))
        for _ in range(TURNS):
            for way, work in ways.items():
                began = time.process_time()
                took[way].append(seconds(work))
                cpu[way] = min(cpu[way], time.process_time() - began)
    finally:
        rados.close()

    def opened(name: str) -> None:
        with rbd.Image(ioctx, name, read_only=True) as image:
            lockers = image.list_lockers()
            header = rbd_objects.header_object(image.id())
        assert bool(lockers) == (header in held)

    opened(name_of(LOCKED_OF // 2))
    each = {
        IMAGE: [seconds(lambda name=name: opened(name)) for name in sample(OPENED)],
        COMMAND: [
            seconds(lambda name=name: ceph.run("rbd", "lock", "ls", f"{POOL}/{name}")) for name in sample(COMMANDS)
        ],
    }
    show(took, each, cpu)
