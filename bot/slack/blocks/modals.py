"""Renders the windows in which people approve, deny, attest, skip and cancel: what they say yes to stands above where they say it."""

from collections.abc import Mapping, Sequence
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
    DIAGNOSE_LABEL,
    DIAGNOSE_MODAL,
    PARAMETER_INPUT,
    PICK_BLOCK,
    PICK_INPUT,
    PICK_MODAL,
    RUN_MODAL,
    SKIP_MODAL,
    SNOOZE_BLOCK,
    SNOOZE_INPUT,
    SNOOZE_MODAL,
    SUBJECT_BLOCK,
    SUBJECT_INPUT,
    WHY_BLOCK,
    WHY_INPUT,
    Click,
    click_of,
    parameter_block,
    value_of,
)
from runbooks.model import Parameter, Runbook
from runbooks.parameters import reason_against
from runbooks.store import Execution

LONGEST_TYPED = 3000  # Slack's own limit: a name must never be too long to be typed
LONGEST_REASON = 500


SNOOZES = (("1 hour", 3600), ("4 hours", 4 * 3600), ("1 day", 86400), ("3 days", 3 * 86400), ("1 week", 7 * 86400))
"""For how long an incident can be kept quiet with two clicks, and in seconds."""
_MOST_OPTIONS = 100
_LONGEST_OPTION = 75
_LONGEST_PARAMETER = 1024


class _Kept(msgspec.Struct, frozen=True):
    """What a modal carries back."""

    click: str
    channel: str


class About(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a window that asks for something new is about: where it was opened, and of which cluster and runbook.

    `thread` is Slack's name of the message in whose thread the answer goes.
    """

    channel: str
    cluster: str | None = None
    thread: str | None = None
    runbook: str = ""


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


def pick_modal(books: Sequence[Runbook], about: About) -> dict[str, Any]:
    """The window in which somebody chooses what is to be run."""
    named = [book for book in books if len(book.id) <= _LONGEST_OPTION][:_MOST_OPTIONS]
    options = [_option(f"{book.id}: {book.title}", book.id) for book in named]
    chooser = {"type": "static_select", "action_id": PICK_INPUT, "options": options}
    blocks: list[Json] = [
        {"type": "input", "block_id": PICK_BLOCK, "label": _plain("Runbook", 2000), "element": chooser},
        kit.context("What it is told comes next. Nothing is done before its plan is shown and approved."),
    ]
    return _window(PICK_MODAL, "Run a runbook", "Next", blocks, about)


def run_modal(book: Runbook, given: Mapping[str, str], about: About) -> dict[str, Any]:
    """The window in which somebody tells a runbook its parameters; `given` are those that are known already."""
    blocks: list[Json] = [kit.section(f"*{words(book.title)}*  {code(cut(book.name, 120))}")]
    if book.meaning:
        blocks.append(kit.context(words(book.meaning, 3 * SENTENCE)))
    blocks += [_parameter(name, each, given.get(name)) for name, each in book.parameters.items()]
    about = msgspec.structs.replace(about, runbook=book.name)
    return _window(RUN_MODAL, "Run a runbook", "Plan it", blocks, about)


def snooze_modal(incident: str, channel: str) -> dict[str, Any]:
    """The window in which somebody chooses for how long an incident is kept quiet."""
    options = [_option(label, str(seconds)) for label, seconds in SNOOZES]
    chooser = {
        "type": "static_select", "action_id": SNOOZE_INPUT, "options": options, "initial_option": options[0],
    }  # fmt: skip
    blocks: list[Json] = [
        {"type": "input", "block_id": SNOOZE_BLOCK, "label": _plain("For how long?", 2000), "element": chooser},
        kit.context("Nothing new is posted for it until then. Its message goes on telling how it stands."),
    ]
    return _modal(SNOOZE_MODAL, f"Snooze {incident}", "Snooze", blocks, Click(incident=incident), channel)


def diagnose_modal(candidate: str, about: About) -> dict[str, Any]:
    """The window that asks what a message is about. `candidate` is the likeliest of its words."""
    asked = _input(SUBJECT_BLOCK, SUBJECT_INPUT, "What is stuck?", 400, optional=False)
    asked["element"] |= {"placeholder": _plain("namespace/pod", 150)}
    if candidate:
        asked["element"]["initial_value"] = candidate[:400]
    blocks: list[Json] = [kit.section("The message names no pod that Unstick can tell for sure."), asked]
    return _window(DIAGNOSE_MODAL, DIAGNOSE_LABEL, "Diagnose", blocks, about)


def window_about(view: Mapping[str, Any]) -> About:
    """What a window that asks for something new is about.

    Raises:
        ValueError: it carries nothing of ours.
    """
    try:
        return msgspec.json.decode(str(view.get("private_metadata", "")), type=About)
    except msgspec.DecodeError:
        raise ValueError("the window carries nothing that Unstick wrote") from None


def _parameter(name: str, parameter: Parameter, given: str | None) -> Json:
    """The input of a parameter, as its kind takes it."""
    value = given if given is not None else parameter.default
    shape = (reason_against(parameter, "") or "").rpartition("write ")[2]  # it says what would do instead of nothing
    element: Json = {"type": "plain_text_input", "action_id": PARAMETER_INPUT, "max_length": _LONGEST_PARAMETER}
    if parameter.kind == "enum" and len(parameter.values) <= _MOST_OPTIONS:
        options = [_option(each, each) for each in parameter.values]
        element = {"type": "static_select", "action_id": PARAMETER_INPUT, "options": options}
        if value in parameter.values:
            element["initial_option"] = options[parameter.values.index(value)]
    elif parameter.kind == "int":
        element = {"type": "number_input", "action_id": PARAMETER_INPUT, "is_decimal_allowed": False}
    if "options" not in element:
        element["placeholder"] = _plain(shape, 150)
        if value and reason_against(parameter, value) is None:
            element["initial_value"] = value
    made: Json = {
        "type": "input", "block_id": parameter_block(name), "optional": not parameter.must_be_given,
        "label": _plain(name, 2000), "element": element,
    }  # fmt: skip
    if parameter.description:
        made["hint"] = _plain(parameter.description, 2000)
    return made


def _option(text: str, value: str) -> Json:
    return {"text": _plain(text, _LONGEST_OPTION), "value": value}


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
    return _view(callback, title, submit, blocks, msgspec.json.encode(_Kept(value_of(click), channel)).decode())


def _window(callback: str, title: str, submit: str, blocks: list[Json], about: About) -> Json:
    return _view(callback, title, submit, blocks, msgspec.json.encode(about).decode())


def _view(callback: str, title: str, submit: str, blocks: list[Json], kept: str) -> Json:
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
