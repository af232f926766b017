"""What is gathered from facts for the fencing decision, and that whatever was not seen is said to be unknown."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from diagnostics.facts import Kind
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import (
    LOCKS,
    NEIGHBOURS,
    OSDMAP,
    SESSIONS,
    Address,
    Fence,
    ImageSpec,
    LockedImage,
    Locker,
    PoolProblem,
    Session,
    Watcher,
)
from diagnostics.facts.holders import CLAIM_USERS, LEASES, NODE_PODS, NODES, PODS_AT
from diagnostics.facts.resources import PhaseStatus
from runbooks.case import case_of
from runbooks.fencing import Case, Extent, scope
from runbooks.situation import CannotPlan, Planned
from tests.runbooks.hand_made import (
    FSID,
    IMAGE,
    KUBELET,
    MANAGED,
    NOW,
    OTHER_FSID,
    YEARS,
    Incident,
    attachment,
    csi,
    lease,
    node,
    pod,
    volume,
    watcher,
)


def case(incident: Incident, **params: str) -> Case:
    return case_of(incident.situation(**params))


def reasons(incident: Incident, **params: str) -> str:
    """Why nothing may be fenced."""
    decision = scope(case(incident, **params))
    assert decision.extent is Extent.REFUSE, decision
    return " | ".join(decision.reasons)


def test_the_incident_as_it_stands_allows_to_fence_the_node() -> None:
    made = case(Incident())
    assert (made.holder.node, made.holder.down, made.holder.cordoned, made.holder.unclear) == (
        "node1",
        True,
        True,
        None,
    )
    assert (made.unknown, made.against, made.changed, made.young, made.seen_twice) == ((), None, None, False, True)
    assert made.holder.dies == ("search/old",)
    assert scope(made).entries == ("10.0.0.1:0/0",)


@pytest.mark.parametrize(
    "kind", [SESSIONS, OSDMAP, NEIGHBOURS, NODES, PODS_AT, LEASES, NODE_PODS, k8s.ATTACHMENTS], ids=lambda k: k.name
)
def test_facts_that_could_not_be_read_make_the_case_unknown(kind: Kind[Any]) -> None:
    decision = scope(case(Incident(unseen={kind: "no answer"})))
    assert (decision.extent, decision.unknown) == (Extent.REFUSE, True)
    assert any("no answer" in reason for reason in decision.reasons), decision.reasons


@pytest.mark.parametrize("kind", [LOCKS, CLAIM_USERS, k8s.VOLUMES], ids=lambda k: k.name)
def test_without_locks_pods_or_volumes_there_is_no_case_at_all(kind: Kind[Any]) -> None:
    with pytest.raises(CannotPlan, match="no answer") as caught:
        case(Incident(unseen={kind: "no answer"}))
    assert caught.value.unknown


def test_a_lock_that_is_gone_is_no_case_but_one_in_an_unread_pool_is_unknown() -> None:
    with pytest.raises(CannotPlan, match="holds no lock") as gone:
        case(Incident(locked=False))
    assert not gone.value.unknown
    with pytest.raises(CannotPlan, match="pool mioss could not be read") as unread:
        case(Incident(locked=False, problems=(PoolProblem("mioss", "denied"),)))
    assert unread.value.unknown
    with pytest.raises(CannotPlan, match="holds no lock"):
        case(Incident(), locker="client.1/other")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"watchers": None}, "watchers of mioss/index could not be read: timed out"),
        ({"primary": None}, "placement group of index.rbd is not known"),
        ({"traits": ("unread",)}, "mirrored, trashed or migrating could not be read"),
        ({"silent": {"b": "no answer"}}, "mon b did not tell its sessions"),
        ({"volumes": []}, "no PersistentVolume of this cluster"),
        ({"volumes": [volume(), volume("copy")]}, "2 PersistentVolumes"),
        ({"leases": []}, "whether node node1 is down is not known"),
        ({"lockers": (KUBELET, Locker("client.7", "b", Address("10.0.0.2", 0, 3)))}, "2 lockers"),
        ({"exclusive": False}, "shared"),
        ({"volumes": [volume(modes=["ReadWriteMany"])]}, "ReadWriteMany"),
        ({"flags": frozenset({"pausewr"})}, "pausewr"),
        ({"own_ips": ("10.0.0.1",)}, "Unstick's own address"),
    ],
)
def test_each_of_these_facts_refuses(changed: dict[str, Any], says: str) -> None:
    assert says in reasons(Incident(**changed))


# Who the holder is.


def test_a_cookie_that_names_another_node_contradicts_the_address() -> None:
    other = msgspec.structs.replace(KUBELET, cookie="kubelet_lock_magic_node2")
    assert "cookie names node2" in reasons(Incident(lockers=(other,)))


def test_a_cookie_may_carry_the_short_name_of_the_node() -> None:
    incident = Incident(nodes=[node("node1.example.com", "10.0.0.1", ready="False")])
    incident.pods, incident.leases = [], [lease("node1.example.com", timedelta(minutes=9))]
    assert case(incident, node="node1.example.com").holder.unclear is None


def test_an_old_pod_on_another_node_contradicts_the_address() -> None:
    incident = Incident(pods=[pod("old", "node2"), pod("new", "node2", phase="Pending")])
    assert "pod search/old is bound to node2" in reasons(incident)


def test_a_running_pod_elsewhere_counts_also_where_the_runbook_calls_it_the_waiting_one() -> None:
    incident = Incident(pods=[pod("old", "node1", terminating=True), pod("new", "node2")])
    assert "pod search/new is bound to node2" in reasons(incident, pod="search/new")


def test_a_pod_whose_init_containers_run_has_its_volumes_already() -> None:
    init = [{"name": "init", "state": {"running": {}}}]
    incident = Incident(pods=[pod("new", "node2", phase="Pending", init=init)])
    assert "pod search/new is bound to node2" in reasons(incident)


def test_an_address_alone_is_no_proof_of_the_node() -> None:
    alone = msgspec.structs.replace(KUBELET, cookie="mine")
    incident = Incident(lockers=(alone,), pods=[pod("new", "node2", phase="Pending")])
    assert "neither cookie, old pod nor attachment" in reasons(incident)
    incident.attachments = [attachment("node1")]
    assert case(incident).holder.unclear is None
    incident.attachments = [attachment("node1", of="another")]
    assert "neither cookie" in reasons(incident)


def test_the_pod_of_a_claim_that_was_made_anew_is_no_proof_of_the_node() -> None:
    alone = msgspec.structs.replace(KUBELET, cookie="mine")
    users = [pod("old", "node1", terminating=True), pod("new", "node2", phase="Pending")]
    assert case(Incident(lockers=(alone,), pods=users)).holder.unclear is None
    released = Incident(lockers=(alone,), pods=users, volumes=[volume(phase="Released")])
    assert "neither cookie, old pod nor attachment" in reasons(released)


def test_an_attachment_elsewhere_contradicts_unless_the_waiting_pod_is_there() -> None:
    assert "attachment csi-node3 is to node3" in reasons(Incident(attachments=[attachment("node3")]))
    assert case(Incident(attachments=[attachment("node2")])).holder.unclear is None


def test_a_runbook_that_is_run_for_another_node_is_refused() -> None:
    assert "run for node node2" in reasons(Incident(), node="node2")


def test_an_address_of_no_node_or_of_two_is_not_certain() -> None:
    assert "no node has the address" in reasons(Incident(nodes=[node("node2", "10.0.0.2")]))
    twins = [node("node1", "10.0.0.1", ready="False"), node("node2", "10.0.0.1")]
    assert "several nodes: node1, node2" in reasons(Incident(nodes=twins))


def test_another_node_that_shares_one_of_the_addresses_would_be_hit() -> None:
    nodes = [node("node1", "10.0.0.1", ready="False", cordoned=True, ips=("10.9.9.9",)), node("node2", "10.9.9.9")]
    incident = Incident(nodes=nodes, first_look={"ips": ("10.0.0.1", "10.9.9.9")})
    assert "would hit node node2, which has 10.9.9.9 too" in reasons(incident)


def test_the_address_of_a_pod_is_not_fenced() -> None:
    incident = Incident(at_address=[pod("vm", "node1", pod_ip="10.0.0.1", host_ip="10.0.0.5")])
    assert "10.0.0.1 is the address of pod search/vm: power node1 off" in reasons(incident)
    incident = Incident(at_address=[pod("vm", "node3", pod_ip="10.0.0.1", host_ip="10.0.0.3")], nodes=[])
    assert "the address of pod search/vm" in reasons(incident)


# Who else would be hit.


@pytest.mark.parametrize("entity", ["client.other", "client.rgw.a", "", "osd.7"])
def test_a_session_of_another_entity_from_the_nodes_address_would_be_hit(entity: str) -> None:
    """Behind NAT many hosts show one address: whoever is not explained by the volume's own user may be one of them."""
    incident = Incident(sessions=(Session(entity, "client.5", "10.0.0.1", "a"),))
    assert "which has a session from 10.0.0.1" in reasons(incident)


def test_the_volumes_own_user_explains_a_session_and_a_csi_volume_explains_none() -> None:
    cut_off = Session("client.admin", "client.5", "10.0.0.1", "a")
    assert case(Incident(sessions=(cut_off,))).holder.foreign == ()
    assert case(Incident(sessions=(cut_off,), volumes=[volume(source=csi())])).holder.foreign != ()


@pytest.mark.parametrize("name", ["csi-rbdplugin-provisioner-6c7", "ceph-csi-rbd-ctrlplugin-0", "csi-controller-1"])
def test_a_csi_controller_on_the_node_would_be_hit(name: str) -> None:
    controller = pod(name, "node1", namespace="rook-ceph", volumes=[])
    assert f"would hit the CSI controller rook-ceph/{name}" in reasons(Incident(on_node=[controller]))
    leaving = pod(name, "node1", namespace="rook-ceph", volumes=[], terminating=True)
    assert scope(case(Incident(on_node=[leaving]))).extent is Extent.NODE


def test_the_node_plugin_is_no_controller() -> None:
    assert case(Incident(on_node=[pod("csi-rbdplugin-x7k2p", "node1", volumes=[])])).holder.foreign == ()


def test_a_daemon_at_any_address_of_the_node_refuses() -> None:
    nodes = [node("node1", "10.0.0.1", ready="False", cordoned=True, ips=("10.0.1.2",))]
    incident = Incident(nodes=nodes, first_look={"ips": ("10.0.0.1", "10.0.1.2")})
    assert "10.0.1.2, where a Ceph daemon" in reasons(incident)


def test_pods_with_ceph_volumes_of_any_kind_are_among_those_that_die() -> None:
    inline = pod("inline", "node1", volumes=[{"name": "v", "rbd": {"image": "x", "monitors": []}}])
    shared = pod("shared", "node1", volumes=[{"name": "v", "cephfs": {"path": "/"}}])
    none = pod("none", "node1", volumes=[{"name": "v", "configMap": {"name": "c"}}])
    ended = pod("ended", "node1", phase="Succeeded")
    dies = case(Incident(on_node=[pod("old", "node1"), inline, shared, none, ended])).holder.dies
    assert dies == ("search/inline", "search/old", "search/shared")


# Whose the lock may be besides.


def test_a_managed_locks_holder_that_works_for_others_is_reserved() -> None:
    for entity in ("mgr.x", "client.rbd-mirror.a", "client.rbd-mirror-peer"):
        incident = Incident(lockers=(MANAGED,), sessions=(Session(entity, MANAGED.client, "10.0.0.1", "a"),))
        assert case(incident).reserved == (entity,)
        assert f"the holder may be {entity}" in reasons(incident)


def test_a_managed_lock_from_a_csi_controllers_node_or_pod_is_reserved() -> None:
    controller = pod("csi-rbdplugin-provisioner-1", "node1", namespace="rook", volumes=[])
    incident = Incident(lockers=(MANAGED,), on_node=[controller])
    assert "the holder may be the CSI controller rook/csi-rbdplugin-provisioner-1" in reasons(incident)
    at = pod("csi-rbdplugin-provisioner-1", "node1", pod_ip="10.0.0.1", host_ip="10.0.0.5")
    assert case(Incident(at_address=[at])).reserved == ("the CSI controller search/csi-rbdplugin-provisioner-1",)


def other(watches: tuple[Any, ...] | None) -> LockedImage:
    image = msgspec.structs.replace(IMAGE, name="other", header="other.rbd")
    return LockedImage(image, True, "", (), watches)


def test_whether_the_client_watches_another_image_is_known_only_after_all_were_looked_at() -> None:
    assert case(Incident()).watches_elsewhere is False
    assert case(Incident(pools=())).watches_elsewhere is None
    assert case(Incident(unseen={NEIGHBOURS: "denied"})).watches_elsewhere is None
    assert case(Incident(others=(other(()),))).watches_elsewhere is False
    assert case(Incident(others=(other(None),))).watches_elsewhere is None
    assert case(Incident(unread_pools=(PoolProblem("b", "denied"),))).watches_elsewhere is None
    mine = other((watcher("10.0.0.1", KUBELET.client),))
    assert case(Incident(others=(mine,))).watches_elsewhere is True


def test_a_client_at_the_nodes_address_that_uses_another_image_for_no_pod_of_the_node_would_be_hit() -> None:
    theirs = other((watcher("10.0.0.1", "client.55"),))
    assert "client.55 at 10.0.0.1:0/5, which has mioss/other open" in reasons(Incident(others=(theirs,)))
    elsewhere = other((watcher("10.0.0.2", "client.55"),))
    assert case(Incident(others=(elsewhere,))).holder.foreign == ()
    # The node's own pods die with it, and the plan says so.
    claim = {"name": "d", "persistentVolumeClaim": {"claimName": "other"}}
    own = Incident(others=(theirs,), on_node=[pod("theirs", "node1", volumes=[claim])])
    source = {"rbd": {"image": "other", "pool": "mioss", "user": "admin", "monitors": []}}
    own.volumes.append(volume("other", source=source, claim={"namespace": "search", "name": "other"}))
    made = case(own)
    assert (made.holder.foreign, made.holder.dies) == ((), ("search/theirs",))


def test_a_pool_that_could_not_be_looked_at_is_among_what_may_die() -> None:
    assert "pool b" in case(Incident(unread_pools=(PoolProblem("b", "denied"),))).holder.dies[-1]


# Watchers and their fences.


def test_a_watcher_counts_as_fenced_only_behind_a_fence_that_lasts() -> None:
    watching = (watcher("10.0.0.2", nonce=5),)
    for entry, until, unfenced in (
        ("10.0.0.2:0/5", YEARS, False),
        ("10.0.0.2:0/0", YEARS, False),
        ("10.0.0.2:0/6", YEARS, True),
        ("10.0.0.2:0/5", NOW + timedelta(hours=1), True),
        ("10.0.0.2:0/5", NOW - timedelta(hours=1), True),
    ):
        incident = Incident(watchers=watching, fences=(Fence(entry, until),))
        assert bool(case(incident).watchers) is unfenced, (entry, until)


# Time.


def test_a_lock_of_a_node_that_is_up_is_young_until_it_was_known_for_two_minutes() -> None:
    up = {"nodes": [node("node1", "10.0.0.1"), node("node2", "10.0.0.2")]}
    assert case(Incident(first_seen=timedelta(seconds=119), **up)).young
    assert case(Incident(first_seen=None, **up)).young
    assert not case(Incident(first_seen=timedelta(seconds=120), **up)).young
    assert not case(Incident(first_seen=None)).young, "a node that is down for five minutes took it before"


def test_two_looks_are_more_than_30_seconds_apart() -> None:
    assert not case(Incident(first_seen=timedelta(seconds=30))).seen_twice
    assert case(Incident(first_seen=timedelta(seconds=31))).seen_twice
    assert not case(Incident(first_seen=None)).seen_twice


def test_a_primary_a_boot_or_an_address_that_changed_since_the_first_look_refuses() -> None:
    assert "primary OSD of 1.5 changed" in reasons(Incident(first_look={"primary": 1}))
    for changed in ({"boot": "another"}, {"ips": ("10.0.0.7",)}, {"node": "node9"}):
        assert "rebooted or changed its addresses" in reasons(Incident(first_look=changed))
    assert case(Incident(first_look={"node": None, "boot": None, "ips": ()})).changed is None


# The configured Ceph.


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (csi(clusterID=OTHER_FSID), f"clusterID is {OTHER_FSID}"),
        ({"rbd": {"image": "index", "pool": "mioss", "monitors": ["10.7.7.7:6789", "[2001:db8::7]:3300"]}}, "monitors"),
    ],
)
def test_a_volume_that_names_another_ceph_refuses(source: dict[str, Any], says: str) -> None:
    assert says in reasons(Incident(volumes=[volume(source=source)]))


@pytest.mark.parametrize(
    "source",
    [
        csi(clusterID=FSID),
        csi(clusterID="rook-ceph"),
        {"rbd": {"image": "index", "pool": "mioss", "monitors": ["10.7.7.7:6789", "10.0.1.1:3300"]}},
        {"rbd": {"image": "index", "pool": "mioss", "monitors": ["10.0.1.1"]}},
        {"rbd": {"image": "index", "pool": "mioss", "monitors": ["ceph-mon.example.com:6789"]}},
    ],
)
def test_a_volume_that_names_the_same_ceph_or_says_nothing_of_it_does_not_refuse(source: dict[str, Any]) -> None:
    assert case(Incident(volumes=[volume(source=source)])).against is None


# What the plan does first, and what the node still uses.


def test_a_node_that_the_plan_cordons_first_counts_as_cordoned_only_while_planning() -> None:
    from runbooks.model import Risk

    incident = Incident(nodes=[node("node1", "10.0.0.1", ready="Unknown"), node("node2", "10.0.0.2")])
    act = Planned("kubernetes.cordon", "cordon", (incident.nodes[0].subject,), {}, Risk.LOW)
    assert case_of(incident.situation(expected=(act,))).holder.cordoned
    assert not case_of(incident.situation(done=(act,))).holder.cordoned
    elsewhere = msgspec.structs.replace(act, targets=(incident.nodes[1].subject,))
    assert not case_of(incident.situation(expected=(elsewhere,))).holder.cordoned


def test_a_node_that_is_up_and_uses_the_volume_is_said_to() -> None:
    incident = Incident(
        nodes=[node("node1", "10.0.0.1", in_use=["kubernetes.io/rbd/[m]:index", "kubernetes.io/rbd/[m]:ledger"])],
        pods=[pod("old", "node1")], attachments=[attachment("node1")],
    )  # fmt: skip
    assert case(incident).holder.uses == (
        "pod search/old there uses the claim",
        "attachment csi-node1 is to it",
        "its volumesInUse has kubernetes.io/rbd/[m]:index",
    )
    incident.volumes = [volume(source=csi())]
    incident.nodes = [node("node1", "10.0.0.1", in_use=["kubernetes.io/csi/rbd.csi.ceph.com^handle-1"])]
    assert "volumesInUse has kubernetes.io/csi" in case(incident).holder.uses[-1]


# What later looks and other facts add.


def test_an_unhealthy_ceph_refuses_and_a_warning_does_not() -> None:
    assert "HEALTH_ERR" in reasons(Incident(health="HEALTH_ERR"))
    assert case(Incident(health="HEALTH_WARN")).unhealthy is None


def test_an_address_that_a_writer_was_seen_at_is_fenced_too_if_it_is_the_nodes() -> None:
    at = pod("agent", "node1", pod_ip="10.5.0.1", host_ip="10.5.0.1")
    incident = Incident(first_look={"watched_from": ("10.5.0.1:0/9", "10.0.0.1:0/3")}, at_address=[at])
    assert scope(case(incident)).entries == ("10.0.0.1:0/0", "10.5.0.1:0/0")


def test_a_writer_that_was_seen_at_an_address_of_nobody_makes_it_uncertain_what_to_fence() -> None:
    assert "seen at 10.66.0.1" in reasons(Incident(first_look={"watched_from": ("10.66.0.1:0/9",)}))


def test_writers_that_were_seen_on_other_machines_or_watch_now_are_not_the_holders() -> None:
    seen = ("10.0.0.2:0/9", "10.0.1.2:0/9", "10.0.0.99:0/1")
    assert case(Incident(first_look={"watched_from": seen})).holder.unclear is None
    now = Incident(watchers=(watcher("10.66.0.1", nonce=9),), first_look={"watched_from": ("10.66.0.1:0/9",)})
    assert case(now).holder.unclear is None
    assert "has a watcher" in reasons(now)


def test_more_clients_than_pods_come_from_somewhere_else() -> None:
    clients = tuple(Session("client.admin", f"client.{n}", "10.0.0.1", "a") for n in range(3))
    assert case(Incident(sessions=clients[:2])).holder.foreign == ()
    assert "3 clients in session from there, though only 1 pods" in reasons(Incident(sessions=clients))


def test_a_node_all_of_whose_addresses_are_fenced_for_long_is_fenced_already() -> None:
    assert case(Incident(fences=(Fence("10.0.0.1:0/0", YEARS),))).already_fenced
    assert not case(Incident(fences=(Fence("10.0.0.1:0/0", NOW + timedelta(hours=1)),))).already_fenced
    two = [node("node1", "10.0.0.1", ready="False", ips=("10.5.0.1",)), node("node2", "10.0.0.2")]
    half = Incident(nodes=two, first_look={"ips": ("10.0.0.1", "10.5.0.1")}, fences=(Fence("10.0.0.1:0/0", YEARS),))
    assert not case(half).already_fenced


def test_addresses_that_are_none_make_it_uncertain_what_to_fence() -> None:
    odd = [node("node1", "10.0.0.1", ready="False", ips=("10.0.0.300",)), node("node2", "10.0.0.2")]
    assert "addresses that are none (10.0.0.300)" in reasons(Incident(nodes=odd))


# Unlocked images that volumes name: newer clients take no lock until they write.

LEDGER = ImageSpec("mioss", "", "ledger")
LEDGER_VOLUME = volume(
    "ledger", source={"csi": {**csi(imageName="ledger")["csi"], "volumeHandle": "handle-2"}},
    claim={"namespace": "bank", "name": "ledger"},
)  # fmt: skip
LEDGER_POD = pod(
    "ledger-0", "node1", namespace="bank", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "ledger"}}]
)
CSI_SESSION = Session("client.csi-rbd-node", "client.55", "10.0.0.1", "a")


def beside(*watchers: Watcher, **changed: Any) -> Incident:
    """The incident beside `mioss/ledger`: unlocked, of a ceph-csi volume of the pod bank/ledger-0 on node1."""
    incident = Incident(
        open_elsewhere={str(LEDGER): watchers}, free=(LEDGER,), sessions=changed.pop("sessions", (CSI_SESSION,)),
        on_node=changed.pop("on_node", [pod("old", "node1", terminating=True), LEDGER_POD]),
        attachments=changed.pop("attachments", [attachment("node1", of="ledger")]), **changed,
    )  # fmt: skip
    incident.volumes.append(LEDGER_VOLUME)
    return incident


def own(client: str = "client.55", ip: str = "10.0.0.1") -> Watcher:
    return watcher(ip, client)


def test_a_client_that_has_an_unlocked_image_open_watches_elsewhere() -> None:
    assert case(beside(own(KUBELET.client))).watches_elsewhere is True
    assert case(beside(own())).watches_elsewhere is False
    assert case(beside()).watches_elsewhere is False


def test_an_image_that_a_volume_names_and_that_was_not_looked_at_leaves_it_unknown() -> None:
    unread = beside()
    unread.open_elsewhere = {}
    assert case(unread).watches_elsewhere is None
    never_met = beside()
    never_met.open_elsewhere, never_met.free = {}, ()
    assert case(never_met).watches_elsewhere is None
    for incident in (unread, never_met):
        assert "perhaps users of image mioss/ledger, which could not be read" in case(incident).holder.dies


def test_a_client_at_the_nodes_address_that_has_an_unlocked_image_open_for_no_pod_of_the_node_would_be_hit() -> None:
    strange = beside(own(), on_node=[pod("old", "node1", terminating=True)], sessions=())
    assert "client.55 at 10.0.0.1:0/5, which has mioss/ledger open for no pod of this node" in reasons(strange)
    assert case(beside(own(), sessions=())).holder.foreign == ()
    assert case(beside(own(ip="10.0.0.2"), on_node=[], sessions=())).holder.foreign == ()


# A session of a ceph-csi user at the cut-off node: the node's own only if its client has a pod's image open.


def test_the_session_of_a_client_that_has_an_image_of_the_nodes_pod_open_is_the_nodes_own() -> None:
    made = case(beside(own()))
    assert made.holder.foreign == ()
    assert scope(made).extent is Extent.NODE
    assert {"bank/ledger-0", "client.csi-rbd-node in session from 10.0.0.1"} <= set(made.holder.dies)


def test_a_released_volumes_pod_of_the_same_claims_name_explains_no_session() -> None:
    """Its claim was made anew, and its pods have another volume: whoever has the old image open is somebody else."""
    incident = beside(own())
    incident.volumes[-1] = msgspec.structs.replace(LEDGER_VOLUME, status=PhaseStatus("Released"))
    assert any("client.csi-rbd-node" in who for who in case(incident).holder.foreign)


@pytest.mark.parametrize(
    ("watchers", "changed"),
    [
        ((), {}),  # it has nothing open
        ((own("client.56"),), {}),  # another client of the same user has
        ((own(ip="10.0.0.2"),), {}),  # from another address: the same id behind NAT is no proof
        ((own(),), {"on_node": [pod("old", "node1", terminating=True)]}),  # for no pod of this node
        ((own(),), {"attachments": []}),  # nothing says that the volume is this node's
        ((own(),), {"attachments": [attachment("node2", of="ledger")]}),
        # Its replacement on another node, behind the same NAT, has the very image open.
        ((own(),), {"attachments": [attachment("node1", of="ledger"), attachment("node2", of="ledger")]}),
        ((own(),), {"sessions": (msgspec.structs.replace(CSI_SESSION, entity=""),)}),
        ((own(),), {"sessions": (msgspec.structs.replace(CSI_SESSION, entity="client.rbd-mirror.a"),)}),
        ((own(),), {"sessions": (msgspec.structs.replace(CSI_SESSION, entity="mgr.x"),)}),
        ((own(),), {"sessions": (CSI_SESSION, msgspec.structs.replace(CSI_SESSION, client="client.57"))}),
        ((own(),), {"pools": ()}),
        ((own(),), {"unread_pools": (PoolProblem("b", "denied"),)}),
        ((own(),), {"others": (other(None),)}),
        ((own(),), {"others": (other((own(),)),)}),  # it works on another image too, for no pod of this node
    ],
)
def test_every_other_session_from_the_nodes_address_stays_foreign(
    watchers: tuple[Watcher, ...], changed: dict[str, Any]
) -> None:
    assert "which has a session from 10.0.0.1" in reasons(beside(*watchers, **changed))


def test_a_volume_that_several_nodes_may_use_explains_no_session() -> None:
    for modes in (["ReadWriteMany"], ["ReadWriteOnce", "ReadOnlyMany"], []):
        incident = beside(own())
        incident.volumes[-1] = msgspec.structs.replace(
            LEDGER_VOLUME, spec=msgspec.structs.replace(LEDGER_VOLUME.spec, access_modes=tuple(modes))
        )
        assert "client.csi-rbd-node (client.55), which has a session" in reasons(incident)


def test_a_pod_that_uses_the_claim_on_another_node_makes_its_session_foreign() -> None:
    incident = beside(own())
    incident.pods.append(
        pod("ledger-1", "node2", namespace="bank", volumes=list(msgspec.to_builtins(LEDGER_POD.spec.volumes)))
    )
    assert "client.csi-rbd-node (client.55), which has a session" in reasons(incident)


def test_while_neighbours_are_not_seen_nothing_is_fenced_whoever_is_in_session() -> None:
    decision = scope(case(beside(own(), unseen={NEIGHBOURS: "no answer"})))
    assert (decision.extent, decision.unknown) == (Extent.REFUSE, True)
