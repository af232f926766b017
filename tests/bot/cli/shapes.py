"""The shapes of the JSON documents, as the contract writes them. Strict: a key too many is a mistake as a missing one is."""

import re
from collections.abc import Callable
from typing import Any

Shape = Any
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def moment(value: object) -> bool:
    """A point in time, in UTC, to the second."""
    return isinstance(value, str) and bool(RFC3339.fullmatch(value))


def one_of(*values: str) -> Callable[[object], bool]:
    """One of these words."""
    return lambda value: value in values


def maybe(shape: Shape) -> Callable[[object], bool]:
    """That, or null."""
    return lambda value: value is None or not mistakes(value, shape)


def each(shape: Shape) -> dict[str, Shape]:
    """A mapping from any string to that."""
    return {"*": shape}


SUBJECT = {"kind": str, "namespace": maybe(str), "name": str, "uid": str}
FINDING = {
    "id": lambda value: isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{16}", value)),
    "severity": one_of("info", "warning", "critical"),
    "cause": maybe(str),
    "summary": str,
    "subject": SUBJECT,
    "since": maybe(moment),
    "chain": [{"subject": SUBJECT, "says": str, "evidence": [{"source": str, "text": str}]}],
    "root": maybe(SUBJECT),
    "unseen": [str],
    "runbooks": [{"id": str, "version": str, "params": each(str)}],
}
CHECK = {
    "version": one_of(1),  # type: ignore[arg-type]
    "cluster": str,
    "taken_at": moment,
    "scanned": each(int),
    "outcomes": [
        {
            "check": str,
            "status": one_of("ok", "found", "unknown", "skipped"),
            "reason": maybe(str),
            "findings": [FINDING],
        }
    ],
}
WHY = {
    **FINDING,
    "status": one_of("found", "ok", "unknown"),
    "changes": [{"when": moment, "subject": SUBJECT, "says": str}],
    "beside": [str],
    "changes_unseen": [str],
}
# What is healthy, or was not seen, is no finding: it has neither an id nor a severity.
WHY_NOTHING = {**WHY, "id": str, "severity": maybe(str)}
VERDICT = one_of("live", "in_use_elsewhere", "fenced", "alive_or_cut_off", "suspect", "stale", "stale_managed")
LOCKS = {
    "version": one_of(1),  # type: ignore[arg-type]
    "cluster": maybe(str),
    "taken_at": moment,
    "pools": [{"pool": str, "namespace": str, "images": int, "locked": int}],
    "problems": [{"pool": str, "reason": str}],
    "locks": [
        {
            "pool": str, "namespace": str, "image": str, "format": lambda value: value in (1, 2), "locker": str,
            "cookie": str, "address": str, "tag": str, "exclusive": bool, "managed": bool,
            "watchers": [{"client": str, "address": str}], "verdict": VERDICT, "why": str, "node": maybe(str),
            "pv": maybe(str), "pvc": maybe(str), "pods": [str],
        }
    ],
}  # fmt: skip
CAUSE = {"cause": str, "confidence": one_of("certain", "likely", "unknown"), "why": str, "entities": each(str)}


def mistakes(value: object, shape: Shape, where: str = "$") -> list[str]:
    """Everything in which a value is not of the shape, each with its place."""
    if isinstance(shape, dict):
        return _of_mapping(value, shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where} is no list: {value!r}"]
        return [m for number, item in enumerate(value) for m in mistakes(item, shape[0], f"{where}[{number}]")]
    fits = type(value) is shape if isinstance(shape, type) else bool(shape(value))
    return [] if fits else [f"{where} is {value!r}"]


def _of_mapping(value: object, shape: dict[str, Shape], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is no mapping: {value!r}"]
    if "*" in shape:
        return [m for key, item in value.items() for m in mistakes(item, shape["*"], f"{where}.{key}")]
    found = [f"{where} has no {key}" for key in shape if key not in value]
    found += [f"{where} has {key}, which nobody promised" for key in value if key not in shape]
    return found + [m for key in shape if key in value for m in mistakes(value[key], shape[key], f"{where}.{key}")]
