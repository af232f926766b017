"""What a safety review and an acceptance run found, each finding once: none of it may come back.

Most are judged purely, on facts made by hand; where a defect could hide between the parts, the sandbox's incident is
played whole.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.diagnose import library, look_at_locks
from diagnostics.facts.ceph import Address, Daemon, Fence, LockedImage, Locker, PoolProblem, Session
from diagnostics.facts.resources import Node, NodeAddress
from runbooks.actions import all_actions
from runbooks.case import case_of
from runbooks.engine import Refusal
from runbooks.events import Say, StepEvent
from runbooks.fencing import Extent, Scope, scope
from runbooks.guards import Answer, Ruling, all_guards
from runbooks.guards.engine import EVERY_ACT
from runbooks.loader import parse
from runbooks.model import Risk, Runbook
from runbooks.plan import PLAN_LASTS, Plan, PlannedStep, make
from runbooks.situation import CannotPlan
from runbooks.store import State
from runbooks.vocabulary import vocabulary
from tests.runbooks.hand_made import (
    FSID,
    IMAGE,
    KUBELET,
    NOW,
    OTHER_FSID,
    PARAMS,
    YEARS,
    Incident,
    csi,
    node,
    pod,
    volume,
    watcher,
)
from tests.runbooks.staged import ALICE, BOB, NODES, SECOND_LOOK, Stage, incident, staged
from tests.runbooks.staged import IMAGE as STAGED_IMAGE

RELEASED = library().find("ceph/stale_rbd_lock@1.0.0")
HOST = Fence("10.0.0.1:0/0", YEARS)
OLD = pod("old", "node1", terminating=True)


def decided(given: Incident) -> Scope:
    """What may be fenced."""
    return scope(case_of(given.situation()))


def refusal(given: Incident) -> str:
    """Why nothing may be fenced."""
    decision = decided(given)
    assert decision.extent is Extent.REFUSE, decision
    return " | ".join(decision.reasons)


def judge(name: str, given: Incident, **how: Any) -> Ruling:
    """Judge one guard."""
    return all_guards()[name].judge(given.situation(**how))


def planned(given: Incident, book: Runbook = RELEASED, **params: str) -> Plan:
    """A plan; a parameter given as "" is left out."""
    names = {**PARAMS, "locker": given.lockers[0].name, **params}
    return make("here", book, {k: v for k, v in names.items() if v}, given.snapshot(), "cli:alice", NOW + PLAN_LASTS)


def step_of(plan: Plan, name: str) -> PlannedStep:
    return next(step for step in plan.steps if step.id == name)


def dead_node(*addresses: tuple[str, str]) -> Node:
    """The incident's node1, down and cordoned, with these addresses (types and values)."""
    made = node("node1", "10.0.0.1", ready="Unknown", cordoned=True)
    given = tuple(NodeAddress(kind, address) for kind, address in addresses)
    return msgspec.structs.replace(made, status=msgspec.structs.replace(made.status, addresses=given))


def at(*addresses: tuple[str, str], locker: str = "10.0.0.1", **changed: Any) -> Incident:
    """The incident with these addresses of node1, which had them at the first look too."""
    made = dead_node(*addresses)
    look = {"ips": tuple(sorted(made.ips)), **changed.pop("first_look", {})}
    by = msgspec.structs.replace(KUBELET, address=Address(locker, 0, 77))
    nodes = [made, node("node2", "10.0.0.2")]
    return Incident(lockers=(by,), nodes=nodes, first_look=look, **changed)


INTERNAL, EXTERNAL = ("InternalIP", "10.0.0.1"), ("ExternalIP", "203.0.113.60")


# Writers that earlier looks saw: the kubelet's lock is taken by a command, and written behind by somebody else.


def test_a_writer_that_was_seen_at_another_address_of_the_node_is_fenced_there_too() -> None:
    seen = {"watched_from": ("203.0.113.60:0/9", "10.0.0.1:0/5")}
    assert decided(at(INTERNAL, EXTERNAL, first_look=seen)).entries == ("10.0.0.1:0/0", "203.0.113.60:0/0")


def test_a_writer_that_was_seen_at_the_address_of_a_host_network_pod_of_the_node_is_fenced_there_too() -> None:
    agent = pod("agent", "node1", pod_ip="10.6.0.1", host_ip="10.6.0.1", volumes=[])
    given = Incident(at_address=[agent], first_look={"watched_from": ("10.6.0.1:0/9",)})
    assert decided(given).entries == ("10.0.0.1:0/0", "10.6.0.1:0/0")


def test_a_writer_that_was_seen_on_no_known_machine_refuses_and_is_named() -> None:
    given = Incident(first_look={"watched_from": ("10.99.0.60:0/9",)})
    assert "seen at 10.99.0.60, on no machine that is known" in refusal(given)
    assert any("10.99.0.60, on no machine that is known" in reason for reason in planned(given).refusals)


@pytest.mark.parametrize("ip", ["10.0.0.2", "10.0.1.1", "10.0.0.99"], ids=["another node", "a mon", "ourselves"])
def test_a_watcher_that_was_seen_on_another_known_machine_is_no_business_of_the_fence(ip: str) -> None:
    assert decided(Incident(first_look={"watched_from": (f"{ip}:0/9",)})).entries == ("10.0.0.1:0/0",)


async def test_a_writer_at_an_unknown_address_is_remembered_after_it_froze_and_both_watch_and_session_ended(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        assert not (await stage.plan()).refusals
        writer = stage.sandbox.ceph.client("10.99.0.60", "client.admin")
        writer.open(STAGED_IMAGE)
        await look_at_locks(stage.sandbox.target, stage.state)
        writer.freeze()
        await stage.sandbox.sleep(310)
        await look_at_locks(stage.sandbox.target, stage.state)
        await stage.sandbox.sleep(SECOND_LOOK)
        with pytest.raises(Refusal, match=r"10\.99\.0\.60, on no machine that is known"):
            await stage.requested()
        assert stage.process.wrote == []


# Guards are the action's own.

FENCE = """
  - id: fence
    act: ceph.fence
    with: {image: "{{image}}", locker: "{{locker}}", for: 157784760s}
    verify: fence_covers_every_address
    undo: none
    because: lifting it lets the old writer resume
"""
UNLOCK = """
  - id: unlock
    act: ceph.break_lock
    with: {image: "{{image}}", locker: "{{locker}}"}
    verify: {check: ceph/locks_stale, becomes: ok}
    undo: none
    because: nobody needs it
"""
CLEAR = """
  - id: clear
    act: kubernetes.force_delete_pod
    with: {image: "{{image}}", node: "{{node}}"}
    verify: pod_is_gone
    undo: none
    because: it does not come back
"""
DELETE = """
  - id: delete
    act: kubernetes.delete_pod
    with: {pod: "{{pod}}"}
    verify: {replacement: Running, within: 3m}
    undo: none
    because: its owner makes a new one
"""


def bare(*steps: str) -> Runbook:
    """A team's own runbook whose acts require nothing."""
    head = """
id: team/bare
version: 1.0.0
status: preview
title: Free an image without a word about safety
owner: a team
changelog: First.
meaning: Somebody wrote it in a hurry.
impact: Whatever the actions do.
answers: [ceph/locks_stale]
parameters: {image: rbd_image, locker: rbd_locker, node: node, pod: pod}
steps:"""
    return parse((head + "".join(steps)).encode(), "bare.yaml", vocabulary())


def rulings(step: PlannedStep) -> dict[str, Answer]:
    return {ruling.guard: ruling.answer for ruling in step.rulings}


def test_a_runbook_that_requires_nothing_is_judged_by_its_actions_own_guards_and_its_plan_shows_them() -> None:
    plan = planned(Incident(), bare(FENCE, UNLOCK, CLEAR, DELETE))
    assert plan.refusals == ()
    for step in plan.steps:
        assert step.act is not None
        own = all_actions()[step.act.action].guards
        assert own
        assert rulings(step) == dict.fromkeys((*own, *EVERY_ACT), Answer.ALLOWED), step.id
    assert "fence: fence_scope_is_safe" in plan.basis, "an approval is bound to what they rest on"


def test_a_guard_that_the_runbook_names_too_is_judged_once() -> None:
    for step in planned(Incident()).steps:
        names = [ruling.guard for ruling in step.rulings]
        assert len(names) == len(set(names)), step.id


def test_without_a_word_in_the_runbook_a_live_lock_is_not_broken() -> None:
    plan = planned(Incident(watchers=(watcher("10.0.0.1"),), fences=(HOST,)), bare(FENCE, UNLOCK))
    assert rulings(step_of(plan, "unlock"))["image_has_no_watcher"] is Answer.REFUSED
    assert any(reason.startswith("image_has_no_watcher: client.9 watches") for reason in plan.refusals)


def test_without_a_word_in_the_runbook_no_lock_is_broken_and_no_pod_forced_away_unfenced() -> None:
    unlock = planned(Incident(), bare(UNLOCK))
    assert unlock.acts, "the act itself can be planned: only its guards stand in the way"
    assert any(r.startswith("fence_covers_every_address: this plan fenced nothing") for r in unlock.refusals)
    clear = planned(Incident(), bare(CLEAR))
    assert clear.acts
    assert any("node1 is not fenced as a whole" in reason for reason in clear.refusals)


async def test_without_a_word_in_the_runbook_a_watcher_that_comes_after_the_fence_still_stops_the_run(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as stage:
        stage.sandbox.api.registry.patch(NODES, None, "node1", {"spec": {"unschedulable": True}})
        book = stage.books["team/bare@1.0.0"] = bare(FENCE, UNLOCK)
        asked = await stage.engine.request(await stage.engine.plan(book, stage.params(), ALICE), ALICE)
        assert (await stage.engine.approve(asked, BOB, "node1")).allowed
        async for event in stage.engine.run(asked.id, BOB):
            if (event.step, event.say) == ("fence", Say.DONE):
                stage.sandbox.ceph.client("10.46.181.147", "client.admin").open(STAGED_IMAGE)
        assert "image_has_no_watcher: " in stage.now(asked).reason
        assert [what.split()[0] for what in stage.process.wrote] == ["osd"]


def test_a_pod_that_runs_by_now_is_not_deleted_though_no_runbook_forbids_it() -> None:
    given = Incident(pods=[OLD, pod("new", "node2")])
    plan = planned(given, bare(DELETE))
    assert [r for r in plan.refusals if r.startswith("pod_still_waits: ")] == list(plan.refusals)
    assert "is Running by now" in plan.refusals[0]
    assert planned(Incident(), bare(DELETE)).refusals == ()
    held = step_of(planned(Incident()), "retry").otherwise
    assert held is not None
    assert rulings(held)["pod_still_waits"] is Answer.ALLOWED


# Addresses of nodes.


def test_an_external_address_that_is_not_the_lockers_is_in_no_entry_and_blocks_no_plan() -> None:
    """A gateway's address may stand for many machines."""
    assert decided(at(INTERNAL, EXTERNAL)).entries == ("10.0.0.1:0/0",)
    assert planned(at(INTERNAL, EXTERNAL)).refusals == ()
    lockers = at(INTERNAL, EXTERNAL, locker="203.0.113.60")
    assert decided(lockers).entries == ("10.0.0.1:0/0", "203.0.113.60:0/0")


def test_a_pod_is_not_forced_away_by_a_runbook_that_fenced_nothing_while_an_external_address_is_bare() -> None:
    """Where the plan fenced nothing, nobody has asked at which of its addresses Ceph sees the node."""
    given = at(INTERNAL, EXTERNAL, locker="203.0.113.60", fences=(HOST,))
    assert any("not fenced as a whole: 203.0.113.60" in reason for reason in planned(given, bare(CLEAR)).refusals)
    assert planned(at(EXTERNAL, locker="203.0.113.60"), bare(CLEAR)).refusals


@pytest.mark.parametrize("spelling", ["fd00:0:0:0::11", "FD00::11", "fd00:0000::0011"])
def test_another_spelling_of_a_mons_address_is_the_mons(spelling: str) -> None:
    here = (("InternalIP", "fd00::1"), ("InternalIP", spelling))
    named = volume(
        source={"rbd": {"image": "index", "pool": "mioss", "user": "admin", "monitors": ["[FD00:0::11]:6789"]}}
    )
    mons = (Daemon("mon.a", "fd00::11"), Daemon("osd.0", "fd00::12"))
    given = at(*here, locker="fd00::1", daemons=mons, volumes=[named])
    assert "node1 also has fd00::11, where a Ceph daemon" in refusal(given)
    ours = at(*here, locker="fd00::1", daemons=(), own_ips=("fd00::11",))
    assert "node1 also has fd00::11, where a Ceph daemon or Unstick itself runs" in refusal(ours)


def test_a_node_is_found_by_another_spelling_of_its_address() -> None:
    assert decided(at(("InternalIP", "FD00:0::1"), locker="fd00::1")).entries == ("[fd00::1]:0/0",)


@pytest.mark.parametrize("odd", [("InternalIP", "node1.example.com"), ("ExternalIP", "10.0.0.300")])
@pytest.mark.parametrize("fences", [(), (HOST,)], ids=["unfenced", "fenced"])
def test_an_address_that_is_none_refuses_and_no_plan_crashes(odd: tuple[str, str], fences: tuple[Fence, ...]) -> None:
    given = at(INTERNAL, odd, fences=fences)
    assert f"node1 has addresses that are none ({odd[1]})" in refusal(given)
    assert any(f"addresses that are none ({odd[1]})" in reason for reason in planned(given).refusals)
    assert all(name.judge(given.situation()) for name in all_guards().values())


def test_another_nodes_address_that_is_none_crashes_no_plan() -> None:
    other = msgspec.structs.replace(dead_node(("InternalIP", "none"), ("InternalIP", "10.0.0.2")))
    other = msgspec.structs.replace(other, metadata=node("node2", "10.0.0.2").metadata)
    assert planned(Incident(nodes=[dead_node(INTERNAL), other])).refusals == ()


# What a forced deletion may take for fenced.

MINE = {"name": "data", "persistentVolumeClaim": {"claimName": "index"}}
CLAIMED = {"name": "x", "persistentVolumeClaim": {"claimName": "more"}}
FOREIGN = ["10.7.7.7:6789"]


def forced(entry: dict[str, Any], *volumes: Any) -> Ruling:
    """Whether an old pod with this volume may be forced away from a fenced node."""
    given = Incident(fences=(HOST,), pods=[pod("old", "node1", terminating=True, volumes=[MINE, entry])])
    given.volumes.extend(volumes)
    return judge("every_ceph_volume_of_pod_is_fenced", given)


def more(source: dict[str, Any]) -> Any:
    return volume("more", source=source, claim={"namespace": "search", "name": "more"})


def rbd(*monitors: str) -> dict[str, Any]:
    return {"rbd": {"image": "more", "pool": "mioss", "user": "admin", "monitors": list(monitors)}}


def cephfs_csi(cluster: str) -> dict[str, Any]:
    return {"csi": {"driver": "rook-ceph.cephfs.csi.ceph.com", "volumeAttributes": {"clusterID": cluster}}}


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"name": "share", "nfs": {"server": "10.0.0.5", "path": "/"}}, "share"),
        ({"name": "disk", "iscsi": {"targetPortal": "10.0.0.5", "iqn": "i", "lun": 0}}, "disk"),
        ({"name": "odd", "sourceOfTomorrow": {}}, "odd"),
        ({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}, "old-scratch"),
        (CLAIMED, "more"),
    ],
    ids=["nfs", "iscsi", "an unknown kind", "ephemeral", "an unknown claim"],
)
def test_a_volume_of_which_it_is_not_known_that_it_is_on_this_ceph_keeps_its_pod(
    entry: dict[str, Any], named: str
) -> None:
    ruling = forced(entry)
    assert (ruling.answer, len(ruling.reasons)) == (Answer.REFUSED, 2)
    assert f"volume {named} is not known to be on this Ceph" in ruling.reasons[0]
    assert ruling.reasons[1] == "missing is a person who attests that node1 is off (node=node1)"


@pytest.mark.parametrize(
    "source",
    [
        rbd(*FOREIGN), csi(clusterID=OTHER_FSID), cephfs_csi(OTHER_FSID),
        {"cephfs": {"monitors": FOREIGN, "path": "/"}}, {"nfs": {"server": "10.0.0.5", "path": "/"}},
    ],
    ids=["rbd", "ceph-csi", "cephfs by csi", "cephfs", "nfs"],
)  # fmt: skip
def test_a_claim_on_another_ceph_or_another_storage_keeps_its_pod(source: dict[str, Any]) -> None:
    ruling = forced(CLAIMED, more(source))
    assert ruling.answer is Answer.REFUSED
    assert "volume more is not known to be on this Ceph" in ruling.reasons[0]


def test_every_volume_that_keeps_the_pod_is_named() -> None:
    entries = [{"name": name, "nfs": {"server": "10.0.0.5", "path": "/"}} for name in ("one", "two")]
    given = Incident(fences=(HOST,), pods=[pod("old", "node1", terminating=True, volumes=[MINE, *entries])])
    said = " | ".join(judge("every_ceph_volume_of_pod_is_fenced", given).reasons)
    assert "volume one is" in said
    assert "volume two is" in said


@pytest.mark.parametrize("kind", ["emptyDir", "configMap", "secret", "projected", "downwardAPI", "hostPath"])
def test_what_lies_on_the_node_or_comes_from_the_api_keeps_no_pod(kind: str) -> None:
    assert forced({"name": "local", kind: {}}).allowed


@pytest.mark.parametrize(
    "source",
    [
        rbd("10.0.1.1:6789"), csi(clusterID=FSID), cephfs_csi(FSID),
        {"cephfs": {"monitors": ["10.0.1.1:6789"], "path": "/"}},
    ],
    ids=["rbd", "ceph-csi", "cephfs by csi", "cephfs"],
)  # fmt: skip
def test_a_claim_on_this_ceph_keeps_no_pod(source: dict[str, Any]) -> None:
    assert forced(CLAIMED, more(source)).allowed


def test_an_ephemeral_claim_on_this_ceph_is_known_by_its_pods_name() -> None:
    made = volume("scratch", source=rbd("10.0.1.1"), claim={"namespace": "search", "name": "old-scratch"})
    assert forced({"name": "scratch", "ephemeral": {}}, made).allowed


# Who pays for the fence.


def session(number: int, ip: str = "10.0.0.1", entity: str = "client.admin") -> Session:
    return Session(entity, f"client.{number}", ip, "a")


def test_clients_in_session_from_the_nodes_addresses_are_among_what_dies() -> None:
    given = Incident(sessions=(session(5), session(6, "10.0.0.2")))
    assert decided(given).dies == ("search/old", "client.admin in session from 10.0.0.1")


def test_pods_with_ephemeral_and_with_inline_ceph_csi_volumes_are_among_what_dies() -> None:
    inline = pod("inline", "node1", volumes=[{"name": "v", "csi": {"driver": "rook.cephfs.csi.ceph.com"}}])
    other = pod("other", "node1", volumes=[{"name": "v", "csi": {"driver": "ebs.csi.aws.com"}}])
    ephemeral = pod("worker", "node1", volumes=[{"name": "tmp", "ephemeral": {}}])
    unknown = pod("mystery", "node1", volumes=[{"name": "tmp", "ephemeral": {}}])
    made = volume("tmp", source=rbd("10.0.1.1"), claim={"namespace": "search", "name": "worker-tmp"})
    given = Incident(on_node=[OLD, inline, other, ephemeral, unknown], volumes=[volume(), made])
    assert decided(given).dies == (
        "search/inline", "search/mystery (perhaps: a claim of it is not known)", "search/old", "search/worker",
    )  # fmt: skip
    assert planned(given).who_pays == {"search"}


def test_pools_that_could_not_be_read_are_among_what_may_die() -> None:
    given = Incident(unread_pools=(PoolProblem("ssd", "denied"), PoolProblem("hdd", "denied"), PoolProblem("ssd", "x")))
    assert decided(given).dies[1:] == (
        "perhaps users of pool hdd, which could not be read", "perhaps users of pool ssd, which could not be read",
    )  # fmt: skip


def test_more_clients_in_session_than_the_nodes_ceph_pods_and_one_command_refuse() -> None:
    """Behind NAT many machines show one address: then there are more clients than the node has work for."""
    assert decided(Incident(sessions=(session(5), session(6)))).extent is Extent.NODE
    too_many = Incident(sessions=(session(5), session(6), session(7)))
    assert "3 clients in session from there, though only 1 pods with Ceph volumes" in refusal(too_many)
    too_many.on_node = [OLD, pod("more", "node1")]
    assert decided(too_many).extent is Extent.NODE
    twice = Incident(sessions=(session(5), session(5), session(6)))
    assert decided(twice).extent is Extent.NODE, "a client that two monitors list is one"


def test_a_pod_of_which_it_is_not_known_that_it_is_on_ceph_explains_no_client() -> None:
    mystery = pod("mystery", "node1", volumes=[{"name": "tmp", "persistentVolumeClaim": {"claimName": "lost"}}])
    given = Incident(sessions=(session(5), session(6), session(7)), on_node=[OLD, mystery])
    assert "3 clients in session from there, though only 1 pods" in refusal(given)


def test_a_client_at_the_dead_nodes_address_with_an_image_open_that_no_pod_there_accounts_for_refuses() -> None:
    image = msgspec.structs.replace(IMAGE, name="ledger", header="ledger.rbd")
    given = Incident(others=(LockedImage(image, True, "", (), (watcher("10.0.0.1", "client.55"),)),))
    said = "client.55 at 10.0.0.1:0/5, which has mioss/ledger open for no pod of this node"
    assert said in refusal(given)
    assert any(said in reason for reason in planned(given).refusals)
    claim = {"name": "d", "persistentVolumeClaim": {"claimName": "ledger"}}
    given.on_node = [OLD, pod("ledger-0", "node1", namespace="billing", volumes=[claim])]
    source = {"rbd": {"image": "ledger", "pool": "mioss", "user": "admin", "monitors": ["10.0.1.1"]}}
    given.volumes.append(volume("ledger", source=source, claim={"namespace": "billing", "name": "ledger"}))
    assert planned(given).refusals == ()
    given.volumes[-1] = volume("ledger", source=source, claim={"namespace": "shop", "name": "ledger"})
    assert said in refusal(given), "a claim of the same name in another namespace is another one"


# Locks, fences and confirmations.


def test_a_lock_that_ceph_calls_internal_is_a_managed_one_whatever_its_cookie() -> None:
    given = Incident(lockers=(Locker("client.24128", "mine", Address("10.0.0.1", 0, 77)),), tag="internal")
    ruling = judge("lock_is_breakable", given)
    assert (ruling.answer, "managed" in ruling.reasons[0]) == (Answer.REFUSED, True)
    with pytest.raises(CannotPlan, match="the lock is a managed one"):
        all_actions()["ceph.break_lock"].plan(given.situation(), {})
    assert step_of(planned(given), "unlock").act is None


def test_without_the_nodes_name_the_fence_still_names_the_node_that_it_kills() -> None:
    plan = planned(Incident(), node="")
    assert plan.refusals == ()
    (fence,) = [act for act in plan.acts if act.action == "ceph.fence"]
    assert "fence node node1: blocklist 10.0.0.1:0/0" in fence.says
    assert "uid-node1" in {target.uid for target in fence.targets if target.kind == "Node"}
    assert (plan.risk, plan.confirmation) == (Risk.CRITICAL, "node1")


BACK = [node("node1", "10.0.0.1"), node("node2", "10.0.0.2")]


def test_a_holder_that_is_fenced_already_and_has_come_back_makes_a_plan_of_high_risk() -> None:
    """As after an interruption between fence and unlock: nothing more dies of it, and nobody has to type a node."""
    plan = planned(Incident(nodes=BACK, fences=(HOST,)))
    assert (plan.refusals, plan.risk, plan.confirmation) == ((), Risk.HIGH, None)
    assert not [act.dies for act in plan.acts if act.dies]


@pytest.mark.parametrize(
    "fences",
    [(), (Fence("10.0.0.1:0/0", NOW + timedelta(hours=23)),), (Fence("10.0.0.1:0/77", YEARS),)],
    ids=["none", "one that ends soon", "one of its clients"],
)
def test_a_holder_that_has_come_back_without_a_lasting_fence_of_its_node_makes_none(fences: tuple[Fence, ...]) -> None:
    assert planned(Incident(nodes=BACK, fences=fences)).refusals
    two = [node("node1", "10.0.0.1", ips=("10.5.0.1",)), BACK[1]]
    half = Incident(nodes=two, fences=(HOST,), first_look={"ips": ("10.0.0.1", "10.5.0.1")})
    assert planned(half).refusals, "one address is not the node"


def test_a_fenced_holder_that_came_back_by_a_reboot_makes_a_plan_too() -> None:
    """Two looks prove nothing about a node that rebooted in between; behind the fence nothing rests on them."""
    rebooted = {"first_look": {"boot": "the one before"}}
    assert planned(Incident(nodes=BACK, fences=(HOST,), **rebooted)).refusals == ()
    assert "has rebooted" in refusal(Incident(nodes=BACK, **rebooted))


def test_a_ceph_in_health_err_refuses_and_one_that_only_warns_does_not() -> None:
    assert "HEALTH_ERR" in refusal(Incident(health="HEALTH_ERR"))
    assert planned(Incident(health="HEALTH_WARN")).refusals == ()


async def test_the_health_that_counts_is_what_ceph_says_of_itself(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.sandbox.ceph.health = "HEALTH_ERR"
        with pytest.raises(Refusal, match="Ceph is in HEALTH_ERR"):
            await stage.requested()


async def test_an_interrupted_run_is_planned_anew_after_its_fenced_node_has_rebooted(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        running = stage.engine.run(execution.id, BOB)
        async for event in running:
            if (event.step, event.say) == ("fence", Say.DONE):
                break
        await running.aclose()
        stage.sandbox.controllers.boot(incident.DEAD_NODE)
        await stage.sandbox.sleep(SECOND_LOOK)
        plan = await stage.plan()
        assert (plan.refusals, plan.risk) == ((), Risk.HIGH)


# A run that breaks off says what stands.


async def notes_of(stage: Stage, change: Any, step: str, say: Say) -> tuple[list[StepEvent], State]:
    """The notes of a run that a change breaks off, in order."""
    execution = await stage.approved()
    events = []
    async for event in stage.engine.run(execution.id, BOB):
        events.append(event)
        if (event.step, event.say) == (step, say):
            change()
    assert events[-1].say is Say.ENDED
    return [event for event in events if event.say is Say.NOTE], stage.now(execution).state


async def test_a_run_that_fails_after_the_fence_says_what_stands_and_how_the_fence_is_lifted(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        somebody = stage.sandbox.ceph.client("10.46.181.147", "client.admin")
        notes, state = await notes_of(stage, lambda: somebody.open(STAGED_IMAGE), "fence", Say.DONE)
        assert state is State.FAILED
        assert [note.step for note in notes] == ["", "unfence"]
        assert notes[0].text.startswith("done before that, and it stands: cordon node node1; fence node node1")
        assert "The fence stays. Lift it only after node1 has rebooted" in notes[1].text


async def test_a_run_that_fails_before_its_first_act_has_nothing_that_stands(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        revoke = lambda: stage.sandbox.api.access.grant("remediate", ())  # noqa: E731
        notes, state = await notes_of(stage, revoke, "cordon", Say.BEGUN)
        assert (notes, state, stage.process.wrote) == ([], State.FAILED, [])
