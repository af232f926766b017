"""Draining, evicting and running a Job anew: bound to UIDs, held to budgets, gone on with where they stopped."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from diagnostics.facts.disruption import BUDGETS, LABELLED_PODS
from diagnostics.facts.holders import NODES
from diagnostics.facts.kubernetes import PODS
from diagnostics.facts.resources.runs import ORIGIN
from diagnostics.facts.runs import JOB_RUNS
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import KubernetesError
from runbooks.actions import ActFailed, ActStopped, Clients, OutcomeUnknown, all_actions
from runbooks.actions.kubernetes.drain import BETWEEN_TRIES, evict_all
from runbooks.actions.kubernetes.rerun_job import MADE_FROM, manifest_of, new_name
from runbooks.model import Risk
from runbooks.situation import CannotPlan
from tests.runbooks.actions.examples.nodes_and_jobs import EXAMPLES, Scene, budget, node, pod, run

DRAIN = all_actions()["kubernetes.drain"]
EVICT = all_actions()["kubernetes.evict_pod"]
RERUN = all_actions()["kubernetes.rerun_job"]
UNCORDON = all_actions()["kubernetes.uncordon"]
HELD = KubernetesError(429, "Cannot evict pod as it would violate the pod's disruption budget.")
GONE = KubernetesError(404, "not found")
OTHER = KubernetesError(409, "another object by now")
TWO_BUDGETS = KubernetesError(
    500, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
)
ETCD_IS_SLOW = KubernetesError(500, "etcdserver: request timed out")
NO_ANSWER = CouldNotLook("The Kubernetes API did not answer.")


class FakeApi:
    """Pods by name. `read` and `evictions` hold what the server says to each, one answer after the other."""

    def __init__(self, read: Mapping[str, Any] | None = None, **evictions: list[Exception | None]) -> None:
        self.evicted: list[tuple[str, bool]] = []
        self.created: list[tuple[str, str, Any, bool]] = []
        self._read = dict(read or {})
        self._evictions = evictions

    async def read(self, target: Subject) -> Any:
        found = self._read.get(target.name, {"metadata": {}})
        if isinstance(found, Exception):
            raise found
        return found

    async def evict(self, target: Subject, *, dry_run: bool) -> None:
        self.evicted.append((target.name, dry_run))
        answers = self._evictions.get(target.name.replace("-", "_"), [])
        error = answers.pop(0) if answers else None
        if error:
            raise error

    async def create(self, kind: str, namespace: str, manifest: Any, *, dry_run: bool) -> None:
        self.created.append((kind, namespace, manifest, dry_run))


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def drain(api: FakeApi, **arguments: str) -> Time:
    time = Time()
    asyncio.run(evict_all(Scene().drain(**arguments), api, clock=time.clock, sleep=time.sleep))  # type: ignore[arg-type]
    return time


def clients(api: FakeApi) -> Clients:
    return Clients(api, None)  # type: ignore[arg-type]


# Planning a drain


def test_a_drain_is_one_act_on_the_node_and_all_pods_that_do_not_stay() -> None:
    pods = [
        pod("web-2"), pod("web-1"), pod("ds", "DaemonSet"), pod("static", "Node"), pod("going", going=True),
        pod("ended", phase="Succeeded"), pod("far", on="node2"),
    ]  # fmt: skip
    planned = Scene(pods=pods).drain()
    assert [(t.kind, t.name, t.uid) for t in planned.targets] == [
        ("Node", "node1", "uid-node1"), ("Pod", "web-1", "uid-web-1"), ("Pod", "web-2", "uid-web-2"),
    ]  # fmt: skip
    assert planned.risk is Risk.HIGH
    assert planned.effect == {
        "also": [], "for_seconds": 600, "budgets": {"shop/web-1": ["shop/web"], "shop/web-2": ["shop/web"]},
    }  # fmt: skip


def test_a_plan_is_the_same_for_the_same_facts_in_another_order() -> None:
    turned = Scene(pods=[pod("web-2"), pod("web-1")], budgets=[budget("other", spec={}), budget()])
    assert turned.drain(also="local, EMPTYDIR") == Scene().drain(also="emptydir,local")


def test_what_is_lost_is_told_before_anybody_says_yes() -> None:
    bare = Scene(pods=[pod("bare", None, labels={}), pod("web-1", volumes=[{"name": "cache", "emptyDir": {}}])])
    planned = bare.drain(also="unmanaged")
    assert planned.dies == ("shop/bare (no controller)",)
    assert planned.shows == (
        "`unmanaged` was named in `also`: shop/bare has no controller: nobody makes it again",
        "shop/bare: nobody makes it again",
        "shop/web-1: of ReplicaSet web, PodDisruptionBudget shop/web, loses emptyDir cache",
    )


def test_a_word_that_nobody_knows_names_nothing() -> None:
    with pytest.raises(CannotPlan, match="cannot name everything") as caught:
        Scene().drain(also="local,everything")
    assert not caught.value.unknown


def test_a_drain_that_would_wait_longer_than_its_step_may_take_is_not_planned() -> None:
    assert Scene().drain(**{"for": "15m"}).effect["for_seconds"] == 900
    with pytest.raises(CannotPlan, match="15 minutes at most"):
        Scene().drain(**{"for": "16m"})


@pytest.mark.parametrize("kind", [NODES, LABELLED_PODS, BUDGETS], ids=lambda each: getattr(each, "name", each))
def test_a_drain_is_not_planned_blindly(kind: Any) -> None:
    with pytest.raises(CannotPlan) as caught:
        Scene(unseen={kind: "denied"}).drain()
    assert caught.value.unknown


# Doing it


def test_every_pod_is_evicted_once_and_a_budget_is_waited_for_while_the_others_go() -> None:
    api = FakeApi(web_1=[HELD, HELD])
    time = drain(api)
    assert api.evicted == [("web-1", False), ("web-2", False), ("web-1", False), ("web-1", False)]
    assert time.now == 2 * BETWEEN_TRIES


def test_a_budget_that_does_not_give_way_in_time_stops_the_act_with_pod_budget_and_count() -> None:
    api = FakeApi(web_1=[HELD] * 99)
    with pytest.raises(ActStopped) as caught:
        drain(api, **{"for": "12s"})
    told = str(caught.value)
    assert told.startswith(
        "1 of 2 pods are evicted; shop/web-1 is held up by PodDisruptionBudget shop/web (Cannot evict"
    )
    assert told.endswith("loosen it, and try again")
    assert [name for name, _ in api.evicted].count("web-1") == 4


def test_a_second_attempt_evicts_only_what_is_left_and_no_other_pod_of_that_name() -> None:
    api = FakeApi({"web-1": GONE, "web-2": OTHER})
    drain(api)
    assert api.evicted == []
    drain(api := FakeApi(web_1=[GONE], web_2=[OTHER]))
    assert len(api.evicted) == 2


def test_a_second_attempt_takes_nothing_more_from_the_budget_of_a_pod_that_is_going() -> None:
    going = {"metadata": {"deletionTimestamp": "2021-03-11T08:20:00Z"}}
    drain(api := FakeApi({"web-1": going}))
    assert api.evicted == [("web-2", False)]


def test_a_refusal_or_silence_in_the_middle_says_how_far_it_came() -> None:
    with pytest.raises(ActStopped, match=r"1 of 2 pods are evicted, and there it stopped: .*not allowed here"):
        drain(FakeApi(web_2=[KubernetesError(403, "not allowed here")]))
    with pytest.raises(ActStopped, match=r"1 of 2 pods .* there it stopped: .*which the eviction subresource does not"):
        drain(FakeApi(web_2=[TWO_BUDGETS]))
    with pytest.raises(ActStopped, match=r"1 of 2 pods .*look at pod shop/web-2: etcdserver.* Nothing was sent"):
        drain(FakeApi({"web-2": ETCD_IS_SLOW}))
    with pytest.raises(OutcomeUnknown, match=r"evict pod shop/web-2: etcdserver.* It may have been done"):
        drain(FakeApi(web_2=[ETCD_IS_SLOW]))
    with pytest.raises(ActStopped, match=r"1 of 2 pods .* Nothing was sent"):
        drain(FakeApi({"web-2": NO_ANSWER}))
    with pytest.raises(OutcomeUnknown, match="evict pod shop/web-2 is not known"):
        drain(FakeApi(web_2=[NO_ANSWER]))


async def test_a_dry_run_asks_for_each_pod_and_takes_a_budget_that_holds_up_for_no_refusal() -> None:
    planned, api = Scene().drain(), FakeApi({"web-2": GONE}, web_1=[HELD])
    assert DRAIN.dry_run is not None
    await DRAIN.dry_run(planned, clients(api))
    assert api.evicted == [("web-1", True)]
    with pytest.raises(ActFailed, match="more than one"):
        await DRAIN.dry_run(planned, clients(FakeApi(web_2=[TWO_BUDGETS])))


def test_a_drain_is_done_when_each_pod_of_the_plan_is_gone_or_going() -> None:
    planned = Scene().drain()
    assert DRAIN.done(planned, Scene().situation()) is False
    assert DRAIN.done(planned, Scene(pods=[pod("web-2")]).situation()) is False
    rest = [pod("web-1", going=True), pod("web-2", uid="uid-again"), pod("new")]
    assert DRAIN.done(planned, Scene(pods=rest).situation()) is True
    assert DRAIN.done(planned, Scene(unseen={LABELLED_PODS: "denied"}).situation()) is None


# One pod


async def test_a_single_eviction_that_a_budget_holds_up_has_failed() -> None:
    planned = EVICT.plan(*EXAMPLES["kubernetes.evict_pod"])
    with pytest.raises(ActFailed, match="shop/web-1 is held up: Cannot evict"):
        await EVICT.apply(planned, clients(FakeApi(web_1=[HELD])))
    with pytest.raises(ActFailed, match=r"more than one PodDisruptionBudget, .*HTTP 500"):
        await EVICT.apply(planned, clients(FakeApi(web_1=[TWO_BUDGETS])))
    with pytest.raises(OutcomeUnknown, match="It may have been done"):
        await EVICT.apply(planned, clients(FakeApi(web_1=[ETCD_IS_SLOW])))
    await EVICT.apply(planned, clients(FakeApi(web_1=[GONE])))
    api = FakeApi()
    assert EVICT.dry_run is not None
    await EVICT.dry_run(planned, clients(api))
    assert api.evicted == [("web-1", True)]
    assert EVICT.done(planned, Scene().situation()) is False
    assert EVICT.done(planned, Scene(pods=[pod("web-1", going=True)]).situation()) is True
    assert EVICT.done(planned, Scene(unseen={LABELLED_PODS: "denied"}).situation()) is None


def test_a_pod_that_is_not_there_is_not_evicted() -> None:
    with pytest.raises(CannotPlan, match="no pod shop/web-1"):
        EVICT.plan(Scene(pods=[]).situation(), {"pod": "shop/web-1"})


# A Job anew

OLD = {
    "metadata": {"name": "nightly-1", "namespace": "shop", "uid": "uid-nightly-1", "labels": {"tool": "x"}},
    "spec": {
        "backoffLimit": 2, "selector": {"matchLabels": {"controller-uid": "uid-nightly-1"}}, "manualSelector": False,
        "template": {
            "metadata": {
                "creationTimestamp": None,
                "labels": {"app": "n", "controller-uid": "u", "job-name": "j", "batch.kubernetes.io/job-name": "j"},
            },
            "spec": {"containers": [{"name": "c", "env": [{"name": "PASSWORD", "value": "hidden"}]}]},
        },
    },
}  # fmt: skip


def test_the_new_job_has_the_old_ones_work_and_nothing_that_ties_it_to_the_old_one() -> None:
    made = manifest_of(OLD, "nightly-rerun")
    assert made["metadata"] == {
        "name": "nightly-rerun",
        "namespace": "shop",
        "annotations": {MADE_FROM: "uid-nightly-1", ORIGIN: "Job/nightly-1/uid-nightly-1"},
    }
    assert made["spec"] == {
        "backoffLimit": 2,
        "template": {"metadata": {"labels": {"app": "n"}}, "spec": OLD["spec"]["template"]["spec"]},  # type: ignore[index]
    }
    assert manifest_of({**OLD, "spec": {"template": {"spec": {}}}}, "n")["spec"]["template"]["metadata"] == {
        "labels": {}
    }


def test_the_new_job_stays_until_somebody_deletes_it_as_the_trace_that_it_was_made() -> None:
    spec = {**OLD["spec"], "ttlSecondsAfterFinished": 0}  # type: ignore[dict-item]
    assert "ttlSecondsAfterFinished" not in manifest_of({**OLD, "spec": spec}, "n")["spec"]


def test_the_new_job_tells_whose_run_it_is_however_often_it_was_made_anew() -> None:
    owner = {"kind": "CronJob", "name": "nightly", "uid": "uid-nightly", "controller": True}
    first: Any = {**OLD, "metadata": {**OLD["metadata"], "ownerReferences": [owner]}}  # type: ignore[dict-item]
    second = manifest_of(first, "second")
    second["metadata"]["uid"] = "uid-second"
    third = manifest_of(second, "third")
    assert third["metadata"]["annotations"] == {MADE_FROM: "uid-second", ORIGIN: "CronJob/nightly/uid-nightly"}


def test_the_new_name_follows_from_the_old_jobs_uid_and_stays_short() -> None:
    assert new_name("nightly-1", "0a1b2c3d-4e5f") == "nightly-1-rerun-0a1b2c3d"
    assert new_name("nightly-1-rerun-0a1b2c3d", "ffffeeee-0000") == "nightly-1-rerun-ffffeeee"
    long = new_name("x" * 47 + "-" + "y" * 15, "0a1b2c3d-4e5f")
    assert (len(long) <= 63, long) == (True, "x" * 47 + "-rerun-0a1b2c3d")


async def test_a_job_is_made_from_the_very_spec_that_was_planned() -> None:
    old = {**OLD, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    kept = msgspec.json.decode(msgspec.json.encode(old), type=type(run()))
    planned = RERUN.plan(Scene(runs=[kept]).situation(), {"job": "shop/nightly-1"})
    assert "hidden" not in str(msgspec.to_builtins(planned)) + str(kept)
    api = FakeApi({"nightly-1": old})
    await RERUN.apply(planned, clients(api))
    [(kind, namespace, manifest, dry)] = api.created
    assert (kind, namespace, manifest["metadata"]["name"], dry) == ("Job", "shop", planned.effect["name"], False)
    changed = FakeApi({"nightly-1": {**old, "spec": {**OLD["spec"], "parallelism": 9}}})  # type: ignore[dict-item]
    with pytest.raises(ActFailed, match="not the one that the plan was made from"):
        await RERUN.apply(planned, clients(changed))
    with pytest.raises(ActFailed, match="another object"):
        await RERUN.apply(planned, clients(FakeApi({"nightly-1": OTHER})))
    with pytest.raises(ActFailed, match="read the Job: etcdserver"):  # nothing was sent yet
        await RERUN.apply(planned, clients(FakeApi({"nightly-1": ETCD_IS_SLOW})))
    assert changed.created == []
    assert RERUN.dry_run is not None
    await RERUN.dry_run(planned, clients(api))
    assert api.created[-1][-1] is True


def test_a_job_was_made_anew_when_its_name_is_taken() -> None:
    planned = RERUN.plan(*EXAMPLES["kubernetes.rerun_job"])
    assert RERUN.done(planned, Scene().situation()) is False
    assert RERUN.done(planned, Scene(runs=[run(planned.effect["name"])]).situation()) is True
    assert RERUN.done(planned, Scene(unseen={JOB_RUNS: "denied"}).situation()) is None


# Giving the node back


def test_a_node_that_is_down_or_fenced_is_never_uncordoned_whatever_the_runbook_names() -> None:
    assert {"node_is_back", "ceph_serves_node", "object_unchanged"} <= set(UNCORDON.guards)
    planned = UNCORDON.plan(*EXAMPLES["kubernetes.uncordon"])
    assert UNCORDON.done(planned, Scene().situation()) is False
    assert UNCORDON.done(planned, Scene(nodes=[node(cordoned=False)]).situation()) is True


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_plan(name: str) -> None:
    assert all_actions()[name].plan(*EXAMPLES[name]).action == name


# A pod that waits, without an image


def test_a_plain_pod_that_waits_is_deleted_too() -> None:
    delete = all_actions()["kubernetes.delete_pod"]
    planned = delete.plan(Scene().situation(), {"pod": "shop/web-1"})
    assert [target.uid for target in planned.targets] == ["uid-web-1"]
    assert delete.done(planned, Scene().situation()) is False
    assert delete.done(planned, Scene(pods=[]).situation()) is True
    assert delete.done(planned, Scene(unseen={PODS: "denied"}).situation()) is None
    assert {read.kind.name for read in delete.reads} >= {PODS.name}
