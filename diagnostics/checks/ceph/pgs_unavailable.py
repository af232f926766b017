"""Placement groups that serve no I/O.

Meaning: too few of their OSDs are up, or these do not agree on what is newest; or nobody reports the group any more.
Impact: whoever reads or writes an object in them waits without an error: mounts hang, and so do mounted filesystems.
Mitigation: bring the OSDs back that served them last; `ceph pg <pgid> query` says what a group waits for.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.blind import some
from diagnostics.facts.ceph import STATUS, ClusterStatus
from diagnostics.facts.osds import down_link, missed, part, unserved
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, quoted

CODE = "PG_AVAILABILITY"
NAMED = 3
# Ceph reports these at once. The others (peering, activating, peered, stale, unknown) each group goes through when an OSD or
# a manager restarts, and Ceph reports them once they have lasted for a minute.
LASTING = frozenset({"down", "incomplete"})


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for all groups of the cluster: what they lack is mostly the same."""
    status = snapshot.seen(STATUS)
    if status is None:
        return
    if status.mgr is None:
        yield Unseen("placement groups", "no manager is active, so nobody counts them: see `ceph mgr dump`")
        return
    told, states = status.check(CODE), unserved(status)
    if not told and not states:
        return
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    some_up = any(osd.up for osd in status.osds)
    if not told and some_up and all(LASTING.isdisjoint(state.split("+")) for state in states):
        yield Unseen("placement groups", f"{counted}, for less than a minute: look again")
        return
    yield _finding(status, counted)


def _finding(status: ClusterStatus, counted: str) -> Finding:
    told, subject = status.check(CODE), part(status, "PlacementGroup", "*")
    osds = missed(status, status.inactive.values()) or (() if status.inactive else status.down)
    total, idle = sum(status.pgs.values()), sum(unserved(status).values()) or len(status.inactive)
    names = sorted(status.inactive)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    listed = f": {quoted(names[:NAMED])}{more}" if names else ""
    says = f"{idle} of {total} placement groups serve no I/O{f' ({counted})' if counted else ''}{listed}"
    proof = [Evidence("ceph status", f"placement groups: {counted}")] if counted else []
    proof += [Evidence("ceph health detail", told.summary)] if told else []
    proof += [Evidence("ceph health detail", f"pg {name} is {status.inactive[name]}") for name in names[:NAMED]]
    cause = f"; {some([osd.name for osd in osds])} {'is' if len(osds) == 1 else 'are'} down" if osds else ""
    return Finding(
        subject=subject,
        summary=f"{says}{cause}",
        since=max((osd.down_since for osd in osds if osd.down_since), default=None),
        severity=Severity.INFO if status.muted(CODE) else None,
        chain=(Link(subject, says, tuple(proof)), *down_link(status, osds)),
    )


CHECK = Check(find, reads=(Read(STATUS),), severity=Severity.CRITICAL, of_the_whole=True)
