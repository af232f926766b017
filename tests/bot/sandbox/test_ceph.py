"""The simulated Ceph over time: how clients hang and die, and what fences do to them. Time is a clock in the test."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.sandbox.ceph import Caps, SimulatedClient, SimulatedCluster, SimulatedRados
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.cls_lock import BreakRequest, LockInfo
from diagnostics.sources.ceph.rados import RadosError

IMAGE = "mioss/index-api-image"
HEADER = ("mioss", "", "index-api-image.rbd")
COOKIE = "kubelet_lock_magic_node1"
NODE = "10.47.136.60"


class World:
    """A cluster with the incident's image, Unstick's connection, and a clock."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.cluster = SimulatedCluster(lambda: self.now)
        self.cluster.create_pool("mioss")
        self.cluster.create_image(IMAGE, format=1)
        self.rados = self.cluster.connect("client.unstick")

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def writer(self, ip: str = NODE) -> SimulatedClient:
        client = self.cluster.client(ip)
        client.open(IMAGE)
        return client

    def watchers(self) -> list[str]:
        return [f"client.{number}" for number, _ in self.rados.watchers("mioss", "", "index-api-image")]

    def sessions(self) -> set[str]:
        rows = [row for mon in self.cluster.mons for row in asked(self.rados, mon, prefix="sessions")]
        return {row["name"] for row in rows if row["con_type"] == "client"}

    def fence(self, address: str, seconds: float = 157784760.0, rados: SimulatedRados | None = None) -> None:
        (rados or self.rados).mon({"prefix": "osd blocklist", "blocklistop": "add", "addr": address, "expire": seconds})

    def unfence(self, entry: str) -> None:
        self.rados.mon({"prefix": "osd blocklist", "blocklistop": "rm", "addr": entry})

    def lock_state(self) -> LockInfo:
        return cls_lock.decode_info(self.rados.execute(*HEADER, "lock", "get_info", cls_lock.encode_get_info()))

    def break_lock(self, client: str, rados: SimulatedRados | None = None) -> None:
        request = cls_lock.encode_break(BreakRequest("rbd_lock", client, COOKIE))
        (rados or self.rados).execute(*HEADER, "lock", "break_lock", request)


def asked(rados: SimulatedRados, mon: str | None = None, **command: object) -> Any:
    return json.loads(rados.mon(command, mon))


@pytest.fixture
def world() -> World:
    return World()


def test_a_killed_client_is_a_watcher_for_30_seconds_and_holds_its_lock_for_ever(world: World) -> None:
    writer = world.writer()
    writer.lock_advisory(IMAGE, COOKIE)
    writer.kill()
    assert writer.id not in world.sessions()
    world.wait(29)
    assert world.watchers() == [writer.id]
    world.wait(1)
    assert world.watchers() == []
    world.wait(1_000_000)
    assert [locker.client for locker in world.lock_state().lockers] == [writer.id]


def test_a_frozen_client_loses_its_watch_then_its_session_and_then_writes_on(world: World) -> None:
    writer = world.writer()
    writer.freeze()
    world.wait(30)
    assert world.watchers() == []
    assert writer.id in world.sessions()
    world.wait(269)
    assert writer.id in world.sessions()
    world.wait(1)
    assert writer.id not in world.sessions()
    writer.thaw()
    writer.write(IMAGE)
    assert writer.writes[IMAGE] == 1
    assert world.watchers() == [writer.id]
    assert writer.id in world.sessions()


def test_a_frozen_client_that_was_fenced_meanwhile_cannot_write(world: World) -> None:
    writer = world.writer()
    writer.freeze()
    world.fence(str(writer.address))
    writer.thaw()
    with pytest.raises(RadosError, match="errno 108"):
        writer.write(IMAGE)
    assert world.watchers() == []


def test_a_frozen_writer_resumes_when_its_fence_has_ended(world: World) -> None:
    writer = world.writer()
    writer.freeze()
    world.fence(str(writer.address), 60.0)
    world.wait(61)
    writer.thaw()
    writer.write(IMAGE)
    assert not writer.fenced


def test_a_lifted_fence_lets_the_writer_resume(world: World) -> None:
    writer = world.writer()
    world.fence(str(writer.address))
    assert writer.fenced
    world.unfence(str(writer.address))
    writer.write(IMAGE)


def test_a_fenced_host_stops_every_client_there_and_nobody_elsewhere(world: World) -> None:
    old, beside, other = world.writer(), world.writer(), world.writer("10.46.181.146")
    world.fence(f"{NODE}:0/0")
    for client in (old, beside, world.cluster.client(NODE)):
        with pytest.raises(RadosError, match="errno 108"):
            client.write(IMAGE)
    other.write(IMAGE)
    assert world.watchers() == [other.id]


def test_an_exact_fence_stops_one_client_only(world: World) -> None:
    old, beside = world.writer(), world.writer()
    world.fence(str(old.address))
    assert (old.fenced, beside.fenced) == (True, False)


def test_a_range_fences_all_in_it_until_exactly_it_is_lifted(world: World) -> None:
    writer = world.writer()
    entry = {"prefix": "osd blocklist", "range": "range", "addr": "10.47.136.0/24"}
    world.rados.mon({**entry, "blocklistop": "add", "expire": 60.0})
    assert writer.fenced
    assert list(asked(world.rados, prefix="osd dump")["range_blocklist"]) == ["cidr:10.47.136.0:0/24"]
    world.rados.mon({**entry, "blocklistop": "rm"})
    assert not writer.fenced


def test_the_fence_of_a_lock_broken_without_it_stops_nobody(world: World) -> None:
    command = world.cluster.client(NODE)
    command.lock_advisory(IMAGE, COOKIE)
    command.close()
    writer = world.writer()
    world.fence(str(command.address))
    world.break_lock(command.id)
    writer.write(IMAGE)
    assert world.lock_state().lockers == ()


def test_a_second_client_cannot_take_the_lock_but_can_write(world: World) -> None:
    first, second = world.writer(), world.writer("10.46.181.146")
    first.lock_advisory(IMAGE, COOKIE)
    with pytest.raises(RadosError, match="errno 16"):
        second.lock_advisory(IMAGE, "kubelet_lock_magic_node2")
    with pytest.raises(RadosError, match="errno 17"):
        first.lock_advisory(IMAGE, COOKIE)
    second.write(IMAGE)


def test_a_managed_lock_is_named_after_its_watch(world: World) -> None:
    writer = world.cluster.client(NODE)
    writer.lock_managed(IMAGE)
    (locker,) = world.lock_state().lockers
    assert locker.managed
    assert world.lock_state().tag == "internal"
    assert world.watchers() == [writer.id]


def test_a_process_that_ends_in_order_leaves_only_its_lock(world: World) -> None:
    writer = world.writer()
    writer.lock_advisory(IMAGE, COOKIE)
    writer.close()
    assert world.watchers() == []
    assert writer.id not in world.sessions()
    assert [locker.client for locker in world.lock_state().lockers] == [writer.id]


@pytest.mark.parametrize("end", ["kill", "freeze", "close"])
def test_a_process_that_is_dead_or_frozen_does_nothing(world: World, end: str) -> None:
    writer = world.writer()
    getattr(writer, end)()
    with pytest.raises(RuntimeError, match="dead or frozen"):
        writer.write(IMAGE)


def test_a_dead_process_does_not_come_back(world: World) -> None:
    writer = world.writer()
    writer.kill()
    writer.thaw()
    world.wait(30)
    assert world.watchers() == []


def test_the_diagnosing_identity_reads_everything_and_changes_nothing(world: World) -> None:
    writer = world.writer()
    writer.lock_advisory(IMAGE, COOKIE)
    diagnose = world.cluster.connect("client.unstick", caps=Caps.DIAGNOSE)
    for prefix in ("osd dump", "mon dump", "mgr dump", "fs dump", "sessions"):
        assert diagnose.mon({"prefix": prefix})
    with pytest.raises(RadosError, match="errno 1"):
        world.break_lock(writer.id, diagnose)
    for change in ("add", "rm"):
        with pytest.raises(RadosError, match="errno 13"):
            diagnose.mon({"prefix": "osd blocklist", "blocklistop": change, "addr": str(writer.address)})
    assert not writer.fenced
    assert len(world.lock_state().lockers) == 1


def test_the_remediating_identity_breaks_and_fences_but_no_bare_ip(world: World) -> None:
    writer = world.writer()
    writer.lock_advisory(IMAGE, COOKIE)
    remediate = world.cluster.connect("client.unstick-fix", caps=Caps.REMEDIATE)
    with pytest.raises(RadosError, match="errno 13"):
        world.fence(NODE, rados=remediate)
    world.fence(f"{NODE}:0/0", rados=remediate)
    world.break_lock(writer.id, remediate)
    assert writer.fenced
    assert world.lock_state().lockers == ()


def test_a_version_2_address_is_refused(world: World) -> None:
    with pytest.raises(RadosError, match="errno 22"):
        world.fence(f"v2:{NODE}:0/5")


def test_a_fenced_unstick_can_ask_monitors_but_no_osd(world: World) -> None:
    world.fence("10.47.1.5:0/0")
    assert asked(world.rados, prefix="osd dump")["blocklist"]
    for call in (world.lock_state, world.watchers, lambda: world.rados.omap("mioss", "", "rbd_directory", "")):
        with pytest.raises(RadosError, match="errno 108"):
            call()


def test_a_silent_monitor_does_not_answer_for_itself_and_the_others_do(world: World) -> None:
    world.cluster.silent_mons = {"b"}
    with pytest.raises(RadosError, match="errno 110"):
        asked(world.rados, "b", prefix="sessions")
    assert asked(world.rados, "a", prefix="sessions")
    assert asked(world.rados, prefix="mon dump")["quorum"] == [0, 2]
    world.cluster.silent_mons = set(world.cluster.mons)
    for call in (lambda: world.rados.mon({"prefix": "mon dump"}), world.cluster.connect, world.rados.wait_for_map):
        with pytest.raises(RadosError, match="errno 110"):
            call()


def test_a_denied_command_is_denied_to_everybody(world: World) -> None:
    world.cluster.denied = {"sessions"}
    with pytest.raises(RadosError, match="errno 13"):
        asked(world.rados, prefix="sessions")


def test_a_cut_reply_is_cut_by_the_byte(world: World) -> None:
    whole = world.rados.execute(*HEADER, "lock", "get_info", cls_lock.encode_get_info())
    world.cluster.cut_replies = 5
    assert world.rados.execute(*HEADER, "lock", "get_info", cls_lock.encode_get_info()) == whole[:5]


def test_an_inactive_placement_group_does_not_answer_and_a_moved_one_names_its_new_primary(world: World) -> None:
    group, _ = world.cluster.placement(*HEADER)
    where = {"prefix": "osd map", "pool": "mioss", "object": HEADER[2]}
    world.cluster.primaries[group] = 2
    assert asked(world.rados, **where)["acting_primary"] == 2
    world.cluster.primaries[group] = None
    assert asked(world.rados, **where)["acting_primary"] == -1
    with pytest.raises(RadosError, match="errno 110"):
        world.lock_state()


def test_fences_that_have_ended_are_not_in_the_map(world: World) -> None:
    world.fence("10.1.2.6:0/5", 10.0)
    assert list(asked(world.rados, prefix="osd dump")["blocklist"]) == ["10.1.2.6:0/5"]
    world.wait(10)
    assert asked(world.rados, prefix="osd dump")["blocklist"] == {}
