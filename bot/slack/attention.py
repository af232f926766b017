"""What Unstick attends to by itself: things that seem stuck, open incidents; and what people answer to an incident.

Nobody asks for these looks, so what fails of them goes to the log, and no channel hears of it. They are made with the
identity that reads, and nothing is acted on.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn

from sqlalchemy import Connection

from bot.diagnose import Diagnosis, NoSuchSubject, look_at_subject, run_checks
from bot.incidents import CLEAN, FLAPPING_CLEAN, REOPENS, Incident, IncidentState, incident_key, same
from bot.settings import SettingsError
from bot.slack.blocks import answers
from bot.slack.blocks import incident as blocks
from bot.slack.desk import Desk
from bot.slack.jobs import Ack, FollowUp, Notice, Snooze
from bot.slack.looks import keep, note, replaced
from bot.slack.tell import tell_incident
from bot.store import State
from diagnostics.catalog import chosen
from diagnostics.facts.kubernetes import PODS
from diagnostics.model import Finding, Status, Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.librados import CephConfError
from diagnostics.sources.kubernetes.api import NoSuchConfiguration
from runbooks.approval import Person
from runbooks.database import StoreError
from runbooks.engine import Refusal
from runbooks.loader import RunbookErrors

_log = logging.getLogger("unstick.attention")
# More than this after the last look a lock that is suspect can be told to be stale.
FOLLOW_UP, SELDOM = timedelta(seconds=30), timedelta(minutes=5)
_OF_ITS_AGE = 10  # an incident is looked at again after a tenth of its age
# A thing that is gone has a successor, perhaps, which nobody finds stuck before it had its time to start.
GONE = timedelta(minutes=3)
LONGEST_LOOK = 60.0  # seconds at one incident: what is left is looked at the next time
LONGEST_SNOOZE = timedelta(days=7)
# Of each cluster so many incidents wait for a look at most: whoever asks for something waits behind no hundreds of them.
MOST_DUE = 3
ANSWERERS = ("responder", "approver", "admin")
_FAILS = (SettingsError, CouldNotLook, NoSuchConfiguration, CephConfError, RunbookErrors, StoreError)


@dataclass
class _Round:
    """What one follow-up has read, so that many pods that are gone are one scan, and not one each."""

    scans: dict[str | None, Diagnosis] = field(default_factory=dict)
    looked: dict[str, bool] = field(
        default_factory=dict
    )  # by pod: whether it may wait for the same, and is told nowhere


def due(state: State, now: datetime) -> tuple[Incident, ...]:
    """The open incidents that are to be looked at again, or whose snooze is over. It blocks: call it in a thread.

    Of each cluster they are those that were looked at longest ago, and so few that they hold up nobody; the others are
    due in the next round.
    """
    found: dict[str, list[Incident]] = {}
    for each in sorted(state.incidents.open(), key=lambda each: each.updated):
        if is_due(each, now) and len(of_it := found.setdefault(each.cluster, [])) < MOST_DUE:
            of_it.append(each)
    return tuple(each for of_it in found.values() for each in of_it)


def is_due(incident: Incident, now: datetime) -> bool:
    """Whether an open incident is to be looked at again by itself: the older it is, the more seldom.

    Where all was well at the last look, the next one decides: it does not wait long, unless much of that is needed.
    """
    if incident.snoozed_until is not None and not incident.is_snoozed(now):
        return True
    waits = min(max((now - incident.began) / _OF_ITS_AGE, FOLLOW_UP), SELDOM)
    if incident.well_since is not None and not incident.flapping:
        waits = FOLLOW_UP
    waits = max(waits, timedelta(seconds=len(incident.subjects)))  # each of them is a look
    return now - incident.updated > waits


async def notice(desk: Desk, job: Notice) -> None:
    """Look at a thing that seems stuck. Only where it is, anything is said: its incident has a message then."""
    subject = job.subject
    words = desk.settings.clusters.get(job.cluster)
    if words is None or (words.namespaces and subject.namespace not in words.namespaces):
        return
    channel = desk.settings.channel_of(job.cluster)
    if channel is None:
        _log.warning("%s of %s seems stuck (%s), and no channel is set to tell of it", subject, job.cluster, job.why)
        return
    try:
        known = await asyncio.to_thread(desk.state.incidents.about, job.cluster, subject)
        if known is not None and desk.state.incidents.now() - known.updated < FOLLOW_UP:
            return  # it has just been looked at
        target = desk.target(job.cluster)
        answer = await look_at_subject(target, desk.state, subject)
        if answer.status is Status.FOUND:
            await keep(desk, target.name, answer, channel, None)
        elif answer.status is Status.UNKNOWN:
            _log.warning("%s of %s could not be seen: %s", subject, job.cluster, answer.finding.summary)
    except NoSuchSubject:
        return
    except _FAILS as error:
        _log.warning("%s of %s was noticed (%s) and not looked at: %s", subject, job.cluster, job.why, error)
    except Exception:  # noqa: BLE001 - whatever one look fails of, no channel hears of it: nobody asked
        _log.exception("%s of %s was noticed (%s) and not looked at", subject, job.cluster, job.why)


async def follow_up(desk: Desk, job: FollowUp) -> None:
    """Look again at everything that waits in an open incident, and let its message say what is so now."""
    try:
        incident = await asyncio.to_thread(desk.state.incidents.get, job.incident)
        if incident.state is not IncidentState.OPEN:
            return
        await _wake(desk, incident)
        await _reach(desk, incident)
        if not await _forsaken(desk, incident):
            began, looks = time.monotonic(), _Round()
            for subject in _in_turn(incident):
                await _look_again(desk, incident, subject, looks)
                if time.monotonic() - began > LONGEST_LOOK:  # of a cluster that does not answer, nobody waits for all
                    break
        await tell_incident(desk, incident)
    except KeyError:
        _log.warning("there is no incident %s to look at", job.incident)
    except _FAILS as error:
        _log.warning("incident %s was not looked at: %s", job.incident, error)
    except Exception:  # noqa: BLE001 - whatever one look fails of, no channel hears of it: nobody asked
        _log.exception("incident %s was not looked at", job.incident)
    else:
        return
    await _failed(desk, job.incident)


def _in_turn(incident: Incident) -> list[Subject]:
    """What waits, in the order in which it is looked at; there may be no time for all, so each time others come early.

    What it is told by comes first: where that leaves, another one takes its place before it is looked at.
    """
    others = incident.others
    first = int(incident.updated.timestamp()) % len(others) if others else 0
    told = [each for each in incident.subjects if same(each, incident.subject)]
    return [*told, *others[first:], *others[:first]]


async def _reach(desk: Desk, incident: Incident) -> None:
    """Tell of an incident anew where Slack never took its message: the channel was not there, or the bot not in it.

    It goes to the channel that the configuration names by now, once in an hour at most.
    """
    words = desk.settings.clusters.get(incident.cluster)
    channel = (words.channel if words is not None else None) or desk.settings.slack.channel or incident.channel

    def say(connection: Connection, found: Incident) -> int:
        key = f"incident/{found.id}/{found.channel}/{desk.state.incidents.now():%Y-%m-%dT%H}"
        return desk.state.messages.add_within(connection, found.channel, blocks.incident(found, None), key=key)

    if await asyncio.to_thread(desk.state.incidents.unheard, incident.id, channel, say):
        desk.wake()


async def _forsaken(desk: Desk, incident: Incident) -> bool:
    """End an incident of a cluster that was taken out of the configuration: nobody will ever look at it again.

    A day goes by before, so that a slip in the configuration ends nothing.
    """
    try:
        desk.target(incident.cluster)
    except SettingsError:
        last = incident.answer.looked or incident.opened
        gone = incident.cluster not in desk.settings.clusters
        if not gone or desk.state.incidents.now() - last <= REOPENS:
            raise
        note = f"{incident.cluster} is not in the configuration any more, so that it is not looked at"
        for subject in incident.subjects:
            await asyncio.to_thread(desk.state.incidents.leave, incident.id, subject, note)
        return True
    return False


async def _failed(desk: Desk, incident: str) -> None:
    """Count a look that failed as one: it is not tried again at once, and what was well before is not known to be."""
    try:
        found = await asyncio.to_thread(desk.state.incidents.get, incident)
        for subject in found.subjects:
            await asyncio.to_thread(desk.state.incidents.not_seen_well, incident, subject)
    except (KeyError, StoreError):
        return


async def _look_again(desk: Desk, incident: Incident, subject: Subject, looks: _Round) -> None:
    """Look at one of the things that wait: it leaves when it was well in two looks, with some time between them."""
    kept, began = desk.state.incidents, desk.state.incidents.now()
    lasting = FLAPPING_CLEAN if incident.flapping else CLEAN
    try:
        answer = await look_at_subject(desk.target(incident.cluster), desk.state, subject)
    except NoSuchSubject:
        await _gone(desk, incident, subject, looks, began, lasting)
        return
    if answer.status is Status.FOUND:
        await keep(desk, incident.cluster, answer, incident.channel, incident.message)
    elif answer.status is Status.OK and not answer.starting:
        await asyncio.to_thread(kept.seen_well, incident.id, subject, note(answer), began, lasting)
    else:
        await asyncio.to_thread(kept.not_seen_well, incident.id, subject)


async def _gone(
    desk: Desk, incident: Incident, subject: Subject, looks: _Round, began: datetime, lasting: timedelta
) -> None:
    """What becomes of a thing that is not there any more: whatever waits in its place belongs to the incident.

    It leaves once a run is known to have replaced it, once what waits in its place is in the incident, or where for a
    while nothing was found to wait there.
    """
    kept = desk.state.incidents
    if str(subject) in await asyncio.to_thread(replaced, desk, incident):
        await asyncio.to_thread(kept.leave, incident.id, subject, f"{subject} is gone, and was replaced")
        return
    joined = await _joined_by_successors(desk, incident, subject, looks)
    if joined:
        await asyncio.to_thread(kept.leave, incident.id, subject, f"{subject} is gone, and others wait in its place")
    elif joined is None:
        await asyncio.to_thread(kept.not_seen_well, incident.id, subject)
    else:
        says = f"{subject} is gone, and nothing in its namespace waits for the same"
        await asyncio.to_thread(kept.seen_well, incident.id, subject, says, began, max(lasting, GONE))


async def _joined_by_successors(desk: Desk, incident: Incident, gone: Subject, looks: _Round) -> bool | None:
    """Let the pods beside one that is gone join its incident, where they wait for the same root.

    True: some are in it. False: nothing there waits for it. None: that could not be told.
    """
    kept, target = desk.state.incidents, desk.target(incident.cluster)
    if gone.namespace not in looks.scans:
        namespaces = (gone.namespace,) if gone.namespace else ()
        checks = chosen(("storage", "ceph", "pods"))
        looks.scans[gone.namespace] = await run_checks(target, desk.state, checks, namespaces)
    found = looks.scans[gone.namespace]
    waiting = dict.fromkeys(f.subject for f in found.report.findings if _may_be_of(f, incident, gone))
    for each in waiting:
        if str(each) not in looks.looked:
            looks.looked[str(each)] = await _may_wait(desk, incident, each)
    now = await asyncio.to_thread(kept.get, incident.id)
    if any(same(each, other) for each in waiting for other in now.subjects):
        return True
    blind = any(each.status is Status.UNKNOWN for each in found.report.outcomes) and _somebody_waits(found, gone)
    return None if blind or any(looks.looked[str(each)] for each in waiting) else False


async def _may_wait(desk: Desk, incident: Incident, successor: Subject) -> bool:
    """Look at a pod beside one that is gone: it joins the incident if it waits for the same root.

    The answer is whether it may wait for that still, though it did not join: what is told of in another incident does not.
    """
    kept = desk.state.incidents
    try:
        answer = await look_at_subject(desk.target(incident.cluster), desk.state, successor)
    except NoSuchSubject:
        return False
    if answer.status is not Status.FOUND:
        return answer.status is Status.UNKNOWN or answer.starting
    home = await asyncio.to_thread(kept.home, incident.cluster, answer.finding)
    if home is not None and home.id == incident.id:
        await keep(desk, incident.cluster, answer, incident.channel, incident.message)
    return home is None


def _somebody_waits(found: Diagnosis, gone: Subject) -> bool:
    """Whether any pod of a namespace neither runs nor is over: only then it matters that some check could not look."""
    pods, begun = found.report.snapshot.seen(PODS), ("Running", "Succeeded", "Failed")
    return pods is None or any(row.namespace == gone.namespace and row.phase not in begun for row in pods.rows)


def _may_be_of(finding: Finding, incident: Incident, gone: Subject) -> bool:
    """Whether a finding is of a pod beside one that is gone, and of the incident's root as far as is known."""
    told, subject = incident.answer.finding, finding.subject
    if subject.kind != "Pod" or subject.namespace != gone.namespace:
        return False
    if told.root is None or finding.root is None:
        return finding.cause is None or told.cause is None or finding.cause == told.cause
    return incident_key(incident.cluster, finding) == incident_key(incident.cluster, told)


async def _wake(desk: Desk, incident: Incident) -> None:
    """End a snooze whose time is over; whoever snoozed it is told in the thread that it is open still."""

    def say(connection: Connection, found: Incident) -> int:
        key = f"incident/{found.id}/awake/{found.snoozed_until}"
        add = desk.state.messages.add_within
        return add(connection, found.channel, blocks.awake(found, ids), parent=found.message, key=key)

    ids = sorted(desk.person(incident.snoozed_by or "", incident.cluster).ids)
    if await asyncio.to_thread(desk.state.incidents.wake, incident.id, say):
        desk.wake()


async def ack(desk: Desk, job: Ack) -> None:
    """Take an incident on, and show in its message who did."""
    incident, person = await _answering(desk, job, "acked")
    if not await asyncio.to_thread(desk.state.incidents.ack, incident.id, person.id):
        await _refuse(desk, person, job, "acked", ["it is resolved"])
    await _told(desk, incident, job)


async def snooze(desk: Desk, job: Snooze) -> None:
    """Have an incident kept quiet for a while; its message goes on to say how it stands."""
    incident, person = await _answering(desk, job, "snoozed")
    lasts = timedelta(seconds=job.seconds)
    if not timedelta(0) <= lasts <= LONGEST_SNOOZE:
        await _refuse(desk, person, job, "snoozed", ["it can be snoozed for 7 days at most: name a shorter time"])
    until = desk.state.incidents.now() + lasts if job.seconds else None
    if not await asyncio.to_thread(desk.state.incidents.snooze, incident.id, person.id, until):
        await _refuse(desk, person, job, "snoozed", ["it is resolved"])
    await _told(desk, incident, job)


def may_answer(person: Person, incident: Incident) -> tuple[str, ...]:
    """Why a person may neither ack nor snooze an incident; empty where they may."""
    if not any(map(person.may, ANSWERERS)):
        return (f"{person.id} has none of the roles responder, approver and admin{person.rule}",)
    namespaces = {each.namespace for each in (incident.subject, *incident.subjects)}
    if person.namespaces and (others := namespaces - person.namespaces):
        own = ", ".join(sorted(person.namespaces))
        where = ", ".join(sorted(each or "none" for each in others))
        return (f"{person.id} has roles in namespace {own} alone, and this is in {where}{person.rule}",)
    return ()


async def _answering(desk: Desk, job: Ack | Snooze, what: str) -> tuple[Incident, Person]:
    """The incident that somebody answers, and who they are by now.

    Raises:
        Refusal: they may not, or there is no such incident; it is on record, with all reasons.
    """
    try:
        incident = await asyncio.to_thread(desk.state.incidents.get, job.incident)
    except KeyError:
        await _refuse(
            desk, desk.person(job.asker), job, what, ["there is none of that id: `/unstick incidents` lists them"]
        )
    person = desk.person(job.asker, incident.cluster)
    if reasons := may_answer(person, incident):
        await _refuse(desk, person, job, what, reasons)
    return incident, person


async def _refuse(desk: Desk, person: Person, job: Ack | Snooze, what: str, reasons: Sequence[str]) -> NoReturn:
    detail = {"incident": job.incident, "what": what, "reasons": list(reasons)}
    await asyncio.to_thread(desk.state.runbooks.record, "answer refused", person.id, "", detail)
    raise Refusal(f"incident {job.incident} is not {what}", reasons)


async def _told(desk: Desk, incident: Incident, job: Ack | Snooze) -> None:
    """Let the incident's message say it; whoever asked elsewhere is led there."""
    await tell_incident(desk, incident)
    if job.channel != incident.channel:
        now = await asyncio.to_thread(desk.state.incidents.get, incident.id)
        message = await asyncio.to_thread(desk.state.messages.get, now.message)
        await desk.say(job.channel, answers.pointer(now, desk.link(message)), only_to=job.asker)
