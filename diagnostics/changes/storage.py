"""What changed of the chain's storage: claims and volumes made, bound and resized, attachments, classes and drivers."""

from collections.abc import Iterator

from diagnostics.changes.around import attachments
from diagnostics.changes.writers import by, edited, is_controller, maker, writings, wrote
from diagnostics.facts import Snapshot, edits
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.edits import on_chain
from diagnostics.facts.kubernetes import Resource
from diagnostics.facts.resources import Claim, Volume
from diagnostics.facts.resources.edits import Edited, EditedMeta
from diagnostics.model import Change, Subject

_RESIZES = ("Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError")


def of_storage(snapshot: Snapshot) -> Iterator[Change]:
    """The changes of the claims, volumes, attachments, classes and drivers on the chain and beside it."""
    claims, volumes = snapshot.seen(k8s.CLAIMS), snapshot.seen(k8s.VOLUMES)
    named = {str(each) for each in snapshot.seen(edits.ON_CHAIN) or ()}
    for claim in claims.full if claims else ():
        if str(claim.subject) in named:
            yield from _of_claim(claim, snapshot)
    for volume in volumes.full if volumes else ():
        if str(volume.subject) in named:
            yield from _of_volume(volume, snapshot)
    for attachment in attachments(snapshot):
        meta, subject = attachment.metadata, attachment.subject
        if str(subject) in named:
            volume_name = attachment.spec.source.persistent_volume_name or "a volume"
            if meta.creation_timestamp:
                says = f"created: {volume_name} is to be attached to node {attachment.spec.node_name}"
                yield Change(meta.creation_timestamp, subject, says)
            if meta.deletion_timestamp:
                says = (
                    f"its deletion was asked for: {volume_name} is to be detached from node {attachment.spec.node_name}"
                )
                yield Change(meta.deletion_timestamp, subject, says)
    for kind, resource in (("StorageClass", edits.CLASSES), ("CSIDriver", edits.DRIVERS)):
        yield from _of_others(kind, resource, snapshot)


def _of_others(kind: str, resource: Resource[Edited], snapshot: Snapshot) -> Iterator[Change]:
    seen = snapshot.seen(resource)
    for each in seen.full if seen else ():
        if each.metadata.name in {one.name for one in on_chain(snapshot, kind)}:
            yield from edited(each.metadata, Subject(kind, None, each.metadata.name, each.metadata.uid))


def _writers(resource: Resource[Edited], subject: Subject, snapshot: Snapshot) -> EditedMeta | None:
    """The metadata with the writers of an object, as far as they were read."""
    seen = snapshot.seen(resource)
    found = (each.metadata for each in (seen.full if seen else ()))
    return next((m for m in found if (m.namespace, m.name) == (subject.namespace, subject.name)), None)


def _of_claim(claim: Claim, snapshot: Snapshot) -> Iterator[Change]:
    writers = _writers(edits.CLAIMS, claim.subject, snapshot)
    if claim.metadata.creation_timestamp:
        made = f"created{by(maker(writers) if writers else None)}"
        yield Change(claim.metadata.creation_timestamp, claim.subject, made)
    asked, has = (
        _storage(claim.spec.resources.requests if claim.spec.resources else None),
        _storage(claim.status.capacity),
    )
    resized = f"asks for {asked}, has {has}" if asked and has and asked != has else f"asks for {asked}" if asked else ""
    for edit in writings(writers) if writers else ():
        if edit.time is not None:
            own = edit.owns("spec", "resources", "requests", "storage") and not edit.owns("spec", "accessModes")
            says = f"resized{by(edit.manager)}: {resized}" if own and resized else wrote(edit, "PersistentVolumeClaim")
            yield Change(edit.time, claim.subject, says)
    for condition in claim.status.conditions or ():
        if condition.type in _RESIZES and condition.status == "True" and condition.last_transition_time:
            said = f"{condition.type} began" + (f": {resized}" if resized else "")
            yield Change(condition.last_transition_time, claim.subject, said)
    yield from _bound(claim.subject, "spec", "volumeName", f"bound to {claim.spec.volume_name}", writers)


def _storage(amounts: dict[str, str | int] | None) -> str:
    return str((amounts or {}).get("storage") or "")


def _bound(subject: Subject, part: str, field: str, says: str, writers: EditedMeta | None) -> Iterator[Change]:
    """When the controller wrote which one it is bound to. Of one that was made bound nothing more is known."""
    for edit in writers.managed_fields or () if writers else ():
        if edit.time is not None and is_controller(edit.manager) and edit.owns(part, field):
            yield Change(edit.time, subject, says)


def _of_volume(volume: Volume, snapshot: Snapshot) -> Iterator[Change]:
    writers = _writers(edits.VOLUMES, volume.subject, snapshot)
    if volume.metadata.creation_timestamp:
        made = f"created{by(maker(writers) if writers else None)}"
        yield Change(volume.metadata.creation_timestamp, volume.subject, made)
    for edit in writings(writers) if writers else ():
        if edit.time is not None:
            yield Change(edit.time, volume.subject, wrote(edit, "PersistentVolume"))
    if volume.status.last_phase_transition_time:
        yield Change(volume.status.last_phase_transition_time, volume.subject, f"became {volume.status.phase}")
    elif volume.status.phase == "Bound" and (ref := volume.spec.claim_ref) is not None:
        yield from _bound(volume.subject, "spec", "claimRef", f"bound to claim {ref.namespace}/{ref.name}", writers)
