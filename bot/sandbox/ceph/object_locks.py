"""The `lock` object class of the simulated OSD: requests and replies are the real bytes.

What it refuses, and with which errno, was measured on Ceph 16.2.
"""

from collections.abc import Callable

from bot.sandbox.ceph.state import Instance, RadosObject
from diagnostics.facts.ceph import Locker
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.cls_lock import LockInfo, LockKind, LockRequest
from diagnostics.sources.ceph.rados import RadosError
from diagnostics.sources.ceph.wire import MalformedReply

ENOENT, EBUSY, EEXIST, EINVAL, EOPNOTSUPP = 2, 16, 17, 22, 95
WRITING = frozenset({"lock", "unlock", "break_lock"})

_UNLOCKED = LockInfo(LockKind.NONE, "", ())


def call(target: RadosObject, method: str, data: bytes, sender: Instance) -> bytes:
    """Run a method of the class on an object.

    Raises:
        RadosError: errno 95, no such method; 22, a request that makes no sense; or what the method says.
    """
    methods: dict[str, Callable[[RadosObject, bytes, Instance], bytes]] = {
        "get_info": _get_info,
        "list_locks": _list_locks,
        "lock": _lock,
        "unlock": _unlock,
        "break_lock": _break_lock,
    }
    if method not in methods:
        raise RadosError(EOPNOTSUPP, f"lock.{method} failed")
    try:
        return methods[method](target, data, sender)
    except MalformedReply:
        raise RadosError(EINVAL, f"lock.{method} failed") from None


def take(target: RadosObject, request: LockRequest, sender: Instance) -> None:
    """Give a lock to a client.

    Raises:
        RadosError: errno 17, it holds it already; 16, somebody else does.
    """
    held = target.locks.get(request.name, _UNLOCKED)
    locker = Locker(sender.client, request.cookie, sender.address)
    if any((one.client, one.cookie) == (locker.client, locker.cookie) for one in held.lockers):
        raise RadosError(EEXIST, "lock.lock failed")
    shared = request.kind == held.kind == LockKind.SHARED and request.tag == held.tag
    if held.lockers and not shared:
        raise RadosError(EBUSY, "lock.lock failed")
    target.locks[request.name] = LockInfo(request.kind, request.tag, (*held.lockers, locker))


def _get_info(target: RadosObject, data: bytes, _: Instance) -> bytes:
    return cls_lock.encode_info(target.locks.get(cls_lock.decode_get_info(data), _UNLOCKED))


def _list_locks(target: RadosObject, _data: bytes, _: Instance) -> bytes:
    return cls_lock.encode_names(tuple(target.locks))


def _lock(target: RadosObject, data: bytes, sender: Instance) -> bytes:
    take(target, cls_lock.decode_lock(data), sender)
    return b""


def _unlock(target: RadosObject, data: bytes, sender: Instance) -> bytes:
    request = cls_lock.decode_unlock(data)
    _drop(target, request.name, sender.client, request.cookie)
    return b""


def _break_lock(target: RadosObject, data: bytes, _: Instance) -> bytes:
    request = cls_lock.decode_break(data)
    _drop(target, request.name, request.client, request.cookie)
    return b""


def _drop(target: RadosObject, name: str, client: str, cookie: str) -> None:
    """Take one locker off. The lock keeps its name, its kind and its tag: only its holders say whether it is held."""
    held = target.locks.get(name, _UNLOCKED)
    left = tuple(one for one in held.lockers if (one.client, one.cookie) != (client, cookie))
    if len(left) == len(held.lockers):
        raise RadosError(ENOENT, "the lock is not held by that client")
    target.locks[name] = LockInfo(held.kind, held.tag, left)
