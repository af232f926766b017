"""Lift the fence of a node that has rebooted: its entries leave Ceph's blocklist, and clients there may write again.

Only entries over the whole host that an execution of Unstick has set on this very node are lifted, by their exact
strings; exact addresses stay, because a reboot gives every client another nonce. It is never an undo of anything.
"""

import threading
from collections.abc import Mapping
from typing import Any

from diagnostics.facts.ceph import OSDMAP
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.threads import in_daemon_thread
from runbooks.actions import PATIENCE, ActFailed, Action, Clients, OutcomeUnknown
from runbooks.guards.unfencing import (
    UNFENCE_READS,
    entries_there,
    fence_is_lifted,
    is_whole,
    ours_over,
    recovered_node,
)
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation
from runbooks.standing import STANDING

_NO_SUCH = 2
# Answers that say for certain that nothing was done: not permitted, denied, invalid. Any other may come after the fact.
_REFUSALS = frozenset({1, 13, 22})


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:  # noqa: ARG001 - the node is the situation's
    """Plan to lift every entry over the whole node, at its addresses or set on it by us. Whose they are, a guard judges.

    Raises:
        CannotPlan: there is none, or something was not seen.
    """
    node = recovered_node(situation)
    ours = ours_over(situation) if situation.snapshot.seen(STANDING) else ()
    found = {fence.entry for fence in (*entries_there(situation), *(fence for fence, _ in ours)) if is_whole(fence)}
    osdmap = situation.snapshot.seen(OSDMAP)
    if not found or osdmap is None:
        raise CannotPlan(f"no entry of the blocklist covers node {node.metadata.name} as a whole")
    entries, fsid = sorted(found), osdmap.fsid
    return Planned(
        action="ceph.unfence",
        says=f"lift the fence of node {node.metadata.name}: take {', '.join(entries)} off the blocklist",
        targets=(node.subject,),
        effect={"entries": entries, "fsid": fsid},
        risk=Risk.HIGH,
    )


async def apply(planned: Planned, clients: Clients) -> None:
    """Remove the entries. Once this is given up, its thread sends nothing more."""
    given_up = threading.Event()
    try:
        await in_daemon_thread(lambda: _remove(planned, clients, given_up), PATIENCE)
    finally:
        given_up.set()


def _remove(planned: Planned, clients: Clients, given_up: threading.Event) -> None:
    try:
        rados = clients.connect(planned.effect["fsid"])
    except (RadosError, CouldNotLook) as error:
        raise ActFailed(f"Ceph could not be reached to lift the fence: {error}; nothing was changed.") from None
    try:
        if rados.fsid != planned.effect["fsid"]:
            raise ActFailed(
                f"This is Ceph {rados.fsid}, but the plan is for {planned.effect['fsid']}; nothing was changed."
            )
        entries = planned.effect["entries"]
        for number, entry in enumerate(entries):
            if given_up.is_set():
                raise OutcomeUnknown(f"Lifting was given up before {entry}; what was sent before may still be lifted.")
            _lift(rados, entry, entries[:number])
    finally:
        rados.close()


def _lift(rados: Rados, entry: str, before: list[str]) -> None:
    """Remove one entry; `before` are those that are lifted already."""
    try:
        rados.mon({"prefix": "osd blocklist", "blocklistop": "rm", "addr": entry, "format": "json"})
    except RadosError as error:
        if error.errno == _NO_SUCH:
            return
        if error.errno not in _REFUSALS:
            what = f"Ceph did not say whether it lifted the fence ({error}); it may still be lifted."
            raise OutcomeUnknown(what) from None
        lifted = f" {', '.join(before)} is lifted already." if before else " Nothing was changed."
        raise ActFailed(
            f"Ceph refused to lift {entry}: {error}; check the caps of the remediating user.{lifted}"
        ) from None


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether all entries are gone; None where the blocklist was not seen."""
    if situation.snapshot.seen(OSDMAP) is None:
        return None
    return fence_is_lifted.judge(Situation(situation.snapshot, situation.params, act=planned)).allowed


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"node": "node"},
    undo="a new fence needs a new decision: what is mapped there by then is in use",
    required=frozenset({"node"}),
    reads=(*UNFENCE_READS,),
    writes=(),
    ceph_caps=('mon allow command "osd blocklist" with blocklistop=rm',),
    guards=(
        "fence_is_ours", "no_network_fence_covers_node", "node_is_ready_for_long", "node_has_rebooted_since_fence",
        "no_session_from_before_reboot", "no_ceph_volume_in_use_on_node",
    ),
    plan=plan,
    apply=apply,
    done=done,
    settles=15.0,
    lifts_fence=True,
)  # fmt: skip
