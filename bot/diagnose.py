"""Runs diagnoses for whoever asks: command line, Slack, schedule. Joins scan, sightings in the store, and offers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bot.settings import Settings
from bot.store import State
from bot.wiring import Target
from diagnostics import chain
from diagnostics.catalog import Listed, chosen
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import ALL_LOCKS, LOCKS, OSDMAP, SESSIONS, SIGHTINGS
from diagnostics.facts.holders import CLAIM_USERS, LEASES, NODES, PODS_AT
from diagnostics.model import Change, Finding, Scope, Severity, Status, Subject
from diagnostics.scan import Report, gather, scan
from runbooks.catalog import Library
from runbooks.offers import Offer, offers
from runbooks.vocabulary import vocabulary


class NoSuchSubject(Exception):
    """What was asked about is not there, or is nothing that can be explained: one sentence."""


@dataclass(frozen=True)
class Diagnosis:
    """A report with the runbooks that answer its findings, by finding id."""

    report: Report
    offers: dict[str, tuple[Offer, ...]]

    @property
    def kubernetes_seen(self) -> bool:
        """Whether Kubernetes answered at all."""
        return not isinstance(self.report.snapshot[k8s.VOLUMES], NotSeen)


@dataclass(frozen=True)
class Answer:
    """Why one thing is stuck; or that it is not, or that this could not be seen."""

    status: Status
    finding: Finding
    offers: tuple[Offer, ...]
    changes: tuple[Change, ...]


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
        raise NoSuchSubject(f"`why` explains pod/NAME or pvc/NAME, not {joined!r}.")
    if not all(c.isascii() and (c.isalnum() or c in "-.") for c in name):
        raise NoSuchSubject(f"{name!r} is not a name in Kubernetes.")
    return Subject(known, namespace or "default", name, "")


async def run_checks(target: Target, state: State, checks: Sequence[Listed], namespaces: tuple[str, ...]) -> Diagnosis:
    """Run checks over a cluster, and keep what they sighted."""
    async with target.sources() as sources:
        scope = Scope(target.name, namespaces)
        report = await scan(
            sources, checks, scope, await asyncio.to_thread(state.sightings.load, target.name), target.now()
        )
    await asyncio.to_thread(state.sightings.keep, target.name, report.sightings)
    return Diagnosis(report, _offers(report))


async def look_at_locks(target: Target, state: State) -> Diagnosis:
    """Read all locks, and of Kubernetes what names their holders and users."""
    reads = [Read(kind) for kind in (LOCKS, OSDMAP, SESSIONS, SIGHTINGS, NODES, PODS_AT, CLAIM_USERS, LEASES)]
    async with target.sources() as sources:
        sightings = await asyncio.to_thread(state.sightings.load, target.name)
        snapshot = await gather(sources, reads, Scope(target.name, subject=ALL_LOCKS), sightings, target.now())
    kept = snapshot.seen(SIGHTINGS) or ()
    await asyncio.to_thread(state.sightings.keep, target.name, kept)
    return Diagnosis(Report(snapshot.taken_at, (), {}, kept, snapshot), {})


async def look_at_subject(target: Target, state: State, subject: Subject) -> Answer:
    """Find out why one thing is stuck.

    Raises:
        NoSuchSubject: there is no such thing in the cluster.
    """
    checks = chosen(("storage", "ceph"))
    async with target.sources() as sources:
        scope = Scope(target.name, subject=subject)
        report = await scan(
            sources, checks, scope, await asyncio.to_thread(state.sightings.load, target.name), target.now()
        )
    await asyncio.to_thread(state.sightings.keep, target.name, report.sightings)
    return _answer(report, subject)


def _answer(report: Report, subject: Subject) -> Answer:
    snapshot = report.snapshot
    seen = snapshot[k8s.PODS]
    if isinstance(seen, NotSeen):
        return _unknown(subject, seen.reason)
    if not seen.full:
        raise NoSuchSubject(
            f"There is no {subject.kind} {subject.name} in namespace {subject.namespace}: check the name and -n."
        )
    found = [(o.check, f) for o in report.outcomes for f in o.findings]
    found.sort(key=lambda pair: (len(pair[1].chain), (pair[1].severity or Severity.INFO).rank), reverse=True)
    about = seen.full[0].subject
    if not found:
        blind = [o for o in report.outcomes if o.status is Status.UNKNOWN and o.check.startswith("storage/")]
        if blind:
            return _unknown(about, "; ".join(o.reason or o.check for o in blind))
        return Answer(Status.OK, Finding(about, _healthy(snapshot)), (), ())
    best = found[0][1]
    reasons = [f"{o.check}: {o.reason}" for o in report.outcomes if o.reason and o.status is not Status.SKIPPED]
    if not any(link.subject.kind == "RBDLock" for link in best.chain):
        best = _with_unseen(best, reasons)
    books = library()
    made = [offer for check, finding in found for offer in offers(check, finding, books)]
    return Answer(Status.FOUND, best, tuple(_unique(made)), chain.changes(best, snapshot))


def _with_unseen(finding: Finding, reasons: list[str]) -> Finding:
    return msgspec.structs.replace(finding, unseen=tuple(dict.fromkeys((*finding.unseen, *reasons))))


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


def _healthy(snapshot: Snapshot) -> str:
    pods = snapshot.seen(k8s.PODS)
    pod = pods.full[0] if pods and pods.full else None
    if pod is None:
        return "nothing that waits was found"
    if pod.is_creating:
        return "it is starting, within the grace, and nothing has failed so far"
    return f"it is {pod.status.phase} and waits for nothing"


def _unknown(subject: Subject, reason: str) -> Answer:
    return Answer(Status.UNKNOWN, Finding(subject, reason, unseen=(reason,)), (), ())


def library(settings: Settings | None = None) -> Library:
    """The runbooks that are released with Unstick, and a team's own folders beside them."""
    folders = [Path(folder).expanduser() for folder in settings.runbooks] if settings else []
    return Library.load(vocabulary(), folders)


def _offers(report: Report) -> dict[str, tuple[Offer, ...]]:
    books = library()
    return {f.id: offers(o.check, f, books) for o in report.outcomes for f in o.findings}
