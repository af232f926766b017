"""Clicks on buttons of ours: each is of a message of ours, about what that showed, and becomes a job or opens a window."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from slack_bolt.async_app import AsyncAck

from bot.diagnose import NoSuchSubject, parse_subject
from bot.incidents import IncidentState
from bot.slack import jobs
from bot.slack.blocks import incident as incident_blocks
from bot.slack.blocks import plan as plan_blocks
from bot.slack.blocks.modals import snooze_modal
from bot.slack.edge.core import Body, Edge, NotTaken
from bot.slack.edge.home import cannot_approve
from bot.slack.place import Place, channel_of, insist_on_plan, insist_on_request, place_of, refuse
from bot.slack.words import COMMAND, Click, click_of
from runbooks.engine import Refusal
from runbooks.execution import Execution

Take = Callable[[Edge, Click, Body], Awaitable[None]]


async def click(take: Take, diagnosis: bool, edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Take a click. It needs no answer in words; what comes of it is written where it was made."""
    await ack()
    try:
        await edge.accepted(_clicked(edge, take, body, diagnosis=diagnosis))
    except NotTaken as error:
        await edge.whisper(body, error.content)


async def _clicked(edge: Edge, take: Take, body: Body, *, diagnosis: bool) -> None:
    """Take a click. One that is about nothing that there is was made up, or is older than the store: it is recorded."""
    desk, user = edge.desk, body["user"]["id"]
    person = desk.person(user)
    await edge.insist_on_place(user, channel_of(body), diagnosis=diagnosis)
    try:
        asked = click_of(body["actions"][0].get("value") or "")
    except ValueError as error:
        await refuse(desk, person, "", [f"this is no button of Unstick: {error}"])
    try:
        await take(edge, asked, body)
    except KeyError as unknown:
        what = f"{str(unknown.args[0])[:80]} is not known here, or not any more: ask anew with `{COMMAND} why`"
        await refuse(desk, person, asked.execution, [what])
    except NoSuchSubject as wrong:
        await refuse(desk, person, asked.execution, [str(wrong)[:400]])


async def _its_own(edge: Edge, asked: Click, body: Body) -> Execution:
    """The execution that a click is about, if the click is of its message, its channel and its plan."""
    ts = (body.get("container") or {}).get("message_ts")
    return await insist_on_request(edge.desk, asked, edge.desk.person(body["user"]["id"]), channel_of(body), ts)


def opening(view: Callable[[Execution, str, Click], dict[str, Any]]) -> Take:
    """A click that opens a window."""

    async def take(edge: Edge, asked: Click, body: Body) -> None:
        execution = await _its_own(edge, asked, body)
        await edge.open(body["trigger_id"], view(execution, channel_of(body), asked))

    return take


def doing(job: Callable[[str, str, Click], jobs.AnyJob]) -> Take:
    """A click that is a job."""

    async def take(edge: Edge, asked: Click, body: Body) -> None:
        await _its_own(edge, asked, body)
        await edge.worker.accept(job(body["user"]["id"], channel_of(body), asked))

    return take


async def why(edge: Edge, asked: Click, body: Body) -> None:
    """Look at a thing again, in its incident's message while that is open, else in a new one."""
    user, channel = body["user"]["id"], channel_of(body)
    cluster: str | None
    if not asked.incident:
        namespace, _, name = asked.pod.partition("/")
        subject, cluster = parse_subject((name,), namespace), asked.cluster or None
    else:
        incident = await asyncio.to_thread(edge.desk.state.incidents.get, asked.incident)
        subject, cluster = incident.subject, incident.cluster
        if incident.state is IncidentState.OPEN:
            again = jobs.LookAtSubject(user, channel, subject, cluster, incident.message, incident.id)
            await edge.worker.accept(again)
            return  # what is over keeps its message: whoever asks again is answered in a new one
    place = await asyncio.to_thread(place_of, edge.desk, body)
    what = f"Looking at {subject}"
    await edge.begin(place, what, lambda m: jobs.LookAtSubject(user, channel, subject, cluster, m))


async def show_evidence(edge: Edge, asked: Click, body: Body) -> None:
    """Show the proofs in the incident's thread: once for all, and anew where they have changed."""
    desk = edge.desk
    incident = await asyncio.to_thread(desk.state.incidents.get, asked.incident)
    person = desk.person(body["user"]["id"], incident.cluster)
    await desk.insist(person, (incident.subject.namespace,), "the evidence is not shown")
    async with edge.showing:
        incident = await asyncio.to_thread(desk.state.incidents.get, asked.incident)
        content = incident_blocks.evidence(incident)
        if incident.evidence is not None:
            await desk.edit(incident.evidence, content)
            return
        message = await desk.say(incident.channel, content, parent=incident.message)
        await asyncio.to_thread(desk.state.incidents.shows_evidence, incident.id, message)


async def plan_fix(edge: Edge, asked: Click, body: Body) -> None:
    """Plan what an offer of an incident would do, in its thread."""
    incident = await asyncio.to_thread(edge.desk.state.incidents.get, asked.incident)
    user, channel = body["user"]["id"], incident.channel
    place = Place(channel, parent=incident.message)
    await edge.begin(place, "Planning", lambda m: jobs.PlanFix(user, channel, incident.id, asked.offer, m))


async def request_approval(edge: Edge, asked: Click, body: Body) -> None:
    """Ask for a plan that was shown."""
    user, channel = body["user"]["id"], channel_of(body)
    await insist_on_plan(edge.desk, asked, edge.desk.person(user), channel)
    await edge.worker.accept(jobs.RequestApproval(user, channel, asked.plan, asked.plan_hash))


async def approve(edge: Edge, asked: Click, body: Body) -> None:
    """Take an approval, or first ask for the name that a critical plan is confirmed by."""
    user, channel = body["user"]["id"], channel_of(body)
    execution = await _its_own(edge, asked, body)
    if reasons := cannot_approve(edge.desk, execution, user):
        # Never handed on as if the name had been typed: by the time it is judged, the person might have the role.
        record, person = edge.desk.state.runbooks.record, edge.desk.person(user)
        detail = {"reasons": list(reasons)}
        await asyncio.to_thread(record, "approval refused", person.id, execution.id, detail)
        raise Refusal(f"the approval of {execution.id} is refused", reasons)
    if execution.plan.confirmation is not None:
        await edge.open(body["trigger_id"], plan_blocks.approval_modal(execution, channel))
    else:
        await edge.worker.accept(jobs.Approve(user, channel, execution.id, None))


async def ack_incident(edge: Edge, asked: Click, body: Body) -> None:
    """Take an incident on."""
    incident = await asyncio.to_thread(edge.desk.state.incidents.get, asked.incident)
    await edge.worker.accept(jobs.Ack(body["user"]["id"], channel_of(body), incident.id))


async def snooze_incident(edge: Edge, asked: Click, body: Body) -> None:
    """Ask for how long an incident is to be kept quiet."""
    incident = await asyncio.to_thread(edge.desk.state.incidents.get, asked.incident)
    await edge.open(body["trigger_id"], snooze_modal(incident.id, channel_of(body)))
