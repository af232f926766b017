"""The few words in which a case changes a world: set, remove and add, each with the place that it is about.

A place is an object and a path within it: `nodes/node1 spec.unschedulable`, `pods/search/old status.conditions[type=Ready]`,
`pods/search/old metadata.annotations["a.b/c"]`, `ceph.osdmap fences`, `ceph.locks images[0].lockers`,
`sightings [0].first_seen`, `unseen nodes`, `taken_at`.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runbooks.format.marks import Node, Problem

Json = dict[str, Any]
_WORDS = {"set": "to", "add": "what", "remove": None}
_TOKEN = re.compile(
    r"""\.?(?P<name>[A-Za-z0-9_/~-]+)|\[(?P<number>[0-9]+)\]|\["(?P<key>[^"]+)"\]|\[(?P<field>[\w.]+)=(?P<value>[^\]]*)\]"""
)
_ROOTS = ("sightings", "taken_at")
_EXAMPLE = "write set, add or remove with a place, as set: nodes/node1 spec.unschedulable, and to: true"


class BadChange(ValueError):
    """A change cannot be made: where it stands, and why not."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Change:
    """One change: the word, the thing that it is about, the path in that, the value, and where the case says so."""

    word: str
    thing: str
    path: str
    value: Any
    place: Node

    def fails(self, why: str) -> BadChange:
        """An error in this place."""
        return BadChange(self.place.problem(f"'{self.word}: {self.thing} {self.path}'".replace(" '", "'") + f": {why}"))


def plain(node: Node) -> Any:
    """The value of a node as JSON has it, to be changed later."""
    if isinstance(node.value, dict):
        return {name: plain(each) for name, each in node.value.items()}
    return [plain(each) for each in node.value] if isinstance(node.value, list) else node.value


def read_change(node: Node) -> Change:
    """One entry of `changes`.

    Raises:
        BadChange: it is none.
    """
    word = next((word for word in _WORDS if word in node.fields), None)
    if word is None:
        raise BadChange(node.problem(f"this is no change; {_EXAMPLE}"))
    with_value = _WORDS[word]
    wanted = {word, with_value} if with_value else {word}
    if set(node.fields) != wanted:
        beside = f"'{word}' goes with '{with_value}'" if with_value else "'remove' stands alone"
        raise BadChange(node.problem(f"{beside}; {_EXAMPLE}"))
    thing, _, path = node.fields[word].text.partition(" ")
    if not thing:
        raise BadChange(node.fields[word].problem(f"there is no place here; {_EXAMPLE}"))
    return Change(word, thing, path.strip(), plain(node.fields[with_value]) if with_value else None, node.fields[word])


def make(world: Json, changes: Sequence[Change]) -> None:
    """Make changes to a world, in order.

    Raises:
        BadChange: one of them has nothing to change.
    """
    for change in changes:
        root, tokens = _found(world, change)
        _make(root, tokens, change)


def _found(world: Json, change: Change) -> tuple[Any, list[Any]]:
    """What holds the changed thing, and the way from there."""
    if change.thing == "unseen":  # the names of kinds have dots and spaces
        world.setdefault("unseen", {})
        return world, ["unseen", change.path]
    tokens = _tokens(change)
    if change.thing.startswith("ceph."):
        return world.setdefault("ceph", {}), [change.thing, *tokens]
    if change.thing in _ROOTS:
        world.setdefault(change.thing, [])
        return world, [change.thing, *tokens]
    plural, *rest = change.thing.split("/")
    kept = world.setdefault("kubernetes", {})
    if not rest:
        kept.setdefault(plural, [])
        return kept, [plural, *tokens]
    if len(rest) > 2:
        raise change.fails("an object is plural/name or plural/namespace/name")
    namespace, name = rest if len(rest) == 2 else (None, rest[0])
    for number, item in enumerate(kept.get(plural, ())):
        meta = item.get("metadata") or {}
        if (meta.get("namespace"), meta.get("name")) == (namespace, name):
            return kept, [plural, number, *tokens]
    raise change.fails(f"there is no such object in this world at that time; it has {_listed(kept.get(plural, ()))}")


def _listed(items: Sequence[Json]) -> str:
    metas = [item.get("metadata") or {} for item in items]
    names = ["/".join(filter(None, (meta.get("namespace"), meta.get("name")))) for meta in metas]
    return ", ".join(names[:8]) or "none of this kind"


def _tokens(change: Change) -> list[Any]:
    """A path in its parts: names, numbers of list items, and (field, value) of an item."""
    found: list[Any] = []
    at = 0
    while at < len(change.path):
        hit = _TOKEN.match(change.path, at)
        if hit is None:
            raise change.fails(f"the path is not understood from {change.path[at:]!r} on")
        if hit["number"] is not None:
            found.append(int(hit["number"]))
        elif hit["field"] is not None:
            found.append((hit["field"], hit["value"]))
        else:
            found.append(hit["name"] or hit["key"])
        at = hit.end()
    return found


def _make(root: Any, tokens: list[Any], change: Change) -> None:
    holder, last = root, tokens[-1]
    for token in tokens[:-1]:
        holder = _step(holder, token, change, missing=change.word != "remove")
    key = _key(holder, last, change)
    value = copy.deepcopy(change.value)
    if change.word == "add":
        _add(holder, key, value, change)
    elif change.word == "remove":
        if isinstance(holder, dict) and key not in holder:
            raise change.fails("there is nothing to remove")
        del holder[key]
    else:
        holder[key] = value


def _add(holder: Any, key: Any, value: Any, change: Change) -> None:
    if isinstance(holder, dict) and holder.get(key) is None:
        holder[key] = []
    if not isinstance(holder[key], list):
        raise change.fails("only lists are added to; use set")
    holder[key].append(value)


def _step(holder: Any, token: Any, change: Change, *, missing: bool) -> Any:
    key = _key(holder, token, change)
    if isinstance(holder, dict) and holder.get(key) is None:
        if not missing:
            raise change.fails(f"there is no {key}")
        holder[key] = {}
    return holder[key]


def _key(holder: Any, token: Any, change: Change) -> Any:
    """The key or the number of an item that a part of a path means."""
    if isinstance(holder, dict) and isinstance(token, str):
        return token
    if isinstance(holder, list) and isinstance(token, int) and token < len(holder):
        return token
    if isinstance(holder, list) and isinstance(token, tuple):
        field, value = token
        for number, item in enumerate(holder):
            if isinstance(item, dict) and str(item.get(field)) == value:
                return number
        raise change.fails(f"no item has {field}={value}")
    raise change.fails(f"there is no {token!r} on the way")
