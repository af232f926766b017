"""Claims whose volume is gone: they were bound, and no longer are.

Meaning: the PersistentVolume was deleted, or belongs to another claim now; a Lost claim never binds again by itself.
Impact: no new pod can mount it. One that runs still has it mounted, until it ends.
Mitigation: find out what became of the storage behind it before anything is deleted; then make a volume for it, and the claim anew.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.claims import claim_link
from diagnostics.facts.holders import users_of_claim
from diagnostics.facts.kubernetes import CLAIMS, EVENTS, PODS, VOLUMES
from diagnostics.facts.resources import Claim
from diagnostics.facts.told import told_of
from diagnostics.model import Evidence, Finding, Link, Severity, Subject, Unseen, quoted


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each claim in the phase Lost; critical while pods use it."""
    claims, events, pods = snapshot.seen(CLAIMS), snapshot[EVENTS], snapshot[PODS]
    for claim in claims.full if claims else ():
        if claim.status.phase != "Lost":
            continue
        meta, told = claim.metadata, told_of(claim.metadata.uid, snapshot, within=None)
        rows = users_of_claim(meta.namespace, meta.name, snapshot)
        users = [f"{row.namespace}/{row.name}" for row in rows]
        some = f"; in use by {quoted(users[:3])}{' and others' if len(users) > 3 else ''}" if users else ""
        volume, unseen = _volume(claim, snapshot)
        blind = [
            f"{name}: {fact.reason}"
            for name, fact in (("events", events), ("its pods", pods))
            if isinstance(fact, NotSeen)
        ]
        yield Finding(
            subject=claim.subject,
            summary=f"claim {meta.namespace}/{meta.name} has lost its volume: {volume.subject.name} {volume.says}{some}",
            cause="pvc-unbound",
            since=told.event.first_seen if told else None,
            chain=(*((told.link,) if told else ()), claim_link(claim), volume),
            unseen=(*unseen, *blind),
            severity=Severity.CRITICAL if users else Severity.WARNING,
        )


def _volume(claim: Claim, snapshot: Snapshot) -> tuple[Link, tuple[str, ...]]:
    """What became of the claim's volume."""
    name, volumes = claim.spec.volume_name or "", snapshot[VOLUMES]
    subject, source = Subject("PersistentVolume", None, name, ""), f"GET persistentvolumes {name}"
    if isinstance(volumes, NotSeen):
        return Link(subject, "is no longer bound to it"), (f"volume {name}: {volumes.reason}",)
    found = next(iter(volumes.index("name", lambda one: one.metadata.name).get(name, ())), None)
    if found is None:
        return Link(subject, "does not exist any more", (Evidence(source, "not found"),)), ()
    ref = found.spec.claim_ref
    owner = f"{ref.namespace}/{ref.name} (uid {ref.uid})" if ref else "no claim"
    same = ref is not None and ref.uid in ("", claim.metadata.uid)
    says = f"is there again, {found.status.phase}" if same else f"belongs to {owner}"
    return Link(found.subject, says, (Evidence(source, f"status.phase {found.status.phase}, claimRef {owner}"),)), ()


CHECK = Check(
    find,
    reads=(
        Read(CLAIMS), Read(VOLUMES, optional=True), Read(EVENTS, optional=True),
        Read(PODS, where=lambda _: False, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
