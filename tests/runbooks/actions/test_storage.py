"""The acts on a node that is given up or taken back: planned for the very objects, sent as planned, honest about the rest."""

from typing import Any

import pytest

from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import OSDMAP, Fence
from diagnostics.facts.holders import BESIDE_POD
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.rados import RadosError
from diagnostics.sources.kubernetes.api import KubernetesError
from runbooks.actions import ActFailed, ActStopped, Clients, OutcomeUnknown, all_actions
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned
from runbooks.standing import STANDING
from tests.runbooks.actions.examples.storage import EXAMPLES, HOST, NEW, OLD, attached, back, dead, off, record
from tests.runbooks.hand_made import FSID, KUBELET, MANAGED, NOW, YEARS, Incident, fence_of, pod

UNFENCE, DETACH, FORCE, FENCE = (
    all_actions()[name]
    for name in ("ceph.unfence", "kubernetes.delete_volume_attachment", "kubernetes.force_delete_pod", "ceph.fence")
)


class FakeRados:
    """Takes down what is sent; an entry of `fails` gives that errno."""

    def __init__(self, fails: dict[str, int] | None = None, fsid: str = FSID) -> None:
        self.fsid = fsid
        self.sent: list[Any] = []
        self.closed = False
        self._fails = fails or {}

    def mon(self, command: dict[str, Any], mon: str | None = None) -> bytes:
        if errno := self._fails.get(command["addr"]):
            raise RadosError(errno, "it failed")
        self.sent.append(command)
        return b""

    def close(self) -> None:
        self.closed = True


class FakeApi:
    """Takes down deletions; a name of `fails` raises that error."""

    def __init__(self, fails: dict[str, Exception] | None = None) -> None:
        self.sent: list[tuple[str, int | None, bool]] = []
        self._fails = fails or {}

    async def delete(self, target: Subject, *, grace_seconds: int | None, dry_run: bool) -> None:
        if target.name in self._fails:
            raise self._fails[target.name]
        self.sent.append((f"{target.kind} {target.name} {target.uid}", grace_seconds, dry_run))


def rados(fake: Any) -> Clients:
    return Clients(None, lambda: fake)


def api(fake: FakeApi) -> Clients:
    return Clients(fake, None)  # type: ignore[arg-type]


def lift(*entries: str) -> Planned:
    return Planned("ceph.unfence", "lift", (), {"entries": list(entries), "fsid": FSID}, Risk.HIGH)


# Unfence


def test_a_fence_is_lifted_by_the_exact_strings_over_the_whole_node() -> None:
    planned = UNFENCE.plan(*EXAMPLES["ceph.unfence"])
    assert planned.effect == {"entries": ["10.0.0.1:0/0"], "fsid": FSID}
    assert [target.uid for target in planned.targets] == ["uid-node1"]
    exact, storage = Fence("10.0.0.1:0/77", YEARS), Fence("10.9.0.1:0/0", YEARS)
    both = back(fences=(HOST, exact, storage), fenced=(record(), record(exact.entry), record(storage.entry)))
    assert UNFENCE.plan(both, {}).effect["entries"] == ["10.0.0.1:0/0", "10.9.0.1:0/0"]
    assert UNFENCE.lifts_fence


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ({"fences": ()}, "no entry of the blocklist covers node node1"),
        ({"fences": (Fence("10.0.0.1:0/77", YEARS),)}, "as a whole"),
        ({"nodes": []}, "does not exist any more"),
        ({"unseen": {OSDMAP: "denied"}}, "denied"),
    ],
)
def test_what_covers_nothing_is_not_lifted(how: dict[str, Any], word: str) -> None:
    with pytest.raises(CannotPlan, match=word):
        UNFENCE.plan(back(**how), {})


def test_without_the_journal_a_plan_still_shows_what_would_have_to_go() -> None:
    planned = UNFENCE.plan(back(unseen={STANDING: "not read"}), {})
    assert planned.effect["entries"] == ["10.0.0.1:0/0"]


async def test_each_entry_is_removed_as_it_is_written_and_an_absent_one_counts_as_removed() -> None:
    fake = FakeRados({"10.0.0.3:0/0": 2})
    await UNFENCE.apply(lift("10.0.0.1:0/0", "10.0.0.3:0/0", "[fd00::1]:0/0"), rados(fake))
    common = {"prefix": "osd blocklist", "blocklistop": "rm", "format": "json"}
    assert fake.sent == [{**common, "addr": "10.0.0.1:0/0"}, {**common, "addr": "[fd00::1]:0/0"}]
    assert fake.closed


async def test_another_ceph_or_none_is_not_written_to() -> None:
    other = FakeRados(fsid="another")
    with pytest.raises(ActFailed, match="nothing was changed"):
        await UNFENCE.apply(lift("10.0.0.1:0/0"), rados(other))
    assert (other.sent, other.closed) == ([], True)

    def connect() -> Any:
        raise CouldNotLook("No binding.")

    with pytest.raises(ActFailed, match="could not be reached"):
        await UNFENCE.apply(lift("10.0.0.1:0/0"), Clients(None, connect))


@pytest.mark.parametrize("errno", [1, 13, 22])
async def test_a_refusal_says_what_is_lifted_already(errno: int) -> None:
    with pytest.raises(ActFailed, match=r"refused to lift 10.0.0.1:0/0.*Nothing was changed"):
        await UNFENCE.apply(lift("10.0.0.1:0/0"), rados(FakeRados({"10.0.0.1:0/0": errno})))
    with pytest.raises(ActFailed, match=r"10.0.0.1:0/0 is lifted already"):
        await UNFENCE.apply(lift("10.0.0.1:0/0", "10.0.0.2:0/0"), rados(FakeRados({"10.0.0.2:0/0": errno})))


async def test_no_answer_may_still_lift_later() -> None:
    with pytest.raises(OutcomeUnknown, match="may still be lifted"):
        await UNFENCE.apply(lift("10.0.0.1:0/0"), rados(FakeRados({"10.0.0.1:0/0": 110})))


def test_a_lifted_fence_is_known_by_the_blocklist() -> None:
    planned = lift("10.0.0.1:0/0")
    assert UNFENCE.done(planned, back()) is False
    assert UNFENCE.done(planned, back(fences=())) is True
    assert UNFENCE.done(planned, back(unseen={OSDMAP: "denied"})) is None


# Fence: what is recorded for lifting it, and an entry that ends too soon


def test_a_fence_records_the_boot_and_the_machine_that_it_was_set_on() -> None:
    planned = FENCE.plan(Incident().situation(), {"for": "157784760s"})
    assert (planned.effect["boot_id"], planned.effect["system_uuid"]) == ("boot-node1", "")


def test_an_entry_that_stands_and_ends_too_soon_is_not_called_extended() -> None:
    short = Fence("10.0.0.1:0/77", NOW + (YEARS - NOW) / 10_000)
    managed = Incident(lockers=(MANAGED,), fences=(short,))
    with pytest.raises(CannotPlan, match="keeps its first end"):
        FENCE.plan(managed.situation(), {"for": "157784760s"})
    assert KUBELET.address == MANAGED.address
    FENCE.plan(Incident(lockers=(MANAGED,), fences=(Fence("10.0.0.1:0/77", NOW),)).situation(), {"for": "157784760s"})


# VolumeAttachments


def test_an_attachment_is_deleted_by_name_or_as_the_one_in_the_pods_way() -> None:
    planned = DETACH.plan(*EXAMPLES["kubernetes.delete_volume_attachment"])
    assert [target.uid for target in planned.targets] == ["uid-csi-node1"]
    assert (planned.risk, planned.effect) == (Risk.HIGH, {"nodes": ["node1"]})
    assert DETACH.plan(dead(), {"pod": "search/new", "node": "node1"}).targets == planned.targets


async def test_a_deletion_that_rests_on_a_persons_word_is_critical_and_names_the_node() -> None:
    told = {"pod": "search/new", "node": "node1"}
    word = DETACH.plan(dead(expected=(off(),)), told)
    assert word.risk is Risk.CRITICAL
    assert [(target.kind, target.name) for target in word.targets] == [
        ("VolumeAttachment", "csi-node1"),
        ("Node", "node1"),
    ]
    blind = dead(expected=(off(),), unseen={OSDMAP: "denied"})
    assert DETACH.plan(blind, told).risk is Risk.CRITICAL
    for how in ({"fences": (HOST,)}, {"expected": (fence_of("10.0.0.1:0/0"),)}, {"nodes": [], "expected": (off(),)}):
        planned = DETACH.plan(dead(**how), told)
        assert (planned.risk, len(planned.targets)) == (Risk.HIGH, 1)
    fake = FakeApi()
    assert DETACH.dry_run is not None
    await DETACH.dry_run(word, api(fake))
    await DETACH.apply(word, api(fake))
    assert {name.partition(" ")[0] for name, *_ in fake.sent} == {"VolumeAttachment"}
    assert DETACH.done(word, dead(attachments=[])) is True


@pytest.mark.parametrize("attachments", [[], [attached("node2")], [attached(deletionTimestamp=NOW)]])
def test_what_is_not_there_or_going_already_is_not_deleted(attachments: list[Any]) -> None:
    with pytest.raises(CannotPlan, match="no VolumeAttachment to node node1"):
        DETACH.plan(dead(attachments=attachments), {"node": "node1"})


async def test_a_deletion_of_an_attachment_is_tried_first_and_bound_to_its_uid() -> None:
    assert DETACH.dry_run is not None
    planned, fake = DETACH.plan(dead(), {}), FakeApi()
    await DETACH.dry_run(planned, api(fake))
    await DETACH.apply(planned, api(fake))
    name = "VolumeAttachment csi-node1 uid-csi-node1"
    assert fake.sent == [(name, None, True), (name, None, False)]
    await DETACH.apply(planned, api(FakeApi({"csi-node1": KubernetesError(404, "gone")})))
    with pytest.raises(ActFailed):
        await DETACH.apply(planned, api(FakeApi({"csi-node1": KubernetesError(409, "another")})))
    with pytest.raises(OutcomeUnknown):
        await DETACH.apply(planned, api(FakeApi({"csi-node1": CouldNotLook("No answer.")})))


def test_a_deletion_was_done_once_the_attachment_is_going() -> None:
    planned = DETACH.plan(dead(), {})
    assert DETACH.done(planned, dead()) is False
    assert DETACH.done(planned, dead(attachments=[attached(deletionTimestamp=NOW)])) is True
    assert DETACH.done(planned, dead(attachments=[])) is True
    assert DETACH.done(planned, dead(unseen={k8s.ATTACHMENTS: "denied"})) is None


# Forced deletions


def test_a_forced_deletion_is_critical_where_a_persons_word_is_the_only_proof() -> None:
    fenced = FORCE.plan(dead(fences=(HOST,)), {})
    assert ([t.name for t in fenced.targets], fenced.risk) == (["old"], Risk.HIGH)
    word = FORCE.plan(dead(expected=(off(),)), {})
    assert ([t.name for t in word.targets], word.risk) == (["old", "node1"], Risk.CRITICAL)
    assert FORCE.plan(dead(expected=(off(),), fences=(HOST,)), {}).risk is Risk.HIGH
    assert FORCE.plan(dead(), {}).risk is Risk.HIGH  # which its guards refuse
    assert FORCE.plan(dead(expected=(off(),), unseen={OSDMAP: "denied"}), {}).risk is Risk.CRITICAL
    assert FORCE.plan(dead(expected=(fence_of("10.0.0.1:0/0"),)), {}).risk is Risk.HIGH


def test_the_pod_itself_is_removed_where_it_is_the_one_that_hangs() -> None:
    for params in ({"pod": "search/old"}, {"pod": "search/old", "node": "node1"}):
        assert [t.uid for t in FORCE.plan(dead(params=params, fences=(HOST,)), {}).targets] == ["uid-old"]
    with pytest.raises(CannotPlan, match="hangs in Terminating"):
        FORCE.plan(dead(params={"pod": "search/new"}), {})


async def test_only_pods_are_removed_and_one_that_is_gone_does_not_keep_the_others() -> None:
    assert FORCE.dry_run is not None
    two = pod("two", "node1", terminating=True)
    planned, fake = FORCE.plan(dead(pods=[OLD, two, NEW], expected=(off(),)), {}), FakeApi()
    await FORCE.dry_run(planned, api(fake))
    await FORCE.apply(planned, api(fake))
    assert fake.sent == [
        (f"Pod {name} uid-{name}", 0, dry) for dry in (True, False) for name in ("old", "two")
    ]  # fmt: skip
    gone = FakeApi({"old": KubernetesError(404, "gone")})
    await FORCE.apply(planned, api(gone))
    assert [name for name, *_ in gone.sent] == ["Pod two uid-two"]


def test_a_forced_deletion_was_done_once_the_namespace_has_none_of_the_pods() -> None:
    planned = FORCE.plan(dead(fences=(HOST,)), {})
    assert FORCE.done(planned, dead()) is False
    assert FORCE.done(planned, dead(pods=[NEW])) is True
    assert FORCE.done(planned, dead(unseen={BESIDE_POD: "denied"})) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("kubernetes.delete_volume_attachment", "VolumeAttachment"), ("kubernetes.force_delete_pod", "Pod")],
)
async def test_deletions_that_are_refused_halfway_say_what_was_deleted(name: str, kind: str) -> None:
    targets = tuple(Subject(kind, "search", each, f"uid-{each}") for each in ("a", "b", "c"))
    planned, action = Planned(name, "delete", targets, {}, Risk.HIGH), all_actions()[name]
    denied = KubernetesError(403, "denied by a webhook")
    fake = FakeApi({"b": denied})
    with pytest.raises(ActStopped, match=r"a deleted; then: .*denied by a webhook"):
        await action.apply(planned, api(fake))
    assert [sent for sent, *_ in fake.sent] == [f"{kind} a uid-a"]
    with pytest.raises(ActFailed, match="denied by a webhook"):
        await action.apply(planned, api(FakeApi({"a": denied})))
