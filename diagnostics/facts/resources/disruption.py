"""What a drain must know: pods with all their labels, the budgets that hold them up, and volumes that lie on one machine."""

import msgspec

from diagnostics.facts.resources.meta import Condition, LocalReference, Meta, Struct
from diagnostics.facts.resources.pods import Pod, PodStatus
from diagnostics.facts.resources.workloads import LabelSelector
from diagnostics.model import Subject


class LabelledMeta(Meta, frozen=True):
    """A pod's metadata with all of its labels: budgets select by any of them."""

    labels: dict[str, str] | None = None  # type: ignore[assignment]  # the same field, kept whole


class PodAddress(Struct, frozen=True):
    """One of a pod's addresses; with two families it has two."""

    ip: str = ""


class AddressedStatus(PodStatus, frozen=True):
    """How far a pod has come, with all of its addresses."""

    pod_ips: tuple[PodAddress, ...] | None = msgspec.field(name="podIPs", default=None)

    @property
    def ips(self) -> tuple[str, ...]:
        """Its addresses, each once. https://kubernetes.io/docs/concepts/services-networking/dual-stack/"""
        known = (self.pod_ip, *(one.ip for one in self.pod_ips or ()))
        return tuple(dict.fromkeys(ip for ip in known if ip))


class LabelledPod(Pod, frozen=True):
    """A pod with all of its labels and addresses."""

    metadata: LabelledMeta
    status: AddressedStatus = AddressedStatus()

    @property
    def named(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def stays(self) -> bool:
        """Whether a drain leaves it where it is: a DaemonSet makes it again at once, a kubelet's own (static) pod is
        only mirrored in the API, and one that has ended holds nothing.

        A kubelet makes the node the controller of such a mirror.
        """
        owner = self.metadata.controller
        return not self.may_be_running or (owner is not None and owner.kind in ("DaemonSet", "Node"))

    @property
    def is_going(self) -> bool:
        """Whether it is being deleted already."""
        return self.metadata.deletion_timestamp is not None


class BudgetSpec(Struct, frozen=True):
    """Which pods a budget protects, and how many of them must stay: numbers or shares (`50%`)."""

    selector: LabelSelector | None = None
    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    unhealthy_pod_eviction_policy: str | None = None


class BudgetStatus(Struct, frozen=True):
    """How many evictions a budget allows now. `disrupted_pods` are those that were evicted and are not gone yet."""

    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    disrupted_pods: dict[str, object] | None = None
    conditions: tuple[Condition, ...] | None = None


class Budget(Struct, frozen=True):
    """A PodDisruptionBudget."""

    metadata: Meta
    spec: BudgetSpec = BudgetSpec()
    status: BudgetStatus = BudgetStatus()

    @property
    def named(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def subject(self) -> Subject:
        """This budget as a subject."""
        return Subject("PodDisruptionBudget", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def never_allows(self) -> bool:
        """Whether it allows no eviction even while all of its pods are healthy: it demands each of them."""
        if self.spec.max_unavailable is not None and str(self.spec.max_unavailable).removesuffix("%") == "0":
            return True
        return 0 < self.status.expected_pods <= self.status.desired_healthy

    def protects(self, pod: LabelledPod) -> bool:
        """Whether the pod is one of its own.

        An empty selector takes in all pods of the namespace in policy/v1, and none in v1beta1, where it expects none.
        https://kubernetes.io/docs/reference/using-api/deprecation-guide/#poddisruptionbudget-v125
        """
        selector = self.spec.selector
        if selector is None or pod.metadata.namespace != self.metadata.namespace:
            return False
        if not selector.match_labels and not selector.match_expressions:
            return self.status.expected_pods > 0
        return _selects(selector, pod.metadata.labels or {})


def _selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (selector.match_labels or {}).items()):
        return False
    for each in selector.match_expressions or ():
        there, values = each.key in labels, each.values or ()
        holds = {
            "In": there and labels.get(each.key) in values,
            "NotIn": not there or labels[each.key] not in values,
            "Exists": there,
            "DoesNotExist": not there,
        }
        if not holds.get(each.operator, True):  # an operator that nobody knows may select it
            return False
    return True


class PlacedVolumeSpec(Struct, frozen=True):
    """Whose a volume is, and whether it lies on one machine."""

    claim_ref: LocalReference | None = None
    local: dict[str, object] | None = None
    host_path: dict[str, object] | None = None


class PlacedVolume(Struct, frozen=True):
    """A PersistentVolume, as far as it tells where it lies."""

    metadata: Meta
    spec: PlacedVolumeSpec = PlacedVolumeSpec()

    @property
    def subject(self) -> Subject:
        """This volume as a subject."""
        return Subject("PersistentVolume", None, self.metadata.name, self.metadata.uid)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder or disk of one machine."""
        return self.spec.local is not None or self.spec.host_path is not None
