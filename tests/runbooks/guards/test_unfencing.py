"""Guards about lifting a fence: each proof by itself, and what is missing without it."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from diagnostics.facts.ceph import OSDMAP, SESSIONS, Daemon, Fence, Session
from diagnostics.facts.holders import NODES
from diagnostics.facts.network_fences import NETWORK_FENCES, NetworkFence
from runbooks.fencing import FENCE_LASTS
from runbooks.guards import Answer, Ruling, all_guards
from runbooks.model import Risk
from runbooks.situation import Planned
from runbooks.standing import STANDING
from tests.runbooks.actions.examples.storage import CSI, HOST, back, record, recovered_node
from tests.runbooks.hand_made import NOW, YEARS

PROOFS = (
    "fence_is_ours", "no_network_fence_covers_node", "node_is_ready_for_long", "node_has_rebooted_since_fence",
    "no_session_from_before_reboot", "no_ceph_volume_in_use_on_node",
)  # fmt: skip
STORAGE = Fence("10.9.0.1:0/0", YEARS)


def judge(name: str, **how: Any) -> Ruling:
    return all_guards()[name].judge(back(**how))


def says(ruling: Ruling, answer: Answer, *words: str) -> None:
    assert ruling.answer is answer, ruling
    for word in words:
        assert word in " | ".join(ruling.reasons), ruling.reasons


def lift(*entries: str) -> Planned:
    return Planned("ceph.unfence", "lift", (), {"entries": list(entries)}, Risk.HIGH)


def network_fence(*cidrs: str, **spec: Any) -> NetworkFence:
    return msgspec.convert({"metadata": {"name": "nf", "uid": "u"}, "spec": {"cidrs": cidrs, **spec}}, NetworkFence)


@pytest.mark.parametrize("name", PROOFS)
def test_a_node_that_has_rebooted_has_every_proof(name: str) -> None:
    says(judge(name), Answer.ALLOWED)


@pytest.mark.parametrize("name", PROOFS)
def test_of_a_node_whose_object_is_gone_only_a_person_can_know(name: str) -> None:
    says(judge(name, nodes=[]), Answer.REFUSED, "only a person can know", "ceph osd blocklist rm")
    says(judge(name, unseen={NODES: "denied"}), Answer.UNKNOWN, "denied")


@pytest.mark.parametrize(
    "fenced",
    [
        (),
        (record(node_uid="another"),),
        (record(fsid="another"),),
        (record("10.0.0.2:0/0"),),
        (record(at=NOW),),
    ],
    ids=["none", "another node object", "another Ceph", "another entry", "set again by somebody"],
)
def test_an_entry_that_no_execution_set_on_this_very_node_is_not_ours(fenced: tuple[Any, ...]) -> None:
    says(judge("fence_is_ours", fenced=fenced), Answer.REFUSED, "10.0.0.1:0/0", "in no journal")
    says(judge("node_has_rebooted_since_fence", fenced=fenced), Answer.REFUSED, "no boot was recorded")


def test_every_entry_over_the_node_must_be_ours_and_planned() -> None:
    wide = Fence("cidr:10.0.0.0:0/24", YEARS)
    says(judge("fence_is_ours", fences=(HOST, wide)), Answer.REFUSED, "cidr:10.0.0.0:0/24", "in no journal")
    says(judge("fence_is_ours", fences=()), Answer.REFUSED, "nothing to lift")
    says(judge("fence_is_ours", fences=(Fence("10.0.0.1:0/0", NOW),)), Answer.REFUSED, "nothing to lift")
    says(judge("fence_is_ours", act=lift("10.0.0.1:0/0")), Answer.ALLOWED, "10.0.0.1:0/0")
    says(judge("fence_is_ours", act=lift("10.0.0.1:0/0", "10.0.0.7:0/0")), Answer.REFUSED, "10.0.0.7:0/0")
    both = {"fences": (HOST, STORAGE), "fenced": (record(), record(STORAGE.entry))}
    says(judge("fence_is_ours", act=lift("10.0.0.1:0/0"), **both), Answer.REFUSED, "the plan lifts 10.0.0.1:0/0, but")
    ruling = judge("fence_is_ours", act=lift("10.0.0.1:0/0", "10.9.0.1:0/0"), **both)
    assert ruling.basis == {"entries": "10.0.0.1:0/0, 10.9.0.1:0/0"}
    says(judge("fence_is_ours", unseen={OSDMAP: "denied"}), Answer.UNKNOWN, "denied")
    says(judge("fence_is_ours", unseen={STANDING: "denied"}), Answer.UNKNOWN, "state database")


def test_exact_entries_and_ranges_are_left_even_if_ours() -> None:
    exact = Fence("10.0.0.1:0/77", YEARS)
    says(judge("fence_is_ours", fences=(HOST, exact), fenced=(record(), record(exact.entry))), Answer.ALLOWED)
    wide = Fence("cidr:10.0.0.0:0/24", YEARS)
    says(judge("fence_is_ours", fences=(wide,), fenced=(record(wide.entry),)), Answer.REFUSED, "cidr:")


@pytest.mark.parametrize(
    ("cidrs", "answer"),
    [
        (("10.0.0.1/32",), Answer.REFUSED),
        (("10.7.0.0/16", "10.0.0.0/24"), Answer.REFUSED),
        (("rubbish",), Answer.REFUSED),
        (("10.9.0.1/32",), Answer.REFUSED),
        (("10.0.1.0/24", "fd00::/8"), Answer.ALLOWED),
        ((), Answer.ALLOWED),
    ],
)
def test_a_network_fence_over_the_node_is_its_owners(cidrs: tuple[str, ...], answer: Answer) -> None:
    both = {"fences": (HOST, STORAGE), "fenced": (record(), record(STORAGE.entry))}
    says(judge("no_network_fence_covers_node", network_fences=(network_fence(*cidrs),), **both), answer)
    let_go = network_fence(*cidrs, fenceState="Unfenced")
    says(judge("no_network_fence_covers_node", network_fences=(let_go,), **both), Answer.ALLOWED)


def test_network_fences_that_may_not_be_read_are_not_none() -> None:
    says(judge("no_network_fence_covers_node", unseen={NETWORK_FENCES: "denied"}), Answer.UNKNOWN, "denied")
    assert network_fence().subject.kind == "NetworkFence"


def test_a_node_must_be_ready_for_more_than_five_minutes() -> None:
    name = "node_is_ready_for_long"
    says(judge(name, nodes=[recovered_node(timedelta(minutes=5))]), Answer.REFUSED, "five minutes")
    says(judge(name, nodes=[recovered_node(timedelta(minutes=5, seconds=1))]), Answer.ALLOWED)
    says(judge(name, nodes=[recovered_node(ready="Unknown")]), Answer.REFUSED, "not Ready")
    timeless = msgspec.to_builtins(recovered_node())
    del timeless["status"]["conditions"][0]["lastTransitionTime"]
    says(judge(name, nodes=[msgspec.convert(timeless, type(recovered_node()))]), Answer.REFUSED, "not known")


@pytest.mark.parametrize(
    ("node", "fenced", "word"),
    [
        ({"boot": "boot-1"}, {}, "has not rebooted"),
        ({"machine": "machine-2"}, {}, "another machine is called node1"),
        ({"boot": "boot-1", "machine": "machine-2"}, {}, "another machine"),
        ({"boot": ""}, {}, "tells no bootID"),
        ({"machine": ""}, {}, "tells no bootID or no systemUUID"),
        ({}, {"boot_id": ""}, "was not recorded"),
        ({}, {"system_uuid": ""}, "was not recorded"),
    ],
)
def test_a_reboot_is_another_boot_of_the_same_machine(node: dict[str, str], fenced: dict[str, str], word: str) -> None:
    changed = {"nodes": [recovered_node(**node)], "fenced": (record(**fenced),)}
    says(judge("node_has_rebooted_since_fence", **changed), Answer.REFUSED, word)


def test_a_fence_that_was_set_once_more_after_the_reboot_needs_another_reboot() -> None:
    """The entry keeps its first end, and the second execution its own boot."""
    again = record(boot_id="boot-2", at=YEARS - FENCE_LASTS + timedelta(days=3))
    says(judge("node_has_rebooted_since_fence", fenced=(record(), again)), Answer.REFUSED, "has not rebooted")
    says(judge("fence_is_ours", fenced=(record(), again)), Answer.ALLOWED)


def test_any_session_from_the_fenced_addresses_may_be_from_before_the_reboot() -> None:
    name = "no_session_from_before_reboot"
    session = Session("client.rbd", "client.4117", "10.0.0.1", "a")
    says(judge(name, sessions=(session,)), Answer.REFUSED, "client.4117", "10.0.0.1")
    elsewhere = msgspec.structs.replace(session, ip="10.0.0.2")
    says(judge(name, sessions=(elsewhere,)), Answer.ALLOWED)
    at_storage = msgspec.structs.replace(session, ip="10.9.0.1")
    both = {"fences": (HOST, STORAGE), "fenced": (record(), record(STORAGE.entry))}
    says(judge(name, sessions=(at_storage,), **both), Answer.REFUSED, "10.9.0.1")
    osd = Session("osd.3", "client.5", "10.0.0.1", "a")
    says(judge(name, sessions=(osd,), daemons=(Daemon("osd.3", "10.0.0.1"),)), Answer.ALLOWED)
    says(judge(name, sessions=(osd,)), Answer.REFUSED, "osd.3")
    says(judge(name, silent={"b": "timed out"}), Answer.UNKNOWN, "mon b")
    says(judge(name, unseen={SESSIONS: "denied"}), Answer.UNKNOWN, "denied")
    says(judge(name, unseen={OSDMAP: "denied"}), Answer.UNKNOWN, "denied")


@pytest.mark.parametrize(
    ("used", "answer"),
    [
        (CSI, Answer.REFUSED),
        ("kubernetes.io/csi/rook-ceph.cephfs.csi.ceph.com^x", Answer.REFUSED),
        ("kubernetes.io/rbd/mioss:index", Answer.REFUSED),
        ("kubernetes.io/csi/ebs.csi.aws.com^vol-1", Answer.ALLOWED),
        ("kubernetes.io/aws-ebs/vol-1", Answer.ALLOWED),
    ],
)
def test_a_ceph_volume_that_is_in_use_there_keeps_the_fence(used: str, answer: Answer) -> None:
    says(judge("no_ceph_volume_in_use_on_node", nodes=[recovered_node(in_use=[used])]), answer)


def test_a_fence_is_lifted_once_no_entry_of_the_act_is_left() -> None:
    name = "fence_is_lifted"
    says(judge(name, act=lift("10.0.0.1:0/0")), Answer.REFUSED, "still in the blocklist: 10.0.0.1:0/0")
    says(judge(name, act=lift("10.0.0.1:0/0"), fences=()), Answer.ALLOWED)
    says(judge(name, act=lift("10.0.0.1:0/0"), unseen={OSDMAP: "denied"}), Answer.UNKNOWN, "denied")
    says(judge(name), Answer.UNKNOWN, "no act")
