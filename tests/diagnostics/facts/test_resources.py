"""Objects as the API gives them: what it leaves out or sets to null, and what follows from a pod's state."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from diagnostics.facts.resources import Claim, Event, Lease, Meta, Node, Pod, PodStatus, Struct, Volume, pod_row

Json = dict[str, Any]
CREATING = {"waiting": {"reason": "ContainerCreating"}}
INITIALIZING = {"waiting": {"reason": "PodInitializing"}}


def read(struct: type[Any], **fields: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode({"metadata": {"name": "x"}, **fields}), type=struct)


def pod(*states: Json | None, init: tuple[Json, ...] = (), phase: str = "Pending", node: str | None = "node1") -> Pod:
    def statuses(of: tuple[Json | None, ...]) -> list[Json]:
        return [{"name": str(number), **({"state": state} if state else {})} for number, state in enumerate(of)]

    status = {"phase": phase, "containerStatuses": statuses(states), "initContainerStatuses": statuses(init)}
    made = read(Pod, spec={"nodeName": node}, status=status)
    assert isinstance(made, Pod)
    return made


@pytest.mark.parametrize(
    "creating",
    [
        pod(),
        pod(CREATING),
        pod(CREATING, CREATING),
        pod(None),
        pod({"waiting": {}}),
        pod({"waiting": {"reason": None}}),
        pod(INITIALIZING, init=(INITIALIZING,)),
    ],
)
def test_a_pod_is_creating_while_no_container_has_got_past_its_creation(creating: Pod) -> None:
    assert creating.is_creating


@pytest.mark.parametrize(
    "past",
    [
        pod(CREATING, phase="Running"),
        pod(CREATING, phase="Failed"),
        pod(CREATING, node=None),
        pod(CREATING, {"running": {"startedAt": "2026-03-14T09:00:00Z"}}),
        pod({"waiting": {"reason": "ImagePullBackOff"}}),
        pod({"waiting": {"reason": "CreateContainerConfigError"}}),
        pod(INITIALIZING, init=({"terminated": {"exitCode": 0}},)),
        pod(INITIALIZING, init=({"running": {}},)),
    ],
)
def test_a_pod_is_not_creating_once_it_runs_pulls_fails_or_is_bound_nowhere(past: Pod) -> None:
    assert not past.is_creating


def condition(kind: str, status: str, at: str | None) -> Json:
    return {"type": kind, "status": status, "lastTransitionTime": at}


@pytest.mark.parametrize(
    ("status", "since"),
    [
        ({"conditions": [condition("PodScheduled", "True", "2026-03-14T09:20:00Z")], "startTime": "2026-03-14T09:21:00Z"}, 20),
        ({"conditions": [condition("PodScheduled", "False", "2026-03-14T09:20:00Z")], "startTime": "2026-03-14T09:21:00Z"}, 21),
        ({"conditions": [condition("PodScheduled", "True", None)], "startTime": "2026-03-14T09:21:00Z"}, 21),
        ({"conditions": [condition("Ready", "True", "2026-03-14T09:20:00Z")]}, None),
        ({"conditions": None, "startTime": None}, None),
    ],
)  # fmt: skip
def test_a_pod_waits_since_it_was_scheduled_never_since_it_was_made(status: Json, since: int | None) -> None:
    made = read(Pod, metadata={"name": "x", "creationTimestamp": "2026-03-14T08:00:00Z"}, status=status)
    assert made.waiting_since == (datetime(2026, 3, 14, 9, since, tzinfo=UTC) if since else None)


def test_only_an_ended_pod_holds_no_volumes_whatever_else_is_heard_of_it() -> None:
    phases = ["Pending", "Running", "Unknown", "", "Succeeded", "Failed"]
    running = [Pod(Meta("x"), status=PodStatus(phase=phase)).may_be_running for phase in phases]
    assert running == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("struct", "fields"),
    [
        (Pod, {"spec": {"nodeName": None, "volumes": None}, "status": {"conditions": None, "containerStatuses": None}}),
        (Pod, {"metadata": {"name": "x", "ownerReferences": None, "managedFields": [{"manager": "m"}]}}),
        (Claim, {"spec": {"accessModes": None, "volumeName": None, "volumeMode": "Block"}}),
        (Volume, {"spec": {"claimRef": None, "csi": {"driver": "d", "volumeAttributes": None}}}),
        (Node, {"spec": {"taints": None}, "status": {"addresses": None, "conditions": None, "volumesInUse": None}}),
        (Lease, {"spec": {"renewTime": None}}),
        (Event, {"involvedObject": None, "source": None, "series": None, "eventTime": None, "message": None}),
    ],
)
def test_nulls_and_unknown_fields_that_real_servers_send_are_read(struct: type[Struct], fields: Json) -> None:
    assert read(struct, **fields)
    assert read(struct)


def test_an_event_about_nothing_is_about_nothing_and_has_no_time() -> None:
    event = read(Event, involvedObject=None)
    assert (event.about.kind, event.about.uid, event.first_seen, event.last_seen) == ("", "", None, None)


def test_the_times_of_an_event_come_from_its_older_or_its_newer_form() -> None:
    old = read(Event, firstTimestamp="2026-03-14T09:00:00Z", lastTimestamp="2026-03-14T09:10:00Z", eventTime=None)
    new = read(
        Event,
        eventTime="2026-03-14T09:00:00.123456Z",
        series={"count": 4, "lastObservedTime": "2026-03-14T09:10:00.000000Z"},
    )
    made = read(Event, metadata={"name": "x", "creationTimestamp": "2026-03-14T09:05:00Z"})
    assert (old.first_seen.minute, old.last_seen.minute) == (0, 10)
    assert (new.first_seen.minute, new.last_seen.minute) == (0, 10)
    assert (made.first_seen.minute, made.last_seen.minute) == (5, 5)


def test_a_nodes_ips_are_its_internal_and_external_ones_in_canonical_form() -> None:
    kinds = {"InternalIP": "fd00:0:0::5", "Hostname": "n", "ExternalIP": "203.0.113.7", "InternalDNS": "n.internal"}
    node = read(Node, status={"addresses": [{"type": kind, "address": text} for kind, text in kinds.items()]})
    assert node.ips == ("fd00::5", "203.0.113.7")
    assert node.internal_ips == ("fd00::5",)
    assert node.odd_addresses == ()


def test_an_address_that_is_none_is_named_and_never_used() -> None:
    node = read(Node, status={"addresses": [{"type": "InternalIP", "address": "10.0.0.1;rm"}]})
    assert (node.ips, node.odd_addresses) == ((), ("10.0.0.1;rm",))


@pytest.mark.parametrize(
    ("status", "ready"), [("True", True), ("False", False), ("Unknown", False), (None, False)]
)  # fmt: skip
def test_a_node_is_ready_only_if_its_kubelet_says_so(status: str | None, ready: bool) -> None:
    conditions = [{"type": "Ready", "status": status}] if status else []
    assert read(Node, status={"conditions": conditions}).is_ready is ready


def test_only_the_owner_that_manages_an_object_counts() -> None:
    owners = [
        {"kind": "Node", "name": "n", "uid": "1"},
        {"kind": "ReplicaSet", "name": "r", "uid": "2", "controller": True},
    ]
    assert read(Pod, metadata={"name": "x", "ownerReferences": owners}).metadata.controller.name == "r"
    assert read(Pod, metadata={"name": "x", "ownerReferences": owners[:1]}).metadata.controller is None


def test_a_row_keeps_what_joins_need() -> None:
    made = read(
        Pod,
        metadata={"name": "x", "namespace": "n", "uid": "u", "deletionTimestamp": "2026-03-14T09:00:00Z"},
        spec={"nodeName": "node1", "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]},
        status={"phase": "Running", "hostIP": "10.1.2.6", "podIP": "10.244.0.5"},
    )
    row = pod_row(made)
    assert (row.namespace, row.name, row.uid, row.node, row.phase) == ("n", "x", "u", "node1", "Running")
    assert (row.host_ip, row.pod_ip, row.claims, row.deleting) == ("10.1.2.6", "10.244.0.5", ("data",), True)
