"""Why a claim has no volume, told from the claim, its class and its volume: an event's words are not needed. Pure.

How Kubernetes binds (its volume controller): a claim that names a volume gets that one or none. Else a claim without a
class, or whose class has no provisioner, takes an Available volume that fits; any other asks the class' provisioner, by an
annotation, and with WaitForFirstConsumer only once the scheduler has chosen a node for a pod.
"""

from datetime import datetime, timedelta
from fractions import Fraction

import msgspec

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.csi import STORAGE_CLASSES
from diagnostics.facts.kubernetes import PODS, VOLUMES
from diagnostics.facts.resources import Claim, Pod, StorageClass, Volume
from diagnostics.facts.told import Told
from diagnostics.model import Evidence, Link, Subject, Unseen, lasting, quoted

CAUSE = "pvc-unbound"
FILLING = timedelta(minutes=15)  # a restore or clone copies data, or waits until its snapshot is ready
# What the provisioner says meanwhile: it is at work, or nothing that is known to stop it.
_WHILE_FILLING = frozenset({None, CAUSE, "csi-rpc-timeout", "csi-operation-in-flight", "rbd-snapshot-pressure"})
UNSCHEDULED = timedelta(minutes=5)  # how long a pod may wait for the scheduler before its claim is said to wait too
_STATIC = "kubernetes.io/no-provisioner"
_PROVISIONERS = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
_NODES = ("volume.kubernetes.io/selected-node",)
_DEFAULTS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_CLASSES = ("volume.beta.kubernetes.io/storage-class",)  # before `spec.storageClassName`, and goes before it
_UNITS = {"": 0, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


class Unbound(msgspec.Struct, frozen=True):
    """Why a claim waits: a clause about it, and the links from it to the root. `unseen` is what could say more.

    `fills`: it waits for a provisioner that has data to copy, which takes longer than making an empty volume.
    """

    says: str
    links: tuple[Link, ...]
    since: datetime | None = None
    unseen: tuple[str, ...] = ()
    fills: bool = False


def why_unbound(claim: Claim, snapshot: Snapshot) -> Unbound | Unseen | None:
    """Why a claim that is not bound waits; None where it waits for its first pod, which is how it should be."""
    if claim.spec.volume_name:
        return _named(claim, claim.spec.volume_name, snapshot)
    name, classes = class_of(claim), snapshot[STORAGE_CLASSES]
    if not name:
        return _classless(claim, snapshot)
    if isinstance(classes, NotSeen):
        return _unbound(
            claim,
            f"waits, and its StorageClass {name} could not be read",
            unseen=f"StorageClass {name}: {classes.reason}",
        )
    found = next((one for one in classes.full if one.metadata.name == name), None)
    if found is None:
        gone = Link(
            Subject("StorageClass", None, name, ""), "does not exist",
            (Evidence(f"GET storageclasses {name}", "not found"),),
        )  # fmt: skip
        return _static(claim, f"names the StorageClass {name}, which does not exist", (gone,), snapshot)
    if found.provisioner == _STATIC:
        return _static(claim, f"has the class {name}, which provisions nothing", (class_link(found),), snapshot)
    if found.volume_binding_mode == "WaitForFirstConsumer" and not _annotation(claim, _NODES):
        return _first_consumer(claim, found, snapshot)
    return _provisioner(claim, found, snapshot)


def class_of(claim: Claim) -> str:
    """The class that a claim asks for, "" for none."""
    return _annotation(claim, _CLASSES) or claim.spec.storage_class_name or ""


def source_of(claim: Claim) -> str | None:
    """What a claim's volume is to be filled from (`VolumeSnapshot nightly`); None for an empty one.

    The API server copies a `dataSource` to `dataSourceRef`; of populators and other namespaces only the latter tells.
    """
    source = claim.spec.data_source_ref or claim.spec.data_source
    return f"{source.get('kind') or 'source'} {source.get('name') or '(none)'}" if source else None


def is_filling(claim: Claim, why: Unbound | Unseen | None, told: Told | None, snapshot: Snapshot) -> bool:
    """Whether its volume may be filled from its data source just now: nothing else that stops it is told."""
    made = claim.metadata.creation_timestamp
    fills = isinstance(why, Unbound) and why.fills and made is not None and snapshot.taken_at - made <= FILLING
    return fills and (told is None or told.slug in _WHILE_FILLING)


def misfits(claim: Claim, volume: Volume) -> tuple[str, ...]:
    """In what a volume differs from what a claim asks for, so that they are never bound."""
    found: list[str] = []
    wanted, given = class_of(claim), volume.spec.storage_class_name or ""
    if wanted != given:
        found.append(f"its class is {given or '(none)'}, not {wanted or '(none)'}")
    if lacking := sorted(set(claim.spec.access_modes or ()) - set(volume.spec.access_modes or ())):
        found.append(f"it does not offer {quoted(lacking)}")
    if (claim.spec.volume_mode or "Filesystem") != (mode := volume.spec.volume_mode or "Filesystem"):
        found.append(f"its volumeMode is {mode}")
    asked = (claim.spec.resources.requests or {}).get("storage") if claim.spec.resources else None
    size = (volume.spec.capacity or {}).get("storage")
    least, has = _bytes(asked), _bytes(size)
    if least is not None and has is not None and has < least:
        found.append(f"it has {size}, not {asked}")
    return tuple(found)


def claim_link(claim: Claim) -> Link:
    """The link that tells how a claim is."""
    meta, name = claim.metadata, claim.spec.volume_name or "(none)"
    text = f"status.phase {claim.status.phase}, storageClassName {class_of(claim) or '(none)'}, volumeName {name}"
    source = f"GET persistentvolumeclaims {meta.namespace}/{meta.name}"
    return Link(claim.subject, f"is {claim.status.phase}", (Evidence(source, text),))


def class_link(found: StorageClass) -> Link:
    """The link that tells what a class does."""
    text = f"provisioner {found.provisioner}, volumeBindingMode {found.volume_binding_mode}"
    proof = Evidence(f"GET storageclasses {found.metadata.name}", text)
    return Link(
        found.subject,
        "provisions nothing" if found.provisioner == _STATIC else f"is served by {found.provisioner}",
        (proof,),
    )


def link_of_class(claim: Claim, snapshot: Snapshot) -> tuple[Link, ...]:
    """The link of a claim's class, where it has one that was read."""
    classes = snapshot.seen(STORAGE_CLASSES)
    return tuple(
        class_link(one) for one in (classes.full if classes else ()) if one.metadata.name == class_of(claim)
    )  # fmt: skip


def _unbound(
    claim: Claim, says: str, *links: Link, since: datetime | None = None, unseen: str | None = None
) -> Unbound:
    """A claim waits from its creation on, unless something else tells since when."""
    began = since or claim.metadata.creation_timestamp
    return Unbound(says, (claim_link(claim), *links), began, (unseen,) if unseen else ())


def _named(claim: Claim, name: str, snapshot: Snapshot) -> Unbound:
    volumes = snapshot[VOLUMES]
    if isinstance(volumes, NotSeen):
        return _unbound(claim, f"waits for the volume {name}", unseen=f"volume {name}: {volumes.reason}")
    volume = next(iter(volumes.index("name", lambda one: one.metadata.name).get(name, ())), None)
    source = f"GET persistentvolumes {name}"
    if volume is None:
        subject = Subject("PersistentVolume", None, name, "")
        return _unbound(
            claim, f"names the volume {name}, which does not exist",
            Link(subject, "does not exist", (Evidence(source, "not found"),)),
        )  # fmt: skip
    ref, why = volume.spec.claim_ref, ""
    if ref and (ref.namespace, ref.name) != (claim.metadata.namespace, claim.metadata.name):
        why = f"belongs to another claim, {ref.namespace}/{ref.name}"
    elif ref and ref.uid and ref.uid != claim.metadata.uid:
        why = "still belongs to an earlier claim of the same name"
    elif differs := misfits(claim, volume):
        why = f"does not fit: {'; '.join(differs)}"
    says = why or f"is {volume.status.phase}, and the volume controller has not bound it"
    text = f"status.phase {volume.status.phase}, claimRef {f'{ref.namespace}/{ref.name}' if ref else '(none)'}"
    return _unbound(
        claim, f"names the volume {name}, which {says}", Link(volume.subject, says, (Evidence(source, text),))
    )


def _classless(claim: Claim, snapshot: Snapshot) -> Unbound:
    """A claim without a class. With "" it wants none; with null the default class, if there was one at its creation."""
    classes, says = snapshot.seen(STORAGE_CLASSES), "asks for no StorageClass"
    if claim.spec.storage_class_name is None and classes is not None and snapshot.scope.subject is None:
        defaults = [one for one in classes.full if any(_is_true(one, key) for key in _DEFAULTS)]
        says = "has no StorageClass, and the cluster has no default one"
        if defaults:
            names = quoted([one.metadata.name for one in defaults])
            says = f"has no StorageClass, and was not given the default one, {names}: it may be older than that default"
    elif claim.spec.storage_class_name is None:
        says = "has no StorageClass"
    return _static(claim, says, (), snapshot)


def _static(claim: Claim, says: str, links: tuple[Link, ...], snapshot: Snapshot) -> Unbound:
    """A claim that only a volume that is there already can serve."""
    volumes = snapshot[VOLUMES]
    if isinstance(volumes, NotSeen):
        return _unbound(claim, says, *links, unseen=f"whether a volume fits: {volumes.reason}")
    if snapshot.scope.subject is not None:  # then only volumes that claims name were read
        return _unbound(
            claim, says, *links, unseen="whether a volume fits: not all volumes were read; a scan reads them"
        )
    by_class = volumes.index("phase and class", lambda one: (one.status.phase, one.spec.storage_class_name or ""))
    free = [one for one in by_class.get(("Available", class_of(claim)), ()) if one.spec.claim_ref is None]
    fitting = [one.metadata.name for one in free if not misfits(claim, one)]
    if fitting:
        rest = f"; {quoted(fitting[:3])} would fit by class, mode and size, so see its selector and node affinity"
    else:
        told = [f"{one.metadata.name}: {', '.join(misfits(claim, one))}" for one in free[:3]]
        rest = "; no Available volume fits" + (f" ({'; '.join(told)})" if told else "")
    return _unbound(claim, f"{says}{rest}", *links)


def _first_consumer(claim: Claim, found: StorageClass, snapshot: Snapshot) -> Unbound | Unseen | None:
    """A claim whose volume is made once a pod that wants it is scheduled."""
    pods, scope = snapshot[PODS], snapshot.scope
    if isinstance(pods, NotSeen):
        return Unseen(str(claim.subject), f"whether a pod waits for it: {pods.reason}")
    if scope.subject is not None and scope.subject.kind != "Pod":
        return Unseen(str(claim.subject), "whether a pod waits for it: only a scan, or a look at the pod, reads that")
    users = pods.index_each("claim", lambda pod: {(pod.metadata.namespace, name) for name in pod.claims})
    for pod in users.get((claim.metadata.namespace, claim.metadata.name), ()):
        if pod.status.phase != "Pending" or pod.metadata.deletion_timestamp is not None:
            continue
        name, link = f"{pod.metadata.namespace}/{pod.metadata.name}", class_link(found)
        if pod.spec.node_name:
            says = f"is bound to {pod.spec.node_name} without the scheduler, so nobody chooses a node for the volume"
            text = f"spec.nodeName {pod.spec.node_name}, no selected-node on the claim"
            return _unbound(claim, f"waits: {name} {says}", link, _pod_link(pod, says, text), since=pod.waiting_since)
        since, why = _unscheduled(pod)
        if since is not None and snapshot.taken_at - since > UNSCHEDULED:
            says = f"is not scheduled since {since:%Y-%m-%dT%H:%M:%SZ}: {why.rstrip('.')}"
            return _unbound(
                claim, f"waits for its first pod, and {name} {says}", link, _pod_link(pod, says, why), since=since
            )
    return None


def _unscheduled(pod: Pod) -> tuple[datetime | None, str]:
    waits = (c for c in pod.status.conditions or () if c.type == "PodScheduled" and c.status == "False")
    found = next(waits, None)
    return (found.last_transition_time, found.message or found.reason or "") if found else (None, "")


def _pod_link(pod: Pod, says: str, text: str) -> Link:
    return Link(pod.subject, says, (Evidence(f"GET pods {pod.metadata.namespace}/{pod.metadata.name}", text),))


def _provisioner(claim: Claim, found: StorageClass, snapshot: Snapshot) -> Unbound:
    asked, node = _annotation(claim, _PROVISIONERS), _annotation(claim, _NODES)
    on = f" for node {node}" if node else ""
    age = claim.metadata.creation_timestamp
    waited = f" in {lasting(snapshot.taken_at - age)}" if age and not node else ""
    if asked:
        says = f"waits for {asked} to create its volume{on}, which has not done so{waited}: see the provisioner's pods and log"
    else:
        says = f"waits for {found.provisioner}, but the volume controller has not asked it{on}: see kube-controller-manager"
    if source := source_of(claim):
        says += f"; it has to fill the volume from {source}, which may take long"
    wrong = asked and asked != found.provisioner
    other = f"; its class now names another provisioner, {found.provisioner}" if wrong else ""
    unbound = _unbound(claim, f"{says}{other}", class_link(found))
    began = None if node else unbound.since  # with a node chosen, it waited for a pod before
    return msgspec.structs.replace(unbound, since=began, fills=source is not None)


def _annotation(claim: Claim, keys: tuple[str, ...]) -> str:
    given = claim.metadata.annotations or {}
    return next((given[key] for key in keys if given.get(key)), "")


def _is_true(found: StorageClass, key: str) -> bool:
    return (found.metadata.annotations or {}).get(key) == "true"


def _bytes(quantity: str | int | None) -> Fraction | None:
    """A Kubernetes quantity as a number; None for what is none."""
    text = str(quantity if quantity is not None else "")
    digits = text.rstrip("KMGTPEikm") if "e" not in text else text
    unit = text[len(digits) :]
    try:
        if unit in _BINARY:
            return Fraction(digits) * Fraction(1024 ** _BINARY[unit])
        return Fraction(digits) * Fraction(f"1e{_UNITS[unit]}")
    except (ValueError, KeyError, ZeroDivisionError):
        return None
