"""Every type of block that Slack documents is either judged to its limits or refused, on each surface."""

from typing import Any

import pytest

from bot.sandbox.slack import mistakes, view_mistakes
from bot.sandbox.slack.blocks import Surface

Object = dict[str, Any]


def plain(text: str) -> Object:
    return {"type": "plain_text", "text": text}


def option(text: str, value: str = "v") -> Object:
    return {"text": plain(text), "value": value}


def rich(text: str) -> Object:
    return {
        "type": "rich_text",
        "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}],
    }


RAW: Object = {"type": "raw_text", "text": "x"}
SMALLEST: dict[str, Object] = {
    "section": {"text": plain("x")},
    "divider": {},
    "header": {"text": plain("x")},
    "context": {"elements": [plain("x")]},
    "actions": {"elements": [{"type": "button", "text": plain("x"), "action_id": "a"}]},
    "image": {"image_url": "https://example.org/a.png", "alt_text": "a"},
    "input": {"label": plain("x"), "element": {"type": "plain_text_input", "action_id": "a"}},
    "rich_text": {"elements": rich("x")["elements"]},
    "video": {
        "title": plain("x"), "alt_text": "x", "thumbnail_url": "https://example.org/a.png",
        "video_url": "https://example.org/a",
    },
    "markdown": {"text": "x"},
    "table": {"rows": [[RAW]]},
}  # fmt: skip
# Of the blocks reference as of 2026: what the sandbox cannot show is refused, never taken unseen.
REFUSED = (
    "alert", "auth_provider", "call", "card", "carousel", "container", "context_actions", "data_table",
    "data_visualization", "file", "plan", "task_card",
)  # fmt: skip
IN_MESSAGES_ONLY = ("markdown", "table")


@pytest.mark.parametrize("surface", ["message", "modal", "home"])
@pytest.mark.parametrize("kind", [*SMALLEST, *REFUSED])
def test_a_type_is_judged_where_it_belongs_and_refused_elsewhere(kind: str, surface: Surface) -> None:
    found = mistakes([{"type": kind, **SMALLEST.get(kind, {})}], surface)
    fits = kind in SMALLEST and (surface == "message" or kind not in IN_MESSAGES_ONLY)
    assert found == ([] if fits else [f"[ERROR] unsupported type: {kind} [json-pointer:/blocks/0/type]"])
    if fits and kind != "divider":
        assert mistakes([{"type": kind}], surface), "what it must have is looked at"
    if fits:
        assert mistakes([{"type": kind, **SMALLEST[kind], "colour": "red"}], surface)


@pytest.mark.parametrize(
    ("rows", "sound"),
    [
        ([[RAW] * 20] * 100, True),
        ([[RAW] * 20] * 101, False),
        ([[RAW] * 21], False),
        ([[RAW, rich("x")]], True),
        ([[RAW, {"type": "raw_number", "value": 1}]], False),
        ([[RAW, plain("x")]], False),
        ([[RAW, {"type": "mrkdwn", "text": "x"}]], False),
        ([], False),
        ([[]], False),
        ([[{"type": "raw_text", "text": "x" * 100}] * 20] * 5, True),
        ([[{"type": "raw_text", "text": "x" * 101}] * 20] * 5, False),
        ([[rich("x" * 101)] * 20] * 5, False),
    ],
)
def test_a_table_has_rows_of_cells_and_an_end(rows: list[list[Object]], sound: bool) -> None:
    assert (mistakes([{"type": "table", "rows": rows}]) == []) is sound


def test_a_message_has_one_table() -> None:
    table: Object = {"type": "table", "rows": [[RAW]]}
    assert mistakes([table]) == []
    assert mistakes([table, table]) == ["[ERROR] only one table is allowed [json-pointer:/blocks]"]


@pytest.mark.parametrize(
    ("image", "sound"),
    [
        ({"image_url": "https://example.org/a.png"}, True),
        ({"slack_file": {"id": "F0"}}, True),
        ({"slack_file": {"url": "https://files.slack.com/a.png"}}, True),
        ({"slack_file": {"id": "F0", "url": "https://files.slack.com/a.png"}}, False),
        ({"slack_file": {}}, False),
        ({"image_url": "https://example.org/a.png", "slack_file": {"id": "F0"}}, False),
        ({"image_url": "x" * 3001}, False),
        ({}, False),
    ],
)
def test_an_image_comes_from_one_place(image: Object, sound: bool) -> None:
    assert (mistakes([{"type": "image", "alt_text": "a", **image}]) == []) is sound


@pytest.mark.parametrize("kind", ["static_select", "radio_buttons"])
def test_what_is_chosen_at_first_is_offered(kind: str) -> None:
    def menu(first: Object) -> list[Object]:
        element = {"type": kind, "action_id": "a", "options": [option("one", "1"), option("two", "2")]}
        return [{"type": "actions", "elements": [{**element, "initial_option": first}]}]

    assert mistakes(menu(option("two", "2"))) == []
    assert mistakes(menu(option("two", "3"))) == [
        "[ERROR] initial_option must match one of the options provided"
        " [json-pointer:/blocks/0/elements/0/initial_option]"
    ]


@pytest.mark.parametrize("kind", ["multi_static_select", "checkboxes"])
def test_what_is_ticked_at_first_is_offered(kind: str) -> None:
    def boxes(*first: Object) -> list[Object]:
        element = {"type": kind, "action_id": "a", "options": [option("one", "1"), option("two", "2")]}
        return [{"type": "input", "label": plain("x"), "element": {**element, "initial_options": list(first)}}]

    assert mistakes(boxes(option("one", "1"), option("two", "2")), "modal") == []
    assert mistakes(boxes(option("one", "1"), option("three", "3")), "modal")


def test_options_in_groups_can_be_chosen_at_first_too() -> None:
    groups = [{"label": plain("g"), "options": [option("one", "1")]}]
    menu: Object = {"type": "static_select", "action_id": "a", "option_groups": groups}
    assert mistakes([{"type": "actions", "elements": [{**menu, "initial_option": option("one", "1")}]}]) == []
    assert mistakes([{"type": "actions", "elements": [{**menu, "initial_option": option("two", "2")}]}])


def test_the_cursor_is_in_one_place_at_first() -> None:
    def entry(block_id: str, focus: bool) -> Object:
        element = {"type": "plain_text_input", "action_id": "a", "focus_on_load": focus}
        return {"type": "input", "block_id": block_id, "label": plain("x"), "element": element}

    assert mistakes([entry("a", True), entry("b", False)], "modal") == []
    assert mistakes([entry("a", True), entry("b", True)], "modal") == [
        "[ERROR] only one element can have focus_on_load set to true [json-pointer:/blocks]"
    ]


def test_a_view_has_an_end() -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 2900}}]
    assert view_mistakes({"type": "home", "blocks": blocks * 80}) == []
    assert view_mistakes({"type": "home", "blocks": blocks * 90}) == [
        "[ERROR] must be less than 250001 bytes [json-pointer:/view]"
    ]
