"""What all that Slack sends is taken with: within Slack's 3 seconds, from this workspace, where Unstick may be used.

What it accepts is written into the store before Slack is told so. Who may do what is not decided here: but nobody is
asked to type a node's name who could not approve anyway, and nothing is taken from another workspace.
"""

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from slack_bolt import BoltResponse
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltContext
from slack_sdk.web.async_client import AsyncWebClient

from bot import access
from bot.diagnose import NoSuchSubject
from bot.settings import SettingsError
from bot.slack import jobs
from bot.slack.blocks import answers
from bot.slack.commands import NotUnderstood
from bot.slack.desk import Desk
from bot.slack.errors import BOT_TOKEN, Rejected, SlackUnreachable, TokenRefused, answer_of
from bot.slack.place import Place, channel_of, place_of
from bot.slack.words import COMMAND
from bot.slack.worker import TOO_SLOW, Worker
from bot.store.messages import Content
from bot.work import Busy
from diagnostics.model import Subject
from runbooks.database import StoreError
from runbooks.engine import Refusal

_log = logging.getLogger("unstick.slack")
Body = Mapping[str, Any]
T = TypeVar("T")
# Slack waits 3 s for an answer. A database that takes longer than this is said to be slow, and nothing is accepted.
PATIENCE = 2.0
# Of it, what Slack may take to open a dialog or to show a home: the rest is for finding out which.
DIALOG = 1.5
# The same for the first answer to who is in which group.
GROUPS = 0.5
# The least of PATIENCE that is left for what came by HTTP: some is gone for seeing that it is not played again.
LEAST_PATIENCE = 0.7
ARRIVED: ContextVar[float | None] = ContextVar("arrived", default=None)
"""When, by time.monotonic(), a request came whose taking began before the edge had it."""
# Seconds for which what hints are made of may be older than the store.
HINTS_KEEP = 5.0
# Of so many events it is known that they were taken: Slack sends one again where it missed the acknowledgement.
_EVENTS = 1000
_ANY = re.compile("")


class NotTaken(Exception):
    """What was asked for is not taken: one sentence, or a refusal with its reasons."""

    def __init__(self, why: str | Refusal) -> None:
        super().__init__(str(why))
        self.why = why

    @property
    def content(self) -> Content:
        """As a message."""
        why = self.why
        return answers.refusal(why.what, why.reasons) if isinstance(why, Refusal) else answers.failure(why)


class Edge:
    """Takes what people type and click."""

    def __init__(self, desk: Desk, worker: Worker, client: AsyncWebClient) -> None:
        self.desk = desk
        self.worker = worker
        self.client = client
        self.showing = asyncio.Lock()  # of two people who want to see the evidence one brings it, and both see it
        self._events: OrderedDict[str, None] = OrderedDict()
        self._seen: tuple[float, tuple[tuple[str, Subject], ...]] = (float("-inf"), ())

    def register(self, app: AsyncApp) -> None:
        """Listen."""
        from bot.slack.edge.listeners import LISTENERS, Listener, unknown  # they are made of what takes an Edge

        app.middleware(_same_workspace)
        for listener in LISTENERS:
            on = {"shortcut": app.message_shortcut}.get(listener.kind) or getattr(app, listener.kind)
            on(listener.name)(self._as_bolt_wants(listener.take))
        for kind in ("action", "view", "shortcut"):  # asked last: what none of those is for
            getattr(app, kind)(_ANY)(self._as_bolt_wants(Listener(kind, "", unknown).take))

    def _as_bolt_wants(
        self, take: Callable[["Edge", AsyncAck, Body], Awaitable[None]]
    ) -> Callable[..., Awaitable[None]]:
        """Bolt hands over what a listener's parameters are named after."""

        async def listen(ack: AsyncAck, body: Body) -> None:
            await take(self, ack, body)

        return listen

    async def accepted(self, asking: Awaitable[T]) -> T:
        """Wait, not for long, until what was asked for is kept, or answered.

        Raises:
            NotTaken: it is not, and why.
        """
        try:
            return await asyncio.wait_for(self._knowing_people(asking), _patience())
        except Refusal as refusal:
            raise NotTaken(refusal) from None
        except (Busy, StoreError, NoSuchSubject, NotUnderstood, SettingsError) as error:
            raise NotTaken(str(error)) from None
        except KeyError as unknown:
            why = f"{unknown.args[0]} is not known here, or not any more: ask anew with `{COMMAND} why`."
            raise NotTaken(why) from None
        except TimeoutError:
            raise NotTaken(TOO_SLOW) from None

    async def _knowing_people(self, asking: Awaitable[T]) -> T:
        """Right after a start Slack has not said yet who is in which group."""
        await self.desk.groups.asked(self.desk.settings.groups, GROUPS)
        return await asking

    async def insist_on_place(self, user: str, channel: str, *, diagnosis: bool) -> None:
        """Let nobody use Unstick where the configuration does not want it.

        Raises:
            Refusal: this is such a place; it is on record.
        """
        reasons = access.may_use(self.desk.settings, channel, diagnosis=diagnosis)
        if reasons:
            record, person = self.desk.state.runbooks.record, self.desk.person(user)
            detail = {"channel": channel[:80], "reasons": list(reasons)}
            await asyncio.to_thread(record, "use refused", person.id, "", detail)
            raise Refusal("this is not the place for it", reasons)

    async def insist_on_look(self, user: str, cluster: str | None, namespaces: Iterable[str | None], what: str) -> None:
        """Turn away who may not look before anybody else reads of it; when the look is made, it is judged again."""
        await self.desk.insist(self.desk.person(user, self.desk.cluster(cluster)), namespaces, what)

    async def begin(self, place: Place, what: str, job: Callable[[int], jobs.AnyJob], key: str | None = None) -> None:
        """Accept a job with a message that will become its answer."""
        first = answers.begun(what)
        await self.worker.begin(place.channel, first, job, place.parent, thread=place.thread, key=key)

    async def open(self, trigger: str, view: dict[str, Any]) -> None:
        """Open a window.

        Raises:
            NotTaken: Slack did not open it.
        """
        try:
            await answer_of(self.client.views_open(trigger_id=trigger, view=view), BOT_TOKEN, DIALOG)
        except Rejected as error:
            raise NotTaken(f"Slack did not open the dialog ({error.code}): click again, or type it again.") from None
        except (TokenRefused, SlackUnreachable) as error:
            _log.error("a dialog was not opened: %s", error)
            raise NotTaken("Slack did not open the dialog in time: click again, or type it again.") from None

    async def whisper(self, body: Body, content: Content) -> None:
        """Say something to whoever clicked, where they clicked. With the database away this goes to the log alone."""
        if not channel_of(body):
            return  # a shortcut that belongs to no message
        try:
            place = await asyncio.to_thread(place_of, self.desk, body)
        except StoreError:
            place = Place(channel_of(body))
        await self.tell(place, body["user"]["id"], content)

    async def tell(self, place: Place, user: str, content: Content) -> None:
        """Say something to one person alone. With the database away this goes to the log alone."""
        try:
            await self.desk.say(place.channel, content, only_to=user, parent=place.parent, thread=place.thread)
        except StoreError as error:
            _log.error("%s could not be told: %s; %s", user, content.text, error)

    def is_first(self, event: str) -> bool:
        """Whether an event comes for the first time."""
        if event in self._events:
            return False
        self._events[event] = None
        while len(self._events) > _EVENTS:
            self._events.popitem(last=False)
        return True

    async def seen(self) -> tuple[tuple[str, Subject], ...]:
        """What the store's incidents are about, with their clusters: what hints are made of. It may be seconds old."""
        now = asyncio.get_running_loop().time()
        at, known = self._seen
        if now - at < HINTS_KEEP:
            return known
        self._seen = (now, known)  # of many who ask at once one looks
        found = await asyncio.to_thread(self.desk.state.incidents.recent, 50)
        known = tuple((one.cluster, each) for one in found for each in (one.subject, *one.subjects))
        self._seen = (now, known)
        return known


def _patience() -> float:
    """Seconds that are left for accepting what was asked for."""
    arrived = ARRIVED.get()
    return PATIENCE if arrived is None else max(LEAST_PATIENCE, PATIENCE - (time.monotonic() - arrived))


async def _same_workspace(
    body: Body,
    context: AsyncBoltContext,
    next: Callable[[], Awaitable[None]],  # noqa: A002 - bolt's own name
) -> BoltResponse | None:
    """Take nothing from people of another workspace who share a channel: roles are of this one's people."""
    theirs = _teams(body)
    ours = context.authorize_result.team_id if context.authorize_result else None
    if ours is not None and theirs == {ours}:
        await next()
        return None
    _log.warning("something from another workspace (%s) was not taken", ", ".join(sorted(theirs)))
    return BoltResponse(status=200) if "event" in body else None  # else Slack would send the event again and again


def _teams(body: Body) -> set[str]:
    """The workspaces that a payload speaks of: of who did it, where Slack says so, else the one that it was sent for."""
    user, event = body.get("user"), body.get("event")
    if isinstance(event, dict):
        # https://docs.slack.dev/apis/slack-connect: in a shared channel these are of whoever wrote.
        own = (event.get(name) for name in ("user_team", "source_team", "team"))
        return {str(each) for each in (*own, body.get("team_id")) if each}
    team = body.get("team")  # where Slack does not say of which workspace somebody is
    theirs = (user.get("team_id") if isinstance(user, dict) else None) or body.get("team_id")
    theirs = theirs or (team.get("id") if isinstance(team, dict) else None)
    return {str(theirs)} if theirs else set()
