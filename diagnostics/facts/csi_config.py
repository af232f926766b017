"""ceph-csi's own configuration: which Ceph a clusterID means, by its monitors, and which RADOS namespace. Pure.

It is a JSON list in a ConfigMap that the node plugins mount: `config.json` of ceph-csi
(https://github.com/ceph/ceph-csi/blob/devel/deploy/csi-config-map-sample.yaml), `csi-cluster-config-json` of Rook. The
plugins decode it with Go's encoding/json: keys in any case, and one wrong type makes the whole list unreadable to them.
"""

import re
from collections.abc import Iterator

import msgspec

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import OsdMap
from diagnostics.facts.csi import CSI_CONFIG, csi_config_maps_of, drivers_of, node_plugins
from diagnostics.facts.resources import ConfigMap, Volume, canonical_ip
from diagnostics.model import Evidence, Link, Severity, Subject

_LISTS = ("config.json", "csi-cluster-config-json")
_MAPPINGS = ("cluster-mapping.json", "csi-mapping-config-json")
# A handle is version-length-clusterID-pool-uuid, the first two as four hexadecimal digits (ceph-csi: CSIIdentifier).
_HANDLE = re.compile(r"[0-9a-f]{4}-([0-9a-f]{4})-(.+)", re.DOTALL)


class Drift(msgspec.Struct, frozen=True):
    """Something that does not fit what the plugins, or Ceph, need: a thing, its cause, a sentence, and the chain."""

    subject: Subject
    cause: str
    says: str
    links: tuple[Link, ...]
    severity: Severity | None = None


class ClusterEntry(msgspec.Struct, frozen=True):
    """One Ceph that the plugins know: its clusterID, its monitors as they are written, and RBD's RADOS namespace."""

    id: str
    monitors: tuple[str, ...] = ()
    rados_namespace: str = ""

    @property
    def ips(self) -> frozenset[str]:
        """The monitors that are given by address."""
        return frozenset(ip for written in self.monitors for ip in _hosts(written) if canonical_ip(ip))

    @property
    def names(self) -> frozenset[str]:
        """The monitors that are given by a name, which only a resolver could compare."""
        return frozenset(host for written in self.monitors for host in _hosts(written) if not canonical_ip(host))


class CsiConfig(msgspec.Struct, frozen=True):
    """What one or more ConfigMaps tell a driver's plugins. `problems` is what they cannot use.

    `mapped` holds the clusterIDs that stand for another one (mirrored volumes). Not `readable`: the plugins can use
    none of it, so that what is missing here may be in there.
    """

    maps: tuple[ConfigMap, ...] = ()
    entries: tuple[ClusterEntry, ...] = ()
    mapped: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    readable: bool = True

    def entry(self, cluster_id: str) -> ClusterEntry | None:
        """The entry of a clusterID: the first one, as the plugins take it."""
        return next((entry for entry in self.entries if entry.id == cluster_id), None)


def parse_config(config_map: ConfigMap) -> CsiConfig:
    """Read one ConfigMap. Whatever ceph-csi could not use is told in `problems`; nothing raises."""
    data = config_map.data or {}
    mapped: set[str] = set()
    for name in _MAPPINGS:
        mapped |= _mapped(data.get(name, ""))
    key = next((name for name in _LISTS if name in data), None)
    if key is None:
        alone = any(name in data for name in _MAPPINGS)  # Rook's other ConfigMap
        return CsiConfig((config_map,), (), frozenset(mapped), () if alone else (f"it has no {_LISTS[0]}",), alone)
    try:
        entries = _entries(msgspec.json.decode(data[key]))
    except (msgspec.DecodeError, _Unusable, RecursionError) as error:
        return CsiConfig((config_map,), (), frozenset(mapped), (f"its {key} is no use: {error}",), readable=False)
    return CsiConfig((config_map,), entries, frozenset(mapped), tuple(_problems(entries)))


def configs(snapshot: Snapshot) -> dict[str, CsiConfig]:
    """The configuration of each ceph-csi driver whose node plugins, and their ConfigMaps, were read."""
    listing = snapshot.seen(CSI_CONFIG)
    there = {(m.metadata.namespace, m.metadata.name): m for m in (listing.full if listing else ())}
    maps: dict[str, dict[tuple[str | None, str], ConfigMap]] = {}
    for pod in node_plugins(snapshot):
        for name in csi_config_maps_of(pod):
            key = (pod.metadata.namespace, name)
            for driver in drivers_of(pod.spec) if key in there else ():
                maps.setdefault(driver, {})[key] = there[key]
    return {driver: joined([parse_config(one) for one in found.values()]) for driver, found in maps.items()}


def config_unseen(driver: str, snapshot: Snapshot) -> str:
    """Why nothing is known of a driver's configuration."""
    told = snapshot[CSI_CONFIG]
    if isinstance(told, NotSeen):
        return told.reason
    where = " in the namespaces that were read" if snapshot.scope.namespaces else ""
    return f"no node plugin of {driver} that mounts a ceph-csi-config ConfigMap was found{where}"


def cluster_id_of(volume: Volume) -> str | None:
    """The clusterID that ceph-csi looks up for a volume: from its handle, or as one made by hand names it."""
    csi = volume.spec.csi
    if csi is None:
        return None
    if found := _HANDLE.fullmatch(csi.volume_handle):
        length, rest = int(found[1], 16), found[2]
        if rest[length : length + 1] == "-":
            return rest[:length]
    return (csi.volume_attributes or {}).get("clusterID") or None


def is_of(entry: ClusterEntry, osdmap: OsdMap) -> bool | None:
    """Whether an entry means the Ceph that was looked at: by a monitor of it, or by its fsid. None: names only."""
    if entry.id == osdmap.fsid or entry.ips & _mons(osdmap):
        return True
    return None if entry.names or not entry.ips else False


def stale_monitors(entry: ClusterEntry, osdmap: OsdMap) -> tuple[str, ...]:
    """The addresses in an entry of this Ceph at which none of its monitors is (any more)."""
    return tuple(sorted(entry.ips - _mons(osdmap))) if is_of(entry, osdmap) else ()


def config_link(config_map: ConfigMap, says: str, text: str) -> Link:
    """The link that tells of a ConfigMap."""
    meta = config_map.metadata
    subject = Subject("ConfigMap", meta.namespace, meta.name, meta.uid)
    return Link(subject, says, (Evidence(f"GET configmaps {meta.namespace}/{meta.name}", text),))


class _Unusable(Exception):
    """JSON, but not of the shape that ceph-csi reads."""


def joined(parts: list[CsiConfig]) -> CsiConfig:
    """Several ConfigMaps of one driver as one configuration."""
    return CsiConfig(
        tuple(m for part in parts for m in part.maps), tuple(e for part in parts for e in part.entries),
        frozenset(name for part in parts for name in part.mapped), tuple(p for part in parts for p in part.problems),
        all(part.readable for part in parts),
    )  # fmt: skip


def _mons(osdmap: OsdMap) -> frozenset[str]:
    return frozenset(daemon.ip for daemon in osdmap.daemons if daemon.name.startswith("mon."))


def _folded(value: object) -> dict[str, object]:
    return {str(key).lower(): inner for key, inner in value.items()} if isinstance(value, dict) else {}


def _entries(decoded: object) -> tuple[ClusterEntry, ...]:
    if not isinstance(decoded, list):
        raise _Unusable("it is not a list of clusters")
    return tuple(_entry(number, one) for number, one in enumerate(decoded, 1))


def _entry(number: int, one: object) -> ClusterEntry:
    if not isinstance(one, dict):
        raise _Unusable(f"entry {number} is not an object")
    fields = _folded(one)
    rbd, monitors, cluster_id = fields.get("rbd"), fields.get("monitors"), fields.get("clusterid")
    if not isinstance(cluster_id, str | None):
        raise _Unusable(f"the clusterID of entry {number} is not a text")
    written = monitors if isinstance(monitors, list) else None
    if (monitors is not None and written is None) or not all(isinstance(mon, str) for mon in written or ()):
        raise _Unusable(f"the monitors of entry {number} are not a list of texts")
    if not isinstance(rbd, dict | None):
        raise _Unusable(f"the rbd part of entry {number} is not an object")
    # Up to ceph-csi 3.6 the namespace stood beside the clusterID.
    namespace = _folded(rbd).get("radosnamespace") or fields.get("radosnamespace") or ""
    if not isinstance(namespace, str):
        raise _Unusable(f"the radosNamespace of entry {number} is not a text")
    return ClusterEntry(cluster_id or "", tuple(written or ()), namespace)


def _problems(entries: tuple[ClusterEntry, ...]) -> Iterator[str]:
    if any(not entry.id for entry in entries):
        yield "an entry has no clusterID"
    for entry in entries:
        if entry.id and not any(written.strip() for written in entry.monitors):
            yield f"cluster {entry.id} has no monitors"
    ids = [entry.id for entry in entries if entry.id]
    for twice in sorted({name for name in ids if ids.count(name) > 1}):
        yield f"cluster {twice} is there {ids.count(twice)} times; only the first is used"


def _mapped(text: str) -> set[str]:
    """Both sides of each `clusterIDMapping`; nothing where it cannot be read."""
    try:
        decoded = msgspec.json.decode(text) if text.strip() else []
    except (msgspec.DecodeError, RecursionError):
        return set()
    found: set[str] = set()
    for one in decoded if isinstance(decoded, list) else ():
        mapping = _folded(one).get("clusteridmapping")
        found |= {str(name) for pair in (mapping.items() if isinstance(mapping, dict) else ()) for name in pair}
    return found


def _hosts(written: str) -> Iterator[str]:
    """The hosts in one `monitors` item: `ip:port`, `v2:ip:port/0`, `[v2:ip:port,v1:ip:port]`, `[ipv6]:port`, a name."""
    text = written.strip()
    if text.startswith("[v"):
        text = text[1:].removesuffix("]")
    for part in text.split(","):
        plain = part.strip().removeprefix("v1:").removeprefix("v2:").partition("/")[0]
        if plain.startswith("["):
            host = plain[1:].partition("]")[0]
        else:
            host = plain if canonical_ip(plain) else plain.partition(":")[0]
        if host:
            yield canonical_ip(host) or host
