"""A real Ceph that falls silent: every call ends in time, with the errno of a time-out, and none takes the rest along."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.librados import Timeouts, connect
from diagnostics.sources.ceph.rados import Rados, RadosError
from tests.lab.ceph import Ceph

pytestmark = pytest.mark.real

QUICK = Timeouts(mount=1, mon=1, osd=1, batch=2)
IN_TIME = 8.0
"""Seconds: twice the longest sum of these time-outs, as the machine may be busy."""


@pytest.fixture
def ceph(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ceph]:
    """A cluster of its own, whose daemons may be stopped."""
    monkeypatch.delenv("CEPH_CONF", raising=False)
    folder = Path(tempfile.mkdtemp(prefix="unstick-"))
    try:
        with Ceph(folder / "ceph") as made:
            made.create_pool("p")
            made.create_image("p/image")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def times_out(call: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(RadosError, match="errno 110"):
        call()
    assert time.monotonic() - began < IN_TIME


def reads_a_lock(rados: Rados) -> bytes:
    return rados.execute("p", "", "image.rbd", "lock", "get_info", cls_lock.encode_get_info())


def test_every_call_to_an_osd_that_hangs_ends_in_time(ceph: Ceph) -> None:
    rados = connect(ceph.conf, timeouts=QUICK)
    assert cls_lock.decode_info(reads_a_lock(rados)).lockers == ()
    ceph.osd_stop()
    try:
        times_out(lambda: reads_a_lock(rados))
        times_out(lambda: rados.read("p", "", "rbd_directory"))
        times_out(lambda: rados.omap("p", "", "rbd_directory", "name_"))
        times_out(lambda: rados.watchers("p", "", "image"))
        began = time.monotonic()
        answers = rados.execute_each("p", "", ["image.rbd"] * 200, "lock", "get_info", cls_lock.encode_get_info())
        assert time.monotonic() - began < IN_TIME
        assert all(isinstance(answer, RadosError) and answer.errno == 110 for answer in answers)
        assert rados.mon({"prefix": "osd dump"})
    finally:
        ceph.osd_start()
    rados.close()


def test_every_call_to_a_monitor_that_is_down_ends_in_time_and_osds_still_answer(ceph: Ceph) -> None:
    rados = connect(ceph.conf, timeouts=QUICK)
    reads_a_lock(rados)
    ceph.mon_stop()
    times_out(lambda: rados.mon({"prefix": "osd dump"}))
    times_out(lambda: rados.mon({"prefix": "sessions"}, "a"))
    times_out(rados.wait_for_map)
    times_out(lambda: rados.read("no-such-pool", "", "x"))
    assert cls_lock.decode_info(reads_a_lock(rados)).lockers == ()
    began = time.monotonic()
    with pytest.raises(CouldNotLook, match=r"no monitor of .* answered in 1 s"):
        connect(ceph.conf, timeouts=QUICK)
    assert time.monotonic() - began < IN_TIME
    rados.close()
