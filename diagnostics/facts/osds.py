"""What follows from Ceph's status: placement groups without service, and the OSDs that are to blame, where proved."""

import re
from collections.abc import Iterable

from diagnostics.facts.blind import NAMED, some
from diagnostics.facts.ceph import ClusterStatus, OsdState
from diagnostics.model import Evidence, Link, Subject

_ACTING = re.compile(r"acting \[([0-9,]*)\]")


def part(status: ClusterStatus, kind: str, name: str) -> Subject:
    """A part of a Ceph cluster as a subject: an `OSD`, a `Mon`, a `Pool`, a `PlacementGroup`."""
    return Subject(kind, None, name, f"{status.fsid}/{name}")


def unserved(status: ClusterStatus) -> dict[str, int]:
    """How many placement groups are in which state that serves no I/O: not active, or stale (nobody reports it)."""
    return {
        state: count for state, count in status.pgs.items()
        if count and ("active" not in state.split("+") or "stale" in state.split("+"))
    }  # fmt: skip


def acting(says: str) -> frozenset[str]:
    """The OSDs that served a placement group, from what Ceph says of it: `stuck stale ..., last acting [0,2]`."""
    match = _ACTING.search(says)
    return frozenset(f"osd.{number}" for number in (match[1].split(",") if match else ()) if number)


def missed(status: ClusterStatus, said_of_groups: Iterable[str]) -> tuple[OsdState, ...]:
    """The OSDs whose being down leaves these placement groups unserved: they served one last, or no OSD is up at all."""
    if status.osds and len(status.down) == len(status.osds):
        return status.down
    served = {name for says in said_of_groups for name in acting(says)}
    return tuple(osd for osd in status.down if osd.name in served)


def down_link(status: ClusterStatus, osds: tuple[OsdState, ...]) -> tuple[Link, ...]:
    """The last link of a chain that ends at OSDs which are down; none where there are none."""
    if not osds:
        return ()
    others = osds[1:]
    says = "is down" + (
        f", and so {'is' if len(others) == 1 else 'are'} {some([osd.name for osd in others])}" if others else ""
    )
    named = osds[: 1 + NAMED]  # a power cut takes hundreds, and every image behind them gets this link
    return (
        Link(part(status, "OSD", osds[0].name), says, tuple(proof for osd in named for proof in proofs(status, osd))),
    )


def proofs(status: ClusterStatus, osd: OsdState) -> tuple[Evidence, ...]:
    """Where it was read that an OSD is down."""
    since = f", down since {osd.down_since:%Y-%m-%dT%H:%M:%SZ}" if osd.down_since else ""
    dump = Evidence("ceph osd dump", f"{osd.name} up={int(osd.up)} in={int(osd.inside)}{since}")
    told = status.check("OSD_DOWN")
    lines = [line for line in (told.details if told else ()) if line.startswith(f"{osd.name} ")]
    return (dump, *(Evidence("ceph health detail", line) for line in lines))
