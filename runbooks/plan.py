"""Makes a plan of a runbook: every act with its targets, every guard with its ruling, bound together by one hash.

Pure: a plan comes from facts alone, so that making it again from fresh facts tells whether an approval still holds.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from diagnostics.catalog import all_checks
from diagnostics.facts import Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.holders import NODES, volumes_of
from diagnostics.model import Status, Subject
from diagnostics.scan import judged
from runbooks.actions import Undo, all_actions
from runbooks.guards import Answer
from runbooks.guards.engine import EVERY_ACT
from runbooks.judging import judge, required
from runbooks.model import GuardCall, Risk, Runbook, Step, fill_in, substitute
from runbooks.parameters import subject_of
from runbooks.situation import CannotPlan, Planned, Situation

# Long enough to find an approver, short enough that the facts have hardly changed.
PLAN_LASTS = timedelta(minutes=15)
_ATTESTS = {"node_is_off": "node {node} is powered off, and stays off until somebody switches it on by hand"}


class Judged(msgspec.Struct, frozen=True):
    """A guard's ruling as the plan keeps it."""

    guard: str
    answer: Answer
    reasons: tuple[str, ...]


class PlannedStep(msgspec.Struct, frozen=True):
    """One step of a plan. `skipped` says why it will not be done; a skipped act is never done later either."""

    id: str
    kind: str
    says: str
    act: Planned | None = None
    rulings: tuple[Judged, ...] = ()
    skipped: str | None = None
    otherwise: "PlannedStep | None" = None
    attest: Planned | None = None
    undoing: Planned | None = None

    @property
    def acts(self) -> tuple[Planned, ...]:
        """The acts that this step may do, and the one that takes its act back, if something may call for that."""
        own = (self.act,) if self.act is not None and self.skipped is None else ()
        back = (self.undoing,) if own and self.undoing is not None else ()
        return own + back + (self.otherwise.acts if self.otherwise else ())


class Plan(msgspec.Struct, frozen=True):
    """What will be done, to what, for whom, on which facts (`basis`), until when. `hash` binds all of it.

    `concerns` are the namespaces whose claims lie behind what is acted on and is in no namespace itself.
    """

    cluster: str
    runbook: str
    version: str
    sha256: str
    params: dict[str, str]
    steps: tuple[PlannedStep, ...]
    basis: dict[str, dict[str, str]]
    requester: str
    expires: datetime
    hash: str = ""
    concerns: tuple[str, ...] = ()

    @property
    def acts(self) -> tuple[Planned, ...]:
        """All acts that may be done, in order."""
        return tuple(act for step in self.steps for act in step.acts)

    @property
    def risk(self) -> Risk:
        """The highest risk of its steps; one approval covers all of it."""
        return max((act.risk for act in self.acts), key=lambda risk: risk.rank, default=Risk.READ)

    @property
    def targets(self) -> tuple[Subject, ...]:
        """Everything that it touches, each once."""
        return tuple(dict.fromkeys(target for act in self.acts for target in act.targets))

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces that it touches."""
        named = {target.namespace for target in self.targets if target.namespace}
        subject = subject_of(self.params)
        own = {subject.namespace} if subject is not None and subject.namespace else set()
        pod = {self.params["pod"].partition("/")[0]} if self.params.get("pod") else set()
        return frozenset((*named, *own, *pod, *self.concerns))

    @property
    def who_pays(self) -> frozenset[str]:
        """The namespaces of the pods that die of it: whoever approves it answers for them too."""
        return frozenset(
            name.partition("/")[0] for act in self.acts for name in act.dies if "/" in name.partition(" ")[0]
        )

    @property
    def confirmation(self) -> str | None:
        """What an approver of a critical plan must type: the node that is fenced, else the image."""
        if self.risk is not Risk.CRITICAL:
            return None
        fenced = (t.name for act in self.acts if act.risk is Risk.CRITICAL for t in act.targets if t.kind == "Node")
        return next(fenced, None) or self.params.get("node") or self.params.get("image") or self.runbook

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why it must not be run: every reason of every guard that does not allow, not just the first."""
        return tuple(dict.fromkeys(reason for step in self.steps for reason in _refusals(step)))

    @property
    def verdicts(self) -> dict[str, str]:
        """What each guard of each step said, for the record."""
        return {
            basis_key(step.id, ruling.guard): str(ruling.answer)
            for planned in self.steps for step in (planned, planned.otherwise) if step is not None
            for ruling in step.rulings
        }  # fmt: skip

    @property
    def may_pass(self) -> bool:
        """Whether another look could allow what this one refuses: nothing was unseen, something stood in the way."""
        return bool(self.refusals) and not any(_answers(step, Answer.UNKNOWN) for step in self.steps)

    @property
    def is_refused(self) -> bool:
        """Whether something speaks against it, and not just that something could not be seen.

        What comes after an act that could not be planned is refused for that alone, and so does not count. Nor do a
        freeze, a limit, another execution or a missing permission: these pass, and what was approved is as it was.
        """
        for step in self.steps:
            if _answers(step, Answer.REFUSED, besides=frozenset(EVERY_ACT)):
                return True
            if step.kind == "act" and step.act is None and step.skipped is None:
                return False
        return False


def _answers(step: PlannedStep, answer: Answer, besides: frozenset[str] = frozenset()) -> bool:
    rulings = () if step.skipped is not None else step.rulings
    own = any(ruling.answer is answer and ruling.guard not in besides for ruling in rulings)
    return own or (step.otherwise is not None and _answers(step.otherwise, answer, besides))


def _refusals(step: PlannedStep) -> Iterable[str]:
    if step.skipped is None:
        for ruling in step.rulings:
            if ruling.answer is not Answer.ALLOWED:
                yield from (f"{ruling.guard}: {reason}" for reason in ruling.reasons or ("it does not say why",))
    if step.otherwise:
        yield from _refusals(step.otherwise)


def make(
    cluster: str, runbook: Runbook, params: dict[str, str], snapshot: Snapshot, requester: str, expires: datetime
) -> Plan:
    """Make the plan that these facts allow, refusals and all. A refused plan is worth reading: it says what is missing."""
    basis: dict[str, dict[str, str]] = {}
    expected: list[Planned] = []
    steps = []
    undoes = [at for at, step in enumerate(runbook.steps) if step.on_failure == "undo"]
    for at, step in enumerate(runbook.steps):
        made = _plan_step(step, params, snapshot, tuple(expected), basis)
        if made.skipped is None:  # what only follows a wait in vain may never be done
            expected.extend(act for act in (made.act, made.attest) if act is not None)
            if any(later >= at for later in undoes):
                made = msgspec.structs.replace(made, undoing=_undoing(step, made.act, Situation(snapshot, params)))
        steps.append(made)
    plan = Plan(
        cluster, runbook.id, runbook.version, runbook.sha256, dict(sorted(params.items())), tuple(steps), basis,
        requester, expires, concerns=_concerned(params, steps, snapshot),
    )  # fmt: skip
    return msgspec.structs.replace(plan, hash=digest(plan))


def _concerned(params: dict[str, str], steps: Sequence[PlannedStep], snapshot: Snapshot) -> tuple[str, ...]:
    """The namespaces of the claims behind the runbook's image, and behind the attachments that are acted on."""
    volumes, attachments = snapshot.seen(k8s.VOLUMES), snapshot.seen(k8s.ATTACHMENTS)
    found = list(volumes_of(params["image"], snapshot)) if params.get("image") else []
    uids = {target.uid for step in steps for act in step.acts for target in act.targets}
    attached = {
        one.spec.source.persistent_volume_name for one in (attachments.full if attachments else ())
        if one.metadata.uid in uids
    }  # fmt: skip
    found += [volume for volume in (volumes.full if volumes else ()) if volume.metadata.name in attached]
    return tuple(sorted({v.spec.claim_ref.namespace for v in found if v.spec.claim_ref and v.spec.claim_ref.namespace}))


def _plan_step(
    step: Step, params: dict[str, str], snapshot: Snapshot, expected: tuple[Planned, ...],
    basis: dict[str, dict[str, str]],
) -> PlannedStep:  # fmt: skip
    says = _says(step, params)
    missing = [name for name in step.given if not params.get(name)]
    if missing:
        return PlannedStep(step.id, step.kind, says, skipped=f"{', '.join(missing)} was not given")
    situation = Situation(snapshot, params, expected)
    conditions = _judged(step.when, situation, {}, step.id)
    if (
        conditions
        and all(ruling.answer is not Answer.UNKNOWN for ruling in conditions)
        and any(ruling.answer is Answer.REFUSED for ruling in conditions)
    ):
        why = "; ".join(reason for ruling in conditions if ruling.answer is Answer.REFUSED for reason in ruling.reasons)
        return PlannedStep(step.id, step.kind, says, skipped=why)
    otherwise = None
    if step.otherwise is not None:
        otherwise = _fallback(_plan_step(step.otherwise, params, snapshot, expected, basis), basis)
    if step.attest is not None:
        return _plan_attest(step, says, situation, conditions)
    if step.act is None:
        looked = () if expected else tuple(_looked(step, snapshot))
        return PlannedStep(step.id, step.kind, says, rulings=(*conditions, *looked), otherwise=otherwise)
    try:
        act = all_actions()[step.act].plan(situation, arguments_of(step, params))
    except CannotPlan as error:
        answer = Answer.UNKNOWN if error.unknown else Answer.REFUSED
        named = [call for call in required(step) if call.name not in EVERY_ACT]  # those judge an act, and there is none
        rulings = (*conditions, *_judged(named, situation, basis, step.id))
        told = {reason for ruling in rulings for reason in ruling.reasons}
        own = tuple(reason for reason in error.reasons if reason not in told)
        blocked = (Judged(step.act, answer, own),) if own else ()
        return PlannedStep(step.id, step.kind, says, rulings=(*rulings, *blocked))
    if step.risk is not None and step.risk.rank > act.risk.rank:
        act = msgspec.structs.replace(act, risk=step.risk)
    judged = _judged(required(step), Situation(snapshot, params, expected, act), basis, step.id)
    return PlannedStep(step.id, step.kind, act.says, act, (*conditions, *judged), otherwise=otherwise)


def _fallback(planned: PlannedStep, basis: dict[str, dict[str, str]]) -> PlannedStep:
    """What may follow a wait in vain. Where that must not be done now it is left out for good: the rest stands without it."""
    if _answers(planned, Answer.UNKNOWN) or not _answers(planned, Answer.REFUSED):
        return planned
    for key in [key for key in basis if key.startswith(basis_key(planned.id, ""))]:
        del basis[key]
    return msgspec.structs.replace(planned, skipped=f"then nothing more is done: {'; '.join(_refusals(planned))}")


def _plan_attest(step: Step, says: str, situation: Situation, conditions: tuple[Judged, ...]) -> PlannedStep:
    """A person's word for what no fact shows: while planning, guards may count on it."""
    name = str(arguments_of(step, situation.params).get("node"))
    try:
        node = situation.one(NODES, name)
    except CannotPlan as error:
        unseen = Judged("attest", Answer.UNKNOWN, error.reasons)
        return PlannedStep(step.id, step.kind, says, rulings=(*conditions, unseen))
    if node is None:
        gone = Judged("attest", Answer.REFUSED, (f"there is no node {name} that could be attested to be off",))
        return PlannedStep(step.id, step.kind, says, rulings=(*conditions, gone))
    word = Planned("attest", says, (node.subject,), {"attests": step.attest}, Risk.READ)
    return PlannedStep(step.id, step.kind, says, rulings=conditions, attest=word)


def _undoing(step: Step, act: Planned | None, situation: Situation) -> Planned | None:
    """What would take an act back, where its runbook says so. What is so already is somebody else's, and stays."""
    if act is None or step.undo in (None, "none") or all_actions()[act.action].done(act, situation) is not False:
        return None
    undo = all_actions()[act.action].undo
    return undo.plan(act) if isinstance(undo, Undo) else None


def _looked(step: Step, snapshot: Snapshot) -> Iterable[Judged]:
    """Run a check step that comes before any act already while planning: what it says will hardly change."""
    if step.check is None:
        return
    outcome = judged(next(listed for listed in all_checks() if listed.id == step.check), snapshot)
    if outcome.status == step.becomes:
        found = tuple(f.summary for f in outcome.findings) or ("nothing is found",)
        yield Judged(step.check, Answer.ALLOWED, found)
    else:
        answer = Answer.UNKNOWN if outcome.status is Status.UNKNOWN else Answer.REFUSED
        yield Judged(
            step.check, answer, (f"it is {outcome.status}, not {step.becomes}: {outcome.reason or 'nothing found'}",)
        )


def arguments_of(step: Step, params: dict[str, str]) -> dict[str, Any]:
    """The arguments of an act, with its parameters put in."""
    return {name: substitute(value, params) for name, value in step.with_.items()}


def basis_key(step: str, guard: str) -> str:
    """What a plan keeps the facts under that a guard of a step rests on."""
    return f"{step}: {guard}"


def _judged(
    calls: Sequence[GuardCall], situation: Situation, basis: dict[str, dict[str, str]], step: str
) -> tuple[Judged, ...]:
    made = []
    for call in calls:
        ruling = judge(call, situation)
        if ruling.basis:
            basis[basis_key(step, call.name)] = ruling.basis
        made.append(Judged(call.name, ruling.answer, ruling.reasons))
    return tuple(made)


def _says(step: Step, params: dict[str, str]) -> str:
    if step.check is not None:
        return f"{step.check} must come to {step.becomes}"
    if step.prove is not None:
        return f"prove {step.prove.name}"
    if step.wait is not None:
        within = int(step.within.total_seconds()) if step.within else 0
        return f"wait up to {within} s: " + ", ".join(f"{k} {params.get(k, '')} {v}" for k, v in step.wait.items())
    if step.attest is not None:
        return f"a person attests: {_ATTESTS[step.attest].format(**arguments_of(step, params))}"
    return fill_in(step.note or step.manual or step.act or step.id, params)


def digest(plan: Plan) -> str:
    """The hash that approvals are bound to: all of the plan but the reasons in words, which may hold times."""
    bound = {
        "cluster": plan.cluster, "runbook": plan.runbook, "version": plan.version, "sha256": plan.sha256,
        "params": plan.params, "requester": plan.requester, "expires": plan.expires.isoformat(), "basis": plan.basis,
        "acts": [msgspec.to_builtins(act) for act in plan.acts], "concerns": plan.concerns,
        "attested": [msgspec.to_builtins(step.attest) for step in plan.steps if step.attest is not None],
        "steps": [(step.id, step.skipped is not None) for step in plan.steps],
    }  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(bound, order="sorted")).hexdigest()


def open_key(plan: Plan) -> str:
    """A key for what a plan would do to what, whoever asks for it and whenever: of one key only one may be open.

    Where a lock is named, it alone counts: its node and the pod that waits may be left out, and others may wait too.
    """
    params = {name: value for name, value in plan.params.items() if value}
    if {"image", "locker"} <= params.keys():
        params = {name: params[name] for name in ("image", "locker")}
    bound = {"cluster": plan.cluster, "runbook": plan.runbook, "params": params}
    return hashlib.sha256(msgspec.json.encode(bound, order="sorted")).hexdigest()


def changes_of(before: dict[str, str], after: dict[str, str]) -> tuple[str, ...]:
    """How the facts that a guard rests on changed, a clause each."""
    return tuple(
        f"{key} was {before.get(key, 'not there') or 'nothing'}, is {after.get(key, 'not there') or 'nothing'}"
        for key in sorted({*before, *after}) if before.get(key) != after.get(key)
    )  # fmt: skip


def differences(approved: Plan, now: Plan) -> tuple[str, ...]:
    """What changed between an approved plan and one made from fresh facts; empty where the approval still holds."""
    if approved.hash == now.hash:
        return ()
    found = []
    if (approved.runbook, approved.version, approved.sha256) != (now.runbook, now.version, now.sha256):
        found.append(f"the runbook is now {now.runbook}@{now.version} ({now.sha256[:12]})")
    for what in ("cluster", "params", "requester", "expires"):
        if (before := getattr(approved, what)) != (after := getattr(now, what)):
            found.append(f"{what} was {before}, is {after}")
    for name in sorted({*approved.basis, *now.basis}):
        before, after = approved.basis.get(name, {}), now.basis.get(name, {})
        found.extend(f"{name}: {what}" for what in changes_of(before, after))
    found.extend(_other_acts(approved.acts, now.acts))
    return tuple(found) or ("its steps changed",)


def _other_acts(before: Sequence[Planned], after: Sequence[Planned]) -> Iterable[str]:
    """What is otherwise about the acts: which they are, and to what and at whose cost they are done."""
    if [act.says for act in before] != [act.says for act in after]:
        yield f"acts were {'; '.join(a.says for a in before)} and are {'; '.join(a.says for a in after)}"
        return
    for was, will in zip(before, after, strict=True):
        if was.dies != will.dies:
            yield f"{was.says}: what dies was {', '.join(was.dies) or 'nothing'}, is {', '.join(will.dies) or 'nothing'}"
        if msgspec.to_builtins(msgspec.structs.replace(was, dies=())) != msgspec.to_builtins(
            msgspec.structs.replace(will, dies=())
        ):
            yield f"{was.says}: its targets, effect or risk changed"
