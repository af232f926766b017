"""Channels and what stands in them: conversations.* methods. Pure.

Paging and time bounds as docs.slack.dev/reference/methods/conversations.history and .replies document them: a bound
leaves its own message out unless `inclusive`, a page is at most 999 messages, and a cursor means nothing to a client.
"""

import base64
import binascii
from collections.abc import Mapping

from bot.sandbox.slack.methods.arguments import Method, number, required, yes
from bot.sandbox.slack.methods.shown import shown
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Message, Object, State

LARGEST_PAGE = 999


class Conversations:
    """Reads of channels and threads."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def known(self) -> Mapping[str, Method]:
        """The methods by name."""
        return {
            "conversations.info": self._info,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "conversations.open": self._open,
        }

    def _info(self, given: Object) -> Object:
        required(given, "channel")
        channel = self._state.find(given["channel"])
        about: Object = {
            "id": channel.id, "name": channel.name, "is_channel": not channel.private, "is_im": False,
            "is_group": channel.private, "is_private": channel.private,
        }  # fmt: skip
        if channel.with_user:
            about = {"id": channel.id, "is_channel": False, "is_im": True, "user": channel.with_user}
        return {"channel": {**about, "is_archived": channel.archived, "is_member": channel.has_bot}}

    def _open(self, given: Object) -> Object:
        required(given, "users")
        if given["users"] not in self._state.users:
            raise Refused("user_not_found")
        return {"channel": {"id": self._state.direct(given["users"]).id}}

    def _history(self, given: Object) -> Object:
        required(given, "channel")
        messages = [m for m in self._public(given) if m.thread_ts is None and _between(m, given)]
        return self._page(messages[::-1], given, 100)

    def _replies(self, given: Object) -> Object:
        """The thread, its first message always among it: the bounds are for the replies."""
        required(given, "channel", "ts")
        there = [m for m in self._public(given) if given["ts"] in (m.ts, m.thread_ts)]
        if not there:
            raise Refused("thread_not_found")
        return self._page([m for m in there if m.ts == given["ts"] or _between(m, given)], given, 1000)

    def _public(self, given: Object) -> list[Message]:
        channel = self._state.find(given["channel"])
        if not channel.has_bot:
            raise Refused("not_in_channel")
        return [m for m in self._state.messages(channel.id) if m.ephemeral_to is None]

    def _page(self, messages: list[Message], given: Object, usual: int) -> Object:
        start = _position(given["cursor"]) if given.get("cursor") else 0
        limit = int(number(given.get("limit") or usual))
        if not 1 <= limit <= max(LARGEST_PAGE, usual):
            raise Refused("invalid_limit")
        end = start + limit
        more = len(messages) > end
        page = [shown(self._state, message) for message in messages[start:end]]
        if not yes(given.get("include_all_metadata")):
            for message in page:
                message.pop("metadata", None)
        following = {"response_metadata": {"next_cursor": _cursor(end)}} if more else {}
        return {"messages": page, "has_more": more, **following}


def _between(message: Message, given: Object) -> bool:
    at, inclusive = float(message.ts), yes(given.get("inclusive"))
    oldest = number(given["oldest"], "invalid_ts_oldest") if given.get("oldest") else None
    latest = number(given["latest"], "invalid_ts_latest") if given.get("latest") else None
    if inclusive and at in (oldest, latest):
        return True
    return (oldest is None or at > oldest) and (latest is None or at < latest)


def _cursor(position: int) -> str:
    return base64.b64encode(f"next:{position}".encode()).decode()


def _position(cursor: str) -> int:
    try:
        word, _, position = base64.b64decode(str(cursor), validate=True).decode().partition(":")
        if word != "next":
            raise Refused("invalid_cursor")
        return int(position)
    except (binascii.Error, ValueError):
        raise Refused("invalid_cursor") from None
