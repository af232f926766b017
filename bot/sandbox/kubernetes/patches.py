"""The three kinds of patch that the API takes. Pure: an object and a patch in, the changed object out."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from bot.sandbox.kubernetes.refusals import Refused, bad_request, rejected
from bot.sandbox.kubernetes.resources import Object

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_LIST_KEYS: Mapping[str, str] = {
    "containers": "name", "initContainers": "name", "containerStatuses": "name", "volumes": "name", "env": "name",
    "volumeMounts": "mountPath", "conditions": "type", "addresses": "type", "ownerReferences": "uid",
}  # fmt: skip
"""Lists whose items a strategic patch merges by a key. All others it replaces (a node's taints among them)."""


def apply(content_type: str, before: Object, patch: Any) -> Object:
    """Apply a patch of a content type to an object, which stays as it is.

    Raises:
        Refused: 415 for another content type, 400 for a patch of the wrong shape, 422 for one that does not apply.
    """
    after = copy.deepcopy(before)
    if content_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
        for operation in patch:
            after = _operate(after, operation)
        return after
    if content_type not in (MERGE, STRATEGIC):
        raise Refused(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    if not isinstance(patch, dict):
        raise bad_request("a merge patch must be a JSON object")
    merged: Object = _merge(after, patch) if content_type == MERGE else _merge_by_keys(after, patch)
    return merged


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _merge_by_keys(target: Any, patch: Any, field: str = "") -> Any:
    if isinstance(patch, list):
        if field == "finalizers":
            return [*(target or []), *(item for item in patch if item not in (target or []))]
        return _merge_items(target or [], patch, _LIST_KEYS[field]) if field in _LIST_KEYS else patch
    if not isinstance(patch, dict):
        return patch
    merged = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif key.startswith("$deleteFromPrimitiveList/"):
            kept = key.removeprefix("$deleteFromPrimitiveList/")
            merged[kept] = [item for item in merged.get(kept, []) if item not in value]
        elif not key.startswith("$"):
            merged[key] = _merge_by_keys(merged.get(key), value, key)
    return merged


def _merge_items(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    merged = list(target)
    added: list[Any] = []
    for item in patch:
        place = next((i for i, old in enumerate(merged) if old.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            if place is not None:
                merged.pop(place)
        elif place is None:
            added.append(_merge_by_keys({}, item))
        else:
            merged[place] = _merge_by_keys(merged[place], item)
    return [*added, *merged]


def _operate(document: Any, operation: Any) -> Any:
    """Carry out one operation of RFC 6902."""
    try:
        name, path = operation["op"], _pointer(operation["path"])
        if name == "test":
            if _find(document, path) != operation.get("value"):
                raise rejected()
            return document
        return _OPERATIONS[name](document, path, operation)
    except (KeyError, IndexError, TypeError, ValueError):
        raise rejected() from None


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _step(holder: Any, part: str) -> Any:
    return holder[int(part)] if isinstance(holder, list) else holder[part]


def _find(document: Any, path: list[str]) -> Any:
    for part in path:
        document = _step(document, part)
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return copy.deepcopy(value)
    holder = _find(document, path[:-1])
    if isinstance(holder, list):
        place = len(holder) if path[-1] == "-" else int(path[-1])
        if not 0 <= place <= len(holder):
            raise IndexError(place)
        holder.insert(place, copy.deepcopy(value))
    else:
        holder[path[-1]] = copy.deepcopy(value)
    return document


def _remove(document: Any, path: list[str]) -> Any:
    holder = _find(document, path[:-1])
    _step(holder, path[-1])
    holder.pop(int(path[-1]) if isinstance(holder, list) else path[-1])
    return document


def _replace(document: Any, path: list[str], operation: Any) -> Any:
    value = operation["value"]
    return _add(_remove(document, path) if path else document, path, value)


def _move(document: Any, path: list[str], operation: Any) -> Any:
    origin = _pointer(operation["from"])
    value = _find(document, origin)
    return _add(_remove(document, origin), path, value)


_OPERATIONS: Mapping[str, Callable[[Any, list[str], Any], Any]] = {
    "add": lambda document, path, operation: _add(document, path, operation["value"]),
    "remove": lambda document, path, _: _remove(document, path),
    "replace": _replace,
    "move": _move,
    "copy": lambda document, path, operation: _add(document, path, _find(document, _pointer(operation["from"]))),
}
