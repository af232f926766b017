"""What every rendered message must keep to, and its parts as a reader sees them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from bot.sandbox.slack.blocks import mistakes, view_mistakes
from bot.slack.words import Button, Click, click_of
from bot.store.messages import Content

Json = dict[str, Any]


MOST_BLOCKS, LONGEST_NOTICE, LONGEST_MESSAGE = 50, 3_500, 13_000
TOKEN = re.compile(r"<[^>]*>?")
MENTION = re.compile(r"<@[UW][A-Z0-9]{2,}>")
LINK = re.compile(r"<https?://[^<>|\s]+\|[^<>|\n]+>")
ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")
CODE = re.compile(r"`[^`\n]+`")
FORMATS = re.compile(r"\*bold\*|(?<!\w)_x_(?!\w)|~x~|:skull_and_crossbones:|```|^(&gt;|>)", re.MULTILINE)
INVISIBLE = re.compile(r"[\u202e\x00-\x09\x0b-\x1f]")


def sound(content: Content) -> Content:
    """The message itself, once Slack would take it and a phone would show it."""
    assert mistakes(list(content.blocks)) == []
    assert len(content.blocks) <= MOST_BLOCKS
    assert len(json.dumps(content.blocks, ensure_ascii=False)) <= LONGEST_MESSAGE
    assert content.text.strip()
    assert len(content.text) <= LONGEST_NOTICE
    assert "\n" not in content.text
    return content


def sound_view(view: Json) -> Json:
    """The window itself, once Slack would open it."""
    assert view_mistakes(view) == []
    return view


def harmless(what: Content | Json) -> None:
    """Nothing in it is a mention (but of people by their id), a foreign link, or formatting of other people's words."""
    told = markup(what)
    tokens = [each for each in TOKEN.findall(told) if not MENTION.fullmatch(each)]
    assert [each for each in tokens if not LINK.fullmatch(each) or "evil.example|" in each] == []
    assert not ENTITY.search(told)
    for line in told.splitlines():
        assert line.count("`") % 2 == 0, line
    assert not FORMATS.search(CODE.sub("x", told))
    assert not INVISIBLE.search(told)
    assert "VICTIM" not in "".join(MENTION.findall(told)), "nobody's text mentions anybody"


def elements(block: Json) -> list[Json]:
    """The buttons of a block."""
    inside = block["elements"] if block["type"] == "actions" else []
    return [*inside, *([block["accessory"]] if "accessory" in block else [])]


def clicks(content: Content, button: Button) -> list[Click]:
    """What the buttons of one kind carry, in order."""
    return [
        click_of(each["value"])
        for block in content.blocks for each in elements(block) if each["action_id"] == button
    ]  # fmt: skip


def buttons(content: Content) -> list[str]:
    """What is written on the buttons."""
    return [each["text"]["text"] for block in content.blocks for each in elements(block)]


def markups(blocks: Any) -> Iterator[Json]:
    """Every text object, however deep it lies."""
    if isinstance(blocks, dict):
        if blocks.get("type") in ("mrkdwn", "plain_text", "raw_text") and isinstance(blocks.get("text"), str):
            yield blocks
        for value in blocks.values():
            yield from markups(value)
    elif isinstance(blocks, list | tuple):
        for value in blocks:
            yield from markups(value)


def shown(what: Content | Json) -> str:
    """All that can be read, buttons included."""
    blocks = what["blocks"] if isinstance(what, dict) else what.blocks
    return "\n".join(each["text"] for each in markups(list(blocks)))


def markup(what: Content | Json) -> str:
    """All that Slack reads as markup, the plain text too."""
    blocks = what["blocks"] if isinstance(what, dict) else what.blocks
    own = [] if isinstance(what, dict) else [what.text]
    return "\n".join([*own, *(each["text"] for each in markups(list(blocks)) if each["type"] == "mrkdwn")])
