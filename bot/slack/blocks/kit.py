"""Builds the few Block Kit blocks that every Slack client shows, within the limits that Slack documents.

Limits: docs.slack.dev/reference/block-kit/blocks. A message that breaks one is refused as a whole, so nothing may.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bot.slack.blocks.text import SENTENCE as SENTENCE
from bot.slack.blocks.text import cut, visible
from bot.slack.words import Button, Click, value_of
from bot.store.messages import Content

Json = dict[str, Any]
LONGEST_HEADER = 150
LONGEST_SECTION = 3000
LONGEST_VALUE = 2000
LONGEST_NOTICE = 600  # of the plain text; Slack takes 4,000, a notification shows two lines
# Of a table: rows with its heading, characters of JSON of all rows, and of one cell.
# https://docs.slack.dev/reference/block-kit/blocks/table-block
MOST_ROWS, LONGEST_TABLE, LONGEST_CELL = 100, 9_000, 280
ROOM = 2400  # characters of one list, in a message of 12,000


def header(text: str) -> Json:
    """The heading of a message. Plain text: nothing in it is read as markup."""
    return {
        "type": "header",
        "text": {"type": "plain_text", "text": cut(visible(text), LONGEST_HEADER) or "-", "emoji": False},
    }


def _mrkdwn(text: str) -> Json:
    """Markup in which only what is written as a link or a mention is one."""
    return {"type": "mrkdwn", "text": cut(text, LONGEST_SECTION), "verbatim": True}


def section(text: str, accessory: Json | None = None) -> Json:
    """A paragraph, with a button beside it."""
    made: Json = {"type": "section", "text": _mrkdwn(text)}
    return made if accessory is None else {**made, "accessory": accessory}


def context(text: str) -> Json:
    """Small print."""
    return {"type": "context", "elements": [_mrkdwn(text)]}


def divider() -> Json:
    """A line across."""
    return {"type": "divider"}


def button(which: Button, click: Click, style: str | None = None) -> Json | None:
    """A button; None where what it is about fits into none: nothing in Kubernetes is called that."""
    try:
        value = value_of(click)
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    if len(value) > LONGEST_VALUE:
        return None
    made: Json = {
        "type": "button", "action_id": which.value, "text": {"type": "plain_text", "text": which.label},
        "value": value,
    }  # fmt: skip
    return made if style is None else {**made, "style": style}


def actions(*buttons: Json | None) -> list[Json]:
    """A row of buttons; no row where there are none."""
    shown = [each for each in buttons if each is not None]
    return [{"type": "actions", "elements": shown}] if shown else []


def fitting(lines: Sequence[str], rest: Callable[[int], str], room: int = ROOM, most: int | None = None) -> list[str]:
    """As many lines as there is room for, in characters of JSON; then `rest` of how many are left, in a sentence.

    `most` are as many as somebody reads.
    """
    taken: list[str] = []
    for number, line in enumerate(lines):
        left = len(lines) - number
        room -= weight(line)
        if room < 0 or number == most:
            return [*taken, rest(left)]
        taken.append(line)
    return taken


def paragraphs(lines: Iterable[str]) -> list[Json]:
    """Lines below each other, in as few sections as hold them. A line that begins with a line break stands apart."""
    made: list[str] = []
    for line in (cut(each, LONGEST_SECTION) for each in lines):
        if made and len(made[-1]) + 1 + len(line) <= LONGEST_SECTION:
            made[-1] += "\n" + line
        else:
            made.append(line.lstrip("\n"))
    return [section(text) for text in made]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], rest: Callable[[int], str]) -> list[Json]:
    """A table, as many of its rows as Slack takes, then `rest` of how many are left. No row: no table.

    Cells are plain text: nothing in them is read as markup. A message may have one table.
    """
    cells = [[_cell(text) for text in row] for row in (heads, *rows)]
    room, shown = LONGEST_TABLE, 0
    for row in cells[:MOST_ROWS]:
        room -= weight(row)
        if room < 0:
            break
        shown += 1
    if not rows or shown < 2:
        return [section(rest(len(rows)))] if rows else []
    made: Json = {
        "type": "table", "rows": cells[:shown], "column_settings": [{"is_wrapped": True} for _ in heads],
    }  # fmt: skip
    left = len(cells) - shown
    return [made, *([section(rest(left))] if left else [])]


def _cell(text: str) -> Json:
    return {"type": "raw_text", "text": cut(visible(text), LONGEST_CELL) or "-"}


def weight(value: Any) -> int:
    """How many characters of JSON something takes."""
    return len(json.dumps(value, ensure_ascii=False))


def content(text: str, *parts: Json | Iterable[Json]) -> Content:
    """A message of blocks; `text` is escaped already, and says the essential in a notification."""
    blocks: list[Json] = []
    for part in parts:
        blocks.extend([part] if isinstance(part, dict) else part)
    return Content(cut(text, LONGEST_NOTICE).strip() or "-", tuple(blocks))
