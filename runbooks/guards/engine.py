"""Guards of the engine's own, judged before every act whatever a runbook names."""

from collections import Counter
from collections.abc import Iterable, Iterator

from diagnostics.facts import NotSeen, Read
from runbooks.guards import Ruling, allowed, guard, refused
from runbooks.situation import CannotPlan, Planned, Situation
from runbooks.standing import ADMISSIONS, STANDING, Admission, Begun, Limit, Standing, hold_key, key_of

EVERY_ACT = (
    "kubernetes_permits", "server_dry_run_accepts", "outside_change_freeze", "within_blast_radius", "not_already_running",
)  # fmt: skip


def _act(situation: Situation) -> Planned:
    if situation.act is None:
        raise CannotPlan("there is no act to judge", unknown=True)
    return situation.act


def _standing(situation: Situation) -> Standing:
    standing = situation.snapshot[STANDING]
    if isinstance(standing, NotSeen):
        raise CannotPlan("how things stand in the state database was not read", unknown=True)
    return standing


def _admission(situation: Situation) -> Admission:
    answers = situation.snapshot.seen(ADMISSIONS)
    answer = answers.get(key_of(_act(situation))) if answers is not None else None
    if answer is None:
        raise CannotPlan("the API server was not asked about this act", unknown=True)
    if answer.unseen is not None:
        raise CannotPlan(answer.unseen, unknown=True)
    return answer


@guard(Read(ADMISSIONS))
def kubernetes_permits(situation: Situation) -> Ruling:
    """The identity that would act has the permissions that the act takes (SelfSubjectAccessReview)."""
    answer = _admission(situation)
    if answer.denied:
        return refused(*(f"the identity that would act may not {what}: grant it in RBAC" for what in answer.denied))
    return allowed("the identity that would act may do it")


@guard(Read(ADMISSIONS))
def server_dry_run_accepts(situation: Situation) -> Ruling:
    """The API server would accept the act: it was asked to do it without keeping the result."""
    answer = _admission(situation)
    if answer.refused is not None:
        return refused(f"the server would not accept it: {answer.refused}")
    return allowed("the server would accept it")


@guard(Read(STANDING))
def outside_change_freeze(situation: Situation) -> Ruling:
    """Nobody has stopped everything, and no change freeze holds. One that has begun to act is finished in a window."""
    standing = _standing(situation)
    if standing.frozen is not None:
        return refused(standing.frozen)
    if standing.closed and not any(act.action != "attest" for act in situation.done):
        return refused(*standing.closed)
    return allowed("no freeze holds")


@guard(Read(STANDING))
def within_blast_radius(situation: Situation) -> Ruling:
    """The acts of the last while, with those of this plan, stay within the limits that are set."""
    standing, act = _standing(situation), _act(situation)
    taken_at = situation.snapshot.taken_at
    coming = [
        Begun(taken_at, "", standing.runbook, _namespaces(each), _nodes(each))
        for each in (*situation.expected, act) if each.action != "attest"
    ]  # fmt: skip
    over = []
    for limit in standing.limits:
        recent = [one for one in standing.begun if taken_at - one.at < limit.within]
        counted = Counter(what for one in (*recent, *coming) for what in _counts(limit, one))
        mine = set(_counts(limit, coming[-1])) if coming else set()
        over += [_told(limit, what, number) for what, number in counted.items() if what in mine and number > limit.acts]
    return refused(*over) if over else allowed("within the limits")


def _counts(limit: Limit, begun: Begun) -> Iterable[str]:
    """What an act counts for under a limit."""
    if limit.per == "namespace":
        return begun.namespaces
    if limit.per == "node":
        return begun.nodes
    return (begun.runbook,) if limit.per == "runbook" else ("",)


def _told(limit: Limit, what: str, number: int) -> str:
    where = f"{limit.per} {what}" if what else "this cluster"
    minutes = limit.within.total_seconds() / 60
    return (
        f"this would be act {number} within {minutes:g} min for {where}, and the limit is {limit.acts}: "
        "wait, look what is going on, or have an admin raise `limits`"
    )


def _namespaces(act: Planned) -> frozenset[str]:
    return frozenset(target.namespace for target in act.targets if target.namespace)


def _nodes(act: Planned) -> frozenset[str]:
    return frozenset(target.name for target in act.targets if target.kind == "Node")


@guard(Read(STANDING))
def not_already_running(situation: Situation) -> Ruling:
    """No other execution works on any of the act's targets."""
    busy = list(_busy(_standing(situation), _act(situation)))
    return refused(*busy) if busy else allowed("nobody else works on it")


def _busy(standing: Standing, act: Planned) -> Iterator[str]:
    for target in act.targets:
        if other := standing.held.get(hold_key(target)):
            yield f"{other} works on {target}: let it end, or cancel it"
