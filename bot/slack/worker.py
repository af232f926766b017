"""Does what was asked for, on the work loop: keeps each job until it is done, and says what went wrong in a sentence."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from bot.diagnose import NoSuchSubject
from bot.settings import SettingsError
from bot.slack import interventions, looks, remedies, reporting
from bot.slack.blocks import answers
from bot.slack.desk import Desk
from bot.slack.jobs import (
    AnyJob,
    Approve,
    Cancel,
    Deny,
    Forgotten,
    Freeze,
    GoOn,
    LookAtAll,
    LookAtLocks,
    LookAtSubject,
    MakeReport,
    PlanFix,
    RequestApproval,
    RunRunbook,
    SayOfStep,
    Thaw,
    Withdraw,
    lane_of,
)
from bot.slack.tell import tell_request
from bot.store.messages import Content
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
TOO_SLOW = "The state database is too slow just now, so nothing was accepted: try again in a minute."
_TOLD = (
    NoSuchSubject, SettingsError, CouldNotLook, NoSuchConfiguration, CephConfError, StoreError, LostLease,
    NoSuchRunbookError, RunbookErrors, BadParametersError,
)  # fmt: skip


class Worker:
    """Takes jobs from the edge and does them on the work loop."""

    def __init__(self, desk: Desk, loop: WorkLoop) -> None:
        self.desk = desk
        self.loop = loop
        self.stopping = asyncio.Event()
        self._without_place: dict[int, AnyJob] = {}

    async def accept(self, job: AnyJob) -> None:
        """Keep a job and have it done. Where this is cancelled, it is not done.

        Raises:
            Busy: too much waits already.
            StoreError: it cannot be kept, and so will not be done.
        """
        await self._take(lambda: job, lambda _: None)

    async def begin(
        self, channel: str, first: Content, job: Callable[[int], AnyJob], parent: int | None = None
    ) -> None:
        """Accept a job with a message that will become its answer, or say there why it is not accepted.

        Raises:
            Busy: too much waits already.
            StoreError: it cannot be kept, and so will not be done.
        """
        messages = self.desk.state.messages
        said: list[int] = []

        def made() -> AnyJob:
            said.append(messages.add(channel, first, parent=parent))
            return job(said[0])

        def refused(why: str) -> None:
            for message in said:
                messages.edit(message, answers.failure(why))

        await self._take(made, refused)

    async def _take(self, made: Callable[[], AnyJob], refused: Callable[[str], None]) -> None:
        """A thread that waits for the database cannot be stopped: whoever is first, it or its canceller, decides."""
        jobs, decided = self.desk.state.jobs, threading.Lock()

        def take() -> None:
            if decided.locked():
                return
            try:
                job = made()
                number = jobs.add(job, wanted=lambda: decided.acquire(blocking=False))
                if number is None:
                    refused(TOO_SLOW)
                elif isinstance(job, MakeReport):
                    self._submit_or_wait(number, job)  # nobody is there to ask for it again
                else:
                    self._submit_or_refuse(number, job)
            except (Busy, StoreError) as error:
                with suppress(StoreError):
                    refused(str(error))
                raise
            finally:
                self.desk.wake()

        taking = asyncio.ensure_future(asyncio.to_thread(take))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            if decided.acquire(blocking=False):
                taking.add_done_callback(lambda late: late.cancelled() or late.exception())
                raise
            await taking

    def resume(self) -> None:
        """Go on with everything that had been accepted before a restart. What was decided too long ago is asked for anew."""
        state = self.desk.state
        for left in state.jobs.left(AnyJob):
            job = left.job
            if lane_of(job) is Lane.DECISIONS and state.jobs.now() - left.asked >= PLAN_LASTS:
                when = f"{left.asked:%Y-%m-%d %H:%M:%S} UTC"
                self._submit_or_wait(left.number, Forgotten(job.asker, job.channel, when))
                continue
            self._submit_or_wait(left.number, _resumed(job))

    async def keep(self) -> None:
        """Let messages of requests say how these stand, also where something else than a click changed that."""
        while True:
            for number in list(self._without_place):
                self._submit_or_wait(number, self._without_place.pop(number))
            try:
                await self.sweep()
            except StoreError as error:
                _log.error("%s", error)
            except Exception:  # noqa: BLE001 - one row that nobody can read must not end the rounds for all others
                _log.exception("a round through what waits ended early")
            await asyncio.sleep(KEEP)

    async def sweep(self) -> None:
        """End what has expired by the store's time, and let every open request's message say how it stands now.

        Whoever asked for what expired is told once, by whichever bot closes the request, also after a restart.
        """
        state = self.desk.state
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

    def _submit(self, number: int, job: AnyJob) -> None:
        self.loop.submit(lane_of(job), lambda: self._do(number, job))

    def _submit_or_refuse(self, number: int, job: AnyJob) -> None:
        try:
            self._submit(number, job)
        except Busy:
            self.desk.state.jobs.done(number)
            raise

    def _submit_or_wait(self, number: int, job: AnyJob) -> None:
        """Have something done that was accepted already: it is not turned away, but waits for a place."""
        try:
            self._submit(number, job)
        except Busy:
            self._without_place[number] = job

    async def _do(self, number: int, job: AnyJob) -> None:
        jobs = self.desk.state.jobs
        following: GoOn | None = None
        said: Content | None = None
        try:
            following = await self._done(job)
            if following is job:
                return  # left as it stands: it is kept for the next start
        except Refusal as refusal:
            said = answers.refusal(refusal.what, refusal.reasons)
        except _TOLD as error:
            said = answers.failure(f"{_which(job)}{error}")
        except Exception as error:  # noqa: BLE001 - whatever one job fails of, its asker is told and the next one done
            _log.exception("a job of kind %s failed", type(job).__name__)
            what = f"This is a mistake in Unstick itself ({type(error).__name__}): its log has the details; please report it."
            said = answers.failure(f"{_which(job)}{what}")
        try:
            if said is not None:
                await self._say(job, said)
            if following is None:
                await asyncio.to_thread(jobs.done, number)
            else:
                await asyncio.to_thread(jobs.replace, number, following)
        except StoreError as error:
            _log.error("what came of a job of kind %s could not be kept: %s", type(job).__name__, error)
            # Neither told nor noted: it is done again, and finds what was done of it.
            self._without_place[number] = _resumed(following or job)
            return
        if following is not None:
            self._submit_or_wait(number, following)

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
            case MakeReport():
                return reporting.report(desk, job)
            case Forgotten():
                what = f"What you asked for at {job.asked} was left undone while Unstick was away: ask anew."
                return self._say(job, answers.failure(what))
        raise AssertionError(f"nobody does {job!r}")

    async def _say(self, job: AnyJob, content: Content) -> None:
        """Tell what went wrong where the answer was to come, or the asker alone, where that is nowhere."""
        message = getattr(job, "message", None)
        if isinstance(job, LookAtSubject) and job.incident:
            message = None  # an incident's message tells of the incident, whatever happens to one look
        if isinstance(message, int):
            await self.desk.edit(message, content)
        elif job.asker:
            await self.desk.say(job.channel, content, only_to=job.asker, parent=await self._thread(job))
        else:
            await self.desk.say(job.channel, content)

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
