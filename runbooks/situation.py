"""What guards and actions judge: fresh facts, the runbook's parameters, and what the same plan is about to do first."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS, LockedImage, Locker
from diagnostics.facts.holders import CLAIM_USERS, NODES, users_of, volumes_of
from diagnostics.facts.kubernetes import Listing, Resource
from diagnostics.facts.resources import Node, Pod, Volume
from diagnostics.model import Subject
from runbooks.model import Risk

F = TypeVar("F")


class Planned(msgspec.Struct, frozen=True):
    """One act as it will be done: to what, with which effect, and how dangerous that is.

    `effect` is all that the act needs (JSON), so that what was approved is what is done. `dies` lists who pays for it,
    and `shows` what people want to see of it before they say yes, such as the difference of two templates.
    """

    action: str
    says: str
    targets: tuple[Subject, ...]
    effect: dict[str, Any]
    risk: Risk
    dies: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()


def waits(pod: Pod) -> bool:
    """Whether a pod has not got its volumes yet. A pod whose init containers run is Pending too, and has them."""
    return pod.is_creating or (pod.status.phase == "Pending" and not pod.spec.node_name)


class CannotPlan(Exception):
    """An act cannot be planned from these facts. `reasons` are sentences; `unknown` says that something was not seen."""

    def __init__(self, *reasons: str, unknown: bool = False) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
        self.unknown = unknown


@dataclass(frozen=True)
class Situation:
    """The facts of a moment, as a runbook's parameters pick them out.

    `expected` are the acts that the same plan does earlier: while planning, guards may count on them. Immediately
    before an act there are none: then only facts count. `act` is the act that a guard is asked about, `done` what the
    execution has done already.
    """

    snapshot: Snapshot
    params: dict[str, str]
    expected: tuple[Planned, ...] = ()
    act: Planned | None = None
    done: tuple[Planned, ...] = field(default=())

    def image(self) -> LockedImage | None:
        """The locked image that the runbook is about; None where it is not locked.

        Raises:
            CannotPlan: locks could not be read.
        """
        locks = self.snapshot[LOCKS]
        if isinstance(locks, NotSeen):
            raise CannotPlan(f"locks could not be read: {locks.reason}", unknown=True)
        found = next((i for i in locks.images if i.image.spec == self.params.get("image")), None)
        if found is None and locks.problems:
            raise CannotPlan(*(f"pool {p.pool} could not be read: {p.reason}" for p in locks.problems), unknown=True)
        return found

    def locker(self) -> Locker | None:
        """The locker that the runbook is about; None where it holds no lock any more."""
        image = self.image()
        wanted = self.params.get("locker")
        return next((lk for lk in image.lockers if lk.name == wanted), None) if image else None

    def volumes(self) -> tuple[Volume, ...]:
        """The PersistentVolumes made of the image."""
        if isinstance(seen := self.snapshot[k8s.VOLUMES], NotSeen):
            raise CannotPlan(f"PersistentVolumes could not be read: {seen.reason}", unknown=True)
        return volumes_of(self.params.get("image", ""), self.snapshot)

    def users(self) -> tuple[Pod, ...]:
        """The pods that use the image's volume, ended ones left out."""
        if isinstance(seen := self.snapshot[CLAIM_USERS], NotSeen):
            raise CannotPlan(f"pods could not be read: {seen.reason}", unknown=True)
        return tuple(pod for volume in self.volumes() for pod in users_of(volume, self.snapshot))

    def pods(self) -> tuple[Pod, ...]:
        """All pods in the namespaces of the image's claims, ended ones too: who is not among them is gone.

        Raises:
            CannotPlan: they could not be read, or no claim led to them: then nobody looked.
        """
        if isinstance(seen := self.snapshot[CLAIM_USERS], NotSeen):
            raise CannotPlan(f"pods could not be read: {seen.reason}", unknown=True)
        if not any(volume.spec.claim_ref for volume in self.volumes()):
            raise CannotPlan(f"no claim on {self.params.get('image')} leads to its pods", unknown=True)
        return seen.full

    def pod(self) -> Pod | None:
        """The pod that the runbook is about: with an image, among the users of its claims."""
        wanted = self.params.get("pod")
        pods = self.pods() if "image" in self.params else self.listed(k8s.PODS)
        return next((p for p in pods if f"{p.metadata.namespace}/{p.metadata.name}" == wanted), None)

    def one(self, kind: Resource[F], name: str) -> F | None:
        """The object `[namespace/]name` of a kind; None where there is none.

        Raises:
            CannotPlan: the kind could not be read.
        """
        namespace, _, bare = name.rpartition("/")
        return next((
            o for o in self.listed(kind)
            if (o.metadata.namespace or "", o.metadata.name) == (namespace, bare)  # type: ignore[attr-defined]
        ), None)  # fmt: skip

    def listed(self, kind: Resource[F]) -> tuple[F, ...]:
        """The objects of a kind that were read.

        Raises:
            CannotPlan: they could not be.
        """
        seen = self.snapshot[kind]
        if isinstance(seen, NotSeen):
            raise CannotPlan(f"{kind.name} could not be read: {seen.reason}", unknown=True)
        return seen.full

    def uid_now(self, target: Subject) -> str | None:
        """The UID that an object of this kind and name has in the facts; None where it is in none of them.

        Raises:
            CannotPlan: no fact holds objects of this kind, or two disagree: then it is not known.
        """
        plural = f"{target.kind.lower()}s"
        facts = [fact for name, fact in self.snapshot.facts.items() if name.partition(" ")[0] == plural]
        uids = {
            found.subject.uid for fact in facts if isinstance(fact, Listing) for found in fact.full
            if (found.subject.kind, found.subject.namespace, found.subject.name)
            == (target.kind, target.namespace, target.name)
        }  # fmt: skip
        if len(uids) > 1:
            raise CannotPlan(f"two looks at {target} gave two objects of that name: look again", unknown=True)
        unseen = [fact.reason for fact in facts if isinstance(fact, NotSeen)]
        if not uids and (unseen or not facts):
            why = f"{plural} could not be read: {unseen[0]}" if unseen else "it was not read"
            raise CannotPlan(f"whether {target} is still the same one is not known: {why}", unknown=True)
        return uids.pop() if uids else None

    def node(self) -> Node | None:
        """The node that the parameter names."""
        if isinstance(seen := self.snapshot[NODES], NotSeen):
            raise CannotPlan(f"nodes could not be read: {seen.reason}", unknown=True)
        return next((n for n in seen.full if n.metadata.name == self.params.get("node")), None)
