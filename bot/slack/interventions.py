"""What people click and type for besides plans, approvals and runs: words on steps, cancel, withdraw, freeze and thaw.

The engine decides, this asks and tells. Nothing here needs the cluster.
"""

import asyncio

from bot.interventions import interventions
from bot.settings import SettingsError
from bot.slack.blocks import answers
from bot.slack.desk import Desk
from bot.slack.jobs import Cancel, Freeze, GoOn, SayOfStep, Thaw, Withdraw
from bot.slack.tell import tell_request
from runbooks import approval as approvals
from runbooks.approval import Person
from runbooks.engine import Refusal, has_died
from runbooks.events import Say, StepEvent
from runbooks.execution import Execution, Statement
from runbooks.execution import State as ExecutionState
from runbooks.interventions import Interventions


async def _words(desk: Desk, cluster: str) -> Interventions:
    settings = await asyncio.to_thread(desk.now)
    return interventions(settings, cluster, desk.state, desk.who(settings, cluster))


async def say_of_step(desk: Desk, job: SayOfStep) -> GoOn | None:
    """Say a word on a step. The answer is what is to be done next: to go on, where whoever said it may."""
    execution = await asyncio.to_thread(desk.state.runbooks.get, job.execution)
    person = desk.person(job.asker, execution.plan.cluster)
    said = await asyncio.to_thread(desk.state.runbooks.statements, execution.id)
    try:
        if not _kept_already(job, person, execution, said):
            words = await _words(desk, execution.plan.cluster)
            if len(said) > job.after and execution.state is ExecutionState.ASKING:
                last = f"{said[-1].person} said {said[-1].kind} of step {said[-1].step}"
                await _refuse(desk, person, execution, f"{last} since this button was drawn: look at the message again")
            await words.say(execution, person, job.kind, job.said, job.typed, job.step)
    finally:
        await tell_request(desk, execution.id)
    if others := approvals.may_run(execution.plan, person, begun=True):
        content = answers.failure(f"Your word is kept. Somebody else goes on with {execution.id}: {'; '.join(others)}")
        await desk.say(job.channel, content, only_to=job.asker)
        return None
    return GoOn(job.asker, job.channel, execution.id)


def _kept_already(job: SayOfStep, person: Person, execution: Execution, said: tuple[Statement, ...]) -> bool:
    """Whether this very word was kept before a restart came between it and going on."""
    if (execution.state, execution.asking) != (ExecutionState.ASKING, job.step) or len(said) != job.after + 1:
        return False
    last = said[-1]
    return (last.step, last.kind, last.said) == (job.step, job.kind, job.said) and last.person in person.ids


async def _refuse(desk: Desk, person: Person, execution: Execution, reason: str) -> None:
    record = desk.state.runbooks.record
    await asyncio.to_thread(record, "word refused", person.id, execution.id, {"reasons": [reason]})
    raise Refusal(f"the word on {execution.id} is refused", [reason])


async def cancel(desk: Desk, job: Cancel) -> None:
    """End an execution, at once or after the act that is under way."""
    await asyncio.to_thread(desk.state.runbooks.interrupted, has_died)  # a dead runner cannot be asked to stop
    execution = await asyncio.to_thread(desk.state.runbooks.get, job.execution)
    person = desk.person(job.asker, execution.plan.cluster)
    words = await _words(desk, execution.plan.cluster)
    try:
        await words.cancel(execution, person, job.why)
        said = StepEvent("", Say.ENDED, f"cancelled by {person.id}" + (f": {job.why}" if job.why else ""))
        await asyncio.to_thread(desk.state.requests.tell, execution.id, said)
    finally:
        await tell_request(desk, execution.id)


async def withdraw(desk: Desk, job: Withdraw) -> None:
    """Take one's own approval back."""
    execution = await asyncio.to_thread(desk.state.runbooks.get, job.execution)
    person = desk.person(job.asker, execution.plan.cluster)
    words = await _words(desk, execution.plan.cluster)
    try:
        await words.withdraw(execution, person)
    finally:
        await tell_request(desk, execution.id)


def _cluster(desk: Desk, name: str | None) -> str:
    """The name of a cluster. Whatever else of its configuration is broken keeps nobody from stopping everything."""
    try:
        return desk.target(name).name
    except SettingsError:
        return desk.settings.cluster(name)[0]


async def freeze(desk: Desk, job: Freeze) -> None:
    """Stop every act in a cluster, and tell everybody in the channel."""
    cluster = _cluster(desk, job.cluster)
    person = desk.person(job.asker, cluster)
    await (await _words(desk, cluster)).freeze(person, job.why)
    held = await asyncio.to_thread(desk.state.runbooks.frozen, cluster)
    await desk.edit(job.message, answers.frozen(cluster, person.id, held.why if held else job.why))


async def thaw(desk: Desk, job: Thaw) -> None:
    """Let acts go on in a cluster, and tell with what somebody may go on."""
    cluster = _cluster(desk, job.cluster)
    person = desk.person(job.asker, cluster)
    were = await (await _words(desk, cluster)).thaw(person)
    known = await asyncio.to_thread(desk.state.runbooks.history)
    paused = [each for each in known if each.state is ExecutionState.PAUSED and each.plan.cluster == cluster]
    await desk.edit(job.message, answers.thawed(cluster, person.id, paused, were_frozen=were))
