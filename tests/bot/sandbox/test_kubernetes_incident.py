"""The incident's objects: valid Kubernetes, one story, and times that fit together."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from kubernetes.aio import client

from bot.sandbox.kubernetes import incident
from bot.sandbox.kubernetes.resources import Object
from diagnostics.facts import resources as res

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
OBJECTS = list(incident.objects(NOW))


def _of(kind: str, as_type: Any) -> dict[str, Any]:
    return {given["metadata"]["name"]: msgspec.convert(given, as_type) for given in OBJECTS if given["kind"] == kind}


@pytest.mark.parametrize("given", OBJECTS, ids=lambda given: f"{given['kind']}-{given['metadata']['name']}")
def test_the_official_clients_strict_models_accept_every_object(given: Object) -> None:
    model = "CoreV1Event" if given["kind"] == "Event" else f"V1{given['kind']}"
    assert getattr(client, model).from_dict(given).metadata.name == given["metadata"]["name"]


def test_every_object_has_an_identity_of_its_own_that_is_the_same_in_every_run() -> None:
    uids = [given["metadata"]["uid"] for given in OBJECTS]
    assert len(set(uids)) == len(uids)
    later = NOW + timedelta(days=1)
    assert [given["metadata"]["uid"] for given in incident.objects(later) if given["kind"] != "Event"] == [
        given["metadata"]["uid"] for given in OBJECTS if given["kind"] != "Event"
    ]


def test_every_reference_leads_to_an_object() -> None:
    known = {(g["kind"], g["metadata"].get("namespace"), g["metadata"]["name"], g["metadata"]["uid"]) for g in OBJECTS}
    for given in OBJECTS:
        namespace = given["metadata"].get("namespace")
        for owner in given["metadata"].get("ownerReferences", ()):
            assert (owner["kind"], namespace, owner["name"], owner["uid"]) in known
        about = given.get("involvedObject", {"kind": "Node"})
        if about["kind"] != "Node":
            assert (about["kind"], about["namespace"], about["name"], about["uid"]) in known
        if reference := given.get("spec", {}).get("claimRef"):
            assert (reference["kind"], reference["namespace"], reference["name"], reference["uid"]) in known


def test_the_dead_node_has_been_silent_for_twelve_minutes() -> None:
    node, lease = _of("Node", res.Node)["node1"], _of("Lease", res.Lease)["node1"]
    assert NOW - lease.spec.renew_time == timedelta(minutes=12)
    assert (node.ips, node.ready.status) == (("10.47.136.60",), "Unknown")
    assert {taint.effect for taint in node.spec.taints} == {"NoSchedule", "NoExecute"}
    assert lease.spec.renew_time < node.ready.last_transition_time
    assert any("index-api-image" in volume for volume in node.status.volumes_in_use)
    for name in ("node2", "node3"):
        assert _of("Node", res.Node)[name].is_ready
        assert NOW - _of("Lease", res.Lease)[name].spec.renew_time < timedelta(seconds=40)


def test_the_replacement_hangs_while_the_old_pod_still_counts_as_running() -> None:
    pods = _of("Pod", res.Pod)
    assert [name for name, pod in pods.items() if pod.is_creating] == [incident.STUCK_POD]
    stuck, old = pods[incident.STUCK_POD], pods[incident.OLD_POD]
    assert (stuck.spec.node_name, old.spec.node_name, old.status.phase) == ("node2", "node1", "Running")
    assert (stuck.claims, old.claims) == (("index-api",), ("index-api",))
    assert stuck.metadata.controller == old.metadata.controller
    assert old.metadata.deletion_timestamp == stuck.waiting_since + timedelta(seconds=30)
    volume = _of("PersistentVolume", res.Volume)["index-api"]
    assert (volume.spec.rbd.pool, volume.spec.rbd.image, volume.status.phase) == ("mioss", "index-api-image", "Bound")


def test_the_events_say_what_was_said_then_and_no_more() -> None:
    events = [msgspec.convert(given, res.Event) for given in OBJECTS if given["kind"] == "Event"]
    failed = {event.message: event for event in events if event.reason == "FailedMount"}
    lock = 'MountVolume.SetUp failed for volume "index-api" : rbd: image index-api-image is locked by other nodes'
    (umbrella,) = [message for message in failed if message != lock]
    assert umbrella.startswith(f'Unable to mount volumes for pod "{incident.STUCK_POD}_search(')
    assert umbrella.endswith("list of unmounted volumes=[index-api]. list of unattached volumes=[index-api]")
    for event in failed.values():
        assert event.about.name == incident.STUCK_POD
        assert event.first_seen < event.last_seen <= NOW
    assert (failed[lock].count, failed[umbrella].count) == (11, 3)


def test_pods_have_addresses_of_their_own_unless_they_share_their_nodes() -> None:
    pods = _of("Pod", res.Pod).values()
    own = [pod.status.pod_ip for pod in pods if pod.status.pod_ip and not pod.spec.host_network]
    assert len(own) == len(set(own))
    shared = {pod.spec.node_name: pod.status.pod_ip for pod in pods if pod.spec.host_network}
    assert shared == incident.NODES


def test_a_volume_names_only_images_and_the_file_system_that_are_promised() -> None:
    volumes = _of("PersistentVolume", res.Volume).values()
    assert sorted(v.spec.rbd.image for v in volumes if v.spec.rbd) == sorted(incident.IMAGES)
    assert [v.spec.cephfs["path"] for v in volumes if v.spec.cephfs] == [f"/{incident.FILE_SYSTEM}"]
