"""Where executions, approvals, the journal and the audit log live. SQLite by default; every write is one transaction.

No journal, no act: the intent is on disk before anything is done, the outcome after it.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from runbooks import audit
from runbooks.approval import Approval, Person
from runbooks.database import from_stored, stored
from runbooks.execution import (
    NOT_BEGUN,
    OPEN,
    AlreadyOpen,
    Entry,
    Execution,
    Lease,
    LostLease,
    State,
)
from runbooks.governance import Governance, hold, let_go
from runbooks.journal import Journal, entries_of, insist
from runbooks.plan import Plan, open_key
from runbooks.tables import approvals, executions, journal

LEASE = timedelta(seconds=60)


def _time(text: str | None) -> datetime | None:
    return from_stored(text) if text else None


class Store(Journal, Governance):
    """The engine's store. All methods block: call them in threads."""

    def record(self, event: str, person: str, execution: str, detail: Mapping[str, Any]) -> None:
        """Write an audit row by itself: refusals, which change nothing else."""
        with self.write() as connection:
            audit.append(connection, stored(self.now()), event, person, execution, detail)

    def create(self, plan: Plan, also: Callable[[Connection, Execution], None] | None = None) -> Execution:
        """Keep a plan that was asked for, waiting for what its risk demands.

        `also` is done in the same transaction; what it raises undoes everything.

        Raises:
            AlreadyOpen: another execution that has not ended does the same. One that expired before it began is voided.
        """
        made, now, key = f"ex-{secrets.token_hex(4)}", self.now(), open_key(plan)
        with self.write() as connection:
            _void_expired(connection, now, executions.c.open_key == key)
            _insist_on_none(connection, key)
            try:
                with connection.begin_nested():  # two transactions at once may both have seen none
                    connection.execute(
                        insert(executions).values(
                            id=made, cluster=plan.cluster, runbook=plan.runbook, version=plan.version,
                            plan=msgspec.to_builtins(plan), plan_hash=plan.hash, requester=plan.requester,
                            state=State.WAITING, reason="", created=stored(now), fencing_token=0, open_key=key,
                        )
                    )  # fmt: skip
            except IntegrityError:
                _insist_on_none(connection, key)
                raise
            detail = {"plan": plan.hash, "runbook": f"{plan.runbook}@{plan.version}", "params": plan.params,
                      "risk": plan.risk, "acts": [act.says for act in plan.acts], "basis": plan.basis}  # fmt: skip
            audit.append(connection, stored(now), "requested", plan.requester, made, detail)
            execution = _execution(connection.execute(select(executions).where(executions.c.id == made)).one())
            if also is not None:
                also(connection, execution)
        return execution

    def expire(self, now: datetime) -> tuple[str, ...]:
        """Void every execution that its plan's time ran out for before it began to act, and return their ids."""
        with self.read() as connection:
            if not _expired(connection, now):
                return ()
        with self.write() as connection:
            return _void_expired(connection, now)

    def get(self, execution: str) -> Execution:
        """One execution.

        Raises:
            KeyError: there is none of that id.
        """
        with self.read() as connection:
            row = connection.execute(select(executions).where(executions.c.id == execution)).one_or_none()
        if row is None:
            raise KeyError(execution)
        return _execution(row)

    def history(self, limit: int = 50) -> Sequence[Execution]:
        """The newest executions, newest first."""
        with self.read() as connection:
            found = connection.execute(select(executions).order_by(executions.c.created.desc()).limit(limit)).all()
        return tuple(_execution(row) for row in found)

    def approvals(self, execution: str) -> tuple[Approval, ...]:
        """The approvals that an execution has."""
        with self.read() as connection:
            found = connection.execute(select(approvals).where(approvals.c.execution == execution)).all()
        return tuple(
            Approval(
                Person(r.person, frozenset(r.roles), frozenset(r.namespaces)), r.plan_hash, r.confirmed,
                datetime.fromisoformat(r.at),
            ) for r in found
        )  # fmt: skip

    def approve(self, execution: str, approval: Approval) -> None:
        """Keep an approval. The same person's second one changes nothing."""
        with self.write() as connection:
            person = approval.person
            held = connection.execute(
                select(approvals.c.person).where(
                    and_(approvals.c.execution == execution, approvals.c.person == person.id)
                )
            ).one_or_none()
            if held is not None:
                return
            connection.execute(
                insert(approvals).values(
                    execution=execution, person=person.id, roles=sorted(person.roles),
                    namespaces=sorted(person.namespaces), plan_hash=approval.plan_hash, confirmed=approval.confirmed,
                    at=stored(approval.at),
                )
            )  # fmt: skip
            detail = {"plan": approval.plan_hash, "confirmed": approval.confirmed}
            audit.append(connection, stored(self.now()), "approved", person.id, execution, detail)

    def withdraw(self, execution: str, ids: frozenset[str], person: str) -> bool:
        """Take a person's approval back; False where there is none of any of their ids."""
        with self.write() as connection:
            mine = and_(approvals.c.execution == execution, approvals.c.person.in_(ids))
            if not connection.execute(delete(approvals).where(mine).returning(approvals.c.person)).all():
                return False
            audit.append(connection, stored(self.now()), "approval withdrawn", person, execution, {})
        return True

    def move(
        self, execution: str, to: State, person: str, reason: str = "", *, lease: Lease | None = None,
        only_from: Sequence[State] = OPEN, event: str | None = None, asking: str | None = None,
    ) -> None:  # fmt: skip
        """Put an execution into another state, if it is in one of `only_from` now. Those that ended stay as they are.

        `asking` is the step that waits for a person's word, where one does.

        Raises:
            LostLease: it is in another state by now, or (with a lease) somebody else runs it.
        """
        with self.write() as connection:
            holds = [executions.c.id == execution, executions.c.state.in_([s for s in only_from if not s.ended])]
            if lease is not None:
                holds.append(executions.c.fencing_token == lease.token)
            now = stored(self.now())
            changed = connection.execute(
                update(executions).where(*holds).values(
                    state=to, reason=reason, asking=asking, wanted=None, ended=now if to.ended else None,
                    **({"open_key": None} if to.ended else {}),
                    **({"lease_owner": None, "lease_until": None} if to is not State.RUNNING else {}),
                ).returning(executions.c.id)
            ).one_or_none()  # fmt: skip
            if changed is None:
                raise LostLease(f"{execution} has gone on or ended meanwhile, or is run by somebody else")
            if to.ended:
                let_go(connection, execution)
            audit.append(connection, now, event or to, person, execution, {"state": to, "reason": reason})

    def take(
        self, execution: str, owner: str, person: str = "", *, gone: Callable[[str], bool] = lambda _: False
    ) -> Lease:
        """Take the right to run an execution for a person, and all that it works on. `gone` tells of a dead owner.

        Raises:
            LostLease: somebody else runs it, it has ended, or another execution works on one of its targets.
        """
        with self.write() as connection:
            held = _execution(
                connection.execute(select(executions).where(executions.c.id == execution).with_for_update()).one()
            )
            if held.state.ended:
                raise LostLease(f"{execution} has ended: it is {held.state}")
            if not _is_free(held, self.now(), gone):
                raise LostLease(f"{execution} runs already")
            hold(connection, execution, held.plan)
            token = held.fencing_token + 1
            connection.execute(
                update(executions).where(executions.c.id == execution).values(
                    lease_owner=owner, lease_until=stored(self.now() + LEASE), fencing_token=token,
                    state=State.RUNNING, wanted=None, asking=None,
                )
            )  # fmt: skip
            detail = {"owner": owner, "token": token}
            audit.append(connection, stored(self.now()), "running", person or owner, execution, detail)
        return Lease(execution, owner, token)

    def want(self, execution: str, what: str, person: str) -> None:
        """Tell the process that runs an execution that a person wants it to `pause` or `cancel` after the act under way.

        Raises:
            LostLease: nobody runs it.
        """
        with self.write() as connection:
            changed = connection.execute(
                update(executions)
                .where(executions.c.id == execution, executions.c.state == State.RUNNING)
                .values(wanted=what)
                .returning(executions.c.id)
            ).one_or_none()
            if changed is None:
                raise LostLease(f"{execution} is not running")
            audit.append(connection, stored(self.now()), f"{what} asked for", person, execution, {})

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
        for execution in (_execution(row) for row in found):
            if not _is_free(execution, self.now(), gone):
                continue
            lease = Lease(execution.id, execution.lease_owner or "engine", execution.fencing_token)
            try:
                self.leave(lease, gone=gone)
            except LostLease:
                continue
            left.append(self.get(execution.id))
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
            if gone is not None and not _is_free(_execution(row), self.now(), gone):
                raise LostLease(f"{lease.execution} is run by somebody who is alive")
            open_acts = [entry.step for entry in entries_of(connection, lease.execution) if entry.outcome is None]
            state = State.IN_DOUBT if open_acts else State.APPROVED
            why = f"interrupted after the intent of step {open_acts[0]}" if open_acts else "interrupted between acts"
            connection.execute(
                update(executions)
                .where(executions.c.id == lease.execution)
                .values(state=state, reason=why, wanted=None, lease_owner=None, lease_until=None)
            )
            if state is State.APPROVED:  # nothing of it is under way: whoever is first goes on
                let_go(connection, lease.execution)
            detail = {"state": state, "reason": why}
            audit.append(connection, stored(self.now()), "interrupted", lease.owner, lease.execution, detail)

    def audit_rows(self) -> tuple[audit.Row, ...]:
        """The audit log."""
        with self.read() as connection:
            return tuple(audit.rows(connection))

    def audit_fault(self) -> str | None:
        """The first place where the audit log was changed; None where it is whole."""
        with self.read() as connection:
            return audit.first_bad(connection)


def _is_free(held: Execution, now: datetime, gone: Callable[[str], bool]) -> bool:
    """Whether nobody runs an execution any more: its lease has run out, or its owner has died."""
    if held.lease_owner is None:
        return True
    return held.lease_until is None or held.lease_until < now or gone(held.lease_owner)


def _expired(connection: Connection, now: datetime, *which: ColumnElement[bool]) -> list[tuple[Execution, str]]:
    """Executions that were not begun before their plan expired, each with the reason in words."""
    begun = select(journal.c.execution).where(journal.c.execution == executions.c.id).exists()
    states = (*NOT_BEGUN, State.ASKING, State.PAUSED)
    waits = (executions.c.state.in_(states), executions.c.lease_owner.is_(None), ~begun)
    found = [_execution(row) for row in connection.execute(select(executions).where(*waits, *which))]
    return [(e, f"it expired at {e.plan.expires:%H:%M:%S} UTC") for e in found if now >= e.plan.expires]


def _void_expired(connection: Connection, now: datetime, *which: ColumnElement[bool]) -> tuple[str, ...]:
    ended = []
    for execution, reason in _expired(connection, now, *which):
        changed = connection.execute(
            update(executions)
            .where(executions.c.id == execution.id, executions.c.state == execution.state)
            .values(state=State.VOID, reason=reason, ended=stored(now), open_key=None)
            .returning(executions.c.id)
        ).one_or_none()
        if changed is not None:
            let_go(connection, execution.id)
            detail = {"state": State.VOID, "reason": reason}
            audit.append(connection, stored(now), State.VOID, "engine", execution.id, detail)
            ended.append(execution.id)
    return tuple(ended)


def _insist_on_none(connection: Connection, key: str) -> None:
    """Let nobody ask for what another open execution does.

    Raises:
        AlreadyOpen: there is one.
    """
    query = select(executions.c.id, executions.c.state).where(executions.c.open_key == key)
    if other := connection.execute(query).one_or_none():
        raise AlreadyOpen(other.id, State(other.state))


def _execution(row: Any) -> Execution:
    return Execution(
        row.id, msgspec.convert(row.plan, Plan), State(row.state), row.reason, datetime.fromisoformat(row.created),
        _time(row.ended), row.lease_owner, _time(row.lease_until), row.fencing_token, row.wanted, row.asking,
    )  # fmt: skip


__all__ = ["LEASE", "OPEN", "AlreadyOpen", "Entry", "Execution", "Lease", "LostLease", "State", "Store"]
