"""The simulated monitors: the commands that Unstick uses, with answers in the shapes that Ceph 16.2 prints.

A command that is not here is refused as an unknown one is, so that nothing works in the sandbox alone.
"""

import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from bot.sandbox.ceph import health
from bot.sandbox.ceph.state import ClusterState
from diagnostics.facts.ceph import Address
from diagnostics.sources.ceph.rados import RadosError

Json = dict[str, object]
ENOENT, EACCES, EINVAL = 2, 13, 22
FENCED_FOR = 3600.0
"""Seconds that an entry lasts where the command names none."""

_CLOSED_ADDRESS = {"type": "none", "addr": "(unrecognized address family 0)", "nonce": 0}


def command(
    cluster: ClusterState, sent: Mapping[str, object], mon: str | None, may: Callable[[Mapping[str, object]], bool]
) -> Json | list[Json] | None:
    """Carry a command out, if the sender's caps allow it (`may`).

    Raises:
        RadosError: errno 2, no such monitor or pool; 13, refused; 22, an unknown command or a bad argument.
    """
    prefix = str(sent.get("prefix"))
    if mon is not None and mon not in cluster.mons:
        raise RadosError(ENOENT, f"the monitor command {prefix!r} of mon.{mon}: mon dne")
    reads: dict[str, Callable[[], Json | list[Json]]] = {
        "sessions": lambda: _sessions(cluster, mon or next(iter(cluster.mons))),
        "osd dump": lambda: _osd_dump(cluster),
        "osd map": lambda: _osd_map(cluster, sent),
        "mon dump": lambda: _mon_dump(cluster),
        "mgr dump": lambda: _mgr_dump(cluster),
        "fs dump": lambda: _fs_dump(cluster),
        "health": lambda: health.health(cluster, detail=sent.get("detail") == "detail"),
        "quorum_status": lambda: _quorum_status(cluster),
        "status": lambda: health.status(cluster),
        "df": lambda: health.df(cluster),
    }
    if prefix != "osd blocklist" and prefix not in reads:
        raise RadosError(EINVAL, f"the monitor command {prefix!r}: command not known")
    if prefix in cluster.denied or not may(sent):
        raise RadosError(EACCES, f"the monitor command {prefix!r}: access denied")
    if prefix == "osd blocklist":
        _blocklist(cluster, sent)
        return None
    return reads[prefix]()


def is_whole(address: str) -> bool:
    """Whether an address is complete (`ip:port/nonce`): the only form that `profile rbd` lets through."""
    try:
        Address.parse(address)
    except ValueError:
        return False
    return True


def _blocklist(cluster: ClusterState, sent: Mapping[str, object]) -> None:
    operation, expire = sent.get("blocklistop"), sent.get("expire", FENCED_FOR)
    if operation not in ("add", "rm") or not isinstance(expire, float):
        raise RadosError(EINVAL, "the monitor command 'osd blocklist': bad or missing field")
    text = str(sent.get("addr", ""))
    entry = _range(text) if sent.get("range") == "range" else _entry(text)
    if operation == "add":
        cluster.fences[entry] = cluster.now() + timedelta(seconds=expire)
    else:
        cluster.fences.pop(entry, None)
    cluster.epoch += 1


def _entry(text: str) -> str:
    """An address as the OSD map writes it: a bare IP stands for every client there.

    `v2:` is refused, as the ceph command refuses it, although the monitors of 16.2 would take it.
    """
    try:
        if text.startswith("v2:"):
            raise ValueError(text)
        if is_whole(text):
            return str(Address.parse(text))
        return str(Address(str(ipaddress.ip_address(text)), 0, 0))
    except ValueError:
        raise RadosError(EINVAL, f"the monitor command 'osd blocklist': unable to parse address {text}") from None


def _range(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise RadosError(EINVAL, f"the monitor command 'osd blocklist': unable to parse range {text}") from None
    return f"cidr:{Address(str(network.network_address), 0, network.prefixlen)}"


def _address(kind: str, ip: str, port: int, nonce: int) -> Json:
    host = f"[{ip}]" if ":" in ip else ip
    return {"type": kind, "addr": f"{host}:{port}", "nonce": nonce}


def _both(ip: str, port: int, nonce: int = 0) -> Json:
    return {"addrvec": [_address("v2", ip, port, nonce), _address("v1", ip, port + 1, nonce)]}


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f%z")


def _sessions(cluster: ClusterState, mon: str) -> list[Json]:
    rows: list[Json] = [
        {
            "name": f"mon.{rank}",
            "entity_name": "",
            "addrs": _both(ip, 3300),
            "socket_addr": _CLOSED_ADDRESS,
            "con_type": "mon",
            "open": True,
            "authenticated": True,
            "global_id": 0,
        }
        for rank, ip in enumerate(cluster.mons.values())
    ]
    for instance in cluster.sessions_on(mon):
        address = instance.address
        seen = _address("any", address.ip, address.port, address.nonce)
        rows.append(
            {
                "name": instance.client,
                "entity_name": instance.entity,
                "addrs": {"addrvec": [seen]},
                "socket_addr": seen,
                "con_type": "client",
                "open": True,
                "authenticated": True,
                "global_id": instance.number,
            }
        )
    return rows


def _osd_dump(cluster: ClusterState) -> Json:
    fences = {fence.entry: _stamp(fence.until) for fence in cluster.active_fences()}
    osds = [
        {
            "osd": number,
            "up": int(number not in cluster.down),
            "in": int(number not in cluster.out),
            "public_addrs": _both(ip, 6800, 1000 + number),
            "cluster_addrs": _both(ip, 6802, 1000 + number),
            "public_addr": f"{ip}:6801/{1000 + number}",
            "cluster_addr": f"{ip}:6803/{1000 + number}",
            "state": ["exists", *(["up"] if number not in cluster.down else [])],
        }
        for number, ip in cluster.osds.items()
    ]
    return {
        "epoch": cluster.epoch,
        "fsid": cluster.fsid,
        "flags": ",".join(sorted(cluster.flags)),
        "flags_set": sorted(cluster.flags),
        "pools": [
            {
                "pool": number,
                "pool_name": name,
                "flags_names": ",".join(["hashpspool", *health.pool_flags(cluster, name)]),
            }
            for name, number in cluster.pools.items()
        ],
        "osds": osds,
        "osd_xinfo": [
            {"osd": number, "down_stamp": _stamp(cluster.down[number]) if number in cluster.down else "0.000000"}
            for number in cluster.osds
        ],
        "blocklist": {entry: until for entry, until in fences.items() if not entry.startswith("cidr:")},
        "range_blocklist": {entry: until for entry, until in fences.items() if entry.startswith("cidr:")},
    }


def _osd_map(cluster: ClusterState, sent: Mapping[str, object]) -> Json:
    pool, oid, namespace = (str(sent.get(part, "")) for part in ("pool", "object", "nspace"))
    if pool not in cluster.pools:
        raise RadosError(ENOENT, f"the monitor command 'osd map': pool {pool} does not exist")
    group, primary = cluster.placement(pool, namespace, oid)
    acting = [] if primary is None else [primary]
    number = -1 if primary is None else primary
    return {
        "epoch": cluster.epoch,
        "pool": pool,
        "pool_id": cluster.pools[pool],
        "objname": f"{namespace}/{oid}" if namespace else oid,
        "pgid": group,
        "up": acting,
        "up_primary": number,
        "acting": acting,
        "acting_primary": number,
    }


def _mon_dump(cluster: ClusterState) -> Json:
    mons = [
        {"rank": rank, "name": name, "public_addrs": _both(ip, 3300), "addr": f"{ip}:6789/0"}
        for rank, (name, ip) in enumerate(cluster.mons.items())
    ]
    quorum = [mon["rank"] for mon in mons if mon["name"] not in cluster.silent_mons]
    return {"epoch": 1, "fsid": cluster.fsid, "mons": mons, "quorum": quorum}


def _quorum_status(cluster: ClusterState) -> Json:
    names = [name for name in cluster.mons if name not in cluster.silent_mons]
    told = _mon_dump(cluster)
    return {
        "election_epoch": 4,
        "quorum": told.pop("quorum"),
        "quorum_names": names,
        "quorum_leader_name": names[0],
        "monmap": told,
    }


def _mgr_dump(cluster: ClusterState) -> Json:
    if cluster.mgr is None:
        return {"epoch": 1, "active_name": "", "active_addrs": {"addrvec": []}, "available": False, "standbys": []}
    name, ip = cluster.mgr
    return {
        "epoch": 1,
        "active_name": name,
        "active_addrs": _both(ip, 6900, 77),
        "active_addr": f"{ip}:6901/77",
        "available": True,
        "standbys": [],
    }


def _fs_dump(cluster: ClusterState) -> Json:
    standbys = [{"name": name, "addrs": _both(ip, 6950, 88)} for name, ip in cluster.mds.items()]
    return {"epoch": 1, "standbys": standbys, "filesystems": []}
