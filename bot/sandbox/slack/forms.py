"""Filling in a modal's inputs as a person does, with what Slack's client itself insists on before it sends anything.

Pure. Shapes of `state.values` as docs.slack.dev/reference/interaction-payloads/view-interactions-payload has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.sandbox.slack.blocks import rendering
from bot.sandbox.slack.modals import View
from bot.sandbox.slack.refusals import NotPossible
from bot.sandbox.slack.state import Object

_ONE_OF = ("static_select", "radio_buttons", "overflow", "external_select")
_SOME_OF = ("checkboxes", "multi_static_select")
_PLAIN = {
    "users_select": "selected_user", "conversations_select": "selected_conversation", "datepicker": "selected_date",
    "channels_select": "selected_channel", "timepicker": "selected_time", "multi_users_select": "selected_users",
}  # fmt: skip


def filled(view: View, given: Mapping[str, Any]) -> Object:
    """The `state.values` of a modal that was filled in and submitted.

    Args:
        view: the modal.
        given: what is put in, by the input's label, block id or action id; options by their text or value.

    Raises:
        NotPossible: there is no such input, a required one is empty, or the client would not take the value.
    """
    inputs = [block for block in view.blocks if block["type"] == "input"]
    known = {name: block for block in inputs for name in _names(block)}
    if unknown := [name for name in given if name not in known]:
        raise NotPossible(f"the modal has no input {unknown}; it has {[_label(b) for b in inputs]}:\n{view.visible}")
    by_block = {known[name]["block_id"]: value for name, value in given.items()}
    values: Object = {}
    for block in inputs:
        element = block["element"]
        value = answer(element, by_block.get(block["block_id"]))
        if not block.get("optional") and not any(v for k, v in value.items() if k != "type"):
            raise NotPossible(f"Slack does not submit the modal while {_label(block)!r} is empty")
        values[block["block_id"]] = {element["action_id"]: value}
    return values


def initial(view: View) -> Object:
    """The `state.values` of a modal nobody has touched."""
    inputs = [block for block in view.blocks if block["type"] == "input"]
    return {b["block_id"]: {b["element"]["action_id"]: answer(b["element"], None)} for b in inputs}


def _names(block: Object) -> Sequence[str]:
    return (_label(block), block["block_id"], block["element"]["action_id"])


def _label(block: Object) -> str:
    return str(block["label"]["text"])


def answer(element: Object, given: Any) -> Object:
    """What an element's state is once somebody has put `given` into it; None leaves it as it was opened.

    Raises:
        NotPossible: the element does not offer that, or does not take that many characters.
    """
    kind = element["type"]
    if kind in _ONE_OF:
        chosen = element.get("initial_option") if given is None else _option(element, given)
        return {"type": kind, "selected_option": chosen}
    if kind in _SOME_OF:
        some = element.get("initial_options", []) if given is None else [_option(element, each) for each in given]
        return {"type": kind, "selected_options": some}
    if kind in _PLAIN:
        key = _PLAIN[kind]
        return {"type": kind, key: element.get(key.replace("selected", "initial")) if given is None else given}
    typed = element.get("initial_value") if given is None else str(given)
    least, most = element.get("min_length", 0), element.get("max_length", 3000)
    if typed and not least <= len(typed) <= most:
        raise NotPossible(f"Slack takes {least} to {most} characters here, not {len(typed)}")
    return {"type": kind, "value": typed or None}


def _option(element: Object, wanted: Any) -> Object:
    offered = rendering.options(element)
    for option in offered:
        if wanted in (option["text"]["text"], option["value"]):
            return option
    raise NotPossible(f"{wanted!r} is not offered; there is {[option['text']['text'] for option in offered]}")
