"""A rollout that hangs, made by hand, for tests that judge purely: one field at a time can be made to differ.

As it stands, `shop/app` was rolled out twice: revision 1 (image app:1) was well, revision 2 (app:2) is not Ready.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts import rollouts as facts
from diagnostics.facts.kubernetes import Listing
from diagnostics.facts.resources import Claim, Pod
from diagnostics.facts.resources.rollouts import ControllerRevision, RevisionSet, RolledOut, Template
from diagnostics.facts.workloads import WORKLOAD_PODS
from diagnostics.model import Scope, Subject
from runbooks.situation import Planned, Situation

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
SECRET = "not-to-be-seen"


def template(image: str, **spec: Any) -> Template:
    """A pod template with a secret in its environment."""
    container = {"name": "app", "image": image, "env": [{"name": "DB_PASSWORD", "value": f"{SECRET}-{image}"}]}
    return {"metadata": {"labels": {"app": "app"}}, "spec": {"containers": [container], **spec}}


def of_number(kind: str, number: int, made_from: Template, owner: str = "uid-app") -> RevisionSet | ControllerRevision:
    """The revision of a workload of that kind, as its controller keeps it."""
    name = f"app-{number}"
    meta: dict[str, Any] = {
        "name": name, "namespace": "shop", "uid": f"uid-{name}",
        "ownerReferences": [{"kind": kind, "name": "app", "uid": owner, "controller": True}],
    }  # fmt: skip
    if kind == "Deployment":
        meta["annotations"] = {"deployment.kubernetes.io/revision": str(number)}
        labels = {**made_from["metadata"]["labels"], facts.HASH_LABEL: str(number)}
        hashed = {**made_from, "metadata": {**made_from["metadata"], "labels": labels}}
        return msgspec.convert({"metadata": meta, "spec": {"template": hashed}}, RevisionSet)
    data = {"spec": {"template": {**made_from, "$patch": "replace"}}}
    return msgspec.convert({"metadata": meta, "data": data, "revision": number}, ControllerRevision)


def pod(name: str, revision: int, *, ready: bool = False, terminating: bool = False, owner: str = "uid-app") -> Pod:
    """A pod of the StatefulSet."""
    meta: dict[str, Any] = {
        "name": name, "namespace": "shop", "uid": f"uid-{name}", "labels": {"controller-revision-hash": f"app-{revision}"},
        "ownerReferences": [{"kind": "StatefulSet", "name": "app", "uid": owner, "controller": True}],
    }  # fmt: skip
    if terminating:
        meta["deletionTimestamp"] = "2026-03-03T03:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return msgspec.convert({"metadata": meta, "status": {"conditions": conditions}}, Pod, strict=False)


@dataclass
class Rollout:
    """The facts about one workload, each of which may be made otherwise."""

    kind: str = "Deployment"
    now: Template = field(default_factory=lambda: template("app:2"))
    meta: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    kept: list[Any] | None = None
    pods: list[Pod] = field(default_factory=lambda: [pod("app-1", 2), pod("app-0", 1, ready=True)])
    claims: list[dict[str, Any]] = field(default_factory=list)
    there: bool = True
    unseen: tuple[Kind[Any], ...] = ()

    def workload(self) -> RolledOut:
        """The workload."""
        meta = {"name": "app", "namespace": "shop", "uid": "uid-app", "generation": 2, **self.meta}
        spec = {"template": self.now, "replicas": 2, "selector": {"matchLabels": {"app": "app"}}, **self.spec}
        status = {"observedGeneration": 2, **self.status}
        made = {"kind": self.kind, "metadata": meta, "spec": spec, "status": status}
        return msgspec.convert(made, RolledOut, strict=False)

    def situation(
        self, act: Planned | None = None, expected: tuple[Planned, ...] = (), done: tuple[Planned, ...] = (),
        **params: str,
    ) -> Situation:  # fmt: skip
        """What guards and actions judge."""
        kept = self.kept
        if kept is None:
            kept = [of_number(self.kind, 1, template("app:1")), of_number(self.kind, 2, template("app:2"))]
        listings: dict[Kind[Any], Any] = {kind: Listing(()) for kind in facts.WORKLOADS.values()}
        if self.there:
            listings[facts.WORKLOADS[self.kind]] = Listing((self.workload(),))
        is_deployment = self.kind == "Deployment"
        listings[facts.REVISION_SETS] = Listing(tuple(kept) if is_deployment else ())
        listings[facts.CONTROLLER_REVISIONS] = Listing(() if is_deployment else tuple(kept))
        listings[WORKLOAD_PODS] = Listing(tuple(self.pods))
        listings[facts.TEMPLATE_CLAIMS] = Listing(tuple(msgspec.convert(claim, Claim) for claim in self.claims))
        found = {kind.name: NotSeen("denied") if kind in self.unseen else seen for kind, seen in listings.items()}
        scope = Scope("lab", subject=Subject(self.kind, "shop", "app", ""))
        named = {"workload": f"{self.kind.lower()}/shop/app", **params}
        return Situation(Snapshot("lab", NOW, scope, found), named, expected, act, done)
