"""Tells how an execution stands, in the words that the incident's message and the request itself share."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.slack.blocks.text import SENTENCE, code, cut, mention, words
from bot.slack.words import COMMAND
from bot.store.requests import ToldStep
from runbooks.approval import Approval, Decision
from runbooks.events import Say
from runbooks.execution import NOT_BEGUN
from runbooks.plan import Plan
from runbooks.store import Execution, State

MARKS = {
    Say.BEGUN: "⏳", Say.DONE: "✅", Say.SKIPPED: "➖", Say.NOTE: "📌", Say.REFUSED: "⛔", Say.FAILED: "❌",
    Say.IN_DOUBT: "❔",
}  # fmt: skip
TO_COME = "▫️"
_EXPIRED = "⌛ *Expired* at {}; nothing was done. Plan it anew."


@dataclass(frozen=True)
class Run:
    """An execution as it is told of, at the time `now`."""

    execution: Execution
    steps: tuple[ToldStep, ...]
    approvals: tuple[Approval, ...]
    decision: Decision
    now: datetime
    said: int = 0
    """How many words have been said of its steps."""

    @property
    def expired(self) -> bool:
        """Whether nobody can approve it any more."""
        return self.now >= self.execution.plan.expires

    @property
    def ran_out(self) -> bool:
        """Whether its time was over before it began."""
        return not self.begun and ran_out(self.execution)

    @property
    def begun(self) -> bool:
        """Whether anything has been told of a step."""
        return any(each.step for each in self.steps)

    @property
    def open_to_approval(self) -> bool:
        """Whether somebody's word is waited for."""
        return self.execution.state is State.WAITING and not self.expired and not self.decision.allowed

    @property
    def turned_away(self) -> str:
        """Why it was not run when it was about to be; "" where nothing stood in the way."""
        last = self.steps[-1] if self.steps else None
        return last.text if last is not None and not last.step and last.say is Say.REFUSED else ""

    @property
    def may_be_withdrawn(self) -> bool:
        """Whether an approval of it may be taken back."""
        return bool(self.approvals) and self.execution.state in NOT_BEGUN and not self.begun and not self.expired

    @property
    def interrupted(self) -> bool:
        """Whether it is to be gone on with by somebody."""
        state = self.execution.state
        return state is State.IN_DOUBT or (state is State.APPROVED and bool(self.execution.reason))


@dataclass(frozen=True)
class Told:
    """What was last said of a step."""

    say: Say
    text: str


def ran_out(execution: Execution) -> bool:
    """Whether it is void because its time was over."""
    ended = execution.ended
    return execution.state is State.VOID and ended is not None and ended >= execution.plan.expires


def latest(steps: Sequence[ToldStep]) -> dict[str, Told]:
    """What was last said of each step, in order. A step's `otherwise` ends with the step itself."""
    found: dict[str, Told] = {}
    for each in steps:
        if each.step:
            found[each.step] = Told(each.say, each.text)
            branch = found.get(f"{each.step}.otherwise")
            if branch is not None and branch.say is Say.BEGUN and each.say is not Say.BEGUN:
                found[f"{each.step}.otherwise"] = Told(each.say, branch.text)
    return found


def notes(steps: Sequence[ToldStep]) -> list[str]:
    """What was said of the execution as a whole on its way, each once."""
    return list(dict.fromkeys(each.text for each in steps if not each.step and each.say is Say.NOTE))


def step_lines(run: Run, room: int = SENTENCE) -> list[str]:
    """A line for each step of the plan: what became of it, or that it is to come; in at most `room` characters of text."""
    told, lines = latest(run.steps), []
    broken_off = run.execution.state is not State.RUNNING
    for step in run.execution.plan.steps:
        for known, says in ((step, step.skipped or step.says), (step.otherwise, "")):
            if known is None or (known is step.otherwise and known.id not in told):
                continue
            what = told.get(known.id)
            if what is None:
                mark = MARKS[Say.SKIPPED] if step.skipped is not None else TO_COME
                lines.append(_line(mark, known.id, says, room))
            else:
                unknown = what.say is Say.BEGUN and broken_off
                lines.append(
                    _line("❔" if unknown else MARKS.get(what.say, "•"), known.id, what.text, _room(what, room))
                )
    return lines


def notes_that_stay(run: Run) -> list[str]:
    """What its runbook wants to be known when all is over: a fence that stays, for instance."""
    told = latest(run.steps)
    return [_line(MARKS[each.say], step, each.text, _room(each)) for step, each in told.items() if each.say is Say.NOTE]


def _room(what: Told, room: int = SENTENCE) -> int:
    """How much of it is shown: notes hold commands to be copied, and what went wrong is told in full."""
    if what.say is Say.NOTE:
        return 2 * SENTENCE
    return room if what.say in (Say.BEGUN, Say.DONE, Say.SKIPPED) else SENTENCE


def _line(mark: str, step: str, text: str, room: int = SENTENCE) -> str:
    return f"{mark} *{words(step, 80)}*  {words(text, room)}"


def counted(run: Run) -> str:
    """How far it has come: `3 of 8 steps done`."""
    told = latest(run.steps)
    steps = [step for step in run.execution.plan.steps if step.skipped is None]
    done = sum(1 for step in steps if (what := told.get(step.id)) and what.say in (Say.DONE, Say.NOTE))
    return f"{done} of {len(steps)} steps done"


def people(approvals: Sequence[Approval]) -> str:
    """Who approved."""
    names = list(dict.fromkeys(mention(each.person.id) for each in approvals))
    shown = ", ".join(names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def standing(run: Run) -> str:
    """How it stands, in one line of mrkdwn."""
    execution, state = run.execution, run.execution.state
    reason = f": {words(execution.reason, 2 * SENTENCE)}" if execution.reason else ""
    by = f" by {people(run.approvals)}" if run.approvals else ""
    if state is State.WAITING:
        return _waiting(run)
    if run.ran_out:
        return _EXPIRED.format(clock(execution.plan.expires))
    if state is State.RUNNING and execution.wanted:
        return f"⏳ *Running*, {counted(run)}; it will {words(execution.wanted)} after the act that is under way"
    if state is State.APPROVED and run.turned_away:
        return f"⏸️ *Approved{by}, and not run*: {words(run.turned_away, 2 * SENTENCE)}. {go_on(execution)}"
    if run.interrupted:
        what = "❔ *In doubt*" if state is State.IN_DOUBT else f"⏸️ *Approved{by}, and interrupted*"
        return f"{what}{reason}. {go_on(execution)}"
    return {
        State.APPROVED: f"✅ *Approved{by}*, about to run",
        State.RUNNING: f"⏳ *Running*, {counted(run)}{', approved' + by if by else ''}",
        State.DONE: f"✅ *Done*, {counted(run)}{', approved' + by if by else ''}",
        State.ASKING: f"✋ *Waits for somebody's word*{reason}",
        State.PAUSED: f"⏸️ *Paused*{reason}. {go_on(execution)}",
        State.CANCELLED: f"⛔ *Cancelled*{_ender(run, 'cancelled by ')}",
        State.FAILED: f"❌ *Failed*{reason}",
        State.VOID: f"⛔ *Void*{reason}",
        State.DENIED: f"⛔ *Denied*{_ender(run, 'denied by ')}",
    }[state]


def _waiting(run: Run) -> str:
    until = clock(run.execution.plan.expires)
    if run.expired:
        return _EXPIRED.format(until)
    if run.decision.allowed:
        return f"⏳ *Needs nobody else's approval*, about to run. {go_on(run.execution)}"
    so_far = f"; approved so far by {people(run.approvals)}" if run.approvals else ""
    why = "; ".join(words(each) for each in run.decision.reasons[:4])
    return f"⏳ *Waits for approval* until {until}: {why}{so_far}"


def _ender(run: Run, by_whom: str) -> str:
    """Who ended it and why: the last such thing that was told of it, else the reason that is kept."""
    ends = [each.text for each in run.steps if not each.step and each.say is Say.ENDED]
    said = next((text for text in reversed(ends) if text.startswith(by_whom)), "")
    who, colon, why = said.removeprefix(by_whom).partition(": ")
    if not said:
        who, colon, why = "", ": " if run.execution.reason else "", run.execution.reason
    by = f" by {mention(who)}" if who else ""
    if who == run.execution.plan.requester and run.execution.state is State.DENIED:
        by = f", withdrawn by {mention(who)}"
    return f"{by}{colon}{words(why, 2 * SENTENCE)}"


def go_on(execution: Execution) -> str:
    """How somebody goes on with it."""
    return f"Go on with `{COMMAND} run {execution.id}`"


def clock(when: datetime) -> str:
    """A time of the day, as the engine's own reasons tell it."""
    return f"{when:%H:%M:%S} UTC"


def name_of(plan: Plan) -> str:
    """Which runbook it is of."""
    return f"{plan.runbook}@{plan.version}"


def named(plan: Plan) -> str:
    """Which runbook it is of, in code style."""
    return code(cut(name_of(plan), SENTENCE))
