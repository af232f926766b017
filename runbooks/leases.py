"""The right to run an execution: taken by one process at a time, renewed while it runs, given up, or taken from a dead one.

A lease's fencing token goes into every write, so that whoever lost it cannot write any more.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select, update

from runbooks import audit
from runbooks.database import from_stored, stored
from runbooks.execution import Execution, Lease, LostLease, State
from runbooks.governance import hold, let_go
from runbooks.journal import Journal, entries_of, insist
from runbooks.plan import Plan
from runbooks.tables import executions

LEASE = timedelta(seconds=60)


class Leases(Journal):
    """Who runs what. All methods block: call them in threads."""

    def take(
        self, execution: str, owner: str, person: str = "", *, gone: Callable[[str], bool] = lambda _: False,
        seen: State | None = None,
    ) -> Lease:  # fmt: skip
        """Take the right to run an execution for a person, and all that it works on. `gone` tells of a dead owner.

        `seen` is the state that was judged: in another one by now, it must be judged anew.

        Raises:
            LostLease: somebody else runs it, it has ended, or another execution works on one of its targets.
        """
        with self.write() as connection:
            held = execution_of(
                connection.execute(select(executions).where(executions.c.id == execution).with_for_update()).one()
            )
            if held.state.ended:
                raise LostLease(f"{execution} has ended: it is {held.state}")
            if not _is_free(held, self.now(), gone):
                raise LostLease(f"{execution} runs already")
            if seen is not None and held.state is not seen:
                raise LostLease(f"{execution} was {seen} and is {held.state} by now")
            hold(connection, execution, held.plan)
            token = held.fencing_token + 1
            connection.execute(
                update(executions).where(executions.c.id == execution).values(
                    lease_owner=owner, lease_until=stored(self.now() + LEASE), fencing_token=token,
                    state=State.RUNNING, wanted=held.wanted if held.state is State.IN_DOUBT else None, asking=None,
                )
            )  # fmt: skip
            detail = {"owner": owner, "token": token}
            audit.append(connection, stored(self.now()), "running", person or owner, execution, detail)
        return Lease(execution, owner, token)

    def want(self, execution: str, what: str, person: str, why: str = "") -> None:
        """Tell the process that runs an execution that a person wants it to `pause` or `cancel` after the act under way.

        Raises:
            LostLease: nobody runs it.
        """
        with self.write() as connection:
            changed = connection.execute(
                update(executions)
                .where(executions.c.id == execution, executions.c.state == State.RUNNING)
                .values(wanted=what, reason=f"{what} asked for by {person}" + (f": {why}" if why else ""))
                .returning(executions.c.id)
            ).one_or_none()
            if changed is None:
                raise LostLease(f"{execution} is not running")
            audit.append(connection, stored(self.now()), f"{what} asked for", person, execution, {"why": why})

    def renew(self, lease: Lease) -> None:
        """Keep a lease for another minute.

        Raises:
            LostLease: somebody else has it.
        """
        with self.write() as connection:
            insist(connection, lease)
            until = stored(self.now() + LEASE)
            connection.execute(update(executions).where(executions.c.id == lease.execution).values(lease_until=until))

    def interrupted(self, gone: Callable[[str], bool]) -> Sequence[Execution]:
        """Put executions whose runner died into `in_doubt` or back to `approved`, and return them."""
        with self.read() as connection:
            found = connection.execute(select(executions).where(executions.c.state == State.RUNNING)).all()
        left = []
        for execution in (execution_of(row) for row in found):
            if not _is_free(execution, self.now(), gone):
                continue
            lease = Lease(execution.id, execution.lease_owner or "engine", execution.fencing_token)
            try:
                self.leave(lease, gone=gone)
            except LostLease:
                continue
            with self.read() as connection:
                row = connection.execute(select(executions).where(executions.c.id == execution.id)).one()
            left.append(execution_of(row))
        return tuple(left)

    def leave(self, lease: Lease, gone: Callable[[str], bool] | None = None) -> None:
        """Give up a run where it stands: `in_doubt` if an act has no outcome, else back to `approved`.

        With `gone` it is somebody else's, and only given up if that one has died or lost its lease.

        Raises:
            LostLease: it is not running under this lease any more.
        """
        with self.write() as connection:
            insist(connection, lease)
            row = connection.execute(select(executions).where(executions.c.id == lease.execution)).one()
            if gone is not None and not _is_free(execution_of(row), self.now(), gone):
                raise LostLease(f"{lease.execution} is run by somebody who is alive")
            state, why = _left(row, [e.step for e in entries_of(connection, lease.execution) if e.outcome is None])
            kept = row.wanted if state is State.IN_DOUBT else None  # heeded once it is known what became of the act
            ended = {"ended": stored(self.now()), "open_key": None} if state.ended else {}
            connection.execute(
                update(executions)
                .where(executions.c.id == lease.execution)
                .values(state=state, reason=why, wanted=kept, lease_owner=None, lease_until=None, **ended)
            )
            if state in (State.APPROVED, State.CANCELLED):  # nothing of it is under way: whoever is first goes on
                let_go(connection, lease.execution)
            detail = {"state": state, "reason": why}
            audit.append(connection, stored(self.now()), "interrupted", lease.owner, lease.execution, detail)


def _is_free(held: Execution, now: datetime, gone: Callable[[str], bool]) -> bool:
    """Whether nobody runs an execution any more: its lease has run out, or its owner has died."""
    if held.lease_owner is None:
        return True
    return held.lease_until is None or held.lease_until < now or gone(held.lease_owner)


def _left(row: Any, open_acts: Sequence[str]) -> tuple[State, str]:
    """Where a run that was given up stands. What a person wanted of it holds, whoever was to heed that."""
    if open_acts:
        return State.IN_DOUBT, f"interrupted after the intent of step {open_acts[0]}"
    if row.wanted == "cancel":
        return State.CANCELLED, row.reason
    if row.wanted == "pause":
        return State.PAUSED, row.reason
    return State.APPROVED, "interrupted between acts"


def _time(text: str | None) -> datetime | None:
    return from_stored(text) if text else None


def execution_of(row: Any) -> Execution:
    """An execution as its row keeps it."""
    return Execution(
        row.id, msgspec.convert(row.plan, Plan), State(row.state), row.reason, datetime.fromisoformat(row.created),
        _time(row.ended), row.lease_owner, _time(row.lease_until), row.fencing_token, row.wanted, row.asking,
    )  # fmt: skip
