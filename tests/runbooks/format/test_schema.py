"""The published schema: it takes every sound runbook, catches what a schema can, and is up to date."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbooks.catalog import Library, built_in_folder
from runbooks.format import marks
from runbooks.format.schema import schema
from runbooks.loader import RunbookErrors, parse
from runbooks.model import Runbook, Step, Vocabulary
from runbooks.vocabulary import vocabulary
from tests import reference
from tests.runbooks.format.json_schema import UnknownKeywordError, errors

HERE = Path(__file__).parent
SOUND = HERE / "sound.yaml"
GOLDEN = sorted((HERE / "golden").glob("*.yaml"))
# What is no document, or differs only in how it is written: an editor's YAML says so, or nothing can.
NOT_TO_BE_READ = {
    "alias_bomb", "control_character", "duplicate_key", "empty_file", "nested_too_deep", "no_value", "not_utf8", "not_yaml",
    "placeholder_without_quotes", "tab_in_indentation", "tag", "two_documents",
}  # fmt: skip
# What a schema cannot know: other places of the file, names of its own parameters, times that are too long.
BEYOND_A_SCHEMA = {
    "attest_of_an_optional_node", "duplicate_step_ids", "duration_of_millennia",
    "duration_of_nothing", "given_names_a_required_one", "given_names_no_parameter",
    "guard_told_a_parameter_of_another_kind", "guard_told_text_by_a_default",
    "guard_told_text_by_an_enum", "malformed_placeholder_in_text", "on_failure_undoes_nothing",
    "on_failure_undoes_what_comes_later", "optional_parameter_for_an_act", "placeholder_in_shell_quotes",
    "text_for_an_act_by_a_default", "unknown_parameter_in_text", "wait_for_no_pod",
}  # fmt: skip


def document(path: Path) -> Any:
    """A file as an editor reads it. None where it is no plain YAML, or says something twice or not at all."""
    try:
        root, problems = marks.read(path.read_bytes(), str(path))
    except marks.UnreadableError:
        return None
    return None if problems else json.loads(json.dumps(root.plain()))


def broken(words: Vocabulary, said: Any) -> list[str]:
    made = schema(words)
    return list(errors(made, said, made))


@pytest.mark.parametrize("path", sorted(built_in_folder().glob("*/*/*.yaml")), ids=lambda path: path.parent.name)
def test_every_built_in_runbook_fits(path: Path) -> None:
    assert broken(vocabulary(), document(path)) == []


def test_a_sound_runbook_with_every_short_form_fits(words: Vocabulary) -> None:
    assert broken(words, document(SOUND)) == []


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_mistake_is_caught_unless_it_is_beyond_a_schema(path: Path, words: Vocabulary) -> None:
    said = document(path)
    assert (said is None) == (path.stem in NOT_TO_BE_READ)
    if said is not None:
        assert bool(broken(words, said)) != (path.stem in BEYOND_A_SCHEMA), broken(words, said)


def test_what_is_left_to_lint_is_still_a_case_of_its_own() -> None:
    assert {path.stem for path in GOLDEN} >= NOT_TO_BE_READ | BEYOND_A_SCHEMA


def test_every_field_has_the_words_of_the_model(words: Vocabulary) -> None:
    made = schema(words)
    fields = {**made["properties"], **made["definitions"]["step"]["properties"]}
    assert [name for name, field in fields.items() if len(field["description"]) < 10] == []
    models = {**Runbook.model_fields, **Step.model_fields}
    assert fields["on_failure"]["description"] == " ".join((models["on_failure"].description or "").split())


def test_the_words_are_those_of_the_vocabulary(words: Vocabulary) -> None:
    definitions = schema(words)["definitions"]
    assert definitions["step"]["properties"]["act"]["enum"] == sorted(words.actions)
    assert definitions["check"]["enum"] == sorted(words.checks)
    assert definitions["guard"]["anyOf"][0]["enum"] == sorted(words.guards)


def test_a_keyword_that_is_not_judged_here_is_an_error() -> None:
    with pytest.raises(UnknownKeywordError, match="multipleOf"):
        list(errors({"multipleOf": 2}, 3, {}))


def test_the_committed_schema_is_up_to_date() -> None:
    assert reference.SCHEMA.read_text() == reference.schema(), (
        "run `make reference` and commit docs/runbook.schema.json"
    )


def test_a_version_that_the_library_takes_fits_the_schema() -> None:
    """What is loaded was written out, so a field that the schema forgot would show here."""
    for book in Library.load(vocabulary()).all():
        assert book.model_dump(by_alias=True, exclude_none=True).keys() <= schema(vocabulary())["properties"].keys()


_LINES = SOUND.read_text().splitlines()
_PIECES = [
    "", "[]", "{}", "text", "5m", "1h30m", "3", "true", "high", "critical", "ask", "stop", "lock_unchanged", "{{pod}}",
    '"{{pod}}"', '"{{image}}"', "{pod_is_gone: {pod: '{{pod}}'}}", "{kind: enum, values: [a]}", "{kind: int, default: '-1'}",
    "int", "none", "[lock_unchanged]", "{replacement: Running, within: 5m}", "{pod: Running}", "preview", "1.2.3",
]  # fmt: skip


@given(
    st.integers(0, len(_LINES) - 1), st.sampled_from(_PIECES), st.sampled_from(["", "risk", "on_failure", "timeout"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_lint_lets_pass_fits(words: Vocabulary, number: int, piece: str, more: str) -> None:
    """A line with another value, or with one more field below it."""
    line = _LINES[number]
    indent = " " * (len(line) - len(line.lstrip(" -")))
    changed = [line, f"{indent}{more}: {piece}"] if more else [f"{line.partition(':')[0]}: {piece}"]
    content = "\n".join([*_LINES[:number], *changed, *_LINES[number + 1 :]]).encode()
    try:
        parse(content, "x", words)
    except RunbookErrors:
        return
    root, _ = marks.read(content, "x")
    assert broken(words, json.loads(json.dumps(root.plain()))) == []
