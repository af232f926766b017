"""Every limit of Block Kit: what is exactly at it passes, one more does not; and what has no business in a block."""

from collections.abc import Callable
from typing import Any

import pytest
from slack_sdk.models.blocks import (
    ActionsBlock,
    ButtonElement,
    ConfirmObject,
    ContextBlock,
    DividerBlock,
    HeaderBlock,
    MarkdownBlock,
    SectionBlock,
)

from bot.sandbox.slack import mistakes, view_mistakes

Object = dict[str, Any]


def plain(text: str) -> Object:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> Object:
    return {"type": "mrkdwn", "text": text}


def x(length: int) -> str:
    return "x" * length


def button(**more: Any) -> Object:
    return {"type": "button", "text": plain("Approve"), "action_id": "approve", **more}


def section(**more: Any) -> Object:
    return {"type": "section", "text": mrkdwn("text"), **more}


def actions(*elements: Object, **more: Any) -> Object:
    return {"type": "actions", "elements": list(elements), **more}


def buttons(count: int) -> list[Object]:
    return [button(action_id=f"b{number}") for number in range(count)]


def confirm(**more: Any) -> Object:
    words = {"title": plain("t"), "text": mrkdwn("x"), "confirm": plain("Yes"), "deny": plain("No")}
    return actions(button(confirm={**words, **more}))


def table(rows: int = 1, cells: int = 1, text: str = "x", **more: Any) -> Object:
    return {"type": "table", "rows": [[{"type": "raw_text", "text": text}] * cells] * rows, **more}


def entry(**more: Any) -> Object:
    element = {"type": "plain_text_input", "action_id": "typed"}
    return {"type": "input", "label": plain("Node"), "element": element, **more}


def select(count: int, **more: Any) -> Object:
    options = [{"text": plain(f"o{number}"), "value": f"v{number}"} for number in range(count)]
    return {"type": "static_select", "action_id": "s", "options": options, **more}


# What is measured, its greatest size, and blocks of a given size.
LIMITS: dict[str, tuple[int, Callable[[int], list[Object]]]] = {
    "blocks of a message": (50, lambda n: [{"type": "divider"}] * n),
    "section text": (3000, lambda n: [section(text=mrkdwn(x(n)))]),
    "section fields": (10, lambda n: [{"type": "section", "fields": [plain("f")] * n}]),
    "field text": (2000, lambda n: [{"type": "section", "fields": [mrkdwn(x(n))]}]),
    "header": (150, lambda n: [{"type": "header", "text": plain(x(n))}]),
    "context elements": (10, lambda n: [{"type": "context", "elements": [mrkdwn("c")] * n}]),
    "actions elements": (25, lambda n: [actions(*buttons(n))]),
    "button text": (75, lambda n: [actions(button(text=plain(x(n))))]),
    "button value": (2000, lambda n: [actions(button(value=x(n)))]),
    "button url": (3000, lambda n: [actions(button(url=x(n)))]),
    "action_id": (255, lambda n: [actions(button(action_id=x(n)))]),
    "block_id": (255, lambda n: [section(block_id=x(n))]),
    "confirm title": (100, lambda n: [confirm(title=plain(x(n)))]),
    "confirm text": (300, lambda n: [confirm(text=plain(x(n)))]),
    "confirm button": (30, lambda n: [confirm(confirm=plain(x(n)))]),
    "deny button": (30, lambda n: [confirm(deny=plain(x(n)))]),
    "options of a menu": (100, lambda n: [actions(select(n))]),
    "option text": (75, lambda n: [actions(select(0, options=[{"text": plain(x(n)), "value": "v"}]))]),
    "option value": (150, lambda n: [actions(select(0, options=[{"text": plain("t"), "value": x(n)}]))]),
    "placeholder": (150, lambda n: [actions(select(1, placeholder=plain(x(n))))]),
    "input label": (2000, lambda n: [entry(label=plain(x(n)))]),
    "input hint": (2000, lambda n: [entry(hint=plain(x(n)))]),
    "markdown": (12_000, lambda n: [{"type": "markdown", "text": x(n)}]),
    "markdown in all": (12_000, lambda n: [{"type": "markdown", "text": x(n - 6000)}, {"type": "markdown", "text": x(6000)}]),
    "table rows": (100, lambda n: [table(rows=n)]),
    "table cells": (20, lambda n: [table(cells=n)]),
    "table characters": (10_000, lambda n: [table(rows=10, text=x(n // 10) + x(n % 10))]),
    "table columns set": (20, lambda n: [table(column_settings=[{"align": "right"}] * n)]),
    "image text": (2000, lambda n: [{"type": "image", "image_url": "https://e.example/i.png", "alt_text": x(n)}]),
}  # fmt: skip


@pytest.mark.parametrize("what", LIMITS)
def test_the_limit_itself_passes_and_one_more_does_not(what: str) -> None:
    most, blocks = LIMITS[what]
    assert mistakes(blocks(most)) == []
    assert mistakes(blocks(most + 1)) != []


def modal(**more: Any) -> Object:
    return {"type": "modal", "title": plain("Approve"), "submit": plain("Approve"), "blocks": [entry()], **more}


VIEW_LIMITS: dict[str, tuple[int, Callable[[int], Object]]] = {
    "blocks of a modal": (100, lambda n: modal(blocks=[{"type": "divider"}] * n)),
    "title": (24, lambda n: modal(title=plain(x(n)))),
    "submit": (24, lambda n: modal(submit=plain(x(n)))),
    "close": (24, lambda n: modal(close=plain(x(n)))),
    "callback_id": (255, lambda n: modal(callback_id=x(n))),
    "external_id": (255, lambda n: modal(external_id=x(n))),
    "private_metadata": (3000, lambda n: modal(private_metadata=x(n))),
}


@pytest.mark.parametrize("what", VIEW_LIMITS)
def test_a_modals_limit_passes_and_one_more_does_not(what: str) -> None:
    most, view = VIEW_LIMITS[what]
    assert view_mistakes(view(most)) == []
    assert view_mistakes(view(most + 1)) != []


SOUND = {
    "nothing": [],
    "a section with an accessory": [section(accessory=button(style="danger", value="7"))],
    "buttons without ids": [actions({"type": "button", "text": plain("Go")}, {"type": "button", "text": plain("No")})],
    "a context of text and image": [
        {"type": "context", "elements": [plain("a"), {"type": "image", "image_url": "https://e.example", "alt_text": "i"}]}
    ],
    "a confirmed button": [confirm(style="danger")],
    "rich text": [
        {
            "type": "rich_text",
            "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "b", "style": {"bold": True}}]},
                {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "log"}], "border": 0},
            ],
        }
    ],
    "a table with rich cells": [
        table(cells=2, column_settings=[{"is_wrapped": True}]),
    ],
    "what the SDK builds": [
        block.to_dict()
        for block in (
            HeaderBlock(text="Incident"),
            SectionBlock(text="*Root cause*", fields=["a", "b"]),
            DividerBlock(),
            ContextBlock(elements=[{"type": "mrkdwn", "text": "c"}]),
            MarkdownBlock(text="**bold**"),
            ActionsBlock(
                elements=[
                    ButtonElement(
                        text="Approve", action_id="a", value="1", style="primary",
                        confirm=ConfirmObject(title="Sure?", text="It fences node1", confirm="Yes", deny="No"),
                    )
                ]
            ),
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", SOUND)
def test_sound_blocks_pass(what: str) -> None:
    assert mistakes(SOUND[what]) == []


REFUSED: dict[str, tuple[Any, str]] = {
    "no list": ({"type": "divider"}, "must be an array"),
    "no object": (["divider"], "must be an object"),
    "no type": ([{}], "missing required field: type"),
    "an unknown type": ([{"type": "divide"}], "unsupported type: divide"),
    "a type that is no text": ([{"type": ["divider"]}], "unsupported type"),
    "an unknown key": ([section(colour="red")], "invalid additional property: colour"),
    "an unknown key of a text": ([section(text={**plain("a"), "verbatim": True})], "invalid additional property: verbatim"),
    "a section of nothing": ([{"type": "section"}], "must define either `text` or `fields`"),
    "an empty text": ([section(text=mrkdwn(""))], "must be more than 0 characters"),
    "a text that is a string": ([section(text="hello")], "must be an object"),
    "a text that is a number": ([section(text=mrkdwn(7))], "must be a string"),  # type: ignore[arg-type]
    "an empty field": ([{"type": "section", "fields": [plain("")]}], "must be more than 0"),
    "no fields": ([{"type": "section", "fields": []}], "no fewer than 1 items"),
    "a header in mrkdwn": ([{"type": "header", "text": mrkdwn("h")}], "unsupported type: mrkdwn"),
    "a header of nothing": ([{"type": "header"}], "missing required field: text"),
    "a context of nothing": ([{"type": "context", "elements": []}], "no fewer than 1 items"),
    "a context with a button": ([{"type": "context", "elements": [button()]}], "unsupported type: button"),
    "actions of nothing": ([actions()], "no fewer than 1 items"),
    "actions with text": ([actions(plain("a"))], "unsupported type: plain_text"),
    "a button in mrkdwn": ([actions(button(text=mrkdwn("a")))], "unsupported type: mrkdwn"),
    "a button without text": ([actions({"type": "button", "action_id": "a"})], "missing required field: text"),
    "a button in green": ([actions(button(style="success"))], "must be one of: primary, danger"),
    "a default style": ([actions(button(style="default"))], "must be one of: primary, danger"),
    "a value that is no text": ([actions(button(value=7))], "must be a string"),
    "a confirm without a title": (
        [actions(button(confirm={"text": plain("t"), "confirm": plain("y"), "deny": plain("n")}))], "field: title",
    ),
    "two blocks of one id": ([section(block_id="a"), section(block_id="a")], "`block_id` `a` already exists"),
    "two actions of one id": ([actions(*buttons(1), *buttons(1))], "`action_id` `b0` already exists"),
    "an input without an element": ([{"type": "input", "label": plain("l")}], "missing required field: element"),
    "an input without a label": ([{"type": "input", "element": entry()["element"]}], "missing required field: label"),
    "an input of a button": ([entry(element=button())], "unsupported type: button"),
    "a menu of nothing": ([actions({"type": "static_select", "action_id": "s"})], "exactly one of: options"),
    "an image from nowhere": ([{"type": "image", "alt_text": "i"}], "exactly one of: image_url, slack_file"),
    "an image nobody hears of": ([{"type": "image", "image_url": "https://e.example"}], "missing required field: alt_text"),
    "two tables": ([table(), table()], "only one table is allowed"),
    "a table of sections": ([{"type": "table", "rows": [[section()]]}], "unsupported type: section"),
    "a column justified": ([table(column_settings=[{"align": "justify"}])], "must be one of: left, center, right"),
    "an empty markdown": ([{"type": "markdown", "text": ""}], "must be more than 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_slack_refuses_is_named(what: str) -> None:
    blocks, says = REFUSED[what]
    assert says in "\n".join(mistakes(blocks))


@pytest.mark.parametrize(
    ("view", "says"),
    [
        ({"type": "dialog"}, "unsupported type: dialog"),
        ({"type": "modal", "blocks": []}, "missing required field: title"),
        ({"type": "modal", "title": plain("t")}, "missing required field: blocks"),
        ({"type": "modal", "title": plain("t"), "blocks": [entry()]}, "missing required field: submit"),
        (modal(title=mrkdwn("t")), "unsupported type: mrkdwn"),
        (modal(blocks=[table()]), "unsupported type: table"),
        (modal(blocks=[section(text=mrkdwn(""))]), "must be more than 0"),
        (modal(notify_on_close="yes"), "must be a boolean"),
        (modal(id="V0"), "invalid additional property: id"),
        ("modal", "must be an object"),
    ],
)
def test_a_view_slack_refuses_is_named(view: Any, says: str) -> None:
    assert says in "\n".join(view_mistakes(view))


def test_a_mistake_says_where_it_is() -> None:
    assert mistakes([section(), section(text=mrkdwn(x(3001)))]) == [
        "[ERROR] must be less than 3001 characters [json-pointer:/blocks/1/text/text]"
    ]
