"""Which Ceph an act goes to: the one with the plan's fsid, and no other, however many are configured."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from diagnostics.sources.ceph.rados import RadosError
from runbooks import actions
from runbooks.actions import ActFailed, Clients


class Connection:
    """A connection that says which cluster it is to, and whether it was closed."""

    def __init__(self, fsid: str | Exception) -> None:
        self._fsid = fsid
        self.closed = threading.Event()

    @property
    def fsid(self) -> str:
        if isinstance(self._fsid, Exception):
            raise self._fsid
        return self._fsid

    def close(self) -> None:
        self.closed.set()


def clients(**connections: Connection | Exception | Callable[[], Any]) -> Clients:
    def connecting(one: Any) -> Callable[[], Any]:
        def connect() -> Any:
            if isinstance(one, Exception):
                raise one
            return one() if callable(one) else one

        return connect

    return Clients(None, None, {name: connecting(one) for name, one in connections.items()})


def test_the_one_with_the_fsid_is_taken_and_the_others_are_closed() -> None:
    fast, slow = Connection("f"), Connection("s")
    assert clients(fast=fast, slow=slow).connect("s") is slow
    assert fast.closed.wait(5)
    assert not slow.closed.is_set()


def test_none_with_the_fsid_changes_nothing_and_says_what_each_is() -> None:
    away = RadosError(110, "no monitor answered")
    fast = Connection("f")
    with pytest.raises(ActFailed, match=r"No Ceph that is configured is x.*fast: it is Ceph f.*nothing was changed") as failed:  # fmt: skip
        clients(fast=fast, slow=away).connect("x")
    assert "slow: no monitor answered" in str(failed.value)
    assert fast.closed.is_set()


def test_one_that_is_away_or_hangs_holds_no_act_up() -> None:
    held, slow = threading.Event(), Connection("s")

    def hang() -> Connection:
        held.wait(10)
        return late

    late = Connection("s")  # the same cluster under another name, and too late
    try:
        assert clients(away=RadosError(110, "no answer"), hangs=hang, slow=slow).connect("s") is slow
    finally:
        held.set()
    assert late.closed.wait(5), "a connection that nobody waits for is not left open"


def test_one_that_does_not_answer_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "CONNECTING", 0.05)
    held, late = threading.Event(), Connection("s")

    def hang() -> Connection:
        held.wait(10)
        return late

    with pytest.raises(ActFailed, match="hangs: it did not answer"):
        clients(fast=Connection("f"), hangs=hang).connect("s")
    held.set()
    assert late.closed.wait(5)


def test_the_only_one_must_have_the_fsid_too() -> None:
    one = Connection("f")
    with pytest.raises(ActFailed, match="This is Ceph f, but the plan is for x; nothing was changed"):
        Clients(None, lambda: one).connect("x")  # type: ignore[arg-type, return-value]
    assert one.closed.is_set()
    silent = Connection(RadosError(110, "no answer"))
    with pytest.raises(RadosError):
        Clients(None, lambda: silent).connect("x")  # type: ignore[arg-type, return-value]
    assert silent.closed.is_set()
    with pytest.raises(ActFailed, match="No Ceph is configured"):
        Clients(None, None).connect("x")
