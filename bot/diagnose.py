"""Runs diagnoses for whoever asks: command line, Slack, schedule. Joins scan, sightings in the store, and offers."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bot.incidents import Answer
from bot.settings import Settings, SettingsError
from bot.store import State
from bot.wiring import Target
from diagnostics import changes
from diagnostics.catalog import Listed, chosen
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import ALL_LOCKS, LOCKS, OSDMAP, SESSIONS, SIGHTINGS
from diagnostics.facts.holders import CLAIM_USERS, LEASES, NODES, PODS_AT
from diagnostics.facts.resources import Pod
from diagnostics.model import Evidence, Finding, Link, Scope, Severity, Status, Subject, quoted
from diagnostics.scan import Report
from diagnostics.several import gather_each, scan, sightings_of
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.rados import RadosError
from runbooks.catalog import BadPinError, Library
from runbooks.offers import Offer, offers
from runbooks.vocabulary import vocabulary


class NoSuchSubject(Exception):
    """What was asked about is not there, or is nothing that can be explained: one sentence."""


@dataclass(frozen=True)
class Diagnosis:
    """A report with the runbooks that answer its findings, by finding id. It took so many `seconds` to look."""

    report: Report
    offers: dict[str, tuple[Offer, ...]]
    seconds: float = 0.0

    @property
    def kubernetes_seen(self) -> bool:
        """Whether Kubernetes answered at all."""
        return not isinstance(self.report.snapshot[k8s.VOLUMES], NotSeen)


_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONGEST_NAME = 253
_LISTING_POOLS = 20.0  # seconds
_OPEN = (None, "unknown", "mount-timeout-umbrella")
# What a Deployment that starts the new pod before the old one has let go of the volume runs into.
_HELD_ELSEWHERE = ("rbd-image-locked", "rbd-image-in-use", "multi-attach", "mount-timeout-umbrella")
_KINDS = {
    "pod": "Pod", "pods": "Pod", "po": "Pod",
}  # fmt: skip


def parse_subject(words: Sequence[str], namespace: str | None) -> Subject:
    """Read `pod/NAME`, `pod NAME` or a pasted pod name.

    Raises:
        NoSuchSubject: the words are something else.
    """
    joined = "/".join(words)
    kind, slash, name = joined.partition("/")
    if not slash:
        kind, name = "pod", joined
    known = _KINDS.get(kind.lower())
    if known is None or not name or "/" in name:
        raise NoSuchSubject(f"`why` explains pod/NAME, not {joined!r}: write pod/NAME -n NAMESPACE.")
    if not _is_name(name):
        raise NoSuchSubject(f"{name!r} is not a name in Kubernetes: `kubectl get pods -A` lists them.")
    return Subject(known, check_namespace(namespace) or "default", name, "")


def check_namespace(name: str | None) -> str | None:
    """The namespace that somebody named, if it can be one at all: it becomes part of a request's path.

    Raises:
        NoSuchSubject: no namespace can be called that.
    """
    if name is not None and (not _is_name(name) or "." in name):
        raise NoSuchSubject(f"{name!r} is not the name of a namespace: `kubectl get namespaces` lists them.")
    return name


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and bool(_NAME.fullmatch(text))


async def run_checks(target: Target, state: State, checks: Sequence[Listed], namespaces: tuple[str, ...]) -> Diagnosis:
    """Run checks over a cluster, and keep what they sighted."""
    began = time.monotonic()
    async with target.sources() as sources:
        scope = Scope(target.name, namespaces)
        sightings = await asyncio.to_thread(state.sightings.load, target.name)
        report = await scan(sources, checks, scope, sightings, target.now())
    await asyncio.to_thread(state.sightings.keep, target.name, sightings, report.sightings)
    seconds = time.monotonic() - began
    return Diagnosis(report, await asyncio.to_thread(_offers, report, target.settings), seconds)


async def look_at_locks(target: Target, state: State, named: Sequence[str] = ()) -> Diagnosis:
    """Read all locks, and of Kubernetes what names their holders and users. `named` are pools that somebody asked for.

    Raises:
        NoSuchSubject: one of the named pools does not exist.
    """
    reads = [Read(kind) for kind in (LOCKS, OSDMAP, SESSIONS, SIGHTINGS, NODES, PODS_AT, CLAIM_USERS, LEASES)]
    async with target.sources() as sources:
        sightings = await asyncio.to_thread(state.sightings.load, target.name)
        looks = await gather_each(sources, reads, Scope(target.name, subject=ALL_LOCKS), sightings, target.now())
    if named:
        looks = await _insist_on(named, looks, target)
    kept = sightings_of(looks.values(), sightings) if target.cephs else looks[""].seen(SIGHTINGS) or ()
    await asyncio.to_thread(state.sightings.keep, target.name, sightings, kept)
    snapshot = next(iter(looks.values()))
    return Diagnosis(Report(snapshot.taken_at, (), {}, kept, snapshot, looks if target.cephs else {}), {})


async def _insist_on(pools: Sequence[str], looks: dict[str, Snapshot], target: Target) -> dict[str, Snapshot]:
    """Tell a pool that is not there from one that could not be read: the first is a slip of the hand.

    Of several Ceph clusters one has it, perhaps; that the others do not is no problem then.

    Raises:
        NoSuchSubject: none of them has one of the named pools.
    """
    unread = {
        name: {problem.pool for problem in locks.problems} & set(pools)
        for name, look in looks.items() if (locks := look.seen(LOCKS)) is not None
    }  # fmt: skip
    asked = [name for name, missed in unread.items() if missed]
    found = dict(zip(asked, await asyncio.gather(*(_pools_of(target, name) for name in asked)), strict=True))
    absent = {name: unread[name] - set(known) for name, known in found.items() if known is not None}
    nowhere = set.intersection(*(absent.get(name, set()) for name in looks)) if looks else set()
    if nowhere:
        known = sorted({pool for name in found for pool in found[name] or ()})
        where = "this Ceph: it has" if len(looks) == 1 else f"the Ceph clusters {quoted(sorted(looks))}: they have"
        raise NoSuchSubject(f"There is no pool {quoted(sorted(nowhere))} in {where} {quoted(known) or 'none'}.")
    return {name: _without(look, absent.get(name, set())) for name, look in looks.items()}


def _without(look: Snapshot, absent: set[str]) -> Snapshot:
    """A look at locks without the problems of pools that another Ceph has."""
    locks = look.seen(LOCKS)
    if locks is None or not absent:
        return look
    left = tuple(problem for problem in locks.problems if problem.pool not in absent)
    return look.with_fact(LOCKS, msgspec.structs.replace(locks, problems=left))


async def _pools_of(target: Target, name: str) -> tuple[str, ...] | None:
    """The pools of one Ceph; None where it does not tell them."""

    def existing() -> tuple[str, ...]:
        rados = target.ceph_connections[name]()
        try:
            return rados.pools()
        finally:
            rados.close()

    try:
        return await asyncio.wait_for(asyncio.to_thread(existing), _LISTING_POOLS)
    except (CouldNotLook, RadosError, TimeoutError):
        return None


async def look_at_subject(target: Target, state: State, subject: Subject) -> Answer:
    """Find out why one thing is stuck.

    Raises:
        NoSuchSubject: there is no such thing in the cluster.
    """
    checks = [listed for listed in chosen(("storage", "ceph", "pods")) if not listed.check.of_the_whole]
    async with target.sources() as sources:
        scope = Scope(target.name, subject=subject)
        sightings = await asyncio.to_thread(state.sightings.load, target.name)
        report = await scan(sources, checks, scope, sightings, target.now())
        await asyncio.to_thread(state.sightings.keep, target.name, sightings, report.sightings)
        answer = await asyncio.to_thread(_answer, report, subject, target.settings)
        if answer.status is not Status.FOUND:
            return answer
        around = await changes.look(sources, answer.finding, report.snapshot)
    return await asyncio.to_thread(_with_changes, answer, around, state)


def _with_changes(answer: Answer, around: Snapshot, state: State) -> Answer:
    """The answer with what changed around it, and what Unstick itself did there."""
    subjects, since = around.seen(changes.ON_CHAIN) or (), changes.began(answer.finding, around)
    acts = [
        changes.done(act.when, act.act.targets, act.says, subjects)
        for act in state.runbooks.acts_on(around.cluster, subjects, since) if act.says is not None
    ]  # fmt: skip
    told = changes.timeline(answer.finding, around, acts)
    return msgspec.structs.replace(answer, changes=told.changes, changes_unseen=told.unseen)


def _answer(report: Report, subject: Subject, settings: Settings) -> Answer:
    snapshot = report.snapshot
    seen = snapshot[k8s.PODS]
    if isinstance(seen, NotSeen):
        reason = (
            seen.reason
            if seen.configured
            else "No Kubernetes is configured: set KUBECONFIG, or name one in unstick.yaml."
        )
        return _unknown(subject, reason)
    if not seen.full:
        raise NoSuchSubject(
            f"There is no {subject.kind} {subject.name} in namespace {subject.namespace}: check the name and -n."
        )
    pod = seen.full[0]
    every = [(o.check, f) for o in report.outcomes for f in o.findings]
    found = [(check, f) for check, f in every if _is_about(f, pod.subject)] or _of_its_claims(pod, every)
    found.sort(key=lambda pair: (len(pair[1].chain), (pair[1].severity or Severity.INFO).rank), reverse=True)
    if not found:
        if (known := _not_well(pod)) is not None:
            return _unknown(pod.subject, known)
        blind = [o for o in report.outcomes if o.status is Status.UNKNOWN and o.check.startswith("storage/")]
        if blind:
            return _unknown(pod.subject, "; ".join(o.reason or o.check for o in blind))
        return Answer(Status.OK, Finding(pod.subject, _healthy(pod)), (), (), report.taken_at, starting=pod.is_creating)
    best = found[0][1]
    reasons = [
        (o.check, o.reason) for o in report.outcomes
        if o.reason and o.status is not Status.SKIPPED and (best.cause in _OPEN or _is_of_pods(o.check))
    ]  # fmt: skip
    if not any(link.subject.kind == "RBDLock" for link in best.chain):
        best = _with_unseen(best, reasons)
    beside = [(check, f) for check, f in every if f not in [one for _, one in found] and _is_on_the_way(f, best, pod)]
    books = library(settings)
    # What answers another finding on the way is filled from the whole of it: the pod that waits is not on a lock's chain.
    # What only let it come to this is told, and mended afterwards: it is no answer to why this is stuck.
    links = {link.subject for link in best.chain}
    whole = [
        (check, msgspec.structs.replace(f, chain=(*f.chain, *best.chain)))
        for check, f in beside if f.subject in links or (f.root is not None and f.root == best.root)
    ]  # fmt: skip
    made = [offer for check, finding in (*found, *whole) for offer in offers(check, finding, books)]
    return Answer(
        Status.FOUND, best, tuple(_unique(made)), (), report.taken_at,
        beside=tuple(dict.fromkeys(f.summary for _, f in beside)),
    )  # fmt: skip


def _is_of_pods(check: str) -> bool:
    """Whether a check looks at what a pod waits for; what others could not see matters only while its cause is open."""
    return check.startswith(("storage/", "ceph/locks_"))


def _of_its_claims(pod: Pod, every: list[tuple[str, Finding]]) -> list[tuple[str, Finding]]:
    """What was found of a pod's claims, told of the pod: one that is bound to no node waits for them all the same."""
    text = f"status.phase {pod.status.phase}, spec.nodeName {pod.spec.node_name or '(none)'}"
    proof = Evidence(f"GET pods {pod.metadata.namespace}/{pod.metadata.name}", text)
    link = Link(pod.subject, f"is {pod.status.phase} and mounts it", (proof,))
    return [
        (check, msgspec.structs.replace(f, subject=pod.subject, chain=(link, *f.chain)))
        for check, f in every
        if f.subject.kind == "PersistentVolumeClaim" and f.subject.namespace == pod.metadata.namespace
        and f.subject.name in pod.claims and pod.status.phase == "Pending"
    ]  # fmt: skip


def _is_on_the_way(finding: Finding, best: Finding, pod: Pod) -> bool:
    """Whether something else that was found belongs to this trouble: it is about a link of the chain, or made the pod."""
    about = finding.subject
    return about in [link.subject for link in best.chain] or (
        about.kind == "Deployment" and about.namespace == pod.metadata.namespace and best.cause in _HELD_ELSEWHERE
    )


def _is_about(finding: Finding, subject: Subject) -> bool:
    """Whether a finding tells of a thing: what is wrong beside it is no answer to why it is stuck."""
    return subject in (finding.subject, *(link.subject for link in finding.chain))


def _with_unseen(finding: Finding, reasons: list[tuple[str, str]]) -> Finding:
    """Add what else was not seen, unless the finding says the same already in its own words."""
    told = list(finding.unseen)
    for check, reason in reasons:
        if not any(_same(reason, said) for said in told):
            told.append(f"{check}: {reason}")
    return msgspec.structs.replace(finding, unseen=tuple(told))


def _same(reason: str, said: str) -> bool:
    """Whether two sentences give one reason, be it of different things: `image a/b: no answer`, `ceph.status: no answer`."""
    why = said.partition(": ")[2]
    return reason in said or said in reason or bool(why and why in (reason, reason.partition(": ")[2]))


def _unique(made: list[Offer]) -> list[Offer]:
    """Each runbook once for the same thing: of two offers, the one that knows more of its parameters."""
    kept: list[Offer] = []
    for offer in sorted(made, key=lambda o: -len(o.params)):
        if not any(
            (k.runbook, k.version) == (offer.runbook, offer.version) and offer.params.items() <= k.params.items()
            for k in kept
        ):
            kept.append(offer)
    return kept


def _not_well(pod: Pod) -> str | None:
    """Why a pod that nothing was found about is not in order all the same, and where to look; None where it is."""
    status = pod.status
    if (since := pod.metadata.deletion_timestamp) is not None:
        what = "and why it does not end is not looked into yet: `kubectl describe pod` has its finalizers and node"
        return f"it is Terminating since {since:%Y-%m-%dT%H:%M:%SZ}, {what}"
    if status.phase in ("Running", "Succeeded") or pod.is_creating:
        return None
    why = f" ({status.reason})" if status.reason else ""
    if status.phase == "Pending" and not pod.spec.node_name:
        return f"it is Pending{why} and bound to no node: `kubectl describe pod` has what the scheduler says"
    if status.phase == "Pending":
        return f"it is Pending{why}, though not for a volume: `kubectl describe pod` has what its containers wait for"
    if status.phase == "Failed":
        return f"it is Failed{why} and does not start again: `kubectl describe pod` says why, its owner makes a new one"
    known = f"its phase is {status.phase or 'not told'}{why}"
    return f"{known}: look whether its node {pod.spec.node_name or '(none)'} is Ready with `kubectl get node`"


def _healthy(pod: Pod) -> str:
    if pod.is_creating:
        return "it is starting, within the grace, and nothing has failed so far"
    return f"it is {pod.status.phase} and waits for nothing"


def _unknown(subject: Subject, reason: str) -> Answer:
    return Answer(Status.UNKNOWN, Finding(subject, reason, unseen=(reason,)), (), ())


def library(settings: Settings | None = None) -> Library:
    """The runbooks that are released with Unstick, and a team's own folders beside them.

    Raises:
        RunbookErrors: one of them has a mistake.
        NoSuchPathError: a folder is not there.
        SettingsError: a pin names what is not there.
    """
    folders = [Path(folder).expanduser() for folder in settings.runbooks] if settings else []
    try:
        return Library.load(vocabulary(), folders, settings.pins if settings else {})
    except BadPinError as error:
        raise SettingsError(f"The configuration is wrong: {error}.") from None


def _offers(report: Report, settings: Settings) -> dict[str, tuple[Offer, ...]]:
    books = library(settings)
    return {f.id: offers(o.check, f, books) for o in report.outcomes for f in o.findings}
