"""Puts other people's words into Slack's markup so that they stay words: names, messages and reasons are written by all.

A pod's name or an event's message must never call a channel, link anywhere or pass for formatting of ours.
"""

import re

# Slack's own ids of people: docs.slack.dev/reference/objects/user-object. Whoever else asks (cli:alice) has none.
_SLACK_ID = re.compile(r"[UW][A-Z0-9]{2,}")
# `:fire:` is a picture in Slack; `10:20:30` and `fe80:a:b` are not meant to be any, and stay as they can be copied.
_EMOJI = re.compile(r":(?![0-9a-f]{1,4}:)([\w+'-]{1,100}):")
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
# Signs that look alike and mean nothing to Slack.
_LOOK_ALIKE = str.maketrans({"`": "ˋ", "*": "∗", "~": "∼"})
_CUT_OFF = re.compile(r"(&[a-z]{0,4}|<[@!#][^<>]{0,80})$")
_MARK = " …"
_COMMAND = re.compile(r"`(/?unstick(?: [^`]+)?)`")
SENTENCE = 280  # characters of one thing that is told


def visible(text: str) -> str:
    """The text on one line; what no reader would see as a character is spelled out, `\\u202e` for instance."""
    return "".join(
        c if c.isprintable() else " " if c in "\t\r\n" else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}"
        for c in text
    )


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escaped(text: str) -> str:
    """The text for a mrkdwn object, as plain words: no mention, link, picture or formatting can come of it."""
    shown = _EMOJI.sub("꞉\\1꞉", visible(text)).translate(_LOOK_ALIKE)
    shown = _EDGE_UNDERSCORE.sub("ˍ", shown)
    if shown.lstrip().startswith(">"):  # a line that begins so is a quotation, escaped or not
        shown = shown.replace(">", "›", 1)
    return _entities(shown)


def words(text: str, limit: int = SENTENCE) -> str:
    """The text as plain words, in at most `limit` characters of mrkdwn: escapes count."""
    return cut(escaped(cut(text, limit)), limit)


def sentence(text: str, limit: int = SENTENCE) -> str:
    """A sentence of our own as plain words, in which commands of ours, in backticks, are in code style: to be copied."""
    parts = _COMMAND.split(cut(text, limit))
    return cut("".join(code(part) if n % 2 else escaped(part) for n, part in enumerate(parts)), limit)


def code(text: str) -> str:
    """The text in code style, to be copied."""
    shown = _entities(visible(text).replace("`", "ˋ")).strip()
    return f"`{shown}`" if shown else "(empty)"


def mention(person_id: str) -> str:
    """A person: as a mention where it is a Slack user's id, else the id itself."""
    return f"<@{person_id}>" if _SLACK_ID.fullmatch(person_id) else code(cut(person_id, 100))


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, ending in ` …` where some are left out; never in the middle of an escape."""
    if len(text) <= limit:
        return text
    kept = _CUT_OFF.sub("", text[: max(0, limit - len(_MARK) - 1)]).rstrip()
    if kept.count("`") % 2:
        kept = kept[:-1] if kept.endswith("`") else f"{kept}`"
    return f"{kept}{_MARK}"[:limit]
