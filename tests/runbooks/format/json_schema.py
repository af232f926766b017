"""What a JSON Schema of draft 7 says of a document, for the keywords that ours is made of; any other one is an error.

After draft-handrews-json-schema-validation-01: a `$ref` hides its neighbours, and a keyword for one type passes others.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any] | bool
_SAYS_NOTHING = {"$schema", "title", "description", "definitions", "then", "else"}
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}


class UnknownKeywordError(Exception):
    """The schema uses what is not judged here, so that its verdict would mean nothing."""


def errors(schema: Schema, value: Any, root: Schema, path: str = "$") -> Iterator[str]:
    """Where the value breaks the schema, a line each."""
    if isinstance(schema, bool):
        yield from () if schema else (f"{path}: nothing may stand here",)
        return
    if "$ref" in schema:
        assert isinstance(root, dict)
        yield from errors(root["definitions"][schema["$ref"].removeprefix("#/definitions/")], value, root, path)
        return
    for keyword, wanted in schema.items():
        if keyword in _SAYS_NOTHING:
            continue
        judge = _JUDGES.get(keyword)
        if judge is None:
            raise UnknownKeywordError(keyword)
        yield from judge(wanted, value, schema, root, path)


def valid(schema: Schema, value: Any, root: Schema) -> bool:
    """Whether nothing breaks it."""
    return not any(True for _ in errors(schema, value, root))


def _plainly(holds: Callable[[Any, Any], bool]) -> Callable[..., Iterator[str]]:
    def judge(wanted: Any, value: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
        if not holds(wanted, value):
            yield f"{path}: {value!r} is not {wanted!r}"

    return judge


def _type(wanted: Any, value: Any) -> bool:
    return any(_TYPES[name](value) for name in ([wanted] if isinstance(wanted, str) else wanted))


def _properties(wanted: Any, value: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in wanted.keys() & value.keys():
            yield from errors(wanted[name], value[name], root, f"{path}.{name}")


def _additional(wanted: Any, value: Any, schema: Any, root: Schema, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value.keys() - schema.get("properties", {}).keys():
            yield from errors(wanted, value[name], root, f"{path}.{name}")


def _names(wanted: Any, value: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        yield from errors(wanted, name, root, f"{path}.{name}")


def _items(wanted: Any, value: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    for number, item in enumerate(value if isinstance(value, list) else ()):
        yield from errors(wanted, item, root, f"{path}[{number}]")


def _all(wanted: Any, value: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
    for each in wanted:
        yield from errors(each, value, root, path)


def _of(fits: Callable[[int], bool]) -> Callable[..., Iterator[str]]:
    def judge(wanted: Any, value: Any, schema: Schema, root: Schema, path: str) -> Iterator[str]:
        if not fits(sum(valid(each, value, root) for each in wanted)):
            yield f"{path}: fits another number of its forms than it must"

    return judge


def _if(wanted: Any, value: Any, schema: Any, root: Schema, path: str) -> Iterator[str]:
    yield from errors(schema.get("then" if valid(wanted, value, root) else "else", True), value, root, path)


def _size(kind: type, fits: Callable[[int, int], bool]) -> Callable[..., Iterator[str]]:
    return _plainly(lambda wanted, value: not isinstance(value, kind) or fits(len(value), wanted))


_JUDGES: dict[str, Callable[..., Iterator[str]]] = {
    "type": _plainly(_type),
    "enum": _plainly(lambda wanted, value: value in wanted),
    "const": _plainly(lambda wanted, value: value == wanted),
    "pattern": _plainly(lambda wanted, value: not isinstance(value, str) or bool(re.search(wanted, value))),
    "required": _plainly(lambda wanted, value: not isinstance(value, dict) or set(wanted) <= value.keys()),
    "minItems": _size(list, lambda size, wanted: size >= wanted),
    "maxItems": _size(list, lambda size, wanted: size <= wanted),
    "minProperties": _size(dict, lambda size, wanted: size >= wanted),
    "maxProperties": _size(dict, lambda size, wanted: size <= wanted),
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "allOf": _all,
    "anyOf": _of(lambda fitting: fitting >= 1),
    "oneOf": _of(lambda fitting: fitting == 1),
    "if": _if,
}
