"""What a JSON value may look like, as small checks that are put together: Block Kit is written down with them.

A check takes a value and where it stands (a JSON pointer) and yields mistakes in Slack's own words. It is pure and
never raises, whatever it is given.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Check = Callable[[Any, str], Iterator[str]]


def mistake(says: str, at: str) -> str:
    """One mistake, as Slack writes it into `response_metadata.messages`."""
    return f"[ERROR] {says} [json-pointer:{at}]"


def anything(_value: Any, _at: str) -> Iterator[str]:
    """Whatever it is."""
    yield from ()


def text(most: int, least: int = 1) -> Check:
    """A string of `least` to `most` characters."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield mistake("must be a string", at)
        elif len(value) > most:
            yield mistake(f"must be less than {most + 1} characters", at)
        elif len(value) < least:
            yield mistake(f"must be more than {least - 1} characters", at)

    return check


def boolean(value: Any, at: str) -> Iterator[str]:
    """True or false."""
    if not isinstance(value, bool):
        yield mistake("must be a boolean", at)


def integer(least: int, most: int) -> Check:
    """A whole number from `least` to `most`."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield mistake("must be an integer", at)
        elif not least <= value <= most:
            yield mistake(f"must be from {least} to {most}", at)

    return check


def one_of(*allowed: str) -> Check:
    """One of these strings."""

    def check(value: Any, at: str) -> Iterator[str]:
        if value not in allowed:
            yield mistake(f"must be one of: {', '.join(allowed)}", at)

    return check


def array(item: Check, most: int, least: int = 1) -> Check:
    """A list of `least` to `most` items, each of which passes."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, list | tuple):
            yield mistake("must be an array", at)
            return
        if len(value) > most:
            yield mistake(f"no more than {most} items allowed", at)
        if len(value) < least:
            yield mistake(f"no fewer than {least} items allowed", at)
        for index, each in enumerate(value):
            yield from item(each, f"{at}/{index}")

    return check


def shape(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys and no others, besides `type`."""
    known = {"type": anything, **required, **(optional or {})}

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield mistake("must be an object", at)
            return
        for key in required:
            if key not in value:
                yield mistake(f"missing required field: {key}", at)
        for key, inner in value.items():
            if key not in known:
                yield mistake(f"invalid additional property: {key}", at)
            else:
                yield from known[key](inner, f"{at}/{key}")

    return check


def typed(kinds: Mapping[str, Check]) -> Check:
    """An object whose `type` says which of these checks it has to pass."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield mistake("must be an object", at)
        elif "type" not in value:
            yield mistake("missing required field: type", at)
        elif not isinstance(value["type"], str) or value["type"] not in kinds:
            yield mistake(f"unsupported type: {value['type']}", f"{at}/type")
        else:
            yield from kinds[value["type"]](value, at)

    return check


def every(*checks: Check) -> Check:
    """All of these checks."""

    def check(value: Any, at: str) -> Iterator[str]:
        for each in checks:
            yield from each(value, at)

    return check
