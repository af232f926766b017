"""Guards about nodes and pods: each allows, refuses, and does not know."""

from datetime import timedelta
from typing import Any

import pytest

from diagnostics.facts import Kind
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import OSDMAP, Fence
from diagnostics.facts.holders import CLAIM_USERS, LEASES, NODES, OWNING_REPLICA_SETS, OWNING_STATEFUL_SETS
from diagnostics.facts.resources import Node
from diagnostics.model import Subject
from runbooks.guards import Answer, Ruling, all_guards
from runbooks.model import Risk
from runbooks.situation import Planned
from tests.runbooks.hand_made import IMAGE, NOW, YEARS, Incident, csi, fence_of, lease, node, pod, volume, workload

HOST = Fence("10.0.0.1:0/0", YEARS)


def judge(name: str, incident: Incident, **how: Any) -> Ruling:
    """Judge one guard; `how` is what `Incident.situation` takes."""
    return all_guards()[name].judge(incident.situation(**how))


def says(ruling: Ruling, answer: Answer, *words: str) -> None:
    """It comes to this answer, and says why."""
    assert ruling.answer is answer, ruling
    assert ruling.reasons
    for word in words:
        assert word in " | ".join(ruling.reasons), ruling.reasons


def act_on(*targets: Subject) -> Planned:
    """An act on these objects."""
    return Planned("kubernetes.delete_pod", "do it", targets, {}, Risk.LOW)


# node_is_down, node_is_cordoned


def test_a_node_is_down_when_it_is_not_ready_and_its_lease_is_older_than_five_minutes() -> None:
    ruling = judge("node_is_down", Incident())
    says(ruling, Answer.ALLOWED, "node1")
    assert ruling.basis == {"node": "down"}
    at_limit = Incident(leases=[lease("node1", timedelta(minutes=5))])
    says(judge("node_is_down", at_limit), Answer.REFUSED, "not down")
    ready = Incident(nodes=[node("node1", "10.0.0.1")])
    says(judge("node_is_down", ready), Answer.REFUSED, "not down")


def test_a_node_whose_lease_or_whose_object_was_not_read_is_not_known_to_be_down() -> None:
    says(judge("node_is_down", Incident(unseen={LEASES: "denied"})), Answer.UNKNOWN, "lease")
    says(judge("node_is_down", Incident(leases=[])), Answer.UNKNOWN, "lease")
    says(judge("node_is_down", Incident(unseen={NODES: "denied"})), Answer.UNKNOWN, "denied")
    says(judge("node_is_down", Incident(), node="node9"), Answer.REFUSED, "no node node9")


def test_why_a_lease_tells_nothing_is_said_as_it_is() -> None:
    """A lease is only asked for where the lock leads to its node: without a locker nobody looked."""

    def why(**changed: Any) -> str:
        [reason] = judge("node_is_down", Incident(**changed)).reasons
        return reason

    assert why(unseen={LEASES: "denied"}).startswith("the lease of node node1 could not be read: denied: whether")
    unled = "the lease of node node1 was not looked at: nothing leads from the lock to its node: whether"
    assert why(lockers=(), leases=[]).startswith(unled)
    assert why(locked=False, leases=[]).startswith(unled)
    assert why(leases=[]).startswith("node node1 has no lease that says when it was renewed: whether")


def test_a_node_is_cordoned_when_it_is_unschedulable() -> None:
    says(judge("node_is_cordoned", Incident()), Answer.ALLOWED)
    says(judge("node_is_cordoned", Incident(), node="node2"), Answer.REFUSED, "not cordoned")
    says(judge("node_is_cordoned", Incident(), node="node9"), Answer.REFUSED, "no node node9")
    says(judge("node_is_cordoned", Incident(unseen={NODES: "denied"})), Answer.UNKNOWN, "denied")


# object_unchanged


def test_an_object_is_unchanged_while_it_has_the_same_uid() -> None:
    incident = Incident()
    ruling = judge("object_unchanged", incident, act=act_on(incident.pods[1].subject, incident.nodes[0].subject))
    says(ruling, Answer.ALLOWED)
    assert ruling.basis == {"Pod search/new": "uid-new", "Node node1": "uid-node1"}


def test_another_object_of_the_same_name_or_none_is_a_change() -> None:
    before = Incident().pods[1].subject
    again = Incident(pods=[pod("new", "node2", uid="uid-2")])
    says(judge("object_unchanged", again, act=act_on(before)), Answer.REFUSED, "it was uid-new, it is uid-2")
    says(judge("object_unchanged", Incident(pods=[]), act=act_on(before)), Answer.REFUSED, "not there any more")
    elsewhere = Subject("Pod", "shop", "new", "uid-new")
    says(judge("object_unchanged", Incident(), act=act_on(elsewhere)), Answer.REFUSED, "not there any more")


@pytest.mark.parametrize("kind", [CLAIM_USERS, NODES], ids=lambda kind: kind.name)
def test_whether_an_unread_object_changed_is_not_known(kind: Kind[Any]) -> None:
    incident = Incident(unseen={kind: "denied"})
    ruling = judge("object_unchanged", incident, act=act_on(incident.pods[1].subject, incident.nodes[0].subject))
    says(ruling, Answer.UNKNOWN)


def test_objects_that_this_guard_does_not_read_are_not_called_unchanged() -> None:
    says(judge("object_unchanged", Incident(), act=act_on(IMAGE.subject)), Answer.UNKNOWN, "RBDImage")
    says(judge("object_unchanged", Incident()), Answer.UNKNOWN, "no act")


# The old pod


def test_the_old_pod_is_the_volumes_terminating_one_on_the_runbooks_node() -> None:
    says(judge("old_pod_is_terminating", Incident()), Answer.ALLOWED, "search/old")
    says(judge("old_pod_is_terminating", Incident(), node="node2"), Answer.REFUSED)
    running = Incident(pods=[pod("old", "node1")])
    says(judge("old_pod_is_terminating", running), Answer.REFUSED, "no pod of the volume")
    says(judge("old_pod_is_terminating", Incident(unseen={CLAIM_USERS: "denied"})), Answer.UNKNOWN, "denied")


def test_without_a_node_no_pod_is_the_old_one_not_even_one_that_was_never_bound() -> None:
    unbound = Incident(pods=[pod("lost", None, terminating=True)])
    says(judge("old_pod_is_terminating", unbound, node=""), Answer.REFUSED)


def test_pods_are_gone_only_when_their_namespace_was_listed_without_them() -> None:
    old = act_on(Incident().pods[0].subject)
    says(judge("pod_is_gone", Incident(), act=old), Answer.REFUSED, "still there: old")
    says(judge("pod_is_gone", Incident(pods=[]), act=old), Answer.ALLOWED)
    again = Incident(pods=[pod("old", "node2", uid="uid-2")])
    says(judge("pod_is_gone", again, act=old), Answer.ALLOWED)
    ended = Incident(pods=[pod("old", "node1", phase="Failed")])
    says(judge("pod_is_gone", ended, act=old), Answer.REFUSED)


@pytest.mark.parametrize(
    "changed",
    [
        {"unseen": {CLAIM_USERS: "denied"}},
        {"unseen": {k8s.VOLUMES: "denied"}},
        {"volumes": []},
        {"volumes": [volume(claim=None)]},
    ],
    ids=["pods unread", "volumes unread", "no volume", "no claim"],
)
def test_an_empty_list_that_nobody_asked_for_does_not_say_that_a_pod_is_gone(changed: dict[str, Any]) -> None:
    """Which namespaces are listed comes from the volumes: without these, no pod is listed at all."""
    ruling = judge("pod_is_gone", Incident(pods=[], **changed), act=act_on(Incident().pods[0].subject))
    says(ruling, Answer.UNKNOWN)
    says(judge("pod_is_gone", Incident(pods=[])), Answer.UNKNOWN, "no act")


# every_ceph_volume_of_pod_is_fenced


def test_a_fence_of_the_whole_node_covers_the_old_pods_ceph_volumes() -> None:
    ruling = judge("every_ceph_volume_of_pod_is_fenced", Incident(fences=(HOST,)))
    says(ruling, Answer.ALLOWED)
    assert ruling.basis == {"node": "node1=uid-node1", "fenced": "10.0.0.1"}
    planned = fence_of("10.0.0.1:0/0")
    says(judge("every_ceph_volume_of_pod_is_fenced", Incident(), expected=(planned,)), Answer.ALLOWED)


@pytest.mark.parametrize(
    ("changed", "how", "word"),
    [
        ({}, {}, "10.0.0.1"),
        ({}, {"done": (fence_of("10.0.0.1:0/0"),)}, "10.0.0.1"),
        ({}, {"expected": (fence_of("10.0.0.1:0/77"),)}, "10.0.0.1"),
        ({"fences": (Fence("10.0.0.1:0/77", YEARS),)}, {}, "10.0.0.1"),
        ({"fences": (Fence("10.0.0.1:0/0", NOW + timedelta(hours=1)),)}, {}, "10.0.0.1"),
        ({"fences": (HOST,), "nodes": [node("node1", "10.0.0.1", ips=("10.5.0.1",))]}, {}, "10.5.0.1"),
        ({"fences": (HOST,)}, {"done": (fence_of("10.0.0.1:0/0", "10.6.0.1:0/0"),)}, "10.6.0.1"),
    ],
    ids=["none", "done but not seen", "exact only", "exact fence", "a short one", "another address", "what Ceph saw"],
)
def test_a_fence_of_less_than_the_node_does_not_cover(changed: dict[str, Any], how: dict[str, Any], word: str) -> None:
    says(judge("every_ceph_volume_of_pod_is_fenced", Incident(**changed), **how), Answer.REFUSED, word)


def with_volumes(*volumes: dict[str, Any]) -> Incident:
    return Incident(fences=(HOST,), pods=[pod("old", "node1", terminating=True, volumes=list(volumes))])


CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "index"}}


@pytest.mark.parametrize(
    "other",
    [
        {"name": "x", "persistentVolumeClaim": {"claimName": "scratch"}},
        {"name": "scratch", "nfs": {"server": "10.0.0.5", "path": "/"}},
        {"name": "scratch", "iscsi": {"targetPortal": "10.0.0.5", "iqn": "i", "lun": 0}},
        {"name": "scratch", "csi": {"driver": "ebs.csi.aws.com"}},
    ],
    ids=["an unknown claim", "nfs", "iscsi", "csi inline"],
)
def test_storage_that_no_fence_of_ceph_covers_refuses_until_the_power_is_off(other: dict[str, Any]) -> None:
    says(judge("every_ceph_volume_of_pod_is_fenced", with_volumes(CLAIM, other)), Answer.REFUSED, "scratch", "attest")


def test_a_claim_on_another_storage_refuses_too() -> None:
    incident = with_volumes(CLAIM, {"name": "x", "persistentVolumeClaim": {"claimName": "disk"}})
    other = {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}}
    incident.volumes.append(volume("disk", source=other, claim={"namespace": "search", "name": "disk"}))
    says(judge("every_ceph_volume_of_pod_is_fenced", incident), Answer.REFUSED, "disk")
    incident.volumes[-1] = volume("disk", source=csi(), claim={"namespace": "search", "name": "disk"})
    incident.volumes[-1] = volume("disk", source=csi(imageName="other"), claim={"namespace": "search", "name": "disk"})
    says(judge("every_ceph_volume_of_pod_is_fenced", incident), Answer.ALLOWED)


def test_what_holds_no_data_of_its_own_does_not_refuse() -> None:
    harmless = [{"name": "c", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "s"}}]
    empty = [{"name": "e", "emptyDir": {}}, {"name": "t", "projected": {"sources": []}}]
    says(judge("every_ceph_volume_of_pod_is_fenced", with_volumes(CLAIM, *harmless, *empty)), Answer.ALLOWED)


def test_without_blocklist_or_node_nothing_is_known_to_be_fenced() -> None:
    says(judge("every_ceph_volume_of_pod_is_fenced", Incident(unseen={OSDMAP: "denied"})), Answer.UNKNOWN)
    says(judge("every_ceph_volume_of_pod_is_fenced", Incident(fences=(HOST,)), node="node9"), Answer.UNKNOWN)
    blind = Incident(fences=(HOST,), unseen={k8s.VOLUMES: "denied"})
    says(judge("every_ceph_volume_of_pod_is_fenced", blind), Answer.UNKNOWN, "denied")
    nowhere = Incident(nodes=[Node(Incident().nodes[0].metadata)], fences=(HOST,))
    says(judge("every_ceph_volume_of_pod_is_fenced", nowhere), Answer.REFUSED, "no address")


# The waiting pod


def test_a_pod_still_waits_until_it_has_its_volumes() -> None:
    says(judge("pod_still_waits", Incident()), Answer.ALLOWED)
    says(judge("pod_still_waits", Incident(pods=[pod("new", "node2")])), Answer.REFUSED, "Running")
    says(judge("pod_still_waits", Incident(pods=[])), Answer.REFUSED, "not there")
    says(judge("pod_still_waits", Incident(unseen={CLAIM_USERS: "denied"})), Answer.UNKNOWN, "denied")


@pytest.mark.parametrize("kind", ["ReplicaSet", "StatefulSet"])
def test_an_owner_that_wants_pods_will_make_one_again(kind: str) -> None:
    ruling = judge("owner_will_recreate_pod", Incident(pods=[pod("new", "node2", owner=kind)]))
    says(ruling, Answer.ALLOWED, kind)
    assert ruling.basis == {"owner": f"{kind}/rs=uid-rs"}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"pods": []}, "not among the volume's users"),
        ({"pods": [pod("new", "node2", owner=None)]}, "has no owner"),
        ({"pods": [pod("new", "node2", owner="Job")]}, "Job rs"),
        ({"owners": []}, "is gone"),
        ({"owners": [workload(uid="another")]}, "is gone"),
        ({"owners": [workload(0)]}, "wants no pods"),
        ({"owners": [workload(None)]}, "wants no pods"),
        ({"owners": [workload(deleting=True)]}, "being deleted"),
    ],
)
def test_a_pod_that_nobody_would_make_again_is_not_deleted(changed: dict[str, Any], word: str) -> None:
    says(judge("owner_will_recreate_pod", Incident(**changed)), Answer.REFUSED, word)


@pytest.mark.parametrize("kind", [CLAIM_USERS, k8s.VOLUMES, OWNING_REPLICA_SETS], ids=lambda kind: kind.name)
def test_an_owner_that_was_not_read_is_not_known(kind: Kind[Any]) -> None:
    says(judge("owner_will_recreate_pod", Incident(unseen={kind: "denied"})), Answer.UNKNOWN, "denied")
    stateful = Incident(pods=[pod("new", "node2", owner="StatefulSet")], unseen={OWNING_STATEFUL_SETS: "denied"})
    says(judge("owner_will_recreate_pod", stateful), Answer.UNKNOWN, "denied")
