"""Who leads, by a token that grows with every leader: what a leader of before writes is refused, whatever it believes.

A Lease alone does not do that. Its holder may stand still between its last look at the clock and its write; the token is
compared in the transaction of the write itself. The table's `issued` is the highest token that was ever given out, and
`token` the one whose writes are taken.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, Row, insert, select, update

from bot.store.tables import leaders
from runbooks.database import Database

_NAME = "leader"
HIGHEST = 2**31 - 1
"""The highest token that the table's column holds."""


class Deposed(Exception):
    """Somebody else leads, or nobody: one sentence. What was to be written in this transaction is not written."""


@dataclass(frozen=True)
class Leadership:
    """The right to write as the leader: a token, and the replica that it was given to."""

    token: int
    holder: str


class Leaders(Database):
    """Who leads. Methods block: call them in threads."""

    def issue(self, holder: str, above: int = 0) -> Leadership:
        """Give out a token that is higher than all before it and than `above`. It counts once it is active.

        `holder` is the name of one life of a replica (64 characters at most), `above` at most HIGHEST - 1.

        Raises:
            StoreError: the database cannot be written.
        """
        with self.write() as connection:
            row = _row(connection)
            token = max(row.issued if row else 0, above) + 1
            if row is None:
                connection.execute(insert(leaders).values(name=_NAME, issued=token, token=0, holder=""))
            else:
                _set(connection, issued=token)
        return Leadership(token, holder)

    def activate(self, leadership: Leadership) -> None:
        """From now on, writes with this token are taken, and those with any other are not.

        Raises:
            Deposed: a higher one was activated meanwhile, or the database was set back to before it was given out.
            StoreError: the database cannot be written.
        """
        with self.write() as connection:
            row = _row(connection)
            if row is None or row.issued < leadership.token or row.token >= leadership.token:
                raise Deposed(_sentence(leadership, row))
            _set(connection, token=leadership.token, holder=leadership.holder)

    def insist(self, connection: Connection, leadership: Leadership) -> None:
        """See, in the transaction of a leader's write (one of `write`), that it still is the leader.

        Raises:
            Deposed: it is not. The same token is asked for, not one at least as high: after the database was restored from
                a backup, an older leader's would pass for that.
        """
        row = _row(connection)
        if row is None or (row.token, row.holder) != (leadership.token, leadership.holder):
            raise Deposed(_sentence(leadership, row))

    def retire(self, leadership: Leadership) -> None:
        """End it: whatever is still under way in its name is refused, though nobody else leads yet.

        Raises:
            StoreError: the database cannot be written.
        """
        with self.write() as connection:
            row = _row(connection)
            if row is not None and (row.token, row.holder) == (leadership.token, leadership.holder):
                _set(connection, holder="")

    def active(self) -> Leadership | None:
        """Who may write as the leader.

        Raises:
            StoreError: the database cannot be read.
        """
        with self.read() as connection:
            row = _row(connection)
        return Leadership(row.token, row.holder) if row is not None and row.holder else None


def _row(connection: Connection) -> Row[int, int, str] | None:
    asked = select(leaders.c.issued, leaders.c.token, leaders.c.holder).where(leaders.c.name == _NAME)
    return connection.execute(asked).one_or_none()


def _set(connection: Connection, **values: int | str) -> None:
    connection.execute(update(leaders).where(leaders.c.name == _NAME).values(**values))


def _sentence(leadership: Leadership, row: Row[int, int, str] | None) -> str:
    now = f"{row.holder} leads, with token {row.token}" if row is not None and row.holder else "nobody leads"
    return f"{leadership.holder} is not the leader any more (its token was {leadership.token}; by the database {now})."
