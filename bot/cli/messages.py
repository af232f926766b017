"""Reads the messages that `unstick cause` is given: a message a line, or JSON lines with `message` and `reason`."""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

LONGEST = 1 << 20  # bytes of one line; more is no event message, and the rest of the line is passed over


class Message(msgspec.Struct, frozen=True):
    """One message, and its event's reason where it is known."""

    text: str
    reason: str | None = None


class _JsonLine(msgspec.Struct):
    message: str
    reason: str | None = None


def read_messages(stream: BinaryIO) -> Iterator[Message]:
    """Yield one message for each line, in order, empty ones too. What is not JSON is a message as it stands."""
    while line := stream.readline(LONGEST):
        cut = not line.endswith(b"\n")
        text = line.decode("utf-8", "replace").strip()
        if cut and len(line) >= LONGEST:
            while (rest := stream.readline(LONGEST)) and not rest.endswith(b"\n"):
                pass
        yield _parse(text)


def _parse(text: str) -> Message:
    if text.startswith("{"):
        try:
            parsed = msgspec.json.decode(text, type=_JsonLine)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):  # a thousand brackets are no message
            return Message(text)
        return Message(parsed.message, parsed.reason)
    return Message(text)
