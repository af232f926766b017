"""Does what was asked for, on the work loop: keeps each job until it is done, and says what went wrong in a sentence."""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec

from bot.diagnose import NoSuchSubject
from bot.settings import SettingsError
from bot.slack import alerts, attention, interventions, looks, remedies, reporting
from bot.slack.acceptor import Acceptor
from bot.slack.blocks import answers
from bot.slack.clusters import cluster_of
from bot.slack.desk import Desk
from bot.slack.jobs import (
    Ack,
    AnyJob,
    Approve,
    AskReport,
    Cancel,
    Deny,
    FollowUp,
    Forgotten,
    Freeze,
    GoOn,
    LookAtAll,
    LookAtLocks,
    LookAtSubject,
    MakeReport,
    Notice,
    PlanFix,
    RequestApproval,
    RunRunbook,
    SayOfStep,
    Snooze,
    TellAlerts,
    Thaw,
    Withdraw,
    lane_of,
)
from bot.slack.tell import tell_request
from bot.slack.unknown import Unknown
from bot.store.jobs import Left
from bot.store.messages import Content, Said
from bot.store.replicas import Pulse
from bot.work import Busy, Lane, WorkLoop
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.librados import CephConfError
from diagnostics.sources.kubernetes.api import NoSuchConfiguration
from runbooks.catalog import NoSuchRunbookError
from runbooks.database import StoreError
from runbooks.engine import Refusal
from runbooks.loader import RunbookErrors
from runbooks.parameters import BadParametersError
from runbooks.plan import PLAN_LASTS
from runbooks.store import LostLease

_log = logging.getLogger("unstick.work")
KEEP = 10.0  # seconds between two looks at what waits: an approval expires, the command line went on with something
POLL = 1.0  # seconds between two looks for work that is nobody's
# So much of one person's waits at most: a rush is taken, a loop in somebody's script does not shut all others out.
EACH = 1_000
TOO_SLOW = "The state database is too slow just now, so nothing was accepted: try again in a minute."
_TOLD = (
    NoSuchSubject, SettingsError, CouldNotLook, NoSuchConfiguration, CephConfError, StoreError, LostLease,
    NoSuchRunbookError, RunbookErrors, BadParametersError,
)  # fmt: skip


class Worker:
    """Takes jobs from the edge and does them on the work loop. Of several replicas each does its own jobs.

    `pulse` tells which replica this is (None: the only one).
    """

    def __init__(
        self, desk: Desk, loop: WorkLoop, pulse: Pulse | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.desk = desk
        self.loop = loop
        self.stopping = asyncio.Event()
        self.pulse = pulse or Pulse(desk.state.replicas, alone=True)
        self.acceptor = Acceptor(
            desk.state, self.pulse.id, self._submit_or_wait, desk.wake, admit=self._admit, dismiss=self._dismiss
        )
        self._without_place: dict[int, Left] = {}
        self.unknown = Unknown(desk.state, self.pulse.id, self.acceptor.unwanted, self._take_on, monotonic)
        # Of whom how much waits or is under way here; jobs that nobody asked for are nobody's.
        self._askers: Counter[str] = Counter()
        self._guard = threading.Lock()

    async def accept(self, job: AnyJob, key: str | None = None) -> None:
        """Keep a job and have it done. Where this is cancelled, it is not done. Of one `key` there is one job at a time.

        Raises:
            Busy: too much waits already.
            StoreError: it cannot be kept, and so will not be done.
        """
        await self.acceptor.take(lambda _: job, key=key)

    async def begin(
        self, channel: str, first: Content, job: Callable[[int], AnyJob], parent: int | None = None, *,
        thread: str | None = None, key: str | None = None,
    ) -> None:  # fmt: skip
        """Accept a job with a message that will become its answer: both or neither. `thread`: as a message has it.

        Raises:
            Busy: too much waits already.
            StoreError: it cannot be kept, and so will not be done.
        """
        await self.acceptor.take(job, Said(channel, first, parent, thread), key)

    def _admit(self, job: AnyJob) -> None:
        """Find a job a place among those that wait. What nobody asked for has one: nobody could ask for it again."""
        if not job.asker:
            return
        with self._guard:
            if self._askers[job.asker] >= EACH:
                raise Busy(f"{EACH} of your requests wait already: try again when some of them are answered.")
            if not self.loop.room(lane_of(job)):
                raise Busy("Too many requests wait already: try again in a minute.")
            self._askers[job.asker] += 1

    def _dismiss(self, job: AnyJob) -> None:
        if job.asker:
            with self._guard:
                self._askers[job.asker] -= 1
                if self._askers[job.asker] <= 0:
                    del self._askers[job.asker]

    def resume(self) -> None:
        """Live as a replica, and go on with everything that had been accepted before a restart.

        Raises:
            StoreError: the state database cannot be used.
        """
        if self.pulse.alone:
            self.pulse.begin()
        self.take_over(of_the_dead=True)

    def take_over(self, *, of_the_dead: bool) -> None:
        """Do what is nobody's, or was a dead replica's. What was decided too long ago is asked for anew.

        Raises:
            StoreError: the state database cannot be used.
        """
        for left in self.desk.state.jobs.take_over(AnyJob, self.pulse.id, of_the_dead=of_the_dead):
            self._take_on(left)

    def _take_on(self, left: Left) -> None:
        job = _resumed(left.job)
        if lane_of(job) is Lane.DECISIONS and self.desk.state.jobs.now() - left.asked >= PLAN_LASTS:
            job = Forgotten(job.asker, job.channel, f"{left.asked:%Y-%m-%d %H:%M:%S} UTC")
        if job.asker:
            with self._guard:
                self._askers[job.asker] += 1
        self._submit_or_wait(replace(left, job=job))

    async def keep(self) -> None:
        """Let messages of requests say how these stand, also where something else than a click changed that.

        And go on with what is left over: by a replica that died, by one that ended, or by whoever wrote it for anybody.
        """
        await asyncio.gather(self._every(lambda: KEEP, self.sweep), self._every(lambda: POLL, self._gather))

    async def _every(self, seconds: Callable[[], float], work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except StoreError as error:
                _log.error("%s", error)
            except Exception:  # noqa: BLE001 - one row that nobody can read must not end the rounds for all others
                _log.exception("a round through what waits ended early")
            await asyncio.sleep(seconds())

    async def _gather(self) -> None:
        for number in list(self._without_place):
            if left := self._without_place.pop(number, None):
                self._submit_or_wait(left)
        if not self.stopping.is_set():
            await asyncio.to_thread(self.take_over, of_the_dead=not self.pulse.alone)

    async def sweep(self) -> None:
        """End what has expired by the store's time, and let every open request's message say how it stands now.

        Whoever asked for what expired is told once, by whichever bot closes the request, also after a restart.
        """
        state = self.desk.state
        if not self.stopping.is_set():
            await asyncio.to_thread(self.unknown.find)
        await asyncio.to_thread(lambda: state.runbooks.expire(state.runbooks.now()))
        for request in await asyncio.to_thread(state.requests.open):
            await self._tell(request.execution)

    async def _tell(self, execution: str) -> None:
        try:
            await tell_request(self.desk, execution)
        except Exception:  # noqa: BLE001 - whatever one request fails of, the others are told of all the same
            _log.exception("the messages of %s could not be brought up to date", execution)

    def stop(self) -> None:
        """Let runs end after the act that is under way; they are gone on with after the restart."""
        self.loop.call(self._stop())

    async def _stop(self) -> None:
        self.stopping.set()

    def _submit_or_wait(self, left: Left) -> None:
        """Have something done that was accepted already: it is not turned away, but waits for a place."""
        self.unknown.known.add(left.number)
        try:
            self.loop.submit(lane_of(left.job), lambda: self._do(left), lambda: cluster_of(self.desk, left.job))
        except Busy:
            self._without_place[left.number] = left
        except RuntimeError:  # the loop has ended: it is in the store, for another replica or the next start
            self._over(left)

    def _over(self, left: Left) -> None:
        """This replica has nothing more to do with a job."""
        self.unknown.known.discard(left.number)
        self._dismiss(left.job)

    async def _do(self, left: Left) -> None:
        number, job = left.number, left.job
        if self.stopping.is_set() or not await self._is_ours(number):
            self._over(left)
            return  # as it stands in the store it is done by another replica, or after the restart
        following: GoOn | None = None
        said: Content | None = None
        began = time.monotonic()
        try:
            following = await self._done(job)
            self.desk.metrics.did(type(job).__name__, time.monotonic() - began)
            if following is not None and following is job:
                self._dismiss(job)
                return  # left as it stands: it is kept for the next start
        except Refusal as refusal:
            said = answers.refusal(refusal.what, refusal.reasons)
        except _TOLD as error:
            if not job.asker:
                _log.warning("a job of kind %s that nobody asked for failed: %s", type(job).__name__, error)
                if isinstance(error, StoreError):
                    self._without_place[number] = left  # nobody can ask for it again: it is done once that can be used
                    return
            said = answers.failure(f"{_which(job)}{error}")
        except Exception as error:  # noqa: BLE001 - whatever one job fails of, its asker is told and the next one done
            _log.exception("a job of kind %s failed", type(job).__name__)
            what = f"This is a mistake in Unstick itself ({type(error).__name__}): its log has the details; please report it."
            said = answers.failure(f"{_which(job)}{what}")
        try:
            # Where another replica has the job by now, its answer stands: why we failed is nobody's news.
            if said is not None and await self._is_ours(number):
                # Of this job it is said once, should another replica do it anew.
                await self._say(job, said, left.name)
            if following is None:
                await asyncio.to_thread(self.desk.state.jobs.done, number, self._owner())
            elif not await asyncio.to_thread(self.desk.state.jobs.replace, number, following, self._owner()):
                following = None
        except StoreError as error:
            _log.error("what came of a job of kind %s could not be kept: %s", type(job).__name__, error)
            # Neither told nor noted: it is done again, and finds what was done of it.
            self._without_place[number] = replace(left, job=_resumed(following or job))
            return
        if following is None:
            self._over(left)
        else:
            self._submit_or_wait(replace(left, job=following))

    def _owner(self) -> str | None:
        """Whose jobs are touched: whoever is alone has them all."""
        return None if self.pulse.alone else self.pulse.id

    async def _is_ours(self, number: int) -> bool:
        """Whether a job that waited here is not done by another replica, which took this one for dead, by now."""
        owner = self._owner()
        if owner is None:
            return True
        try:
            return await asyncio.to_thread(self.desk.state.jobs.owned, number, owner)
        except StoreError:
            return True  # to do it twice is harmless; to leave it is not

    async def _done(self, job: AnyJob) -> GoOn | None:
        """Do a job. The answer is what is to be done next: the job itself where it was left unfinished."""
        desk = self.desk
        if isinstance(job, GoOn):
            return None if await remedies.go_on(desk, job, self.stopping) else job
        if isinstance(job, RequestApproval):
            return await remedies.request_approval(desk, job)
        if isinstance(job, RunRunbook):
            return await remedies.run_runbook(desk, job)
        if isinstance(job, Approve):
            return await remedies.approve(desk, job)
        if isinstance(job, SayOfStep):
            return await interventions.say_of_step(desk, job)
        await self._rest(job)
        return None

    def _rest(self, job: AnyJob) -> Awaitable[None]:
        desk = self.desk
        match job:
            case LookAtSubject():
                return looks.look(desk, job)
            case LookAtAll():
                return looks.look_at_all(desk, job)
            case LookAtLocks():
                return looks.locks(desk, job)
            case PlanFix():
                return remedies.plan_fix(desk, job)
            case Deny():
                return remedies.deny(desk, job)
            case Cancel():
                return interventions.cancel(desk, job)
            case Withdraw():
                return interventions.withdraw(desk, job)
            case Freeze():
                return interventions.freeze(desk, job)
            case Thaw():
                return interventions.thaw(desk, job)
            case Notice():
                return attention.notice(desk, job)
            case FollowUp():
                return attention.follow_up(desk, job)
            case Ack():
                return attention.ack(desk, job)
            case Snooze():
                return attention.snooze(desk, job)
            case MakeReport():
                return reporting.report(desk, job)
            case AskReport():
                return reporting.ask(desk, job)
            case TellAlerts():
                return alerts.tell(desk, job)
            case Forgotten():
                what = f"What you asked for at {job.asked} was left undone while Unstick was away: ask anew."
                return self._say(job, answers.failure(what))
        raise AssertionError(f"nobody does {job!r}")

    async def _say(self, job: AnyJob, content: Content, key: str | None = None) -> None:
        """Tell what went wrong where the answer was to come, or the asker alone, where that is nowhere."""
        message = getattr(job, "message", None)
        if isinstance(job, LookAtSubject) and job.incident:
            message = None  # an incident's message tells of the incident, whatever happens to one look
        if isinstance(message, int):
            await self.desk.edit(message, content)
            return
        parent = await self._thread(job) if job.asker else None
        add = self.desk.state.messages.add
        await asyncio.to_thread(add, job.channel, content, parent=parent, only_to=job.asker or None, key=key)
        self.desk.wake()

    async def _thread(self, job: AnyJob) -> int | None:
        """The thread in which somebody clicked: there the answer is looked for."""
        state = self.desk.state
        if isinstance(job, LookAtSubject):
            return job.message
        if isinstance(job, RequestApproval):
            try:
                message = (await asyncio.to_thread(state.requests.shown, job.plan)).message
            except KeyError:
                return None
        elif isinstance(job, Approve | Deny | GoOn | SayOfStep | Withdraw | Cancel):
            request = await asyncio.to_thread(state.requests.get, job.execution)
            if request is None:
                return None
            message = request.message
        else:
            return None
        return (await asyncio.to_thread(state.messages.get, message)).parent


def _which(job: AnyJob) -> str:
    """What failed, where nobody asked and so nobody knows."""
    return f"The report {job.schedule} was not made: " if isinstance(job, MakeReport) else ""


def _resumed(job: AnyJob) -> AnyJob:
    return msgspec.structs.replace(job, interrupted=True) if isinstance(job, GoOn) else job
