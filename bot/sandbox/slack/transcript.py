"""A conversation written down for people to read: who, when, what, and what could be clicked.

Pure; the terminal demo prints it and failing tests show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.sandbox.slack.state import Message


@dataclass(frozen=True)
class Entry:
    """One message as a reader meets it.

    Attributes:
        who: the author's name, such as `@alice`.
        when: the time of day in UTC, `03:07:00`.
        lines: what is read, buttons as `[Plan fix]`.
        only: the name of the one person who sees it, or "".
        reply: whether it stands in a thread.
        edited: whether it said something else before.
    """

    ts: str
    who: str
    when: str
    lines: tuple[str, ...]
    only: str
    reply: bool
    edited: bool

    def __str__(self) -> str:
        marks = [f"only visible to {self.only}"] * bool(self.only) + ["edited"] * self.edited
        head = f"{self.when} {self.who}" + (f" ({', '.join(marks)})" if marks else "")
        indent = "    " if self.reply else ""
        return "\n".join(indent + line for line in (head, *("  " + line for line in self.lines)))


def entries(messages: Sequence[Message], names: Mapping[str, str]) -> Iterator[Entry]:
    """The messages in the order they are read: a thread's replies right after its first message."""
    for root in messages:
        if root.thread_ts and any(other.ts == root.thread_ts for other in messages):
            continue
        yield _entry(root, names)
        for reply in messages:
            if reply.thread_ts == root.ts:
                yield _entry(reply, names)


def _entry(message: Message, names: Mapping[str, str]) -> Entry:
    at = datetime.fromtimestamp(float(message.ts), UTC)
    only = names.get(message.ephemeral_to, message.ephemeral_to).lstrip("@") if message.ephemeral_to else ""
    lines = tuple(message.visible.splitlines())
    who = names.get(message.user, message.user)
    edited = len(message.versions) > 1
    return Entry(message.ts, who, f"{at:%H:%M:%S}", lines, only, message.thread_ts is not None, edited)
