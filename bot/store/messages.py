"""Keeps what people are to see in Slack, apart from what Slack has been told: nothing said is lost while it is away.

A message is written here first and delivered later. An edit that comes before the delivery of the last one replaces it.
"""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, insert, select, update
from sqlalchemy.orm import aliased

from bot.store.tables import messages
from runbooks.database import Database, columns, stored

_BEHIND = and_(messages.c.wanted_version > messages.c.shown_version, messages.c.failed.is_(None))


class Content(msgspec.Struct, frozen=True):
    """A message: Block Kit blocks, and the plain text that notifications and screen readers use."""

    text: str
    blocks: tuple[dict[str, Any], ...] = ()


class Message(msgspec.Struct, frozen=True):
    """A message as it should be. `parent` is the message whose thread it is in; `only_to` sees it alone.

    `ts` is Slack's own name of it, once it is posted; `parent_ts` that of its parent.
    """

    id: int
    channel: str
    parent: int | None
    only_to: str | None
    ts: str | None
    parent_ts: str | None
    content: Content
    wanted_version: int
    shown_version: int
    written: datetime
    failed: str | None


class Messages(Database):
    """All messages. Methods block: call them in threads."""

    def add(self, channel: str, content: Content, *, parent: int | None = None, only_to: str | None = None) -> int:
        """Write a new message, to be delivered. The answer is its number."""
        with self.write() as connection:
            return self.add_within(connection, channel, content, parent=parent, only_to=only_to)

    def add_within(
        self, connection: Connection, channel: str, content: Content, *, parent: int | None = None,
        only_to: str | None = None,
    ) -> int:  # fmt: skip
        """The same within somebody else's transaction: it is said if that stands, and only then."""
        made: int = connection.execute(
            insert(messages).values(
                channel=channel, parent=parent, only_to=only_to, content=msgspec.to_builtins(content),
                wanted_version=1, shown_version=0, written=stored(self.now()),
            ).returning(messages.c.id)
        ).scalar_one()  # fmt: skip
        return made

    def edit(self, message: int, content: Content) -> None:
        """Want a message to look otherwise. Nothing happens where it is to look like this already.

        One that Slack would not take is tried again: somebody may have invited the bot since.
        """
        with self.write() as connection:
            held = connection.execute(select(messages.c.content).where(messages.c.id == message)).scalar_one()
            if msgspec.convert(held, Content) != content:
                connection.execute(
                    update(messages).where(messages.c.id == message).values(
                        content=msgspec.to_builtins(content), wanted_version=messages.c.wanted_version + 1, failed=None,
                    )
                )  # fmt: skip

    def get(self, message: int) -> Message:
        """One message."""
        with self.read() as connection:
            return _message(connection.execute(_with_parent().where(messages.c.id == message)).one())

    def thread_of(self, channel: str, ts: str) -> int | None:
        """The message whose thread a posted one is in; None where it is in none, or is not ours."""
        posted = and_(messages.c.channel == channel, messages.c.ts == ts)
        with self.read() as connection:
            return connection.execute(select(messages.c.parent).where(posted)).scalars().first()

    def channels_behind(self) -> tuple[str, ...]:
        """The channels that have not been told everything yet."""
        with self.read() as connection:
            return tuple(connection.execute(select(messages.c.channel).where(_BEHIND).distinct()).scalars())

    def next_behind(self, channel: str, after: int) -> Message | None:
        """The oldest message of a channel numbered above `after` that Slack is behind with."""
        wanted = and_(_BEHIND, messages.c.channel == channel, messages.c.id > after)
        with self.read() as connection:
            row = connection.execute(_with_parent().where(wanted).order_by(messages.c.id).limit(1)).one_or_none()
        return None if row is None else _message(row)

    def delivered(self, message: Message, ts: str | None) -> None:
        """Slack shows a message in the version that was looked at; a later one is still to come."""
        with self.write() as connection:
            connection.execute(
                update(messages)
                .where(messages.c.id == message.id)
                .values(ts=ts or message.ts, shown_version=message.wanted_version)
            )

    def undeliverable(self, message: Message, reason: str) -> None:
        """Slack will never take a message in the version that was looked at, and why: it is not tried again."""
        same = and_(messages.c.id == message.id, messages.c.wanted_version == message.wanted_version)
        with self.write() as connection:
            connection.execute(update(messages).where(same).values(failed=reason))


_parent = aliased(messages)


def _with_parent() -> Any:
    return select(messages, _parent.c.ts.label("parent_ts")).outerjoin(_parent, messages.c.parent == _parent.c.id)


def _message(row: Any) -> Message:
    return msgspec.convert(columns(row), Message)
