"""Pools that are full or nearly so, by their use, their quota, or the fullest of their OSDs.

Meaning: data fills the pool, or one OSD of it while others have room; `full_quota` means that a quota is used up.
Impact: once a pool is full, every write to it waits or fails: mounted volumes hang, and new ones are not made.
Mitigation: delete what nobody needs (also the trash and old snapshots), add OSDs, rebalance, or raise the quota.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.blind import by_reason
from diagnostics.facts.ceph import OSDMAP, STATUS, ClusterStatus, PoolUse
from diagnostics.facts.osds import part
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen

NEARLY, FULLY = 0.85, 0.95
_POOL_CODES = {"full": "POOL_FULL", "backfillfull": "POOL_BACKFILLFULL", "nearfull": "POOL_NEARFULL"}
_OSD_CODES = ("OSD_FULL", "OSD_BACKFILLFULL", "OSD_NEARFULL")
QUOTA = "POOL_NEAR_FULL"
UNMEASURED = "how full it is has not been measured yet: look again"


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each pool; or for OSDs that fill up, where no pool shows it."""
    status, osd_map = snapshot.seen(STATUS), snapshot.seen(OSDMAP)
    if status is None or osd_map is None:
        return
    if status.mgr is None:
        yield Unseen("pools", "no manager is active, so nobody measures how full they are: see `ceph mgr dump`")
    everywhere = osd_map.flags & _POOL_CODES.keys()
    unmeasured = [pool.name for pool in status.pools if status.mgr and pool.used is None]
    yield from by_reason((f"pool {name}", UNMEASURED) for name in unmeasured)
    found = False
    for pool in status.pools:
        if finding := _judged(pool, everywhere, status):
            found = True
            yield finding
    if not found:
        for code, line in _full_osds(status):
            subject = part(status, "OSD", line.partition(" ")[0])
            severity = Severity.INFO if status.muted(code) else Severity.CRITICAL if code == "OSD_FULL" else None
            link = Link(subject, line.partition(" ")[2], (Evidence("ceph health detail", line),))
            yield Finding(subject=subject, summary=line, severity=severity, chain=(link,))


def _judged(pool: PoolUse, everywhere: frozenset[str], status: ClusterStatus) -> Finding | None:
    flags = [flag for flag in _POOL_CODES if flag in pool.flags or flag in everywhere]
    near_quota = status.check(QUOTA)
    quota = [line for line in (near_quota.details if near_quota else ()) if line.startswith(f"pool '{pool.name}' ")]
    used = pool.used or 0.0
    if not flags and not quota and used < NEARLY:
        return None
    by_quota = "full_quota" in pool.flags
    severity = Severity.CRITICAL if "full" in flags or used >= FULLY else Severity.WARNING
    codes = [_POOL_CODES[flags[0]]] if flags else [QUOTA] if quota else []
    if used < NEARLY and any(status.muted(code) for code in codes):
        severity = Severity.INFO
    says = [*(["has used up its quota"] if by_quota else []), *(f"is {flag}" for flag in flags)]
    says += [line.removeprefix(f"pool '{pool.name}' ") for line in quota]
    says += [f"is {used:.0%} used, with {pool.left or 0:,} bytes left"] if pool.used is not None else []
    proof = [Evidence("ceph osd dump", f"pool {pool.name}: {', '.join(pool.flags)}"), *_told(pool, codes, status)]
    proof += [Evidence("ceph df", f"{pool.name}: percent_used {used:.4f}")] if pool.used is not None else []
    osds = [] if by_quota or quota or not flags else list(_full_osds(status))[:1]
    root = [Link(part(status, "OSD", line.partition(" ")[0]), line.partition(" ")[2],
                 (Evidence("ceph health detail", line),)) for _, line in osds]  # fmt: skip
    subject = part(status, "Pool", pool.name)
    link = Link(subject, says[0] if flags or quota else f"is {used:.0%} used", tuple(proof))
    return Finding(subject, f"pool {pool.name} {'; '.join(says)}", severity=severity, chain=(link, *root))


def _told(pool: PoolUse, codes: list[str], status: ClusterStatus) -> Iterator[Evidence]:
    for check in (status.check(code) for code in codes):
        for line in check.details if check else ():
            if line.startswith(f"pool '{pool.name}' "):
                yield Evidence("ceph health detail", line)


def _full_osds(status: ClusterStatus) -> Iterator[tuple[str, str]]:
    for code in _OSD_CODES:
        check = status.check(code)
        yield from ((code, line) for line in (check.details if check else ()) if line.startswith("osd."))


CHECK = Check(find, reads=(Read(STATUS), Read(OSDMAP)), severity=Severity.WARNING, of_the_whole=True)
