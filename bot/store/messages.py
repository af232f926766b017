"""Keeps what people are to see in Slack, apart from what Slack has been told: nothing said is lost while it is away.

A message is written here first and delivered later. An edit that comes before the delivery of the last one replaces it.
Of several replicas one brings a channel its messages: it holds the channel.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, and_, case, delete, insert, select, update
from sqlalchemy.orm import aliased

from bot.store.replicas import bury, living, moment
from bot.store.tables import channel_owners, messages, replicas
from runbooks.database import Database, columns, from_stored, stored

_BEHIND = and_(messages.c.wanted_version > messages.c.shown_version, messages.c.failed.is_(None))


class Content(msgspec.Struct, frozen=True):
    """A message: Block Kit blocks, and the plain text that notifications and screen readers use."""

    text: str
    blocks: tuple[dict[str, Any], ...] = ()


class Message(msgspec.Struct, frozen=True):
    """A message as it should be. `parent` is the message whose thread it is in; `only_to` sees it alone.

    `ts` is Slack's own name of it, once it is posted; `parent_ts` that of its parent; `thread` that of somebody else's
    message, whose thread it is in. `tried` is when a post was begun of which it is not known whether Slack has it.
    `file` is uploaded: its `name`, its `title` and `base64`, and Slack's `id` of it, once it has one.
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
    key: str | None = None
    thread: str | None = None
    tried: datetime | None = None
    file: dict[str, str] | None = None

    @property
    def in_thread(self) -> str | None:
        """Slack's name of the message whose thread it is in."""
        return self.thread or self.parent_ts


class Said(NamedTuple):
    """What is to be said, and in whose thread."""

    channel: str
    content: Content
    parent: int | None = None
    thread: str | None = None
    only_to: str | None = None


class Messages(Database):
    """All messages. Methods block: call them in threads."""

    def add(
        self, channel: str, content: Content, *, parent: int | None = None, only_to: str | None = None,
        key: str | None = None, thread: str | None = None, file: dict[str, str] | None = None,
    ) -> int:  # fmt: skip
        """Write a new message, to be delivered. The answer is its number.

        Of one `key` there is one message, whoever says it: another `add` answers with its number and changes nothing.
        A reply to a message that is in a thread itself goes into that thread. `file` has `name`, `title` and `base64`.
        """
        with self.write() as connection:
            return self.add_within(
                connection, channel, content, parent=parent, only_to=only_to, key=key, thread=thread, file=file
            )

    def add_within(
        self, connection: Connection, channel: str, content: Content, *, parent: int | None = None,
        only_to: str | None = None, key: str | None = None, thread: str | None = None,
        file: dict[str, str] | None = None,
    ) -> int:  # fmt: skip
        """The same within somebody else's transaction: it is said if that stands, and only then."""
        if key is not None:
            there = connection.execute(select(messages.c.id).where(messages.c.key == key)).scalar()
            if there is not None:
                return int(there)
        row = self._row(connection, Said(channel, content, parent, thread, only_to)) | {"key": key, "file": file}
        made: int = connection.execute(insert(messages).values(**row).returning(messages.c.id)).scalar_one()
        return made

    def add_all(self, connection: Connection, said: Sequence[Said]) -> list[int]:
        """Write several at once, within somebody else's transaction: a statement each would be slow."""
        if not said:
            return []
        rows = [self._row(connection, each) for each in said]
        made = insert(messages).returning(messages.c.id, sort_by_parameter_order=True)
        return list(connection.execute(made, rows).scalars())

    def drop_within(self, connection: Connection, message: int) -> None:
        """Within the transaction that wrote a message: it is not said after all."""
        connection.execute(delete(messages).where(messages.c.id == message))

    def _row(self, connection: Connection, said: Said) -> dict[str, Any]:
        """A message as it is kept. Slack has no threads in threads: its parent is one that begins a thread, or none."""
        parent, thread = said.parent, said.thread
        if parent is not None:
            above = select(messages.c.parent, messages.c.thread).where(messages.c.id == parent)
            if (row := connection.execute(above).one_or_none()) is not None:
                parent, thread = row.parent or parent, thread or row.thread
        now = stored(self.now())
        return {
            "channel": said.channel, "parent": parent, "thread": thread, "only_to": said.only_to,
            "content": msgspec.to_builtins(said.content),
            "wanted_version": 1, "shown_version": 0, "written": now, "behind_since": now,
        }  # fmt: skip

    def edit(self, message: int, content: Content, version: int | None = None) -> bool:
        """Want a message to look otherwise. Nothing happens where it is to look like this already.

        False: it is not of this `version` (`wanted_version`) any more: whoever edited it since may have known more, so
        that nothing is changed. One that Slack would not take is tried again: somebody may have invited the bot since.
        """
        row = messages.c.id == message
        with self.write() as connection:
            held = connection.execute(select(messages.c.content, messages.c.wanted_version).where(row)).one()
            if version is not None and held.wanted_version != version:
                return False
            wanted = {"wanted_version": messages.c.wanted_version + 1}
            if msgspec.convert(held.content, Content) != content:
                since = case((_BEHIND, messages.c.behind_since), else_=stored(self.now()))
                values = {"content": msgspec.to_builtins(content), "failed": None, "behind_since": since, **wanted}
                connection.execute(update(messages).where(row).values(values))
            elif version is not None:
                # The words stay, but whoever read an older state than this must not put its own in their place.
                told = messages.c.shown_version == messages.c.wanted_version
                shown = {"shown_version": messages.c.shown_version + case((told, 1), else_=0)}
                connection.execute(update(messages).where(row).values({**wanted, **shown}))
        return True

    def get(self, message: int) -> Message:
        """One message."""
        with self.read() as connection:
            return _message(connection.execute(_with_parent().where(messages.c.id == message)).one())

    def thread_of(self, channel: str, ts: str) -> int | None:
        """The message whose thread a posted one is in; None where it is in none, or is not ours."""
        posted = and_(messages.c.channel == channel, messages.c.ts == ts)
        with self.read() as connection:
            return connection.execute(select(messages.c.parent).where(posted)).scalars().first()

    def channels_behind(self, owner: str | None = None) -> tuple[str, ...]:
        """The channels that have not been told everything yet; without those that another replica than `owner` holds."""
        with self.read() as connection:
            wanted = select(messages.c.channel).where(_BEHIND).distinct()
            if owner is not None:
                alive = select(replicas.c.id).where(replicas.c.alive_until >= stored(moment(self, connection)))
                others = channel_owners.c.owner.in_(alive) & (channel_owners.c.owner != owner)
                wanted = wanted.where(messages.c.channel.not_in(select(channel_owners.c.channel).where(others)))
            return tuple(connection.execute(wanted).scalars())

    def hold(self, channel: str, owner: str) -> bool:
        """Let a replica bring a channel its messages, alone, until it lets go or dies. False: another one does."""
        row = channel_owners.c.channel == channel
        with self.write() as connection:
            bury(self, connection, owner)
            if not living(connection, owner):
                return False
            held = connection.execute(select(channel_owners.c.owner).where(row)).scalar()
            if held is None:
                connection.execute(insert(channel_owners).values(channel=channel, owner=owner))
            elif held != owner:
                if living(connection, held):
                    return False
                connection.execute(update(channel_owners).where(row).values(owner=owner))
        return True

    def let_go(self, channel: str, owner: str) -> None:
        """Let any replica bring a channel its messages."""
        held = and_(channel_owners.c.channel == channel, channel_owners.c.owner == owner)
        with self.write() as connection:
            connection.execute(delete(channel_owners).where(held))

    def next_behind(self, channel: str, after: int, owner: str | None = None) -> Message | None:
        """The oldest message of a channel numbered above `after` that Slack is behind with; if `owner` holds it still."""
        wanted = and_(_BEHIND, messages.c.channel == channel, messages.c.id > after)
        if owner is not None:
            held = select(channel_owners.c.channel).where(channel_owners.c.owner == owner)
            wanted = and_(wanted, messages.c.channel.in_(held))
        with self.read() as connection:
            row = connection.execute(_with_parent().where(wanted).order_by(messages.c.id).limit(1)).one_or_none()
        return None if row is None else _message(row)

    def trying(self, message: Message, file: dict[str, str] | None = None) -> datetime:
        """A post of a message is begun, anew if it has been there before. `file`: what Slack calls its file.

        The answer is what is noted as `tried`: whoever finds another moment there knows that somebody else tried since.
        """
        at = stored(self.now())
        values = {"tried": at, "ts": None, **({} if file is None else {"file": file})}
        with self.write() as connection:
            connection.execute(update(messages).where(messages.c.id == message.id).values(values))
        return from_stored(at)

    def delivered(self, message: Message, ts: str | None, version: int | None = None) -> None:
        """Slack shows a message in the version that was looked at, or in an older one; a later one is still to come."""
        shown = message.wanted_version if version is None else version
        with self.write() as connection:
            connection.execute(
                update(messages)
                .where(messages.c.id == message.id)
                .values(ts=ts or message.ts, shown_version=shown, tried=None, **_without_data(message.file))
            )

    def undeliverable(self, message: Message, reason: str) -> None:
        """Slack will never take a message in the version that was looked at, and why: it is not tried again."""
        same = and_(messages.c.id == message.id, messages.c.wanted_version == message.wanted_version)
        with self.write() as connection:
            connection.execute(update(messages).where(same).values(failed=reason))


_parent = aliased(messages)


def _without_data(file: dict[str, str] | None) -> dict[str, Any]:
    """What is left to keep of a file that Slack has."""
    return {} if file is None else {"file": {name: value for name, value in file.items() if name != "base64"}}


def _with_parent() -> Any:
    return select(messages, _parent.c.ts.label("parent_ts")).outerjoin(_parent, messages.c.parent == _parent.c.id)


def _message(row: Any) -> Message:
    return msgspec.convert(columns(row), Message)
