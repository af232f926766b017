"""Guards about a node that is given up, its pods and its VolumeAttachments: what proves that it writes no more."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from diagnostics.facts import NotSeen
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import OSDMAP, SESSIONS, Daemon, Fence, Session
from diagnostics.facts.holders import BESIDE_POD, CLAIM_USERS, NODES
from diagnostics.facts.kubernetes import Get, List, Listing
from diagnostics.facts.network_fences import DEFINITIONS, NETWORK_FENCES, Definition
from diagnostics.facts.resources import Node
from diagnostics.model import Scope, Subject
from runbooks.guards import Answer, Ruling, all_guards
from runbooks.model import Risk
from runbooks.situation import Planned
from tests.runbooks.actions.examples.storage import HOST, NEW, OLD, attached, claim, dead, off
from tests.runbooks.hand_made import NOW, OTHER_FSID, YEARS, Incident, csi, fence_of, node, pod, volume

STOPPED = "node_fenced_or_attested_off"
COVERED = "every_ceph_volume_of_pod_is_fenced"
ORPHANED = "volume_attachment_is_orphaned"
OF_POD = {"params": {"pod": "search/old"}}
OF_ATTACHMENT = {"params": {"volume_attachment": "csi-node1"}}
OTHER = {"name": "x", "persistentVolumeClaim": {"claimName": "disk"}}
INDEX = {"name": "data", "persistentVolumeClaim": {"claimName": "index"}}
SHARE = {"name": "share", "nfs": {"server": "10.0.0.5", "path": "/"}}
EBS = {"volumes": [volume(source={"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}})]}
"""The claim `index` is not on Ceph."""
WORD = {"done": (off(),)}


def judge(name: str, **how: Any) -> Ruling:
    return all_guards()[name].judge(dead(**how))


def says(ruling: Ruling, answer: Answer, *words: str) -> None:
    assert ruling.answer is answer, ruling
    assert ruling.reasons
    for word in words:
        assert word in " | ".join(ruling.reasons), ruling.reasons


def delete(*targets: Any, action: str = "kubernetes.force_delete_pod") -> Planned:
    return Planned(action, "do it", tuple(one.subject for one in targets), {}, Risk.HIGH)


def session(ip: str, entity: str = "client.admin") -> Session:
    return Session(entity, "client.4117", ip, "a")


# Which node, which pods, which attachments


def test_the_node_is_the_parameter_else_the_pods_else_the_attachments() -> None:
    for how in ({}, OF_POD, OF_ATTACHMENT):
        says(judge(STOPPED, fences=(HOST,), **how), Answer.ALLOWED, "all addresses of node1")
    says(judge("node_is_down", **OF_POD), Answer.ALLOWED, "node1")
    says(judge("node_is_down", params={"pod": "search/new"}), Answer.REFUSED, "node2")


@pytest.mark.parametrize(
    ("how", "answer", "word"),
    [
        ({"params": {}}, Answer.REFUSED, "no node is named"),
        ({"params": {"pod": "search/lost"}}, Answer.REFUSED, "not there any more"),
        ({"params": {"pod": "search/x"}, "pods": [pod("x", None)]}, Answer.REFUSED, "bound to no node"),
        ({"params": {"volume_attachment": "csi-9"}}, Answer.REFUSED, "no VolumeAttachment csi-9"),
        ({"params": {"volume_attachment": "csi-node1", "node": "node2"}}, Answer.REFUSED, "is to node node1, not to"),
        ({"unseen": {NODES: "denied"}}, Answer.UNKNOWN, "denied"),
        ({"nodes": []}, Answer.UNKNOWN, "no node node1"),
    ],
)
def test_a_node_that_nothing_names_for_certain_is_not_stopped(how: dict[str, Any], answer: Answer, word: str) -> None:
    says(judge(STOPPED, fences=(HOST,), **how), answer, word)


def test_the_doomed_pods_are_the_terminating_holders_of_what_the_pod_waits_for() -> None:
    beside = pod("beside", "node1", terminating=True, volumes=[OTHER])
    ended = pod("ended", "node1", terminating=True, phase="Failed")
    alive = pod("alive", "node1")
    says(judge("old_pod_is_terminating", pods=[OLD, NEW, beside, ended, alive]), Answer.ALLOWED, "search/old")
    assert "beside" not in str(judge("old_pod_is_terminating", pods=[OLD, NEW, beside, ended, alive]))
    says(judge("old_pod_is_terminating", pods=[NEW, beside, ended, alive]), Answer.REFUSED)
    says(judge("old_pod_is_terminating", **OF_POD), Answer.ALLOWED, "search/old")
    says(judge("old_pod_is_terminating", params={"pod": "search/old", "node": "node1"}), Answer.ALLOWED, "search/old")
    says(judge("old_pod_is_terminating", params={"pod": "search/alive"}, pods=[alive]), Answer.REFUSED)
    says(judge("old_pod_is_terminating", params={"pod": "search/lost"}), Answer.REFUSED)


def test_users_of_a_shared_volume_are_not_in_the_way() -> None:
    shared = [volume(source=csi(), modes=["ReadWriteMany"])]
    says(judge("old_pod_is_terminating", volumes=shared), Answer.REFUSED)
    says(judge("volume_attachment_is_there", volumes=shared), Answer.REFUSED)
    says(judge("old_pod_is_terminating", claims=[]), Answer.REFUSED)
    for kind in (k8s.CLAIMS, k8s.VOLUMES, BESIDE_POD, k8s.PODS):
        says(judge("old_pod_is_terminating", unseen={kind: "denied"}, facts={}), Answer.UNKNOWN)


# Fenced, or attested off


def test_without_fence_and_without_a_persons_word_the_missing_proof_is_named() -> None:
    for how in (EBS, OF_ATTACHMENT):
        says(
            judge(STOPPED, **how),
            Answer.REFUSED,
            "whole: 10.0.0.1",
            "such a fence, or a person who attests that node1 is",
        )
    says(judge(STOPPED), Answer.REFUSED, "whole: 10.0.0.1", "missing is such a fence: no word that node1 is off")
    says(judge(COVERED, **OF_POD), Answer.REFUSED, "node node1 is not fenced as a whole: 10.0.0.1")
    short = Fence("10.0.0.1:0/0", NOW)
    says(judge(STOPPED, fences=(short,)), Answer.REFUSED, "missing")
    says(judge(STOPPED, fences=(Fence("10.0.0.1:0/77", YEARS),)), Answer.REFUSED, "missing")
    two = [node("node1", "10.0.0.1", ready="Unknown", ips=("10.5.0.1",))]
    says(judge(STOPPED, fences=(HOST,), nodes=two), Answer.REFUSED, "10.5.0.1")


def test_a_ready_node_is_neither_fenced_nor_off() -> None:
    ready = [node("node1", "10.0.0.1")]
    says(judge(STOPPED, fences=(HOST,), nodes=ready), Answer.REFUSED, "is Ready")
    says(judge(STOPPED, done=(off(),), nodes=ready), Answer.REFUSED, "is Ready")
    says(judge(COVERED, done=(off(),), nodes=ready), Answer.REFUSED, "is Ready")


@pytest.mark.parametrize("how", ["expected", "done"])
def test_a_persons_word_for_that_very_node_stands_in_for_a_fence(how: str) -> None:
    ruling = judge(STOPPED, **{how: (off(),)})
    says(ruling, Answer.ALLOWED, "a person attests")
    assert ruling.basis["off"] == "node1=uid-node1"
    says(judge(COVERED, **{how: (off(),)}, **OF_POD, **EBS), Answer.ALLOWED, "a person attests")
    says(judge(STOPPED, **{how: (off(uid="another"),)}), Answer.REFUSED, "missing")
    says(judge(STOPPED, **{how: (off("node2"),)}), Answer.REFUSED, "missing")
    other = Planned("attest", "x", off().targets, {"attests": "something_else"}, Risk.READ)
    says(judge(STOPPED, **{how: (other,)}), Answer.REFUSED, "missing")
    says(judge(STOPPED, **{how: (delete(node("node1", "10.0.0.1")),)}), Answer.REFUSED, "missing")


def test_what_ceph_hears_from_the_node_gives_the_lie_to_a_persons_word() -> None:
    word = {**WORD, **EBS}
    for name in (STOPPED, COVERED):
        says(judge(name, sessions=(session("10.0.0.1"),), **word), Answer.REFUSED, "client.4117", "may not be off")
        says(judge(name, daemons=(Daemon("osd.3", "10.0.0.1"),), **word), Answer.REFUSED, "osd.3 is up")
        says(judge(name, sessions=(session("10.0.0.2"),), **word), Answer.ALLOWED)


def test_a_word_is_not_taken_where_ceph_might_give_the_lie_to_it_and_was_not_heard() -> None:
    word = {**WORD, **EBS}
    for name in (STOPPED, COVERED):
        says(judge(name, unseen={SESSIONS: "timed out"}, **word), Answer.UNKNOWN, "still hears", "timed out")
        says(judge(name, unseen={OSDMAP: "timed out"}, **word), Answer.UNKNOWN, "still hears", "timed out")
        says(
            judge(name, silent={"b": "no answer"}, **word), Answer.UNKNOWN, "mon b did not tell its sessions: no answer"
        )
        lie = {"silent": {"b": "no answer"}, "sessions": (session("10.0.0.1"),)}
        says(judge(name, **lie, **word), Answer.REFUSED, "client.4117")
        says(judge(name, silent={"b": "no answer"}, fences=(HOST,), **WORD), Answer.ALLOWED, "are fenced")
        none = {kind: NotSeen("no Ceph is configured", configured=False) for kind in (OSDMAP, SESSIONS)}
        says(judge(name, facts=none, **word), Answer.ALLOWED, "a person attests")


def test_where_the_blocklist_was_not_read_only_a_persons_word_helps() -> None:
    blind = {"facts": {OSDMAP: NotSeen("no Ceph is configured", configured=False)}}
    for name in (STOPPED, COVERED):
        says(judge(name, **blind), Answer.UNKNOWN, "no Ceph", "does not stand in")
        says(
            judge(name, **blind, **EBS), Answer.UNKNOWN, "no Ceph", "missing is a person who attests that node1 is off"
        )
        says(judge(name, **blind, **WORD, **EBS), Answer.ALLOWED)
    nowhere = {"nodes": [Node(Incident().nodes[0].metadata)], "fences": (HOST,)}
    says(judge(STOPPED, **nowhere), Answer.REFUSED, "no address")
    says(judge(STOPPED, **nowhere, done=(off(),)), Answer.ALLOWED)


@pytest.mark.parametrize("how", ["expected", "done"])
def test_no_word_stands_in_for_the_fence_of_a_volume_on_ceph(how: str) -> None:
    two = [node("node1", "10.0.0.1", ready="Unknown", ips=("fd00::5",))]
    for params in ({}, OF_POD):
        ruling = judge(COVERED, **{how: (off(),)}, **params, nodes=two, fences=(Fence("10.0.0.1:0/0", NOW),))
        says(ruling, Answer.REFUSED, "node node1 is not fenced as a whole: 10.0.0.1, fd00::5", "on Ceph: index")
        says(
            ruling,
            Answer.REFUSED,
            "a person's word that node1 is off does not stand in",
            "ends every Ceph client there",
        )
        says(ruling, Answer.REFUSED, "`ceph osd blocklist add 10.0.0.1:0/0 157784760`", "ceph/stale_rbd_lock")
        says(ruling, Answer.REFUSED, "`ceph osd blocklist add [fd00::5]:0/0 157784760`")
        says(judge(COVERED, **{how: (off(),)}, **params, fences=(HOST,)), Answer.ALLOWED, "all addresses")
    says(judge(STOPPED, **{how: (off(),)}), Answer.ALLOWED)  # that is what VolumeAttachments need


def with_volumes(*entries: dict[str, Any], **how: Any) -> dict[str, Any]:
    return {"pods": [pod("old", "node1", terminating=True, volumes=list(entries)), NEW], **OF_POD, **how}


RBD = {"image": "x", "pool": "mioss", "user": "admin", "monitors": ["10.0.1.1:6789"]}
ON_CEPH = {
    "rbd": ({"name": "x", "rbd": RBD}, "on Ceph: x"),
    "cephfs": ({"name": "x", "cephfs": {"monitors": ["10.0.1.1:6789"]}}, "on Ceph: x"),
    "csi": ({"name": "x", "csi": {"driver": "rook-ceph.cephfs.csi.ceph.com"}}, "on Ceph: x"),
    "an unknown claim": (OTHER, "disk (its PersistentVolume is not known: it may be on Ceph)"),
    "an unknown ephemeral claim": ({"name": "e", "ephemeral": {}}, "old-e (its PersistentVolume is not known"),
}


@pytest.mark.parametrize(("entry", "named"), ON_CEPH.values(), ids=ON_CEPH)
def test_whatever_may_be_on_ceph_takes_the_fence_and_where_that_is_not_certain_the_word_too(
    entry: dict[str, Any], named: str
) -> None:
    says(judge(COVERED, **with_volumes(SHARE, entry), **WORD), Answer.REFUSED, named, "not fenced as a whole: 10.0.0.1")
    says(judge(COVERED, **with_volumes(entry), fences=(HOST,)), Answer.REFUSED, "attest that node1 is off")
    says(judge(COVERED, **with_volumes(entry), fences=(HOST,), **WORD), Answer.ALLOWED, "a person attests")


def test_of_two_volumes_that_say_they_are_the_claims_the_one_on_ceph_counts() -> None:
    gone = volume("old", source={"nfs": {"server": "10.0.0.5", "path": "/"}}, phase="Released")
    free = volume("free", claim=None)
    for volumes in ([free, volume(source=csi()), gone], [gone, volume(source=csi()), free]):
        says(judge(COVERED, **OF_POD, **WORD, volumes=volumes), Answer.REFUSED, "on Ceph: index")
        says(judge(COVERED, **OF_POD, fences=(HOST,), volumes=volumes), Answer.REFUSED, "attest that node1 is off")


def test_a_volume_on_another_ceph_is_behind_no_fence_that_could_be_seen() -> None:
    foreign = {"volumes": [volume(source=csi(clusterID=OTHER_FSID))]}
    for how in ({}, {"fences": (HOST,)}):
        said = judge(COVERED, **OF_POD, **WORD, **foreign, **how)
        says(
            said,
            Answer.REFUSED,
            "volume index is not known to be on this Ceph (the volume's clusterID is",
            "its own Ceph",
        )
    asked = judge("fence_does_not_cover_all", **OF_POD, **foreign, fences=(HOST,))
    says(asked, Answer.REFUSED, "nobody is asked", "index is not known")
    inline = {"name": "x", "rbd": {**RBD, "monitors": ["10.7.7.7:6789"]}}
    said = judge(COVERED, **with_volumes(inline), fences=(HOST,), **WORD)
    says(said, Answer.REFUSED, "volume x is not known to be on this Ceph (the volume's monitors")


def test_nobody_is_told_to_fence_what_works() -> None:
    ready = judge(COVERED, nodes=[node("node1", "10.0.0.1")], **WORD)
    says(ready, Answer.REFUSED, "node node1 is Ready: it is in use")
    osd = judge(COVERED, daemons=(Daemon("osd.3", "10.0.0.1"),), **WORD)
    says(osd, Answer.REFUSED, "never fence 10.0.0.1 while osd.3 is up there")
    ours = judge(COVERED, own_ips=("10.0.0.1",), **WORD)
    says(ours, Answer.REFUSED, "never fence 10.0.0.1 while Unstick itself asks")
    assert not [one for one in (ready, osd, ours) if "blocklist add" in str(one)]


def test_where_the_fence_cannot_be_seen_no_word_stands_in_for_it() -> None:
    for unseen in ({OSDMAP: "denied"}, {k8s.VOLUMES: "denied"}):
        says(judge(COVERED, unseen=unseen, **OF_POD, **WORD), Answer.UNKNOWN, "denied")
    says(judge(COVERED, unseen={OSDMAP: "denied"}, **WORD), Answer.UNKNOWN, "does not stand in", "on Ceph: index")
    nowhere = {"nodes": [Node(Incident().nodes[0].metadata)]}
    says(judge(COVERED, fences=(HOST,), **nowhere, **WORD), Answer.REFUSED, "no address", "on Ceph: index")


@pytest.mark.parametrize("entries", [(), ({"name": "e", "emptyDir": {}},), (SHARE,)], ids=["none", "local", "nfs"])
def test_a_pod_without_a_volume_on_ceph_takes_a_persons_word_on_a_node_that_is_not_fenced(
    entries: tuple[dict[str, Any], ...],
) -> None:
    how = with_volumes(*entries)
    for name in (STOPPED, COVERED):
        says(
            judge(name, **how),
            Answer.REFUSED,
            "whole: 10.0.0.1",
            "or a person who attests that node1 is off (node=node1)",
        )
        says(judge(name, **how, **WORD), Answer.ALLOWED, "a person attests")
    says(judge("fence_does_not_cover_all", **how), Answer.ALLOWED, "not fenced as a whole")


def test_a_pod_that_the_act_names_and_nobody_can_see_is_not_taken_for_one_without_volumes() -> None:
    """The pod that waits may have gone since: then nothing leads to what the old one holds."""
    gone = {"params": {"pod": "search/lost", "node": "node1"}, "act": delete(OLD, node("node1", "10.0.0.1"))}
    says(judge(COVERED, **gone, **WORD), Answer.UNKNOWN, "what Pod search/old mounts is not known")
    says(judge(COVERED, act=delete(OLD), fences=(HOST,)), Answer.ALLOWED)


def test_other_storage_than_this_ceph_takes_a_persons_word_even_behind_a_fence() -> None:
    old = pod("old", "node1", terminating=True, volumes=[INDEX, OTHER])
    says(judge(COVERED, fences=(HOST,), pods=[old, NEW]), Answer.REFUSED, "volume disk", "attest")
    says(judge(COVERED, fences=(HOST,), pods=[old, NEW], done=(off(),)), Answer.ALLOWED, "a person attests")
    says(judge(COVERED, fences=(HOST,)), Answer.ALLOWED, "all addresses of node1 are fenced")
    says(judge(COVERED, expected=(fence_of("10.0.0.1:0/0"),)), Answer.ALLOWED)


def test_only_the_acts_own_pods_count_once_there_is_an_act() -> None:
    other = pod("other", "node1", terminating=True, volumes=[INDEX, OTHER])
    pods = [OLD, other, NEW]
    says(judge(COVERED, fences=(HOST,), pods=pods), Answer.REFUSED, "disk")
    says(judge(COVERED, fences=(HOST,), pods=pods, act=delete(OLD)), Answer.ALLOWED)
    says(judge(COVERED, fences=(HOST,), pods=pods, act=delete(OLD, action="kubernetes.evict")), Answer.REFUSED, "disk")


def test_an_attestation_is_asked_for_only_where_no_fence_stands() -> None:
    name = "fence_does_not_cover_all"
    for how in (EBS, OF_ATTACHMENT, {"pods": [NEW], "on_node": []}):
        says(judge(name, **how), Answer.ALLOWED, "not fenced as a whole: 10.0.0.1")
    says(judge(name), Answer.REFUSED, "nobody is asked whether node1 is off", "not fenced as a whole: 10.0.0.1")
    says(judge("fence_does_not_cover_all", fences=(HOST,)), Answer.REFUSED, "lasting fences cover node1")
    says(judge("fence_does_not_cover_all", nodes=[]), Answer.REFUSED, "does not exist any more")
    says(judge("fence_does_not_cover_all", unseen={OSDMAP: "denied"}), Answer.UNKNOWN, "denied")
    none = {"facts": {OSDMAP: NotSeen("no Ceph is configured", configured=False)}}
    says(judge(name, **none, **EBS), Answer.ALLOWED, "no Ceph")
    says(judge(name, **none), Answer.UNKNOWN, "no Ceph", "on Ceph: index")


def test_a_fence_says_nothing_of_storage_that_is_not_on_this_ceph() -> None:
    ebs = [volume(source={"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}})]
    for how in ({}, OF_ATTACHMENT):
        says(judge(STOPPED, fences=(HOST,), volumes=ebs, **how), Answer.REFUSED, "volume index is not known to be on")
        says(judge(STOPPED, fences=(HOST,), volumes=ebs, done=(off(),), **how), Answer.ALLOWED, "a person attests")
        says(judge("fence_does_not_cover_all", fences=(HOST,), volumes=ebs, **how), Answer.ALLOWED, "volume index")
    gone = {"volumes": [volume("other", source=csi())], **OF_ATTACHMENT}
    says(judge(STOPPED, fences=(HOST,), **gone), Answer.REFUSED, "volume index")


def test_a_node_that_is_gone_passes_for_its_attachments_alone() -> None:
    says(judge(STOPPED, nodes=[], **OF_ATTACHMENT), Answer.ALLOWED, "does not exist")
    act = delete(attached(), action="kubernetes.delete_volume_attachment")
    says(judge(STOPPED, nodes=[], act=act), Answer.ALLOWED, "does not exist")
    says(judge(STOPPED, nodes=[], act=delete(OLD)), Answer.UNKNOWN, "no node node1")


def test_pods_are_gone_when_their_namespace_was_listed_without_them() -> None:
    says(judge("pod_is_gone", act=delete(OLD)), Answer.REFUSED, "still there: old")
    says(judge("pod_is_gone", pods=[NEW], act=delete(OLD)), Answer.ALLOWED)
    says(judge("pod_is_gone", pods=[NEW], act=delete(OLD), unseen={BESIDE_POD: "denied"}), Answer.UNKNOWN)


# VolumeAttachments


@pytest.mark.parametrize("how", [{}, OF_ATTACHMENT], ids=["of a pod", "by name"])
def test_an_attachment_is_orphaned_once_its_node_is_not_ready_and_no_pod_there_uses_it(how: dict[str, Any]) -> None:
    ruling = judge(ORPHANED, pods=[NEW], on_node=[], **how)
    says(ruling, Answer.ALLOWED, "csi-node1")
    assert list(ruling.basis.values()) == ["uid-csi-node1 to node1"]
    says(judge(ORPHANED, pods=[NEW], on_node=[], nodes=[], **how), Answer.ALLOWED)
    says(judge(ORPHANED, **how), Answer.REFUSED, "pod search/old on node node1 uses the volume")
    says(judge(ORPHANED, expected=(delete(OLD),), **how), Answer.ALLOWED)
    ready = [node("node1", "10.0.0.1")]
    says(judge(ORPHANED, pods=[NEW], on_node=[], nodes=ready, **how), Answer.REFUSED, "is Ready")
    going = [attached(deletionTimestamp=NOW)]
    says(judge(ORPHANED, attachments=going, **how), Answer.REFUSED, "external-attacher/rbd-csi-ceph-com", "never strip")
    says(judge(ORPHANED, attachments=[], **how), Answer.REFUSED, "no such VolumeAttachment")
    for kind in (k8s.ATTACHMENTS, k8s.VOLUMES, CLAIM_USERS, NODES):
        says(judge(ORPHANED, unseen={kind: "denied"}, **how), Answer.UNKNOWN, "denied")


def test_who_uses_a_volume_that_nobody_knows_is_not_nobody() -> None:
    for volumes in ([volume("other", source=csi())], [], [volume(source=csi(), claim=None)]):
        gone = {"volumes": volumes, **OF_ATTACHMENT}
        for on_node in ([], [pod("bare", "node1", volumes=[])], [OLD]):
            says(judge(ORPHANED, on_node=on_node, pods=[], **gone), Answer.UNKNOWN, "no claim leads to it")


def test_pods_of_a_namespace_that_nobody_asked_for_are_not_gone() -> None:
    """Around a pod only its own namespace is listed, and the pods of nodes that are not Ready."""
    theirs = volume(source=csi(), claim={"namespace": "payments", "name": "db"})
    how = {"volumes": [theirs], "pods": [NEW], "params": {"pod": "search/new", "volume_attachment": "csi-node1"}}
    says(judge(ORPHANED, on_node=[], **how), Answer.ALLOWED)  # node1 is not Ready: all pods on it were listed
    says(
        judge(ORPHANED, on_node=[], nodes=[node("node2", "10.0.0.2")], **how), Answer.UNKNOWN, "payments", "not looked"
    )


@pytest.mark.parametrize("also", [{}, {"node": "node1"}])
def test_an_attachment_says_which_node_is_given_up_and_not_the_pod_that_waits_elsewhere(also: dict[str, str]) -> None:
    """The pod's own node is gone; the attachment is to a node that is there, Ready, and was not asked for."""
    theirs = volume("theirs", source=csi(), claim={"namespace": "payments", "name": "db"})
    lost = {"pods": [pod("new", "node9", phase="Pending")], "on_node": [], "attachments": [attached(of="theirs")]}
    params = {"pod": "search/new", "volume_attachment": "csi-node1", **also}
    for name in (STOPPED, ORPHANED, "node_is_down", "fence_does_not_cover_all"):
        unasked = judge(name, params=params, **lost, nodes=[], volumes=[volume(source=csi())])
        says(unasked, Answer.UNKNOWN, "whether node node1 is there was not looked at")
        ready = judge(name, params=params, **lost, nodes=[node("node1", "10.0.0.1")], volumes=[theirs])
        assert ready.answer is not Answer.ALLOWED or name == "fence_does_not_cover_all", ready
    says(judge(STOPPED, params=params, **lost, volumes=[theirs]), Answer.REFUSED, "10.0.0.1")


def test_a_node_is_gone_only_where_it_was_asked_for() -> None:
    """Around a pod its own node is asked for, and those that its volumes are attached to; no other."""
    waits_there = {"params": {"pod": "search/new", "node": "node7"}}
    says(judge(STOPPED, fences=(HOST,), **waits_there), Answer.UNKNOWN, "whether node node7 is there was not looked at")
    says(judge("node_is_down", **waits_there), Answer.UNKNOWN, "node7")
    says(judge("node_is_down", params={"node": "node7"}), Answer.REFUSED, "there is no node node7")


def test_with_an_attachment_a_forced_deletion_is_about_the_pods_on_its_node_alone() -> None:
    """The named pod hangs on a node that is fine; the attachment is to another one, which is fenced."""
    elsewhere = {"pods": [OLD, pod("new", "node2", terminating=True)], "fences": (HOST,)}
    params = {"pod": "search/new", "volume_attachment": "csi-node1"}
    ruling = judge("old_pod_is_terminating", params=params, **elsewhere)
    says(ruling, Answer.ALLOWED, "search/old")
    assert "search/new" not in str(ruling)


def test_another_pod_on_the_node_or_another_node_s_pod_does_not_use_the_attachment() -> None:
    beside = pod("beside", "node1", volumes=[OTHER])
    elsewhere = pod("old", "node1", namespace="shop")
    says(judge(ORPHANED, pods=[NEW], on_node=[beside, elsewhere], **OF_ATTACHMENT), Answer.ALLOWED)


def test_an_attachment_is_in_the_way_until_somebody_deletes_it() -> None:
    says(judge("volume_attachment_is_there"), Answer.ALLOWED, "csi-node1")
    says(judge("volume_attachment_is_there", attachments=[attached(deletionTimestamp=NOW)]), Answer.REFUSED)
    says(judge("volume_attachment_is_there", attachments=[attached("node2")]), Answer.REFUSED)
    says(judge("volume_attachment_is_there", params={"pod": "search/lost", "node": "node1"}), Answer.REFUSED)
    says(judge("volume_attachment_is_there", params={"pod": "search/new"}), Answer.REFUSED)


def test_an_attachment_is_absent_only_where_its_list_was_read() -> None:
    act = {"act": delete(attached(), action="kubernetes.delete_volume_attachment")}
    name = "volume_attachment_absent"
    says(judge(name, **act), Answer.REFUSED, "csi-node1 is still there")
    hangs = [attached(deletionTimestamp=NOW)]
    says(judge(name, attachments=hangs, **act), Answer.REFUSED, "never strip its finalizer")
    says(
        judge(name, attachments=[attached(deletionTimestamp=NOW, finalizers=[])], **act), Answer.REFUSED, "about to go"
    )
    says(judge(name, attachments=[attached(uid="another")], **act), Answer.ALLOWED)
    says(judge(name), Answer.REFUSED, "still there")
    says(judge(name, attachments=[]), Answer.ALLOWED)
    says(judge(name, attachments=[], volumes=[volume()], **act), Answer.UNKNOWN, "no CSI volume")
    says(judge(name, unseen={k8s.ATTACHMENTS: "denied"}, **act), Answer.UNKNOWN, "denied")


def test_a_claim_made_anew_under_the_name_is_not_the_volumes() -> None:
    assert claim().spec.volume_name == "index"
    says(judge("old_pod_is_terminating", claims=[claim(of="another")]), Answer.REFUSED)
    says(judge("volume_attachment_is_there", facts={k8s.CLAIMS: Listing(())}), Answer.REFUSED)


def test_around_an_attachment_all_nodes_are_asked_for_or_one_would_seem_to_be_gone() -> None:
    """Its volume may be gone, and then nothing else leads to its node."""
    snapshot = replace(dead().snapshot, scope=Scope("here", subject=Subject("VolumeAttachment", None, "csi-node1", "")))
    blind = snapshot.with_fact(k8s.VOLUMES, Listing(()))
    assert NODES.requests(blind) == (List(),)
    assert DEFINITIONS.requests(blind) == (Get("networkfences.csiaddons.openshift.io"),)
    assert NETWORK_FENCES.requests(blind) == ()
    there = blind.with_fact(DEFINITIONS, Listing((msgspec.convert({"metadata": {"name": "x"}}, Definition),)))
    assert NETWORK_FENCES.requests(there) == (List(),)
