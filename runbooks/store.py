"""Where executions, approvals, the journal and the audit log live. SQLite by default; every write is one transaction.

No journal, no act: the intent is on disk before anything is done, the outcome after it.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from runbooks import audit
from runbooks.approval import Approval, Person, counts_at
from runbooks.database import stored
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
from runbooks.governance import Governance, let_go
from runbooks.journal import statements_of
from runbooks.leases import LEASE, Leases, execution_of
from runbooks.plan import Plan, open_key
from runbooks.tables import approvals, executions, journal


class Store(Leases, Governance):
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
                      "risk": plan.risk, "acts": [act.says for act in plan.acts], "basis": plan.basis,
                      "guards": plan.verdicts}  # fmt: skip
            audit.append(connection, stored(now), "requested", plan.requester, made, detail)
            execution = execution_of(connection.execute(select(executions).where(executions.c.id == made)).one())
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
        return execution_of(row)

    def history(self, limit: int = 50) -> Sequence[Execution]:
        """The newest executions, newest first."""
        with self.read() as connection:
            found = connection.execute(select(executions).order_by(executions.c.created.desc()).limit(limit)).all()
        return tuple(execution_of(row) for row in found)

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

    def approve(self, execution: str, approval: Approval, guards: Mapping[str, str] | None = None) -> None:
        """Keep an approval, with what the guards said to it. The same person's second one changes nothing.

        Raises:
            LostLease: the execution does not wait for approval any more.
        """
        with self.write() as connection:
            person = approval.person
            state = connection.scalar(select(executions.c.state).where(executions.c.id == execution).with_for_update())
            if state != State.WAITING:
                raise LostLease(f"{execution} is {state} by now: there is nothing to approve")
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
            detail = {"plan": approval.plan_hash, "confirmed": approval.confirmed, "guards": dict(guards or {})}
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
            wanted = connection.execute(
                select(executions.c.wanted, executions.c.reason).where(executions.c.id == execution)
            ).one_or_none()
            said = wanted.reason if lease is not None and wanted is not None and wanted.wanted == "cancel" else None
            if said is not None and not to.ended and to is not State.IN_DOUBT:  # nobody has heeded it yet
                to, reason, asking = State.CANCELLED, said, None
            changed = connection.execute(
                update(executions).where(*holds).values(
                    state=to, reason=reason, asking=asking,
                    wanted="cancel" if said is not None and to is State.IN_DOUBT else None, ended=now if to.ended else None,
                    **({"open_key": None} if to.ended else {}),
                    **({"lease_owner": None, "lease_until": None} if to is not State.RUNNING else {}),
                ).returning(executions.c.id)
            ).one_or_none()  # fmt: skip
            if changed is None:
                raise LostLease(f"{execution} has gone on or ended meanwhile, or is run by somebody else")
            if to.ended:
                let_go(connection, execution)
            audit.append(connection, now, event or to, person, execution, {"state": to, "reason": reason})

    def audit_rows(self) -> tuple[audit.Row, ...]:
        """The audit log."""
        with self.read() as connection:
            return tuple(audit.rows(connection))

    def audit_fault(self) -> str | None:
        """The first place where the audit log was changed; None where it is whole."""
        with self.read() as connection:
            return audit.first_bad(connection)


def _expired(connection: Connection, now: datetime, *which: ColumnElement[bool]) -> list[tuple[Execution, str]]:
    """Executions that were not begun before their plan expired, each with the reason in words."""
    begun = select(journal.c.execution).where(journal.c.execution == executions.c.id).exists()
    states = (*NOT_BEGUN, State.ASKING, State.PAUSED)
    waits = (executions.c.state.in_(states), executions.c.lease_owner.is_(None), ~begun)
    found = [execution_of(row) for row in connection.execute(select(executions).where(*waits, *which))]
    late = [e for e in found if now >= e.plan.expires and not _kept_alive(connection, e, now)]
    return [(e, f"it expired at {e.plan.expires:%H:%M:%S} UTC") for e in late]


def _kept_alive(connection: Connection, execution: Execution, now: datetime) -> bool:
    """Whether a person's fresh word keeps an execution alive whose plan has expired."""
    words = statements_of(connection, execution.id)
    return bool(words) and counts_at(execution.plan, words, now) < execution.plan.expires


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


__all__ = ["LEASE", "OPEN", "AlreadyOpen", "Entry", "Execution", "Lease", "LostLease", "State", "Store"]
