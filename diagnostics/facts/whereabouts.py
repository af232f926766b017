"""Which of several Ceph clusters a volume lies in: by proof, or not at all. Pure.

Proof is the clusterID of ceph-csi (its configuration gives it monitors; without an entry only an fsid says something) or
the monitors of an in-tree volume, compared with what each Ceph says of itself: its fsid and its monmap. That only one of
them has a pool and an image of that name proves nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum

import msgspec

from diagnostics.facts import Kind, NotSeen, Snapshot
from diagnostics.facts.csi import csi_config_maps_of, drivers_of, is_ceph_csi
from diagnostics.facts.csi_config import ClusterEntry, CsiConfig, cluster_id_of, joined, parse_config
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources import ConfigMap, DaemonSet, PodVolume, Volume, canonical_ip
from diagnostics.model import quoted

_FSID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Identity(msgspec.Struct, frozen=True):
    """What a Ceph says of itself: its fsid, and the address and port of each of its monitors."""

    fsid: str
    monitors: frozenset[tuple[str, int]]

    @property
    def ips(self) -> frozenset[str]:
        """The addresses of its monitors."""
        return frozenset(ip for ip, _ in self.monitors)


Identities = Mapping[str, Identity | NotSeen]


class Cephs(msgspec.Struct, frozen=True):
    """The Ceph clusters that are configured for one Kubernetes cluster, by name; a NotSeen for one that did not answer."""

    identities: dict[str, Identity | NotSeen]

    def has(self, entry: ClusterEntry) -> bool:
        """Whether an entry of ceph-csi's configuration means one of them."""
        said = Said("", entry.id if _FSID.fullmatch(entry.id) else None, addresses_of(entry.monitors))
        return decide(said, self.identities).ceph != ""


class Said(msgspec.Struct, frozen=True):
    """What a volume says of its Ceph: an fsid, addresses of monitors (the port None where none is written).

    `says` tells that in words. Not `usable`: it says nothing that could be compared.
    """

    says: str
    fsid: str | None = None
    monitors: frozenset[tuple[str, int | None]] = frozenset()
    usable: bool = True


class Placed(msgspec.Struct, frozen=True):
    """The Ceph that a volume lies in ("": not known), and the proof or why there is none: a clause."""

    ceph: str
    says: str


class _Match(IntEnum):
    AGAINST = -1  # it contradicts itself
    NO = 0
    SOME = 1  # one address fits; others do not, or no port is written
    PROVED = 2


def said_of(volume: Volume | PodVolume, configs: Mapping[str, CsiConfig], blind: str) -> Said:
    """What a volume, or a pod's own volume, says of its Ceph.

    `configs` are ceph-csi's configurations by driver; `blind` is why there is none for a driver that they lack.
    """
    spec = volume if isinstance(volume, PodVolume) else volume.spec
    if spec.rbd is not None:
        return _in_tree(spec.rbd.monitors)
    if spec.cephfs is not None:
        named = spec.cephfs.get("monitors")
        return _in_tree(tuple(str(one) for one in named) if isinstance(named, list | tuple) else ())
    if isinstance(volume, PodVolume) or volume.spec.csi is None:
        return Said("it does not say which Ceph it is of", usable=False)
    cluster, attributes = cluster_id_of(volume), volume.spec.csi.volume_attributes or {}
    if not cluster:
        return Said("it names no clusterID", usable=False)
    if (other := attributes.get("clusterID")) and other != cluster:
        return Said(f"its handle is of the clusterID {cluster}, but its attributes say {other}", usable=False)
    config = configs.get(volume.spec.csi.driver)
    if config is not None and cluster in config.mapped:
        return Said(f"its clusterID {cluster} stands for another one in ceph-csi's cluster mapping", usable=False)
    fsid = cluster if _FSID.fullmatch(cluster) else None
    entry = config.entry(cluster) if config is not None else None
    if config is not None and len({one.monitors for one in config.entries if one.id == cluster}) > 1:
        return Said(f"its clusterID {cluster} has several lists of monitors in ceph-csi's configuration", usable=False)
    if entry is not None:
        monitors = ", ".join(entry.monitors) or "no monitors"
        return Said(f"its clusterID {cluster} has {monitors} in ceph-csi's configuration", fsid, addresses_of(entry.monitors))  # fmt: skip
    if fsid is not None:
        return Said(f"its clusterID is {cluster}", fsid)
    lacking = blind if config is None else "ceph-csi's configuration does not have that, or cannot be used"
    return Said(f"its clusterID is {cluster}: {lacking}", usable=False)


def _in_tree(monitors: tuple[str, ...]) -> Said:
    return Said(f"its monitors are {', '.join(monitors) or 'none'}", None, addresses_of(monitors))


def is_proved(said: Said, identities: Identities) -> bool:
    """Whether what is known of some Ceph clusters is enough, whatever the others turn out to be."""
    found = [_match(said, one) for one in identities.values() if isinstance(one, Identity)]
    return not said.usable or (found.count(_Match.PROVED) == 1 and max(found) == _Match.PROVED and min(found) >= 0)


def decide(said: Said, identities: Identities) -> Placed:
    """The Ceph that a volume lies in. None, several, or one that contradicts itself: that is not known."""
    known = {name: one for name, one in identities.items() if isinstance(one, Identity)}
    found = {name: _match(said, one) for name, one in known.items()} if said.usable else {}
    fits = [name for name, match in found.items() if match is _Match.PROVED]
    fits = fits if len(fits) == 1 else [name for name, match in found.items() if match > _Match.NO]
    against = [name for name, match in found.items() if match is _Match.AGAINST]
    if len(fits) == 1 and not against:
        return Placed(fits[0], f"it lies in Ceph {fits[0]} ({known[fits[0]].fsid}): {said.says}")
    configured = quoted([f"{name} ({known[name].fsid})" if name in known else name for name in identities])
    if not said.usable:
        why = f"{said.says} (configured are {configured})"
    elif against:
        why = f"{said.says}, and of these its fsid and its monitors do not fit together for {quoted(against)} (configured are {configured})"  # fmt: skip
    elif fits:
        why = f"{said.says}, which fits {quoted(fits)} alike"
    else:
        why = f"{said.says}, which is none of those configured: {configured}"
    silent = "".join(f"; {name}: {one.reason}" for name, one in identities.items() if isinstance(one, NotSeen))
    return Placed("", f"which Ceph it lies in is not known: {why}{silent}")


def _match(said: Said, one: Identity) -> _Match:
    exact = bool(said.monitors) and all((ip, port) in one.monitors for ip, port in said.monitors)
    some = any(ip in one.ips for ip, _ in said.monitors)
    if said.fsid is None:
        return _Match.PROVED if exact else _Match.SOME if some else _Match.NO
    if said.fsid != one.fsid:
        return _Match.AGAINST if some else _Match.NO
    if exact or not said.monitors:
        return _Match.PROVED
    return _Match.SOME if some else _Match.AGAINST


def addresses_of(written: Iterable[str]) -> frozenset[tuple[str, int | None]]:
    """The addresses among monitors as they are written: `ip:port`, `v2:ip:port/0`, `[v2:ip:port,v1:ip:port]`, `[ipv6]:port`.

    A name is none: only a resolver could compare it.
    """
    return frozenset(address for one in written for address in _addresses(one))


def _addresses(written: str) -> Iterator[tuple[str, int | None]]:
    text = written.strip()
    if text.startswith("[v"):
        text = text[1:].removesuffix("]")
    for part in text.split(","):
        plain = part.strip().removeprefix("v1:").removeprefix("v2:").partition("/")[0]
        if whole := canonical_ip(plain):
            yield whole, None
            continue
        host, _, port = plain.rpartition(":") if not plain.endswith("]") else (plain, "", "")
        if ip := canonical_ip(host.removeprefix("[").removesuffix("]")):
            yield ip, int(port) if port.isascii() and port.isdigit() else None


def configs_by_driver(snapshot: Snapshot) -> dict[str, CsiConfig]:
    """The configuration of each ceph-csi driver whose node plugin's DaemonSet, and its ConfigMaps, were read."""
    sets, listing = snapshot.seen(PLUGIN_SETS), snapshot.seen(PLUGIN_CONFIG)
    there = {(m.metadata.namespace, m.metadata.name): m for m in (listing.full if listing else ())}
    maps: dict[str, dict[tuple[str | None, str], ConfigMap]] = {}
    for plugin in sets.full if sets else ():
        for name in csi_config_maps_of(plugin.spec.template):
            key = (plugin.metadata.namespace, name)
            for driver in drivers_of(plugin.spec.template.spec) if key in there else ():
                maps.setdefault(driver, {})[key] = there[key]
    return {driver: joined([parse_config(one) for one in found.values()]) for driver, found in maps.items()}


def why_no_config(snapshot: Snapshot) -> str:
    """Why nothing is known of the configuration of a driver that `configs_by_driver` lacks."""
    for kind in (PLUGIN_SETS, PLUGIN_CONFIG):
        if isinstance(told := snapshot[kind], NotSeen):
            return f"ceph-csi's configuration could not be read: {told.reason}"
    return "no DaemonSet of its driver's node plugin that mounts a ceph-csi-config ConfigMap was found"


def _plugin_config(snapshot: Snapshot) -> Iterable[Get | List]:
    sets, wanted = snapshot.seen(PLUGIN_SETS), dict[Get, None]()
    for plugin in sets.full if sets else ():
        if any(is_ceph_csi(driver) for driver in drivers_of(plugin.spec.template.spec)):
            wanted |= {Get(name, plugin.metadata.namespace): None for name in csi_config_maps_of(plugin.spec.template)}  # fmt: skip
    return wanted


# The plugins' DaemonSets lead to their configuration whatever is looked at; their pods do so only around a pod.
PLUGIN_SETS: Resource[DaemonSet] = Resource(
    "daemonsets of node plugins", group="apps", plural="daemonsets", struct=DaemonSet, requests=lambda _: (List(),)
)
PLUGIN_CONFIG: Resource[ConfigMap] = Resource(
    "configmaps of node plugins", (PLUGIN_SETS,), plural="configmaps", struct=ConfigMap, requests=_plugin_config,
    verbs="get",
)  # fmt: skip
# Which Ceph clusters there are. Seen only where several are configured.
CEPHS: Kind[Cephs] = Kind("ceph.clusters")
