"""Looks that people ask for in Slack: why, check, locks. A look changes nothing but what is known."""

import asyncio

from bot.diagnose import NoSuchSubject, look_at_locks, look_at_subject, run_checks
from bot.incidents import Answer, Incident, IncidentState
from bot.slack.blocks import answers
from bot.slack.desk import Desk
from bot.slack.jobs import LookAtAll, LookAtLocks, LookAtSubject
from bot.slack.tell import tell_incident
from bot.store.messages import Content
from diagnostics.catalog import chosen
from diagnostics.facts import NotSeen
from diagnostics.facts.ceph import LOCKS
from diagnostics.model import Status


async def look(desk: Desk, job: LookAtSubject) -> None:
    """Explain one thing: in the message of its incident, or, where nothing is wrong, in the asker's own."""
    subject = job.subject
    await desk.insist(desk.person(job.asker), (subject.namespace,), f"{subject} is not looked at")
    target = desk.target(job.cluster)
    answer = await look_at_subject(target, desk.state, subject)
    incident: Incident | None
    if answer.status is Status.FOUND:
        incident = await asyncio.to_thread(desk.state.incidents.found, target.name, answer, job.channel, job.message)
        await tell_incident(desk, incident)
    else:
        incident = await _settled(desk, target.name, answer)
    if incident is None:
        await _answer(desk, job, answers.answer(answer))
    elif incident.message != job.message:
        message = await asyncio.to_thread(desk.state.messages.get, incident.message)
        await _answer(desk, job, answers.pointer(incident, desk.link(message)))


async def _answer(desk: Desk, job: LookAtSubject, content: Content) -> None:
    """Answer where that was to come; who looked at an incident again is answered alone, and its message stays."""
    if job.incident:
        await desk.say(job.channel, content, only_to=job.asker, parent=job.message)
    else:
        await desk.edit(job.message, content)


async def _settled(desk: Desk, cluster: str, answer: Answer) -> Incident | None:
    """The open incident of a thing that is well again: it is over. What could not be seen ends nothing."""
    incident = await asyncio.to_thread(desk.state.incidents.about, cluster, answer.finding.subject)
    if incident is None or answer.status is not Status.OK:
        return None
    note = f"looked at again: {answer.finding.summary}"
    resolved = await asyncio.to_thread(desk.state.incidents.resolve, incident.id, note)
    await tell_incident(desk, resolved)
    return resolved


async def look_again(desk: Desk, incident: Incident) -> None:
    """Look once more at what an incident is about, after something was done about it."""
    if incident.state is not IncidentState.OPEN:
        return
    target = desk.target(incident.cluster)
    try:
        answer = await look_at_subject(target, desk.state, incident.subject)
    except NoSuchSubject:
        # The pod was replaced. That its replacement runs, the run itself has proved.
        note = f"{incident.subject} is gone, and was replaced"
        await tell_incident(desk, await asyncio.to_thread(desk.state.incidents.resolve, incident.id, note))
        return
    if answer.status is Status.FOUND:
        found = desk.state.incidents.found
        await tell_incident(
            desk, await asyncio.to_thread(found, incident.cluster, answer, incident.channel, incident.message)
        )
    else:
        await _settled(desk, incident.cluster, answer)


async def look_at_all(desk: Desk, job: LookAtAll) -> None:
    """Run all checks, and say what every one of them came to."""
    await desk.insist(desk.person(job.asker), (job.namespace,), "nothing is looked at")
    target = desk.target(job.cluster)
    found = await run_checks(target, desk.state, chosen(), (job.namespace,) if job.namespace else ())
    await desk.edit(job.message, answers.check(found, target.name))


async def locks(desk: Desk, job: LookAtLocks) -> None:
    """List the locks. They belong to no namespace: whoever may look at all may see them."""
    person = desk.person(job.asker)
    await desk.insist(person, (next(iter(person.namespaces), None),), "locks are not looked at")
    found = await look_at_locks(desk.target(job.cluster), desk.state)
    snapshot = found.report.snapshot
    seen = snapshot[LOCKS]
    content = answers.failure(f"Locks could not be read: {seen.reason}") if isinstance(seen, NotSeen) else None
    await desk.edit(job.message, content or answers.locks(snapshot))
