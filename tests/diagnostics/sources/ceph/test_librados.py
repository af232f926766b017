"""LibRados without a Ceph: what it says where it cannot begin, and how it translates what the bindings do.

The bindings are stood in for by modules that behave as measured; a real Ceph is asked in the contract test.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.librados import (
    AT_ONCE,
    SILENT,
    BindingMissing,
    CephConfError,
    LibRados,
    Timeouts,
    connect,
)
from diagnostics.sources.ceph.rados import RadosError


class BindingError(Exception):
    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class FakeOperation:
    def __enter__(self) -> "FakeOperation":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FakeIoctx:
    """A pool whose objects answer with what `answer` gives for the room that they are offered."""

    answer: Callable[[str, int], bytes]
    omap: dict[str, bytes | None]
    objects: dict[str, bytes]

    def set_namespace(self, namespace: str) -> None:
        pass

    def execute(self, oid: str, cls: str, method: str, data: bytes, length: int) -> tuple[int, bytes]:
        reply = FakeIoctx.answer(oid, length)
        if len(reply) > length:
            raise BindingError("failed to read", 34)
        return len(reply), reply

    def get_omap_vals(self, _: object, after: str, prefix: str, count: int) -> tuple[Iterator[Any], int]:
        keys = [key for key in sorted(self.omap) if key > after and key.startswith(prefix)]
        return iter([(key, self.omap[key]) for key in keys[: min(count, 3)]]), 0

    def operate_read_op(self, *_: object) -> None:
        pass

    def read(self, oid: str, length: int, offset: int) -> bytes:
        return self.objects[oid][offset : offset + length]

    def close(self) -> None:
        pass


class FakeCluster:
    """What `rados.Rados` is: made, configured, connected, asked, shut down."""

    made: dict[str, Any]
    reading: Exception | None = None
    connecting: Exception | None = None
    monitors = "10.0.0.1"
    mon_answer: tuple[int, bytes | None, str] = (0, b"{}", "")
    waiting = threading.Event()
    addresses = "10.0.0.9:0/1"

    def __init__(self, **arguments: Any) -> None:
        FakeCluster.made = arguments
        if self.reading:
            raise self.reading

    def connect(self) -> None:
        if self.connecting:
            raise self.connecting

    def conf_get(self, _: str) -> str:
        return self.monitors

    def mon_command(self, command: str, data: bytes, timeout: int, *target: str) -> tuple[int, bytes | None, str]:
        return self.mon_answer

    def get_addrs(self) -> str:
        return self.addresses

    def open_ioctx(self, pool: str) -> FakeIoctx:
        if pool != "p":
            raise BindingError("error opening pool", 2)
        return FakeIoctx()

    def wait_for_latest_osdmap(self) -> None:
        self.waiting.wait(30)

    def list_pools(self) -> list[str]:
        raise BindingError("RADOS state")

    def shutdown(self) -> None:
        pass


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch) -> type[FakeCluster]:
    rados, rbd = ModuleType("rados"), ModuleType("rbd")
    rados.Error, rados.Rados, rados.ReadOpCtx = BindingError, FakeCluster, FakeOperation  # type: ignore[attr-defined]
    rbd.Error = type("RbdError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rados", rados)
    monkeypatch.setitem(sys.modules, "rbd", rbd)
    for name in ("reading", "connecting", "monitors", "mon_answer", "addresses"):
        monkeypatch.setattr(FakeCluster, name, getattr(FakeCluster, name))
    monkeypatch.setattr(FakeCluster, "waiting", threading.Event())
    return FakeCluster


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "ceph.conf"
    path.write_text("[global]\nmon host = 10.0.0.1\n")
    return path


def test_every_connection_carries_the_three_time_outs(bindings: type[FakeCluster], conf: Path) -> None:
    connect(conf, "unstick", Timeouts(mount=1, mon=2, osd=3))
    assert bindings.made["name"] == "client.unstick"
    assert bindings.made["conf"].items() >= {
        "client_mount_timeout": "1", "rados_mon_op_timeout": "2", "rados_osd_op_timeout": "3"
    }.items()  # fmt: skip


@pytest.mark.parametrize("missing", ["rados", "rbd"])
def test_a_missing_binding_names_the_packages(
    bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BindingMissing, match=rf"no module {missing}; install .*python3-rados and python3-rbd.*version"):
        connect(conf)


def test_a_conf_that_is_not_there_is_the_readers_mistake(tmp_path: Path) -> None:
    with pytest.raises(CephConfError, match=r"No such file or directory.*--ceph-conf"):
        connect(tmp_path / "nowhere.conf")


def test_a_folder_is_no_conf(tmp_path: Path) -> None:
    with pytest.raises(CephConfError, match="Is a directory"):
        connect(tmp_path)


def test_a_conf_that_cannot_be_parsed_is_the_readers_mistake(bindings: type[FakeCluster], conf: Path) -> None:
    bindings.reading = BindingError("error calling conf_read_file", 22)
    with pytest.raises(CephConfError, match="not a Ceph configuration that librados can read"):
        connect(conf)


def test_a_conf_without_monitors_is_the_readers_mistake(bindings: type[FakeCluster], conf: Path) -> None:
    bindings.monitors, bindings.connecting = "", BindingError("error connecting", 2)
    with pytest.raises(CephConfError, match="names no monitors"):
        connect(conf)


@pytest.mark.parametrize(
    ("errno", "why"),
    [
        (110, r"no monitor of 10\.0\.0\.1 answered in 5 s"),
        (13, r"the monitors refuse client\.admin"),
        (2, r"there is no key for client\.admin"),
        (22, "cannot be used"),
        (5, "errno 5"),
        (None, "errno 5"),
    ],
)
def test_a_failed_connection_says_what_to_check(
    bindings: type[FakeCluster], conf: Path, errno: int | None, why: str
) -> None:
    bindings.connecting = BindingError("error connecting to the cluster", errno)
    with pytest.raises(CouldNotLook, match=why) as raised:
        connect(conf)
    assert not isinstance(raised.value, CephConfError)
    assert raised.value.unreachable


def test_a_reply_that_is_too_long_is_asked_for_again_with_more_room(
    bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[int] = []

    def answer(_: str, room: int) -> bytes:
        offered.append(room)
        return b"x" * 100_000

    monkeypatch.setattr(FakeIoctx, "answer", answer, raising=False)
    assert len(connect(conf).execute("p", "", "oid", "lock", "get_info", b"")) == 100_000
    assert offered == [1024, 65_536, 2_097_152]


def test_a_reply_that_is_longer_than_any_room_is_an_error(
    bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeIoctx, "answer", lambda *_: b"x" * 3_000_000, raising=False)
    with pytest.raises(RadosError, match=r"lock\.get_info on oid failed \(errno 34\)"):
        connect(conf).execute("p", "", "oid", "lock", "get_info", b"")


def test_answers_of_a_batch_keep_their_order(bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(oid: str, _: int) -> bytes:
        if oid == "o7":
            raise BindingError("failed to read", 110)
        return oid.encode()

    monkeypatch.setattr(FakeIoctx, "answer", answer, raising=False)
    oids = [f"o{number}" for number in range(100)]
    answers = connect(conf).execute_each("p", "", oids, "lock", "get_info", b"")
    assert [a if isinstance(a, bytes) else a.errno for a in answers] == [
        110 if oid == "o7" else oid.encode() for oid in oids
    ]


def test_a_batch_that_takes_too_long_says_so_for_those_it_did_not_ask(
    bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeIoctx, "answer", lambda *_: b"", raising=False)
    answers = connect(conf, timeouts=Timeouts(batch=0)).execute_each("p", "", ["a", "b"], "lock", "get_info", b"")
    assert [isinstance(answer, RadosError) and answer.errno for answer in answers] == [110, 110]


def test_a_batch_of_which_nothing_is_answered_is_not_tried_to_its_end(
    bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def answer(oid: str, _: int) -> bytes:
        tried.append(oid)
        raise BindingError("timed out", 110)

    monkeypatch.setattr(FakeIoctx, "answer", answer, raising=False)
    answers = connect(conf).execute_each("p", "", ["o"] * 3000, "lock", "get_info", b"")
    assert {answer.errno for answer in answers if isinstance(answer, RadosError)} == {110}
    assert len(answers) == 3000
    assert SILENT <= len(tried) <= SILENT + AT_ONCE
    assert str(answers[-1]) == "lock.get_info: not asked, as none of 32 others was answered (errno 110)"


def test_a_batch_of_which_one_was_answered_is_tried_to_its_end(
    bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def answer(oid: str, _: int) -> bytes:
        tried.append(oid)
        raise BindingError("no such object" if len(tried) == 1 else "timed out", 2 if len(tried) == 1 else 110)

    monkeypatch.setattr(FakeIoctx, "answer", answer, raising=False)
    answers = connect(conf).execute_each("p", "", ["o"] * 300, "lock", "get_info", b"")
    assert sorted(answer.errno for answer in answers if isinstance(answer, RadosError)) == [2] + [110] * 299
    assert len(tried) == 300


def test_a_connection_is_closed_when_the_last_call_under_way_has_ended(
    bindings: type[FakeCluster], conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    asked, answering = threading.Event(), threading.Event()

    def answer(oid: str, _: int) -> bytes:
        asked.set()
        assert answering.wait(10)
        order.append(oid)
        return b""

    monkeypatch.setattr(FakeIoctx, "answer", answer, raising=False)
    monkeypatch.setattr(FakeIoctx, "close", lambda _: order.append("pool closed"))
    monkeypatch.setattr(FakeCluster, "shutdown", lambda _: order.append("shut down"))
    rados = connect(conf)
    batch: list[list[bytes | RadosError]] = []
    oids = ["o"] * 100
    calling = threading.Thread(target=lambda: batch.append(rados.execute_each("p", "", oids, "lock", "get_info", b"")))
    calling.start()
    assert asked.wait(10)
    closing = threading.Thread(target=rados.close)
    closing.start()
    while True:
        try:
            rados.pools()
        except RadosError as error:
            if error.errno == 107:  # no new call begins
                break
    assert order == []
    answering.set()
    closing.join(10)
    calling.join(10)
    under_way = order.count("o")
    assert order == ["o"] * under_way + ["pool closed", "shut down"]
    assert 0 < under_way <= AT_ONCE
    assert [isinstance(one, RadosError) and one.errno for one in batch[0]].count(107) == 100 - under_way


def test_a_connection_is_left_to_a_call_that_does_not_end(
    bindings: type[FakeCluster], conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    asked, answering = threading.Event(), threading.Event()

    def answer(oid: str, _: int) -> bytes:
        asked.set()
        answering.wait(10)
        return b""

    monkeypatch.setattr(FakeIoctx, "answer", answer, raising=False)
    monkeypatch.setattr(FakeIoctx, "close", lambda _: closed.append("pool"))
    monkeypatch.setattr(FakeCluster, "shutdown", lambda _: closed.append("cluster"))
    rados = connect(conf, timeouts=Timeouts(mon=1, osd=0))
    calling = threading.Thread(target=lambda: rados.execute("p", "", "o", "lock", "get_info", b""))
    calling.start()
    assert asked.wait(10)
    rados.close()
    assert closed == []
    answering.set()
    calling.join(10)


def test_a_short_page_of_an_omap_is_not_its_last(bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {f"name_{number}": None if number == 4 else b"v" for number in range(8)}
    monkeypatch.setattr(FakeIoctx, "omap", {**entries, "other": b""}, raising=False)
    found = connect(conf).omap("p", "", "rbd_directory", "name_")
    assert found == {key: value or b"" for key, value in entries.items()}


def test_a_large_object_is_read_in_parts_and_a_huge_one_not_at_all(
    bindings: object, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeIoctx, "objects", {"large": bytes(150_000), "huge": bytes(17_000_000)}, raising=False)
    assert len(connect(conf).read("p", "", "large")) == 150_000
    with pytest.raises(RadosError, match="errno 27"):
        connect(conf).read("p", "", "huge")


def test_a_refused_monitor_command_keeps_the_monitors_words(bindings: type[FakeCluster], conf: Path) -> None:
    bindings.mon_answer = (-22, None, "command not known")
    with pytest.raises(RadosError, match=r"'nope' of mon\.b: command not known \(errno 22\)"):
        connect(conf).mon({"prefix": "nope"}, "b")


@pytest.mark.parametrize(
    ("text", "ips"),
    [
        ("10.0.0.9:0/1", ("10.0.0.9",)),
        ("v1:10.0.0.9:0/1", ("10.0.0.9",)),
        ("[v2:10.0.0.9:0/1,v1:10.0.0.9:0/1]", ("10.0.0.9",)),
        ("[2001:db8::9]:0/1", ("2001:db8::9",)),
        ("[v2:[2001:db8::9]:0/1,v1:10.0.0.9:0/1]", ("2001:db8::9", "10.0.0.9")),
    ],
)
def test_our_own_addresses_are_read(bindings: type[FakeCluster], conf: Path, text: str, ips: tuple[str, ...]) -> None:
    bindings.addresses = text
    assert connect(conf).own_ips() == ips


def test_waiting_for_the_map_is_given_up(bindings: type[FakeCluster], conf: Path) -> None:
    try:
        with pytest.raises(RadosError, match=r"took longer than 0 s \(errno 110\)"):
            connect(conf, timeouts=Timeouts(mon=0)).wait_for_map()
    finally:
        bindings.waiting.set()
    connect(conf).wait_for_map()


def test_an_error_without_a_number_is_an_input_output_error(bindings: object, conf: Path) -> None:
    with pytest.raises(RadosError, match=r"listing pools failed \(errno 5\)"):
        connect(conf).pools()


def test_a_pool_that_is_not_there_is_errno_2(bindings: object, conf: Path) -> None:
    with pytest.raises(RadosError, match=r"opening pool q failed \(errno 2\)"):
        connect(conf).read("q", "", "oid")


def test_after_the_end_every_call_says_that_it_is_over(bindings: object, conf: Path) -> None:
    rados = connect(conf)
    rados.close()
    rados.close()
    for call in (rados.pools, rados.own_ips, lambda: rados.read("p", "", "x"), lambda: LibRados(conf).fsid):
        with pytest.raises(RadosError, match="is not open"):
            call()
