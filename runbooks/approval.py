"""Who may approve what: a pure decision on a plan, the approvals that it has, and the time."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from runbooks.execution import Said, Statement
from runbooks.model import Risk
from runbooks.plan import Plan


class Person(msgspec.Struct, frozen=True):
    """Somebody who asks or approves: an id (`cli:alice`), roles, and the namespaces they hold in (none: all).

    `also` are other ids of the same human: a plan may have been asked for by any of them. `by` is the rule that gives the
    roles (`people.cli:alice`), which a refusal names.
    """

    id: str
    roles: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()
    by: str = ""

    @property
    def ids(self) -> frozenset[str]:
        """Every id of this human."""
        return self.also | {self.id}

    @property
    def rule(self) -> str:
        """Which rule says so, for the end of a sentence."""
        return f" (says {self.by})" if self.by else ""

    def may(self, role: str) -> bool:
        """Whether this person has a role. An admin is not an approver by that alone."""
        return role in self.roles


# How long after a plan has expired a person's word on it still counts, and how long such a word keeps it alive.
WORD_KEEPS = timedelta(hours=1)
FRESH_WORD = timedelta(minutes=15)


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
        reasons.append(
            f"{person.id} does not have the role responder, which a plan of risk {plan.risk} takes{person.rule}"
        )
    if not person.roles:
        reasons.append(f"{person.id} is not known here{person.rule}")
    if plan.requester not in person.ids:
        reasons.append(f"the plan was made for {plan.requester}, not for {person.id}: plan it anew")
    return (*reasons, *_outside(plan, person))


def may_run(plan: Plan, person: Person, *, begun: bool = False) -> tuple[str, ...]:
    """Why a person may not set an approved plan going, or go on with one that has `begun`; empty where they may.

    A plan of low risk is run on its requester's own word, so that only the requester gives it, by starting it.
    """
    reasons = []
    if plan.risk is Risk.LOW and not begun and plan.requester not in person.ids:
        reasons.append(f"{plan.requester} asked for this plan of risk low, and only they may start it")
    if not (person.may("responder") or person.may("approver")):
        reasons.append(f"{person.id} has neither the role responder nor approver{person.rule}")
    return (*reasons, *_outside(plan, person))


def may_approve(plan: Plan, approval: Approval, now: datetime) -> tuple[str, ...]:
    """Why one approval does not count; empty where it does."""
    person = approval.person
    reasons = []
    if not person.may("approver"):
        reasons.append(_no_approver(person))
    if plan.requester in person.ids:
        reasons.append(f"{person.id} asked for this plan and cannot approve it: another approver must")
    if approval.plan_hash != plan.hash:
        reasons.append("the approval is for another plan")
    if now >= plan.expires:
        reasons.append(f"the plan expired at {plan.expires:%H:%M:%S} UTC: ask for it anew")
    if plan.confirmation is not None and approval.confirmed != plan.confirmation:
        typed = f"not {approval.confirmed!r}" if approval.confirmed else "nothing was typed"
        reasons.append(f"a critical plan is confirmed by typing {plan.confirmation!r} (--confirm); {typed}")
    return (*reasons, *_outside(plan, person, plan.who_pays))


def may_deny(plan: Plan, person: Person) -> tuple[str, ...]:
    """Why a person may not deny a plan; empty where they may. Whoever asked for it may always take that back."""
    if plan.requester in person.ids:
        return ()
    reasons = () if person.may("approver") else (_no_approver(person),)
    return (*reasons, *_outside(plan, person))


def anew(approvals: Iterable[Approval], who: Callable[[str], Person]) -> tuple[Approval, ...]:
    """Approvals with the roles that their givers have now: what somebody was when saying yes does not count."""
    return tuple(msgspec.structs.replace(a, person=who(a.person.id)) for a in approvals)


def may_say(plan: Plan, person: Person, kind: Said, said: str) -> tuple[str, ...]:
    """Why a person's word on a step that waits does not count; empty where it does. To skip one takes an admin's."""
    reasons = []
    if kind is Said.SKIP:
        if not person.may("admin"):
            reasons.append(f"{person.id} does not have the role admin, which skipping a step takes{person.rule}")
        if not said.strip():
            reasons.append("a step is skipped for a reason: say why")
    elif not (person.may("responder") or person.may("approver")):
        reasons.append(f"{person.id} has neither the role responder nor approver{person.rule}")
    return (*reasons, *_outside(plan, person))


def may_decide(plan: Plan, person: Person, why: str) -> tuple[str, ...]:
    """Why a person may not say what became of an act in doubt; empty where they may."""
    reasons = (
        [] if person.may("admin") else [f"{person.id} does not have the role admin, which this takes{person.rule}"]
    )
    if not why.strip():
        reasons.append("say how you know what became of it")
    return (*reasons, *_outside(plan, person))


def may_halt(plan: Plan, person: Person) -> tuple[str, ...]:
    """Why a person may not pause or cancel an execution; empty where they may. Whoever asked for it always may."""
    if plan.requester in person.ids or any(map(person.may, ("responder", "approver", "admin"))):
        return () if plan.requester in person.ids else _outside(plan, person)
    return (f"{person.id} has none of the roles responder, approver and admin{person.rule}",)


def counts_at(plan: Plan, words: Sequence[Statement], now: datetime) -> datetime:
    """The moment for which the approvals are judged: a person's fresh word on a step keeps them alive for a while.

    What a step waits for may take longer than a plan lasts, such as a walk to a machine. The facts are judged anew anyway.
    """
    last = words[-1].at if words else None
    if last is None or now < plan.expires or last >= plan.expires + WORD_KEEPS:
        return now
    if not timedelta(0) <= now - last < FRESH_WORD:
        return now
    return plan.expires - timedelta(seconds=1)


def _no_approver(person: Person) -> str:
    return f"{person.id} does not have the role approver{person.rule}"


def _outside(plan: Plan, person: Person, besides: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Why a person's roles do not reach as far as a plan; what is in no namespace takes roles that hold everywhere."""
    if not person.namespaces:
        return ()
    touched = plan.namespaces | besides
    if plan.acts and not touched:
        own = ", ".join(sorted(person.namespaces))
        return (f"{person.id} has roles in namespace {own} alone, and this is in no namespace{person.rule}",)
    return tuple(
        f"{person.id} has no role in namespace {namespace}{person.rule}"
        for namespace in sorted(touched - person.namespaces)
    )


def decide(plan: Plan, approvals: Sequence[Approval], now: datetime, quorum: int = 1) -> Decision:
    """Decide whether a plan may be run: no approval for reading, the requester's word for low, others for the rest.

    The approvals are those that `anew` gives. They are counted by humans: two ids of one are one.
    """
    if now >= plan.expires:
        return Decision(False, (f"the plan expired at {plan.expires:%H:%M:%S} UTC: ask for it anew",))
    if plan.risk in (Risk.READ, Risk.LOW):
        return Decision(True, ())
    judged = [(a.person, may_approve(plan, a, now)) for a in approvals]
    missing = (quorum if plan.risk is Risk.CRITICAL else 1) - _humans(person for person, bad in judged if not bad)
    if missing <= 0:
        return Decision(True, ())
    void = (f"the approval of {person.id} does not count: {reason}" for person, bad in judged for reason in bad)
    return Decision(False, (f"{missing} more approval of another person is needed", *void), waiting=True)


def _humans(people: Iterable[Person]) -> int:
    """How many humans these are: who shares an id with another one is the same."""
    humans: list[frozenset[str]] = []
    for person in people:
        same = [human for human in humans if human & person.ids]
        humans = [human for human in humans if human not in same] + [person.ids.union(*same)]
    return len(humans)
