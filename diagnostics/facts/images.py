"""Which RBD image a Kubernetes volume means, by what the volume itself says. Pure: whether it is there, Ceph tells."""

from diagnostics.facts import Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import ImageSpec
from diagnostics.facts.resources import CSISource, PodVolume, RBDSource, Volume

RBD_DRIVER = "rbd.csi.ceph.com"
CEPHFS_DRIVER = "cephfs.csi.ceph.com"
"""ceph-csi's own driver names. Rook and others put a prefix and a dot in front."""


def is_driver(driver: str, name: str) -> bool:
    """Whether a driver is one of ceph-csi's, whatever prefix it was installed with."""
    return driver == name or driver.endswith(f".{name}")


def image_of_volume(volume: Volume) -> ImageSpec | None:
    """The image behind a PV, in the Ceph that is looked at.

    None where it is another storage, does not name one, or does not lie in this Ceph, or nobody knows in which.
    """
    return named_image(volume) if is_here(volume) else None


def is_here(volume: Volume | PodVolume) -> bool:
    """Whether a volume is taken to lie in the Ceph that is looked at: by proof where several are configured."""
    return volume.whereabouts is None or volume.whereabouts.here


def is_of_another(volume: Volume | PodVolume) -> bool:
    """Whether a volume is known to lie in another Ceph that is configured: the look at that one tells of it."""
    return volume.whereabouts is not None and not volume.whereabouts.here and bool(volume.whereabouts.ceph)


def why_nameless(volume: Volume | PodVolume) -> str:
    """Why an RBD volume of no other Ceph leads to no image here: its Ceph is not known, or it does not say which image."""
    if not is_here(volume) and volume.whereabouts is not None:
        return volume.whereabouts.says
    return "it is an RBD image, but its attributes do not say which"


def named_image(volume: Volume) -> ImageSpec | None:
    """The image that a PV names, in whichever Ceph it lies."""
    if volume.spec.rbd:
        return _in_tree(volume.spec.rbd)
    return _csi(volume.spec.csi) if volume.spec.csi else None


def image_of_pod_volume(volume: PodVolume) -> ImageSpec | None:
    """The image in this Ceph that a pod names itself (in-tree `rbd`), without a claim."""
    return _in_tree(volume.rbd) if volume.rbd and is_here(volume) else None


def is_rbd(volume: Volume) -> bool:
    """Whether a PV is an RBD image, even where it does not say which."""
    csi = volume.spec.csi
    return volume.spec.rbd is not None or (csi is not None and is_driver(csi.driver, RBD_DRIVER))


def is_ceph(volume: Volume | PodVolume) -> bool:
    """Whether a PV or a pod's own volume lies on Ceph, RBD or CephFS: a fence of its node ends its I/O."""
    if isinstance(volume, PodVolume):
        driver = volume.csi.driver if volume.csi else ""
        inline = any(is_driver(driver, name) for name in (RBD_DRIVER, CEPHFS_DRIVER))
        return volume.rbd is not None or volume.cephfs is not None or inline
    csi = volume.spec.csi
    return (
        is_rbd(volume) or volume.spec.cephfs is not None or (csi is not None and is_driver(csi.driver, CEPHFS_DRIVER))
    )


def images_of(snapshot: Snapshot) -> tuple[ImageSpec, ...]:
    """The images that the snapshot's PVs and pods name, each once, as far as these were read in full."""
    volumes, pods = snapshot.seen(k8s.VOLUMES), snapshot.seen(k8s.PODS)
    named = [image_of_volume(volume) for volume in (volumes.full if volumes else ())]
    for pod in pods.full if pods else ():
        named += [image_of_pod_volume(volume) for volume in pod.spec.volumes or ()]
    return tuple(dict.fromkeys(image for image in named if image))


def unplaced_images(snapshot: Snapshot) -> dict[str, str]:
    """The images whose Ceph is not known, by their names, with the reason: nobody looks at them. Only of several Cephs."""
    volumes, pods = snapshot.seen(k8s.VOLUMES), snapshot.seen(k8s.PODS)
    entries = [entry for pod in (pods.full if pods else ()) for entry in pod.spec.volumes or ()]
    named = [(volume, named_image(volume)) for volume in (volumes.full if volumes else ())]
    every: list[tuple[Volume | PodVolume, ImageSpec | None]] = [
        *named,
        *((one, _in_tree(one.rbd)) for one in entries if one.rbd),
    ]
    return {
        str(spec): one.whereabouts.says for one, spec in every if spec and one.whereabouts and not one.whereabouts.ceph
    }


def parse_spec(text: str) -> ImageSpec:
    """Parse `pool[/namespace]/image`.

    Raises:
        ValueError: the text is not of this form.
    """
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"{text!r} does not name an RBD image (pool/image or pool/namespace/image)")
    return ImageSpec(parts[0], parts[1] if len(parts) == 3 else "", parts[-1])


def _in_tree(source: RBDSource) -> ImageSpec | None:
    return ImageSpec(source.pool, "", source.image) if source.pool and source.image else None


def _csi(source: CSISource) -> ImageSpec | None:
    """ceph-csi writes `pool`, `imageName` and, for an RBD namespace, `radosNamespace` when it provisions a volume.

    A volume made by hand (`staticVolume`) has the image's name as its handle instead.
    """
    if not is_driver(source.driver, RBD_DRIVER):
        return None
    attributes = source.volume_attributes or {}
    by_hand = attributes.get("staticVolume", "").lower() in ("true", "1", "t")
    image = source.volume_handle if by_hand else attributes.get("imageName", "")
    pool = attributes.get("pool", "")
    return ImageSpec(pool, attributes.get("radosNamespace", ""), image) if pool and image else None
