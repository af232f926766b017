"""Hostile input costs no more than its length: shown on the patterns themselves, and as a ratio of processor times."""

import re
import time
import unicodedata
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
    "\n",
    "a\n",
    "\u202e",
    "a.",
    "a/",
    "a_",
    "0-0_0",
    "aaaa:",
    'pod "a_b_',
    'pod="a/',
    "k8s_POD_",
    "csi-vol-0",
    "map a/",
    "kubernetes.io/rbd/[",
    "kubernetes.io/csi/a.b/",
    "csinode ",
    "driver a.b ",
    "secret a in namespace ",
    "failed to blocklist ",
    "osd blocklist ",
    "error opening image ",
    "connecting to the cluster",
    "libceph: mon0 x ",
    "operation with the given volume ",
    "exceed the limit ",
    "disk aaa is ",
    "no more ipv4 ",
    "dial unix /",
    "[put /",
    'mounting "/',
    "filesystem corrupt",
    "resize2fs ",
    "mounting arguments: ",
    "Multus: [a/",
]
"""Each begins, or repeats, what some family of patterns looks for, and never ends it."""


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


SIZES = (10_000, 40_000)
"""Characters; both below the cap, so that it is the patterns that are timed. The second is four times the first."""


def processor_time(message: str) -> float:
    """The least of three: what else the machine does only ever adds to it."""
    times = []
    for _ in range(3):
        begin = time.process_time()
        classify(message, "FailedMount")
        times.append(time.process_time() - begin)
    return min(times)


@pytest.mark.parametrize("piece", [*HOSTILE, " x" * 150 + "desc = "], ids=repr)
def test_four_times_the_text_takes_about_four_times_as_long(piece: str) -> None:
    small, large = (processor_time((piece * (size // len(piece) + 1))[:size]) for size in SIZES)
    assert large <= 8 * small + 0.005  # linear is 4, quadratic 16


def test_behind_the_cap_more_text_takes_hardly_more_time() -> None:
    once, ten = (processor_time("x\u202e(" * length) for length in (500_000, 5_000_000))
    assert ten <= 4 * once + 0.005


INVISIBLE = [
    *map(chr, range(32)),
    *map(chr, range(127, 160)),
    *"\u00ad\u061c\u200b\u200f\u202e\u2028\u2066\u2069\ufeff",
    "\ud800",
]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_no_name_holds_a_character_that_cannot_be_seen(character: str) -> None:
    for text in (
        'MountVolume.SetUp failed for volume "pvc{}-1" : secret "d{}b" not found',
        "rbd image kube/csi{}-vol-1 is still being used",
        'failed to set up pod "web{}-0_default" network: Unauthorized',
    ):
        message = text.replace("{}", character)
        for name in classify(message, "FailedMount").entities.values():
            assert name in message
            assert not any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in name)


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_characters_that_cannot_be_seen_around_an_error_do_not_hide_it(character: str) -> None:
    message = (
        f'{character}MountVolume.SetUp{character} failed for volume "data"{character}: secret "db"{character}not found'
    )
    found = classify(message, "FailedMount")
    assert (found.cause, found.entities["secret"]) == ("secret-missing", "db")


def test_an_error_at_either_end_of_a_huge_message_is_found() -> None:
    error = "rbd: image db-1 is locked by other nodes"
    noise = "x" * 5_000_000
    assert classify(f"{error} {noise}").cause == "rbd-image-locked"
    assert classify(f"{noise} {error}").cause == "rbd-image-locked"
