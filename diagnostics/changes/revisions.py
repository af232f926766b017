"""Which revisions of the chain's workloads were made, with the images that changed, and who edited the workloads."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from diagnostics.changes.writers import by, is_controller, made_it, maker, writings, wrote
from diagnostics.facts import Snapshot, edits
from diagnostics.facts.resources.edits import Edit, EditedWorkload, ImageRevision, ImageSet
from diagnostics.facts.resources.redaction import HIDDEN, redacted
from diagnostics.model import Change, quoted

_FOLLOWS = timedelta(seconds=10)  # a controller makes the new revision within this time of the edit that asks for it
_MOST_IMAGES = 3
_LONGEST_CAUSE = 160  # characters; kubectl's --record keeps a whole command line
# --record keeps kubectl's command line without its quotes, so where a value ends is not known: what follows is cut off.
_SETS_A_VALUE = re.compile(
    r"(?:^|\s)(?!--(?:filename|kustomize|kubeconfig|namespace|context|cluster|record|selector|replicas|to-revision)=)[^\s=]+="
)


def revised(snapshot: Snapshot) -> Iterator[Change]:
    """The revisions of each workload of the chain, and the edits of it that made none."""
    for workload in edits.workloads(snapshot):
        kept = _kept(workload, snapshot)
        if workload.metadata.creation_timestamp:
            said = f"created{by(maker(workload.metadata))}"
            yield Change(workload.metadata.creation_timestamp, workload.subject, said)
        told: set[int] = set()
        for before, revision in zip((None, *kept), kept, strict=False):
            asked = _asked_by(revision, workload)
            told |= {id(asked)}
            yield from _made(revision, before, workload, asked)
        for edit in writings(workload.metadata):
            if edit.time is not None and id(edit) not in told:
                says = f"{wrote(edit, workload.kind)}{_went_back(edit, kept)}"
                yield Change(edit.time, workload.subject, says)


def _went_back(edit: Edit, kept: Sequence[ImageSet | ImageRevision]) -> str:
    """What an edit of the template took the workload back to: an older object that has the highest number again."""
    if len(kept) < 2 or not edit.owns("spec", "template"):
        return ""
    before, newest = kept[-2:]
    made, last = newest.metadata.creation_timestamp, before.metadata.creation_timestamp
    if made is None or last is None or edit.time is None or not made < last <= edit.time:
        return ""
    return f"; back to what is revision {newest.number} now: {images(before.images, newest.images)}"


def _kept(workload: EditedWorkload, snapshot: Snapshot) -> list[ImageSet | ImageRevision]:
    """The revisions that a workload owns, oldest number first."""
    sets, others = snapshot.seen(edits.IMAGE_SETS), snapshot.seen(edits.IMAGE_REVISIONS)
    every: list[ImageSet | ImageRevision] = [*(sets.full if sets else ()), *(others.full if others else ())]
    own = [each for each in every if each.metadata.controller and each.metadata.controller.uid == workload.metadata.uid]
    return sorted(own, key=lambda each: each.number or 0)


def _asked_by(revision: ImageSet | ImageRevision, workload: EditedWorkload) -> Edit | None:
    """The writing that the revision answers: the last one of the template just before it."""
    made, found = revision.metadata.creation_timestamp, []
    for each in workload.metadata.managed_fields or ():
        if made is None or each.time is None or is_controller(each.manager) or not each.owns("spec", "template"):
            continue
        if timedelta(0) <= made - each.time <= _FOLLOWS:
            found.append((each.time, not made_it(each, workload.metadata), each))
    return max(found, key=lambda pair: pair[:2])[2] if found else None


def _made(
    revision: ImageSet | ImageRevision, before: ImageSet | ImageRevision | None, of: EditedWorkload, asked: Edit | None
) -> Iterator[Change]:
    when = revision.metadata.creation_timestamp
    if when is None:
        return
    number = "a revision" if revision.number is None else f"revision {revision.number}"
    parts = [f"made as {number} of {of.kind} {of.metadata.name}{by(asked.manager if asked else None)}"]
    if before is not None:
        parts.append(images(before.images, revision.images))
    elif asked is not None and made_it(asked, of.metadata):
        parts.append("its first")
    if cause := revision.metadata.change_cause:
        parts.append(f"change-cause: {without_values(cause)}")
    yield Change(when, revision.subject, "; ".join(parts))


def images(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Which images differ between two templates."""
    told = [
        f"image of {name} changed from {redacted(old[name])} to {redacted(image)}" if name in old
        else f"container {name} added with image {redacted(image)}"
        for name, image in new.items() if old.get(name) != image
    ]  # fmt: skip
    told += [f"container {name} removed" for name in old if name not in new]
    return quoted(_first(told)) if told else "the same images, something else of its template changed"


def _first(told: Sequence[str]) -> list[str]:
    more = [f"{len(told) - _MOST_IMAGES} more"] if len(told) > _MOST_IMAGES else []
    return [*told[:_MOST_IMAGES], *more]


def without_values(cause: str) -> str:
    """A change-cause as it may be shown: keys and passwords redacted, and nothing that a command line set but images."""
    text = redacted(" ".join(cause.split()))
    if text.startswith("kubectl "):
        cut = None if " set image " in text else _SETS_A_VALUE.search(text)
        text = f"{text[: cut.end()]}{HIDDEN}" if cut else text
        head, brace, _ = text.partition("{")
        text = f"{head}{HIDDEN}" if brace else text
    return text if len(text) <= _LONGEST_CAUSE else f"{text[:_LONGEST_CAUSE]}…"
