"""Keeps what was shown and asked for in Slack: plans, executions, and the steps that were told of them."""

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from bot.store.tables import requests, shown_plans, steps
from runbooks.database import Database, columns, stored
from runbooks.events import Say, StepEvent
from runbooks.plan import Plan


class AskedAlready(Exception):
    """A plan was asked for before."""


class ShownPlan(msgspec.Struct, frozen=True):
    """A plan in a message, of an incident or by itself; and the execution, once somebody asked for it."""

    id: str
    incident: str | None
    plan: Plan
    message: int
    channel: str
    execution: str | None = None


class Request(msgspec.Struct, frozen=True):
    """An execution that was asked for in Slack. `closed`: its end has been told, and nothing more will come."""

    execution: str
    incident: str | None
    message: int
    channel: str
    closed: bool


class ToldStep(msgspec.Struct, frozen=True):
    """One thing that a run said of a step, and when."""

    at: datetime
    step: str
    say: Say
    text: str


class Requests(Database):
    """All plans, requests and steps that Slack was told of. Methods block: call them in threads."""

    def show(self, plan: Plan, incident: str | None, message: int, channel: str) -> ShownPlan:
        """Keep a plan that a message shows."""
        made = f"pl-{secrets.token_hex(4)}"
        values = {"id": made, "incident": incident, "message": message, "channel": channel}
        with self.write() as connection:
            connection.execute(insert(shown_plans).values(plan=msgspec.to_builtins(plan), **values))
        return ShownPlan(made, incident, plan, message, channel)

    def replace(self, shown: ShownPlan, plan: Plan) -> ShownPlan:
        """The message shows another plan now."""
        with self.write() as connection:
            connection.execute(
                update(shown_plans).where(shown_plans.c.id == shown.id).values(plan=msgspec.to_builtins(plan))
            )
        return msgspec.structs.replace(shown, plan=plan)

    def shown(self, plan: str) -> ShownPlan:
        """A plan that a message shows.

        Raises:
            KeyError: there is none of that id.
        """
        with self.read() as connection:
            row = connection.execute(select(shown_plans).where(shown_plans.c.id == plan)).one_or_none()
        if row is None:
            raise KeyError(plan)
        return msgspec.convert(columns(row), ShownPlan)

    def asked(self, connection: Connection, shown: ShownPlan, execution: str, message: int) -> None:
        """Within the transaction that makes an execution: it is of this plan, and told of in this message.

        Raises:
            AskedAlready: it was asked for before; one shown plan is one execution.
        """
        claimed = connection.execute(
            update(shown_plans)
            .where(shown_plans.c.id == shown.id, shown_plans.c.execution.is_(None))
            .values(execution=execution)
            .returning(shown_plans.c.id)
        ).one_or_none()
        if claimed is None:
            raise AskedAlready(shown.id)
        made = Request(execution, shown.incident, message, shown.channel, False)
        connection.execute(insert(requests).values(**msgspec.to_builtins(made)))

    def add(self, execution: str, incident: str | None, message: int, channel: str) -> Request:
        """Keep where an execution is told of."""
        made = Request(execution, incident, message, channel, False)
        with self.write() as connection:
            connection.execute(insert(requests).values(**msgspec.to_builtins(made)))
        return made

    def get(self, execution: str) -> Request | None:
        """Where an execution is told of; None where nobody asked for it in Slack."""
        return next(iter(self._where(requests.c.execution == execution)), None)

    def of_incident(self, incident: str) -> tuple[Request, ...]:
        """The requests made in an incident, in no order."""
        return self._where(requests.c.incident == incident)

    def open(self) -> tuple[Request, ...]:
        """The requests whose end has not been told yet."""
        return self._where(requests.c.closed.is_(False))

    def close(self, execution: str, also: Callable[[Connection], None] = lambda _: None) -> bool:
        """Its end has been told. False where that was known before.

        `also` is done in the same transaction, and so once, whoever tells the end first.
        """
        with self.write() as connection:
            closed = connection.execute(
                update(requests).where(requests.c.execution == execution, requests.c.closed.is_(False))
                .values(closed=True).returning(requests.c.execution)
            ).one_or_none()  # fmt: skip
            if closed is not None:
                also(connection)
        return closed is not None

    def tell(self, execution: str, event: StepEvent) -> None:
        """Keep what a run said of a step."""
        with self.write() as connection:
            last = connection.execute(
                select(func.coalesce(func.max(steps.c.seq), 0)).where(steps.c.execution == execution)
            ).scalar_one()
            connection.execute(
                insert(steps).values(
                    execution=execution, seq=last + 1, at=stored(self.now()), step=event.step, say=event.say,
                    text=event.text,
                )
            )  # fmt: skip

    def told(self, execution: str) -> tuple[ToldStep, ...]:
        """What was said of an execution's steps, in order."""
        with self.read() as connection:
            rows = connection.execute(
                select(steps.c.at, steps.c.step, steps.c.say, steps.c.text)
                .where(steps.c.execution == execution)
                .order_by(steps.c.seq)
            )
            return tuple(msgspec.convert(columns(row), ToldStep) for row in rows)

    def _where(self, condition: Any) -> tuple[Request, ...]:
        with self.read() as connection:
            return tuple(
                msgspec.convert(columns(row), Request) for row in connection.execute(select(requests).where(condition))
            )
