"""Finds what stands at a place in Slack: the message of ours, and the incident that it tells of."""

from typing import Any

from sqlalchemy import and_, select

from bot.store.tables import incidents, messages
from runbooks.database import Database


class Places(Database):
    """What is where. Methods block: call them in threads."""

    def message_at(self, channel: str, ts: str) -> int | None:
        """The number of the message of ours that Slack calls so; None where it is somebody else's."""
        with self.read() as connection:
            found: int | None = connection.execute(_at(messages.c.id, channel, ts)).scalars().first()
        return found

    def incident_at(self, channel: str, ts: str) -> str | None:
        """The incident that the message at a place tells of, if it does: the one that was opened last."""
        told = (
            _at(incidents.c.id, channel, ts)
            .join(incidents, incidents.c.message == messages.c.id)
            .order_by(incidents.c.opened.desc())
        )
        with self.read() as connection:
            found: str | None = connection.execute(told).scalars().first()
        return found


def _at(column: Any, channel: str, ts: str) -> Any:
    return select(column).select_from(messages).where(and_(messages.c.channel == channel, messages.c.ts == ts))
