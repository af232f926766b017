"""`unstick cause` answers every line, in order, whatever the line is."""

import json

import pytest

from bot.cli.messages import LONGEST
from tests.bot.cli.world import Ran, Run

LOCKED = b"rbd: image index-api-image is locked by other nodes"


def causes(ran: Ran) -> list[str]:
    assert ran.code == 0
    assert ran.err == ""
    return [json.loads(line)["cause"] for line in ran.out.splitlines()]


def test_nothing_on_standard_input_is_no_answer_and_no_failure(unstick: Run) -> None:
    for output in ("text", "json"):
        ran = unstick("cause", "-o", output)
        assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        b"{bad json",
        b'{"reason": "FailedMount"}',
        b'{"message": null}',
        b'{"message": 5}',
        b'{"message": "\\ud800"}',
        b'"a string"',
        b"[1, 2]",
        b"\x00\xff\xfe\x80",
        b"\x1b[2J",
        b"{" * 20_000,
        b'{"a":' + b"[" * 50_000,
        b"x" * (LONGEST + 5),
        b"x" * LONGEST,
        "Ünïcode ‮ … 💥".encode(),
    ],
    ids=lambda line: repr(line[:20]),
)
@pytest.mark.parametrize("output", ["text", "json"])
def test_any_line_gets_one_answer_and_its_neighbours_theirs(unstick: Run, line: bytes, output: str) -> None:
    ran = unstick("cause", "-o", output, stdin=b"\n".join((LOCKED, line, LOCKED)))
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert len(lines) == 3
    assert all("rbd-image-locked" in answer for answer in (lines[0], lines[2]))
    assert "unknown" in lines[1]


def test_a_last_line_without_its_end_counts_and_one_with_it_is_not_two(unstick: Run) -> None:
    assert causes(unstick("cause", "-o", "json", stdin=LOCKED)) == ["rbd-image-locked"]
    assert causes(unstick("cause", "-o", "json", stdin=LOCKED + b"\r\n")) == ["rbd-image-locked"]


def test_a_very_long_line_is_read_from_its_beginning(unstick: Run) -> None:
    assert causes(unstick("cause", "-o", "json", stdin=LOCKED + b" " * 2 * LONGEST + b"\n")) == ["rbd-image-locked"]


def test_the_reason_of_a_json_line_is_heeded(unstick: Run) -> None:
    message = b'{"message": "Unable to attach or mount volumes: timed out waiting for the condition", "reason": "FailedMount"}'
    assert causes(unstick("cause", "-o", "json", stdin=message)) == ["mount-timeout-umbrella"]


def test_words_for_a_person_are_one_line_without_anything_that_steers_the_terminal(unstick: Run) -> None:
    message = json.dumps({"message": "a\nb\x1b[31m\rc " + "long " * 1000}).encode()
    ran = unstick("cause", stdin=message)
    assert ran.out.count("\n") == 1
    assert "\x1b" not in ran.out
    assert len(ran.out) < 300
