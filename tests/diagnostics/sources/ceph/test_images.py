"""What is read of the images that volumes name, over the simulated Ceph: features, watchers, where their headers lie."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.sandbox.ceph import Caps, SimulatedCluster
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import (
    FEATURES,
    LOCKS,
    NEIGHBOURS,
    PLACEMENTS,
    STATUS,
    ClusterStatus,
    HealthCheck,
    ImageFeatures,
    Locks,
    OsdState,
    Placements,
    VolumeWatchers,
)
from diagnostics.facts.holders import NODES, WATCHERS
from diagnostics.facts.resources import CSISource, Meta, Node, NodeStatus, Volume, VolumeSpec
from diagnostics.facts.resources.meta import AnnotatedMeta, Condition
from diagnostics.facts.resources.pods import ClaimSource, Pod, PodSpec, PodStatus, PodVolume
from diagnostics.facts.resources.volumes import Claim, ClaimSpec
from diagnostics.model import Scope, Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph import rbd_objects, wire
from diagnostics.sources.ceph.images import MOST_PLACED, ONE_TOO_MANY, TOO_LATE
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.source import CephSource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LAYERING, EXCLUSIVE = 1, 4


@pytest.fixture
def cluster() -> SimulatedCluster:
    made = SimulatedCluster(lambda: NOW)
    made.create_pool("rbd")
    made.create_image("rbd/old", format=1)
    made.create_image("rbd/new")
    made.create_namespace("rbd", "team")
    made.create_image("rbd/team/inside")
    made.create_image("rbd/thrown")
    made.trash("rbd/thrown")
    return made


ALL = ("rbd/old", "rbd/new", "rbd/team/inside", "rbd/thrown", "rbd/gone", "nopool/gone")


def volume(spec: str) -> Volume:
    pool, *namespace, name = spec.split("/")
    attributes = {"pool": pool, "imageName": name, "radosNamespace": "".join(namespace)}
    return Volume(Meta(f"pv-{name}"), VolumeSpec(csi=CSISource("rbd.csi.ceph.com", "h", attributes)))


def node(name: str, ready: str) -> Node:
    return Node(Meta(name), status=NodeStatus(conditions=(Condition("Ready", ready),)))


def naming(*specs: str, ready: str = "Unknown", subject: Subject | None = None) -> Snapshot:
    """A scan in which volumes name these images, and one node is not Ready."""
    volumes = k8s.Listing(tuple(volume(spec) for spec in specs))
    nodes = k8s.Listing((node("node1", ready), node("node2", "True")))
    return (
        Snapshot("c", NOW, Scope("c", subject=subject))
        .with_fact(k8s.VOLUMES, volumes)
        .with_fact(NODES, nodes)
        .with_fact(LOCKS, Locks("f", ()))
    )


def source(cluster: SimulatedCluster, **options: Any) -> CephSource:
    return CephSource(lambda: cluster.connect("client.unstick", caps=Caps.DIAGNOSE), ["rbd"], **options)


class Failing:
    """A connection of which single objects cannot be read, or one command."""

    def __init__(self, rados: Rados) -> None:
        self._rados = rados
        self.objects: dict[str, RadosError] = {}
        self.commands: dict[str, RadosError | bytes] = {}
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rados, name)

    def read(self, pool: str, namespace: str, oid: str) -> bytes:
        if oid in self.objects:
            raise self.objects[oid]
        return self._rados.read(pool, namespace, oid)

    def mon(self, command: dict[str, object], mon: str | None = None) -> bytes:
        self.asked.append(str(command.get("object")))
        answer = self.commands.get(str(command["prefix"]))
        if isinstance(answer, RadosError):
            raise answer
        return answer or self._rados.mon(command, mon)


def failing(cluster: SimulatedCluster) -> tuple[CephSource, Failing]:
    connection = Failing(cluster.connect())
    return CephSource(lambda: connection), connection  # type: ignore[return-value, arg-type]


# --- Features


async def test_features_are_told_by_name_wherever_the_image_is(cluster: SimulatedCluster) -> None:
    header = cluster.create_image("rbd/odd")
    bits = LAYERING | EXCLUSIVE | rbd_objects.MIGRATING_FEATURE | 1 << 40
    cluster.put("rbd", "", header).omap["features"] = wire.u64(bits)
    found = await source(cluster).fetch(FEATURES, naming(*ALL, "rbd/odd"))
    usual = ("layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten")
    assert found == ImageFeatures(
        {
            "rbd/old": (), "rbd/new": usual, "rbd/team/inside": usual, "rbd/thrown": usual,
            "rbd/odd": ("layering", "exclusive-lock", "migrating", "bit 40"),
        }
    )  # fmt: skip


async def test_features_that_cannot_be_read_are_told_and_hide_no_others(cluster: SimulatedCluster) -> None:
    without, cut = cluster.create_image("rbd/without"), cluster.create_image("rbd/cut")
    cluster.put("rbd", "", without).omap.clear()
    cluster.put("rbd", "", cut).omap["features"] = b"\x01"
    reading, connection = failing(cluster)
    connection.objects["rbd_id.new"] = RadosError(1, "reading rbd_id.new failed")
    found = await reading.fetch(FEATURES, naming("rbd/without", "rbd/cut", "rbd/new", "rbd/old"))
    assert found.features == {"rbd/old": ()}
    assert "names no features" in found.unread["rbd/without"]
    assert "does not make sense" in found.unread["rbd/cut"]
    assert "osd 'profile rbd-read-only'" in found.unread["rbd/new"]


async def test_for_one_image_the_others_are_left_alone(cluster: SimulatedCluster) -> None:
    one = Subject("RBDImage", None, "rbd/old", "")
    assert (await source(cluster).fetch(FEATURES, naming(*ALL, subject=one))).features == {"rbd/old": ()}


async def test_without_images_ceph_is_not_asked() -> None:
    def connect() -> Rados:
        raise AssertionError("nobody should connect")

    reading, seen = CephSource(connect), naming().with_fact(STATUS, status())
    assert [await reading.fetch(kind, seen) for kind in (FEATURES, WATCHERS, PLACEMENTS)] == [
        ImageFeatures(), VolumeWatchers(), Placements(),
    ]  # fmt: skip


async def test_images_for_which_no_time_is_left_are_unread(cluster: SimulatedCluster) -> None:
    times = iter([0.0])
    found = await source(cluster, clock=lambda: next(times, 1000.0)).fetch(FEATURES, naming("rbd/new", "rbd/old"))
    assert found == ImageFeatures({}, {"rbd/new": TOO_LATE, "rbd/old": TOO_LATE})


async def test_a_fenced_reader_blames_no_image(cluster: SimulatedCluster) -> None:
    cluster.fences["10.47.1.5:0/0"] = NOW + timedelta(hours=1)
    with pytest.raises(CouldNotLook, match="Ceph has fenced this client"):
        await source(cluster).fetch(FEATURES, naming("rbd/new", "rbd/old"))


# --- Watchers


async def test_who_watches_is_read_of_unlocked_images_while_a_node_is_not_ready(cluster: SimulatedCluster) -> None:
    writer = cluster.client("10.47.136.60")
    for spec in ("rbd/new", "rbd/team/inside"):
        writer.open(spec)
    found = await source(cluster).fetch(WATCHERS, naming(*ALL))
    assert found.unread == {}
    assert {spec: [(w.client, w.address) for w in watchers] for spec, watchers in found.watchers.items()} == {
        "rbd/old": [], "rbd/new": [(writer.id, writer.address)], "rbd/team/inside": [(writer.id, writer.address)],
        "rbd/thrown": [],
    }  # fmt: skip


async def test_watchers_that_the_look_at_locks_told_are_not_read_again(cluster: SimulatedCluster) -> None:
    cluster.client("10.47.136.60").lock_advisory("rbd/new", "c")
    reading = source(cluster)
    told = await reading.fetch(LOCKS, naming())
    seen = naming(*ALL).with_fact(LOCKS, told)
    assert list((await reading.fetch(WATCHERS, seen)).watchers) == ["rbd/old", "rbd/team/inside", "rbd/thrown"]


@pytest.mark.parametrize("ready", ["True", "False", "Unknown"])
async def test_while_all_nodes_are_ready_and_for_one_subject_nobody_is_asked(
    cluster: SimulatedCluster, ready: str
) -> None:
    found = await source(cluster).fetch(WATCHERS, naming("rbd/new", ready=ready))
    assert found.watchers == ({} if ready == "True" else {"rbd/new": ()})
    one = naming("rbd/new", ready=ready, subject=Subject("Pod", "shop", "api-0", "u"))
    assert await source(cluster).fetch(WATCHERS, one) == VolumeWatchers()


@pytest.mark.parametrize(("kind", "reason"), [(k8s.VOLUMES, "which RBD images"), (NODES, "which nodes are not Ready")])
@pytest.mark.parametrize("configured", [True, False])
async def test_what_leads_to_the_watchers_and_was_not_seen_is_the_reason(
    cluster: SimulatedCluster, kind: k8s.Resource[Any], reason: str, configured: bool
) -> None:
    seen = naming("rbd/new").with_fact(kind, NotSeen("forbidden", configured))
    with pytest.raises(CouldNotLook, match=f"{reason}.* is not known: forbidden|{reason}.*forbidden") as raised:
        await source(cluster).fetch(WATCHERS, seen)
    assert raised.value.configured is configured


async def test_watchers_that_cannot_be_read_are_told_and_never_nobody(cluster: SimulatedCluster) -> None:
    reading, connection = failing(cluster)
    connection.objects["rbd_id.new"] = RadosError(110, "reading rbd_id.new failed")
    connection.watchers = lambda *_: [(4, "junk")]  # type: ignore[attr-defined]
    found = await reading.fetch(WATCHERS, naming("rbd/new", "rbd/old"))
    assert found.watchers == {}
    assert "errno 110" in found.unread["rbd/new"]
    assert "an address of it cannot be read" in found.unread["rbd/old"]


# --- Neighbours


async def neighbours(reading: CephSource, *specs: str) -> Locks:
    found = await reading.fetch(NEIGHBOURS, naming(*specs, subject=Subject("RBDImage", None, "rbd/new", "")))
    assert isinstance(found, Locks)
    return found


async def test_neighbours_are_all_locks_and_the_users_of_unlocked_images(cluster: SimulatedCluster) -> None:
    cluster.create_pool("other")
    cluster.create_image("other/locked")
    writer = cluster.client("10.47.136.60")
    writer.lock_advisory("other/locked", "c")
    writer.open("rbd/old")
    found = await neighbours(source(cluster), "other/locked", "rbd/old", "rbd/team/inside", "rbd/gone")
    assert [one.image.spec for one in found.images] == ["other/locked"]
    assert {pool.pool for pool in found.pools} == {"rbd", "other"}
    assert {spec: [w.client for w in watchers] for spec, watchers in found.users.items()} == {
        "rbd/old": [writer.id], "rbd/team/inside": [],
    }  # fmt: skip
    assert [str(spec) for spec in found.free] == ["rbd/old", "rbd/team/inside"]
    assert [str(spec) for spec in found.absent] == ["rbd/gone"]
    assert found.problems == ()


async def test_a_neighbour_whose_users_cannot_be_read_is_a_problem_that_guards_see(cluster: SimulatedCluster) -> None:
    reading, connection = failing(cluster)
    connection.objects["rbd_id.new"] = RadosError(110, "reading rbd_id.new failed")
    found = await neighbours(reading, "rbd/new", "rbd/old")
    assert list(found.users) == ["rbd/old"]
    assert [problem.pool for problem in found.problems] == ["rbd"]
    assert found.problems[0].reason.startswith("who has image rbd/new open could not be read: ")
    assert [str(spec) for spec in (*found.free, *found.absent)] == ["rbd/old"]


# --- Placements


def status(**changes: Any) -> ClusterStatus:
    told: dict[str, Any] = {"fsid": "f", "health": "HEALTH_OK", "checks": (), "mons": ("a",), "quorum": ("a",)}
    told |= {"osds": (), "mgr": "x", "pgs": {"active+clean": 8}}
    return ClusterStatus(**{**told, **changes})


async def placements(reading: CephSource, specs: Sequence[str], **changes: Any) -> Placements:
    found = await reading.fetch(PLACEMENTS, naming(*specs).with_fact(STATUS, status(**changes)))
    assert isinstance(found, Placements)
    return found


async def test_while_ceph_is_well_nobody_asks_where_headers_lie(cluster: SimulatedCluster) -> None:
    assert await placements(source(cluster), ALL) == Placements()


async def test_an_osd_that_is_down_alone_costs_the_monitors_nothing(cluster: SimulatedCluster) -> None:
    reading, connection = failing(cluster)
    down = {
        "osds": (OsdState("osd.0", up=False, inside=True), OsdState("osd.1", up=True, inside=True)),
        "checks": (HealthCheck("OSD_DOWN", "HEALTH_WARN", "1 osds down"),),
    }
    assert await placements(reading, ALL, pgs={"active+undersized+degraded": 8}, **down) == Placements()
    assert connection.asked == []
    found = await placements(reading, ALL, pgs={"active+undersized+degraded": 7, "peering": 1}, **down)
    assert len(found.headers) == 3


async def test_the_monitors_are_asked_for_so_many_images_only_and_for_those_first_that_pods_wait_for(
    cluster: SimulatedCluster,
) -> None:
    reading, connection = failing(cluster)
    volumes = [f"rbd/gone{number}" for number in range(MOST_PLACED)]
    mounts = PodVolume("data", ClaimSource("data"))
    pod = Pod(Meta("p", "shop", "u"), PodSpec("node1", volumes=(mounts,)), PodStatus("Pending"))
    claim = Claim(AnnotatedMeta("data", "shop"), ClaimSpec(volume_name="pv-new"))
    earlier = naming(*volumes, "rbd/old", "rbd/new").with_fact(STATUS, status(mgr=None))
    earlier = earlier.with_fact(k8s.PODS, k8s.Listing((pod,))).with_fact(k8s.CLAIMS, k8s.Listing((claim,)))
    found = await reading.fetch(PLACEMENTS, earlier)
    assert list(found.headers) == ["rbd/new"]
    assert found.unread == dict.fromkeys([f"rbd/gone{MOST_PLACED - 1}", "rbd/old"], ONE_TOO_MANY)
    assert len(connection.asked) == 2 * MOST_PLACED


async def test_the_headers_of_all_images_are_placed_without_a_manager(cluster: SimulatedCluster) -> None:
    found = await placements(source(cluster), ALL, mgr=None)
    assert found.unread == {}
    assert list(found.headers) == ["rbd/old", "rbd/new", "rbd/team/inside"]  # what is in the trash has no name
    assert found.headers["rbd/old"].object == "old.rbd"
    for spec, namespace in (("rbd/new", ""), ("rbd/team/inside", "team")):
        placed = found.headers[spec]
        assert (placed.pg, placed.primary) == cluster.placement("rbd", namespace, placed.object)
        assert placed.object.startswith("rbd_header.")


async def test_a_group_without_a_primary_is_told_and_nothing_is_read_from_it(cluster: SimulatedCluster) -> None:
    headers = {
        "old": "old.rbd",
        "new": (await placements(source(cluster), ["rbd/new"], mgr=None)).headers["rbd/new"].object,
    }
    for name, header in headers.items():
        group, _ = cluster.placement("rbd", "", header)
        if cluster.placement("rbd", "", f"rbd_id.{name}")[0] == group:
            continue
        cluster.primaries = {group: None}
        found = (await placements(source(cluster), [f"rbd/{name}"], mgr=None)).headers[f"rbd/{name}"]
        assert (found.pg, found.primary, found.object) == (group, None, header)
    group, _ = cluster.placement("rbd", "", "rbd_id.new")
    cluster.primaries = {group: None}
    found = (await placements(source(cluster), ["rbd/new"], mgr=None)).headers["rbd/new"]
    assert (found.pg, found.primary, found.object) == (group, None, "rbd_id.new")


async def test_from_a_group_that_ceph_calls_inactive_nothing_is_read(cluster: SimulatedCluster) -> None:
    group, primary = cluster.placement("rbd", "", "rbd_id.new")
    reading, connection = failing(cluster)
    connection.objects["rbd_id.new"] = RadosError(110, "this would wait for nothing")
    found = await placements(reading, ["rbd/new"], inactive={group: "is stuck stale"})
    assert (found.headers["rbd/new"].object, found.headers["rbd/new"].primary) == ("rbd_id.new", primary)
    assert (await placements(reading, ["rbd/new"], mgr=None)).unread.keys() == {"rbd/new"}


async def test_a_monitor_that_does_not_tell_is_one_reason_and_not_one_for_every_image(
    cluster: SimulatedCluster,
) -> None:
    reading, connection = failing(cluster)
    connection.commands["osd map"] = RadosError(13, "the monitor command 'osd map': access denied")
    with pytest.raises(CouldNotLook, match=r"'osd map': access denied.*allow command sessions"):
        await placements(reading, ["rbd/new"], mgr=None)
    connection.commands["osd map"] = b"{"
    with pytest.raises(CouldNotLook, match="could not be understood"):
        await placements(reading, ["rbd/new"], mgr=None)


async def test_what_ails_ceph_must_be_known_before_headers_are_looked_for(cluster: SimulatedCluster) -> None:
    with pytest.raises(CouldNotLook, match="what ails Ceph is not known: no mon answers"):
        await source(cluster).fetch(PLACEMENTS, naming("rbd/new").with_fact(STATUS, NotSeen("no mon answers")))
