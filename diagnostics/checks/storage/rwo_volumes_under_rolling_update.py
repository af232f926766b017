"""Deployments that replace their pods by RollingUpdate though these mount a volume for one node only.

Meaning: the new pod starts before the old one ends, and needs the volume that the old one holds.
Impact: on another node the new pod hangs (Multi-Attach, or a lock), the rollout with it; more replicas cannot spread.
Mitigation: strategy Recreate, for rollouts; a StatefulSet where a dead node must not lead to two pods either.

It is `info`: nothing is broken until a rollout crosses nodes. More than one replica is a `warning`: those hang by themselves.
"""

from collections.abc import Iterator

from diagnostics.attachments.facts import is_exclusive, needs_attachment
from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.csi import CSI_DRIVERS
from diagnostics.facts.images import is_rbd
from diagnostics.facts.kubernetes import CLAIMS, DEPLOYMENTS, VOLUMES
from diagnostics.facts.resources import Claim, Deployment, Volume
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, quoted


def _at_risk(found: Deployment) -> bool:
    """With one replica and maxSurge 0 the old pod is deleted first: the new one at most waits until it has ended.

    With more replicas that does not help: another old pod still holds the volume.
    """
    rolling = found.spec.strategy.type == "RollingUpdate" and bool(_claim_names(found))
    return rolling and found.replicas > 0 and (found.replicas > 1 or found.surge > 0)


def _claim_names(found: Deployment) -> tuple[str, ...]:
    """The claims that all its pods share. A generic ephemeral volume has a claim of its own for each pod."""
    named = (entry.persistent_volume_claim for entry in found.spec.template.spec.volumes or ())
    return tuple(dict.fromkeys(source.claim_name for source in named if source))


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each such Deployment. RBD volumes, and CSI volumes that are attached, count as exclusive."""
    deployments, claims, volumes = snapshot.seen(DEPLOYMENTS), snapshot.seen(CLAIMS), snapshot.seen(VOLUMES)
    by_claim = {(c.metadata.namespace, c.metadata.name): c for c in (claims.full if claims else ())}
    by_name = {volume.metadata.name: volume for volume in (volumes.full if volumes else ())}
    for found in filter(_at_risk, deployments.full if deployments else ()):
        bound = [c for name in _claim_names(found) if (c := by_claim.get((found.metadata.namespace, name)))]
        pairs = [(c, v) for c in bound if (v := by_name.get(c.spec.volume_name or "")) and is_exclusive(v)]
        known = [(c, v) for c, v in pairs if is_rbd(v) or needs_attachment(v, snapshot)]
        blind = [v for _, v in pairs if v.spec.csi and not is_rbd(v) and needs_attachment(v, snapshot) is None]
        yield from (Unseen(str(v.subject), "whether it is attached: its CSIDriver was not read") for v in blind)
        if known:
            yield _finding(found, known)


def _finding(found: Deployment, pairs: list[tuple[Claim, Volume]]) -> Finding:
    meta, many = found.metadata, found.replicas > 1
    whose = f"{found.replicas} replicas" if many else "its pods"
    says = f"replaces {whose} by RollingUpdate, with up to {found.surge} more at a time"
    path = f"GET deployments {meta.namespace}/{meta.name}"
    modes = [(c, v, ", ".join(v.spec.access_modes or ()) or "no access mode") for c, v in pairs]
    links = [
        Link(c.subject, f"is {m}: for one node only", (Evidence(f"GET persistentvolumes {v.metadata.name}", m),))
        for c, v, m in modes
    ]
    worse = "; more replicas than one cannot even run on several nodes" if many else ""
    return Finding(
        subject=found.subject,
        summary=f"{meta.namespace}/{meta.name} {says}, and they share {quoted([c.metadata.name for c, _ in pairs])}, for "
        f"one node only{worse}: use Recreate, or a StatefulSet",
        chain=(
            *links,
            Link(found.subject, says, (Evidence(path, f"strategy RollingUpdate, maxSurge {found.surge}"),)),
        ),
        severity=Severity.WARNING if many else Severity.INFO,
    )


CHECK = Check(
    find,
    reads=(Read(DEPLOYMENTS, where=_at_risk), Read(CLAIMS), Read(VOLUMES), Read(CSI_DRIVERS, optional=True)),
    severity=Severity.INFO,
)
