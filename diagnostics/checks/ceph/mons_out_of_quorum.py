"""Monitors that take no part in the quorum.

Meaning: the monitor's daemon or host is down, or it does not reach the others.
Impact: none at first; once fewer than a majority are left, Ceph answers nobody, and no pod gets a volume.
Mitigation: bring the monitor back; see its log and its clock. Remove it from the map only if it is gone for good.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import STATUS
from diagnostics.facts.osds import part
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, quoted

CODE = "MON_DOWN"


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each monitor of the map that is not in the quorum, once Ceph reports that too.

    The quorum alone is one look, and every election passes through one that lacks somebody.
    """
    status = snapshot.seen(STATUS)
    if status is None:
        return
    told, passing = status.check(CODE), list[str]()
    spare = len(status.quorum) - (len(status.mons) // 2 + 1)
    ends = "one more lost ends the quorum" if spare <= 0 else f"the quorum can lose {spare} more"
    where = f"quorum {quoted(status.quorum)} of {quoted(status.mons)}"
    for mon in status.mons:
        if mon in status.quorum:
            continue
        name = f"mon.{mon}"
        subject = part(status, "Mon", name)
        lines = [line for line in (told.details if told else ()) if line.startswith(f"{name} ")]
        if told is None or (told.details and not lines):
            passing.append(name)
            continue
        proof = (Evidence("ceph quorum_status", where), *(Evidence("ceph health detail", line) for line in lines))
        yield Finding(
            subject=subject,
            summary=f"{name} is out of the quorum ({where}); {ends}",
            severity=Severity.INFO if status.muted(CODE) else None,
            chain=(Link(subject, "is out of the quorum", proof),),
        )
    if passing:
        yield Unseen(quoted(passing), f"out of the quorum ({where}), which Ceph does not report (yet): look again")


CHECK = Check(find, reads=(Read(STATUS),), severity=Severity.WARNING, of_the_whole=True)
