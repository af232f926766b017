"""Renders the windows in which people approve and deny: what they say yes to stands above where they say it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bot.slack.blocks import acts, kit
from bot.slack.blocks.kit import Json
from bot.slack.blocks.progress import clock, named
from bot.slack.blocks.text import code, cut, mention, visible
from bot.slack.words import (
    APPROVAL_MODAL,
    CONFIRM_BLOCK,
    CONFIRM_INPUT,
    DENIAL_MODAL,
    WHY_BLOCK,
    WHY_INPUT,
    Click,
    click_of,
    value_of,
)
from runbooks.store import Execution

LONGEST_TYPED = 3000  # Slack's own limit: a name must never be too long to be typed
LONGEST_REASON = 500


class _Kept(msgspec.Struct, frozen=True):
    """What a modal carries back."""

    click: str
    channel: str


def approval_modal(execution: Execution, channel: str) -> dict[str, Any]:
    """The window in which somebody approves: what dies, every act with its targets, what stays."""
    plan = execution.plan
    blocks: list[Json] = [
        kit.section(f"{acts.risk(plan)}  {named(plan)} for {mention(plan.requester)}, until {clock(plan.expires)}"),
    ]
    if dying := acts.dies(plan, 3 * kit.ROOM):
        blocks += [kit.section("☠️ *What dies*"), *kit.paragraphs(dying), kit.divider()]
    blocks += kit.paragraphs(["*What is done*", *acts.targets(plan, 5 * kit.ROOM)])
    blocks += kit.paragraphs(["*Unstick undoes none of this.*", *acts.notes(plan)])
    if plan.confirmation is not None:
        blocks += [
            kit.divider(),
            kit.section(f"It is critical. What it is done to: {code(plan.confirmation)}"),
            _input(
                CONFIRM_BLOCK, CONFIRM_INPUT, f"Type the target's name exactly: {plan.confirmation}", LONGEST_TYPED,
                optional=False,
            ),
        ]  # fmt: skip
    return _modal(APPROVAL_MODAL, f"Approve {execution.id}", "Approve", blocks, execution, channel)


def denial_modal(execution: Execution, channel: str) -> dict[str, Any]:
    """The window in which somebody denies, and may say why."""
    blocks: list[Json] = [
        kit.section(f"{named(execution.plan)} for {mention(execution.plan.requester)} will not be run."),
        _input(WHY_BLOCK, WHY_INPUT, "Why? Whoever asked will read it.", LONGEST_REASON, optional=True),
    ]
    return _modal(DENIAL_MODAL, f"Deny {execution.id}", "Deny", blocks, execution, channel)


def modal_click(view: Mapping[str, Any]) -> tuple[Click, str]:
    """What a modal is about, and the channel that it was opened from.

    Raises:
        ValueError: it carries nothing of ours.
    """
    try:
        kept = msgspec.json.decode(str(view.get("private_metadata", "")), type=_Kept)
    except msgspec.DecodeError:
        raise ValueError("the window carries nothing that Unstick wrote") from None
    return click_of(kept.click), kept.channel


def _modal(callback: str, title: str, submit: str, blocks: list[Json], execution: Execution, channel: str) -> Json:
    kept = msgspec.json.encode(_Kept(value_of(Click(execution=execution.id)), channel)).decode()
    return {
        "type": "modal", "callback_id": callback, "title": _plain(title, 24), "submit": _plain(submit, 24),
        "close": _plain("Cancel", 24), "private_metadata": kept, "blocks": blocks,
    }  # fmt: skip


def _plain(text: str, limit: int) -> Json:
    return {"type": "plain_text", "text": cut(visible(text), limit)}


def _input(block: str, action: str, label: str, longest: int, *, optional: bool) -> Json:
    return {
        "type": "input", "block_id": block, "optional": optional, "label": {**_plain(label, 2000), "emoji": False},
        "element": {
            "type": "plain_text_input", "action_id": action, "max_length": longest, "multiline": optional,
        },
    }  # fmt: skip
