"""The app's home: made from the store when somebody opens it, for that person."""

import asyncio
import logging
from typing import Any

from slack_bolt.async_app import AsyncAck

from bot import access
from bot.reports import HealthReport
from bot.reports.making import ASKED
from bot.slack.blocks import home as blocks
from bot.slack.desk import Desk
from bot.slack.edge.commands import open_incidents
from bot.slack.edge.core import DIALOG, Body, Edge, NotTaken
from bot.slack.errors import BOT_TOKEN, Rejected, SlackUnreachable, TokenRefused, answer_of
from runbooks import approval as approvals
from runbooks.approval import Approval
from runbooks.execution import Execution
from runbooks.execution import State as ExecutionState

_log = logging.getLogger("unstick.slack")


async def opened(edge: Edge, ack: AsyncAck, body: Body) -> None:  # noqa: ARG001 - Bolt acknowledges an event itself
    """Show the home to whoever opened it."""
    event = body.get("event") or {}
    if event.get("tab", "home") == "home" and event.get("user"):
        await publish(edge, str(event["user"]))


async def refresh(edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Show it as it is by now."""
    await ack()
    await publish(edge, body["user"]["id"])


async def publish(edge: Edge, user: str) -> None:
    """Make somebody's home and hand it to Slack, once: whoever wants it newer opens it again."""
    try:
        view = await edge.accepted(asyncio.to_thread(made, edge, user))
    except NotTaken as error:
        view = blocks.failure(str(error))
    try:
        await answer_of(edge.client.views_publish(user_id=user, view=view), BOT_TOKEN, DIALOG)
    except (Rejected, TokenRefused, SlackUnreachable) as error:
        _log.error("the home of %s was not shown: %s", user, error)


def made(edge: Edge, user: str) -> dict[str, Any]:
    """Somebody's home as the store has it. It blocks."""
    desk = edge.desk
    shown, hidden = open_incidents(edge, user, None)
    clusters = [name for name in desk.settings.clusters if desk.person(user, name).roles]
    frozen = [each for name in clusters if (each := desk.state.runbooks.frozen(name)) is not None]
    return blocks.home(
        blocks.Home(
            desk.grant(user), user, shown, hidden, _waiting(desk, user), _reports(desk, user), frozen,
            desk.state.runbooks.now(),
        )
    )  # fmt: skip


def _waiting(desk: Desk, user: str) -> list[tuple[Execution, str | None]]:
    """What this person could approve now, and has not yet."""
    found = []
    for request in desk.state.requests.open():
        execution = desk.state.runbooks.get(request.execution)
        if cannot_approve(desk, execution, user):
            continue
        ids = desk.person(user, execution.plan.cluster).ids
        if not any(each.person.id in ids for each in desk.state.runbooks.approvals(execution.id)):
            found.append((execution, desk.link(desk.state.messages.get(request.message))))
    return sorted(found, key=lambda each: each[0].created)


def cannot_approve(desk: Desk, execution: Execution, user: str) -> tuple[str, ...]:
    """Why somebody could not approve an execution whatever is typed."""
    plan, now = execution.plan, desk.state.runbooks.now()
    approval = Approval(desk.person(user, plan.cluster), plan.hash, plan.confirmation, now)
    waits = execution.state is ExecutionState.WAITING
    ended = () if waits else (f"{execution.id} is {execution.state}: there is nothing to approve",)
    return (*ended, *approvals.may_approve(plan, approval, now))


def _reports(desk: Desk, user: str) -> list[HealthReport]:
    """The last report of each cluster, for whoever may look into all of it."""
    found = []
    for cluster in desk.settings.clusters:
        if access.may_look(desk.person(user, cluster), None):
            continue
        made = (desk.state.reports.last(name, cluster) for name in (ASKED, *desk.settings.schedules))
        known = [each for each in made if each is not None]
        found += [max(known, key=lambda each: each.taken_at)] if known else []
    return found
