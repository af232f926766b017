"""What an umbrella event is replaced by, and what an event that is no longer true is corrected to."""

from typing import Any

import pytest

from diagnostics.facts.csi import MOST_OBJECTS
from diagnostics.model import Finding, Subject
from tests.diagnostics.recorded import Gap, World, but
from tests.diagnostics.test_chain import (
    IMAGE,
    INCIDENT,
    Json,
    event,
    explained,
    kinds,
    link,
    proof,
    with_ceph,
    with_objects,
)

UMBRELLA = "Unable to attach or mount volumes: unmounted volumes=[data conf]: timed out waiting for the condition"
DRIVER = "rbd.csi.ceph.com"
SPEC = {"pool": "mioss", "namespace": "", "name": "index-api-image"}
REGISTERED = {"metadata": {"name": "node2", "uid": "csinode-2"}, "spec": {"drivers": [{"name": DRIVER, "nodeID": "n"}]}}


def csi(message: str = UMBRELLA, **plurals: list[Json]) -> World:
    """The incident with a ceph-csi volume whose image is free, on a node where the driver is registered."""
    attributes = {"pool": "mioss", "imageName": "index-api-image", "clusterID": "c"}
    source = {"driver": DRIVER, "volumeHandle": "0001-x", "volumeAttributes": attributes}
    volume = {**INCIDENT.kubernetes["persistentvolumes"][0]}
    volume["spec"] = {**{k: v for k, v in volume["spec"].items() if k != "rbd"}, "csi": source}
    attached = {
        "metadata": {"name": "csi-1", "uid": "va-1", "creationTimestamp": "2026-03-14T09:20:05Z"},
        "spec": {"attacher": DRIVER, "nodeName": "node2", "source": {"persistentVolumeName": "pv-index-api"}},
        "status": {"attached": True},
    }
    given = {
        "persistentvolumes": [volume], "csinodes": [REGISTERED], "volumeattachments": [attached],
        "events": [event("told", message)], **plurals,
    }  # fmt: skip
    return with_objects(with_ceph(images=[], pools=[], free=[SPEC], users={"mioss/index-api-image": []}), **given)


def plugin(ready: str, state: Json | None = None) -> Json:
    """The driver's node plugin on the pod's node."""
    return {
        "metadata": {
            "name": "csi-rbdplugin-x", "namespace": "ceph", "uid": "plugin-x",
            "ownerReferences": [{"kind": "DaemonSet", "name": "csi-rbdplugin", "uid": "ds", "controller": True}],
        },
        "spec": {
            "nodeName": "node2",
            "volumes": [{"name": "socket", "hostPath": {"path": f"/var/lib/kubelet/plugins/{DRIVER}"}}],
        },
        "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "driver", "state": state or {"running": {}}}],
        },
    }  # fmt: skip


def pods(*more: Json) -> list[Json]:
    return [*INCIDENT.kubernetes["pods"], *more]


def ending(found: Finding) -> tuple[str | None, str, str]:
    """The cause, the root and what is said of it."""
    last = found.chain[-1]
    return found.cause, str(found.root), last.says


async def test_a_driver_that_is_not_registered_speaks_for_the_umbrella() -> None:
    empty = {**REGISTERED, "spec": {"drivers": None}}
    found = await explained(csi(csinodes=[empty]))
    assert ending(found) == (
        "csi-driver-not-registered", "CSINode node2", f"has no driver {DRIVER} registered",
    )  # fmt: skip
    assert "drivers: none" in proof(found, "CSINode")
    absent = await explained(csi(csinodes=[]))
    assert "not found" in proof(absent, "CSINode")


async def test_the_node_plugin_that_does_not_run_is_the_root_of_an_unregistered_driver() -> None:
    crash = plugin("False", {"waiting": {"reason": "CrashLoopBackOff"}})
    found = await explained(csi(csinodes=[], pods=pods(crash)))
    assert (found.cause, str(found.root)) == ("csi-driver-not-registered", "Pod ceph/csi-rbdplugin-x")
    assert "driver CrashLoopBackOff" in found.chain[-1].evidence[0].text
    runs = await explained(csi(csinodes=[], pods=pods(plugin("True"))))
    assert "is Ready" in runs.chain[-1].says


async def test_a_registered_driver_whose_plugin_is_down_does_not_answer() -> None:
    found = await explained(csi(pods=pods(plugin("False"))))
    assert (found.cause, str(found.root)) == ("csi-driver-not-registered", "Pod ceph/csi-rbdplugin-x")
    assert (await explained(csi(pods=pods(plugin("True"))))).cause == "mount-timeout-umbrella"


async def test_an_unbound_claim_and_a_missing_one_speak_for_the_umbrella() -> None:
    [claim] = INCIDENT.kubernetes["persistentvolumeclaims"]
    pending = {**claim, "status": {"phase": "Pending"}, "spec": {**claim["spec"], "volumeName": None}}
    found = await explained(csi(persistentvolumeclaims=[pending]))
    assert ending(found) == ("pvc-unbound", "PersistentVolumeClaim search/index-api", "is Pending to nothing")
    gone = await explained(csi(persistentvolumeclaims=[]))
    assert ending(gone) == ("pvc-unbound", "PersistentVolumeClaim search/index-api", "does not exist")


def mounting(volume: Json) -> list[Json]:
    [pod, *others] = INCIDENT.kubernetes["pods"]
    spec = {**pod["spec"], "volumes": [*pod["spec"]["volumes"], {"name": "conf", **volume}]}
    return [{**pod, "spec": spec}, *others]


async def test_a_missing_config_map_speaks_for_the_umbrella_unless_it_is_optional() -> None:
    found = await explained(csi(pods=mounting({"configMap": {"name": "conf"}})))
    assert ending(found) == ("configmap-missing", "ConfigMap search/conf", "does not exist")
    projected = {"projected": {"sources": [{"configMap": {"name": "conf"}}]}}
    assert (await explained(csi(pods=mounting(projected)))).cause == "configmap-missing"
    optional = await explained(csi(pods=mounting({"configMap": {"name": "conf", "optional": True}})))
    assert optional.cause == "mount-timeout-umbrella"
    there = {"metadata": {"name": "conf", "namespace": "search"}, "data": {"a": "1"}}
    elsewhere = {"metadata": {"name": "conf", "namespace": "other"}, "data": {"a": "1"}}
    volume = {"configMap": {"name": "conf", "items": [{"key": "a"}, {"key": "b"}]}}
    keyed = await explained(csi(pods=mounting(volume), configmaps=[there]))
    assert ending(keyed) == ("secret-key-missing", "ConfigMap search/conf", "has no key b")
    assert (await explained(csi(pods=mounting(volume), configmaps=[elsewhere]))).cause == "configmap-missing"


def secret(*keys: str, recorded: bool = True) -> Json:
    fields = {"f:data": {".": {}, **{f"f:{key}": {} for key in keys}}, "f:type": {}}
    managed = [{"manager": "kubectl", "operation": "Update", "fieldsV1": fields}] if recorded else None
    return {"metadata": {"name": "keys", "namespace": "search", "uid": "s-1", "managedFields": managed}}


async def test_a_secret_is_judged_by_the_names_of_its_keys_where_these_are_granted_and_recorded() -> None:
    volume = {"secret": {"secretName": "keys", "items": [{"key": "userKey"}]}}
    gone = await explained(csi(pods=mounting(volume)))
    assert ending(gone) == ("secret-missing", "Secret search/keys", "does not exist")
    lacking = await explained(csi(pods=mounting(volume), secrets=[secret("userID")]))
    assert ending(lacking) == ("secret-key-missing", "Secret search/keys", "has no key userKey")
    assert "its keys are userID" in proof(lacking, "Secret")
    for known in (secret("userID", "userKey"), secret(recorded=False)):
        assert (await explained(csi(pods=mounting(volume), secrets=[known]))).cause == "mount-timeout-umbrella"
    closed = but(csi(pods=mounting(volume)), unseen={"secrets": Gap("not granted", configured=False)})
    found = await explained(closed)
    assert (found.cause, [reason for reason in found.unseen if "keys" in reason]) == ("mount-timeout-umbrella", [])


async def test_a_config_map_that_is_not_found_but_exists_is_the_kubelets_cache() -> None:
    message = 'MountVolume.SetUp failed for volume "conf" : configmap "conf" not found'
    made = {"name": "conf", "namespace": "search", "uid": "cm-1", "creationTimestamp": "2026-03-14T09:28:00Z"}
    there = {"metadata": made, "data": {}}
    mounted = mounting({"configMap": {"name": "conf"}})
    found = await explained(csi(message, pods=mounted, configmaps=[there]))
    assert (found.cause, str(found.root)) == ("kubelet-cache-sync", "ConfigMap search/conf")
    assert "created 2026-03-14T09:28:00Z" in proof(found, "ConfigMap")
    blind = but(csi(message, pods=mounted), unseen={"configmaps": Gap("forbidden")})
    assert (await explained(blind)).cause == "configmap-missing"


WATCHER = {"client": "client.77", "address": {"ip": "10.47.136.60", "port": 0, "nonce": 5}}


def open_at(*watchers: Json, **plurals: list[Json]) -> World:
    return with_ceph(csi(**plurals), images=[], pools=[], free=[SPEC], users={"mioss/index-api-image": list(watchers)})


async def test_a_client_elsewhere_that_has_the_unlocked_image_open_is_named_with_its_node() -> None:
    found = await explained(open_at(WATCHER))
    assert (found.cause, str(found.root)) == ("rbd-image-in-use", "Node node1")
    assert link(found, "RBDImage").says == "is not locked, but open at client.77"
    assert "from 10.47.136.60:0/5" in link(found, "CephClient").says
    message = "rpc error: code = Internal desc = rbd image mioss/index-api-image is still being used"
    said = await explained(open_at(WATCHER, events=[event("used", message)]))
    assert (said.cause, str(said.root)) == ("rbd-image-in-use", "Node node1")


async def test_a_watcher_of_a_strange_address_is_where_the_chain_ends_and_that_is_said() -> None:
    strange = {**WATCHER, "address": {"ip": "203.0.113.9", "port": 0, "nonce": 5}}
    found = await explained(open_at(strange))
    assert (found.cause, found.root) == ("mount-timeout-umbrella", IMAGE)
    assert link(found, "RBDImage").says == (
        "is not locked, but open at client.77, and whose client that is, is not known"
    )
    told = "whose client client.77 at 203.0.113.9 is, is not known: no node has the address 203.0.113.9"
    assert told in found.unseen
    blind = await explained(but(open_at(WATCHER), unseen={"nodes": Gap("timeout")}))
    assert blind.cause == "mount-timeout-umbrella"
    assert any("nodes could not be read" in reason for reason in blind.unseen)
    both = await explained(open_at(strange, {**WATCHER, "client": "client.78"}))
    assert (both.cause, str(both.root)) == ("rbd-image-in-use", "Node node1")
    assert link(both, "RBDImage").says == "is not locked, but open at client.78"


async def test_a_mirror_daemon_is_nobodys_mount_though_its_host_is_no_node() -> None:
    away = {**WATCHER, "address": {"ip": "203.0.113.9", "port": 0, "nonce": 5}}
    session = {"entity": "client.rbd-mirror.a", "client": "client.77", "ip": "203.0.113.9", "mon": "a"}
    world = open_at(away)
    found = await explained(but(world, ceph={**world.ceph, "ceph.sessions": {"open": [session], "silent": {}}}))
    assert (found.cause, str(found.root)) == ("rbd-image-in-use", "CephClient client.77")


async def test_a_mirror_daemons_watch_is_called_that() -> None:
    session = {"entity": "client.rbd-mirror.a", "client": "client.77", "ip": "10.47.136.60", "mon": "a"}
    world = open_at(WATCHER)
    mirrored = but(world, ceph={**world.ceph, "ceph.sessions": {"open": [session], "silent": {}}})
    found = await explained(mirrored)
    assert "a mirror daemon: it is no user of the volume" in link(found, "CephClient").says
    assert kinds(found)[-1] == "CephClient"


async def test_an_image_that_only_the_pods_own_node_has_open_is_no_use_elsewhere() -> None:
    own = {**WATCHER, "address": {"ip": "10.46.181.146", "port": 0, "nonce": 5}}
    found = await explained(open_at(own))
    assert found.cause == "mount-timeout-umbrella"
    assert "open at the pod's own node only" in link(found, "RBDImage").says


async def test_a_lock_of_the_pods_own_node_is_named_where_the_kubelet_speaks_of_a_lock() -> None:
    locker = {"client": "client.31", "cookie": "c", "address": {"ip": "10.46.181.146", "port": 0, "nonce": 8}}
    own = {**INCIDENT.ceph["ceph.locks"]["images"][0], "lockers": [locker]}
    own["watchers"] = [{"client": "client.33", "address": {"ip": "10.46.181.146", "port": 0, "nonce": 9}}]
    found = await explained(with_ceph(images=[own]))
    assert found.cause == "rbd-image-locked"
    assert "the pod's own node: live" in link(found, "RBDLock").says


async def test_a_driver_that_is_registered_by_now_lets_the_lock_behind_it_be_seen() -> None:
    message = f"MountVolume.MountDevice failed: driver name {DRIVER} not found in the list of registered CSI drivers"
    world = with_ceph(csi(message), images=INCIDENT.ceph["ceph.locks"]["images"])
    found = await explained(world)
    assert (found.cause, kinds(found)[-1]) == ("rbd-image-locked", "Node")
    missing = with_objects(world, csinodes=[])
    assert (await explained(missing)).cause == "csi-driver-not-registered"


async def test_the_first_stuck_call_speaks_for_those_that_are_refused_because_of_it() -> None:
    held = "rpc error: code = Aborted desc = an operation with the given Volume ID 0001-x already exists"
    first = "MountVolume.MountDevice failed: rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    events = [event("first", first, "2026-03-14T09:22:00Z"), event("held", held)]
    found = await explained(csi(events=events, pods=pods(plugin("False"))))
    assert (found.cause, str(found.root)) == ("csi-driver-not-registered", "Pod ceph/csi-rbdplugin-x")
    locked = with_ceph(csi(events=events), images=INCIDENT.ceph["ceph.locks"]["images"])
    assert (await explained(locked)).cause == "rbd-image-locked"


@pytest.mark.parametrize("kind", ["csinodes", "volumeattachments", "configmaps", "persistentvolumeclaims"])
async def test_what_could_not_be_read_explains_nothing_and_is_said(kind: str) -> None:
    there = {"metadata": {"name": "conf", "namespace": "search"}, "data": {}}
    mounted = mounting({"configMap": {"name": "conf"}})
    found = await explained(but(csi(pods=mounted, configmaps=[there]), unseen={kind: Gap("forbidden")}))
    assert any("forbidden" in reason for reason in found.unseen), found.unseen
    assert found.cause != "csi-driver-not-registered"


def told(found: Finding) -> list[tuple[str, Any]]:
    return [(str(link.subject), link.evidence) for link in found.chain]


async def test_every_link_of_these_chains_has_its_proof() -> None:
    for world in (csi(csinodes=[]), open_at(WATCHER), csi(pods=mounting({"configMap": {"name": "conf"}}))):
        found = await explained(world)
        assert all(evidence for _, evidence in told(found)), told(found)
        assert found.root == found.chain[-1].subject
        assert isinstance(found.root, Subject)


async def test_what_holds_the_volume_elsewhere_speaks_for_the_umbrella() -> None:
    held = {
        "metadata": {"name": "csi-0", "uid": "va-0", "creationTimestamp": "2026-03-14T08:00:00Z"},
        "spec": {"attacher": DRIVER, "nodeName": "node1", "source": {"persistentVolumeName": "pv-index-api"}},
        "status": {"attached": True},
    }
    found = await explained(csi(volumeattachments=[held]))
    assert (found.cause, str(found.root)) == ("multi-attach", "Node node1")
    assert kinds(found)[-4:] == ["PersistentVolumeClaim", "PersistentVolume", "VolumeAttachment", "Node"]


async def test_the_attachments_own_error_speaks_for_the_umbrella() -> None:
    error = {"message": f"rpc error: code = NotFound desc = node node2 has no NodeID annotation for {DRIVER}"}
    tried = {
        "metadata": {"name": "csi-1", "uid": "va-1", "creationTimestamp": "2026-03-14T09:20:05Z"},
        "spec": {"attacher": DRIVER, "nodeName": "node2", "source": {"persistentVolumeName": "pv-index-api"}},
        "status": {"attached": False, "attachError": error},
    }
    found = await explained(csi(volumeattachments=[tried]))
    assert str(found.root) == "VolumeAttachment csi-1"
    assert error["message"] in proof(found, "VolumeAttachment")
    assert found.cause != "mount-timeout-umbrella"


async def test_a_hold_that_passes_or_is_not_known_gives_way_to_what_the_pod_waits_for_as_well() -> None:
    source = {"attacher": DRIVER, "nodeName": "node1", "source": {"persistentVolumeName": "pv-index-api"}}
    young = {"name": "csi-0", "uid": "va-0", "creationTimestamp": "2026-03-14T09:29:00Z"}
    leaving = {"metadata": {**young, "deletionTimestamp": "2026-03-14T09:29:55Z"}, "spec": source}
    down = pods(plugin("False"))
    found = await explained(csi(volumeattachments=[leaving], pods=down))
    assert (found.cause, str(found.root)) == ("csi-driver-not-registered", "Pod ceph/csi-rbdplugin-x")
    alone = await explained(csi(volumeattachments=[leaving]))
    assert (alone.cause, str(alone.root)) == ("multi-attach", "VolumeAttachment csi-0")
    staying = {"metadata": young, "spec": source, "status": {"attached": True}}
    unknown = but(csi(volumeattachments=[staying], pods=down), unseen={"nodes": Gap("timeout")})
    assert (await explained(unknown)).cause == "csi-driver-not-registered"


async def test_a_key_of_an_optional_mount_may_be_missing_and_one_of_a_projected_mount_may_not() -> None:
    there = {"metadata": {"name": "conf", "namespace": "search"}, "data": {"main": "1"}}

    def source(key: str, **more: Any) -> Json:
        return {"configMap": {"name": "conf", "items": [{"key": key, "path": "x"}], **more}}

    def projected(*sources: Json) -> Json:
        return {"projected": {"sources": [*sources]}}

    async def cause(volume: Json) -> str | None:
        both = mounting(volume)
        both[0]["spec"]["volumes"].append({"name": "main", **source("main")})
        return (await explained(csi(pods=both, configmaps=[there]))).cause

    assert await cause(source("extra", optional=True)) == "mount-timeout-umbrella"
    assert await cause(source("extra")) == "secret-key-missing"
    assert await cause(projected(source("extra"))) == "secret-key-missing"
    assert await cause(projected(source("extra", optional=True), source("main"))) == "mount-timeout-umbrella"
    assert await cause({"projected": {"sources": None}}) == "mount-timeout-umbrella"
    named = {"secret": {"name": "keys", "items": [{"key": "userKey", "path": "x"}]}}
    found = await explained(csi(pods=mounting(projected(named)), secrets=[secret("userID")]))
    assert ending(found) == ("secret-key-missing", "Secret search/keys", "has no key userKey")


async def test_an_object_beyond_the_most_that_are_asked_for_is_called_unseen_not_missing() -> None:
    [first, *others] = INCIDENT.kubernetes["pods"]
    many = [{"name": f"c{i}", "configMap": {"name": f"c{i}"}} for i in range(MOST_OBJECTS)]
    asked = [{"metadata": {"name": f"c{i}", "namespace": "search"}} for i in range(MOST_OBJECTS)]
    before = {**first, "metadata": {**first["metadata"], "name": "many", "uid": "pod-0"}}
    before["spec"] = {**first["spec"], "volumes": many}
    world = csi(pods=[before, *mounting({"configMap": {"name": "conf"}}), *others], configmaps=asked)
    found = await explained(world)
    assert found.cause == "mount-timeout-umbrella"
    assert "ConfigMap conf: it was not asked for, 50 others were" in found.unseen
