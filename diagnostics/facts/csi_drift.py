"""Where ceph-csi's configuration, its volumes and classes, their Secrets and Ceph itself no longer fit each other. Pure.

Invariant: nothing is called missing that was not looked for; another Ceph than the one that was read is not judged by it.
"""

from collections.abc import Iterator
from functools import cache

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.blind import by_reason, some
from diagnostics.facts.ceph import LOCKS, OSDMAP, STATUS
from diagnostics.facts.csi import CSI_CONFIG, SECRETS, STORAGE_CLASSES, is_ceph_csi
from diagnostics.facts.csi_config import (
    CsiConfig,
    Drift,
    cluster_id_of,
    config_link,
    config_unseen,
    configs,
    is_of,
    parse_config,
    stale_monitors,
)
from diagnostics.facts.images import RBD_DRIVER, image_of_volume, is_driver, is_here
from diagnostics.facts.kubernetes import VOLUMES, Get
from diagnostics.facts.resources import CSISource, Secret, StorageClass, Volume
from diagnostics.facts.users import unread
from diagnostics.facts.whereabouts import CEPHS
from diagnostics.model import Evidence, Link, Subject, Unseen, quoted

_CONFIG, _ABSENT = "csi-config-invalid", "ceph-object-missing"
_FOREIGN = "none of its monitors is of the Ceph that was looked at: it may be another one, or all have moved"
_NAMED = "its monitors are given by name: whether they are those of the Ceph that was looked at is not known"
# Which keys a node plugin takes its user from. RBD also takes the Secret of an in-tree volume that was migrated.
_RBD_KEYS = (frozenset({"userID", "userKey"}), frozenset({"key"}))
_CEPHFS_KEYS = (frozenset({"userID", "userKey"}), frozenset({"adminID", "adminKey"}))


def ceph_volumes(snapshot: Snapshot) -> tuple[tuple[Volume, CSISource], ...]:
    """The volumes of ceph-csi."""
    volumes = snapshot.seen(VOLUMES)
    every = ((volume, volume.spec.csi) for volume in (volumes.full if volumes else ()))
    return tuple((volume, csi) for volume, csi in every if csi is not None and is_ceph_csi(csi.driver))


def ceph_classes(snapshot: Snapshot) -> tuple[StorageClass, ...]:
    """The classes of ceph-csi."""
    classes = snapshot.seen(STORAGE_CLASSES)
    return tuple(one for one in (classes.full if classes else ()) if is_ceph_csi(one.provisioner))


def in_config(snapshot: Snapshot) -> Iterator[Drift | Unseen]:
    """What is wrong with the ConfigMaps themselves, and monitors in them that are none of this Ceph's any more."""
    listing, osdmap, cephs = snapshot.seen(CSI_CONFIG), snapshot.seen(OSDMAP), snapshot.seen(CEPHS)
    for one in listing.full if listing else ():
        name, parsed = f"{one.metadata.namespace}/{one.metadata.name}", parse_config(one)
        wrong = list(parsed.problems)
        for entry in parsed.entries if osdmap else ():
            assert osdmap is not None
            if entry.monitors and not (ours := is_of(entry, osdmap)) and not (cephs and cephs.has(entry)):
                yield Unseen(f"ConfigMap {name}: cluster {entry.id}", _FOREIGN if ours is False else _NAMED)
            if stale := stale_monitors(entry, osdmap):
                wrong.append(f"cluster {entry.id} names monitors that are not there: {quoted(stale)}")
        if wrong:
            mons = sorted({d.ip for d in osdmap.daemons if d.name.startswith("mon.")}) if osdmap else []
            text = f"{'; '.join(wrong)}{f' (ceph mon dump: {quoted(mons)})' if mons else ''}"
            link = config_link(one, "; ".join(wrong), text)
            yield Drift(link.subject, _CONFIG, f"ceph-csi's configuration {name}: {'; '.join(wrong)}", (link,))


def in_cluster_ids(snapshot: Snapshot) -> Iterator[Drift | Unseen]:
    """Volumes and classes whose clusterID the plugins do not know, or whose RADOS namespace is another there."""
    known, blind = configs(snapshot), set[str]()
    for volume, csi in ceph_volumes(snapshot):
        config, cluster = known.get(csi.driver), cluster_id_of(volume)
        if config is None:
            blind.add(csi.driver)
        elif cluster and config.readable and cluster not in config.mapped:
            entry = config.entry(cluster)
            link = _volume_link(volume, f"is of the Ceph cluster {cluster}")
            if entry is None:
                yield _unknown_cluster(link, cluster, config)
            elif is_driver(csi.driver, RBD_DRIVER) and image_of_volume(volume) is not None:
                given = (csi.volume_attributes or {}).get("radosNamespace", "")
                if given != entry.rados_namespace:
                    says = f"has the radosNamespace {entry.rados_namespace!r} for cluster {cluster}"
                    told = f"{volume.metadata.name} was made in the RADOS namespace {given!r}, but ceph-csi's configuration {says}"
                    yield Drift(link.subject, _CONFIG, told, (link, *_config_links(config, says)))
    for one in ceph_classes(snapshot):
        config, cluster = known.get(one.provisioner), (one.parameters or {}).get("clusterID")
        if not cluster:
            link = _class_link(one, "names no clusterID")
            yield Drift(link.subject, _CONFIG, f"the class {one.metadata.name} names no clusterID", (link,))
        elif config is None:
            blind.add(one.provisioner)
        elif config.readable and config.entry(cluster) is None and cluster not in config.mapped:
            yield _unknown_cluster(_class_link(one, f"is of the Ceph cluster {cluster}"), cluster, config)
    for driver in sorted(blind):
        yield Unseen(f"the configuration of {driver}", config_unseen(driver, snapshot))


def in_pools(snapshot: Snapshot) -> Iterator[Drift | Unseen]:
    """Volumes and classes whose pool, or image, does not exist in this Ceph."""
    wanted: list[tuple[Link, str | None, str, str]] = []
    locks, absent, known, status = snapshot.seen(LOCKS), set[Subject](), configs(snapshot), snapshot[STATUS]
    missing = frozenset(locks.absent if locks else ())
    is_ours = cache(lambda driver, cluster: _is_ours(known.get(driver), cluster, snapshot))
    for volume, csi in ceph_volumes(snapshot):
        if not is_here(volume):
            continue
        image, given = image_of_volume(volume), csi.volume_attributes or {}
        wanted += [(_volume_link(volume, f"lies in the pool {given[key]}"), cluster_id_of(volume), csi.driver, given[key])
                   for key in ("pool", "dataPool") if given.get(key)]  # fmt: skip
        if locks and image in missing and is_ours(csi.driver, cluster_id_of(volume)):
            link = _volume_link(volume, f"is the RBD image {image}")
            gone = Link(Subject("RBDImage", None, str(image), f"{locks.fsid}/{image.pool}/{image.namespace}/{image.name}"),
                        "does not exist", (Evidence(f"rbd info {image}", "no such image"),))  # fmt: skip
            absent.add(link.subject)
            yield Drift(
                link.subject, _ABSENT, f"the image {image} of {volume.metadata.name} does not exist", (link, gone)
            )
    if snapshot.scope.subject is not None and wanted and isinstance(unread := snapshot[LOCKS], NotSeen):
        yield Unseen("whether the volumes' images exist", unread.reason)
    for one in ceph_classes(snapshot):
        given = one.parameters or {}
        wanted += [(_class_link(one, f"makes volumes in the pool {given[key]}"), given.get("clusterID"), one.provisioner, given[key])
                   for key in ("pool", "dataPool") if given.get(key)]  # fmt: skip
    told: dict[str, str | None] = {}
    for link, cluster, driver, pool in wanted:
        if link.subject in absent or not is_ours(driver, cluster):
            continue
        if pool not in told:
            told[pool] = _no_pool(pool, snapshot)
        if proof := told[pool]:
            absent.add(link.subject)
            subject = Subject("CephPool", None, pool, f"{locks.fsid if locks else ''}/{pool}")
            gone = Link(subject, "does not exist", (Evidence("ceph osd pool ls", proof),))
            yield Drift(
                link.subject, _ABSENT, f"{link.subject} needs the pool {pool}, which does not exist", (link, gone)
            )
    if unclear := sorted(pool for pool, proof in told.items() if proof is None):
        yield Unseen(
            f"the pools {some(unclear)}",
            status.reason if isinstance(status, NotSeen) else "no manager is active, so Ceph does not name its pools",
        )


def in_secrets(snapshot: Snapshot) -> Iterator[Drift | Unseen]:
    """Secrets that volumes name for their nodes and that are not there, or lack a key by its name."""
    users: dict[tuple[str, str], list[tuple[Volume, CSISource]]] = {}
    for volume, csi in ceph_volumes(snapshot):
        if (ref := csi.node_stage_secret_ref) and ref.name and ref.namespace:
            users.setdefault((ref.namespace, ref.name), []).append((volume, csi))
    listing = snapshot[SECRETS]
    if isinstance(listing, NotSeen):
        if users:
            yield Unseen(
                "the Secrets that volumes name for their nodes", listing.reason, by_choice=not listing.configured
            )
        return
    asked = set(SECRETS.requests(snapshot))
    there = {(one.metadata.namespace or "", one.metadata.name): one for one in listing.full}
    skipped = {(ns, name): None for ns, name in users if Get(name, ns) not in asked}
    yield from by_reason((f"Secret {ns}/{name}", "it was one too many to look for") for ns, name in skipped)
    for (namespace, name), mine in users.items():
        if (namespace, name) in skipped:
            continue
        yield from _of_secret(namespace, name, there.get((namespace, name)), mine)


def _of_secret(
    namespace: str, name: str, secret: Secret | None, users: list[tuple[Volume, CSISource]]
) -> Iterator[Drift | Unseen]:
    volumes = [volume.metadata.name for volume, _ in users]
    some = f"{quoted(volumes[:3])}{' and others' if len(volumes) > 3 else ''}"
    source, by = (
        f"GET secrets {namespace}/{name} (metadata)",
        _volume_link(users[0][0], f"is mounted with the Secret {namespace}/{name}"),
    )
    if secret is None:
        link = Link(Subject("Secret", namespace, name, ""), "does not exist", (Evidence(source, "not found"),))
        yield Drift(
            link.subject,
            "secret-missing",
            f"the Secret {namespace}/{name}, which {some} needs, does not exist",
            (by, link),
        )
        return
    if not secret.keys or not secret.keys_are_all:
        yield Unseen(f"Secret {namespace}/{name}", "its metadata does not tell all its keys", by_choice=True)
        return
    for kind, needed in {
        ("RBD", _RBD_KEYS) if is_driver(csi.driver, RBD_DRIVER) else ("CephFS", _CEPHFS_KEYS) for _, csi in users
    }:
        if not any(keys <= secret.keys for keys in needed):
            lacks = f"lacks {' or '.join(quoted(sorted(keys - secret.keys)) for keys in needed[: 1 if kind == 'RBD' else 2])}"
            proof = Evidence(source, f"its keys are {quoted(sorted(secret.keys))}")
            link = Link(Subject("Secret", namespace, name, secret.metadata.uid), lacks, (proof,))
            yield Drift(
                link.subject,
                "secret-key-missing",
                f"the Secret {namespace}/{name}, for {kind} volumes such as {some}, {lacks}",
                (by, link),
            )
            return


def unread_of_ceph(snapshot: Snapshot) -> Iterator[Unseen]:
    """What of Ceph could not be read, where there is something to compare it with."""
    volumes, classes = ceph_volumes(snapshot), ceph_classes(snapshot)
    if volumes or snapshot.scope.subject is None:
        yield from unread(snapshot, STORAGE_CLASSES)
    if volumes or classes:
        yield from unread(snapshot, OSDMAP)


def _is_ours(config: CsiConfig | None, cluster: str | None, snapshot: Snapshot) -> bool:
    """Whether a clusterID means the Ceph that was looked at: one is taken for it, unless its monitors speak against that."""
    osdmap, entry = snapshot.seen(OSDMAP), config.entry(cluster) if config and cluster else None
    if snapshot.seen(CEPHS) is not None:  # of several none is taken for it without proof
        return osdmap is not None and (cluster == osdmap.fsid if entry is None else is_of(entry, osdmap) is True)
    return osdmap is None or entry is None or is_of(entry, osdmap) is not False


def _no_pool(pool: str, snapshot: Snapshot) -> str | None:
    """What proves that a pool does not exist; "" where it does, or where no Ceph is configured; None: nobody can tell."""
    locks, status = snapshot.seen(LOCKS), snapshot[STATUS]
    names = () if isinstance(status, NotSeen) or not status.mgr else tuple(one.name for one in status.pools)
    if pool in names or any(scan.pool == pool for scan in (locks.pools if locks else ())):
        return ""
    if names:
        return f"the pools are {quoted(sorted(names)[:10])}{' and others' if len(names) > 10 else ''}"
    problems = (p.reason for p in (locks.problems if locks else ()) if p.pool == pool and "no such pool" in p.reason)
    return next(problems, "" if isinstance(status, NotSeen) and not status.configured else None)


def _unknown_cluster(link: Link, cluster: str, config: CsiConfig) -> Drift:
    says = f"does not have the cluster {cluster}"
    ids = quoted([entry.id for entry in config.entries]) or "none"
    told = f"{link.subject} is of the Ceph cluster {cluster}, which ceph-csi's configuration does not have (only {ids})"
    return Drift(link.subject, _CONFIG, told, (link, *_config_links(config, says)))


def _config_links(config: CsiConfig, says: str) -> tuple[Link, ...]:
    ids = quoted([f"{entry.id} (radosNamespace {entry.rados_namespace!r})" for entry in config.entries]) or "none"
    return tuple(config_link(one, says, f"its clusters: {ids}") for one in config.maps[:1])


def _volume_link(volume: Volume, says: str) -> Link:
    csi = volume.spec.csi
    text = f"spec.csi: driver {csi.driver}, volumeHandle {csi.volume_handle}" if csi else ""
    return Link(volume.subject, says, (Evidence(f"GET persistentvolumes {volume.metadata.name}", text),))


def _class_link(one: StorageClass, says: str) -> Link:
    shown = {key: value for key, value in (one.parameters or {}).items() if key in ("clusterID", "pool", "dataPool")}
    text = ", ".join((f"provisioner {one.provisioner}", *(f"{key} {value}" for key, value in shown.items())))
    return Link(one.subject, says, (Evidence(f"GET storageclasses {one.metadata.name}", text),))
