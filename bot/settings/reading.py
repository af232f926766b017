"""Reads the text of a configuration: YAML in which nothing stands twice, since the reader would see one of both only."""

from collections.abc import Iterator
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


def parsed(text: str) -> Any:
    """What the text says.

    Raises:
        YAMLError: it is no YAML, or a key stands in a mapping twice.
        ValueError, RecursionError: it is YAML that nobody could mean.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is not None:
        for mapping in _mappings(node):
            _each_key_once(mapping)
    return yaml.safe_load(text)


def _mappings(root: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Every mapping, each once: by aliases one may be in many places, and in itself."""
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            waiting += [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _each_key_once(mapping: yaml.MappingNode) -> None:
    seen = set[str]()
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        if key.value in seen:
            what = f"{key.value[:80]!r} stands there twice, and only the last would count"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=key.start_mark)
        seen.add(key.value)
