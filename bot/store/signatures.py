"""Keeps which signed requests were taken lately, so that none is taken twice, by whichever replica."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects import postgresql, sqlite

from bot.store.tables import signatures
from runbooks.database import Database, stored

# Slack's requests are good for five minutes after their time stamp, and that may be five minutes ahead of ours:
# https://docs.slack.dev/authentication/verifying-requests-from-slack
KEPT = timedelta(minutes=11)
_INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Signatures(Database):
    """The signatures of requests that were verified. Methods block: call them in threads."""

    def take(self, signature: str) -> bool:
        """Whether nobody has taken a request of that signature before; it is taken now.

        Raises:
            StoreError: the database cannot be written, and so the request must not be taken.
        """
        now = self.now()
        insert = _INSERT[self.engine.dialect.name]
        with self.write() as connection:
            connection.execute(delete(signatures).where(signatures.c.at < stored(now - KEPT)))
            row = {"signature": signature, "at": stored(now)}
            taking = insert(signatures).values(row).on_conflict_do_nothing().returning(signatures.c.signature)
            return connection.execute(taking).first() is not None
