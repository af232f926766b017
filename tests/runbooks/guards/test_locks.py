"""Guards about locks, watchers and fences: each allows, refuses, and does not know."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from diagnostics.facts import Kind
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS, OSDMAP, SESSIONS, Address, Fence, Locker, PoolProblem, Session
from diagnostics.facts.holders import CLAIM_USERS, NODES
from runbooks.guards import Answer, Ruling, all_guards
from tests.runbooks.hand_made import KUBELET, MANAGED, NOW, YEARS, Incident, fence_of, node, pod, watcher

HOST = Fence("10.0.0.1:0/0", YEARS)
TWO_LOCKERS = (KUBELET, Locker("client.7", "b", Address("10.0.0.2", 0, 3)))


def judge(name: str, incident: Incident, **how: Any) -> Ruling:
    """Judge one guard; `how` is what `Incident.situation` takes."""
    return all_guards()[name].judge(incident.situation(**how))


def says(ruling: Ruling, answer: Answer, *words: str) -> None:
    """It comes to this answer, and says why."""
    assert ruling.answer is answer, ruling
    assert ruling.reasons
    for word in words:
        assert word in " | ".join(ruling.reasons), ruling.reasons


# lock_is_breakable


def test_a_stale_advisory_lock_is_breakable_and_the_basis_names_it() -> None:
    ruling = judge("lock_is_breakable", Incident())
    says(ruling, Answer.ALLOWED, "stale")
    assert KUBELET.name in ruling.basis["lock"]
    assert str(NOW.year) not in ruling.basis["lock"], "a basis holds no times"


def test_a_lock_behind_a_lasting_fence_of_its_host_is_breakable_without_two_looks() -> None:
    says(judge("lock_is_breakable", Incident(fences=(HOST,), first_seen=None)), Answer.ALLOWED, "fenced")
    short = Fence("10.0.0.1:0/0", NOW + timedelta(hours=1))
    says(judge("lock_is_breakable", Incident(fences=(short,), first_seen=None)), Answer.UNKNOWN, "suspect")
    exact = Fence(str(KUBELET.address), YEARS)
    says(judge("lock_is_breakable", Incident(fences=(exact,), first_seen=None)), Answer.UNKNOWN, "suspect")


@pytest.mark.parametrize(
    ("changed", "answer", "word"),
    [
        ({"locked": False}, Answer.REFUSED, "nothing to break"),
        ({"lockers": (MANAGED,)}, Answer.REFUSED, "managed"),
        ({"watchers": (watcher("10.0.0.1"),)}, Answer.REFUSED, "live"),
        ({"watchers": (watcher("10.0.0.2"),)}, Answer.REFUSED, "in_use_elsewhere"),
        ({"watchers": None}, Answer.UNKNOWN, "timed out"),
        ({"first_seen": timedelta(seconds=30)}, Answer.UNKNOWN, "look again after 30 s"),
        ({"silent": {"b": "no answer"}}, Answer.UNKNOWN, "not every mon"),
        ({"unseen": {SESSIONS: "denied"}}, Answer.UNKNOWN, "denied"),
        ({"unseen": {OSDMAP: "denied"}}, Answer.UNKNOWN, "denied"),
        ({"unseen": {LOCKS: "denied"}}, Answer.UNKNOWN, "denied"),
        ({"locked": False, "problems": (PoolProblem("mioss", "cut"),)}, Answer.UNKNOWN, "pool mioss"),
    ],
)
def test_a_lock_that_is_not_known_to_be_dead_is_not_breakable(
    changed: dict[str, Any], answer: Answer, word: str
) -> None:
    says(judge("lock_is_breakable", Incident(**changed)), answer, word)


def test_a_frozen_or_cut_off_holder_is_breakable_only_behind_a_fence_of_its_whole_node() -> None:
    cut_off = {"sessions": (Session("client.admin", "client.5", "10.0.0.1", "a"),), "first_seen": None}
    says(judge("lock_is_breakable", Incident(**cut_off)), Answer.ALLOWED, "frozen or cut off", "critical")
    up = [node("node1", "10.0.0.1"), node("node2", "10.0.0.2")]
    ruling = judge("lock_is_breakable", Incident(nodes=up, **cut_off))
    says(ruling, Answer.REFUSED, "alive_or_cut_off", "rbd device list")


# fence_scope_is_safe


def test_a_scope_is_safe_if_it_is_still_what_the_plan_fences() -> None:
    ruling = judge("fence_scope_is_safe", Incident(), act=fence_of("10.0.0.1:0/0"))
    says(ruling, Answer.ALLOWED, "node scope")
    assert ruling.basis == {"scope": "node", "entries": "10.0.0.1:0/0", "dies": "search/old"}
    says(judge("fence_scope_is_safe", Incident(), act=fence_of("10.0.0.7:0/0")), Answer.REFUSED, "now it would be")


def test_what_the_table_refuses_or_cannot_see_is_not_safe() -> None:
    says(judge("fence_scope_is_safe", Incident(exclusive=False)), Answer.REFUSED, "shared")
    says(judge("fence_scope_is_safe", Incident(leases=[])), Answer.UNKNOWN, "not known")
    says(judge("fence_scope_is_safe", Incident(locked=False)), Answer.REFUSED, "holds no lock")
    says(judge("fence_scope_is_safe", Incident(unseen={CLAIM_USERS: "denied"})), Answer.UNKNOWN, "denied")


def test_a_cordon_that_is_only_planned_counts_at_planning_and_not_before_the_act() -> None:
    nodes = [node("node1", "10.0.0.1", ready="False"), node("node2", "10.0.0.2")]
    cordon = msgspec.structs.replace(fence_of(), action="kubernetes.cordon", targets=(nodes[0].subject,))
    says(judge("fence_scope_is_safe", Incident(nodes=nodes), expected=(cordon,)), Answer.ALLOWED)
    says(judge("fence_scope_is_safe", Incident(nodes=nodes), done=(cordon,)), Answer.REFUSED, "not cordoned")
    says(judge("fence_scope_is_safe", Incident(nodes=nodes)), Answer.REFUSED, "not cordoned")


# fence_covers_every_address


def test_a_planned_fence_covers_while_planning_and_only_a_seen_one_before_the_act() -> None:
    fence = fence_of("10.0.0.1:0/0")
    says(judge("fence_covers_every_address", Incident(), expected=(fence,)), Answer.ALLOWED)
    says(judge("fence_covers_every_address", Incident(), done=(fence,)), Answer.REFUSED, "no fence that lasts covers")
    says(judge("fence_covers_every_address", Incident(fences=(HOST,)), done=(fence,)), Answer.ALLOWED)
    says(judge("fence_covers_every_address", Incident(fences=(HOST,)), act=fence), Answer.ALLOWED)


def test_a_plan_that_fenced_nothing_covers_nothing() -> None:
    says(judge("fence_covers_every_address", Incident(fences=(HOST,))), Answer.REFUSED, "fenced nothing")
    ruling = judge("fence_covers_every_address", Incident(unseen={OSDMAP: "denied"}), done=(fence_of("10.0.0.1:0/0"),))
    says(ruling, Answer.UNKNOWN, "denied")


@pytest.mark.parametrize(
    ("wanted", "entry", "covered"),
    [
        ("10.0.0.1:0/0", "cidr:10.0.0.0:0/24", True),
        ("10.0.0.1:0/0", "cidr:10.9.0.0:0/24", False),
        ("10.0.0.1:0/0", "10.0.0.1:0/77", False),
        ("10.0.0.1:0/0", "10.0.0.1:6789/0", False),
        ("10.0.0.1:0/77", "10.0.0.1:0/0", True),
        ("10.0.0.1:0/77", "10.0.0.1:0/77", True),
        ("10.0.0.1:0/77", "10.0.0.1:0/78", False),
        ("10.0.0.1:6800/77", "10.0.0.1:6800/77", True),
        ("10.0.0.1:6800/77", "10.0.0.1:0/77", False),
        ("[2001:db8::1]:0/0", "cidr:[2001:db8::]:0/64", True),
        ("[2001:db8::1]:0/0", "[2001:db8::1]:0/0", True),
    ],
)
def test_an_address_is_covered_by_its_host_its_range_or_itself(wanted: str, entry: str, covered: bool) -> None:
    incident = Incident(fences=(Fence(entry, YEARS),))
    assert judge("fence_covers_every_address", incident, done=(fence_of(wanted),)).allowed is covered


def test_every_address_must_be_covered_for_at_least_a_day() -> None:
    two = fence_of("10.0.0.1:0/0", "10.5.0.1:0/0")
    ruling = judge("fence_covers_every_address", Incident(fences=(HOST,)), done=(two,))
    says(ruling, Answer.REFUSED, "10.5.0.1:0/0")
    for left, allowed in ((timedelta(hours=23), False), (timedelta(hours=24), True)):
        incident = Incident(fences=(Fence("10.0.0.1:0/0", NOW + left),))
        assert judge("fence_covers_every_address", incident, done=(fence_of("10.0.0.1:0/0"),)).allowed is allowed


# lock_unchanged, image_has_no_watcher


def test_the_one_locker_is_unchanged_while_it_alone_holds_the_lock() -> None:
    ruling = judge("lock_unchanged", Incident())
    says(ruling, Answer.ALLOWED)
    assert ruling.basis == {"locker": f"{KUBELET.name} 10.0.0.1:0/77", "header": "index.rbd"}
    says(judge("lock_unchanged", Incident(locked=False)), Answer.REFUSED, "any more")
    says(judge("lock_unchanged", Incident(), locker="client.1/x"), Answer.REFUSED, "any more")
    says(judge("lock_unchanged", Incident(lockers=TWO_LOCKERS)), Answer.REFUSED, "2 lockers")
    says(judge("lock_unchanged", Incident(unseen={LOCKS: "denied"})), Answer.UNKNOWN, "denied")


def test_an_image_has_no_watcher_only_if_its_watchers_were_read_and_are_none() -> None:
    says(judge("image_has_no_watcher", Incident()), Answer.ALLOWED)
    says(judge("image_has_no_watcher", Incident(locked=False)), Answer.ALLOWED, "not locked any more")
    ruling = judge("image_has_no_watcher", Incident(watchers=(watcher("10.0.0.2"), watcher("10.0.0.3", "client.8"))))
    says(ruling, Answer.REFUSED, "client.9 watches", "client.8 watches")
    says(judge("image_has_no_watcher", Incident(watchers=None)), Answer.UNKNOWN, "timed out")
    ruling = judge("image_has_no_watcher", Incident(locked=False, problems=(PoolProblem("mioss", "cut"),)))
    says(ruling, Answer.UNKNOWN, "cut")


# new_node_watches_image


def started(**changed: Any) -> Incident:
    """The new pod runs on node2 and its node has the image open."""
    new = changed.pop("new", pod("new", "node2"))
    return Incident(
        pods=[pod("old", "node1", terminating=True), new], **{"watchers": (watcher("10.0.0.2"),), **changed}
    )


def test_the_new_node_watches_the_image_when_its_pod_runs_and_its_address_watches() -> None:
    says(judge("new_node_watches_image", started()), Answer.ALLOWED, "client.9 on node2")
    by_host_ip = started(new=pod("new", "node2", host_ip="10.7.7.7"), watchers=(watcher("10.7.7.7"),))
    says(judge("new_node_watches_image", by_host_ip), Answer.ALLOWED)


@pytest.mark.parametrize(
    "incident",
    [
        started(watchers=()),
        started(watchers=(watcher("10.0.0.3"),)),
        started(new=pod("new", "node2", phase="Pending")),
        started(new=pod("new", "node2", terminating=True)),
        started(new=pod("new", "node1"), watchers=(watcher("10.0.0.1"),)),
    ],
    ids=["nobody watches", "another node watches", "it waits", "it ends", "it is the old node"],
)
def test_any_other_pod_or_watcher_is_not_the_new_nodes(incident: Incident) -> None:
    says(judge("new_node_watches_image", incident), Answer.REFUSED, "no watcher")


def test_a_new_node_that_takes_no_lock_is_known_by_its_watch_alone() -> None:
    unlocked = started(locked=False, users={"mioss/index": (watcher("10.0.0.2"),)})
    says(judge("new_node_watches_image", unlocked), Answer.ALLOWED)
    says(judge("new_node_watches_image", started(locked=False, users={"mioss/index": ()})), Answer.REFUSED)


def test_what_cannot_be_seen_of_the_new_node_is_not_known() -> None:
    says(judge("new_node_watches_image", started(locked=False)), Answer.UNKNOWN, "could not be read")
    says(judge("new_node_watches_image", started(watchers=None)), Answer.UNKNOWN, "could not be read")
    says(judge("new_node_watches_image", started(unseen={CLAIM_USERS: "denied"})), Answer.UNKNOWN, "denied")
    blind = started(unseen={NODES: "denied"})
    says(judge("new_node_watches_image", blind), Answer.REFUSED)


# no_pod_outside_the_fence_uses_volume


def test_pods_on_the_fenced_node_and_waiting_ones_are_inside() -> None:
    ruling = judge("no_pod_outside_the_fence_uses_volume", Incident())
    says(ruling, Answer.ALLOWED)
    assert ruling.basis == {"users": "search/new=uid-new, search/old=uid-old"}
    unscheduled = Incident(pods=[pod("old", "node1"), pod("new", None, phase="Pending", containers=[])])
    says(judge("no_pod_outside_the_fence_uses_volume", unscheduled), Answer.ALLOWED)
    ended = Incident(pods=[pod("old", "node1"), pod("job", "node2", phase="Succeeded")])
    says(judge("no_pod_outside_the_fence_uses_volume", ended), Answer.ALLOWED)


@pytest.mark.parametrize(
    "outside",
    [
        pod("other", "node2"),
        pod("other", "node2", terminating=True),
        pod("other", "node2", phase="Unknown"),
        pod("other", "node2", phase="Pending", init=[{"name": "init", "state": {"running": {}}}]),
    ],
    ids=["runs", "ends", "is not known", "initialises"],
)
def test_a_pod_elsewhere_that_may_have_the_volume_is_outside(outside: Any) -> None:
    ruling = judge("no_pod_outside_the_fence_uses_volume", Incident(pods=[pod("old", "node1"), outside]))
    says(ruling, Answer.REFUSED, "pod search/other on node2 uses the volume")


@pytest.mark.parametrize("kind", [CLAIM_USERS, k8s.VOLUMES, LOCKS], ids=lambda kind: kind.name)
def test_without_pods_volumes_or_locks_nobody_knows_who_is_outside(kind: Kind[Any]) -> None:
    ruling = judge("no_pod_outside_the_fence_uses_volume", Incident(unseen={kind: "denied"}))
    says(ruling, Answer.UNKNOWN, "denied")
    says(judge("no_pod_outside_the_fence_uses_volume", Incident(volumes=[])), Answer.UNKNOWN, "no PersistentVolume")
