"""The journal of executions: the intent before each act, its outcome after it, and what people said of its steps.

No journal, no act. Every write is one transaction together with its row of the audit log.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Update, and_, func, insert, select, update

from diagnostics.model import Subject
from runbooks import audit
from runbooks.database import Database, from_stored, stored
from runbooks.execution import Act, Entry, Lease, LostLease, Said, State, Statement
from runbooks.situation import Planned
from runbooks.tables import executions, journal, statements

_MAKES_PODS = ("ReplicaSet", "StatefulSet", "DaemonSet", "Job")


class Journal(Database):
    """What executions did and what was said of it. All methods block: call them in threads."""

    def intend(
        self, lease: Lease, step: str, act: Planned, seen: Sequence[Mapping[str, Any]],
        insist_still: Callable[[Connection], None] = lambda _: None,
    ) -> Entry:  # fmt: skip
        """Write down that an act is about to be done, and what the guards said, before it is done.

        `insist_still` raises what must keep it from being begun, judged within the transaction: a freeze or another act
        may have come between the guards and this.

        Raises:
            LostLease: somebody else runs the execution.
        """
        with self.write() as connection:
            insist(connection, lease)
            insist_still(connection)
            before = list(entries_of(connection, lease.execution))
            attempt = 1 + sum(1 for entry in before if entry.step == step)
            # The journal is read in the order of these times, also where the clock stood still or was set back.
            when = max([self.now(), *(entry.intended + timedelta(microseconds=1) for entry in before)])
            now = stored(when)
            connection.execute(
                insert(journal).values(
                    execution=lease.execution, step=step, attempt=attempt, action=act.action, act=msgspec.to_builtins(act),
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
            insist(connection, lease)
            now = stored(self.now())
            connection.execute(_at(lease.execution, entry).values(outcome=outcome, said=said, ended=now))
            detail = {"step": entry.step, "attempt": entry.attempt, "outcome": outcome, "said": said}
            audit.append(connection, now, "outcome", lease.owner, lease.execution, detail)

    def verified(self, lease: Lease, entry: Entry, said: str, *, holds: bool) -> None:
        """Write down what the verification of an act that was done came to.

        Raises:
            LostLease: somebody else runs the execution.
        """
        with self.write() as connection:
            insist(connection, lease)
            connection.execute(_at(lease.execution, entry).values(said=said, outcome="done" if holds else "unverified"))
            detail = {"step": entry.step, "attempt": entry.attempt, "said": said}
            event = "verified" if holds else "not verified"
            audit.append(connection, stored(self.now()), event, lease.owner, lease.execution, detail)

    def entries(self, execution: str) -> tuple[Entry, ...]:
        """The journal of an execution, in order."""
        with self.read() as connection:
            return tuple(entries_of(connection, execution))

    def acts_on(self, cluster: str, subjects: Sequence[Subject], since: datetime) -> tuple[Act, ...]:
        """What was begun in a cluster since then that aimed at one of these things, oldest first.

        Names count, as well as UIDs: a StatefulSet's pod has its predecessor's name. A pod that a set among `subjects`
        made counts too, since it was replaced by one of another name.
        """
        query = (
            select(journal, executions.c.runbook, executions.c.version, executions.c.requester)
            .join(executions, executions.c.id == journal.c.execution)
            .where(executions.c.cluster == cluster, journal.c.intended >= stored(since))
            .order_by(journal.c.intended, journal.c.execution, journal.c.attempt)
        )
        with self.read() as connection:
            found = connection.execute(query).all()
        acts = (
            Act(
                r.execution, f"{r.runbook}@{r.version}", r.requester, from_stored(r.intended),
                msgspec.convert(r.act, Planned), r.outcome,
            ) for r in found
        )  # fmt: skip
        return tuple(act for act in acts if any(_is_of(target, subjects) for target in act.act.targets))

    def say(self, execution: str, step: str, kind: Said, person: str, said: str) -> Statement:
        """Keep what a person says of the step that waits for them.

        Raises:
            LostLease: that step does not wait any more.
        """
        with self.write() as connection:
            now = self.now()
            held = connection.execute(
                select(executions.c.state, executions.c.asking).where(executions.c.id == execution).with_for_update()
            ).one()
            if State(held.state) is not State.ASKING or held.asking != step:
                raise LostLease(f"step {step} of {execution} does not wait for anybody's word: it is {held.state}")
            seq = connection.scalar(select(func.count()).where(statements.c.execution == execution)) or 0
            connection.execute(
                insert(statements).values(
                    execution=execution, seq=seq + 1, step=step, kind=kind, person=person, said=said, at=stored(now)
                )
            )
            audit.append(connection, stored(now), kind, person, execution, {"step": step, "said": said})
        return Statement(step, kind, person, said, now)

    def statements(self, execution: str) -> tuple[Statement, ...]:
        """What people said of an execution's steps, in order."""
        with self.read() as connection:
            return statements_of(connection, execution)

    def decide(self, execution: str, outcome: str, person: str, why: str) -> str:
        """Let a person say what became of the act that is in doubt, or whether what it brought holds; return its step.

        Raises:
            LostLease: no act of it is in doubt.
        """
        with self.write() as connection:
            now = stored(self.now())
            state = connection.scalar(select(executions.c.state).where(executions.c.id == execution).with_for_update())
            entries = list(entries_of(connection, execution))
            unverified = [entry for entry in entries[-1:] if entry.outcome == "done" and entry.said is None]
            doubted = [entry for entry in entries if entry.outcome is None] or unverified
            if state != State.IN_DOUBT or not doubted:
                raise LostLease(f"no act of {execution} is in doubt: it is {state}")
            entry = doubted[-1]
            said = f"decided by {person}: {why}"
            connection.execute(_at(execution, entry).values(outcome=outcome, said=said, ended=now))
            detail = {"step": entry.step, "attempt": entry.attempt, "outcome": outcome, "why": why}
            audit.append(connection, now, "decided", person, execution, detail)
        return entry.step


def _is_of(target: Subject, subjects: Sequence[Subject]) -> bool:
    """Whether a target is one of the subjects, or a pod that one of them makes (whose name begins with its maker's)."""
    for each in subjects:
        if str(target) == str(each) or (each.uid and (target.kind, target.uid) == (each.kind, each.uid)):
            return True
        makes = each.kind in _MAKES_PODS and (target.kind, target.namespace) == ("Pod", each.namespace)
        if makes and target.name.startswith(f"{each.name}-"):
            return True
    return False


def statements_of(connection: Connection, execution: str) -> tuple[Statement, ...]:
    """What people said of an execution's steps, in order, within a transaction."""
    found = connection.execute(
        select(statements).where(statements.c.execution == execution).order_by(statements.c.seq)
    ).all()
    return tuple(Statement(r.step, Said(r.kind), r.person, r.said, from_stored(r.at)) for r in found)


def insist(connection: Connection, lease: Lease) -> None:
    """Let nobody write who does not run the execution now: a lease that was given up has the same token still."""
    held = connection.execute(
        select(executions.c.fencing_token, executions.c.state).where(executions.c.id == lease.execution)
    ).one()
    if held.fencing_token != lease.token or held.state != State.RUNNING:
        raise LostLease(f"{lease.execution} is not run under this lease any more: it is {held.state}")


def _at(execution: str, entry: Entry) -> Update:
    """The row of an act."""
    return update(journal).where(
        and_(journal.c.execution == execution, journal.c.step == entry.step, journal.c.attempt == entry.attempt)
    )


def entries_of(connection: Connection, execution: str) -> Iterator[Entry]:
    """The journal of an execution, in order, within a transaction."""
    order = (journal.c.intended, journal.c.attempt)
    for row in connection.execute(select(journal).where(journal.c.execution == execution).order_by(*order)):
        act = msgspec.convert(row.act, Planned)
        yield Entry(row.step, row.attempt, act, datetime.fromisoformat(row.intended), row.outcome, row.said)
