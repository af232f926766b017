"""Reading a call's arguments as Slack does: what is missing, not a number, no JSON, too long or not to be shown.

Pure.
"""

import json
from collections.abc import Callable
from typing import Any

from bot.sandbox.slack.blocks import mistakes
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Object

Method = Callable[[Object], Object]

LONGEST_TEXT = 40_000
LONGEST_EDIT = 4_000  # chat.update documents less than chat.postMessage
# Slack would show these; the sandbox cannot, and must not pretend that nobody sent them.
NOT_PLAYED = ("attachments", "markdown_text", "reply_broadcast")


def decoded(value: Any, kind: type[list[Any]] | type[dict[str, Any]], refusal: str) -> Any:
    """An argument that is JSON: given as such in a JSON body, as its text in a form."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Refused(refusal) from None
    if not isinstance(value, kind):
        raise Refused(refusal)
    return value


def content(
    given: Object, longest: int = LONGEST_TEXT, has_file: Callable[[str], bool] | None = None
) -> tuple[str, list[Object]]:
    """The text and blocks of a message to be.

    Args:
        given: the arguments.
        longest: how many characters the text may have.
        has_file: whether there is a file of this id or address that the bot may show; None refuses all.

    Raises:
        Refused: invalid_blocks_format, invalid_blocks (with what is wrong), msg_too_long, no_text; and
            invalid_arguments for what the sandbox cannot show.
    """
    if foreign := [name for name in NOT_PLAYED if given.get(name)]:
        raise Refused("invalid_arguments", [f"[ERROR] the sandbox does not show: {name}" for name in foreign])
    text = given.get("text") or ""
    if not isinstance(text, str):
        raise Refused("invalid_arguments", ["[ERROR] must be a string [json-pointer:/text]"])
    blocks = decoded(given["blocks"], list, "invalid_blocks_format") if given.get("blocks") else []
    if found := mistakes(blocks) or files_not_there(blocks, has_file):
        raise Refused("invalid_blocks", found)
    if len(text) > longest:
        raise Refused("msg_too_long")
    if not text.strip() and not blocks:
        raise Refused("no_text")
    return text, blocks


def files_not_there(blocks: Any, has_file: Callable[[str], bool] | None, at: str = "/blocks") -> list[str]:
    """A mistake for each `slack_file` that names no file which was uploaded."""
    if isinstance(blocks, list):
        return [m for i, each in enumerate(blocks) for m in files_not_there(each, has_file, f"{at}/{i}")]
    if not isinstance(blocks, dict):
        return []
    found = [m for k, v in blocks.items() if k != "slack_file" for m in files_not_there(v, has_file, f"{at}/{k}")]
    named = blocks.get("slack_file")
    if isinstance(named, dict):
        which = str(named.get("id") or named.get("url"))
        if has_file is None or not has_file(which):
            found.append(f"[ERROR] invalid slack file [json-pointer:{at}/slack_file]")
    return found


def required(given: Object, *names: str) -> None:
    """Refuse a call that lacks one of these.

    Raises:
        Refused: invalid_arguments.
    """
    if missing := [name for name in names if not given.get(name)]:
        raise Refused("invalid_arguments", [f"[ERROR] missing required field: {name}" for name in missing])


def number(value: Any, refusal: str = "invalid_arguments") -> float:
    """A number, given as such or as text.

    Raises:
        Refused: with `refusal`.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Refused(refusal) from None


def yes(value: Any) -> bool:
    """Whether a switch is on, given as JSON or as the text of a form."""
    return str(value).lower() in ("1", "true")


def metadata(given: Object) -> Object | None:
    """The metadata to be posted, exactly as given.

    Raises:
        Refused: invalid_metadata_format, invalid_metadata_schema.
    """
    if not given.get("metadata"):
        return None
    told: Object = decoded(given["metadata"], dict, "invalid_metadata_format")
    if not told:
        return None
    if not isinstance(told.get("event_type"), str) or not isinstance(told.get("event_payload"), dict):
        raise Refused("invalid_metadata_schema")
    return told
