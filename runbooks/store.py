"""Where executions, approvals, the journal and the audit log live. SQLite by default; every write is one transaction.

No journal, no act: the intent is on disk before anything is done, the outcome after it.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, insert, select, update

from runbooks import audit
from runbooks.approval import Approval, Person
from runbooks.database import Database, from_stored, stored
from runbooks.plan import Plan
from runbooks.situation import Planned
from runbooks.tables import approvals, executions, journal

LEASE = timedelta(seconds=60)


class LostLease(Exception):
    """Somebody else runs the execution now: whoever gets this must stop at once."""


class State(StrEnum):
    """Where an execution stands."""

    WAITING = "waiting"
    APPROVED = "approved"
    RUNNING = "running"
    IN_DOUBT = "in_doubt"
    DONE = "done"
    FAILED = "failed"
    DENIED = "denied"
    VOID = "void"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.DONE, State.FAILED, State.DENIED, State.VOID)


OPEN = tuple(state for state in State if not state.ended)


class Execution(msgspec.Struct, frozen=True):
    """A plan that was asked for, and what became of it."""

    id: str
    plan: Plan
    state: State
    reason: str
    created: datetime
    ended: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    fencing_token: int


class Entry(msgspec.Struct, frozen=True):
    """One journaled act: intended, and (unless the process died in between) with its outcome.

    `said` of an act that is done is what its verification came to; None: it has not been verified.
    """

    step: str
    attempt: int
    act: Planned
    intended: datetime
    outcome: str | None
    said: str | None


class Lease(msgspec.Struct, frozen=True):
    """The right to run an execution: the token goes into every write."""

    execution: str
    owner: str
    token: int


def _time(text: str | None) -> datetime | None:
    return from_stored(text) if text else None


class Store(Database):
    """The engine's store. All methods block: call them in threads."""

    def record(self, event: str, person: str, execution: str, detail: Mapping[str, Any]) -> None:
        """Write an audit row by itself: refusals, which change nothing else."""
        with self.write() as connection:
            audit.append(connection, stored(self.now()), event, person, execution, detail)

    def create(self, plan: Plan) -> Execution:
        """Keep a plan that was asked for, waiting for what its risk demands."""
        made = f"ex-{secrets.token_hex(4)}"
        with self.write() as connection:
            connection.execute(
                insert(executions).values(
                    id=made, cluster=plan.cluster, runbook=plan.runbook, version=plan.version,
                    plan=msgspec.to_builtins(plan), plan_hash=plan.hash, requester=plan.requester, state=State.WAITING,
                    reason="", created=stored(self.now()), fencing_token=0,
                )
            )  # fmt: skip
            detail = {"plan": plan.hash, "runbook": f"{plan.runbook}@{plan.version}", "params": plan.params,
                      "risk": plan.risk, "acts": [act.says for act in plan.acts], "basis": plan.basis}  # fmt: skip
            audit.append(connection, stored(self.now()), "requested", plan.requester, made, detail)
        return self.get(made)

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

    def move(
        self, execution: str, to: State, person: str, reason: str = "", *, lease: Lease | None = None,
        only_from: Sequence[State] = OPEN, event: str | None = None,
    ) -> None:  # fmt: skip
        """Put an execution into another state, if it is in one of `only_from` now. Those that ended stay as they are.

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
                    state=to, reason=reason, ended=now if to.ended else None,
                    **({"lease_owner": None, "lease_until": None} if to is not State.RUNNING else {}),
                ).returning(executions.c.id)
            ).one_or_none()  # fmt: skip
            if changed is None:
                raise LostLease(f"{execution} has gone on or ended meanwhile, or is run by somebody else")
            audit.append(connection, now, event or to, person, execution, {"state": to, "reason": reason})

    def take(
        self, execution: str, owner: str, person: str = "", *, gone: Callable[[str], bool] = lambda _: False
    ) -> Lease:
        """Take the right to run an execution for a person: nobody else's lease may hold. `gone` tells of a dead owner.

        Raises:
            LostLease: somebody else runs it, or it has ended.
        """
        held = self.get(execution)
        now = self.now()
        free = held.lease_owner is None or (held.lease_until and held.lease_until < now) or gone(held.lease_owner)
        if held.state.ended or not free:
            raise LostLease(
                f"{execution} is run by {held.lease_owner}" if held.lease_owner else f"{execution} has ended"
            )
        with self.write() as connection:
            taken = connection.execute(
                update(executions)
                .where(
                    executions.c.id == execution, executions.c.fencing_token == held.fencing_token,
                    executions.c.state == held.state,
                )
                .values(
                    lease_owner=owner, lease_until=stored(now + LEASE), fencing_token=held.fencing_token + 1,
                    state=State.RUNNING,
                ).returning(executions.c.fencing_token)
            ).one_or_none()  # fmt: skip
            if taken is None:
                raise LostLease(f"{execution} was taken by somebody else")
            detail = {"owner": owner, "token": taken.fencing_token}
            audit.append(connection, stored(now), "running", person or owner, execution, detail)
        return Lease(execution, owner, taken.fencing_token)

    def renew(self, lease: Lease) -> None:
        """Keep a lease for another minute.

        Raises:
            LostLease: somebody else has it.
        """
        with self.write() as connection:
            _check(connection, lease)
            until = stored(self.now() + LEASE)
            connection.execute(update(executions).where(executions.c.id == lease.execution).values(lease_until=until))

    def interrupted(self, gone: Callable[[str], bool]) -> Sequence[Execution]:
        """Put executions whose runner died into `in_doubt` or back to `approved`, and return them."""
        now = self.now()
        with self.read() as connection:
            found = connection.execute(select(executions).where(executions.c.state == State.RUNNING)).all()
        left = []
        for execution in (_execution(row) for row in found):
            expired = execution.lease_until is None or execution.lease_until < now
            if not expired and not gone(execution.lease_owner or ""):
                continue
            try:
                self.leave(Lease(execution.id, execution.lease_owner or "engine", execution.fencing_token))
            except LostLease:
                continue
            left.append(self.get(execution.id))
        return tuple(left)

    def leave(self, lease: Lease) -> None:
        """Give up a run where it stands: `in_doubt` if an act has no outcome, else back to `approved`.

        Raises:
            LostLease: it is not running under this lease any more.
        """
        open_acts = [entry.step for entry in self.entries(lease.execution) if entry.outcome is None]
        state = State.IN_DOUBT if open_acts else State.APPROVED
        why = f"interrupted after the intent of step {open_acts[0]}" if open_acts else "interrupted between acts"
        self.move(
            lease.execution, state, lease.owner, why, lease=lease, only_from=(State.RUNNING,), event="interrupted"
        )

    def intend(self, lease: Lease, step: str, act: Planned, seen: Sequence[Mapping[str, Any]]) -> Entry:
        """Write down that an act is about to be done, and what the guards said, before it is done.

        Raises:
            LostLease: somebody else runs the execution.
        """
        with self.write() as connection:
            _check(connection, lease)
            before = list(_entries(connection, lease.execution))
            attempt = 1 + sum(1 for entry in before if entry.step == step)
            # The journal is read in the order of these times, also where the clock stood still or was set back.
            when = max([self.now(), *(entry.intended + timedelta(microseconds=1) for entry in before)])
            now = stored(when)
            connection.execute(
                insert(journal).values(
                    execution=lease.execution, step=step, attempt=attempt, act=msgspec.to_builtins(act),
                    fencing_token=lease.token, intended=now,
                )
            )  # fmt: skip
            detail = {"step": step, "attempt": attempt, "act": msgspec.to_builtins(act), "guards": list(seen)}
            audit.append(connection, now, "intent", lease.owner, lease.execution, detail)
        return Entry(step, attempt, act, when, None, None)

    def conclude(self, lease: Lease, entry: Entry, outcome: str, said: str | None) -> None:
        """Write down what became of an act. One that is `done` says nothing yet: what it brought is verified next.

        Raises:
            LostLease: somebody else runs the execution.
        """
        with self.write() as connection:
            _check(connection, lease)
            now = stored(self.now())
            connection.execute(
                update(journal)
                .where(
                    journal.c.execution == lease.execution, journal.c.step == entry.step,
                    journal.c.attempt == entry.attempt,
                ).values(outcome=outcome, said=said, ended=now)
            )  # fmt: skip
            detail = {"step": entry.step, "attempt": entry.attempt, "outcome": outcome, "said": said}
            audit.append(connection, now, "outcome", lease.owner, lease.execution, detail)

    def verified(self, lease: Lease, entry: Entry, said: str, *, holds: bool) -> None:
        """Write down what the verification of an act that was done came to.

        Raises:
            LostLease: somebody else runs the execution.
        """
        with self.write() as connection:
            _check(connection, lease)
            connection.execute(
                update(journal)
                .where(
                    journal.c.execution == lease.execution, journal.c.step == entry.step,
                    journal.c.attempt == entry.attempt,
                ).values(said=said)
            )  # fmt: skip
            detail = {"step": entry.step, "attempt": entry.attempt, "said": said}
            event = "verified" if holds else "not verified"
            audit.append(connection, stored(self.now()), event, lease.owner, lease.execution, detail)

    def entries(self, execution: str) -> tuple[Entry, ...]:
        """The journal of an execution, in order."""
        with self.read() as connection:
            return tuple(_entries(connection, execution))

    def audit_rows(self) -> tuple[audit.Row, ...]:
        """The audit log."""
        with self.read() as connection:
            return tuple(audit.rows(connection))

    def audit_fault(self) -> str | None:
        """The first place where the audit log was changed; None where it is whole."""
        with self.read() as connection:
            return audit.first_bad(connection)


def _check(connection: Connection, lease: Lease) -> None:
    """Let nobody write who does not run the execution now: a lease that was given up has the same token still."""
    held = connection.execute(
        select(executions.c.fencing_token, executions.c.state).where(executions.c.id == lease.execution)
    ).one()
    if held.fencing_token != lease.token or held.state != State.RUNNING:
        raise LostLease(f"{lease.execution} is not run under this lease any more: it is {held.state}")


def _entries(connection: Connection, execution: str) -> Iterator[Entry]:
    order = (journal.c.intended, journal.c.attempt)
    for row in connection.execute(select(journal).where(journal.c.execution == execution).order_by(*order)):
        act = msgspec.convert(row.act, Planned)
        yield Entry(row.step, row.attempt, act, datetime.fromisoformat(row.intended), row.outcome, row.said)


def _execution(row: Any) -> Execution:
    return Execution(
        row.id, msgspec.convert(row.plan, Plan), State(row.state), row.reason, datetime.fromisoformat(row.created),
        _time(row.ended), row.lease_owner, _time(row.lease_until), row.fencing_token,
    )  # fmt: skip
