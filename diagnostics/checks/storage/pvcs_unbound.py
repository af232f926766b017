"""Claims that have no volume though they should have one by now, and why.

Meaning: no volume fits or is made: the class or volume is not there, or the provisioner fails or does not answer.
Impact: every pod that mounts the claim waits.
Mitigation: what the finding names: make the class or volume, or look at the provisioner. Deleting the pod helps nothing.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.claims import CAUSE, Unbound, claim_link, is_filling, link_of_class, why_unbound
from diagnostics.facts.csi import STORAGE_CLASSES
from diagnostics.facts.holders import users_of_claim
from diagnostics.facts.kubernetes import CLAIMS, EVENTS, PODS, VOLUMES
from diagnostics.facts.resources import Claim, Pod
from diagnostics.facts.told import Told, told_of
from diagnostics.model import Finding, Severity, Unseen, quoted

GRACE = timedelta(seconds=60)


def _is_due(claim: Claim, snapshot: Snapshot) -> bool:
    made = claim.metadata.creation_timestamp
    old = made is None or snapshot.taken_at - made > GRACE
    return claim.status.phase not in ("Bound", "Lost") and claim.metadata.deletion_timestamp is None and old


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each claim that waits for more than its first pod."""
    claims = snapshot.seen(CLAIMS)
    for claim in claims.full if claims else ():
        if _is_due(claim, snapshot):
            why, told = why_unbound(claim, snapshot), told_of(claim.metadata.uid, snapshot)
            if is_filling(claim, why, told, snapshot):
                if isinstance(events := snapshot[EVENTS], NotSeen):
                    yield Unseen(f"whether filling {claim.subject} fails", events.reason)
            elif told is None and isinstance(why, Unseen):
                yield why
            elif told is not None or why is not None:
                yield _finding(claim, None if isinstance(why, Unseen) else why, told, snapshot)


def _finding(claim: Claim, why: Unbound | None, told: Told | None, snapshot: Snapshot) -> Finding:
    meta, links = claim.metadata, why.links if why else (claim_link(claim),)
    says, cause, events = why.says if why else "", CAUSE, snapshot[EVENTS]
    if told is not None:
        if told.slug != CAUSE or not why:  # it tells more than the objects do
            cause, says = told.slug or CAUSE, told.says
            links = (claim_link(claim), *link_of_class(claim, snapshot))
        links = (told.link, *links)
    pods = [f"{row.namespace}/{row.name}" for row in users_of_claim(meta.namespace, meta.name, snapshot)]
    some = f"; {quoted(pods[:3])}{' and others' if len(pods) > 3 else ''} cannot start without it" if pods else ""
    blind = (f"events: {events.reason}",) if isinstance(events, NotSeen) else ()
    began = (why.since if why else None) or (told.event.first_seen if told else None)
    return Finding(
        subject=claim.subject,
        summary=f"claim {meta.namespace}/{meta.name} is not bound: {says}{some}",
        cause=cause,
        since=began,
        chain=links,
        unseen=(*(why.unseen if why else ()), *blind),
    )


def _waits_with_claims(pod: Pod) -> bool:
    return pod.status.phase == "Pending" and bool(pod.claims)


CHECK = Check(
    find,
    reads=(
        Read(CLAIMS), Read(STORAGE_CLASSES, optional=True), Read(VOLUMES, optional=True), Read(EVENTS, optional=True),
        Read(PODS, where=_waits_with_claims, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
