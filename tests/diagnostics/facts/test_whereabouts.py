"""Which of several Ceph clusters a volume lies in: what proves it, and that nothing else does."""

from typing import Any

import pytest

from diagnostics.facts import NotSeen
from diagnostics.facts.ceph import ImageSpec
from diagnostics.facts.csi_config import ClusterEntry, CsiConfig
from diagnostics.facts.images import image_of_volume, is_of_another, named_image, why_nameless
from diagnostics.facts.resources import Meta, PodVolume, Volume, VolumeSpec, Whereabouts
from diagnostics.facts.resources.volumes import CSISource, RBDSource
from diagnostics.facts.whereabouts import Cephs, Identity, Placed, addresses_of, decide, is_proved, said_of

FAST, SLOW, THIRD = (f"{n}{n}{n}{n}{n}{n}{n}{n}-0000-4000-8000-000000000000" for n in "abc")
DRIVER = "rbd.csi.ceph.com"


def identity(fsid: str, *ips: str) -> Identity:
    return Identity(fsid, frozenset((ip, port) for ip in ips for port in (3300, 6789)))


BOTH = {"fast": identity(FAST, "10.1.0.1", "10.1.0.2"), "slow": identity(SLOW, "10.2.0.1", "10.2.0.2")}


def in_tree(*monitors: str) -> Volume:
    return Volume(Meta("pv"), VolumeSpec(rbd=RBDSource("image", monitors)))


def csi(cluster: str, other: str | None = None, driver: str = DRIVER) -> Volume:
    attributes = {"clusterID": other or cluster, "pool": "rbd", "imageName": "image"}
    return Volume(
        Meta("pv"), VolumeSpec(csi=CSISource(driver, f"0001-{len(cluster):04x}-{cluster}-02-uuid", attributes))
    )


def config(**monitors: str) -> dict[str, CsiConfig]:
    entries = tuple(ClusterEntry(name.replace("_", "-"), tuple(text.split())) for name, text in monitors.items())
    return {DRIVER: CsiConfig(entries=entries)}


def placed(volume: Volume | PodVolume, configs: dict[str, CsiConfig] | None = None, of: Any = None) -> Placed:
    return decide(said_of(volume, configs or {}, "no plugin was found"), of or BOTH)


@pytest.mark.parametrize(
    ("monitors", "ceph"),
    [
        (["10.1.0.1:6789", "10.1.0.2:6789"], "fast"),
        (["10.2.0.2:6789"], "slow"),
        (["10.2.0.2"], "slow"),  # no port is written
        (["10.2.0.1:6789", "10.9.9.9:6789"], "slow"),  # one of them has moved
        (["10.1.0.1:3301"], "fast"),
        (["[v2:10.2.0.1:3300/0,v1:10.2.0.1:6789/0]"], "slow"),
        (["10.1.0.1:6789", "10.2.0.1:6789"], ""),
        (["10.9.9.9:6789"], ""),
        (["mon-a.example:6789"], ""),
        ([], ""),
    ],
)
def test_the_monitors_of_an_in_tree_volume_say_it(monitors: list[str], ceph: str) -> None:
    found = placed(in_tree(*monitors))
    assert found.ceph == ceph
    if ceph:
        assert found.says.startswith(f"it lies in Ceph {ceph} ({BOTH[ceph].fsid}): its monitors are {monitors[0]}")
    else:
        assert found.says.startswith("which Ceph it lies in is not known: its monitors are ")
        assert "fast" in found.says
        assert "slow" in found.says
    inline = PodVolume("data", rbd=RBDSource("image", tuple(monitors)))
    assert placed(inline) == found, "a volume that a pod names itself says the same"


FAST_MONS, SLOW_MONS = "10.1.0.1:6789 10.1.0.2:6789", "10.2.0.1:6789"


@pytest.mark.parametrize(
    ("volume", "configs", "ceph", "says"),
    [
        (csi("rook-ceph"), config(rook_ceph=SLOW_MONS), "slow", "its clusterID rook-ceph has 10.2.0.1:6789"),
        (csi("rook-ceph"), config(rook_ceph=FAST_MONS), "fast", "has 10.1.0.1:6789, 10.1.0.2:6789"),
        (csi(SLOW), config(**{SLOW.replace("-", "_"): SLOW_MONS}), "slow", "in ceph-csi's configuration"),
        (csi(SLOW), {}, "slow", f"its clusterID is {SLOW}"),
        (csi(SLOW), config(other=SLOW_MONS), "slow", f"its clusterID is {SLOW}"),
        (csi(SLOW), config(**{SLOW.replace("-", "_"): "mon.example:6789"}), "slow", "mon.example"),
        (csi(SLOW), config(**{SLOW.replace("-", "_"): FAST_MONS}), "", "do not fit together for fast and slow"),
        (csi(SLOW), config(**{SLOW.replace("-", "_"): "10.9.9.9:6789"}), "", "do not fit together for slow"),
        (csi(THIRD), config(**{THIRD.replace("-", "_"): SLOW_MONS}), "", "do not fit together for slow"),
        (csi(THIRD), {}, "", "is none of those configured"),
        (csi("rook-ceph"), {}, "", "no plugin was found (configured are fast"),
        (csi("rook-ceph"), config(another=SLOW_MONS), "", "does not have that, or cannot be used"),
        (csi("rook-ceph"), config(rook_ceph=f"{FAST_MONS} {SLOW_MONS}"), "", "which fits fast and slow alike"),
        (csi("rook-ceph"), config(rook_ceph="mon.example:6789"), "", "is none of those configured"),
        (csi("rook-ceph", "other"), config(rook_ceph=SLOW_MONS), "", "but its attributes say other"),
        (csi("rook-ceph", driver="x.rbd.csi.ceph.com"), config(rook_ceph=SLOW_MONS), "", "no plugin was found"),
        (Volume(Meta("pv"), VolumeSpec(csi=CSISource(DRIVER, "by-hand"))), {}, "", "it names no clusterID"),
    ],
)  # fmt: skip
def test_a_cluster_id_says_it_by_the_monitors_that_it_has_or_by_being_an_fsid(
    volume: Volume, configs: dict[str, CsiConfig], ceph: str, says: str
) -> None:
    found = placed(volume, configs)
    assert (found.ceph, says in found.says) == (ceph, True), found


def test_a_cluster_id_that_stands_for_another_one_proves_nothing() -> None:
    mapped = {DRIVER: CsiConfig(entries=(ClusterEntry("site-a", (SLOW_MONS,)),), mapped=frozenset({"site-a"}))}
    assert placed(csi("site-a"), mapped).ceph == ""
    assert "stands for another one" in placed(csi("site-a"), mapped).says


def test_a_cluster_id_with_two_lists_of_monitors_proves_nothing() -> None:
    twice = {DRIVER: CsiConfig(entries=tuple(ClusterEntry("rook-ceph", (mon,)) for mon in ("10.1.0.1:6789", "10.2.0.1:6789")))}  # fmt: skip
    assert placed(csi("rook-ceph"), twice).ceph == ""
    assert "has several lists of monitors" in placed(csi("rook-ceph"), twice).says
    same = {DRIVER: CsiConfig(entries=(ClusterEntry("rook-ceph", (SLOW_MONS,)),) * 2)}
    assert placed(csi("rook-ceph"), same).ceph == "slow"


def test_cephfs_says_it_by_its_monitors() -> None:
    assert placed(Volume(Meta("pv"), VolumeSpec(cephfs={"monitors": ["10.1.0.2:6789"]}))).ceph == "fast"
    assert placed(Volume(Meta("pv"), VolumeSpec(cephfs={"monitors": "10.1.0.2:6789"}))).ceph == ""


AWAY = {**BOTH, "slow": NotSeen("no monitor answered")}


def test_one_that_did_not_answer_is_named_and_hides_no_proof_of_another() -> None:
    assert placed(in_tree("10.1.0.1:6789"), of=AWAY).ceph == "fast"
    assert placed(csi(FAST), of=AWAY).ceph == "fast"
    lost = placed(in_tree("10.2.0.1:6789"), of=AWAY)
    assert lost.ceph == ""
    assert lost.says.endswith("; slow: no monitor answered")


@pytest.mark.parametrize(
    ("volume", "proved"),
    [
        (in_tree("10.1.0.1:6789"), True),
        (csi(FAST), True),
        (in_tree("10.1.0.1"), False),  # another one's monitor may have this address too
        (in_tree("10.1.0.1:6789", "10.9.9.9:6789"), False),
        (in_tree("10.2.0.1:6789"), False),
        (csi("rook-ceph"), True),  # it says nothing that could be compared, whoever answers
    ],
)
def test_the_others_are_waited_for_where_they_could_still_contradict(volume: Volume, proved: bool) -> None:
    said = said_of(volume, {}, "no plugin was found")
    assert is_proved(said, {"fast": BOTH["fast"]}) is proved
    assert not (is_proved(said, {}) and said.usable), "nothing is proved while nobody has answered"


def test_two_clusters_on_the_same_hosts_are_told_apart_by_their_ports() -> None:
    same = {
        "one": Identity(FAST, frozenset({("10.1.0.1", 6789)})),
        "two": Identity(SLOW, frozenset({("10.1.0.1", 6790)})),
    }
    assert placed(in_tree("10.1.0.1:6790"), of=same).ceph == "two"
    assert is_proved(said_of(in_tree("10.1.0.1:6790"), {}, ""), {"two": same["two"]})
    assert placed(in_tree("10.1.0.1"), of=same).ceph == "", "without a port it may be either"
    assert placed(in_tree("10.1.0.1:6791"), of=same).ceph == ""


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("10.1.0.1:6789", {("10.1.0.1", 6789)}),
        ("10.1.0.1", {("10.1.0.1", None)}),
        ("v1:10.1.0.1:6789/0", {("10.1.0.1", 6789)}),
        ("[2001:db8::1]:3300", {("2001:db8::1", 3300)}),
        ("[2001:db8::1]", {("2001:db8::1", None)}),
        ("2001:db8::1", {("2001:db8::1", None)}),
        ("[v2:[2001:db8::1]:3300/0,v1:[2001:db8::1]:6789/0]", {("2001:db8::1", 3300), ("2001:db8::1", 6789)}),
        ("10.1.0.1:6789,10.1.0.2:6789", {("10.1.0.1", 6789), ("10.1.0.2", 6789)}),
        ("mon-a:6789", set()),
        (" ", set()),
    ],
)
def test_monitors_are_read_as_they_are_written(written: str, found: set[tuple[str, int | None]]) -> None:
    assert addresses_of([written]) == found


def test_an_entry_of_ceph_csi_may_mean_any_of_them() -> None:
    cephs = Cephs(dict(BOTH))
    assert cephs.has(ClusterEntry("rook-ceph", ("10.2.0.1:6789",)))
    assert cephs.has(ClusterEntry(FAST))
    assert not cephs.has(ClusterEntry("legacy", ("10.9.9.9:6789",)))


def test_a_volume_leads_to_its_image_only_in_its_own_ceph() -> None:
    volume, spec = in_tree("10.1.0.1:6789"), ImageSpec("rbd", "", "image")

    def marked(ceph: str, here: bool) -> Volume:
        return Volume(volume.metadata, volume.spec, whereabouts=Whereabouts(ceph, here, "because"))

    assert image_of_volume(volume) == image_of_volume(marked("fast", True)) == spec
    assert image_of_volume(marked("slow", False)) is None
    assert image_of_volume(marked("", False)) is None
    assert named_image(marked("", False)) == spec
    assert (is_of_another(marked("slow", False)), is_of_another(marked("", False))) == (True, False)
    assert why_nameless(marked("", False)) == "because"
