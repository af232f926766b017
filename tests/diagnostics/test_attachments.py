"""What holds a volume elsewhere: each kind, what it rests on, what it says, and that nothing unread counts as absent."""

import copy
from datetime import datetime
from typing import Any

import pytest

from diagnostics.attachments import FORCE_DETACH, Hold, Holding, hold_of
from diagnostics.attachments.facts import is_exclusive, needs_attachment, users_on
from diagnostics.attachments.links import cut
from diagnostics.checks.storage.attachments_failing import CHECK
from diagnostics.facts import Snapshot
from diagnostics.facts.holders import NODES
from diagnostics.facts.kubernetes import ATTACHMENTS, PODS, VOLUMES
from diagnostics.facts.resources import LocalReference, Pod, Volume, VolumeSpec, pod_row
from diagnostics.facts.resources.meta import Meta
from diagnostics.facts.resources.pods import ContainerState, ContainerStatus, PodStatus, Terminated, Waiting
from diagnostics.model import Scope, Subject
from tests.diagnostics.recorded import Gap, World, look

Json = dict[str, Any]
SINCE = "2026-03-14T09:20:00Z"
IN_USE = ["kubernetes.io/csi/rbd.csi.ceph.com^vol-1"]
RUNS: Json = {"running": {"startedAt": "2026-03-01T08:00:00Z"}}
WAITS: Json = {"waiting": {"reason": "ContainerCreating"}}
AROUND = Scope("recorded", subject=Subject("Pod", "search", "new", "pod-new"))


def pod(name: str, node: str, phase: str = "Running", **more: Any) -> Json:
    claims = [{"name": "data", "persistentVolumeClaim": {"claimName": "index"}}]
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": more.pop("since", SINCE)}
    state = more.pop("state", RUNS if phase == "Running" else WAITS)
    return {
        "metadata": {"name": name, "namespace": "search", "uid": f"pod-{name}", **more},
        "spec": {"nodeName": node, "volumes": claims},
        "status": {"phase": phase, "conditions": [condition], "containerStatuses": [{"name": "api", "state": state}]},
    }


def waiting(**more: Any) -> Json:
    return pod("new", "node2", "Pending", **more)


def old(**more: Any) -> Json:
    return pod("old", "node1", **more)


def attachment(node: str = "node1", made: str = "2026-03-01T08:00:00Z", **more: Any) -> Json:
    status = {"attached": node == "node1", **more.pop("status", {})}
    return {
        "metadata": {"name": f"csi-{node}", "uid": f"va-{node}", "creationTimestamp": made, **more},
        "spec": {"attacher": "rbd.csi.ceph.com", "nodeName": node, "source": {"persistentVolumeName": "pv-index"}},
        "status": status,
    }


def node(name: str, ready: str = "True", since: str | None = "2026-03-14T09:18:45Z", **status: Any) -> Json:
    taints = status.pop("taints", None)
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": since}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": {"taints": taints},
        "status": {"conditions": [condition], **status},
    }


def event(name: str, message: str, when: str, reason: str = "FailedAttachVolume") -> Json:
    return {
        "metadata": {"name": name, "namespace": "search", "uid": f"event-{name}"},
        "involvedObject": {"kind": "Pod", "namespace": "search", "name": "new", "uid": "pod-new"},
        "reason": reason, "message": message, "type": "Warning", "lastTimestamp": when,
    }  # fmt: skip


def lease(renewed: str = "2026-03-14T09:18:01Z") -> Json:
    return {"metadata": {"name": "node1", "namespace": "kube-node-lease"}, "spec": {"renewTime": renewed}}


CLAIM: Json = {"metadata": {"name": "index", "namespace": "search", "uid": "c"}, "spec": {"volumeName": "pv-index"}}
CSI: Json = {"csi": {"driver": "rbd.csi.ceph.com", "volumeHandle": "vol-1"}}
IN_TREE: Json = {"rbd": {"monitors": ["10.47.1.1"], "pool": "mioss", "image": "index"}}
DEAD = {"nodes": [node("node1", "Unknown", volumesInUse=IN_USE), node("node2")], "leases": [lease()]}


def volume(source: Json) -> Json:
    ref = {"namespace": "search", "name": "index", "uid": "c"}
    spec = {"accessModes": ["ReadWriteOnce"], "claimRef": ref, **source}
    return {"metadata": {"name": "pv-index", "uid": "uid-pv"}, "spec": spec}


def world(scope: Scope | None = None, unseen: dict[str, Gap] | None = None, **kubernetes: list[Json]) -> World:
    objects: dict[str, list[Json]] = {
        "pods": [waiting()], "persistentvolumeclaims": [CLAIM], "persistentvolumes": [volume(CSI)],
        "nodes": [node("node1"), node("node2")], "volumeattachments": [attachment()],
    }  # fmt: skip
    now = "2026-03-14T09:30:00Z"
    everything = copy.deepcopy(objects | kubernetes)
    return World("made in code", _moment(now), everything, unseen=unseen or {}, scope=scope or Scope("recorded"))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def held(told: World) -> Holding | None:
    snapshot = (await look(told, CHECK.reads)).only(CHECK.reads)
    return hold_of(*_of(snapshot), snapshot)


def _of(snapshot: Snapshot) -> tuple[Pod, Volume]:
    pods, volumes = snapshot.seen(PODS), snapshot.seen(VOLUMES)
    assert pods
    assert volumes
    return next(p for p in pods.full if p.metadata.name == "new"), volumes.full[0]


async def certain(told: World) -> Holding:
    found = await held(told)
    assert found
    return found


def path(found: Holding) -> list[str]:
    return [str(link.subject) for link in found.links]


def proof(found: Holding) -> str:
    return "\n".join(f"{proof.source}: {proof.text}" for link in found.links for proof in link.evidence)


GONE_WITH_POD = [waiting(), old(deletionTimestamp="2026-03-14T09:19:30Z")]


@pytest.mark.parametrize(
    ("objects", "kind", "final"),
    [
        (DEAD | {"pods": GONE_WITH_POD}, Hold.TERMINATING_POD, True),
        (DEAD | {"pods": [waiting(), old()]}, Hold.DEAD_NODE, True),
        (DEAD, Hold.DEAD_NODE, True),
        (DEAD | {"pods": [waiting(since="2026-03-14T09:27:00Z")]}, Hold.TRANSIENT, False),
        ({"nodes": [node("node2")]}, Hold.ORPHANED, False),
        ({}, Hold.ORPHANED, False),
        ({"volumeattachments": [attachment(made="2026-03-14T09:25:00Z")]}, Hold.TRANSIENT, False),
        ({"nodes": [node("node1", volumesInUse=IN_USE), node("node2")]}, Hold.STILL_MOUNTED, False),
        ({"pods": [waiting(), old()]}, Hold.LIVE_POD, False),
        ({"pods": GONE_WITH_POD}, Hold.LIVE_POD, False),
        ({"pods": [waiting(), pod("old", "node1", "Pending")]}, Hold.LIVE_POD, False),
        ({"volumeattachments": [attachment(deletionTimestamp="2026-03-14T09:29:00Z")]}, Hold.DETACHING, False),
        ({"volumeattachments": [attachment(deletionTimestamp="2026-03-14T09:20:00Z")]}, Hold.DETACHING, True),
        ({"volumeattachments": [attachment("node2", SINCE)]}, Hold.UNPROCESSED, False),
        ({"volumeattachments": [attachment("node2", "2026-03-14T09:29:30Z")]}, Hold.BEING_ATTACHED, False),
        ({"volumeattachments": []}, Hold.UNPROCESSED, False),
        ({"volumeattachments": [], "pods": [waiting(since="2026-03-14T09:29:30Z")]}, Hold.BEING_ATTACHED, False),
    ],
)
async def test_each_kind_is_told_from_the_others(objects: dict[str, list[Json]], kind: Hold, final: bool) -> None:
    found = await certain(world(**objects))
    assert (found.kind, found.final) == (kind, final)
    assert found.says
    assert found.links
    assert all(link.says and link.evidence for link in found.links)


async def test_a_passing_hold_says_when_it_ends_and_what_may_keep_it_from_ending() -> None:
    found = await certain(world(**DEAD | {"pods": [waiting(since="2026-03-14T09:27:00Z")]}))
    assert found.since is not None
    assert found.ends == found.since + FORCE_DETACH == _moment("2026-03-14T09:33:00Z")
    assert "2026-03-14T09:33:00Z" in found.says
    assert "disable-force-detach-on-timeout" in found.says
    assert path(found) == ["VolumeAttachment csi-node1", "Node node1"]


async def test_the_clock_needs_an_unhealthy_node_so_it_begins_no_earlier_than_that() -> None:
    late = node("node1", "Unknown", "2026-03-14T09:26:00Z")
    found = await certain(world(nodes=[late, node("node2")], leases=[lease()]))
    assert (found.kind, found.ends) == (Hold.TRANSIENT, _moment("2026-03-14T09:32:00Z"))


async def test_a_clock_that_has_run_out_is_no_promise_any_more() -> None:
    found = await certain(world(**DEAD))
    assert "due about 2026-03-14T09:26:00Z, did not happen" in found.says
    assert "the old pod went later" in found.says


@pytest.mark.parametrize(
    ("leases", "ready_since", "why"),
    [
        ([lease("2026-03-14T09:29:55Z")], SINCE, "its lease is fresh"),
        ([], SINCE, "its lease was not read"),
        ([lease()], None, None),
    ],
)
async def test_past_the_clock_only_a_lease_makes_a_node_dead(
    leases: list[Json], ready_since: str | None, why: str | None
) -> None:
    found = await certain(world(nodes=[node("node1", "Unknown", ready_since), node("node2")], leases=leases))
    assert found.kind is (Hold.UNKNOWN if why else Hold.DEAD_NODE)
    assert (why or "down") in found.says


async def test_a_node_whose_lease_was_not_read_is_not_called_dead_with_its_pod() -> None:
    told = world(pods=GONE_WITH_POD, nodes=DEAD["nodes"], unseen={"leases": Gap("forbidden")})
    found = await certain(told)
    assert (found.kind, found.cause) == (Hold.UNKNOWN, "multi-attach")
    assert found.unseen


@pytest.mark.parametrize("state", [{"terminated": {"exitCode": 137}}, WAITS])
async def test_a_terminating_pod_that_shows_nothing_running_has_left_and_blocks_nothing(state: Json) -> None:
    pods = [waiting(since="2026-03-14T09:28:00Z"), old(deletionTimestamp="2026-03-14T09:27:30Z", state=state)]
    assert (await certain(world(**DEAD | {"pods": pods}))).kind is Hold.TRANSIENT


def test_an_init_container_that_runs_and_a_state_that_says_nothing_count_as_running() -> None:
    def shows(*states: ContainerState | None, init: ContainerState | None = None) -> bool:
        own = tuple(ContainerStatus(f"c{i}", state=state) for i, state in enumerate(states))
        first = (ContainerStatus("init", state=init),) if init else None
        found = Pod(Meta("p"), status=PodStatus(init_container_statuses=first, container_statuses=own or None))
        assert pod_row(found).shows_running is found.shows_running
        return found.shows_running

    ended, waits, runs = ContainerState(terminated=Terminated()), ContainerState(waiting=Waiting()), ContainerState()
    assert not shows()
    assert not shows(ended, waits)
    assert shows(ended, runs)
    assert shows(None)
    assert shows(waits, init=runs)


@pytest.mark.parametrize("in_use", [True, False])
async def test_without_pods_presence_in_a_dead_nodes_volumes_in_use_counts_and_absence_does_not(in_use: bool) -> None:
    nodes = [node("node1", "Unknown", volumesInUse=IN_USE if in_use else None), node("node2")]
    gap = {"pods beside the claims": Gap("forbidden")}
    found = await certain(world(AROUND, gap, nodes=nodes, leases=[lease()]))
    assert found.kind is (Hold.DEAD_NODE if in_use else Hold.UNKNOWN)
    assert "were not read" in found.unseen[0]
    assert ("volumesInUse has it" if in_use else "volumesInUse lacks it") in proof(found)


async def test_pods_of_a_namespace_that_was_not_looked_at_are_not_taken_for_absent() -> None:
    for scope, known in ((Scope("recorded", ("other",)), False), (Scope("recorded", ("search",)), True)):
        snapshot = await look(world(scope), CHECK.reads)
        bound = Volume(Meta("pv-index"), VolumeSpec(claim_ref=LocalReference("index", "search", "c")))
        assert users_on("node1", bound, snapshot) == (() if known else None)


async def test_around_one_pod_the_pods_beside_it_are_read_and_known() -> None:
    found = await certain(world(AROUND, pods=[waiting(), old()]))
    assert found.kind is Hold.LIVE_POD
    assert path(found) == ["VolumeAttachment csi-node1", "Node node1", "Pod search/old"]
    assert (await certain(world(AROUND))).kind is Hold.ORPHANED


async def test_nodes_that_could_not_be_read_leave_it_unknown() -> None:
    found = await certain(world(unseen={"nodes": Gap("nodes is forbidden")}))
    assert (found.kind, found.unseen) == (
        Hold.UNKNOWN, ("node node1, which has the volume, could not be read: nodes is forbidden",)
    )  # fmt: skip


async def test_an_error_that_is_certain_goes_before_a_holder_elsewhere_and_one_that_may_pass_does_not() -> None:
    full, busy = "Exceed max volume count on node node2", "rpc error: code = Aborted desc = try again"
    for message, kind, cause in (
        (full, Hold.ATTACH_ERROR, "attach-limit-exceeded"),
        (busy, Hold.LIVE_POD, "multi-attach"),
    ):
        own = attachment("node2", SINCE, status={"attachError": {"message": message, "time": SINCE}})
        found = await certain(world(pods=[waiting(), old()], volumeattachments=[attachment(), own]))
        assert (found.kind, found.cause) == (kind, cause)


async def test_errors_of_attaching_and_detaching_are_shown_whole_as_evidence_and_short_in_the_sentence() -> None:
    long = f"rpc error: code = Internal desc = {'x' * 5000}"
    own = attachment("node2", SINCE, status={"attachError": {"message": long}})
    found = await certain(world(volumeattachments=[own]))
    assert (found.kind, found.cause, found.final) == (Hold.ATTACH_ERROR, "unknown", False)
    assert long in proof(found)
    assert len(found.says) < 700
    going = attachment(deletionTimestamp="2026-03-14T09:00:00Z", status={"detachError": {"message": "backend is off"}})
    found = await certain(world(volumeattachments=[going]))
    assert "backend is off" in found.says
    assert "detachError: backend is off" in proof(found)


async def test_an_own_attachment_that_is_being_deleted_is_stuck_here_not_held_elsewhere() -> None:
    own = attachment("node2", SINCE, deletionTimestamp="2026-03-14T09:21:00Z", status={"attached": True})
    found = await certain(world(volumeattachments=[own]))
    assert (found.kind, found.cause) == (Hold.DETACHING, "attach-stuck")


async def test_of_two_holders_the_one_that_never_ends_is_told_and_what_is_not_known_of_the_other_too() -> None:
    nodes = [*DEAD["nodes"], node("node3", "Unknown", since=None)]
    found = await certain(
        world(pods=GONE_WITH_POD, nodes=nodes, leases=[lease()], volumeattachments=[attachment("node3"), attachment()])
    )
    assert found.kind is Hold.TERMINATING_POD
    assert found.unseen == ("node node3 is not Ready but its lease was not read, and the forced detaching, due "
                            "2026-03-14T09:26:00Z, did not happen",)  # fmt: skip


async def test_a_migrated_in_tree_volume_on_a_live_node_may_be_mounted_there() -> None:
    found = await certain(world(persistentvolumes=[volume(IN_TREE)]))
    assert found.kind is Hold.UNKNOWN


MULTI = 'Multi-Attach error for volume "pv-index" Volume is already exclusively attached to one node'
FAILED = (
    'AttachVolume.Attach failed for volume "pv-index" : rpc error: code = DeadlineExceeded desc = deadline exceeded'
)


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([event("a", MULTI, "2026-03-14T08:40:00Z")], Hold.ATTACH_ERROR),
        ([event("a", MULTI.replace("pv-index", "pv-index-2"), SINCE)], None),
        ([event("a", MULTI, SINCE), event("b", "AttachVolume.Attach succeeded for volume \"pv-index\"", "2026-03-14T09:21:00Z",
                                          "SuccessfulAttachVolume")], None),
        ([event("a", MULTI, SINCE), event("b", 'MountVolume.WaitForAttach failed for volume "pv-index" : not yet',
                                          "2026-03-14T09:21:00Z", "FailedMount")], Hold.ATTACH_ERROR),
        ([event("a", FAILED, "2026-03-14T09:10:00Z")], None),
        ([event("a", FAILED, "2026-03-14T09:20:00Z")], Hold.ATTACH_ERROR),
        ([], None),
    ],
)  # fmt: skip
async def test_events_tell_of_an_in_tree_volume_unless_they_are_past(events: list[Json], kind: Hold | None) -> None:
    found = await held(world(AROUND, persistentvolumes=[volume(IN_TREE)], volumeattachments=[], events=events))
    assert (found.kind if found else None) == kind


async def test_an_in_tree_volumes_holder_is_told_by_its_pods_and_a_node_that_was_not_read_is_not_gone() -> None:
    objects = {"pods": [waiting(), old()], "events": [event("a", MULTI, SINCE)]}
    in_tree = {"persistentvolumes": [volume(IN_TREE)], "volumeattachments": []}
    found = await certain(world(**objects | in_tree))
    assert (found.kind, path(found)) == (Hold.LIVE_POD, ["Node node1", "Pod search/old"])
    # Around one pod, its claim's other pods may have been read for another volume's sake, and their nodes not.
    both = await look(world(AROUND, **objects), CHECK.reads)
    volumes = (await look(world(**in_tree), CHECK.reads)).seen(VOLUMES)
    nodes = (await look(world(nodes=[node("node2")]), CHECK.reads)).seen(NODES)
    nothing = (await look(world(volumeattachments=[]), CHECK.reads)).seen(ATTACHMENTS)
    assert volumes
    assert nodes
    assert nothing
    partly = both.with_fact(VOLUMES, volumes).with_fact(NODES, nodes).with_fact(ATTACHMENTS, nothing)
    told = hold_of(*_of(partly), partly)
    assert told
    assert (told.kind, told.unseen) == (Hold.UNKNOWN, ("node node1, which has the volume, was not read",))


async def test_a_multi_attach_whose_holder_nobody_shows_says_so() -> None:
    objects = {"persistentvolumes": [volume(IN_TREE)], "volumeattachments": [], "events": [event("a", MULTI, SINCE)]}
    for scope, why in ((None, "no pod elsewhere uses it"), (AROUND, "the pods of its claim were not read")):
        found = await certain(world(scope, **objects))
        assert (found.kind, found.cause) == (Hold.ATTACH_ERROR, "multi-attach")
        assert found.unseen == (f"who holds PersistentVolume pv-index is not known: {why}",)


async def test_a_taint_on_the_holder_is_part_of_the_evidence() -> None:
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    found = await certain(world(nodes=[node("node1", "Unknown", taints=[taint]), node("node2")], leases=[lease()]))
    assert "taint node.kubernetes.io/out-of-service:NoExecute" in proof(found)


@pytest.mark.parametrize(
    ("modes", "exclusive"),
    [
        (("ReadWriteOnce",), True), (("ReadWriteOncePod",), True), (None, True), (("ReadOnlyMany",), False),
        (("ReadWriteOnce", "ReadWriteMany"), False),
    ],
)  # fmt: skip
def test_a_volume_with_any_shared_access_mode_may_be_attached_to_several_nodes(
    modes: tuple[str, ...] | None, exclusive: bool
) -> None:
    assert is_exclusive(Volume(Meta("pv"), VolumeSpec(access_modes=modes))) is exclusive


async def test_whether_a_driver_attaches_is_known_only_from_its_csidriver_or_that_there_is_none() -> None:
    refuses = {"metadata": {"name": "rbd.csi.ceph.com"}, "spec": {"attachRequired": False}}
    for told, needed in (
        (world(), True),
        (world(csidrivers=[refuses]), False),
        (world(unseen={"csidrivers": Gap("forbidden")}), None),
    ):
        snapshot = await look(told, CHECK.reads)
        assert needs_attachment(_of(snapshot)[1], snapshot) is needed
    assert await held(world(csidrivers=[refuses])) is None


def test_a_message_is_cut_to_one_line() -> None:
    assert cut("a\n b\tc") == "a b c"
    assert len(cut("x" * 1_000_000)) < 510


# --- What passes by itself is not called an orphan


async def test_a_volume_on_a_ready_node_is_no_orphan_while_its_pod_leaves_or_the_new_one_has_hardly_waited() -> None:
    ended: Json = {"terminated": {"exitCode": 0}}
    leaving = old(deletionTimestamp="2026-03-14T09:29:57Z", state=ended)
    for pods in ([waiting(), leaving], [waiting(since="2026-03-14T09:28:00Z")]):
        found = await certain(world(pods=pods))
        assert (found.kind, found.final) == (Hold.TRANSIENT, False)
    assert (await certain(world())).kind is Hold.ORPHANED


async def test_a_volume_on_a_node_that_is_gone_passes_within_six_minutes() -> None:
    gone = {"nodes": [node("node2")]}
    young = await certain(world(pods=[waiting(since="2026-03-14T09:26:00Z")], **gone))
    assert (young.kind, young.ends) == (Hold.TRANSIENT, _moment("2026-03-14T09:32:00Z"))
    assert (await certain(world(**gone))).kind is Hold.ORPHANED


async def test_an_in_tree_volume_that_the_node_has_attached_is_not_held_by_an_old_multi_attach() -> None:
    told = event(
        "multi", 'Multi-Attach error for volume "pv-index" Volume is already used by pod(s) old', "2026-03-14T09:20:00Z"
    )
    objects = {
        "persistentvolumes": [volume(IN_TREE)],
        "volumeattachments": [],
        "events": [told],
        "pods": [waiting(), old()],
    }
    assert (await certain(world(**objects))).cause == "multi-attach"
    has = node("node2", volumesAttached=[{"name": "kubernetes.io/rbd/mioss:index"}])
    assert await held(world(**objects, nodes=[node("node1"), has])) is None


@pytest.mark.parametrize(("deletes", "kind"), [("2026-03-14T09:27:00Z", Hold.TRANSIENT), (SINCE, Hold.STILL_MOUNTED)])
async def test_what_a_pod_that_has_just_ended_leaves_mounted_passes_and_an_unmounting_that_hangs_does_not(
    deletes: str, kind: Hold
) -> None:
    ended = old(deletionTimestamp=deletes, state={"terminated": {"exitCode": 0}})
    nodes = [node("node1", volumesInUse=IN_USE), node("node2")]
    assert (await certain(world(pods=[waiting(), ended], nodes=nodes))).kind is kind


async def test_a_free_volume_is_never_said_to_stay_for_ever() -> None:
    for since in (SINCE, "2026-03-14T09:28:00Z"):
        assert "look again" in (await certain(world(pods=[waiting(since=since)]))).says
