"""Slack's answers that say no: one exception that carries Slack's error code, so that every method refuses alike."""

from collections.abc import Mapping, Sequence


class Refused(Exception):
    """A call that Slack would refuse.

    Args:
        code: Slack's documented error code for the method.
        messages: what Slack puts into `response_metadata.messages`.
        more: what else Slack's answer tells, such as the scope that is needed.
    """

    def __init__(self, code: str, messages: Sequence[str] = (), more: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.messages = tuple(messages)
        self.more = dict(more or {})


class NotSeen(AssertionError):
    """Somebody waited for something that did not appear; the text says what there is instead."""


class NotPossible(AssertionError):
    """Somebody tried what Slack's client does not offer: a button that is not there, a form that is not filled in."""
