"""What the monitors say of the cluster's own state: health, quorum, OSDs, placement groups, how full its pools are.

The shapes were measured on Ceph 16.2. Each command needs the caps mon 'allow r' and nothing of the manager. While no
manager is active, the monitors repeat the last numbers that one gave them: `read_pgs` and `read_pools` are told so.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from diagnostics.facts.ceph import ClusterStatus, HealthCheck, OsdState, PoolUse
from diagnostics.facts.osds import unserved
from diagnostics.sources.ceph.mon_answers import decode
from diagnostics.sources.ceph.wire import MalformedReply

AVAILABILITY = "PG_AVAILABILITY"
"""The health check that lists the placement groups which serve no I/O, once they have not for a minute."""
_PG = re.compile(r"pg (\d+\.[0-9a-f]+) is (.+)", re.DOTALL)
_NO_DAEMON = frozenset({"new", "destroyed"})


class _Message(msgspec.Struct, frozen=True):
    message: str


class _Check(msgspec.Struct, frozen=True):
    severity: str
    summary: _Message
    detail: tuple[_Message, ...] = ()
    muted: bool = False


class _HealthDetail(msgspec.Struct, frozen=True):
    status: str
    checks: dict[str, _Check]


class _Named(msgspec.Struct, frozen=True):
    name: str


class _MonMap(msgspec.Struct, frozen=True):
    mons: tuple[_Named, ...]


class _QuorumStatus(msgspec.Struct, frozen=True):
    quorum_names: tuple[str, ...]
    monmap: _MonMap


class _OsdRow(msgspec.Struct, frozen=True):
    osd: int
    up: int
    inside: int = msgspec.field(name="in")
    state: tuple[str, ...] = ()


class _OsdHistory(msgspec.Struct, frozen=True):
    osd: int
    down_stamp: str = ""


class _PoolRow(msgspec.Struct, frozen=True):
    pool_name: str
    flags_names: str = ""


class _OsdDump(msgspec.Struct, frozen=True):
    osds: tuple[_OsdRow, ...]
    pools: tuple[_PoolRow, ...]
    osd_xinfo: tuple[_OsdHistory, ...] = ()


class _States(msgspec.Struct, frozen=True):
    state_name: str
    count: int


class _PgMap(msgspec.Struct, frozen=True):
    pgs_by_state: tuple[_States, ...]


class _Status(msgspec.Struct, frozen=True):
    pgmap: _PgMap


class _PoolStats(msgspec.Struct, frozen=True):
    percent_used: float
    max_avail: int


class _PoolUse(msgspec.Struct, frozen=True):
    name: str
    stats: _PoolStats


class _Df(msgspec.Struct, frozen=True):
    pools: tuple[_PoolUse, ...]


class _MgrDump(msgspec.Struct, frozen=True):
    available: bool
    active_name: str = ""


def read_health(answer: bytes) -> tuple[str, tuple[HealthCheck, ...]]:
    """The overall health (`HEALTH_WARN`) and each check with its details, from `health detail`.

    A muted check is listed too, and does not count for the overall health.
    """
    told = decode(answer, _HealthDetail, "health detail")
    checks = [
        HealthCheck(code, one.severity, one.summary.message, tuple(d.message for d in one.detail), one.muted)
        for code, one in told.checks.items()
    ]
    return told.status, tuple(checks)


def read_quorum(answer: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of all monitors, and of those in the quorum, from `quorum_status`.

    Raises:
        MalformedReply: it makes no sense, or names nobody, or a member of the quorum that is no monitor.
    """
    told = decode(answer, _QuorumStatus, "quorum_status")
    mons = tuple(mon.name for mon in told.monmap.mons)
    if not told.quorum_names or not set(told.quorum_names) <= set(mons):
        raise MalformedReply(f"the answer to 'quorum_status' has the quorum {told.quorum_names} of monitors {mons}")
    return mons, told.quorum_names


def read_osd_states(answer: bytes) -> tuple[OsdState, ...]:
    """Which OSDs are up and in, from `osd dump`; those without any data (new or destroyed) are left out."""
    dump = decode(answer, _OsdDump, "osd dump")
    since = {row.osd: _moment(row.down_stamp) for row in dump.osd_xinfo}
    return tuple(
        OsdState(f"osd.{row.osd}", bool(row.up), bool(row.inside), None if row.up else since.get(row.osd))
        for row in dump.osds
        if row.up or not _NO_DAEMON & set(row.state)
    )


def read_active_mgr(answer: bytes) -> str | None:
    """The name of the manager that is active and has taken up its work, from `mgr dump`."""
    mgr = decode(answer, _MgrDump, "mgr dump")
    return mgr.active_name or None if mgr.available else None


def read_pgs(answer: bytes, mgr: str | None) -> dict[str, int]:
    """How many placement groups are in which state, from `status`; nothing without an active manager."""
    told: dict[str, int] = {}
    for states in decode(answer, _Status, "status").pgmap.pgs_by_state:
        if not states.state_name or states.count < 0:
            raise MalformedReply(f"the answer to 'status' counts {states.count} placement groups {states.state_name!r}")
        told[states.state_name] = told.get(states.state_name, 0) + states.count
    return told if mgr else {}


def read_pools(osd_dump: bytes, df: bytes, mgr: str | None) -> tuple[PoolUse, ...]:
    """Every pool with its flags, from `osd dump`, and how full it is, from `df`, as far as a manager measures that.

    Raises:
        MalformedReply: an answer makes no sense, or a pool is to be used for less than nothing or more than all.
    """
    measured: dict[str, _PoolStats] = {}
    for pool in decode(df, _Df, "df").pools:
        if not 0 <= pool.stats.percent_used <= 1:
            raise MalformedReply(f"the answer to 'df' says that {pool.stats.percent_used} of pool {pool.name} is used")
        measured[pool.name] = pool.stats
    return tuple(
        _use(pool, measured.get(pool.pool_name) if mgr else None)
        for pool in decode(osd_dump, _OsdDump, "osd dump").pools
    )


def inactive_pgs(checks: Sequence[HealthCheck], mgr: str | None) -> dict[str, str]:
    """The placement groups that serve no I/O, with what is said of each: `stuck inactive for 3m, current state unknown`."""
    if not mgr:
        return {}
    details: Mapping[str, tuple[str, ...]] = {check.code: check.details for check in checks}
    found = (_PG.fullmatch(line) for line in details.get(AVAILABILITY, ()))
    return {match[1]: match[2] for match in found if match}


def may_lack_service(status: ClusterStatus) -> bool:
    """Whether some placement group may serve no I/O: one does not, Ceph reports it, or nobody counts them.

    An OSD that is down proves nothing: the others serve its groups, or these are counted as not active.
    """
    return bool(status.mgr is None or status.check(AVAILABILITY) or status.inactive or unserved(status))


def _use(pool: _PoolRow, stats: _PoolStats | None) -> PoolUse:
    flags = tuple(flag for flag in pool.flags_names.split(",") if flag)
    if stats is None:
        return PoolUse(pool.pool_name, flags=flags)
    return PoolUse(pool.pool_name, stats.percent_used, stats.max_avail, flags)


def _moment(stamp: str) -> datetime | None:
    """A time as Ceph writes it; `0.000000` is none, and releases before 15 name no zone."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
