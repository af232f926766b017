"""The classifier against real messages: the given corpus, and the cases beside this file."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.causes import MEANINGS, Confidence, classify
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
    for kind, name in classify(row["message"], row["reason"]).entities.items():
        assert name in row["message"]
        assert name == name.strip(" \"'“”[](){}")
        # Ceph's own pools begin with a dot (`.mgr`).
        bare = name.removeprefix(".") if kind == "pool" else name
        assert bare == bare.strip(".,:;") or f'"{name}"' in row["message"]


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


MASKS = {
    "rbd: image index-api-image is locked by other nodes": "wrong key",
    "rbd: failed to lock image x (maybe locked by other nodes), error exit status 22": "wrong key",
    'MountVolume.SetUp failed for volume "c" : configmap "settings" not found': "cache",
    "driver name rbd.csi.ceph.com not found in the list of registered CSI drivers": "denied blocklist",
    "rbd: map failed: (13) Permission denied": "wrong caps",
}


@pytest.mark.parametrize("message", MASKS)
def test_a_text_that_may_hide_another_cause_is_only_likely_and_says_which(message: str) -> None:
    found = classify(message, "FailedMount")
    assert found.confidence is Confidence.LIKELY
    assert MASKS[message] in found.why


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
