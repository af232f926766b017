"""YAML read with the place of every word, so that each mistake can be shown where it was made.

Only plain data comes through: no tags, anchors or aliases, no repeated fields, bounded in size and depth. Words mean
what they say: `on`, `no`, `3:20` and dates stay text. Nothing here knows what a runbook is.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
_LONGEST = 400


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: where (lines and columns from 1), what, and what to write instead."""

    path: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.what}"


class UnreadableError(Exception):
    """The file is no plain YAML, so nothing more can be said about its content."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Node:
    """A value and its place. A mapping's value is a dict of nodes by field, with the fields' own places in `keys`."""

    path: str
    line: int
    column: int
    value: Any
    keys: Mapping[str, "Node"] = field(default_factory=dict)

    @property
    def fields(self) -> Mapping[str, "Node"]:
        """The fields of a mapping; nothing for anything else, so that rules need not ask first."""
        return self.value if isinstance(self.value, dict) else {}

    def at(self, name: str) -> "Node":
        """The field's value; where there is none, a node without value in this place, so that rules need not ask."""
        return self.fields.get(name, self.of(None))

    @property
    def items(self) -> Sequence["Node"]:
        """The items of a list; nothing for anything else."""
        return self.value if isinstance(self.value, list) else ()

    @property
    def text(self) -> str:
        """The text of a text; "" for anything else."""
        return self.value if isinstance(self.value, str) else ""

    def of(self, value: Any, keys: Mapping[str, "Node"] | None = None) -> "Node":
        """Another value in this place."""
        return Node(self.path, self.line, self.column, value, keys or {})

    def with_field(self, name: str, value: "Node") -> "Node":
        """This mapping, with one field more or anew."""
        return self.of({**self.fields, name: value}, {name: value, **self.keys})

    def plain(self) -> Any:
        """The value without places; lists as tuples, because frozen data is made of it."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        return tuple(node.plain() for node in self.value) if isinstance(self.value, list) else self.value

    def key(self, name: str) -> "Node":
        """The place where the field's name stands."""
        return self.keys.get(name, self)

    def walk(self) -> Iterator["Node"]:
        """This node and all below it."""
        yield self
        for node in (*self.fields.values(), *self.items):
            yield from node.walk()

    def problem(self, what: str) -> Problem:
        """A problem in this place: one line, whatever the file's own words hold."""
        said = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in what)
        if len(said) > _LONGEST:
            said = f"{said[: _LONGEST // 2]} ... {said[-_LONGEST // 2 :]}"
        return Problem(self.path, self.line, self.column, said)


class _PlainLoader(yaml.SafeLoader):
    """Resolves numbers, true, false and null only; YAML 1.1's other guesses (`no`, `3:20`, dates) stay text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (its parent's own shape)


_PLAIN: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "bool": (r"true|false", "tf", lambda text: text == "true"),
    "int": (r"-?(?:0|[1-9][0-9]{0,17})", "-0123456789", int),
    "float": (r"-?[0-9]{1,300}\.[0-9]{1,300}", "-0123456789", float),
    "null": (r"~|null", "~n", lambda _: None),
}
for _tag, (_pattern, _first, _) in _PLAIN.items():
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"\Z"), [""])


def read(content: bytes, path: str, deepest: int = MAX_DEPTH) -> tuple[Node, list[Problem]]:
    """The document as nodes, with the mistakes that do not hide the rest of it. Raises UnreadableError."""
    text = _decoded(content, path)
    try:
        _refuse_all_but_plain(text, path, deepest)
        document = yaml.compose(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = error.problem or "it cannot be read"
        said = f"{error.context} {said}" if said.startswith("but ") and error.context else said
        what = f"this is not YAML: {said}; look at the indentation (spaces only), the quotes and the brackets here"
        raise UnreadableError([Problem(path, line, column, what)]) from None
    except yaml.reader.ReaderError as error:
        what = f"the character U+{int(error.character):04X} has no place in a text; remove it"
        raise UnreadableError([Problem(path, *_place(text, error.position), what)]) from None
    if document is None:
        raise UnreadableError([Problem(path, 1, 1, "the file is empty; write a runbook, beginning with its id")])
    problems: list[Problem] = []
    return _node(document, path, problems), problems


def _decoded(content: bytes, path: str) -> str:
    if len(content) > MAX_BYTES:
        what = f"the file is larger than {MAX_BYTES // 1024} KiB; split it, or move prose out of it"
        raise UnreadableError([Problem(path, 1, 1, what)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", errors="replace")
        what = f"the byte 0x{content[error.start]:02X} is not UTF-8; save the file as UTF-8"
        raise UnreadableError([Problem(path, *_place(before, len(before)), what)]) from None


def _place(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


def _refuse_all_but_plain(text: str, path: str, deepest: int) -> None:
    """Look at the events before anything is built from them: an alias can unfold to gigabytes, a nest to no stack."""
    problems: list[Problem] = []
    depth = 0
    for event in yaml.parse(text, Loader=_PlainLoader):
        what = ""
        if isinstance(event, yaml.AliasEvent):
            what = f"aliases are not read here (*{event.anchor}); write the value out"
        elif anchor := getattr(event, "anchor", None):
            what = f"anchors are not read here (&{anchor}); remove it"
        elif tag := getattr(event, "tag", None):
            what = f"tags are not read here ({tag}); write the plain value"
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > deepest:
            what = f"this is nested more than {deepest} levels deep; no part of a runbook is"
        if what and (mark := event.start_mark):
            problems.append(Problem(path, mark.line + 1, mark.column + 1, what))
        if depth > deepest:
            break
    if problems:
        raise UnreadableError(problems)


def _node(node: yaml.Node, path: str, problems: list[Problem]) -> Node:
    place = Node(path, node.start_mark.line + 1, node.start_mark.column + 1, None)
    if isinstance(node, yaml.ScalarNode):
        _, _, read_as = _PLAIN.get(node.tag.rpartition(":")[2], ("", "", str))
        value = read_as(node.value)
        if value is None:
            problems.append(place.problem("there is no value here; write one, or leave the field out"))
        return place.of(value)
    if isinstance(node, yaml.SequenceNode):
        return place.of([_node(item, path, problems) for item in node.value])
    fields: dict[str, Node] = {}
    keys: dict[str, Node] = {}
    for key_node, value_node in node.value:
        if isinstance(key_node, yaml.CollectionNode):
            problems.append(place.problem('a parameter must stand in quotes; write "{{name}}"'))
            continue
        name = key_node.value
        key = Node(path, key_node.start_mark.line + 1, key_node.start_mark.column + 1, name)
        if name in fields:
            what = f"the field '{name}' stands here twice, first in line {keys[name].line}; keep one of them"
            problems.append(key.problem(what))
            continue
        fields[name], keys[name] = _node(value_node, path, problems), key
    return place.of(fields, keys)
