"""Keeps which signed requests and events were taken lately, so that none is taken twice, by whichever replica."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects import postgresql, sqlite

from bot.store.tables import signatures
from runbooks.database import Database, stored

# Slack's requests are good for five minutes after their time stamp, and that may be five minutes ahead of ours:
# https://docs.slack.dev/authentication/verifying-requests-from-slack
KEPT = timedelta(minutes=11)
_TOGETHER = 500  # rows of one statement
_INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Signatures(Database):
    """The signatures of requests that were verified, and names of events. Methods block: call them in threads."""

    def take(self, signature: str) -> bool:
        """Whether nobody has taken a request of that signature before; it is taken now.

        Raises:
            StoreError: the database cannot be written, and so the request must not be taken.
        """
        return signature in self.take_all([signature])

    def take_all(self, those: Sequence[str]) -> frozenset[str]:
        """Which of several nobody has taken before; all of them are taken now, in one transaction.

        Raises:
            StoreError: the database cannot be written, and so none of them must be taken.
        """
        now = self.now()
        insert = _INSERT[self.engine.dialect.name]
        rows = [{"signature": each, "at": stored(now)} for each in dict.fromkeys(those)]
        fresh: set[str] = set()
        with self.write() as connection:
            connection.execute(delete(signatures).where(signatures.c.at < stored(now - KEPT)))
            for first in range(0, len(rows), _TOGETHER):
                taking = insert(signatures).values(rows[first : first + _TOGETHER]).on_conflict_do_nothing()
                fresh.update(connection.execute(taking.returning(signatures.c.signature)).scalars())
        return frozenset(fresh)
