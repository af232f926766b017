"""Hostile input costs no more than its capped length: shown on the patterns themselves, not on a clock."""

import re
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from diagnostics.causes import classify, entities, wrappers
from diagnostics.causes.model import Rule
from diagnostics.causes.rules import RULES

MOST = 1024
"""The most that one repeat may span; the names in the messages are at most 253 long, paths 1,000."""


def patterns_of(module: object) -> Iterator[re.Pattern[str]]:
    for value in vars(module).values():
        if isinstance(value, re.Pattern):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, re.Pattern))


PATTERNS = [
    *(rule.pattern for rule in RULES if rule.pattern),
    *patterns_of(wrappers),
    *patterns_of(entities),
    *(pattern for group in entities._PATTERNS.values() for pattern in group),
]
REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)


def repeats(parsed: Any) -> Iterator[tuple[int, Any]]:
    """(most, what is repeated) of every repeat, however deep."""
    for operator, argument in parsed:
        if operator in REPEATS:
            yield int(argument[1]), argument[2]
            yield from repeats(argument[2])
        for part in parts(operator, argument):
            yield from repeats(part)


def parts(operator: Any, argument: Any) -> list[Any]:
    """What lies inside a group, a look-around or the branches of an alternation."""
    if operator is _constants.SUBPATTERN:
        return [argument[3]]
    if operator is _constants.BRANCH:
        return list(argument[1])
    if operator in (_constants.ASSERT, _constants.ASSERT_NOT):
        return [argument[1]]
    return []


def work(parsed: Any) -> int:
    """The most ways in which one try of a pattern can be taken: repeats in a row multiply, alternatives add up."""
    ways = 1
    for operator, argument in parsed:
        if operator in REPEATS:
            most, inside = int(argument[1]), argument[2]
            ways *= (most - argument[0] + 1) * work(inside) ** min(most, 2)
        else:
            inner = [work(part) for part in parts(operator, argument)]
            ways *= max(sum(inner), 1)
    return ways


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.pattern[:60])
def test_every_repeat_of_a_pattern_is_bounded_and_no_wide_one_is_repeated(pattern: re.Pattern[str]) -> None:
    for most, inside in repeats(_parser.parse(pattern.pattern, pattern.flags)):
        assert most <= MOST
        assert most <= 2 or all(width <= 20 for width, _ in repeats(inside))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.pattern], ids=lambda rule: rule.pattern.pattern[:60])
def test_one_try_of_a_rule_is_bounded(rule: Rule) -> None:
    assert rule.pattern is not None
    assert work(_parser.parse(rule.pattern.pattern, rule.pattern.flags)) <= 200_000


HOSTILE = [
    "(",
    "rpc error: code = ",
    "rpc error: code = Internal desc = ",
    '"',
    "“",
    "'",
    " ",
    "\x00",
    "\ud800",
    "\\",
    "\\\\\\n",
    "a",
    "1",
    "/",
    'for volume "',
    "rbd image a/b/",
    "https://10.96.0.1:443/api/",
    "failed to create directory /",
    "(13) ",
    "exit status ",
    "image ",
    "pool pool ",
    "-t ceph ",
    "İ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_what_is_examined_is_capped_whatever_the_length(piece: str) -> None:
    message = piece * (5_000_000 // len(piece))
    assert len(wrappers.readable(message)) <= wrappers.HEAD + wrappers.TAIL + 1
    parsed = wrappers.parse(message)
    assert len(parsed.text) <= wrappers.HEAD + wrappers.TAIL + 1
    assert len(parsed.codes) <= wrappers.WRAPPERS_READ


@pytest.mark.parametrize("piece", HOSTILE)
def test_five_megabytes_of_anything_are_classified(piece: str) -> None:
    found = classify(piece * (5_000_000 // len(piece)))
    assert found.why
    assert all(len(name) <= MOST for name in found.entities.values())


def test_an_error_at_either_end_of_a_huge_message_is_found() -> None:
    error = "rbd: image db-1 is locked by other nodes"
    noise = "x" * 5_000_000
    assert classify(f"{error} {noise}").cause == "rbd-image-locked"
    assert classify(f"{noise} {error}").cause == "rbd-image-locked"
