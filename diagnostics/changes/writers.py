"""Who edited what, from `metadata.managedFields`: the time of each writer's last change, and the fields it owns.

Controllers write all the time; what counts here is what people and their tools want of an object.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

import json
from collections.abc import Iterator
from datetime import timedelta

from diagnostics.facts.resources.edits import Edit, EditedMeta, FieldTree
from diagnostics.model import Change, Subject, quoted

# Parts of the cluster itself: what they write follows from what others asked for.
_CONTROLLERS = (
    "kube-controller-manager", "cloud-controller-manager", "kube-scheduler", "kube-apiserver", "kubelet",
    "kube-proxy", "csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter", "external-provisioner",
    "external-attacher", "external-resizer",
)  # fmt: skip
_AT_ONCE = timedelta(seconds=1)  # times are whole seconds: the writing that made an object may seem to be one later
_NAMES = (
    "f:",
    "k:",
)  # a field, an item of a list by its key; `.` is the thing itself, `v:` an item that is its own value
_MOST_FIELDS = 3  # named; a writer that owns more made the object, or owns it as a whole


def is_controller(manager: str) -> bool:
    """Whether a writer is a part of the cluster itself."""
    return manager in _CONTROLLERS


def made_it(edit: Edit, meta: EditedMeta) -> bool:
    """Whether this writing made the object."""
    made = meta.creation_timestamp
    return made is not None and edit.time is not None and abs(edit.time - made) <= _AT_ONCE


def maker(meta: EditedMeta) -> str | None:
    """Who made an object, where its writers still tell."""
    return next((each.manager for each in meta.managed_fields or () if each.manager and made_it(each, meta)), None)


def writings(meta: EditedMeta) -> Iterator[Edit]:
    """What people and their tools wrote into an object after it was made, but for its status and metadata."""
    for each in meta.managed_fields or ():
        if each.time is None or each.subresource == "status" or not each.fields:
            continue
        if not is_controller(each.manager) and not made_it(each, meta):
            yield each


def by(manager: str | None) -> str:
    """` by MANAGER`, or nothing where nobody knows."""
    return f" by {manager}" if manager else ""


def edited(meta: EditedMeta, subject: Subject) -> Iterator[Change]:
    """When an object was made and edited, with the writers' names."""
    if meta.creation_timestamp:
        yield Change(meta.creation_timestamp, subject, f"created{by(maker(meta))}")
    for each in writings(meta):
        assert each.time is not None, "writings have a time"
        yield Change(each.time, subject, wrote(each, subject.kind))


def wrote(edit: Edit, kind: str) -> str:
    """One writing in words, with the fields where they are few. What a Secret's are called is not said."""
    paths = [] if kind == "Secret" else list(_paths(edit.fields))
    which = f": {quoted(paths)}" if 0 < len(paths) <= _MOST_FIELDS else ""
    return f"edited{by(edit.manager)}{which}"


def _paths(tree: FieldTree, before: str = "") -> Iterator[str]:
    """The fields that are owned, as paths of names: `spec.template.spec.containers[app].image`. Never a value."""
    for key, below in tree.items():
        if not key.startswith(_NAMES):
            continue
        path = _step(key, before)
        inner = below if isinstance(below, dict) else {}
        if any(name.startswith(_NAMES) for name in inner):
            yield from _paths(inner, path)
        else:
            yield path


def _step(key: str, before: str) -> str:
    if key.startswith("f:"):
        return f"{before}.{key[2:]}" if before else key[2:]
    try:
        keys = json.loads(key.removeprefix("k:"))
        return f"{before}[{', '.join(str(value) for value in keys.values())}]"
    except (ValueError, AttributeError):
        return f"{before}[...]"
