"""Renders the windows in which people approve, deny, attest, skip and cancel: what they say yes to stands above where they say it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bot.interventions import asking_step, to_type
from bot.slack.blocks import acts, kit
from bot.slack.blocks.kit import Json
from bot.slack.blocks.progress import clock, named
from bot.slack.blocks.text import SENTENCE, code, cut, mention, visible, words
from bot.slack.words import (
    APPROVAL_MODAL,
    ATTESTATION_MODAL,
    CANCEL_MODAL,
    CONFIRM_BLOCK,
    CONFIRM_INPUT,
    DENIAL_MODAL,
    SKIP_MODAL,
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
    blocks += kit.paragraphs(acts.shown(plan))
    blocks += kit.paragraphs([acts.taken_back(plan), *acts.notes(plan)])
    if plan.confirmation is not None:
        blocks += [
            kit.divider(),
            kit.section(f"It is critical. What it is done to: {code(plan.confirmation)}"),
            _input(
                CONFIRM_BLOCK, CONFIRM_INPUT, f"Type the target's name exactly: {plan.confirmation}", LONGEST_TYPED,
                optional=False,
            ),
        ]  # fmt: skip
    return _modal(APPROVAL_MODAL, f"Approve {execution.id}", "Approve", blocks, _about(execution), channel)


def attestation_modal(execution: Execution, channel: str, click: Click) -> dict[str, Any]:
    """The window in which somebody gives their word for what no fact shows, and types what it is about."""
    step = asking_step(execution)
    blocks: list[Json] = [
        kit.section(f"✋ {words(step.says if step else '', 2 * SENTENCE)}"),
        kit.section("Unstick cannot see it, and acts on your word. It goes on record with your name and the time."),
        _input(
            CONFIRM_BLOCK, CONFIRM_INPUT, f"Type the name exactly: {to_type(execution)}", LONGEST_TYPED, optional=False
        ),
    ]
    return _modal(ATTESTATION_MODAL, f"Attest {execution.id}", "Attest", blocks, click, channel)


def skip_modal(execution: Execution, channel: str, click: Click) -> dict[str, Any]:
    """The window in which an admin leaves a step out, and says why."""
    step = asking_step(execution)
    blocks: list[Json] = [
        kit.section(f"Step *{words(click.step, 80)}* is left out: {words(step.says if step else '', 2 * SENTENCE)}"),
        _input(WHY_BLOCK, WHY_INPUT, "Why can it be left out?", LONGEST_REASON, optional=False),
    ]
    return _modal(SKIP_MODAL, f"Skip in {execution.id}", "Skip", blocks, click, channel)


def cancel_modal(execution: Execution, channel: str) -> dict[str, Any]:
    """The window in which somebody ends an execution."""
    blocks: list[Json] = [
        kit.section(
            f"{named(execution.plan)} for {mention(execution.plan.requester)} ends here, or after the act that is under "
            "way. What was done stands."
        ),
        _input(WHY_BLOCK, WHY_INPUT, "Why? Whoever asked will read it.", LONGEST_REASON, optional=True),
    ]
    return _modal(CANCEL_MODAL, f"End {execution.id}", "End it", blocks, _about(execution), channel)


def denial_modal(execution: Execution, channel: str) -> dict[str, Any]:
    """The window in which somebody denies, and may say why."""
    blocks: list[Json] = [
        kit.section(f"{named(execution.plan)} for {mention(execution.plan.requester)} will not be run."),
        _input(WHY_BLOCK, WHY_INPUT, "Why? Whoever asked will read it.", LONGEST_REASON, optional=True),
    ]
    return _modal(DENIAL_MODAL, f"Deny {execution.id}", "Deny", blocks, _about(execution), channel)


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


def _about(execution: Execution) -> Click:
    return Click(execution=execution.id, plan_hash=execution.plan.hash)


def _modal(callback: str, title: str, submit: str, blocks: list[Json], click: Click, channel: str) -> Json:
    kept = msgspec.json.encode(_Kept(value_of(click), channel)).decode()
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
