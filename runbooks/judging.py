"""Which guards a step takes and what a runbook reads for them: the runbook's words and the action's own, together."""

from typing import Any

from diagnostics.catalog import all_checks
from diagnostics.facts import Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.holders import BESIDE_POD, CLAIM_USERS, NODES
from runbooks.actions import all_actions
from runbooks.guards import Ruling, all_guards
from runbooks.guards.engine import EVERY_ACT
from runbooks.model import CheckBecomes, GuardCall, Replacement, Runbook, Step, substitute
from runbooks.situation import Situation
from runbooks.standing import ADMISSIONS, STANDING


def reads_of(runbook: Runbook) -> tuple[Read[Any], ...]:
    """Everything that the guards, actions and checks of a runbook read from a source."""
    reads: list[Read[Any]] = []
    of_image, of_pod = (Read(k8s.VOLUMES), Read(CLAIM_USERS)), (Read(BESIDE_POD),)

    def add(step: Step) -> None:
        for call in (*required(step), *step.when, *_guard_of(step)):
            reads.extend(all_guards()[call.name].reads)
        if step.act is not None:
            reads.extend(all_actions()[step.act].reads)
        if step.act is not None and step.undo is not None and step.undo != "none":
            reads.extend(all_actions()[step.undo].reads)
            reads.extend(read for call in guards_of(step.undo) for read in all_guards()[call.name].reads)
        if step.wait is not None or isinstance(step.verify, Replacement):
            reads.append(Read(NODES))
            reads.extend(of_image if "image" in runbook.parameters else of_pod)
        if step.attest is not None:
            reads.append(Read(NODES))
        for check in (step.check, step.verify.check if isinstance(step.verify, CheckBecomes) else None):
            if check is not None:
                reads.extend(next(listed for listed in all_checks() if listed.id == check).check.reads)
        if step.otherwise is not None:
            add(step.otherwise)

    for step in runbook.steps:
        add(step)
    return tuple(read for read in reads if read.kind not in (STANDING, ADMISSIONS))


def _guard_of(step: Step) -> tuple[GuardCall, ...]:
    return tuple(c for c in (step.prove, step.verify) if isinstance(c, GuardCall))


def required(step: Step) -> tuple[GuardCall, ...]:
    """The guards that must allow a step: those that the runbook names, and those that its action always takes."""
    named = {call.name for call in step.require}
    own = guards_of(step.act) if step.act is not None else ()
    return (*step.require, *(call for call in own if call.name not in named))


def guards_of(action: str) -> tuple[GuardCall, ...]:
    """The guards that an action always takes: its own, and those that every act takes."""
    return tuple(GuardCall(name=name) for name in (*all_actions()[action].guards, *EVERY_ACT))


def judge(call: GuardCall, situation: Situation) -> Ruling:
    """Judge one guard as a runbook calls it."""
    arguments = {name: substitute(value, situation.params) for name, value in call.args.items()}
    return all_guards()[call.name].judge(situation, **arguments)
