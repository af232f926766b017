"""What people asked for, as it is kept until it is done: a restart goes on with what had been accepted.

Who asks is kept by id only: what they may do is judged anew when the work is done.
"""

import msgspec

from bot.work import Lane
from diagnostics.model import Subject
from runbooks.execution import Said


class Job(msgspec.Struct, frozen=True, tag_field="job"):
    """Something to do. `asker` is a Slack user's id, `channel` where it was asked."""

    asker: str
    channel: str


class LookAtSubject(Job, frozen=True, tag="why"):
    """Explain one thing, in `message`. Where that is the message of an `incident`, it tells of nothing else."""

    subject: Subject
    cluster: str | None
    message: int
    incident: str = ""


class LookAtAll(Job, frozen=True, tag="check"):
    """Run all checks."""

    namespace: str | None
    cluster: str | None
    message: int


class LookAtLocks(Job, frozen=True, tag="locks"):
    """List the locks."""

    cluster: str | None
    message: int


class PlanFix(Job, frozen=True, tag="plan"):
    """Plan what an offer of an incident would do."""

    incident: str
    offer: str
    message: int


class RequestApproval(Job, frozen=True, tag="request"):
    """Ask for a plan that was shown, and by its hash for no other."""

    plan: str
    plan_hash: str


class RunRunbook(Job, frozen=True, tag="run"):
    """Plan a runbook and ask for it at once."""

    runbook: str
    params: tuple[str, ...]
    cluster: str | None
    message: int


class Approve(Job, frozen=True, tag="approve"):
    """Approve an execution, with what was typed."""

    execution: str
    typed: str | None


class Deny(Job, frozen=True, tag="deny"):
    """Deny an execution."""

    execution: str
    why: str


class SayOfStep(Job, frozen=True, tag="say"):
    """Say a word on the step that waits for one, with what was typed. `after`: how many words had been said before it."""

    execution: str
    step: str
    kind: Said
    said: str = ""
    typed: str | None = None
    after: int = 0


class Withdraw(Job, frozen=True, tag="withdraw"):
    """Take one's own approval back."""

    execution: str


class Cancel(Job, frozen=True, tag="cancel"):
    """End an execution, at once or after the act that is under way."""

    execution: str
    why: str


class Freeze(Job, frozen=True, tag="freeze"):
    """Stop every act in a cluster."""

    cluster: str | None
    why: str
    message: int


class Thaw(Job, frozen=True, tag="thaw"):
    """Let acts go on in a cluster."""

    cluster: str | None
    message: int


class GoOn(Job, frozen=True, tag="go_on"):
    """Run an approved execution, or go on with an interrupted one: `interrupted` where this bot itself was."""

    execution: str
    interrupted: bool = False


class MakeReport(Job, frozen=True, tag="report"):
    """Make a scheduled report, of the firing at `fires` (RFC 3339). Nobody asks for it."""

    schedule: str
    fires: str = ""


class AskReport(Job, frozen=True, tag="ask_report"):
    """Make a health report in `message`, because somebody wants it now."""

    cluster: str | None
    message: int


class Notice(Job, frozen=True, tag="notice"):
    """Look at a thing that seems stuck, because of what was watched (`why`). Nobody asks; nothing is said if it is not."""

    subject: Subject
    cluster: str
    why: str


class FollowUp(Job, frozen=True, tag="follow_up"):
    """Look again, by ourselves, at everything that waits in an open incident."""

    incident: str


class Ack(Job, frozen=True, tag="ack"):
    """Take an incident on."""

    incident: str


class Snooze(Job, frozen=True, tag="snooze"):
    """Have an incident kept quiet for so many seconds; 0 ends that."""

    incident: str
    seconds: int


class TellAlerts(Job, frozen=True, tag="alerts"):
    """Tell of a group of Alertmanager's alerts, as it stands in the store, and look at what its labels name."""

    group: str


class Forgotten(Job, frozen=True, tag="forgotten"):
    """Tell the asker that a decision of long ago is not done any more: what it was about may have changed since."""

    asked: str


AnyJob = (
    LookAtSubject
    | LookAtAll
    | LookAtLocks
    | PlanFix
    | RequestApproval
    | RunRunbook
    | Approve
    | Deny
    | SayOfStep
    | Withdraw
    | Cancel
    | Freeze
    | Thaw
    | GoOn
    | MakeReport
    | AskReport
    | Notice
    | FollowUp
    | Ack
    | Snooze
    | TellAlerts
    | Forgotten
)

# However many looks there are and however slow, no approval waits for them; and no approval waits for a run to end.
# To stop everything waits for nothing, and nobody waits for what nobody asked for.
_LANES: dict[type[Job], Lane] = {
    RequestApproval: Lane.DECISIONS, RunRunbook: Lane.DECISIONS, Approve: Lane.DECISIONS, Deny: Lane.DECISIONS,
    Ack: Lane.DECISIONS, Snooze: Lane.DECISIONS, SayOfStep: Lane.DECISIONS, Withdraw: Lane.DECISIONS, Thaw: Lane.DECISIONS, Cancel: Lane.STOPS, Freeze: Lane.STOPS,
    GoOn: Lane.RUNS, Notice: Lane.UNASKED, FollowUp: Lane.UNASKED, MakeReport: Lane.UNASKED, TellAlerts: Lane.UNASKED,
}  # fmt: skip


def lane_of(job: Job) -> Lane:
    """Which work a job waits for, and which it does not."""
    return _LANES.get(type(job), Lane.LOOKS)
