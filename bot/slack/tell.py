"""Renders what the store knows of incidents and executions into their messages. The same state makes the same message.

So it does not matter who calls it, how often, or whether a restart came in between.
"""

import asyncio
from collections.abc import Callable

from sqlalchemy import Connection

from bot.incidents import Incident
from bot.slack.blocks import answers
from bot.slack.blocks import incident as incident_blocks
from bot.slack.blocks import plan as plan_blocks
from bot.slack.blocks.plan import Run
from bot.slack.blocks.progress import ran_out
from bot.slack.desk import Desk
from bot.store.messages import Content
from bot.store.requests import Request
from runbooks import approval as approvals
from runbooks.approval import Approval
from runbooks.store import Execution

TRIES = 4
"""How often a message is rendered anew because another replica was first."""


async def tell_incident(desk: Desk, incident: Incident) -> None:
    """Let an incident's message say what is known of it."""

    def as_it_is() -> tuple[int, Content]:
        run = _latest_run(desk, incident.id)
        now = desk.state.incidents.get(incident.id)
        return now.message, incident_blocks.incident(now, run)

    await _tell(desk, (await asyncio.to_thread(desk.state.incidents.get, incident.id)).message, as_it_is)


async def tell_request(desk: Desk, execution_id: str) -> Execution:
    """Let the messages of an execution say how it stands; once its end is told, nothing more will come."""
    request = await asyncio.to_thread(desk.state.requests.get, execution_id)
    if request is None:
        return await asyncio.to_thread(desk.state.runbooks.get, execution_id)
    told: list[Execution] = []

    def as_it_is() -> tuple[int, Content]:
        execution, _, run = _run_of(desk, execution_id)
        told.append(execution)
        return request.message, plan_blocks.request(run, approvers_of(desk, execution))

    await _tell(desk, request.message, as_it_is)
    if request.incident is not None:
        await tell_incident(desk, await asyncio.to_thread(desk.state.incidents.get, request.incident))
    if told[-1].state.ended and not request.closed:
        await asyncio.to_thread(_close, desk, request, told[-1])
    return told[-1]


async def _tell(desk: Desk, message: int, as_it_is: Callable[[], tuple[int, Content]]) -> None:
    """Let a message say how things stand, which `as_it_is` reads; and where that is now.

    Another replica may read and write in between. So the message's version is read first, and where it has changed by
    the time of the edit, all is read anew. Whoever was first twice had read after this began: what it wrote is as new.
    """
    state = desk.state
    async with desk.telling:
        for _ in range(TRIES):
            version = (await asyncio.to_thread(state.messages.get, message)).wanted_version
            where, content = await asyncio.to_thread(as_it_is)
            if where != message:
                message = where  # it has moved meanwhile, and the version is another's
            elif await asyncio.to_thread(state.messages.edit, message, content, version):
                break
    desk.wake()


def _close(desk: Desk, request: Request, execution: Execution) -> None:
    """Note that the end is told. Whoever asked is told by name that it ran out: an edit of a message calls nobody."""
    state = desk.state
    untimely = ran_out(execution) and not state.runbooks.entries(execution.id)
    thread = state.messages.get(request.message).parent or request.message
    content = answers.expired(execution, sorted(desk.person(execution.plan.requester).ids))

    def also(connection: Connection) -> None:
        if untimely:
            state.messages.add_within(connection, request.channel, content, parent=thread)

    if desk.state.requests.close(execution.id, also):
        desk.wake()


def approvers_of(desk: Desk, execution: Execution) -> tuple[str, ...]:
    """Who could approve an execution, by what the configuration says now."""
    plan = execution.plan
    now = desk.state.runbooks.now()
    able = []
    for name in desk.known():
        person = desk.person(name, plan.cluster)
        if not approvals.may_approve(plan, Approval(person, plan.hash, plan.confirmation, now), now):
            able.append(person.id)
    return tuple(able)


def _latest_run(desk: Desk, incident: str) -> Run | None:
    runs = [_run_of(desk, request.execution)[2] for request in desk.state.requests.of_incident(incident)]
    return max(runs, key=lambda run: run.execution.created, default=None)


def _run_of(desk: Desk, execution_id: str) -> tuple[Execution, Request | None, Run]:
    store = desk.state.runbooks
    execution = store.get(execution_id)
    given = approvals.anew(store.approvals(execution_id), lambda who: desk.person(who, execution.plan.cluster))
    decision = approvals.decide(execution.plan, given, store.now(), desk.now().critical_quorum)
    told = desk.state.requests.told(execution_id)
    said = len(store.statements(execution_id))
    return execution, desk.state.requests.get(execution_id), Run(execution, told, given, decision, store.now(), said)
