"""What a Rados connection promises, asked of the sandbox's simulated Ceph and of a real one.

Where the two differ, the real one is right. Nothing here waits for Ceph's half minutes: those are the sandbox's own
tests, with a clock.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import (
    FEATURES,
    LOCKS,
    NEIGHBOURS,
    OSDMAP,
    PLACEMENTS,
    SESSIONS,
    STATUS,
    ImageSpec,
    Locks,
    OsdMap,
    OsdState,
    Sessions,
)
from diagnostics.facts.holders import NODES, WATCHERS
from diagnostics.facts.images import RBD_DRIVER
from diagnostics.facts.kubernetes import VOLUMES, Listing
from diagnostics.facts.resources import CSISource, Meta, Node, Volume, VolumeSpec
from diagnostics.model import Scope, Subject
from diagnostics.sources.ceph import cls_lock, mon_answers, rbd_objects, status_answers
from diagnostics.sources.ceph.cls_lock import BreakRequest, LockInfo, LockKind, LockRequest, UnlockRequest
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.source import CephSource
from tests.contract.conftest import POOL, CephWorld, unique

COOKIE = "kubelet_lock_magic_node1"
NODE = "127.0.0.12"


def info(rados: Rados, oid: str, namespace: str = "") -> LockInfo:
    return cls_lock.decode_info(rados.execute(POOL, namespace, oid, "lock", "get_info", cls_lock.encode_get_info()))


def break_lock(rados: Rados, oid: str, client: str, cookie: str) -> None:
    request = cls_lock.encode_break(BreakRequest("rbd_lock", client, cookie))
    assert rados.execute(POOL, "", oid, "lock", "break_lock", request) == b""


def asked(rados: Rados, mon: str | None = None, **command: object) -> Any:
    return json.loads(rados.mon(command, mon))


def image_of(world: CephWorld, format: int = 1) -> tuple[str, str]:  # noqa: A002 - rbd's own word
    """A new image's name and header."""
    name = unique("image")
    world.create_image(f"{POOL}/{name}", format)
    if format == 1:
        return name, rbd_objects.old_header_object(name)
    oid = rbd_objects.id_object(name)
    return name, rbd_objects.header_object(rbd_objects.decode_id(world.rados.read(POOL, "", oid), oid))


def test_pools_are_listed(world: CephWorld) -> None:
    assert POOL in world.rados.pools()
    assert all(isinstance(pool, str) for pool in world.rados.pools())


@pytest.mark.parametrize("pool", [POOL, "no-such-pool"])
def test_an_object_or_a_pool_that_is_not_there_is_errno_2(world: CephWorld, pool: str) -> None:
    rados, request = world.rados, cls_lock.encode_get_info()
    calls: list[Callable[[], object]] = [
        lambda: rados.read(pool, "", "nothing"),
        lambda: rados.omap(pool, "", "nothing", ""),
        lambda: rados.execute(pool, "", "nothing", "lock", "get_info", request),
        lambda: rados.execute(pool, "", "nothing", "lock", "list_locks", b""),
        lambda: rados.watchers(pool, "", "nothing"),
    ]
    for call in calls:
        with pytest.raises(RadosError, match=r"errno 2\)"):
            call()


def test_an_omap_is_read_whole_however_many_pages_it_has(world: CephWorld) -> None:
    oid = unique("omap")
    entries = {f"name_{number:05}": b"" if number % 7 == 0 else b"v" * (number % 50) for number in range(2500)}
    world.put(oid, b"", {**entries, "id_1": b"other", "zzz": b"last"})
    assert world.rados.omap(POOL, "", oid, "name_") == entries
    assert set(world.rados.omap(POOL, "", oid, "")) == {*entries, "id_1", "zzz"}
    assert world.rados.omap(POOL, "", oid, "nobody_") == {}


def test_data_is_read_whole_however_long_it_is(world: CephWorld) -> None:
    oid, data = unique("data"), bytes(range(256)) * 700
    world.put(oid, data, {})
    assert world.rados.read(POOL, "", oid) == data


def test_namespaces_are_apart(world: CephWorld) -> None:
    world.put("only-here", b"x", {})
    with pytest.raises(RadosError, match=r"errno 2\)"):
        world.rados.read(POOL, "elsewhere", "only-here")


def test_images_are_found_in_the_directory(world: CephWorld) -> None:
    old, _ = image_of(world, format=1)
    new, header = image_of(world, format=2)
    directory = rbd_objects.decode_directory(world.rados.omap(POOL, "", "rbd_directory", "name_"))
    assert header == rbd_objects.header_object(directory[new])
    assert old not in directory
    assert old in rbd_objects.decode_old_directory(world.rados.read(POOL, "", "rbd_directory"))
    assert world.rados.omap(POOL, "", header, "features").keys() == {"features"}


def test_images_in_namespaces_are_found_in_their_directory(world: CephWorld) -> None:
    namespace = unique("team")
    world.create_namespace(namespace)
    world.create_image(f"{POOL}/{namespace}/inside", 2)
    listed = rbd_objects.decode_namespaces(world.rados.omap(POOL, "", "rbd_namespace", "name_"))
    assert namespace in listed
    directory = rbd_objects.decode_directory(world.rados.omap(POOL, namespace, "rbd_directory", "name_"))
    assert list(directory) == ["inside"]
    assert info(world.rados, rbd_objects.header_object(directory["inside"]), namespace).lockers == ()


def test_a_trashed_image_leaves_its_name_and_keeps_its_header(world: CephWorld) -> None:
    name, header = image_of(world, format=2)
    image_id = header.removeprefix(rbd_objects.header_object(""))
    world.trash(f"{POOL}/{name}")
    trashed = rbd_objects.decode_trash(world.rados.omap(POOL, "", "rbd_trash", "id_"))
    assert (image_id, name) in [(one.id, one.name) for one in trashed]
    assert name not in rbd_objects.decode_directory(world.rados.omap(POOL, "", "rbd_directory", "name_"))
    assert info(world.rados, header).lockers == ()
    with pytest.raises(RadosError, match=r"errno 2\)"):
        world.rados.read(POOL, "", rbd_objects.id_object(name))
    with pytest.raises(RadosError, match=r"errno 2\)"):
        world.rados.watchers(POOL, "", name)
    assert world.rados.watchers(POOL, "", name, image_id) == []


@pytest.mark.parametrize("format", [1, 2])
def test_a_lock_is_read_as_it_was_taken(world: CephWorld, format: int) -> None:  # noqa: A002 - rbd's own word
    name, header = image_of(world, format)
    assert info(world.rados, header).lockers == ()
    client, address = world.lock(f"{POOL}/{name}", COOKIE, NODE)
    found = info(world.rados, header)
    assert (found.kind, found.tag) == (LockKind.EXCLUSIVE, "")
    assert [(one.client, one.cookie, str(one.address)) for one in found.lockers] == [(client, COOKIE, address)]
    assert found.lockers[0].address.ip == NODE
    assert not found.lockers[0].managed


def test_breaking_a_lock_needs_its_client_and_its_cookie_and_leaves_its_name(world: CephWorld) -> None:
    name, header = image_of(world)
    client, _ = world.lock(f"{POOL}/{name}", COOKIE, NODE)
    for other_client, other_cookie in ((client, "another cookie"), ("client.1", COOKIE)):
        with pytest.raises(RadosError, match=r"errno 2\)"):
            break_lock(world.rados, header, other_client, other_cookie)
    assert len(info(world.rados, header).lockers) == 1
    break_lock(world.rados, header, client, COOKIE)
    assert info(world.rados, header).lockers == ()
    names = cls_lock.decode_names(world.rados.execute(POOL, "", header, "lock", "list_locks", b""))
    assert names == ("rbd_lock",)
    with pytest.raises(RadosError, match=r"errno 2\)"):
        break_lock(world.rados, header, client, COOKIE)
    with pytest.raises(RadosError, match=r"errno 2\)"):
        break_lock(world.rados, "nothing", client, COOKIE)


def test_locks_are_taken_and_given_back(world: CephWorld) -> None:
    _, header = image_of(world)

    def call(method: str, request: bytes) -> bytes:
        return world.rados.execute(POOL, "", header, "lock", method, request)

    exclusive = LockRequest("rbd_lock", LockKind.EXCLUSIVE, "c", "tag")
    assert call("lock", cls_lock.encode_lock(exclusive)) == b""
    assert [one.client for one in info(world.rados, header).lockers] == [world.rados.client]
    with pytest.raises(RadosError, match="errno 17"):
        call("lock", cls_lock.encode_lock(exclusive))
    with pytest.raises(RadosError, match="errno 16"):
        call("lock", cls_lock.encode_lock(LockRequest("rbd_lock", LockKind.EXCLUSIVE, "d", "tag")))
    with pytest.raises(RadosError, match=r"errno 2\)"):
        call("unlock", cls_lock.encode_unlock(UnlockRequest("rbd_lock", "d")))
    assert call("unlock", cls_lock.encode_unlock(UnlockRequest("rbd_lock", "c"))) == b""
    assert info(world.rados, header) == LockInfo(LockKind.EXCLUSIVE, "tag", ())


def test_a_shared_lock_has_several_holders(world: CephWorld) -> None:
    _, header = image_of(world)
    for cookie in ("one", "two"):
        request = cls_lock.encode_lock(LockRequest("rbd_lock", LockKind.SHARED, cookie, "tag"))
        world.rados.execute(POOL, "", header, "lock", "lock", request)
    found = info(world.rados, header)
    assert found.kind == LockKind.SHARED
    assert sorted(one.cookie for one in found.lockers) == ["one", "two"]


def test_a_reply_longer_than_the_usual_room_is_read_whole(world: CephWorld) -> None:
    _, header = image_of(world)
    cookies = [f"{number:03}".ljust(200, "x") for number in range(60)]
    for cookie in cookies:
        request = cls_lock.encode_lock(LockRequest("rbd_lock", LockKind.SHARED, cookie, "tag"))
        world.rados.execute(POOL, "", header, "lock", "lock", request)
    (reply,) = world.rados.execute_each(POOL, "", [header], "lock", "get_info", cls_lock.encode_get_info())
    assert isinstance(reply, bytes)
    assert len(reply) > 8192
    assert sorted(one.cookie for one in cls_lock.decode_info(reply).lockers) == cookies


@pytest.mark.parametrize(
    ("cls", "method", "data", "errno"),
    [
        ("lock", "get_info", b"", 22),
        ("lock", "get_info", cls_lock.encode_get_info()[:9], 22),
        ("lock", "break_lock", b"\0", 22),
        ("lock", "no_such_method", b"", 95),
        ("no_such_class", "get_info", b"", 1),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(
    world: CephWorld, cls: str, method: str, data: bytes, errno: int
) -> None:
    _, header = image_of(world)
    with pytest.raises(RadosError, match=rf"errno {errno}\)"):
        world.rados.execute(POOL, "", header, cls, method, data)


def test_answers_of_many_calls_come_in_order_with_their_errors(world: CephWorld) -> None:
    made = {image_of(world)[1]: number for number in range(4)}
    for header, number in made.items():
        request = cls_lock.encode_lock(LockRequest("rbd_lock", LockKind.EXCLUSIVE, f"cookie {number}"))
        world.rados.execute(POOL, "", header, "lock", "lock", request)
    oids = [oid for header in made for oid in (header, "nothing")] * 10
    answers = world.rados.execute_each(POOL, "", oids, "lock", "get_info", cls_lock.encode_get_info())
    assert len(answers) == len(oids)
    for oid, answer in zip(oids, answers, strict=True):
        if oid == "nothing":
            assert isinstance(answer, RadosError)
            assert answer.errno == 2
        else:
            assert isinstance(answer, bytes)
            assert cls_lock.decode_info(answer).lockers[0].cookie == f"cookie {made[oid]}"
    assert world.rados.execute_each(POOL, "", [], "lock", "get_info", b"") == []


@pytest.mark.parametrize("format", [1, 2])
def test_who_has_an_image_open_watches_it_and_readers_do_not(
    world: CephWorld,
    format: int,  # noqa: A002 - rbd's own word
) -> None:
    name, _ = image_of(world, format)
    assert world.rados.watchers(POOL, "", name) == []
    writer = world.writer(f"{POOL}/{name}", NODE)
    ((number, address),) = world.rados.watchers(POOL, "", name)
    assert f"client.{number}" == writer.id
    assert address.startswith(f"{NODE}:0/")
    assert world.rados.watchers(POOL, "", name) == [(number, address)]


def test_the_cluster_says_the_same_of_itself_everywhere(world: CephWorld) -> None:
    rados = world.rados
    osds = mon_answers.read_osds(rados.mon({"prefix": "osd dump"}))
    assert osds.fsid == rados.fsid == asked(rados, prefix="mon dump")["fsid"]
    assert "sortbitwise" in osds.flags
    assert any(daemon.name == "osd.0" for daemon in osds.daemons)
    names, mons = mon_answers.read_mons(rados.mon({"prefix": "mon dump"}))
    assert [f"mon.{name}" for name in names] == list(dict.fromkeys(daemon.name for daemon in mons))
    assert all(daemon.name.startswith("mgr.") for daemon in mon_answers.read_mgr(rados.mon({"prefix": "mgr dump"})))
    assert mon_answers.read_mds(rados.mon({"prefix": "fs dump"})) == ()


def test_the_cluster_tells_its_own_state(world: CephWorld) -> None:
    rados = world.rados
    health, checks = status_answers.read_health(rados.mon({"prefix": "health", "detail": "detail"}))
    assert health == mon_answers.read_health(rados.mon({"prefix": "health"})) == "HEALTH_OK"
    assert status_answers.inactive_pgs(checks, "x") == {}
    mons, quorum = status_answers.read_quorum(rados.mon({"prefix": "quorum_status"}))
    assert mons == quorum == mon_answers.read_mons(rados.mon({"prefix": "mon dump"}))[0]
    dump = rados.mon({"prefix": "osd dump"})
    assert OsdState("osd.0", up=True, inside=True) in status_answers.read_osd_states(dump)
    mgr = status_answers.read_active_mgr(rados.mon({"prefix": "mgr dump"}))
    assert [f"mgr.{mgr}"] * bool(mgr) == [one.name for one in mon_answers.read_mgr(rados.mon({"prefix": "mgr dump"}))]
    states = status_answers.read_pgs(rados.mon({"prefix": "status"}), mgr)
    assert bool(mgr) is bool(states)
    pools = {pool.name: pool for pool in status_answers.read_pools(dump, rados.mon({"prefix": "df"}), mgr)}
    assert "hashpspool" in pools[POOL].flags
    assert (pools[POOL].used is None) is (mgr is None)


def test_numbers_of_a_manager_are_in_the_same_words(managed: CephWorld) -> None:
    states = status_answers.read_pgs(managed.rados.mon({"prefix": "status"}), "x")
    assert set(states) == {"active+clean"}
    (pool,) = status_answers.read_pools(
        managed.rados.mon({"prefix": "osd dump"}), managed.rados.mon({"prefix": "df"}), "x"
    )
    assert pool.name == POOL
    assert pool.used is not None
    assert pool.left is not None
    assert 0 <= pool.used < 0.5 < pool.left


def test_osds_that_are_down_leave_their_placement_groups_stale(managed: CephWorld) -> None:
    """The simulated clock is moved by hand; the lab's real manager calls a group stuck after 5 s instead of 60."""
    managed.osds_down()
    dump = managed.rados.mon({"prefix": "osd dump"})
    down = [osd for osd in status_answers.read_osd_states(dump) if not osd.up]
    assert [osd.inside for osd in down] == [True] * len(down)
    assert all(osd.down_since is not None for osd in down)
    assert mon_answers.read_osds(dump).daemons == ()
    placed = managed.rados.mon({"prefix": "osd map", "pool": POOL, "object": "x"})
    group, primary = mon_answers.read_placement(placed)
    assert primary is None

    def inactive() -> dict[str, str]:
        _, checks = status_answers.read_health(managed.rados.mon({"prefix": "health", "detail": "detail"}))
        assert {osd.name for osd in down} == {
            line.split()[0] for check in checks if check.code == "OSD_DOWN" for line in check.details
        }
        return status_answers.inactive_pgs(checks, "x")

    managed.eventually("the placement groups to count as stuck", inactive)
    assert re.fullmatch(r"stuck stale for \d+[sm], current state stale\S*, last acting \[[0-9,]+\]", inactive()[group])
    states = status_answers.read_pgs(managed.rados.mon({"prefix": "status"}), "x")
    assert set(states) == {"stale+active+clean"}


def test_an_object_is_placed_and_no_pool_is_no_place(world: CephWorld) -> None:
    found = world.rados.mon({"prefix": "osd map", "pool": POOL, "object": "x"})
    group, primary = mon_answers.read_placement(found)
    assert group.partition(".")[2]
    assert primary == 0
    inside = {"prefix": "osd map", "pool": POOL, "object": "x", "nspace": "team"}
    assert asked(world.rados, **inside)["objname"] == "team/x"
    with pytest.raises(RadosError, match=r"errno 2\)"):
        world.rados.mon({"prefix": "osd map", "pool": "no-such-pool", "object": "x"})


def test_a_monitor_lists_our_session_and_a_writers_until_it_dies(world: CephWorld) -> None:
    name, _ = image_of(world)
    writer = world.writer(f"{POOL}/{name}", NODE)

    def sessions() -> dict[str, str]:
        names, _ = mon_answers.read_mons(world.rados.mon({"prefix": "mon dump"}))
        answers = [(mon, world.rados.mon({"prefix": "sessions"}, mon)) for mon in names]
        return {one.client: one.ip for mon, answer in answers for one in mon_answers.read_sessions(answer, mon)}

    assert sessions()[writer.id] == NODE
    assert sessions()[world.rados.client] in world.rados.own_ips()
    writer.kill()
    world.eventually("the session's end", lambda: writer.id not in sessions())
    assert [f"client.{number}" for number, _ in world.rados.watchers(POOL, "", name)] == [writer.id]


def test_unknown_commands_and_monitors_are_refused(world: CephWorld) -> None:
    for unknown in ("no such command", "health detail"):  # a detail is an argument
        with pytest.raises(RadosError, match=r"errno 22\)"):
            world.rados.mon({"prefix": unknown})
    with pytest.raises(RadosError, match=r"errno 2\)"):
        world.rados.mon({"prefix": "sessions"}, "no-such-mon")


@pytest.mark.parametrize("address", ["127.0.9.1", "127.0.9.1:0/0", "127.0.9.1:0/4711", "[2001:db8::7]:0/4711"])
def test_a_fence_is_in_the_map_until_it_is_lifted(world: CephWorld, fences: Callable[[str], str], address: str) -> None:
    entry = fences(address)
    (fence,) = (f for f in mon_answers.read_osds(world.rados.mon({"prefix": "osd dump"})).fences if f.entry == entry)
    left = fence.until - datetime.now(UTC)
    assert timedelta(seconds=200) < left <= timedelta(seconds=301)
    for _ in range(2):  # lifting what is not there is no error
        world.rados.mon({"prefix": "osd blocklist", "blocklistop": "rm", "addr": entry})
    after = mon_answers.read_osds(world.rados.mon({"prefix": "osd dump"})).fences
    assert entry not in [fence.entry for fence in after]


def test_a_range_is_listed_apart(world: CephWorld) -> None:
    command = {"prefix": "osd blocklist", "range": "range", "addr": "198.51.100.0/24"}
    world.rados.mon({**command, "blocklistop": "add", "expire": 300.0})
    dump = asked(world.rados, prefix="osd dump")
    assert "cidr:198.51.100.0:0/24" in dump["range_blocklist"]
    assert "cidr:198.51.100.0:0/24" not in dump["blocklist"]
    assert "cidr:198.51.100.0:0/24" in [f.entry for f in mon_answers.read_osds(json.dumps(dump).encode()).fences]
    world.rados.mon({**command, "blocklistop": "rm"})
    assert "cidr:198.51.100.0:0/24" not in asked(world.rados, prefix="osd dump")["range_blocklist"]


@pytest.mark.parametrize(
    "wrong", [{"addr": "junk"}, {"addr": "cidr:127.0.9.0:0/24"}, {"expire": 300}, {"expire": "300"}]
)
def test_a_fence_that_makes_no_sense_is_refused(world: CephWorld, wrong: dict[str, object]) -> None:
    command = {"prefix": "osd blocklist", "blocklistop": "add", "addr": "127.0.9.9:0/1", "expire": 300.0, **wrong}
    with pytest.raises(RadosError, match=r"errno 22\)"):
        world.rados.mon(command)


def test_a_fenced_writer_gets_108_and_loses_its_watch_and_keeps_its_lock(
    world: CephWorld, fences: Callable[[str], str]
) -> None:
    name, header = image_of(world)
    client, _ = world.lock(f"{POOL}/{name}", COOKIE, NODE)
    writer = world.writer(f"{POOL}/{name}", NODE)
    ((_, address),) = world.rados.watchers(POOL, "", name)
    fences(address)
    world.rados.wait_for_map()
    assert writer.refused_with() == 108
    world.eventually("the watch's end", lambda: world.rados.watchers(POOL, "", name) == [])
    assert [one.client for one in info(world.rados, header).lockers] == [client]


def test_a_fence_of_the_lockers_address_does_not_stop_the_writer(
    world: CephWorld, fences: Callable[[str], str]
) -> None:
    name, _ = image_of(world)
    _, address = world.lock(f"{POOL}/{name}", COOKIE, NODE)
    writer = world.writer(f"{POOL}/{name}", NODE)
    fences(address)
    world.rados.wait_for_map()
    assert [f"client.{number}" for number, _ in world.rados.watchers(POOL, "", name)] == [writer.id]


def test_the_diagnosing_identity_reads_and_changes_nothing(world: CephWorld) -> None:
    name, header = image_of(world)
    client, address = world.lock(f"{POOL}/{name}", COOKIE, NODE)
    diagnose = world.connect("diagnose")
    assert len(info(diagnose, header).lockers) == 1
    assert diagnose.watchers(POOL, "", name) == []
    assert diagnose.omap(POOL, "", "rbd_directory", "name_") is not None
    for prefix in (
        "osd dump", "mon dump", "mgr dump", "fs dump", "health", "quorum_status", "status", "df",
    ):  # fmt: skip
        assert asked(diagnose, prefix=prefix)
    assert asked(diagnose, "a", prefix="sessions")
    with pytest.raises(RadosError, match=r"errno 1\)"):
        break_lock(diagnose, header, client, COOKIE)
    for change in ("add", "rm"):
        with pytest.raises(RadosError, match="errno 13"):
            diagnose.mon({"prefix": "osd blocklist", "blocklistop": change, "addr": address})


def test_the_remediating_identity_breaks_and_fences_whole_addresses_only(world: CephWorld) -> None:
    name, header = image_of(world)
    client, _ = world.lock(f"{POOL}/{name}", COOKIE, NODE)
    remediate = world.connect("remediate")
    fence = {"prefix": "osd blocklist", "blocklistop": "add", "expire": 300.0}
    with pytest.raises(RadosError, match="errno 13"):
        remediate.mon({**fence, "addr": "127.0.9.7"})
    remediate.mon({**fence, "addr": "127.0.9.7:0/0"})
    assert "127.0.9.7:0/0" in asked(remediate, prefix="osd dump")["blocklist"]
    remediate.mon({"prefix": "osd blocklist", "blocklistop": "rm", "addr": "127.0.9.7:0/0"})
    assert "127.0.9.7:0/0" not in asked(remediate, prefix="osd dump")["blocklist"]
    break_lock(remediate, header, client, COOKIE)
    assert info(remediate, header).lockers == ()
    for allowed in ("osd dump", "mon dump", "health", "quorum_status", "status", "df"):
        assert asked(remediate, prefix=allowed)
    for refused in ("mgr dump", "fs dump"):
        with pytest.raises(RadosError, match="errno 13"):
            remediate.mon({"prefix": refused})


async def test_the_source_reads_the_same_facts_of_both(world: CephWorld) -> None:
    name, header = image_of(world)
    client, address = world.lock(f"{POOL}/{name}", COOKIE, NODE)
    writer = world.writer(f"{POOL}/{name}", NODE)
    source = CephSource(lambda: world.connect("diagnose"), [POOL])
    subject = Subject("RBDImage", None, f"{POOL}/{name}", "")
    whole, one = (Snapshot("c", datetime.now(UTC), scope) for scope in (Scope("c"), Scope("c", subject=subject)))
    locks, alone = await source.fetch(LOCKS, whole), await source.fetch(LOCKS, one)
    assert isinstance(locks, Locks)
    (found,) = (image for image in locks.images if image.image.name == name)
    assert (found,) == alone.images
    assert (found.image.format, found.image.header, found.exclusive, found.traits) == (1, header, True, ())
    assert [(locker.name, str(locker.address)) for locker in found.lockers] == [(f"{client}/{COOKIE}", address)]
    assert [watcher.client for watcher in found.watchers or ()] == [writer.id]
    assert (found.pg is not None, found.primary) == (True, 0)
    assert locks.problems == ()

    sessions, osd_map = await source.fetch(SESSIONS, whole), await source.fetch(OSDMAP, whole)
    assert isinstance(sessions, Sessions)
    assert isinstance(osd_map, OsdMap)
    assert (writer.id, NODE) in [(session.client, session.ip) for session in sessions.open]
    assert sessions.silent == {}
    assert osd_map.fsid == locks.fsid == world.rados.fsid
    assert {"osd.0", "mon.a"} <= {daemon.name for daemon in osd_map.daemons}
    assert osd_map.own_ips


async def test_the_source_reads_the_same_of_images_and_of_the_cluster(world: CephWorld) -> None:
    (old, _), (new, header) = image_of(world, 1), image_of(world, 2)
    writer = world.writer(f"{POOL}/{new}", NODE)
    gone = unique("gone")
    source = CephSource(lambda: world.connect("diagnose"), [POOL])
    attributes = [{"pool": POOL, "imageName": name} for name in (old, new, gone)]
    volumes = [Volume(Meta(f"pv-{a['imageName']}"), VolumeSpec(csi=CSISource(RBD_DRIVER, "h", a))) for a in attributes]
    seen = Snapshot("c", datetime.now(UTC), Scope("c")).with_fact(VOLUMES, Listing(tuple(volumes)))
    seen = seen.with_fact(NODES, Listing((Node(Meta("node1")),)))
    assert not Node(Meta("node1")).is_ready

    features = await source.fetch(FEATURES, seen)
    usual = ("layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten")
    assert (features.features, features.unread) == ({f"{POOL}/{old}": (), f"{POOL}/{new}": usual}, {})
    watchers = await source.fetch(WATCHERS, seen)
    told = {spec: [(one.client, one.address.ip) for one in found] for spec, found in watchers.watchers.items()}
    assert (told, watchers.unread) == ({f"{POOL}/{old}": [], f"{POOL}/{new}": [(writer.id, NODE)]}, {})
    neighbours = await source.fetch(NEIGHBOURS, seen)
    assert neighbours.users[f"{POOL}/{old}"] == ()
    assert ImageSpec(POOL, "", gone) in neighbours.absent

    status = await source.fetch(STATUS, seen)
    assert (status.fsid, status.health) == (world.rados.fsid, "HEALTH_OK")
    unmanaged = msgspec.structs.replace(status, mgr=None)
    placements = await source.fetch(PLACEMENTS, seen.with_fact(STATUS, unmanaged))
    placed = {spec: (found.object, found.primary) for spec, found in placements.headers.items()}
    assert (placed, placements.unread) == ({f"{POOL}/{old}": (f"{old}.rbd", 0), f"{POOL}/{new}": (header, 0)}, {})
    answer = world.rados.mon({"prefix": "osd map", "pool": POOL, "object": header})
    assert placements.headers[f"{POOL}/{new}"].pg == mon_answers.read_placement(answer)[0]
