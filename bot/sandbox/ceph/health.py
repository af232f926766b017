"""What the simulated monitors say of the cluster's own state, in the shapes and words that Ceph 16.2 printed.

It follows from the state: OSDs that are down, monitors that are silent, pools that are full. The counts of placement
groups and the use of pools are a manager's: without one the monitors tell what the last one counted, or nothing.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from bot.sandbox.ceph.state import PG_NUM, ClusterState
from diagnostics.model import lasting

Json = dict[str, object]
NEARFULL, FULL = 0.85, 0.95
STUCK = timedelta(seconds=60)
"""How long a placement group has to serve nothing before the manager reports it (`mon_pg_stuck_threshold`)."""
CAPACITY = 100 * 1024**3
_SEVERITIES = ("HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR")


def health(cluster: ClusterState, *, detail: bool = False) -> Json:
    """The answer to `health`, and to `health detail`."""
    checks: dict[str, Json] = {}
    worst = cluster.health
    for code, severity, summary, lines in _checks(cluster):
        muted = code in cluster.muted
        checks[code] = {
            "severity": severity,
            "summary": {"message": summary, "count": max(1, len(lines))},
            **({"detail": [{"message": line} for line in lines]} if detail else {}),
            "muted": muted,
        }
        if not muted:
            worst = max(worst, severity, key=_SEVERITIES.index)
    mutes = [{"code": code, "sticky": False, "summary": "", "count": 1} for code in sorted(cluster.muted)]
    return {"status": worst, "checks": checks, "mutes": mutes}


def status(cluster: ClusterState) -> Json:
    """The answer to `status`."""
    counted = Counter(state for _, state in _pgs(cluster)) if cluster.mgr or cluster.had_mgr else Counter[str]()
    return {
        "fsid": cluster.fsid,
        "health": health(cluster),
        "quorum_names": [mon for mon in cluster.mons if mon not in cluster.silent_mons],
        "osdmap": {
            "epoch": cluster.epoch,
            "num_osds": len(cluster.osds),
            "num_up_osds": len(cluster.osds) - len(cluster.down),
            "num_in_osds": len(cluster.osds) - len(cluster.out),
        },
        "pgmap": {
            "pgs_by_state": [{"state_name": state, "count": count} for state, count in counted.items()],
            "num_pgs": counted.total(),
            "num_pools": len(cluster.pools),
        },
        "mgrmap": {"available": cluster.mgr is not None, "num_standbys": 0},
    }


def df(cluster: ClusterState) -> Json:
    """The answer to `df`: every pool could take the whole capacity."""
    pools = []
    for name, number in cluster.pools.items() if cluster.mgr or cluster.had_mgr else ():
        used = cluster.used.get(name, 0.0)
        stats = {
            "stored": int(CAPACITY * used),
            "objects": 0,
            "percent_used": used,
            "max_avail": int(CAPACITY * (1 - used)),
        }
        pools.append({"name": name, "id": number, "stats": stats})
    return {"stats": {"total_bytes": CAPACITY, "num_osds": len(cluster.osds)}, "stats_by_class": {}, "pools": pools}


def pool_flags(cluster: ClusterState, pool: str) -> tuple[str, ...]:
    """What the monitors flag a pool with, as its OSDs fill."""
    used = cluster.used.get(pool, 0.0)
    return ("full",) if used >= FULL else ("nearfull",) if used >= NEARFULL else ()


def _checks(cluster: ClusterState) -> Iterator[tuple[str, str, str, list[str]]]:
    """Code, severity, summary and details of everything that is wrong."""
    quorum = [mon for mon in cluster.mons if mon not in cluster.silent_mons]
    if silent := [mon for mon in cluster.mons if mon in cluster.silent_mons]:
        summary = f"{len(silent)}/{len(cluster.mons)} mons down, quorum {','.join(quorum)}"
        yield "MON_DOWN", "HEALTH_WARN", summary, [_mon_down(cluster, mon) for mon in silent]
    if cluster.had_mgr and cluster.mgr is None:
        yield "MGR_DOWN", "HEALTH_WARN", "no active mgr", []
    if down := [number for number in cluster.osds if number in cluster.down and number not in cluster.out]:
        lines = [f"osd.{number} (root=default,host=ceph-{number}) is down" for number in down]
        yield "OSD_DOWN", "HEALTH_WARN", f"{len(down)} osds down", lines
    for flag, code, severity in (("nearfull", "POOL_NEARFULL", "HEALTH_WARN"), ("full", "POOL_FULL", "HEALTH_ERR")):
        if pools := [pool for pool in cluster.pools if flag in pool_flags(cluster, pool)]:
            yield code, severity, f"{len(pools)} pool(s) {flag}", [f"pool '{pool}' is {flag}" for pool in pools]
    if cluster.mgr and (stuck := list(_stuck(cluster))):
        yield "PG_AVAILABILITY", "HEALTH_WARN", f"Reduced data availability: {len(stuck)} pgs inactive", stuck


def _mon_down(cluster: ClusterState, mon: str) -> str:
    ip = cluster.mons[mon]
    address = f"[v2:{ip}:3300/0,v1:{ip}:6789/0]"
    return f"mon.{mon} (rank {list(cluster.mons).index(mon)}) addr {address} is down (out of quorum)"


def _pgs(cluster: ClusterState) -> Iterator[tuple[str, str]]:
    """Each placement group and its state. One whose OSDs fell silent keeps the state that they reported last."""
    healthy = "active+undersized+degraded" if cluster.down else "active+clean"
    for number in cluster.pools.values():
        for index in range(PG_NUM):
            group = f"{number}.{index:x}"
            if cluster.primary(group) is not None:
                yield group, healthy
            else:
                yield group, "unknown" if group in cluster.primaries else "stale+active+clean"


def _stuck(cluster: ClusterState) -> Iterator[str]:
    for group, state in _pgs(cluster):
        if state == "unknown":
            yield f"pg {group} is stuck inactive since forever, current state unknown, last acting []"
        elif state.startswith("stale"):
            silent_for = cluster.now() - max(cluster.down.values())
            if silent_for >= STUCK:
                acting = ",".join(map(str, sorted(cluster.osds)))
                how_long = lasting(silent_for).replace(" min", "m").replace(" s", "s")
                yield f"pg {group} is stuck stale for {how_long}, current state {state}, last acting [{acting}]"
