"""The source of Ceph facts, over the simulated Ceph: what it finds, what it cannot see, and how it says so."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from bot.sandbox.ceph import Caps, SimulatedCluster
from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import (
    FEATURES,
    LOCKS,
    NEIGHBOURS,
    OSDMAP,
    PLACEMENTS,
    SESSIONS,
    STATUS,
    Daemon,
    ImageSpec,
    LockedImage,
    Locks,
    OsdMap,
    PoolScan,
    Sessions,
)
from diagnostics.facts.holders import WATCHERS
from diagnostics.facts.resources import CSISource, Meta, Pod, PodSpec, PodVolume, RBDSource, Volume, VolumeSpec
from diagnostics.model import Scope, Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph import rbd_objects, wire
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.source import CephSource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COOKIE = "kubelet_lock_magic_node1"


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> SimulatedCluster:
    made = SimulatedCluster(clock)
    made.create_pool("mioss")
    made.create_image("mioss/index-api-image", format=1)
    made.create_image("mioss/free", format=2)
    return made


def source(cluster: SimulatedCluster, *pools: str, caps: Caps = Caps.DIAGNOSE) -> CephSource:
    return CephSource(lambda: cluster.connect("client.unstick", caps=caps), pools)


def snapshot(subject: Subject | None = None) -> Snapshot:
    return Snapshot("c", NOW, Scope("c", subject=subject))


def image(name: str) -> Snapshot:
    return snapshot(Subject("RBDImage", None, name, ""))


async def locks(of: CephSource, seen: Snapshot | None = None) -> Locks:
    found = await of.fetch(LOCKS, seen or snapshot())
    assert isinstance(found, Locks)
    return found


def names(found: tuple[LockedImage, ...]) -> list[str]:
    return [one.image.spec for one in found]


def lock_by_cli(cluster: SimulatedCluster, spec: str, ip: str = "10.47.136.60") -> str:
    """As the old kubelet does: a command takes the lock and ends."""
    command = cluster.client(ip)
    command.lock_advisory(spec, COOKIE)
    command.close()
    return command.id


async def test_a_walk_finds_the_lock_its_holder_and_who_watches(cluster: SimulatedCluster) -> None:
    holder = lock_by_cli(cluster, "mioss/index-api-image")
    writer = cluster.client("10.47.136.60")
    writer.open("mioss/index-api-image")
    found = await locks(source(cluster))
    assert found.pools == (PoolScan("mioss", "", 2, 1),)
    assert found.problems == ()
    (locked,) = found.images
    assert (locked.image.spec, locked.image.format, locked.image.header) == (
        "mioss/index-api-image", 1, "index-api-image.rbd",
    )  # fmt: skip
    assert (locked.exclusive, locked.tag) == (True, "")
    assert [locker.name for locker in locked.lockers] == [f"{holder}/{COOKIE}"]
    assert locked.lockers[0].address.ip == "10.47.136.60"
    assert locked.watchers is not None
    assert [(w.client, w.address) for w in locked.watchers] == [(writer.id, writer.address)]
    assert locked.pg is not None
    assert locked.primary == 0


async def test_namespaces_and_the_trash_are_walked_too(cluster: SimulatedCluster) -> None:
    cluster.create_namespace("mioss", "team")
    cluster.create_image("mioss/team/inside")
    cluster.create_image("mioss/thrown-away")
    for spec in ("mioss/team/inside", "mioss/thrown-away"):
        lock_by_cli(cluster, spec)
    cluster.trash("mioss/thrown-away")
    found = await locks(source(cluster))
    assert names(found.images) == ["mioss/thrown-away", "mioss/team/inside"]
    assert [one.traits for one in found.images] == [("trashed",), ()]
    assert found.images[0].watchers == ()
    assert found.pools == (PoolScan("mioss", "", 2, 1), PoolScan("mioss", "team", 1, 1))


async def test_only_the_pools_and_namespaces_that_are_configured_are_walked(cluster: SimulatedCluster) -> None:
    cluster.create_pool("other")
    cluster.create_namespace("mioss", "team")
    assert (await locks(source(cluster, "other"))).pools == (PoolScan("other", "", 0, 0),)
    narrow = CephSource(lambda: cluster.connect(), ["mioss"], ["team"])
    assert (await locks(narrow)).pools == (PoolScan("mioss", "team", 0, 0),)


async def test_mirrored_and_migrating_images_are_marked(cluster: SimulatedCluster) -> None:
    header = cluster.create_image("mioss/moving")
    for spec in ("mioss/free", "mioss/moving"):
        lock_by_cli(cluster, spec)
    cluster.mirror("mioss/free")
    cluster.put("mioss", "", header).omap["features"] = wire.u64(rbd_objects.MIGRATING_FEATURE)
    lock_by_cli(cluster, "mioss/index-api-image")
    cluster.put("mioss", "", "index-api-image.rbd").data = rbd_objects.MIGRATING_FORMAT_1 + b"      >>>\n"
    found = {one.image.name: one.traits for one in (await locks(source(cluster))).images}
    assert found == {"free": ("mirrored",), "moving": ("migrating",), "index-api-image": ("migrating",)}


async def test_traits_that_cannot_be_read_are_a_trait_and_a_problem(cluster: SimulatedCluster) -> None:
    header = cluster.create_image("mioss/odd")
    lock_by_cli(cluster, "mioss/odd")
    cluster.put("mioss", "", header).omap["features"] = b"\x01"
    found = await locks(source(cluster))
    assert found.images[0].traits == ("unread",)
    assert "whether image mioss/odd is mirrored or migrating" in found.problems[0].reason


async def test_a_pool_that_does_not_exist_is_a_problem_and_not_an_empty_pool(cluster: SimulatedCluster) -> None:
    found = await locks(source(cluster, "mioss", "gone"))
    assert [scan.pool for scan in found.pools] == ["mioss"]
    assert [(p.pool, p.reason.split(";")[0]) for p in found.problems] == [("gone", "there is no such pool")]


async def test_a_pool_whose_directory_is_broken_is_a_problem_and_the_others_are_read(cluster: SimulatedCluster) -> None:
    cluster.create_pool("broken")
    cluster.put("broken", "", "rbd_directory").omap["name_x"] = b"\xff"
    found = await locks(source(cluster))
    assert [scan.pool for scan in found.pools] == ["mioss"]
    assert [p.pool for p in found.problems] == ["broken"]


class Doctored:
    """A connection whose answers are tampered with."""

    def __init__(self, rados: Rados) -> None:
        self._rados = rados
        self.execute_answers: dict[str, bytes | RadosError] = {}
        self.failing: dict[str, Exception] = {}

    def execute_each(
        self, pool: str, namespace: str, oids: list[str], cls: str, method: str, data: bytes
    ) -> list[bytes | RadosError]:
        answers = self._rados.execute_each(pool, namespace, oids, cls, method, data)
        return [self.execute_answers.get(oid, answer) for oid, answer in zip(oids, answers, strict=True)]

    def __getattr__(self, name: str) -> object:
        if name in self.failing:

            def fail(*_: object, **__: object) -> None:
                raise self.failing[name]

            return fail
        return getattr(self._rados, name)


def doctored(cluster: SimulatedCluster) -> tuple[CephSource, Doctored]:
    connection = Doctored(cluster.connect())
    return CephSource(lambda: connection), connection  # type: ignore[return-value, arg-type]


async def test_one_reply_that_was_cut_is_a_problem_and_the_other_images_are_reported(cluster: SimulatedCluster) -> None:
    cluster.create_image("mioss/cut", format=1)
    lock_by_cli(cluster, "mioss/index-api-image")
    reading, connection = doctored(cluster)
    connection.execute_answers["cut.rbd"] = bytes.fromhex("0101690000000100")
    found = await locks(reading)
    assert names(found.images) == ["mioss/index-api-image"]
    assert len(found.problems) == 1
    assert found.problems[0].reason.startswith("image mioss/cut: the message in the reply to get_info") or (
        found.problems[0].reason.startswith("image mioss/cut: the reply to get_info")
    )


async def test_images_of_osds_that_do_not_answer_are_told_together(cluster: SimulatedCluster) -> None:
    for number in range(6):
        cluster.create_image(f"mioss/i{number}", format=1)
    reading, connection = doctored(cluster)
    for number in range(6):
        connection.execute_answers[f"i{number}.rbd"] = RadosError(110, "lock.get_info failed")
    found = await locks(reading)
    assert [p.reason for p in found.problems] == [
        "the lock of mioss/i0, mioss/i1 and mioss/i2 and 3 more could not be read: lock.get_info failed (errno 110);"
        " check `ceph health` for inactive placement groups and for OSDs that are down"
    ]
    assert found.pools == (PoolScan("mioss", "", 8, 0),)


async def test_a_pool_in_which_no_lock_can_be_read_does_not_count_as_walked(cluster: SimulatedCluster) -> None:
    reading, connection = doctored(cluster)
    for oid in ("index-api-image.rbd", cluster.header(ImageSpec("mioss", "", "free"))):
        connection.execute_answers[oid] = RadosError(1, "lock.get_info failed")
    found = await locks(reading)
    assert found.pools == ()
    assert "osd 'profile rbd-read-only'" in found.problems[0].reason


async def test_watchers_that_cannot_be_read_are_unknown_and_not_none_at_all(cluster: SimulatedCluster) -> None:
    lock_by_cli(cluster, "mioss/index-api-image")
    reading, connection = doctored(cluster)
    connection.failing["watchers"] = RadosError(110, "reading the watchers of image index-api-image failed")
    (locked,) = (await locks(reading)).images
    assert locked.watchers is None
    assert locked.watchers_unseen is not None
    assert "mioss/index-api-image could not be read" in locked.watchers_unseen


async def test_a_placement_that_cannot_be_read_is_unknown(cluster: SimulatedCluster) -> None:
    lock_by_cli(cluster, "mioss/index-api-image")
    cluster.denied.add("osd map")
    (locked,) = (await locks(source(cluster))).images
    assert (locked.pg, locked.primary) == (None, None)


async def test_silent_monitors_are_asked_for_a_placement_once_and_not_for_every_image(
    cluster: SimulatedCluster,
) -> None:
    for spec in ("mioss/index-api-image", "mioss/free"):
        lock_by_cli(cluster, spec)
    reading, connection = doctored(cluster)
    asked: list[object] = []

    def silent(*command: object) -> bytes:
        asked.append(command)
        raise RadosError(110, "the monitor command 'osd map': timed out")

    connection.mon = silent  # type: ignore[attr-defined]
    assert [one.pg for one in (await locks(reading)).images] == [None, None]
    assert len(asked) == 1


async def test_pools_and_images_for_which_no_time_is_left_are_problems(cluster: SimulatedCluster) -> None:
    cluster.create_pool("slow")
    lock_by_cli(cluster, "mioss/index-api-image")
    times = iter([0.0, 1.0, 1.0, 1.0])
    reading = CephSource(lambda: cluster.connect(), clock=lambda: next(times, 1000.0))
    found = await locks(reading)
    assert (names(found.images), [p.pool for p in found.problems]) == (["mioss/index-api-image"], ["slow"])
    assert "not looked at: Ceph took too long" in found.problems[0].reason
    late = CephSource(lambda: cluster.connect(), clock=lambda: next(later, 1000.0))
    later = iter([0.0])
    found = await locks(late, image("mioss/index-api-image"))
    assert (found.images, found.free) == ((), ())
    assert "image mioss/index-api-image was not looked at" in found.problems[0].reason


@pytest.mark.parametrize("spec", ["mioss/index-api-image", "mioss/free"])
async def test_one_image_alone_is_locked_or_free(cluster: SimulatedCluster, spec: str) -> None:
    before = await locks(source(cluster), image(spec))
    assert [str(one) for one in before.free] == [spec]
    lock_by_cli(cluster, spec)
    after = await locks(source(cluster), image(spec))
    assert names(after.images) == [spec]
    assert (after.free, after.absent, after.pools) == ((), (), ())


@pytest.mark.parametrize("spec", ["mioss/index-api-image", "mioss/free"])
async def test_who_uses_an_unlocked_image_is_told_and_nobody_is_not_the_same_as_unread(
    cluster: SimulatedCluster, spec: str
) -> None:
    assert (await locks(source(cluster), image(spec))).users == {spec: ()}
    writer = cluster.client("10.46.181.146")
    writer.open(spec)
    watched = await locks(source(cluster), image(spec))
    assert (names(watched.images), [str(one) for one in watched.free]) == ([], [spec])
    assert [(w.client, w.address) for w in watched.users[spec]] == [(writer.id, writer.address)]
    reading, connection = doctored(cluster)
    connection.failing["watchers"] = RadosError(110, "reading the watchers failed")
    unread = await locks(reading, image(spec))
    assert ([str(one) for one in unread.free], unread.users) == ([spec], {})


@pytest.mark.parametrize("spec", ["mioss/nowhere", "nopool/nowhere", "mioss/nons/free"])
async def test_an_image_that_is_not_there_is_absent(cluster: SimulatedCluster, spec: str) -> None:
    found = await locks(source(cluster), image(spec))
    assert [str(one) for one in found.absent] == [spec]
    assert (found.images, found.free, found.problems) == ((), (), ())


async def test_an_image_named_after_it_went_to_the_trash_is_found_there(cluster: SimulatedCluster) -> None:
    lock_by_cli(cluster, "mioss/free")
    cluster.trash("mioss/free")
    found = await locks(source(cluster), image("mioss/free"))
    assert [one.traits for one in found.images] == [("trashed",)]


async def test_a_cut_reply_for_a_named_image_is_a_problem_and_never_free(cluster: SimulatedCluster) -> None:
    lock_by_cli(cluster, "mioss/index-api-image")
    for size in range(1, 60):
        cluster.cut_replies = size
        found = await locks(source(cluster), image("mioss/index-api-image"))
        assert (found.images, found.free, found.absent) == ((), (), ())
        assert found.problems[0].reason.startswith("image mioss/index-api-image: ")


async def test_an_inactive_placement_group_is_a_problem_of_its_image(cluster: SimulatedCluster) -> None:
    group, _ = cluster.placement("mioss", "", "index-api-image.rbd")
    cluster.primaries[group] = None
    found = await locks(source(cluster), image("mioss/index-api-image"))
    assert found.free == ()
    assert "inactive placement groups" in found.problems[0].reason


async def test_a_pods_images_are_those_of_its_volumes_and_its_own(cluster: SimulatedCluster) -> None:
    cluster.create_image("mioss/bystander")
    for spec in ("mioss/index-api-image", "mioss/free", "mioss/bystander"):
        lock_by_cli(cluster, spec)
    csi = CSISource("rook.rbd.csi.ceph.com", "h", {"pool": "mioss", "imageName": "free"})
    inline = PodVolume("data", rbd=RBDSource("index-api-image", pool="mioss"))
    seen = (
        snapshot(Subject("Pod", "shop", "api-0", "u"))
        .with_fact(k8s.PODS, k8s.Listing((Pod(Meta("api-0"), PodSpec(volumes=(inline,))),)))
        .with_fact(k8s.VOLUMES, k8s.Listing((Volume(Meta("pv"), VolumeSpec(csi=csi)),)))
    )
    assert names((await locks(source(cluster), seen)).images) == ["mioss/free", "mioss/index-api-image"]


async def test_ceph_is_not_asked_about_what_has_no_image() -> None:
    def connect() -> Rados:
        raise AssertionError("nobody should connect")

    reading = CephSource(connect)
    seen = snapshot(Subject("Pod", "shop", "web-0", "u")).with_fact(k8s.VOLUMES, k8s.Listing(()))
    seen = seen.with_fact(LOCKS, await locks(reading, seen))
    for kind in (SESSIONS, OSDMAP, STATUS):
        with pytest.raises(CouldNotLook, match="no RBD image is involved") as raised:
            await reading.fetch(kind, seen)
        assert not raised.value.configured


@pytest.mark.parametrize("configured", [True, False])
async def test_no_volumes_seen_is_not_the_same_as_no_image_involved(
    cluster: SimulatedCluster, configured: bool
) -> None:
    seen = snapshot(Subject("Pod", "shop", "web-0", "u")).with_fact(k8s.VOLUMES, NotSeen("forbidden", configured))
    for kind in (LOCKS, NEIGHBOURS, FEATURES):
        with pytest.raises(CouldNotLook, match="which RBD images are involved is not known: forbidden") as raised:
            await source(cluster).fetch(kind, seen)
        assert raised.value.configured is configured


async def test_a_subject_that_names_no_image_says_how_one_is_named(cluster: SimulatedCluster) -> None:
    with pytest.raises(CouldNotLook, match="pool/image or pool/namespace/image"):
        await locks(source(cluster), image("index-api-image"))


async def test_sessions_are_asked_of_every_monitor(cluster: SimulatedCluster) -> None:
    clients = [cluster.client(f"10.47.136.{number}") for number in range(4)]
    found = await source(cluster).fetch(SESSIONS, snapshot())
    assert isinstance(found, Sessions)
    assert {session.mon for session in found.open} == {"a", "b", "c"}
    assert {client.id: client.address.ip for client in clients}.items() <= {
        session.client: session.ip for session in found.open
    }.items()
    assert found.silent == {}


async def test_a_silent_monitor_is_named(cluster: SimulatedCluster) -> None:
    cluster.silent_mons = {"b"}
    found = await source(cluster).fetch(SESSIONS, snapshot())
    assert list(found.silent) == ["b"]
    assert "errno 110" in found.silent["b"]


async def test_sessions_that_are_refused_name_the_missing_caps(cluster: SimulatedCluster) -> None:
    cluster.denied.add("sessions")
    found = await source(cluster).fetch(SESSIONS, snapshot())
    assert (found.open, set(found.silent)) == ((), {"a", "b", "c"})
    assert "allow command sessions" in found.silent["a"]


async def test_the_osd_map_tells_fences_flags_daemons_and_our_own_address(
    cluster: SimulatedCluster, clock: Clock
) -> None:
    cluster.mds = {"m": "10.47.1.31"}
    cluster.flags.add("pauserd")
    cluster.connect().mon({"prefix": "osd blocklist", "blocklistop": "add", "addr": "10.1.2.6", "expire": 60.0})
    found = await source(cluster).fetch(OSDMAP, snapshot())
    assert isinstance(found, OsdMap)
    assert found.fsid == cluster.fsid
    assert "pauserd" in found.flags
    assert [(fence.entry, fence.until - NOW) for fence in found.fences] == [("10.1.2.6:0/0", timedelta(seconds=60))]
    assert {Daemon("osd.0", "10.47.1.21"), Daemon("mon.a", "10.47.1.11"), Daemon("mgr.x", "10.47.1.11"),
            Daemon("mds.m", "10.47.1.31")} <= set(found.daemons)  # fmt: skip
    assert found.own_ips == ("10.47.1.5",)
    clock.pass_by(61)
    assert (await source(cluster).fetch(OSDMAP, snapshot())).fences == ()


@pytest.mark.parametrize("kind", [LOCKS, SESSIONS, OSDMAP, STATUS])
async def test_monitors_that_are_all_down_are_one_sentence(cluster: SimulatedCluster, kind: Kind[object]) -> None:
    cluster.silent_mons = set(cluster.mons)
    with pytest.raises(CouldNotLook, match=r"Ceph could not be asked: .*check that the monitors are up") as raised:
        await source(cluster).fetch(kind, snapshot())
    assert raised.value.unreachable


async def test_a_refused_command_names_the_caps(cluster: SimulatedCluster) -> None:
    with pytest.raises(CouldNotLook, match=r"'mgr dump'.*mon 'allow r, allow command sessions'"):
        await source(cluster, caps=Caps.REMEDIATE).fetch(OSDMAP, snapshot())


async def test_answers_of_the_monitors_that_make_no_sense_are_one_sentence(cluster: SimulatedCluster) -> None:
    reading, connection = doctored(cluster)
    connection.mon = lambda *_: b"{"  # type: ignore[attr-defined]
    for kind in (SESSIONS, OSDMAP, STATUS):
        with pytest.raises(CouldNotLook, match="could not be understood"):
            await reading.fetch(kind, snapshot())


async def test_a_failed_connection_is_not_tried_again_at_once() -> None:
    tried: list[float] = []
    time = 0.0

    def connect() -> Rados:
        tried.append(time)
        raise CouldNotLook("the monitors refuse client.unstick")

    reading = CephSource(connect, clock=lambda: time)
    for kind in (LOCKS, SESSIONS, OSDMAP):
        with pytest.raises(CouldNotLook, match="refuse"):
            await reading.fetch(kind, snapshot())
    assert tried == [0.0]
    time = 6.0
    with pytest.raises(CouldNotLook):
        await reading.fetch(LOCKS, snapshot())
    assert tried == [0.0, 6.0]


async def test_a_fenced_reader_says_so_and_connects_anew(cluster: SimulatedCluster) -> None:
    made: list[Rados] = []

    def connect() -> Rados:
        made.append(cluster.connect())
        return made[-1]

    reading = CephSource(connect)
    await locks(reading)
    cluster.fences["10.47.1.5:0/0"] = NOW + timedelta(hours=1)
    with pytest.raises(CouldNotLook, match="Ceph has fenced this client"):
        await locks(reading)
    del cluster.fences["10.47.1.5:0/0"]
    assert (await locks(reading)).pools != ()
    assert len(made) == 2
    with pytest.raises(RadosError) as closed:
        made[0].pools()
    assert closed.value.errno == 107, "the connection that was fenced is closed"


async def test_a_call_that_never_ends_is_given_up(cluster: SimulatedCluster) -> None:
    never = threading.Event()

    def connect() -> Rados:
        never.wait(30)
        return cluster.connect()

    try:
        with pytest.raises(CouldNotLook, match=r"did not answer within 0\.05 s"):
            await CephSource(connect, patience=0.05).fetch(LOCKS, snapshot())
    finally:
        never.set()


async def test_the_connection_is_kept_and_closed(cluster: SimulatedCluster) -> None:
    connections: list[Rados] = []

    def connect() -> Rados:
        connections.append(cluster.connect())
        return connections[-1]

    reading = CephSource(connect)
    await reading.aclose()
    await locks(reading)
    await reading.fetch(SESSIONS, snapshot())
    await reading.aclose()
    assert len(connections) == 1
    with pytest.raises(RadosError, match="not open"):
        connections[0].pools()


def test_it_provides_the_kinds_of_ceph_and_no_others() -> None:
    reading = CephSource(lambda: SimulatedCluster(lambda: NOW).connect())
    for kind in (LOCKS, NEIGHBOURS, SESSIONS, OSDMAP, STATUS, FEATURES, WATCHERS, PLACEMENTS):
        assert reading.provides(kind), kind.name
    assert not reading.provides(k8s.PODS)
