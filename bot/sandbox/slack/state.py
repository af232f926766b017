"""What the workspace remembers of people, channels and messages, and which posts Slack would refuse.

Pure: no sockets, no waiting; the clock is given. Everything it hands out is a copy that later edits do not change.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bot.sandbox.slack.blocks import interactive, rendering
from bot.sandbox.slack.refusals import Refused

Object = dict[str, Any]


@dataclass(frozen=True)
class User:
    """Somebody in the workspace; the bot is one too, and so is every other app that posts."""

    id: str
    name: str
    is_bot: bool = False


@dataclass(frozen=True)
class File:
    """A file as it was uploaded; `alt_text` describes a picture to those who do not see it."""

    id: str
    name: str
    title: str
    content: bytes
    alt_text: str = ""


@dataclass(frozen=True)
class Channel:
    """A channel or, with `with_user`, a direct conversation between the bot and one person."""

    id: str
    name: str
    members: frozenset[str] | None = None  # None: everybody but, maybe, the bot
    has_bot: bool = True
    archived: bool = False
    with_user: str | None = None
    private: bool = False

    @property
    def shown_name(self) -> str:
        """What payloads call it: only a public channel is called by its name."""
        return "directmessage" if self.with_user else "privategroup" if self.private else self.name


@dataclass(frozen=True)
class Message:
    """One message as it is now, with every state it was ever in.

    Attributes:
        versions: text and blocks of every state, the first one first, the present one last.
        ephemeral_to: the id of the one person who sees it, or None.
        metadata: `{"event_type", "event_payload"}` as posted, or None.
        attachments: what another app attached in the old way; the bot itself has blocks.
        files: what was uploaded into it.
    """

    ts: str
    channel: str
    user: str
    text: str
    blocks: list[Object]
    thread_ts: str | None = None
    metadata: Object | None = None
    ephemeral_to: str | None = None
    versions: tuple[tuple[str, list[Object]], ...] = ()
    names: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    attachments: list[Object] = field(default_factory=list)
    files: tuple[File, ...] = ()

    @property
    def visible(self) -> str:
        """Everything a person reads in it: its blocks as plain text or, without blocks, its text; then what hangs on it."""
        own = "\n".join(rendering.lines(self.blocks, self.names)) or rendering.readable(self.text, self.names)
        attached = [line for each in self.attachments for line in rendering.attachment(each, self.names)]
        files = [f"[file: {file.title}]" for file in self.files]
        return "\n".join(filter(None, (own, *attached, *files)))

    @property
    def buttons(self) -> tuple[str, ...]:
        """What is written on its buttons."""
        return tuple(rendering.written(button["text"], {}) for button in rendering.buttons(self.blocks))

    def has_reader(self, user: str) -> bool:
        """Whether it is shown to this person at all."""
        return self.ephemeral_to in (None, user)


def kept(blocks: Sequence[Object]) -> list[Object]:
    """Blocks as Slack stores and returns them: ids that were left out are made up, defaults are written out."""
    stored: list[Object] = json.loads(json.dumps(list(blocks)))
    for block in stored:
        block.setdefault("block_id", _made_up())
        for element in interactive(block):
            element.setdefault("action_id", _made_up())
    _with_defaults(stored)
    return stored


def _with_defaults(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _with_defaults(each)
    elif isinstance(value, dict):
        if value.get("type") == "plain_text":
            value.setdefault("emoji", True)
        elif value.get("type") == "mrkdwn":
            value.setdefault("verbatim", False)
        for each in value.values():
            _with_defaults(each)


def _made_up() -> str:
    return secrets.token_urlsafe(6)


class State:
    """People, channels and messages of one workspace.

    Args:
        now: the workspace's clock.
        changed: called after every change, so that somebody who waits can look again.
    """

    def __init__(self, now: Callable[[], datetime], changed: Callable[[], None]) -> None:
        self.now, self._changed = now, changed
        self.bot = User("U0UNSTICK", "unstick", is_bot=True)
        self.bot_id, self.team, self.app = "B0UNSTICK", "T0SANDBOX", "A0UNSTICK"
        self.users: dict[str, User] = {self.bot.id: self.bot}
        self.channels: dict[str, Channel] = {}
        self.names: dict[str, str] = {self.bot.id: "@unstick"}
        self._messages: dict[tuple[str, str], Message] = {}
        self._last = 0

    def user(self, name: str) -> User:
        """The person of that name, who joins if new."""
        user = User(_id("U0", name), name)
        self.names[user.id] = f"@{name}"
        return self.users.setdefault(user.id, user)

    def app_user(self, name: str) -> User:
        """Another app of that name, which is installed if new."""
        user = User(_id("U0APP", name), name, is_bot=True)
        self.names[user.id] = name
        return self.users.setdefault(user.id, user)

    def channel(
        self, name: str, *, bot: bool = True, archived: bool = False, members: Iterable[str] | None = None,
        private: bool = False,
    ) -> Channel:  # fmt: skip
        """Make a channel, or change what one of that name is like."""
        ids = None if members is None else frozenset(members)
        channel = Channel(_id("C0", name), name, ids, bot, archived, private=private)
        self.channels[channel.id] = channel
        self.names[channel.id] = f"#{name}"
        return channel

    def direct(self, user: str) -> Channel:
        """The direct conversation between the bot and a person."""
        name = self.users[user].name
        return self.channels.setdefault(
            _id("D0", name), Channel(_id("D0", name), name, frozenset((user,)), True, False, user)
        )

    def is_member(self, user: str, channel: Channel) -> bool:
        """Whether this user, or the bot, is in the channel."""
        if user == self.bot.id:
            return channel.has_bot
        return user in self.users and (channel.members is None or user in channel.members)

    def find(self, channel: Any, *, named: bool = False) -> Channel:
        """The channel of this id.

        Args:
            channel: what the call gave.
            named: whether the method also takes a channel's name, or a person's id for the direct conversation.

        Raises:
            Refused: channel_not_found; so is a private one that the bot is not in.
        """
        if named and channel in self.users and channel != self.bot.id:
            return self.direct(channel)
        for known in self.channels.values():
            if known.private and not known.has_bot:
                continue
            if channel == known.id or (named and channel in (known.name, f"#{known.name}") and not known.with_user):
                return known
        raise Refused("channel_not_found")

    def writable(self, channel: Any, *, public: bool = False) -> Channel:
        """The channel, if the bot may post there.

        Args:
            channel: what the call gave.
            public: whether the bot may post into public channels that it is not in.

        Raises:
            Refused: channel_not_found, is_archived, not_in_channel.
        """
        found = self.find(channel, named=True)
        if found.archived:
            raise Refused("is_archived")
        if not found.has_bot and not public:
            raise Refused("not_in_channel")
        return found

    def post(
        self, channel: str, user: str, text: str, blocks: Sequence[Object] = (), *, thread_ts: str | None = None,
        metadata: Object | None = None, ephemeral_to: str | None = None, attachments: Sequence[Object] = (),
        files: Sequence[File] = (),
    ) -> Message:  # fmt: skip
        """Add a message; a reply to a reply joins the thread of its root."""
        if thread_ts and (root := self._messages.get((channel, thread_ts))):
            thread_ts = root.thread_ts or root.ts
        stored = kept(blocks)
        message = Message(
            self.timestamp(), channel, user, text, stored, thread_ts or None, deepcopy(metadata), ephemeral_to,
            ((text, stored),), self.names, deepcopy(list(attachments)), tuple(files),
        )  # fmt: skip
        self._messages[channel, message.ts] = message
        self._changed()
        return message

    def edit(self, message: Message, text: str, blocks: Sequence[Object], metadata: Object | None) -> Message:
        """Replace what a message says; its earlier states are remembered."""
        stored = kept(blocks)
        edited = replace(
            message, text=text, blocks=stored, metadata=deepcopy(metadata),
            versions=(*message.versions, (text, stored)),
        )  # fmt: skip
        self._messages[message.channel, message.ts] = edited
        self._changed()
        return edited

    def remove(self, message: Message) -> None:
        """Take a message away."""
        del self._messages[message.channel, message.ts]
        self._changed()

    def message(self, channel: str, ts: Any) -> Message:
        """The message as it is now.

        Raises:
            Refused: message_not_found.
        """
        if not isinstance(ts, str) or (channel, ts) not in self._messages:
            raise Refused("message_not_found")
        return self._messages[channel, ts]

    def messages(self, channel: str) -> tuple[Message, ...]:
        """All messages of a channel, ephemeral ones too, the oldest first."""
        return tuple(message for (where, _), message in self._messages.items() if where == channel)

    def timestamp(self) -> str:
        """A new `ts`: the time, and never the same twice even on a clock that stands still."""
        self._last = max(self._last + 1, int(self.now().timestamp() * 1_000_000))
        return f"{self._last // 1_000_000}.{self._last % 1_000_000:06d}"


def _id(prefix: str, name: str) -> str:
    return prefix + "".join(c for c in name.upper() if c.isalnum() and c.isascii())
