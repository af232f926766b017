"""Markup as a person reads it."""

import pytest

from bot.sandbox.slack.blocks.rendering import lines, readable

NAMES = {"U0ALICE": "@alice", "C0INCIDENTS": "#incidents"}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("*bold* and _italic_ and ~gone~", "bold and italic and gone"),
        ("*_both_*", "both"),
        ("snake_case_name stays, 2*3*4 too", "snake_case_name stays, 2*3*4 too"),
        ("run `rbd lock ls *x*`", "run rbd lock ls *x*"),
        ("```\nline 1\n  line_2_\n```", "line 1\n  line_2_"),
        ("<@U0ALICE> in <#C0INCIDENTS|incidents>, <@U0NOBODY>", "@alice in #incidents, @U0NOBODY"),
        ("<https://e.example|the page> <https://e.example>", "the page https://e.example"),
        ("<!here> <!date^1392734382^{date}|Feb 18>", "@here Feb 18"),
        ("a &lt;b&gt; &amp; c", "a <b> & c"),
        ("&gt; quoted\n> and this", "quoted\nand this"),
        ("a *wide\nbold* text", "a *wide\nbold* text"),
    ],
)
def test_mrkdwn_is_shown_without_its_marks(sent: str, read: str) -> None:
    assert readable(sent, NAMES) == read


def test_blocks_are_read_from_top_to_bottom() -> None:
    def plain(text: str) -> dict[str, object]:
        return {"type": "plain_text", "text": text}

    go = {"type": "button", "text": plain("Go")}
    cell = {
        "type": "rich_text",
        "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "up"}]}],
    }
    blocks = [
        {"type": "header", "text": plain("Incident *1*")},
        {
            "type": "section",
            "text": {"type": "mrkdwn", "text": "*Why*"},
            "fields": [plain("a"), plain("b")],
            "accessory": go,
        },
        {"type": "divider"},
        {"type": "context", "elements": [plain("x"), {"type": "image", "image_url": "u", "alt_text": "i"}]},
        {"type": "table", "rows": [[{"type": "raw_text", "text": "osd.1"}, cell]]},
        {"type": "markdown", "text": "**bold** `code`"},
        {"type": "image", "image_url": "u", "alt_text": "chart", "title": plain("Chart")},
        {"type": "actions", "elements": [go, {"type": "users_select", "placeholder": plain("Who?")}]},
    ]
    assert lines(blocks, NAMES) == [
        "Incident *1*", "Why", "a", "b", "[Go]", "---", "x  [image: i]", "osd.1  up", "bold code", "Chart [image: chart]",
        "[Go] [Who?]",
    ]  # fmt: skip
