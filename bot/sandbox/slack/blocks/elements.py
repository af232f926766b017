"""What stands inside Block Kit's blocks: text objects, buttons, menus and inputs, with the limits Slack documents.

Facts: docs.slack.dev/reference/block-kit (composition objects, block elements), as of 2026.
"""

from collections.abc import Iterator
from typing import Any

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

IDENTIFIER = text(255)
URL = text(3000)


def plain(most: int) -> Check:
    """A text object that must be plain_text."""
    return typed({"plain_text": shape({"text": text(most)}, {"emoji": boolean})})


def written(most: int) -> Check:
    """A text object, plain_text or mrkdwn."""
    return typed(
        {
            "plain_text": shape({"text": text(most)}, {"emoji": boolean}),
            "mrkdwn": shape({"text": text(most)}, {"verbatim": boolean}),
        }
    )


STYLE = one_of("primary", "danger")
CONFIRM = shape(
    {"title": plain(100), "text": written(300), "confirm": plain(30), "deny": plain(30)},
    {"style": STYLE},
)
_OPTION = shape({"text": written(75), "value": text(150)}, {"description": written(75)})
_PLAIN_OPTION = shape({"text": plain(75), "value": text(150)}, {"description": plain(75)})
_OVERFLOW_OPTION = shape({"text": plain(75), "value": text(150)}, {"description": plain(75), "url": URL})
_GROUP = shape({"label": plain(75), "options": array(_PLAIN_OPTION, 100)})
_INTERACTIVE: dict[str, Check] = {"action_id": IDENTIFIER, "confirm": CONFIRM}
_INPUT: dict[str, Check] = {"action_id": IDENTIFIER, "focus_on_load": boolean}
_MENU: dict[str, Check] = {**_INTERACTIVE, "placeholder": plain(150), "focus_on_load": boolean}
_MENUS: dict[str, Check] = {**_MENU, "max_selected_items": integer(1, 1_000_000)}
_DISPATCH = shape(
    {}, {"trigger_actions_on": array(one_of("on_enter_pressed", "on_character_entered"), 2)}
)  # fmt: skip
_TYPED_IN: dict[str, Check] = {**_INPUT, "placeholder": plain(150), "dispatch_action_config": _DISPATCH}


def _options_or_groups(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict) and ("options" in value) == ("option_groups" in value):
        yield mistake("must define exactly one of: options, option_groups", at)


def _named_image(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict) and ("image_url" in value) == ("slack_file" in value):
        yield mistake("must define exactly one of: image_url, slack_file", at)


_CHOICES: dict[str, Check] = {"options": array(_PLAIN_OPTION, 100), "option_groups": array(_GROUP, 100)}


def _one_name(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict) and ("id" in value) == ("url" in value):
        yield mistake("must define exactly one of: id, url", at)


_FILE = every(shape({}, {"id": text(255), "url": URL}), _one_name)


def _offered_at_first(value: Any, at: str) -> Iterator[str]:
    """What is chosen at first must be one of what is offered, word for word."""
    if not isinstance(value, dict):
        return
    groups = value.get("option_groups")
    lists = [value.get("options"), *(g.get("options") for g in groups or () if isinstance(g, dict))]
    offered = [option for each in lists if isinstance(each, list) for option in each]
    if "initial_option" in value and value["initial_option"] not in offered:
        yield mistake("initial_option must match one of the options provided", f"{at}/initial_option")
    first = value.get("initial_options")
    if isinstance(first, list) and any(option not in offered for option in first):
        yield mistake("initial_options must match the options provided", f"{at}/initial_options")


BUTTON = shape(
    {"text": plain(75)},
    {**_INTERACTIVE, "url": URL, "value": text(2000), "style": STYLE, "accessibility_label": text(75)},
)
IMAGE = every(shape({"alt_text": text(2000)}, {"image_url": URL, "slack_file": _FILE}), _named_image)
OVERFLOW = shape({"options": array(_OVERFLOW_OPTION, 5)}, _INTERACTIVE)
CHOOSERS: dict[str, Check] = {
    "checkboxes": every(
        shape(
            {"options": array(_OPTION, 10)},
            {**_INTERACTIVE, "initial_options": array(_OPTION, 10), "focus_on_load": boolean},
        ),
        _offered_at_first,
    ),
    "radio_buttons": every(
        shape({"options": array(_OPTION, 10)}, {**_INTERACTIVE, "initial_option": _OPTION, "focus_on_load": boolean}),
        _offered_at_first,
    ),
    "static_select": every(
        shape({}, {**_MENU, **_CHOICES, "initial_option": _PLAIN_OPTION}), _options_or_groups, _offered_at_first
    ),
    "multi_static_select": every(
        shape({}, {**_MENUS, **_CHOICES, "initial_options": array(_PLAIN_OPTION, 100)}),
        _options_or_groups,
        _offered_at_first,
    ),
    "external_select": shape({}, {**_MENU, "initial_option": _PLAIN_OPTION, "min_query_length": integer(0, 3000)}),
    "users_select": shape({}, {**_MENU, "initial_user": text(255)}),
    "multi_users_select": shape({}, {**_MENUS, "initial_users": array(text(255), 100)}),
    "conversations_select": shape({}, {**_MENU, "initial_conversation": text(255), "filter": anything}),
    "channels_select": shape({}, {**_MENU, "initial_channel": text(255)}),
    "datepicker": shape({}, {**_MENU, "initial_date": text(10, 10)}),
    "timepicker": shape({}, {**_MENU, "initial_time": text(5, 5), "timezone": text(255)}),
}
_INPUTS: dict[str, Check] = {
    "plain_text_input": shape(
        {},
        {
            **_TYPED_IN, "initial_value": text(3000, 0), "multiline": boolean, "min_length": integer(0, 3000),
            "max_length": integer(1, 3000),
        },
    ),
    "email_text_input": shape({}, {**_TYPED_IN, "initial_value": text(3000)}),
    "url_text_input": shape({}, {**_TYPED_IN, "initial_value": text(3000)}),
    "number_input": shape(
        {"is_decimal_allowed": boolean},
        {**_TYPED_IN, "initial_value": text(3000), "min_value": text(100), "max_value": text(100)},
    ),
}  # fmt: skip

IN_ACTIONS = typed({"button": BUTTON, "overflow": OVERFLOW, **CHOOSERS})
IN_CONTEXT = typed(
    {
        "image": IMAGE,
        "plain_text": shape({"text": text(3000)}, {"emoji": boolean}),
        "mrkdwn": shape({"text": text(3000)}, {"verbatim": boolean}),
    }
)
IN_INPUT = typed({**CHOOSERS, **_INPUTS})
IN_SECTION = typed({"button": BUTTON, "image": IMAGE, "overflow": OVERFLOW, **CHOOSERS})
