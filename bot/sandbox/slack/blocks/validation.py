"""Block Kit as Slack judges it: what is wrong with a message's or a modal's blocks, before Slack says `invalid_blocks`.

Pure. Slack's SDK lets through oversized tables, doubled action ids and unknown block types; this must not. Where
Slack's documents are silent it refuses rather than allows. Facts: docs.slack.dev/reference/block-kit/blocks and
docs.slack.dev/reference/views, as of 2026; the words of the mistakes are those Slack answers with.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from bot.sandbox.slack.blocks.elements import (
    IDENTIFIER,
    IMAGE,
    IN_ACTIONS,
    IN_CONTEXT,
    IN_INPUT,
    IN_SECTION,
    plain,
    written,
)
from bot.sandbox.slack.blocks.shapes import (
    Check,
    anything,
    array,
    boolean,
    every,
    integer,
    mistake,
    one_of,
    shape,
    text,
    typed,
)

Surface = Literal["message", "modal", "home"]
MOST_BLOCKS = {"message": 50, "modal": 100, "home": 100}
LONGEST_MARKDOWN = 12_000
LONGEST_TABLES = 10_000
LARGEST_VIEW = 250_000


def mistakes(blocks: Any, surface: Surface = "message") -> list[str]:
    """What Slack would say against these blocks; empty if it would take them.

    Args:
        blocks: the decoded `blocks` of a message or a view.
        surface: what they are shown on: a message has at most 50, a modal 100, and inputs stand in modals.
    """
    found = list(array(_block(surface), MOST_BLOCKS[surface], 0)(blocks, "/blocks"))
    if isinstance(blocks, list | tuple):
        sound = [block for block in blocks if isinstance(block, dict)]
        found += _doubled(sound)
        found += _focused(sound)
        found += _together(sound)
    return found


def view_mistakes(view: Any) -> list[str]:
    """What Slack would say against this modal, its blocks included; empty if it would open it."""
    if not isinstance(view, dict):
        return [mistake("must be an object", "/view")]
    if view.get("type") not in ("modal", "home"):
        return [mistake(f"unsupported type: {view.get('type')}", "/view/type")]
    surface: Surface = "modal" if view["type"] == "modal" else "home"
    required: dict[str, Check] = {"blocks": anything}
    optional: dict[str, Check] = {
        "callback_id": IDENTIFIER,
        "private_metadata": text(3000, 0),
        "external_id": IDENTIFIER,
    }
    if surface == "modal":
        required |= {"title": plain(24)}
        optional |= {
            "submit": plain(24), "close": plain(24), "clear_on_close": boolean, "notify_on_close": boolean,
            "submit_disabled": boolean,
        }  # fmt: skip
    found = list(shape(required, optional)(view, "/view"))
    if too_large(view):
        found.append(mistake(f"must be less than {LARGEST_VIEW + 1} bytes", "/view"))
    if "blocks" in view:
        found += mistakes(view["blocks"], surface)
        if surface == "modal" and "submit" not in view and _has_input(view["blocks"]):
            found.append(mistake("missing required field: submit", "/view"))
    return found


def too_large(view: Any) -> bool:
    """Whether a view has more bytes than Slack takes (250 kB), which it refuses with a code of its own."""
    return len(json.dumps(view, default=str).encode()) > LARGEST_VIEW


def _has_input(blocks: Any) -> bool:
    return isinstance(blocks, list | tuple) and any(isinstance(b, dict) and b.get("type") == "input" for b in blocks)


_IDENTIFIED: dict[str, Check] = {"block_id": IDENTIFIER}


def _text_or_fields(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict) and not {"text", "fields"} & value.keys():
        yield mistake("must define either `text` or `fields`", at)


_STYLES = shape({}, dict.fromkeys(("bold", "italic", "strike", "code", "underline", "unlink"), boolean))
_RICH_INLINE = typed(
    {
        "text": shape({"text": text(3000)}, {"style": _STYLES}),
        "link": shape({"url": text(3000)}, {"text": text(3000, 0), "unsafe": boolean, "style": _STYLES}),
        "user": shape({"user_id": text(255)}, {"style": _STYLES}),
        "channel": shape({"channel_id": text(255)}, {"style": _STYLES}),
        "usergroup": shape({"usergroup_id": text(255)}, {"style": _STYLES}),
        "emoji": shape({"name": text(255)}, {"unicode": text(255), "style": _STYLES, "skin_tone": integer(1, 6)}),
        "date": shape(
            {"timestamp": integer(0, 2**53), "format": text(255)},
            {"url": text(3000), "fallback": text(255), "style": _STYLES},
        ),
        "broadcast": shape({"range": one_of("here", "channel", "everyone")}, {"style": _STYLES}),
    }
)
_INLINES = array(_RICH_INLINE, 1000, 0)
_BORDER: dict[str, Check] = {"border": integer(0, 1)}
_RICH_SECTION = typed({"rich_text_section": shape({"elements": _INLINES})})
_RICH_TEXT = shape(
    {
        "elements": array(
            typed(
                {
                    "rich_text_section": shape({"elements": _INLINES}),
                    "rich_text_preformatted": shape({"elements": _INLINES}, {**_BORDER, "language": text(255)}),
                    "rich_text_quote": shape({"elements": _INLINES}, _BORDER),
                    "rich_text_list": shape(
                        {"style": one_of("bullet", "ordered"), "elements": array(_RICH_SECTION, 1000)},
                        {**_BORDER, "indent": integer(0, 8), "offset": integer(0, 1_000_000)},
                    ),
                }
            ),
            1000,
        )
    },
    _IDENTIFIED,
)
_TABLE = shape(
    {"rows": array(array(typed({"raw_text": shape({"text": text(3000)}), "rich_text": _RICH_TEXT}), 20), 100)},
    {
        **_IDENTIFIED,
        "column_settings": array(shape({}, {"align": one_of("left", "center", "right"), "is_wrapped": boolean}), 20),
    },
)
_BLOCKS: dict[str, Check] = {
    "section": every(
        shape(
            {},
            {
                **_IDENTIFIED, "text": written(3000), "fields": array(written(2000), 10), "accessory": IN_SECTION,
                "expand": boolean,
            },
        ),
        _text_or_fields,
    ),
    "divider": shape({}, _IDENTIFIED),
    "header": shape({"text": plain(150)}, {**_IDENTIFIED, "level": integer(1, 4)}),
    "context": shape({"elements": array(IN_CONTEXT, 10)}, _IDENTIFIED),
    "actions": shape({"elements": array(IN_ACTIONS, 25)}, _IDENTIFIED),
    "image": every(
        lambda value, at: IMAGE({k: v for k, v in value.items() if k not in ("title", "block_id")}, at),
        shape(
            {"alt_text": anything},
            {**_IDENTIFIED, "title": plain(2000), "image_url": anything, "slack_file": anything},
        ),
    ),
    "rich_text": _RICH_TEXT,
    "markdown": shape({"text": text(LONGEST_MARKDOWN)}, _IDENTIFIED),
    "table": _TABLE,
    "video": shape(
        {"alt_text": text(2000), "title": plain(199), "thumbnail_url": text(3000), "video_url": text(3000)},
        {
            **_IDENTIFIED, "author_name": text(49), "description": plain(199), "provider_icon_url": text(3000),
            "provider_name": text(255), "title_url": text(3000),
        },
    ),
}  # fmt: skip
_INPUT = shape(
    {"label": plain(2000), "element": IN_INPUT},
    {**_IDENTIFIED, "hint": plain(2000), "optional": boolean, "dispatch_action": boolean},
)
_OF_MESSAGES = ("markdown", "table")


def _block(surface: Surface) -> Check:
    if surface == "message":
        return typed({**_BLOCKS, "input": _INPUT})
    return typed({kind: check for kind, check in _BLOCKS.items() if kind not in _OF_MESSAGES} | {"input": _INPUT})


def interactive(block: dict[str, Any]) -> list[dict[str, Any]]:
    """The elements of a block that can be acted on, in the order they are shown."""
    inside = block.get("elements") if block.get("type") == "actions" else None
    found = [*(inside if isinstance(inside, list | tuple) else []), block.get("accessory"), block.get("element")]
    return [e for e in found if isinstance(e, dict) and e.get("type") not in (None, "image", "plain_text", "mrkdwn")]


def _doubled(blocks: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Identifiers that stand twice: a block's in a message, an action's in a block, as Slack's reference has it."""
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        name = block.get("block_id")
        if isinstance(name, str) and name in seen:
            yield mistake(f"`block_id` `{name}` already exists", f"/blocks/{index}")
        seen.add(str(name))
        actions = [element.get("action_id") for element in interactive(block)]
        for action in dict.fromkeys(each for each in actions if isinstance(each, str)):
            if actions.count(action) > 1:
                yield mistake(f"`action_id` `{action}` already exists", f"/blocks/{index}")


def _focused(blocks: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Only one element of a view has the cursor at first."""
    focused = [element for block in blocks for element in interactive(block) if element.get("focus_on_load") is True]
    if len(focused) > 1:
        yield mistake("only one element can have focus_on_load set to true", "/blocks")


def _together(blocks: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Limits on all blocks of a kind in one payload: markdown has 12,000 characters, tables are one a message."""
    markdown = sum(len(str(block.get("text", ""))) for block in blocks if block.get("type") == "markdown")
    alone = any(
        len(str(block.get("text", ""))) > LONGEST_MARKDOWN for block in blocks if block.get("type") == "markdown"
    )
    if markdown > LONGEST_MARKDOWN and not alone:
        yield mistake(f"all markdown blocks together must be less than {LONGEST_MARKDOWN + 1} characters", "/blocks")
    tables = [block for block in blocks if block.get("type") == "table"]
    if len(tables) > 1:
        yield mistake("only one table is allowed", "/blocks")
    if sum(_table_length(table) for table in tables) > LONGEST_TABLES:
        yield mistake(f"all table cells together must be less than {LONGEST_TABLES + 1} characters", "/blocks")


def _table_length(value: Any) -> int:
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(_table_length(inner) for inner in value.values() if isinstance(inner, list | dict))
    return sum(map(_table_length, value)) if isinstance(value, list) else 0
