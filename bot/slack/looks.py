"""Looks that people ask for in Slack: why, check, locks. A look changes nothing but what is known."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

import msgspec
from sqlalchemy import Connection

from bot.diagnose import NoSuchSubject, look_at_locks, look_at_subject, run_checks
from bot.incidents import UNSTICK, Answer, Incident, IncidentState, same
from bot.slack.blocks import answers
from bot.slack.blocks import incident as blocks
from bot.slack.desk import Desk
from bot.slack.jobs import LookAtAll, LookAtLocks, LookAtSubject
from bot.slack.tell import tell_incident
from bot.store.incidents import Saying
from bot.store.messages import Content
from diagnostics.catalog import chosen
from diagnostics.facts import NotSeen
from diagnostics.facts.ceph import LOCKS
from diagnostics.model import Status, Subject
from diagnostics.scan import Report
from runbooks.approval import Person
from runbooks.store import State as ExecutionState

_NOT_THEIRS = "not all could be seen; who may look into all namespaces is told what"
_DELETE = "kubernetes.delete_pod"  # of the pod that waits, so that its owner makes a new one


async def look(desk: Desk, job: LookAtSubject) -> None:
    """Explain one thing: in the message of its incident, or, where nothing is wrong, in the asker's own."""
    subject, person = job.subject, desk.person(job.asker, desk.cluster(job.cluster))
    await desk.insist(person, (subject.namespace,), f"{subject} is not looked at")
    target = desk.target(job.cluster)
    answer = await look_at_subject(target, desk.state, subject)
    incident: Incident | None
    if answer.status is Status.FOUND:
        incident = await keep(desk, target.name, answer, job.channel, job.message, who=person.id)
    else:
        incident = await _settled(desk, target.name, answer, person.id)
    if incident is None or (answer.status is Status.OK and incident.state is IncidentState.OPEN):
        if incident is None or job.incident or incident.message != job.message:
            await _answer(desk, job, answers.answer(answer))
    elif incident.message != job.message:
        await _answer(desk, job, await _pointer(desk, incident))


async def _answer(desk: Desk, job: LookAtSubject, content: Content) -> None:
    """Answer where that was to come; who looked at an incident again is answered alone, and its message stays."""
    if job.incident:
        await desk.say(job.channel, content, only_to=job.asker, parent=job.message)
    else:
        await desk.edit(job.message, content)


async def _pointer(desk: Desk, incident: Incident) -> Content:
    message = await asyncio.to_thread(desk.state.messages.get, incident.message)
    return answers.pointer(incident, desk.link(message))


async def keep(
    desk: Desk, cluster: str, answer: Answer, channel: str, message: int | None, *, who: str = UNSTICK
) -> Incident:
    """Keep what a look found, and tell of it where it belongs; a message that told of it elsewhere leads there.

    `message` is what a new incident is told of by; None: a message is made for it, if it takes one. What nobody asked
    for (`who`) changes by which of several things an incident is told only where that does not wait any more.
    """
    kept = desk.state.incidents
    before = await asyncio.to_thread(kept.home, cluster, answer.finding)
    left = await asyncio.to_thread(kept.about, cluster, answer.finding.subject)
    incident = await asyncio.to_thread(
        lambda: kept.found(
            cluster, answer, channel, _opened(desk) if message is None else message, who=who, back=_back(desk),
            anew=_opened(desk), aside=who == UNSTICK,
        )
    )  # fmt: skip
    desk.wake()
    await tell_incident(desk, incident)
    if left is not None and left.id != incident.id:
        await tell_incident(desk, left)
    if before is not None and before.id == incident.id and before.message != incident.message:
        await desk.edit(before.message, await _pointer(desk, incident))
    return incident


def _opened(desk: Desk) -> Saying:
    """The message of a new incident, which is there if and only if that is."""

    def say(connection: Connection, incident: Incident) -> int:
        content, key = blocks.incident(incident, None), f"incident/{incident.id}"
        return desk.state.messages.add_within(connection, incident.channel, content, key=key)

    return say


def _back(desk: Desk) -> Saying:
    """The note in the thread of an incident that comes back."""

    def say(connection: Connection, incident: Incident) -> int:
        content, key = blocks.back(incident), f"incident/{incident.id}/back/{incident.returns}"
        add = desk.state.messages.add_within
        return add(connection, incident.channel, content, parent=incident.message, key=key)

    return say


async def _settled(desk: Desk, cluster: str, answer: Answer, who: str) -> Incident | None:
    """The incident that a thing which is well again was in. What could not be seen ends nothing.

    Where others wait still, it is told by the first of them that is found to.
    """
    subject = answer.finding.subject
    incident = await asyncio.to_thread(desk.state.incidents.about, cluster, subject)
    if incident is None or answer.status is not Status.OK or answer.starting:
        return None
    waiting = [each for each in incident.subjects if not same(each, subject)]
    incident = await asyncio.to_thread(desk.state.incidents.leave, incident.id, subject, note(answer), who)
    for each in waiting:
        if await _look_at_one(desk, incident, each, ()) is Status.FOUND:
            break
    await tell_incident(desk, incident)
    return await asyncio.to_thread(desk.state.incidents.get, incident.id)


def note(answer: Answer) -> str:
    """How an incident was resolved by a look that found something well."""
    return f"looked at again: {answer.finding.summary}"


async def look_again(desk: Desk, incident: Incident) -> None:
    """Look once more at everything that waits in an incident, after something was done about it.

    Whatever is well leaves it; what could not be seen, or is not there without proof that it was replaced, stays.
    """
    if incident.state is not IncidentState.OPEN:
        return
    gone = await asyncio.to_thread(replaced, desk, incident)
    for subject in incident.subjects:
        await _look_at_one(desk, incident, subject, gone)
    await tell_incident(desk, incident)


async def _look_at_one(desk: Desk, incident: Incident, subject: Subject, gone: Collection[str]) -> Status:
    """Look at one of the things that wait in an incident. `gone` are those whose replacements are known to run."""
    leave = desk.state.incidents.leave
    try:
        answer = await look_at_subject(desk.target(incident.cluster), desk.state, subject)
    except NoSuchSubject:
        if str(subject) not in gone:
            return Status.UNKNOWN
        await asyncio.to_thread(leave, incident.id, subject, f"{subject} is gone, and was replaced")
        return Status.OK
    if answer.status is Status.FOUND:
        await keep(desk, incident.cluster, answer, incident.channel, incident.message)
    elif answer.status is Status.OK and not answer.starting:
        await asyncio.to_thread(leave, incident.id, subject, note(answer))
    return answer.status


def replaced(desk: Desk, incident: Incident) -> frozenset[str]:
    """The pods that the last run made way for: it is done only once it has proved that their replacements run."""
    runs = [desk.state.runbooks.get(each.execution) for each in desk.state.requests.of_incident(incident.id)]
    last = max(runs, key=lambda run: run.created, default=None)
    if last is None or last.state is not ExecutionState.DONE:
        return frozenset()
    deleted = {
        f"{pod.namespace}/{pod.name}": pod for act in last.plan.acts if act.action == _DELETE for pod in act.targets
    }
    pod = deleted.get(last.plan.params.get("pod", ""))
    return frozenset() if pod is None else frozenset((str(pod),))


async def look_at_all(desk: Desk, job: LookAtAll) -> None:
    """Run all checks, and say what every one of them came to."""
    person = desk.person(job.asker, desk.cluster(job.cluster))
    await desk.insist(person, (job.namespace,), "nothing is looked at")
    target = desk.target(job.cluster)
    found = await run_checks(target, desk.state, chosen(), (job.namespace,) if job.namespace else ())
    desk.metrics.scanned(target.name, found.report, found.seconds)
    shown = replace(found, report=_within(found.report, person)) if person.namespaces else found
    await desk.edit(job.message, answers.check(shown, target.name))


def _within(report: Report, person: Person) -> Report:
    """What somebody who may look into some namespaces sees of a report: what is in none, or in others, is not theirs."""
    outcomes = []
    for outcome in report.outcomes:
        seen = tuple(each for each in outcome.findings if each.subject.namespace in person.namespaces)
        hidden = len(outcome.findings) - len(seen)
        why = f"{hidden} outside of your namespaces are not shown{person.rule}" if hidden else None
        # What could not be seen of Ceph is told by image, and those belong to no namespace.
        unseen = _NOT_THEIRS if outcome.reason and outcome.check.startswith("ceph/") else outcome.reason
        reason = "; ".join(each for each in (unseen, why) if each) or None
        outcomes.append(msgspec.structs.replace(outcome, findings=seen, reason=reason))
    return replace(report, outcomes=tuple(outcomes))


async def locks(desk: Desk, job: LookAtLocks) -> None:
    """List the locks. They belong to no namespace and name pods of all: whoever may look into some may not see them."""
    await desk.insist(desk.person(job.asker, desk.cluster(job.cluster)), (None,), "locks are not looked at")
    found = await look_at_locks(desk.target(job.cluster), desk.state)
    report = found.report
    unseen = [
        seen.reason for each in report.looks.values() or (report.snapshot,) if isinstance(seen := each[LOCKS], NotSeen)
    ]
    blind = len(unseen) == max(1, len(report.looks))
    content = answers.failure(f"Locks could not be read: {'; '.join(unseen)}") if blind else None
    await desk.edit(job.message, content or answers.locks(report.snapshot, report.looks))
