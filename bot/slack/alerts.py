"""Alertmanager's alerts in Slack: a message a group, what was found about its pods in the thread."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable

from bot.diagnose import NoSuchSubject, look_at_subject, parse_subject
from bot.http.alertmanager import Told
from bot.settings import SettingsError
from bot.slack import looks
from bot.slack.blocks import alert as blocks
from bot.slack.blocks import answers
from bot.slack.desk import Desk
from bot.slack.jobs import AnyJob, FollowUp, TellAlerts
from bot.store.alerts import Alert, AlertGroup
from bot.store.messages import Content
from diagnostics.model import Status, Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.librados import CephConfError
from diagnostics.sources.kubernetes.api import NoSuchConfiguration

MOST_LOOKS = 3
"""How many pods of a group are looked at: the others most likely wait for the same."""
_POD = re.compile(r"^(?:exported_)?pod(?:_name)?$")
_NAMESPACE = re.compile(r"^(?:exported_)?namespace$")


async def keep(desk: Desk, accept: Callable[[AnyJob, str], Awaitable[None]], told: Told) -> None:
    """Keep a group as Alertmanager told it, and have it told.

    Raises:
        StoreError: it cannot be kept.
        Busy: too much waits already.
    """
    state, first = desk.state, blocks.told_first(told.alerts)
    await asyncio.to_thread(
        state.alerts.keep, told.key, told.cluster, told.channel, told.alerts, told.truncated, first, state.messages
    )
    await accept(TellAlerts("", told.channel, told.key), f"alerts/{told.key}")


async def tell(desk: Desk, job: TellAlerts) -> None:
    """Let a group's message say how it stands, and look at the pods that it names: at each once, while it fires."""
    group = await asyncio.to_thread(desk.state.alerts.get, job.group)
    await desk.edit(group.message, blocks.alerts(group))
    for subject in subjects(group.firing)[:MOST_LOOKS]:
        await _look(desk, group, subject)
    for subject in subjects(tuple(alert for alert in group.alerts if not alert.firing)):
        incident = await asyncio.to_thread(desk.state.incidents.about, group.cluster, subject)
        if incident is not None:
            again = FollowUp("", incident.channel, incident.id)
            await asyncio.to_thread(desk.state.jobs.add, again, key=f"follow/{incident.id}")


async def _look(desk: Desk, group: AlertGroup, subject: Subject) -> None:
    """Look at a pod in the group's thread, unless that was answered there already."""
    state, begun = desk.state, answers.begun(f"Looking at {subject}")
    key = f"alert/{group.message}/{hashlib.sha256(str(subject).encode()).hexdigest()[:32]}"
    message = await asyncio.to_thread(lambda: state.messages.add(group.channel, begun, parent=group.message, key=key))
    if (await asyncio.to_thread(state.messages.get, message)).content != begun:
        return
    desk.wake()
    if (content := await _explained(desk, group, subject, message)) is not None:
        await desk.edit(message, content)


async def _explained(desk: Desk, group: AlertGroup, subject: Subject, message: int) -> Content | None:
    """What a pod waits for, or where that is told. A new incident is told of by `message` itself: None then."""
    try:
        answer = await look_at_subject(desk.target(group.cluster), desk.state, subject)
    except (NoSuchSubject, SettingsError, CouldNotLook, NoSuchConfiguration, CephConfError) as error:
        return answers.failure(str(error))
    if answer.status is not Status.FOUND:
        return answers.answer(answer)
    incident = await looks.keep(desk, group.cluster, answer, group.channel, message)
    if incident.message == message:
        return None
    told = await asyncio.to_thread(desk.state.messages.get, incident.message)
    return answers.pointer(incident, desk.link(told))


def subjects(alerts: tuple[Alert, ...]) -> list[Subject]:
    """The pods that alerts are about, by their labels; each once, in the order of the alerts."""
    found: dict[str, Subject] = {}
    for alert in alerts:
        pod = next((value for name, value in alert.labels.items() if _POD.match(name) and value), None)
        namespace = next((value for name, value in alert.labels.items() if _NAMESPACE.match(name) and value), None)
        if pod is None or namespace is None:
            continue
        try:
            subject = parse_subject((f"pod/{pod}",), namespace)
        except NoSuchSubject:
            continue  # whoever writes a rule may call anything a pod
        found.setdefault(str(subject), subject)
    return list(found.values())
