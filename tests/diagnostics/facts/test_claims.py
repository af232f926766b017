"""Whether a volume fits a claim, as the volume controller compares them, and what a claim's volume is filled from."""

from datetime import UTC, datetime

import pytest

from diagnostics.facts import Snapshot
from diagnostics.facts.claims import Unbound, class_of, misfits, why_unbound
from diagnostics.facts.csi import STORAGE_CLASSES
from diagnostics.facts.kubernetes import Listing
from diagnostics.facts.resources import AnnotatedMeta, Claim, ClaimSpec, Meta, StorageClass, Volume, VolumeSpec
from diagnostics.facts.resources.volumes import Requests
from diagnostics.model import Scope


def claim(size: str | int | None = "10Gi", mode: str | None = None, **annotations: str) -> Claim:
    asks = Requests({"storage": size} if size is not None else None)
    spec = ClaimSpec(None, ("ReadWriteOnce",), "fast", mode, asks)
    return Claim(AnnotatedMeta("c", annotations={k.replace("_", "/"): v for k, v in annotations.items()}), spec)


def volume(size: str | int | None = "10Gi", mode: str | None = None) -> Volume:
    modes = ("ReadWriteOnce", "ReadOnlyMany")
    return Volume(
        Meta("v"), VolumeSpec(modes, None, "fast", volume_mode=mode, capacity={"storage": size} if size else None)
    )


@pytest.mark.parametrize(
    ("asked", "given", "fits"),
    [
        ("10Gi", "10Gi", True),
        ("10Gi", "10737418240", True),
        ("10Gi", 10737418239, False),
        ("10Gi", "10G", False),
        ("10G", "10Gi", True),
        ("1.5Gi", "1500Mi", False),
        ("1500Mi", "1.5Gi", True),
        ("1e10", "10G", True),
        ("1e11", "10G", False),
        ("1000m", "1", True),
        ("1Ti", "1023Gi", False),
        ("10Gi", "plenty", True),  # what cannot be compared is not called a misfit
        (None, "1", True),
        ("10Gi", None, True),
    ],
)
def test_sizes_are_compared_as_quantities(asked: str | None, given: str | int | None, fits: bool) -> None:
    assert (misfits(claim(asked), volume(given)) == ()) is fits


def test_a_block_volume_does_not_fit_a_claim_for_a_filesystem() -> None:
    assert misfits(claim(), volume(mode="Filesystem")) == ()
    assert misfits(claim(mode="Block"), volume(mode="Block")) == ()
    assert misfits(claim(), volume(mode="Block")) == ("its volumeMode is Block",)


def test_the_old_annotation_of_a_class_goes_before_the_field() -> None:
    old = claim(**{"volume.beta.kubernetes.io_storage-class": "slow"})
    assert class_of(old) == "slow"
    assert misfits(old, volume()) == ("its class is fast, not slow",)


def filled(**source: dict[str, object] | None) -> Claim:
    asked = {"volume.kubernetes.io/storage-provisioner": "rbd.csi.ceph.com"}
    return Claim(AnnotatedMeta("c", "shop", "uid-c", annotations=asked), ClaimSpec(storage_class_name="fast", **source))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({}, None),
        ({"data_source": {"kind": "VolumeSnapshot", "name": "nightly"}}, "VolumeSnapshot nightly"),
        ({"data_source_ref": {"kind": "PersistentVolumeClaim", "name": "model"}}, "PersistentVolumeClaim model"),
        ({"data_source": None, "data_source_ref": {"kind": "Populator", "name": "p"}}, "Populator p"),
    ],
)
def test_a_claim_that_waits_for_its_data_says_from_where(
    source: dict[str, dict[str, object] | None], told: str | None
) -> None:
    served = StorageClass(AnnotatedMeta("fast"), "rbd.csi.ceph.com")
    now = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
    snapshot = Snapshot("c", now, Scope("c"), {STORAGE_CLASSES.name: Listing((served,))})
    found = why_unbound(filled(**source), snapshot)
    assert isinstance(found, Unbound)
    assert found.fills is (told is not None)
    assert ("has to fill the volume" in found.says) is found.fills
    assert (told or "") in found.says
