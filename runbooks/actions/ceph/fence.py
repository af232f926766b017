"""Fence the old holder of a lock: Ceph's blocklist refuses its address from then on.

The scope (one exact address, a whole node, or nothing) comes from facts, never from a runbook. A fence is never lifted
as an undo: a frozen or cut-off writer would resume within seconds.
"""

import threading
from collections.abc import Mapping
from typing import Any

from diagnostics.facts.ceph import OSDMAP, Address, parse_fence
from diagnostics.facts.holders import NODES
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.threads import in_daemon_thread
from diagnostics.verdicts import FAR_OFF
from runbooks.actions import PATIENCE, ActFailed, Action, ActStopped, Clients, OutcomeUnknown
from runbooks.fencing import FENCE_LASTS, Extent
from runbooks.guards.locks import decided, fence_covers_every_address, fence_scope_is_safe
from runbooks.model import Risk, duration
from runbooks.situation import CannotPlan, Planned, Situation

# Answers that say for certain that nothing was done: not permitted, denied, invalid. Any other may come after the fact.
_REFUSALS = frozenset({1, 13, 22})


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:
    """Plan the fence that the table of scopes allows.

    Raises:
        CannotPlan: the table refuses, something that it needs was not seen, or the fence would end too soon.
    """
    decision = decided(situation)
    if decision.extent is Extent.REFUSE:
        raise CannotPlan(*decision.reasons, unknown=decision.unknown)
    image = situation.image()
    assert image is not None, "a decision other than refuse has an image"
    try:
        lasts = duration(arguments["for"])
    except ValueError as error:
        raise CannotPlan(str(error)) from None
    if lasts < FENCE_LASTS:
        raise CannotPlan(
            f"a fence must last {int(FENCE_LASTS.total_seconds())}s: a shorter one lets a frozen writer resume"
        )
    if stuck := _ends_first(situation, decision.entries):
        raise CannotPlan(
            f"{', '.join(stuck)} stands already and ends too soon, and Ceph keeps its first end whatever is added: reboot "
            "the machine, or have a person remove the entry and add it again, which leaves it unfenced for a moment"
        )
    what = f"node {decision.node}" if decision.extent is Extent.NODE else "the locker's exact address"
    nodes = situation.snapshot.seen(NODES)
    fenced = tuple(n for n in (nodes.full if nodes else ()) if n.metadata.name == decision.node)
    # A later boot of the same machine is what allows to lift the fence again.
    boots = [{"boot_id": n.status.node_info.boot_id, "system_uuid": n.status.node_info.system_uuid} for n in fenced]
    return Planned(
        action="ceph.fence",
        says=f"fence {what}: blocklist {', '.join(decision.entries)} for {int(lasts.total_seconds())} s",
        targets=(Subject("CephCluster", None, image.image.fsid, image.image.fsid), image.image.subject, *(n.subject for n in fenced)),
        effect={
            "entries": list(decision.entries), "seconds": int(lasts.total_seconds()), "extent": decision.extent,
            **(boots[0] if boots else {}),
        },
        risk=decision.risk,
        dies=decision.dies,
    )  # fmt: skip


def _ends_first(situation: Situation, entries: tuple[str, ...]) -> list[str]:
    """The entries that are in the blocklist in these very words and end too soon to count as a fence.

    Adding an entry that is there changes nothing, on every release so far (16.2: tried; later: read). In one map, removing
    and adding it leaves the old end, and adding and removing it leaves nothing. So it takes two maps, 70 ms apart at
    best, and a frozen client that was let go in between wrote on in seven of eight tries: that is nobody's to automate.
    """
    osdmap, now = situation.snapshot.seen(OSDMAP), situation.snapshot.taken_at
    short = {f.entry for f in (osdmap.fences if osdmap else ()) if now < f.until < now + FAR_OFF}
    return [entry for entry in entries if entry in short]


async def apply(planned: Planned, clients: Clients) -> None:
    """Add the entries, then wait until this client has the map that holds them.

    The calls block in a thread that cannot be stopped. Whoever gives up on it therefore says so: it then sends nothing
    more, and only what is on its way may land later.
    """
    given_up = threading.Event()
    try:
        await in_daemon_thread(lambda: _add(planned, clients, given_up), PATIENCE)
    finally:
        given_up.set()


def _add(planned: Planned, clients: Clients, given_up: threading.Event) -> None:
    try:
        rados = clients.connect(planned.targets[0].uid)
    except (RadosError, CouldNotLook) as error:
        raise ActFailed(f"Ceph could not be reached to fence: {error}; nothing was changed.") from None
    try:
        if rados.fsid != planned.targets[0].uid:
            raise ActFailed(
                f"This is Ceph {rados.fsid}, but the plan is for {planned.targets[0].uid}; nothing was changed."
            )
        entries = planned.effect["entries"]
        for entry in entries:
            _validate(entry, rados.own_ips())
        for number, entry in enumerate(entries):
            if given_up.is_set():
                raise OutcomeUnknown(f"The fence was given up before {entry}; what was sent before may still be set.")
            _fence(rados, entry, planned.effect["seconds"], entries[:number])
        _wait_for_map(rados)
    finally:
        rados.close()


def _fence(rados: Rados, entry: str, seconds: int, before: list[str]) -> None:
    """Add one entry; `before` are those that are set already."""
    command = {
        "prefix": "osd blocklist", "blocklistop": "add", "addr": entry, "expire": float(seconds), "format": "json",
    }  # fmt: skip
    try:
        rados.mon(command)
    except RadosError as error:
        if error.errno not in _REFUSALS:
            raise OutcomeUnknown(f"Ceph did not say whether it set the fence ({error}); it may still be set.") from None
        what = f"Ceph refused to fence {entry}: {error}; check the caps of the remediating user."
        if before:
            raise ActStopped(f"{what} {', '.join(before)} is set already and stays.") from None
        raise ActFailed(f"{what} Nothing was changed.") from None


def _wait_for_map(rados: Rados) -> None:
    try:
        rados.wait_for_map()
    except RadosError as error:
        raise OutcomeUnknown(f"The fence was sent, but the map that holds it did not come ({error}).") from None


def _validate(entry: str, own_ips: tuple[str, ...]) -> None:
    """Ceph ignores junk after an address and would fence the bot itself if told to: check both here."""
    try:
        parsed = Address.parse(entry)
    except ValueError as error:
        raise ActFailed(f"{error}; nothing was fenced.") from None
    _, nonce = parse_fence(entry)
    if nonce == 0 and parsed.ip in own_ips:
        raise ActFailed(f"{entry} covers Unstick's own address; nothing was fenced.")


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether lasting entries cover all that was planned; None where the blocklist was not seen."""
    if situation.snapshot.seen(OSDMAP) is None:
        return None
    here = Situation(situation.snapshot, situation.params, act=planned)
    return fence_covers_every_address.judge(here).allowed


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"image": "rbd_image", "locker": "rbd_locker", "node": "node", "for": "duration"},
    undo="lifting a fence lets the old writer resume",
    required=frozenset({"image", "locker", "for"}),
    reads=(*fence_scope_is_safe.reads,),
    writes=(),
    ceph_caps=("mon profile rbd",),
    guards=("lock_is_breakable", "fence_scope_is_safe", "no_pod_outside_the_fence_uses_volume"),
    plan=plan,
    apply=apply,
    done=done,
    settles=15.0,
)
