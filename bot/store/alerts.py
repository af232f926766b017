"""Keeps Alertmanager's groups of alerts as it last told them, and the message that tells of each."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection, insert, select, update

from bot.store.messages import Content, Messages
from bot.store.tables import alert_groups
from runbooks.database import Database, columns, stored


class Alert(msgspec.Struct, frozen=True):
    """One alert: whether it fires, and what it says of itself."""

    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    since: datetime
    fingerprint: str = ""

    @property
    def firing(self) -> bool:
        """Whether it fires still."""
        return self.status == "firing"


class AlertGroup(msgspec.Struct, frozen=True):
    """The alerts that Alertmanager groups together, and the message in `channel` that tells of them.

    `truncated` counts the alerts that it left out.
    """

    key: str
    cluster: str
    channel: str
    message: int
    alerts: tuple[Alert, ...]
    updated: datetime
    truncated: int = 0

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Those that fire."""
        return tuple(alert for alert in self.alerts if alert.firing)


class Alerts(Database):
    """All groups of alerts. Methods block: call them in threads."""

    def keep(
        self, key: str, cluster: str, channel: str, alerts: tuple[Alert, ...], truncated: int, first: Content,
        messages: Messages,
    ) -> AlertGroup:  # fmt: skip
        """Keep a group as it stands now. A new one gets a message, which says `first` until more is known.

        A group that had ended and fires again is told of anew: its old message is too far up to be seen.

        Raises:
            StoreError: the database cannot be written.
        """
        now = stored(self.now())
        kept = {"alerts": {"alerts": msgspec.to_builtins(alerts), "truncated": truncated}, "updated": now}
        with self.write() as connection:
            held = _group(connection, key)
            again = held is not None and not held.firing and any(alert.firing for alert in alerts)
            if held is None:
                message = messages.add_within(connection, channel, first)
                values = {"key": key, "cluster": cluster, "channel": channel, "message": message}
                connection.execute(insert(alert_groups).values(**values, **kept))
            else:
                told = {"message": messages.add_within(connection, channel, first), "channel": channel} if again else {}
                connection.execute(update(alert_groups).where(alert_groups.c.key == key).values(**kept, **told))
            made = _group(connection, key)
        assert made is not None, "it was just written"
        return made

    def get(self, key: str) -> AlertGroup:
        """One group.

        Raises:
            KeyError: there is none of that key.
        """
        with self.read() as connection:
            found = _group(connection, key)
        if found is None:
            raise KeyError(key)
        return found


def _group(connection: Connection, key: str) -> AlertGroup | None:
    row = connection.execute(select(alert_groups).where(alert_groups.c.key == key)).one_or_none()
    if row is None:
        return None
    named = columns(row)
    return msgspec.convert({**named, **named["alerts"]}, AlertGroup)
