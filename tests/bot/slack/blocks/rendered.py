"""What every rendered message must keep to, and its parts as a reader sees them."""

import json
from collections.abc import Iterator
from typing import Any

from bot.sandbox.slack.blocks import mistakes, view_mistakes
from bot.slack.words import Button, Click, click_of
from bot.store.messages import Content

Json = dict[str, Any]


def sound(content: Content) -> Content:
    """The message itself, once Slack would take it and a phone would show it."""
    assert mistakes(list(content.blocks)) == []
    assert len(json.dumps(content.blocks, ensure_ascii=False)) <= 13_000
    assert 0 < len(content.text) <= 3_500
    return content


def sound_view(view: Json) -> Json:
    """The modal itself, once Slack would open it."""
    assert view_mistakes(view) == []
    return view


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
        if blocks.get("type") in ("mrkdwn", "plain_text") and isinstance(blocks.get("text"), str):
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
