"""One reading of a whole pool: images are opened several at a time, and what there was no time for is said."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.sandbox.ceph import SimulatedCluster
from diagnostics.sources.ceph.locks import NAMED_IN_A_PROBLEM, OPENED_AT_ONCE, UNREAD, LockReader
from diagnostics.sources.ceph.rados import RadosError

PATIENCE = 10.0
NAMES = [f"pvc-{number:02}" for number in range(OPENED_AT_ONCE + 4)]


class Doctored:
    """A connection of which one method does something else."""

    def __init__(self, cluster: SimulatedCluster, **instead: Callable[..., Any]) -> None:
        self._real = cluster.connect()
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._real, name)


@pytest.fixture
def cluster() -> SimulatedCluster:
    made = SimulatedCluster(lambda: datetime(2026, 3, 1, tzinfo=UTC))
    made.create_pool("p")
    for name in NAMES:
        made.create_image(f"p/{name}", format=2)
        made.client("10.0.0.1").lock_advisory(f"p/{name}", "c")
    return made


def walked(rados: Any, late: Callable[[], bool] = lambda: False) -> LockReader:
    reader = LockReader(rados, late)
    reader.walk((), ())
    return reader


def test_images_are_opened_several_at_a_time_and_keep_their_order(cluster: SimulatedCluster) -> None:
    meeting, rounds = threading.Barrier(OPENED_AT_ONCE), threading.Semaphore(OPENED_AT_ONCE)

    def watchers(*_: object) -> list[tuple[int, str]]:
        if rounds.acquire(blocking=False):
            meeting.wait(PATIENCE)
        return []

    reader = walked(Doctored(cluster, watchers=watchers))
    assert [image.image.name for image in reader.images] == NAMES
    assert reader.problems == []


def test_a_lock_that_there_was_no_time_to_look_at_closer_is_still_told(cluster: SimulatedCluster) -> None:
    cluster.trash(f"p/{NAMES[0]}")
    opened: list[str] = []

    def watchers(_pool: str, _namespace: str, image: str, *_: object) -> list[tuple[int, str]]:
        opened.append(image)
        return []

    looks = iter([False, False, True])  # the pool, its namespace, and the first image
    lock = threading.Lock()

    def late() -> bool:
        with lock:
            return next(looks, True)

    reader = walked(Doctored(cluster, watchers=watchers), late)
    assert opened == []
    assert sorted(image.image.name for image in reader.images) == NAMES
    assert [(pool.images, pool.locked) for pool in reader.pools] == [(len(NAMES) - 1, len(NAMES))]
    for image in reader.images:
        assert image.watchers is None
        assert "were not looked at: Ceph took too long" in (image.watchers_unseen or "")
        assert image.traits == (("trashed", UNREAD) if image.image.name == NAMES[0] else (UNREAD,))


def test_a_namespace_that_there_was_no_time_for_is_a_problem(cluster: SimulatedCluster) -> None:
    cluster.create_namespace("p", "team")
    looks = iter([False, False, *[False] * len(NAMES)])
    lock = threading.Lock()

    def late() -> bool:
        with lock:
            return next(looks, True)

    reader = walked(cluster.connect(), late)
    assert len(reader.images) == len(NAMES)
    (problem,) = reader.problems
    assert "namespace 'team' was not looked at" in problem.reason


def test_images_that_fail_alike_are_one_problem(cluster: SimulatedCluster) -> None:
    def execute_each(_pool: str, _namespace: str, oids: Sequence[str], *_: object) -> list[bytes | RadosError]:
        return [RadosError(110, "lock.get_info failed") for _ in oids]

    reader = walked(Doctored(cluster, execute_each=execute_each))
    (problem,) = reader.problems
    assert problem.reason.count("p/pvc-") == NAMED_IN_A_PROBLEM
    assert (
        f"and {len(NAMES) - NAMED_IN_A_PROBLEM} more could not be read: lock.get_info failed (errno 110)"
        in problem.reason
    )
    assert (reader.images, reader.pools) == ([], [])


@pytest.mark.parametrize("errno", [107, 108])
def test_our_own_trouble_while_images_are_opened_is_no_images_problem(cluster: SimulatedCluster, errno: int) -> None:
    def watchers(*_: object) -> list[tuple[int, str]]:
        raise RadosError(errno, "reading the watchers failed")

    with pytest.raises(RadosError, match=f"errno {errno}"):
        walked(Doctored(cluster, watchers=watchers))


def test_silent_monitors_are_asked_for_a_placement_once_however_many_images_are_opened(
    cluster: SimulatedCluster,
) -> None:
    asked: list[object] = []

    def mon(*command: object) -> bytes:
        asked.append(command)
        threading.Event().wait(0.05)  # long enough that the others come too
        raise RadosError(110, "no answer")

    reader = walked(Doctored(cluster, mon=mon))
    assert len(asked) == 1
    assert {image.pg for image in reader.images} == {None}
