"""Reads RBD locks: of whole pools without opening their images, or of the images that somebody names.

Only a locked image is looked at closer. What cannot be read becomes a problem of its pool, beside everything else that
can; an image is never left out in silence, and never called free because its reply was cut.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from diagnostics.facts.ceph import (
    Image,
    ImageSpec,
    LockedImage,
    Locks,
    PoolProblem,
    PoolScan,
    Watcher,
)
from diagnostics.model import quoted
from diagnostics.sources.ceph import cls_lock, mon_answers, rbd_objects
from diagnostics.sources.ceph.cls_lock import LockInfo, LockKind
from diagnostics.sources.ceph.images import Found, ImageReader, data_of, hint, omap_of, watchers_of
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.threads import on_each
from diagnostics.sources.ceph.wire import MalformedReply

ENOENT, ETIMEDOUT = 2, 110
NAMED_IN_A_PROBLEM = 3
OPENED_AT_ONCE = 16
TOO_LATE = "Ceph took too long over what came before; check `ceph health`, or ask for this pool alone with --pool"
UNREAD = "unread"
"""The trait of an image of which it could not be read whether it has any: as forbidding as they are."""


@dataclass
class LockReader:
    """One reading of one cluster's locks; made anew for each, because it collects what it meets.

    `late` says that time has run out: what was not looked at by then becomes a problem, and the rest is not lost.
    """

    rados: Rados
    late: Callable[[], bool] = lambda: False
    images: list[LockedImage] = field(default_factory=list)
    pools: list[PoolScan] = field(default_factory=list)
    problems: list[PoolProblem] = field(default_factory=list)
    absent: list[ImageSpec] = field(default_factory=list)
    free: list[ImageSpec] = field(default_factory=list)
    users: dict[str, tuple[Watcher, ...]] = field(default_factory=dict)
    _mirrored: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    _mons_silent: bool = False
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def result(self) -> Locks:
        """What was read so far."""
        return Locks(
            self.rados.fsid, tuple(self.images), tuple(self.pools), tuple(self.problems), tuple(self.absent),
            tuple(self.free), self.users,
        )  # fmt: skip

    def walk(self, pools: Sequence[str], namespaces: Sequence[str]) -> None:
        """Look at every image of these pools (none given: of all) and RBD namespaces (none given: all; "": default).

        Raises:
            RadosError: the pools could not be listed.
        """
        existing = self.rados.pools()
        for pool in dict.fromkeys(pools or existing):
            if pool not in existing:
                self._problem(pool, "there is no such pool; `ceph osd pool ls` names those that there are")
                continue
            if self.late():
                self._problem(pool, f"not looked at: {TOO_LATE}")
                continue
            try:
                inside = (
                    "",
                    *rbd_objects.decode_namespaces(omap_of(self.rados, pool, "", rbd_objects.NAMESPACES, "name_")),
                )
                for namespace in inside:
                    if namespaces and namespace not in namespaces:
                        continue
                    if self.late():
                        self._problem(pool, f"namespace {namespace!r} was not looked at: {TOO_LATE}")
                        continue
                    self._scan(pool, namespace)
            except (RadosError, MalformedReply) as error:
                self._problem(pool, f"the pool's images could not be listed: {hint(error)}")

    def look_at(self, specs: Sequence[ImageSpec]) -> None:
        """Look at these images only, whatever pools are configured."""
        for spec in dict.fromkeys(specs):
            if self.late():
                self._problem(spec.pool, f"image {spec} was not looked at: {TOO_LATE}")
                continue
            try:
                found = ImageReader(self.rados).find(spec)
                info = self._info(found) if found else None
            except (RadosError, MalformedReply) as error:
                self._problem(spec.pool, f"image {spec}: {hint(error)}")
                continue
            if found is None or info is None:
                self.absent.append(spec)
            elif info.lockers:
                self.images.append(self._locked(found, info))
            else:
                self.free.append(spec)
                watchers, _ = self._watchers(found)
                if watchers is not None:
                    self.users[str(spec)] = watchers

    def _problem(self, pool: str, reason: str) -> None:
        self.problems.append(PoolProblem(pool, reason))

    def _trash(self, pool: str, namespace: str) -> list[Found]:
        entries = rbd_objects.decode_trash(
            omap_of(self.rados, pool, namespace, rbd_objects.TRASH, rbd_objects.TRASH_KEY)
        )
        return [Found(ImageSpec(pool, namespace, entry.name), entry.id, trashed=True) for entry in entries]

    def _listed(self, pool: str, namespace: str) -> list[Found]:
        names = rbd_objects.decode_directory(
            omap_of(self.rados, pool, namespace, rbd_objects.DIRECTORY, rbd_objects.NAME_KEY)
        )
        data = data_of(self.rados, ImageSpec(pool, namespace, ""), rbd_objects.DIRECTORY)
        old = rbd_objects.decode_old_directory(data or b"")
        named = [*names.items(), *((name, "") for name in old)]
        return [Found(ImageSpec(pool, namespace, name), image_id) for name, image_id in named]

    def _scan(self, pool: str, namespace: str) -> None:
        listed = self._listed(pool, namespace)
        found = [*listed, *self._trash(pool, namespace)]
        replies = self.rados.execute_each(
            pool, namespace, [one.header for one in found], cls_lock.CLASS, "get_info", cls_lock.encode_get_info()
        )
        failed: dict[str, list[str]] = {}
        locked: list[tuple[Found, LockInfo]] = []
        for one, reply in zip(found, replies, strict=True):
            try:
                info = _decoded(reply)
            except MalformedReply as error:
                self._problem(pool, f"image {one.spec}: {hint(error)}")
                continue
            except RadosError as error:
                failed.setdefault(hint(error), []).append(str(one.spec))
                continue
            if info and info.lockers:
                locked.append((one, info))
        for why, names in failed.items():
            some = quoted(names[:NAMED_IN_A_PROBLEM])
            more = f" and {len(names) - NAMED_IN_A_PROBLEM} more" if len(names) > NAMED_IN_A_PROBLEM else ""
            self._problem(pool, f"the lock of {some}{more} could not be read: {why}")
        if not found or sum(map(len, failed.values())) < len(found):
            self.pools.append(PoolScan(pool, namespace, len(listed), len(locked)))
        self.images += on_each(lambda pair: self._locked(*pair), locked, OPENED_AT_ONCE)

    def _info(self, found: Found) -> LockInfo | None:
        """The lock on an image's header, None where there is no such header."""
        spec, request = found.spec, cls_lock.encode_get_info()
        try:
            reply: bytes | RadosError = self.rados.execute(
                spec.pool, spec.namespace, found.header, cls_lock.CLASS, "get_info", request
            )
        except RadosError as error:
            reply = error
        return _decoded(reply)

    def _locked(self, found: Found, info: LockInfo) -> LockedImage:
        spec = found.spec
        image = Image(self.rados.fsid, spec.pool, spec.namespace, spec.name, found.format, found.header)
        exclusive = info.kind in (LockKind.EXCLUSIVE, LockKind.EXCLUSIVE_EPHEMERAL)
        if self.late():  # the lock is known, and nothing else of it can be by now
            unseen = f"the watchers of {spec} were not looked at: {TOO_LATE}"
            traits = ("trashed", UNREAD) if found.trashed else (UNREAD,)
            return LockedImage(image, exclusive, info.tag, info.lockers, None, unseen, traits=traits)
        watchers, reason = self._watchers(found)
        pg, primary = self._placement(found)
        return LockedImage(image, exclusive, info.tag, info.lockers, watchers, reason, pg, primary, self._traits(found))

    def _watchers(self, found: Found) -> tuple[tuple[Watcher, ...] | None, str | None]:
        spec = found.spec
        try:
            return watchers_of(self.rados, found), None
        except RadosError as error:
            return None, f"the watchers of {spec} could not be read: {hint(error)}"
        except ValueError as error:
            return None, f"a watcher of {spec} has an address that cannot be read: {error}"

    def _placement(self, found: Found) -> tuple[str | None, int | None]:
        where = {"pool": found.spec.pool, "object": found.header}
        if found.spec.namespace:
            where["nspace"] = found.spec.namespace
        with self._asking:
            if self._mons_silent:  # each further image would wait for nothing as long again
                return None, None
            try:
                return mon_answers.read_placement(self.rados.mon({"prefix": "osd map", **where}))
            except RadosError as error:
                self._mons_silent = error.errno == ETIMEDOUT
                return None, None
            except MalformedReply:
                return None, None

    def _traits(self, found: Found) -> tuple[str, ...]:
        spec = found.spec
        traits = ["trashed"] if found.trashed else []
        try:
            if found.id and found.id in self._mirrored_in(spec.pool, spec.namespace):
                traits.append("mirrored")
            if self._is_migrating(found):
                traits.append("migrating")
        except (RadosError, MalformedReply) as error:
            self._problem(spec.pool, f"whether image {spec} is mirrored or migrating could not be read: {hint(error)}")
            traits.append(UNREAD)
        return tuple(traits)

    def _mirrored_in(self, pool: str, namespace: str) -> frozenset[str]:
        if (pool, namespace) not in self._mirrored:
            omap = omap_of(self.rados, pool, namespace, rbd_objects.MIRRORING, rbd_objects.MIRRORED_IMAGE_KEY)
            self._mirrored[pool, namespace] = rbd_objects.decode_mirrored(omap)
        return self._mirrored[pool, namespace]

    def _is_migrating(self, found: Found) -> bool:
        spec = found.spec
        if found.format == 1:
            return (data_of(self.rados, spec, found.header) or b"").startswith(rbd_objects.MIGRATING_FORMAT_1)
        features = omap_of(self.rados, spec.pool, spec.namespace, found.header, rbd_objects.FEATURES_KEY)
        value = features.get(rbd_objects.FEATURES_KEY)
        return value is not None and bool(rbd_objects.decode_features(value) & rbd_objects.MIGRATING_FEATURE)


def _decoded(reply: bytes | RadosError) -> LockInfo | None:
    """The lock in a reply, None where the object does not exist (any more)."""
    if isinstance(reply, RadosError):
        if reply.errno == ENOENT:
            return None
        raise reply
    return cls_lock.decode_info(reply)
