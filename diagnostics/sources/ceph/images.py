"""Reads what is asked of images that volumes name: their features, who has them open, where their headers lie.

Nothing is said of an image that is not there. What cannot be read is told with its reason, image by image.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeVar

from diagnostics.facts.ceph import Address, ImageFeatures, ImageSpec, Placement, Placements, VolumeWatchers, Watcher
from diagnostics.sources.ceph import mon_answers, rbd_objects
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.ceph.threads import on_each
from diagnostics.sources.ceph.wire import MalformedReply

T = TypeVar("T")

ENOENT = 2
OUR_OWN_TROUBLE = frozenset({107, 108})
AT_ONCE, MOST_AT_ONCE = 8, 64
"""How many images are read at a time, and how many where all wait for something silent.

Opening an image for its watchers takes its client 3 ms of computing, and an OSD's answers.
"""
MOST_PLACED = 1000
"""Images whose headers are looked for. Each takes two commands, which the monitors answer while Ceph is in trouble."""
ONE_TOO_MANY = f"not looked at: the monitors are asked for {MOST_PLACED:,} images at most; check `ceph health`"
TOO_LATE = "not looked at: Ceph took too long over what came before; check `ceph health`"


@dataclass(frozen=True)
class Found:
    """An image that is there. Its id is "" for format 1; one in the trash is found by its id only."""

    spec: ImageSpec
    id: str
    trashed: bool = False

    @property
    def format(self) -> int:
        """1 or 2."""
        return 2 if self.id else 1

    @property
    def header(self) -> str:
        """The object that carries its lock, its watches and its features."""
        return rbd_objects.header_object(self.id) if self.id else rbd_objects.old_header_object(self.spec.name)


class _Refused(Exception):
    """The monitors did not answer: no image is to blame, and the next one would fare no better."""

    def __init__(self, error: RadosError | MalformedReply) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class ImageReader:
    """One reading of some images. `late` says that time has run out: the rest is then told as unread."""

    rados: Rados
    late: Callable[[], bool] = lambda: False

    def features(self, specs: Sequence[ImageSpec]) -> ImageFeatures:
        """The features of each image.

        Raises:
            RadosError: we ourselves are fenced or cut off.
        """
        return ImageFeatures(*self._each(self._features, specs))

    def watchers(self, specs: Sequence[ImageSpec]) -> VolumeWatchers:
        """Who has each image open.

        Raises:
            RadosError: we ourselves are fenced or cut off.
        """
        return VolumeWatchers(*self._each(self._watchers, specs))

    def placements(self, specs: Sequence[ImageSpec], inactive: AbstractSet[str] = frozenset()) -> Placements:
        """Where the headers of the first images lie; the others are told as unread.

        From `inactive` placement groups nothing is read: that would only wait.

        Raises:
            RadosError: we ourselves are fenced or cut off, or the monitors do not tell.
            MalformedReply: what they tell makes no sense.
        """
        try:
            wanted = tuple(dict.fromkeys(specs))
            headers, unread = self._each(lambda spec: self._placement(spec, inactive), wanted[:MOST_PLACED])
        except _Refused as refused:
            raise refused.error from None
        return Placements(headers, unread | {str(spec): ONE_TOO_MANY for spec in wanted[MOST_PLACED:]})

    def _each(
        self, read: Callable[[ImageSpec], T | None], specs: Sequence[ImageSpec]
    ) -> tuple[dict[str, T], dict[str, str]]:
        """What was read of each image, and of which it could not be, and why; None stands for one that is not there."""

        def one(spec: ImageSpec) -> T | str | None:
            if self.late():
                return TOO_LATE
            try:
                return read(spec)
            except (RadosError, MalformedReply) as error:
                return hint(error)
            except ValueError as error:
                return f"an address of it cannot be read: {error}"

        wanted = tuple(dict.fromkeys(specs))
        seen: dict[str, T] = {}
        unread: dict[str, str] = {}
        for spec, found in zip(wanted, on_each(one, wanted, AT_ONCE, MOST_AT_ONCE), strict=True):
            if isinstance(found, str):
                unread[str(spec)] = found
            elif found is not None:
                seen[str(spec)] = found
        return seen, unread

    def _features(self, spec: ImageSpec) -> tuple[str, ...] | None:
        found = self.find(spec)
        if found is None:
            return None
        if not found.id:
            return ()
        omap = omap_of(self.rados, spec.pool, spec.namespace, found.header, rbd_objects.FEATURES_KEY)
        if rbd_objects.FEATURES_KEY not in omap:
            raise MalformedReply(f"the header {found.header} names no features")
        return rbd_objects.feature_names(rbd_objects.decode_features(omap[rbd_objects.FEATURES_KEY]))

    def _watchers(self, spec: ImageSpec) -> tuple[Watcher, ...] | None:
        found = self.find(spec)
        return watchers_of(self.rados, found) if found else None

    def _placement(self, spec: ImageSpec, inactive: AbstractSet[str]) -> Placement | None:
        """Where the header lies; or the object with the image's id, while that cannot be read."""
        by_id = self._placed(spec, rbd_objects.id_object(spec.name))
        if by_id is None or _is_silent(by_id, inactive):
            return by_id
        data = data_of(self.rados, spec, rbd_objects.id_object(spec.name))
        if data is not None:
            header = rbd_objects.header_object(rbd_objects.decode_id(data, rbd_objects.id_object(spec.name)))
            return self._placed(spec, header)
        old = self._placed(spec, rbd_objects.old_header_object(spec.name))
        if old is None or _is_silent(old, inactive):
            return old
        return old if data_of(self.rados, spec, rbd_objects.old_header_object(spec.name)) is not None else None

    def _placed(self, spec: ImageSpec, oid: str) -> Placement | None:
        """Where an object lies, be it there or not; None where there is no such pool."""
        where = {"pool": spec.pool, "object": oid} | ({"nspace": spec.namespace} if spec.namespace else {})
        try:
            return Placement(*mon_answers.read_placement(self.rados.mon({"prefix": "osd map", **where})), object=oid)
        except RadosError as error:
            if error.errno == ENOENT:
                return None
            raise _Refused(error) from None
        except MalformedReply as error:
            raise _Refused(error) from None

    def find(self, spec: ImageSpec) -> Found | None:
        """The image with this name: by its id, as format 1, or in the trash.

        Raises:
            RadosError: what it takes to know could not be read.
            MalformedReply: it makes no sense.
        """
        data = data_of(self.rados, spec, rbd_objects.id_object(spec.name))
        if data is not None:
            return Found(spec, rbd_objects.decode_id(data, rbd_objects.id_object(spec.name)))
        if data_of(self.rados, spec, rbd_objects.old_header_object(spec.name)) is not None:
            return Found(spec, "")
        trashed = rbd_objects.decode_trash(
            omap_of(self.rados, spec.pool, spec.namespace, rbd_objects.TRASH, rbd_objects.TRASH_KEY)
        )
        return next((Found(spec, entry.id, trashed=True) for entry in trashed if entry.name == spec.name), None)


def data_of(rados: Rados, spec: ImageSpec, oid: str) -> bytes | None:
    """The data of an object in an image's pool and namespace; None where there is no such object.

    Raises:
        RadosError: anything but its absence.
    """
    try:
        return rados.read(spec.pool, spec.namespace, oid)
    except RadosError as error:
        if error.errno != ENOENT:
            raise
        return None


def omap_of(rados: Rados, pool: str, namespace: str, oid: str, prefix: str) -> dict[str, bytes]:
    """An omap of an object that many pools do not have: empty then.

    Raises:
        RadosError: anything but its absence.
    """
    try:
        return rados.omap(pool, namespace, oid, prefix)
    except RadosError as error:
        if error.errno != ENOENT:
            raise
        return {}


def watchers_of(rados: Rados, found: Found) -> tuple[Watcher, ...]:
    """Who has an image open.

    Raises:
        RadosError: it could not be opened.
        ValueError: a watcher has an address that cannot be read.
    """
    spec = found.spec
    listed = rados.watchers(spec.pool, spec.namespace, spec.name, found.id or None)
    return tuple(Watcher(f"client.{number}", Address.parse(text)) for number, text in listed)


def _is_silent(placement: Placement, inactive: AbstractSet[str]) -> bool:
    return placement.primary is None or placement.pg in inactive


def hint(error: RadosError | MalformedReply) -> str:
    """What went wrong with one image, and the reader's next move.

    Raises:
        RadosError: we ourselves are fenced or cut off, so no image is to blame.
    """
    if isinstance(error, MalformedReply):
        return f"{error}; look again, and if it stays so, look by hand with `rbd info` and `rbd lock ls`"
    if error.errno in OUR_OWN_TROUBLE:
        raise error
    moves = {
        1: "give the cephx user the caps osd 'profile rbd-read-only'",
        13: "give the cephx user the caps mon 'allow r' and osd 'profile rbd-read-only'",
        110: "check `ceph health` for inactive placement groups and for OSDs that are down",
    }
    return f"{error}; {moves.get(error.errno, 'check `ceph health`')}"
