"""What a mistake is called: pydantic's errors in the words of somebody who writes a runbook, and "did you mean".

Nothing here judges; it only says.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from runbooks.format.marks import Node, Problem
from runbooks.model import CheckBecomes, Parameter, Replacement, Runbook, Step

_SHOWN = 24
_FIELDS_BY_PLACE: Mapping[str, type[BaseModel]] = {"<check>": CheckBecomes, "<replacement>": Replacement}
_GUARDS = ("when", "require", "prove", "verify")
_HINTS = {
    "id": "area/situation, as ceph/stale_rbd_lock",
    "version": "three numbers, as 1.0.0",
    "status": "preview, stable or deprecated",
    "title": "one line that says what is done",
    "meaning": "what the situation means, and when not to use this runbook",
    "impact": "what it may cost",
    "owner": "who answers for this runbook",
    "changelog": "one line: what is new in this version",
    "steps": "a list of steps",
    "kind": "what the parameter is, as rbd_image or node",
    "becomes": "found or ok",
    "check": "the id of a check",
    "replacement": "Running",
    "within": "a duration, as 3m",
    "name": "the name of a guard",
}


def instead(word: str, known: Iterable[str]) -> str:
    """The second half of a message about an unknown word: the near miss, or all that there is."""
    words = sorted(known)
    near = get_close_matches(word, words, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    if not words:
        return "there is none to name here"
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"write one of: {', '.join(words[:_SHOWN])}{more}"


def told(error: ValidationError, root: Node) -> Iterator[Problem]:
    """Each of pydantic's errors, at the place of the word that it is about."""
    for one in error.errors(include_url=False):
        yield _told(one["type"], one["loc"], one.get("ctx", {}), root)


def _told(kind: str, loc: Sequence[str | int], ctx: Mapping[str, Any], root: Node) -> Problem:
    node = locate(root, loc)
    names = [part for part in loc if isinstance(part, str) and not part.startswith("<")]
    name = names[-1] if names else ""
    if kind == "missing":
        hint = "a short name for this step" if name == "id" and len(loc) > 1 else _HINTS.get(name, "its value")
        return node.problem(f"the field '{name}' is missing; add {name}: {hint}")
    if kind == "extra_forbidden":
        parent = locate(root, loc[:-1])
        return parent.key(name).problem(f"unknown field '{name}'; {instead(name, _fields(loc))}")
    if kind == "value_error":
        return node.problem(str(ctx["error"]))
    if kind in ("enum", "literal_error"):
        return node.problem(f"'{name}' cannot be {_shown(node)}; write {ctx['expected']}")
    subject = f"each of '{name}'" if isinstance(loc[-1], int) else f"'{name}'"
    return node.problem(f"{subject} must be {_wanted(kind, name, loc, node)}")


def locate(root: Node, loc: Sequence[str | int]) -> Node:
    """The node that a location of pydantic's means. What names no field (the tag of a union) is passed over."""
    node = root
    for at, part in enumerate(loc):
        if part == "[key]":
            return locate(root, loc[: at - 1]).key(str(loc[at - 1]))
        if isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        elif isinstance(part, str) and part in node.fields:
            node = node.fields[part]
    return node


def _fields(loc: Sequence[str | int]) -> list[str]:
    """The fields that were possible where an unknown one stood."""
    model: type[BaseModel] = Runbook
    if loc[0] == "steps" and len(loc) > 2:
        model = Step
    elif loc[0] == "parameters" and len(loc) > 2:
        model = Parameter
    before = [part for part in loc[:-1] if isinstance(part, str)]
    if before:
        model = _FIELDS_BY_PLACE.get(before[-1], model)
    return [info.alias or name for name, info in model.model_fields.items() if not info.exclude]


def _wanted(kind: str, name: str, loc: Sequence[str | int], node: Node) -> str:
    if kind == "string_type":
        hint = "it in quotes" if isinstance(node.value, bool | int | float) else "text"
        return f"text, not {_shown(node)}; write {_HINTS.get(name, hint) if isinstance(node.value, float) else hint}"
    if kind == "model_type" and (name in _GUARDS or "<guard>" in loc):
        return "a guard; write its name, or {name: {argument: value}}"
    wanted = {
        "bool_type": "true or false; write one of them, without quotes",
        "tuple_type": "a list; write [one, two], or each on a line of its own after a hyphen",
    }
    return wanted.get(kind, "a mapping; write lines such as name: value")


def _shown(node: Node) -> str:
    if isinstance(node.value, dict | list):
        return "a mapping" if isinstance(node.value, dict) else "a list"
    if isinstance(node.value, bool):
        return str(node.value).lower()
    return repr(node.value)
