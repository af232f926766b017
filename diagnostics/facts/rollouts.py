"""The one workload that a runbook is about, with its template, and the revisions that it can be taken back to.

Read around one subject only, never in a scan: templates are large, and may hold secrets. ReplicaSets and
ControllerRevisions carry the labels of the template that they were made from, which its selector matches, so the
selector finds them as it does for their controller; their owner says whose they are.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from diagnostics.facts import Snapshot
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources import Claim
from diagnostics.facts.resources.rollouts import ControllerRevision, RevisionSet, RolledOut, Template
from diagnostics.model import Subject

HASH_LABEL = "pod-template-hash"  # what a Deployment's controller adds to the template of each of its ReplicaSets


def _the(kind: str) -> Callable[[Snapshot], Iterable[Get | List]]:
    def requests(snapshot: Snapshot) -> Iterable[Get | List]:
        subject = snapshot.scope.subject
        return (Get(subject.name, subject.namespace),) if subject is not None and subject.kind == kind else ()

    return requests


def workloads(snapshot: Snapshot) -> tuple[RolledOut, ...]:
    """The workload that was looked at, as far as it was read: one or none."""
    listings = (snapshot.seen(kind) for kind in WORKLOADS.values())
    return tuple(one for listing in listings if listing for one in listing.full)


def _revisions_of(*kinds: str) -> Callable[[Snapshot], Iterable[Get | List]]:
    def requests(snapshot: Snapshot) -> Iterable[Get | List]:
        return [
            List(one.metadata.namespace, labels=str(one.spec.selector)) for one in workloads(snapshot)
            if one.kind in kinds and str(one.spec.selector)
        ]  # fmt: skip

    return requests


def _claims(snapshot: Snapshot) -> Iterable[Get | List]:
    wanted = ((one.metadata.namespace, name) for one in workloads(snapshot) for name in claim_names(one.spec.template))
    return [Get(name, namespace) for namespace, name in wanted]


DEPLOYMENT: Resource[RolledOut] = Resource(
    "deployments in full", group="apps", plural="deployments", struct=RolledOut, requests=_the("Deployment")
)
STATEFUL_SET: Resource[RolledOut] = Resource(
    "statefulsets in full", group="apps", plural="statefulsets", struct=RolledOut, requests=_the("StatefulSet")
)
DAEMON_SET: Resource[RolledOut] = Resource(
    "daemonsets in full", group="apps", plural="daemonsets", struct=RolledOut, requests=_the("DaemonSet")
)
WORKLOADS: Mapping[str, Resource[RolledOut]] = {
    "Deployment": DEPLOYMENT, "StatefulSet": STATEFUL_SET, "DaemonSet": DAEMON_SET,
}  # fmt: skip
REVISION_SETS: Resource[RevisionSet] = Resource(
    "replicasets in full", (DEPLOYMENT,), group="apps", plural="replicasets", struct=RevisionSet,
    requests=_revisions_of("Deployment"),
)  # fmt: skip
CONTROLLER_REVISIONS: Resource[ControllerRevision] = Resource(
    "controllerrevisions in full", (STATEFUL_SET, DAEMON_SET), group="apps", plural="controllerrevisions",
    struct=ControllerRevision, requests=_revisions_of("StatefulSet", "DaemonSet"),
)  # fmt: skip
TEMPLATE_CLAIMS: Resource[Claim] = Resource(
    "persistentvolumeclaims of the template", (DEPLOYMENT,), plural="persistentvolumeclaims", struct=Claim,
    requests=_claims,
)  # fmt: skip


@dataclass(frozen=True)
class Revision:
    """One revision that is kept: its number, the object that keeps it, its template and that template's sha256."""

    number: int
    keeper: Subject
    template: Template
    sha256: str


def bare(template: Mapping[str, Any]) -> Template:
    """A template without what controllers add to it: the hash label, and `$patch` of a ControllerRevision.

    A `creationTimestamp` that is null says nothing, and is dropped: servers before 1.34 wrote it into each template,
    later ones do not, and a ControllerRevision keeps what it was made with.
    """
    kept = {key: value for key, value in template.items() if key != "$patch"}
    meta = kept.get("metadata")
    if isinstance(meta, Mapping) and meta.get("creationTimestamp", "") is None:
        meta = kept["metadata"] = {key: value for key, value in meta.items() if key != "creationTimestamp"}
    if isinstance(meta, Mapping) and HASH_LABEL in (meta.get("labels") or {}):
        labels = {key: value for key, value in meta["labels"].items() if key != HASH_LABEL}
        kept["metadata"] = {**meta, "labels": labels}
    return kept


def sha256(template: Mapping[str, Any]) -> str:
    """What tells one template from another without showing it."""
    return hashlib.sha256(msgspec.json.encode(bare(template), order="sorted")).hexdigest()


def revisions(of: RolledOut, snapshot: Snapshot) -> tuple[Revision, ...]:
    """The revisions that a workload keeps, by their numbers, as far as they were read."""
    kind: Resource[Any] = REVISION_SETS if of.kind == "Deployment" else CONTROLLER_REVISIONS
    listing = snapshot.seen(kind)
    found = []
    for each in listing.full if listing else ():
        owner = each.metadata.controller
        if owner is not None and owner.uid == of.metadata.uid and each.number is not None and each.template:
            found.append(Revision(each.number, each.subject, bare(each.template), sha256(each.template)))
    return tuple(sorted(found, key=lambda revision: revision.number))


def claim_names(template: Mapping[str, Any]) -> tuple[str, ...]:
    """The claims that all pods of a template share. A generic ephemeral volume has a claim of its own for each pod."""
    volumes = (template.get("spec") or {}).get("volumes") or ()
    named = (volume.get("persistentVolumeClaim") for volume in volumes)
    return tuple(dict.fromkeys(source["claimName"] for source in named if source))
