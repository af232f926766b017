"""The edge: every command, click and modal that Slack sends. It answers within Slack's 3 seconds and does nothing slow.

What it accepts is written into the store before Slack is told so. Who may do what is not decided here: but nobody is
asked to type a node's name who could not approve anyway, and nothing is taken from another workspace.
"""

import asyncio
import html
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltContext
from slack_sdk.web.async_client import AsyncWebClient

from bot.diagnose import NoSuchSubject, library, parse_subject
from bot.incidents import IncidentState
from bot.slack import commands, jobs
from bot.slack.blocks import answers
from bot.slack.blocks import incident as incident_blocks
from bot.slack.blocks import plan as plan_blocks
from bot.slack.commands import NotUnderstood, parse, usages
from bot.slack.desk import Desk
from bot.slack.errors import BOT_TOKEN, Rejected, SlackUnreachable, TokenRefused, answer_of
from bot.slack.place import channel_of, insist_on_plan, insist_on_request, refuse
from bot.slack.windows import WINDOWS, Window, said
from bot.slack.words import COMMAND, Button, Click, click_of
from bot.slack.worker import TOO_SLOW, Worker
from bot.store.messages import Content
from bot.work import Busy
from runbooks import approval as approvals
from runbooks.approval import Approval, Person
from runbooks.database import StoreError
from runbooks.engine import Refusal
from runbooks.execution import Said
from runbooks.loader import RunbookErrors
from runbooks.store import Execution
from runbooks.store import State as ExecutionState

_log = logging.getLogger("unstick.slack")
Body = Mapping[str, Any]
# Slack waits 3 s for an answer. A database that takes longer than this is said to be slow, and nothing is accepted.
PATIENCE = 2.0
# Of it, what Slack may take to open a dialog: the rest is for finding out which.
DIALOG = 1.5
_ANY = re.compile("")


class _Mistyped(Exception):
    """A critical plan's target was not typed as it is called: one sentence."""


class Edge:
    """Takes what people type and click."""

    def __init__(self, desk: Desk, worker: Worker, client: AsyncWebClient) -> None:
        self._desk = desk
        self._worker = worker
        self._client = client
        self._showing = asyncio.Lock()  # of two people who want to see the evidence one brings it, and both see it

    def register(self, app: AsyncApp) -> None:
        """Listen."""
        app.middleware(_same_workspace)
        for listener in LISTENERS:
            getattr(app, listener.kind)(listener.name)(self._as_bolt_wants(listener))
        for kind in ("action", "view"):  # asked last: what none of those is for
            getattr(app, kind)(_ANY)(self._as_bolt_wants(Listener(kind, "", Edge._unknown)))

    def _as_bolt_wants(self, listener: "Listener") -> Callable[..., Awaitable[None]]:
        """Bolt hands over what a listener's parameters are named after."""

        async def listen(ack: AsyncAck, body: Body) -> None:
            await listener.take(self, ack, body)

        return listen

    async def _command(self, ack: AsyncAck, body: Body) -> None:
        try:
            wanted = parse(body.get("text") or "")
        except NotUnderstood as error:
            await ack(text=html.escape(str(error), quote=False))  # it repeats what was typed
            return
        if isinstance(wanted, commands.Help):
            await _answer(ack, answers.help_text(usages()))
        elif isinstance(wanted, commands.Runbooks):
            await _answer(ack, await self._runbooks())
        else:
            refused = await self._accepted(self._asked(wanted, body["user_id"], body["channel_id"]))
            coming = "The answer comes in this channel; if none does, `/invite @unstick` first."
            await ack(text=html.escape(str(refused), quote=False) if refused else coming)

    async def _runbooks(self) -> Content:
        try:
            books = await asyncio.wait_for(asyncio.to_thread(library, self._desk.settings), PATIENCE)
        except RunbookErrors as error:
            return answers.failure(str(error))
        except TimeoutError:
            return answers.failure("The runbooks could not be read in time: try again in a minute.")
        return answers.runbooks(books.all())

    async def _asked(self, wanted: commands.Wanted, user: str, channel: str) -> None:
        """Accept a command."""
        match wanted:
            case commands.Why(subject, cluster):
                await self._insist(user, subject.namespace, f"{subject} is not looked at")
                what = f"Looking at {subject}"
                await self._begin(channel, what, lambda m: jobs.LookAtSubject(user, channel, subject, cluster, m))
            case commands.Check(namespace, cluster):
                await self._insist(user, namespace, "nothing is looked at")
                what = f"Looking at {f'namespace {namespace}' if namespace else 'everything'}"
                await self._begin(channel, what, lambda m: jobs.LookAtAll(user, channel, namespace, cluster, m))
            case commands.Locks(cluster):
                await self._insist(user, None, "locks are not looked at")
                await self._begin(channel, "Reading locks", lambda m: jobs.LookAtLocks(user, channel, cluster, m))
            case commands.RunRunbook(runbook, params, cluster):
                what = f"Planning {runbook}"
                await self._begin(channel, what, lambda m: jobs.RunRunbook(user, channel, runbook, params, cluster, m))
            case commands.Freeze(why, cluster):
                await self._begin(channel, "Stopping everything", lambda m: jobs.Freeze(user, channel, cluster, why, m))
            case commands.Thaw(cluster):
                await self._begin(channel, "Letting acts go on", lambda m: jobs.Thaw(user, channel, cluster, m))
            case commands.GoOn(execution):
                await asyncio.to_thread(self._desk.state.runbooks.get, execution)
                await self._worker.accept(jobs.GoOn(user, channel, execution))

    async def _insist(self, user: str, namespace: str | None, what: str) -> None:
        """Turn away who may not look before anybody else reads of it; when the look is made, it is judged again."""
        await self._desk.insist(self._desk.person(user), (namespace,), what)

    async def _begin(
        self, channel: str, what: str, job: Callable[[int], jobs.AnyJob], parent: int | None = None
    ) -> None:
        """Accept a job with a message that will become its answer."""
        await self._worker.begin(channel, answers.begun(what), job, parent)

    async def _accepted(self, asking: Awaitable[None]) -> str | Refusal | None:
        """Wait, not for long, until what was asked for is kept. The answer says why it is not."""
        try:
            await asyncio.wait_for(asking, PATIENCE)
        except Refusal as refusal:
            return refusal
        except (Busy, StoreError, NoSuchSubject, _Mistyped) as error:
            return str(error)
        except KeyError as unknown:
            return f"{unknown.args[0]} is not known here, or not any more: ask anew with `{COMMAND} why`."
        except TimeoutError:
            return TOO_SLOW
        return None

    async def _click(self, take: "_Take", ack: AsyncAck, body: Body) -> None:
        await ack()  # a click needs no answer in words; what comes of it is written where it was made
        refused = await self._accepted(self._clicked(take, body))
        if isinstance(refused, Refusal):
            await self._whisper(body, answers.refusal(refused.what, refused.reasons))
        elif refused is not None:
            await self._whisper(body, answers.failure(refused))

    async def _clicked(self, take: "_Take", body: Body) -> None:
        """Take a click. One that is about nothing that there is was made up, or is older than the store: it is recorded."""
        person = self._desk.person(body["user"]["id"])
        try:
            click = click_of(body["actions"][0].get("value") or "")
        except ValueError as error:
            await refuse(self._desk, person, "", [f"this is no button of Unstick: {error}"])
        try:
            await take(self, click, body)
        except KeyError as unknown:
            what = f"{str(unknown.args[0])[:80]} is not known here, or not any more: ask anew with `{COMMAND} why`"
            await refuse(self._desk, person, click.execution, [what])
        except NoSuchSubject as wrong:
            await refuse(self._desk, person, click.execution, [str(wrong)[:400]])

    async def _unknown(self, ack: AsyncAck, body: Body) -> None:
        """A button or window that is none of ours: nothing of what it carries is read."""
        if "view" in body:
            await ack(response_action="clear")
        else:
            await ack()
        asked = str((body.get("actions") or [{}])[0].get("action_id") or (body.get("view") or {}).get("callback_id"))
        reasons = [f"Unstick has no button or window {asked[:80]!r}"]
        try:
            await refuse(self._desk, self._desk.person(body["user"]["id"]), "", reasons)
        except StoreError as error:
            _log.error("a click could not be put on record: %s", error)
        except Refusal as refusal:
            if "view" not in body:
                await self._whisper(body, answers.refusal(refusal.what, refusal.reasons))

    async def _its_own(self, click: Click, body: Body) -> Execution:
        """The execution that a click is about, if the click is of its message, its channel and its plan."""
        ts = (body.get("container") or {}).get("message_ts")
        return await insist_on_request(self._desk, click, self._desk.person(body["user"]["id"]), channel_of(body), ts)

    async def _whisper(self, body: Body, content: Content) -> None:
        """Say something to whoever clicked, where they clicked. With the database away this goes to the log alone."""
        channel, clicked = channel_of(body), (body.get("container") or {}).get("message_ts")
        try:
            parent = await asyncio.to_thread(self._desk.state.messages.thread_of, channel, clicked or "")
            await self._desk.say(channel, content, only_to=body["user"]["id"], parent=parent)
        except StoreError as error:
            _log.error("%s could not be told: %s; %s", body["user"]["id"], content.text, error)

    async def _why(self, click: Click, body: Body) -> None:
        user, channel = body["user"]["id"], channel_of(body)
        if not click.incident:
            namespace, _, name = click.pod.partition("/")
            subject, cluster = parse_subject((name,), namespace), click.cluster or None
        else:
            incident = await asyncio.to_thread(self._desk.state.incidents.get, click.incident)
            subject, cluster = incident.subject, incident.cluster
            if incident.state is IncidentState.OPEN:
                again = jobs.LookAtSubject(user, channel, subject, cluster, incident.message, incident.id)
                await self._worker.accept(again)
                return  # what is over keeps its message: whoever asks again is answered in a new one
        what = f"Looking at {subject}"
        await self._begin(channel, what, lambda m: jobs.LookAtSubject(user, channel, subject, cluster, m))

    async def _show_evidence(self, click: Click, body: Body) -> None:
        """Show the proofs in the incident's thread: once for all, and anew where they have changed."""
        incident = await asyncio.to_thread(self._desk.state.incidents.get, click.incident)
        person = self._desk.person(body["user"]["id"])
        try:
            await self._desk.insist(person, (incident.subject.namespace,), "the evidence is not shown")
        except Refusal as refusal:
            await self._whisper(body, answers.refusal(refusal.what, refusal.reasons))
            return
        async with self._showing:
            incident = await asyncio.to_thread(self._desk.state.incidents.get, click.incident)
            content = incident_blocks.evidence(incident)
            if incident.evidence is not None:
                await self._desk.edit(incident.evidence, content)
                return
            message = await self._desk.say(incident.channel, content, parent=incident.message)
            await asyncio.to_thread(self._desk.state.incidents.shows_evidence, incident.id, message)

    async def _plan_fix(self, click: Click, body: Body) -> None:
        incident = await asyncio.to_thread(self._desk.state.incidents.get, click.incident)
        user, channel = body["user"]["id"], incident.channel
        await self._begin(
            channel,
            "Planning",
            lambda message: jobs.PlanFix(user, channel, incident.id, click.offer, message),
            parent=incident.message,
        )

    async def _request_approval(self, click: Click, body: Body) -> None:
        user, channel = body["user"]["id"], channel_of(body)
        await insist_on_plan(self._desk, click, self._desk.person(user), channel)
        await self._worker.accept(jobs.RequestApproval(user, channel, click.plan, click.plan_hash))

    async def _approve(self, click: Click, body: Body) -> None:
        """Take an approval, or first ask for the name that a critical plan is confirmed by."""
        user, channel = body["user"]["id"], channel_of(body)
        execution = await self._its_own(click, body)
        person = self._desk.person(user)
        if reasons := self._cannot_approve(execution, person):
            # Never handed on as if the name had been typed: by the time it is judged, the person might have the role.
            record = self._desk.state.runbooks.record
            detail = {"reasons": list(reasons)}
            await asyncio.to_thread(record, "approval refused", person.id, execution.id, detail)
            raise Refusal(f"the approval of {execution.id} is refused", reasons)
        if execution.plan.confirmation is not None:
            await self._open(body, plan_blocks.approval_modal(execution, channel))
        else:
            await self._worker.accept(jobs.Approve(user, channel, execution.id, None))

    def _cannot_approve(self, execution: Execution, person: Person) -> tuple[str, ...]:
        """Why a person could not approve whatever is typed."""
        plan, now = execution.plan, self._desk.state.runbooks.now()
        approval = Approval(person, plan.hash, plan.confirmation, now)
        waits = execution.state is ExecutionState.WAITING
        ended = () if waits else (f"{execution.id} is {execution.state}: there is nothing to approve",)
        return (*ended, *approvals.may_approve(plan, approval, now))

    async def _open(self, body: Body, view: dict[str, Any]) -> None:
        try:
            await answer_of(self._client.views_open(trigger_id=body["trigger_id"], view=view), BOT_TOKEN, DIALOG)
        except Rejected as error:
            await self._whisper(body, answers.failure(f"Slack did not open the dialog ({error.code}): click again."))
        except (TokenRefused, SlackUnreachable) as error:
            _log.error("a dialog was not opened: %s", error)
            await self._whisper(body, answers.failure("Slack did not open the dialog in time: click again."))

    async def _submitted(self, window: Window, ack: AsyncAck, body: Body) -> None:
        """Take what was typed in a window. What cannot be meant is said at once, in the window."""
        await _close(ack, window.block, await self._accepted(self._typed(window, body)))

    async def _typed(self, window: Window, body: Body) -> None:
        user = body["user"]["id"]
        try:
            click, channel = plan_blocks.modal_click(body["view"])
        except ValueError as error:
            await refuse(self._desk, self._desk.person(user), "", [f"this is no window of Unstick: {error}"])
        execution = await insist_on_request(self._desk, click, self._desk.person(user), channel, None)
        value = body["view"]["state"]["values"].get(window.block, {}).get(window.input, {}).get("value")
        typed = value.strip() if isinstance(value, str) else ""
        wanted = window.wanted(execution)
        if wanted is not None and typed != wanted:
            raise _Mistyped(f"Type {wanted} exactly, or cancel.")
        await self._worker.accept(window.job(user, channel, click, typed))


async def _close(ack: AsyncAck, block: str, refused: str | Refusal | None) -> None:
    """Close a modal, or say in it why what was typed is not taken."""
    if refused is None:
        await ack()
    else:
        await ack(response_action="errors", errors={block: str(refused)})


async def _answer(ack: AsyncAck, content: Content) -> None:
    await ack(text=content.text, blocks=list(content.blocks))


async def _same_workspace(body: Body, context: AsyncBoltContext, next: Callable[[], Awaitable[None]]) -> None:  # noqa: A002 - bolt's own name
    """Take nothing from people of another workspace who share a channel: roles are of this one's people."""
    user = body.get("user")
    theirs = (user.get("team_id") if isinstance(user, dict) else None) or body.get("team_id")
    ours = context.authorize_result.team_id if context.authorize_result else None
    if ours is not None and theirs == ours:
        await next()
    else:
        _log.warning("a click or command from another workspace (%s) was not taken", theirs)


_Take = Callable[[Edge, Click, Body], Awaitable[None]]


@dataclass(frozen=True)
class Listener:
    """Something that Slack sends, and what takes it. The manifest is made of these too."""

    kind: Literal["command", "action", "view"]
    name: str
    take: Callable[[Edge, AsyncAck, Body], Awaitable[None]]


def _opening(view: Callable[[Execution, str, Click], dict[str, Any]]) -> _Take:
    """A click that opens a window."""

    async def take(edge: Edge, click: Click, body: Body) -> None:
        execution = await edge._its_own(click, body)
        await edge._open(body, view(execution, channel_of(body), click))

    return take


def _doing(job: Callable[[str, str, Click], jobs.AnyJob]) -> _Take:
    """A click that is a job."""

    async def take(edge: Edge, click: Click, body: Body) -> None:
        await edge._its_own(click, body)
        await edge._worker.accept(job(body["user"]["id"], channel_of(body), click))

    return take


def _window(window: Window) -> Listener:
    return Listener("view", window.name, lambda edge, ack, body: edge._submitted(window, ack, body))


def _button(button: Button, take: _Take) -> Listener:
    return Listener("action", button, lambda edge, ack, body: edge._click(take, ack, body))


LISTENERS = (
    Listener("command", COMMAND, Edge._command),
    _button(Button.WHY, Edge._why),
    _button(Button.SHOW_EVIDENCE, Edge._show_evidence),
    _button(Button.PLAN_FIX, Edge._plan_fix),
    _button(Button.REQUEST_APPROVAL, Edge._request_approval),
    _button(Button.APPROVE, Edge._approve),
    _button(Button.DENY, _opening(lambda execution, channel, _: plan_blocks.denial_modal(execution, channel))),
    _button(Button.WITHDRAW, _doing(lambda user, channel, click: jobs.Withdraw(user, channel, click.execution))),
    _button(Button.DONE, _doing(partial(said, Said.DONE))),
    _button(Button.ATTEST, _opening(plan_blocks.attestation_modal)),
    _button(Button.TRY_AGAIN, _doing(partial(said, Said.RETRY))),
    _button(Button.SKIP, _opening(plan_blocks.skip_modal)),
    _button(Button.CANCEL, _opening(lambda execution, channel, _: plan_blocks.cancel_modal(execution, channel))),
    *map(_window, WINDOWS),
)
