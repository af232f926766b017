"""The two acts on Ceph: planned purely from facts, sent as planned, and honest about what became of them."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from diagnostics.facts.ceph import LOCKS, OSDMAP, Address, Fence, Locker, PoolProblem
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.rados import RadosError
from runbooks.actions import ActFailed, Action, ActStopped, Clients, OutcomeUnknown, all_actions
from runbooks.actions.ceph import break_lock as break_module
from runbooks.actions.ceph import fence as fence_module
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned
from tests.runbooks.hand_made import FSID, IMAGE, KUBELET, MANAGED, YEARS, Incident, fence_of

FENCE, BREAK = all_actions()["ceph.fence"], all_actions()["ceph.break_lock"]
FOR = {"image": "mioss/index", "locker": KUBELET.name, "for": "157784760s"}


class FakeRados:
    """Takes down what is sent, and fails when it is told to."""

    def __init__(self, fails: Callable[[str], None] = lambda _: None, fsid: str = FSID) -> None:
        self.fsid = fsid
        self.sent: list[Any] = []
        self.closed = False
        self._fails = fails

    def own_ips(self) -> tuple[str, ...]:
        return ("10.0.0.99",)

    def mon(self, command: dict[str, Any], mon: str | None = None) -> bytes:
        self._fails(command["addr"])
        self.sent.append(json.loads(json.dumps(command)))
        return b""

    def execute(self, *request: Any) -> bytes:
        self._fails("break_lock")
        self.sent.append(request)
        return b""

    def wait_for_map(self) -> None:
        self._fails("map")
        self.sent.append("map")

    def close(self) -> None:
        self.closed = True


def failing(at: str, errno: int) -> Callable[[str], None]:
    def fails(what: str) -> None:
        if what == at:
            raise RadosError(errno, "it failed")

    return fails


def clients(rados: Any) -> Clients:
    return Clients(None, lambda: rados)


def plan(action: Action, incident: Incident, **how: Any) -> Planned:
    return action.plan(incident.situation(**how), FOR)


# Fence


def test_a_fence_is_planned_from_the_table_with_all_that_it_hits() -> None:
    planned = plan(FENCE, Incident())
    boot = {"boot_id": "boot-node1", "system_uuid": ""}
    assert planned.effect == {"entries": ["10.0.0.1:0/0"], "seconds": 157784760, "extent": "node", **boot}
    assert (planned.risk, planned.dies) == (Risk.CRITICAL, ("search/old",))
    assert {target.uid for target in planned.targets} >= {FSID, IMAGE.subject.uid}
    assert "node1" in planned.says
    assert "10.0.0.1:0/0" in planned.says


@pytest.mark.parametrize(
    ("incident", "word", "unknown"),
    [
        (Incident(exclusive=False), "shared", False),
        (Incident(leases=[]), "not known", True),
        (Incident(unseen={LOCKS: "denied"}), "denied", True),
        (Incident(locked=False), "holds no lock", False),
    ],
)
def test_a_fence_that_the_table_refuses_cannot_be_planned(incident: Incident, word: str, unknown: bool) -> None:
    with pytest.raises(CannotPlan, match=word) as caught:
        plan(FENCE, incident)
    assert caught.value.unknown is unknown


@pytest.mark.parametrize("lasts", ["1h", "365d", "157784759s", None, "for ever"])
def test_a_fence_that_ends_too_soon_cannot_be_planned(lasts: Any) -> None:
    with pytest.raises(CannotPlan):
        FENCE.plan(Incident().situation(), {**FOR, "for": lasts})


async def test_a_fence_sends_each_entry_as_planned_and_then_waits_for_the_map() -> None:
    rados = FakeRados()
    await FENCE.apply(fence_of("10.0.0.1:0/0", "[2001:db8::1]:0/0"), clients(rados))
    common = {"prefix": "osd blocklist", "blocklistop": "add", "expire": 157784760.0, "format": "json"}
    assert rados.sent == [{**common, "addr": "10.0.0.1:0/0"}, {**common, "addr": "[2001:db8::1]:0/0"}, "map"]
    assert isinstance(rados.sent[0]["expire"], float), "the monitors refuse a whole number"
    assert rados.closed


@pytest.mark.parametrize("bad", ["10.0.0.99:0/0", "10.0.0.2", "10.0.0.2:0/0 and more", "10.0.0.0/24", "v2:junk"])
async def test_one_bad_entry_keeps_all_of_them_from_being_sent(bad: str) -> None:
    rados = FakeRados()
    with pytest.raises(ActFailed, match="nothing was fenced"):
        await FENCE.apply(fence_of("10.0.0.1:0/0", bad), clients(rados))
    assert (rados.sent, rados.closed) == ([], True)


async def test_our_own_exact_address_of_another_process_may_be_fenced_but_never_our_host() -> None:
    rados = FakeRados()
    await FENCE.apply(fence_of("10.0.0.99:0/5"), clients(rados))
    assert rados.sent[0]["addr"] == "10.0.0.99:0/5"


@pytest.mark.parametrize("action", [FENCE, BREAK], ids=["fence", "break"])
async def test_another_ceph_than_the_planned_one_is_never_written_to(action: Action) -> None:
    rados = FakeRados(fsid="another")
    planned = plan(action, Incident())
    with pytest.raises(ActFailed, match="nothing was changed"):
        await action.apply(planned, clients(rados))
    assert (rados.sent, rados.closed) == ([], True)


@pytest.mark.parametrize("action", [FENCE, BREAK], ids=["fence", "break"])
@pytest.mark.parametrize("error", [RadosError(110, "no answer"), CouldNotLook("No binding."), None])
async def test_without_a_connection_nothing_is_changed_for_certain(action: Action, error: Exception | None) -> None:
    def connect() -> Any:
        assert error is not None
        raise error

    with pytest.raises(ActFailed):
        await action.apply(plan(action, Incident()), Clients(None, connect if error else None))


@pytest.mark.parametrize("errno", [1, 13, 22])
async def test_a_refused_fence_failed_and_says_what_is_set_already(errno: int) -> None:
    with pytest.raises(ActFailed, match=r"refused to fence 10.0.0.1:0/0.*Nothing was changed"):
        await FENCE.apply(fence_of("10.0.0.1:0/0"), clients(FakeRados(failing("10.0.0.1:0/0", errno))))
    second = fence_of("10.0.0.1:0/0", "10.5.0.1:0/0")
    with pytest.raises(ActStopped, match=r"10.0.0.1:0/0 is set already and stays"):
        await FENCE.apply(second, clients(FakeRados(failing("10.5.0.1:0/0", errno))))


@pytest.mark.parametrize("errno", [2, 4, 5, 104, 107, 108, 110])
async def test_any_other_error_leaves_it_unknown_whether_the_fence_is_set(errno: int) -> None:
    with pytest.raises(OutcomeUnknown, match="may still be set"):
        await FENCE.apply(fence_of("10.0.0.1:0/0"), clients(FakeRados(failing("10.0.0.1:0/0", errno))))


@pytest.mark.parametrize("errno", [13, 110])
async def test_a_fence_whose_map_does_not_come_is_not_called_failed(errno: int) -> None:
    with pytest.raises(OutcomeUnknown, match="did not come"):
        await FENCE.apply(fence_of("10.0.0.1:0/0"), clients(FakeRados(failing("map", errno))))


def test_a_fence_that_was_given_up_sends_nothing_more() -> None:
    given_up, rados = threading.Event(), FakeRados()
    rados._fails = lambda _: given_up.set()  # the caller's patience ends while the first entry is on its way
    with pytest.raises(OutcomeUnknown, match=r"given up before 10.5.0.1:0/0"):
        fence_module._add(fence_of("10.0.0.1:0/0", "10.5.0.1:0/0"), clients(rados), given_up)
    assert [sent["addr"] for sent in rados.sent] == ["10.0.0.1:0/0"]


def test_a_fence_is_done_when_lasting_entries_cover_all_of_it() -> None:
    planned = fence_of("10.0.0.1:0/0", "10.5.0.1:0/0")
    both = (Fence("10.0.0.1:0/0", YEARS), Fence("cidr:10.5.0.0:0/24", YEARS))
    assert FENCE.done(planned, Incident(fences=both).situation()) is True
    assert FENCE.done(planned, Incident(fences=both[:1]).situation()) is False
    assert FENCE.done(planned, Incident(unseen={OSDMAP: "denied"}).situation()) is None


# Break


def test_a_break_is_planned_for_the_very_locker() -> None:
    planned = plan(BREAK, Incident())
    assert planned.effect == {
        "fsid": FSID, "pool": "mioss", "namespace": "", "header": "index.rbd", "client": KUBELET.client,
        "cookie": KUBELET.cookie,
    }  # fmt: skip
    assert planned.targets[1].uid == f"{IMAGE.subject.uid}#{KUBELET.name}"
    assert planned.risk is Risk.HIGH


@pytest.mark.parametrize(
    "incident", [Incident(locked=False), Incident(lockers=(MANAGED,)), Incident(unseen={LOCKS: "denied"})]
)
def test_no_lock_or_a_managed_one_cannot_be_broken(incident: Incident) -> None:
    with pytest.raises(CannotPlan):
        plan(BREAK, incident)


async def test_a_break_waits_for_the_map_with_the_fence_and_then_names_client_and_cookie() -> None:
    rados = FakeRados()
    await BREAK.apply(plan(BREAK, Incident()), clients(rados))
    assert rados.sent[0] == "map"
    assert rados.sent[1][:5] == ("mioss", "", "index.rbd", "lock", "break_lock")
    request = cls_lock.decode_break(rados.sent[1][5])
    assert (request.name, request.client, request.cookie) == ("rbd_lock", KUBELET.client, KUBELET.cookie)
    assert rados.closed


@pytest.mark.parametrize("errno", [110, 13])
async def test_without_the_newest_map_the_lock_is_not_broken(errno: int) -> None:
    rados = FakeRados(failing("map", errno))
    with pytest.raises(ActFailed, match="nothing was changed"):
        await BREAK.apply(plan(BREAK, Incident()), clients(rados))
    assert rados.sent == []


@pytest.mark.parametrize(
    ("errno", "says"), [(2, "does not hold the lock any more"), (1, "caps"), (13, "caps"), (108, "caps")]
)
async def test_a_refused_break_failed(errno: int, says: str) -> None:
    with pytest.raises(ActFailed, match=says):
        await BREAK.apply(plan(BREAK, Incident()), clients(FakeRados(failing("break_lock", errno))))


@pytest.mark.parametrize("errno", [4, 5, 107, 110])
async def test_any_other_error_leaves_it_unknown_whether_the_lock_is_broken(errno: int) -> None:
    with pytest.raises(OutcomeUnknown, match="may still be broken later"):
        await BREAK.apply(plan(BREAK, Incident()), clients(FakeRados(failing("break_lock", errno))))


def test_a_break_is_done_when_that_locker_is_gone_whoever_else_holds_the_lock() -> None:
    planned = plan(BREAK, Incident())
    another = Incident(lockers=(Locker("client.7", "b", Address("10.0.0.2", 0, 3)),))
    assert BREAK.done(planned, Incident().situation()) is False
    assert BREAK.done(planned, another.situation(locker=KUBELET.name)) is True
    assert BREAK.done(planned, Incident(locked=False).situation()) is True
    assert BREAK.done(planned, Incident(unseen={LOCKS: "denied"}).situation()) is None
    assert BREAK.done(planned, Incident(locked=False, problems=(PoolProblem("mioss", "cut"),)).situation()) is None


def test_both_wait_longer_than_an_operation_may_take_before_anybody_judges_them() -> None:
    assert min(FENCE.settles, BREAK.settles) > 10


def test_a_break_that_was_given_up_before_it_was_sent_is_not_sent() -> None:
    given_up, rados = threading.Event(), FakeRados()
    rados._fails = lambda _: given_up.set()  # while the newest map is waited for
    with pytest.raises(ActFailed, match="given up before it was sent"):
        break_module._break(plan(BREAK, Incident()), clients(rados), given_up)
    assert rados.sent == ["map"]
