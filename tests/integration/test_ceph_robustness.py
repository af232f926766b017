"""A real Ceph that falls silent, refuses or comes back: every call ends in time, says why, and works again afterwards.

This Ceph is the module's own, with two OSDs, because its daemons are stopped: the pool WELL lies on osd.0 alone, SILENT
on osd.1, which the tests freeze, and MIXED on both.
"""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, Locks
from diagnostics.model import Scope
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.librados import LibRados, Timeouts
from diagnostics.sources.ceph.rados import RadosError
from diagnostics.sources.ceph.source import CephSource
from tests.lab.ceph import Ceph, Identity
from tests.lab.clients import add_lock
from tests.lab.processes import Daemon
from tests.lab.waiting import until

WELL, SILENT, MIXED = "well", "silent", "mixed"
QUICK = Timeouts(mount=2, mon=3, osd=3, batch=6)
SLACK = 2.0
"""Seconds that a loaded machine may add to a time-out."""
REQUEST = cls_lock.encode_get_info()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own(lab_folder: Path) -> Iterator[Ceph]:
    """A Ceph of this module's own."""
    with Ceph(Path(tempfile.mkdtemp(prefix="s-", dir=lab_folder)) / "c") as cluster:
        if not cluster.own:
            pytest.skip("CEPH_CONF names a cluster, and the daemons of a given cluster are not stopped")
        yield cluster


@pytest.fixture(scope="module")
def second_osd(own: Ceph) -> Iterator[Daemon]:
    """osd.1, and the three pools with a locked image `watched` in each."""
    own.run("ceph", "config", "set", "global", "osd_heartbeat_grace", "600")  # silent, but never called down
    data, keyring, osd_uuid = own.folder / "osd1", own.folder / "osd.1.keyring", str(uuid.uuid4())
    data.mkdir()
    caps = ("mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd")
    own.run("ceph", "auth", "get-or-create", "osd.1", *caps, "-o", str(keyring))
    own.run("ceph", "osd", "new", osd_uuid)
    here = ("-i", "1", "--osd-data", str(data), "--keyring", str(keyring))
    own.run("ceph-osd", *here, "--mkfs", "--osd-uuid", osd_uuid)
    daemon = Daemon("osd1", own.folder)
    daemon.start(["ceph-osd", "-f", "-c", own.conf, *here])
    try:
        until("the second OSD to be up", lambda: "2 up" in own.run("ceph", "osd", "stat"), timeout=30)
        for number, pool in enumerate((WELL, SILENT)):
            own.run("ceph", "osd", "crush", "rm-device-class", f"osd.{number}")
            own.run("ceph", "osd", "crush", "set-device-class", pool, f"osd.{number}")
            own.run("ceph", "osd", "crush", "rule", "create-replicated", pool, "default", "osd", pool)
        for pool, rule in ((WELL, WELL), (SILENT, SILENT), (MIXED, "replicated_rule")):
            own.run("ceph", "osd", "pool", "create", pool, "8", "8", "replicated", rule)
            own.run("ceph", "osd", "pool", "application", "enable", pool, "rbd")
            own.create_image(f"{pool}/watched", format=2)
            add_lock(own, f"{pool}/watched", "kubelet_lock_magic_node1", "127.0.0.31")
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def rados(own: Ceph, second_osd: Daemon) -> Iterator[LibRados]:
    """A connection with short time-outs."""
    connection = connected(own)
    yield connection
    connection.close()


@pytest.fixture
async def source(own: Ceph, second_osd: Daemon) -> Any:
    """A source over a connection of its own, with short time-outs."""
    source = CephSource(lambda: connected(own), [WELL, SILENT, MIXED])
    yield source
    await source.aclose()


def connected(own: Ceph, identity: Identity | None = None) -> LibRados:
    conf, user = identity or Identity(own.conf, own.user)
    return LibRados(conf, user, QUICK).connect()


@contextmanager
def mon_down(own: Ceph) -> Iterator[None]:
    own.mon_stop()
    try:
        yield
    finally:
        own.mon_start()


@contextmanager
def frozen(osd: Daemon) -> Iterator[None]:
    osd.send(signal.SIGSTOP)
    try:
        yield
    finally:
        osd.send(signal.SIGCONT)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took <= seconds + SLACK, f"it took {took:.1f} s"


def whole() -> Snapshot:
    return Snapshot("c", datetime.now(UTC), Scope("c"))


def info(rados: LibRados, pool: str, oid: str) -> bytes:
    return rados.execute(pool, "", oid, "lock", "get_info", REQUEST)


def header(rados: LibRados, pool: str) -> str:
    return "rbd_header." + rados.read(pool, "", "rbd_id.watched")[4:].decode()


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except RadosError:
        return False
    return True


def refused(call: Callable[[], object]) -> int:
    with pytest.raises(RadosError) as raised:
        call()
    return raised.value.errno


async def test_while_no_mon_answers_all_says_so_in_time_and_works_again_afterwards(
    own: Ceph, rados: LibRados, source: CephSource
) -> None:
    oid = header(rados, WELL)
    assert len(cls_lock.decode_info(info(rados, WELL, oid)).lockers) == 1
    await source.fetch(OSDMAP, whole())
    hopeless = connected(own)
    with mon_down(own):
        assert refused(hopeless.wait_for_map) == 110
        asks: list[Callable[[], object]] = [
            lambda: rados.mon({"prefix": "osd dump"}),
            lambda: rados.mon({"prefix": "sessions"}, "a"),
            rados.wait_for_map,
            lambda: rados.read("a-pool-that-nobody-knows", "", "x"),
        ]
        for ask in asks:
            with within(QUICK.mon):
                assert refused(ask) == 110
        with within(QUICK.mount), pytest.raises(CouldNotLook, match=r"no monitor of .* answered in 2 s") as silent:
            connected(own)
        assert silent.value.unreachable
        with within(QUICK.mon), pytest.raises(CouldNotLook, match="check that the monitors are up") as raised:
            await source.fetch(OSDMAP, whole())
        assert raised.value.unreachable
        assert len(cls_lock.decode_info(info(rados, WELL, oid)).lockers) == 1  # the OSDs answer without a mon
        with within(0):
            hopeless.close()  # what was given up on is not waited for again
    for ask in asks[:3]:
        until("the same connection to work again", lambda ask=ask: works(ask), timeout=20)
    assert refused(asks[3]) == 2
    await source.fetch(OSDMAP, whole())


async def test_a_silent_osd_costs_its_own_pool_only_and_nothing_once_it_answers_again(
    second_osd: Daemon, rados: LibRados, source: CephSource
) -> None:
    def pools(locks: Locks) -> set[str]:
        return {image.image.pool for image in locks.images}

    assert pools(await source.fetch(LOCKS, whole())) == {WELL, SILENT, MIXED}
    oid = header(rados, SILENT)
    with frozen(second_osd):
        for ask in (
            lambda: info(rados, SILENT, oid),
            lambda: rados.omap(SILENT, "", "rbd_directory", ""),
            lambda: rados.read(SILENT, "", "rbd_directory"),
            lambda: rados.watchers(SILENT, "", "watched"),
        ):
            with within(QUICK.osd):
                assert refused(ask) == 110
        assert len(rados.watchers(WELL, "", "watched")) == 0
        with within(4 * QUICK.osd + QUICK.batch):
            locks = await source.fetch(LOCKS, whole())
        assert WELL in pools(locks)
        assert SILENT not in pools(locks)
        (problem,) = (problem for problem in locks.problems if problem.pool == SILENT)
        assert "errno 110" in problem.reason
        assert WELL not in {problem.pool for problem in locks.problems}
        await source.fetch(SESSIONS, whole())
    until("the same connection to work again", lambda: works(lambda: info(rados, SILENT, oid)), timeout=30)
    locks = await source.fetch(LOCKS, whole())
    assert (pools(locks), locks.problems) == ({WELL, SILENT, MIXED}, ())


def test_a_batch_on_a_silent_osd_ends_long_before_each_was_tried(second_osd: Daemon, rados: LibRados) -> None:
    rados.execute_each(SILENT, "", ["x"], "lock", "get_info", REQUEST)
    with frozen(second_osd), within(2 * QUICK.osd):
        answers = rados.execute_each(SILENT, "", [f"x{n}" for n in range(5000)], "lock", "get_info", REQUEST)
    assert {answer.errno for answer in answers if isinstance(answer, RadosError)} == {110}
    assert len(answers) == 5000


def test_in_a_batch_those_that_are_answered_do_not_wait_for_those_that_are_not(
    second_osd: Daemon, rados: LibRados
) -> None:
    oids = [f"x{number}" for number in range(400)]
    errnos = [one.errno for one in rados.execute_each(MIXED, "", oids, "lock", "get_info", REQUEST)]  # type: ignore[union-attr]
    assert errnos == [2] * 400
    placed = {oid: json.loads(rados.mon({"prefix": "osd map", "pool": MIXED, "object": oid})) for oid in oids}
    with frozen(second_osd), within(2 * QUICK.osd):
        answers = rados.execute_each(MIXED, "", oids, "lock", "get_info", REQUEST)
    for oid, answer in zip(oids, answers, strict=True):
        assert isinstance(answer, RadosError)
        assert answer.errno == (110 if placed[oid]["acting_primary"] == 1 else 2), oid
    assert 100 < sum(one["acting_primary"] == 1 for one in placed.values()) < 300


async def test_a_fenced_client_says_so_and_the_next_look_makes_a_new_connection(own: Ceph, second_osd: Daemon) -> None:
    made: list[LibRados] = []

    def connect() -> LibRados:
        made.append(connected(own))
        return made[-1]

    source = CephSource(connect, [WELL])
    await source.fetch(LOCKS, whole())
    (old,) = made
    rows = json.loads(old.mon({"prefix": "sessions"}, "a"))
    (place,) = {row["socket_addr"]["nonce"] for row in rows if row["name"] == old.client}
    entry = f"127.0.0.1:0/{place}"
    old.mon({"prefix": "osd blocklist", "blocklistop": "add", "addr": entry, "expire": 300.0})
    old.wait_for_map()
    assert refused(lambda: old.read(WELL, "", "rbd_directory")) == 108
    assert refused(lambda: old.watchers(WELL, "", "watched")) == 108
    assert {one.errno for one in old.execute_each(WELL, "", ["x"], "lock", "get_info", REQUEST)} == {108}  # type: ignore[union-attr]
    with pytest.raises(CouldNotLook, match="Ceph has fenced this client"):
        await source.fetch(LOCKS, whole())
    locks = await source.fetch(LOCKS, whole())
    assert (len(made), len(locks.images), locks.problems) == (2, 1, ())

    made[1].mon({"prefix": "osd blocklist", "blocklistop": "rm", "addr": entry})
    again = connected(own)
    assert len(cls_lock.decode_info(info(again, WELL, header(again, WELL))).lockers) == 1
    old.close()
    again.close()
    await source.aclose()


def test_a_key_that_is_wrong_missing_or_without_caps_says_which(own: Ceph, second_osd: Daemon) -> None:
    def conf(name: str, line: str) -> Identity:
        path = own.folder / f"{name}.conf"
        path.write_text(f"{own.conf.read_text()}\n[client.{name}]\n{line}\n")
        return Identity(path, f"client.{name}")

    own.identity("wrongkey", {"mon": "allow r"})
    other = own.run("ceph-authtool", "--gen-print-key").strip()
    with within(QUICK.mount), pytest.raises(CouldNotLook, match=r"refuse client\.wrongkey: check its name and its key"):
        connected(own, conf("wrongkey", f"key = {other}"))
    with within(QUICK.mount), pytest.raises(CouldNotLook, match=r"there is no key for client\.nokey.*`keyring` line"):
        connected(own, conf("nokey", f"keyring = {own.folder}/none.keyring"))
    with within(QUICK.mount), pytest.raises(CouldNotLook, match=r"refuse client\.nocaps"):
        connected(own, own.identity("nocaps", {}))


async def test_what_the_caps_do_not_allow_is_a_problem_of_the_pool(own: Ceph, second_osd: Daemon) -> None:
    identity = own.identity("onepool", {"mon": "allow r", "osd": f"profile rbd-read-only pool={WELL}"})
    source = CephSource(lambda: connected(own, identity), [WELL, SILENT])
    locks = await source.fetch(LOCKS, whole())
    assert [image.image.pool for image in locks.images] == [WELL]
    (problem,) = locks.problems
    assert (problem.pool, "profile rbd-read-only" in problem.reason) == (SILENT, True)
    sessions = await source.fetch(SESSIONS, whole())
    assert "allow command sessions" in sessions.silent["a"]
    await source.aclose()


def test_threads_share_a_connection(rados: LibRados) -> None:
    oid, fsid = header(rados, WELL), rados.fsid
    expected = (info(rados, WELL, oid), rados.omap(WELL, "", "rbd_directory", ""), rados.watchers(WELL, "", "watched"))

    def look(number: int) -> bool:
        if number % 10 == 0:
            rados.wait_for_map()
            assert rados.mon({"prefix": "mon dump"})
            answers = rados.execute_each(WELL, "", [oid] * 50, "lock", "get_info", REQUEST)
            assert answers == [expected[0]] * 50
        found = (info(rados, WELL, oid), rados.omap(WELL, "", "rbd_directory", ""), rados.watchers(WELL, "", "watched"))
        return found == expected and rados.fsid == fsid

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(look, range(200)))


def closing(own: Ceph, pool: str, times: int) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "tests.integration.closing_child",
        str(own.conf),
        pool,
        str(times),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_closing_under_running_calls_ends_them_and_not_the_process(own: Ceph, second_osd: Daemon) -> None:
    done = closing(own, WELL, 8)
    assert done.returncode == 0, done.stderr
    assert [line.endswith(" [107]") for line in done.stdout.splitlines()] == [True] * 8, done.stdout


def test_closing_under_calls_that_hang_ends_in_time(second_osd: Daemon, own: Ceph) -> None:
    rados = connected(own)
    oid = header(rados, SILENT)
    ended: list[int] = []
    with frozen(second_osd):
        asking = threading.Thread(target=lambda: ended.append(refused(lambda: info(rados, SILENT, oid))))
        asking.start()
        until("the call to be under way", lambda: rados._calls._under_way, timeout=5, every=0.01)
        with within(QUICK.mon + QUICK.osd):
            rados.close()
        assert ended == [110]
        asking.join()
    assert refused(lambda: rados.pools()) == 107
    rados.connect()
    assert WELL in rados.pools()
    rados.close()
