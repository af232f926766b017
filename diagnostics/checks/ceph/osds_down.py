"""OSDs that are down.

Meaning: the daemon died, its host or its network is away, or somebody marked it down; the monitors hear nothing of it.
Impact: data has fewer copies; placement groups with too few serve no I/O, and every pod with an image there hangs.
Mitigation: bring the daemon or its host back. One that is down and out has been given up: its data was placed elsewhere.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.blind import some
from diagnostics.facts.ceph import STATUS, ClusterStatus, OsdState
from diagnostics.facts.osds import missed, part, proofs
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, lasting

CLEAN = "active+clean"
GRACE = timedelta(seconds=60)
"""How long an OSD may restart, unless data waits for it. Ceph gives its placement groups the same minute."""


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each OSD that is down and not only restarts."""
    status = snapshot.seen(STATUS)
    if status is None:
        return
    blocking = {osd.name for osd in missed(status, status.inactive.values())}
    fresh = [osd for osd in status.down if osd.name not in blocking and _may_restart(osd, snapshot)]
    if fresh:
        yield Unseen(
            some([osd.name for osd in fresh]), "down for less than a minute, which a restart is too: look again"
        )
    for osd in status.down:
        if osd in fresh:
            continue
        subject = part(status, "OSD", osd.name)
        time = lasting(snapshot.taken_at - osd.down_since) if osd.down_since else None
        severity, effect = _judged(osd, status, osd.name in blocking)
        says = f"is down{f' for {time}' if time else ''} and {'in' if osd.inside else 'out'}: {effect}"
        kept = _kept_down(status)
        yield Finding(
            subject=subject,
            summary=f"{osd.name} {says}{'; ' + kept[0].text if kept else ''}",
            since=osd.down_since,
            severity=severity,
            chain=(Link(subject, "is down", (*proofs(status, osd), *kept)),),
        )


def _may_restart(osd: OsdState, snapshot: Snapshot) -> bool:
    """Whether it went down a moment ago, by Ceph's clock, which may be a little ahead of this look's."""
    return osd.down_since is not None and abs(snapshot.taken_at - osd.down_since) < GRACE


def _judged(osd: OsdState, status: ClusterStatus, blocking: bool) -> tuple[Severity, str]:
    """How much it matters that an OSD is down, and what it does to data."""
    severity = Severity.INFO if status.muted("OSD_DOWN") else Severity.CRITICAL
    if len(status.down) == len(status.osds):
        return severity, "no OSD is up, so nothing is served"
    if blocking:
        return severity, "placement groups that it served last serve no I/O"
    if osd.inside:
        return min(severity, Severity.WARNING, key=_rank), "its data has a copy less"
    if status.mgr and set(status.pgs) <= {CLEAN}:
        return Severity.INFO, "its data has been placed elsewhere"
    return Severity.WARNING, "its data is not known to be whole elsewhere yet"


def _rank(severity: Severity) -> int:
    return severity.rank


def _kept_down(status: ClusterStatus) -> tuple[Evidence, ...]:
    """What keeps every OSD from coming up, if somebody set that."""
    flags = status.check("OSDMAP_FLAGS")
    if flags is None or "noup" not in flags.summary.split(" flag")[0].split(","):
        return ()
    return (Evidence("ceph health detail", flags.summary),)


CHECK = Check(find, reads=(Read(STATUS),), severity=Severity.WARNING, of_the_whole=True)
