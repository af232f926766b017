"""The audit log: append-only, every row chained to the one before by its hash, so that any edit shows.

It names who asked, who approved, what was seen and what was done. Nothing secret ever enters it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from runbooks.tables import audit, audit_head

FIRST = "0" * 64


class Row(msgspec.Struct, frozen=True):
    """One row of the log."""

    seq: int
    at: str
    event: str
    person: str
    execution: str
    detail: str
    previous: str
    hash: str

    def expected(self) -> str:
        """The hash that the row's content and its predecessor make."""
        return _hash(self.previous, self.seq, self.at, self.event, self.person, self.execution, self.detail)


def _hash(previous: str, *content: object) -> str:
    return hashlib.sha256(json.dumps([previous, *content], ensure_ascii=True).encode()).hexdigest()


def append(connection: Connection, at: str, event: str, person: str, execution: str, detail: Mapping[str, Any]) -> None:
    """Append a row within the caller's transaction, so that what happened and its record stand or fall together."""
    # Locked to the end of the transaction, so that two replicas never follow the same row.
    head = connection.execute(select(audit_head.c.seq, audit_head.c.hash).with_for_update()).one_or_none()
    seq, previous = (head.seq + 1, head.hash) if head else (1, FIRST)
    text = json.dumps(detail, ensure_ascii=False, sort_keys=True)
    made = _hash(previous, seq, at, event, person, execution, text)
    connection.execute(
        insert(audit).values(
            seq=seq, at=at, event=event, person=person, execution=execution, detail=text, previous=previous, hash=made
        )
    )
    if head:
        connection.execute(update(audit_head).values(seq=seq, hash=made))
    else:
        connection.execute(insert(audit_head).values(one=1, seq=seq, hash=made))


def rows(connection: Connection) -> Iterator[Row]:
    """All rows in order."""
    for row in connection.execute(select(audit).order_by(audit.c.seq)):
        yield Row(*row)


def first_bad(connection: Connection) -> str | None:
    """The first place where the log was changed, in a sentence; None where it is whole."""
    previous, seq = FIRST, 0
    for row in rows(connection):
        seq += 1
        if row.seq != seq:
            return f"row {seq} is missing: the next one is {row.seq}"
        if row.previous != previous:
            return f"row {row.seq} does not follow row {seq - 1}: a row was changed, removed or put in"
        if row.expected() != row.hash:
            return f"row {row.seq} was changed: {row.event} by {row.person} at {row.at}"
        previous = row.hash
    head = connection.execute(select(audit_head.c.seq, audit_head.c.hash)).one_or_none()
    ended = (head.seq, head.hash) if head else (0, FIRST)
    if ended[0] < seq:
        return f"row {ended[0] + 1} was put in: row {ended[0]} was written last"
    if ended[0] == seq:
        return None if ended[1] == previous else f"row {seq} was changed together with its hash"
    return f"the log ends at row {seq}, but row {ended[0]} was written last: rows were removed at the end"
