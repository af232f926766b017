"""What earlier looks saw, with an index: a look at ten thousand locks must not go through all of it for each."""

from functools import cached_property

from diagnostics.facts.ceph import Sighting


class Sightings(tuple[Sighting, ...]):
    """The sightings of one look, in its order; where two are of the same thing, the first one counts."""

    @classmethod
    def of(cls, sightings: tuple[Sighting, ...]) -> "Sightings":
        """The same sightings; those that have an index already keep it."""
        return sightings if isinstance(sightings, cls) else cls(sightings)

    def named(self, fsid: str, image: str, locker: str) -> Sighting | None:
        """The sighting of this very locker, if there is one."""
        return next((s for s in self.of_image(fsid, image) if s.locker == locker), None)

    def of_image(self, fsid: str, image: str) -> tuple[Sighting, ...]:
        """All sightings of one image."""
        return self._of_images.get((fsid, image), ())

    def of_fence(self, name: str) -> Sighting | None:
        """The sighting of a fence over a node, by `ENTRY NODE`."""
        return self._of_fences.get(name)

    @cached_property
    def _of_images(self) -> dict[tuple[str, str], tuple[Sighting, ...]]:
        found: dict[tuple[str, str], list[Sighting]] = {}
        for sighting in self:
            if not sighting.is_of_fence:
                found.setdefault((sighting.fsid, sighting.image), []).append(sighting)
        return {key: tuple(same) for key, same in found.items()}

    @cached_property
    def _of_fences(self) -> dict[str, Sighting]:
        return {sighting.locker: sighting for sighting in reversed(self) if sighting.is_of_fence}
