"""Keeps the first look at each quiet lock and at each fence that soon ends, so that a later look can complete it."""

import hashlib
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection, and_, delete, insert, select

from bot.store.tables import sightings
from diagnostics.facts.ceph import Sighting
from diagnostics.verdicts import MOST_WATCHERS
from runbooks.database import Database


class Sightings(Database):
    """The sightings of all clusters. Methods block: call them in threads."""

    def load(self, cluster: str) -> tuple[Sighting, ...]:
        """The sightings of one cluster.

        Raises:
            StoreError: the database cannot be read.
        """
        with self.read() as connection:
            found = connection.execute(select(sightings.c.sighting).where(sightings.c.cluster == cluster)).all()
        return tuple(msgspec.convert(row.sighting, Sighting) for row in found)

    def keep(self, cluster: str, loaded: tuple[Sighting, ...], seen: tuple[Sighting, ...]) -> None:
        """Keep what a look changed: `loaded` is what it began with, `seen` what it came to.

        Others may have looked meanwhile. What they kept of other locks stays; of the same lock the later first look
        stays, and a lock that they saw alive is not called quiet again: an error here may only cost another look.
        Of a fence it is the earlier one that stays: the first boot is what a reboot is told by.

        Raises:
            StoreError: the database cannot be written.
        """
        before, after = _by_key(loaded), _by_key(seen)
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        if not changed:
            return
        with self.write() as connection:
            for key in changed:
                _keep(connection, cluster, key, before.get(key), after.get(key))


_Key = tuple[str, str, str]
LONGEST_NAME = 512
"""Bytes of an image's or a locker's name up to which it is looked up by itself; the sighting has it whole anyway."""
_NEVER = datetime.min.replace(tzinfo=UTC)


def _by_key(given: tuple[Sighting, ...]) -> dict[_Key, Sighting]:
    return {(s.fsid, s.image, s.locker): s for s in given}


def _merged(held: Sighting | None, before: Sighting | None, after: Sighting) -> Sighting:
    """What to keep where another look wrote in between: the later first look, and every watcher that was seen."""
    if after.is_of_fence:
        return _merged_fence(held, after)
    continues = after.first_seen is not None and before is not None and before.first_seen == after.first_seen
    seen_alive = (held is None or held.first_seen is None) and continues
    later = held is not None and held.first_seen is not None and after.first_seen is not None
    if seen_alive:
        after = msgspec.structs.replace(after, first_seen=None)
    elif later and held is not None and held.first_seen > after.first_seen:  # type: ignore[operator]
        after = msgspec.structs.replace(held, last_look=after.last_look)
    watched = dict.fromkeys((*after.watched_from, *(held.watched_from if held else ())))
    return msgspec.structs.replace(after, watched_from=tuple(watched)[:MOST_WATCHERS])


def _merged_fence(held: Sighting | None, after: Sighting) -> Sighting:
    """The first look at a fence; but where its end differs, what the newer look came to: the entry was made anew."""
    if held is None or held.first_seen is None or after.first_seen is None:
        return after
    _, newer = sorted((held, after), key=lambda s: s.last_look or _NEVER)
    if held.until != after.until:
        return newer
    first = min(held, after, key=lambda s: s.first_seen or _NEVER)
    watched = tuple(dict.fromkeys((*after.watched_from, *held.watched_from)))[:MOST_WATCHERS]
    return msgspec.structs.replace(first, last_look=newer.last_look, watched_from=watched)


def _short(name: str) -> str:
    """A name as it fits into an index: a cookie is anybody's, and may be as long as they like."""
    if len(name.encode(errors="replace")) <= LONGEST_NAME:
        return name
    return f"{name[:64]} {hashlib.sha256(name.encode(errors='replace')).hexdigest()}"


def _keep(connection: Connection, cluster: str, key: _Key, before: Sighting | None, after: Sighting | None) -> None:
    fsid, image, locker = (_short(part) for part in key)
    here = and_(
        sightings.c.cluster == cluster, sightings.c.fsid == fsid, sightings.c.image == image,
        sightings.c.locker == locker,
    )  # fmt: skip
    row = connection.execute(select(sightings.c.sighting).where(here)).one_or_none()
    held = msgspec.convert(row.sighting, Sighting) if row else None
    if after is not None:
        after = _merged(held, before, after)
    connection.execute(delete(sightings).where(here))
    if after is not None:
        connection.execute(
            insert(sightings).values(
                cluster=cluster, fsid=fsid, image=image, locker=locker, sighting=msgspec.to_builtins(after)
            )
        )
