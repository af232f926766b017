"""Blocks as a person sees them: text without markup, and buttons by what is written on them.

Pure. It shows everything that Slack's client shows, so that a test which looks for a word finds it if and only if a
person would.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bot.sandbox.slack.blocks.validation import interactive

Object = dict[str, Any]

_CODE = re.compile(r"```(.+?)```|`([^`\n]+)`", re.DOTALL)
_LINK = re.compile(r"<([^<>|]+)(?:\|([^<>]*))?>")
_EMPHASIS = re.compile(r"(?<![\w*_~])([*_~])(?=\S)(.+?)(?<=\S)\1(?![\w*_~])")


def readable(mrkdwn: str, names: Mapping[str, str]) -> str:
    """Slack's mrkdwn as it is shown: emphasis, code marks and links resolved, entities decoded.

    Args:
        mrkdwn: the text as it was sent.
        names: what stands for the id of a user or channel, such as `@alice`.
    """
    shown, last = [], 0
    for code in _CODE.finditer(mrkdwn):
        shown.append(_prose(mrkdwn[last : code.start()], names))
        shown.append(_decoded(_linked((code[1] or code[2]).strip("\n"), names)))
        last = code.end()
    return "".join([*shown, _prose(mrkdwn[last:], names)])


def _prose(part: str, names: Mapping[str, str]) -> str:
    for _ in range(3):  # *_~all three~_*
        part = _EMPHASIS.sub(r"\2", part)
    part = re.sub(r"^&gt; ?|^> ?", "", part, flags=re.MULTILINE)
    return _decoded(_linked(part, names))


def _linked(part: str, names: Mapping[str, str]) -> str:
    def shown(link: re.Match[str]) -> str:
        target, label = link[1], link[2]
        if target[0] in "@#":
            return names.get(target[1:], label or target)
        if target[0] == "!":
            return label or "@" + target[1:].split("^")[0]
        return label or target

    return _LINK.sub(shown, part)


def _decoded(part: str) -> str:
    return part.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def written(value: Any, names: Mapping[str, str]) -> str:
    """The text of a text object."""
    if not isinstance(value, dict):
        return ""
    content = str(value.get("text", ""))
    return readable(content, names) if value.get("type") == "mrkdwn" else content


def lines(blocks: Sequence[Object], names: Mapping[str, str]) -> list[str]:
    """Everything a person reads in these blocks, top to bottom; rows of buttons as `[Approve] [Deny]`."""
    return [line for block in blocks for line in _block(block, names) if line]


def _block(block: Object, names: Mapping[str, str]) -> Iterator[str]:
    kind = block.get("type")
    if kind in ("section", "header"):
        yield written(block.get("text"), names)
        yield from (written(field, names) for field in block.get("fields", ()))
    elif kind == "context":
        yield "  ".join(_element(element, names) for element in block["elements"])
        return
    elif kind == "markdown":
        yield re.sub(r"\*\*(.+?)\*\*", r"\1", block["text"]).replace("`", "")
    elif kind == "table":
        yield from ("  ".join(_cell(cell, names) for cell in row) for row in block["rows"])
    elif kind == "rich_text":
        yield _rich(block, names)
    elif kind == "image":
        yield " ".join(filter(None, (written(block.get("title"), names), f"[image: {block['alt_text']}]")))
    elif kind == "video":
        yield from (written(block.get(part), names) for part in ("title", "description"))
    elif kind == "input":
        yield written(block.get("label"), names)
        yield written(block.get("hint"), names)
    elif kind == "divider":
        yield "---"
    if elements := interactive(block):
        yield " ".join(_element(element, names) for element in elements)


def _element(element: Object, names: Mapping[str, str]) -> str:
    kind = element.get("type")
    if kind in ("plain_text", "mrkdwn"):
        return written(element, names)
    if kind == "image":
        return f"[image: {element['alt_text']}]"
    if kind == "button":
        return f"[{written(element['text'], names)}]"
    offered = [written(option.get("text"), names) for option in options(element)]
    shown = offered or [str(element.get("initial_value") or written(element.get("placeholder"), names))]
    return f"[{' | '.join(shown)}]" if any(shown) else "[          ]"


def attachment(given: Object, names: Mapping[str, str]) -> list[str]:
    """What a person reads in an old-style attachment, as other apps send them; its fallback only if there is nothing else.

    Source: docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments, as of 2026.
    """
    said = [str(given.get(part) or "") for part in ("pretext", "author_name", "title", "text")]
    for each in given.get("fields") or ():
        said.append(f"{each.get('title', '')} {each.get('value', '')}".strip())
    said.append(str(given.get("footer") or ""))
    shown = [line for text in said if text for line in readable(text, names).splitlines()]
    shown += lines(given.get("blocks") or (), names)
    return shown or [str(given["fallback"])] if shown or given.get("fallback") else []


def options(element: Object) -> list[Object]:
    """What a menu, a set of boxes or an overflow offers, groups included."""
    own = element.get("options") or []
    return [*own, *(option for group in element.get("option_groups") or [] for option in group["options"])]


def _cell(cell: Object, names: Mapping[str, str]) -> str:
    return str(cell["text"]) if cell.get("type") == "raw_text" else _rich(cell, names)


def _rich(value: Object, names: Mapping[str, str]) -> str:
    kind = value.get("type")
    if kind == "user":
        return names.get(value["user_id"], "@" + value["user_id"])
    if kind == "channel":
        return names.get(value["channel_id"], "#" + value["channel_id"])
    if kind == "usergroup":
        return f"@{value['usergroup_id']}"
    if kind == "emoji":
        return f":{value['name']}:"
    if kind == "broadcast":
        return f"@{value['range']}"
    if kind == "date":
        return str(value.get("fallback", value["timestamp"]))
    if kind in ("text", "link"):
        return str(value.get("text") or value.get("url", ""))
    between = "\n" if kind in ("rich_text", "rich_text_list") else ""
    return between.join(_rich(each, names) for each in value.get("elements", ()))


def buttons(blocks: Sequence[Object]) -> list[Object]:
    """The buttons in the order they are shown, each with the `block_id` it stands in added."""
    return [
        {**element, "block_id": block.get("block_id")}
        for block in blocks for element in interactive(block) if element.get("type") == "button"
    ]  # fmt: skip
