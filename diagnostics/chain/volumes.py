"""From a pod to the images behind its volumes: claim -> PersistentVolume -> image."""

from collections.abc import Iterator

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import ImageSpec
from diagnostics.facts.holders import volume_of
from diagnostics.facts.images import (
    image_of_pod_volume,
    image_of_volume,
    is_here,
    is_of_another,
    is_rbd,
    named_image,
    why_nameless,
)
from diagnostics.facts.kubernetes import CLAIMS, VOLUMES
from diagnostics.facts.resources import Claim, Pod, PodVolume, Volume
from diagnostics.model import Evidence, Link


def claims_of(pod: Pod, snapshot: Snapshot) -> Iterator[Claim]:
    """The claims that a pod mounts, as far as they are there and were read."""
    claims = snapshot.seen(CLAIMS)
    by_key = claims.index("key", lambda claim: (claim.metadata.namespace, claim.metadata.name)) if claims else {}
    for name in dict.fromkeys(pod.claims):
        yield from by_key.get((pod.metadata.namespace, name), ())


def volumes_of_pod(pod: Pod, snapshot: Snapshot) -> Iterator[tuple[Volume, tuple[Link, ...]]]:
    """The PersistentVolumes of a pod with the links that lead to each."""
    for name in pod.claims:
        if volume := volume_of(pod, name, snapshot):
            claimed = (claim_link(claim) for claim in claims_of(pod, snapshot) if claim.metadata.name == name)
            yield volume, (*claimed, volume_link(volume))


def volume_path(
    pod: Pod, entry: PodVolume, snapshot: Snapshot, unseen: list[str]
) -> tuple[list[Link], ImageSpec | None]:
    """The links from one of a pod's volumes to its image: claim and PV, or nothing for an inline volume."""
    name = entry.claim_name(pod.metadata.name)
    if name is None:
        if entry.rbd is not None and not is_here(entry) and not is_of_another(entry):
            unseen.append(f"the image of volume {entry.name}: {why_nameless(entry)}")
        return [], image_of_pod_volume(entry)
    claim = next((c for c in claims_of(pod, snapshot) if c.metadata.name == name), None)
    if claim is None:
        blind = snapshot[CLAIMS]
        if isinstance(blind, NotSeen):
            unseen.append(f"claim {name}: {blind.reason}")
        return [], None
    links = [claim_link(claim)]
    volume = volume_of(pod, name, snapshot)
    if volume is None:
        if isinstance(unread := snapshot[VOLUMES], NotSeen):
            unseen.append(f"volume of {name}: {unread.reason}")
        return links, None
    image = image_of_volume(volume)
    if image is None and is_rbd(volume) and is_here(volume):
        unseen.append(f"the image of {volume.subject}: its attributes do not say which it is")
    elif image is None and is_rbd(volume) and not is_of_another(volume):
        unseen.append(f"the image of {volume.subject}: {why_nameless(volume)}")
    return [*links, volume_link(volume)], image


def claim_link(claim: Claim) -> Link:
    """What a claim is bound to."""
    meta = claim.metadata
    text = f"status.phase {claim.status.phase}, spec.volumeName {claim.spec.volume_name or '(none)'}"
    source = f"GET persistentvolumeclaims {meta.namespace}/{meta.name}"
    return Link(
        claim.subject, f"is {claim.status.phase} to {claim.spec.volume_name or 'nothing'}", (Evidence(source, text),)
    )


def volume_link(volume: Volume) -> Link:
    """What a PersistentVolume is made of."""
    spec = named_image(volume)
    if volume.spec.rbd:
        text = f"spec.rbd: pool {volume.spec.rbd.pool}, image {volume.spec.rbd.image}, user {volume.spec.rbd.user}"
    elif volume.spec.csi:
        text = f"spec.csi: driver {volume.spec.csi.driver}, volumeHandle {volume.spec.csi.volume_handle}"
    else:
        text = "neither spec.rbd nor a Ceph CSI driver"
    nameless = "is an RBD image that it does not name" if is_rbd(volume) else "is no RBD image"
    says = f"is the RBD image {spec}" if spec else nameless
    proofs = [Evidence(f"GET persistentvolumes {volume.metadata.name}", text)]
    if volume.whereabouts is not None:
        proofs.append(Evidence("ceph cluster", volume.whereabouts.says))
    return Link(volume.subject, says, tuple(proofs))
