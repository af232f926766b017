"""Renders what the store knows of incidents and executions into their messages. The same state makes the same message.

So it does not matter who calls it, how often, or whether a restart came in between.
"""

import asyncio

from sqlalchemy import Connection

from bot.incidents import Incident
from bot.slack.blocks import answers
from bot.slack.blocks import incident as incident_blocks
from bot.slack.blocks import plan as plan_blocks
from bot.slack.blocks.plan import Run
from bot.slack.blocks.progress import ran_out
from bot.slack.desk import Desk
from bot.store.requests import Request
from runbooks import approval as approvals
from runbooks.approval import Approval
from runbooks.store import Execution


async def tell_incident(desk: Desk, incident: Incident) -> None:
    """Let an incident's message say what is known of it."""
    async with desk.telling:
        run = await asyncio.to_thread(_latest_run, desk, incident.id)
        now = await asyncio.to_thread(desk.state.incidents.get, incident.id)
        await desk.edit(now.message, incident_blocks.incident(now, run))


async def tell_request(desk: Desk, execution_id: str) -> Execution:
    """Let the messages of an execution say how it stands; once its end is told, nothing more will come."""
    async with desk.telling:
        execution, request, run = await asyncio.to_thread(_run_of, desk, execution_id)
        if request is not None:
            await desk.edit(request.message, plan_blocks.request(run, approvers_of(desk, execution)))
    if request is not None:
        if request.incident is not None:
            await tell_incident(desk, await asyncio.to_thread(desk.state.incidents.get, request.incident))
        if execution.state.ended and not request.closed:
            await asyncio.to_thread(_close, desk, request, execution)
    return execution


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
    for name in desk.now().people:
        person = desk.person(name)
        if not approvals.may_approve(plan, Approval(person, plan.hash, plan.confirmation, now), now):
            able.append(person.id)
    return tuple(able)


def _latest_run(desk: Desk, incident: str) -> Run | None:
    runs = [_run_of(desk, request.execution)[2] for request in desk.state.requests.of_incident(incident)]
    return max(runs, key=lambda run: run.execution.created, default=None)


def _run_of(desk: Desk, execution_id: str) -> tuple[Execution, Request | None, Run]:
    store = desk.state.runbooks
    execution = store.get(execution_id)
    given = approvals.anew(store.approvals(execution_id), desk.person)
    decision = approvals.decide(execution.plan, given, store.now(), desk.now().critical_quorum)
    told = desk.state.requests.told(execution_id)
    said = len(store.statements(execution_id))
    return execution, desk.state.requests.get(execution_id), Run(execution, told, given, decision, store.now(), said)
