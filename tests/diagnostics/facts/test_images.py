"""From a volume to its image: in-tree volumes, ceph-csi's, and those of others."""

from datetime import UTC, datetime

import pytest

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import ImageSpec
from diagnostics.facts.images import (
    image_of_pod_volume,
    image_of_volume,
    images_of,
    is_ceph,
    is_rbd,
    parse_spec,
)
from diagnostics.facts.resources import (
    CSISource,
    Meta,
    Pod,
    PodSpec,
    PodVolume,
    RBDSource,
    Volume,
    VolumeSpec,
)
from diagnostics.model import Scope

CSI = CSISource("rbd.csi.ceph.com", "0001-0024-x", {"pool": "kube", "imageName": "csi-vol-1", "clusterID": "c"})


def volume(rbd: RBDSource | None = None, csi: CSISource | None = None, cephfs: bool = False) -> Volume:
    return Volume(Meta("pv"), VolumeSpec(rbd=rbd, csi=csi, cephfs={} if cephfs else None))


@pytest.mark.parametrize(
    ("csi", "image"),
    [
        (CSI, ImageSpec("kube", "", "csi-vol-1")),
        (CSISource("rook-ceph.rbd.csi.ceph.com", "h", CSI.volume_attributes), ImageSpec("kube", "", "csi-vol-1")),
        (
            CSISource(CSI.driver, "h", {**(CSI.volume_attributes or {}), "radosNamespace": "team"}),
            ImageSpec("kube", "team", "csi-vol-1"),
        ),
        (
            CSISource(CSI.driver, "made-by-hand", {"pool": "kube", "staticVolume": "true"}),
            ImageSpec("kube", "", "made-by-hand"),
        ),
        (CSISource(CSI.driver, "h", {"pool": "kube", "staticVolume": "false"}), None),
        (CSISource(CSI.driver, "h", {"imageName": "x"}), None),
        (CSISource(CSI.driver, "h", None), None),
        (CSISource("cephfs.csi.ceph.com", "h", CSI.volume_attributes), None),
        (CSISource("notrbd.csi.ceph.com", "h", CSI.volume_attributes), None),
        (CSISource("ebs.csi.aws.com", "h", CSI.volume_attributes), None),
    ],
)
def test_a_csi_volume_names_its_image_in_its_attributes(csi: CSISource, image: ImageSpec | None) -> None:
    assert image_of_volume(volume(csi=csi)) == image


def test_an_in_tree_volume_names_its_image_itself() -> None:
    source = RBDSource("index-api-image", pool="mioss")
    expected = ImageSpec("mioss", "", "index-api-image")
    assert image_of_volume(volume(rbd=source)) == expected
    assert image_of_pod_volume(PodVolume("data", rbd=source)) == expected
    assert image_of_pod_volume(PodVolume("data")) is None
    assert image_of_volume(volume()) is None


def test_what_lies_on_ceph_is_told_from_what_does_not() -> None:
    on_ceph = [
        volume(rbd=RBDSource("x")),
        volume(csi=CSISource("rbd.csi.ceph.com")),
        volume(csi=CSISource("rook.cephfs.csi.ceph.com")),
        volume(cephfs=True),
    ]
    assert [is_rbd(one) for one in on_ceph] == [True, True, False, False]
    assert all(is_ceph(one) for one in on_ceph)
    assert not is_ceph(volume(csi=CSISource("ebs.csi.aws.com")))
    assert not is_ceph(volume())
    assert is_ceph(PodVolume("data", cephfs={}))
    assert not is_ceph(PodVolume("data"))


def test_the_images_of_a_snapshot_are_those_of_its_volumes_and_pods_each_once() -> None:
    inline = PodVolume("data", rbd=RBDSource("one", pool="p"))
    snapshot = (
        Snapshot("c", datetime(2026, 1, 1, tzinfo=UTC), Scope("c"))
        .with_fact(k8s.VOLUMES, k8s.Listing((volume(rbd=RBDSource("one", pool="p")), volume(csi=CSI), volume())))
        .with_fact(k8s.PODS, k8s.Listing((Pod(Meta("pod"), PodSpec(volumes=(inline,))),)))
    )
    assert images_of(snapshot) == (ImageSpec("p", "", "one"), ImageSpec("kube", "", "csi-vol-1"))
    assert images_of(snapshot.with_fact(k8s.VOLUMES, NotSeen("forbidden"))) == (ImageSpec("p", "", "one"),)


def test_an_image_is_named_by_pool_namespace_and_name() -> None:
    assert parse_spec("p/i") == ImageSpec("p", "", "i")
    assert parse_spec("p/n/i") == ImageSpec("p", "n", "i")


@pytest.mark.parametrize("text", ["", "i", "/i", "p/", "p//i", "p/n/i/x"])
def test_other_words_name_no_image(text: str) -> None:
    with pytest.raises(ValueError, match="does not name an RBD image"):
        parse_spec(text)
