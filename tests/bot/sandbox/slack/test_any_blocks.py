"""Blocks that nobody would write: judged without an error, and shown without one if they pass."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.sandbox.slack import mistakes, view_mistakes
from bot.sandbox.slack.blocks.rendering import buttons, lines
from bot.sandbox.slack.state import kept

TEXT = {"type": "mrkdwn", "text": "*a*"}
PLAIN = {"type": "plain_text", "text": "a"}
OPTION = {"text": PLAIN, "value": "v"}
BUTTON = {"type": "button", "text": PLAIN, "action_id": "b", "style": "primary"}
RICH = {
    "type": "rich_text",
    "elements": [
        {
            "type": "rich_text_section",
            "elements": [
                {"type": "text", "text": "t"},
                {"type": "link", "url": "u"},
                {"type": "usergroup", "usergroup_id": "S1"},
                {"type": "date", "timestamp": 1, "format": "{date}"},
            ],
        },
        {"type": "rich_text_list", "style": "bullet", "elements": [{"type": "rich_text_section", "elements": []}]},
    ],
}
SOUND: list[dict[str, Any]] = [
    {"type": "section", "text": TEXT, "accessory": {"type": "overflow", "options": [OPTION]}},
    {"type": "section", "fields": [TEXT, PLAIN], "block_id": "s"},
    {"type": "context", "elements": [TEXT, {"type": "image", "image_url": "u", "alt_text": "i"}]},
    {"type": "actions", "elements": [BUTTON, {"type": "static_select", "options": [OPTION], "action_id": "s"}]},
    {"type": "table", "rows": [[{"type": "raw_text", "text": "c"}, RICH]]},
    {"type": "header", "text": PLAIN},
    {"type": "markdown", "text": "**m**"},
    {"type": "input", "label": PLAIN, "element": {"type": "checkboxes", "options": [OPTION]}},
    {"type": "image", "image_url": "u", "alt_text": "i", "title": PLAIN},
    RICH,
]
WORDS = st.sampled_from(
    ["", "a", "type", "text", "divider", "section", "button", "mrkdwn", "plain_text", "image", "input"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in inside for place in places(inner, (*at, key)))]


@st.composite
def nearly_sound(draw: st.DrawFn) -> Any:
    """Blocks Slack would take, with one place replaced or removed."""
    blocks = copy.deepcopy(draw(st.lists(st.sampled_from(SOUND), min_size=1, max_size=3)))
    place = draw(st.sampled_from(places(blocks)))
    if not place:
        return draw(JSON)
    inside: Any = blocks
    for key in place[:-1]:
        inside = inside[key]
    if draw(st.booleans()):
        inside[place[-1]] = draw(JSON)
    else:
        del inside[place[-1]]
    return blocks


def test_the_samples_are_sound() -> None:
    assert [mistakes([block]) for block in SOUND] == [[]] * len(SOUND)


@settings(max_examples=300, deadline=None)
@given(nearly_sound())
def test_whatever_is_judged_sound_can_be_shown(blocks: Any) -> None:
    found = mistakes(blocks)
    view_mistakes({"type": "modal", "title": PLAIN, "blocks": blocks})
    assert all(each.startswith("[ERROR] ") for each in found)
    if not found:
        stored = kept(blocks)
        assert mistakes(stored) == []
        assert lines(json.loads(json.dumps(stored)), {}) == lines(blocks, {})
        assert all(button["block_id"] and button["action_id"] for button in buttons(stored))
