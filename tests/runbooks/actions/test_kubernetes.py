"""The acts on Kubernetes objects: bound to a UID, dry-run first, and honest about what became of them."""

from collections.abc import Mapping
from typing import Any

import pytest

from diagnostics.facts import Kind
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.holders import CLAIM_USERS, NODES
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import KubernetesError
from runbooks.actions import ActFailed, Action, Clients, OutcomeUnknown, all_actions
from runbooks.actions.kubernetes_api import WritingApi
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned
from tests.runbooks.hand_made import Incident, node, pod

CORDON = all_actions()["kubernetes.cordon"]
DELETE = all_actions()["kubernetes.delete_pod"]
FORCE = all_actions()["kubernetes.force_delete_pod"]
ALL = {"cordon": CORDON, "delete_pod": DELETE, "force_delete_pod": FORCE}


class FakeApi:
    """Takes down what is sent, and fails as it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self._error = error

    async def patch(self, target: Subject, patch: Mapping[str, Any], *, dry_run: bool) -> None:
        self._take("patch", target.uid, patch, dry_run)

    async def delete(self, target: Subject, *, grace_seconds: int | None, dry_run: bool) -> None:
        self._take("delete", target.uid, grace_seconds, dry_run)

    def _take(self, *request: Any) -> None:
        self.sent.append(request)
        if self._error:
            raise self._error


def clients(api: FakeApi) -> Clients:
    return Clients(api, None)  # type: ignore[arg-type]


def plan(action: Action, incident: Incident | None = None, **params: str) -> Planned:
    return action.plan((incident or Incident()).situation(**params), {"node": "node1", "pod": "search/new"})


def test_each_act_is_planned_for_the_very_object() -> None:
    assert [(plan(a).targets[0].uid, plan(a).risk) for a in ALL.values()] == [
        ("uid-node1", Risk.LOW), ("uid-new", Risk.LOW), ("uid-old", Risk.HIGH),
    ]  # fmt: skip


def test_all_old_pods_of_the_volume_are_forced_away_and_no_other() -> None:
    incident = Incident(
        pods=[
            pod("one", "node1", terminating=True), pod("two", "node1", terminating=True), pod("new", "node2"),
            pod("running", "node1"), pod("else", "node1", terminating=True, volumes=[]),
        ]
    )  # fmt: skip
    assert [target.name for target in plan(FORCE, incident).targets] == ["one", "two"]


@pytest.mark.parametrize(
    ("action", "incident"),
    [
        (CORDON, Incident(nodes=[])),
        (CORDON, Incident(unseen={NODES: "denied"})),
        (DELETE, Incident(pods=[])),
        (DELETE, Incident(unseen={CLAIM_USERS: "denied"})),
        (FORCE, Incident(pods=[pod("old", "node1")])),
        (FORCE, Incident(unseen={k8s.VOLUMES: "denied"})),
    ],
)
def test_what_is_not_there_or_not_seen_cannot_be_planned(action: Action, incident: Incident) -> None:
    with pytest.raises(CannotPlan) as caught:
        plan(action, incident)
    assert caught.value.unknown is bool(incident.unseen)


@pytest.mark.parametrize("action", ALL.values(), ids=ALL)
async def test_a_dry_run_and_the_act_send_the_same_but_for_the_dry_run(action: Action) -> None:
    api, planned = FakeApi(), plan(action)
    assert action.dry_run is not None
    await action.dry_run(planned, clients(api))
    await action.apply(planned, clients(api))
    dry, real = api.sent
    assert dry[:-1] == real[:-1]
    assert (dry[-1], real[-1]) == (True, False)


async def test_what_each_act_sends() -> None:
    api = FakeApi()
    for action in ALL.values():
        await action.apply(plan(action), clients(api))
    assert api.sent == [
        ("patch", "uid-node1", {"spec": {"unschedulable": True}}, False),
        ("delete", "uid-new", None, False),
        ("delete", "uid-old", 0, False),
    ]


@pytest.mark.parametrize("action", ALL.values(), ids=ALL)
async def test_a_refusal_failed_and_silence_is_unknown(action: Action) -> None:
    for status in (403, 409, 422, 429, 501):
        with pytest.raises(ActFailed):
            await action.apply(plan(action), clients(FakeApi(KubernetesError(status, "no"))))
    with pytest.raises(OutcomeUnknown, match="is not known"):
        await action.apply(plan(action), clients(FakeApi(CouldNotLook("No answer.", unreachable=True))))
    with pytest.raises(ActFailed, match="No Kubernetes is configured"):
        await action.apply(plan(action), Clients(None, None))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "etcdserver: request timed out"),
        (500, "etcdserver: leader changed"),
        (502, "Bad Gateway"),
        (503, "apiserver is shutting down"),
        (504, "Timeout: request did not complete within requested timeout - context deadline exceeded"),
    ],
)
@pytest.mark.parametrize("action", ALL.values(), ids=ALL)
async def test_a_servers_own_trouble_is_no_refusal(action: Action, status: int, words: str) -> None:
    error = KubernetesError(status, words)
    with pytest.raises(OutcomeUnknown, match=rf"{words} \(HTTP {status}\)\. It may have been done all the same"):
        await action.apply(plan(action), clients(FakeApi(error)))
    assert action.dry_run is not None
    with pytest.raises(ActFailed, match=words):  # of a dry run nothing is ever written
        await action.dry_run(plan(action), clients(FakeApi(error)))


@pytest.mark.parametrize("action", ALL.values(), ids=ALL)
async def test_a_dry_run_without_an_answer_has_changed_nothing(action: Action) -> None:
    assert action.dry_run is not None
    with pytest.raises(CouldNotLook):  # neither accepted nor refused: the guard calls that unknown
        await action.dry_run(plan(action), clients(FakeApi(CouldNotLook("No answer."))))


async def test_deleting_what_is_gone_is_done_and_cordoning_it_failed() -> None:
    gone = KubernetesError(404, "not found")
    await DELETE.apply(plan(DELETE), clients(FakeApi(gone)))
    await FORCE.apply(plan(FORCE), clients(FakeApi(gone)))
    with pytest.raises(ActFailed):
        await CORDON.apply(plan(CORDON), clients(FakeApi(gone)))


def test_a_node_is_cordoned_only_if_it_is_that_node() -> None:
    planned = plan(CORDON)
    assert CORDON.done(planned, Incident().situation()) is True
    assert CORDON.done(planned, Incident(nodes=[node("node1", "10.0.0.1")]).situation()) is False
    another = Incident(nodes=[node("node1", "10.0.0.1", cordoned=True, uid="uid-2")])
    assert CORDON.done(planned, another.situation()) is False
    assert CORDON.done(planned, Incident(unseen={NODES: "denied"}).situation()) is None


@pytest.mark.parametrize(("action", "name"), [(DELETE, "new"), (FORCE, "old")])
def test_a_pod_is_gone_by_its_uid(action: Action, name: str) -> None:
    planned = plan(action)
    assert action.done(planned, Incident().situation()) is False
    assert action.done(planned, Incident(pods=[]).situation()) is True
    again = Incident(pods=[pod(name, "node2", uid="another")])
    assert action.done(planned, again.situation()) is True


def test_a_pod_that_is_on_its_way_out_is_deleted_but_not_forced_away() -> None:
    leaving = Incident(pods=[pod("new", "node2", terminating=True), pod("old", "node1", terminating=True)])
    assert DELETE.done(plan(DELETE), leaving.situation()) is True
    assert FORCE.done(plan(FORCE), leaving.situation()) is False


@pytest.mark.parametrize("action", [DELETE, FORCE], ids=["delete_pod", "force_delete_pod"])
@pytest.mark.parametrize("kind", [CLAIM_USERS, k8s.VOLUMES], ids=lambda kind: kind.name)
def test_whether_an_unread_pod_is_gone_cannot_be_seen(action: Action, kind: Kind[Any]) -> None:
    planned = plan(action)
    assert action.done(planned, Incident(pods=[], unseen={kind: "denied"}).situation()) is None
    assert action.done(planned, Incident(pods=[], volumes=[]).situation()) is None


async def test_every_write_carries_the_uid_as_its_precondition(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Any, ...]] = []

    async def request(self: Any, *what: Any) -> bytes:
        sent.append(what)
        return b"{}"

    monkeypatch.setattr(WritingApi, "_request", request)
    api = WritingApi.__new__(WritingApi)
    target = Subject("Pod", "search", "a/../b", "uid-1")
    await api.delete(target, grace_seconds=0, dry_run=True)
    await api.patch(Subject("Node", None, "node1", "uid-2"), {"spec": {}, "metadata": {"labels": {}}}, dry_run=False)
    (method, path, _, options, _), (_, node_path, query, body, media) = sent
    assert (method, path) == ("DELETE", "/api/v1/namespaces/search/pods/a%2F..%2Fb")
    assert options["preconditions"] == {"uid": "uid-1"}
    assert (options["gracePeriodSeconds"], options["dryRun"]) == (0, ["All"])
    assert node_path == "/api/v1/nodes/node1"
    assert body == {"spec": {}, "metadata": {"labels": {}, "uid": "uid-2"}}
    assert "dryRun" not in query
    assert media == "application/merge-patch+json"
