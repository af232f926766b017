"""Break an advisory lock: remove one locker, by client and cookie, from an RBD image's header.

It does not stop a writer; that is the fence's work, which must have come first. The object class refuses (errno 2) when
that very client with that very cookie does not hold the lock any more, so a lock taken anew is never broken.
"""

import threading
from collections.abc import Mapping
from typing import Any

from diagnostics.facts.ceph import LOCKS
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.threads import in_daemon_thread
from runbooks.actions import PATIENCE, ActFailed, Action, Clients, OutcomeUnknown
from runbooks.guards.locks import lock_unchanged
from runbooks.model import Risk
from runbooks.situation import CannotPlan, Planned, Situation

_NO_SUCH = 2
# Answers that say for certain that nothing was done: not permitted, denied, invalid, no such method, we are fenced.
_REFUSALS = frozenset({1, 13, 22, 95, 108})


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:  # noqa: ARG001 - the lock is the situation's
    """Plan to remove the runbook's locker.

    Raises:
        CannotPlan: it holds no lock, or a managed one.
    """
    image, locker = situation.image(), situation.locker()
    if image is None or locker is None:
        raise CannotPlan(f"{situation.params.get('locker')} holds no lock on {situation.params.get('image')}")
    if locker.managed or image.tag == "internal":
        raise CannotPlan("the lock is a managed one: only advisory locks are broken")
    subject = image.image.subject
    return Planned(
        action="ceph.break_lock",
        says=f"break the lock of {locker.client} ({locker.cookie}) on {image.image.spec}",
        targets=(subject, Subject("RBDLock", None, locker.name, f"{subject.uid}#{locker.name}")),
        effect={
            "fsid": image.image.fsid, "pool": image.image.pool, "namespace": image.image.namespace,
            "header": image.image.header, "client": locker.client, "cookie": locker.cookie,
        },
        risk=Risk.HIGH,
    )  # fmt: skip


async def apply(planned: Planned, clients: Clients) -> None:
    """Remove the locker. Once this is given up, its thread sends nothing more."""
    given_up = threading.Event()
    try:
        await in_daemon_thread(lambda: _break(planned, clients, given_up), PATIENCE)
    finally:
        given_up.set()


def _break(planned: Planned, clients: Clients, given_up: threading.Event) -> None:
    effect = planned.effect
    try:
        rados = clients.connect(effect["fsid"])
    except (RadosError, CouldNotLook) as error:
        raise ActFailed(f"Ceph could not be reached to break the lock: {error}; nothing was changed.") from None
    try:
        if rados.fsid != effect["fsid"]:
            raise ActFailed(f"This is Ceph {rados.fsid}, but the plan is for {effect['fsid']}; nothing was changed.")
        _see_the_fence(rados)
        if given_up.is_set():
            raise ActFailed("Breaking the lock was given up before it was sent; nothing was changed.")
        request = cls_lock.encode_break(cls_lock.BreakRequest(cls_lock.RBD_LOCK, effect["client"], effect["cookie"]))
        rados.execute(effect["pool"], effect["namespace"], effect["header"], "lock", "break_lock", request)
    except RadosError as error:
        if error.errno == _NO_SUCH:
            raise ActFailed(f"{effect['client']} does not hold the lock any more; nothing was changed.") from None
        if error.errno not in _REFUSALS:
            raise OutcomeUnknown(
                f"Ceph did not say whether it broke the lock ({error}); it may still be broken later."
            ) from None
        raise ActFailed(f"Ceph refused to break the lock: {error}; check the caps of the remediating user.") from None
    finally:
        rados.close()


def _see_the_fence(rados: Rados) -> None:
    """Write with a map that holds the fence, so that the OSD has it before the lock goes."""
    try:
        rados.wait_for_map()
    except RadosError as error:
        raise ActFailed(f"The newest OSD map did not come: {error}; nothing was changed.") from None


def done(planned: Planned, situation: Situation) -> bool | None:  # noqa: ARG001 - the lock is the situation's
    """Whether the locker holds the lock no more; None where locks were not seen."""
    if situation.snapshot.seen(LOCKS) is None:
        return None
    try:
        return situation.locker() is None
    except CannotPlan:
        return None


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"image": "rbd_image", "locker": "rbd_locker"},
    undo="the old holder can no longer write, so nobody needs this lock",
    required=frozenset({"image", "locker"}),
    reads=(*lock_unchanged.reads,),
    writes=(),
    ceph_caps=("osd profile rbd",),
    guards=("fence_covers_every_address", "image_has_no_watcher", "lock_unchanged"),
    plan=plan,
    apply=apply,
    done=done,
    settles=15.0,
)
