"""Whose address it is: one node, or nothing certain; and what of Kubernetes surrounds the holder of a lock."""

from datetime import UTC, datetime
from typing import Any

import pytest

from diagnostics.facts import NotSeen, Snapshot, ceph
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.holders import (
    CLAIM_USERS,
    LEASES,
    MOST_ADDRESSES,
    MOST_LEASES,
    NODE_PODS,
    NODES,
    OWNING_REPLICA_SETS,
    OWNING_STATEFUL_SETS,
    PODS_AT,
    holder_nodes,
    host_of,
    images_of_pod,
    lease_of,
    users_of,
    volume_of,
    volumes_of,
)
from diagnostics.facts.kubernetes import Get, List, Listing
from diagnostics.facts.resources import (
    AnnotatedMeta,
    Claim,
    ClaimSource,
    ClaimSpec,
    Lease,
    LocalReference,
    Meta,
    Node,
    NodeAddress,
    NodeStatus,
    Owner,
    Pod,
    PodRow,
    PodSpec,
    PodStatus,
    PodVolume,
    RBDSource,
    Volume,
    VolumeSpec,
)
from diagnostics.model import Scope, Subject

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
IP = "10.47.136.60"


def node(name: str, *ips: str) -> Node:
    return Node(Meta(name, uid=name), status=NodeStatus(tuple(NodeAddress("InternalIP", ip) for ip in ips)))


def row(name: str, on: str | None, host_ip: str | None, pod_ip: str | None) -> PodRow:
    return PodRow("ns", name, name, on, host_ip, pod_ip, "Running", (), False)


def locks(*ips: str) -> ceph.Locks:
    def locked(number: int, ip: str) -> ceph.LockedImage:
        image = ceph.Image("fsid", "p", "", f"i{number}", 1, f"i{number}.rbd")
        locker = ceph.Locker(f"client.{number}", "c", ceph.Address(ip, 0, number))
        return ceph.LockedImage(image, True, "", (locker,), ())

    return ceph.Locks("fsid", tuple(locked(number, ip) for number, ip in enumerate(ips)))


def snapshot(*nodes: Node, rows: tuple[PodRow, ...] = (), subject: Subject | None = None, **facts: Any) -> Snapshot:
    made = {
        NODES.name: Listing(nodes), PODS_AT.name: Listing((), rows), ceph.LOCKS.name: locks(IP),
        **{name.replace("_", "."): fact for name, fact in facts.items()},
    }  # fmt: skip
    return Snapshot("c", NOW, Scope("c", subject=subject), made)


def named(seen: Snapshot, ip: str = IP) -> str | None:
    found = host_of(ip, seen).node
    return found.metadata.name if found else None


def test_an_address_leads_to_the_one_node_that_has_it() -> None:
    seen = snapshot(node("node1", "192.0.2.1", IP), node("node2", "10.46.181.146"))
    assert named(seen) == "node1"
    assert host_of(IP, seen).why == f"{IP} is an address of node node1"


def test_a_host_network_pod_leads_to_its_node() -> None:
    seen = snapshot(node("node1", "192.0.2.1"), rows=(row("exporter", "node1", IP, IP),))
    assert (named(seen), host_of(IP, seen).pod) == ("node1", None)
    assert named(snapshot(node("node2"), rows=(row("exporter", "node1", IP, IP),))) is None, "that node is gone"


@pytest.mark.parametrize(
    "seen",
    [
        snapshot(node("node1", IP), node("node2", IP)),
        snapshot(node("node1", IP), node("node2"), rows=(row("exporter", "node2", IP, IP),)),
        snapshot(node("node1", IP), rows=(row("left-behind", "node0", IP, IP),)),
        snapshot(node("a"), node("b"), rows=(row("x", "a", IP, IP), row("y", "b", IP, IP))),
    ],
)
def test_an_address_that_several_nodes_have_leads_to_none(seen: Snapshot) -> None:
    assert named(seen) is None
    assert "address of several nodes" in host_of(IP, seen).why


def test_a_pods_own_address_is_not_its_nodes() -> None:
    of_pod = row("vm", "node1", "192.0.2.1", IP)
    found = host_of(IP, snapshot(node("node1", "192.0.2.1"), rows=(of_pod,)))
    assert (found.node, found.pod, found.why) == (None, "ns/vm", f"{IP} is the address of pod ns/vm, not of a node")
    both = host_of(IP, snapshot(node("node1", IP), rows=(of_pod,)))
    assert both.node is not None
    assert both.pod == "ns/vm"


def test_what_was_not_looked_at_is_no_proof_that_nobody_has_the_address() -> None:
    assert host_of(IP, snapshot(node("node2", "192.0.2.2"))).why == f"no node has the address {IP}"
    assert host_of(IP, Snapshot("c", NOW, Scope("c"))).why == "nodes could not be read"
    blind = snapshot(node("node2", "192.0.2.2")).with_fact(PODS_AT, NotSeen("forbidden"))
    assert host_of(IP, blind).why.endswith("the pods at it could not be read: forbidden")
    crowd = locks(*(f"10.0.0.{number}" for number in range(MOST_ADDRESSES)), IP)
    assert "one too many" in host_of(IP, snapshot(node("node2"), ceph_locks=crowd)).why


def test_addresses_of_lockers_are_looked_up_each_once_and_only_so_many() -> None:
    assert list(PODS_AT.requests(snapshot(ceph_locks=locks(IP, IP)))) == [List(None, f"status.podIP={IP}")]
    crowd = snapshot(ceph_locks=locks(*(f"10.0.{n // 250}.{n % 250}" for n in range(200))))
    assert len(list(PODS_AT.requests(crowd))) == MOST_ADDRESSES
    assert list(PODS_AT.requests(Snapshot("c", NOW, Scope("c")))) == []


POD_SUBJECT = Subject("Pod", "ns", "p", "u")


def test_nodes_are_listed_where_an_address_must_be_matched_and_read_by_name_elsewhere() -> None:
    waiting = Listing((Pod(Meta("p", "ns", "u"), PodSpec("node2")), Pod(Meta("q", "ns", "v"), PodSpec("node2"))))
    none = ceph.Locks("fsid", ())
    assert list(NODES.requests(snapshot())) == [List()]
    assert list(NODES.requests(snapshot(subject=POD_SUBJECT))) == [List()], "a locker's address must be matched"
    assert list(NODES.requests(snapshot(subject=POD_SUBJECT, ceph_locks=none, pods=waiting))) == [Get("node2")]
    assert list(NODES.requests(snapshot(subject=Subject("RBDImage", None, "p/i", ""), ceph_locks=none))) == [List()]


def test_the_holders_nodes_are_asked_for_their_pods_and_with_all_that_are_not_ready_for_their_leases() -> None:
    seen = snapshot(node("node1", IP), node("node2", "192.0.2.2"), ceph_locks=locks(IP, IP, "203.0.113.9"))
    assert [found.metadata.name for found in holder_nodes(seen)] == ["node1"]
    assert list(LEASES.requests(seen)) == [Get("node1", "kube-node-lease"), Get("node2", "kube-node-lease")]
    crowd = snapshot(*(node(f"n{number}", f"10.1.{number}.1") for number in range(MOST_LEASES + 1)))
    assert list(LEASES.requests(crowd)) == [List("kube-node-lease")]
    assert list(NODE_PODS.requests(seen)) == [List(None, "spec.nodeName=node1")]


def volume(name: str, image: str, claim: tuple[str, str] | None = ("ns", "data")) -> Volume:
    ref = LocalReference(claim[1], claim[0]) if claim else None
    return Volume(Meta(name), VolumeSpec(claim_ref=ref, rbd=RBDSource(image, pool="p")))


def test_the_users_of_a_locked_image_are_asked_for_beside_its_claims() -> None:
    volumes = Listing((volume("pv-0", "i0"), volume("pv-9", "i9", ("other", "x")), volume("pv-1", "i1", None)))
    seen = snapshot(subject=ceph.ALL_LOCKS, persistentvolumes=volumes)
    assert [found.metadata.name for found in volumes_of("p/i0", seen)] == ["pv-0"]
    assert list(CLAIM_USERS.requests(seen)) == [List("ns")]
    assert list(CLAIM_USERS.requests(snapshot(persistentvolumes=volumes))) == [], "a scan has every pod's row already"
    gone = snapshot(
        subject=Subject("RBDImage", None, "p/i9", ""), persistentvolumes=volumes, ceph_locks=ceph.Locks("fsid", ())
    )
    assert list(CLAIM_USERS.requests(gone)) == [List("other")], "they matter also once the lock is gone"
    assert list(CLAIM_USERS.requests(snapshot())) == []


def user(name: str, phase: str = "Running", ns: str = "ns", claim: str = "data", owner: Owner | None = None) -> Pod:
    return Pod(
        Meta(name, ns, name, owner_references=(owner,) if owner else None),
        PodSpec("node1", volumes=(PodVolume("d", ClaimSource(claim)),)),
        PodStatus(phase=phase),
    )


def test_a_volumes_users_are_those_pods_of_its_claim_that_have_not_ended() -> None:
    pods = (
        user("runs"), user("waits", "Pending"), user("lost", "Unknown"), user("ended", "Succeeded"),
        user("elsewhere", ns="other"), user("another-claim", claim="x"),
    )  # fmt: skip
    seen = snapshot().with_fact(CLAIM_USERS, Listing(pods))
    assert [pod.metadata.name for pod in users_of(volume("pv", "i0"), seen)] == ["runs", "waits", "lost"]
    assert users_of(volume("pv", "i0", None), seen) == ()


def test_owners_are_read_of_pods_that_use_claims() -> None:
    sets, stateful = Owner("ReplicaSet", "rs", "1", True), Owner("StatefulSet", "db", "2", True)
    pods = (user("a", owner=sets), user("b", owner=sets), user("c", owner=stateful), user("d"))
    seen = snapshot().with_fact(CLAIM_USERS, Listing(pods))
    assert list(OWNING_REPLICA_SETS.requests(seen)) == [Get("rs", "ns")]
    assert list(OWNING_STATEFUL_SETS.requests(seen)) == [Get("db", "ns")]


def test_a_claim_that_names_anothers_volume_has_none() -> None:
    claims = Listing((Claim(AnnotatedMeta("data", "ns", "uid-new"), ClaimSpec("pv")),))
    mine = user("p")
    for ref, is_mine in (
        (LocalReference("data", "ns", "uid-new"), True), (LocalReference("data", "ns"), True), (None, True),
        (LocalReference("data", "ns", "uid-old"), False), (LocalReference("other", "ns"), False),
        (LocalReference("data", "elsewhere"), False),
    ):  # fmt: skip
        seen = snapshot(
            persistentvolumeclaims=claims, persistentvolumes=Listing((Volume(Meta("pv"), VolumeSpec(claim_ref=ref)),))
        )
        assert (volume_of(mine, "data", seen) is not None) == is_mine, ref


def test_joins_are_made_once_for_thousands() -> None:
    made: list[str] = []

    def key(pod: Pod) -> str:
        made.append(pod.metadata.name)
        return pod.metadata.name

    listing = Listing(tuple(user(f"p{number}") for number in range(100)))
    for number in range(100):
        assert [pod.metadata.name for pod in listing.index("name", key)[f"p{number}"]] == [f"p{number}"]
    assert len(made) == 100


def test_a_pods_images_come_through_its_claims_or_inline_and_each_once() -> None:
    inline = PodVolume("inline", rbd=RBDSource("own", pool="p"))
    pod = Pod(Meta("x", "ns"), PodSpec(volumes=(PodVolume("d", ClaimSource("data")), inline, inline, PodVolume("t"))))
    seen = (
        snapshot(persistentvolumes=Listing((volume("pv-0", "i0"),)))
        .with_fact(k8s.CLAIMS, Listing((
            Claim(Meta("data", "other"), ClaimSpec("pv-9")), Claim(Meta("data", "ns"), ClaimSpec("pv-0")),
        )))
    )  # fmt: skip
    assert images_of_pod(pod, seen) == (ceph.ImageSpec("p", "", "i0"), ceph.ImageSpec("p", "", "own"))
    found = volume_of(pod, "data", seen)
    assert found is not None
    assert found.metadata.name == "pv-0"
    assert volume_of(pod, "no-such-claim", seen) is None


def test_a_lease_is_the_one_named_as_its_node() -> None:
    leases = Listing((Lease(Meta("node2")), Lease(Meta("node1", uid="right"))))
    found = lease_of(node("node1"), leases)
    assert found is not None
    assert found.metadata.uid == "right"
    assert lease_of(node("node3"), leases) is None
    assert lease_of(node("node1"), None) is None
