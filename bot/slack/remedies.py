"""Plans, requests, approvals and runs that people click for in Slack: the engine decides, this asks and tells.

Roles are judged when the work is done, never when a button was drawn. A plan that was shown is compared with the facts
of now before it is asked for: what people saw is what they get, or they are told what changed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
from sqlalchemy import Connection

from bot.diagnose import library
from bot.remedy import engine
from bot.slack.blocks import answers
from bot.slack.blocks import plan as plan_blocks
from bot.slack.desk import Desk
from bot.slack.jobs import Approve, Deny, GoOn, PlanFix, RequestApproval, RunRunbook
from bot.slack.looks import look_again
from bot.slack.tell import approvers_of, tell_request
from bot.slack.words import offer_name
from bot.store.requests import AskedAlready, ShownPlan
from runbooks import approval as approvals
from runbooks.engine import Engine, Refusal, has_died
from runbooks.events import Say, StepEvent
from runbooks.parameters import accept_parameters, parse_parameters
from runbooks.plan import Plan, differences, digest
from runbooks.store import Execution
from runbooks.store import State as ExecutionState

LEASE_TRIES = 4
MARGIN = 1.0


@asynccontextmanager
async def _engine(desk: Desk, cluster: str | None) -> AsyncIterator[Engine]:
    settings = await asyncio.to_thread(desk.now)
    books = await asyncio.to_thread(library, settings)
    target = desk.target(cluster)
    async with engine(settings, target, desk.state, books, desk.who(settings, target.name)) as running:
        yield running


async def plan_fix(desk: Desk, job: PlanFix) -> None:
    """Plan what an offer would do, in the incident's thread."""
    incident = await asyncio.to_thread(desk.state.incidents.get, job.incident)
    offer = next((each for each in incident.answer.offers if offer_name(each) == job.offer), None)
    person = desk.person(job.asker, incident.cluster)
    if offer is None:
        gone = ("what was found has changed since the button was drawn: look at the incident's message again",)
        await desk.edit(job.message, answers.refusal("nothing is planned", gone))
        return
    await desk.insist(person, (incident.subject.namespace,), "nothing is planned")
    async with _engine(desk, incident.cluster) as running:
        book = running.find(f"{offer.runbook}@{offer.version}")
        plan = await running.plan(book, accept_parameters(book, offer.params), person)
    shown = await asyncio.to_thread(desk.state.requests.show, plan, incident.id, job.message, job.channel)
    await desk.edit(job.message, plan_blocks.plan(shown))


async def request_approval(desk: Desk, job: RequestApproval) -> GoOn | None:
    """Ask for a plan that was shown, if it is still the plan that would be made. The answer is what is to be done next."""
    shown = await asyncio.to_thread(desk.state.requests.shown, job.plan)
    person = desk.person(job.asker, shown.plan.cluster)
    async with _engine(desk, shown.plan.cluster) as running:
        book = running.find(f"{shown.plan.runbook}@{shown.plan.version}")
        plan = await running.plan(book, shown.plan.params, person)
        if shown.execution is not None:
            await running.request(plan, person, [f"{shown.execution} asks for this plan already"])
        if job.plan_hash != shown.plan.hash:
            await running.request(plan, person, ["the plan was made anew since this button was drawn: read it again"])
        if changed := _changed(shown.plan, plan):
            shown = await asyncio.to_thread(desk.state.requests.replace, shown, plan)
            await desk.edit(shown.message, plan_blocks.plan(shown, changed))
            await running.request(plan, person, ["the plan has changed since it was shown", *changed])
        return await _ask(desk, running, shown, plan, job)


async def run_runbook(desk: Desk, job: RunRunbook) -> GoOn | None:
    """Plan a runbook and ask for it; a plan of low risk is shown first, for its requester to confirm."""
    person = desk.person(job.asker, desk.cluster(job.cluster))
    async with _engine(desk, job.cluster) as running:
        book = running.find(job.runbook)
        plan = await running.plan(book, parse_parameters(book, job.params), person)
        await desk.insist(person, plan.namespaces or (None,), "nothing is planned")
        shown = await asyncio.to_thread(desk.state.requests.show, plan, None, job.message, job.channel)
        await desk.edit(job.message, plan_blocks.plan(shown))
        if plan.refusals or _needs_nobody(plan, running):
            return None
        return await _ask(desk, running, shown, plan, job)


def _needs_nobody(plan: Plan, running: Engine) -> bool:
    """Whether the requester's own word is enough."""
    return approvals.decide(plan, (), running.world.now(), running.quorum).allowed


def _changed(shown: Plan, now: Plan) -> tuple[str, ...]:
    """What is otherwise than in the plan that was shown. Who asks, and until when, is always another matter."""
    same = msgspec.structs.replace(shown, requester=now.requester, expires=now.expires)
    return differences(msgspec.structs.replace(same, hash=digest(same)), now)


async def _ask(
    desk: Desk, running: Engine, shown: ShownPlan, plan: Plan, job: RequestApproval | RunRunbook
) -> GoOn | None:
    """Make the request, and call for approvers, both or neither; what needs none is to be run next."""
    parent = shown.message
    if shown.incident is not None:
        parent = (await asyncio.to_thread(desk.state.incidents.get, shown.incident)).message

    def told(connection: Connection, execution: Execution) -> None:
        # Whoever may approve is called by the post itself: Slack tells nobody of a mention that an edit brings.
        now = desk.state.runbooks.now()
        waiting = plan_blocks.Run(execution, (), (), approvals.decide(plan, (), now, running.quorum), now)
        content = plan_blocks.request(waiting, approvers_of(desk, execution))
        message = desk.state.messages.add_within(connection, shown.channel, content, parent=parent)
        desk.state.requests.asked(connection, shown, execution.id, message)

    person = desk.person(job.asker, plan.cluster)
    try:
        execution = await running.request(plan, person, also=told)
    except AskedAlready:
        await running.request(plan, person, ["this plan was asked for already"])
        raise
    desk.wake()
    await desk.edit(shown.message, plan_blocks.asked_plan(shown, execution))
    await tell_request(desk, execution.id)
    return GoOn(job.asker, job.channel, execution.id) if _needs_nobody(plan, running) else None


async def approve(desk: Desk, job: Approve) -> GoOn | None:
    """Approve an execution. The answer is what is to be done next: run it, once nobody's word is missing."""
    execution = await asyncio.to_thread(desk.state.runbooks.get, job.execution)
    person = desk.person(job.asker, execution.plan.cluster)
    given = await asyncio.to_thread(desk.state.runbooks.approvals, execution.id)
    if execution.state is ExecutionState.APPROVED and person.ids & {one.person.id for one in given}:
        # A restart came between the approval and the run that it allowed.
        return GoOn(job.asker, job.channel, execution.id)
    try:
        async with _engine(desk, execution.plan.cluster) as running:
            decision = await running.approve(execution, person, job.typed)
    finally:
        await tell_request(desk, execution.id)
    return GoOn(job.asker, job.channel, execution.id) if decision.allowed else None


async def deny(desk: Desk, job: Deny) -> None:
    """Deny an execution."""
    execution = await asyncio.to_thread(desk.state.runbooks.get, job.execution)
    person = desk.person(job.asker, execution.plan.cluster)
    async with _engine(desk, execution.plan.cluster) as running:
        await running.deny(execution, person, job.why)
    said = StepEvent("", Say.ENDED, f"denied by {person.id}" + (f": {job.why}" if job.why else ""))
    await asyncio.to_thread(desk.state.requests.tell, execution.id, said)
    await tell_request(desk, execution.id)


async def go_on(desk: Desk, job: GoOn, stopping: asyncio.Event) -> bool:
    """Run an approved execution, or go on with an interrupted one. False where it was left because the bot stops."""
    execution = await asyncio.to_thread(desk.state.runbooks.get, job.execution)
    person = desk.person(job.asker, execution.plan.cluster)
    if job.interrupted and execution.state.ended:
        await _ended(desk, execution)  # a restart came between its end and the news of it
        return True
    if not approvals.may_run(execution.plan, person):  # whoever may not is shown nothing of it either
        await _told_somewhere(desk, job, execution)
    async with _engine(desk, execution.plan.cluster) as running:
        if job.interrupted:
            await _wait_for_the_lease(running, execution)
        try:
            async with aclosing(running.run(execution.id, person)) as events:
                async for event in events:
                    await asyncio.to_thread(desk.state.requests.tell, execution.id, event)
                    await tell_request(desk, execution.id)
                    if stopping.is_set() and event.say is not Say.ENDED:
                        return False
        except Refusal as refusal:
            said = StepEvent("", Say.REFUSED, "; ".join(refusal.reasons))
            await asyncio.to_thread(desk.state.requests.tell, execution.id, said)
            raise
        finally:
            execution = await tell_request(desk, execution.id)
    await _ended(desk, execution)
    return True


async def _ended(desk: Desk, execution: Execution) -> None:
    """Tell the end of an execution, and look whether that was the end of its incident."""
    await tell_request(desk, execution.id)
    request = await asyncio.to_thread(desk.state.requests.get, execution.id)
    if request is not None and request.incident is not None and execution.state is ExecutionState.DONE:
        await look_again(desk, await asyncio.to_thread(desk.state.incidents.get, request.incident))


async def _told_somewhere(desk: Desk, job: GoOn, execution: Execution) -> None:
    """Give an execution that was asked for on the command line a message here, so that people see it go on."""
    if await asyncio.to_thread(desk.state.requests.get, execution.id) is None:
        message = await desk.say(job.channel, answers.begun(f"Going on with {execution.id}"))
        await asyncio.to_thread(desk.state.requests.add, execution.id, None, message, job.channel)


async def _wait_for_the_lease(running: Engine, execution: Execution) -> None:
    """Wait until the runner before us can no longer write: it may live on a machine that nobody hears of."""
    for _ in range(LEASE_TRIES):
        await asyncio.to_thread(running.store.interrupted, has_died)
        execution = await asyncio.to_thread(running.store.get, execution.id)
        if execution.state is not ExecutionState.RUNNING or execution.lease_until is None:
            return
        left = (execution.lease_until - running.world.now()).total_seconds()
        await running.world.sleep(max(0.0, left) + MARGIN)
