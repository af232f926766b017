"""The classifier against real messages: the given corpus, and the cases beside this file."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.causes import MEANINGS, Confidence, classify, is_umbrella, telling
from diagnostics.causes.rules import RULES
from diagnostics.causes.wrappers import parse

CORPUS = Path(__file__).parents[2] / "corpus" / "mount_errors.jsonl"
CASES = Path(__file__).with_name("cases.jsonl")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ALL = [*rows(CORPUS), *rows(CASES)]


def shortened(row: dict[str, Any]) -> str:
    return f"{row['cause']}: {row['message'][-60:]!r}"


@pytest.mark.parametrize("row", rows(CORPUS), ids=shortened)
def test_a_message_of_the_corpus_has_its_cause(row: dict[str, Any]) -> None:
    assert classify(row["message"], row["reason"]).cause == row["cause"]


@pytest.mark.parametrize("row", rows(CASES), ids=shortened)
def test_a_case_has_its_cause_and_its_names(row: dict[str, Any]) -> None:
    found = classify(row["message"], row["reason"])
    assert found.cause == row["cause"]
    assert found.entities | row.get("entities", {}) == found.entities


@pytest.mark.parametrize("row", rows(CORPUS), ids=shortened)
def test_a_message_of_the_corpus_has_its_cause_on_a_line_of_its_own_or_at_least_no_other(row: dict[str, Any]) -> None:
    assert classify(row["message"]).cause in (row["cause"], "unknown")


@pytest.mark.parametrize("row", ALL, ids=shortened)
def test_every_name_is_a_piece_of_the_message_without_quotes_or_punctuation(row: dict[str, Any]) -> None:
    for name in classify(row["message"], row["reason"]).entities.values():
        assert name in row["message"]
        assert name == name.strip(" .,:;\"'“”[](){}")


def test_no_rule_stands_without_a_message_that_only_it_decides() -> None:
    deciding = set()
    for row in ALL:
        message = parse(row["message"], row["reason"])
        deciding.add(next((index for index, rule in enumerate(RULES) if rule.holds(message)), None))
    assert [RULES[index].why for index in range(len(RULES)) if index not in deciding] == []


def test_every_cause_that_a_rule_names_has_a_meaning_and_a_reason() -> None:
    assert {rule.cause for rule in RULES} <= set(MEANINGS)
    assert all(rule.why.endswith(".") for rule in RULES)
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())


def test_every_cause_but_the_one_without_words_has_a_rule() -> None:
    assert set(MEANINGS) - {rule.cause for rule in RULES} == {"rbd-advisory-lock-blocks-exclusive"}


def test_unknown_is_never_certain_and_says_why() -> None:
    for message in ("", "   \x00", "all is well"):
        found = classify(message)
        assert (found.cause, found.confidence) == ("unknown", Confidence.UNKNOWN)
        assert found.why


def test_a_lock_that_failed_may_hide_a_wrong_key_and_says_so() -> None:
    found = classify("rbd: failed to lock image x (maybe locked by other nodes), error exit status 22", "FailedMount")
    assert (found.cause, found.confidence) == ("rbd-image-locked", Confidence.LIKELY)
    assert "wrong key" in found.why


def test_typographic_quotes_and_controls_do_not_stick_to_names() -> None:
    found = classify("AttachVolume.Attach failed for volume “efs-pv”\x00 : Attach timeout for volume fs-0bd3")
    assert found.entities["volume"] == "efs-pv"


def test_an_image_in_a_rados_namespace_is_cut_in_three() -> None:
    found = classify("rbd image pool-a/team-1/csi-vol-9 is still being used").entities
    assert found == {"pool": "pool-a", "namespace": "team-1", "image": "csi-vol-9"}


def test_a_container_image_is_no_rbd_image() -> None:
    assert (
        "image" not in classify('Failed to pull image "registry.example/a/b:1": image a/b not found', "Failed").entities
    )


@given(st.text(), st.none() | st.text())
def test_any_text_gets_a_known_cause(message: str, reason: str | None) -> None:
    found = classify(message, reason)
    assert found.cause in MEANINGS
    assert all(name in message for name in found.entities.values())


@given(st.sampled_from(ALL), st.integers(0, 400), st.text(max_size=20))
def test_a_message_that_is_cut_or_soiled_never_raises(row: dict[str, Any], at: int, dirt: str) -> None:
    message = row["message"][:at] + dirt + row["message"][at:]
    found = classify(message, row["reason"])
    assert found.cause in MEANINGS
    assert all(name in message for name in found.entities.values())


UMBRELLA = (
    "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[data]: timed out waiting for the"
    " condition",
    "FailedMount",
)
LOCKED = ("rbd: image index-api-image is locked by other nodes", "FailedMount")
LIKELY = ("rbd: map failed: (2) No such file or directory", "FailedMount")
NOISE = ("Successfully assigned default/web-0 to w-1", "Scheduled")


def test_the_specific_event_tells_more_than_newer_umbrellas() -> None:
    assert telling([NOISE, LOCKED, UMBRELLA, UMBRELLA]) == 1


def test_a_certain_cause_tells_more_than_a_newer_likely_one() -> None:
    assert telling([LOCKED, LIKELY]) == 0


def test_a_likely_cause_tells_more_than_the_umbrella_and_the_umbrella_more_than_noise() -> None:
    assert telling([LIKELY, UMBRELLA, NOISE]) == 0
    assert telling([UMBRELLA, NOISE]) == 0


def test_among_equals_the_newest_tells_and_of_nothing_nothing() -> None:
    assert telling([LOCKED, LOCKED]) == 1
    assert telling([NOISE]) == 0
    assert telling([]) is None


def test_only_the_umbrella_is_one() -> None:
    assert is_umbrella(classify(*UMBRELLA))
    assert not is_umbrella(classify(*LOCKED))
