"""The rollout that a runbook is about: its workload, its revisions, and who would put a change back. Pure.

Guards and actions share this, so that what is planned and what is judged are the same.
"""

from typing import Any

import msgspec

from diagnostics.facts import NotSeen
from diagnostics.facts import rollouts as facts
from diagnostics.facts.kubernetes import Resource
from diagnostics.facts.resources import Pod, PodSpec
from diagnostics.facts.resources.rollouts import RolledOut
from diagnostics.facts.rollouts import Revision
from diagnostics.facts.workloads import WORKLOAD_PODS
from runbooks.parameters import WORKLOADS as KINDS
from runbooks.situation import CannotPlan, Planned, Situation

PLUGINS = "kubelet/plugins"  # where a CSI driver puts its socket on a node, and `_registry` where it tells kubelet
UNDO = "rollouts.undo"
# Whose name stands in metadata.managedFields once a tool has written an object, whatever it marks it with.
_MANAGERS = {
    "argocd-controller": "Argo CD", "argocd-application-controller": "Argo CD", "kustomize-controller": "Flux",
    "helm-controller": "Flux",
}  # fmt: skip


def workload_named(situation: Situation) -> tuple[str, str]:
    """The kind and `namespace/name` that the parameter `workload` names.

    Raises:
        CannotPlan: it was not given.
    """
    word, _, name = situation.params.get("workload", "").partition("/")
    if word not in KINDS or not name:
        raise CannotPlan("no workload is named: give workload=deployment/NAMESPACE/NAME")
    return KINDS[word], name


def workload(situation: Situation) -> RolledOut:
    """The workload that the runbook is about.

    Raises:
        CannotPlan: it could not be read, is not there, or is being deleted.
    """
    kind, name = workload_named(situation)
    found = situation.one(facts.WORKLOADS[kind], name)
    if found is None:
        raise CannotPlan(f"there is no {kind} {name}")
    if found.metadata.deletion_timestamp is not None:
        raise CannotPlan(f"{found.subject} is being deleted")
    return found


def revisions(of: RolledOut, situation: Situation) -> tuple[Revision, ...]:
    """The revisions that it keeps, by number.

    Raises:
        CannotPlan: they could not be read.
    """
    kind: Resource[Any] = facts.REVISION_SETS if of.kind == "Deployment" else facts.CONTROLLER_REVISIONS
    seen = situation.snapshot[kind]
    if isinstance(seen, NotSeen):
        raise CannotPlan(f"the revisions of {of.subject} could not be read: {seen.reason}", unknown=True)
    return facts.revisions(of, situation.snapshot)


def act_of(situation: Situation) -> Planned:
    """The act that a guard is asked about.

    Raises:
        CannotPlan: there is none.
    """
    if situation.act is None:
        raise CannotPlan("there is no act to judge", unknown=True)
    return situation.act


def pods(of: RolledOut, situation: Situation) -> tuple[Pod, ...]:
    """The pods that a StatefulSet or DaemonSet owns.

    Raises:
        CannotPlan: they could not be read.
    """
    seen = situation.snapshot[WORKLOAD_PODS]
    if isinstance(seen, NotSeen):
        raise CannotPlan(f"the pods of {of.subject} could not be read: {seen.reason}", unknown=True)
    owned = ((pod, pod.metadata.controller) for pod in seen.full)
    return tuple(pod for pod, owner in owned if owner is not None and owner.uid == of.metadata.uid)


def revision_of(pod: Pod) -> str | None:
    """The name of the ControllerRevision that a pod was made from.

    A DaemonSet's pods carry its hash alone, a StatefulSet's the whole name.
    """
    return pod.metadata.labels.revision_hash if pod.metadata.labels else None


def ordinal(name: str) -> int:
    """The number at the end of a StatefulSet's pod's name; 0 where there is none."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def undoing(situation: Situation, found: RolledOut) -> Planned | None:
    """The act earlier in the same plan, or done before in this execution, that takes the workload back."""
    acts = (*situation.expected, *situation.done)
    return next((act for act in reversed(acts) if act.action == UNDO and found.subject in act.targets), None)


def tool_behind(found: RolledOut) -> str | None:
    """The GitOps tool that would put a change back, by its marks; None where none is seen."""
    meta = found.metadata
    for marks in (meta.labels, meta.annotations):
        if marks is not None and (marks.argocd_instance or marks.argocd_tracking):
            return "Argo CD"
        if marks is not None and (marks.flux_kustomization or marks.flux_release):
            return "Flux"
    return next((_MANAGERS[each.manager] for each in meta.managed_fields or () if each.manager in _MANAGERS), None)


def helm_release(found: RolledOut) -> str | None:
    """The Helm release that made it; None where none is seen."""
    labels, annotations = found.metadata.labels, found.metadata.annotations
    if annotations is not None and annotations.helm_release:
        return annotations.helm_release
    return found.metadata.name if labels is not None and labels.managed_by == "Helm" else None


def is_node_plugin(found: RolledOut) -> bool:
    """Whether its pods serve a CSI driver on their nodes: they mount kubelet's folder of plugins."""
    try:
        spec = msgspec.convert(found.spec.template.get("spec") or {}, PodSpec, strict=False)
    except msgspec.ValidationError:
        return True  # what cannot be read may be one
    return any(PLUGINS in str((v.host_path or {}).get("path") or "") for v in spec.volumes or ())
