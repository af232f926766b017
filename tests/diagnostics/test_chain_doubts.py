"""What the events may be wrong about: what is over, what exists after all, which volumes wait, whose client it is."""

import pytest

from diagnostics.causes import Cause, classify
from diagnostics.chain import events as events_module
from tests.diagnostics.recorded import Gap, World, but
from tests.diagnostics.test_chain import (
    IMAGE,
    INCIDENT,
    LOCKED,
    POD,
    Json,
    event,
    explained,
    link,
    with_ceph,
    with_objects,
)
from tests.diagnostics.test_chain_waits import UMBRELLA, csi, ending, mounting

MISSING = 'MountVolume.SetUp failed for volume "conf" : configmap "conf" not found'
MADE = {"metadata": {"name": "conf", "namespace": "search", "uid": "cm-1"}, "data": {}}
ONLY_DATA = "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[data conf]: timed out"
ONLY_CONF = "Unable to attach or mount volumes: unmounted volumes=[conf], unattached volumes=[data conf]: timed out"


def made_since(*events: Json, locked: bool = False, **plurals: list[Json]) -> World:
    """A pod whose ConfigMap was called missing eight minutes ago, and is there."""
    earlier = event("missing", MISSING, "2026-03-14T09:22:00Z")
    mounted = mounting({"configMap": {"name": "conf"}})
    world = csi(events=[earlier, *events], **{"pods": mounted, "configmaps": [MADE], **plurals})
    return with_ceph(world, images=INCIDENT.ceph["ceph.locks"]["images"]) if locked else world


async def test_an_object_that_exists_after_all_does_not_hide_a_lock() -> None:
    for events in ((event("umbrella", ONLY_DATA),), ()):
        for cause in (None, "configmap-missing", "rbd-image-locked"):
            found = await explained(made_since(*events, locked=True), cause=cause)
            assert (found.cause, str(found.root)) == ("rbd-image-locked", "Node node1"), (events, cause)


async def test_an_object_that_exists_after_all_is_the_cause_only_where_nothing_else_explains() -> None:
    alone = await explained(made_since(), cause="configmap-missing")
    assert (alone.cause, link(alone, "Event").subject.name) == ("kubelet-cache-sync", "missing")
    same = await explained(made_since(event("umbrella", ONLY_CONF)))
    assert (same.cause, link(same, "Event").subject.name) == ("kubelet-cache-sync", "missing")
    other = await explained(made_since(event("umbrella", ONLY_DATA)))
    assert other.cause == "mount-timeout-umbrella", "the kubelet has mounted the ConfigMap by now"
    waits = await explained(made_since(event("umbrella", ONLY_DATA), csinodes=[]))
    assert waits.cause == "csi-driver-not-registered"
    wrong = event("fs", "MountVolume.MountDevice failed: mount: wrong fs type, bad option, bad superblock on /dev/rbd0")
    told = await explained(made_since(wrong))
    assert (link(told, "Event").subject.name, told.cause) == ("fs", "filesystem-mount-failed")


async def test_another_object_that_is_missing_stays_the_cause() -> None:
    mounted = mounting({"configMap": {"name": "conf"}})
    mounted[0]["spec"]["volumes"].append({"name": "more", "configMap": {"name": "more"}})
    found = await explained(made_since(pods=mounted), cause="configmap-missing")
    assert ending(found) == ("configmap-missing", "ConfigMap search/more", "does not exist")


def lock_of(ip: str, *, alive: bool = True) -> Json:
    address = {"ip": ip, "port": 0, "nonce": 8}
    watchers = [{"client": "client.31", "address": address}] if alive else []
    locker = {"client": "client.31", "cookie": "auto 1", "address": address}
    return {**INCIDENT.ceph["ceph.locks"]["images"][0], "lockers": [locker], "watchers": watchers, "tag": "internal"}


async def test_a_lock_at_work_from_an_address_of_no_known_node_is_nobodys_fault() -> None:
    twin = {**INCIDENT.kubernetes["nodes"][0], "metadata": {"name": "node9", "uid": "uid-node9"}}
    storage = with_ceph(csi(), images=[lock_of("172.16.0.2")])
    shared = with_ceph(csi(nodes=[*INCIDENT.kubernetes["nodes"], twin]), images=[lock_of("10.47.136.60")])
    unread = but(with_ceph(csi(), images=[lock_of("10.47.136.60")]), unseen={"nodes": Gap("timeout")})
    for world in (storage, shared, unread):
        found = await explained(world)
        assert (found.cause, found.root) == ("mount-timeout-umbrella", IMAGE)
        assert link(found, "RBDImage").says == (
            "is locked by client.31, at work, and whose client that is, is not known"
        )
        assert any(reason.startswith("whose client client.31 at ") for reason in found.unseen)
        silent = await explained(with_objects(world, events=[]))
        assert silent.cause is None
    told = await explained(storage, cause="rbd-image-locked")
    assert "from 172.16.0.2 (whose client that is, is not known): live" in link(told, "RBDLock").says
    dead = await explained(with_ceph(csi(), images=[lock_of("172.16.0.2", alive=False)]))
    assert dead.cause == "rbd-image-locked", "a lock whose holder shows no life blocks, whoever that was"
    known = await explained(with_ceph(csi(), images=[lock_of("10.47.136.60")]))
    assert (known.cause, str(known.root)) == ("rbd-image-locked", "Node node1")


async def test_the_volumes_that_the_umbrella_names_are_the_ones_that_wait() -> None:
    mounted = mounting({"configMap": {"name": "conf"}})
    dead = INCIDENT.ceph["ceph.locks"]["images"]
    locked = with_ceph(csi(ONLY_CONF, pods=mounted, configmaps=[MADE]), images=dead)
    assert (await explained(locked)).cause == "mount-timeout-umbrella", "the locked volume is mounted already"
    missing = await explained(with_ceph(csi(ONLY_CONF, pods=mounted), images=dead))
    assert ending(missing) == ("configmap-missing", "ConfigMap search/conf", "does not exist")
    assert (await explained(csi(ONLY_DATA, pods=mounted))).cause == "mount-timeout-umbrella"
    about_lock = await explained(locked, cause="rbd-image-locked")
    assert (about_lock.cause, str(about_lock.root)) == ("rbd-image-locked", "Node node1")


@pytest.mark.parametrize(
    "message",
    [
        "Unable to attach or mount volumes: unmounted volumes=[other], unattached volumes=[]: timed out",
        "Unable to attach or mount volumes: unmounted volumes=[], unattached volumes=[conf]: timed out",
        "Unable to attach or mount volumes: unmounted volumes=[conf other-vol",
    ],
)
async def test_an_umbrella_that_names_none_of_the_pods_volumes_or_was_cut_restricts_nothing(message: str) -> None:
    world = with_ceph(csi(message, pods=mounting({"emptyDir": {}})), images=INCIDENT.ceph["ceph.locks"]["images"])
    assert (await explained(world)).cause == "rbd-image-locked"


async def test_the_old_form_of_the_umbrella_names_the_volumes_that_wait_too() -> None:
    old = (
        'timeout expired waiting for volumes to attach or mount for pod "search"/"p". '
        "list of unmounted volumes=[conf default-token-x]. list of unattached volumes=[data conf default-token-x]"
    )
    world = with_ceph(csi(old, pods=mounting({"emptyDir": {}})), images=INCIDENT.ceph["ceph.locks"]["images"])
    assert (await explained(world)).cause == "mount-timeout-umbrella"


async def test_a_missing_object_comes_before_a_lock_at_work_elsewhere_and_not_before_a_dead_one() -> None:
    world = csi(pods=mounting({"configMap": {"name": "conf"}}))
    alive = await explained(with_ceph(world, images=[lock_of("10.47.136.60")]))
    assert (alive.cause, str(alive.root)) == ("configmap-missing", "ConfigMap search/conf")
    dead = await explained(with_ceph(world, images=INCIDENT.ceph["ceph.locks"]["images"]))
    assert (dead.cause, str(dead.root)) == ("rbd-image-locked", "Node node1")


MULTI = 'Multi-Attach error for volume "pv-index-api" Volume is already exclusively attached to one node'


def multi_attach(*events: Json, **plurals: list[Json]) -> World:
    """A Multi-Attach 20 minutes ago, of a volume that is attached to the pod's node by now."""
    once = event("attach", MULTI, "2026-03-14T09:10:00Z", reason="FailedAttachVolume", count=1)
    return csi(**{"events": [once, *events], **plurals})


async def test_a_multi_attach_of_a_volume_that_is_attached_by_now_gives_way_to_what_goes_on() -> None:
    umbrella, missing = event("umbrella", UMBRELLA), mounting({"configMap": {"name": "conf"}})
    dead = INCIDENT.ceph["ceph.locks"]["images"]
    for cause in (None, "multi-attach", "mount-timeout-umbrella"):
        lock = await explained(with_ceph(multi_attach(umbrella), images=dead), cause=cause)
        assert (link(lock, "Event").subject.name, str(lock.root)) == ("umbrella", "Node node1")
        assert lock.cause == "rbd-image-locked"
        gone = await explained(multi_attach(umbrella, pods=missing), cause=cause)
        assert ending(gone) == ("configmap-missing", "ConfigMap search/conf", "does not exist")
    alone = await explained(with_ceph(multi_attach(), images=dead))
    assert (alone.chain[0].subject, alone.cause) == (POD, "rbd-image-locked")


async def test_a_multi_attach_stays_the_cause_while_the_volume_is_not_attached_or_nobody_can_tell() -> None:
    umbrella = event("umbrella", UMBRELLA)
    [attached] = multi_attach().kubernetes["volumeattachments"]
    elsewhere = {**attached, "spec": {**attached["spec"], "nodeName": "node1"}}
    pending = {**attached, "status": {"attached": False}}
    leaving = {**attached, "metadata": {**attached["metadata"], "deletionTimestamp": "2026-03-14T09:29:00Z"}}
    for there in ([], [elsewhere], [pending], [leaving]):
        found = await explained(multi_attach(umbrella, volumeattachments=there))
        assert (found.cause, link(found, "Event").subject.name) == ("multi-attach", "attach")
    other = event("attach", MULTI.replace("pv-index-api", "pv-of-another"), reason="FailedAttachVolume")
    for world in (
        csi(events=[other, umbrella]),
        but(multi_attach(umbrella), unseen={"volumeattachments": Gap("forbidden")}),
    ):
        assert (await explained(world)).cause == "multi-attach"


@pytest.mark.parametrize(
    ("attached", "cause"),
    [
        ("kubernetes.io/rbd/mioss:index-api-image", "mount-timeout-umbrella"),
        ("kubernetes.io/rbd/[10.46.180.11:6789]:index-api-image", "mount-timeout-umbrella"),
        ("kubernetes.io/rbd/mioss:index-api-image-2", "multi-attach"),
        ("kubernetes.io/rbd/other:index-api-image", "multi-attach"),
    ],
)
async def test_an_in_tree_volume_is_attached_where_the_nodes_volumes_attached_has_it(attached: str, cause: str) -> None:
    [first, second] = INCIDENT.kubernetes["nodes"]
    own = {**second, "status": {**second["status"], "volumesAttached": [{"name": attached, "devicePath": ""}]}}
    once = event("attach", MULTI, "2026-03-14T09:10:00Z", reason="FailedAttachVolume", count=1)
    world = with_objects(with_ceph(images=[]), nodes=[first, own], events=[once, event("umbrella", UMBRELLA)])
    assert (await explained(world)).cause == cause


async def test_only_the_pods_own_events_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"kind": "Pod", "namespace": "search", "name": "other", "uid": "pod-other"}
    others = [event(f"o{i}", f"{LOCKED} {i}", involvedObject=other) for i in range(50)]
    asked: list[str] = []

    def counting(message: str, reason: str | None = None) -> Cause:
        asked.append(message)
        return classify(message, reason)

    monkeypatch.setattr(events_module, "classify", counting)
    found = await explained(with_objects(events=[*others, *INCIDENT.kubernetes["events"]]))
    assert [e.source for e in link(found, "Event").evidence] == ["event search/locked", "event search/umbrella"]
    assert asked
    assert not any(message.startswith(f"{LOCKED} ") for message in asked)
