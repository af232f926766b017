"""Guards of drains, evictions and uncordoning: each allows, refuses, and does not know."""

from typing import Any

import msgspec
import pytest

from diagnostics.facts import Kind
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import Daemon, Fence
from diagnostics.facts.disruption import ALL_NODES, BUDGETS, LABELLED_PODS, NODE_OSDMAP, PLACED_VOLUMES
from diagnostics.facts.holders import NODES
from diagnostics.facts.resources import LabelSelector
from diagnostics.facts.workloads import JOBS
from diagnostics.model import Subject
from runbooks.actions import all_actions
from runbooks.guards import Answer, Ruling, all_guards
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation
from runbooks.standing import STANDING, FencedByUs
from tests.runbooks.actions.examples.nodes_and_jobs import NOW, YEARS, Scene, act_on, budget, claim_of, node, pod


def judge(name: str, scene: Scene, act: Planned | None = None, **how: Any) -> Ruling:
    """Judge one guard about an act, by default the drain that is planned from the undisturbed facts."""
    return all_guards()[name].judge(scene.situation(act or Scene().drain(), **how))


def says(ruling: Ruling, answer: Answer, *words: str) -> None:
    """It comes to this answer, and says why."""
    assert ruling.answer is answer, ruling
    for word in words:
        assert word in " | ".join(ruling.reasons), ruling.reasons


def volume(name: str, **source: Any) -> dict[str, Any]:
    return {"name": name, **source}


# Before anything: an act, a node, and facts


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("node_is_ready", NODES), ("node_takes_no_new_pods", NODES), ("pods_are_those_that_were_planned", NODES),
        ("pods_are_those_that_were_planned", LABELLED_PODS), ("drain_loses_nothing", LABELLED_PODS),
        ("one_node_at_a_time", NODES), ("one_node_at_a_time", ALL_NODES), ("one_node_at_a_time", STANDING),
        ("node_carries_no_ceph_daemon", NODES), ("node_carries_no_ceph_daemon", NODE_OSDMAP),
        ("node_carries_no_ceph_daemon", LABELLED_PODS), ("ceph_serves_node", STANDING),
        ("pod_is_no_csi_node_plugin", k8s.PODS),
        ("node_is_drained", LABELLED_PODS), ("pdb_allows", LABELLED_PODS), ("pdb_allows", BUDGETS),
        ("pdb_can_allow", LABELLED_PODS), ("pdb_can_allow", BUDGETS), ("pod_is_not_static", LABELLED_PODS),
        ("evicted_pod_is_gone", LABELLED_PODS), ("node_is_back", NODES), ("ceph_serves_node", NODES),
        ("ceph_serves_node", NODE_OSDMAP), ("node_is_schedulable", NODES), ("owner_will_recreate_pod", k8s.PODS),
        ("owner_will_recreate_pod", k8s.REPLICA_SETS),
    ],
    ids=lambda each: getattr(each, "name", each),
)  # fmt: skip
def test_what_was_not_read_is_not_known(name: str, kind: Kind[Any]) -> None:
    says(judge(name, Scene(unseen={kind: "denied"})), Answer.UNKNOWN)


@pytest.mark.parametrize("name", ["node_is_ready", "node_takes_no_new_pods", "node_is_back", "ceph_serves_node"])
def test_a_node_that_is_not_there_is_refused(name: str) -> None:
    says(judge(name, Scene(nodes=[])), Answer.REFUSED, "there is no node node1")


@pytest.mark.parametrize(
    "name", ["pods_are_those_that_were_planned", "drain_loses_nothing", "pdb_allows", "evicted_pod_is_gone"]
)
def test_without_an_act_there_is_nothing_to_judge(name: str) -> None:
    says(all_guards()[name].judge(Scene().situation()), Answer.UNKNOWN, "no act")


# The node


def test_only_a_ready_node_is_drained() -> None:
    says(judge("node_is_ready", Scene()), Answer.ALLOWED, "node1 is Ready")
    says(judge("node_is_ready", Scene(nodes=[node(ready="Unknown")])), Answer.REFUSED, "not Ready")


def test_a_node_takes_no_new_pods_once_it_is_cordoned_or_while_the_plan_will_cordon_it() -> None:
    open_node = Scene(nodes=[node(cordoned=False)])
    says(judge("node_takes_no_new_pods", Scene()), Answer.ALLOWED)
    says(judge("node_takes_no_new_pods", open_node), Answer.REFUSED, "cordon it first")
    cordon = Planned("kubernetes.cordon", "", (node().subject,), {}, Risk.LOW)
    says(judge("node_takes_no_new_pods", open_node, expected=(cordon,)), Answer.ALLOWED)
    other = msgspec.structs.replace(cordon, targets=(node("node2").subject,))
    says(judge("node_takes_no_new_pods", open_node, expected=(other,)), Answer.REFUSED)
    another = msgspec.structs.replace(cordon, action="kubernetes.uncordon")
    says(judge("node_takes_no_new_pods", open_node, expected=(another,)), Answer.REFUSED)


def test_one_node_at_a_time() -> None:
    two = [node(), node("node2", "10.0.0.2"), node("node3", "10.0.0.3", ready="False")]
    says(judge("one_node_at_a_time", Scene()), Answer.ALLOWED)
    says(
        judge("one_node_at_a_time", Scene(held={node("node2").subject: "ex-1"})),
        Answer.REFUSED,
        "ex-1 works on node node2",
    )
    says(judge("one_node_at_a_time", Scene(held={node().subject: "ex-1"})), Answer.ALLOWED)
    says(judge("one_node_at_a_time", Scene(nodes=two)), Answer.REFUSED, "node3 cordoned or not Ready", "others_down")
    named = Scene().drain(also="others_down")
    says(judge("one_node_at_a_time", Scene(nodes=two), named), Answer.ALLOWED)
    alone = Scene(nodes=[node(), node("node2", cordoned=True)])
    says(judge("one_node_at_a_time", alone, named), Answer.REFUSED, "nowhere to go")
    says(judge("one_node_at_a_time", Scene(nodes=[node()]), named), Answer.REFUSED, "nowhere to go")


def test_a_node_with_a_ceph_daemon_needs_cephs_yes() -> None:
    there = Scene(daemons=(Daemon("osd.3", "10.0.0.1"), Daemon("mgr.x", "10.0.0.1"), Daemon("osd.4", "10.0.0.9")))
    says(judge("node_carries_no_ceph_daemon", Scene()), Answer.ALLOWED)
    ruling = judge("node_carries_no_ceph_daemon", there)
    says(ruling, Answer.REFUSED, "osd.3 is up at 10.0.0.1", "`ceph osd ok-to-stop 3`", "`ceph mgr fail`")
    assert len(ruling.reasons) == 2
    says(judge("node_carries_no_ceph_daemon", there, Scene().drain(also="ceph")), Answer.ALLOWED)
    says(judge("node_carries_no_ceph_daemon", Scene(ceph=False)), Answer.ALLOWED, "no Ceph is configured")


def test_a_daemon_in_the_pod_network_is_found_by_the_address_of_its_pod() -> None:
    """Rook's daemons have the addresses of their pods, be these drained or not."""
    osd = pod("rook-ceph-osd-3", ips=("10.244.1.7", "fd00::7"))
    mon = pod("rook-ceph-mon-a", "DaemonSet", ips=("10.244.1.8",))
    ended = pod("rook-ceph-osd-9", phase="Failed", ips=("10.244.1.9",))
    far = pod("rook-ceph-osd-8", on="node2", ips=("10.244.1.10",))
    at = {"osd.3": "10.244.1.7", "mon.a": "10.244.1.8", "osd.9": "10.244.1.9", "osd.8": "10.244.1.10"}
    daemons = tuple(Daemon(name, ip) for name, ip in at.items())
    scene = Scene(pods=[osd, mon, ended, far], budgets=[], daemons=daemons)
    ruling = judge("node_carries_no_ceph_daemon", scene)
    says(ruling, Answer.REFUSED, "osd.3 is up at 10.244.1.7 (pod shop/rook-ceph-osd-3)", "mon.a is up at 10.244.1.8")
    assert len(ruling.reasons) == 2
    second = Scene(pods=[osd], budgets=[], daemons=(Daemon("osd.3", "fd00::7"),))
    says(judge("node_carries_no_ceph_daemon", second), Answer.REFUSED, "osd.3 is up at fd00::7")


def test_the_plan_shows_each_waiver_and_what_it_lets_pass() -> None:
    """Whoever approves reads what a word costs here, not just the word."""
    claims = [volume("d", persistentVolumeClaim={"claimName": "here"}), volume("cache", emptyDir={})]
    scene = Scene(
        pods=[pod("db-0", None, volumes=claims)],
        budgets=[],
        volumes=[claim_of("here", local={"path": "/d"})],
        daemons=(Daemon("osd.3", "10.0.0.1"),),
        nodes=[node(), node("node2", "10.0.0.2", ready="False"), node("node3", "10.0.0.3")],
    )
    shows = scene.drain(also="unmanaged,emptydir,local,ceph,others_down").shows
    for word, covers in {
        "unmanaged": "shop/db-0 has no controller",
        "emptydir": "shop/db-0 loses what is in emptyDir cache",
        "local": "shop/db-0 uses local volume pv-here",
        "ceph": "osd.3 is up at 10.0.0.1",
        "others_down": "node node2 is cordoned or not Ready",
    }.items():
        assert [line for line in shows if line.startswith(f"`{word}` was named in `also`: {covers}")], (word, shows)
    assert Scene().drain(also="local").shows[0] == "`local` was named in `also`: nothing here needs it"
    assert Scene(ceph=False).drain(also="ceph").shows[0].endswith("nothing here needs it")
    assert not [line for line in scene.drain().shows if "`also`" in line]
    for word, kind in {"local": PLACED_VOLUMES, "ceph": NODE_OSDMAP, "others_down": ALL_NODES}.items():
        blind = Scene(pods=scene.pods, budgets=[], unseen={kind: "denied"})
        with pytest.raises(CannotPlan, match="denied"):
            blind.drain(also=word)


def test_a_node_is_drained_when_only_pods_are_left_that_belong_to_it() -> None:
    says(judge("node_is_drained", Scene()), Answer.REFUSED, "still on node1: shop/web-1, shop/web-2")
    stay = [pod("ds", "DaemonSet"), pod("static", "Node"), pod("ended", phase="Succeeded"), pod("far", on="node2")]
    says(judge("node_is_drained", Scene(pods=stay)), Answer.ALLOWED)
    says(judge("node_is_drained", Scene(pods=[pod("web-1", going=True)])), Answer.REFUSED, "web-1")
    many = [pod(f"web-{number}") for number in range(9)]
    says(judge("node_is_drained", Scene(pods=many)), Answer.REFUSED, "and 4 more")


# The pods


def test_pods_of_the_plan_may_be_gone_but_no_other_may_have_come() -> None:
    ruling = judge("pods_are_those_that_were_planned", Scene())
    says(ruling, Answer.ALLOWED)
    left = judge("pods_are_those_that_were_planned", Scene(pods=[pod("web-2")]))
    says(left, Answer.ALLOWED)
    assert left.basis == ruling.basis, "a drain that is gone on with rests on the same facts"
    new = Scene(pods=[pod("web-1"), pod("cron-5")])
    says(judge("pods_are_those_that_were_planned", new), Answer.REFUSED, "shop/cron-5 came to node1")
    again = Scene(pods=[pod("web-1", uid="uid-new")])
    says(judge("pods_are_those_that_were_planned", again), Answer.REFUSED, "shop/web-1 came")
    harmless = Scene(pods=[pod("ds", "DaemonSet"), pod("going", going=True), pod("done", phase="Failed")])
    says(judge("pods_are_those_that_were_planned", harmless), Answer.ALLOWED)
    other = Scene(nodes=[node(uid="uid-other")])
    says(judge("pods_are_those_that_were_planned", other), Answer.REFUSED, "another one now")


def test_an_unmanaged_pod_and_what_lies_on_the_node_go_only_when_they_are_named() -> None:
    def drained(also: str = "", **changed: Any) -> Ruling:
        scene = Scene(pods=[pod("web-1", changed.pop("owner", "ReplicaSet"), **changed)], volumes=placed)
        return judge("drain_loses_nothing", scene, scene.drain(also=also))

    placed = [claim_of("here", local={"path": "/d"}), claim_of("far"), claim_of("path", hostPath={"path": "/h"})]
    empty, kept = [volume("cache", emptyDir={})], [volume("tmp", ephemeral={})]
    claims = [volume(n, persistentVolumeClaim={"claimName": n}) for n in ("here", "far", "path")]
    says(drained(), Answer.ALLOWED)
    says(drained(owner=None), Answer.REFUSED, "shop/web-1 has no controller", "`unmanaged`")
    says(drained("unmanaged", owner=None), Answer.ALLOWED)
    says(drained(volumes=empty), Answer.REFUSED, "loses what is in emptyDir cache", "`emptydir`")
    says(drained("unmanaged", volumes=empty), Answer.REFUSED)
    says(drained("emptydir", volumes=empty), Answer.ALLOWED)
    says(drained(volumes=kept), Answer.REFUSED, "ephemeral volume tmp")
    ruling = drained(volumes=claims)
    says(ruling, Answer.REFUSED, "local volume pv-here", "local volume pv-path")
    assert len(ruling.reasons) == 2
    says(drained(volumes=[volume("h", hostPath={"path": "/etc"})]), Answer.REFUSED, "hostPath /etc")
    says(drained("local,emptydir", volumes=[*claims, *empty]), Answer.ALLOWED)
    unseen = Scene(pods=[pod("web-1", volumes=claims)], unseen={PLACED_VOLUMES: "denied"})
    says(judge("drain_loses_nothing", unseen), Answer.UNKNOWN, "denied")
    says(judge("drain_loses_nothing", Scene(unseen={PLACED_VOLUMES: "denied"})), Answer.ALLOWED)


@pytest.mark.parametrize(
    "subject",
    [Subject("Pod", "shop", "web-1", ""), Subject("RBDImage", None, "p/i", ""), Subject("Node", None, "node2", "")],
)
def test_pods_that_nobody_looked_for_are_not_gone(subject: Subject) -> None:
    """Facts are gathered around one thing: where that is no node, an empty list of pods says nothing of the node."""
    elsewhere = Scene(pods=[], subject=subject)
    for name in ("node_is_drained", "pods_are_those_that_were_planned", "drain_loses_nothing"):
        says(judge(name, elsewhere), Answer.UNKNOWN, "were not looked for")
    drain = all_actions()["kubernetes.drain"]
    assert drain.done(Scene().drain(), elsewhere.situation()) is None
    with pytest.raises(CannotPlan, match="were not looked for"):
        drain.plan(elsewhere.situation(), {"node": "node1"})


# Budgets


def test_a_budget_that_allows_nothing_now_is_waited_for_by_a_drain_and_refuses_a_single_eviction() -> None:
    held = Scene(budgets=[budget(status={"disruptionsAllowed": 0, "currentHealthy": 1})])
    says(judge("pdb_can_allow", Scene()), Answer.ALLOWED, "no PodDisruptionBudget")
    says(judge("pdb_allows", Scene()), Answer.ALLOWED)
    says(judge("pdb_can_allow", held), Answer.ALLOWED, "shop/web allows no eviction of shop/web-1", "waited for")
    says(judge("pdb_allows", held), Answer.REFUSED, "shop/web allows no eviction of shop/web-1", "wait until")


@pytest.mark.parametrize(
    "tight",
    [
        {"status": {"disruptionsAllowed": 0, "desiredHealthy": 2}},
        {"spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}},
        {"spec": {"maxUnavailable": "0%", "selector": {"matchLabels": {"app": "web"}}}},
    ],
)
@pytest.mark.parametrize("name", ["pdb_allows", "pdb_can_allow"])
def test_a_budget_that_demands_every_pod_refuses(name: str, tight: dict[str, Any]) -> None:
    says(judge(name, Scene(budgets=[budget(**tight)])), Answer.REFUSED, "shop/web never allows", "loosen it")


def test_two_budgets_over_one_pod_refuse_because_the_api_does() -> None:
    says(judge("pdb_can_allow", Scene(budgets=[budget(), budget("all")])), Answer.REFUSED, "shop/all, shop/web")


def test_budgets_do_not_count_for_pods_that_do_not_run_or_are_going_or_gone() -> None:
    never = [budget(status={"desiredHealthy": 2})]
    for pods in ([pod("web-1", phase="Pending")], [pod("web-1", going=True)], []):
        says(judge("pdb_can_allow", Scene(pods=pods, budgets=never)), Answer.ALLOWED)


def test_a_sick_pod_may_go_where_the_budget_says_so() -> None:
    selector = {"selector": {"matchLabels": {"app": "web"}}, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    always = budget(spec=selector, status={"desiredHealthy": 2})
    says(judge("pdb_can_allow", Scene(pods=[pod("web-1", ready=False)], budgets=[always])), Answer.ALLOWED)
    says(judge("pdb_can_allow", Scene(pods=[pod("web-1")], budgets=[always])), Answer.REFUSED)
    none_now = budget(spec=selector, status={"disruptionsAllowed": 0, "currentHealthy": 0})
    says(judge("pdb_allows", Scene(pods=[pod("web-1", ready=False)], budgets=[none_now])), Answer.ALLOWED)
    says(judge("pdb_allows", Scene(pods=[pod("web-1")], budgets=[none_now])), Answer.REFUSED)


@pytest.mark.parametrize(
    ("status", "ready", "answer"),
    [
        ({"currentHealthy": 1, "desiredHealthy": 1}, False, Answer.ALLOWED),
        ({"currentHealthy": 1, "desiredHealthy": 1}, True, Answer.REFUSED),
        ({"currentHealthy": 0, "desiredHealthy": 1}, False, Answer.REFUSED),
        ({"currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 2}, False, Answer.REFUSED),
    ],
)
def test_a_sick_pod_may_go_while_enough_others_are_healthy_as_the_api_lets_it(
    status: dict[str, Any], ready: bool, answer: Answer
) -> None:
    held = budget(status={"disruptionsAllowed": 0, **status})
    says(judge("pdb_allows", Scene(pods=[pod("web-1", ready=ready)], budgets=[held])), answer)


@pytest.mark.parametrize(
    ("selector", "mine"),
    [
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Unheard"}]}, True),
        ({}, True),
        (None, False),
    ],
)
def test_which_pods_a_budget_protects(selector: dict[str, Any] | None, mine: bool) -> None:
    made = budget(spec={"selector": selector})
    assert made.protects(pod("web-1")) is mine
    assert not budget(namespace="other", spec={"selector": selector}).protects(pod("web-1"))


def test_an_empty_selector_that_expects_no_pod_is_of_the_old_version_and_protects_none() -> None:
    assert not budget(spec={"selector": LabelSelector()}, status={"expectedPods": 0}).protects(pod("web-1"))
    assert not budget(spec={"selector": LabelSelector()}, status={"expectedPods": 0}).never_allows


# One pod


def test_a_static_pod_is_its_kubelets() -> None:
    says(judge("pod_is_not_static", Scene()), Answer.ALLOWED)
    says(judge("pod_is_not_static", Scene(pods=[pod("web-1", "Node")])), Answer.REFUSED, "static", "manifest")
    says(judge("pod_is_not_static", Scene(pods=[pod("web-1", None)])), Answer.ALLOWED)
    says(judge("pod_is_not_static", Scene(pods=[])), Answer.REFUSED, "no pod shop/web-1")


def test_an_evicted_pod_is_gone_by_uid() -> None:
    one = act_on(pod("web-1").subject)
    says(judge("evicted_pod_is_gone", Scene(), one), Answer.REFUSED, "still there: shop/web-1")
    says(judge("evicted_pod_is_gone", Scene(pods=[pod("web-1", uid="uid-2")]), one), Answer.ALLOWED)


def test_a_job_whose_last_try_is_taken_away_fails_for_good() -> None:
    last = Scene(pods=[pod("web-1", "Job")], owners={"spec": {"backoffLimit": 0}})
    says(judge("owner_will_recreate_pod", last), Answer.REFUSED, "Job web fails for good", "backoffLimit")


@pytest.mark.parametrize(
    ("owner", "facts", "answer"),
    [
        ("ReplicaSet", {"spec": {"replicas": 2}}, Answer.ALLOWED),
        ("ReplicaSet", {"spec": {"replicas": 0}}, Answer.REFUSED),
        ("StatefulSet", {"spec": {"replicas": 1}}, Answer.ALLOWED),
        ("DaemonSet", {}, Answer.ALLOWED),
        ("DaemonSet", {"metadata": {"deletionTimestamp": "2026-03-03T03:00:00Z"}}, Answer.REFUSED),
        ("DaemonSet", {"metadata": {"uid": "uid-other"}}, Answer.REFUSED),
        ("Job", {"spec": {}}, Answer.ALLOWED),
        ("Job", {"spec": {"backoffLimit": 0}}, Answer.REFUSED),
        ("Job", {"spec": {"backoffLimit": 2}, "status": {"failed": 1}}, Answer.ALLOWED),
        ("Job", {"spec": {"backoffLimit": 2}, "status": {"failed": 2}}, Answer.REFUSED),
        ("Job", {"spec": {}, "status": {"failed": 5}}, Answer.ALLOWED),
        ("Job", {"spec": {}, "status": {"failed": 6}}, Answer.REFUSED),
        ("Job", {"spec": {"suspend": True}}, Answer.REFUSED),
        ("Job", {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}, Answer.REFUSED),
        ("Job", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, Answer.REFUSED),
        ("Node", {}, Answer.REFUSED),
        (None, {}, Answer.REFUSED),
    ],
)
def test_who_makes_a_plain_pod_again(owner: str | None, facts: dict[str, Any], answer: Answer) -> None:
    says(judge("owner_will_recreate_pod", Scene(pods=[pod("web-1", owner)], owners=facts)), answer)


def test_a_pod_that_is_gone_has_no_owner_and_one_whose_owner_was_not_read_may_have_none() -> None:
    says(judge("owner_will_recreate_pod", Scene(pods=[])), Answer.REFUSED, "not there any more")
    jobs = Scene(pods=[pod("web-1", "Job")], unseen={JOBS: "denied"})
    says(judge("owner_will_recreate_pod", jobs), Answer.UNKNOWN, "denied")


def test_a_pod_that_serves_a_csi_driver_is_neither_evicted_nor_deleted() -> None:
    name, path = "pod_is_no_csi_node_plugin", "/var/lib/kubelet/plugins/rbd.csi.ceph.com"
    plugin = pod("web-1", "DaemonSet", volumes=[volume("socket", hostPath={"path": path})])
    says(judge(name, Scene(pods=[plugin])), Answer.REFUSED, "is a CSI node plugin", "drain its node first")
    plain = pod("web-1", volumes=[volume("logs", hostPath={"path": "/var/log"}), volume("tmp", emptyDir={})])
    says(judge(name, Scene(pods=[plain])), Answer.ALLOWED)
    says(judge(name, Scene()), Answer.ALLOWED)
    says(judge(name, Scene(pods=[])), Answer.REFUSED, "there is no pod shop/web-1")
    assert all(name in all_actions()[f"kubernetes.{action}"].guards for action in ("evict_pod", "delete_pod"))


# Giving it back


def test_a_node_is_back_when_it_is_ready_and_no_taint_says_otherwise() -> None:
    says(judge("node_is_back", Scene()), Answer.ALLOWED)
    says(judge("node_is_back", Scene(nodes=[node(ready="False")])), Answer.REFUSED, "not Ready")
    given_up = node(taints=["node.kubernetes.io/out-of-service", "node.kubernetes.io/unschedulable"])
    ruling = judge("node_is_back", Scene(nodes=[given_up]))
    says(ruling, Answer.REFUSED, "out of service")
    assert len(ruling.reasons) == 1


def test_a_fenced_node_is_not_given_back() -> None:
    says(judge("ceph_serves_node", Scene()), Answer.ALLOWED)
    whole = Scene(fences=(Fence("10.0.0.1:0/0", YEARS),))
    says(judge("ceph_serves_node", whole), Answer.REFUSED, "10.0.0.1:0/0", "ceph/unfence_recovered_node")
    exact = Scene(fences=(Fence("10.0.0.1:0/77", YEARS),))
    says(judge("ceph_serves_node", exact), Answer.ALLOWED)
    says(judge("ceph_serves_node", Scene(ceph=False)), Answer.ALLOWED, "no Ceph is configured")


def test_a_fence_that_we_set_on_the_node_counts_at_whatever_address_ceph_saw_it() -> None:
    """Ceph may see the node at an address, of its storage network, that Kubernetes does not know."""
    ours = FencedByUs("10.99.0.1:0/0", "fsid", "uid-node1", "b", "s", NOW)
    stands = (Fence(ours.entry, YEARS),)

    def ruled(*fenced: FencedByUs, fences: tuple[Fence, ...] = stands) -> Ruling:
        return judge("ceph_serves_node", Scene(fences=fences, fenced=fenced))

    says(ruled(ours), Answer.REFUSED, "every client at 10.99.0.1 of node1 (10.99.0.1:0/0)", "unfence it first")
    says(ruled(ours, fences=()), Answer.ALLOWED)
    says(ruled(), Answer.ALLOWED)
    says(ruled(msgspec.structs.replace(ours, node_uid="uid-node2")), Answer.ALLOWED)
    says(ruled(msgspec.structs.replace(ours, fsid="another")), Answer.ALLOWED)
    exact = Fence("10.99.0.1:0/77", YEARS)
    says(ruled(msgspec.structs.replace(ours, entry=exact.entry), fences=(exact,)), Answer.ALLOWED)


def test_a_node_is_schedulable_when_it_is_not_cordoned() -> None:
    says(judge("node_is_schedulable", Scene()), Answer.REFUSED, "still cordoned")
    says(judge("node_is_schedulable", Scene(nodes=[node(cordoned=False)])), Answer.ALLOWED)


def test_the_act_names_the_node_by_uid() -> None:
    situation: Situation = Scene().situation(Scene().drain())
    assert situation.act is not None
    assert situation.act.targets[0] == Subject("Node", None, "node1", "uid-node1")
