"""One chain from the symptom to its root, link by link: what it says, what proves it, and where it must end."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from diagnostics import chain
from diagnostics.chain import explain
from diagnostics.facts import Snapshot
from diagnostics.facts.holders import NODES, is_down
from diagnostics.facts.kubernetes import PODS
from diagnostics.model import Finding, Link, Scope, Subject
from tests.diagnostics.recorded import Gap, World, but, load, look

INCIDENT = load(Path(__file__).parent / "incident.yaml")
POD = Subject("Pod", "search", "index-api-q4z8m", "pod-1")
IMAGE = Subject(
    "RBDImage", None, "mioss/index-api-image", "6e42f353-fa1b-5024-b021-e52863cf03bd/mioss//index-api-image"
)
LOCKED = "rbd: image index-api-image is locked by other nodes"
Json = dict[str, Any]


async def explained(world: World, about: Subject = POD, cause: str | None = None) -> Finding:
    return explain(Finding(about, "it is stuck", cause), await look(world))


def with_objects(world: World = INCIDENT, **plurals: list[Json]) -> World:
    return but(world, kubernetes={**world.kubernetes, **plurals})


def with_ceph(world: World = INCIDENT, **locks: Any) -> World:
    return but(world, ceph={**world.ceph, "ceph.locks": {**world.ceph["ceph.locks"], **locks}})


def event(name: str, message: str, last: str = "2026-03-14T09:29:30Z", **more: Any) -> Json:
    first = INCIDENT.kubernetes["events"][0]
    renamed = {**first["metadata"], "name": name, "uid": f"uid-{name}"}
    return {**first, "metadata": renamed, "message": message, "lastTimestamp": last, **more}


def kinds(finding: Finding) -> list[str]:
    return [link.subject.kind for link in finding.chain]


def link(finding: Finding, kind: str) -> Link:
    return next(link for link in finding.chain if link.subject.kind == kind)


def proof(finding: Finding, kind: str) -> str:
    return "\n".join(f"{evidence.source}: {evidence.text}" for evidence in link(finding, kind).evidence)


async def test_the_incident_is_one_chain_from_the_event_to_the_dead_node_and_each_link_is_proved() -> None:
    found = await explained(INCIDENT)
    assert kinds(found) == [
        "Event", "Pod", "PersistentVolumeClaim", "PersistentVolume", "RBDImage", "RBDLock", "CephClient", "Node",
    ]  # fmt: skip
    assert found.cause == "rbd-image-locked"
    assert found.root == Subject("Node", None, "node1", "uid-node1")
    assert found.unseen == ()
    assert all(step.says and step.evidence and all(e.source and e.text for e in step.evidence) for step in found.chain)
    assert LOCKED in proof(found, "Event")
    assert "status.phase Pending, spec.nodeName node2" in proof(found, "Pod")
    assert "status.phase Bound, spec.volumeName pv-index-api" in proof(found, "PersistentVolumeClaim")
    assert "spec.rbd: pool mioss, image index-api-image, user admin" in proof(found, "PersistentVolume")
    assert proof(found, "RBDImage") == (
        "rados mioss/index-api-image.rbd: format 1; watchers: none; pg 1.2a, primary osd.3"
    )
    assert "client.24128 kubelet_lock_magic_node1 10.47.136.60:0/1864102866" in proof(found, "RBDLock")
    assert "mon sessions of 10.47.136.60: none" in proof(found, "CephClient")
    assert "no entry covers 10.47.136.60:0/1864102866" in proof(found, "CephClient")
    assert "is assumed to be the volume's" in proof(found, "CephClient")
    assert link(found, "Node").says == "is down: Ready=Unknown since 2026-03-14T09:18:45Z"
    assert "lease renewed 2026-03-14T09:18:01Z" in proof(found, "Node")


async def test_subjects_of_ceph_carry_names_and_uids_that_runbooks_are_filled_with() -> None:
    found = await explained(INCIDENT)
    lock = "client.24128/kubelet_lock_magic_node1"
    assert link(found, "RBDImage").subject == IMAGE
    assert link(found, "RBDLock").subject == Subject("RBDLock", None, lock, f"{IMAGE.uid}#{lock}")


async def test_the_sibling_that_names_the_lock_speaks_for_the_umbrella_which_stays_as_evidence() -> None:
    found = await explained(INCIDENT)
    assert link(found, "Event").subject.name == "locked"
    assert [e.source for e in link(found, "Event").evidence] == ["event search/locked", "event search/umbrella"]
    assert "(4 times)" in link(found, "Event").says


async def test_the_lock_itself_explains_an_umbrella_that_has_no_sibling() -> None:
    alone = with_objects(events=INCIDENT.kubernetes["events"][1:])
    found = await explained(alone, cause="mount-timeout-umbrella")
    assert (found.cause, found.root and found.root.name, found.unseen) == ("rbd-image-locked", "node1", ())


async def test_the_lock_explains_a_pod_without_any_event() -> None:
    found = await explained(with_objects(events=[]))
    assert kinds(found)[0] == "Pod"
    assert found.cause == "rbd-image-locked"


async def test_an_umbrella_that_nothing_explains_is_called_that() -> None:
    free = with_ceph(images=[])
    found = await explained(with_objects(free, events=INCIDENT.kubernetes["events"][1:]))
    assert found.cause == "mount-timeout-umbrella"
    assert found.unseen == ("only a time-out is known: nothing that was read says why the volume does not come",)


async def test_another_specific_cause_wins_over_a_lock_that_is_there_too() -> None:
    missing = event("cm", 'MountVolume.SetUp failed for volume "c" : configmap "index-api" not found')
    for given in (None, "unknown"):
        found = await explained(with_objects(events=[INCIDENT.kubernetes["events"][1], missing]), cause=given)
        assert (kinds(found), found.cause, found.root) == (["Event", "Pod"], "configmap-missing", POD)


async def test_a_finding_about_the_lock_keeps_its_chain_and_shows_what_else_the_kubelet_says() -> None:
    missing = event("cm", 'MountVolume.SetUp failed for volume "c" : configmap "index-api" not found')
    found = await explained(with_objects(events=[INCIDENT.kubernetes["events"][1], missing]), cause="rbd-image-locked")
    assert (kinds(found)[-1], found.cause, found.root and found.root.name) == ("Node", "rbd-image-locked", "node1")
    assert link(found, "Event").subject.name == "umbrella"
    assert any("configmap" in evidence.text for evidence in link(found, "Event").evidence)


async def test_a_cause_that_has_stopped_coming_gives_way_to_the_one_that_goes_on() -> None:
    over = event("cm", 'MountVolume.SetUp failed for volume "c" : configmap "x" not found', "2026-03-14T09:14:59Z")
    found = await explained(with_objects(events=[over, INCIDENT.kubernetes["events"][1]]))
    assert (found.cause, link(found, "Event").subject.name) == ("rbd-image-locked", "umbrella")


async def test_a_cause_that_is_told_only_once_is_not_forgotten_beside_time_outs() -> None:
    message = 'Multi-Attach error for volume "pv" Volume is already exclusively attached to one node'
    once = event("attach", message, "2026-03-14T09:10:00Z", reason="FailedAttachVolume", count=1)
    found = await explained(with_objects(events=[once, INCIDENT.kubernetes["events"][1]]))
    assert link(found, "Event").subject.name == "attach"


async def test_an_attachment_that_succeeded_since_ends_the_multi_attach_before_it() -> None:
    message = 'Multi-Attach error for volume "pv" Volume is already exclusively attached to one node'
    once = event("attach", message, "2026-03-14T09:20:00Z", reason="FailedAttachVolume", count=1)
    done = 'AttachVolume.Attach succeeded for volume "pv"'
    since = event("done", done, "2026-03-14T09:26:00Z", reason="SuccessfulAttachVolume", type="Normal")
    umbrella = INCIDENT.kubernetes["events"][1]
    around = Scope("recorded", subject=POD)  # a scan of everything reads Warnings only
    found = await explained(but(with_objects(events=[once, since, umbrella]), scope=around))
    assert (link(found, "Event").subject.name, found.cause) == ("umbrella", "rbd-image-locked")
    alone = await explained(but(with_objects(events=[since]), scope=around))
    assert kinds(alone)[0] == "Pod", "that something succeeded is no symptom"


async def test_events_of_the_claim_are_asked_too_and_those_of_others_are_not() -> None:
    message = 'MountVolume.SetUp failed for volume "c" : configmap "index-api" not found'
    claim = {"kind": "PersistentVolumeClaim", "namespace": "search", "name": "index-api", "uid": "pvc-1"}
    other = {"kind": "Pod", "namespace": "search", "name": "index-api-q4z8m", "uid": "an-earlier-pod"}
    of_claim = await explained(with_objects(events=[event("of-claim", message, involvedObject=claim)]))
    of_other = await explained(with_objects(events=[event("of-other", message, involvedObject=other)]))
    assert of_claim.cause == "configmap-missing"
    assert (kinds(of_other)[0], of_other.cause) == ("Pod", "rbd-image-locked")


async def test_an_image_that_does_not_exist_is_where_the_chain_ends() -> None:
    spec = {"pool": "mioss", "namespace": "", "name": "index-api-image"}
    found = await explained(with_ceph(images=[], pools=[], absent=[spec]))
    assert (found.root, link(found, "RBDImage").says) == (IMAGE, "does not exist in Ceph")


async def test_an_image_that_is_not_locked_is_said_to_be_free() -> None:
    spec = {"pool": "mioss", "namespace": "", "name": "index-api-image"}
    found = await explained(with_ceph(images=[], pools=[], free=[spec]))
    assert found.root == IMAGE
    assert "user or key is wrong, which gives the same text" in link(found, "RBDImage").says
    assert "RBDLock" not in kinds(found)
    told = await explained(with_objects(with_ceph(images=[], pools=[], free=[spec]), events=[]))
    assert link(told, "RBDImage").says == "is not locked"


@pytest.mark.parametrize(
    ("locks", "says"),
    [
        (
            {"images": [], "pools": [], "problems": [{"pool": "mioss", "reason": "not permitted"}]},
            "pool mioss: not perm",
        ),
        ({"images": [], "pools": [{"pool": "kube", "namespace": "", "images": 3, "locked": 0}]}, "was not looked at"),
    ],
)
async def test_an_image_that_nobody_looked_at_is_neither_free_nor_absent(locks: Json, says: str) -> None:
    found = await explained(with_ceph(**locks))
    assert kinds(found)[-1] == "PersistentVolume"
    assert any(says in reason for reason in found.unseen)


@pytest.mark.parametrize(
    ("kind", "last", "says"),
    [
        ("events", "Node", "events: forbidden"),
        ("persistentvolumeclaims", "Pod", "claim index-api: forbidden"),
        ("persistentvolumes", "PersistentVolumeClaim", "volume of index-api: forbidden"),
        ("ceph.locks", "PersistentVolume", "image mioss/index-api-image: forbidden"),
        ("nodes", "CephClient", "the node of client.24128: nodes could not be read"),
    ],
)
async def test_where_something_could_not_be_read_the_chain_ends_and_says_so(kind: str, last: str, says: str) -> None:
    found = await explained(but(INCIDENT, unseen={kind: Gap("forbidden")}))
    assert kinds(found)[-1] == last
    assert says in found.unseen


async def test_sessions_that_could_not_be_read_are_evidence_of_nothing() -> None:
    found = await explained(but(INCIDENT, unseen={"ceph.sessions": Gap("no caps")}))
    assert "mon sessions: not seen: no caps" in proof(found, "CephClient")
    assert link(found, "RBDLock").says.endswith("suspect")


async def test_two_nodes_with_the_address_name_no_node_and_say_why() -> None:
    twin = {**INCIDENT.kubernetes["nodes"][0], "metadata": {"name": "node9", "uid": "uid-node9"}}
    found = await explained(with_objects(nodes=[*INCIDENT.kubernetes["nodes"], twin]))
    assert "Node" not in kinds(found)
    assert found.root
    assert found.root.kind == "CephClient"
    assert found.unseen == ("the node of client.24128: 10.47.136.60 is an address of several nodes: node1, node9",)


async def test_a_volume_that_does_not_say_which_image_it_is_leaves_that_open() -> None:
    nameless = {"driver": "rbd.csi.ceph.com", "volumeHandle": "0001-x"}
    volume = {**INCIDENT.kubernetes["persistentvolumes"][0], "spec": {"csi": nameless}}
    found = await explained(with_objects(persistentvolumes=[volume]))
    assert link(found, "PersistentVolume").says == "is an RBD image that it does not name"
    assert found.unseen == ("the image of PersistentVolume pv-index-api: its attributes do not say which it is",)


async def test_another_storage_ends_the_chain_without_a_guess() -> None:
    volume = {**INCIDENT.kubernetes["persistentvolumes"][0], "spec": {"csi": {"driver": "ebs.csi.aws.com"}}}
    node = {"metadata": {"name": "node2"}, "spec": {"drivers": [{"name": "ebs.csi.aws.com", "nodeID": "i-0"}]}}
    source = {"persistentVolumeName": "pv-index-api"}
    attached = {
        "metadata": {"name": "csi-1"}, "status": {"attached": True},
        "spec": {"attacher": "ebs.csi.aws.com", "nodeName": "node2", "source": source},
    }  # fmt: skip
    world = with_objects(persistentvolumes=[volume], events=[], csinodes=[node], volumeattachments=[attached])
    found = await explained(world)
    assert (link(found, "PersistentVolume").says, found.cause, found.unseen) == ("is no RBD image", None, ())


async def test_a_lock_that_the_pods_own_node_holds_at_work_is_no_cause() -> None:
    locker = {"client": "client.31", "cookie": "c", "address": {"ip": "10.46.181.146", "port": 0, "nonce": 8}}
    own = {**INCIDENT.ceph["ceph.locks"]["images"][0], "lockers": [locker]}
    own["watchers"] = [{"client": "client.33", "address": {"ip": "10.46.181.146", "port": 0, "nonce": 9}}]
    found = await explained(with_objects(with_ceph(images=[own]), events=[]))
    assert (found.cause, "RBDLock" in kinds(found)) == (None, False)
    gone = await explained(with_objects(with_ceph(images=[{**own, "watchers": []}]), events=[]))
    assert (gone.cause, gone.root and gone.root.name) == ("rbd-image-locked", "node2")


async def test_a_finding_about_an_image_is_led_from_its_volume_to_the_node() -> None:
    found = await explained(INCIDENT, IMAGE, "rbd-image-locked")
    assert kinds(found) == ["PersistentVolume", "RBDImage", "RBDLock", "CephClient", "Node"]
    assert (found.cause, found.root and found.root.name) == ("rbd-image-locked", "node1")


async def test_a_finding_about_anything_else_keeps_the_chain_it_came_with() -> None:
    node = Subject("Node", None, "node1", "uid-node1")
    step = Link(node, "is down")
    found = explain(Finding(node, "x", chain=(step,), unseen=("a", "a")), await look(INCIDENT))
    assert (found.chain, found.root, found.unseen) == ((step,), node, ("a",))
    assert explain(Finding(node, "x"), await look(INCIDENT)).root is None


@pytest.mark.parametrize(
    ("ready", "renewed", "down"),
    [
        ("True", "2026-03-14T09:00:00Z", False),
        ("Unknown", "2026-03-14T09:25:00Z", False),  # five minutes are not more than five minutes
        ("Unknown", "2026-03-14T09:24:59Z", True),
        ("False", "2026-03-14T09:24:59Z", True),
        ("False", "2026-03-14T09:29:59Z", False),
        ("Unknown", None, None),
    ],
)
async def test_a_node_is_down_only_if_it_is_not_ready_and_its_lease_is_old(
    ready: str, renewed: str | None, down: bool | None
) -> None:
    node, lease = INCIDENT.kubernetes["nodes"][0], INCIDENT.kubernetes["leases"][0]
    condition = {"type": "Ready", "status": ready}
    world = with_objects(
        nodes=[{**node, "status": {**node["status"], "conditions": [condition]}}],
        leases=[{**lease, "spec": {"renewTime": renewed}}],
    )
    seen = await look(world)
    nodes = seen.seen(NODES)
    assert nodes
    assert is_down(nodes.full[0], seen) is down


async def test_without_leases_nobody_knows_whether_a_node_is_down() -> None:
    for world in (with_objects(leases=[]), but(INCIDENT, unseen={"leases": Gap("forbidden")})):
        seen = await look(world)
        nodes = seen.seen(NODES)
        assert nodes
        assert is_down(nodes.full[0], seen) is None


def test_what_a_chain_reads_keeps_waiting_pods_in_full() -> None:
    (read,) = [read for read in chain.READS if read.kind is PODS]
    assert read.where is not None
    empty = Snapshot("c", datetime(2026, 1, 1, tzinfo=UTC), Scope("c"))
    assert empty.only(chain.READS).facts == {}
