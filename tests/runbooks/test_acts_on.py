"""What Unstick itself did to a thing: read from the journal, for the timeline of what changed around a trouble."""

from datetime import timedelta

import msgspec
import pytest

from diagnostics.model import Subject
from runbooks.execution import Act
from runbooks.model import Risk
from runbooks.plan import Plan
from runbooks.situation import Planned
from runbooks.store import Lease, Store
from tests.lab.databases import BOTH
from tests.runbooks.conftest import Clock
from tests.runbooks.hand_made import NOW

NODE = Subject("Node", None, "node1", "uid-node1")
POD = Subject("Pod", "search", "index-api-5c9-x7x2k", "uid-old")
IMAGE = Subject("RBDImage", None, "mioss/index-api-image", "f/mioss//index-api-image")
LOCK = Subject("RBDLock", None, "client.1 c", "f/mioss//index-api-image#client.1 c")


@pytest.fixture(params=BOTH)
def kind(request: pytest.FixtureRequest) -> str:
    """It is read alike from both databases."""
    return str(request.param)


def run(store: Store, plan: Plan, clock: Clock, *acts: tuple[str, tuple[Subject, ...], str | None]) -> Lease:
    """Journal acts of one execution, a minute apart, each with its outcome."""
    made = store.create(msgspec.structs.replace(plan, params={"x": str(clock.now())}))
    lease = store.take(made.id, "worker")
    for says, targets, outcome in acts:
        entry = store.intend(lease, says.replace(" ", "_"), Planned("a.b", says, targets, {}, Risk.LOW), ())
        if outcome is not None:
            store.conclude(lease, entry, outcome, None)
        clock.forward(60)
    return lease


def found(store: Store, *subjects: Subject, cluster: str = "here", since: timedelta = timedelta(0)) -> list[str]:
    return [act.act.says for act in store.acts_on(cluster, subjects, NOW - since)]


def test_acts_are_found_by_what_they_aimed_at_in_order_with_whose_they_were(
    store: Store, plan: Plan, clock: Clock
) -> None:
    lease = run(
        store, plan, clock, ("fence", (IMAGE,), "done"), ("cordon", (NODE,), "done"), ("unlock", (IMAGE, LOCK), "done")
    )
    assert found(store, IMAGE) == ["fence", "unlock"]
    assert found(store, LOCK, NODE) == ["cordon", "unlock"]
    assert found(store, Subject("Node", None, "node2", "u")) == []
    assert found(store) == []
    (act,) = store.acts_on("here", [NODE], NOW)
    assert (act.execution, act.runbook, act.requester, act.when) == (
        lease.execution, "a/b@1.0.0", "cli:alice", NOW + timedelta(minutes=1),
    )  # fmt: skip
    assert act.says == f"Unstick: cordon; a/b@1.0.0, {lease.execution}, for cli:alice"


def test_neither_other_clusters_nor_older_acts_count(store: Store, plan: Plan, clock: Clock) -> None:
    run(store, plan, clock, ("first", (NODE,), "done"), ("second", (NODE,), "done"))
    assert found(store, NODE, cluster="there") == []
    assert found(store, NODE, since=timedelta(seconds=-1)) == ["second"]
    assert found(store, NODE, since=timedelta(seconds=1)) == ["first", "second"]


def test_a_thing_made_anew_has_the_past_of_its_name_and_a_set_that_of_its_pods(
    store: Store, plan: Plan, clock: Clock
) -> None:
    run(store, plan, clock, ("delete", (POD,), "done"), ("drain", (NODE,), "done"))
    again = msgspec.structs.replace(POD, uid="uid-new")
    renamed = Subject("Node", None, "node1.example", NODE.uid)
    assert (found(store, again), found(store, renamed)) == (["delete"], ["drain"])
    assert found(store, Subject("ReplicaSet", "search", "index-api-5c9", "rs")) == ["delete"]
    assert found(store, Subject("ReplicaSet", "billing", "index-api-5c9", "rs")) == []
    assert found(store, Subject("ReplicaSet", "search", "index-api-5c", "rs")) == []
    assert found(store, Subject("PersistentVolumeClaim", "search", "index-api-5c9", "c")) == []


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("done", "Unstick: cut; a/b@1, ex-1, for cli:alice"),
        ("failed", "Unstick: cut (it failed); a/b@1, ex-1, for cli:alice"),
        ("stopped", "Unstick: cut (a part of it); a/b@1, ex-1, for cli:alice"),
        ("unverified", "Unstick: cut (not verified); a/b@1, ex-1, for cli:alice"),
        (None, "Unstick: cut (what became of it is not known yet); a/b@1, ex-1, for cli:alice"),
        ("not done", None),
    ],
)
def test_an_act_says_what_became_of_it_and_nothing_where_it_was_not_done(outcome: str | None, told: str | None) -> None:
    act = Act("ex-1", "a/b@1", "cli:alice", NOW, Planned("a.b", "cut", (NODE,), {}, Risk.LOW), outcome)
    assert act.says == told
