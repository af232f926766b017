"""Label and field selectors, with the real server's refusals. Pure: text in, a predicate over objects out."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from bot.sandbox.kubernetes.refusals import Refused, bad_request
from bot.sandbox.kubernetes.resources import Object, Resource

Predicate = Callable[[Object], bool]

_FIELD = re.compile(r"^(?P<label>[^=!]+)(?P<operator>==|!=|=)(?P<value>.*)$")
_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|[^\s=!,()]+)")


def value_at(stored: Any, path: str) -> str:
    """The value at a dotted path as selectors compare it: text, "" where there is none, booleans as true and false."""
    found = stored
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if path == "spec.unschedulable" or isinstance(found, bool):
        return str(bool(found)).lower()
    return "" if found is None else str(found)


def by_fields(resource: Resource, selector: str) -> Predicate:
    """A predicate for a field selector such as `spec.nodeName=node1,status.phase!=Running`.

    Raises:
        Refused: 400, the selector cannot be parsed or names a field that this resource cannot be selected by.
    """
    terms: list[tuple[str, bool, str]] = []
    for term in filter(None, selector.split(",")):
        match = _FIELD.match(term)
        if match is None:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{term}'")
        path = resource.fields.get(match["label"])
        if path is None:
            raise _not_selectable(resource, match["label"])
        terms.append((path, match["operator"] != "!=", match["value"]))
    return lambda stored: all((value_at(stored, path) == value) == wanted for path, wanted, value in terms)


def _not_selectable(resource: Resource, label: str) -> Refused:
    if resource.tells_fields:
        return bad_request(f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"')
    return bad_request(f"field label not supported: {label}")


def by_labels(selector: str) -> Predicate:
    """A predicate for a label selector: `app=web,tier!=db,zone in (a,b),gpu,!spot`.

    Raises:
        Refused: 400, the selector cannot be parsed.
    """
    terms = list(_label_terms(_tokens(selector)))
    return lambda stored: all(term(stored.get("metadata", {}).get("labels") or {}) for term in terms)


def _tokens(selector: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    while match := _TOKEN.match(selector, position):
        tokens.append(match[1])
        position = match.end()
    return [*tokens, ""]


def _label_terms(tokens: list[str]) -> Iterator[Callable[[dict[str, str]], bool]]:
    while tokens[0]:
        key = tokens.pop(0)
        if key == "!":
            yield _absent(tokens.pop(0))
        elif key in ("=", "==", "!=", ",", "(", ")"):
            raise bad_request(f"found '{key}', expected: !, identifier, or 'end of string'")
        else:
            yield _requirement(key, tokens)
        separator = tokens.pop(0) if tokens[0] else ""
        if separator not in ("", ","):
            raise bad_request(f"found '{separator}', expected: ',' or 'end of string'")


def _absent(key: str) -> Callable[[dict[str, str]], bool]:
    return lambda labels: key not in labels


def _requirement(key: str, tokens: list[str]) -> Callable[[dict[str, str]], bool]:
    operator = tokens[0]
    if operator in ("", ","):
        return lambda labels: key in labels
    tokens.pop(0)
    if operator in ("in", "notin"):
        values = _values(tokens)
        wanted = operator == "in"
        return lambda labels: (labels[key] in values) == wanted if key in labels else not wanted
    if operator not in ("=", "==", "!="):
        raise bad_request(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
    value = "" if tokens[0] in ("", ",") else tokens.pop(0)
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value


def _values(tokens: list[str]) -> set[str]:
    if (opening := tokens.pop(0) if tokens[0] else "") != "(":
        raise bad_request(f"unable to parse requirement: found '{opening}', expected: '('")
    values: set[str] = set()
    while tokens[0] not in ("", ")"):
        word = tokens.pop(0)
        if word != ",":
            values.add(word)
    if not tokens[0]:
        raise bad_request("unable to parse requirement: found '', expected: ',' or ')'")
    tokens.pop(0)
    return values or {""}
