"""Who may approve what: a pure decision on a plan, the approvals that it has, and the time."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from runbooks.model import Risk
from runbooks.plan import Plan


class Person(msgspec.Struct, frozen=True):
    """Somebody who asks or approves: an id (`cli:alice`), roles, and the namespaces they hold in (none: all)."""

    id: str
    roles: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()

    def may(self, role: str) -> bool:
        """Whether this person has a role. An admin is not an approver by that alone."""
        return role in self.roles


class Approval(msgspec.Struct, frozen=True):
    """A person's yes to one plan, by its hash, with what was typed to confirm a critical one."""

    person: Person
    plan_hash: str
    confirmed: str | None
    at: datetime


class Decision(msgspec.Struct, frozen=True):
    """Whether a plan may be run now, and every reason why not. `waiting` says that only more approvals are missing."""

    allowed: bool
    reasons: tuple[str, ...]
    waiting: bool = False


def may_request(plan: Plan, person: Person) -> tuple[str, ...]:
    """Why a person may not ask for a plan; empty where they may."""
    reasons = []
    if plan.risk is not Risk.READ and not person.may("responder"):
        reasons.append(f"{person.id} has not the role responder, which a plan of risk {plan.risk} takes")
    if not person.roles:
        reasons.append(f"{person.id} is not known here")
    if plan.requester != person.id:
        reasons.append(f"the plan was made for {plan.requester}, not for {person.id}: plan it anew")
    return (*reasons, *_outside(plan.namespaces, person))


def may_run(plan: Plan, person: Person) -> tuple[str, ...]:
    """Why a person may not set an approved plan going; empty where they may."""
    reasons = []
    if not (person.may("responder") or person.may("approver")):
        reasons.append(f"{person.id} has neither the role responder nor approver")
    return (*reasons, *_outside(plan.namespaces, person))


def may_approve(plan: Plan, approval: Approval, now: datetime) -> tuple[str, ...]:
    """Why one approval does not count; empty where it does."""
    person = approval.person
    reasons = []
    if not person.may("approver"):
        reasons.append(f"{person.id} has not the role approver")
    if person.id == plan.requester:
        reasons.append(f"{person.id} asked for this plan and cannot approve it: another approver must")
    if approval.plan_hash != plan.hash:
        reasons.append("the approval is for another plan")
    if now >= plan.expires:
        reasons.append(f"the plan expired at {plan.expires:%H:%M:%S} UTC: ask for it anew")
    if plan.confirmation is not None and approval.confirmed != plan.confirmation:
        typed = f"not {approval.confirmed!r}" if approval.confirmed else "nothing was typed"
        reasons.append(f"a critical plan is confirmed by typing {plan.confirmation!r} (--confirm); {typed}")
    return (*reasons, *_outside(plan.namespaces | plan.who_pays, person))


def _outside(touched: frozenset[str], person: Person) -> tuple[str, ...]:
    outside = sorted(touched - person.namespaces) if person.namespaces else []
    return tuple(f"{person.id} has no role in namespace {namespace}" for namespace in outside)


def decide(plan: Plan, approvals: Sequence[Approval], now: datetime, quorum: int = 1) -> Decision:
    """Decide whether a plan may be run: no approval for reading, the requester's word for low, others for the rest."""
    if now >= plan.expires:
        return Decision(False, (f"the plan expired at {plan.expires:%H:%M:%S} UTC: ask for it anew",))
    if plan.risk in (Risk.READ, Risk.LOW):
        return Decision(True, ())
    good = {a.person.id for a in approvals if not may_approve(plan, a, now)}
    needed = quorum if plan.risk is Risk.CRITICAL else 1
    if len(good) >= needed:
        return Decision(True, ())
    return Decision(False, (f"{needed - len(good)} more approval of another person is needed",), waiting=True)
