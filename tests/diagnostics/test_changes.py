"""What changed before it broke: what is asked for, what is told of it, in which order, and what is never told."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diagnostics import changes
from diagnostics.chain import explain
from diagnostics.changes import LATELY, MOST, READS, Timeline
from diagnostics.changes.around import around
from diagnostics.changes.revisions import without_values
from diagnostics.facts import Kind, NotSeen, Snapshot, edits
from diagnostics.facts.edits import MOST_OF_A_KIND
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.model import Change, Finding, Link, Scope, Subject
from diagnostics.sources import CouldNotLook
from tests.diagnostics.recorded import Gap, Recording, World, but, load, look

INCIDENT = load(Path(__file__).parent / "incident.yaml")
POD = Subject("Pod", "search", "index-api-q4z8m", "pod-1")
NODE2 = Subject("Node", None, "node2", "uid-node2")
BROKE = datetime(2026, 3, 14, 9, 20, tzinfo=UTC)
Json = dict[str, Any]
SECRET_VALUE = "hunter2-never-shown"


def at(minutes: float) -> str:
    """A moment by minutes before it broke, as the API writes it."""
    return (BROKE - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def writing(manager: str, minutes: float, *fields: str, **more: Any) -> Json:
    """An entry of managedFields that owns these dotted fields."""
    tree: Json = {}
    for path in fields:
        here = tree
        for name in path.split("."):
            here = here.setdefault(name if name.startswith(("k:", "v:")) else f"f:{name}", {})
    return {"manager": manager, "operation": "Update", "time": at(minutes), "fieldsV1": tree, **more}


def meta(name: str, *writings: Json, made: float = 99_999, namespace: str | None = "search", **more: Any) -> Json:
    head = {"name": name, "uid": f"uid-{name}", "creationTimestamp": at(made), "managedFields": list(writings), **more}
    return head if namespace is None else {**head, "namespace": namespace}


def owned(kind: str, name: str) -> list[Json]:
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}]


def container(name: str, image: str, **more: Any) -> Json:
    return {"name": name, "image": image, "env": [{"name": "PASSWORD", "value": SECRET_VALUE}], **more}


def template(*containers: Json) -> Json:
    return {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": list(containers)}}


def replica_set(name: str, revision: int, image: str, made: float, cause: str | None = None) -> Json:
    notes = {"deployment.kubernetes.io/revision": str(revision)}
    notes |= {"kubernetes.io/change-cause": cause} if cause else {}
    head = meta(
        name, made=made, labels={"app": "api"}, annotations=notes, ownerReferences=owned("Deployment", "index-api")
    )
    return {"kind": "ReplicaSet", "metadata": head, "spec": {"template": template(container("api", image))}}


def deployment(*writings: Json, **of_container: Any) -> Json:
    spec = {
        "selector": {"matchLabels": {"app": "api"}},
        "template": template(container("api", "api:4", **of_container)),
    }
    return {"kind": "Deployment", "metadata": meta("index-api", *writings), "spec": spec}


def rolled_out(*sets: Json, deployed: Json) -> World:
    """The incident, whose pod is of the newest of these sets of a Deployment."""
    pod = INCIDENT.kubernetes["pods"][0]
    owner = owned("ReplicaSet", sets[-1]["metadata"]["name"])
    pods = [{**pod, "metadata": {**pod["metadata"], "ownerReferences": owner}}]
    return with_objects(pods=pods, replicasets=list(sets), deployments=[deployed])


def with_objects(world: World = INCIDENT, **plurals: list[Json]) -> World:
    return but(world, kubernetes={**world.kubernetes, **plurals})


def part_of(world: World, plural: str, name: str, **parts: Json) -> World:
    """The world with parts of one object laid over those that it has."""
    items = [
        {**each, **{part: {**each.get(part, {}), **over} for part, over in parts.items()}}
        if each["metadata"]["name"] == name else each
        for each in world.kubernetes[plural]
    ]  # fmt: skip
    return with_objects(world, **{plural: items})


async def seen(world: World, about: Finding | None = None) -> tuple[Finding, Snapshot, Recording]:
    world = but(world, scope=Scope("recorded", subject=POD))
    first = await look(world)
    finding = explain(about or Finding(POD, "it is stuck", None, BROKE), first)
    source = Recording(world)
    return finding, await changes.look([source], finding, first), source


async def told(world: World, acts: Sequence[Change] = (), about: Finding | None = None) -> Timeline:
    finding, snapshot, _ = await seen(world, about)
    return changes.timeline(finding, snapshot, acts)


def lines(timeline: Timeline) -> list[str]:
    return [f"{change.subject}: {change.says}" for change in timeline.changes]


async def test_what_came_before_it_broke_is_told_oldest_first_with_how_long_before() -> None:
    found = await told(INCIDENT)
    assert lines(found) == [
        "Node node2: Ready became True (KubeletReady) (80 min before it broke)",
        "Node node1: Ready became Unknown (NodeStatusUnknown) (1 min before it broke)",
        "Pod search/index-api-q4z8m: created by ReplicaSet index-api-5c9 (1 s before it broke)",
    ]
    assert found.unseen == ()


async def test_what_changed_longer_ago_than_a_day_before_it_broke_is_left_out_however_long_it_waits() -> None:
    day = LATELY.total_seconds() / 60
    for before, is_told in ((day, True), (day + 1, False)):
        world = part_of(INCIDENT, "persistentvolumeclaims", "index-api", metadata={"creationTimestamp": at(before)})
        later = but(world, taken_at=BROKE + timedelta(days=30))
        assert any("PersistentVolumeClaim" in line for line in lines(await told(later))) is is_told


async def test_what_the_server_dates_a_little_ahead_of_us_is_not_missed() -> None:
    edited = meta("index-api", writing("kubectl-edit", -11, "spec.resources.limits"), uid="pvc-1")
    world = part_of(INCIDENT, "persistentvolumeclaims", "index-api", metadata=edited)
    assert lines(await told(world))[-1] == (
        "PersistentVolumeClaim search/index-api: edited by kubectl-edit: spec.resources.limits"
    )


async def test_a_new_revision_names_its_images_its_cause_and_who_asked_for_it_once() -> None:
    asked = writing("kubectl-set", 5, 'spec.template.spec.containers.k:{"name":"api"}.image')
    world = rolled_out(
        replica_set("index-api-5c9", 3, "registry.example/api:3", 99_999),
        replica_set("index-api-7d1", 4, "registry.example/api:4", 5, "ticket 12: new parser"),
        deployed=deployment(asked),
    )
    of_rollout = [
        line for line in lines(await told(world)) if "Set" in line.split()[0] or "Deployment" in line.split()[0]
    ]
    assert of_rollout == [
        "ReplicaSet search/index-api-7d1: made as revision 4 of Deployment index-api by kubectl-set; image of api changed"
        " from registry.example/api:3 to registry.example/api:4; change-cause: ticket 12: new parser (5 min before it"
        " broke)"
    ]


async def test_an_edit_that_made_no_revision_is_told_by_its_fields_and_controllers_and_statuses_are_not() -> None:
    world = rolled_out(
        replica_set("index-api-5c9", 3, "api:3", 99_999),
        deployed=deployment(
            writing("kubectl", 7, "spec.replicas", subresource="scale"),
            writing("argocd-controller", 6, *(f"spec.{name}" for name in "abcd")),
            writing("kube-controller-manager", 5, "spec.replicas"),
            writing("someone", 4, "spec.replicas", subresource="status"),
            writing("old-server", 3, "status.replicas", "metadata.annotations"),
        ),
    )
    assert [line for line in lines(await told(world)) if line.startswith("Deployment")] == [
        "Deployment search/index-api: edited by kubectl: spec.replicas (7 min before it broke)",
        "Deployment search/index-api: edited by argocd-controller (6 min before it broke)",
    ]


async def test_of_several_writers_of_a_template_the_last_before_the_revision_asked_for_it() -> None:
    image = 'spec.template.spec.containers.k:{"name":"api"}.image'
    writers = [writing(name, 5 + n / 60, image) for name, n in (("later", -3), ("set", 1), ("first", 6))]
    for several in (writers, writers[::-1]):
        sets = replica_set("index-api-5c9", 3, "api:3", 60), replica_set("index-api-7d1", 4, "api:4", 5)
        (says,) = [
            line for line in lines(await told(rolled_out(*sets, deployed=deployment(*several)))) if "revision 4" in line
        ]
        assert "of Deployment index-api by set;" in says


async def test_going_back_makes_no_revision_and_is_told_by_the_edit_that_asked_for_it() -> None:
    undone = writing("kubectl-rollout", 3, "spec.template.spec")
    sets = replica_set("index-api-5c9", 5, "api:3", 600), replica_set("index-api-7d1", 4, "api:4", 60)
    found = lines(await told(rolled_out(*sets, deployed=deployment(undone))))
    assert (
        "Deployment search/index-api: edited by kubectl-rollout: spec.template.spec; back to what is revision 5 now:"
        " image of api changed from api:4 to api:3 (3 min before it broke)"
    ) in found
    forth = replica_set("index-api-5c9", 3, "api:3", 600), replica_set("index-api-7d1", 4, "api:4", 60)
    scaled = deployment(writing("helm", 3, "spec.template.spec"))
    assert not [line for line in lines(await told(rolled_out(*forth, deployed=scaled))) if "back to" in line]


async def test_a_stateful_sets_revision_is_told_with_its_images() -> None:
    pod = INCIDENT.kubernetes["pods"][0]
    pods = [{**pod, "metadata": {**pod["metadata"], "ownerReferences": owned("StatefulSet", "db")}}]
    spec = {"selector": {"matchLabels": {"app": "api"}}}
    revisions = [
        {"metadata": meta(f"db-{n}", made=made, labels={"app": "api"}, ownerReferences=owned("StatefulSet", "db")),
         "revision": n, "data": {"spec": {"template": template(container("db", f"db:{n}"), *more)}}}
        for n, made, more in ((1, 99_999, ()), (2, 30, (container("sidecar", "s:1"),)))
    ]  # fmt: skip
    foreign = {
        **revisions[1],
        "metadata": {**revisions[1]["metadata"], "ownerReferences": owned("StatefulSet", "other")},
    }
    world = with_objects(
        pods=pods, controllerrevisions=[*revisions, foreign],
        statefulsets=[{"kind": "StatefulSet", "metadata": meta("db"), "spec": spec}],
    )  # fmt: skip
    assert [line for line in lines(await told(world)) if line.startswith("Controller")] == [
        "ControllerRevision search/db-2: made as revision 2 of StatefulSet db; image of db changed from db:1 to db:2 and"
        " container sidecar added with image s:1 (30 min before it broke)"
    ]


async def test_config_is_told_by_who_edited_it_whether_it_is_mounted_or_in_the_environment() -> None:
    refs = {"envFrom": [{"configMapRef": {"name": "flags"}}, {"secretRef": {"name": "keys"}}]}
    mounted = [
        {"name": "c", "configMap": {"name": "settings"}},
        {"name": "ca", "configMap": {"name": "kube-root-ca.crt"}},
    ]
    world = rolled_out(replica_set("index-api-5c9", 3, "api:3", 99_999), deployed=deployment(**refs))
    volumes = [*INCIDENT.kubernetes["pods"][0]["spec"]["volumes"], *mounted]
    world = part_of(world, "pods", POD.name, spec={"volumes": volumes})
    world = with_objects(
        world,
        configmaps=[
            {"metadata": meta("settings", writing("kubectl-edit", 9, "data.index.conf")), "data": {"x": SECRET_VALUE}},
            {"metadata": meta("flags", writing("helm", 8, "data.a", "data.b", "data.c", "data.d"))},
            {"metadata": meta("kube-root-ca.crt", writing("kubectl-edit", 7, "data.ca"))},
        ],
        secrets=[
            {
                "metadata": meta("keys", writing("x", 0.5, "type"), writing("vault", 0.2, "data.PASSWORD"), made=0.5),
                "data": {"k": SECRET_VALUE},
            }
        ],
    )
    found = [line for line in lines(await told(world)) if line.startswith(("ConfigMap", "Secret"))]
    assert found == [
        "ConfigMap search/settings: edited by kubectl-edit: data.index.conf (9 min before it broke)",
        "ConfigMap search/flags: edited by helm (8 min before it broke)",
        "Secret search/keys: created by x (30 s before it broke)",
        "Secret search/keys: edited by vault (12 s before it broke)",
    ]


async def test_no_value_of_a_variable_a_config_map_or_a_secret_is_kept_or_told() -> None:
    cause = f"kubectl set env deployment/index-api PASSWORD={SECRET_VALUE} --record=true"
    world = rolled_out(
        replica_set("index-api-5c9", 3, "api:3", 99_999), replica_set("index-api-7d1", 4, "api:4", 5, cause),
        deployed=deployment(writing("x", 4, "spec.replicas", 'spec.y.v:"an-item"')),
    )  # fmt: skip
    config = {"metadata": meta("settings", writing("e", 3, "data.k")), "data": {"k": SECRET_VALUE}}
    world = with_objects(part_of(world, "pods", POD.name, spec={"volumes": [{"name": "c", "configMap": {"name": "settings"}}]}),
                         configmaps=[config])  # fmt: skip
    finding, snapshot, _ = await seen(world)
    assert any("PASSWORD=***" in line for line in lines(changes.timeline(finding, snapshot)))
    kept = [
        snapshot[read.kind] for read in READS if "replicasets" not in read.kind.name
    ]  # they keep the cause as it is
    assert SECRET_VALUE not in str([list(edited.full) for edited in kept if not isinstance(edited, NotSeen)])
    assert SECRET_VALUE not in str(changes.timeline(finding, snapshot))
    assert "edited by x: spec.replicas and spec.y (4 min before it broke)" in str(
        lines(changes.timeline(finding, snapshot))
    )


@pytest.mark.parametrize(
    ("cause", "shown"),
    [
        ("kubectl apply --filename=app.yaml --record=true", "kubectl apply --filename=app.yaml --record=true"),
        ("kubectl set image deploy/x app=app:2 --record=true", "kubectl set image deploy/x app=app:2 --record=true"),
        ("kubectl set env deploy/x MSG=two words --record=true", "kubectl set env deploy/x MSG=***"),
        ("kubectl create secret generic x --from-literal=k=v", "kubectl create secret generic x --from-literal=***"),
        ('kubectl patch deploy x -p {"spec":{"a":"v"}}', "kubectl patch deploy x -p ***"),
        ("image=v2, token=abc was renewed", "image=v2, token=*** was renewed"),
        ("many\nlines", "many lines"),
        ("x" * 500, "x" * 160 + "…"),
    ],
)
def test_a_change_cause_keeps_its_words_and_no_value(cause: str, shown: str) -> None:
    assert without_values(cause) == shown


async def test_a_cordon_is_told_with_its_time_and_who_did_it() -> None:
    head = meta("node2", writing("kubectl-cordon", 3, "spec.unschedulable"), namespace=None, uid=NODE2.uid)
    taints = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": at(4)}]
    world = part_of(INCIDENT, "nodes", "node2", metadata=head, spec={"unschedulable": True, "taints": taints})
    assert "Node node2: cordoned by kubectl-cordon (4 min before it broke)" in lines(await told(world))
    alone = part_of(INCIDENT, "nodes", "node2", metadata=head, spec={"unschedulable": True})
    assert "Node node2: cordoned by kubectl-cordon (3 min before it broke)" in lines(await told(alone))
    silent = part_of(INCIDENT, "nodes", "node2", spec={"unschedulable": True})
    assert (await told(silent)).unseen == ("node node2 is cordoned, and nothing says since when",)


async def test_conditions_that_move_with_ready_are_told_once_and_pressures_by_themselves() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": at(60), "reason": "KubeletReady"}
    conditions = [
        ready,
        {"type": "MemoryPressure", "status": "False", "lastTransitionTime": at(60)},
        {"type": "DiskPressure", "status": "True", "lastTransitionTime": at(10), "reason": "KubeletHasDiskPressure"},
        {"type": "PIDPressure", "status": "False", "lastTransitionTime": at(30)},
        {"type": "NetworkUnavailable", "status": "False", "lastTransitionTime": at(299.5)},
    ]
    node = next(each for each in INCIDENT.kubernetes["nodes"] if each["metadata"]["name"] == "node2")
    made = {"creationTimestamp": at(300)}
    world = part_of(INCIDENT, "nodes", "node2", metadata=made, status={**node["status"], "conditions": conditions})
    assert [line for line in lines(await told(world)) if line.startswith("Node node2")] == [
        "Node node2: joined the cluster (5 h before it broke)",
        "Node node2: Ready became True (KubeletReady) (60 min before it broke)",
        "Node node2: PIDPressure became False (30 min before it broke)",
        "Node node2: DiskPressure became True (KubeletHasDiskPressure) (10 min before it broke)",
    ]


async def test_a_reboot_a_persons_taint_and_a_new_node_are_told() -> None:
    about = {"kind": "Node", "name": "node2", "uid": "node2"}
    events = [
        *INCIDENT.kubernetes["events"],
        {"metadata": {"name": "r", "namespace": "default"}, "involvedObject": about, "reason": "Rebooted",
         "lastTimestamp": at(20)},
        {"metadata": {"name": "p", "namespace": "default"}, "involvedObject": {**about, "kind": "Pod"},
         "reason": "Rebooted", "lastTimestamp": at(18)},
        {"metadata": {"name": "s", "namespace": "default"}, "involvedObject": about, "reason": "Starting",
         "lastTimestamp": at(19)},
    ]  # fmt: skip
    taints = [
        {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute", "value": "v", "timeAdded": at(15)},
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": at(14)},
    ]
    world = part_of(
        with_objects(events=events), "nodes", "node2", metadata={"creationTimestamp": at(300)}, spec={"taints": taints}
    )
    assert [line for line in lines(await told(world)) if "node2" in line and "Ready" not in line] == [
        "Node node2: joined the cluster (5 h before it broke)",
        "Node node2: rebooted (20 min before it broke)",
        "Node node2: tainted node.kubernetes.io/out-of-service:NoExecute (15 min before it broke)",
    ]


async def test_a_resize_is_told_with_both_sizes_who_asked_and_how_far_it_is() -> None:
    world = part_of(
        INCIDENT, "persistentvolumeclaims", "index-api",
        metadata=meta(
            "index-api", writing("kubectl-patch", 6, "spec.resources.requests.storage"),
            writing("helm", 7, "spec.accessModes", "spec.resources.requests.storage"), uid="pvc-1",
        ),
        spec={"resources": {"requests": {"storage": "20Gi"}}},
        status={"capacity": {"storage": "10Gi"}, "conditions": [
            {"type": "FileSystemResizePending", "status": "True", "lastTransitionTime": at(5)},
        ]},
    )  # fmt: skip
    assert [line for line in lines(await told(world)) if "PersistentVolumeClaim" in line] == [
        "PersistentVolumeClaim search/index-api: edited by helm: spec.accessModes and spec.resources.requests.storage"
        " (7 min before it broke)",
        "PersistentVolumeClaim search/index-api: resized by kubectl-patch: asks for 20Gi, has 10Gi (6 min before it broke)",
        "PersistentVolumeClaim search/index-api: FileSystemResizePending began: asks for 20Gi, has 10Gi"
        " (5 min before it broke)",
    ]


async def test_claims_volumes_and_attachments_are_told_as_they_are_made_bound_and_taken_away() -> None:
    source = {"persistentVolumeName": "pv-index-api"}
    attachment = {"metadata": {"name": "csi-1", "uid": "a", "creationTimestamp": at(50), "deletionTimestamp": at(2)},
                  "spec": {"attacher": "rbd.csi.ceph.com", "nodeName": "node1", "source": source}}  # fmt: skip
    csi = {"driver": "rbd.csi.ceph.com", "volumeHandle": "h", "volumeAttributes": {"pool": "p", "imageName": "i"}}
    volume = INCIDENT.kubernetes["persistentvolumes"][0]
    made = meta("pv-index-api", writing("csi-provisioner", 70, "spec.csi"), made=70, namespace=None, uid="pv-1")
    world = with_objects(
        volumeattachments=[attachment],
        persistentvolumes=[{**volume, "metadata": made, "spec": {"claimRef": volume["spec"]["claimRef"], "csi": csi}}],
    )
    bound = writing("kube-controller-manager", 69, "spec.volumeName")
    claim = meta("index-api", writing("kubectl-create", 71, "spec.accessModes"), bound, made=71, uid="pvc-1")
    found = lines(await told(part_of(world, "persistentvolumeclaims", "index-api", metadata=claim)))
    assert [line.partition(" (")[0] for line in found if "Volume" in line.split()[0]] == [
        "PersistentVolumeClaim search/index-api: created by kubectl-create",
        "PersistentVolume pv-index-api: created by csi-provisioner",
        "PersistentVolumeClaim search/index-api: bound to pv-index-api",
        "VolumeAttachment csi-1: created: pv-index-api is to be attached to node node1",
        "VolumeAttachment csi-1: its deletion was asked for: pv-index-api is to be detached from node node1",
    ]


async def test_what_could_not_be_read_is_said_beside_the_timeline_and_leaves_the_finding_alone() -> None:
    refs = {"envFrom": [{"configMapRef": {"name": "flags"}}, {"secretRef": {"name": "keys"}}]}
    world = rolled_out(replica_set("index-api-5c9", 3, "api:3", 4), deployed=deployment(**refs))
    whole, _, _ = await seen(world)
    hidden = but(world, unseen={
        "replicasets and their images": Gap("forbidden"), "secrets and who edited them": Gap("not granted", configured=False),
        "events of the nodes": Gap("forbidden"),
    })  # fmt: skip
    finding, snapshot, _ = await seen(hidden)
    found = changes.timeline(finding, snapshot)
    assert finding == whole
    assert set(found.unseen) == {
        "changes of Deployment index-api: forbidden", "changes of Node node1, node2: forbidden",
        "changes of Secret keys: not granted",
    }  # fmt: skip
    assert "ReplicaSet search/index-api-5c9: created (4 min before it broke)" in lines(found)


async def test_where_the_workload_could_not_be_read_that_is_said_once_not_again_of_its_revisions() -> None:
    world = rolled_out(replica_set("index-api-5c9", 3, "api:3", 4), deployed=deployment())
    finding, snapshot, _ = await seen(but(world, unseen={"deployments and who edited them": Gap("forbidden")}))
    snapshot = snapshot.with_fact(edits.IMAGE_SETS, NotSeen("which to read is not known"))
    assert changes.timeline(finding, snapshot).unseen == ("changes of Deployment index-api: forbidden",)


async def test_a_cordoned_node_that_is_not_on_the_way_is_not_asked_for() -> None:
    other = {"metadata": {"name": "node9", "uid": "u9"}, "spec": {"unschedulable": True}, "status": {}}
    world = with_objects(nodes=[*INCIDENT.kubernetes["nodes"], other])
    _, snapshot, _ = await seen(world)
    assert list(edits.NODES.requests(snapshot)) == []
    cordoned = part_of(world, "nodes", "node2", spec={"unschedulable": True})
    _, snapshot, _ = await seen(cordoned)
    assert list(edits.NODES.requests(snapshot)) == [Get("node2")]


async def test_of_a_thing_that_two_ways_lead_to_the_one_that_knows_its_uid_is_kept() -> None:
    nameless = Link(Subject("PersistentVolumeClaim", "search", "index-api", ""), "x")
    known = Link(Subject("PersistentVolumeClaim", "search", "index-api", "pvc-1"), "y")
    _, snapshot, _ = await seen(INCIDENT)
    found = Finding(POD, "x", chain=(nameless, known))
    assert [each.uid for each in around(found, snapshot) if each.kind == "PersistentVolumeClaim"] == ["pvc-1"]


async def test_a_timeline_is_short_and_keeps_what_came_last_before_it_broke() -> None:
    def acts(*minutes: int) -> list[Change]:
        return [Change(BROKE - timedelta(minutes=m), POD, f"act {m}") for m in minutes]

    found = await told(INCIDENT, acts(*range(100, 120), *range(-9, 0)))
    assert len(found.changes) == MOST
    after = [change.says for change in found.changes if change.when > BROKE]
    assert after == ["act -6", "act -7", "act -8", "act -9"]
    assert lines(found)[0].startswith("Pod search/index-api-q4z8m: act 104")
    assert found.unseen == ("20 more changes are left out: those longest before it broke, and the first ones after it",)
    few = await told(INCIDENT, acts(*range(-30, 0)))
    assert len(few.changes) == MOST
    assert len([change for change in few.changes if change.when > BROKE]) == 9


async def test_the_same_change_told_twice_is_one() -> None:
    act = Change(BROKE - timedelta(minutes=1), POD, "deleted")
    assert [line for line in lines(await told(INCIDENT, [act, act])) if "deleted" in line] == [
        f"{POD}: deleted (1 min before it broke)"
    ]


def test_an_act_on_several_things_is_told_of_the_one_that_lies_around_the_finding() -> None:
    ceph, image = Subject("CephCluster", None, "f", "f"), Subject("RBDImage", None, "a/b", "f/a//b")
    assert changes.done(BROKE, (ceph, image), "fenced", (POD, image)).subject == image
    assert changes.done(BROKE, (ceph, image), "fenced", (POD,)).subject == ceph


async def test_everything_is_asked_for_by_name_or_by_one_selector_and_no_pod_again() -> None:
    refs = {"envFrom": [{"configMapRef": {"name": f"c{n}"}} for n in range(30)]}
    _, snapshot, source = await seen(
        rolled_out(replica_set("index-api-5c9", 3, "api:3", 4), deployed=deployment(**refs))
    )
    asked = [request for read in READS for request in read.kind.requests(snapshot) if isinstance(read.kind, Resource)]
    assert all(isinstance(each, Get) or each.fields or each.labels for each in asked)
    assert len([each for each in asked if isinstance(each, Get) and each.name.startswith("c")]) == MOST_OF_A_KIND
    assert not [name for name in source.asked if name.startswith("pods")]
    found = changes.timeline(Finding(POD, "x", None, BROKE), snapshot)
    assert f"changes of {30 - MOST_OF_A_KIND} more ConfigMaps than were asked for" in found.unseen


async def test_a_server_that_went_away_is_not_waited_for_once_more_in_the_second_round() -> None:
    world = but(
        rolled_out(replica_set("index-api-5c9", 3, "api:3", 4), deployed=deployment()), scope=Scope("c", subject=POD)
    )
    first = await look(world)
    finding = explain(Finding(POD, "it is stuck", None, BROKE), first)

    class Gone(Recording):
        async def fetch(self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None) -> Any:
            await super().fetch(kind, earlier, keep)
            raise CouldNotLook("no answer within 15 s", unreachable=True)

    source = Gone(world)
    found = changes.timeline(finding, await changes.look([source], finding, first))
    assert not [name for name in source.asked if name.startswith(("replicasets", "configmaps", "secrets"))]
    assert "changes of Deployment index-api: no answer within 15 s" in found.unseen
    without = changes.timeline(finding, await changes.look([], finding, first))
    assert "changes of Deployment index-api: no Kubernetes is configured" in without.unseen


async def test_a_scan_of_everything_asks_for_none_of_it() -> None:
    for read in READS:
        assert isinstance(read.kind, Resource)
        assert list(read.kind.requests(Snapshot("c", BROKE, Scope("c")))) == []


async def test_a_selector_without_words_is_never_sent() -> None:
    deployed = deployment()
    deployed["spec"]["selector"] = {}
    _, snapshot, _ = await seen(rolled_out(replica_set("index-api-5c9", 3, "api:3", 4), deployed=deployed))
    asked = [r for read in READS for r in read.kind.requests(snapshot) if isinstance(r, List) and not r.fields]  # type: ignore[attr-defined]
    assert asked == []


async def test_a_replica_set_that_does_not_own_the_pod_is_no_change_of_its() -> None:
    assert not [line for line in lines(await told(INCIDENT)) if "other-77" in line]


async def test_a_finding_of_a_node_without_a_time_counts_back_from_now() -> None:
    finding = Finding(NODE2, "it is not ready", chain=(Link(NODE2, "is not Ready"),))
    found = await told(INCIDENT, about=finding)
    assert lines(found) == ["Node node2: Ready became True (KubeletReady)"]
    assert changes.began(finding, (await seen(INCIDENT, finding))[1]) == INCIDENT.taken_at - LATELY


def test_a_timeline_can_be_kept_and_read_again() -> None:
    made = Timeline((Change(BROKE, POD, "x"),), ("y",))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Timeline) == made
