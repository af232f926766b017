"""What a pod can wait for besides Ceph: its claims, ConfigMaps and Secrets, the CSI driver on its node, an attachment.

Each `Wait` rests on the objects themselves, not on an event's words, so it explains an event that only says that time ran
out, and it corrects one that tells of what is no longer so.
"""

from collections.abc import Callable, Iterator

import msgspec

from diagnostics.attachments import Hold, hold_of
from diagnostics.causes import Cause
from diagnostics.chain.volumes import claim_link, claims_of, volumes_of_pod
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.csi import (
    CONFIG_MAPS,
    CSI_NODES,
    MOST_OBJECTS,
    SECRETS,
    config_maps_of,
    drivers_of,
    node_plugins,
    secrets_of,
)
from diagnostics.facts.kubernetes import CLAIMS, Get, Resource
from diagnostics.facts.plugins import drivers_wanted, plugin_links, pod_link
from diagnostics.facts.resources import ConfigMap, Pod, PodVolume, Secret
from diagnostics.model import Evidence, Link, Subject, quoted


class Wait(msgspec.Struct, frozen=True):
    """Something that a pod waits for: the cause that it is, and the links from the pod to it.

    One that `gives_way` passes by itself or is not known: whatever else the pod waits for explains more.
    """

    cause: str
    links: tuple[Link, ...]
    gives_way: bool = False

    @property
    def is_certain(self) -> bool:
        """Whether no pod can start that waits for this: an object or a key that is not there, a claim without a volume."""
        return self.cause in _CERTAIN


def claims(pod: Pod, snapshot: Snapshot, unseen: list[str]) -> Iterator[Wait]:
    """Claims that do not exist, or are not bound."""
    if isinstance(blind := snapshot[CLAIMS], NotSeen):
        if pod.claims:
            unseen.append(f"claims: {blind.reason}")
        return
    there = {claim.metadata.name: claim for claim in claims_of(pod, snapshot)}
    for name in pod.claims:
        claim = there.get(name)
        if claim is None:
            subject = Subject("PersistentVolumeClaim", pod.metadata.namespace, name, "")
            proof = Evidence(f"GET persistentvolumeclaims {pod.metadata.namespace}/{name}", "not found")
            yield Wait("pvc-unbound", (Link(subject, "does not exist", (proof,)),))
        elif claim.status.phase != "Bound":
            yield Wait("pvc-unbound", (claim_link(claim),))


def configuration(pod: Pod, snapshot: Snapshot, unseen: list[str]) -> Iterator[Wait]:
    """ConfigMaps and Secrets that are mounted and not there, or lack a key that is mounted."""
    yield from _missing(pod, CONFIG_MAPS, "ConfigMap", "configmap-missing", config_maps_of(pod), snapshot, unseen)
    yield from _missing(pod, SECRETS, "Secret", "secret-missing", secrets_of(pod), snapshot, unseen)


def _missing(
    pod: Pod, kind: Resource[ConfigMap | Secret], word: str, cause: str,
    mounted: Iterator[tuple[str, bool]], snapshot: Snapshot, unseen: list[str],
) -> Iterator[Wait]:  # fmt: skip
    listing = snapshot[kind]
    required = [name for name, optional in mounted if not optional]
    if isinstance(listing, NotSeen):
        if required and listing.configured:
            unseen.append(f"{word} {quoted(required)}: {listing.reason}")
        return
    namespace = pod.metadata.namespace
    there = listing.index("key", lambda o: (o.metadata.namespace, o.metadata.name))
    for name in dict.fromkeys(required):
        subject = Subject(word, namespace, name, "")
        source = f"GET {kind.plural} {namespace}/{name}"
        found = next(iter(there.get((namespace, name), ())), None)
        if found is None and Get(name, namespace) in kind.requests(snapshot):
            yield Wait(cause, (Link(subject, "does not exist", (Evidence(source, "not found"),)),))
        elif found is None:
            if pod.is_creating:  # for others nothing is asked, and nothing is missed
                unseen.append(f"{word} {name}: it was not asked for, {MOST_OBJECTS} others were")
        elif (
            found.keys is not None and found.keys_are_all
            and (lacking := _keys_of(pod, word, name) - found.keys)
        ):  # fmt: skip
            has = Evidence(source, f"its keys are {quoted(sorted(found.keys)) or 'none'}")
            subject = Subject(word, namespace, name, found.metadata.uid)
            yield Wait("secret-key-missing", (Link(subject, f"has no key {quoted(sorted(lacking))}", (has,)),))


def _keys_of(pod: Pod, word: str, name: str) -> frozenset[str]:
    """The keys of a ConfigMap or Secret that a pod's volumes name one by one and that may not be missing.

    Of an optional volume, or an optional source of a projected one, any key may.
    """
    keys: set[str] = set()
    for entry in pod.spec.volumes or ():
        if word == "ConfigMap" and (source := entry.config_map) and source.name == name and not source.optional:
            keys.update(item.key for item in source.items or ())
        if word == "Secret" and (secret := entry.secret) and secret.secret_name == name and not secret.optional:
            keys.update(item.key for item in secret.items or ())
        keys.update(_projected_keys(entry, "configMap" if word == "ConfigMap" else "secret", name))
    return frozenset(keys)


def _projected_keys(entry: PodVolume, what: str, name: str) -> Iterator[str]:
    sources = (entry.projected or {}).get("sources")
    for source in sources if isinstance(sources, list) else ():
        named = source.get(what) if isinstance(source, dict) else None
        if isinstance(named, dict) and named.get("name") == name and not named.get("optional"):
            items = named.get("items")
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and isinstance(item.get("key"), str):
                    yield item["key"]


def exists_after_all(pod: Pod, cause: Cause, snapshot: Snapshot) -> Wait | None:
    """An object that an event calls not found, and that is there: made since, or the kubelet's cache is old.

    None also where none of the pod's volumes mounts it.
    """
    kinds: tuple[tuple[Resource[ConfigMap | Secret], str, str, Iterator[tuple[str, bool]]], ...] = (
        (CONFIG_MAPS, "ConfigMap", "configmap", config_maps_of(pod)), (SECRETS, "Secret", "secret", secrets_of(pod)),
    )  # fmt: skip
    for kind, word, entity, mounted in kinds:
        listing = snapshot.seen(kind)
        named = cause.entities.get(entity)
        wanted = {name for name, _ in mounted if named in (None, "", name)}
        found = [
            o for o in (listing.full if listing else ())
            if o.metadata.namespace == pod.metadata.namespace and o.metadata.name in wanted
        ]  # fmt: skip
        if cause.cause == f"{entity}-missing" and found and len(found) == len(wanted):
            meta = found[0].metadata
            made = f"created {meta.creation_timestamp:%Y-%m-%dT%H:%M:%SZ}" if meta.creation_timestamp else "it is there"
            proof = Evidence(f"GET {kind.plural} {meta.namespace}/{meta.name}", made)
            says = "exists: it was made since, or the kubelet's cache is old; the kubelet tries again by itself"
            subject = Subject(word, meta.namespace, meta.name, meta.uid)
            return Wait("kubelet-cache-sync", (Link(subject, says, (proof,)),))
    return None


def registration(pod: Pod, snapshot: Snapshot, unseen: list[str]) -> Iterator[Wait]:
    """CSI drivers that the pod's volumes need and that are not registered on its node."""
    name = pod.spec.node_name or ""
    for driver in drivers_wanted(pod, snapshot):
        nodes = snapshot[CSI_NODES]
        if isinstance(nodes, NotSeen):
            unseen.append(f"whether {driver} is registered: {nodes.reason}")
            return
        here = next((node for node in nodes.full if node.metadata.name == name), None)
        if here is not None and driver in here.drivers:
            continue
        subject = here.subject if here else Subject("CSINode", None, name, "")
        has = f"drivers: {quoted(sorted(here.drivers)) or 'none'}" if here else "not found"
        link = Link(subject, f"has no driver {driver} registered", (Evidence(f"GET csinodes {name}", has),))
        behind, blind = plugin_links(driver, name, snapshot)
        unseen.extend([blind] if blind else ())
        yield Wait(_NOT_REGISTERED, (*_path_to(driver, pod, snapshot), link, *behind))


def plugins(pod: Pod, snapshot: Snapshot, unseen: list[str]) -> Iterator[Wait]:  # noqa: ARG001 - as the others
    """Node plugins on the pod's node that are registered but do not run."""
    for driver in drivers_wanted(pod, snapshot):
        for plugin in node_plugins(snapshot):
            here = plugin.spec.node_name == pod.spec.node_name and driver in drivers_of(plugin.spec)
            if here and not plugin.is_ready:
                yield Wait(_NOT_REGISTERED, (*_path_to(driver, pod, snapshot), pod_link(plugin)))


def _path_to(driver: str, pod: Pod, snapshot: Snapshot) -> tuple[Link, ...]:
    """The links from a pod to the first of its volumes that needs a driver; none for a volume of its own."""
    for volume, path in volumes_of_pod(pod, snapshot):
        if volume.spec.csi and volume.spec.csi.driver == driver:
            return path
    return ()


def attachment(pod: Pod, snapshot: Snapshot, unseen: list[str]) -> Iterator[Wait]:
    """Volumes that are held by, or attached to, another node, or that nobody attaches."""
    found = [(path, hold_of(pod, volume, snapshot)) for volume, path in volumes_of_pod(pod, snapshot)]
    unseen.extend(reason for _, hold in found if hold for reason in hold.unseen)
    held = [(path, hold) for path, hold in found if hold and hold.links and hold.kind is not Hold.BEING_ATTACHED]
    for path, hold in sorted(held, key=lambda pair: pair[1].kind.rank):  # the worst one is the root
        told = {link.subject for link in hold.links}
        links = (*(link for link in path if link.subject not in told), *hold.links)
        yield Wait(hold.cause, links, gives_way=hold.kind in _PASSING)


_CERTAIN = frozenset({"pvc-unbound", "configmap-missing", "secret-missing", "secret-key-missing"})
_PASSING = frozenset({Hold.TRANSIENT, Hold.DETACHING, Hold.UNKNOWN})
_NOT_REGISTERED = "csi-driver-not-registered"
Explain = Callable[[Pod, Snapshot, list[str]], Iterator[Wait]]
# Which waits can be behind an event of a cause. Whatever only says that time ran out can be any of them, in this order.
_ANY: tuple[Explain, ...] = (claims, configuration, registration, attachment, plugins)
BEHIND: dict[str, tuple[Explain, ...]] = {
    "mount-timeout-umbrella": _ANY,
    "unknown": _ANY,
    "": _ANY,
    "csi-rpc-timeout": (registration, attachment, plugins),
    "csi-operation-in-flight": (plugins,),
    "csi-driver-not-registered": (registration,),
    "pvc-unbound": (claims,),
    "configmap-missing": (configuration,),
    "secret-missing": (configuration,),
    "secret-key-missing": (configuration,),
    "kubelet-cache-sync": (configuration,),
    "multi-attach": (attachment,),
    "attach-stuck": (attachment,),
    "attach-limit-exceeded": (attachment,),
}
